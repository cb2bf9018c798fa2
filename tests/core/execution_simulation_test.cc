// Many calls on shared states, in virtual time, against models of servers. What
// holds on every run is checked by the simulation itself
// (tests/testing/simulation.h); the tests choose the weather.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/rate_limiter.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "tests/testing/simulation.h"

namespace forbear::testing {
namespace {

// One seed, alone: FORBEAR_SEED=1234.
uint64_t FirstSeed(uint64_t otherwise) {
  const char* text = std::getenv("FORBEAR_SEED");
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}
int Rounds(int otherwise) {
  return std::getenv("FORBEAR_SEED") == nullptr ? otherwise : 1;
}

// A stream of random choices.
class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  double Unit() { return UnitRandom(seed_, n_++); }
  bool Chance(double p) { return Unit() < p; }
  int Below(int n) { return static_cast<int>(Unit() * n); }
  absl::Duration Upto(absl::Duration d) { return d * Unit(); }

 private:
  uint64_t seed_;
  uint64_t n_ = 0;
};

// A server that does a bit of everything.
SimServer MoodyServer(uint64_t seed) {
  auto dice = std::make_shared<Dice>(seed);
  const double throttled = dice->Unit() * 0.3;
  const double failing = dice->Unit() * 0.4;
  const double hanging = dice->Unit() * 0.05;
  const double garbage = 0.02;
  const double exhausted = dice->Chance(0.2) ? 0.05 : 0;
  const bool bodies = dice->Chance(0.5);
  auto bucket = std::make_shared<TokenBucket>();
  bucket->rate = 1 + dice->Unit() * 50;
  bucket->burst = 1 + dice->Below(30);
  bucket->announce = dice->Chance(0.7);
  bucket->whole_seconds = dice->Chance(0.5);
  const bool limited = dice->Chance(0.5);
  const absl::Duration down_from = dice->Upto(absl::Seconds(20));
  const absl::Duration down_for =
      dice->Chance(0.5) ? dice->Upto(absl::Seconds(8)) : absl::ZeroDuration();
  const MonotonicTime zero = SimOptions().start;
  return [=](const SimSend& send) {
    SimReply r;
    r.head = absl::Milliseconds(1) + dice->Upto(absl::Milliseconds(200));
    if (bodies) r.body = dice->Upto(absl::Milliseconds(500));
    if (dice->Chance(hanging)) {
      r.head = absl::InfiniteDuration();
      return r;
    }
    const absl::Duration at = send.time - zero;
    if (at >= down_from && at < down_from + down_for) {
      r.headless = dice->Chance(0.7);
      r.outcome = TransientOutcome(dice->Chance(0.5) ? Processed::kNo
                                                     : Processed::kUnknown);
      return r;
    }
    if (dice->Chance(throttled)) {
      std::optional<absl::Duration> wait;
      if (dice->Chance(0.6)) wait = dice->Upto(absl::Seconds(4));
      if (dice->Chance(0.1)) wait = absl::ZeroDuration();
      if (dice->Chance(garbage)) wait = absl::Hours(87600);
      r.outcome = ThrottledOutcome(wait);
      return r;
    }
    if (dice->Chance(failing)) {
      std::optional<absl::Duration> wait;
      if (dice->Chance(0.3)) wait = dice->Upto(absl::Seconds(3));
      r.outcome = TransientOutcome(
          dice->Chance(0.3) ? Processed::kNo : Processed::kYes, wait);
      r.headless = !wait && dice->Chance(0.5);
      return r;
    }
    if (limited) {
      const SimReply b = (*bucket)(send);
      r.outcome = b.outcome;
      return r;
    }
    if (dice->Chance(exhausted)) {
      std::optional<absl::Duration> reset;
      if (dice->Chance(0.5)) reset = dice->Upto(absl::Seconds(20));
      r.outcome = ExhaustedOutcome(reset);
      return r;
    }
    r.outcome = OkOutcome();
    if (dice->Chance(0.05)) r.outcome.kind = ErrorKind::kPermanent;
    if (dice->Chance(0.5)) r.outcome.usage.output_tokens = dice->Below(3000);
    r.outcome.retry_wanted = dice->Chance(0.3);
    if (dice->Chance(0.1)) r.outcome.pushback = dice->Upto(absl::Seconds(2));
    return r;
  };
}

struct Weather {
  double preempt = 0;
  absl::Duration late = absl::ZeroDuration();
  size_t quotas = 1;
  size_t endpoints = 1;
};

void RunMoody(uint64_t seed, const Weather& weather, int64_t* sends,
              int64_t* wakes, int64_t* hedges) {
  Dice dice(seed);
  SimOptions options;
  options.seed = seed;
  options.preempt = weather.preempt;
  options.late = weather.late;
  options.quotas = weather.quotas;
  options.endpoints = weather.endpoints;
  if (dice.Chance(0.3)) options.endpoint.breaker.enabled = false;
  if (dice.Chance(0.3)) options.endpoint.budget.capacity = 30;
  if (dice.Chance(0.2)) options.quota.max_waiters = 1 + dice.Below(10);
  if (dice.Chance(0.2)) options.endpoint.max_waiters = 1 + dice.Below(10);
  if (dice.Chance(0.3)) {
    options.endpoint.breaker.probe_lease = absl::Milliseconds(500);
  }
  const bool limits = dice.Chance(0.3);
  if (limits) {
    options.quota.limits = {
        {"requests", LimitUnit::kRequests, 1 + dice.Below(30), absl::Seconds(1),
         1 + dice.Below(30)},
        {"tokens", LimitUnit::kTokens, 1 + dice.Below(5000), absl::Seconds(1),
         1 + dice.Below(5000)}};
  }
  const bool hedging = dice.Chance(0.5);
  if (dice.Chance(0.5)) options.endpoint.hedge_budget.burst = 1000;
  options.late_losers = dice.Unit();
  Simulation sim(options);
  sim.SetServer(MoodyServer(seed));
  const int calls = 2 + dice.Below(60);
  const absl::Duration spread = dice.Upto(absl::Seconds(20));
  for (int i = 0; i < calls; ++i) {
    SimCallOptions call;
    call.start = dice.Upto(spread);
    // Everything that may hang must have an end.
    call.deadline = dice.Chance(0.1) ? dice.Upto(absl::Milliseconds(50))
                                     : dice.Upto(absl::Seconds(40));
    if (dice.Chance(0.3)) {
      call.deadline = absl::InfiniteDuration();
      call.retry.attempt_timeout = absl::Seconds(2);
      call.retry.max_elapsed = dice.Upto(absl::Seconds(60));
    }
    if (dice.Chance(0.2)) call.retry.attempt_timeout = absl::Milliseconds(100);
    if (dice.Chance(0.2)) call.cancel = dice.Upto(absl::Seconds(10));
    if (dice.Chance(0.2)) call.retry.when_open = WhenOpen::kFail;
    call.retry.max_attempts = 1 + dice.Below(6);
    call.idempotent = dice.Chance(0.8);
    call.nested = dice.Chance(0.1);
    if (limits) call.cost.output_tokens = dice.Below(2000);
    if (hedging) {
      call.max_in_flight = 1 + dice.Below(5);
      call.retry.hedge.enabled = true;
      call.retry.hedge.delay = dice.Upto(absl::Milliseconds(300));
      call.retry.hedge.max_hedges = 1 + dice.Below(4);
    }
    call.quota =
        static_cast<size_t>(dice.Below(static_cast<int>(weather.quotas)));
    call.endpoint =
        static_cast<size_t>(dice.Below(static_cast<int>(weather.endpoints)));
    sim.AddCall(call);
  }
  sim.Run();
  *sends += static_cast<int64_t>(sim.sends().size());
  *wakes += sim.wakes();
  for (const Simulation::Call& call : sim.calls()) {
    for (const AttemptRecord& a : call.record().attempts) {
      if (a.hedge) ++*hedges;
    }
  }
  EXPECT_EQ(sim.Faults(), "");
}

void RunMany(const char* name, uint64_t first, int rounds,
             const Weather& weather) {
  int64_t sends = 0;
  int64_t wakes = 0;
  int64_t hedges = 0;
  first = FirstSeed(first);
  for (int i = 0; i < Rounds(rounds); ++i) {
    RunMoody(first + static_cast<uint64_t>(i), weather, &sends, &wakes,
             &hedges);
    if (::testing::Test::HasFailure()) return;
  }
  std::printf("%s: %lld sends, %lld of them hedges, %.2f wakes per send\n",
              name, static_cast<long long>(sends),
              static_cast<long long>(hedges),
              static_cast<double>(wakes) / static_cast<double>(sends));
}

TEST(ExecutionSimulationTest, MoodyServer) { RunMany("moody", 1000, 3000, {}); }

TEST(ExecutionSimulationTest, MoodyServerLateTimersAndWakes) {
  Weather w;
  w.late = absl::Milliseconds(20);
  RunMany("late", 200000, 3000, w);
}

TEST(ExecutionSimulationTest, MoodyServerPreempted) {
  Weather w;
  w.preempt = 0.3;
  RunMany("preempted", 300000, 3000, w);
}

TEST(ExecutionSimulationTest, TwoQuotasTwoEndpoints) {
  Weather w;
  w.quotas = 2;
  w.endpoints = 2;
  RunMany("two by two", 400000, 2000, w);
  w.preempt = 0.3;
  w.late = absl::Milliseconds(5);
  RunMany("two by two, preempted", 500000, 2000, w);
}

// Options that change under many calls: limits come, change and go, places get
// fewer, the breaker gets another measure, budgets shrink; and states are forgotten
// when nobody needs them. Nothing of that may lose a waiter or a permit, or let
// anybody go before a server's wait is over.
TEST(ExecutionSimulationTest, ReloadsAndForgottenStates) {
  const uint64_t first = FirstSeed(600000);
  int64_t sends = 0;
  int64_t hedges = 0;
  int64_t losers = 0;
  int64_t reloads = 0;
  int64_t forgotten = 0;
  for (int round = 0; round < Rounds(2000); ++round) {
    const uint64_t seed = first + static_cast<uint64_t>(round);
    Dice dice(seed);
    SimOptions options;
    options.seed = seed;
    options.quotas = options.endpoints = 1 + static_cast<size_t>(dice.Below(2));
    options.late =
        dice.Chance(0.3) ? absl::Milliseconds(20) : absl::ZeroDuration();
    options.late_losers = dice.Unit();
    options.preempt = dice.Chance(0.3) ? 0.3 : 0;
    Simulation sim(options);
    sim.SetServer(MoodyServer(seed));
    for (int i = 2 + dice.Below(60); i > 0; --i) {
      SimCallOptions call;
      // In bursts, so that there are pauses to forget something in.
      call.start =
          absl::Seconds(20) * dice.Below(3) + dice.Upto(absl::Seconds(3));
      call.deadline = dice.Upto(absl::Seconds(15));
      if (dice.Chance(0.2)) call.cancel = dice.Upto(absl::Seconds(5));
      if (dice.Chance(0.2))
        call.retry.attempt_timeout = absl::Milliseconds(100);
      call.retry.max_attempts = 1 + dice.Below(6);
      call.idempotent = dice.Chance(0.8);
      call.cost.output_tokens = dice.Below(500);
      call.max_in_flight = 1 + dice.Below(4);
      call.retry.hedge.enabled = dice.Chance(0.5);
      call.retry.hedge.delay = dice.Upto(absl::Milliseconds(100));
      call.retry.hedge.max_hedges = 1 + dice.Below(4);
      const int states = static_cast<int>(options.quotas);
      call.quota = static_cast<size_t>(dice.Below(states));
      call.endpoint = static_cast<size_t>(dice.Below(states));
      sim.AddCall(call);
    }
    for (int i = dice.Below(6); i > 0; --i) {
      QuotaOptions quota;
      EndpointOptions endpoint;
      if (dice.Chance(0.6)) {
        quota.limits = {{"requests", LimitUnit::kRequests, 1 + dice.Below(50),
                         absl::Seconds(1), 1 + dice.Below(50)}};
        if (dice.Chance(0.5)) {
          quota.limits.push_back({"tokens", LimitUnit::kTokens,
                                  1 + dice.Below(5000), absl::Seconds(1),
                                  500 + dice.Below(5000)});
        }
      }
      if (dice.Chance(0.3)) quota.max_waiters = 1 + dice.Below(10);
      if (dice.Chance(0.3)) endpoint.max_waiters = 1 + dice.Below(10);
      if (dice.Chance(0.5)) endpoint.max_concurrency = 1 + dice.Below(5);
      endpoint.breaker.enabled = dice.Chance(0.8);
      endpoint.breaker.min_calls = 1 + dice.Below(20);
      endpoint.budget.capacity = 20 + dice.Below(1000);
      endpoint.hedge_budget.burst = 1 + dice.Below(100);
      sim.At(dice.Upto(absl::Seconds(50)), [&sim, &reloads, quota, endpoint] {
        sim.Reconfigure(quota, endpoint);
        ++reloads;
      });
    }
    for (int i = 0; i < 20; ++i) {
      sim.At(dice.Upto(absl::Seconds(60)), [&] { forgotten += sim.Forget(); });
    }
    sim.Run();
    ASSERT_EQ(sim.Faults(), "") << "FORBEAR_SEED=" << seed;
    sends += static_cast<int64_t>(sim.sends().size());
    for (const Simulation::Call& call : sim.calls()) {
      for (const AttemptRecord& a : call.record().attempts) {
        if (a.hedge) ++hedges;
        if (a.lost && a.outcome.kind != ErrorKind::kCancelled) ++losers;
      }
    }
  }
  std::printf(
      "%lld sends, %lld hedges, %lld losers answered, %lld reloads, %lld "
      "states "
      "forgotten\n",
      static_cast<long long>(sends), static_cast<long long>(hedges),
      static_cast<long long>(losers), static_cast<long long>(reloads),
      static_cast<long long>(forgotten));
  if (std::getenv("FORBEAR_SEED") != nullptr) return;
  EXPECT_GT(losers, 100);
  EXPECT_GT(reloads, 1000);
  EXPECT_GT(forgotten, 1000);
}

// A crowd of a server that is known, each refused once at the same time: more
// throttled calls wait than the budget has tokens for. Tokens are for sends.
TEST(ExecutionSimulationTest, WaitersDoNotUseUpTheBudget) {
  Simulation sim({});
  std::set<size_t> refused;
  sim.SetServer([&](const SimSend& send) {
    SimReply reply;
    const bool first = send.call >= 20 && refused.insert(send.call).second;
    reply.outcome = first ? ThrottledOutcome(absl::Seconds(1)) : OkOutcome();
    return reply;
  });
  for (int i = 0; i < 20; ++i) sim.AddCall({});  // now it is known
  for (int i = 0; i < 300; ++i) {
    SimCallOptions call;
    call.start = absl::Seconds(5);
    sim.AddCall(call);
  }
  sim.Run();
  EXPECT_EQ(sim.Faults(), "");
  EXPECT_EQ(sim.Ended(StopReason::kSuccess), 320);
  EXPECT_EQ(sim.endpoint().budget().level(), 500);
}

// Quota paced and endpoint down at once: waiters go back and forth between the
// two queues.
TEST(ExecutionSimulationTest, WakesAreBoundedWhenBothStatesHold) {
  SimOptions options;
  options.endpoint.budget.enabled = false;
  Simulation sim(options);
  TokenBucket bucket;
  bucket.rate = 10;
  bucket.burst = 5;
  const MonotonicTime zero = sim.start();
  sim.SetServer([&](const SimSend& send) -> SimReply {
    if (send.time - zero > absl::Seconds(8)) {
      SimReply r;
      r.outcome = TransientOutcome(Processed::kNo);
      return r;
    }
    return bucket(send);
  });
  SimCallOptions call;
  call.deadline = absl::Seconds(60);
  call.retry.max_attempts = 100;
  for (int i = 0; i < 500; ++i) sim.AddCall(call);
  sim.Run(absl::Seconds(8));
  // One throttled key: what leaves wakes the next one, and little else.
  const int64_t wakes = sim.wakes();
  const auto sends = static_cast<int64_t>(sim.sends().size());
  EXPECT_LE(wakes, 10 * sends);
  sim.Run(absl::Seconds(40));
  // Now each probe may send all of them over to the other queue and back. Ten
  // failures open the breaker; what is sent then are probes, one a second.
  const int64_t probes = static_cast<int64_t>(sim.sends().size()) - sends - 10;
  EXPECT_GE(probes, 20);
  EXPECT_LE(probes, 35);
  EXPECT_LE(sim.wakes() - wakes, probes * 500 * 3);
  EXPECT_EQ(sim.Faults(), "");
}

}  // namespace
}  // namespace forbear::testing
