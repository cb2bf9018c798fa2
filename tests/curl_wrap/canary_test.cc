// Secrets of a call: they reach the server, and nothing that is written down.
#include <curl/curl.h>

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/multi.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "proto/record_convert.h"
#include "runtime/classifier.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

// Each secret is a word of its own: a failure names what leaked.
constexpr const char* kSecrets[] = {
    "canary-user",   "canary-password", "canary-path",   "canary-query",
    "canary-auth",   "canary-cookie",   "canary-jar",    "canary-apikey",
    "canary-idem",   "canary-request",  "canary-answer", "canary-header",
    "canary-moved",  "canary-fragment", "canary-reason", "canary-bearer",
    "canary-userpwd"};

class CanaryTest : public ::testing::TestWithParam<bool> {
 protected:
  CanaryTest() {
    ClientOptions options;
    options.enabled = GetParam();
    options.log = [this](absl::string_view line) { log_.emplace_back(line); };
    options.classify_http = [](const HttpAnswer& answer, Outcome* outcome) {
      if (absl::StrContains(answer.body, "for good")) {
        outcome->kind = ErrorKind::kPermanent;
      }
    };
    client_ = NewClient(options);
  }

  std::string Url(absl::string_view scheme, int port) const {
    return absl::StrCat(scheme,
                        "://canary-user:canary-password@127.0.0.1:", port,
                        "/canary-path?key=canary-query#canary-fragment");
  }
  static Reply Secret(int status, absl::string_view body = "") {
    return Reply::Of(status, absl::StrCat("canary-answer ", body))
        .With("X-Secret", "canary-header")
        .With("Set-Cookie", "session=canary-jar");
  }
  void SetSecrets(App* app) {
    app->Header("Authorization: Bearer canary-auth");
    app->Header("Cookie: a=canary-cookie");
    app->Header("x-api-key: canary-apikey");
    app->Header("Idempotency-Key: canary-idem");
    app->curl.SetOpt(CURLOPT_USERPWD, "canary-userpwd:canary-userpwd");
    app->curl.SetOpt(CURLOPT_XOAUTH2_BEARER, "canary-bearer");
    app->curl.SetOpt(CURLOPT_COOKIEFILE, "");
    app->Post("canary-request");
  }
  // One call, and all that it leaves behind.
  CallResult Check(App* app, absl::Duration deadline = absl::Seconds(5)) {
    log_.clear();
    app->error[0] = '\0';
    CallOptions options;
    options.deadline = deadline;
    CallResult result = app->curl.Perform(options);
    const std::string json = RecordToJson(result.record);
    const std::string text = FormatCallRecord(result.record);
    const std::string lines = absl::StrJoin(log_, "\n");
    EXPECT_TRUE(absl::StrContains(text, "127.0.0.1:")) << text;
    if (GetParam()) {
      EXPECT_GT(log_.size(), 0u);
    }
    for (const char* secret : kSecrets) {
      EXPECT_FALSE(absl::StrContains(json, secret)) << json;
      EXPECT_FALSE(absl::StrContains(text, secret)) << text;
      EXPECT_FALSE(absl::StrContains(lines, secret)) << lines;
      // The rest of the texts are libcurl's own.
      if (absl::StrContains(app->error, "forbear:")) {
        EXPECT_FALSE(absl::StrContains(app->error, secret)) << app->error;
      }
    }
    return result;
  }

  const std::unique_ptr<HttpServer> server_ = StartServer();
  std::vector<std::string> log_;
  std::shared_ptr<Client> client_;
};

// That the secrets are there at all is what makes the rest mean something.
TEST_P(CanaryTest, TheServerGetsThem) {
  server_->Script({Secret(200)});
  App app(client_, Url("http", server_->port()));
  SetSecrets(&app);
  EXPECT_EQ(Check(&app).stop_reason, StopReason::kSuccess);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 1u);
  const Arrival& a = arrivals[0];
  EXPECT_EQ(a.path, "/canary-path?key=canary-query");
  EXPECT_EQ(a.headers.at("authorization"), "Bearer canary-auth");
  EXPECT_EQ(a.headers.at("cookie"), "a=canary-cookie");
  EXPECT_EQ(a.headers.at("x-api-key"), "canary-apikey");
  EXPECT_EQ(a.body, "canary-request");
  EXPECT_TRUE(absl::StrContains(app.sink.body, "canary-answer"));
  EXPECT_TRUE(absl::StrContains(app.sink.head, "canary-header"));
}

TEST_P(CanaryTest, RefusalsAndRetries) {
  server_->Script({Secret(503), Secret(429).With("Retry-After", "0"),
                   Reply::ResetBeforeHead(), Secret(200)});
  App app(client_, Url("http", server_->port()));
  SetSecrets(&app);
  const CallResult result = Check(&app);
  if (GetParam()) {
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  }
}

TEST_P(CanaryTest, EveryEnd) {
  App app(client_, Url("http", server_->port()));
  SetSecrets(&app);
  server_->Script({Secret(404)});
  EXPECT_EQ(Check(&app).stop_reason, StopReason::kPermanentError);
  server_->Script({Secret(503, "for good")});
  Check(&app);
  server_->Script({Reply::Truncate("canary-answer", 10)});
  Check(&app);
  server_->Script({Reply::Raw("canary-reason\r\n\r\n")});
  Check(&app, absl::Milliseconds(300));
  server_->Script(
      {Reply::Raw("HTTP/1.1 503 canary-reason\r\nContent-Length: 13\r\n"
                  "Retry-After: canary-header\r\n\r\ncanary-answer"),
       Secret(200)});
  Check(&app);
  server_->Script(
      {Secret(302).With("Location", "/?canary-moved=1#canary-fragment")});
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_MAXREDIRS, 2L);
  Check(&app);
  if (GetParam()) {
    server_->Script({Reply::Hang()});
    EXPECT_EQ(Check(&app, absl::Milliseconds(200)).stop_reason,
              StopReason::kDeadlineExceeded);
    EXPECT_EQ(Check(&app, absl::ZeroDuration()).stop_reason,
              StopReason::kDeadlineExceeded);
    server_->Script({Secret(429).With("Retry-After", "3600")});
    EXPECT_EQ(Check(&app).stop_reason, StopReason::kWaitExceedsDeadline);
    EXPECT_EQ(Check(&app).stop_reason, StopReason::kWaitExceedsDeadline);
    EXPECT_TRUE(absl::StrContains(app.error, "forbear:")) << app.error;
  }
}

TEST_P(CanaryTest, LocalFailures) {
  {
    // No TLS there.
    App app(client_, Url("https", server_->port()));
    SetSecrets(&app);
    EXPECT_EQ(Check(&app).stop_reason, StopReason::kPermanentError);
  }
  {
    // What is no method may be anything.
    App app(client_, Url("http", server_->port()));
    SetSecrets(&app);
    app.curl.SetOpt(CURLOPT_CUSTOMREQUEST, "GET canary-query");
    Check(&app, absl::Milliseconds(300));
  }
  {
    // A body that cannot be read again.
    App app(client_, Url("http", server_->port()));
    app.Header("x-api-key: canary-apikey");
    server_->Script({Secret(503), Secret(200)});
    app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
    std::string body = "canary-request";
    app.curl.SetOpt(
        CURLOPT_READFUNCTION,
        +[](char* to, size_t, size_t, void* from) -> size_t {
          auto* text = static_cast<std::string*>(from);
          const size_t n = text->copy(to, text->size());
          text->clear();
          return n;
        });
    app.curl.SetOpt(CURLOPT_READDATA, &body);
    const CallResult result = Check(&app);
    if (GetParam()) {
      EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
    }
  }
  server_->Stop();
  App app(client_, Url("http", server_->port()));
  SetSecrets(&app);
  Check(&app, absl::Milliseconds(200));
}

// The same by an engine, whose requests are copies.
TEST_P(CanaryTest, AnEngine) {
  server_->Script({Secret(503), Secret(429).With("Retry-After", "0"),
                   Reply::ResetBeforeHead(), Secret(200), Secret(500)});
  const std::unique_ptr<Engine> engine = *Engine::Create(client_);
  App app(client_, Url("http", server_->port()));
  SetSecrets(&app);
  for (int i = 0; i < 4; ++i) {
    log_.clear();
    CallOptions options;
    options.deadline = absl::Seconds(5);
    Response response;
    if (i % 2 == 0) {
      Request request(Url("http", server_->port()));
      request.AddHeader("Authorization: Bearer canary-auth");
      request.AddHeader("Idempotency-Key: canary-idem");
      request.SetOpt(CURLOPT_USERPWD, "canary-userpwd:canary-userpwd");
      request.SetBody("canary-request");
      response = engine->Send(std::move(request), options).get();
    } else {
      std::promise<Response> done;
      engine->Start(&app.curl, options,
                    [&](Response r) { done.set_value(std::move(r)); });
      response = done.get_future().get();
    }
    const std::string all = absl::StrCat(RecordToJson(response.record),
                                         FormatCallRecord(response.record),
                                         absl::StrJoin(log_, "\n"));
    EXPECT_TRUE(absl::StrContains(all, "127.0.0.1:"));
    for (const char* secret : kSecrets) {
      EXPECT_FALSE(absl::StrContains(all, secret)) << secret << "\n" << all;
    }
  }
}

// And by a loop of the application's own.
TEST_P(CanaryTest, AMulti) {
  server_->Script({Secret(503), Secret(429).With("Retry-After", "0"),
                   Reply::ResetBeforeHead(), Secret(200), Secret(500)});
  const std::unique_ptr<CURLM, CURLMcode (*)(CURLM*)> owner(
      curl_multi_init(), &curl_multi_cleanup);
  const std::unique_ptr<Multi> multi = *Multi::Create(owner.get(), client_);
  App app(client_, Url("http", server_->port()));
  SetSecrets(&app);
  for (int i = 0; i < 4; ++i) {
    log_.clear();
    CallOptions options;
    options.deadline = absl::Seconds(5);
    std::vector<Response> responses;
    const auto done = [&responses](Response r) {
      responses.push_back(std::move(r));
    };
    const int64_t before = server_->log().Count();
    if (i % 2 == 0) {
      Request request(Url("http", server_->port()));
      request.AddHeader("Authorization: Bearer canary-auth");
      request.AddHeader("Idempotency-Key: canary-idem");
      request.SetOpt(CURLOPT_USERPWD, "canary-userpwd:canary-userpwd");
      request.SetBody("canary-request");
      multi->Add(std::move(request), options, done);
    } else {
      multi->Add(&app.curl, options, done);
    }
    int running = 0;
    do {
      ASSERT_EQ(multi->Perform(&running), CURLM_OK);
      if (running != 0) multi->Poll(nullptr, 0, 1000, nullptr);
    } while (running != 0);
    ASSERT_EQ(responses.size(), 1u);
    // They were there.
    const std::vector<Arrival> arrivals = server_->log().Snapshot();
    ASSERT_GT(server_->log().Count(), before);
    EXPECT_EQ(arrivals.back().body, "canary-request");
    EXPECT_EQ(arrivals.back().headers.at("authorization"),
              "Bearer canary-auth");
    if (GetParam()) {
      EXPECT_GT(log_.size(), 0u);
    }
    const std::string all = absl::StrCat(RecordToJson(responses[0].record),
                                         FormatCallRecord(responses[0].record),
                                         absl::StrJoin(log_, "\n"));
    EXPECT_TRUE(absl::StrContains(all, "127.0.0.1:"));
    for (const char* secret : kSecrets) {
      EXPECT_FALSE(absl::StrContains(all, secret)) << secret << "\n" << all;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OnAndOff, CanaryTest, ::testing::Bool());

}  // namespace
}  // namespace forbear::curl
