// What is known of a channel's methods: found again, bounded, and gone with the version
// of the settings that it is of.

#include "interceptors/known_methods.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/call_match.h"
#include "runtime/client.h"

namespace forbear::rpc {
namespace {

std::shared_ptr<const KnownMethod> Make(const Client& client,
                                        const std::string& name) {
  auto known = std::make_shared<KnownMethod>();
  known->name = name;
  known->policy = client.PolicyOf(CallRoute());
  return known;
}

TEST(KnownMethodsTest, FoundByItsName) {
  const auto client = *Client::Create();
  KnownMethods methods(client.get());
  EXPECT_EQ(methods.Find("/a.B/C"), nullptr);
  const auto known = Make(*client, "/a.B/C");
  methods.Keep(known);
  EXPECT_EQ(methods.Find("/a.B/C"), known);
  EXPECT_EQ(methods.Find("/a.B/D"), nullptr);
  EXPECT_EQ(methods.Find("/a.B/"), nullptr);
  const auto newer = Make(*client, "/a.B/C");
  methods.Keep(newer);
  EXPECT_EQ(methods.Find("/a.B/C"), newer);
  EXPECT_EQ(known.use_count(), 1);  // nobody else holds the old one
}

TEST(KnownMethodsTest, NotBeyondItsVersion) {
  const auto client = *Client::Create();
  KnownMethods methods(client.get());
  methods.Keep(Make(*client, "/a.B/C"));
  ASSERT_TRUE(client->Reload(Settings()).ok());
  EXPECT_EQ(methods.Find("/a.B/C"), nullptr);
  const auto known = Make(*client, "/a.B/C");
  methods.Keep(known);
  EXPECT_EQ(methods.Find("/a.B/C"), known);
}

TEST(KnownMethodsTest, Bounded) {
  const auto client = *Client::Create();
  KnownMethods methods(client.get());
  std::vector<std::shared_ptr<const KnownMethod>> all;
  for (int i = 0; i < 1000; ++i) {
    all.push_back(Make(*client, "/a.B/" + std::to_string(i)));
    methods.Keep(all.back());
    EXPECT_EQ(methods.Find(all.back()->name), all.back());
  }
  size_t kept = 0;
  for (const auto& known : all) kept += known.use_count() > 1 ? 1 : 0;
  EXPECT_LE(kept, KnownMethods::kMethods);
  EXPECT_GE(kept, KnownMethods::kMethods / 2);  // not one place for all of them
}

TEST(KnownMethodsTest, ByManyThreads) {
  const auto client = *Client::Create();
  KnownMethods methods(client.get());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const std::string name = "/a.B/" + std::to_string((i * 7 + t) % 100);
        const auto known = methods.Find(name);
        if (known == nullptr) {
          methods.Keep(Make(*client, name));
        } else if (known->name != name) {
          ++wrong;
        }
        if (t == 0 && i % 100 == 0) (void)client->Reload(Settings());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace forbear::rpc
