// What the two shared states make of an answer whose body says something else
// than its head, and of failures that say nothing about the server.
#include "core/shared_state.h"

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/time/time.h"
#include "core/circuit_breaker.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/quota.h"
#include "core/rate_limiter.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

class Silent final : public Waiter {
 public:
  void Wake() override {}
};

Outcome Of(ErrorKind kind,
           std::optional<absl::Duration> pushback = std::nullopt) {
  Outcome outcome;
  outcome.kind = kind;
  outcome.status = 1;
  outcome.pushback = pushback;
  return outcome;
}

class SharedStateTest : public ::testing::Test {
 protected:
  AttemptPermit Send(double now) {
    WaitPlace place;
    place.ticket = {At(now), ++calls_};
    const DispatchAnswer answer =
        shared_.Dispatch(&place, std::make_shared<Silent>(), At(now), At(1000),
                         WhenOpen::kWait, &wakes_);
    EXPECT_EQ(answer.verdict, Verdict::kGo);
    return answer.permit;
  }
  // A send at 0, whose head comes at 1 and whose end comes at 2.
  SharedState::NotBefore Answer(const Outcome& head, const Outcome& end) {
    AttemptPermit permit = Send(0);
    shared_.OnAnswerHead(&permit, head, At(1), &wakes_);
    return shared_.OnAttemptDone(&permit, end, At(2), 0, &wakes_);
  }
  MonotonicTime QuotaGate() { return quota_.alone().pacer().gate_until(); }
  MonotonicTime EndpointGate() {
    return endpoint_.alone().pacer().gate_until();
  }

  uint64_t calls_ = 0;
  WakeList wakes_;
  Guarded<Quota, NoMutex> quota_{QuotaOptions{}};
  Guarded<Endpoint, NoMutex> endpoint_{EndpointOptions{}, At(0)};
  BasicSharedState<NoMutex> shared_{&quota_, &endpoint_};
};

TEST_F(SharedStateTest, TheSameTwiceIsToldOnce) {
  const Outcome refused = Of(ErrorKind::kThrottled, absl::Seconds(5));
  const SharedState::NotBefore known = Answer(refused, refused);
  EXPECT_GE(QuotaGate(), At(6));
  EXPECT_LT(QuotaGate(), At(6.5)) << "counted from the head, not from the end";
  EXPECT_EQ(known.time, QuotaGate());
}

TEST_F(SharedStateTest, ALongerWaitLengthensTheGate) {
  const SharedState::NotBefore known =
      Answer(Of(ErrorKind::kThrottled, absl::Seconds(5)),
             Of(ErrorKind::kThrottled, absl::Seconds(20)));
  EXPECT_GE(QuotaGate(), At(22));
  EXPECT_EQ(known.time, QuotaGate());
  EXPECT_EQ(known.source, DelaySource::kGate);
}

TEST_F(SharedStateTest, NothingTakesBackWhatTheHeadSaid) {
  for (const ErrorKind kind : {ErrorKind::kPermanent, ErrorKind::kOk,
                               ErrorKind::kThrottled, ErrorKind::kTransient}) {
    Answer(Of(ErrorKind::kThrottled, absl::Seconds(5)), Of(kind));
    EXPECT_GE(QuotaGate(), At(6));
    EXPECT_EQ(EndpointGate(), MonotonicTime::InfinitePast());
    quota_.alone().ClearGate(&wakes_);
  }
}

TEST_F(SharedStateTest, ARefusalThatOnlyTheBodyTells) {
  Answer(Of(ErrorKind::kPermanent),
         Of(ErrorKind::kThrottled, absl::Seconds(3)));
  EXPECT_GE(QuotaGate(), At(5));
  EXPECT_EQ(EndpointGate(), MonotonicTime::InfinitePast());
  EXPECT_TRUE(quota_.alone().IsIdle(At(6))) << "a permit was counted twice";
}

TEST_F(SharedStateTest, AnUnwellServerThatOnlyTheBodyTellsOf) {
  Answer(Of(ErrorKind::kTransient),
         Of(ErrorKind::kTransient, absl::Seconds(3)));
  EXPECT_GE(EndpointGate(), At(5));
  EXPECT_EQ(QuotaGate(), MonotonicTime::InfinitePast());
  EXPECT_TRUE(endpoint_.alone().IsIdle(At(6)));
}

// A certificate that is not trusted, say.
Outcome Local() {
  Outcome outcome;
  outcome.kind = ErrorKind::kPermanent;
  outcome.processed = Processed::kNo;
  outcome.transport_error = 60;
  return outcome;
}

TEST(IsSilentTest, OnlyWhatBroughtNothing) {
  EXPECT_TRUE(IsSilent(Local()));
  EXPECT_TRUE(IsSilent(Of(ErrorKind::kCancelled)));
  Outcome outcome = Local();
  outcome.status = 429;  // no wait cures it, but the server spoke
  EXPECT_FALSE(IsSilent(outcome));
  outcome = Local();
  outcome.processed = Processed::kUnknown;
  EXPECT_FALSE(IsSilent(outcome));
  outcome = Local();
  outcome.kind = ErrorKind::kTransient;  // refused: evidence
  EXPECT_FALSE(IsSilent(outcome));
}

// The same attempts, answered, are what makes this mean something.
TEST_F(SharedStateTest, LocalFailuresAreNoAnswers) {
  for (const bool answered : {false, true}) {
    SCOPED_TRACE(answered);
    Guarded<Quota, NoMutex> quota{QuotaOptions{}};
    Guarded<Endpoint, NoMutex> endpoint{EndpointOptions{}, At(0)};
    BasicSharedState<NoMutex> shared(&quota, &endpoint);
    const auto call = [&](const Outcome& outcome, double now) {
      WaitPlace place;
      place.ticket = {At(now), ++calls_};
      DispatchAnswer answer =
          shared.Dispatch(&place, std::make_shared<Silent>(), At(now), At(1000),
                          WhenOpen::kWait, &wakes_);
      EXPECT_EQ(answer.verdict, Verdict::kGo);
      shared.OnAttemptDone(&answer.permit, outcome, At(now), 0, &wakes_);
    };
    const Outcome outcome = answered ? Of(ErrorKind::kPermanent) : Local();
    // One is refused; whoever comes next confirms, for all of them.
    call(Of(ErrorKind::kThrottled, absl::Seconds(1)), 0);
    call(outcome, 2);
    EXPECT_EQ(quota.alone().pacer().confirming(), !answered);
    // Slow start begins again, and is over after so many answers.
    for (int64_t i = 0; i < Pacer::kKnownAgain; ++i) {
      call(outcome, 10 + 0.1 * static_cast<double>(i));
    }
    int out = 0;
    for (; out < 30; ++out) {
      WaitPlace place;
      place.ticket = {At(40), ++calls_};
      if (shared
              .Dispatch(&place, std::make_shared<Silent>(), At(40 + 0.2 * out),
                        At(1000), WhenOpen::kWait, &wakes_)
              .verdict != Verdict::kGo) {
        break;
      }
    }
    EXPECT_GE(out, answered ? 20 : 1);
    if (!answered) {
      EXPECT_LE(out, 5);
    }
  }
}

TEST_F(SharedStateTest, LocalFailuresDoNotCloseABreaker) {
  double now = 0;
  while (endpoint_.alone().breaker().state() ==
         CircuitBreaker::State::kClosed) {
    AttemptPermit permit = Send(now);
    shared_.OnAttemptDone(&permit, Of(ErrorKind::kTransient), At(now), 0,
                          &wakes_);
    now += 0.5;
    ASSERT_LT(now, 60);
  }
  for (int i = 0; i < 10; ++i) {
    now += 60;
    AttemptPermit permit = Send(now);
    shared_.OnAttemptDone(&permit, Local(), At(now), 0, &wakes_);
    EXPECT_NE(endpoint_.alone().breaker().state(),
              CircuitBreaker::State::kClosed);
  }
  now += 60;
  for (int i = 0; i < 10; ++i) {
    now += 1;
    AttemptPermit permit = Send(now);
    shared_.OnAttemptDone(&permit, Of(ErrorKind::kPermanent), At(now), 0,
                          &wakes_);
  }
  EXPECT_EQ(endpoint_.alone().breaker().state(),
            CircuitBreaker::State::kClosed);
}

TEST_F(SharedStateTest, ARefusalWithoutAWaitThatOnlyTheBodyTells) {
  for (const ErrorKind head : {ErrorKind::kOk, ErrorKind::kPermanent}) {
    Answer(Of(head), Of(ErrorKind::kThrottled));
    EXPECT_GT(QuotaGate(), At(2));
    quota_.alone().ClearGate(&wakes_);
  }
}

// Who asks why nothing is sent hears of the gate, not of a breaker that is
// closed.
TEST_F(SharedStateTest, TheEndpointsGateIsNamed) {
  const Outcome busy = Of(ErrorKind::kTransient, absl::Seconds(3));
  const SharedState::NotBefore known = Answer(busy, busy);
  EXPECT_EQ(known.time, EndpointGate());
  EXPECT_EQ(known.source, DelaySource::kGate);
}

TEST_F(SharedStateTest, AnOpenBreakerIsKnownToWhoOpenedIt) {
  SharedState::NotBefore known;
  for (int i = 0; i < 3; ++i) {
    AttemptPermit permit = Send(i);
    known = shared_.OnAttemptDone(&permit, Of(ErrorKind::kTransient), At(i), 0,
                                  &wakes_);
  }
  EXPECT_EQ(known.source, DelaySource::kBreaker);
  EXPECT_EQ(known.time, endpoint_.alone().breaker().open_until());
  EXPECT_GT(known.time, At(2));
}

TEST_F(SharedStateTest, WhoHasLeftIsNowhere) {
  Answer(Of(ErrorKind::kThrottled, absl::Seconds(5)),
         Of(ErrorKind::kThrottled, absl::Seconds(5)));
  WaitPlace place;
  place.ticket = {At(3), ++calls_};
  shared_.Dispatch(&place, std::make_shared<Silent>(), At(3), At(1000),
                   WhenOpen::kWait, &wakes_);
  EXPECT_EQ(place.where, Holder::kQuota);
  shared_.Leave(&place, &wakes_);
  EXPECT_EQ(place.where, Holder::kNowhere);
}

// A 403 whose body says that the day's quota is used up, and until when.
TEST_F(SharedStateTest, AnExhaustedQuotaThatOnlyTheBodyTells) {
  Answer(Of(ErrorKind::kPermanent),
         Of(ErrorKind::kQuotaExhausted, absl::Seconds(30)));
  EXPECT_GE(QuotaGate(), At(32));
  EXPECT_EQ(EndpointGate(), MonotonicTime::InfinitePast());
}

// An estimate of 100 tokens, and an answer that says 30.
TEST_F(SharedStateTest, WhatAnAnswerUsedIsSettled) {
  QuotaOptions options;
  options.limits = {{"tpm", LimitUnit::kTokens, 1000, absl::Hours(1)}};
  Guarded<Quota, NoMutex> quota{options};
  BasicSharedState<NoMutex> shared(&quota, &endpoint_);
  for (const bool head : {true, false}) {
    const int64_t before = quota.alone().limiter()->LevelOf(0, At(0)).left;
    WaitPlace place;
    place.ticket = {At(0), ++calls_};
    place.cost.input_tokens = 100;
    DispatchAnswer answer =
        shared.Dispatch(&place, std::make_shared<Silent>(), At(0), At(1000),
                        WhenOpen::kWait, &wakes_);
    ASSERT_EQ(answer.verdict, Verdict::kGo);
    ASSERT_EQ(quota.alone().limiter()->LevelOf(0, At(0)).left, before - 100);
    Outcome good = Of(ErrorKind::kOk);
    if (head) shared.OnAnswerHead(&answer.permit, good, At(0), &wakes_);
    good.usage.input_tokens = 30;
    shared.OnAttemptDone(&answer.permit, good, At(0), 0, &wakes_);
    EXPECT_EQ(quota.alone().limiter()->LevelOf(0, At(0)).left, before - 30);
  }
}

class SharedHedgesTest : public SharedStateTest {
 protected:
  DispatchAnswer Hedge(double now) {
    WaitPlace place;
    place.ticket = {At(0), ++calls_};
    return shared_.DispatchHedge(place, At(now), &wakes_);
  }
  double Left() { return endpoint_.alone().hedge_budget().level(); }
};

TEST_F(SharedHedgesTest, EachIsPaidAndComesBackIfItWasNotSent) {
  const double all = Left();
  EXPECT_EQ(Hedge(0).verdict, Verdict::kGo);
  EXPECT_EQ(Left(), all - 1);
  shared_.ReturnHedge();
  EXPECT_EQ(Left(), all);
}

// Behind a gate it is refused, and the next one can be paid.
TEST_F(SharedHedgesTest, WhatMayNotGoCostsNothing) {
  const Outcome refused = Of(ErrorKind::kThrottled, absl::Seconds(50));
  Answer(refused, refused);
  const double all = Left();
  for (int i = 0; i < 100; ++i) {
    const DispatchAnswer answer = Hedge(3);
    ASSERT_EQ(answer.verdict, Verdict::kRefuse);
    ASSERT_EQ(answer.holder, Holder::kQuota);
  }
  EXPECT_GE(Left(), all);
}

// As many as there are in a full bucket; and then one for so many calls.
TEST_F(SharedHedgesTest, WithoutABudgetThereIsNone) {
  EndpointOptions options;
  options.pacing = false;
  options.hedge_budget.burst = 2;
  options.hedge_budget.ratio = 0.5;
  options.hedge_budget.per_second = 0;
  endpoint_->Reconfigure(options, At(0), &wakes_);
  while (endpoint_.alone().hedge_budget().Withdraw(At(0))) {
  }
  DispatchAnswer answer = Hedge(0);
  EXPECT_EQ(answer.verdict, Verdict::kRefuse);
  EXPECT_EQ(answer.reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(answer.holder, Holder::kEndpoint);
  EXPECT_TRUE(quota_.alone().IsIdle(At(0))) << "nothing was sent";
  shared_.CountForHedges(At(0));
  EXPECT_EQ(Hedge(0).verdict, Verdict::kRefuse);
  shared_.CountForHedges(At(0));
  EXPECT_EQ(Hedge(0).verdict, Verdict::kGo);
  EXPECT_EQ(Hedge(0).verdict, Verdict::kRefuse);
}

// While an endpoint is calm it counts a good head when the answer ends. It does so
// also if it is not calm any more by then: good answers in between make 503s faults.
TEST_F(SharedStateTest, AGoodHeadCountsAtTheEndWhateverHappensMeanwhile) {
  for (const bool good : {true, false}) {
    Guarded<Quota, NoMutex> quota{QuotaOptions{}};
    Guarded<Endpoint, NoMutex> endpoint{EndpointOptions{}, At(0)};
    BasicSharedState<NoMutex> shared(&quota, &endpoint);
    const auto send = [&](double now) {
      WaitPlace place;
      place.ticket = {At(now), ++calls_};
      const DispatchAnswer answer =
          shared.Dispatch(&place, std::make_shared<Silent>(), At(now), At(1000),
                          WhenOpen::kWait, &wakes_);
      EXPECT_EQ(answer.verdict, Verdict::kGo);
      return answer.permit;
    };
    const auto call = [&](const Outcome& outcome, double now) {
      AttemptPermit permit = send(now);
      shared.OnAttemptDone(&permit, outcome, At(now), 0, &wakes_);
    };
    for (int64_t i = 0; i < Pacer::kKnown; ++i) call(Of(ErrorKind::kOk), 0);
    ASSERT_TRUE(endpoint.lane().is_open());
    Outcome busy = Of(ErrorKind::kTransient);
    busy.shed = true;
    AttemptPermit permit = send(1);
    if (good) shared.OnAnswerHead(&permit, Of(ErrorKind::kOk), At(1), &wakes_);
    EXPECT_FALSE(permit.endpoint_head_seen);
    call(busy, 1.1);
    call(busy, 1.2);
    // After its head the answer may also break off.
    Outcome broken = Of(ErrorKind::kTransient);
    shared.OnAttemptDone(&permit, broken, At(1.3), 0, &wakes_);
    call(busy, 1.4);
    EXPECT_EQ(endpoint.alone().pacer().IsGated(At(1.4)), !good);
  }
}

}  // namespace
}  // namespace forbear
