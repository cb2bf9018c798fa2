#include "interceptors/rpc_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/policy.h"
#include "core/retry_policy.h"
#include "interceptors/call_options.h"
#include "interceptors/classify.h"
#include "interceptors/method_table.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

TEST(RpcOptionsTest, AllFaultsAtOnce) {
  RpcOptions options;
  options.methods = {
      {"Say", {}},
      {"/a.S/M", {static_cast<StatusCode>(17)}},
      {"/a.S/M", {StatusCode::OK}},
      {"/a.S/X", {}, absl::ZeroDuration()},
      {"/a.S/Y", {}, std::nullopt, RetryOptions{}},
  };
  options.methods.back().retry->max_attempts = 0;
  const absl::Status status = ValidateRpcOptions(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const std::string text(status.message());
  EXPECT_THAT(text, HasSubstr("target is empty"));
  EXPECT_THAT(text, HasSubstr("methods[0].method is \"Say\""));
  EXPECT_THAT(text, HasSubstr("methods[1].retryable holds 17"));
  EXPECT_THAT(text, HasSubstr("methods[2].method is \"/a.S/M\"; there is"));
  EXPECT_THAT(text, HasSubstr("methods[2].retryable holds 0"));
  EXPECT_THAT(text, HasSubstr("methods[3].attempt_timeout is 0"));
  EXPECT_THAT(text, HasSubstr("methods[4].retry.max_attempts is 0"));
}

TEST(RpcOptionsTest, Patterns) {
  const auto valid = [](std::string method) {
    RpcOptions options;
    options.target = "t";
    options.methods = {{std::move(method), {}}};
    return ValidateRpcOptions(options).ok();
  };
  for (const char* good : {"*", "/a.S/*", "/a.S/M", "/S/M"}) {
    EXPECT_TRUE(valid(good)) << good;
  }
  for (const char* bad : {"", "/", "//", "/S", "/S/", "//M", "a.S/M", "/a.S/M*",
                          "/a.*/M", "/*/M", "/a.S/M/", "/*/*", "**"}) {
    EXPECT_FALSE(valid(bad)) << bad;
  }
}

TEST(MethodTableTest, TheMostSpecificRuleIsTheOnlyOne) {
  RpcOptions options;
  options.methods = {
      {"*", {StatusCode::ABORTED}},
      {"/a.S/*", {StatusCode::UNAVAILABLE}, absl::Seconds(2)},
      {"/a.S/Buy", {}},
      {"/a.S/Get", {StatusCode::INTERNAL}, std::nullopt, RetryOptions{}},
  };
  options.methods[3].retry->max_attempts = 9;
  const MethodTable table(options, {});
  // What a configuration says of the same calls.
  TargetPolicy policy;
  policy.retry.max_attempts = 5;
  policy.retryable_codes = {StatusCode::DATA_LOSS};
  const auto codes = [&](const std::string& method) {
    return RetryableCodes(nullptr, table.Find(method), policy);
  };
  const auto retry = [&](const std::string& method) {
    return RetryOf(nullptr, table.Find(method), codes(method), policy);
  };

  EXPECT_TRUE(codes("/b.S/Get").Has(StatusCode::ABORTED));
  EXPECT_FALSE(codes("/b.S/Get").Has(StatusCode::DATA_LOSS));
  EXPECT_EQ(retry("/b.S/Get"), std::nullopt);

  EXPECT_TRUE(codes("/a.S/List").Has(StatusCode::UNAVAILABLE));
  EXPECT_FALSE(codes("/a.S/List").Has(StatusCode::ABORTED));
  // Its time-out, and the policy's for the rest.
  ASSERT_NE(retry("/a.S/List"), std::nullopt);
  EXPECT_EQ(retry("/a.S/List")->attempt_timeout, absl::Seconds(2));
  EXPECT_EQ(retry("/a.S/List")->max_attempts, 5);

  // Nothing listed is a word, too.
  EXPECT_TRUE(codes("/a.S/Buy").empty());
  EXPECT_EQ(retry("/a.S/Buy"), std::nullopt);
  EXPECT_EQ(retry("/a.S/Get")->max_attempts, 9);

  // Names that only look alike, and names that are none.
  EXPECT_TRUE(codes("/a.S2/Buy").Has(StatusCode::ABORTED));
  EXPECT_TRUE(codes("").Has(StatusCode::ABORTED));
  EXPECT_TRUE(codes("Buy").Has(StatusCode::ABORTED));

  // Without a rule the policy has the word.
  const MethodTable empty(RpcOptions(), {});
  EXPECT_EQ(empty.Find("/a.S/Buy").rule, nullptr);
  EXPECT_EQ(empty.Find("/a.S/Buy").service, nullptr);
  const auto by_policy = RetryableCodes(nullptr, {}, policy);
  EXPECT_TRUE(by_policy.Has(StatusCode::DATA_LOSS));
  EXPECT_FALSE(by_policy.Has(StatusCode::UNAVAILABLE));
  EXPECT_EQ(RetryOf(nullptr, {}, {}, policy), std::nullopt);

  // A call's own options go before all.
  CallOptions own;
  EXPECT_TRUE(RetryableCodes(&own, table.Find("/b.S/Get"), policy)
                  .Has(StatusCode::ABORTED));
  own.retryable = std::vector<StatusCode>{};
  EXPECT_TRUE(RetryableCodes(&own, table.Find("/b.S/Get"), policy).empty());
  EXPECT_TRUE(RetryableCodes(&own, {}, policy).empty());
  own.attempt_timeout = absl::Seconds(3);
  const auto get = RetryOf(&own, table.Find("/a.S/Get"), {}, policy);
  EXPECT_EQ(get->attempt_timeout, absl::Seconds(3));
  EXPECT_EQ(get->max_attempts, 9);
  EXPECT_EQ(RetryOf(&own, {}, {}, policy)->max_attempts, 5);
  own.retry = RetryOptions();
  EXPECT_EQ(RetryOf(&own, table.Find("/a.S/Get"), {}, policy)->max_attempts, 3);
}

TEST(MethodTableTest, ToListACodeIsTheConsentToHedge) {
  const MethodTable table(RpcOptions(), {});
  const MethodWords words = table.Find("/a.S/Get");
  Policy policy;
  const CodeSet listed = {StatusCode::UNAVAILABLE};
  EXPECT_EQ(RetryOf(nullptr, words, listed, policy), std::nullopt);
  policy.retry.hedge.enabled = true;
  EXPECT_EQ(RetryOf(nullptr, words, {}, policy), std::nullopt);
  ASSERT_TRUE(RetryOf(nullptr, words, listed, policy));
  EXPECT_TRUE(RetryOf(nullptr, words, listed, policy)->hedge.repeat_consent);
  // Of a call that brings its own options as well.
  CallOptions own;
  own.retry = RetryOptions();
  own.retry->hedge.enabled = true;
  EXPECT_TRUE(RetryOf(&own, words, listed, Policy())->hedge.repeat_consent);
  EXPECT_FALSE(RetryOf(&own, words, {}, Policy())->hedge.repeat_consent);
}

TEST(RpcOptionsTest, FaultsOfAServiceConfigAreAmongThem) {
  RpcOptions options;
  options.target = "a:1";
  options.methods = {{"Say", {}}};
  options.service_config = R"({"methodConfig": [{"name": [{}],
      "retryPolicy": {"maxAttempts": 1, "initialBackoff": "1s",
                      "maxBackoff": "0s", "backoffMultiplier": 2,
                      "retryableStatusCodes": ["UNAVAILABLE"]}}]})";
  const std::string faults(ValidateRpcOptions(options).message());
  EXPECT_THAT(faults, HasSubstr("methods[0].method is \"Say\""));
  EXPECT_THAT(
      faults,
      HasSubstr(
          "service_config: methodConfig[0].retryPolicy.maxAttempts is 1"));
  EXPECT_THAT(faults,
              HasSubstr("methodConfig[0].retryPolicy.maxBackoff is \"0s\""));
  options.methods.clear();
  options.service_config = "{";
  EXPECT_THAT(std::string(ValidateRpcOptions(options).message()),
              HasSubstr("service_config: no JSON object"));
  options.service_config = "{}";
  EXPECT_TRUE(ValidateRpcOptions(options).ok());
}

TEST(RpcOptionsTest, TheServerOfATarget) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a.b:443", "a.b:443"},
      {"dns:///a.b:443", "a.b:443"},
      {"dns://8.8.8.8/a.b:443", "a.b:443"},
      {"DNS:a.b", "a.b"},
      {"dns://a.b", "dns://a.b"},
      {"ipv4:1.2.3.4:80", "1.2.3.4:80"},
      {"ipv6:[::1]:80", "[::1]:80"},
      {"xds:///shop", "shop"},
      {"unix:/tmp/socket", "unix:/tmp/socket"},
      {"dnsmasq:80", "dnsmasq:80"},
      {"", ""},
  };
  for (const auto& [target, server] : cases) {
    EXPECT_EQ(ServerOf(target), server) << target;
  }
}

}  // namespace
}  // namespace forbear::rpc
