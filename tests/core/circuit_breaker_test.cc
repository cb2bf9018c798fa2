// CircuitBreaker against a twin (every short sequence), for liveness (a healthy
// server closes it again from wherever it got to), and against what other
// projects' tests say.

#include "core/circuit_breaker.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

using State = CircuitBreaker::State;
using Result = CircuitBreaker::Result;
using Permit = CircuitBreaker::Permit;

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

// The breaker once more, from its header: a list of what happened, looked
// through from the start each time.
class Twin {
 public:
  explicit Twin(const BreakerOptions& o) : o_(o) {}

  struct Leave {
    int era = 0;  // which stay in which state
    int64_t probe = 0;
  };

  MonotonicTime AdmitTime(MonotonicTime now) const {
    if (state == State::kOpen) return Later(now, open_until);
    if (state == State::kHalfOpen && awaited_ != 0) {
      return Later(now, lease_);
    }
    return now;
  }

  bool Acquire(MonotonicTime now, Leave* leave) {
    if (AdmitTime(now) != now) return false;
    if (state == State::kOpen) Go(State::kHalfOpen);
    leave->era = era_;
    leave->probe = 0;
    if (state == State::kHalfOpen) {
      leave->probe = awaited_ = ++probes_;
      lease_ = now + o_.probe_lease;
    }
    return true;
  }

  void Report(const Leave& leave, Result result, MonotonicTime now,
              double random) {
    if (!o_.enabled || leave.era != era_) return;
    const bool alive =
        result == Result::kSuccess || result == Result::kThrottled;
    if (alive) ever_answered = true;
    if (state == State::kHalfOpen) {
      if (leave.probe == awaited_) awaited_ = 0;
      if (alive && ++good_probes_ == o_.successes_to_close) {
        openings_ = 0;
        Go(State::kClosed);
      }
      if (result == Result::kFailure) Open(now, random);
      return;
    }
    if (result == Result::kThrottled || result == Result::kNeutral) return;
    past_.push_back({now, result == Result::kFailure});
    if (result != Result::kFailure) return;
    // The last tenths of the window, this one included.
    const int64_t tenth = absl::ToInt64Nanoseconds(o_.window) / 10;
    int64_t total = 0;
    int64_t failed = 0;
    for (const auto& [time, failure] : past_) {
      if (now.nanos() / tenth - time.nanos() / tenth >= 10) continue;
      ++total;
      failed += failure ? 1 : 0;
    }
    const bool ratio = total >= o_.min_calls &&
                       static_cast<double>(failed) >=
                           o_.failure_ratio * static_cast<double>(total);
    const bool dead =
        !ever_answered && static_cast<int>(past_.size()) >= o_.first_failures;
    if (ratio || dead) Open(now, random);
  }

  State state = State::kClosed;
  MonotonicTime open_until;
  bool ever_answered = false;

 private:
  void Go(State s) {
    state = s;
    ++era_;
    past_.clear();
    good_probes_ = 0;
    awaited_ = 0;
  }
  void Open(MonotonicTime now, double random) {
    Go(State::kOpen);
    absl::Duration d = o_.min_open;
    for (int i = 0; i < openings_ && d < o_.max_open; ++i) d *= 2;
    ++openings_;
    open_until = now + std::min(d, o_.max_open) * (1.0 + 0.2 * random);
  }

  const BreakerOptions o_;
  int era_ = 1;
  std::deque<std::pair<MonotonicTime, bool>> past_;
  int64_t probes_ = 0;
  int64_t awaited_ = 0;
  MonotonicTime lease_;
  int good_probes_ = 0;
  int openings_ = 0;
};

enum Letter {
  kAcquire,
  kOldOk,
  kOldFails,
  kOldThrottled,
  kOldNeutral,
  kNewOk,
  kNewFails,
  kLost,      // the oldest permit never comes back
  kBit,       // 50 ms go by
  kOpenTime,  // to the end of the open time, or 300 ms
  kLong,      // 1.1 s
  kLetters,
};
constexpr const char* kNames[] = {
    "acquire",   "old-ok", "old-fails", "old-429",   "old-neutral", "new-ok",
    "new-fails", "lost",   "50ms",      "open-time", "1.1s"};

// The open time is computed in doubles: a nanosecond is no difference.
bool Near(MonotonicTime a, MonotonicTime b) {
  return absl::AbsDuration(a - b) <= absl::Nanoseconds(1);
}

// Feeds one sequence to both; what differs, or nothing.
std::string RunBoth(const BreakerOptions& o, const std::vector<int>& letters) {
  MonotonicTime now = At(7);
  CircuitBreaker real(o, now);
  Twin twin(o);
  std::deque<std::pair<Permit, Twin::Leave>> out;
  for (int letter : letters) {
    switch (letter) {
      case kAcquire: {
        Permit p;
        Twin::Leave l;
        if (!Near(real.AdmitTime(now), twin.AdmitTime(now)))
          return "admit time";
        const bool admitted = real.Acquire(now, &p);
        if (admitted != twin.Acquire(now, &l)) return "acquire";
        if (admitted) out.emplace_back(p, l);
        break;
      }
      case kOldOk:
      case kOldFails:
      case kOldThrottled:
      case kOldNeutral:
      case kNewOk:
      case kNewFails: {
        if (out.empty()) break;
        const bool newest = letter == kNewOk || letter == kNewFails;
        const auto [p, l] = newest ? out.back() : out.front();
        if (newest) {
          out.pop_back();
        } else {
          out.pop_front();
        }
        const Result r = letter == kOldOk || letter == kNewOk ? Result::kSuccess
                         : letter == kOldThrottled ? Result::kThrottled
                         : letter == kOldNeutral   ? Result::kNeutral
                                                   : Result::kFailure;
        const State before = real.state();
        const bool moved = real.Report(p, r, now, 0.5);
        twin.Report(l, r, now, 0.5);
        if (moved != (real.state() != before)) return "said it moved";
        // Stale permits move nothing: seen through the twin's eras.
        break;
      }
      case kLost:
        if (!out.empty()) out.pop_front();
        break;
      case kBit:
        now = now + absl::Milliseconds(50);
        break;
      case kOpenTime:
        now = real.state() == State::kOpen ? Later(now, real.open_until())
                                           : now + absl::Milliseconds(300);
        break;
      case kLong:
        now = now + absl::Milliseconds(1100);
        break;
      default:
        return "?";
    }
    if (real.state() != twin.state) {
      return absl::StrCat(BreakerStateName(real.state()), ", twin ",
                          BreakerStateName(twin.state));
    }
    if (real.has_answered() != twin.ever_answered) return "has_answered";
    if (twin.state == State::kOpen &&
        !Near(real.open_until(), twin.open_until)) {
      return "open_until";
    }
  }
  // Liveness: from here on the server is well. Every third probe gets lost.
  for (int i = 0; i < 3 * o.successes_to_close + 3; ++i) {
    if (real.state() == State::kClosed) break;
    const MonotonicTime t = real.AdmitTime(now);
    if (t - now > std::max(o.max_open * 1.2, o.probe_lease)) {
      return "admits nobody for too long";
    }
    now = t;
    Permit p;
    if (!real.Acquire(now, &p)) return "AdmitTime lied";
    if (i % 3 != 2) real.Report(p, Result::kSuccess, now, 0.5);
  }
  if (o.enabled && real.state() != State::kClosed) return "never closes again";
  return "";
}

std::vector<BreakerOptions> SmallOptions() {
  BreakerOptions o;
  o.failure_ratio = 0.5;
  o.min_calls = 3;
  o.window = absl::Seconds(1);
  o.first_failures = 2;
  o.min_open = absl::Milliseconds(250);
  o.max_open = absl::Milliseconds(400);
  o.successes_to_close = 2;
  o.probe_lease = absl::Seconds(1);
  BreakerOptions one = o;
  one.successes_to_close = 1;
  one.first_failures = 1;
  one.failure_ratio = 1;
  one.min_calls = 1;
  one.max_open = absl::Seconds(10);
  BreakerOptions off = o;
  off.enabled = false;
  return {o, one, off};
}

TEST(CircuitBreakerTest, EveryShortSequenceLikeTheTwin) {
  int64_t sequences = 0;
  for (const BreakerOptions& o : SmallOptions()) {
    const size_t length = o.enabled ? 6 : 4;
    std::vector<int> letters(length, 0);
    bool more = true;
    while (more) {
      ++sequences;
      const std::string bad = RunBoth(o, letters);
      if (!bad.empty()) {
        std::vector<std::string> names;
        for (int l : letters) names.push_back(kNames[l]);
        FAIL() << bad << "\n  " << absl::StrJoin(names, " ");
      }
      more = false;
      for (size_t i = length; i-- > 0;) {
        if (++letters[i] < kLetters) {
          more = true;
          break;
        }
        letters[i] = 0;
      }
    }
  }
  std::printf("%lld sequences\n", static_cast<long long>(sequences));
}

// The same, longer, by chance: deep enough to be opened, probed and closed
// several times. The seed is the number of the round.
TEST(CircuitBreakerTest, LongRandomSequencesLikeTheTwin) {
  for (uint64_t seed = 1; seed <= 200000; ++seed) {
    uint64_t x = seed * 0x9E3779B97F4A7C15u;
    std::vector<int> letters;
    for (int i = 0; i < 60; ++i) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      // Acquire and report alternate more often than not.
      const auto r = static_cast<int>(x >> 33);
      letters.push_back(i % 2 == 0 && r % 3 != 0 ? kAcquire : r % kLetters);
    }
    const std::string bad = RunBoth(SmallOptions()[seed % 2], letters);
    ASSERT_EQ(bad, "") << "seed " << seed;
  }
}

TEST(CircuitBreakerTest, StalePermitMovesNothing) {
  BreakerOptions o;
  CircuitBreaker b(o, At(0));
  std::vector<Permit> old(6);
  for (Permit& p : old) ASSERT_TRUE(b.Acquire(At(0), &p));
  for (int i = 0; i < 3; ++i)
    b.Report(old[static_cast<size_t>(i)], Result::kFailure, At(1), 0);
  ASSERT_EQ(b.state(), State::kOpen);
  const MonotonicTime until = b.open_until();
  EXPECT_FALSE(b.Report(old[3], Result::kSuccess, At(1), 0));
  EXPECT_FALSE(b.Report(old[4], Result::kFailure, At(1.1), 0));
  EXPECT_EQ(b.state(), State::kOpen);
  EXPECT_EQ(b.open_until(), until);
  EXPECT_FALSE(b.has_answered());
  Permit probe;
  ASSERT_TRUE(b.Acquire(At(2), &probe));
  EXPECT_EQ(b.state(), State::kHalfOpen);
  // A call from before neither closes it nor takes the probe's slot.
  EXPECT_FALSE(b.Report(old[5], Result::kSuccess, At(2), 0));
  Permit second;
  EXPECT_FALSE(b.Acquire(At(2), &second));
}

TEST(CircuitBreakerTest, ThrottledProvesLifeInHalfOpenAndIsNoFailureInClosed) {
  BreakerOptions o;
  CircuitBreaker b(o, At(0));
  Permit p;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(b.Acquire(At(0), &p));
    EXPECT_FALSE(b.Report(p, Result::kThrottled, At(0), 0));
  }
  EXPECT_TRUE(b.has_answered());
  EXPECT_EQ(b.window().total(), 0);
  for (int i = 0; i < o.min_calls; ++i) {
    ASSERT_TRUE(b.Acquire(At(0), &p));
    b.Report(p, Result::kFailure, At(0), 0);
  }
  ASSERT_EQ(b.state(), State::kOpen);
  for (int i = 0; i < o.successes_to_close; ++i) {
    ASSERT_TRUE(b.Acquire(At(1), &p));
    b.Report(p, Result::kThrottled, At(1), 0);
  }
  EXPECT_EQ(b.state(), State::kClosed);
}

TEST(CircuitBreakerTest, NeutralFreesTheProbesSlot) {
  CircuitBreaker b(BreakerOptions{}, At(0));
  Permit p;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(b.Acquire(At(0), &p));
    b.Report(p, Result::kFailure, At(0), 0);
  }
  Permit probe;
  ASSERT_TRUE(b.Acquire(At(1), &probe));
  ASSERT_FALSE(b.Acquire(At(1), &p));
  EXPECT_FALSE(b.Report(probe, Result::kNeutral, At(1), 0));
  EXPECT_EQ(b.state(), State::kHalfOpen);
  EXPECT_EQ(b.AdmitTime(At(1)), At(1));
  EXPECT_TRUE(b.Acquire(At(1), &p));
}

TEST(CircuitBreakerTest, OpenTimeDoublesIsBoundedAndJittered) {
  BreakerOptions o;  // 0.25 s … 10 s
  for (double random : {0.0, 0.5, 0.999999}) {
    CircuitBreaker b(o, At(0));
    MonotonicTime now = At(0);
    Permit p;
    for (int i = 0; i < 3; ++i) {
      b.Acquire(now, &p);
      b.Report(p, Result::kFailure, now, random);
    }
    for (int i = 0; i < 100; ++i) {
      ASSERT_EQ(b.state(), State::kOpen);
      const double base = std::min(10.0, 0.25 * std::pow(2.0, i));
      EXPECT_NEAR(absl::ToDoubleSeconds(b.open_until() - now),
                  base * (1 + 0.2 * random), 1e-6);
      now = b.open_until();
      ASSERT_FALSE(b.Acquire(now - absl::Nanoseconds(1), &p));
      ASSERT_TRUE(b.Acquire(now, &p));
      b.Report(p, Result::kFailure, now, random);
    }
  }
}

// ---- What other projects' tests say.
//
// Config that we do not have, or decide otherwise; the sequences below that
// need it are not here, for the reason given:
//
// | origin | theirs | ours, and why |
// | --- | --- | --- |
// | resilience4j, r4_open_by_rate (CircuitBreakerStateMachineTest) | a success
//   that completes the minimum opens it | only a failure opens it: to open on
//   good news surprises whoever reads the record; the next failure does it |
// | resilience4j half-open with 4 permitted calls; gobreaker half_open_max 3 |
//   N probes at once, judged by rate | one leased probe at a time, one failure
//   opens (as Polly): N probes are N lost calls in an outage |
// | resilience4j slow-call rate, forced-open, metrics-only | modes | no modes;
//   slow calls are the attempt time-out's business |
// | gobreaker_test.go default | 6 consecutive failures open | ratio of a minimum,
//   and first_failures for who never answered; its timing is below |
// | gobreaker panic, success predicate | in the breaker | the driver's
//   classification decides what is a failure |
// | failsafe-go halfopenstate_test.go "2/3", "3/5" | ratios in half-open | a row
//   of successes; one failure opens |
// | Polly, late results (CircuitStateControllerTests) | a result of an older
//   state counts in half-open | a stale permit moves nothing |

struct Step {
  double t;
  char what;    // f: fails, o: ok, y: is admitted, n: is not admitted
  State state;  // after it
};

void RunSteps(const char* name, const BreakerOptions& o,
              const std::vector<Step>& steps) {
  CircuitBreaker b(o, At(0));
  int i = 0;
  Permit held;
  bool holding = false;
  for (const Step& s : steps) {
    SCOPED_TRACE(absl::StrCat(name, " step ", i++));
    Permit p;
    switch (s.what) {
      case 'y':
        ASSERT_TRUE(b.Acquire(At(s.t), &held));
        holding = true;
        break;
      case 'n':
        ASSERT_FALSE(b.Acquire(At(s.t), &p));
        EXPECT_GT(b.AdmitTime(At(s.t)), At(s.t));  // says when
        break;
      default:
        if (holding) {
          p = held;
          holding = false;
        } else {
          ASSERT_TRUE(b.Acquire(At(s.t), &p));
        }
        b.Report(p, s.what == 'o' ? Result::kSuccess : Result::kFailure,
                 At(s.t), 0);
        break;
    }
    EXPECT_EQ(b.state(), s.state);
  }
}

constexpr State C = State::kClosed;
constexpr State O = State::kOpen;
constexpr State H = State::kHalfOpen;

BreakerOptions RatioOptions(double ratio, int min_calls, double window,
                            double open) {
  BreakerOptions o;
  o.failure_ratio = ratio;
  o.min_calls = min_calls;
  o.window = absl::Seconds(window);
  o.first_failures = 1000000;
  o.min_open = absl::Seconds(open);
  o.max_open = absl::Hours(1);
  o.successes_to_close = 1;
  return o;
}

TEST(CircuitBreakerTest, Resilience4j) {
  // CircuitBreakerStateMachineTest, open by rate; deviation: see the table.
  RunSteps("r4_open_by_rate", RatioOptions(0.5, 5, 20, 5),
           {{0, 'f', C},
            {0, 'f', C},
            {0, 'f', C},
            {0, 'o', C},
            {0, 'o', C},
            {0, 'f', O},
            {1, 'n', O}});
  // … the second open time is longer.
  RunSteps("r4_open_interval_backoff", RatioOptions(1, 1, 20, 5),
           {{0, 'f', O},
            {3, 'n', O},
            {6, 'y', H},
            {6, 'f', O},
            {12, 'n', O},
            {17, 'y', H}});
}

TEST(CircuitBreakerTest, GoBreaker) {
  // gobreaker_test.go, timing of the default breaker: 60 s, not growing.
  BreakerOptions o = RatioOptions(1, 6, 60, 60);
  o.max_open = absl::Seconds(60);
  RunSteps("gb_default", o,
           {{0, 'f', C},
            {0, 'f', C},
            {0, 'f', C},
            {0, 'f', C},
            {0, 'f', C},
            {0, 'f', O},
            {0, 'n', O},
            {0, 'n', O},
            {59, 'n', O},
            {60, 'y', H},
            {60, 'f', O},
            {120, 'y', H},
            {120, 'o', C}});
  // … the rolling window: 30 s in 3 s buckets, trips at 60 % of at least 3.
  std::vector<Step> s;
  for (int i = 0; i < 5; ++i) {
    s.push_back({0, 'o', C});
    s.push_back({0, 'f', C});
  }
  s.insert(s.end(), {{3, 'o', C}, {5, 'o', C}, {7, 'o', C}, {9, 'f', C}});
  for (double t = 12; t <= 27; t += 3) {
    s.push_back({t, 'o', C});
    s.push_back({t, 'f', C});
  }
  s.push_back({30, 'f', C});  // 8 of 17: the oldest bucket is gone
  for (int i = 0; i < 5; ++i) s.push_back({30, 'f', C});
  s.push_back({30, 'f', O});  // 14 of 23
  RunSteps("gb_rolling", RatioOptions(0.6, 3, 30, 90), s);
}

TEST(CircuitBreakerTest, FailsafeGo) {
  // closedstate_test.go
  RunSteps("fs_default_open_after_1", RatioOptions(1, 1, 30, 1), {{0, 'f', O}});
  RunSteps("fs_ratio_2_of_3", RatioOptions(0.66, 3, 30, 1),
           {{0, 'f', C}, {0, 'o', C}, {0, 'f', O}});
  // halfopenstate_test.go
  RunSteps("fs_ho_default_fail", RatioOptions(1, 1, 30, 1),
           {{0, 'f', O}, {1, 'y', H}, {1, 'f', O}});
  RunSteps("fs_ho_default_ok", RatioOptions(1, 1, 30, 1),
           {{0, 'f', O}, {1, 'y', H}, {1, 'o', C}});
  BreakerOptions three = RatioOptions(1, 1, 30, 1);
  three.successes_to_close = 3;
  RunSteps("fs_ho_succ3_ok", three,
           {{0, 'f', O}, {1, 'o', H}, {1, 'o', H}, {1, 'o', C}});
}

TEST(CircuitBreakerTest, Polly) {
  // CircuitStateControllerTests: one probe; the refusal says how long.
  RunSteps("po_half_open_one_probe", RatioOptions(1, 1, 30, 5),
           {{0, 'f', O}, {5, 'y', H}, {5, 'n', H}});
  // AdvancedCircuitBehaviorTests: calls, failed, threshold, opens.
  struct Row {
    int calls;
    int failed;
    double threshold;
    bool opens;
  };
  for (const Row& r :
       {Row{10, 0, 0.1, false}, Row{10, 2, 0.1, true}, Row{9, 1, 0.1, false}}) {
    CircuitBreaker b(RatioOptions(r.threshold, 10, 30, 5), At(0));
    for (int i = 0; i < r.calls; ++i) {
      Permit p;
      ASSERT_TRUE(b.Acquire(At(0), &p));
      b.Report(p, i < r.calls - r.failed ? Result::kSuccess : Result::kFailure,
               At(0), 0);
      if (b.state() == State::kOpen) break;
    }
    EXPECT_EQ(b.state() == State::kOpen, r.opens) << r.calls << " " << r.failed;
  }
}

TEST(CircuitBreakerTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const absl::Duration inf = absl::InfiniteDuration();
  const auto faults = [](const BreakerOptions& o) {
    std::vector<std::string> all;
    ValidateBreaker(o, "b", &all);
    return absl::StrJoin(all, "|");
  };
  EXPECT_EQ(faults({}), "");
  const auto bad = [&](const char* field, auto BreakerOptions::*member,
                       std::initializer_list<double> values) {
    for (double v : values) {
      BreakerOptions o;
      o.*member = static_cast<std::decay_t<decltype(o.*member)>>(v);
      EXPECT_EQ(faults(o).rfind(absl::StrCat("b.", field, " is "), 0), 0u)
          << field << " " << v << ": " << faults(o);
    }
  };
  bad("failure_ratio", &BreakerOptions::failure_ratio,
      {0.0, -1.0, 1.01, nan, std::numeric_limits<double>::infinity()});
  bad("min_calls", &BreakerOptions::min_calls, {0, -1, 1000001});
  bad("first_failures", &BreakerOptions::first_failures, {0, -1, 1000001});
  bad("successes_to_close", &BreakerOptions::successes_to_close, {0, -5, 1001});
  const auto bad_time = [&](const char* field,
                            absl::Duration BreakerOptions::*member,
                            std::initializer_list<absl::Duration> values) {
    for (absl::Duration v : values) {
      BreakerOptions o;
      o.*member = v;
      EXPECT_NE(faults(o).find(absl::StrCat("b.", field, " is ")),
                std::string::npos)
          << field << " " << v;
    }
  };
  bad_time("window", &BreakerOptions::window,
           {absl::ZeroDuration(), absl::Milliseconds(999), absl::Hours(2), inf,
            -inf});
  bad_time("min_open", &BreakerOptions::min_open,
           {absl::ZeroDuration(), -absl::Seconds(1), absl::Hours(2), inf});
  bad_time("max_open", &BreakerOptions::max_open,
           {absl::Milliseconds(249), absl::Hours(25), inf, -inf});
  bad_time("probe_lease", &BreakerOptions::probe_lease,
           {absl::ZeroDuration(), absl::Hours(2), inf});
}

TEST(CircuitBreakerTest, NamesAreStable) {
  EXPECT_EQ(BreakerStateName(CircuitBreaker::State::kClosed), "closed");
  EXPECT_EQ(BreakerStateName(CircuitBreaker::State::kOpen), "open");
  EXPECT_EQ(BreakerStateName(CircuitBreaker::State::kHalfOpen), "half-open");
  EXPECT_EQ(BreakerStateName(static_cast<CircuitBreaker::State>(99)), "?");
}

}  // namespace
}  // namespace forbear
