// Odd numbers and odd clocks, through the machine and the real shared states: ten
// years, nothing, less than nothing, no number, a million attempts, a clock that
// stands still, clocks of two threads that disagree. What must hold: nothing
// overflows (./dev ubsan runs it, too), nothing loops, waits end by the limit,
// nothing goes out at or after a deadline, everything comes back.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/circuit_breaker.h"
#include "core/cost.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/gate.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/rate_limiter.h"
#include "core/replay.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
const absl::Duration kTenYears = absl::Hours(87600);

class Deaf final : public Waiter {
 public:
  void Wake() override {}
};

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  double Unit() { return UnitRandom(seed_, n_++); }
  bool Chance(double p) { return Unit() < p; }
  int Below(int n) { return static_cast<int>(Unit() * n); }
  template <typename T, size_t kSize>
  const T& Of(const std::array<T, kSize>& all) {
    return all[static_cast<size_t>(Below(static_cast<int>(kSize)))];
  }

 private:
  const uint64_t seed_;
  uint64_t n_ = 0;
};

// What servers may say, and what arithmetic may make of it.
absl::Duration OddWait(Dice* dice) {
  const std::array<absl::Duration, 14> all = {
      -absl::InfiniteDuration(),
      -kTenYears,
      -absl::Nanoseconds(1),
      absl::ZeroDuration(),
      absl::Nanoseconds(1) / 4,
      absl::Nanoseconds(1),
      absl::Milliseconds(1),
      absl::Seconds(1),
      absl::Hours(24),
      absl::Hours(24) + absl::Nanoseconds(1) / 4,
      kTenYears,
      absl::Nanoseconds(kMax),
      absl::InfiniteDuration(),
      absl::Seconds(std::numeric_limits<double>::quiet_NaN())};
  return dice->Of(all);
}

int64_t OddNumber(Dice* dice) {
  constexpr std::array<int64_t, 9> kAll = {kMin, -1,         0,        1,   2,
                                           1000, 1000000000, kMax - 1, kMax};
  return dice->Of(kAll);
}

Outcome OddOutcome(Dice* dice) {
  Outcome o;
  o.kind = static_cast<ErrorKind>(dice->Below(6));
  o.processed = static_cast<Processed>(dice->Below(3));
  o.committed = dice->Chance(0.1);
  o.retry_forbidden = dice->Chance(0.1);
  o.retry_wanted = dice->Chance(0.3);
  o.timed_out = dice->Chance(0.2);
  o.repeatable = dice->Chance(0.5);
  if (dice->Chance(0.6)) o.pushback = OddWait(dice);
  o.pushback_source = DelaySource::kRetryAfter;
  if (dice->Chance(0.7)) o.status = 500;
  if (dice->Chance(0.5)) o.usage.input_tokens = OddNumber(dice);
  if (dice->Chance(0.5)) o.usage.output_tokens = OddNumber(dice);
  if (dice->Chance(0.5)) o.usage.units = OddNumber(dice);
  return o;
}

// One call and what its driver knows.
struct OneCall {
  CallSpec spec;
  RetryOptions retry;
  std::unique_ptr<Execution> execution;
  MonotonicTime now;  // its own clock
  std::vector<int> out;
  bool finished = false;
};

class Crowd {
 public:
  explicit Crowd(uint64_t seed)
      : dice_(seed),
        start_(MonotonicTime::FromNanos(dice_.Of(std::array<int64_t, 6>{
            kMin + 1, -(int64_t{1} << 62), 0, 1, int64_t{1} << 62, kMax - 1}))),
        quota_(QuotaOf(&dice_)),
        endpoint_(EndpointOf(&dice_), start_),
        shared_(&quota_, &endpoint_) {}

  void Run() {
    for (int i = 0; i < 4; ++i) Add();
    for (int step = 0; step < 200; ++step) {
      OneCall& call = *calls_[static_cast<size_t>(dice_.Below(4))];
      Pass(&call);
      Step(&call);
      Drain(&call);
      if (::testing::Test::HasFailure()) return;
    }
    for (auto& call : calls_) {
      call->execution->OnCancel(call->now);
      Drain(call.get());
      EXPECT_TRUE(call->finished);
      // From its record alone, the same call, if the record is whole.
      const auto again = Replay(call->execution->record(), call->retry);
      if (again.ok()) {
        EXPECT_TRUE(*again == call->execution->record());
      } else {
        EXPECT_TRUE(absl::IsFailedPrecondition(again.status()))
            << again.status();
      }
      call->execution.reset();
    }
    EXPECT_TRUE(quota_.alone().queue().empty());
    EXPECT_TRUE(endpoint_.alone().queue().empty());
    EXPECT_EQ(quota_.alone().SnapshotAt(start_).out, 0);
    EXPECT_TRUE(endpoint_.alone().breaker().state() !=
                    CircuitBreaker::State::kClosed ||
                endpoint_.alone().IsIdle(MonotonicTime::Infinite()));
  }

  int64_t sends() const { return sends_; }

 private:
  static QuotaOptions QuotaOf(Dice* dice) {
    QuotaOptions o;
    o.max_waiters = dice->Chance(0.3) ? 1 : 10000000;
    if (dice->Chance(0.5)) {
      o.limits = {
          {"a", LimitUnit::kTokens, dice->Chance(0.5) ? 1 : 1000000000,
           dice->Chance(0.5) ? absl::Milliseconds(1) : absl::Hours(87660),
           dice->Chance(0.5) ? 0 : 1000000000},
          {"b", LimitUnit::kRequests, 1000000, absl::Milliseconds(1), 0}};
    }
    std::vector<std::string> faults;
    ValidateQuota(o, "quota", &faults);
    EXPECT_TRUE(faults.empty()) << faults[0];
    return o;
  }
  static EndpointOptions EndpointOf(Dice* dice) {
    EndpointOptions o;
    o.max_waiters = dice->Chance(0.3) ? 1 : 10000000;
    o.breaker.min_calls = dice->Chance(0.5) ? 1 : 1000000;
    o.breaker.window = dice->Chance(0.5) ? absl::Seconds(1) : absl::Hours(1);
    o.breaker.max_open = dice->Chance(0.5) ? absl::Hours(24) : absl::Hours(1);
    o.breaker.min_open =
        dice->Chance(0.5) ? absl::Milliseconds(1) : absl::Hours(1);
    o.budget.capacity = dice->Chance(0.5) ? 1000000 : 14;
    o.budget.throttled_cost = dice->Chance(0.5) ? 0 : 14;
    o.hedge_budget.ratio = dice->Chance(0.5) ? 0 : 1;
    o.hedge_budget.per_second = dice->Chance(0.5) ? 0 : 1000;
    std::vector<std::string> faults;
    ValidateEndpoint(o, "endpoint", &faults);
    EXPECT_TRUE(faults.empty()) << faults[0];
    return o;
  }

  void Add() {
    calls_.push_back(std::make_unique<OneCall>());
    OneCall* const call = calls_.back().get();
    call->now = start_;
    CallSpec& spec = call->spec;
    spec.call_id = static_cast<uint64_t>(OddNumber(&dice_));
    spec.call_id += calls_.size();
    spec.seed = calls_.size();
    if (dice_.Chance(0.5)) spec.deadline = start_ + OddWait(&dice_);
    spec.idempotent = dice_.Chance(0.7);
    spec.nested = dice_.Chance(0.1);
    if (dice_.Chance(0.3)) {
      spec.cost = {OddNumber(&dice_), OddNumber(&dice_), OddNumber(&dice_),
                   OddNumber(&dice_)};
    }
    spec.max_in_flight = dice_.Of(std::array<int, 5>{-1, 0, 1, 2, 2147483647});
    RetryOptions& retry = call->retry;
    retry.max_attempts = dice_.Chance(0.5) ? 100 : 2;
    retry.max_elapsed =
        dice_.Chance(0.3) ? absl::ZeroDuration() : absl::Hours(24);
    retry.attempt_timeout =
        dice_.Chance(0.5) ? absl::Milliseconds(1) : absl::InfiniteDuration();
    retry.max_believed_wait =
        dice_.Chance(0.5) ? absl::Seconds(1) : absl::Hours(8760);
    retry.when_open = dice_.Chance(0.3) ? WhenOpen::kFail : WhenOpen::kWait;
    retry.backoff.initial =
        dice_.Chance(0.5) ? absl::ZeroDuration() : absl::Hours(1);
    retry.backoff.multiplier = dice_.Chance(0.5) ? 1 : 100;
    retry.backoff.max = absl::Hours(24);
    retry.hedge.enabled = dice_.Chance(0.5);
    retry.hedge.repeat_consent = true;
    retry.hedge.delay =
        dice_.Chance(0.5) ? absl::ZeroDuration() : absl::Hours(1);
    retry.hedge.max_hedges = 4;
    std::vector<std::string> faults;
    ValidateRetry(retry, "retry", &faults);
    EXPECT_TRUE(faults.empty()) << faults[0];
    call->execution = std::make_unique<Execution>(spec, &call->retry, &shared_,
                                                  std::make_shared<Deaf>());
  }

  // Each call's clock goes forward, or stands still; one's may be ages before
  // the other's.
  void Pass(OneCall* call) {
    if (dice_.Chance(0.6)) return;
    const absl::Duration d = OddWait(&dice_);
    if (d <= absl::ZeroDuration()) return;
    const MonotonicTime later = call->now + d;
    if (!later.is_infinite()) call->now = later;
  }

  void Step(OneCall* call) {
    Execution& e = *call->execution;
    const int n = call->out.empty() || dice_.Chance(0.1)
                      ? dice_.Below(4) - 1
                      : call->out[static_cast<size_t>(
                            dice_.Below(static_cast<int>(call->out.size())))];
    switch (dice_.Below(8)) {
      case 0:
        e.Begin(call->now);
        break;
      case 1:
        e.OnAnswerHead(n, OddOutcome(&dice_), call->now);
        break;
      case 2:
      case 3:
      case 4:
        // Never of one that it was not told to start: such a driver is broken.
        if (std::find(call->out.begin(), call->out.end(), n) ==
            call->out.end()) {
          break;
        }
        e.OnAttemptDone(n, OddOutcome(&dice_), call->now);
        call->out.erase(std::find(call->out.begin(), call->out.end(), n));
        break;
      case 5:
        e.OnTimer(call->now);
        break;
      case 6:
        e.OnWake(call->now);
        break;
      case 7:
        if (dice_.Chance(0.05)) e.OnCancel(call->now);
        break;
    }
  }

  void Drain(OneCall* call) {
    Execution& e = *call->execution;
    Action action;
    int actions = 0;
    while (e.NextAction(&action)) {
      EXPECT_FALSE(call->finished);
      ASSERT_LT(++actions, 100) << "it does not come to rest";
      switch (action.type) {
        case Action::Type::kStartAttempt:
          ++sends_;
          EXPECT_LT(call->now, call->spec.deadline);
          call->out.push_back(action.attempt);
          break;
        case Action::Type::kWaitUntil:
          EXPECT_LE(action.time, e.limit());
          break;
        case Action::Type::kCancelAttempt:
          break;
        case Action::Type::kFinish:
          call->finished = true;
          EXPECT_FALSE(action.retry_at && action.retry_at->is_infinite());
          break;
      }
    }
    for (const auto& waiter : e.TakeWakes()) waiter->Wake();
    const CallRecord& r = e.record();
    EXPECT_LE(r.attempts.size(), size_t{CallRecord::kMaxAttempts});
    EXPECT_LE(r.dispatches.size(), size_t{CallRecord::kMaxDispatches});
    EXPECT_LE(r.events.size(), size_t{CallRecord::kMaxEvents});
  }

  Dice dice_;
  const MonotonicTime start_;
  Guarded<Quota, NoMutex> quota_;
  Guarded<Endpoint, NoMutex> endpoint_;
  BasicSharedState<NoMutex> shared_;
  std::vector<std::unique_ptr<OneCall>> calls_;
  int64_t sends_ = 0;
};

TEST(ExtremesTest, RandomCrowds) {
  const char* const text = std::getenv("FORBEAR_SEED");
  const uint64_t first = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  const uint64_t rounds = text == nullptr ? 20000 : 1;
  int64_t sends = 0;
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    Crowd crowd(seed);
    crowd.Run();
    sends += crowd.sends();
    ASSERT_FALSE(HasFailure()) << "FORBEAR_SEED=" << seed;
  }
  std::printf("%lld sends\n", static_cast<long long>(sends));
  EXPECT_GT(sends, static_cast<int64_t>(rounds));
}

// Gives leave to everything.
class Open final : public SharedState {
 public:
  DispatchAnswer Dispatch(WaitPlace*, const std::shared_ptr<Waiter>&,
                          MonotonicTime, MonotonicTime, WhenOpen,
                          WakeList*) override {
    return {};
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
  bool Withdraw(int) override { return true; }
  void Deposit(int) override {}
  RetryCosts retry_costs() const override { return costs; }

  RetryCosts costs;
};

// A server that refuses for ever, at once, and a clock that does not notice.
TEST(ExtremesTest, AMillionAttemptsOnAClockThatStandsStill) {
  Open open;
  RetryOptions retry;
  CallSpec spec;
  Execution call(spec, &retry, &open, std::make_shared<Deaf>());
  const MonotonicTime now = MonotonicTime::FromNanos(77);
  call.Begin(now);
  Outcome refused;
  refused.kind = ErrorKind::kThrottled;
  refused.processed = Processed::kNo;
  refused.pushback = absl::ZeroDuration();
  Action action;
  constexpr int kMany = 1000000;
  for (int n = 1; n <= kMany; ++n) {
    ASSERT_TRUE(call.NextAction(&action));
    ASSERT_EQ(action.attempt, n);
    call.OnAttemptDone(n, n < kMany ? refused : Outcome(), now);
  }
  const CallRecord& r = call.record();
  EXPECT_EQ(r.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(r.total_attempts, kMany);
  EXPECT_EQ(r.wasted_sends(), kMany - 1);
  EXPECT_EQ(r.attempts.size(), size_t{CallRecord::kMaxAttempts});
  EXPECT_EQ(r.dropped_dispatches, kMany - CallRecord::kMaxDispatches);
}

// Real states, and a clock that stands still: whoever waits waits, nobody spins,
// and when it moves on everybody leaves.
TEST(ExtremesTest, RealStatesOnAClockThatStandsStill) {
  const MonotonicTime still = MonotonicTime::FromNanos(5);
  Guarded<Quota, NoMutex> quota(QuotaOptions{});
  Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, still);
  BasicSharedState<NoMutex> shared(&quota, &endpoint);
  RetryOptions retry;
  std::vector<std::unique_ptr<Execution>> calls;
  Outcome refused;
  refused.kind = ErrorKind::kThrottled;
  refused.processed = Processed::kNo;
  refused.pushback = absl::Seconds(1);
  for (uint64_t i = 1; i <= 20; ++i) {
    CallSpec spec;
    spec.call_id = i;
    calls.push_back(std::make_unique<Execution>(spec, &retry, &shared,
                                                std::make_shared<Deaf>()));
    calls.back()->Begin(still);
    if (i == 1) calls[0]->OnAttemptDone(1, refused, still);
  }
  for (int round = 0; round < 1000; ++round) {
    for (auto& call : calls) {
      call->OnTimer(still);
      ASSERT_EQ(call->phase(), Execution::Phase::kQueued);
    }
  }
  EXPECT_EQ(quota.alone().queue().size(), 20u);
  MonotonicTime now = still;
  for (auto& call : calls) {
    for (int step = 0; call->phase() == Execution::Phase::kQueued; ++step) {
      ASSERT_LT(step, 10000);
      now = now + absl::Milliseconds(10);
      call->OnTimer(now);
    }
    ASSERT_EQ(call->phase(), Execution::Phase::kInFlight);
    call->OnAttemptDone(call->record().attempts.back().number, Outcome(), now);
    EXPECT_EQ(call->record().stop_reason, StopReason::kSuccess);
  }
  EXPECT_LT(now - still, absl::Seconds(10));
}

// Two threads' clocks, ages apart, on one gate.
TEST(ExtremesTest, GateAndPacerAtTheEndsOfTime) {
  for (const int64_t at : {kMin + 1, int64_t{0}, kMax - 1}) {
    const MonotonicTime now = MonotonicTime::FromNanos(at);
    Gate gate;
    gate.Shut(now + kTenYears, now);
    EXPECT_TRUE(gate.IsShut(now));
    EXPECT_FALSE(gate.IsShut(MonotonicTime::Infinite()) &&
                 !gate.until().is_infinite());
    Pacer pacer;
    for (int i = 0; i < 100; ++i) {
      const Pacer::Permit permit = pacer.OnSend(now);
      pacer.OnRefused(permit, absl::Hours(24), now);
      pacer.OnAdmitted(permit, {}, MonotonicTime::InfinitePast());
      pacer.OnFault(permit);
      EXPECT_GE(pacer.Earliest(now, now, 0), now);
      if (const std::optional<double> rate = pacer.RateAt(now)) {
        EXPECT_GT(*rate, 0);
        EXPECT_LT(*rate, 1e9);
      }
    }
  }
}

TEST(ExtremesTest, QueueOfTheEndsOfTime) {
  WaitQueue queue(1000);
  const auto waiter = std::make_shared<Deaf>();
  const MonotonicTime ends[] = {MonotonicTime::InfinitePast(),
                                MonotonicTime::FromNanos(0),
                                MonotonicTime::Infinite()};
  uint64_t id = 0;
  for (const MonotonicTime arrived : ends) {
    for (const MonotonicTime limit : ends) {
      for (const MonotonicTime now : ends) {
        EXPECT_TRUE(queue.Add({arrived, ++id}, waiter, limit, now));
      }
    }
  }
  WakeList doomed;
  queue.CollectDoomed(MonotonicTime::InfinitePast(), &doomed);
  EXPECT_EQ(doomed.size(), 9u);
  doomed.clear();
  queue.CollectDoomed(MonotonicTime::Infinite(), &doomed);
  EXPECT_EQ(doomed.size(), 27u);
  for (uint64_t i = 1; i <= id; ++i) {
    for (const MonotonicTime arrived : ends) queue.Remove({arrived, i});
  }
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace forbear
