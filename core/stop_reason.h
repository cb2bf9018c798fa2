// StopReason: why a call ended. A closed set: code may switch over it, and a
// person gets a sentence and a remedy for each.
//
//   if (result.stop_reason == StopReason::kCircuitOpen) Requeue(result.retry_at);
//   LOG << StopReasonName(r) << ": " << StopReasonSentence(r) << " "
//       << StopReasonRemedy(r);
//
// Thread rule: values and pure functions; call from anywhere.
#ifndef FORBEAR_CORE_STOP_REASON_H_
#define FORBEAR_CORE_STOP_REASON_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace forbear {

enum class StopReason : uint8_t {
  kNone,                 // the call has not ended
  kSuccess,              // an ok answer
  kPermanentError,       // an answer that sending again does not change
  kNotIdempotent,        // it may have been acted on, and may not be repeated
  kNotReplayable,        // the request body cannot be read a second time
  kCommitted,            // part of the answer is with the application already
  kServerSaidNo,         // the server forbade a retry
  kAttemptsExhausted,    // max_attempts transient failures
  kBudgetExhausted,      // too many retries to this endpoint fail
  kWaitExceedsDeadline,  // the next allowed send lies behind the deadline
  kDeadlineExceeded,     // the deadline passed
  kMaxElapsed,           // no deadline was set, and max_elapsed passed
  kCircuitOpen,     // the circuit breaker is open for longer than we may wait
  kQueueFull,       // too many callers wait for the same key
  kCancelled,       // the application cancelled the call
  kQuotaExhausted,  // out of quota, and its reset is too far away or not known
  kOuterLayer,      // somebody around this call repeats it already
  kCostTooLarge,    // it costs more than a limit can ever hold
};

// All of them, for tables and tests: kNone … kCostTooLarge.
inline constexpr int kStopReasonCount = 18;

// "success", "wait_exceeds_deadline", … Stable: records and metrics carry it.
absl::string_view StopReasonName(StopReason reason);
// What happened, one sentence.
absl::string_view StopReasonSentence(StopReason reason);
// What a person can do about it; empty where there is nothing to do.
absl::string_view StopReasonRemedy(StopReason reason);

}  // namespace forbear

#endif  // FORBEAR_CORE_STOP_REASON_H_
