#include "interceptors/call_options.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/option_check.h"

namespace forbear::rpc {
namespace {

thread_local const WithCallOptions* innermost = nullptr;

}  // namespace

absl::Status ValidateCallOptions(const CallOptions& options) {
  std::vector<std::string> faults;
  if (options.retryable) {
    for (const grpc::StatusCode code : *options.retryable) {
      CheckNumber("retryable", static_cast<int>(code), 1, 16, &faults);
    }
  }
  if (options.retry) ValidateRetry(*options.retry, "retry", &faults);
  if (options.attempt_timeout) {
    CheckDuration("attempt_timeout", *options.attempt_timeout,
                  absl::Milliseconds(1), absl::InfiniteDuration(), &faults);
  }
  if (faults.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("forbear::rpc::CallOptions: ", absl::StrJoin(faults, "; ")));
}

WithCallOptions::WithCallOptions(const grpc::ClientContext* context,
                                 const CallOptions* options)
    : context_(context), options_(options), outer_(innermost) {
  innermost = this;
}

WithCallOptions::~WithCallOptions() { innermost = outer_; }

const CallOptions* WithCallOptions::Of(const grpc::ClientContext* context) {
  for (const WithCallOptions* with = innermost; with != nullptr;
       with = with->outer_) {
    if (with->context_ == context) return with->options_;
  }
  return nullptr;
}

}  // namespace forbear::rpc
