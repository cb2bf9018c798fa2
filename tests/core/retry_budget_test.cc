// RetryBudget: what AWS's and gRPC's implementations test, through the whole machine
// where that matters; against 64 bits; reloads.

#include "core/retry_budget.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

BudgetOptions Capacity(int capacity) {
  BudgetOptions o;
  o.capacity = capacity;
  return o;
}

// ---- AWS retry 2.1 (and 2.0, whose numbers are options of ours).
//
// From the tests of smithy-rs (rust-runtime/aws-smithy-runtime/src/client/retries),
// botocore (tests/unit/retries/test_standard_retry_v2_1.py) and aws-c-io
// (tests/standard_retry_test.c). Each goes through the whole machine: what the
// budget holds when an attempt leaves, how long it waited, what is left.
//
// | theirs | ours, and why |
// | --- | --- |
// | 2.0: a time-out costs 10 | as any transient failure: what a time-out costs is
//   the time |
// | a throttled retry waits 1 s doubling | its quota's gate: 0.25 s doubling, once
//   for all callers of the key, and they leave one by one |
// | a throttled retry is charged before its wait | when its turn has come |
// | x-amz-retry-after is clamped to [t, t + 5 s] | never clamped: honoured, or the
//   call is refused with retry_at |
// | aws-c-io: too little is left, and is spent | a remainder smaller than the cost
//   is not spent (smithy, botocore) |
// | long polling: sleep once when the bucket is empty | not known here |
// | smithy's bucket refills with time, if asked | only successes refill |
// | a retry whose request was never processed costs as another | free, the first
//   of a call |

struct AwsStep {
  char outcome;     // s: server error, t: throttled, n: never processed, o: ok
  int quota_after;  // when the next attempt leaves; of the last one: at the end
  double delay;     // before the next attempt; below 0: not looked at
};

struct AwsSequence {
  const char* id;
  int capacity;
  int transient_cost;
  int throttled_cost;
  double base;
  int max_attempts;
  StopReason ends;
  std::vector<AwsStep> steps;
};

TEST(RetryBudgetTest, AwsSequences) {
  for (const AwsSequence& q : std::vector<AwsSequence>{
           {"v20_eventual_success",
            500,
            5,
            5,
            1,
            5,
            StopReason::kSuccess,
            {{'s', 495, 1}, {'s', 490, 2}, {'o', 495, 0}}},
           {"v20_no_quota",
            5,
            5,
            5,
            1,
            5,
            StopReason::kBudgetExhausted,
            {{'s', 0, 1}, {'s', 0, 0}}},
           {"v20_backoff_timing",
            500,
            5,
            5,
            1,
            5,
            StopReason::kAttemptsExhausted,
            {{'s', 495, 1},
             {'s', 490, 2},
             {'s', 485, 4},
             {'s', 480, 8},
             {'s', 480, 0}}},
           {"v21_eventual_success",
            500,
            14,
            5,
            0.05,
            3,
            StopReason::kSuccess,
            {{'s', 486, 0.05}, {'s', 472, 0.1}, {'o', 486, 0}}},
           {"v21_quota_reached_after_one_retry",
            14,
            14,
            5,
            0.05,
            5,
            StopReason::kBudgetExhausted,
            {{'s', 0, 0.05}, {'s', 0, 0}}},
           {"v21_quota_exhausted_partial",
            20,
            14,
            5,
            0.05,
            5,
            StopReason::kBudgetExhausted,
            {{'s', 6, 0.05}, {'s', 6, 0}}},
           {"v21_throttling",
            500,
            14,
            5,
            0.05,
            3,
            StopReason::kSuccess,
            {{'t', 495, -1}, {'o', 500, 0}}},
           {"v21_dynamodb_25ms_4_attempts",
            500,
            14,
            5,
            0.025,
            4,
            StopReason::kAttemptsExhausted,
            {{'s', 486, 0.025},
             {'s', 472, 0.05},
             {'s', 458, 0.1},
             {'s', 458, 0}}},
           {"boto_failed_call_returns_nothing",
            500,
            14,
            5,
            0.05,
            2,
            StopReason::kAttemptsExhausted,
            {{'s', 486, 0.05}, {'s', 486, 0}}},
           {"retry_after_bounds, quota",
            500,
            14,
            5,
            0.05,
            3,
            StopReason::kSuccess,
            {{'s', 486, 0.05}, {'o', 500, 0}}},
           {"ours: free when unprocessed",
            500,
            14,
            5,
            0.05,
            3,
            StopReason::kSuccess,
            {{'n', 500, 0.05}, {'n', 486, 0.05}, {'o', 500, 0}}},
           {"ours: a throttled retry is cheaper than what is left",
            20,
            14,
            5,
            0.05,
            3,
            StopReason::kSuccess,
            {{'s', 6, 0.05}, {'t', 1, -1}, {'o', 6, 0}}}}) {
    SCOPED_TRACE(q.id);
    testing::SimOptions options;
    options.endpoint.breaker.enabled = false;
    options.endpoint.budget.capacity = q.capacity;
    options.endpoint.budget.transient_cost =
        std::min(q.transient_cost, q.capacity);
    options.endpoint.budget.throttled_cost = q.throttled_cost;
    testing::Simulation sim(options);
    std::vector<int> levels;
    std::vector<double> times;
    sim.SetServer([&](const testing::SimSend& send) {
      levels.push_back(sim.endpoint().budget().level());
      times.push_back(absl::ToDoubleSeconds(send.time - sim.start()));
      testing::SimReply r;
      r.head = absl::ZeroDuration();
      switch (q.steps[levels.size() - 1].outcome) {
        case 's':
          r.outcome = testing::TransientOutcome(Processed::kUnknown);
          break;
        case 't':
          r.outcome = testing::ThrottledOutcome(std::nullopt);
          break;
        case 'n':
          r.outcome = testing::TransientOutcome(Processed::kNo);
          break;
        default:
          r.outcome = testing::OkOutcome();
      }
      return r;
    });
    testing::SimCallOptions call;
    call.retry.max_attempts = q.max_attempts;
    call.retry.backoff.jitter = Jitter::kNone;
    call.retry.backoff.initial = absl::Seconds(q.base);
    sim.AddCall(call);
    sim.Run();
    EXPECT_EQ(sim.Faults(), "");
    EXPECT_EQ(sim.calls()[0].record().stop_reason, q.ends);
    ASSERT_EQ(levels.size(), q.steps.size());
    for (size_t i = 0; i + 1 < levels.size(); ++i) {
      EXPECT_EQ(levels[i + 1], q.steps[i].quota_after) << i;
      if (q.steps[i].delay >= 0) {
        EXPECT_NEAR(times[i + 1] - times[i], q.steps[i].delay, 1e-9) << i;
      }
    }
    EXPECT_EQ(sim.endpoint().budget().level(), q.steps.back().quota_after);
  }
}

// "500 tokens / (2 retries x 5) = 50 failing calls do 2 retries each, the 51st
// does none": request_metadata of the same sources; with 2.1's cost, 17 do.
TEST(RetryBudgetTest, TheFiftyFirstFailingCallIsNotRetried) {
  for (int cost : {5, 14}) {
    testing::SimOptions options;
    options.endpoint.breaker.enabled = false;
    options.endpoint.budget.transient_cost = cost;
    testing::Simulation sim(options);
    sim.SetServer([](const testing::SimSend&) {
      testing::SimReply r;
      r.outcome = testing::TransientOutcome(Processed::kUnknown);
      return r;
    });
    for (int i = 0; i < 60; ++i) {
      testing::SimCallOptions call;
      call.start = absl::Seconds(10) * i;
      sim.AddCall(call);
    }
    sim.Run();
    const int full = 500 / (2 * cost);
    for (int i = 0; i < 60; ++i) {
      const CallRecord& r = sim.calls()[static_cast<size_t>(i)].record();
      const int left = 500 - full * 2 * cost;
      const int retries = i < full ? 2 : i == full && left >= cost ? 1 : 0;
      EXPECT_EQ(r.total_attempts, 1 + retries) << i;
      EXPECT_EQ(r.stop_reason, i < full ? StopReason::kAttemptsExhausted
                                        : StopReason::kBudgetExhausted)
          << i;
    }
  }
}

// smithy-rs, the bucket alone (`quota_bucket`): bounded, 10 and 5.
TEST(RetryBudgetTest, ABoundedBucketGrantsTwo) {
  BudgetOptions o = Capacity(10);
  o.transient_cost = 5;
  RetryBudget b(o);
  EXPECT_TRUE(b.Withdraw(5));
  EXPECT_TRUE(b.Withdraw(5));
  EXPECT_FALSE(b.Withdraw(5));
  EXPECT_TRUE(b.Withdraw(0));
}

// aws-c-io's awsc_bucket15: 15 tokens, 10 and 5, buckets of their own for each
// partition. Theirs ends at 0 after "any" failure with 5 left; ours has spent
// exactly what it granted.
TEST(RetryBudgetTest, AwsCIoBucketOf15) {
  RetryBudget partition(Capacity(15));
  EXPECT_TRUE(partition.Withdraw(10));
  EXPECT_EQ(partition.level(), 5);
  EXPECT_TRUE(partition.Withdraw(5));
  EXPECT_EQ(partition.level(), 0);
  EXPECT_FALSE(partition.Withdraw(10));
  EXPECT_FALSE(partition.Withdraw(5));
  RetryBudget other(Capacity(15));
  EXPECT_TRUE(other.Withdraw(10));
  EXPECT_EQ(other.level(), 5);
}

// ---- gRPC A6, retryThrottling: test/core/client_channel/retry_throttle_test.cc
// of gRPC 1.51.1.

BudgetOptions Throttle(int max_tokens, double token_ratio) {
  BudgetOptions o;
  o.mode = BudgetMode::kThrottle;
  o.max_tokens = max_tokens;
  o.token_ratio = token_ratio;
  return o;
}

struct ThrottleStep {
  char what;  // f: a failure, then the question; o: a success
  double tokens;
  bool retry = false;
};

void RunThrottle(RetryBudget* b, const std::vector<ThrottleStep>& steps) {
  int i = 0;
  for (const ThrottleStep& s : steps) {
    SCOPED_TRACE(i++);
    if (s.what == 'o') {
      b->OnSuccess();
    } else {
      b->OnFailure();
      EXPECT_EQ(b->Withdraw(b->costs().transient), s.retry);
    }
    EXPECT_NEAR(static_cast<double>(b->milli_level()), s.tokens * 1000, 1e-6);
  }
}

TEST(RetryBudgetTest, GrpcThrottling) {
  RetryBudget b(Throttle(4, 1.6));
  RunThrottle(&b, {{'f', 3, true},
                   {'o', 4},
                   {'f', 3, true},
                   {'f', 2, false},
                   {'f', 1, false},
                   {'f', 0, false},
                   {'f', 0, false},
                   {'o', 1.6},
                   {'o', 3.2},
                   {'f', 2.2, true},
                   {'f', 1.2, false},
                   {'o', 2.8},
                   {'f', 1.8, false},
                   {'o', 3.4},
                   {'f', 2.4, true}});
}

TEST(RetryBudgetTest, GrpcThrottlingKeepsItsProportionOnReload) {
  RetryBudget b(Throttle(4, 1));
  RunThrottle(&b, {{'f', 3, true}});
  b.Reconfigure(Throttle(10, 3));
  EXPECT_EQ(b.milli_level(), 7500);
  RunThrottle(&b, {{'f', 6.5, true},
                   {'f', 5.5, true},
                   {'f', 4.5, false},
                   {'f', 3.5, false},
                   {'o', 6.5},
                   {'f', 5.5, true},
                   {'f', 4.5, false}});
}

// A retry that costs nothing, of what was never sent, goes also from an empty bucket.
TEST(RetryBudgetTest, NothingIsAlwaysGranted) {
  RetryBudget throttles(Throttle(10, 0.1));
  for (int i = 0; i < 20; ++i) throttles.OnFailure();
  ASSERT_FALSE(throttles.Withdraw(1));
  EXPECT_TRUE(throttles.Withdraw(0));
  BudgetOptions o;
  o.capacity = o.transient_cost = 14;
  RetryBudget costs(o);
  ASSERT_TRUE(costs.Withdraw(14));
  EXPECT_TRUE(costs.Withdraw(0));
  EXPECT_EQ(costs.level(), 0);
}

// smithy-rs `quota_bucket`: a reward of 0.4 makes 0, 0 and 1 whole tokens; one of
// 2.0 fills up to the brim and no further.
TEST(RetryBudgetTest, FractionsOfATokenAddUp) {
  RetryBudget b(Throttle(10, 0.4));
  for (int i = 0; i < 20; ++i) b.OnFailure();
  EXPECT_EQ(b.level(), 0);
  for (int whole : {0, 0, 1}) {
    b.OnSuccess();
    EXPECT_EQ(b.level(), whole);
  }
  RetryBudget two(Throttle(10, 2.0));
  for (int i = 0; i < 20; ++i) two.OnSuccess();
  EXPECT_EQ(two.level(), 10);
  // A6: digits beyond the third do not count; a thousandth as written does.
  for (const auto& [ratio, milli] :
       {std::make_pair(0.5466, 546), std::make_pair(0.29, 290),
        std::make_pair(0.001, 1), std::make_pair(0.0019, 1),
        std::make_pair(1000.0, 1000000)}) {
    RetryBudget r(Throttle(1000, ratio));
    for (int i = 0; i < 2000; ++i) r.OnFailure();
    r.OnSuccess();
    EXPECT_EQ(r.milli_level(), milli) << ratio;
  }
}

// Through the machine: what counts, and what does not.
TEST(RetryBudgetTest, GrpcThrottlingCountsAttemptsNotRetries) {
  const auto tokens_after = [](const std::vector<Outcome>& answers,
                               bool idempotent, int attempts) {
    testing::SimOptions options;
    options.endpoint.breaker.enabled = false;
    options.endpoint.budget = Throttle(10, 0.5);
    testing::Simulation sim(options);
    size_t sends = 0;
    sim.SetServer([&](const testing::SimSend&) {
      testing::SimReply r;
      r.outcome = answers[std::min(sends++, answers.size() - 1)];
      return r;
    });
    testing::SimCallOptions call;
    call.idempotent = idempotent;
    call.retry.max_attempts = 5;
    sim.AddCall(call);
    sim.Run();
    EXPECT_EQ(sim.Faults(), "");
    EXPECT_EQ(sends, static_cast<size_t>(attempts));
    return static_cast<double>(sim.endpoint().budget().milli_level()) / 1000;
  };
  const Outcome ok = testing::OkOutcome();
  const Outcome bad = testing::TransientOutcome(Processed::kUnknown);
  const Outcome unseen = testing::TransientOutcome(Processed::kNo);
  Outcome forbidden = bad;
  forbidden.retry_forbidden = true;
  Outcome permanent;
  permanent.kind = ErrorKind::kPermanent;
  permanent.status = 404;
  // A failure takes one, whether it is retried or not; a success gives a half.
  EXPECT_EQ(tokens_after({bad, ok}, true, 2), 9.5);
  EXPECT_EQ(tokens_after({bad}, false, 1), 9);
  EXPECT_EQ(tokens_after({forbidden}, true, 1), 9);
  // With the fifth, half of them are gone: throttled.
  EXPECT_EQ(tokens_after({bad}, true, 5), 5);
  // Other failures count for nothing, nor does a transparent retry.
  EXPECT_EQ(tokens_after({permanent}, true, 1), 10);
  EXPECT_EQ(tokens_after({unseen, ok}, true, 2), 10);
  EXPECT_EQ(tokens_after({unseen, unseen, ok}, true, 3), 9.5);
  // A throttled answer is a failure that may be retried.
  EXPECT_EQ(
      tokens_after({testing::ThrottledOutcome(std::nullopt), ok}, true, 2),
      9.5);
}

TEST(RetryBudgetTest, ThrottlingEndsRetriesOfADeadServer) {
  testing::SimOptions options;
  options.endpoint.breaker.enabled = false;
  options.endpoint.budget = Throttle(10, 0.1);
  testing::Simulation sim(options);
  sim.SetServer([](const testing::SimSend&) {
    testing::SimReply r;
    r.outcome = testing::TransientOutcome(Processed::kUnknown);
    return r;
  });
  for (int i = 0; i < 50; ++i) {
    testing::SimCallOptions call;
    call.start = absl::Seconds(1) * i;
    sim.AddCall(call);
  }
  sim.Run();
  EXPECT_EQ(sim.Faults(), "");
  EXPECT_LE(sim.sends().size(), 50u + 4);
  EXPECT_EQ(sim.endpoint().budget().milli_level(), 0);
  EXPECT_EQ(sim.calls()[49].record().stop_reason, StopReason::kBudgetExhausted);
}

// ---- Both.

TEST(RetryBudgetTest, ReconfigureKeepsHowFullItIs) {
  RetryBudget b(BudgetOptions{});
  ASSERT_TRUE(b.Withdraw(125));
  b.Reconfigure(Capacity(1000));
  EXPECT_EQ(b.level(), 750);
  // Another mode: three quarters of ten.
  b.Reconfigure(Throttle(10, 0.1));
  EXPECT_EQ(b.milli_level(), 7500);
  b.OnFailure();
  EXPECT_TRUE(b.Withdraw(1));
  b.OnFailure();
  b.OnFailure();
  EXPECT_FALSE(b.Withdraw(1));
  b.Reconfigure(BudgetOptions{});
  EXPECT_EQ(b.level(), 225);
  b.Deposit(1);
  EXPECT_EQ(b.level(), 226);
  // The same again changes nothing; off and on again is full.
  b.Reconfigure(BudgetOptions{});
  EXPECT_EQ(b.level(), 226);
  BudgetOptions off;
  off.enabled = false;
  b.Reconfigure(off);
  EXPECT_TRUE(b.Withdraw(400));
  b.Reconfigure(BudgetOptions{});
  EXPECT_EQ(b.level(), 500);
  // The largest and the smallest.
  b.Reconfigure(Capacity(1));
  b.Reconfigure(Capacity(1000000));
  EXPECT_EQ(b.level(), 1000000);
  ASSERT_TRUE(b.Withdraw(999999));
  b.Reconfigure(Capacity(1));
  EXPECT_EQ(b.milli_level(), 0);  // rounded down
}

TEST(RetryBudgetTest, AnOutageGetsThirtyFiveRetries) {
  RetryBudget b(BudgetOptions{});
  int retries = 0;
  while (b.Withdraw(14)) ++retries;
  EXPECT_EQ(retries, 35);
  // … and then one for fourteen clean successes.
  for (int i = 0; i < 4; ++i) b.Deposit(1);
  EXPECT_EQ(b.level(), 14);
  EXPECT_TRUE(b.Withdraw(14));
  for (int i = 0; i < 13; ++i) b.Deposit(1);
  EXPECT_FALSE(b.Withdraw(14));
  b.Deposit(1);
  EXPECT_TRUE(b.Withdraw(14));
}

TEST(RetryBudgetTest, OffGrantsEverythingAndKeepsNothing) {
  BudgetOptions o = Capacity(1);
  o.transient_cost = 1;
  o.throttled_cost = 1;
  o.enabled = false;
  RetryBudget b(o);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(b.Withdraw(14));
  EXPECT_EQ(b.level(), 1);
}

TEST(RetryBudgetTest, ExactAndBoundedAgainstATwin) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    uint64_t n = 0;
    const int capacity =
        1 + static_cast<int>(UnitRandom(seed, n++) * (seed % 2 ? 50 : 1000000));
    RetryBudget b(Capacity(capacity));
    int64_t twin = capacity;
    for (int i = 0; i < 500; ++i) {
      const int amount =
          static_cast<int>(UnitRandom(seed, n++) * capacity * 1.2);
      if (UnitRandom(seed, n++) < 0.5) {
        const bool enough = twin >= amount;
        ASSERT_EQ(b.Withdraw(amount), enough);
        if (enough) twin -= amount;
      } else {
        b.Deposit(amount);
        twin = std::min<int64_t>(capacity, twin + amount);
      }
      ASSERT_EQ(b.level(), twin);
    }
    b.Deposit(2147483647);
    ASSERT_EQ(b.level(), capacity);
    ASSERT_EQ(b.milli_level(), b.milli_full());
  }
}

TEST(RetryBudgetTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  const auto faults = [](const BudgetOptions& o) {
    std::vector<std::string> all;
    ValidateBudget(o, "b", &all);
    return absl::StrJoin(all, "|");
  };
  EXPECT_EQ(faults({}), "");
  for (int v : {0, -1, 1000001}) {
    BudgetOptions o;
    o.capacity = v;
    EXPECT_NE(faults(o).find("b.capacity is "), std::string::npos) << v;
  }
  for (int v : {-1, 501}) {
    BudgetOptions o;
    o.transient_cost = v;
    EXPECT_EQ(faults(o).find("b.transient_cost is "), 0u) << v;
    BudgetOptions t;
    t.throttled_cost = v;
    EXPECT_EQ(faults(t).find("b.throttled_cost is "), 0u) << v;
  }
  // "throttle_tokens_over_1000", "throttle_negative_ratio" (gRPC A6).
  for (int v : {0, -1, 1001}) {
    EXPECT_EQ(faults(Throttle(v, 1)).find("b.max_tokens is "), 0u) << v;
  }
  for (double v :
       {0.0, -1.0, 0.0009, 1000.1, std::numeric_limits<double>::quiet_NaN(),
        std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(faults(Throttle(2, v)).find("b.token_ratio is "), 0u) << v;
  }
  BudgetOptions mode;
  mode.mode = static_cast<BudgetMode>(9);
  EXPECT_EQ(faults(mode), "b.mode is 9, which this version does not know");
}

TEST(RetryBudgetTest, NamesAreStable) {
  EXPECT_EQ(BudgetModeName(BudgetMode::kCost), "cost");
  EXPECT_EQ(BudgetModeName(BudgetMode::kThrottle), "throttle");
  EXPECT_EQ(BudgetModeName(static_cast<BudgetMode>(9)), "?");
}

}  // namespace
}  // namespace forbear
