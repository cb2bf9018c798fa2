#include "core/stop_reason.h"

#include <cstddef>

namespace forbear {
namespace {

struct Text {
  absl::string_view name;
  absl::string_view sentence;
  absl::string_view remedy;
};

// In the order of the enum.
constexpr Text kTexts[] = {
    {"none", "The call has not ended.", ""},
    {"success", "The server answered.", ""},
    {"permanent_error",
     "The server answered with an error that sending again does not change.",
     "Look at the status: the request itself, its credentials or its address "
     "need a change."},
    {"not_idempotent",
     "The server may have acted on the request, and the request is not marked "
     "as safe to repeat.",
     "Give it an Idempotency-Key header or CallOptions::idempotent (HTTP), or "
     "list the code as retryable for the method (gRPC), if repeating it is "
     "harmless."},
    {"not_replayable", "The request body cannot be read a second time.",
     "Set CURLOPT_SEEKFUNCTION beside CURLOPT_READFUNCTION, or send the body "
     "from memory."},
    {"committed",
     "The answer broke off after part of it had reached the application.",
     "Start the call again in the application, which knows what it has."},
    {"server_said_no", "The server forbade a retry.", ""},
    {"attempts_exhausted", "Every attempt failed.",
     "The service is failing; RetryOptions::max_attempts says how often to "
     "try, RetryOptions::enabled whether to try again at all."},
    {"budget_exhausted",
     "So many retries to this endpoint failed lately that further ones are "
     "held back.",
     "The service is failing for most calls. First attempts still go out; the "
     "budget refills as they succeed."},
    {"wait_exceeds_deadline",
     "The next allowed send lies behind the call's deadline (without one: "
     "behind RetryOptions::max_elapsed).",
     "Call again at retry_at, or give the call more time."},
    {"deadline_exceeded", "The call's deadline passed.",
     "Give the call more time, or look at the record: where did it go?"},
    {"max_elapsed",
     "The call has no deadline, and RetryOptions::max_elapsed passed.",
     "Set a deadline, raise max_elapsed, or send less: callers queue for this "
     "key."},
    {"circuit_open",
     "The circuit breaker is open: the endpoint has been failing.",
     "Call again at retry_at; a probe goes out by itself before that."},
    {"queue_full", "Too many callers wait for the same key already.",
     "Send less, or raise QuotaOptions::max_waiters."},
    {"cancelled", "The application cancelled the call.", ""},
    {"quota_exhausted",
     "The quota is used up, and will be for longer than the call may wait.",
     "Call again at retry_at, raise the quota or the credit, or use another "
     "key."},
    {"outer_layer",
     "The call is an attempt of another layer that repeats calls, so it is not "
     "repeated here as well.",
     "Let one layer repeat: turn the other one off, or set "
     "RetryOptions::yield_to_outer to false if both shall."},
    {"cost_too_large",
     "The call costs more than a configured limit can ever hold.",
     "Make the request smaller, or raise the burst of the limit."},
};
static_assert(sizeof(kTexts) / sizeof(kTexts[0]) == kStopReasonCount,
              "a text for each stop reason");

const Text& TextOf(StopReason reason) {
  const auto i = static_cast<size_t>(reason);
  return kTexts[i < kStopReasonCount ? i : 0];
}

}  // namespace

absl::string_view StopReasonName(StopReason reason) {
  return TextOf(reason).name;
}
absl::string_view StopReasonSentence(StopReason reason) {
  return TextOf(reason).sentence;
}
absl::string_view StopReasonRemedy(StopReason reason) {
  return TextOf(reason).remedy;
}

}  // namespace forbear
