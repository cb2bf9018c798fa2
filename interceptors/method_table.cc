#include "interceptors/method_table.h"

#include "absl/strings/strip.h"

namespace forbear::rpc {

MethodTable::MethodTable(const RpcOptions& options, const RetryOptions& retry) {
  for (const MethodRule& rule : options.methods) {
    MethodPolicy policy;
    for (const grpc::StatusCode code : rule.retryable) {
      policy.retryable.Add(code);
    }
    policy.retry = rule.retry;
    if (rule.attempt_timeout) {
      if (!policy.retry) policy.retry = retry;
      policy.retry->attempt_timeout = *rule.attempt_timeout;
    }
    if (rule.method == "*") {
      default_ = policy;
    } else {
      policies_.emplace(absl::StripSuffix(rule.method, "*"), policy);
    }
  }
}

const MethodPolicy& MethodTable::Find(absl::string_view method) const {
  if (policies_.empty()) return default_;
  auto it = policies_.find(method);
  if (it == policies_.end()) {
    it = policies_.find(method.substr(0, method.rfind('/') + 1));
  }
  return it == policies_.end() ? default_ : it->second;
}

}  // namespace forbear::rpc
