#include "runtime/registry.h"

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/endpoint.h"
#include "core/quota.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

std::shared_ptr<SharedQuota> MakeQuota() {
  return std::make_shared<SharedQuota>(QuotaOptions{});
}

class Silent final : public Waiter {
 public:
  void Wake() override {}
};

TEST(RegistryTest, OneStatePerKey) {
  Registry<SharedQuota> r(10);
  const auto a = r.Get("a", At(0), MakeQuota);
  EXPECT_EQ(r.Get("a", At(1), MakeQuota), a);
  EXPECT_NE(r.Get("b", At(1), MakeQuota), a);
  EXPECT_EQ(r.Find("a"), a);
  EXPECT_EQ(r.Find("c"), nullptr);
  EXPECT_EQ(r.size(), 2u);
}

TEST(RegistryTest, BoundedAndForgetsTheLeastRecentlyUsed) {
  Registry<SharedQuota> r(20);
  for (int i = 0; i < 10000; ++i) {
    r.Get(absl::StrCat("key", i), At(i), MakeQuota);
    ASSERT_LE(r.size(), 20u);
    r.Get("used all the time", At(i), MakeQuota);
  }
  EXPECT_NE(r.Find("used all the time"), nullptr);
  EXPECT_NE(r.Find("key9999"), nullptr);
  EXPECT_EQ(r.Find("key0"), nullptr);
}

// Held by somebody, a permit out, somebody waiting, gate shut: never forgotten.
TEST(RegistryTest, NeverForgetsWhatIsBusy) {
  Registry<SharedQuota> r(4);
  std::shared_ptr<SharedQuota> held = r.Get("held", At(0), MakeQuota);
  WakeList wakes;
  {
    const auto out = r.Get("out", At(0), MakeQuota);
    (*out)->Ask({At(0), 1}, std::make_shared<Silent>(), At(0), At(10), &wakes);
  }
  {
    const auto gated = r.Get("gated", At(0), MakeQuota);
    const Quota::Answer a = (*gated)->Ask(
        {At(0), 1}, std::make_shared<Silent>(), At(0), At(10), &wakes);
    (*gated)->OnAnswer(a.permit, testing::ThrottledOutcome(absl::Hours(1)),
                       At(0), &wakes);
  }
  for (int i = 0; i < 100; ++i) r.Get(absl::StrCat("k", i), At(i), MakeQuota);
  EXPECT_EQ(r.Find("held"), held);
  EXPECT_NE(r.Find("out"), nullptr);
  EXPECT_NE(r.Find("gated"), nullptr);
  EXPECT_LE(r.size(), 4u);
  // When the gate has opened it may go.
  for (int i = 0; i < 100; ++i) {
    r.Get(absl::StrCat("late", i), At(4000 + i), MakeQuota);
  }
  EXPECT_EQ(r.Find("gated"), nullptr);
  EXPECT_EQ(r.Find("held"), held);
}

TEST(RegistryTest, ABusyRegistryServesNewKeysWithoutRememberingThem) {
  Registry<SharedQuota> r(2);
  const auto a = r.Get("a", At(0), MakeQuota);
  const auto b = r.Get("b", At(0), MakeQuota);
  const auto c = r.Get("c", At(0), MakeQuota);
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(r.Find("c"), nullptr);
  EXPECT_EQ(r.size(), 2u);
}

TEST(RegistryTest, KeepsAnEndpointWhoseBreakerIsOpen) {
  Registry<SharedEndpoint> r(2);
  const auto make = [] {
    return std::make_shared<SharedEndpoint>(EndpointOptions{}, At(0));
  };
  {
    const auto e = r.Get("broken", At(0), make);
    WakeList wakes;
    for (uint64_t i = 0; i < 3; ++i) {
      const Endpoint::Answer a =
          (*e)->Ask({At(0), i}, std::make_shared<Silent>(), At(0), At(10),
                    WhenOpen::kWait, &wakes);
      (*e)->OnAttemptDone(a.permit,
                          testing::TransientOutcome(Processed::kUnknown), false,
                          At(0), 0, &wakes);
    }
    ASSERT_EQ((*e)->breaker().state(), CircuitBreaker::State::kOpen);
  }
  for (int i = 0; i < 50; ++i) r.Get(absl::StrCat("k", i), At(i * 0.001), make);
  EXPECT_NE(r.Find("broken"), nullptr);
}

TEST(RegistryTest, ManyThreadsOneState) {
  Registry<SharedQuota> r(8);
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  std::vector<std::set<SharedQuota*>> seen(4);
  // Keys that stay in use have one state for all threads.
  std::vector<std::shared_ptr<SharedQuota>> keep;
  for (int k = 0; k < 4; ++k) {
    keep.push_back(r.Get(absl::StrCat("keep", k), At(0), MakeQuota));
  }
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5000; ++i) {
        seen[t].insert(
            r.Get(absl::StrCat("keep", i % 4), At(i), MakeQuota).get());
        r.Get(absl::StrCat("t", t, "-", i), At(i), [&] {
          made.fetch_add(1);
          return MakeQuota();
        });
      }
    });
  }
  for (std::thread& t : threads) t.join();
  for (const auto& s : seen) EXPECT_EQ(s.size(), 4u);
  EXPECT_EQ(made.load(), 20000);
  EXPECT_LE(r.size(), 8u);
}

}  // namespace
}  // namespace forbear
