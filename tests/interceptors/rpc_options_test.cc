#include "interceptors/rpc_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

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
  RetryOptions client;
  client.max_attempts = 5;
  const MethodTable table(options, client);

  const MethodPolicy& other = table.Find("/b.S/Get");
  EXPECT_TRUE(other.retryable.Has(StatusCode::ABORTED));
  EXPECT_EQ(other.retry, std::nullopt);

  const MethodPolicy& list = table.Find("/a.S/List");
  EXPECT_TRUE(list.retryable.Has(StatusCode::UNAVAILABLE));
  EXPECT_FALSE(list.retryable.Has(StatusCode::ABORTED));
  // Its time-out, and the client's for the rest.
  ASSERT_NE(list.retry, std::nullopt);
  EXPECT_EQ(list.retry->attempt_timeout, absl::Seconds(2));
  EXPECT_EQ(list.retry->max_attempts, 5);

  EXPECT_TRUE(table.Find("/a.S/Buy").retryable.empty());
  EXPECT_EQ(table.Find("/a.S/Buy").retry, std::nullopt);
  EXPECT_EQ(table.Find("/a.S/Get").retry->max_attempts, 9);

  // Names that only look alike, and names that are none.
  EXPECT_TRUE(table.Find("/a.S2/Buy").retryable.Has(StatusCode::ABORTED));
  EXPECT_TRUE(table.Find("").retryable.Has(StatusCode::ABORTED));
  EXPECT_TRUE(table.Find("Buy").retryable.Has(StatusCode::ABORTED));
  EXPECT_TRUE(MethodTable({}, client).Find("/a.S/Buy").retryable.empty());
}

}  // namespace
}  // namespace forbear::rpc
