// AWS's retry specification, end to end: whole calls through the machine, the
// shared states and the budget, in virtual time.
//
// Rows: smithy-rs (rust-runtime/aws-smithy-runtime/src/client/retries), botocore
// (tests/unit/retries), aws-c-io (tests/standard_retry_test.c). Their tables have
// the random number at 1, as Jitter::kNone has.
//
// Where we decide otherwise (docs/conformance.md):
//  | theirs | ours, and why |
//  | a throttled attempt backs off for up to 1 s, 2 s, … of its own | it shuts its
//    quota's gate for 0.25 s, doubling with every barren episode: one caller finds
//    out, the others wait for it |
//  | a throttled retry pays before its wait | when it leaves the queue: a hundred
//    callers that wait would hold all tokens |
//  | max_attempts bounds throttled attempts | time does: three tries never outlast
//    the window of a rate limit |
//  | a server's wait is cut to 5 s above the own backoff | never sooner than the
//    server asked |
//  | a time-out costs 10 (2.0), 14 (2.1) | one cost for all transient failures, as
//    in 2.1 |
//  | a capacity of 0, long polling | a capacity is at least 1; long polls are calls
//    like others |
//  | aws-c-io spends what is left | nothing is spent when it is less than the cost
//    (as smithy and botocore) |
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "tests/core/scripted_calls.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

constexpr double kNoRetry = -1;

Outcome Ok() { return testing::OkOutcome(); }
Outcome Failed(std::optional<absl::Duration> wait = std::nullopt) {
  return testing::TransientOutcome(Processed::kUnknown, wait);
}
Outcome NeverSent() { return testing::TransientOutcome(Processed::kNo); }
Outcome Throttled() { return testing::ThrottledOutcome(std::nullopt); }
Outcome Permanent() {
  Outcome outcome;
  outcome.kind = ErrorKind::kPermanent;
  return outcome;
}

EndpointOptions Endpoints(int capacity, int cost, int throttled_cost) {
  EndpointOptions options;
  options.breaker.enabled = false;
  options.budget.capacity = capacity;
  options.budget.transient_cost = cost;
  options.budget.throttled_cost = throttled_cost;
  return options;
}

RetryOptions Retries(double base, int max_attempts) {
  RetryOptions options;
  options.backoff.initial = absl::Seconds(base);
  options.backoff.jitter = Jitter::kNone;
  options.max_attempts = max_attempts;
  options.max_elapsed = absl::Hours(24);
  return options;
}

struct Step {
  Outcome outcome;
  double delay;  // before the next attempt; kNoRetry: there is none
  int level;     // of the quota after the decision
};

struct Sequence {
  const char* id;
  int capacity;
  int cost;
  int throttled_cost;
  double base;
  int max_attempts;
  std::vector<Step> steps;
};

TEST(AwsRetryTest, Sequences) {
  const Sequence kSequences[] = {
      {"v20_eventual_success",
       500,
       5,
       5,
       1,
       5,
       {{Failed(), 1, 495}, {Failed(), 2, 490}, {Ok(), kNoRetry, 495}}},
      {"v20_no_quota",
       5,
       5,
       5,
       1,
       5,
       {{Failed(), 1, 0}, {Failed(), kNoRetry, 0}}},
      {"v20_backoff_timing",
       500,
       5,
       5,
       1,
       5,
       {{Failed(), 1, 495},
        {Failed(), 2, 490},
        {Failed(), 4, 485},
        {Failed(), 8, 480},
        {Failed(), kNoRetry, 480}}},
      {"v21_eventual_success",
       500,
       14,
       5,
       0.05,
       3,
       {{Failed(), 0.05, 486}, {Failed(), 0.1, 472}, {Ok(), kNoRetry, 486}}},
      {"v21_quota_reached_after_one_retry",
       14,
       14,
       5,
       0.05,
       5,
       {{Failed(), 0.05, 0}, {Failed(), kNoRetry, 0}}},
      {"v21_quota_exhausted_partial: the rest is not spent",
       20,
       14,
       5,
       0.05,
       5,
       {{Failed(), 0.05, 6}, {Failed(), kNoRetry, 6}}},
      {"v21_throttling; deviation: theirs waits 1 s",
       500,
       14,
       5,
       0.05,
       3,
       {{Throttled(), 0.25, 495}, {Ok(), kNoRetry, 500}}},
      {"v21_dynamodb_25ms_4_attempts",
       500,
       14,
       5,
       0.025,
       4,
       {{Failed(), 0.025, 486},
        {Failed(), 0.05, 472},
        {Failed(), 0.1, 458},
        {Failed(), kNoRetry, 458}}},
      {"v21_long_poll_empty_quota_throttled; deviation: theirs sleeps before "
       "it "
       "returns the error, and has a capacity of 0",
       4,
       4,
       5,
       0.05,
       5,
       {{Throttled(), kNoRetry, 4}}},
      {"v21_long_poll_non_retryable_no_delay",
       500,
       14,
       5,
       0.05,
       2,
       {{Permanent(), kNoRetry, 500}}},
  };
  for (const Sequence& s : kSequences) {
    SCOPED_TRACE(s.id);
    // A cost above the capacity does not pass validation; the machine takes it.
    ScriptedCalls calls(Endpoints(s.capacity, s.cost, s.throttled_cost));
    std::vector<Outcome> script;
    for (const Step& step : s.steps) script.push_back(step.outcome);
    const ScriptedCalls::Result r =
        calls.Call(Retries(s.base, s.max_attempts), script);
    ASSERT_EQ(r.levels.size(), s.steps.size());
    for (size_t i = 0; i < s.steps.size(); ++i) {
      EXPECT_EQ(r.levels[i], s.steps[i].level) << "attempt " << i + 1;
      if (s.steps[i].delay == kNoRetry) {
        EXPECT_EQ(i, r.delays.size());
      } else {
        ASSERT_LT(i, r.delays.size());
        EXPECT_NEAR(absl::ToDoubleSeconds(r.delays[i]), s.steps[i].delay, 1e-9)
            << "attempt " << i + 1;
      }
    }
  }
}

TEST(AwsRetryTest, AFailedCallReturnsNothing) {
  // botocore: the second and last attempt fails; 486 stay.
  ScriptedCalls calls(Endpoints(500, 14, 5));
  EXPECT_EQ(calls.Call(Retries(0.05, 2), {Failed()}).levels.back(), 486);
  EXPECT_EQ(calls.Call(Retries(0.05, 2), {Failed(), Permanent()}).levels.back(),
            472);
}

TEST(AwsRetryTest, BucketsArePerEndpoint) {
  // aws-c-io: 15 tokens, 10 for a transient failure, per partition.
  ScriptedCalls one(Endpoints(15, 10, 5));
  ScriptedCalls other(Endpoints(15, 10, 5));
  EXPECT_EQ(one.Call(Retries(0.05, 5), {Failed()}).reason,
            StopReason::kBudgetExhausted);
  EXPECT_EQ(one.level(), 5);
  EXPECT_EQ(one.Call(Retries(0.05, 5), {Failed()}).attempts(), 1);
  EXPECT_EQ(other.Call(Retries(0.05, 5), {Failed()}).attempts(), 2);
}

// What can be observed from outside: of calls that all fail, so many retry.
TEST(AwsRetryTest, HowManyFailingCallsRetry) {
  struct Row {
    int cost;
    int twice;  // so many calls retry twice
    int once;   // and the next so many once
  };
  // 2.0: 500 / 5 = 100 retries. 2.1: 500 / 14 = 35.
  for (const Row& row : {Row{5, 50, 0}, Row{14, 17, 1}}) {
    ScriptedCalls calls(Endpoints(500, row.cost, 5));
    std::vector<int> attempts;
    attempts.reserve(60);
    for (int i = 0; i < 60; ++i) {
      attempts.push_back(calls.Call(Retries(0.05, 3), {Failed()}).attempts());
    }
    std::vector<int> expected(60, 1);
    std::fill_n(expected.begin(), row.twice, 3);
    std::fill_n(expected.begin() + row.twice, row.once, 2);
    EXPECT_EQ(attempts, expected) << row.cost;
  }
}

// Theirs: min(max(wait, own), own + 5 s), with own 0.05 s. Ours: no cut, and a
// thousandth or two on top, since the server's clock is not ours.
TEST(AwsRetryTest, AServersWaitIsNeitherCutNorShortened) {
  struct Row {
    const char* origin = "";
    std::optional<double> wait;
    double theirs = 0;
    double ours = 0;
  };
  const Row kRows[] = {
      {"botocore x-amz-retry-after 1500", 1.5, 1.5, 1.5},
      {"botocore x-amz-retry-after 0", 0.0, 0.05, 0.05},
      {"botocore x-amz-retry-after 10000; deviation", 10.0, 5.05, 10.0},
      {"botocore x-amz-retry-after invalid", std::nullopt, 0.05, 0.05},
      {"botocore x-amz-retry-after -100: it does not parse", std::nullopt, 0.05,
       0.05},
      {"smithy-rs 3 s", 3.0, 3.0, 3.0},
      {"smithy-rs 0.01 s: below the own backoff", 0.01, 0.05, 0.05},
      {"smithy-rs 10 s; deviation", 10.0, 5.05, 10.0},
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.origin);
    ScriptedCalls calls(Endpoints(500, 14, 5));
    std::optional<absl::Duration> wait;
    if (row.wait) wait = absl::Seconds(*row.wait);
    const ScriptedCalls::Result r =
        calls.Call(Retries(0.05, 3), {Failed(wait), Ok()});
    ASSERT_EQ(r.delays.size(), 1u);
    const double delay = absl::ToDoubleSeconds(r.delays[0]);
    // 0.25 s is what a gate is shut for when the wait is zero or too short.
    EXPECT_GE(delay, row.ours);
    EXPECT_LE(delay, std::max(row.ours * 1.002 + 0.0031,
                              row.wait && *row.wait <= 0 ? 0.2501 : 0.0));
    EXPECT_EQ(r.levels, (std::vector<int>{486, 500}));
  }
}

// ---- The rules, on made-up rows: the quota is a ledger, and delays are bounded.

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  double Unit() { return UnitRandom(seed_, n_++); }
  int Between(int low, int high) {
    return low + static_cast<int>(Unit() * (high - low + 1));
  }

 private:
  const uint64_t seed_;
  uint64_t n_ = 0;
};

TEST(AwsRetryTest, TheQuotaIsALedger) {
  int64_t attempts = 0;
  int64_t refused = 0;
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Dice dice(seed);
    const int capacity = dice.Between(1, dice.Unit() < 0.5 ? 60 : 600);
    const int cost = dice.Between(0, std::min(capacity, 20));
    const int throttled_cost = dice.Between(0, std::min(capacity, 20));
    RetryOptions retry =
        Retries(0.001 * dice.Between(1, 3000), dice.Between(1, 12));
    retry.backoff.max =
        std::max(retry.backoff.initial, absl::Seconds(dice.Between(1, 20)));
    retry.backoff.jitter = dice.Unit() < 0.5 ? Jitter::kNone : Jitter::kFull;
    ScriptedCalls calls(Endpoints(capacity, cost, throttled_cost));
    int level = capacity;  // the ledger
    for (int call = 0; call < 30; ++call) {
      std::vector<Outcome> script;
      const int failures = dice.Between(0, dice.Unit() < 0.5 ? 2 : 14);
      for (int i = 0; i < failures; ++i) {
        const double what = dice.Unit();
        script.push_back(what < 0.6   ? Failed()
                         : what < 0.8 ? Throttled()
                                      : NeverSent());
      }
      script.push_back(dice.Unit() < 0.8 ? Ok() : Permanent());
      const ScriptedCalls::Result r = calls.Call(retry, script);

      // The same, from the specification.
      std::vector<int> levels;
      int counted = 0;
      bool free_used = false;
      int last_cost = 0;
      StopReason reason = StopReason::kNone;
      for (size_t i = 0; reason == StopReason::kNone; ++i) {
        const Outcome& o = script[i];
        const std::string where =
            absl::StrCat("seed ", seed, " call ", call, " attempt ", i + 1);
        if (o.kind == ErrorKind::kOk) {
          level = std::min(capacity, level + (i == 0 ? 1 : last_cost));
          reason = StopReason::kSuccess;
        } else if (o.kind == ErrorKind::kPermanent) {
          reason = StopReason::kPermanentError;
        } else {
          const bool transient = o.kind == ErrorKind::kTransient;
          const bool free =
              transient && o.processed == Processed::kNo && !free_used;
          if (free) free_used = true;
          if (transient && !free) ++counted;
          const int price = free ? 0 : transient ? cost : throttled_cost;
          if (transient && counted >= retry.max_attempts) {
            reason = StopReason::kAttemptsExhausted;
          } else if (level < price) {
            reason = StopReason::kBudgetExhausted;
            ++refused;
          } else {
            level -= price;
            last_cost = price;
            ASSERT_LT(i, r.delays.size()) << where;
            const double ceiling =
                std::min(absl::ToDoubleSeconds(retry.backoff.max),
                         absl::ToDoubleSeconds(retry.backoff.initial) *
                             std::pow(2.0, std::max(1, counted) - 1));
            const double delay = absl::ToDoubleSeconds(r.delays[i]);
            // A gate that a throttled attempt shut may hold this one as well.
            if (transient && retry.backoff.jitter == Jitter::kNone) {
              ASSERT_GE(delay, ceiling - 1e-9) << where;
            }
            if (!transient) {
              ASSERT_GE(delay, 0.25) << where;
            }
          }
        }
        levels.push_back(level);
        ++attempts;
      }
      ASSERT_EQ(r.reason, reason) << "seed " << seed << " call " << call;
      ASSERT_EQ(r.levels, levels) << "seed " << seed << " call " << call;
      ASSERT_EQ(calls.level(), level);
      calls.Advance(absl::Hours(1));
    }
  }
  std::printf("%lld attempts, %lld refused by the budget\n",
              static_cast<long long>(attempts),
              static_cast<long long>(refused));
  EXPECT_GT(refused, 1000);
}

// Without gates, the n-th delay is uniform from zero to its ceiling.
TEST(AwsRetryTest, DelaysAreUniformUnderTheirCeilings) {
  RetryOptions retry = Retries(0.05, 12);
  retry.backoff.jitter = Jitter::kFull;
  // v21_random1.
  const double kCeilings[] = {0.05, 0.1, 0.2,  0.4,  0.8, 1.6,
                              3.2,  6.4, 12.8, 20.0, 20.0};
  std::vector<double> sums(11, 0);
  constexpr int kCalls = 2000;
  ScriptedCalls calls(Endpoints(1000000, 0, 0));
  for (int call = 0; call < kCalls; ++call) {
    const ScriptedCalls::Result r = calls.Call(retry, {Failed()});
    ASSERT_EQ(r.delays.size(), 11u);
    for (size_t i = 0; i < 11; ++i) {
      const double share = absl::ToDoubleSeconds(r.delays[i]) / kCeilings[i];
      ASSERT_GE(share, 0);
      ASSERT_LE(share, 1);
      sums[i] += share;
    }
  }
  for (const double sum : sums) EXPECT_NEAR(sum / kCalls, 0.5, 0.03);
}

// smithy-rs, adaptive mode: 50 tasks whose first sends are throttled; in the next
// 200 rounds of 0.1 s there are more than 100 sends. (Ours are fewer than 50 at
// first: an endpoint that nobody knows is not sent everything at once.)
TEST(AwsRetryTest, FiftyThrottledCallersRecover) {
  testing::SimOptions options;
  testing::Simulation sim(options);
  sim.SetServer([&sim](const testing::SimSend& send) {
    testing::SimReply reply;
    reply.outcome =
        send.time - sim.start() < absl::Seconds(0.1) ? Throttled() : Ok();
    return reply;
  });
  for (int i = 0; i < 50; ++i) sim.AddCall({});
  for (int i = 0; i < 400; ++i) {
    testing::SimCallOptions call;
    call.start = absl::Seconds(0.05 * i);
    sim.AddCall(call);
  }
  sim.Run(absl::Seconds(20));
  EXPECT_EQ(sim.Faults(), "");
  EXPECT_GT(sim.SendsBetween(absl::Seconds(0.1), absl::Seconds(20)), 100);
}

}  // namespace
}  // namespace forbear
