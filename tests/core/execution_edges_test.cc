// Execution on the edges that no twin varies: a deadline that is now, waits that
// are just believed, fractions of a nanosecond, a driver that goes away.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/rate_limiter.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

class Counted final : public Waiter {
 public:
  void Wake() override { ++woken; }
  int woken = 0;
};

// Says what it was told to say.
class Script final : public SharedState {
 public:
  DispatchAnswer Dispatch(WaitPlace*, const std::shared_ptr<Waiter>&,
                          MonotonicTime, MonotonicTime, WhenOpen,
                          WakeList*) override {
    ++asked;
    return answer;
  }
  void CountForHedges(MonotonicTime) override {}
  DispatchAnswer DispatchHedge(const WaitPlace&, MonotonicTime,
                               WakeList*) override {
    DispatchAnswer refused;
    refused.verdict = Verdict::kRefuse;
    return refused;
  }
  void ReturnHedge() override {}
  void Leave(WaitPlace*, WakeList*) override {}
  void OnAnswerHead(AttemptPermit*, const Outcome&, MonotonicTime,
                    WakeList*) override {}
  NotBefore OnAttemptDone(AttemptPermit*, const Outcome&, MonotonicTime now,
                          double, WakeList*) override {
    return known.time > now ? known : NotBefore{now, DelaySource::kNone};
  }
  bool Withdraw(int) override { return true; }
  void Deposit(int) override {}
  RetryCosts retry_costs() const override { return costs; }

  int asked = 0;
  DispatchAnswer answer;
  NotBefore known;
  RetryCosts costs;
};

class ExecutionEdgesTest : public ::testing::Test {
 protected:
  // The last action that is waiting to be taken.
  static Action Last(Execution* call) {
    Action action;
    bool any = false;
    while (call->NextAction(&action)) any = true;
    EXPECT_TRUE(any);
    return action;
  }
  std::unique_ptr<Execution> Call(MonotonicTime deadline = At(60)) {
    CallSpec spec;
    spec.deadline = deadline;
    spec.idempotent = true;
    return std::make_unique<Execution>(spec, &options_, &shared_,
                                       std::make_shared<Counted>());
  }
  // What the record keeps of a wait of one attempt.
  AttemptRecord AfterWait(absl::Duration wait) {
    auto call = Call();
    call->Begin(At(0));
    Outcome outcome;
    outcome.kind = ErrorKind::kThrottled;
    outcome.processed = Processed::kNo;
    outcome.pushback = wait;
    outcome.pushback_source = DelaySource::kRetryAfter;
    call->OnAttemptDone(1, outcome, At(1));
    return call->record().attempts[0];
  }

  RetryOptions options_;
  Script shared_;
};

TEST_F(ExecutionEdgesTest, ADeadlineThatIsNowIsOver) {
  auto call = Call(At(5));
  call->Begin(At(5));
  EXPECT_EQ(Last(call.get()).reason, StopReason::kDeadlineExceeded);
  EXPECT_EQ(shared_.asked, 0);
  EXPECT_EQ(call->record().total_attempts, 0);
}

TEST_F(ExecutionEdgesTest, TheLongestWaitThatIsBelieved) {
  const absl::Duration most = options_.max_believed_wait;
  EXPECT_EQ(AfterWait(most).outcome.pushback, most);
  EXPECT_FALSE(AfterWait(most).garbage_pushback);
  for (const absl::Duration wait :
       {most + absl::Nanoseconds(1), most + absl::Nanoseconds(1) / 4,
        absl::InfiniteDuration()}) {
    EXPECT_TRUE(AfterWait(wait).garbage_pushback) << wait;
    EXPECT_FALSE(AfterWait(wait).outcome.pushback.has_value()) << wait;
  }
}

TEST_F(ExecutionEdgesTest, AFractionOfANanosecondIsAWholeOne) {
  const absl::Duration wait = absl::Seconds(1) + absl::Nanoseconds(1) / 4;
  EXPECT_EQ(AfterWait(wait).outcome.pushback,
            absl::Seconds(1) + absl::Nanoseconds(1));
}

TEST_F(ExecutionEdgesTest, NoWaitIsNegative) {
  for (const absl::Duration wait :
       {-absl::Seconds(1), -absl::Nanoseconds(1), -absl::InfiniteDuration()}) {
    EXPECT_EQ(AfterWait(wait).outcome.pushback, absl::ZeroDuration()) << wait;
    EXPECT_FALSE(AfterWait(wait).garbage_pushback) << wait;
  }
}

// Whichever is longer has the say in why a call ends.
TEST_F(ExecutionEdgesTest, ABackoffBehindTheLimitIsNoOpenCircuit) {
  for (const bool breaker_longer : {false, true}) {
    options_.backoff.initial = absl::Seconds(10);
    options_.backoff.jitter = Jitter::kNone;
    options_.max_attempts = 5;
    shared_.known = {breaker_longer ? At(40) : At(3), DelaySource::kBreaker};
    auto call = Call(At(8));
    call->Begin(At(0));
    Outcome outcome;
    outcome.kind = ErrorKind::kTransient;
    call->OnAttemptDone(1, outcome, At(1));
    const Action action = Last(call.get());
    EXPECT_EQ(action.reason, breaker_longer ? StopReason::kCircuitOpen
                                            : StopReason::kWaitExceedsDeadline);
    EXPECT_EQ(action.retry_at, breaker_longer ? At(40) : At(11));
  }
}

// A lease may end behind the limit: what a call waited for is when to come back.
TEST_F(ExecutionEdgesTest, AtTheLimitRetryAtIsWhatWasWaitedFor) {
  for (const bool known : {true, false}) {
    shared_.answer.verdict = Verdict::kWait;
    shared_.answer.until = known ? At(12) : MonotonicTime::Infinite();
    auto call = Call(At(8));
    call->Begin(At(0));
    EXPECT_EQ(Last(call.get()).time, At(8));
    call->OnTimer(At(8));
    const Action action = Last(call.get());
    EXPECT_EQ(action.reason, StopReason::kDeadlineExceeded);
    EXPECT_EQ(action.retry_at.has_value(), known);
    if (known) {
      EXPECT_EQ(action.retry_at, At(12));
    }
  }
}

// A call that is thrown away while it is the head of a queue tells the next.
TEST_F(ExecutionEdgesTest, ADroppedCallTellsTheNext) {
  Guarded<Quota, NoMutex> quota(QuotaOptions{});
  Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, At(0));
  BasicSharedState<NoMutex> shared(&quota, &endpoint);
  const auto waiter = std::make_shared<Counted>();
  CallSpec spec;
  auto first = std::make_unique<Execution>(spec, &options_, &shared,
                                           std::make_shared<Counted>());
  first->Begin(At(0));
  Outcome refused;
  refused.kind = ErrorKind::kThrottled;
  refused.processed = Processed::kNo;
  refused.pushback = absl::Seconds(5);
  first->OnAttemptDone(1, refused, At(0.1));
  ASSERT_EQ(first->phase(), Execution::Phase::kQueued);
  spec.call_id = 1;
  Execution second(spec, &options_, &shared, waiter);
  second.Begin(At(0.2));
  ASSERT_EQ(second.phase(), Execution::Phase::kQueued);
  EXPECT_EQ(waiter->woken, 0);
  first.reset();
  EXPECT_EQ(waiter->woken, 1);
}

// What no driver has heard of was never sent, and took nothing of a limit.
TEST_F(ExecutionEdgesTest, WhatWasNeverSentTakesNothingOfALimit) {
  QuotaOptions limited;
  limited.limits = {{"rph", LimitUnit::kRequests, 10, absl::Hours(1)}};
  for (const bool cancelled : {true, false}) {
    for (const bool sent : {true, false}) {
      Guarded<Quota, NoMutex> quota(limited);
      Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, At(0));
      BasicSharedState<NoMutex> shared(&quota, &endpoint);
      const auto left = [&] {
        return quota.alone().limiter()->LevelOf(0, At(0)).left;
      };
      auto call = std::make_unique<Execution>(CallSpec{}, &options_, &shared,
                                              std::make_shared<Counted>());
      call->Begin(At(0));
      ASSERT_EQ(left(), 9);
      Action action;
      if (sent) {
        ASSERT_TRUE(call->NextAction(&action));
      }
      if (cancelled) call->OnCancel(At(0));
      call.reset();
      EXPECT_EQ(left(), sent ? 9 : 10) << "cancelled " << cancelled;
    }
  }
}

// Of a call that may hedge, and that is told a hundred times to wait a bit longer,
// each of its questions is an event.
TEST_F(ExecutionEdgesTest, EventsAreBounded) {
  options_.hedge.enabled = true;
  CallSpec spec;
  spec.deadline = At(1000);
  spec.idempotent = true;
  spec.max_in_flight = 2;
  Execution call(spec, &options_, &shared_, std::make_shared<Counted>());
  shared_.answer.verdict = Verdict::kWait;
  shared_.answer.until = At(0);
  call.Begin(At(0));
  const std::vector<EventRecord>& events = call.record().events;
  ASSERT_EQ(events.size(), 1u);
  constexpr auto kMost = static_cast<size_t>(CallRecord::kMaxEvents);
  for (size_t i = 1; i < kMost + 10; ++i) {
    shared_.answer.until = At(static_cast<double>(i));
    call.OnWake(At(0.001 * static_cast<double>(i)));
    ASSERT_EQ(events.size(), std::min(i + 1, kMost));
  }
  // The first ones.
  EXPECT_EQ(events.front().at, At(0));
  EXPECT_EQ(events.back().at, At(0.001 * static_cast<double>(kMost - 1)));
}

}  // namespace
}  // namespace forbear
