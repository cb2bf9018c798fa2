// What a service config becomes, without a channel. How each value is read and
// checked, tests/proto/service_config_convert_test.cc holds against gRPC's own cases;
// here are those of gRFC A6 and of gRPC core's retry_service_config_test.cc once more,
// to the end of this road.

#include "interceptors/service_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/policy.h"
#include "core/retry_policy.h"
#include "interceptors/call_options.h"
#include "interceptors/classify.h"
#include "interceptors/method_table.h"
#include "interceptors/rpc_options.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kRetry[] = R"("retryPolicy": {"maxAttempts": 7,
    "initialBackoff": "0.1s", "maxBackoff": "1.5s", "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"]})";
constexpr char kHedging[] = R"("hedgingPolicy": {"maxAttempts": 4,
    "hedgingDelay": "0.2s", "nonFatalStatusCodes": ["INTERNAL"]})";

std::string Config(const std::string& name, const std::string& rest) {
  return absl::StrCat(R"({"methodConfig": [{"name": [)", name, "], ", rest,
                      "}]}");
}

// Of "/a.S/Get", on top of `policy`.
std::optional<RetryOptions> RetryBy(const std::string& json,
                                    const Policy& policy,
                                    const CallOptions* own = nullptr,
                                    const RpcOptions& options = {}) {
  const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(json);
  if (!config.ok()) {
    ADD_FAILURE() << config.status();
    return std::nullopt;
  }
  const MethodTable table(options, config->rules);
  return RetryOf(own, table.Find("/a.S/Get"), CodeSet(), policy);
}

TEST(ServiceConfigTest, ARetryPolicyChangesWhatItSaysAndNothingElse) {
  Policy policy;
  policy.retry.enabled = false;
  policy.retry.max_elapsed = absl::Seconds(7);
  policy.retry.attempt_timeout = absl::Seconds(8);
  policy.retry.hedge.max_hedges = 3;
  const auto retry = RetryBy(Config("{}", kRetry), policy);
  ASSERT_TRUE(retry);
  EXPECT_EQ(retry->max_attempts, 7);
  EXPECT_EQ(retry->backoff.initial, absl::Milliseconds(100));
  EXPECT_EQ(retry->backoff.max, absl::Milliseconds(1500));
  EXPECT_EQ(retry->backoff.multiplier, 3);
  EXPECT_EQ(retry->backoff.jitter, Jitter::kPlusMinus);
  EXPECT_FALSE(retry->enabled);
  EXPECT_EQ(retry->max_elapsed, absl::Seconds(7));
  EXPECT_EQ(retry->attempt_timeout, absl::Seconds(8));
  EXPECT_EQ(retry->call_timeout, absl::InfiniteDuration());
  EXPECT_FALSE(retry->hedge.enabled);
  EXPECT_EQ(retry->hedge.max_hedges, 3);
}

TEST(ServiceConfigTest, AHedgingPolicy) {
  const auto retry = RetryBy(Config("{}", kHedging), Policy());
  ASSERT_TRUE(retry);
  EXPECT_TRUE(retry->hedge.enabled);
  EXPECT_TRUE(retry->hedge.repeat_consent);
  EXPECT_EQ(retry->hedge.max_hedges, 3);
  EXPECT_EQ(retry->hedge.delay, absl::Milliseconds(200));
  EXPECT_EQ(retry->max_attempts, 4);
  EXPECT_EQ(retry->backoff.jitter, Policy().retry.backoff.jitter);
}

TEST(ServiceConfigTest, PerAttemptRecvTimeout) {
  const auto retry = RetryBy(
      Config("{}", R"("retryPolicy": {"maxAttempts": 2, "initialBackoff": "1s",
          "maxBackoff": "1s", "backoffMultiplier": 1,
          "perAttemptRecvTimeout": "0.25s"})"),
      Policy());
  ASSERT_TRUE(retry);
  EXPECT_EQ(retry->attempt_timeout, absl::Milliseconds(250));
}

TEST(ServiceConfigTest, TheSoonerTimeoutCounts) {
  const std::string json = Config("{}", R"("timeout": "5s")");
  Policy policy;
  EXPECT_EQ(RetryBy(json, policy)->call_timeout, absl::Seconds(5));
  policy.retry.call_timeout = absl::Seconds(9);
  EXPECT_EQ(RetryBy(json, policy)->call_timeout, absl::Seconds(5));
  policy.retry.call_timeout = absl::Seconds(2);
  EXPECT_EQ(RetryBy(json, policy)->call_timeout, absl::Seconds(2));
  // Also of a call and of a method that have options of their own: gRPC does not
  // ask whose they are.
  CallOptions own;
  own.retry = RetryOptions();
  EXPECT_EQ(RetryBy(json, Policy(), &own)->call_timeout, absl::Seconds(5));
  RpcOptions options;
  options.methods = {{"*", {}}};
  EXPECT_EQ(RetryBy(json, Policy(), nullptr, options)->call_timeout,
            absl::Seconds(5));
  // Of a timeout alone nothing else comes.
  EXPECT_EQ(RetryBy(json, Policy())->max_attempts, 3);
}

TEST(ServiceConfigTest, ARuleOfTheProgramsGoesBeforeIt) {
  const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(
      Config(R"({"service": "a.S", "method": "Get"}, {"service": "b.S"}, {})",
             kRetry));
  ASSERT_TRUE(config.ok()) << config.status();
  RpcOptions options;
  options.methods = {{"/a.S/*", {StatusCode::INTERNAL}}};
  const MethodTable table(options, config->rules);
  TargetPolicy policy;
  policy.retryable_codes = {StatusCode::DATA_LOSS};
  // The less specific one, too.
  const auto a = RetryableCodes(nullptr, table.Find("/a.S/Get"), policy);
  EXPECT_TRUE(a.Has(StatusCode::INTERNAL));
  EXPECT_FALSE(a.Has(StatusCode::UNAVAILABLE));
  EXPECT_EQ(RetryOf(nullptr, table.Find("/a.S/Get"), a, policy), std::nullopt);
  for (const std::string method : {"/b.S/Get", "/c.S/Get"}) {
    const auto codes = RetryableCodes(nullptr, table.Find(method), policy);
    EXPECT_TRUE(codes.Has(StatusCode::UNAVAILABLE)) << method;
    EXPECT_TRUE(codes.Has(StatusCode::ABORTED)) << method;
    EXPECT_FALSE(codes.Has(StatusCode::DATA_LOSS)) << method;
    EXPECT_EQ(RetryOf(nullptr, table.Find(method), codes, policy)->max_attempts,
              7);
  }
}

TEST(ServiceConfigTest, TheMostSpecificNameIsTheMethods) {
  const absl::StatusOr<ServiceConfig> config =
      ReadServiceConfig(R"({"methodConfig": [
    {"name": [{}], "timeout": "1s"},
    {"name": [{"service": "a.S"}], "timeout": "2s"},
    {"name": [{"service": "a.S", "method": "Get"}], "timeout": "3s"}]})");
  ASSERT_TRUE(config.ok()) << config.status();
  const MethodTable table({}, config->rules);
  const auto timeout = [&](const std::string& method) {
    return RetryOf(nullptr, table.Find(method), CodeSet(), Policy())
        ->call_timeout;
  };
  EXPECT_EQ(timeout("/b.S/Get"), absl::Seconds(1));
  EXPECT_EQ(timeout("/a.S/Put"), absl::Seconds(2));
  EXPECT_EQ(timeout("/a.S/Get"), absl::Seconds(3));
}

TEST(ServiceConfigTest, WithoutAPolicyThereIsNoWordAboutCodes) {
  const absl::StatusOr<ServiceConfig> config =
      ReadServiceConfig(Config("{}", R"("waitForReady": true)"));
  ASSERT_TRUE(config.ok()) << config.status();
  const MethodTable table({}, config->rules);
  TargetPolicy policy;
  policy.retryable_codes = {StatusCode::DATA_LOSS};
  EXPECT_TRUE(RetryableCodes(nullptr, table.Find("/a.S/Get"), policy)
                  .Has(StatusCode::DATA_LOSS));
  EXPECT_EQ(RetryOf(nullptr, table.Find("/a.S/Get"), CodeSet(), policy),
            std::nullopt);
}

TEST(ServiceConfigTest, TheRestIsGrpcs) {
  const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(absl::StrCat(
      R"({"loadBalancingConfig": [{"round_robin": {}}],
          "healthCheckConfig": {"serviceName": "s"}, "x": null,
          "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
          "methodConfig": [
            {"name": [{"service": "a.S"}], "timeout": "1.5s",
             "waitForReady": true, "maxRequestMessageBytes": 1000000, )",
      kRetry, R"(}, {"name": [{}], )", kHedging, "}]}"));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->rest, HasSubstr(R"("round_robin":{})"));
  EXPECT_THAT(config->rest, HasSubstr(R"("serviceName":"s")"));
  EXPECT_THAT(config->rest, HasSubstr(R"("timeout":"1.5s")"));
  EXPECT_THAT(config->rest, HasSubstr(R"("waitForReady":true)"));
  EXPECT_THAT(config->rest, HasSubstr(R"("maxRequestMessageBytes":1000000)"));
  EXPECT_THAT(config->rest, HasSubstr(R"("service":"a.S")"));
  EXPECT_THAT(config->rest, Not(HasSubstr("retry")));
  EXPECT_THAT(config->rest, Not(HasSubstr("hedging")));
  // And is one again, that says nothing of retries.
  const absl::StatusOr<ServiceConfig> again = ReadServiceConfig(config->rest);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ(again->rules.size(), 2u);
  EXPECT_FALSE(again->rules[0].ChangesRetries());
}

TEST(ServiceConfigTest, WhatIsOurConfigurationIsNoServiceConfig) {
  // gRPC ignores what it does not know, and so must we.
  const auto config = ReadServiceConfig(R"({"retry": {"max_attempts": 9}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->rules.empty());
}

struct Case {
  std::string json;
  std::vector<std::string> faults;  // parts of the message
};

TEST(ServiceConfigTest, CasesOfA6AndOfGrpc) {
  const auto retry = [](const std::string& members) {
    return Config("{}", absl::StrCat("\"retryPolicy\": {", members, "}"));
  };
  const std::string at = "methodConfig[0].retryPolicy.";
  const std::vector<Case> cases = {
      {"", {"no JSON object"}},
      {"[]", {"no JSON object"}},
      {R"({"methodConfig": [)", {"no JSON object"}},
      {retry(R"("retryableStatusCodes": ["ABORTED"])"),
       {at + "maxAttempts is missing", at + "initialBackoff is missing",
        at + "maxBackoff is missing", at + "backoffMultiplier is missing"}},
      {retry(R"("maxAttempts": 1, "initialBackoff": "0s", "maxBackoff": "0s",
                "backoffMultiplier": 0, "retryableStatusCodes": 0)"),
       {at + "maxAttempts is 1", at + "initialBackoff is \"0s\"",
        at + "maxBackoff is \"0s\"", at + "backoffMultiplier is 0",
        at + "retryableStatusCodes is 0"}},
      {retry(R"("maxAttempts": 2, "initialBackoff": "1s", "maxBackoff": "120s",
                "backoffMultiplier": 1.6, "retryableStatusCodes":
                ["FOO", "BAR"], "perAttemptRecvTimeout": "1sec")"),
       {at + "retryableStatusCodes[0] is \"FOO\"",
        at + "retryableStatusCodes[1] is \"BAR\"",
        at + "perAttemptRecvTimeout is \"1sec\""}},
      {R"({"retryThrottling": {}})",
       {"retryThrottling.maxTokens is missing",
        "retryThrottling.tokenRatio is missing"}},
      {R"({"retryThrottling": {"maxTokens": 1001, "tokenRatio": -1}})",
       {"maxTokens is 1001", "tokenRatio is -1"}},
      {Config("{}", R"("hedgingPolicy": {"maxAttempts": 1,
                         "hedgingDelay": "1", "nonFatalStatusCodes": ["X"]})"),
       {"hedgingPolicy.maxAttempts is 1", "hedgingPolicy.hedgingDelay is",
        "nonFatalStatusCodes[0] is \"X\""}},
      {Config("{}", absl::StrCat(kRetry, ", ", kHedging)),
       {"hedgingPolicy: there is a retryPolicy, too"}},
  };
  for (const Case& c : cases) {
    const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(c.json);
    ASSERT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument)
        << c.json;
    for (const std::string& fault : c.faults) {
      EXPECT_THAT(std::string(config.status().message()), HasSubstr(fault));
    }
  }
}

// null is no policy, to gRPC as well.
TEST(ServiceConfigTest, AHedgingPolicyBesideANull) {
  const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(
      Config("{}", absl::StrCat(R"("retryPolicy": null, )", kHedging)));
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->rules.size(), 1u);
  EXPECT_TRUE(config->rules[0].hedge.has_value());
}

TEST(ServiceConfigTest, NamesAreThoseOfRules) {
  const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(
      Config(R"({"service": "a.S", "method": "Get"}, {"service": "b.S"}, {})",
             kRetry));
  ASSERT_TRUE(config.ok()) << config.status();
  std::vector<std::string> methods;
  for (const ServiceRule& rule : config->rules) methods.push_back(rule.method);
  EXPECT_THAT(methods, ElementsAre("/a.S/Get", "/b.S/*", "*"));
}

}  // namespace
}  // namespace forbear::rpc
