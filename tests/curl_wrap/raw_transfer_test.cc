// The brake that libcurl 8.7 and later need, which is FAILONERROR, line by line. It
// works with all versions, and so is tested with the one that is here.
#include "curl_wrap/raw_transfer.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/policy.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "runtime/blocking_driver.h"
#include "runtime/call.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "signals/profile_set.h"
#include "tests/curl_wrap/raw_app.h"

namespace forbear::curl {
namespace {

class FailBrakeTest : public ::testing::Test {
 protected:
  CallResult Run(RawApp* app, const RawOptions& options = {}) {
    CallRequest request;
    request.policy = client_->TopPolicy();
    request.protocol = Protocol::kHttp;
    request.target = absl::StrCat("127.0.0.1:", server_->port());
    request.quota_key = request.endpoint_key = request.target;
    request.retry = options.retry;
    if (options.deadline < absl::InfiniteDuration()) {
      request.deadline = MonotonicNow() + options.deadline;
    }
    const ProfileRef profile =
        client_->ProfileOf("", *request.policy, request.target);
    HttpTransport::Readers readers;
    readers.profile = profile.profile;
    readers.generic = &profile.set->generic();
    readers.classifier = &client_->options().classify_http;
    const auto parker = std::make_shared<Parker>();
    CURLM* multi = curl_multi_init();
    CallResult result;
    {
      Call call(client_.get(), request, parker);
      RawTransfer transfer(app->easy, multi, &options, readers, {},
                           RawTransfer::Brake::kFail);
      RunBlocking(&call, parker.get(), &transfer);
      result.code = transfer.Conclude(call.record());
      result.record = call.record();
    }
    curl_multi_cleanup(multi);
    result.stop_reason = result.record.stop_reason;
    return result;
  }
  int64_t Sends() const { return server_->log().Count(); }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
};

TEST_F(FailBrakeTest, BodiesOfFailedAttemptsAreHidden) {
  server_->Script({Reply::Of(503, "bad"), Reply::Of(503, "chunks").Chunked(),
                   Reply::Of(200, "good")});
  RawApp app(client_, server_->Url());
  const CallResult result = Run(&app);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "good");
  EXPECT_EQ(Sends(), 3);
}

TEST_F(FailBrakeTest, TheLastFailureIsDeliveredWhole) {
  server_->Script(
      {Reply::Of(500, "one"), Reply::Of(500, "two"), Reply::Of(500, "three")});
  RawApp app(client_, server_->Url());
  const CallResult result = Run(&app);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, "three");
  // FAILONERROR is off.
  app.sink = Sink();
  EXPECT_EQ(curl_easy_perform(app.easy), CURLE_OK);
  EXPECT_EQ(app.sink.body, "three");
}

TEST_F(FailBrakeTest, AWaitThatDoesNotFitTakesTheBrakeOff) {
  server_->Script({Reply::Of(429, "tomorrow").With("Retry-After", "3600")});
  RawApp app(client_, server_->Url());
  RawOptions options;
  options.deadline = absl::Seconds(5);
  const CallResult result = Run(&app, options);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_TRUE(result.record.retry_at.has_value());
  EXPECT_EQ(app.sink.body, "tomorrow");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(FailBrakeTest, TheLastLineMayTurnIt) {
  server_->Script(
      {Reply::Raw("HTTP/1.1 503 No\r\nContent-Length: 5\r\n"
                  "x-should-retry: false\r\n\r\nnever")});
  RawApp app(client_, server_->Url());
  CallResult result = Run(&app);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kServerSaidNo);
  EXPECT_EQ(app.sink.body, "never");
  server_->Script({Reply::Raw("HTTP/1.1 404 No\r\nContent-Length: 5\r\n"
                              "x-should-retry: true\r\n\r\nagain"),
                   Reply::Of(200, "yes")});
  app.sink = Sink();
  result = Run(&app);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "yes");
  EXPECT_EQ(Sends(), 3);
}

TEST_F(FailBrakeTest, WhatOnlyTheSharedStatesKnowComesTooLate) {
  ClientOptions options;
  options.endpoint.budget.capacity = 1;
  options.endpoint.budget.transient_cost = 1;
  options.endpoint.budget.throttled_cost = 1;
  client_ = NewClient(options);
  server_->Script({Reply::Of(503, "one"), Reply::Of(503, "two")});
  RawApp app(client_, server_->Url());
  const CallResult result = Run(&app);
  EXPECT_EQ(result.stop_reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.record.attempts.back().outcome.status, 503);
  EXPECT_EQ(app.sink.body, "");
}

// A wait that stands behind hundreds of lines comes too late for the brake, too. It
// is honoured nevertheless.
TEST_F(FailBrakeTest, AWaitAtTheEndOfALongHead) {
  Reply reply = Reply::Of(503, "no");
  for (int i = 0; i < 300; ++i) reply = reply.With(absl::StrCat("X-", i), "x");
  server_->Script({reply.With("Retry-After", "3600")});
  RawApp app(client_, server_->Url());
  RawOptions options;
  options.deadline = absl::Seconds(5);
  const CallResult result = Run(&app, options);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_TRUE(result.record.retry_at.has_value());
  EXPECT_EQ(Sends(), 1);
}

TEST_F(FailBrakeTest, ABodyThatCannotBeSentAgainTakesTheBrakeOff) {
  server_->Script({Reply::Of(429, "no")});
  RawApp app(client_, server_->Url());
  app.Post("x");
  const CallResult result = Run(&app);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(app.sink.body, "no");
}

TEST_F(FailBrakeTest, AConnectionOutlivesWhatHasNoBody) {
  server_->Script({Reply::Of(503), Reply::Of(200, "yes")});
  RawApp app(client_, server_->Url());
  EXPECT_EQ(Run(&app).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "yes");
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(FailBrakeTest, FailOnErrorOfTheApplication) {
  server_->Script({Reply::Of(503, "body"), Reply::Of(404, "body")});
  RawApp app(client_, server_->Url());
  app.Set(CURLOPT_FAILONERROR, 1L);
  RawOptions options;
  options.fail_on_error = true;
  const CallResult result = Run(&app, options);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_EQ(Sends(), 2);
  EXPECT_EQ(curl_easy_perform(app.easy), CURLE_HTTP_RETURNED_ERROR);
}

}  // namespace
}  // namespace forbear::curl
