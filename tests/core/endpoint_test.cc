// Endpoint: breaker, gate, queue and slow start together. Single steps, and the
// outages of issue A in the simulation.

#include "core/endpoint.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/circuit_breaker.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

using testing::SimCallOptions;
using testing::SimOptions;
using testing::SimReply;
using testing::SimSend;
using testing::Simulation;

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

class Silent final : public Waiter {
 public:
  void Wake() override {}
};

Endpoint::Answer Ask(Endpoint* e, uint64_t id, double now, double limit = 1000,
                     WhenOpen when_open = WhenOpen::kWait) {
  WakeList wakes;
  return e->Ask({At(0), id}, std::make_shared<Silent>(), At(now), At(limit),
                when_open, &wakes);
}

void Done(Endpoint* e, const Endpoint::Answer& a, const Outcome& o,
          double now) {
  WakeList wakes;
  e->OnAttemptDone(a.permit, o, /*head_seen=*/false, At(now), 0.0, &wakes);
}

Outcome Failed(std::optional<absl::Duration> wait = std::nullopt) {
  return testing::TransientOutcome(Processed::kUnknown, wait);
}

// Three failures open the breaker of an endpoint that never answered.
void Break(Endpoint* e, double now) {
  for (uint64_t i = 0; i < 3; ++i) Done(e, Ask(e, i + 1, now), Failed(), now);
  ASSERT_EQ(e->breaker().state(), CircuitBreaker::State::kOpen);
}

TEST(EndpointTest, ALoneFailureComesAfterAGoodAnswer) {
  Endpoint e(EndpointOptions{}, At(0));
  uint64_t id = 0;
  double now = 0;
  const auto ends = [&](const Outcome& outcome) {
    const Endpoint::Answer a = Ask(&e, ++id, now);
    ASSERT_EQ(a.verdict, Verdict::kGo) << id;
    Done(&e, a, outcome, now += 1);
  };
  // Nobody knows whether it is there.
  ends(Failed());
  EXPECT_FALSE(e.HasFailedOnce());
  ends(Outcome());
  EXPECT_FALSE(e.HasFailedOnce());
  ends(Failed());
  EXPECT_TRUE(e.HasFailedOnce());
  ends(Failed());
  EXPECT_FALSE(e.HasFailedOnce());
  // An answer that refuses is one.
  Outcome refused;
  refused.kind = ErrorKind::kThrottled;
  refused.status = 429;
  ends(refused);
  ends(Failed());
  EXPECT_TRUE(e.HasFailedOnce());
}

// Who waited for a gate leave one after the other. Who then does not go leaves its turn
// to the next one, and its place.
TEST(EndpointTest, ATurnThatIsNotUsedIsTheNextOnes) {
  for (const bool goes : {false, true}) {
    SCOPED_TRACE(goes);
    EndpointOptions options;
    options.max_concurrency = 1;
    Endpoint e(options, At(0));
    Done(&e, Ask(&e, 1, 0), Failed(absl::Seconds(1)), 0.1);
    for (uint64_t id = 2; id <= 30; ++id) {
      ASSERT_EQ(Ask(&e, id, 0.5).verdict, Verdict::kWait);
    }
    Endpoint::Answer confirms = Ask(&e, 2, 1.5);
    ASSERT_EQ(confirms.verdict, Verdict::kGo);
    Done(&e, confirms, Outcome(), 1.6);
    const Endpoint::Answer third = Ask(&e, 3, 1.7);
    ASSERT_EQ(third.verdict, Verdict::kGo);
    WakeList wakes;
    if (goes) {
      Done(&e, third, Outcome(), 1.7);
    } else {
      e.Return(third.permit, At(1.7), &wakes);
      EXPECT_EQ(wakes.size(), 1);
    }
    EXPECT_EQ(e.SnapshotAt(At(1.7)).out, 0);
    const Endpoint::Answer fourth = Ask(&e, 4, 1.7);
    EXPECT_EQ(fourth.verdict, goes ? Verdict::kWait : Verdict::kGo);
  }
}

TEST(EndpointTest, OpenBreakerWaitsOrFailsAsTheCallWants) {
  Endpoint e(EndpointOptions{}, At(0));
  Break(&e, 0);  // until 0.25
  const Endpoint::Answer wait = Ask(&e, 10, 0.1);
  EXPECT_EQ(wait.verdict, Verdict::kWait);
  EXPECT_EQ(wait.until, At(0.25));
  EXPECT_EQ(wait.source, DelaySource::kBreaker);
  const Endpoint::Answer fail = Ask(&e, 11, 0.1, 1000, WhenOpen::kFail);
  EXPECT_EQ(fail.verdict, Verdict::kRefuse);
  EXPECT_EQ(fail.reason, StopReason::kCircuitOpen);
  EXPECT_EQ(fail.until, At(0.25));
  const Endpoint::Answer late = Ask(&e, 12, 0.1, 0.2);
  EXPECT_EQ(late.verdict, Verdict::kRefuse);
  EXPECT_EQ(late.reason, StopReason::kCircuitOpen);
  // The head probes; the next one waits for the probe's lease at most.
  const Endpoint::Answer probe = Ask(&e, 10, 0.25);
  ASSERT_EQ(probe.verdict, Verdict::kGo);
  const Endpoint::Answer second = Ask(&e, 13, 0.25);
  EXPECT_EQ(second.verdict, Verdict::kWait);
  EXPECT_EQ(second.until, At(10.25));
  EXPECT_EQ(Ask(&e, 14, 0.25, 1000, WhenOpen::kFail).reason,
            StopReason::kCircuitOpen);
}

TEST(EndpointTest, FailFastSaysCircuitOpenAlsoBehindAGate) {
  Endpoint e(EndpointOptions{}, At(0));
  for (uint64_t i = 0; i < 3; ++i) {
    const auto at = static_cast<double>(i) * 10.0;
    Done(&e, Ask(&e, i + 1, at), Failed(absl::Seconds(5)), at);
  }
  ASSERT_EQ(e.breaker().state(), CircuitBreaker::State::kOpen);
  const Endpoint::Answer a = Ask(&e, 9, 20.1, 1000, WhenOpen::kFail);
  EXPECT_EQ(a.verdict, Verdict::kRefuse);
  EXPECT_EQ(a.reason, StopReason::kCircuitOpen);
  EXPECT_GE(a.until, At(25));
}

TEST(EndpointTest, OpenNeverEndsBeforeTheServersWait) {
  Endpoint e(EndpointOptions{}, At(0));
  const Endpoint::Answer a = Ask(&e, 1, 0);
  const Endpoint::Answer b = Ask(&e, 2, 0);
  const Endpoint::Answer c = Ask(&e, 3, 0);
  Done(&e, a, Failed(absl::Seconds(3)), 0.1);
  Done(&e, b, Failed(), 0.1);
  Done(&e, c, Failed(), 0.1);
  ASSERT_EQ(e.breaker().state(), CircuitBreaker::State::kOpen);
  EXPECT_GE(e.NotBefore(At(0.1)), At(3.1));
  EXPECT_EQ(Ask(&e, 4, 1).verdict, Verdict::kWait);
  EXPECT_EQ(Ask(&e, 4, 3.05).verdict, Verdict::kWait);
  EXPECT_EQ(Ask(&e, 4, 3.2).verdict, Verdict::kGo);
}

TEST(EndpointTest, SlowStartHoldsAtMostHalfASecondAndNobodyOfAKnownServer) {
  Endpoint e(EndpointOptions{}, At(0));
  std::vector<Endpoint::Answer> out;
  for (uint64_t i = 1; i <= 3; ++i) {
    out.push_back(Ask(&e, i, 0));
    ASSERT_EQ(out.back().verdict, Verdict::kGo);
  }
  // Nobody answers: the others still go, one after the other.
  for (uint64_t id = 4; id <= 300; ++id) {
    ASSERT_EQ(Ask(&e, id, 0).verdict, Verdict::kWait);
  }
  const Endpoint::Answer wait = Ask(&e, 4, 0.2);
  ASSERT_EQ(wait.verdict, Verdict::kWait);
  EXPECT_LE(wait.until, At(0.5));
  EXPECT_GE(wait.until, At(0.3));
  EXPECT_EQ(wait.source, DelaySource::kQueue);
  for (uint64_t id = 4; id <= 300; ++id) {
    ASSERT_EQ(Ask(&e, id, 0.5).verdict, Verdict::kGo) << id;
  }
}

TEST(EndpointTest, AKnownServerHasNoSlowStart) {
  Endpoint e(EndpointOptions{}, At(0));
  for (uint64_t i = 1; i <= static_cast<uint64_t>(Pacer::kKnown); ++i) {
    Done(&e, Ask(&e, i, 0), testing::OkOutcome(), 0);
  }
  for (uint64_t i = 100; i < 1100; ++i) {
    ASSERT_EQ(Ask(&e, i, 0).verdict, Verdict::kGo) << i;
  }
}

// 503s, one each 50 ms, of an endpoint that is known and whose breaker is off.
struct Shedding {
  static EndpointOptions Options() {
    EndpointOptions o;
    o.breaker.enabled = false;
    return o;
  }
  Endpoint e{Options(), At(0)};
  uint64_t id = 0;
  double now = 0;

  Shedding() {
    for (int64_t i = 0; i < Pacer::kKnown; ++i) Good();
  }
  bool Gated() const { return e.pacer().IsGated(At(now)); }
  void Good() { Done(&e, Ask(&e, ++id, now), testing::OkOutcome(), now); }
  void Shed(double after = 0.05) {
    now = std::max(
        now + after,
        absl::ToDoubleSeconds(Later(e.pacer().gate_until(), At(0)) - At(0)));
    Outcome o = Failed();
    o.shed = true;
    Done(&e, Ask(&e, ++id, now), o, now);
  }
};

TEST(EndpointTest, ThreeIn100MillisecondsAreARefusal) {
  Shedding run;
  run.Shed();
  run.Shed();
  EXPECT_FALSE(run.Gated());
  run.Shed();
  ASSERT_TRUE(run.Gated());
  EXPECT_EQ(run.e.pacer().gate_until(), At(run.now + 0.25));
  EXPECT_FALSE(run.e.IsCalm());
  // From now on each of them is.
  for (int i = 0; i < 10; ++i) {
    run.now += 1;
    run.Good();
  }
  run.Shed();
  EXPECT_TRUE(run.Gated());
}

TEST(EndpointTest, ABrokenConnectionIsNoRefusal) {
  Shedding run;
  for (int i = 0; i < 100; ++i) {
    run.Shed(0.0009);
    ASSERT_FALSE(run.Gated());
  }
  EXPECT_FALSE(run.e.IsCalm());  // the next one might make it one
}

TEST(EndpointTest, GoodAnswersInBetweenMakeThemFaults) {
  Shedding run;
  for (int i = 0; i < 100; ++i) {
    run.Shed();
    run.Shed();
    run.Good();
    ASSERT_FALSE(run.Gated());
  }
  EXPECT_TRUE(run.e.IsCalm());
}

TEST(EndpointTest, AMinuteWithoutEndsIt) {
  Shedding run;
  for (int i = 0; i < 3; ++i) run.Shed();
  ASSERT_TRUE(run.Gated());
  run.now += 1;
  run.Good();
  run.Shed(20);
  ASSERT_TRUE(run.Gated());
  run.now += 1;
  run.Good();
  run.Shed(61);
  EXPECT_FALSE(run.Gated());
}

TEST(EndpointTest, ARunIsForgottenInAMinute) {
  Shedding run;
  run.Shed();
  run.Shed();
  run.Shed(61);
  EXPECT_FALSE(run.Gated());
}

TEST(EndpointTest, WhoWaitedForAnOperatorLeavesSlowly) {
  Endpoint e(EndpointOptions{}, At(0));
  for (uint64_t i = 1; i <= 20; ++i) {
    Done(&e, Ask(&e, i, 0), testing::OkOutcome(), 0);
  }
  ASSERT_TRUE(e.pacer().IsCalm(At(0)));
  WakeList wakes;
  e.ForceBreaker(CircuitBreaker::Forced::kOpen, At(0), &wakes);
  e.ForceBreaker(CircuitBreaker::Forced::kAuto, At(0), &wakes);
  ASSERT_EQ(Ask(&e, 1000, 0).verdict, Verdict::kGo);  // the probe
  ASSERT_EQ(Ask(&e, 1001, 0).verdict, Verdict::kWait);
  e.ForceBreaker(CircuitBreaker::Forced::kClosed, At(0), &wakes);
  EXPECT_FALSE(e.pacer().IsCalm(At(1)));
}

// One in twenty at random, after a run that was taken for a limit: it must not slow
// everybody down for good.
TEST(EndpointTest, RandomFaultsAreFoundOut) {
  int all = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Shedding run;
    for (int i = 0; i < 3; ++i) run.Shed();
    uint64_t drawn = 0;
    int sent = 0;
    while (run.now < 120) {
      run.now += 0.002;
      const Endpoint::Answer a = Ask(&run.e, ++run.id, run.now);
      if (a.verdict != Verdict::kGo) {
        WakeList wakes;
        run.e.Leave({At(0), run.id}, &wakes);
        continue;
      }
      ++sent;
      Outcome o = testing::OkOutcome();
      if (UnitRandom(seed, drawn++) < 0.05) {
        o = Failed();
        o.shed = true;
      }
      Done(&run.e, a, o, run.now);
    }
    EXPECT_GT(sent, 15000) << "of 60000, seed " << seed;
    all += sent;
  }
  const double part = all / (20 * 60000.0);
  std::printf("%.3f of all were sent\n", part);
  EXPECT_GT(part, 0.88);
}

// Who confirms is told to wait for less than its lease: the head has a new time, as
// soon as the answer's head is there.
TEST(EndpointTest, ARefusedConfirmingCallerTellsTheHead) {
  EndpointOptions o;
  o.breaker.enabled = false;
  Endpoint e(o, At(0));
  Done(&e, Ask(&e, 1, 0), Failed(absl::Seconds(1)), 0);
  Endpoint::Answer confirms = Ask(&e, 2, 1.1);
  ASSERT_EQ(confirms.verdict, Verdict::kGo);
  const Endpoint::Answer waits = Ask(&e, 3, 1.1);
  ASSERT_EQ(waits.verdict, Verdict::kWait);
  EXPECT_EQ(waits.until, At(2.1));
  WakeList wakes;
  e.OnAnswerHead(&confirms.permit, Failed(absl::Seconds(0.5)), At(1.2), &wakes);
  EXPECT_EQ(wakes.size(), 1u);
  EXPECT_EQ(Ask(&e, 3, 1.2).until, e.pacer().gate_until());
  EXPECT_LT(e.pacer().gate_until(), At(2));
}

// What was found out to be faults is not asked again for a minute.
TEST(EndpointTest, FaultsThatWereFoundOutAreFaultsForAMinute) {
  Shedding run;
  for (int i = 0; i < 3; ++i) run.Shed();
  double found = 0;
  for (uint64_t drawn = 0; found == 0 && run.now < 60;) {
    run.now += 0.002;
    const Endpoint::Answer a = Ask(&run.e, ++run.id, run.now);
    if (a.verdict != Verdict::kGo) {
      WakeList wakes;
      run.e.Leave({At(0), run.id}, &wakes);
      continue;
    }
    const bool known = run.e.pacer().limit().known();
    const bool shed = UnitRandom(1, drawn++) < 0.05;
    Outcome o = shed ? Failed() : testing::OkOutcome();
    o.shed = shed;
    Done(&run.e, a, o, run.now);
    if (known && !run.e.pacer().limit().known()) found = run.now;
  }
  // Sooner than they have to be shown again anyway.
  ASSERT_GT(found, 0);
  ASSERT_LT(found, 30);
  while (run.now < found + 59) {
    for (int i = 0; i < 4; ++i) run.Shed();
    EXPECT_FALSE(run.Gated()) << run.now - found;
    run.Good();
    run.now += 5;
  }
  run.now = found + 61;
  for (int i = 0; i < 3; ++i) run.Shed();
  EXPECT_TRUE(run.Gated());
}

TEST(EndpointTest, WhoWaitsForAnOpenBreakerWaitsForASecondAtMost) {
  for (const bool pacing : {true, false}) {
    EndpointOptions o;
    o.pacing = pacing;
    Endpoint e(o, At(0));
    Break(&e, 0);
    double now = 0;
    uint64_t id = 10;
    for (int i = 0; i < 8; ++i) {
      const Endpoint::Answer wait = Ask(&e, ++id, now);
      ASSERT_EQ(wait.verdict, Verdict::kWait);
      const double until = absl::ToDoubleSeconds(wait.until - At(0));
      EXPECT_LE(until - now, pacing ? 1.0 : 10.0);
      EXPECT_NEAR(until - now,
                  std::min(pacing ? 1.0 : 10.0, 0.25 * std::exp2(i)), 1e-6);
      now = until;
      // Who does not wait is refused until the breaker's own time is over.
      if (i == 7) {
        EXPECT_EQ(Ask(&e, 1000, now, 1000, WhenOpen::kFail).verdict,
                  Verdict::kRefuse);
      }
      const Endpoint::Answer probe = Ask(&e, id, now);
      ASSERT_EQ(probe.verdict, Verdict::kGo);
      Done(&e, probe, Failed(), now);
    }
  }
}

TEST(EndpointTest, AtMostSoManyAttemptsAreOutAtATime) {
  EndpointOptions o;
  o.max_concurrency = 2;
  Endpoint e(o, At(0));
  const Endpoint::Answer a = Ask(&e, 1, 0);
  const Endpoint::Answer b = Ask(&e, 2, 0);
  ASSERT_EQ(a.verdict, Verdict::kGo);
  ASSERT_EQ(b.verdict, Verdict::kGo);
  for (uint64_t id : {3, 4}) {
    const Endpoint::Answer wait = Ask(&e, id, 0);
    ASSERT_EQ(wait.verdict, Verdict::kWait);
    EXPECT_TRUE(wait.until.is_infinite());  // woken when a place is free
    EXPECT_EQ(wait.source, DelaySource::kQueue);
  }
  WakeList wakes;
  e.OnAttemptDone(a.permit, testing::OkOutcome(), false, At(1), 0, &wakes);
  EXPECT_EQ(wakes.size(), 1u);
  EXPECT_EQ(Ask(&e, 4, 1).verdict, Verdict::kWait);  // 3 was before it
  const Endpoint::Answer c = Ask(&e, 3, 1);
  ASSERT_EQ(c.verdict, Verdict::kGo);
  // A cancelled attempt, a failed one and one that nobody answered free theirs.
  Outcome cancelled;
  cancelled.kind = ErrorKind::kCancelled;
  Done(&e, b, cancelled, 1);
  const Endpoint::Answer d = Ask(&e, 4, 1);
  ASSERT_EQ(d.verdict, Verdict::kGo);
  Done(&e, c, Failed(), 1);
  Done(&e, d, Failed(), 1);
  EXPECT_EQ(e.SnapshotAt(At(1)).out, 0);
  EXPECT_TRUE(e.IsIdle(At(1)));
}

TEST(EndpointTest, SlowAttemptsOpenTheBreakerIfAskedFor) {
  for (bool asked : {true, false}) {
    EndpointOptions o;
    o.breaker.min_calls = 4;
    if (asked) o.breaker.slow_call = absl::Seconds(2);
    Endpoint e(o, At(0));
    for (int i = 0; i < 4; ++i) {
      const double t = 5.0 * i;
      // Half of them: 2 s and 1.999 s.
      Done(&e, Ask(&e, static_cast<uint64_t>(i) + 1, t), testing::OkOutcome(),
           t + (i % 2 == 1 ? 2 : 1.999));
    }
    EXPECT_EQ(e.breaker().state() == CircuitBreaker::State::kOpen, asked);
  }
}

TEST(EndpointTest, AnOperatorHoldsTheBreaker) {
  using Forced = CircuitBreaker::Forced;
  Endpoint e(EndpointOptions{}, At(0));
  Break(&e, 0);
  ASSERT_EQ(Ask(&e, 4, 0).verdict, Verdict::kWait);
  ASSERT_EQ(Ask(&e, 5, 0).verdict, Verdict::kWait);
  WakeList wakes;
  e.ForceBreaker(Forced::kOpen, At(0.1), &wakes);
  EXPECT_EQ(wakes.size(), 2u);  // both are told
  for (uint64_t id : {4, 5, 6}) {
    const Endpoint::Answer a = Ask(&e, id, 0.1, 1e9);
    EXPECT_EQ(a.verdict, Verdict::kRefuse);
    EXPECT_EQ(a.reason, StopReason::kCircuitOpen);
    EXPECT_TRUE(a.until.is_infinite());
  }
  EXPECT_TRUE(e.NotBefore(At(0.1)).is_infinite());
  EXPECT_FALSE(e.IsIdle(At(1e6)));
  Endpoint::Snapshot s = e.SnapshotAt(At(0.1));
  EXPECT_EQ(s.forced, Forced::kOpen);
  EXPECT_EQ(s.breaker, CircuitBreaker::State::kOpen);
  EXPECT_FALSE(s.open_until.has_value());
  // Back: a probe first.
  wakes.clear();
  e.ForceBreaker(Forced::kAuto, At(100), &wakes);
  const Endpoint::Answer probe = Ask(&e, 7, 100);
  ASSERT_EQ(probe.verdict, Verdict::kGo);
  EXPECT_EQ(Ask(&e, 8, 100).verdict, Verdict::kWait);
  Done(&e, probe, Failed(), 100);
  s = e.SnapshotAt(At(100));
  ASSERT_TRUE(s.open_until.has_value());
  EXPECT_EQ(*s.open_until, At(100.25));
  // Closed, whatever comes: those who waited leave, spaced.
  e.ForceBreaker(Forced::kClosed, At(100), &wakes);
  EXPECT_EQ(wakes.size(), 1u);
  EXPECT_FALSE(e.pacer().IsCalm(At(100)));
  for (uint64_t i = 8; i < 40; ++i) {
    const double t = static_cast<double>(100 + i);
    const Endpoint::Answer a = Ask(&e, i, t);
    ASSERT_EQ(a.verdict, Verdict::kGo) << i;
    Done(&e, a, Failed(), t);
  }
  EXPECT_FALSE(e.IsIdle(At(1e6)));
}

TEST(EndpointTest, ReconfigureKeepsWhatIsKnown) {
  Endpoint e(EndpointOptions{}, At(0));
  Break(&e, 0);
  EndpointOptions o;
  o.max_waiters = 1;
  o.max_concurrency = 1;
  WakeList wakes;
  ASSERT_EQ(Ask(&e, 4, 0).verdict, Verdict::kWait);
  e.Reconfigure(o, At(0), &wakes);
  EXPECT_EQ(wakes.size(), 1u);
  EXPECT_EQ(e.breaker().state(), CircuitBreaker::State::kOpen);
  EXPECT_EQ(Ask(&e, 5, 0).reason, StopReason::kQueueFull);
  const Endpoint::Answer probe = Ask(&e, 4, 1);
  ASSERT_EQ(probe.verdict, Verdict::kGo);
  Done(&e, probe, testing::OkOutcome(), 1);
  const Endpoint::Answer second = Ask(&e, 6, 1);
  ASSERT_EQ(second.verdict, Verdict::kGo);
  Done(&e, second, testing::OkOutcome(), 1);
  ASSERT_EQ(e.breaker().state(), CircuitBreaker::State::kClosed);
  const Endpoint::Answer only = Ask(&e, 7, 2);
  ASSERT_EQ(only.verdict, Verdict::kGo);
  EXPECT_EQ(Ask(&e, 8, 3).verdict, Verdict::kWait);
  o.max_concurrency = 0;
  wakes.clear();
  e.Reconfigure(o, At(3), &wakes);
  EXPECT_EQ(wakes.size(), 1u);
  EXPECT_EQ(Ask(&e, 8, 3).verdict, Verdict::kGo);
  EXPECT_EQ(e.SnapshotAt(At(3)).out, 2);
  // The breaker off: whoever waited for it leaves.
  Endpoint f(EndpointOptions{}, At(0));
  Break(&f, 0);
  ASSERT_EQ(Ask(&f, 4, 0).verdict, Verdict::kWait);
  EndpointOptions off;
  off.breaker.enabled = false;
  wakes.clear();
  f.Reconfigure(off, At(0), &wakes);
  EXPECT_EQ(wakes.size(), 1u);
  EXPECT_EQ(Ask(&f, 4, 0).verdict, Verdict::kGo);
}

TEST(EndpointTest, ASnapshotForPeople) {
  Endpoint e(EndpointOptions{}, At(0));
  Done(&e, Ask(&e, 1, 0), testing::OkOutcome(), 0);
  Done(&e, Ask(&e, 2, 0), Failed(), 0);
  Done(&e, Ask(&e, 3, 0), Failed(absl::Seconds(2)), 0);
  Ask(&e, 4, 0);
  const Endpoint::Snapshot s = e.SnapshotAt(At(0));
  EXPECT_EQ(s.waiting, 1);
  EXPECT_EQ(s.out, 0);
  EXPECT_EQ(s.breaker, CircuitBreaker::State::kClosed);
  EXPECT_EQ(s.forced, CircuitBreaker::Forced::kAuto);
  EXPECT_EQ(s.calls, 3);
  EXPECT_EQ(s.failures, 2);
  EXPECT_EQ(s.slow, 0);
  EXPECT_EQ(s.run, 2);
  ASSERT_TRUE(s.gate.has_value());
  EXPECT_GE(*s.gate, At(2));
  EXPECT_FALSE(s.open_until.has_value());
  EXPECT_FALSE(s.pace.has_value());
  EXPECT_EQ(s.budget, 1);
  ASSERT_TRUE(e.budget().Withdraw(125));
  EXPECT_EQ(e.SnapshotAt(At(0)).budget, 0.75);
  EndpointOptions o;
  o.budget.capacity = 100;
  o.hedge_budget.burst = 20;
  WakeList wakes;
  e.Reconfigure(o, At(0), &wakes);
  EXPECT_EQ(e.budget().level(), 75);
  EXPECT_EQ(e.hedge_budget().level(), 20);
}

TEST(EndpointTest, IsIdleOnlyWhenNothingIsLost) {
  Endpoint e(EndpointOptions{}, At(0));
  EXPECT_TRUE(e.IsIdle(At(0)));
  const Endpoint::Answer a = Ask(&e, 1, 0);
  EXPECT_FALSE(e.IsIdle(At(0)));
  Done(&e, a, Failed(absl::Seconds(1)), 0);
  EXPECT_FALSE(e.IsIdle(At(0.5)));
  EXPECT_TRUE(e.IsIdle(At(2)));
  Endpoint open(EndpointOptions{}, At(0));
  Break(&open, 0);
  EXPECT_FALSE(open.IsIdle(At(0)));
  EXPECT_FALSE(open.IsIdle(At(60)));
  EXPECT_TRUE(open.IsIdle(At(62)));  // nobody has asked for a minute
}

TEST(EndpointTest, OptionsAllFaultsAtOnce) {
  EndpointOptions o;
  o.max_waiters = 0;
  o.max_concurrency = -1;
  o.breaker.failure_ratio = std::numeric_limits<double>::quiet_NaN();
  o.budget.capacity = -1;
  std::vector<std::string> faults;
  ValidateEndpoint(o, "e", &faults);
  const std::string text = absl::StrJoin(faults, "|");
  for (const char* path :
       {"e.max_waiters is 0", "e.max_concurrency is -1",
        "e.breaker.failure_ratio is nan", "e.budget.capacity is -1"}) {
    EXPECT_NE(text.find(path), std::string::npos) << path << ": " << text;
  }
}

// ---- Crowds.

testing::SimServer Healthy(absl::Duration latency) {
  return [=](const SimSend&) {
    SimReply r;
    r.head = latency;
    r.outcome = testing::OkOutcome();
    return r;
  };
}

TEST(EndpointCrowdTest, AHundredSlowCallsToAHealthyUnknownServer) {
  SimOptions options;
  Simulation sim(options);
  sim.SetServer(Healthy(absl::Seconds(5)));
  for (int i = 0; i < 100; ++i) sim.AddCall({});
  sim.Run();
  EXPECT_EQ(sim.Faults(), "");
  EXPECT_EQ(sim.Ended(StopReason::kSuccess), 100);
  EXPECT_LE(sim.LastEnd(), absl::Seconds(5 * 1.15));
  for (const SimSend& s : sim.sends()) {
    EXPECT_LE(s.time - sim.start(), absl::Milliseconds(501));
  }
}

// A server that is down from `from` to `to`; otherwise well.
struct Outage {
  enum class How { kRefused, kUnavailable, kUnavailableWithWait, kHang };
  How how;
  double from;
  double to;
};

testing::SimServer Down(const Outage& outage, uint64_t seed) {
  auto n = std::make_shared<uint64_t>(0);
  const MonotonicTime zero = SimOptions().start;
  return [=](const SimSend& send) {
    SimReply r;
    r.head = absl::Milliseconds(5 + 10 * UnitRandom(seed, (*n)++));
    r.outcome = testing::OkOutcome();
    const double t = absl::ToDoubleSeconds(send.time - zero);
    if (t < outage.from || t >= outage.to) return r;
    switch (outage.how) {
      case Outage::How::kRefused:
        r.headless = true;
        r.outcome = testing::TransientOutcome(Processed::kNo);
        break;
      case Outage::How::kUnavailable:
        r.outcome = testing::TransientOutcome(Processed::kYes);
        break;
      case Outage::How::kUnavailableWithWait:
        r.outcome =
            testing::TransientOutcome(Processed::kNo, absl::Milliseconds(500));
        break;
      case Outage::How::kHang:
        r.headless = true;
        r.head = absl::InfiniteDuration();
        break;
    }
    return r;
  };
}

const char* Name(Outage::How how) {
  switch (how) {
    case Outage::How::kRefused:
      return "refused";
    case Outage::How::kUnavailable:
      return "503";
    case Outage::How::kUnavailableWithWait:
      return "503 with a wait";
    case Outage::How::kHang:
      return "hang";
  }
  return "?";
}

constexpr Outage::How kHows[] = {Outage::How::kRefused,
                                 Outage::How::kUnavailable,
                                 Outage::How::kUnavailableWithWait};

TEST(EndpointCrowdTest, DownFromTheStart) {
  for (Outage::How how : kHows) {
    for (uint64_t seed = 1; seed <= 50; ++seed) {
      SimOptions options;
      options.seed = seed;
      options.late = absl::Milliseconds(1);
      Simulation sim(options);
      sim.SetServer(Down({how, 0, 3}, seed));
      for (int i = 0; i < 20; ++i) {
        SimCallOptions call;
        call.deadline = absl::Seconds(30);
        sim.AddCall(call);
      }
      sim.Run();
      SCOPED_TRACE(absl::StrCat(Name(how), " seed ", seed));
      EXPECT_EQ(sim.Faults(), "");
      EXPECT_EQ(sim.Ended(StopReason::kSuccess), 20);
      EXPECT_LE(sim.SendsBetween(absl::ZeroDuration(), absl::Seconds(3)), 15);
      EXPECT_LE(sim.LastEnd(), absl::Seconds(12));
    }
  }
}

TEST(EndpointCrowdTest, DownWithShortDeadlinesRefusesAtOnce) {
  SimOptions options;
  Simulation sim(options);
  sim.SetServer(Down({Outage::How::kRefused, 0, 3}, 1));
  for (int i = 0; i < 20; ++i) {
    SimCallOptions call;
    call.start = absl::Seconds(1.2 + 0.01 * i);
    call.deadline = absl::Milliseconds(100);
    sim.AddCall(call);
  }
  SimCallOptions opener;  // somebody has found out before
  opener.deadline = absl::Seconds(30);
  for (int i = 0; i < 3; ++i) sim.AddCall(opener);
  sim.Run();
  EXPECT_EQ(sim.Faults(), "");
  int64_t refused = 0;
  for (const Simulation::Call& call : sim.calls()) {
    if (call.record().stop_reason != StopReason::kCircuitOpen) continue;
    ++refused;
    EXPECT_EQ(call.finished_at(), call.record().begin);  // at once
    ASSERT_TRUE(call.record().retry_at.has_value());
    EXPECT_GT(*call.record().retry_at, call.record().end);
  }
  EXPECT_GE(refused, 15);
}

// A server of 5 a second that says 503 to all others.
TEST(EndpointCrowdTest, SheddingIsALimitUnlessThatIsSwitchedOff) {
  int64_t refused[2] = {};
  for (const bool learns : {false, true}) {
    SimOptions options;
    options.endpoint.pacing_parts.learn = learns;
    options.endpoint.budget.enabled = false;
    options.endpoint.breaker.enabled = false;
    Simulation sim(options);
    testing::TokenBucket bucket;
    bucket.rate = 5;
    bucket.announce = false;
    int64_t sheds = 0;
    sim.SetServer([&](const SimSend& send) {
      SimReply reply = bucket(send);
      if (reply.outcome.kind == ErrorKind::kOk) return reply;
      reply.outcome = Failed();
      reply.outcome.shed = true;
      ++sheds;
      return reply;
    });
    SimCallOptions call;
    call.deadline = absl::Seconds(60);
    call.retry.max_attempts = 100;
    for (int i = 0; i < 100; ++i) {
      call.start = absl::Milliseconds(10) * i;
      sim.AddCall(call);
    }
    sim.Run();
    EXPECT_EQ(sim.Faults(), "");
    refused[learns ? 1 : 0] = sheds;
  }
  std::printf("503 to %d sends; if it is taken for a limit, to %d\n",
              static_cast<int>(refused[0]), static_cast<int>(refused[1]));
  EXPECT_LT(4 * refused[1], refused[0]);
}

TEST(EndpointCrowdTest, ALoneFailureIsRepeatedNearlyAtOnce) {
  Simulation sim(SimOptions{});
  sim.SetServer([](const SimSend& send) {
    SimReply reply;
    // Every fourth call, once.
    reply.outcome = send.call % 4 == 3 && send.attempt == 1
                        ? Failed()
                        : testing::OkOutcome();
    return reply;
  });
  SimCallOptions call;
  for (int i = 0; i < 20; ++i) {
    call.start = absl::Seconds(i);
    sim.AddCall(call);
  }
  sim.Run();
  EXPECT_EQ(sim.Faults(), "");
  absl::Duration longest;
  for (const Simulation::Call& done : sim.calls()) {
    if (done.record().attempts.size() < 2) continue;
    EXPECT_TRUE(done.record().attempts[0].lone);
    longest = std::max(longest, done.record().attempts[1].waited);
  }
  EXPECT_GT(longest, absl::Milliseconds(1));
  EXPECT_LE(longest, absl::Milliseconds(5));
}

// An outage in the middle of steady traffic, 100 calls a second. With a window
// full of good answers the ratio takes about as many bad ones, first attempts and
// what the budget gives for retries, to open the breaker: those whose attempts all
// fell into that second are lost. A run of failures opens it in a tenth of it.
struct Lost {
  int64_t calls = 0;  // most of the seeds
  int64_t sends = 0;  // in the outage
};

Lost DownInTheMiddle(Outage::How how, int run_failures) {
  Lost lost;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.late = absl::Milliseconds(1);
    options.endpoint.breaker.run_failures = run_failures;
    Simulation sim(options);
    sim.SetServer(Down({how, 2, 5}, seed));
    for (int i = 0; i < 600; ++i) {
      SimCallOptions call;
      call.start = absl::Milliseconds(10) * i;  // to +6 s
      call.deadline = absl::Seconds(30);
      sim.AddCall(call);
    }
    sim.Run();
    SCOPED_TRACE(absl::StrCat(Name(how), " seed ", seed));
    EXPECT_EQ(sim.Faults(), "");
    EXPECT_EQ(sim.Ended(StopReason::kSuccess) +
                  sim.Ended(StopReason::kAttemptsExhausted) +
                  sim.Ended(StopReason::kBudgetExhausted),
              600);
    // Then only probes.
    EXPECT_LE(sim.SendsBetween(absl::Seconds(4), absl::Seconds(5)), 15);
    // 300 of them waited. They leave in seconds, not in one instant; the last of them
    // at once, when two hundred have been well.
    EXPECT_LE(sim.FullestBin(absl::Milliseconds(100), absl::Seconds(5)), 110);
    EXPECT_LE(sim.LastEnd(), absl::Seconds(25));
    lost.calls = std::max(lost.calls, 600 - sim.Ended(StopReason::kSuccess));
    lost.sends = std::max(lost.sends,
                          sim.SendsBetween(absl::Seconds(2), absl::Seconds(5)));
  }
  return lost;
}

TEST(EndpointCrowdTest, DownInTheMiddle) {
  for (Outage::How how : kHows) {
    const Lost before = DownInTheMiddle(how, 0);
    const Lost after = DownInTheMiddle(how, BreakerOptions().run_failures);
    std::printf(
        "%s: by ratio alone %d of 600 calls lost, %d sends; with a run %d and "
        "%d\n",
        Name(how), static_cast<int>(before.calls),
        static_cast<int>(before.sends), static_cast<int>(after.calls),
        static_cast<int>(after.sends));
    EXPECT_LE(before.calls, 175);
    EXPECT_LE(before.sends, 260);
    EXPECT_LE(after.calls, 10);
    EXPECT_LE(after.sends, 60);
  }
}

// A third of the answers are failures, at random, at 100 calls a second for half
// a minute: the breaker has no business there.
TEST(EndpointCrowdTest, AThirdFailsAtRandom) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SimOptions options;
    options.seed = seed;
    Simulation sim(options);
    sim.SetServer([seed, n = uint64_t{0}](const SimSend&) mutable {
      SimReply r;
      r.head = absl::Milliseconds(5 + 10 * UnitRandom(seed, n++));
      r.outcome = UnitRandom(seed, n++) < 0.3
                      ? testing::TransientOutcome(Processed::kYes)
                      : testing::OkOutcome();
      return r;
    });
    for (int i = 0; i < 3000; ++i) {
      SimCallOptions call;
      call.start = absl::Milliseconds(10) * i;
      sim.AddCall(call);
    }
    sim.Run();
    EXPECT_EQ(sim.Faults(), "");
    for (const Simulation::Call& call : sim.calls()) {
      for (const DispatchRecord& d : call.record().dispatches) {
        ASSERT_NE(d.source, DelaySource::kBreaker) << seed;
      }
    }
  }
}

// At most so many at a time, with answers of every kind, cancels, deadlines and
// other calls coming between the locks; and nobody is forgotten.
TEST(EndpointCrowdTest, PlacesAreKeptAndGivenBack) {
  int64_t all = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.endpoint.max_concurrency = 4;
    options.late = absl::Milliseconds(seed % 2);
    options.preempt = seed % 3 == 0 ? 0.2 : 0.0;
    Simulation sim(options);
    int64_t most = 0;
    sim.SetServer([&, n = uint64_t{0}](const SimSend& send) mutable {
      most = std::max(most, sim.endpoint().SnapshotAt(send.time).out);
      SimReply r;
      r.head = absl::Milliseconds(5 + 60 * UnitRandom(seed, n++));
      r.body = absl::Milliseconds(30 * UnitRandom(seed, n++));
      const double what = UnitRandom(seed, n++);
      r.outcome = what < 0.1    ? testing::TransientOutcome(Processed::kUnknown)
                  : what < 0.12 ? testing::ThrottledOutcome(absl::Seconds(0.2))
                                : testing::OkOutcome();
      r.headless = what > 0.97;
      if (r.headless) r.outcome = testing::TransientOutcome(Processed::kNo);
      return r;
    });
    for (int i = 0; i < 300; ++i) {
      SimCallOptions call;
      call.start = absl::Milliseconds(12) * i;
      if (i % 5 == 0) call.deadline = absl::Seconds(1);
      if (i % 7 == 0) call.cancel = absl::Milliseconds(20 * (i % 11));
      sim.AddCall(call);
    }
    sim.Run();
    SCOPED_TRACE(seed);
    EXPECT_EQ(sim.Faults(), "");
    EXPECT_LE(most, 4);
    all = std::max(all, most);
    EXPECT_GT(sim.Ended(StopReason::kSuccess), 150);
  }
  EXPECT_EQ(all, 4);
}

// Hangs with an attempt time-out, and none: who hangs for good is the caller's
// business, but the others go on.
TEST(EndpointCrowdTest, HangingServerComesBack) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SimOptions options;
    options.seed = seed;
    Simulation sim(options);
    sim.SetServer(Down({Outage::How::kHang, 0, 3}, seed));
    for (int i = 0; i < 20; ++i) {
      SimCallOptions call;
      call.deadline = absl::Seconds(30);
      call.retry.attempt_timeout = absl::Seconds(1);
      sim.AddCall(call);
    }
    sim.Run();
    EXPECT_EQ(sim.Faults(), "");
    EXPECT_EQ(sim.Ended(StopReason::kSuccess), 20);
  }
}

TEST(EndpointTest, AnOperatorClearsTheGateAndWakesTheHead) {
  Endpoint e(EndpointOptions{}, At(0));
  Done(&e, Ask(&e, 1, 0), Failed(absl::Hours(1)), 0);
  ASSERT_EQ(Ask(&e, 2, 1, 10000).verdict, Verdict::kWait);
  WakeList wakes;
  e.ClearGate(&wakes);
  EXPECT_EQ(wakes.size(), 1u);
  EXPECT_EQ(Ask(&e, 2, 1, 10000).verdict, Verdict::kGo);
}

// Nothing is sent at the limit itself, so a wait that ends there is none.
TEST(EndpointTest, AGateThatOpensAtTheLimitIsRefused) {
  Endpoint e(EndpointOptions{}, At(0));
  Done(&e, Ask(&e, 1, 0), Failed(absl::Seconds(2)), 0.1);
  const MonotonicTime gate = e.pacer().gate_until();
  WakeList wakes;
  const auto ask = [&](MonotonicTime limit) {
    return e.Ask({At(0), 9}, std::make_shared<Silent>(), At(1), limit,
                 WhenOpen::kWait, &wakes);
  };
  EXPECT_EQ(ask(gate).verdict, Verdict::kRefuse);
  EXPECT_EQ(ask(gate).until, gate);
  EXPECT_EQ(ask(gate + absl::Nanoseconds(1)).verdict, Verdict::kWait);
}

// The server's own wait outlasts the open breaker: it is what holds the caller.
TEST(EndpointTest, AGateBehindAnOpenBreakerHasTheSay) {
  Endpoint e(EndpointOptions{}, At(0));
  const Endpoint::Answer a = Ask(&e, 1, 0);
  const Endpoint::Answer b = Ask(&e, 2, 0);
  const Endpoint::Answer c = Ask(&e, 3, 0);
  Done(&e, a, Failed(absl::Seconds(3)), 0.1);
  Done(&e, b, Failed(), 0.1);
  Done(&e, c, Failed(), 0.1);
  ASSERT_EQ(e.breaker().state(), CircuitBreaker::State::kOpen);
  ASSERT_GT(e.pacer().gate_until(), e.breaker().open_until());
  EXPECT_EQ(Ask(&e, 4, 0.2).source, DelaySource::kGate);
  const Endpoint::Answer late = Ask(&e, 5, 0.2, 2);
  EXPECT_EQ(late.verdict, Verdict::kRefuse);
  EXPECT_EQ(late.reason, StopReason::kWaitExceedsDeadline);
}

// A certificate that is not trusted says nothing about a server that had asked
// for time: the next one confirms.
TEST(EndpointTest, AFailureOnThisSideConfirmsNothing) {
  for (const bool answered : {false, true}) {
    Endpoint e(EndpointOptions{}, At(0));
    Done(&e, Ask(&e, 1, 0), Failed(absl::Seconds(1)), 0.1);
    const Endpoint::Answer confirm = Ask(&e, 2, 2);
    ASSERT_EQ(confirm.verdict, Verdict::kGo);
    Outcome outcome;
    outcome.kind = ErrorKind::kPermanent;
    outcome.processed = answered ? Processed::kUnknown : Processed::kNo;
    Done(&e, confirm, outcome, 2.1);
    EXPECT_EQ(e.pacer().confirming(), !answered);
  }
}

TEST(EndpointTest, WhatTheHeadSaidCountsFromTheHeadOnly) {
  Endpoint e(EndpointOptions{}, At(0));
  Endpoint::Answer a = Ask(&e, 1, 0);
  WakeList wakes;
  e.OnAnswerHead(&a.permit, Failed(absl::Seconds(2)), At(1), &wakes);
  const MonotonicTime gate = e.pacer().gate_until();
  EXPECT_GE(gate, At(3));
  e.OnAttemptDone(a.permit, Failed(absl::Seconds(2)), /*head_seen=*/true, At(5),
                  0.0, &wakes);
  EXPECT_EQ(e.pacer().gate_until(), gate);
}

// A stream may take days: that it has begun is what the probe was to find out. What
// comes after a good head counts once more only if it is bad.
TEST(EndpointTest, AProbeCountsFromItsHead) {
  enum class End { kNone, kGood, kBad };
  for (const End end : {End::kNone, End::kGood, End::kBad}) {
    EndpointOptions o;
    o.breaker.successes_to_close = 2;
    Endpoint e(o, At(0));
    Break(&e, 0);
    WakeList wakes;
    Endpoint::Answer first = Ask(&e, 4, 1);
    ASSERT_EQ(first.verdict, Verdict::kGo);
    ASSERT_EQ(Ask(&e, 5, 1).verdict, Verdict::kWait);
    e.OnAnswerHead(&first.permit, Outcome(), At(1.1), &wakes);
    EXPECT_EQ(wakes.size(), 1u);
    EXPECT_EQ(e.breaker().state(), CircuitBreaker::State::kHalfOpen);
    if (end != End::kNone) {
      e.OnAttemptDone(first.permit, end == End::kGood ? Outcome() : Failed(),
                      /*head_seen=*/true, At(1.2), 0.0, &wakes);
    }
    EXPECT_EQ(e.breaker().state(), end == End::kBad
                                       ? CircuitBreaker::State::kOpen
                                       : CircuitBreaker::State::kHalfOpen);
    if (end == End::kBad) continue;
    Endpoint::Answer second = Ask(&e, 5, 2);
    ASSERT_EQ(second.verdict, Verdict::kGo);
    e.OnAnswerHead(&second.permit, Outcome(), At(2.1), &wakes);
    EXPECT_EQ(e.breaker().state(), CircuitBreaker::State::kClosed);
  }
}

// A slow probe is a failed one, and how long it takes shows at its end.
TEST(EndpointTest, WhereSlowCallsCountAProbeCountsAtItsEnd) {
  EndpointOptions o;
  o.breaker.successes_to_close = 1;
  o.breaker.slow_call = absl::Seconds(5);
  Endpoint e(o, At(0));
  Break(&e, 0);
  WakeList wakes;
  Endpoint::Answer a = Ask(&e, 4, 1);
  ASSERT_EQ(a.verdict, Verdict::kGo);
  e.OnAnswerHead(&a.permit, Outcome(), At(1.1), &wakes);
  EXPECT_EQ(e.breaker().state(), CircuitBreaker::State::kHalfOpen);
  e.OnAttemptDone(a.permit, Outcome(), /*head_seen=*/true, At(7), 0.0, &wakes);
  EXPECT_EQ(e.breaker().state(), CircuitBreaker::State::kOpen);
}

// Who reads answers may make something good of a 503.
TEST(EndpointTest, AfterABadHeadAProbeCountsAtItsEnd) {
  EndpointOptions o;
  o.breaker.successes_to_close = 1;
  Endpoint e(o, At(0));
  Break(&e, 0);
  WakeList wakes;
  Endpoint::Answer a = Ask(&e, 4, 1);
  ASSERT_EQ(a.verdict, Verdict::kGo);
  e.OnAnswerHead(&a.permit, Failed(), At(1.1), &wakes);
  EXPECT_EQ(e.breaker().state(), CircuitBreaker::State::kHalfOpen);
  e.OnAttemptDone(a.permit, Outcome(), /*head_seen=*/true, At(1.2), 0.0,
                  &wakes);
  EXPECT_EQ(e.breaker().state(), CircuitBreaker::State::kClosed);
}

// Two threads bring their times in the wrong order.
TEST(EndpointTest, TimeDoesNotGoBack) {
  Endpoint e(EndpointOptions{}, At(0));
  const Endpoint::Answer a = Ask(&e, 1, 0);
  Ask(&e, 2, 5);
  Done(&e, a, Failed(absl::Seconds(2)), 3);
  EXPECT_GE(e.pacer().gate_until(), At(7));
}

}  // namespace
}  // namespace forbear
