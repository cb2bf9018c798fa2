#include "core/retry_policy.h"

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
}

StopReason WhyNotRetry(const RetryOptions& options, const RetryFacts& facts,
                       const Outcome& outcome) {
  switch (outcome.kind) {
    case ErrorKind::kOk:
      return StopReason::kSuccess;
    case ErrorKind::kPermanent:
      return StopReason::kPermanentError;
    case ErrorKind::kCancelled:
      return StopReason::kCancelled;
    case ErrorKind::kQuotaExhausted:
      return StopReason::kQuotaExhausted;
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
  if (outcome.kind == ErrorKind::kTransient &&
      facts.counted_failures >= options.max_attempts) {
    return StopReason::kAttemptsExhausted;
  }
  return StopReason::kNone;
}

}  // namespace forbear
