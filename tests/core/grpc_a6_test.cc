// gRPC's retry rules (proposal A6, as of 2024-08-29, and the end-to-end tests of
// grpc 1.51.1, test/core/end2end/tests/retry*.cc), as far as they are decisions:
// what the channel does is in tests/interceptors. Whole calls through the machine
// and the shared states, in virtual time.
//
// Where we decide otherwise (docs/conformance.md):
//  | A6 | ours, and why |
//  | a pushback takes the place of the own backoff, also of a longer one | the
//    longer one counts: a server that says "now" to everybody would undo the
//    backoff |
//  | after a pushback the backoff begins anew | it goes on: the call has failed as
//    often |
//  | a wait that outlasts the deadline is waited for until then | the call ends at
//    once, with retry_at |
//  | an attempt that was never sent is repeated without end | once for free, then it
//    counts: an endpoint that refuses connections is an outage |
//  | a pushback is for this call | for all calls of this endpoint: the server asked
//    for time |
//  | maxAttempts above 5 is 5 | up to 100, also in a service config |
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/circuit_breaker.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "gtest/gtest.h"
#include "tests/core/scripted_calls.h"

namespace forbear {
namespace {

constexpr int kAborted = 10;
constexpr int kInvalidArgument = 3;

// ABORTED, which the policy of all scenarios lists.
Outcome Aborted(std::optional<int> pushback_ms = std::nullopt) {
  Outcome o;
  o.kind = ErrorKind::kTransient;
  o.repeatable = true;
  o.status = kAborted;
  if (pushback_ms) {
    o.pushback = absl::Milliseconds(*pushback_ms);
    o.pushback_source = DelaySource::kPushback;
  }
  return o;
}
// "grpc-retry-pushback-ms: -1", and what cannot be read.
Outcome Forbidden() {
  Outcome o = Aborted();
  o.retry_forbidden = true;
  return o;
}
Outcome Committed() {
  Outcome o = Aborted();
  o.committed = true;
  return o;
}
Outcome InvalidArgument() {
  Outcome o;
  o.kind = ErrorKind::kPermanent;
  o.processed = Processed::kYes;
  o.status = kInvalidArgument;
  return o;
}
Outcome Ok() { return Outcome(); }
Outcome NeverSent() {
  Outcome o = Aborted();
  o.processed = Processed::kNo;
  return o;
}
// Nothing comes until the attempt's own time is over.
Outcome Hangs() {
  Outcome o = Aborted();
  o.timed_out = true;
  return o;
}

RetryOptions Policy(int max_attempts) {
  RetryOptions options;
  options.max_attempts = max_attempts;
  options.backoff.initial = absl::Seconds(1);
  options.backoff.max = absl::Seconds(120);
  options.backoff.multiplier = 1.6;
  options.backoff.jitter = Jitter::kPlusMinus;
  options.max_elapsed = absl::Hours(24);
  return options;
}

EndpointOptions NoBreaker() {
  EndpointOptions options;
  options.breaker.enabled = false;
  return options;
}

struct Range {
  double low;
  double high;
};

struct Scenario {
  const char* id;  // of the test in grpc's tree, or of the rule in A6
  int max_attempts;
  std::vector<Outcome> server;
  int attempts;
  StopReason reason;
  std::vector<Range> waits;  // in seconds
};

// A gate leaves a little later than announced: a thousandth or two, and 3 ms.
Range Asked(double seconds) { return {seconds, seconds * 1.002 + 0.0031}; }

TEST(GrpcA6Test, Scenarios) {
  const Range kFirst = {0.8, 1.2};
  const Range kSecond = {1.28, 1.92};
  const Scenario kScenarios[] = {
      {"retry.cc", 3, {Aborted(), Ok()}, 2, StopReason::kSuccess, {kFirst}},
      {"retry_non_retriable_status_before_recv_trailing_metadata_started.cc",
       2,
       {InvalidArgument()},
       1,
       StopReason::kPermanentError,
       {}},
      {"retry_server_pushback_disabled.cc",
       3,
       {Aborted(), Forbidden()},
       2,
       StopReason::kServerSaidNo,
       {kFirst}},
      {"retry_recv_initial_metadata.cc: a head commits",
       2,
       {Committed()},
       1,
       StopReason::kCommitted,
       {}},
      {"retry_streaming_after_commit.cc",
       3,
       {Committed()},
       1,
       StopReason::kCommitted,
       {}},
      {"retry_exceeds_max_attempts: all of them fail",
       3,
       {Aborted()},
       3,
       StopReason::kAttemptsExhausted,
       {kFirst, kSecond}},
      {"A6 pushback: longer than the own backoff",
       3,
       {Aborted(2000), Ok()},
       2,
       StopReason::kSuccess,
       {Asked(2)}},
      {"A6 pushback: shorter than the own backoff; deviation: theirs is 0.1 s",
       3,
       {Aborted(100), Ok()},
       2,
       StopReason::kSuccess,
       {kFirst}},
      {"A6 pushback resets the backoff; deviation: theirs is 0.8 … 1.2 again",
       4,
       {Aborted(500), Aborted(), Ok()},
       3,
       StopReason::kSuccess,
       {kFirst, kSecond}},
      {"A6: the attempts' limit wins over a pushback",
       2,
       {Aborted(10), Aborted(10), Ok()},
       2,
       StopReason::kAttemptsExhausted,
       {kFirst}},
      {"retry_transparent_not_sent_on_wire.cc: sent once for free",
       1,
       {NeverSent(), Ok()},
       2,
       StopReason::kSuccess,
       {kFirst}},
      {"retry_transparent_not_sent_on_wire.cc; deviation: ten in theirs",
       3,
       {NeverSent()},
       4,
       StopReason::kAttemptsExhausted,
       {kFirst, kFirst, kSecond}},
      {"A6: a transparent retry does not count for maxAttempts",
       2,
       {NeverSent(), Aborted(), Ok()},
       3,
       StopReason::kSuccess,
       {kFirst, kFirst}},
  };
  for (const Scenario& s : kScenarios) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      SCOPED_TRACE(absl::StrCat(s.id, " seed ", seed));
      ScriptedCalls calls(NoBreaker());
      CallSpec spec;
      spec.seed = seed;
      const ScriptedCalls::Result r =
          calls.Call(Policy(s.max_attempts), s.server, spec);
      EXPECT_EQ(r.attempts(), s.attempts);
      EXPECT_EQ(r.reason, s.reason);
      ASSERT_EQ(r.delays.size(), s.waits.size());
      for (size_t i = 0; i < s.waits.size(); ++i) {
        EXPECT_GE(absl::ToDoubleSeconds(r.delays[i]), s.waits[i].low);
        EXPECT_LE(absl::ToDoubleSeconds(r.delays[i]), s.waits[i].high);
      }
    }
  }
}

TEST(GrpcA6Test, WithoutAPolicyOneAttempt) {
  // retry_disabled.cc: the channel has retries switched off.
  RetryOptions off = Policy(2);
  off.enabled = false;
  EXPECT_EQ(ScriptedCalls(NoBreaker()).Call(off, {Aborted()}).attempts(), 1);
  // A code that the policy does not list is no consent.
  Outcome unlisted = Aborted();
  unlisted.repeatable = false;
  const ScriptedCalls::Result r =
      ScriptedCalls(NoBreaker()).Call(Policy(3), {unlisted, Ok()}, CallSpec());
  EXPECT_EQ(r.attempts(), 1);
  EXPECT_EQ(r.reason, StopReason::kNotIdempotent);
}

TEST(GrpcA6Test, AMessageThatIsNotKeptIsNotSentAgain) {
  // retry_exceeds_buffer_size_in_initial_batch.cc
  CallSpec spec;
  spec.replayable = false;
  const ScriptedCalls::Result r =
      ScriptedCalls(NoBreaker()).Call(Policy(2), {Aborted(), Ok()}, spec);
  EXPECT_EQ(r.attempts(), 1);
  EXPECT_EQ(r.reason, StopReason::kNotReplayable);
}

TEST(GrpcA6Test, WhatNeverLeftThisSideIsNotRetried) {
  // retry_lb_drop.cc: a call that this side refuses makes no attempt.
  ScriptedCalls calls(EndpointOptions{});
  RetryOptions options = Policy(1);
  options.when_open = WhenOpen::kFail;
  for (int i = 0; i < 3; ++i) calls.Call(options, {Aborted()});
  ASSERT_EQ(calls.endpoint().breaker().state(), CircuitBreaker::State::kOpen);
  options.max_attempts = 2;
  const ScriptedCalls::Result r = calls.Call(options, {Ok()});
  EXPECT_EQ(r.attempts(), 0);
  EXPECT_EQ(r.reason, StopReason::kCircuitOpen);
}

TEST(GrpcA6Test, AnAttemptsOwnTimeOutIsAFailureLikeOthers) {
  // retry_per_attempt_recv_timeout.cc: hangs for 2 s, fails, succeeds.
  RetryOptions options = Policy(3);
  options.attempt_timeout = absl::Seconds(2);
  const ScriptedCalls::Result r =
      ScriptedCalls(NoBreaker()).Call(options, {Hangs(), Aborted(), Ok()});
  EXPECT_EQ(r.attempts(), 3);
  EXPECT_EQ(r.reason, StopReason::kSuccess);
  EXPECT_EQ(r.record.attempts[0].end - r.record.attempts[0].start,
            absl::Seconds(2));
}

TEST(GrpcA6Test, APushbackOfAnyLengthIsHonouredOrRefused) {
  for (const int ms :
       {0, 1, 999, 5000, 86400000, 86400001, std::numeric_limits<int>::max()}) {
    SCOPED_TRACE(ms);
    const absl::Duration wait = absl::Milliseconds(ms);
    CallSpec spec;
    spec.deadline = MonotonicTime::FromNanos(1000000000) + absl::Seconds(60);
    ScriptedCalls calls(NoBreaker());
    const ScriptedCalls::Result r =
        calls.Call(Policy(3), {Aborted(ms), Ok()}, spec);
    if (wait > absl::Hours(24)) {
      // Nobody means that: the own backoff applies, and the record says so.
      EXPECT_EQ(r.attempts(), 2);
      EXPECT_TRUE(r.record.attempts[0].garbage_pushback);
    } else if (wait < absl::Seconds(60)) {
      EXPECT_EQ(r.attempts(), 2);
      EXPECT_GE(r.delays[0], wait);
    } else {
      EXPECT_EQ(r.attempts(), 1);
      EXPECT_EQ(r.reason, StopReason::kWaitExceedsDeadline);
      EXPECT_GE(*r.record.retry_at, r.record.begin + wait);
    }
  }
}

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  double Unit() { return UnitRandom(seed_, n_++); }
  int Between(int low, int high) {
    return low + static_cast<int>(Unit() * (high - low + 1));
  }

 private:
  const uint64_t seed_;
  uint64_t n_ = 0;
};

// The formula, on made-up policies, in another arithmetic.
TEST(GrpcA6Test, BackoffFormula) {
  for (uint64_t seed = 1; seed <= 50000; ++seed) {
    Dice dice(seed);
    BackoffOptions o;
    o.jitter = Jitter::kPlusMinus;
    o.initial = absl::Microseconds(dice.Between(1, 5000000));
    o.max = o.initial + absl::Microseconds(dice.Between(0, 600000000));
    o.multiplier = 1 + 4 * dice.Unit();
    const int n = dice.Between(1, dice.Unit() < 0.5 ? 8 : 2000);
    const double random = dice.Unit();
    long double ceiling = absl::ToDoubleSeconds(o.initial);
    const long double max = absl::ToDoubleSeconds(o.max);
    for (int i = 1; i < n && ceiling < max; ++i) ceiling *= o.multiplier;
    ceiling = std::min(ceiling, max);
    const double delay = absl::ToDoubleSeconds(BackoffDelay(o, n, random));
    const auto expected = static_cast<double>(ceiling * (0.8L + 0.4L * random));
    ASSERT_NEAR(delay, expected, 1e-9 + 1e-9 * expected)
        << "seed " << seed << " n " << n;
  }
}

// Made-up policies and servers: how many attempts, why it ends, never sooner than
// a pushback, and one deadline over all attempts and waits.
TEST(GrpcA6Test, RulesOnMadeUpScenarios) {
  int64_t attempts = 0;
  int64_t pushbacks = 0;
  int64_t late = 0;
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    Dice dice(seed);
    EndpointOptions endpoint = NoBreaker();
    endpoint.budget.enabled = false;
    ScriptedCalls calls(endpoint);
    const RetryOptions options = Policy(dice.Between(1, 6));
    std::vector<Outcome> server;
    for (int i = dice.Between(0, 8); i > 0; --i) {
      const double what = dice.Unit();
      server.push_back(what < 0.4    ? Aborted()
                       : what < 0.6  ? Aborted(dice.Between(0, 20000))
                       : what < 0.7  ? NeverSent()
                       : what < 0.8  ? Forbidden()
                       : what < 0.85 ? Committed()
                       : what < 0.9  ? InvalidArgument()
                                     : Ok());
    }
    server.push_back(Ok());
    CallSpec spec;
    spec.seed = seed;
    if (dice.Unit() < 0.7) {
      spec.deadline = calls.now() + absl::Seconds(30) * dice.Unit();
    }
    const ScriptedCalls::Result r = calls.Call(
        options, server, spec, absl::Milliseconds(dice.Between(0, 500)));
    SCOPED_TRACE(absl::StrCat("seed ", seed));

    int counted = 0;
    bool free_used = false;
    StopReason reason = StopReason::kNone;
    int expected = 0;
    for (const Outcome& o : server) {
      ++expected;
      const bool free = o.processed == Processed::kNo && !free_used &&
                        o.kind == ErrorKind::kTransient;
      if (o.kind == ErrorKind::kOk) {
        reason = StopReason::kSuccess;
      } else if (o.kind == ErrorKind::kPermanent) {
        reason = StopReason::kPermanentError;
      } else {
        if (free) free_used = true;
        if (!free) ++counted;
        reason = o.committed         ? StopReason::kCommitted
                 : o.retry_forbidden ? StopReason::kServerSaidNo
                 : counted >= options.max_attempts
                     ? StopReason::kAttemptsExhausted
                     : StopReason::kNone;
      }
      if (reason != StopReason::kNone) break;
    }
    if (r.reason == StopReason::kWaitExceedsDeadline ||
        r.reason == StopReason::kDeadlineExceeded) {
      ++late;
      ASSERT_FALSE(spec.deadline.is_infinite());
      ASSERT_LE(r.attempts(), expected);
      ASSERT_LE(calls.now(),
                Later(spec.deadline, r.record.attempts.empty()
                                         ? calls.now()
                                         : r.record.attempts.back().end));
    } else {
      ASSERT_EQ(r.reason, reason);
      ASSERT_EQ(r.attempts(), expected);
    }
    for (size_t i = 0; i < r.record.attempts.size(); ++i) {
      ++attempts;
      ASSERT_LT(r.record.attempts[i].start, spec.deadline);
      if (i + 1 < r.record.attempts.size() && server[i].pushback) {
        ++pushbacks;
        ASSERT_GE(r.record.attempts[i + 1].start,
                  r.record.attempts[i].end + *server[i].pushback);
      }
    }
  }
  std::printf("%lld attempts, %lld pushbacks waited for, %lld out of time\n",
              static_cast<long long>(attempts),
              static_cast<long long>(pushbacks), static_cast<long long>(late));
  EXPECT_GT(pushbacks, 1000);
  EXPECT_GT(late, 1000);
}

}  // namespace
}  // namespace forbear
