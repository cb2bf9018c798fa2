// The rules: all combinations of their inputs, against tables.

#include "core/retry_policy.h"

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

constexpr ErrorKind kKinds[] = {
    ErrorKind::kOk,        ErrorKind::kTransient, ErrorKind::kThrottled,
    ErrorKind::kPermanent, ErrorKind::kCancelled, ErrorKind::kQuotaExhausted};
constexpr Processed kProcessed[] = {Processed::kNo, Processed::kUnknown,
                                    Processed::kYes};

// A rule holds for an outcome and the facts, or not; the first that does is the
// answer. docs/design.md §3.
StopReason ByTable(const RetryOptions& o, const RetryFacts& f,
                   const Outcome& a) {
  struct Rule {
    bool holds;
    StopReason reason;
  };
  const bool permanent = a.kind == ErrorKind::kPermanent;
  const bool exhausted = a.kind == ErrorKind::kQuotaExhausted;
  const Rule rules[] = {
      {a.kind == ErrorKind::kOk, StopReason::kSuccess},
      {a.kind == ErrorKind::kCancelled, StopReason::kCancelled},
      // The server's yes lifts a permanent error out of this row, its no puts
      // it back, and so does an answer that the application has.
      {permanent && (!a.retry_wanted || a.retry_forbidden || a.committed),
       StopReason::kPermanentError},
      {exhausted && (!a.pushback || a.retry_forbidden),
       StopReason::kQuotaExhausted},
      {a.committed, StopReason::kCommitted},
      {a.retry_forbidden, StopReason::kServerSaidNo},
      {!f.idempotent && (a.processed == Processed::kUnknown ||
                         a.processed == Processed::kYes),
       StopReason::kNotIdempotent},
      {!f.replayable, StopReason::kNotReplayable},
      {!o.enabled, StopReason::kAttemptsExhausted},
      {(a.kind == ErrorKind::kTransient || permanent) &&
           f.counted_failures >= o.max_attempts,
       StopReason::kAttemptsExhausted},
      // Only if there would be a retry: otherwise the outer layer may not either.
      {f.nested && o.yield_to_outer, StopReason::kOuterLayer},
  };
  for (const Rule& rule : rules) {
    if (rule.holds) return rule.reason;
  }
  return StopReason::kNone;
}

TEST(RetryPolicyTest, AllCombinations) {
  int combinations = 0;
  int retries = 0;
  for (ErrorKind kind : kKinds) {
    for (Processed processed : kProcessed) {
      for (int bits = 0; bits < 1024; ++bits) {
        for (int max_attempts : {1, 2, 3, 100}) {
          for (int failures : {0, 1, 2, 3, 99, 100, 1000000}) {
            RetryOptions o;
            o.max_attempts = max_attempts;
            RetryFacts f;
            f.idempotent = (bits & 1) != 0;
            f.replayable = (bits & 2) != 0;
            f.counted_failures = failures;
            Outcome a;
            a.kind = kind;
            a.processed = processed;
            a.committed = (bits & 4) != 0;
            a.retry_forbidden = (bits & 8) != 0;
            a.timed_out = (bits & 16) != 0;
            if ((bits & 32) != 0) a.pushback = absl::Seconds(1);
            a.retry_wanted = (bits & 64) != 0;
            o.enabled = (bits & 128) == 0;
            f.nested = (bits & 256) != 0;
            o.yield_to_outer = (bits & 512) == 0;
            const StopReason why = WhyNotRetry(o, f, a);
            ASSERT_EQ(why, ByTable(o, f, a))
                << ErrorKindName(kind) << " " << ProcessedName(processed) << " "
                << bits << " " << max_attempts << " " << failures;
            ++combinations;
            if (why == StopReason::kNone) {
              ++retries;
              // What must never be, said apart from the table.
              EXPECT_FALSE(a.committed);
              EXPECT_FALSE(a.retry_forbidden);
              EXPECT_TRUE(o.enabled);
              EXPECT_FALSE(f.nested && o.yield_to_outer);
              EXPECT_TRUE(f.replayable);
              EXPECT_TRUE(f.idempotent || processed == Processed::kNo);
              EXPECT_TRUE(MayChange(a));
              EXPECT_TRUE(kind != ErrorKind::kPermanent || a.retry_wanted);
            }
            // A yes of the server changes what becomes of permanent errors, and
            // nothing else.
            if (kind != ErrorKind::kPermanent) {
              Outcome without = a;
              without.retry_wanted = false;
              EXPECT_EQ(WhyNotRetry(o, f, without), why);
            }
          }
        }
      }
    }
  }
  EXPECT_GT(retries, 0);
  std::printf("%d combinations\n", combinations);
}

TEST(RetryPolicyTest, NeverProcessedIsFreeOnceThrottledIsBoundByTime) {
  for (ErrorKind kind : kKinds) {
    for (Processed processed : kProcessed) {
      for (bool free_used : {false, true}) {
        for (bool wanted : {false, true}) {
          Outcome a;
          a.kind = kind;
          a.processed = processed;
          a.retry_wanted = wanted;
          if (!MayChange(a)) continue;
          Bound expected = Bound::kCount;
          if (kind == ErrorKind::kThrottled ||
              kind == ErrorKind::kQuotaExhausted) {
            expected = Bound::kTime;
          } else if (kind == ErrorKind::kTransient && !free_used &&
                     processed == Processed::kNo) {
            expected = Bound::kFree;
          }
          EXPECT_EQ(BoundOf(a, free_used), expected)
              << ErrorKindName(kind) << " " << ProcessedName(processed) << " "
              << free_used;
        }
      }
    }
  }
}

// All orders of: now, own delay, the server's wait, the shared states' time, the
// limit.
TEST(RetryPolicyTest, WaitsAreHonouredOrRefused) {
  const MonotonicTime now = MonotonicTime::FromNanos(1000);
  const absl::Duration steps[] = {absl::ZeroDuration(), absl::Nanoseconds(1),
                                  absl::Nanoseconds(2), absl::Nanoseconds(3),
                                  absl::InfiniteDuration()};
  int combinations = 0;
  for (ErrorKind kind : kKinds) {
    for (absl::Duration backoff : steps) {
      for (absl::Duration known : steps) {
        for (absl::Duration limit : steps) {
          for (int pushback = -1; pushback < 5; ++pushback) {
            for (bool open : {false, true}) {
              for (WhenOpen when : {WhenOpen::kWait, WhenOpen::kFail}) {
                Outcome a;
                a.kind = kind;
                a.retry_wanted = true;
                if (pushback >= 0) a.pushback = steps[pushback];
                if (!MayChange(a)) continue;
                RetryOptions o;
                o.when_open = when;
                WaitFacts f;
                f.now = now;
                f.backoff = backoff;
                f.not_before = now + known;
                f.limit = now + limit;
                f.breaker_open = open;
                const MonotonicTime earliest = EarliestSend(f, a);
                const StopReason why = WhyNotWait(o, f, a);
                ++combinations;
                // Never sooner than anybody asked …
                EXPECT_GE(earliest, now + backoff);
                EXPECT_GE(earliest, now + known);
                // (of failures the shared states know it)
                const bool own_wait =
                    kind == ErrorKind::kPermanent && a.pushback.has_value();
                if (own_wait) {
                  EXPECT_GE(earliest, now + *a.pushback);
                }
                // … nor later than all of them.
                EXPECT_TRUE(earliest == now + backoff ||
                            earliest == now + known ||
                            (own_wait && earliest == now + *a.pushback));
                StopReason expected = StopReason::kNone;
                if (open && when == WhenOpen::kFail) {
                  expected = StopReason::kCircuitOpen;
                } else if (earliest >= f.limit) {
                  expected = open && now + known == earliest
                                 ? StopReason::kCircuitOpen
                             : kind == ErrorKind::kQuotaExhausted
                                 ? StopReason::kQuotaExhausted
                                 : StopReason::kWaitExceedsDeadline;
                }
                EXPECT_EQ(why, expected);
                if (HasFailure()) {
                  FAIL() << ErrorKindName(kind) << " backoff " << backoff
                         << " known " << known << " limit " << limit
                         << " pushback " << pushback << " open " << open;
                }
              }
            }
          }
        }
      }
    }
  }
  std::printf("%d combinations\n", combinations);
}

TEST(RetryPolicyTest, HugeTimesSaturate) {
  WaitFacts f;
  f.now = MonotonicTime::FromNanos(1);
  f.limit = f.now + absl::Hours(87600);
  f.backoff = absl::Hours(87600) * 1000;
  f.not_before = MonotonicTime::InfinitePast();
  Outcome a;
  a.kind = ErrorKind::kTransient;
  EXPECT_GE(EarliestSend(f, a), f.limit);
  EXPECT_EQ(WhyNotWait({}, f, a), StopReason::kWaitExceedsDeadline);
  f.backoff = -absl::InfiniteDuration();
  EXPECT_EQ(EarliestSend(f, a), MonotonicTime::InfinitePast());
  f.not_before = MonotonicTime::Infinite();
  EXPECT_TRUE(EarliestSend(f, a).is_infinite());
}

// Nothing is left of a wait that nobody believes, its name neither.
TEST(RetryPolicyTest, GarbageHasNoSource) {
  Outcome outcome;
  outcome.kind = ErrorKind::kThrottled;
  outcome.pushback = absl::Hours(24);
  outcome.pushback_source = DelaySource::kRetryAfter;
  EXPECT_FALSE(DropGarbage({}, &outcome));
  EXPECT_EQ(outcome.pushback, absl::Hours(24));
  EXPECT_EQ(outcome.pushback_source, DelaySource::kRetryAfter);
  outcome.pushback = absl::Hours(24) + absl::Nanoseconds(1);
  EXPECT_TRUE(DropGarbage({}, &outcome));
  EXPECT_FALSE(outcome.pushback.has_value());
  EXPECT_EQ(outcome.pushback_source, DelaySource::kNone);
  EXPECT_FALSE(DropGarbage({}, &outcome));
}

TEST(RetryPolicyTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  const auto faults = [](const RetryOptions& o) {
    std::vector<std::string> all;
    ValidateRetry(o, "r", &all);
    return absl::StrJoin(all, "|");
  };
  EXPECT_EQ(faults({}), "");
  for (int v : {0, -1, 101}) {
    RetryOptions o;
    o.max_attempts = v;
    EXPECT_EQ(faults(o).find("r.max_attempts is "), 0u) << v;
  }
  const absl::Duration inf = absl::InfiniteDuration();
  for (absl::Duration v : {-absl::Nanoseconds(1), absl::Hours(25), inf, -inf}) {
    RetryOptions o;
    o.max_elapsed = v;
    EXPECT_EQ(faults(o).find("r.max_elapsed is "), 0u) << v;
  }
  for (absl::Duration v :
       {absl::ZeroDuration(), absl::Microseconds(999), -inf}) {
    RetryOptions o;
    o.attempt_timeout = v;
    EXPECT_EQ(faults(o).find("r.attempt_timeout is "), 0u) << v;
  }
  for (absl::Duration v :
       {absl::ZeroDuration(), absl::Hours(8761), inf, -inf}) {
    RetryOptions o;
    o.max_believed_wait = v;
    EXPECT_EQ(faults(o).find("r.max_believed_wait is "), 0u) << v;
  }
  RetryOptions o;
  o.backoff.multiplier = 0.5;
  EXPECT_EQ(faults(o).find("r.backoff.multiplier is 0.5; it must be 1 … 100"),
            0u);
  o = RetryOptions();
  o.hedge.max_hedges = 5;
  EXPECT_EQ(faults(o), "r.hedge.max_hedges is 5; it must be 1 … 4");
  // The ends of the ranges are in them.
  o = RetryOptions();
  o.max_elapsed = absl::ZeroDuration();
  o.attempt_timeout = absl::Milliseconds(1);
  o.max_believed_wait = absl::Hours(8760);
  o.max_attempts = 100;
  EXPECT_EQ(faults(o), "");
}

TEST(OutcomeTest, EveryValueHasANameOfItsOwn) {
  std::vector<std::string> names;
  for (ErrorKind k : kKinds) names.emplace_back(ErrorKindName(k));
  EXPECT_EQ(absl::StrJoin(names, " "),
            "ok transient throttled permanent cancelled quota-exhausted");
  names.clear();
  for (Processed p : kProcessed) names.emplace_back(ProcessedName(p));
  EXPECT_EQ(absl::StrJoin(names, " "), "no unknown yes");
  names.clear();
  for (int i = 0; i <= static_cast<int>(DelaySource::kBody); ++i) {
    names.emplace_back(DelaySourceName(static_cast<DelaySource>(i)));
  }
  EXPECT_EQ(absl::StrJoin(names, " "),
            "none backoff retry-after pushback gate breaker queue limiter "
            "retry-info rate-limit body");
}

TEST(OutcomeTest, ANumberFromElsewhereDoesNoHarm) {
  EXPECT_EQ(ErrorKindName(static_cast<ErrorKind>(99)), "?");
  EXPECT_EQ(ProcessedName(static_cast<Processed>(99)), "?");
  EXPECT_EQ(DelaySourceName(static_cast<DelaySource>(99)), "?");
}

TEST(OutcomeTest, EqualIfEveryFieldIs) {
  const Outcome a;
  Outcome b;
  EXPECT_TRUE(a == b);
  b.pushback = absl::ZeroDuration();
  EXPECT_TRUE(a != b);
}

}  // namespace
}  // namespace forbear
