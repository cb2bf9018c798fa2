// forbear explain: what it says of one answer, by what the drivers would do.
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Json(std::vector<std::string> args) {
  args.insert(args.begin(), "explain");
  args.emplace_back("--json");
  const ProgramResult result = RunForbear(args);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return result.out;
}

constexpr char kNow[] = "Wed, 21 Oct 2026 07:28:00 GMT";

TEST(ExplainTest, ARefusalWithAWait) {
  EXPECT_THAT(
      Json({"--http-status", "429", "--header", "Retry-After: 5", "--method",
            "POST", "--deadline", "30s"}),
      AllOf(StartsWith("{\"kind\": \"throttled\", \"processed\": "
                       "\"no\", \"retry\": true, \"stop_reason\": "
                       "\"none\", \"wait_ms\": {\"min\": 50"),
            HasSubstr("\"wait_source\": \"retry-after\""),
            HasSubstr("\"gate_ms\": 50"),
            HasSubstr("\"breaker_counts\": \"throttled\""),
            HasSubstr("\"budget_cost\": 5"), HasSubstr("\"retry_at\": null")));
}

TEST(ExplainTest, AWaitThatDoesNotFit) {
  EXPECT_THAT(Json({"--http-status", "429", "--header", "Retry-After: 120",
                    "--deadline", "30s", "--now", kNow}),
              AllOf(HasSubstr("\"retry\": false"),
                    HasSubstr("\"stop_reason\": \"wait_exceeds_deadline\""),
                    HasSubstr("\"wait_ms\": {\"min\": 0, \"max\": 0}"),
                    HasSubstr("\"retry_at\": \"2026-10-21T07:30:00")));
}

TEST(ExplainTest, DatesCountFromNow) {
  EXPECT_THAT(
      Json({"--http-status", "503", "--header",
            "Retry-After: Wed, 21 Oct 2026 07:28:10 GMT", "--now", kNow}),
      AllOf(HasSubstr("\"retry\": true"), HasSubstr("\"min\": 100"),
            HasSubstr("\"breaker_counts\": \"failure\""),
            HasSubstr("\"budget_cost\": 14")));
}

TEST(ExplainTest, WhatMayHaveBeenDoneIsNotRepeated) {
  const std::vector<std::string> post = {"--http-status", "503", "--method",
                                         "POST"};
  EXPECT_THAT(Json(post),
              AllOf(HasSubstr("\"retry\": false"),
                    HasSubstr("\"stop_reason\": \"not_idempotent\""),
                    HasSubstr("Idempotency-Key")));
  std::vector<std::string> marked = post;
  marked.emplace_back("--idempotent");
  EXPECT_THAT(Json(marked), HasSubstr("\"retry\": true"));
}

TEST(ExplainTest, AttemptsAndTimeRunOut) {
  EXPECT_THAT(Json({"--http-status", "500", "--attempt", "2"}),
              HasSubstr("\"retry\": true"));
  EXPECT_THAT(Json({"--http-status", "500", "--attempt", "3"}),
              HasSubstr("\"stop_reason\": \"attempts_exhausted\""));
  EXPECT_THAT(Json({"--http-status", "429", "--header", "Retry-After: 5",
                    "--elapsed", "58s"}),
              HasSubstr("\"stop_reason\": \"wait_exceeds_deadline\""));
}

TEST(ExplainTest, CurlCodes) {
  EXPECT_THAT(Json({"--curl-code", "7"}),
              AllOf(HasSubstr("\"kind\": \"transient\""),
                    HasSubstr("\"processed\": \"no\""),
                    HasSubstr("\"budget_cost\": 0")));
  EXPECT_THAT(
      Json({"--curl-code", "56", "--bytes-sent", "0", "--method", "POST"}),
      HasSubstr("\"retry\": true"));
  EXPECT_THAT(
      Json({"--curl-code", "56", "--bytes-sent", "100", "--method", "POST"}),
      HasSubstr("\"stop_reason\": \"not_idempotent\""));
  EXPECT_THAT(Json({"--curl-code", "60"}),
              AllOf(HasSubstr("\"kind\": \"permanent\""),
                    HasSubstr("\"breaker_counts\": \"nothing\"")));
}

TEST(ExplainTest, Grpc) {
  EXPECT_THAT(Json({"--grpc-status", "14"}),
              AllOf(HasSubstr("\"kind\": \"transient\""),
                    HasSubstr("\"stop_reason\": \"not_idempotent\"")));
  EXPECT_THAT(Json({"--grpc-status", "UNAVAILABLE", "--idempotent", "--trailer",
                    "grpc-retry-pushback-ms: 1000"}),
              AllOf(HasSubstr("\"retry\": true"), HasSubstr("\"min\": 100"),
                    HasSubstr("\"wait_source\": \"pushback\"")));
  EXPECT_THAT(Json({"--grpc-status", "14", "--idempotent", "--trailer",
                    "grpc-retry-pushback-ms: -1"}),
              HasSubstr("\"stop_reason\": \"server_said_no\""));
}

TEST(ExplainTest, TheBodyAndTheProfile) {
  const std::string path = ::testing::TempDir() + "/body.json";
  std::ofstream(path) << R"({"error":{"message":"m","type":)"
                         R"("insufficient_quota","code":null}})";
  for (const char* profile : {"openai", "generic"}) {
    EXPECT_THAT(Json({"--http-status", "429", "--header", "Retry-After: 5",
                      "--body-file", path, "--profile", profile}),
                AllOf(HasSubstr("\"kind\": \"quota-exhausted\""),
                      HasSubstr("\"stop_reason\": \"quota_exhausted\""),
                      HasSubstr(std::string("Profile ") + profile)));
  }
}

TEST(ExplainTest, TheConfiguration) {
  const std::string path = ::testing::TempDir() + "/one.textproto";
  std::ofstream(path) << "retry { max_attempts: 1 }\n";
  EXPECT_THAT(Json({"--http-status", "500", "--config", path}),
              HasSubstr("\"stop_reason\": \"attempts_exhausted\""));
}

TEST(ExplainTest, ForPeople) {
  const ProgramResult result = RunForbear(
      {"explain", "--http-status", "429", "--header", "Retry-After: 5"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("retry           yes, after 5"),
                                HasSubstr("(retry-after)"),
                                HasSubstr("for all callers of the key")));
}

TEST(ExplainTest, WrongUsage) {
  struct Wrong {
    std::vector<std::string> args;
    std::string said;
  };
  const std::vector<Wrong> cases = {
      {{}, "no answer is named"},
      {{"--http-status", "42"}, "a number from 100 to 999"},
      {{"--grpc-status", "99"}, "a name like UNAVAILABLE"},
      {{"--http-status", "429", "--grpc-status", "8"}, "give one"},
      {{"--grpc-status", "8", "--header", "a: b"}, "--header goes with"},
      {{"--http-status", "429", "--trailer", "a: b"}, "--trailer goes with"},
      {{"--http-status", "429", "--header", "no colon"}, "has no colon"},
      {{"--http-status", "429", "--attempt", "0"}, "--attempt is '0'"},
      {{"--http-status", "429", "--now", "today"}, "--now is 'today'"},
      {{"--http-status", "429", "--profile", "nobody"}, "forbear profile list"},
      {{"--http-status", "429", "--config", "/nowhere.json"}, "/nowhere.json"},
      {{"--http-status", "429", "--body-file", "/nowhere"}, "cannot be read"},
      {{"--http-status", "429", "more"}, "'more' is not an option"},
  };
  for (Wrong wrong : cases) {
    wrong.args.insert(wrong.args.begin(), "explain");
    const ProgramResult result = RunForbear(wrong.args);
    EXPECT_EQ(result.exit_code, 2) << wrong.said;
    EXPECT_EQ(result.out, "") << wrong.said;
    EXPECT_THAT(result.err, HasSubstr(wrong.said));
  }
}

}  // namespace
}  // namespace forbear::testing
