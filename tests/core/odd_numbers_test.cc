// Odd numbers: what no reasonable caller passes, and some day one does. Options that
// are NaN, negative, zero or infinite; the millionth attempt; waits of ten years; a
// clock that stands still, leaps, or is another one in each thread. Nothing crashes,
// everything saturates, and nothing is sent sooner than a server asked.
//
// Worth most under a sanitizer: ./dev ubsan //tests/core:odd_numbers_test
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/backoff.h"
#include "core/call_record.h"
#include "core/circuit_breaker.h"
#include "core/duration_text.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/gate.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/policy.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/sliding_window.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

const double kNumbers[] = {std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::max(),
                           std::numeric_limits<double>::lowest(),
                           std::numeric_limits<double>::min(),
                           std::numeric_limits<double>::denorm_min(),
                           -1,
                           -0.0,
                           0,
                           0.01,
                           0.5,
                           1,
                           1.6,
                           100,
                           101,
                           1e9,
                           1e18};

const int kIntegers[] = {std::numeric_limits<int>::min(),
                         -1,
                         0,
                         1,
                         2,
                         100,
                         101,
                         1000000,
                         1000001,
                         10000000,
                         10000001,
                         std::numeric_limits<int>::max()};

std::vector<absl::Duration> Durations() {
  return {-absl::InfiniteDuration(),
          absl::Nanoseconds(kLeast),
          -absl::Hours(24 * 365 * 10),
          -absl::Nanoseconds(1),
          -absl::Nanoseconds(1) / 4,
          absl::ZeroDuration(),
          absl::Nanoseconds(1) / 4,
          absl::Nanoseconds(1),
          absl::Milliseconds(1),
          absl::Milliseconds(250),
          absl::Seconds(1),
          absl::Hours(1),
          absl::Hours(24),
          absl::Hours(24) + absl::Nanoseconds(1),
          absl::Hours(24 * 365 * 10),
          absl::Nanoseconds(kMost),
          absl::Seconds(std::numeric_limits<double>::quiet_NaN()),
          absl::InfiniteDuration()};
}

std::vector<MonotonicTime> Times() {
  std::vector<MonotonicTime> times;
  for (const int64_t nanos :
       {kLeast, kLeast + 1, int64_t{-1000000000000000000}, int64_t{-1},
        int64_t{0}, int64_t{1}, int64_t{1000000000},
        int64_t{315360000000000000}, kMost - 1, kMost}) {
    times.push_back(MonotonicTime::FromNanos(nanos));
  }
  return times;
}

// Fractions in [0, 1).
const double kChances[] = {0.0, 0x1.0p-53, 0.5, 1 - 0x1.0p-53};

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  double Unit() { return UnitRandom(seed_, n_++); }
  bool Chance(double p) { return Unit() < p; }
  template <typename List>
  auto Of(const List& list) {
    const auto size = static_cast<double>(std::size(list));
    return list[static_cast<size_t>(Unit() * size)];
  }

 private:
  const uint64_t seed_;
  uint64_t n_ = 0;
};

class Deaf final : public Waiter {
 public:
  void Wake() override {}
};

Outcome Of(ErrorKind kind, std::optional<absl::Duration> wait = std::nullopt) {
  Outcome o;
  o.kind = kind;
  o.status = 1;
  o.pushback = wait;
  return o;
}

// ---- Options

// Every field that is a number, with its path.
struct Field {
  std::string path;
  std::function<void(Settings*, double)> number;
  std::function<void(Settings*, int)> integer;
  std::function<void(Settings*, absl::Duration)> duration;
};

std::vector<Field> Fields() {
  std::vector<Field> fields;
  const auto number = [&](std::string path, auto member) {
    fields.push_back({std::move(path),
                      [=](Settings* s, double v) { *member(s) = v; },
                      {},
                      {}});
  };
  const auto integer = [&](std::string path, auto member) {
    fields.push_back(
        {std::move(path), {}, [=](Settings* s, int v) { *member(s) = v; }, {}});
  };
  const auto duration = [&](std::string path, auto member) {
    fields.push_back(
        {std::move(path), {}, {}, [=](Settings* s, absl::Duration v) {
           *member(s) = v;
         }});
  };
  integer("max_targets", [](Settings* s) { return &s->max_targets; });
  integer("retry.max_attempts",
          [](Settings* s) { return &s->retry.max_attempts; });
  duration("retry.max_elapsed",
           [](Settings* s) { return &s->retry.max_elapsed; });
  duration("retry.attempt_timeout",
           [](Settings* s) { return &s->retry.attempt_timeout; });
  duration("retry.max_believed_wait",
           [](Settings* s) { return &s->retry.max_believed_wait; });
  duration("retry.backoff.initial",
           [](Settings* s) { return &s->retry.backoff.initial; });
  number("retry.backoff.multiplier",
         [](Settings* s) { return &s->retry.backoff.multiplier; });
  duration("retry.backoff.max",
           [](Settings* s) { return &s->retry.backoff.max; });
  integer("quota.max_waiters",
          [](Settings* s) { return &s->quota.max_waiters; });
  integer("endpoint.max_waiters",
          [](Settings* s) { return &s->endpoint.max_waiters; });
  number("endpoint.breaker.failure_ratio",
         [](Settings* s) { return &s->endpoint.breaker.failure_ratio; });
  integer("endpoint.breaker.min_calls",
          [](Settings* s) { return &s->endpoint.breaker.min_calls; });
  duration("endpoint.breaker.window",
           [](Settings* s) { return &s->endpoint.breaker.window; });
  integer("endpoint.breaker.first_failures",
          [](Settings* s) { return &s->endpoint.breaker.first_failures; });
  duration("endpoint.breaker.min_open",
           [](Settings* s) { return &s->endpoint.breaker.min_open; });
  duration("endpoint.breaker.max_open",
           [](Settings* s) { return &s->endpoint.breaker.max_open; });
  integer("endpoint.breaker.successes_to_close",
          [](Settings* s) { return &s->endpoint.breaker.successes_to_close; });
  duration("endpoint.breaker.probe_lease",
           [](Settings* s) { return &s->endpoint.breaker.probe_lease; });
  integer("endpoint.budget.capacity",
          [](Settings* s) { return &s->endpoint.budget.capacity; });
  integer("endpoint.budget.transient_cost",
          [](Settings* s) { return &s->endpoint.budget.transient_cost; });
  integer("endpoint.budget.throttled_cost",
          [](Settings* s) { return &s->endpoint.budget.throttled_cost; });
  return fields;
}

std::string Faults(const Settings& settings) {
  std::vector<std::string> faults;
  ValidateSettings(settings, &faults);
  return absl::StrJoin(faults, "|");
}

// Sets a field to one of the odd values; whether it is one that no option takes.
bool Spoil(const Field& field, Dice* dice, Settings* settings) {
  if (field.number) {
    const double v = dice->Of(kNumbers);
    field.number(settings, v);
    return !(v > 0) || v > 1e6;
  }
  if (field.integer) {
    const int v = dice->Of(kIntegers);
    field.integer(settings, v);
    return v < 0 || v > 10000000;
  }
  const absl::Duration v = dice->Of(Durations());
  field.duration(settings, v);
  return v < absl::ZeroDuration() ||
         (v > absl::Hours(8760) && field.path != "retry.attempt_timeout");
}

TEST(OddNumbersTest, OptionsThatMakeNoSenseAreRefusedByName) {
  int refused = 0;
  for (const Field& field : Fields()) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      Dice dice(seed);
      Settings settings;
      const bool senseless = Spoil(field, &dice, &settings);
      const std::string faults = Faults(settings);
      if (senseless) {
        EXPECT_TRUE(absl::StrContains(faults, absl::StrCat(field.path, " is ")))
            << field.path << ": " << faults;
        ++refused;
      }
      // No more than itself and what is measured by it: a cost by its capacity, the
      // highest by the lowest.
      EXPECT_LE(std::count(faults.begin(), faults.end(), '|'), 2) << faults;
    }
  }
  EXPECT_GT(refused, 500);
}

// ---- Values

TEST(OddNumbersTest, TimeSaturates) {
  for (const MonotonicTime t : Times()) {
    for (const absl::Duration d : Durations()) {
      const MonotonicTime sum = t + d;
      const bool fixed = t.is_infinite() || t == MonotonicTime::InfinitePast();
      if (fixed) {
        EXPECT_EQ(sum, t);
      } else if (d >= absl::ZeroDuration()) {
        EXPECT_GE(sum, t);
        // A wait is never shorter than it was, but for fractions of a nanosecond.
        EXPECT_GE(sum - t, absl::Floor(d, absl::Nanoseconds(1)));
      } else {
        EXPECT_LE(sum, t);
      }
      EXPECT_EQ(t - d, t + -d);
    }
    for (const MonotonicTime u : Times()) {
      if (t < u) {
        EXPECT_LT(t - u, absl::ZeroDuration());
      }
      EXPECT_EQ(t == u, t - u == absl::ZeroDuration());
      EXPECT_EQ(Later(t, u), Later(u, t));
      EXPECT_LE(Earlier(t, u), Later(t, u));
    }
  }
}

TEST(OddNumbersTest, BackoffOfAnyValidOptions) {
  int valid = 0;
  for (uint64_t seed = 1; seed <= 100000; ++seed) {
    Dice dice(seed);
    BackoffOptions o;
    o.initial = dice.Of(Durations());
    o.max = dice.Of(Durations());
    o.multiplier = dice.Of(kNumbers);
    o.jitter = dice.Of(
        std::vector<Jitter>{Jitter::kFull, Jitter::kPlusMinus, Jitter::kNone});
    std::vector<std::string> faults;
    ValidateBackoff(o, "b", &faults);
    if (!faults.empty()) continue;
    ++valid;
    for (const int64_t retry : {kLeast, int64_t{0}, int64_t{1}, int64_t{2},
                                int64_t{1000000}, kMost}) {
      for (const double chance : kChances) {
        const absl::Duration d = BackoffDelay(o, retry, chance);
        ASSERT_GE(d, absl::ZeroDuration());
        ASSERT_LE(d, o.max * 1.2 + absl::Nanoseconds(1));
      }
    }
  }
  EXPECT_GT(valid, 500);
}

TEST(OddNumbersTest, TheBudgetStaysBetweenItsEnds) {
  for (const int capacity : {1, 500, 1000000}) {
    BudgetOptions options;
    options.capacity = capacity;
    RetryBudget budget(options);
    for (const int n : kIntegers) {
      if (n < 0) continue;
      EXPECT_EQ(budget.Withdraw(n), n <= capacity);
      budget.Deposit(n);
      EXPECT_EQ(budget.level(), capacity);
      budget.Deposit(std::numeric_limits<int>::max());
      EXPECT_EQ(budget.level(), capacity);
    }
  }
}

TEST(OddNumbersTest, TheWindowHoldsWhateverTheTime) {
  // Any length that the breaker's options admit.
  for (const absl::Duration length :
       {absl::Seconds(1), absl::Seconds(1.7), absl::Hours(1)}) {
    for (const MonotonicTime first : Times()) {
      SlidingWindow w(length, first);
      for (const MonotonicTime t : Times()) {
        w.Add(t, true);
        ASSERT_GE(w.total(), 1);
        ASSERT_LE(w.total(), 10);
        ASSERT_EQ(w.total(), w.failures());
      }
      w.Clear(first);
      ASSERT_EQ(w.total(), 0);
    }
  }
}

TEST(OddNumbersTest, TheGateNeverOpensBeforeItsWait) {
  for (const MonotonicTime now : Times()) {
    for (const absl::Duration wait : Durations()) {
      for (const MonotonicTime later : Times()) {
        Gate gate;
        gate.Shut(now + wait, now);
        const MonotonicTime until = gate.until();
        EXPECT_EQ(until, now + wait);
        // Whoever started no later than the gate was shut proves nothing.
        gate.OnSuccess(Earlier(now, later), later);
        EXPECT_EQ(gate.until(), until);
        gate.Shut(later, later);
        EXPECT_GE(gate.until(), until);
      }
    }
  }
}

TEST(OddNumbersTest, TheBreakerLetsSomebodyInAtTheEnd) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Dice dice(seed);
    Settings settings;
    const std::vector<Field> fields = Fields();
    for (int i = 0; i < 3; ++i) {
      // One that is refused is taken back.
      const Settings before = settings;
      Spoil(dice.Of(fields), &dice, &settings);
      if (!Faults(settings).empty()) settings = before;
    }
    MonotonicTime now = dice.Of(Times());
    CircuitBreaker breaker(settings.endpoint.breaker, now);
    std::vector<CircuitBreaker::Permit> out;
    for (int step = 0; step < 200; ++step) {
      if (dice.Chance(0.3)) now = Later(now, dice.Of(Times()));
      if (dice.Chance(0.3)) now = now + dice.Of(Durations());
      ASSERT_GE(breaker.AdmitTime(now), now);
      CircuitBreaker::Permit permit;
      if (breaker.Acquire(now, &permit)) out.push_back(permit);
      if (!out.empty() && dice.Chance(0.7)) {
        breaker.Report(out.back(),
                       dice.Chance(0.8) ? CircuitBreaker::Result::kFailure
                                        : CircuitBreaker::Result::kSuccess,
                       now, dice.Of(kChances));
        out.pop_back();
      }
    }
    if (now.is_infinite()) continue;
    CircuitBreaker::Permit permit;
    EXPECT_TRUE(breaker.Acquire(breaker.AdmitTime(now), &permit))
        << "seed " << seed;
  }
}

// What a server may say, at what a clock may show.
TEST(OddNumbersTest, ThePacersInvariantsHold) {
  for (uint64_t seed = 1; seed <= 5000; ++seed) {
    Dice dice(seed);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Pacer pacer;
    MonotonicTime now = dice.Of(Times());
    std::vector<Pacer::Permit> out;
    for (int step = 0; step < 100; ++step) {
      // It stands still, leaps, or crawls. Its owner sees to it that it does not go
      // back.
      const double move = dice.Unit();
      if (move < 0.1) now = Later(now, dice.Of(Times()));
      if (move > 0.7) now = Later(now, now + dice.Of(Durations()));
      const MonotonicTime earliest = pacer.Earliest(
          now, dice.Of(Times()), static_cast<int64_t>(out.size()));
      ASSERT_GE(earliest, now);
      ASSERT_GE(earliest, pacer.gate_until());
      if (const std::optional<double> rate = pacer.RateAt(now)) {
        ASSERT_TRUE(std::isfinite(*rate));
        ASSERT_GT(*rate, 0);
      }
      if (earliest <= now) out.push_back(pacer.OnSend(now));
      if (out.empty()) continue;
      const Pacer::Permit permit = out.back();
      const MonotonicTime gate = pacer.gate_until();
      const double what = dice.Unit();
      if (what < 0.4) {
        std::optional<absl::Duration> wait;
        if (dice.Chance(0.8)) wait = dice.Of(Durations());
        pacer.OnRefused(permit, wait, now);
        ASSERT_GE(pacer.gate_until(), gate);
        if (wait) {
          ASSERT_GE(pacer.gate_until(), now + *wait);
        }
      } else if (what < 0.7) {
        std::optional<LimitStand> stand;
        if (dice.Chance(0.5)) {
          stand.emplace();
          stand->limit = dice.Of(kIntegers);
          stand->remaining = dice.Of(kIntegers);
          stand->reset = dice.Of(Durations());
        }
        pacer.OnAdmitted(permit, {dice.Of(kIntegers), 1}, now);
        if (stand) pacer.OnTold(permit, *stand, now);
      } else if (what < 0.8) {
        pacer.OnFault(permit);
      } else if (what < 0.9) {
        pacer.OnNeutral(permit);
      } else {
        pacer.OnReturned(permit);
      }
      out.pop_back();
    }
  }
}

TEST(OddNumbersTest, TextsOfAnyDuration) {
  for (const absl::Duration d : Durations()) {
    EXPECT_FALSE(FormatShort(d).empty());
    if (d < absl::ZeroDuration()) continue;
    const std::string text = FormatDurationText(d);
    EXPECT_EQ(ParseDurationText(text), d) << text;
  }
  CallRecord record;
  for (const MonotonicTime begin : Times()) {
    for (const MonotonicTime end : Times()) {
      record.begin = begin;
      record.end = end;
      record.retry_at = end + absl::Hours(24 * 365 * 10);
      record.attempts.resize(1);
      record.attempts[0].start = end;
      record.attempts[0].end = begin;
      EXPECT_FALSE(FormatCallRecord(record).empty());
    }
  }
}

// ---- The machine

// Lets everybody go, at once.
class Open final : public SharedState {
 public:
  DispatchAnswer Dispatch(WaitPlace*, const std::shared_ptr<Waiter>&,
                          MonotonicTime, MonotonicTime, WhenOpen,
                          WakeList*) override {
    ++out;
    return {};
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
    --out;
    return {now, DelaySource::kNone};
  }
  bool Withdraw(int) override { return true; }
  void Deposit(int) override {}
  RetryCosts retry_costs() const override { return costs; }

  int64_t out = 0;
  RetryCosts costs;
};

TEST(OddNumbersTest, TheMillionthAttempt) {
  Open shared;
  const RetryOptions options;
  CallSpec spec;
  Execution call(spec, &options, &shared, std::make_shared<Deaf>());
  // The clock stands still: no time bounds the throttled attempts.
  const MonotonicTime now = MonotonicTime::FromNanos(7);
  call.Begin(now);
  Action action;
  for (int n = 1; n <= 1000000; ++n) {
    ASSERT_TRUE(call.NextAction(&action));
    ASSERT_EQ(action.type, Action::Type::kStartAttempt);
    ASSERT_EQ(action.attempt, n);
    Outcome refused = Of(ErrorKind::kThrottled, absl::ZeroDuration());
    refused.processed = Processed::kNo;
    call.OnAttemptDone(n, refused, now);
  }
  EXPECT_EQ(call.record().total_attempts, 1000001);
  EXPECT_LE(call.record().attempts.size(), size_t{CallRecord::kMaxAttempts});
  EXPECT_LE(call.record().dispatches.size(),
            size_t{CallRecord::kMaxDispatches});
  call.OnCancel(now);
  EXPECT_EQ(shared.out, 0);
}

// Many calls on one quota and one endpoint, each with a clock of its own that may be
// behind the others, or ahead, stand still or leap by years; every event at any
// time, with any wait, under any valid options.
TEST(OddNumbersTest, ClocksThatDisagree) {
  int64_t sends = 0;
  int64_t walls = 0;
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Dice dice(seed);
    Settings settings;
    const std::vector<Field> fields = Fields();
    for (int i = 0; i < 4; ++i) {
      const Settings before = settings;
      Spoil(dice.Of(fields), &dice, &settings);
      if (!Faults(settings).empty()) settings = before;
    }
    MonotonicTime base = dice.Chance(0.3)
                             ? dice.Of(Times())
                             : MonotonicTime::FromNanos(1000000000);
    Guarded<Quota, NoMutex> quota(settings.quota);
    Guarded<Endpoint, NoMutex> endpoint(settings.endpoint, base);
    BasicSharedState<NoMutex> shared(&quota, &endpoint);

    struct Caller {
      std::unique_ptr<Execution> call;
      absl::Duration skew;
      MonotonicTime now;
      int attempt = 0;     // in flight; 0: none
      MonotonicTime sent;  // by the latest clock
      bool head = false;
      bool finished = false;
    };
    std::vector<Caller> callers(8);
    // The latest time that anybody has brought along; what a server has asked for.
    MonotonicTime latest = MonotonicTime::InfinitePast();
    MonotonicTime wall = MonotonicTime::InfinitePast();
    MonotonicTime wall_set = MonotonicTime::InfinitePast();

    const auto drain = [&](Caller* c) {
      Action action;
      while (c->call->NextAction(&action)) {
        ASSERT_FALSE(c->finished) << "something after kFinish";
        switch (action.type) {
          case Action::Type::kStartAttempt:
            ++sends;
            c->attempt = action.attempt;
            c->sent = latest;
            c->head = false;
            ASSERT_GE(latest, wall) << "sooner than the server asked";
            ASSERT_LT(c->now, c->call->record().deadline);
            break;
          case Action::Type::kWaitUntil:
            ASSERT_LE(action.time, c->call->limit());
            break;
          case Action::Type::kCancelAttempt:
            c->attempt = 0;
            break;
          case Action::Type::kFinish:
            c->finished = true;
            break;
        }
      }
      c->call->TakeWakes();
    };
    // A head, or an end without one. By the caller's own clock, which is behind that
    // of the states or equal to it: what is checked is the least.
    const auto hear = [&](const Caller& c, const Outcome& o) {
      const bool waits =
          o.kind == ErrorKind::kThrottled || o.kind == ErrorKind::kTransient;
      if (waits && o.pushback &&
          *o.pushback <= settings.retry.max_believed_wait &&
          *o.pushback > absl::ZeroDuration()) {
        ++walls;
        if (c.now + *o.pushback > wall) {
          wall = c.now + *o.pushback;
          wall_set = c.now;
        }
      } else if ((o.kind == ErrorKind::kOk || o.kind == ErrorKind::kPermanent ||
                  o.kind == ErrorKind::kThrottled) &&
                 c.sent > wall_set) {
        // It left after the wall was there: proof that the server takes calls.
        wall = MonotonicTime::InfinitePast();
      }
    };

    for (int step = 0; step < 120; ++step) {
      const double move = dice.Unit();
      if (move < 0.4) base = base + absl::Milliseconds(300) * dice.Unit();
      if (move > 0.98) base = base + absl::Hours(24 * 365 * 10);
      if (move > 0.95) base = base + absl::Seconds(30);
      Caller& c = callers[static_cast<size_t>(dice.Unit() * 8)];
      if (c.call == nullptr || c.finished) {
        c.skew = absl::Seconds(20) * (dice.Unit() - 0.5);
        CallSpec spec;
        spec.call_id = static_cast<uint64_t>(step);
        spec.seed = seed;
        spec.idempotent = dice.Chance(0.8);
        if (dice.Chance(0.5)) {
          spec.deadline = base + c.skew + dice.Of(Durations());
        }
        c.call = std::make_unique<Execution>(spec, &settings.retry, &shared,
                                             std::make_shared<Deaf>());
        c.now = base + c.skew;
        c.attempt = 0;
        c.finished = false;
        latest = Later(latest, c.now);
        c.call->Begin(c.now);
        drain(&c);
        continue;
      }
      // Its own clock does not go back.
      c.now = Later(c.now, base + c.skew);
      latest = Later(latest, c.now);
      const double what = dice.Unit();
      if (what < 0.05) {
        c.call->OnCancel(c.now);
      } else if (c.attempt == 0) {
        c.call->OnTimer(c.now);
      } else {
        Outcome o = Of(dice.Of(std::vector<ErrorKind>{
            ErrorKind::kOk, ErrorKind::kTransient, ErrorKind::kTransient,
            ErrorKind::kThrottled, ErrorKind::kPermanent}));
        if (dice.Chance(0.5)) o.pushback = dice.Of(Durations());
        if (dice.Chance(0.3)) o.processed = Processed::kNo;
        if (dice.Chance(0.3)) o.timed_out = true;
        if (!c.head && dice.Chance(0.5)) {
          c.head = true;
          hear(c, o);
          c.call->OnAnswerHead(c.attempt, o, c.now);
        } else {
          const int n = std::exchange(c.attempt, 0);
          if (!c.head) hear(c, o);
          c.call->OnAttemptDone(n, o, c.now);
        }
      }
      drain(&c);
      if (::testing::Test::HasFatalFailure()) return;
    }
    for (Caller& c : callers) {
      if (c.call != nullptr && dice.Chance(0.5)) c.call->OnCancel(c.now);
      c.call.reset();
    }
    ASSERT_TRUE(quota.alone().IsIdle(MonotonicTime::Infinite()));
    ASSERT_TRUE(endpoint.alone().IsIdle(MonotonicTime::Infinite()));
    ASSERT_LE(endpoint.alone().budget().level(),
              settings.endpoint.budget.capacity);
    ASSERT_GE(endpoint.alone().budget().level(), 0);
  }
  std::printf("%lld sends, %lld waits asked for\n",
              static_cast<long long>(sends), static_cast<long long>(walls));
  EXPECT_GT(sends, 10000);
  EXPECT_GT(walls, 1000);
}

}  // namespace
}  // namespace forbear
