// Client::Reload: all of the new settings, or nothing of them.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_match.h"
#include "core/cost.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "core/rate_limiter.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "runtime/call.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

class NeverWoken final : public Waiter {
 public:
  void Wake() override {}
};

CallRoute RouteTo(absl::string_view host) {
  CallRoute route;
  route.host = host;
  return route;
}

Settings Named(const std::string& name, int max_attempts) {
  Settings settings;
  settings.name = name;
  settings.retry.max_attempts = max_attempts;
  settings.retry.backoff.initial = absl::ZeroDuration();
  settings.endpoint.breaker.enabled = false;
  settings.endpoint.budget.enabled = false;
  return settings;
}

TEST(ReloadTest, FaultySettingsChangeNothing) {
  const auto client = *Client::Create(ClientOptions(Named("first", 2)));
  const auto before = client->policies();
  Settings bad = Named("second", 0);
  bad.max_targets = 0;
  bad.targets.emplace_back(bad);
  const absl::Status status = client->Reload(bad);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* fault : {"retry.max_attempts is 0", "max_targets is 0",
                            "targets[0].match is empty"}) {
    EXPECT_TRUE(absl::StrContains(status.message(), fault)) << status;
  }
  EXPECT_EQ(client->policies(), before);
  EXPECT_EQ(client->TopPolicy()->name, "first");
}

TEST(ReloadTest, VersionsGrowAndOldOnesLiveAsLongAsTheyAreHeld) {
  const auto client = *Client::Create(ClientOptions(Named("first", 2)));
  const PolicyRef first = client->PolicyOf(RouteTo("a"));
  ASSERT_TRUE(client->Reload(Named("second", 3)).ok());
  const PolicyRef second = client->PolicyOf(RouteTo("a"));
  EXPECT_GT(second.table->version(), first.table->version());
  EXPECT_EQ(first->name, "first");
  EXPECT_EQ(second->name, "second");
  // What Create was given, for who wants it.
  EXPECT_EQ(client->options().name, "first");
}

TEST(ReloadTest, TheSwitch) {
  const auto client = *Client::Create();
  Settings off;
  off.enabled = false;
  ASSERT_TRUE(client->Reload(off).ok());
  EXPECT_FALSE(client->enabled());
  ASSERT_TRUE(client->Reload(Settings()).ok());
  EXPECT_TRUE(client->enabled());
}

TEST(ReloadTest, ABoundThatShrinks) {
  const auto client = *Client::Create();
  const MonotonicTime now;
  const auto get = [&](int i) {
    return client->QuotaOf(absl::StrCat("k", i), now);
  };
  for (int i = 0; i < 100; ++i) (void)get(i);
  Settings small;
  small.max_targets = 10;
  ASSERT_TRUE(client->Reload(small).ok());
  (void)get(1000);
  int left = 0;
  for (int i = 0; i < 100; ++i) {
    left += client->ClearGate(absl::StrCat("k", i)) ? 1 : 0;
  }
  EXPECT_LE(left, 10);
}

// A call keeps what it found at its beginning, while others find the new.
TEST(ReloadTest, ACallKeepsItsPolicy) {
  const auto client = *Client::Create(ClientOptions(Named("first", 2)));
  CallRequest request;
  request.idempotent = true;
  request.quota_key = request.endpoint_key = "k";
  const auto waiter = std::make_shared<NeverWoken>();
  Call old_call(client.get(), request, waiter);
  old_call.Begin();
  ASSERT_TRUE(client->Reload(Named("second", 4)).ok());
  Call new_call(client.get(), request, waiter);
  new_call.Begin();
  for (Call* call : {&old_call, &new_call}) {
    Action action;
    while (call->NextAction(&action)) {
      if (action.type == Action::Type::kStartAttempt) {
        call->OnAttemptDone(action.attempt,
                            testing::TransientOutcome(Processed::kUnknown));
      } else if (action.type == Action::Type::kWaitUntil) {
        call->OnTimer();
      }
    }
    EXPECT_EQ(call->record().stop_reason, StopReason::kAttemptsExhausted);
  }
  EXPECT_EQ(old_call.record().names.policy(), "first");
  EXPECT_EQ(old_call.record().total_attempts, 2);
  EXPECT_EQ(new_call.record().names.policy(), "second");
  EXPECT_EQ(new_call.record().total_attempts, 4);
}

// ---- Shared states.

Settings WithLimit(int64_t per_hour) {
  Settings settings;
  RateLimitOptions limit;
  limit.name = "rph";
  limit.amount = per_hour;
  limit.per = absl::Hours(1);
  settings.quota.limits = {limit};
  return settings;
}

int64_t LeftIn(const QuotaRef& quota) {
  return (*quota)->limiter()->LevelOf(0, MonotonicNow()).left;
}

TEST(ReloadTest, LevelsScale) {
  const auto client = *Client::Create(ClientOptions(WithLimit(100)));
  const auto quota = client->QuotaOf("k", MonotonicNow());
  {
    WakeList wakes;
    Cost cost;
    cost.requests = 75;
    (void)(*quota)->Ask({MonotonicNow(), 1}, std::make_shared<NeverWoken>(),
                        cost, MonotonicNow(), MonotonicTime::Infinite(),
                        &wakes);
  }
  EXPECT_EQ(LeftIn(quota), 25);
  ASSERT_TRUE(client->Reload(WithLimit(1000)).ok());
  EXPECT_GE(LeftIn(quota), 249);
  EXPECT_LE(LeftIn(quota), 255);
  EXPECT_EQ(client->QuotaOf("k", MonotonicNow()), quota);
}

class Waker final : public Waiter {
 public:
  void Wake() override { ++woken; }
  std::atomic<int> woken{0};
};

TEST(ReloadTest, WhoWaitsIsToldOfTheNewLimit) {
  const auto client = *Client::Create(ClientOptions(WithLimit(1)));
  CallRequest request;
  request.quota_key = request.endpoint_key = "k";
  request.deadline = MonotonicNow() + absl::Hours(10);
  const auto waker = std::make_shared<Waker>();
  Call first(client.get(), request, waker);
  first.Begin();
  Call second(client.get(), request, waker);
  second.Begin();
  Action action;
  ASSERT_TRUE(second.NextAction(&action));
  ASSERT_EQ(action.type, Action::Type::kWaitUntil);
  ASSERT_TRUE(client->Reload(WithLimit(1000000)).ok());
  EXPECT_EQ(waker->woken, 1);
  second.OnWake();
  // A full bucket of one was left empty: what is empty stays so, but fills fast.
  while (second.NextAction(&action) &&
         action.type == Action::Type::kWaitUntil) {
    EXPECT_LT(action.time - MonotonicNow(), absl::Seconds(1));
    second.OnTimer();
  }
  EXPECT_EQ(action.type, Action::Type::kStartAttempt);
}

TEST(ReloadTest, TheBreakerStaysOpenAndGetsTheNewOptions) {
  Settings settings;
  settings.endpoint.breaker.first_failures = 1;
  settings.endpoint.breaker.min_open = absl::Hours(1);
  settings.endpoint.breaker.max_open = absl::Hours(2);
  const auto client = *Client::Create(ClientOptions(settings));
  const MonotonicTime now = MonotonicNow();
  const auto endpoint = client->EndpointOf("k", now);
  const auto ask = [&] {
    WakeList wakes;
    return (*endpoint)->Ask({now, 1}, std::make_shared<NeverWoken>(),
                            MonotonicNow(), now + absl::Hours(9),
                            WhenOpen::kWait, &wakes);
  };
  const Endpoint::Answer answer = ask();
  {
    WakeList wakes;
    (*endpoint)->OnAttemptDone(answer.permit,
                               testing::TransientOutcome(Processed::kUnknown),
                               /*head_seen=*/false, now, 0.0, &wakes);
  }
  EXPECT_EQ(ask().verdict, Verdict::kWait);
  settings.endpoint.max_waiters = 7;
  ASSERT_TRUE(client->Reload(settings).ok());
  EXPECT_EQ(ask().verdict, Verdict::kWait);
  settings.endpoint.breaker.enabled = false;
  ASSERT_TRUE(client->Reload(settings).ok());
  EXPECT_EQ(ask().verdict, Verdict::kGo);
}

// A target that gets a quota of its own leaves its host's, and comes back to it.
TEST(ReloadTest, StatesOfATargetThatIsGone) {
  Settings with = WithLimit(10);
  TargetPolicy target(with);
  target.name = "t";
  target.match.hosts = {"a"};
  target.own_quota = true;
  target.quota.limits[0].amount = 20;
  with.targets = {target};
  const auto client = *Client::Create(ClientOptions(with));
  const auto quota = [&] {
    WakeList wakes;
    return client->QuotaOf("k", client->PolicyOf(RouteTo("a")), MonotonicNow(),
                           &wakes);
  };
  const auto own = quota();
  EXPECT_EQ(LeftIn(own), 20);
  ASSERT_TRUE(client->Reload(WithLimit(5)).ok());
  EXPECT_NE(quota(), own);
  EXPECT_EQ(LeftIn(quota()), 5);
  EXPECT_EQ(LeftIn(own), 20);  // for those who hold it
  with.targets[0].quota.limits[0].amount = 40;
  ASSERT_TRUE(client->Reload(with).ok());
  EXPECT_EQ(quota(), own);  // it was not idle for long enough to be forgotten
  EXPECT_EQ(LeftIn(own), 40);
}

// A call that found the old settings makes a state while they change: the next call
// brings the new options along.
TEST(ReloadTest, AStateThatWasMadeFromOldSettingsCatchesUp) {
  const auto client = *Client::Create(ClientOptions(WithLimit(10)));
  const PolicyRef old = client->TopPolicy();
  ASSERT_TRUE(client->Reload(WithLimit(20)).ok());
  WakeList wakes;
  const auto quota = client->QuotaOf("k", old, MonotonicNow(), &wakes);
  EXPECT_EQ(LeftIn(quota), 10);
  EXPECT_EQ(client->QuotaOf("k", MonotonicNow()), quota);
  EXPECT_EQ(LeftIn(quota), 20);
  // And an old call does not take it back.
  EXPECT_EQ(client->QuotaOf("k", old, MonotonicNow(), &wakes), quota);
  EXPECT_EQ(LeftIn(quota), 20);
}

// Many calls while settings change: the name, the number of attempts and the
// target's own number belong together, always.
TEST(ReloadTest, NoCallSeesAMixture) {
  const auto settings = [](int n) {
    Settings s = Named(absl::StrCat("top-", n), n);
    TargetPolicy target(s);
    target.name = absl::StrCat("target-", n + 10);
    target.match.hosts = {"a"};
    target.retry.max_attempts = n + 10;
    s.targets = {target};
    return s;
  };
  const auto client = *Client::Create(ClientOptions(settings(1)));
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 400 || !done; ++i) {
        const PolicyRef ref =
            client->PolicyOf(RouteTo((t + i) % 2 == 0 ? "a" : "b"));
        CallRequest request;
        request.idempotent = true;
        request.quota_key = request.endpoint_key = absl::StrCat("k", i % 3);
        request.policy = ref;
        Call call(client.get(), request, std::make_shared<NeverWoken>());
        call.Begin();
        Action action;
        while (call.NextAction(&action)) {
          if (action.type == Action::Type::kStartAttempt) {
            call.OnAttemptDone(action.attempt,
                               testing::TransientOutcome(Processed::kUnknown));
          } else if (action.type == Action::Type::kWaitUntil) {
            call.OnTimer();
          }
        }
        call.TakeAftermath().Deliver();
        const std::string expected =
            absl::StrCat((t + i) % 2 == 0 ? "target-" : "top-",
                         call.record().total_attempts);
        if (call.record().names.policy() != expected) ++wrong;
        if (ref.table->top().retry.max_attempts + 10 !=
            ref.table->targets()[0].retry.max_attempts) {
          ++wrong;
        }
      }
    });
  }
  for (int n = 0; n < 300; ++n) {
    ASSERT_TRUE(client->Reload(settings(1 + n % 5)).ok());
    std::this_thread::yield();
  }
  done = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace forbear
