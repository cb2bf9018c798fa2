#include "runtime/client.h"

#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_match.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/retry_policy.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

// Sets an environment variable for a while.
class Env {
 public:
  Env(const char* name, const char* value) : name_(name) {
    setenv(name, value, 1);
  }
  ~Env() { unsetenv(name_); }

 private:
  const char* const name_;
};

class Waker final : public Waiter {
 public:
  void Wake() override { ++woken; }
  int woken = 0;
};

TEST(ClientTest, DefaultsAreValid) {
  const auto client = Client::Create();
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE((*client)->enabled());
  EXPECT_FALSE((*client)->logs());
  EXPECT_EQ(Client::Default(), Client::Default());
}

TEST(ClientTest, EveryFaultIsListedWithItsPathAtOnce) {
  ClientOptions o;
  o.retry.max_attempts = 0;
  o.retry.max_elapsed = -absl::Seconds(1);
  o.retry.attempt_timeout = absl::ZeroDuration();
  o.retry.call_timeout = absl::ZeroDuration();
  o.retry.max_believed_wait = absl::ZeroDuration();
  o.retry.backoff.initial = -absl::Seconds(1);
  o.retry.backoff.multiplier = std::numeric_limits<double>::quiet_NaN();
  o.retry.backoff.max = absl::InfiniteDuration();
  o.quota.max_waiters = 0;
  o.endpoint.max_waiters = -1;
  o.endpoint.breaker.failure_ratio = std::numeric_limits<double>::quiet_NaN();
  o.endpoint.breaker.min_calls = 0;
  o.endpoint.breaker.window = absl::ZeroDuration();
  o.endpoint.breaker.first_failures = 0;
  o.endpoint.breaker.min_open = absl::ZeroDuration();
  o.endpoint.breaker.max_open = -absl::Seconds(1);
  o.endpoint.breaker.successes_to_close = 0;
  o.endpoint.breaker.probe_lease = absl::ZeroDuration();
  o.endpoint.budget.capacity = 0;
  o.endpoint.budget.transient_cost = -1;
  o.endpoint.budget.throttled_cost = -1;
  o.max_targets = 0;
  const auto client = Client::Create(o);
  ASSERT_FALSE(client.ok());
  EXPECT_EQ(client.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string text(client.status().message());
  for (const char* path : {"retry.max_attempts is 0",
                           "retry.max_elapsed is -1s",
                           "retry.attempt_timeout is 0",
                           "retry.call_timeout is 0",
                           "retry.max_believed_wait is 0",
                           "retry.backoff.initial is -1s",
                           "retry.backoff.multiplier is nan",
                           "retry.backoff.max is inf",
                           "quota.max_waiters is 0",
                           "endpoint.max_waiters is -1",
                           "endpoint.breaker.failure_ratio is nan",
                           "endpoint.breaker.min_calls is 0",
                           "endpoint.breaker.window is 0",
                           "endpoint.breaker.first_failures is 0",
                           "endpoint.breaker.min_open is 0",
                           "endpoint.breaker.max_open is -1s",
                           "endpoint.breaker.successes_to_close is 0",
                           "endpoint.breaker.probe_lease is 0",
                           "endpoint.budget.capacity is 0",
                           "endpoint.budget.transient_cost is -1",
                           "endpoint.budget.throttled_cost is -1",
                           "max_targets is 0"}) {
    EXPECT_TRUE(absl::StrContains(text, path)) << path << " not in: " << text;
  }
  // Each says what would be right.
  EXPECT_TRUE(absl::StrContains(text, "it must be 1 … 100")) << text;
}

TEST(ClientTest, OffFromOutsideAndFromInside) {
  {
    const Env off("FORBEAR_OFF", "1");
    EXPECT_FALSE((*Client::Create())->enabled());
  }
  for (const char* no : {"0", ""}) {
    const Env off("FORBEAR_OFF", no);
    EXPECT_TRUE((*Client::Create())->enabled()) << no;
  }
  ClientOptions o;
  o.enabled = false;
  EXPECT_FALSE((*Client::Create(o))->enabled());
  // Faults are faults also when it is off.
  o.max_targets = 0;
  EXPECT_FALSE(Client::Create(o).ok());
}

TEST(ClientTest, LogFromOutside) {
  const Env log("FORBEAR_LOG", "1");
  EXPECT_TRUE((*Client::Create())->logs());
  // The application's own log wins.
  ClientOptions o;
  int lines = 0;
  o.log = [&](absl::string_view) { ++lines; };
  const auto client = *Client::Create(o);
  client->options().log("x");
  EXPECT_EQ(lines, 1);
}

TEST(ClientTest, LogFromOutsideIsALineOnStderr) {
  const Env log("FORBEAR_LOG", "1");
  const auto client = *Client::Create();
  ::testing::internal::CaptureStderr();
  client->options().log("call 1: over");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "forbear: call 1: over\n");
}

TEST(ClientTest, KeysShareAndDoNotMix) {
  const auto client = *Client::Create();
  const MonotonicTime now;
  EXPECT_EQ(client->QuotaOf("a", now), client->QuotaOf("a", now));
  EXPECT_NE(client->QuotaOf("a", now), client->QuotaOf("b", now));
  EXPECT_EQ(client->EndpointOf("a", now), client->EndpointOf("a", now));
  EXPECT_NE((*Client::Create())->QuotaOf("a", now), client->QuotaOf("a", now));
}

TEST(ClientTest, CallIdsAreUniqueAcrossThreads) {
  const auto client = *Client::Create();
  std::vector<std::vector<uint64_t>> ids(4);
  std::vector<std::thread> threads;
  for (auto& mine : ids) {
    threads.emplace_back([&client, &mine] {
      for (int i = 0; i < 2000; ++i) mine.push_back(client->NextCallId());
    });
  }
  for (std::thread& t : threads) t.join();
  std::set<uint64_t> all;
  for (const auto& mine : ids) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), 8000u);
  EXPECT_EQ(all.count(0), 0u);
}

TEST(ClientTest, ClearGateWakesAndOpens) {
  const auto client = *Client::Create();
  const MonotonicTime now = MonotonicTime::FromNanos(1000);
  const auto quota = client->QuotaOf("q", now);
  WakeList wakes;
  const auto waker = std::make_shared<Waker>();
  const MonotonicTime limit = now + absl::Hours(2);
  const Quota::Answer a = (*quota)->Ask({now, 1}, waker, now, limit, &wakes);
  (*quota)->OnAnswer(a.permit, testing::ThrottledOutcome(absl::Hours(1)), now,
                     &wakes);
  ASSERT_EQ((*quota)->Ask({now, 2}, waker, now, limit, &wakes).verdict,
            Verdict::kWait);
  EXPECT_FALSE(client->ClearGate("unknown"));
  EXPECT_TRUE(client->ClearGate("q"));
  EXPECT_EQ(waker->woken, 1);
  EXPECT_EQ((*quota)->Ask({now, 2}, waker, now, limit, &wakes).verdict,
            Verdict::kGo);
}

TEST(ClientTest, ClearGateOfAnEndpoint) {
  const auto client = *Client::Create();
  const MonotonicTime now = MonotonicTime::FromNanos(1000);
  const MonotonicTime limit = now + absl::Hours(2);
  const auto endpoint = client->EndpointOf("e", now);
  const auto waker = std::make_shared<Waker>();
  WakeList wakes;
  const auto ask = [&](uint64_t id) {
    return (*endpoint)->Ask({now, id}, waker, now, limit, WhenOpen::kWait,
                            &wakes);
  };
  const Endpoint::Answer a = ask(1);
  (*endpoint)->OnAttemptDone(
      a.permit, testing::TransientOutcome(Processed::kUnknown, absl::Hours(1)),
      /*head_seen=*/false, now, 0.0, &wakes);
  ASSERT_EQ(ask(2).verdict, Verdict::kWait);
  EXPECT_TRUE(client->ClearGate("e"));
  EXPECT_EQ(waker->woken, 1);
  EXPECT_EQ(ask(2).verdict, Verdict::kGo);
}

// --- Vendors' profiles. ---

std::string ProfileFile(const std::string& name, const std::string& id,
                        const std::string& host) {
  const char* const folder = std::getenv("TEST_TMPDIR");
  std::string path =
      absl::StrCat(folder != nullptr ? folder : "/tmp", "/", name);
  std::ofstream file(path);
  file << R"({"id":")" << id << R"(","date":"2026-11-25",)"
       << R"("sources":[{"tag":"I","what":"this test"}],"hosts":[")" << host
       << R"("]})";
  return path;
}

TEST(ClientTest, WhichProfileACallHas) {
  Settings settings;
  TargetPolicy target;
  target.name = "t";
  target.match.hosts = {"gateway.example"};
  target.profile = "anthropic";
  settings.targets.push_back(target);
  const auto client = *Client::Create(ClientOptions(settings));
  const auto id = [&](absl::string_view named, absl::string_view host) {
    CallRoute route;
    route.host = host;
    const ProfileRef ref =
        client->ProfileOf(named, *client->PolicyOf(route), host);
    return ref.profile != nullptr ? ref.profile->id : "none";
  };
  EXPECT_EQ(id("", "api.openai.com"), "openai");
  EXPECT_EQ(id("", "other.example"), "generic");
  EXPECT_EQ(id("", "gateway.example"), "anthropic");
  EXPECT_EQ(id("groq", "gateway.example"), "groq");
  EXPECT_EQ(id("nobody", "gateway.example"), "none");

  // With a reload, for calls that begin from then on.
  settings.targets[0].profile = "";
  settings.profile = "stripe";
  settings.profile_files = {ProfileFile("mine.json", "mine", "a.example")};
  ASSERT_TRUE(client->Reload(settings).ok());
  EXPECT_EQ(id("", "api.openai.com"), "stripe");
  EXPECT_EQ(id("", "gateway.example"), "generic");
  EXPECT_EQ(id("mine", ""), "mine");
  settings.profile = "nobody";
  EXPECT_EQ(client->Reload(settings).message(),
            "forbear::Settings: profile is \"nobody\", which no profile has as "
            "its id");
  EXPECT_EQ(id("", "api.openai.com"), "stripe");
}

TEST(ClientTest, EveryFaultOfProfiles) {
  ClientOptions options;
  options.profile = "Open AI";
  options.profiles = {"", "openai"};
  options.profile_files = {""};
  absl::Status status = Client::Create(options).status();
  for (const char* fault :
       {"profile is \"Open AI\"; it must be the id of a profile",
        "profiles[0] is \"\"; it must be the id of a profile",
        "profile_files[0]'s length is 0; it must be 1 … 4096"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), fault)) << status;
  }
  options = ClientOptions();
  options.profiles.assign(257, "openai");
  options.profile_files.assign(257, "x");
  status = Client::Create(options).status();
  EXPECT_TRUE(absl::StrContains(status.message(), "profiles' number is 257"));
  EXPECT_TRUE(
      absl::StrContains(status.message(), "profile_files' number is 257"));

  // What only shows when they are read.
  options = ClientOptions();
  options.profiles = {"nobody"};
  options.profile_files = {"/nowhere/x.json",
                           ProfileFile("bad.json", "Bad", "a.example")};
  status = Client::Create(options).status();
  for (const char* fault :
       {"profile_files: /nowhere/x.json cannot be read",
        "bad.json: /id is \"Bad\"", "there is no profile \"nobody\""}) {
    EXPECT_TRUE(absl::StrContains(status.message(), fault)) << status;
  }
  options = ClientOptions();
  options.profile_set = ProfileSet::BuiltIn();
  EXPECT_TRUE(Client::Create(options).ok());
  options.profiles = {"openai"};
  EXPECT_TRUE(absl::StrContains(Client::Create(options).status().message(),
                                "must be empty beside a profile_set"));
}

}  // namespace
}  // namespace forbear
