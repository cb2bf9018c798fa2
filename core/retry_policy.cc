#include "core/retry_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateRetry(const RetryOptions& options, absl::string_view path,
                   std::vector<std::string>* faults) {
  CheckNumber(absl::StrCat(path, ".max_attempts"), options.max_attempts, 1, 100,
              faults);
  CheckDuration(absl::StrCat(path, ".max_elapsed"), options.max_elapsed,
                absl::ZeroDuration(), absl::Hours(24), faults);
  CheckDuration(absl::StrCat(path, ".attempt_timeout"), options.attempt_timeout,
                absl::Milliseconds(1), absl::InfiniteDuration(), faults);
  CheckDuration(absl::StrCat(path, ".call_timeout"), options.call_timeout,
                absl::Milliseconds(1), absl::InfiniteDuration(), faults);
  CheckDuration(absl::StrCat(path, ".max_believed_wait"),
                options.max_believed_wait, absl::Seconds(1), absl::Hours(8760),
                faults);
  ValidateBackoff(options.backoff, absl::StrCat(path, ".backoff"), faults);
  ValidateHedge(options.hedge, absl::StrCat(path, ".hedge"), faults);
}

bool DropGarbage(const RetryOptions& options, Outcome* outcome) {
  if (!outcome->pushback) return false;
  if (*outcome->pushback < absl::ZeroDuration()) {
    outcome->pushback = absl::ZeroDuration();
  }
  if (*outcome->pushback <= options.max_believed_wait) {
    // Times are whole nanoseconds. Upward: never sooner than it asked.
    outcome->pushback = absl::Ceil(*outcome->pushback, absl::Nanoseconds(1));
    return false;
  }
  outcome->pushback.reset();
  outcome->pushback_source = DelaySource::kNone;
  return true;
}

StopReason WhyNotRetry(const RetryOptions& options, const RetryFacts& facts,
                       const Outcome& outcome) {
  switch (outcome.kind) {
    case ErrorKind::kOk:
      return StopReason::kSuccess;
    case ErrorKind::kPermanent:
      // With all of it, or a part, in the application's hands it stays what it
      // is: an answer.
      if (!MayChange(outcome) || outcome.committed) {
        return StopReason::kPermanentError;
      }
      break;
    case ErrorKind::kCancelled:
      return StopReason::kCancelled;
    case ErrorKind::kQuotaExhausted:
      if (!outcome.pushback || outcome.retry_forbidden) {
        return StopReason::kQuotaExhausted;
      }
      break;
    case ErrorKind::kTransient:
    case ErrorKind::kThrottled:
      break;
  }
  if (outcome.committed) return StopReason::kCommitted;
  if (outcome.retry_forbidden) return StopReason::kServerSaidNo;
  if (outcome.processed != Processed::kNo && !facts.idempotent) {
    return StopReason::kNotIdempotent;
  }
  if (!facts.replayable) return StopReason::kNotReplayable;
  const bool counts = outcome.kind == ErrorKind::kTransient ||
                      outcome.kind == ErrorKind::kPermanent;
  if (!options.enabled ||
      (counts && facts.counted_failures >= options.max_attempts)) {
    return StopReason::kAttemptsExhausted;
  }
  if (facts.nested && options.yield_to_outer) return StopReason::kOuterLayer;
  return StopReason::kNone;
}

Bound BoundOf(const Outcome& outcome, bool free_used) {
  switch (outcome.kind) {
    case ErrorKind::kThrottled:
    case ErrorKind::kQuotaExhausted:
      return Bound::kTime;
    case ErrorKind::kTransient:
      if (outcome.processed == Processed::kNo && !free_used) {
        return Bound::kFree;
      }
      break;
    case ErrorKind::kOk:
    case ErrorKind::kPermanent:
    case ErrorKind::kCancelled:
      break;
  }
  return Bound::kCount;
}

MonotonicTime EarliestSend(const WaitFacts& facts, const Outcome& outcome) {
  absl::Duration own = facts.backoff;
  if (outcome.kind == ErrorKind::kPermanent && outcome.pushback) {
    // Of all others the shared states know it, from their answer's head on. A
    // permanent error shuts no gate: its wait binds this call alone.
    own = std::max(own, *outcome.pushback);
  }
  return Later(facts.not_before, facts.now + own);
}

StopReason WhyNotWait(const RetryOptions& options, const WaitFacts& facts,
                      const Outcome& outcome) {
  const MonotonicTime earliest = EarliestSend(facts, outcome);
  if (facts.breaker_open && options.when_open == WhenOpen::kFail) {
    return StopReason::kCircuitOpen;
  }
  if (earliest < facts.limit) return StopReason::kNone;
  if (facts.breaker_open && facts.not_before == earliest) {
    return StopReason::kCircuitOpen;
  }
  return outcome.kind == ErrorKind::kQuotaExhausted
             ? StopReason::kQuotaExhausted
             : StopReason::kWaitExceedsDeadline;
}

}  // namespace forbear
