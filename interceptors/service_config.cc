#include "interceptors/service_config.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "core/policy.h"
#include "proto/config.pb.h"
#include "proto/config_convert.h"
#include "proto/service_config_convert.h"

namespace forbear::rpc {
namespace {

// `said`: what the config sets; `target`: the same, read.
ServiceRule RuleOf(const v1::Retry& said, const TargetPolicy& target) {
  const RetryOptions& retry = target.retry;
  ServiceRule rule;
  // Each of the two policies must have maxAttempts.
  if (said.has_max_attempts()) {
    rule.max_attempts = retry.max_attempts;
    rule.retryable.emplace();
    for (const int code : target.retryable_codes) {
      rule.retryable->push_back(static_cast<grpc::StatusCode>(code));
    }
  }
  if (said.has_backoff()) rule.backoff = retry.backoff;
  if (said.has_attempt_timeout()) rule.attempt_timeout = retry.attempt_timeout;
  if (said.has_hedge()) rule.hedge = retry.hedge;
  if (said.has_call_timeout()) rule.call_timeout = retry.call_timeout;
  return rule;
}

}  // namespace

void ServiceRule::ApplyTo(RetryOptions* options) const {
  if (max_attempts) options->max_attempts = *max_attempts;
  if (backoff) options->backoff = *backoff;
  if (attempt_timeout) options->attempt_timeout = *attempt_timeout;
  if (hedge) options->hedge = *hedge;
}

absl::StatusOr<ServiceConfig> ReadServiceConfig(absl::string_view json) {
  ServiceConfigReading reading = forbear::ReadServiceConfig(json);
  if (!reading.faults.empty()) {
    return absl::InvalidArgumentError(absl::StrJoin(reading.faults, "; "));
  }
  const absl::StatusOr<Settings> settings = ConfigFromProto(reading.proto);
  if (!settings.ok()) return settings.status();
  ServiceConfig config;
  config.rest = std::move(reading.rest);
  for (int i = 0; i < reading.proto.targets_size(); ++i) {
    const TargetPolicy& target = settings->targets[i];
    ServiceRule rule = RuleOf(reading.proto.targets(i).retry(), target);
    for (const std::string& method : target.match.rpcs) {
      rule.method = method;
      config.rules.push_back(rule);
    }
  }
  return config;
}

}  // namespace forbear::rpc
