// Quota: what one throttled answer does to all callers of a key. Single steps
// here, whole crowds in the simulation.

#include "core/quota.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/cost.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/rate_limiter.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

class Named final : public Waiter {
 public:
  void Wake() override { ++woken; }
  int woken = 0;
};

class QuotaTest : public ::testing::Test {
 protected:
  Quota::Answer Ask(uint64_t id, double now, double limit = 1000) {
    const Quota::Answer a =
        quota_.Ask({At(0), id}, Waiter(id), At(now), At(limit), &wakes_);
    return a;
  }
  std::shared_ptr<Named> Waiter(uint64_t id) {
    if (waiters_.size() <= id) waiters_.resize(id + 1);
    if (waiters_[id] == nullptr) waiters_[id] = std::make_shared<Named>();
    return waiters_[id];
  }
  // Who was woken since the last time.
  std::string Woken() {
    for (const auto& w : wakes_) w->Wake();
    wakes_.clear();
    std::vector<size_t> ids;
    for (size_t i = 0; i < waiters_.size(); ++i) {
      if (waiters_[i] != nullptr && waiters_[i]->woken > 0) ids.push_back(i);
      if (waiters_[i] != nullptr) waiters_[i]->woken = 0;
    }
    return absl::StrJoin(ids, " ");
  }

  Quota quota_{QuotaOptions{}};
  WakeList wakes_;
  std::vector<std::shared_ptr<Named>> waiters_;
};

TEST_F(QuotaTest, OneThrottledAnswerStopsAllAndOneGoesFirst) {
  const Quota::Answer a = Ask(1, 0);
  ASSERT_EQ(a.verdict, Verdict::kGo);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(2)),
                  At(0.1), &wakes_);
  const Quota::Answer head = Ask(2, 0.2);
  ASSERT_EQ(head.verdict, Verdict::kWait);
  EXPECT_EQ(head.source, DelaySource::kGate);
  EXPECT_GE(head.until, At(2.1));
  const Quota::Answer second = Ask(3, 0.2);
  ASSERT_EQ(second.verdict, Verdict::kWait);
  EXPECT_TRUE(second.until.is_infinite());  // woken when it becomes the head
  EXPECT_EQ(Woken(), "");
  // The head may go; the next is woken and waits for it.
  const Quota::Answer go = Ask(2, 2.2);
  ASSERT_EQ(go.verdict, Verdict::kGo);
  EXPECT_EQ(Woken(), "3");
  const Quota::Answer lease = Ask(3, 2.2);
  ASSERT_EQ(lease.verdict, Verdict::kWait);
  EXPECT_EQ(lease.source, DelaySource::kQueue);
  EXPECT_EQ(lease.until, At(3.2));
  quota_.OnAnswer(go.permit, testing::OkOutcome(), At(2.3), &wakes_);
  EXPECT_EQ(Woken(), "3");
  EXPECT_FALSE(quota_.pacer().confirming());
}

TEST_F(QuotaTest, RefusedConfirmingCallerTellsTheHead) {
  const Quota::Answer a = Ask(1, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(0),
                  &wakes_);
  Ask(2, 0);
  Ask(3, 0);
  const Quota::Answer confirm = Ask(2, 1.1);
  ASSERT_EQ(confirm.verdict, Verdict::kGo);
  EXPECT_EQ(Woken(), "3");
  EXPECT_EQ(Ask(3, 1.1).until, At(2.1));  // the lease
  // Refused with a wait that ends before the lease.
  quota_.OnAnswer(confirm.permit,
                  testing::ThrottledOutcome(absl::Milliseconds(100)), At(1.2),
                  &wakes_);
  EXPECT_EQ(Woken(), "3");
  EXPECT_LT(Ask(3, 1.2).until, At(1.35));
}

TEST_F(QuotaTest, WhoCannotWaitEndsAtOnce) {
  const Quota::Answer a = Ask(1, 0);
  Quota::Answer other = Ask(2, 0);
  quota_.OnAnswer(other.permit, testing::ThrottledOutcome(absl::Seconds(1)),
                  At(0), &wakes_);
  EXPECT_EQ(Ask(3, 0, /*limit=*/5).verdict, Verdict::kWait);
  EXPECT_EQ(Ask(4, 0, /*limit=*/50).verdict, Verdict::kWait);
  EXPECT_EQ(Ask(5, 0, /*limit=*/5).verdict, Verdict::kWait);
  EXPECT_EQ(Ask(6, 0, /*limit=*/0.5).verdict, Verdict::kRefuse);
  // Exactly at the limit nothing is sent any more.
  const MonotonicTime open = quota_.pacer().gate_until();
  Quota::Answer edge = quota_.Ask({At(0), 7}, Waiter(7), At(0), open, &wakes_);
  EXPECT_EQ(edge.verdict, Verdict::kRefuse);
  EXPECT_EQ(edge.reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(edge.until, open);
  EXPECT_EQ(Woken(), "");
  // A straggler asks for more: those who cannot are woken, and only they.
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(10)),
                  At(0.1), &wakes_);
  EXPECT_EQ(Woken(), "3 5");
  EXPECT_EQ(Ask(5, 0.1, 5).verdict, Verdict::kRefuse);
  EXPECT_EQ(Ask(3, 0.1, 5).verdict, Verdict::kRefuse);
  // The doomed head that left made the next one the head.
  EXPECT_EQ(Woken(), "4");
  EXPECT_EQ(quota_.queue().size(), 1u);
}

TEST_F(QuotaTest, LeavingAndReturningWakeTheNext) {
  const Quota::Answer a = Ask(1, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(0),
                  &wakes_);
  Ask(2, 0);
  Ask(3, 0);
  Ask(4, 0);
  quota_.Leave({At(0), 3}, &wakes_);  // not the head: nobody's business
  EXPECT_EQ(Woken(), "");
  quota_.Leave({At(0), 2}, &wakes_);
  EXPECT_EQ(Woken(), "4");
  Ask(5, 0);
  const Quota::Answer go = Ask(4, 1.1);
  ASSERT_EQ(go.verdict, Verdict::kGo);
  EXPECT_EQ(Woken(), "5");
  EXPECT_EQ(Ask(5, 1.1).verdict, Verdict::kWait);
  quota_.Return(go.permit, &wakes_);
  EXPECT_EQ(Woken(), "5");
  EXPECT_EQ(Ask(5, 1.1).verdict, Verdict::kGo);
}

TEST_F(QuotaTest, ThrottledRetryKeepsItsPlace) {
  const Quota::Answer a = Ask(5, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(0),
                  &wakes_);
  EXPECT_EQ(Ask(7, 0).verdict, Verdict::kWait);
  EXPECT_EQ(Ask(5, 0).verdict, Verdict::kWait);  // came earlier
  EXPECT_FALSE(Ask(5, 0).until.is_infinite());
  EXPECT_TRUE(Ask(7, 0).until.is_infinite());
}

TEST(QuotaBoundsTest, FurtherWaitersAreRefused) {
  QuotaOptions o;
  o.max_waiters = 2;
  Quota quota(o);
  WakeList wakes;
  const auto waiter = std::make_shared<Named>();
  const Quota::Answer a = quota.Ask({At(0), 1}, waiter, At(0), At(100), &wakes);
  EXPECT_FALSE(quota.IsIdle(At(0)));  // a permit is out
  quota.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(0),
                 &wakes);
  EXPECT_FALSE(quota.IsIdle(At(0.5)));  // gated
  EXPECT_TRUE(quota.IsIdle(At(2)));
  for (uint64_t id : {2, 3}) {
    EXPECT_EQ(quota.Ask({At(0), id}, waiter, At(0), At(100), &wakes).verdict,
              Verdict::kWait);
  }
  const Quota::Answer full =
      quota.Ask({At(0), 4}, waiter, At(0), At(100), &wakes);
  EXPECT_EQ(full.verdict, Verdict::kRefuse);
  EXPECT_EQ(full.reason, StopReason::kQueueFull);
  EXPECT_FALSE(quota.IsIdle(At(2)));  // somebody waits
  quota.ClearGate(&wakes);
  EXPECT_FALSE(wakes.empty());
  EXPECT_EQ(quota.Ask({At(0), 2}, waiter, At(0), At(100), &wakes).verdict,
            Verdict::kGo);
}

TEST(QuotaBoundsTest, TimesThatRunBackwardAreTakenAsEqual) {
  Quota quota(QuotaOptions{});
  WakeList wakes;
  const auto waiter = std::make_shared<Named>();
  const Quota::Answer a = quota.Ask({At(5), 1}, waiter, At(5), At(100), &wakes);
  quota.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(4),
                 &wakes);
  EXPECT_GE(quota.pacer().gate_until(), At(6));
}

TEST(QuotaBoundsTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  for (int v : {0, -1, 10000001}) {
    QuotaOptions o;
    o.max_waiters = v;
    std::vector<std::string> faults;
    ValidateQuota(o, "q", &faults);
    ASSERT_EQ(faults.size(), 1u) << v;
    EXPECT_EQ(faults[0].find("q.max_waiters is "), 0u);
  }
}

// ---- Our own limits.

Cost Input(int64_t tokens) {
  Cost cost;
  cost.input_tokens = tokens;
  return cost;
}

class QuotaLimitsTest : public QuotaTest {
 protected:
  static QuotaOptions Options() {
    QuotaOptions o;
    o.limits = {
        {"rpm", LimitUnit::kRequests, 60, absl::Minutes(1), 2},
        {"itpm", LimitUnit::kInputTokens, 6000, absl::Minutes(1), 1000}};
    return o;
  }
  QuotaLimitsTest() { quota_.Reconfigure(Options(), At(0), &wakes_); }

  Quota::Answer AskFor(uint64_t id, int64_t tokens, double now,
                       double limit = 1000) {
    return quota_.Ask({At(0), id}, Waiter(id), Input(tokens), At(now),
                      At(limit), &wakes_);
  }
  int64_t Left(size_t i, double now) {
    return quota_.limiter()->LevelOf(i, At(now)).left;
  }
};

TEST_F(QuotaLimitsTest, LeaveInTheOrderOfArrivalAsFastAsTheLimitsAllow) {
  ASSERT_EQ(AskFor(1, 500, 0).verdict, Verdict::kGo);
  ASSERT_EQ(AskFor(2, 100, 0).verdict, Verdict::kGo);
  // No request is left, and 400 tokens are.
  const Quota::Answer head = AskFor(3, 600, 0);
  ASSERT_EQ(head.verdict, Verdict::kWait);
  EXPECT_EQ(head.source, DelaySource::kLimiter);
  EXPECT_EQ(head.until, At(2));  // 200 tokens
  // A small one does not overtake a large one.
  const Quota::Answer small = AskFor(4, 1, 0);
  ASSERT_EQ(small.verdict, Verdict::kWait);
  EXPECT_EQ(small.source, DelaySource::kLimiter);
  EXPECT_TRUE(small.until.is_infinite());
  EXPECT_EQ(Woken(), "");
  EXPECT_EQ(AskFor(3, 600, 1.999).verdict, Verdict::kWait);
  EXPECT_EQ(AskFor(3, 600, 2).verdict, Verdict::kGo);
  EXPECT_EQ(Woken(), "4");
  EXPECT_EQ(AskFor(4, 1, 2).until, At(2.01));
  EXPECT_EQ(AskFor(4, 1, 2.01).verdict, Verdict::kGo);
  EXPECT_TRUE(quota_.queue().empty());
}

// Who comes last counts those before it.
TEST_F(QuotaLimitsTest, WhoCannotLeaveBeforeItsLimitIsRefusedAtOnce) {
  ASSERT_EQ(AskFor(1, 0, 0).verdict, Verdict::kGo);
  ASSERT_EQ(AskFor(2, 0, 0).verdict, Verdict::kGo);
  for (uint64_t id = 3; id <= 12; ++id) {
    ASSERT_EQ(AskFor(id, 0, 0).verdict, Verdict::kWait) << id;
  }
  // Ten go before it, one a second.
  const Quota::Answer refused = AskFor(13, 0, 0, /*limit=*/11);
  EXPECT_EQ(refused.verdict, Verdict::kRefuse);
  EXPECT_EQ(refused.reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(refused.source, DelaySource::kLimiter);
  EXPECT_EQ(refused.until, At(11));
  const Quota::Answer fits = AskFor(14, 0, 0, /*limit=*/11.001);
  EXPECT_EQ(fits.verdict, Verdict::kWait);
  // Those who gave up are not counted.
  for (uint64_t id = 3; id <= 9; ++id) quota_.Leave({At(0), id}, &wakes_);
  EXPECT_EQ(AskFor(15, 0, 0, /*limit=*/5).verdict, Verdict::kRefuse);
  EXPECT_EQ(AskFor(15, 0, 0, /*limit=*/5.001).verdict, Verdict::kWait);
  // All of those who wait do leave in time.
  for (uint64_t id : {10, 11, 12, 14, 15}) {
    const double now = 1.0 + static_cast<double>(id == 14   ? 3
                                                 : id == 15 ? 4
                                                            : id - 10);
    EXPECT_EQ(AskFor(id, 0, now).verdict, Verdict::kGo) << id;
  }
}

TEST_F(QuotaLimitsTest, WhatABurstCannotHoldIsRefusedForEver) {
  const Quota::Answer a = AskFor(1, 1001, 0);
  EXPECT_EQ(a.verdict, Verdict::kRefuse);
  EXPECT_EQ(a.reason, StopReason::kCostTooLarge);
  EXPECT_TRUE(a.until.is_infinite());
  // Also while others wait, and whatever its limit.
  ASSERT_EQ(AskFor(2, 1000, 0).verdict, Verdict::kGo);
  ASSERT_EQ(AskFor(3, 1000, 0).verdict, Verdict::kWait);
  EXPECT_EQ(quota_
                .Ask({At(0), 4}, Waiter(4), Input(2000), At(0),
                     MonotonicTime::Infinite(), &wakes_)
                .reason,
            StopReason::kCostTooLarge);
  EXPECT_EQ(quota_.queue().size(), 1u);
}

TEST_F(QuotaLimitsTest, ReturnGivesBackAllOfIt) {
  const Quota::Answer a = AskFor(1, 700, 0);
  ASSERT_EQ(AskFor(2, 700, 0).until, At(4));
  quota_.Return(a.permit, &wakes_);
  EXPECT_EQ(Woken(), "2");
  EXPECT_EQ(Left(0, 0), 2);
  EXPECT_EQ(Left(1, 0), 1000);
  EXPECT_EQ(AskFor(2, 700, 0).verdict, Verdict::kGo);
}

TEST_F(QuotaLimitsTest, WhatWasNeverSentComesBackAndNothingElse) {
  const auto left_after = [&](const Outcome& outcome) {
    Quota quota(Options());
    const Quota::Answer a =
        quota.Ask({At(0), 1}, Waiter(1), Input(700), At(0), At(1000), &wakes_);
    quota.OnAnswer(a.permit, outcome, At(0), &wakes_);
    return quota.limiter()->LevelOf(1, At(0)).left;
  };
  Outcome refused = testing::TransientOutcome(Processed::kNo);
  EXPECT_EQ(left_after(refused), 300);  // the server said 503
  refused.status = 0;                   // nobody was there
  EXPECT_EQ(left_after(refused), 1000);
  refused.processed = Processed::kUnknown;
  EXPECT_EQ(left_after(refused), 300);
  Outcome cancelled;
  cancelled.kind = ErrorKind::kCancelled;
  EXPECT_EQ(left_after(cancelled), 300);  // it may have arrived
  cancelled.processed = Processed::kNo;
  EXPECT_EQ(left_after(cancelled), 1000);
  EXPECT_EQ(left_after(testing::OkOutcome()), 300);
  // A throttled answer empties no limit, and fills none.
  EXPECT_EQ(left_after(testing::ThrottledOutcome(absl::Seconds(1))), 300);
}

TEST_F(QuotaLimitsTest, SettlingWakesTheHeadAndTheDoomed) {
  const Quota::Answer a = AskFor(1, 500, 0);
  const Quota::Answer b = AskFor(2, 500, 0);
  EXPECT_EQ(AskFor(3, 400, 0).until, At(4));
  EXPECT_EQ(AskFor(4, 10, 0, /*limit=*/50).verdict, Verdict::kWait);
  EXPECT_EQ(AskFor(5, 10, 0, /*limit=*/500).verdict, Verdict::kWait);
  quota_.OnAnswer(a.permit, testing::OkOutcome(), At(0), &wakes_);
  Woken();
  Usage usage;
  usage.input_tokens = 300;
  quota_.Settle(a.permit, usage, At(0), &wakes_);
  EXPECT_EQ(Woken(), "3");
  EXPECT_EQ(AskFor(3, 400, 0).until, At(2));
  // Six thousand more than was thought: a minute.
  usage.input_tokens = 6500;
  quota_.OnAnswer(b.permit, testing::OkOutcome(), At(0), &wakes_);
  Woken();
  quota_.Settle(b.permit, usage, At(0), &wakes_);
  EXPECT_EQ(Woken(), "4");
  EXPECT_EQ(AskFor(4, 10, 0, /*limit=*/50).verdict, Verdict::kRefuse);
  EXPECT_EQ(AskFor(3, 400, 0).until, At(62));
  // Nothing known: the estimate stands.
  quota_.Settle(Quota::Permit(), Usage(), At(0), &wakes_);
  EXPECT_EQ(Left(1, 0), -5800);
}

TEST_F(QuotaLimitsTest, TheGateAndTheLimitsBothHold) {
  const Quota::Answer a = AskFor(1, 1000, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(2)), At(0),
                  &wakes_);
  const Quota::Answer both = AskFor(2, 1000, 0);
  EXPECT_EQ(both.until, At(10));
  EXPECT_EQ(both.source, DelaySource::kLimiter);
  DelaySource source = DelaySource::kNone;
  EXPECT_EQ(quota_.NotBefore(Input(1000), At(0), &source), At(10));
  EXPECT_EQ(source, DelaySource::kLimiter);
  EXPECT_EQ(quota_.NotBefore(Input(1), At(0), &source),
            quota_.pacer().gate_until());
  EXPECT_EQ(source, DelaySource::kGate);
  const Quota::Answer gate = AskFor(0, 1, 0);  // before it, and cheap
  EXPECT_EQ(gate.until, quota_.pacer().gate_until());
  EXPECT_EQ(gate.source, DelaySource::kGate);
}

// A throttled retry comes before others; it is not known how many of those that
// wait it comes before, so it only counts itself.
TEST_F(QuotaLimitsTest, ARetryThatKeepsItsPlaceCountsItself) {
  ASSERT_EQ(AskFor(5, 0, 0).verdict, Verdict::kGo);
  ASSERT_EQ(AskFor(6, 0, 0).verdict, Verdict::kGo);
  for (uint64_t id = 7; id <= 12; ++id) AskFor(id, 0, 0);
  EXPECT_EQ(AskFor(5, 0, 0, /*limit=*/2).verdict, Verdict::kWait);
  EXPECT_EQ(AskFor(5, 0, 0, /*limit=*/2).until, At(1));
  EXPECT_EQ(AskFor(6, 0, 0, /*limit=*/2).verdict, Verdict::kWait);
  EXPECT_EQ(AskFor(6, 0, 0, /*limit=*/0.5).verdict, Verdict::kRefuse);
}

TEST_F(QuotaLimitsTest, ReconfigureKeepsWaitersAndLevels) {
  const Quota::Answer a = AskFor(1, 500, 0);
  const Quota::Answer b = AskFor(2, 500, 0);
  AskFor(3, 0, 0);
  AskFor(4, 0, 0);
  quota_.OnAnswer(b.permit, testing::OkOutcome(), At(0), &wakes_);
  EXPECT_EQ(Woken(), "3");
  QuotaOptions o = Options();
  o.limits[0].amount = 6000;
  o.limits[0].burst = 200;
  o.limits[1].amount = 12000;
  o.max_waiters = 1;
  quota_.Reconfigure(o, At(0), &wakes_);
  EXPECT_EQ(Woken(), "3");
  EXPECT_EQ(quota_.queue().size(), 2u);
  EXPECT_EQ(Left(0, 0), 0);
  EXPECT_EQ(AskFor(3, 0, 0).until, At(0.01));
  // The queue is full, for those who come now.
  EXPECT_EQ(AskFor(5, 0, 0).reason, StopReason::kQueueFull);
  // Without limits, everybody goes; what is out is from before.
  o.limits.clear();
  quota_.Reconfigure(o, At(0), &wakes_);
  EXPECT_EQ(Woken(), "3");
  EXPECT_EQ(AskFor(3, 5000000, 0).verdict, Verdict::kGo);
  EXPECT_EQ(AskFor(4, 0, 0).verdict, Verdict::kGo);
  quota_.Reconfigure(Options(), At(0), &wakes_);
  Usage usage;
  usage.input_tokens = 1000000;
  quota_.Settle(a.permit, usage, At(0), &wakes_);
  EXPECT_EQ(Left(1, 0), 1000);
}

// Limits are to be asked each time: there is no way past them.
TEST_F(QuotaLimitsTest, IsNeverCalm) {
  Quota without{QuotaOptions{}};
  for (Quota* quota : {&without, &quota_}) {
    for (int64_t i = 0; i < Pacer::kKnown; ++i) {
      const auto now = static_cast<double>(i);
      const Quota::Answer a =
          quota->Ask({At(now), 1}, Waiter(1), At(now), At(1000), &wakes_);
      ASSERT_EQ(a.verdict, Verdict::kGo);
      quota->OnAnswer(a.permit, testing::OkOutcome(), At(now), &wakes_);
    }
    EXPECT_EQ(quota->IsCalm(), quota == &without);
  }
  without.Reconfigure(Options(), At(1000), &wakes_);
  EXPECT_FALSE(without.IsCalm());
}

TEST_F(QuotaLimitsTest, ALimitThatIsNotFullIsNotForgotten) {
  EXPECT_TRUE(quota_.IsIdle(At(0)));
  const Quota::Answer a = AskFor(1, 600, 0);
  quota_.OnAnswer(a.permit, testing::OkOutcome(), At(0), &wakes_);
  EXPECT_FALSE(quota_.IsIdle(At(5.999)));
  EXPECT_TRUE(quota_.IsIdle(At(6)));
}

TEST_F(QuotaLimitsTest, ASnapshotForPeople) {
  const Quota::Answer a = AskFor(1, 600, 0);
  AskFor(2, 600, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(2)), At(0),
                  &wakes_);
  AskFor(3, 100, 0);
  const Quota::Snapshot s = quota_.SnapshotAt(At(0));
  EXPECT_EQ(s.waiting, 2);
  EXPECT_EQ(s.out, 0);
  ASSERT_TRUE(s.gate.has_value());
  EXPECT_GE(*s.gate, At(2));
  EXPECT_FALSE(s.pace.has_value());
  ASSERT_EQ(s.limits.size(), 2u);
  EXPECT_EQ(s.limits[0].name, "rpm");
  EXPECT_EQ(s.limits[1].name, "itpm");
  EXPECT_EQ(s.limits[1].unit, LimitUnit::kInputTokens);
  EXPECT_EQ(s.limits[1].level.left, 400);
  EXPECT_EQ(s.limits[1].level.full_at, At(6));
  Quota plain{QuotaOptions()};
  EXPECT_TRUE(plain.SnapshotAt(At(0)).limits.empty());
  EXPECT_FALSE(plain.SnapshotAt(At(0)).gate.has_value());
}

TEST(QuotaBoundsTest, FaultsOfLimitsHaveTheirPath) {
  QuotaOptions o;
  o.max_waiters = 0;
  o.limits.resize(1);
  std::vector<std::string> faults;
  ValidateQuota(o, "quota", &faults);
  ASSERT_EQ(faults.size(), 3u);
  EXPECT_EQ(faults[1].find("quota.limits[0].name has 0 bytes"), 0u);
  EXPECT_EQ(faults[2].find("quota.limits[0].amount is 0"), 0u);
}

// A crowd at a limit, with other calls coming between the locks, cancels and
// deadlines: what leaves is never more than the limit in any stretch of time,
// and nobody waits for nothing.
TEST(QuotaCrowdTest, NeverMoreThanTheLimit) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    testing::SimOptions options;
    options.seed = seed;
    options.quota.limits = {
        {"rps", LimitUnit::kRequests, 20, absl::Seconds(1), 5}};
    options.late = absl::Milliseconds(seed % 2);
    options.preempt = seed % 3 == 0 ? 0.2 : 0.0;
    testing::Simulation sim(options);
    sim.SetServer([](const testing::SimSend& send) {
      testing::SimReply r;
      r.head = absl::Milliseconds(20);
      r.outcome = send.call % 17 == 3 && send.attempt == 1
                      ? testing::TransientOutcome(Processed::kUnknown)
                      : testing::OkOutcome();
      return r;
    });
    for (int i = 0; i < 300; ++i) {
      testing::SimCallOptions call;
      call.start = absl::Milliseconds(17) * i;
      if (i % 5 == 0) call.deadline = absl::Seconds(2);
      if (i % 7 == 0) call.cancel = absl::Seconds(1.5);
      sim.AddCall(call);
    }
    sim.Run();
    SCOPED_TRACE(seed);
    EXPECT_EQ(sim.Faults(), "");
    const auto& sends = sim.sends();
    for (size_t i = 0; i < sends.size(); ++i) {
      for (size_t j = i + 5; j < sends.size(); ++j) {
        // From the i-th to the j-th: 5 at once, and 50 ms for each other one.
        ASSERT_GE(sends[j].time - sends[i].time,
                  absl::Milliseconds(50) * static_cast<int64_t>(j - i - 4))
            << i << " " << j;
      }
    }
    // Who could not fit was told at its beginning.
    for (const testing::Simulation::Call& call : sim.calls()) {
      if (call.record().stop_reason != StopReason::kWaitExceedsDeadline) {
        continue;
      }
      // (A timer that is late makes those behind it late.)
      if (call.record().total_attempts > 0 || seed % 2 != 0) continue;
      EXPECT_EQ(call.finished_at(), call.record().begin);
      EXPECT_TRUE(call.record().retry_at.has_value());
    }
    EXPECT_GT(sim.Ended(StopReason::kSuccess), 180);
  }
}

// Fifty callers, one throttled answer of 2 s: none before the gate opens, and
// then at most 5 (10 %) in the fullest 100 ms.
TEST(QuotaCrowdTest, FiftyCallersAfterOneThrottledAnswer) {
  for (double latency : {0.001, 0.01, 0.1, 0.3}) {
    for (double spread : {0.0, 1.0}) {
      testing::SimOptions options;
      testing::Simulation sim(options);
      bool refused = false;
      sim.SetServer([&](const testing::SimSend&) {
        testing::SimReply r;
        r.head = absl::Seconds(latency);
        r.outcome = refused ? testing::OkOutcome()
                            : testing::ThrottledOutcome(absl::Seconds(2));
        refused = true;
        return r;
      });
      testing::SimCallOptions first;
      sim.AddCall(first);
      for (int i = 0; i < 50; ++i) {
        testing::SimCallOptions call;
        call.start = absl::Seconds(latency + 0.001 + spread * i / 50);
        sim.AddCall(call);
      }
      sim.Run();
      EXPECT_EQ(sim.Faults(), "");
      EXPECT_EQ(sim.Ended(StopReason::kSuccess), 51);
      EXPECT_EQ(sim.sends().size(), 52u);
      EXPECT_EQ(
          sim.SendsBetween(absl::Nanoseconds(1), absl::Seconds(2 + latency)),
          0);
      EXPECT_LE(sim.FullestBin(absl::Milliseconds(100), absl::Seconds(1)), 5)
          << "latency " << latency << " spread " << spread;
      EXPECT_LE(sim.LastEnd(), absl::Seconds(7));
    }
  }
}

// The rate that a spell teaches in which every second answer is `outcome`.
double RateAfter(const Outcome& outcome) {
  Quota quota{QuotaOptions{}};
  WakeList wakes;
  MonotonicTime now = At(0);
  uint64_t id = 0;
  const auto send = [&] {
    now = Later(now + absl::Milliseconds(20),
                quota.pacer().Earliest(now, now, 0));
    const Quota::Answer a =
        quota.Ask({now, ++id}, nullptr, now, MonotonicTime::Infinite(), &wakes);
    EXPECT_EQ(a.verdict, Verdict::kGo);
    return a.permit;
  };
  // Two episodes. The first spell is not measured; the second one is paced.
  for (int episode = 0; episode < 2; ++episode) {
    for (int i = 0; i < 40; ++i) {
      quota.OnAnswer(send(),
                     i % 2 == 0 && i > 0 ? outcome : testing::OkOutcome(), now,
                     &wakes);
    }
    quota.OnAnswer(send(), testing::ThrottledOutcome(absl::Seconds(1)), now,
                   &wakes);
    quota.OnAnswer(send(), testing::OkOutcome(), now, &wakes);
  }
  return quota.pacer().limit().rate();
}

// A fault behind the limiter used the limit up; what never arrived did not.
TEST(QuotaRateTest, WhatCountsAsAdmitted) {
  const double ok = RateAfter(testing::OkOutcome());
  ASSERT_GT(ok, 0);
  EXPECT_EQ(RateAfter(testing::TransientOutcome(Processed::kUnknown)), ok);
  EXPECT_EQ(RateAfter(testing::TransientOutcome(Processed::kYes)), ok);
  EXPECT_LT(RateAfter(testing::TransientOutcome(Processed::kNo)), 0.7 * ok);
}

TEST_F(QuotaTest, AHeadWhoseTurnComesBehindItsLimitEndsAtOnce) {
  for (int i = 0; i < 10; ++i) {
    quota_.OnAnswer(Ask(100 + i, 0).permit, testing::OkOutcome(), At(0),
                    &wakes_);
  }
  const Quota::Answer a = Ask(1, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(0),
                  &wakes_);
  const Quota::Answer confirm = Ask(2, 1.1);
  ASSERT_EQ(confirm.verdict, Verdict::kGo);
  quota_.OnAnswer(confirm.permit, testing::OkOutcome(), At(1.2), &wakes_);
  // Half of what was admitted may leave at once.
  for (int i = 0; i < 5; ++i) {
    const Quota::Answer go = Ask(10 + i, 1.2);
    ASSERT_EQ(go.verdict, Verdict::kGo);
    quota_.OnAnswer(go.permit, testing::OkOutcome(), At(1.2), &wakes_);
  }
  const MonotonicTime turn = quota_.pacer().Earliest(At(1.2), At(1.2), 0);
  ASSERT_GT(turn, At(1.2));
  const Quota::Answer late =
      quota_.Ask({At(0), 3}, Waiter(3), At(1.2), turn, &wakes_);
  EXPECT_EQ(late.verdict, Verdict::kRefuse);
  EXPECT_EQ(late.reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(late.until, turn);
  EXPECT_EQ(quota_
                .Ask({At(0), 3}, Waiter(3), At(1.2),
                     turn + absl::Nanoseconds(1), &wakes_)
                .verdict,
            Verdict::kWait);
}

// Two confirm, because the first one's lease ran out. The first one's body
// turns out to be a refusal: the gate that it shuts opens before the second
// one's lease ends, for which the head waits.
TEST_F(QuotaTest, ALateRefusalThatEndsAWaitSoonerTellsTheHead) {
  const Quota::Answer a = Ask(1, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(0),
                  &wakes_);
  const Quota::Answer first = Ask(2, 1.1);
  ASSERT_EQ(first.verdict, Verdict::kGo);
  ASSERT_EQ(Ask(3, 2.2).verdict, Verdict::kGo);
  ASSERT_EQ(Ask(4, 2.2).until, At(4.2));
  quota_.OnAnswer(first.permit, testing::TransientOutcome(Processed::kUnknown),
                  At(2.3), &wakes_);
  EXPECT_EQ(Woken(), "4");
  ASSERT_EQ(Ask(4, 2.3).until, At(3.2));
  quota_.OnRefusedLater(first.permit, testing::ThrottledOutcome(std::nullopt),
                        At(2.4), &wakes_);
  EXPECT_EQ(Woken(), "4");
  EXPECT_EQ(Ask(4, 2.4).until, At(2.9));
}

}  // namespace
}  // namespace forbear
