// Quota: what one throttled answer does to all callers of a key. Single steps
// here, whole crowds in the simulation.

#include "core/quota.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/outcome.h"
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
  EXPECT_TRUE(quota_.pacer().rate().has_value());
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
    now = Later(now, quota.pacer().Earliest(now));
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
  return quota.pacer().rate().value_or(0);
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
  const Quota::Answer a = Ask(1, 0);
  quota_.OnAnswer(a.permit, testing::ThrottledOutcome(absl::Seconds(1)), At(0),
                  &wakes_);
  const Quota::Answer confirm = Ask(2, 1.1);
  ASSERT_EQ(confirm.verdict, Verdict::kGo);
  quota_.OnAnswer(confirm.permit, testing::OkOutcome(), At(1.2), &wakes_);
  ASSERT_EQ(Ask(4, 1.2).verdict, Verdict::kGo);
  const MonotonicTime turn = quota_.pacer().Earliest(At(1.2));
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
