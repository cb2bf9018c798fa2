// What the preview says is what the execution does: for every combination of
// policy, call and outcome that differ in anything a decision reads, a call is
// driven to the same place, and must go on, wait and end as was said.
#include "core/preview.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/action.h"
#include "core/backoff.h"
#include "core/execution.h"
#include "core/retry_budget.h"
#include "core/shared_state.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

class NobodyWaits final : public Waiter {
 public:
  void Wake() override {}
};

struct Case {
  Policy policy;
  PreviewFacts facts;
  Outcome outcome;
  uint64_t seed = 0;
};

std::string Show(const Case& c) {
  return absl::StrCat(
      ErrorKindName(c.outcome.kind), " ", ProcessedName(c.outcome.processed),
      c.outcome.committed ? " committed" : "",
      c.outcome.retry_forbidden ? " forbidden" : "",
      c.outcome.repeatable ? " repeatable" : "", " pushback ",
      c.outcome.pushback ? absl::FormatDuration(*c.outcome.pushback) : "none",
      " attempt ", c.facts.attempt, " of ", c.policy.retry.max_attempts,
      c.facts.idempotent ? " idempotent" : "",
      c.facts.replayable ? "" : " not replayable",
      c.facts.nested ? " nested" : "", " elapsed ",
      absl::FormatDuration(c.facts.elapsed), " deadline ",
      absl::FormatDuration(c.facts.deadline), " seed ", c.seed);
}

// The execution cannot be put into the middle of a call, and the preview's shared
// states have seen nothing: what comes before the attempt goes to other ones.
class Relay final : public SharedState {
 public:
  Relay(SharedState* before, SharedState* now) : to_(before), now_(now) {}
  void Switch() { to_ = now_; }

  DispatchAnswer Dispatch(WaitPlace* place,
                          const std::shared_ptr<Waiter>& waiter,
                          MonotonicTime now, MonotonicTime limit,
                          WhenOpen when_open, WakeList* wakes) override {
    return to_->Dispatch(place, waiter, now, limit, when_open, wakes);
  }
  void CountForHedges(MonotonicTime now) override { to_->CountForHedges(now); }
  DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                               WakeList* wakes) override {
    return to_->DispatchHedge(of, now, wakes);
  }
  void ReturnHedge() override { to_->ReturnHedge(); }
  void Leave(WaitPlace* place, WakeList* wakes) override {
    to_->Leave(place, wakes);
  }
  void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                    MonotonicTime now, WakeList* wakes) override {
    to_->OnAnswerHead(permit, outcome, now, wakes);
  }
  NotBefore OnAttemptDone(AttemptPermit* permit, const Outcome& outcome,
                          MonotonicTime now, double random,
                          WakeList* wakes) override {
    return to_->OnAttemptDone(permit, outcome, now, random, wakes);
  }
  bool Withdraw(int cost) override {
    withdrawn_ = cost;
    return to_->Withdraw(cost);
  }
  void Deposit(int tokens) override { to_->Deposit(tokens); }
  RetryCosts retry_costs() const override { return to_->retry_costs(); }
  int withdrawn() const { return withdrawn_; }

 private:
  SharedState* to_;
  SharedState* const now_;
  int withdrawn_ = 0;
};

void Check(const Case& c) {
  SCOPED_TRACE(Show(c));
  const Preview preview = PreviewOf(c.policy, c.facts, c.outcome);

  const MonotonicTime begin;
  const MonotonicTime now = begin + c.facts.elapsed;
  Policy calm = c.policy;
  calm.endpoint.breaker.enabled = false;
  Guarded<Quota, NoMutex> old_quota(calm.quota);
  Guarded<Endpoint, NoMutex> old_endpoint(calm.endpoint, begin);
  BasicSharedState<NoMutex> before(&old_quota, &old_endpoint);
  Guarded<Quota, NoMutex> quota(c.policy.quota);
  Guarded<Endpoint, NoMutex> endpoint(c.policy.endpoint, begin);
  BasicSharedState<NoMutex> fresh(&quota, &endpoint);
  Relay shared(&before, &fresh);

  CallSpec spec;
  spec.seed = c.seed;
  spec.replayable = c.facts.replayable;
  spec.deadline = c.facts.deadline == absl::InfiniteDuration()
                      ? MonotonicTime::Infinite()
                      : begin + c.facts.deadline;
  spec.idempotent = c.facts.idempotent;
  spec.nested = c.facts.nested;
  RetryOptions retry = c.policy.retry;
  retry.backoff.initial = absl::ZeroDuration();
  Execution call(spec, &retry, &shared, std::make_shared<NobodyWaits>());
  Action action;
  if (c.facts.attempt == 1) shared.Switch();
  call.Begin(begin);
  while (call.NextAction(&action)) {
    if (action.type == Action::Type::kWaitUntil) {
      call.OnTimer(action.time);
      continue;
    }
    ASSERT_EQ(action.type, Action::Type::kStartAttempt);
    if (action.attempt == c.facts.attempt) break;
    Outcome failed;
    failed.kind = ErrorKind::kTransient;
    failed.processed = Processed::kUnknown;
    failed.repeatable = true;
    call.OnAttemptDone(action.attempt, failed, begin);
    if (action.attempt == c.facts.attempt - 1) shared.Switch();
  }
  ASSERT_EQ(action.attempt, c.facts.attempt);
  retry.backoff = c.policy.retry.backoff;  // read when it is needed
  call.OnAttemptDone(c.facts.attempt, c.outcome, now);
  ASSERT_TRUE(call.NextAction(&action));

  if (!preview.retry) {
    ASSERT_EQ(action.type, Action::Type::kFinish);
    EXPECT_EQ(StopReasonName(action.reason), StopReasonName(preview.reason));
    ASSERT_EQ(action.retry_at.has_value(), preview.retry_at.has_value());
    if (action.retry_at) {
      // Where chance has a part, at least.
      EXPECT_GE(*action.retry_at - now, *preview.retry_at);
    }
    // What is refused is no wait.
    EXPECT_EQ(preview.wait_min, absl::ZeroDuration());
    EXPECT_EQ(preview.wait_max, absl::ZeroDuration());
    return;
  }
  ASSERT_EQ(action.type, Action::Type::kWaitUntil);
  const AttemptRecord& r = call.record().attempts.back();
  EXPECT_EQ(r.garbage_pushback, preview.garbage);
  // Through the waits, to the next start.
  MonotonicTime at = now;
  while (action.type == Action::Type::kWaitUntil) {
    at = action.time;
    call.OnTimer(at);
    ASSERT_TRUE(call.NextAction(&action));
  }
  ASSERT_EQ(action.type, Action::Type::kStartAttempt);
  EXPECT_GE(at - now, preview.wait_min);
  EXPECT_LE(at - now, preview.wait_max);
  EXPECT_EQ(shared.withdrawn(), preview.budget_cost);
  // What is longest gives the wait its name; chance may make that the backoff.
  EXPECT_EQ(
      DelaySourceName(call.record().attempts.back().wait_source),
      DelaySourceName(at - now == preview.wait_min ? preview.wait_source
                                                   : DelaySource::kBackoff));
}

TEST(PreviewTest, SaysWhatTheExecutionDoes) {
  int64_t cases = 0;
  for (const ErrorKind kind :
       {ErrorKind::kOk, ErrorKind::kTransient, ErrorKind::kThrottled,
        ErrorKind::kPermanent, ErrorKind::kCancelled,
        ErrorKind::kQuotaExhausted}) {
    for (const Processed processed :
         {Processed::kNo, Processed::kUnknown, Processed::kYes}) {
      for (int bits = 0; bits < 64; ++bits) {
        for (const double wait : {-1.0, 0.0, 0.01, 2.0, 300.0, 1e6}) {
          for (const int attempt : {1, 2, 3, 4}) {
            for (const double deadline : {0.0, 5.0}) {
              Case c;
              c.seed = static_cast<uint64_t>(cases++);
              c.outcome.kind = kind;
              c.outcome.processed = processed;
              c.outcome.status = 500;
              c.outcome.committed = (bits & 1) != 0;
              c.outcome.retry_forbidden = (bits & 2) != 0;
              c.outcome.repeatable = (bits & 4) != 0;
              if (wait >= 0) {
                c.outcome.pushback = absl::Seconds(wait);
                c.outcome.pushback_source = DelaySource::kRetryAfter;
              }
              c.facts.idempotent = (bits & 8) != 0;
              c.facts.replayable = (bits & 16) == 0;
              c.facts.nested = (bits & 32) != 0;
              // A call that may not be repeated has no attempts before.
              if (attempt > 1 && (c.facts.nested || !c.facts.replayable)) {
                continue;
              }
              c.facts.attempt = attempt;
              if (attempt == 4) c.policy.retry.max_attempts = 5;
              if (attempt > 3 && c.policy.retry.max_attempts < attempt) {
                continue;
              }
              if (deadline > 0) c.facts.deadline = absl::Seconds(deadline);
              if (attempt > 1) c.facts.elapsed = absl::Seconds(1);
              Check(c);
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
  std::printf("%lld cases\n", static_cast<long long>(cases));
}

// The limit counts from the call's begin: of five seconds one is left.
TEST(PreviewTest, WhatHasPassedIsOver) {
  for (const bool deadline : {true, false}) {
    for (const double wait : {0.5, 2.0}) {
      Case c;
      c.outcome.kind = ErrorKind::kThrottled;
      c.outcome.processed = Processed::kNo;
      c.outcome.pushback = absl::Seconds(wait);
      c.outcome.pushback_source = DelaySource::kRetryAfter;
      c.facts.elapsed = absl::Seconds(4);
      if (deadline) {
        c.facts.deadline = absl::Seconds(5);
      } else {
        c.policy.retry.max_elapsed = absl::Seconds(5);
      }
      Check(c);
      EXPECT_EQ(PreviewOf(c.policy, c.facts, c.outcome).retry, wait < 1);
    }
  }
}

// Who is told to slow down waits for the gate, and for nothing of its own.
TEST(PreviewTest, ThrottledCallsDoNotBackOff) {
  Case c;
  c.policy.retry.backoff.initial = absl::Seconds(10);
  c.policy.retry.backoff.max = absl::Seconds(10);
  c.policy.retry.backoff.jitter = Jitter::kNone;
  c.outcome.kind = ErrorKind::kThrottled;
  c.outcome.processed = Processed::kNo;
  c.outcome.pushback = absl::Seconds(1);
  c.outcome.pushback_source = DelaySource::kRetryAfter;
  Check(c);
  const Preview p = PreviewOf(c.policy, c.facts, c.outcome);
  EXPECT_TRUE(p.retry);
  EXPECT_EQ(p.wait_min, p.gate);
  EXPECT_EQ(p.wait_max, p.gate);
  EXPECT_LT(p.gate, absl::Seconds(2));
}

TEST(PreviewTest, ABudgetThatIsOffCostsNothing) {
  Policy policy;
  PreviewFacts facts;
  facts.idempotent = true;
  Outcome failed;
  failed.kind = ErrorKind::kTransient;
  EXPECT_EQ(PreviewOf(policy, facts, failed).budget_cost, 14);
  policy.endpoint.budget.enabled = false;
  EXPECT_TRUE(PreviewOf(policy, facts, failed).retry);
  EXPECT_EQ(PreviewOf(policy, facts, failed).budget_cost, 0);
}

TEST(PreviewTest, WhatOthersWouldNotice) {
  Policy policy;
  Outcome refused;
  refused.kind = ErrorKind::kThrottled;
  refused.processed = Processed::kNo;
  refused.pushback = absl::Seconds(5);
  refused.pushback_source = DelaySource::kRetryAfter;
  Preview p = PreviewOf(policy, {}, refused);
  EXPECT_TRUE(p.retry);
  EXPECT_EQ(p.gated, Holder::kQuota);
  EXPECT_GE(p.gate, absl::Seconds(5));
  EXPECT_EQ(p.breaker, CircuitBreaker::Result::kThrottled);
  EXPECT_EQ(p.budget_cost, 5);
  EXPECT_EQ(p.wait_source, DelaySource::kRetryAfter);

  Outcome down;
  down.kind = ErrorKind::kTransient;
  down.pushback = absl::Seconds(2);
  down.pushback_source = DelaySource::kRetryAfter;
  PreviewFacts facts;
  p = PreviewOf(policy, facts, down);
  EXPECT_FALSE(p.retry);
  EXPECT_EQ(p.reason, StopReason::kNotIdempotent);
  EXPECT_EQ(p.gated, Holder::kEndpoint);
  EXPECT_EQ(p.breaker, CircuitBreaker::Result::kFailure);

  facts.idempotent = true;
  facts.deadline = absl::Seconds(1);
  p = PreviewOf(policy, facts, down);
  EXPECT_EQ(p.reason, StopReason::kWaitExceedsDeadline);
  ASSERT_TRUE(p.retry_at);
  EXPECT_GE(*p.retry_at, absl::Seconds(2));

  down.pushback = absl::Hours(87600);
  p = PreviewOf(policy, {}, down);
  EXPECT_TRUE(p.garbage);
  EXPECT_EQ(p.gated, Holder::kNowhere);
}

}  // namespace
}  // namespace forbear
