#include "interceptors/stop_status.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "runtime/clock.h"

namespace forbear::rpc {
namespace {

constexpr char kStopReason[] = "forbear-stop-reason";
constexpr char kRetryAtMs[] = "forbear-retry-at-ms";

// What the application gets when no answer of a server tells it what happened.
grpc::StatusCode CodeOf(StopReason reason, WaitPlace::Where holder) {
  switch (reason) {
    case StopReason::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case StopReason::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case StopReason::kQuotaExhausted:
    case StopReason::kCostTooLarge:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    default:
      return holder == WaitPlace::Where::kQuota
                 ? grpc::StatusCode::RESOURCE_EXHAUSTED
                 : grpc::StatusCode::UNAVAILABLE;
  }
}

}  // namespace

StopStatus::StopStatus(const Action& finish, WaitPlace::Where holder)
    : finish_(finish), holder_(holder), reason_(StopReasonName(finish.reason)) {
  if (!finish.retry_at) return;
  const absl::Duration wait = *finish.retry_at - MonotonicNow();
  retry_at_ms_ = absl::StrCat(std::max<int64_t>(
      0, absl::ToInt64Milliseconds(absl::Ceil(wait, absl::Milliseconds(1)))));
}

grpc::Status StopStatus::status() const {
  if (parent_ != grpc::StatusCode::OK) {
    return grpc::Status(
        parent_,
        "forbear: The server call that the call was made for has "
        "ended.");
  }
  std::string message =
      absl::StrCat("forbear: ", StopReasonSentence(finish_.reason));
  if (finish_.retry_at) {
    absl::StrAppend(&message, " The next send is allowed in ",
                    FormatShort(*finish_.retry_at - MonotonicNow()), ".");
  }
  return grpc::Status(CodeOf(finish_.reason, holder_), message);
}

void StopStatus::AddTrailers(
    std::multimap<grpc::string_ref, grpc::string_ref>* trailers) const {
  trailers->emplace(kStopReason, reason_);
  if (!retry_at_ms_.empty()) trailers->emplace(kRetryAtMs, retry_at_ms_);
}

grpc::Status AttemptTimeoutStatus() {
  return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED,
                      "forbear: The attempt took longer than its "
                      "attempt_timeout.");
}

}  // namespace forbear::rpc
