#include "interceptors/method_table.h"

#include <algorithm>

#include "absl/strings/strip.h"
#include "core/hedge.h"

namespace forbear::rpc {

MethodTable::MethodTable(const RpcOptions& options,
                         const std::vector<ServiceRule>& service_rules) {
  const auto key = [](absl::string_view pattern) {
    return std::string(absl::StripSuffix(pattern, "*"));
  };
  for (const MethodRule& rule : options.methods) {
    MethodPolicy policy;
    for (const grpc::StatusCode code : rule.retryable) {
      policy.retryable.Add(code);
    }
    policy.retry = rule.retry;
    policy.attempt_timeout = rule.attempt_timeout;
    policies_.emplace(key(rule.method), policy);
  }
  for (const ServiceRule& rule : service_rules) {
    service_.emplace(key(rule.method), rule);
  }
}

template <typename Rule>
const Rule* MethodTable::FindIn(const ByMethod<Rule>& rules,
                                absl::string_view method) {
  if (rules.empty()) return nullptr;
  for (const absl::string_view key :
       {method, method.substr(0, method.rfind('/') + 1), absl::string_view()}) {
    const auto it = rules.find(key);
    if (it != rules.end()) return &it->second;
  }
  return nullptr;
}

MethodWords MethodTable::Find(absl::string_view method) const {
  return {FindIn(policies_, method), FindIn(service_, method)};
}

CodeSet RetryableCodes(const CallOptions* own, const MethodWords& words,
                       const TargetPolicy& policy) {
  const auto set = [](const std::vector<grpc::StatusCode>& listed) {
    CodeSet codes;
    for (const grpc::StatusCode code : listed) codes.Add(code);
    return codes;
  };
  if (own != nullptr && own->retryable) return set(*own->retryable);
  if (words.rule != nullptr) return words.rule->retryable;
  if (words.service != nullptr && words.service->retryable) {
    return set(*words.service->retryable);
  }
  CodeSet codes;
  for (const int code : policy.retryable_codes) {
    codes.Add(static_cast<grpc::StatusCode>(code));
  }
  return codes;
}

std::optional<RetryOptions> RetryOf(const CallOptions* own,
                                    const MethodWords& words, CodeSet codes,
                                    const Policy& policy) {
  std::optional<RetryOptions> retry;
  // The policy's, to be changed.
  const auto changed = [&]() -> RetryOptions& {
    if (!retry) retry = policy.retry;
    return *retry;
  };
  // The nearer one goes before. A time-out alone changes nothing else.
  const auto apply = [&](const std::optional<RetryOptions>& options,
                         const std::optional<absl::Duration>& timeout) {
    if (options) retry = options;
    if (timeout) changed().attempt_timeout = *timeout;
  };
  if (words.rule != nullptr) {
    apply(words.rule->retry, words.rule->attempt_timeout);
  } else if (words.service != nullptr && words.service->ChangesRetries()) {
    words.service->ApplyTo(&changed());
  }
  if (own != nullptr) apply(own->retry, own->attempt_timeout);
  if (words.service != nullptr && words.service->call_timeout) {
    absl::Duration& timeout = changed().call_timeout;
    timeout = std::min(timeout, *words.service->call_timeout);
  }
  const HedgeOptions& hedge = (retry ? *retry : policy.retry).hedge;
  if (hedge.enabled && !hedge.repeat_consent && !codes.empty()) {
    changed().hedge.repeat_consent = true;
  }
  return retry;
}

}  // namespace forbear::rpc
