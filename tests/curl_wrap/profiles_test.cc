// Vendors' answers, end to end: what a profile reads in them decides whether, and
// when, the next request leaves. The answers are those of tests/signals/profiles,
// with waits that a test can wait for.
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "curl_wrap/handle.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "signals/profile_set.h"
#include "tests/curl_wrap/app.h"
#include "tests/testing/http_server.h"
#include "tests/testing/reply.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
// Less than any wait that a test would take for one of its own.
constexpr absl::Duration kAtOnce = absl::Milliseconds(900);

class ProfilesTest : public ::testing::Test {
 protected:
  // A call to a server that answers so, and then 200.
  CallResult Call(const std::string& profile, std::vector<Reply> replies,
                  CallOptions options = {}) {
    replies.push_back(Reply::Of(200, "done"));
    server_->Script(std::move(replies));
    app_ = std::make_unique<App>(client_, server_->Url());
    if (post_) app_->Post("x");
    options.profile = profile;
    if (options.deadline == absl::InfiniteDuration()) options.deadline = kLong;
    const Stopwatch watch;
    CallResult result = app_->curl.Perform(options);
    elapsed_ = watch.Elapsed();
    return result;
  }
  int64_t Sends() const { return server_->log().Count(); }
  absl::Duration Gap() const {
    const std::vector<Arrival> arrivals = server_->log().Snapshot();
    if (arrivals.size() != 2) return absl::ZeroDuration();
    return arrivals[1].since_start - arrivals[0].since_start;
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
  std::unique_ptr<App> app_;
  bool post_ = true;
  absl::Duration elapsed_;
};

constexpr char kOutOfCredit[] =
    R"({"error":{"message":"You exceeded your current quota …",)"
    R"("type":"insufficient_quota","param":null,"code":"insufficient_quota"}})";

TEST_F(ProfilesTest, NoWaitBuysCredit) {
  const CallResult result =
      Call("openai", {Reply::Of(429, kOutOfCredit).With("Retry-After", "1")});
  EXPECT_LT(elapsed_, kAtOnce);
  EXPECT_EQ(Sends(), 1);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kQuotaExhausted);
  EXPECT_EQ(result.record.attempts[0].outcome.kind, ErrorKind::kQuotaExhausted);
  // The answer is the application's, whole.
  EXPECT_EQ(app_->sink.body, kOutOfCredit);
  EXPECT_EQ(app_->Head("Retry-After"), "1");
}

TEST_F(ProfilesTest, NorAtAServerThatNobodyDescribed) {
  EXPECT_EQ(Call("", {Reply::Of(429, kOutOfCredit)}).stop_reason,
            StopReason::kQuotaExhausted);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(ProfilesTest, TheMarkCountsWhereTheBodyIsCutOff) {
  const std::string body = kOutOfCredit;
  Reply cut = Reply::Truncate(body, body.find(",\"param\""));
  cut.status = 429;
  EXPECT_EQ(Call("openai", {cut}).stop_reason, StopReason::kQuotaExhausted);
  cut = Reply::Truncate(body, body.find("_quota\",\"param\""));
  cut.status = 429;
  EXPECT_EQ(Call("openai", {cut}).stop_reason, StopReason::kSuccess);
}

TEST_F(ProfilesTest, GeminiSaysItInTheBody) {
  const CallResult result = Call("gemini", {Reply::Of(429, R"({"error":{
      "code":429,"status":"RESOURCE_EXHAUSTED","details":[
      {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[
        {"quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]},
      {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.7s"}
      ]}})")});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app_->sink.body, "done");
  EXPECT_GE(Gap(), absl::Milliseconds(700));
  ASSERT_EQ(result.record.attempts.size(), 2u);
  EXPECT_EQ(result.record.attempts[0].outcome.pushback,
            absl::Milliseconds(700));
  EXPECT_EQ(result.record.attempts[1].wait_source, DelaySource::kRetryInfo);
}

TEST_F(ProfilesTest, AWaitDoesNotMeanThatWaitingHelps) {
  const CallResult result = Call("gemini", {Reply::Of(429, R"({"error":{
      "details":[
      {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[
        {"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
      {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.1s"}
      ]}})")});
  EXPECT_EQ(result.stop_reason, StopReason::kQuotaExhausted);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(ProfilesTest, GroqWritesAsGoDoes) {
  const CallResult result = Call(
      "groq", {Reply::Of(429, R"({"error":{"code":"rate_limit_exceeded"}})")
                   .With("x-ratelimit-remaining-requests", "14370")
                   .With("x-ratelimit-reset-requests", "2m59.56s")
                   .With("x-ratelimit-remaining-tokens", "0")
                   .With("x-ratelimit-reset-tokens", "660ms")});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_GE(Gap(), absl::Milliseconds(660));
  EXPECT_LT(elapsed_, absl::Seconds(10));
  EXPECT_EQ(result.record.attempts[1].wait_source, DelaySource::kRateLimit);
}

TEST_F(ProfilesTest, GitHubsLimitIsA403) {
  const int64_t reset = absl::ToUnixSeconds(absl::Now() + absl::Seconds(1));
  const CallResult result =
      Call("github", {Reply::Of(403, R"({"message":"API rate limit exceeded"})")
                          .With("X-RateLimit-Remaining", "0")
                          .With("X-RateLimit-Reset", absl::StrCat(reset))});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  // A second after the reset, counted from the answer's own date.
  EXPECT_GE(Gap(), absl::Seconds(1));
  EXPECT_EQ(result.record.attempts[0].outcome.kind, ErrorKind::kThrottled);
  EXPECT_EQ(result.record.attempts[1].wait_source, DelaySource::kRateLimit);
}

TEST_F(ProfilesTest, AnotherServersIsNot) {
  const CallResult result = Call("", {Reply::Of(403, "{}")
                                          .With("X-RateLimit-Remaining", "0")
                                          .With("X-RateLimit-Reset", "1")});
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(ProfilesTest, Milliseconds) {
  const CallResult result = Call(
      "azure-openai",
      {Reply::Of(429).With("retry-after-ms", "600").With("retry-after", "1")});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.attempts[0].outcome.pushback,
            absl::Milliseconds(600));
  EXPECT_GE(Gap(), absl::Milliseconds(600));
}

TEST_F(ProfilesTest, ACreditThatComesBack) {
  const CallResult result =
      Call("openrouter", {Reply::Of(402, R"({"error":{"code":402,"metadata":{
               "limit_source":"openrouter_in_flight_budget"}}})")
                              .With("retry-after-ms", "300")});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 2);
  EXPECT_GE(Gap(), absl::Milliseconds(300));
  EXPECT_EQ(Call("openrouter", {Reply::Of(402, "{}")}).stop_reason,
            StopReason::kQuotaExhausted);
  // Of a card that was declined nobody else has to hear.
  EXPECT_EQ(Call("stripe", {Reply::Of(402, "{}")}).stop_reason,
            StopReason::kPermanentError);
}

// What is only to be seen in the body stops the others, too.
TEST_F(ProfilesTest, ARefusalInDisguiseStopsTheOthers) {
  Call("aws", {Reply::Of(400, R"({"__type":"com.x#ThrottlingException"})")
                   .With("x-amz-retry-after", "500")});
  EXPECT_EQ(Sends(), 2);
  EXPECT_GE(Gap(), absl::Milliseconds(500));
}

TEST_F(ProfilesTest, AnHtmlPageIsAnOutage) {
  post_ = false;
  const CallResult result =
      Call("openai",
           {Reply::Of(503, "<html><body>\"insufficient_quota\"</body></html>")
                .With("Content-Type", "text/html")
                .With("x-ratelimit-remaining-requests", "0")
                .With("x-ratelimit-reset-requests", "30s")});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.attempts[0].outcome.kind, ErrorKind::kTransient);
  EXPECT_FALSE(result.record.attempts[0].outcome.pushback.has_value());
  EXPECT_EQ(result.record.attempts[1].wait_source, DelaySource::kBackoff);
  EXPECT_LT(elapsed_, absl::Seconds(10));
}

TEST_F(ProfilesTest, TheServersOwnWord) {
  post_ = false;
  CallResult result =
      Call("openai", {Reply::Of(503).With("x-should-retry", "false")});
  EXPECT_EQ(result.stop_reason, StopReason::kServerSaidNo);
  EXPECT_EQ(result.http_status, 503);
  result = Call("", {Reply::Of(422, "no").With("x-should-retry", "true")});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app_->sink.body, "done");
  post_ = true;
  result = Call("", {Reply::Of(422, "no").With("x-should-retry", "true")});
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(app_->sink.body, "no");
}

// By which header the server knows a repetition, the profile says.
TEST_F(ProfilesTest, WhatMakesARepetitionHarmless) {
  const absl::StatusOr<std::shared_ptr<const ProfileSet>> set =
      ProfileSet::Create({{"shop.json", R"({"id":"shop","date":"2026-11-25",
          "sources":[{"tag":"I","what":"this test"}],
          "idempotency_header":"x-request-token"})"}});
  ASSERT_TRUE(set.ok()) << set.status();
  ClientOptions client_options;
  client_options.profile_set = *set;
  client_ = NewClient(std::move(client_options));
  for (const auto& [profile, header, reason] :
       {std::make_tuple("shop", "X-Request-Token: 1", StopReason::kSuccess),
        std::make_tuple("shop", "Idempotency-Key: 1",
                        StopReason::kNotIdempotent),
        std::make_tuple("generic", "Idempotency-Key: 1", StopReason::kSuccess),
        std::make_tuple("generic", "X-Request-Token: 1",
                        StopReason::kNotIdempotent)}) {
    server_->Script({Reply::Of(503), Reply::Of(200)});
    App app(client_, server_->Url());
    app.Post("x");
    app.Header(header);
    CallOptions options;
    options.profile = profile;
    EXPECT_EQ(app.curl.Perform(options).stop_reason, reason)
        << profile << " " << header;
  }
}

// A body that does not come in time decides nothing: the head does.
TEST_F(ProfilesTest, ASlowBody) {
  CallOptions options;
  options.max_hold_time = absl::Milliseconds(100);
  const CallResult result = Call(
      "openai", {Reply::Of(429, kOutOfCredit).BodyAfter(absl::Seconds(15))},
      options);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_LT(elapsed_, absl::Seconds(10));
  EXPECT_EQ(app_->sink.body, "done");
}

// Nor one that is larger than what is held, but for what is there of it.
TEST_F(ProfilesTest, ALargeBody) {
  CallOptions options;
  options.max_held_bytes = 2000;
  const std::string rest =
      absl::StrCat(",\"x\":\"", std::string(100000, 'x'), "\"}");
  std::string body = kOutOfCredit;
  body = absl::StrCat(body.substr(0, body.size() - 1), rest);
  CallResult result = Call(
      "openai", {Reply::Of(429, body).InPieces(500, absl::Milliseconds(1))},
      options);
  EXPECT_EQ(result.stop_reason, StopReason::kQuotaExhausted);
  EXPECT_EQ(app_->sink.body, body);
  body = absl::StrCat("{\"x\":\"", std::string(100000, 'x'), "\",",
                      std::string(kOutOfCredit).substr(1));
  result = Call("openai",
                {Reply::Of(429, body).InPieces(500, absl::Milliseconds(1))},
                options);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
}

// What streams must not be held up: an answer below 400 is the application's.
TEST_F(ProfilesTest, GoodAnswersAreNotLookedInto) {
  const std::string body = R"({"ok":false,"error":"ratelimited"})";
  const CallResult result = Call("slack", {Reply::Of(200, body)});
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app_->sink.body, body);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(ProfilesTest, ByHost) {
  const absl::StatusOr<std::shared_ptr<const ProfileSet>> set =
      ProfileSet::Create({{"shop.json", R"({"id":"shop","date":"2026-11-25",
          "sources":[{"tag":"I","what":"this test"}],"hosts":["127.0.0.1"],
          "rules":[{"id":"sold-out","status":[418],
                    "any":[{"path":"/why","in":["sold out"]}],
                    "class":"quota_exhausted","retry":"never"}]})"}});
  ASSERT_TRUE(set.ok()) << set.status();
  ClientOptions options;
  options.profile_set = *set;
  client_ = NewClient(std::move(options));
  EXPECT_EQ(Call("", {Reply::Of(418, R"({"why":"sold out"})")}).stop_reason,
            StopReason::kQuotaExhausted);
  EXPECT_EQ(Call("", {Reply::Of(418, R"({"why":"a teapot"})")}).stop_reason,
            StopReason::kPermanentError);
  EXPECT_EQ(
      Call("generic", {Reply::Of(418, R"({"why":"sold out"})")}).stop_reason,
      StopReason::kPermanentError);
}

TEST_F(ProfilesTest, OneThatDoesNotExist) {
  const CallResult result = Call("nobody", {});
  EXPECT_EQ(result.code, CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(Sends(), 0);
}

}  // namespace
}  // namespace forbear::curl
