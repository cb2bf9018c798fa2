// gRPC's service config (JSON) as a configuration of Forbear's, so that what a
// service has written down for stock gRPC clients need not be written again.
//
//   {"methodConfig": [{
//     "name": [{"service": "shop.Catalog"}],
//     "timeout": "5s",
//     "retryPolicy": {
//       "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s",
//       "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}
//
// becomes what in a file of ours would be
//
//   targets {
//     name: "method-config-0"
//     match { rpcs: "/shop.Catalog/*" }
//     retry {
//       max_attempts: 4  call_timeout: "5s"
//       backoff { initial: "100ms" multiplier: 2 max: "1s" jitter: PLUS_MINUS }
//     }
//     retryable_codes: UNAVAILABLE
//   }
//
// What is read, and what becomes of it:
//   methodConfig[].name          rpcs: "/service/method", "/service/*", "*" for {}
//     .timeout                   retry.call_timeout; "0s" is none, as in gRPC
//     .waitForReady              wait_for_ready
//     .retryPolicy
//       .maxAttempts             retry.max_attempts; 2 … 100. gRPC takes more than 5
//                                for 5; here it is what it says
//       .initialBackoff, .maxBackoff, .backoffMultiplier    retry.backoff
//       .retryableStatusCodes    retryable_codes: names in any case, or numbers
//       .perAttemptRecvTimeout   retry.attempt_timeout
//     .hedgingPolicy             instead of retryPolicy
//       .maxAttempts             retry.max_attempts, and retry.hedge.max_hedges, which
//                                is one less; 6 and more count as 5, as in gRPC
//       .hedgingDelay            retry.hedge.delay; absent: "0s"
//       .nonFatalStatusCodes     retryable_codes
//   retryThrottling              checked, and noted: Forbear's own budget applies
//
// As strict as gRPC is: what has the wrong type, is missing or out of range is a
// fault, with its path. What gRPC does not know it ignores, and so is it here; notes
// name it, and what is gRPC's own and none of Forbear's (loadBalancingConfig, …).
//
// Where Forbear differs from gRPC, on purpose:
//   - maxAttempts above 5, see above; above 100 is a fault.
//   - backoffMultiplier below 1 is a fault. So is what is out of Forbear's own bounds:
//     a multiplier above 100, an initialBackoff or hedgingDelay above 1 h, a
//     maxBackoff above 24 h, a tokenRatio above 1000.
//   - OK among the codes is a fault: what went well is not made again.
//   - Durations are those of protobuf's JSON: no sign, no blank.
//   - A name that no call can have ("a b", a method without its service) is a fault.
//   - perAttemptRecvTimeout is read and checked, which gRPC does with
//     GRPC_ARG_EXPERIMENTAL_ENABLE_HEDGING only.
//   - A method without a retryPolicy, and codes that are not listed, follow Forbear's
//     rules: RESOURCE_EXHAUSTED is waited out, nothing else is sent again.
//   - Throttled failures do not count for maxAttempts; they are bounded by time.
//   - retryThrottling: maxTokens above 1000 is a fault (A6 says so, gRPC 1.51 does
//     not mind).
//
// Sources: gRFC A6; the tests of gRPC core (retry_service_config_test.cc,
// retry_throttle_test.cc); what gRPC 1.51 says of the same texts
// (tests/interceptors/service_config_test.cc).
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_PROTO_SERVICE_CONFIG_CONVERT_H_
#define FORBEAR_PROTO_SERVICE_CONFIG_CONVERT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/struct.pb.h"
#include "proto/config.pb.h"

namespace forbear {

// Whether a JSON object is one: it has a member that only these have.
bool IsServiceConfig(const google::protobuf::Struct& json);

// What it sets of a configuration. Appends a sentence for each fault, and for each
// member that was not read.
v1::Config ServiceConfigToProto(const google::protobuf::Struct& json,
                                std::vector<std::string>* faults,
                                std::vector<std::string>* notes);

// All that there is to say about a text that must be a service config.
struct ServiceConfigReading {
  v1::Config proto;
  std::vector<std::string> faults;
  std::vector<std::string> notes;
  // The config without what was read of it about retries (retryPolicy,
  // hedgingPolicy, retryThrottling): for a gRPC that must not retry as well.
  std::string rest;
};
ServiceConfigReading ReadServiceConfig(absl::string_view text);

}  // namespace forbear

#endif  // FORBEAR_PROTO_SERVICE_CONFIG_CONVERT_H_
