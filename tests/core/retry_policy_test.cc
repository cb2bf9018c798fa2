// WhyNotRetry: all combinations, against the order of its questions.

#include "core/retry_policy.h"

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

constexpr ErrorKind kKinds[] = {ErrorKind::kOk, ErrorKind::kTransient,
                                ErrorKind::kThrottled, ErrorKind::kPermanent,
                                ErrorKind::kCancelled};
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
  const Rule rules[] = {
      {a.kind == ErrorKind::kOk, StopReason::kSuccess},
      {a.kind == ErrorKind::kPermanent, StopReason::kPermanentError},
      {a.kind == ErrorKind::kCancelled, StopReason::kCancelled},
      {a.committed, StopReason::kCommitted},
      {a.retry_forbidden, StopReason::kServerSaidNo},
      {!f.idempotent && (a.processed == Processed::kUnknown ||
                         a.processed == Processed::kYes),
       StopReason::kNotIdempotent},
      {!f.replayable, StopReason::kNotReplayable},
      {a.kind == ErrorKind::kTransient && f.counted_failures >= o.max_attempts,
       StopReason::kAttemptsExhausted},
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
      for (int bits = 0; bits < 64; ++bits) {
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
            const StopReason why = WhyNotRetry(o, f, a);
            ASSERT_EQ(why, ByTable(o, f, a))
                << ErrorKindName(kind) << " " << ProcessedName(processed) << " "
                << bits << " " << max_attempts << " " << failures;
            ++combinations;
            if (why == StopReason::kNone) {
              ++retries;
              // What must never be, said apart from the table.
              EXPECT_FALSE(a.committed);
              EXPECT_TRUE(f.replayable);
              EXPECT_TRUE(f.idempotent || processed == Processed::kNo);
            }
          }
        }
      }
    }
  }
  EXPECT_GT(retries, 0);
  std::printf("%d combinations\n", combinations);
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
            "ok transient throttled permanent cancelled");
  names.clear();
  for (Processed p : kProcessed) names.emplace_back(ProcessedName(p));
  EXPECT_EQ(absl::StrJoin(names, " "), "no unknown yes");
  names.clear();
  for (int i = 0; i <= static_cast<int>(DelaySource::kQueue); ++i) {
    names.emplace_back(DelaySourceName(static_cast<DelaySource>(i)));
  }
  EXPECT_EQ(absl::StrJoin(names, " "),
            "none backoff retry-after pushback gate breaker queue");
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
