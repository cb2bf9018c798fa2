// What a service config becomes, without a channel. How each value is read and
// checked, tests/proto/service_config_convert_test.cc holds against gRPC's own cases;
// here are those of gRFC A6 and of gRPC core's retry_service_config_test.cc once more,
// to the end of this road; and the gRPC that is linked in is asked, for many more,
// what it takes.

#include "interceptors/service_config.h"

#include <gmock/gmock.h>
#include <grpcpp/support/validate_service_config.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

// What gRPC says of the same text. Where it is not of our opinion, the row says why,
// and so does proto/service_config_convert.h.
struct Asked {
  std::string json;
  bool grpc = false;  // takes it
  bool ours = false;  // likewise
  const char* why = nullptr;
};

// The policy of gRPC's own tests with a member changed; an empty value: without it.
std::string RetryWith(const std::string& member, const std::string& value) {
  std::vector<std::string> members;
  for (const auto& [name, valid] :
       std::vector<std::pair<std::string, std::string>>{
           {"maxAttempts", "3"},
           {"initialBackoff", R"("1s")"},
           {"maxBackoff", R"("120s")"},
           {"backoffMultiplier", "1.6"},
           {"retryableStatusCodes", R"(["ABORTED"])"}}) {
    const std::string& chosen = name == member ? value : valid;
    if (chosen.empty()) continue;
    members.push_back(absl::StrCat("\"", name, "\": ", chosen));
  }
  return Config("{}", absl::StrCat("\"retryPolicy\": {",
                                   absl::StrJoin(members, ", "), "}"));
}

std::vector<Asked> WhatToAsk() {
  std::vector<Asked> all;
  const auto both = [&](std::string json) {
    all.push_back({std::move(json), true, true});
  };
  const auto nobody = [&](std::string json) {
    all.push_back({std::move(json), false, false});
  };
  const auto only_grpc = [&](std::string json, const char* why) {
    all.push_back({std::move(json), true, false, why});
  };
  const auto only_ours = [&](std::string json, const char* why) {
    all.push_back({std::move(json), false, true, why});
  };
  const auto timeout = [](const std::string& value) {
    return Config("{}", absl::StrCat("\"timeout\": ", value));
  };
  const auto named = [](const std::string& names) {
    return Config(names, R"("timeout": "1s")");
  };
  const auto throttling = [](const std::string& tokens,
                             const std::string& ratio) {
    return absl::StrCat(R"({"retryThrottling": {"maxTokens": )", tokens,
                        R"(, "tokenRatio": )", ratio, "}}");
  };

  for (const char* member : {"maxAttempts", "initialBackoff", "maxBackoff",
                             "backoffMultiplier", "retryableStatusCodes"}) {
    nobody(RetryWith(member, ""));
    nobody(RetryWith(member, "null"));
    nobody(RetryWith(member, "true"));
    nobody(RetryWith(member, "{}"));
    nobody(RetryWith(member, "[]"));
    nobody(RetryWith(member, R"("")"));
  }
  for (const char* n :
       {"2", "3", "5", "6", "100", R"("2")", R"(" 2")", R"("+2")", R"("02")"}) {
    both(RetryWith("maxAttempts", n));
  }
  for (const char* n : {"1", "0", "-1", "2.5", R"("two")", "2147483648"}) {
    nobody(RetryWith("maxAttempts", n));
  }
  only_grpc(RetryWith("maxAttempts", "101"), "a bound; gRPC's is 5");
  only_ours(RetryWith("maxAttempts", "2.0"), "the same number");

  for (const char* member : {"initialBackoff", "maxBackoff"}) {
    for (const char* d : {R"("1s")", R"("01s")", R"("0.5s")",
                          R"("1.000000001s")", R"("3600s")"}) {
      both(RetryWith(member, d));
    }
    for (const char* d :
         {R"("0s")", R"("0.0s")", R"("-1s")", R"("1")", "1", R"("1ms")",
          R"("1m")", R"("1S")", R"("s")", R"(".5s")", R"("1.s")", R"("1s ")",
          R"("1e3s")", R"("1.5.5s")", R"("1,5s")", R"("0.0000000001s")",
          R"("1.0000000000s")", R"("315576000001s")",
          R"("9223372036854775808s")"}) {
      nobody(RetryWith(member, d));
    }
    for (const char* d : {R"("+1s")", R"(" 1s")", R"("1 s")", R"("-0.5s")"}) {
      only_grpc(RetryWith(member, d), "protobuf's JSON knows no such duration");
    }
    only_grpc(RetryWith(member, R"("86401s")"), "a bound");
    only_ours(RetryWith(member, R"("0.000000001s")"),
              "gRPC counts milliseconds");
  }
  only_grpc(RetryWith("initialBackoff", R"("3601s")"), "a bound");

  for (const char* n : {"1", "1.6", "100", R"("1.6")", "1e2"}) {
    both(RetryWith("backoffMultiplier", n));
  }
  for (const char* n : {"0", "-1", R"("x")"}) {
    nobody(RetryWith("backoffMultiplier", n));
  }
  for (const char* n : {"0.5", "0.001"}) {
    only_grpc(RetryWith("backoffMultiplier", n), "a backoff does not shrink");
  }
  for (const char* n : {"100.5", "1e308", R"("inf")", R"("NaN")"}) {
    only_grpc(RetryWith("backoffMultiplier", n), "a bound");
  }

  for (const char* codes :
       {R"(["CANCELLED"])", R"(["ABORTED", "ABORTED"])",
        R"(["UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
            "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
            "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "OUT_OF_RANGE",
            "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])"}) {
    both(RetryWith("retryableStatusCodes", codes));
  }
  for (const char* codes :
       {"0", R"("ABORTED")", R"(["FOO"])", R"(["ABORTED", "FOO"])", R"([""])",
        R"(["14"])", R"(["CANCELED"])", R"(["ABORTED "])", "[0]", "[17]",
        "[-1]", "[1.5]", "[null]", "[true]", R"([["ABORTED"]])"}) {
    nobody(RetryWith("retryableStatusCodes", codes));
  }
  for (const char* codes : {"[10]", R"(["aborted"])", R"(["Aborted"])"}) {
    only_ours(RetryWith("retryableStatusCodes", codes),
              "A6 has numbers and any case");
  }
  for (const char* codes : {R"(["OK"])", R"(["OK", "ABORTED"])"}) {
    only_grpc(RetryWith("retryableStatusCodes", codes),
              "what went well is not made again, and somebody thinks it is");
  }

  // A timeout of zero is none.
  for (const char* d : {R"("1s")", R"("0s")", R"("0.0s")", R"("0.000s")",
                        R"("1.000000001s")", R"("315576000000s")"}) {
    both(timeout(d));
  }
  for (const char* d : {R"("-1s")", R"("1")", "1", "true", R"("1sec")",
                        R"("315576000001s")", R"("0.0000000001s")"}) {
    nobody(timeout(d));
  }
  only_ours(timeout("null"),
            "null is not there; gRPC is given it, and refuses");
  for (const char* value : {"true", "false", "null"}) {
    both(Config("{}", absl::StrCat("\"waitForReady\": ", value)));
  }
  for (const char* value : {"1", R"("true")", "{}"}) {
    nobody(Config("{}", absl::StrCat("\"waitForReady\": ", value)));
  }

  for (const char* names :
       {"", "{}", R"({"service": "a.S"})", R"({"service": ""})",
        R"({"service": "", "method": ""})", R"({"service": "s", "method": ""})",
        R"({"service": "s", "method": null})",
        R"({"service": "s"}, {"service": "s", "method": "M"}, {})"}) {
    both(named(names));
  }
  for (
      const char* names :
      {"1", "null", R"("s")", "[]", R"({"method": "M"})", R"({"service": 1})",
       R"({"service": "s", "method": 1})", "{}, {}", R"({}, {"service": ""})",
       R"({"service": "s"}, {"service": "s", "method": ""})",
       R"({"service": "s", "method": "M"}, {"service": "s", "method": "M"})"}) {
    nobody(named(names));
  }
  nobody(R"({"methodConfig": [{"name": [{}]}, {"name": [{}]}]})");
  nobody(R"({"methodConfig": [{"name": [{"service": "s"}]},
                              {"name": [{}, {"service": "s"}]}]})");
  for (const char* names :
       {R"({"service": "", "method": "M"})", R"({"service": "a b"})",
        R"({"service": "s", "method": "*"})"}) {
    only_grpc(named(names), "no call has such a name");
  }

  for (const char* n : {"1", "1000", R"("10")"}) both(throttling(n, "1"));
  for (const char* n : {"0", "-1", R"("x")", "null", "true"}) {
    nobody(throttling(n, "1"));
  }
  only_grpc(throttling("1001", "1"), "A6's bound");
  for (const char* n : {"1", "0.1", "0.001", "1.6", R"("0.1")"}) {
    both(throttling("10", n));
  }
  for (const char* n : {"0", "-1", R"("x")", "null", "true", "[]"}) {
    nobody(throttling("10", n));
  }
  only_grpc(throttling("10", "1001"), "a bound");

  for (const char* json :
       {"{}", R"({"x": null})", R"({"methodConfig": []})",
        R"({"methodConfig": [{}]})", R"({"methodConfig": [{"name": [{}],
            "retryPolicy": null}]})"}) {
    both(json);
  }
  for (const char* json :
       {"[]", "1", "null", "{", "{}x", R"({"a": 1, "a": 2})",
        R"({"methodConfig": {}})", R"({"methodConfig": [1]})",
        R"({"methodConfig": [{"name": [{}], "retryPolicy": []}]})",
        R"({"methodConfig": [{"name": [{}], "retryPolicy": {}}]})",
        R"({"retryThrottling": {}})", R"({"retryThrottling": []})"}) {
    nobody(json);
  }
  return all;
}

TEST(ServiceConfigTest, GrpcIsOfTheSameOpinion) {
  for (const Asked& asked : WhatToAsk()) {
    SCOPED_TRACE(asked.json);
    const std::string refusal =
        grpc::experimental::ValidateServiceConfigJSON(asked.json);
    EXPECT_EQ(refusal.empty(), asked.grpc) << "gRPC: " << refusal;
    const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(asked.json);
    EXPECT_EQ(config.ok(), asked.ours) << "ours: " << config.status();
    EXPECT_EQ(asked.why == nullptr, asked.grpc == asked.ours);
    // What gRPC would have taken as it was, it takes without the retries.
    if (config.ok() && asked.grpc) {
      EXPECT_EQ(grpc::experimental::ValidateServiceConfigJSON(config->rest),
                "");
    }
  }
}

// Zero is no timeout, in gRPC 1.51; a hedge without delay is a hedge; a policy that
// is null is none.
TEST(ServiceConfigTest, ZeroAndNull) {
  for (const std::string zero : {"0s", "0.0s", "0.000000000s"}) {
    const auto none = RetryBy(
        Config("{}", absl::StrCat(R"("timeout": ")", zero, "\", ", kRetry)),
        Policy());
    ASSERT_TRUE(none);
    EXPECT_EQ(none->call_timeout, absl::InfiniteDuration()) << zero;
    EXPECT_EQ(none->max_attempts, 7);
    const auto hedged = RetryBy(
        Config("{}", absl::StrCat(R"("retryPolicy": null, "hedgingPolicy":
                       {"maxAttempts": 2, "hedgingDelay": ")",
                                  zero, "\"}")),
        Policy());
    ASSERT_TRUE(hedged);
    EXPECT_TRUE(hedged->hedge.enabled);
    EXPECT_EQ(hedged->hedge.delay, absl::ZeroDuration()) << zero;
  }
  EXPECT_EQ(RetryBy(Config("{}", R"("timeout": "315576000000s")"), Policy())
                ->call_timeout,
            absl::Seconds(315576000000));
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
