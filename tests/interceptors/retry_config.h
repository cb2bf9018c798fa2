// RetryConfig: a gRPC service config with the retryPolicy of gRPC's own end-to-end
// tests, for the echo service, with their seconds as tenths. The same text is for a
// stock channel and for ours.
//
//   RetryConfig config;
//   config.max_attempts = 5;
//   options.service_config = config.Text();
//
// Thread rule: a plain value; no synchronisation of its own.
#ifndef FORBEAR_TESTS_INTERCEPTORS_RETRY_CONFIG_H_
#define FORBEAR_TESTS_INTERCEPTORS_RETRY_CONFIG_H_

#include <string>

#include "absl/strings/str_cat.h"

namespace forbear::rpc {

struct RetryConfig {
  int max_attempts = 3;
  const char* initial = "0.1s";
  const char* max = "12s";
  double multiplier = 1.6;
  const char* attempt_timeout = nullptr;  // null: none
  const char* throttling = nullptr;       // an object, in JSON; null: none
  const char* timeout = nullptr;          // of the call; null: none
  const char* codes = R"("ABORTED")";

  std::string Text() const {
    std::string text =
        R"({"methodConfig": [{"name": [{"service": "forbear.testing.Echo"}],)";
    if (timeout != nullptr) {
      absl::StrAppend(&text, R"("timeout": ")", timeout, R"(", )");
    }
    absl::StrAppend(&text, R"("retryPolicy": {"maxAttempts": )", max_attempts,
                    R"(, "initialBackoff": ")", initial,
                    R"(", "maxBackoff": ")", max, R"(", "backoffMultiplier": )",
                    multiplier);
    if (attempt_timeout != nullptr) {
      absl::StrAppend(&text, R"(, "perAttemptRecvTimeout": ")", attempt_timeout,
                      "\"");
    }
    absl::StrAppend(&text, R"(, "retryableStatusCodes": [)", codes, "]}}]");
    if (throttling != nullptr) {
      absl::StrAppend(&text, R"(, "retryThrottling": )", throttling);
    }
    return text + "}";
  }
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_RETRY_CONFIG_H_
