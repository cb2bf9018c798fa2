#include "interceptors/method_table.h"

#include "absl/strings/strip.h"

namespace forbear::rpc {

MethodTable::MethodTable(const RpcOptions& options) {
  for (const MethodRule& rule : options.methods) {
    MethodPolicy policy;
    for (const grpc::StatusCode code : rule.retryable) {
      policy.retryable.Add(code);
    }
    policy.retry = rule.retry;
    policy.attempt_timeout = rule.attempt_timeout;
    if (rule.method == "*") {
      default_ = policy;
    } else {
      policies_.emplace(absl::StripSuffix(rule.method, "*"), policy);
    }
  }
}

const MethodPolicy* MethodTable::Find(absl::string_view method) const {
  const MethodPolicy* const other = default_ ? &*default_ : nullptr;
  if (policies_.empty()) return other;
  auto it = policies_.find(method);
  if (it == policies_.end()) {
    it = policies_.find(method.substr(0, method.rfind('/') + 1));
  }
  return it == policies_.end() ? other : &it->second;
}

CodeSet RetryableCodes(const CallOptions* own, const MethodPolicy* rule,
                       const TargetPolicy& policy) {
  CodeSet codes;
  if (own != nullptr && own->retryable) {
    for (const grpc::StatusCode code : *own->retryable) codes.Add(code);
    return codes;
  }
  if (rule != nullptr) return rule->retryable;
  for (const int code : policy.retryable_codes) {
    codes.Add(static_cast<grpc::StatusCode>(code));
  }
  return codes;
}

std::optional<RetryOptions> RetryOf(const CallOptions* own,
                                    const MethodPolicy* rule,
                                    const Policy& policy) {
  std::optional<RetryOptions> retry;
  // The nearer one goes before. A time-out alone changes nothing else.
  const auto apply = [&](const std::optional<RetryOptions>& options,
                         const std::optional<absl::Duration>& timeout) {
    if (options) retry = options;
    if (!timeout) return;
    if (!retry) retry = policy.retry;
    retry->attempt_timeout = *timeout;
  };
  if (rule != nullptr) apply(rule->retry, rule->attempt_timeout);
  if (own != nullptr) apply(own->retry, own->attempt_timeout);
  return retry;
}

}  // namespace forbear::rpc
