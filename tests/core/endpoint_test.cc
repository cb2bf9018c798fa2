// Endpoint: breaker, gate, queue and slow start together. Single steps, and the
// outages of issue A in the simulation.

#include "core/endpoint.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
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
    Done(&e, Ask(&e, i + 1, i * 10.0), Failed(absl::Seconds(5)), i * 10.0);
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
  for (uint64_t i = 1; i <= static_cast<uint64_t>(Endpoint::kKnownAnswers);
       ++i) {
    Done(&e, Ask(&e, i, 0), testing::OkOutcome(), 0);
  }
  for (uint64_t i = 100; i < 1100; ++i) {
    ASSERT_EQ(Ask(&e, i, 0).verdict, Verdict::kGo) << i;
  }
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
  o.breaker.failure_ratio = std::numeric_limits<double>::quiet_NaN();
  o.budget.capacity = -1;
  std::vector<std::string> faults;
  ValidateEndpoint(o, "e", &faults);
  const std::string text = absl::StrJoin(faults, "|");
  for (const char* path :
       {"e.max_waiters is 0", "e.breaker.failure_ratio is nan",
        "e.budget.capacity is -1"}) {
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

// An outage in the middle of steady traffic, 100 calls a second. The breaker
// goes by a ratio: with a window full of good answers it takes about as many bad
// ones, first attempts and what the budget gives for retries, to open it. Those
// whose attempts all fell into that second are lost; the others are answered.
TEST(EndpointCrowdTest, DownInTheMiddle) {
  for (Outage::How how : kHows) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      SimOptions options;
      options.seed = seed;
      options.late = absl::Milliseconds(1);
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
      EXPECT_GE(sim.Ended(StopReason::kSuccess), 425);
      EXPECT_EQ(sim.Ended(StopReason::kSuccess) +
                    sim.Ended(StopReason::kAttemptsExhausted) +
                    sim.Ended(StopReason::kBudgetExhausted),
                600);
      EXPECT_LE(sim.SendsBetween(absl::Seconds(2), absl::Seconds(5)), 260);
      // Then only probes.
      EXPECT_LE(sim.SendsBetween(absl::Seconds(4), absl::Seconds(5)), 15);
      // 300 of them waited. They leave in seconds, but not in one instant.
      EXPECT_LE(sim.FullestBin(absl::Milliseconds(100), absl::Seconds(5)), 40);
      EXPECT_LE(sim.LastEnd(), absl::Seconds(25));
    }
  }
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
    EXPECT_EQ(e.pacer().rate().has_value(), answered);
  }
}

TEST(EndpointTest, WhatTheHeadSaidCountsFromTheHeadOnly) {
  Endpoint e(EndpointOptions{}, At(0));
  const Endpoint::Answer a = Ask(&e, 1, 0);
  WakeList wakes;
  e.OnAnswerHead(a.permit, Failed(absl::Seconds(2)), At(1), &wakes);
  const MonotonicTime gate = e.pacer().gate_until();
  EXPECT_GE(gate, At(3));
  e.OnAttemptDone(a.permit, Failed(absl::Seconds(2)), /*head_seen=*/true, At(5),
                  0.0, &wakes);
  EXPECT_EQ(e.pacer().gate_until(), gate);
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
