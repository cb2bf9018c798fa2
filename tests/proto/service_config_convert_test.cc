// gRPC's service config, as stock gRPC would take it. The kinds of faults are those of
// gRPC core's tests (retry_service_config_test.cc, retry_throttle_test.cc) and of
// gRFC A6; where Forbear decides otherwise, the test says so.

#include "proto/service_config_convert.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_match.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "core/retry_policy.h"
#include "gtest/gtest.h"
#include "proto/config_convert.h"

namespace forbear::testing {
namespace {

ConfigReading Read(absl::string_view json) {
  return ReadConfig(json, ConfigFormat::kJson);
}

std::string Faults(absl::string_view json) {
  return absl::StrJoin(Read(json).faults, "; ");
}
std::string Notes(absl::string_view json) {
  const ConfigReading reading = Read(json);
  EXPECT_EQ(absl::StrJoin(reading.faults, "; "), "");
  return absl::StrJoin(reading.notes, "; ");
}

// With a retryPolicy of these members.
std::string Policy(absl::string_view members) {
  return absl::StrCat(R"({"methodConfig": [{"name": [{"service": "s"}],
                          "retryPolicy": {)",
                      members, "}}]}");
}

constexpr char kValid[] = R"("maxAttempts": 3, "initialBackoff": "1s",
    "maxBackoff": "120s", "backoffMultiplier": 1.6,
    "retryableStatusCodes": ["ABORTED"])";

// The valid policy with a member changed; an empty value: without it.
std::string With(const std::string& member, const std::string& value) {
  std::string text;
  for (const auto& [name, valid] :
       std::vector<std::pair<std::string, std::string>>{
           {"maxAttempts", "3"},
           {"initialBackoff", "\"1s\""},
           {"maxBackoff", "\"120s\""},
           {"backoffMultiplier", "1.6"},
           {"retryableStatusCodes", "[\"ABORTED\"]"},
           {"perAttemptRecvTimeout", ""}}) {
    const std::string& chosen = name == member ? value : valid;
    if (chosen.empty()) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", "\"", name,
                    "\": ", chosen);
  }
  return Policy(text);
}

TEST(ServiceConfigTest, WhatBecomesOfIt) {
  const ConfigReading reading = Read(R"({"methodConfig": [
    {"name": [{"service": "shop.Catalog"}, {"service": "shop.Cart",
                                            "method": "Get"}],
     "timeout": "5s", "waitForReady": true,
     "retryPolicy": {"maxAttempts": 7, "initialBackoff": "0.1s",
       "maxBackoff": "1.5s", "backoffMultiplier": 2,
       "retryableStatusCodes": ["UNAVAILABLE", "aborted", 13],
       "perAttemptRecvTimeout": "0.000000001s"}},
    {"name": [{}], "waitForReady": false}
  ]})");
  EXPECT_EQ(absl::StrJoin(reading.faults, "; "), "");
  EXPECT_TRUE(reading.is_service_config);
  EXPECT_EQ(reading.proto.DebugString(), R"(targets {
  name: "method-config-0"
  match {
    rpcs: "/shop.Catalog/*"
    rpcs: "/shop.Cart/Get"
  }
  retry {
    max_attempts: 7
    attempt_timeout: "1ms"
    backoff {
      initial: "100ms"
      multiplier: 2
      max: "1.5s"
      jitter: PLUS_MINUS
      lone_part: 1
    }
    call_timeout: "5s"
  }
  retryable_codes: UNAVAILABLE
  retryable_codes: ABORTED
  retryable_codes: INTERNAL
  wait_for_ready: true
}
targets {
  name: "method-config-1"
  match {
    rpcs: "*"
  }
  wait_for_ready: false
}
)");
}

TEST(ServiceConfigTest, TheMostSpecificNameIsTheMethods) {
  const ConfigReading reading = Read(R"({"methodConfig": [
    {"name": [{}], "timeout": "1s"},
    {"name": [{"service": "p.S"}], "timeout": "2s"},
    {"name": [{"service": "p.S", "method": "M"}], "timeout": "3s"}]})");
  ASSERT_EQ(absl::StrJoin(reading.faults, "; "), "");
  const PolicyTable table(reading.settings);
  const auto timeout = [&](absl::string_view rpc) {
    CallRoute route;
    route.host = "h";
    route.rpc = rpc;
    return table.Find(route).retry.call_timeout;
  };
  EXPECT_EQ(timeout("/q.S/M"), absl::Seconds(1));
  EXPECT_EQ(timeout("/p.S/N"), absl::Seconds(2));
  EXPECT_EQ(timeout("/p.S/M"), absl::Seconds(3));
  // HTTP has nothing to do with it.
  CallRoute http;
  http.method = "POST";
  http.path = "/p.S/M";
  EXPECT_EQ(&table.Find(http), &table.top());
}

TEST(ServiceConfigTest, MoreThanFiveAttemptsAreMeant) {
  const ConfigReading reading = Read(With("maxAttempts", "9"));
  ASSERT_EQ(absl::StrJoin(reading.faults, "; "), "");
  EXPECT_EQ(reading.settings.targets[0].retry.max_attempts, 9);
}

TEST(ServiceConfigTest, TheLargerBackoffIsBounded) {
  const ConfigReading reading = Read(With("maxBackoff", "\"0.5s\""));
  ASSERT_EQ(absl::StrJoin(reading.faults, "; "), "");
  EXPECT_EQ(reading.settings.targets[0].retry.backoff.initial,
            absl::Milliseconds(500));
}

struct Case {
  std::string json;
  std::string fault;  // part of the only fault; empty: there is none
};

void Check(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const std::vector<std::string> faults = Read(c.json).faults;
    if (c.fault.empty()) {
      EXPECT_EQ(absl::StrJoin(faults, "; "), "") << c.json;
      continue;
    }
    ASSERT_EQ(faults.size(), 1u) << c.json << "\n"
                                 << absl::StrJoin(faults, "; ");
    EXPECT_TRUE(absl::StrContains(faults[0], c.fault)) << c.json << "\n"
                                                       << faults[0];
  }
}

TEST(ServiceConfigTest, RetryPolicy) {
  const std::string at = "methodConfig[0].retryPolicy.";
  Check({
      {Policy(kValid), ""},
      // maxAttempts
      {With("maxAttempts", ""), at + "maxAttempts is missing"},
      {With("maxAttempts", "null"), at + "maxAttempts is missing"},
      {With("maxAttempts", "1"), at + "maxAttempts is 1; it must be"},
      {With("maxAttempts", "0"), "maxAttempts is 0"},
      {With("maxAttempts", "-2"), "maxAttempts is -2"},
      {With("maxAttempts", "2"), ""},
      {With("maxAttempts", "\"2\""), ""},
      {With("maxAttempts", "2.5"), "maxAttempts is 2.5"},
      {With("maxAttempts", "\"two\""), "maxAttempts is \"two\""},
      {With("maxAttempts", "true"), "maxAttempts is true"},
      {With("maxAttempts", "100"), ""},
      {With("maxAttempts", "101"), "maxAttempts is 101"},
      {With("maxAttempts", "\"NaN\""), "maxAttempts is \"NaN\""},
      // Durations
      {With("initialBackoff", ""), at + "initialBackoff is missing"},
      {With("initialBackoff", "\"0s\""), "initialBackoff is \"0s\""},
      {With("initialBackoff", "\"-1s\""), "initialBackoff is \"-1s\""},
      {With("initialBackoff", "1"), "initialBackoff is 1"},
      {With("initialBackoff", "\"1\""), "initialBackoff is \"1\""},
      {With("initialBackoff", "\"1sec\""), "initialBackoff is \"1sec\""},
      {With("initialBackoff", "\"1ms\""), "initialBackoff is \"1ms\""},
      {With("initialBackoff", "\"1.s\""), "initialBackoff is \"1.s\""},
      {With("initialBackoff", "\".5s\""), "initialBackoff is \".5s\""},
      {With("initialBackoff", "\"1.5.5s\""), "initialBackoff is"},
      {With("initialBackoff", "\"1m1s\""), "initialBackoff is"},
      {With("initialBackoff", "\"0.1234567890s\""), "initialBackoff is"},
      {With("initialBackoff", "\"0.123456789s\""), ""},
      {With("initialBackoff", "\"3601s\""), "… 1h"},
      {With("maxBackoff", ""), at + "maxBackoff is missing"},
      {With("maxBackoff", "\"0s\""), "maxBackoff is \"0s\""},
      {With("maxBackoff", "\"99999999999999999999s\""), "maxBackoff is"},
      {With("maxBackoff", "\"86401s\""), "… 24h"},
      // backoffMultiplier
      {With("backoffMultiplier", ""), at + "backoffMultiplier is missing"},
      {With("backoffMultiplier", "0"), "backoffMultiplier is 0"},
      {With("backoffMultiplier", "-1"), "backoffMultiplier is -1"},
      {With("backoffMultiplier", "\"x\""), "backoffMultiplier is \"x\""},
      {With("backoffMultiplier", "1"), ""},
      // gRPC takes this one.
      {With("backoffMultiplier", "0.5"), "backoffMultiplier is 0.5"},
      // retryableStatusCodes
      {With("retryableStatusCodes", ""),
       at + "retryableStatusCodes is missing"},
      {With("retryableStatusCodes", "0"),
       "retryableStatusCodes is 0; it must be a list"},
      {With("retryableStatusCodes", "[]"), "must list a code"},
      {With("retryableStatusCodes", "[\"FOO\"]"),
       "retryableStatusCodes[0] is \"FOO\""},
      {With("retryableStatusCodes", "[\"OK\"]"), "is \"OK\""},
      {With("retryableStatusCodes", "[0]"), "is 0"},
      {With("retryableStatusCodes", "[17]"), "is 17"},
      {With("retryableStatusCodes", "[1.5]"), "is 1.5"},
      {With("retryableStatusCodes", "[[]]"), "is []"},
      {With("retryableStatusCodes", "[14, \"Internal\"]"), ""},
      // perAttemptRecvTimeout
      {With("perAttemptRecvTimeout", "\"1sec\""),
       at + "perAttemptRecvTimeout is \"1sec\""},
      {With("perAttemptRecvTimeout", "\"0s\""), "perAttemptRecvTimeout is"},
      {With("perAttemptRecvTimeout", "\"1s\""), ""},
  });
  // With a time-out for attempts gRPC can do without codes.
  EXPECT_EQ(Faults(absl::StrReplaceAll(
                With("perAttemptRecvTimeout", "\"1s\""),
                {{", \"retryableStatusCodes\": [\"ABORTED\"]", ""}})),
            "");
}

TEST(ServiceConfigTest, AllFaultsAtOnce) {
  const auto missing = [](absl::string_view field) {
    return absl::StrCat("methodConfig[0].retryPolicy.", field,
                        " is missing; it must be given");
  };
  const auto no_code = [](int n, absl::string_view name) {
    return absl::StrCat("methodConfig[0].retryPolicy.retryableStatusCodes[", n,
                        "] is \"", name,
                        "\"; it must be a status code but OK, like "
                        "\"UNAVAILABLE\"");
  };
  EXPECT_EQ(Read(Policy(R"("retryableStatusCodes": ["FOO", "BAR"])")).faults,
            (std::vector<std::string>{
                missing("maxAttempts"), missing("initialBackoff"),
                missing("maxBackoff"), missing("backoffMultiplier"),
                no_code(0, "FOO"), no_code(1, "BAR")}));
}

TEST(ServiceConfigTest, MethodsAndTypes) {
  const auto method = [](absl::string_view members) {
    return absl::StrCat(R"({"methodConfig": [{)", members, "}]}");
  };
  const auto name = [&](absl::string_view names) {
    return method(absl::StrCat("\"name\": ", names));
  };
  Check({
      {R"({"methodConfig": {}})", "methodConfig is {}; it must be a list"},
      {R"({"methodConfig": [1]})", "methodConfig[0] is 1"},
      {R"({"methodConfig": []})", ""},
      {name("{}"), "methodConfig[0].name is {}; it must be a list"},
      {name("[1]"), "methodConfig[0].name[0] is 1"},
      {name(R"([{"method": "M"}])"), "name[0] has a method and no service"},
      {name(R"([{"service": "", "method": ""}])"), ""},
      {name(R"([{"service": 1}])"), "methodConfig[0].name[0].service is 1"},
      {name(R"([{"service": "a b"}])"), "which is no name of a method"},
      {name(R"([{"service": "a/b"}])"), "which is no name of a method"},
      {name(R"([{"service": "s", "method": "*"}])"), "no name of a method"},
      {name(R"([{"service": "s"}, {"service": "s"}])"),
       "methodConfig[0].name[1] is /s/*; so is methodConfig[0].name[0]"},
      {R"({"methodConfig": [{"name": [{}]}, {"name": [{}]}]})",
       "methodConfig[1].name[0] is *; so is methodConfig[0].name[0]"},
      {method(R"("name": [{}], "timeout": "1")"), "timeout is \"1\""},
      {method(R"("name": [{}], "timeout": 1)"), "timeout is 1"},
      {method(R"("name": [{}], "waitForReady": "true")"), "waitForReady is"},
      {method(R"("name": [{}], "retryPolicy": [])"), "retryPolicy is []"},
  });
}

TEST(ServiceConfigTest, HedgingPolicy) {
  const auto hedging = [](absl::string_view members) {
    return absl::StrCat(
        R"({"methodConfig": [{"name": [{}], "hedgingPolicy": {)", members,
        "}}]}");
  };
  const ConfigReading reading = Read(hedging(
      R"("maxAttempts": 4, "hedgingDelay": "0.5s",
         "nonFatalStatusCodes": ["UNAVAILABLE", "INTERNAL"])"));
  ASSERT_EQ(absl::StrJoin(reading.faults, "; "), "");
  const TargetPolicy& target = reading.settings.targets[0];
  EXPECT_TRUE(target.retry.hedge.enabled);
  EXPECT_TRUE(target.retry.hedge.repeat_consent);
  EXPECT_EQ(target.retry.hedge.max_hedges, 3);
  EXPECT_EQ(target.retry.hedge.delay, absl::Milliseconds(500));
  EXPECT_EQ(target.retry.max_attempts, 4);
  EXPECT_EQ(target.retryable_codes, (std::vector<int>{14, 13}));
  const HedgeOptions least =
      Read(hedging("\"maxAttempts\": 9")).settings.targets[0].retry.hedge;
  EXPECT_EQ(least.max_hedges, 4);
  EXPECT_EQ(least.delay, absl::ZeroDuration());
  const std::string at = "methodConfig[0].hedgingPolicy.";
  Check({
      {hedging("\"maxAttempts\": 2, \"hedgingDelay\": \"0s\""), ""},
      {hedging(""), at + "maxAttempts is missing"},
      {hedging("\"maxAttempts\": 1"), at + "maxAttempts is 1"},
      {hedging("\"maxAttempts\": 2, \"hedgingDelay\": 1"),
       at + "hedgingDelay is 1"},
      {hedging("\"maxAttempts\": 2, \"hedgingDelay\": \"1m\""),
       at + "hedgingDelay is"},
      {hedging("\"maxAttempts\": 2, \"nonFatalStatusCodes\": 1"),
       at + "nonFatalStatusCodes is 1"},
      {hedging("\"maxAttempts\": 2, \"nonFatalStatusCodes\": [\"X\"]"),
       at + "nonFatalStatusCodes[0] is \"X\""},
      {absl::StrCat(R"({"methodConfig": [{"name": [{}], "retryPolicy": {)",
                    kValid, R"(}, "hedgingPolicy": {"maxAttempts": 2}}]})"),
       "methodConfig[0].hedgingPolicy: there is a retryPolicy, too"},
  });
}

TEST(ServiceConfigTest, RetryThrottling) {
  const auto throttling = [](absl::string_view members) {
    return absl::StrCat(R"({"retryThrottling": {)", members, "}}");
  };
  const std::string tokens = "\"maxTokens\": ", ratio = ", \"tokenRatio\": ";
  Check({
      {throttling(tokens + "10" + ratio + "0.1"), ""},
      {throttling(tokens + "1000" + ratio + "1"), ""},
      {throttling("\"tokenRatio\": 1"), "maxTokens is missing"},
      {throttling("\"maxTokens\": 1"), "tokenRatio is missing"},
      {throttling(tokens + "2" + ratio + "-1"), "tokenRatio is -1"},
      {throttling(tokens + "2" + ratio + "0"), "tokenRatio is 0"},
      {throttling(tokens + "0" + ratio + "1"), "maxTokens is 0"},
      {throttling(tokens + "\"x\"" + ratio + "1"), "maxTokens is \"x\""},
      // A6's bound; gRPC 1.51 does not mind.
      {throttling(tokens + "1001" + ratio + "1"), "maxTokens is 1001"},
      {R"({"retryThrottling": 1})", "retryThrottling is 1"},
  });
  EXPECT_EQ(Read(throttling("")).faults.size(), 2u);
}

TEST(ServiceConfigTest, WhatIsNotReadIsNoted) {
  EXPECT_EQ(
      Notes(R"({"methodConfig": [
        {"name": [{"service": "s", "kind": 1}], "maxRequestMessageBytes": 1,
         "retryPolicy": {"maxAttempts": 3, "initialBackoff": "1s",
           "maxBackoff": "2s", "backoffMultiplier": 2,
           "retryableStatusCodes": [14], "color": "blue"}},
        {"timeout": "1s"}],
       "retryThrottling": {"maxTokens": 1, "tokenRatio": 1, "x": 0},
       "loadBalancingConfig": [{"round_robin": {}}], "zeta": 1, "alpha": 2})"),
      "methodConfig[0].name[0].kind: no member of a service config, ignored as "
      "gRPC does; "
      "methodConfig[0].retryPolicy.color: no member of a service config, "
      "ignored as gRPC does; "
      "methodConfig[0].maxRequestMessageBytes: gRPC's own, and not for "
      "Forbear; "
      "methodConfig[1].name names no method: what stands beside it is not "
      "used, "
      "as in gRPC; "
      "retryThrottling: not used; Forbear's own retry budget applies; "
      "retryThrottling.x: no member of a service config, ignored as gRPC does; "
      "alpha: no member of a service config, ignored as gRPC does; "
      "loadBalancingConfig: gRPC's own, and not for Forbear; "
      "zeta: no member of a service config, ignored as gRPC does");
  EXPECT_EQ(Notes(R"({"loadBalancingPolicy": "pick_first"})"),
            "loadBalancingPolicy: gRPC's own, and not for Forbear");
  EXPECT_FALSE(Read(R"({"retry": {}})").is_service_config);
  EXPECT_FALSE(Read("{}").is_service_config);
}

TEST(ServiceConfigTest, ManyNamesAreSeveralTargets) {
  std::string names;
  for (int i = 0; i < 201; ++i) {
    absl::StrAppend(&names, i == 0 ? "" : ", ", R"({"service": "s)", i, "\"}");
  }
  const ConfigReading reading = Read(absl::StrCat(
      R"({"methodConfig": [{"name": [)", names, R"(], "timeout": "1s"}]})"));
  ASSERT_EQ(absl::StrJoin(reading.faults, "; "), "");
  ASSERT_EQ(reading.settings.targets.size(), 3u);
  EXPECT_EQ(reading.settings.targets[0].name, "method-config-0");
  EXPECT_EQ(reading.settings.targets[2].name, "method-config-0-3");
  EXPECT_EQ(reading.settings.targets[2].match.rpcs,
            std::vector<std::string>{"/s200/*"});
  EXPECT_EQ(reading.settings.targets[2].retry.call_timeout, absl::Seconds(1));
}

}  // namespace
}  // namespace forbear::testing
