// What a gRPC service config says of retries and hedging (gRFC A6), as rules of
// ours; and the rest of it, which stays gRPC's. Private: RpcOptions::service_config.
//
//   absl::StatusOr<ServiceConfig> config = ReadServiceConfig(R"({
//     "loadBalancingConfig": [{"round_robin": {}}],
//     "methodConfig": [{"name": [{"service": "shop.Catalog"}], "timeout": "5s",
//       "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s",
//         "maxBackoff": "1s", "backoffMultiplier": 2,
//         "retryableStatusCodes": ["UNAVAILABLE"]}}]})");
//   config->rules[0].method     // "/shop.Catalog/*"
//   config->rest                // without the retryPolicy
//
// Values are read, checked and bounded as in a configuration file
// (proto/service_config_convert.h). A rule changes what its method's config says,
// and nothing else, of the policy that the call has otherwise:
//   retryPolicy     max_attempts, backoff, attempt_timeout, the codes
//   hedgingPolicy   max_attempts, hedge, the codes (nonFatalStatusCodes)
//   timeout         call_timeout, if the policy's is not sooner. gRPC applies it,
//                   too, but to each attempt
// retryThrottling is checked and not used: the retry budget of the endpoint applies
// (core/retry_budget.h), which belongs to the client and not to a channel.
//
// Thread rule: values and a pure function; call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_SERVICE_CONFIG_H_
#define FORBEAR_INTERCEPTORS_SERVICE_CONFIG_H_

#include <grpcpp/support/status_code_enum.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/hedge.h"
#include "core/retry_policy.h"

namespace forbear::rpc {

struct ServiceRule {
  // "/package.Service/Method", "/package.Service/*", or "*".
  std::string method;

  // Absent: the config does not say.
  std::optional<std::vector<grpc::StatusCode>> retryable;
  std::optional<int> max_attempts;
  std::optional<BackoffOptions> backoff;
  std::optional<absl::Duration> attempt_timeout;
  std::optional<HedgeOptions> hedge;
  std::optional<absl::Duration> call_timeout;

  // Puts all of it but `retryable` and `call_timeout` into the policy's options; and
  // whether that changes anything.
  void ApplyTo(RetryOptions* options) const;
  bool ChangesRetries() const {
    return max_attempts || backoff || attempt_timeout || hedge;
  }
};

struct ServiceConfig {
  // A pattern occurs once; the most specific one that fits is a method's.
  std::vector<ServiceRule> rules;
  // JSON for gRPC.
  std::string rest;
};

// INVALID_ARGUMENT with all faults.
absl::StatusOr<ServiceConfig> ReadServiceConfig(absl::string_view json);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_SERVICE_CONFIG_H_
