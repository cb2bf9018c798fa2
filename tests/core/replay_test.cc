// Calls of a simulation, made again from their records alone.

#include "core/replay.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/rate_limiter.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "tests/testing/simulation.h"

namespace forbear::testing {
namespace {

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  double Unit() { return UnitRandom(seed_, n_++); }
  bool Chance(double p) { return Unit() < p; }
  int Below(int n) { return static_cast<int>(Unit() * n); }
  absl::Duration Upto(absl::Duration d) { return d * Unit(); }

 private:
  const uint64_t seed_;
  uint64_t n_ = 0;
};

SimServer MoodyServer(uint64_t seed) {
  auto dice = std::make_shared<Dice>(seed);
  return [dice](const SimSend&) {
    SimReply r;
    r.head = absl::Milliseconds(1) + dice->Upto(absl::Milliseconds(300));
    if (dice->Chance(0.3)) r.body = dice->Upto(absl::Milliseconds(300));
    const double weather = dice->Unit();
    std::optional<absl::Duration> wait;
    if (dice->Chance(0.4)) wait = dice->Upto(absl::Seconds(3));
    if (dice->Chance(0.1)) wait = absl::Hours(87600);
    if (weather < 0.05) {
      r.outcome = ExhaustedOutcome(wait);
    } else if (weather < 0.35) {
      r.outcome = ThrottledOutcome(wait);
    } else if (weather < 0.7) {
      r.outcome = TransientOutcome(
          dice->Chance(0.4) ? Processed::kNo : Processed::kUnknown, wait);
      r.outcome.committed = dice->Chance(0.1);
      r.outcome.retry_forbidden = dice->Chance(0.05);
      r.outcome.repeatable = dice->Chance(0.5);
      r.headless = dice->Chance(0.5);
    } else if (weather < 0.75) {
      r.outcome.kind = ErrorKind::kPermanent;
      r.outcome.retry_wanted = dice->Chance(0.5);
      r.outcome.pushback = wait;
    } else if (weather < 0.8) {
      r.head = absl::InfiniteDuration();
    } else {
      r.outcome = OkOutcome();
    }
    if (dice->Chance(0.5)) r.outcome.usage.output_tokens = dice->Below(3000);
    r.outcome.bytes_sent = dice->Below(1000);
    r.outcome.bytes_received = dice->Below(1000);
    return r;
  };
}

std::unique_ptr<Simulation> RunMoody(uint64_t seed) {
  Dice dice(seed);
  SimOptions options;
  options.seed = seed;
  options.quotas = options.endpoints = 2;
  if (dice.Chance(0.5)) options.preempt = 0.3;
  if (dice.Chance(0.5)) options.late = absl::Milliseconds(20);
  if (dice.Chance(0.3)) options.endpoint.breaker.enabled = false;
  if (dice.Chance(0.3)) options.endpoint.budget.capacity = 30;
  if (dice.Chance(0.2)) options.quota.max_waiters = 1 + dice.Below(5);
  if (dice.Chance(0.7)) options.endpoint.hedge_budget.burst = 1000;
  if (dice.Chance(0.3)) {
    options.quota.limits = {{"tokens", LimitUnit::kTokens, 1000,
                             absl::Seconds(1), 1000 + dice.Below(1000)}};
  }
  if (seed % 3 == 0) {
    options.endpoint.budget.transient_cost = 20;
    options.endpoint.budget.throttled_cost = 7;
  }
  auto sim = std::make_unique<Simulation>(options);
  sim->SetServer(MoodyServer(seed));
  const int calls = 2 + dice.Below(40);
  for (int i = 0; i < calls; ++i) {
    SimCallOptions call;
    call.start = dice.Upto(absl::Seconds(10));
    call.deadline =
        dice.Chance(0.1) ? absl::ZeroDuration() : dice.Upto(absl::Seconds(40));
    if (dice.Chance(0.3)) {
      call.deadline = absl::InfiniteDuration();
      call.retry.attempt_timeout = absl::Seconds(2);
      call.retry.max_elapsed = dice.Upto(absl::Seconds(60));
    }
    if (dice.Chance(0.3)) call.cancel = dice.Upto(absl::Seconds(5));
    if (dice.Chance(0.1)) call.cancel = absl::ZeroDuration();
    if (dice.Chance(0.2)) call.retry.when_open = WhenOpen::kFail;
    call.retry.max_attempts = 1 + dice.Below(6);
    call.idempotent = dice.Chance(0.7);
    call.nested = dice.Chance(0.1);
    call.cost.input_tokens = dice.Below(500);
    call.cost.output_tokens = dice.Below(700);
    call.billable = dice.Chance(0.3);
    call.max_in_flight = dice.Below(4);
    call.retry.yield_to_outer = dice.Chance(0.7);
    call.retry.enabled = dice.Chance(0.95);
    call.retry.hedge.enabled = dice.Chance(0.7);
    call.retry.hedge.billable_consent = dice.Chance(0.5);
    call.retry.hedge.repeat_consent = dice.Chance(0.5);
    call.retry.hedge.delay = dice.Upto(absl::Milliseconds(150));
    call.retry.hedge.max_hedges = 1 + dice.Below(4);
    call.quota = static_cast<size_t>(dice.Below(2));
    call.endpoint = static_cast<size_t>(dice.Below(2));
    sim->AddCall(call);
  }
  sim->Run();
  return sim;
}

uint64_t FirstSeed(uint64_t otherwise) {
  const char* const text = std::getenv("FORBEAR_SEED");
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(ReplayTest, EveryCallOfManySimulations) {
  int64_t calls = 0;
  int64_t incomplete = 0;
  size_t most_answers = 0;
  std::map<StopReason, int64_t> reasons;
  int64_t hedges = 0;
  int64_t losers_heard = 0;
  for (uint64_t seed = FirstSeed(1); seed < FirstSeed(1) + 500; ++seed) {
    const std::unique_ptr<Simulation> sim = RunMoody(seed);
    for (const Simulation::Call& call : sim->calls()) {
      const CallRecord& record = call.record();
      ++calls;
      ++reasons[record.stop_reason];
      most_answers = std::max(most_answers, record.dispatches.size());
      for (const AttemptRecord& a : record.attempts) {
        if (a.hedge) ++hedges;
        if (a.lost && a.outcome.kind != ErrorKind::kCancelled) ++losers_heard;
      }
      const absl::StatusOr<CallRecord> again =
          Replay(record, call.options().retry);
      if (record.dropped_dispatches > 0 ||
          record.total_attempts > CallRecord::kMaxAttempts) {
        ++incomplete;
        EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
        continue;
      }
      ASSERT_TRUE(again.ok())
          << "FORBEAR_SEED=" << seed << " " << again.status() << "\n"
          << FormatCallRecord(record);
      ASSERT_EQ(*again, record)
          << "FORBEAR_SEED=" << seed << "\n"
          << FormatCallRecord(record) << FormatCallRecord(*again);
    }
  }
  std::printf(
      "%lld calls, %lld not complete, at most %zu answers; %lld hedges, %lld "
      "losers answered\n",
      static_cast<long long>(calls), static_cast<long long>(incomplete),
      most_answers, static_cast<long long>(hedges),
      static_cast<long long>(losers_heard));
  EXPECT_GT(hedges, 100);
  EXPECT_GT(losers_heard, 20);
  // All the ends that this weather can bring.
  for (int i = 1; i < kStopReasonCount; ++i) {
    const auto reason = static_cast<StopReason>(i);
    if (reason == StopReason::kNotReplayable) continue;
    EXPECT_GT(reasons[reason], 0) << StopReasonName(reason);
  }
}

// A change of the options is found wherever it changes a decision.
TEST(ReplayTest, OtherOptionsOtherDecisions) {
  int64_t different = 0;
  int64_t same = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const std::unique_ptr<Simulation> sim = RunMoody(seed);
    for (const Simulation::Call& call : sim->calls()) {
      const CallRecord& record = call.record();
      RetryOptions options = call.options().retry;
      options.max_attempts = 1;
      const absl::StatusOr<CallRecord> again = Replay(record, options);
      int counted = 0;
      bool free = false;
      for (const AttemptRecord& a : record.attempts) {
        if (a.outcome.kind != ErrorKind::kTransient) continue;
        if (a.outcome.processed == Processed::kNo && !free) {
          free = true;
        } else if (a.number < record.total_attempts) {
          ++counted;
        }
      }
      if (counted > 0) {
        ++different;
        EXPECT_NE(again.status(), absl::OkStatus());
      } else if (again.ok() && *again == record) {
        ++same;
      }
    }
  }
  EXPECT_GT(different, 100);
  EXPECT_GT(same, 100);
}

TEST(ReplayTest, RefusesWhatIsNotWhole) {
  CallRecord record;
  EXPECT_EQ(Replay(record, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  record.stop_reason = StopReason::kSuccess;
  record.total_attempts = 1;
  record.attempts.resize(1);
  record.attempts[0].number = 1;
  // A call that was passed through.
  EXPECT_EQ(Replay(record, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  record.dispatches.resize(1);
  EXPECT_EQ(Replay(record, {}).value(), record);
  record.dropped_dispatches = 1;
  EXPECT_EQ(Replay(record, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  record.dropped_dispatches = 0;
  record.total_attempts = 2;
  EXPECT_EQ(Replay(record, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  // So many events that the last ones may be missing.
  record.total_attempts = 1;
  record.events.resize(CallRecord::kMaxEvents);
  EXPECT_EQ(Replay(record, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

class Deaf final : public Waiter {
 public:
  void Wake() override {}
};

// What the simulation's driver does not do.
TEST(ReplayTest, NotReplayableAndTakenBackUnseen) {
  const MonotonicTime start = MonotonicTime::FromNanos(5);
  Guarded<Quota, NoMutex> quota(QuotaOptions{});
  Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, start);
  BasicSharedState<NoMutex> shared(&quota, &endpoint);
  RetryOptions options;
  CallSpec spec;
  spec.idempotent = true;
  spec.names = CallNames("https://user:secret@host/?key=secret", "", "");

  Execution one(spec, &options, &shared, std::make_shared<Deaf>());
  Action action;
  one.Begin(start);
  while (one.NextAction(&action)) {
  }
  one.OnAttemptDone(1, TransientOutcome(Processed::kUnknown),
                    start + absl::Seconds(1));
  while (one.NextAction(&action)) {
  }
  one.OnTimer(action.time);
  while (one.NextAction(&action)) {
  }
  one.SetNotReplayable();
  one.OnAttemptDone(2, TransientOutcome(Processed::kUnknown),
                    start + absl::Seconds(2));
  EXPECT_EQ(one.record().stop_reason, StopReason::kNotReplayable);
  EXPECT_TRUE(one.record().attempts[0].replayable);
  EXPECT_FALSE(one.record().attempts[1].replayable);
  EXPECT_EQ(one.record().names.target(), "(hidden)");
  EXPECT_EQ(Replay(one.record(), options).value(), one.record());

  Execution unseen(spec, &options, &shared, std::make_shared<Deaf>());
  unseen.Begin(start);
  unseen.OnCancel(start + absl::Seconds(1));
  EXPECT_EQ(unseen.record().total_attempts, 0);
  EXPECT_EQ(unseen.record().dispatches.size(), 1u);
  EXPECT_EQ(Replay(unseen.record(), options).value(), unseen.record());

  Execution never(spec, &options, &shared, std::make_shared<Deaf>());
  never.OnCancel(start);
  EXPECT_EQ(Replay(never.record(), options).value(), never.record());
}

// A record of two attempts, the second of which was paid for.
CallRecord Retried() {
  const MonotonicTime start = MonotonicTime::FromNanos(5);
  Guarded<Quota, NoMutex> quota(QuotaOptions{});
  Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, start);
  BasicSharedState<NoMutex> shared(&quota, &endpoint);
  const RetryOptions options;
  CallSpec spec;
  spec.idempotent = true;
  Execution call(spec, &options, &shared, std::make_shared<Deaf>());
  Action action;
  call.Begin(start);
  while (call.NextAction(&action)) {
  }
  call.OnAttemptDone(1, TransientOutcome(Processed::kUnknown),
                     start + absl::Seconds(1));
  while (call.NextAction(&action)) {
  }
  call.OnTimer(action.time);
  while (call.NextAction(&action)) {
  }
  call.OnAttemptDone(2, OkOutcome(), start + absl::Seconds(2));
  return call.record();
}

TEST(ReplayTest, SaysWhereItParts) {
  CallRecord record = Retried();
  ASSERT_EQ(Replay(record, {}).value(), record);
  record.dispatches[0].at = record.begin + absl::Nanoseconds(1);
  absl::Status status = Replay(record, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_NE(status.message().find("at +0: it asks for an attempt"),
            absl::string_view::npos)
      << status;

  record = Retried();
  record.attempts[0].budget = BudgetAnswer::kNotAsked;
  status = Replay(record, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_NE(status.message().find("at +1s: it asks the budget for a retry"),
            absl::string_view::npos)
      << status;
}

// A call that hedges: the first attempt fails while the hedge is out; then the hedge
// does, too. `fixed`: its request could not be sent again by then.
CallRecord Hedged(const RetryOptions& options, bool fixed) {
  const MonotonicTime start = MonotonicTime::FromNanos(5);
  Guarded<Quota, NoMutex> quota(QuotaOptions{});
  Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, start);
  BasicSharedState<NoMutex> shared(&quota, &endpoint);
  CallSpec spec;
  spec.idempotent = true;
  spec.max_in_flight = 2;
  Execution call(spec, &options, &shared, std::make_shared<Deaf>());
  Action action;
  const auto drain = [&] {
    while (call.NextAction(&action)) {
    }
  };
  call.Begin(start);
  drain();
  call.OnTimer(start + absl::Seconds(1));
  drain();
  call.OnAttemptDone(1, TransientOutcome(Processed::kUnknown),
                     start + absl::Seconds(2));
  drain();
  if (fixed) call.SetNotReplayable();
  call.OnAttemptDone(2, TransientOutcome(Processed::kUnknown),
                     start + absl::Seconds(3));
  drain();
  if (!fixed) call.OnCancel(start + absl::Seconds(3));
  return call.record();
}

RetryOptions Hedges() {
  RetryOptions options;
  options.max_attempts = 5;
  options.hedge.enabled = true;
  options.hedge.delay = absl::Seconds(1);
  return options;
}

TEST(ReplayTest, NotReplayableWithAHedge) {
  const CallRecord record = Hedged(Hedges(), /*fixed=*/true);
  ASSERT_EQ(record.stop_reason, StopReason::kNotReplayable);
  ASSERT_EQ(record.total_attempts, 2);
  EXPECT_TRUE(record.attempts[0].replayable);
  EXPECT_FALSE(record.attempts[1].replayable);
  const absl::StatusOr<CallRecord> again = Replay(record, Hedges());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, record);
}

// Whether a hedge may go is another question than whether a retry may.
TEST(ReplayTest, TheAnswerToAnotherQuestionIsNone) {
  const CallRecord record = Hedged(Hedges(), /*fixed=*/false);
  ASSERT_EQ(record.dispatches.size(), 2u);
  ASSERT_TRUE(record.dispatches[1].hedge);
  ASSERT_EQ(Replay(record, Hedges()).value(), record);
  for (const size_t i : {0, 1}) {
    CallRecord other = record;
    other.dispatches[i].hedge = !other.dispatches[i].hedge;
    const absl::Status status = Replay(other, Hedges()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << i;
    EXPECT_NE(status.message().find("it asks for an attempt"),
              absl::string_view::npos)
        << status;
  }
}

// Says "wait" a hundred times, each time for longer; every answer twice.
class Procrastinator final : public SharedState {
 public:
  DispatchAnswer Dispatch(WaitPlace*, const std::shared_ptr<Waiter>&,
                          MonotonicTime, MonotonicTime, WhenOpen,
                          WakeList*) override {
    DispatchAnswer a;
    a.verdict = asked < 200 ? Verdict::kWait : Verdict::kGo;
    a.until = MonotonicTime::FromNanos(1000000 + asked++ / 2);
    a.source = DelaySource::kQueue;
    a.holder = Holder::kEndpoint;
    return a;
  }
  void CountForHedges(MonotonicTime) override {}
  DispatchAnswer DispatchHedge(const WaitPlace&, MonotonicTime,
                               WakeList*) override {
    return {};
  }
  void ReturnHedge() override {}
  void Leave(WaitPlace*, WakeList*) override {}
  void OnAnswerHead(AttemptPermit*, const Outcome&, MonotonicTime,
                    WakeList*) override {}
  NotBefore OnAttemptDone(AttemptPermit*, const Outcome&, MonotonicTime now,
                          double, WakeList*) override {
    return {now, DelaySource::kNone};
  }
  bool Withdraw(int) override { return false; }
  void Deposit(int) override {}
  RetryCosts retry_costs() const override {
    return {budget.transient_cost, budget.throttled_cost};
  }

  int asked = 0;
  BudgetOptions budget;
};

TEST(ReplayTest, AnswersAreBoundedAndNotWrittenTwice) {
  Procrastinator shared;
  RetryOptions options;
  CallSpec spec;
  spec.idempotent = true;
  Execution call(spec, &options, &shared, std::make_shared<Deaf>());
  MonotonicTime now;
  call.Begin(now);
  while (call.phase() == Execution::Phase::kQueued) {
    now = now + absl::Nanoseconds(1);
    call.OnWake(now);
  }
  const CallRecord& record = call.record();
  // A hundred waits and one go.
  EXPECT_EQ(record.dispatches.size(), size_t{CallRecord::kMaxDispatches});
  EXPECT_EQ(record.dropped_dispatches, 101 - CallRecord::kMaxDispatches);
  EXPECT_EQ(record.dispatches.back().verdict, Verdict::kGo);
  EXPECT_EQ(record.dispatches.back().until, now);
  EXPECT_EQ(record.dispatches[0].holder, Holder::kEndpoint);
  EXPECT_EQ(record.dispatches[0].source, DelaySource::kQueue);

  call.OnAttemptDone(1, TransientOutcome(Processed::kUnknown), now);
  ASSERT_EQ(record.stop_reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(record.attempts[0].budget, BudgetAnswer::kRefused);
  EXPECT_EQ(record.attempts[0].budget_cost, shared.budget.transient_cost);
  EXPECT_EQ(record.attempts[0].not_before, now);
  EXPECT_EQ(Replay(record, options).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// Nonsense ends, with an error.
TEST(ReplayTest, NonsenseIsNoTrap) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const std::unique_ptr<Simulation> sim = RunMoody(seed);
    Dice dice(seed);
    for (const Simulation::Call& call : sim->calls()) {
      CallRecord record = call.record();
      for (DispatchRecord& d : record.dispatches) {
        if (dice.Chance(0.3)) d.verdict = static_cast<Verdict>(dice.Below(3));
        if (dice.Chance(0.3)) d.at = d.at + dice.Upto(absl::Seconds(2));
      }
      for (AttemptRecord& a : record.attempts) {
        if (dice.Chance(0.3)) a.number = dice.Below(4);
        if (dice.Chance(0.3))
          a.outcome.kind = static_cast<ErrorKind>(dice.Below(6));
      }
      (void)Replay(record, call.options().retry);
    }
  }
}

}  // namespace
}  // namespace forbear::testing
