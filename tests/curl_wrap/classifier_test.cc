// The application's own look at answers: what it sees, what it may change, and
// what the application gets.
#include "runtime/classifier.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_server.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

// What a classifier was shown.
struct Look {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  Outcome before;

  std::string Header(const std::string& name) const {
    std::string all;
    for (const auto& [key, value] : headers) {
      if (key == name) absl::StrAppend(&all, all.empty() ? "" : ",", value);
    }
    return all;
  }
};

class ClassifierTest : public ::testing::Test {
 protected:
  // A client whose classifier notes what it is shown, and then does `change`.
  std::shared_ptr<Client> ClientThat(
      std::function<void(const HttpAnswer&, Outcome*)> change) {
    ClientOptions options;
    options.classify_http = [this, change](const HttpAnswer& answer,
                                           Outcome* outcome) {
      Look look;
      look.status = answer.status;
      for (const NameAndValue& field : answer.headers) {
        look.headers.emplace_back(field.first, field.second);
      }
      look.body = std::string(answer.body);
      look.before = *outcome;
      looks_.push_back(look);
      change(answer, outcome);
    };
    return NewClient(std::move(options));
  }
  static void Nothing(const HttpAnswer&, Outcome*) {}
  static void Transient(const HttpAnswer&, Outcome* outcome) {
    outcome->kind = ErrorKind::kTransient;
  }
  int64_t Sends() const { return server_->log().Count(); }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::vector<Look> looks_;
};

TEST_F(ClassifierTest, NoWaitFreesAnAccount) {
  const std::string body =
      R"({"error":{"code":"account_on_hold","message":"call us"}})";
  server_->Script(
      {Reply::Of(429, body).With("Retry-After", "9").With("X-Request-Id", "r1"),
       Reply::Of(200, "never")});
  App app(
      ClientThat([](const HttpAnswer& answer, Outcome* outcome) {
        if (answer.status == 429 &&
            absl::StrContains(answer.body, "\"code\":\"account_on_hold\"")) {
          outcome->kind = ErrorKind::kPermanent;
        }
      }),
      server_->Url());
  const Stopwatch watch;
  const CallResult result = app.Perform(kLong);
  EXPECT_LT(watch.Elapsed(), absl::Seconds(8));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, body);
  EXPECT_EQ(app.Head("X-Request-Id"), "r1");
  EXPECT_EQ(Sends(), 1);
  ASSERT_EQ(looks_.size(), 1u);
  // Forbear's own reading is where it begins.
  EXPECT_EQ(looks_[0].before.kind, ErrorKind::kThrottled);
  EXPECT_EQ(looks_[0].before.pushback, absl::Seconds(9));
}

TEST_F(ClassifierTest, AConflictThatIsWorthARetry) {
  server_->Script({Reply::Of(409, "locked"), Reply::Of(200, "done")});
  App app(ClientThat([](const HttpAnswer&, Outcome* outcome) {
            outcome->kind = ErrorKind::kTransient;
            outcome->pushback = absl::Milliseconds(50);
            outcome->pushback_source = DelaySource::kRetryAfter;
          }),
          server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "done");
  EXPECT_FALSE(absl::StrContains(app.sink.head, "409"));
  ASSERT_EQ(result.record.attempts.size(), 2u);
  EXPECT_EQ(result.record.attempts[0].outcome.kind, ErrorKind::kTransient);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 409);
  EXPECT_GE(result.record.attempts[1].waited, absl::Milliseconds(50));
  EXPECT_EQ(Sends(), 2);
}

// Some providers say "slow down" with 400, and how long in the body. That stops
// the others, too.
TEST_F(ClassifierTest, ARefusalInDisguise) {
  server_->Script(
      {Reply::Of(400, R"({"__type":"ThrottlingException","wait_ms":300})"),
       Reply::Of(200, "done")});
  const std::shared_ptr<Client> client =
      ClientThat([](const HttpAnswer& answer, Outcome* outcome) {
        if (!absl::StrContains(answer.body, "ThrottlingException")) return;
        outcome->kind = ErrorKind::kThrottled;
        outcome->processed = Processed::kNo;
        outcome->pushback = absl::Milliseconds(300);
        outcome->pushback_source = DelaySource::kRetryAfter;
      });
  App app(client, server_->Url());
  app.Post("order=1");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "done");
  ASSERT_EQ(result.record.attempts.size(), 2u);
  EXPECT_GE(result.record.attempts[1].waited, absl::Milliseconds(300));
  EXPECT_EQ(result.record.attempts[1].wait_source, DelaySource::kRetryAfter);
  EXPECT_EQ(Sends(), 2);
}

TEST_F(ClassifierTest, TheBodyAsksForMoreThanTheHead) {
  for (const int status : {429, 503}) {
    SCOPED_TRACE(status);
    server_->Script({Reply::Of(status, "in 400 ms").With("Retry-After", "0"),
                     Reply::Of(200, "done")});
    App app(ClientThat([](const HttpAnswer&, Outcome* outcome) {
              outcome->pushback = absl::Milliseconds(400);
            }),
            server_->Url());
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    ASSERT_EQ(result.record.attempts.size(), 2u);
    EXPECT_GE(result.record.attempts[1].waited, absl::Milliseconds(400));
  }
}

TEST_F(ClassifierTest, WhatTheHeadToldTheOthersStands) {
  server_->Script({Reply::Of(429, "x").With("Retry-After", "3600")});
  const std::shared_ptr<Client> client =
      ClientThat([](const HttpAnswer&, Outcome* outcome) {
        outcome->kind = ErrorKind::kPermanent;
        outcome->pushback.reset();
      });
  App first(client, server_->Url());
  EXPECT_EQ(first.Perform(kLong).stop_reason, StopReason::kPermanentError);
  App second(client, server_->Url());
  EXPECT_EQ(second.Perform(absl::Seconds(1)).stop_reason,
            StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(ClassifierTest, ALongBody) {
  std::string body;
  for (int i = 0; body.size() < 300000; ++i) absl::StrAppend(&body, i, ",");
  // Permanent: the application gets the whole of it.
  server_->Script({Reply::Of(404, body)});
  App app(ClientThat(Nothing), server_->Url());
  CallOptions options;
  options.deadline = kLong;
  for (const size_t held : {size_t{64} << 10, size_t{1} << 20, size_t{0}}) {
    SCOPED_TRACE(held);
    looks_.clear();
    app.sink = Sink();
    options.max_held_bytes = held;
    const CallResult result = app.curl.Perform(options);
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
    EXPECT_EQ(app.sink.body, body);
    ASSERT_EQ(looks_.size(), 1u);
    EXPECT_LE(looks_[0].body.size(), size_t{64} << 10);
    EXPECT_EQ(looks_[0].body, body.substr(0, looks_[0].body.size()));
    if (held >= size_t{64} << 10) {
      EXPECT_GE(looks_[0].body.size(), size_t{40} << 10);
    }
  }
  // Retried: it gets nothing of it.
  server_->Script({Reply::Of(404, body), Reply::Of(200, "found")});
  App retried(ClientThat(Transient), server_->Url());
  EXPECT_EQ(retried.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(retried.sink.body, "found");
}

TEST_F(ClassifierTest, ASlowBody) {
  server_->Script(
      {Reply::Of(404, "0123456789").InPieces(1, absl::Milliseconds(100))});
  App app(ClientThat(Nothing), server_->Url());
  CallOptions options;
  options.deadline = kLong;
  options.max_hold_time = absl::Milliseconds(250);
  CallResult result = app.curl.Perform(options);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, "0123456789");
  ASSERT_EQ(looks_.size(), 1u);
  EXPECT_GT(looks_[0].body.size(), 0u);
  EXPECT_LT(looks_[0].body.size(), 10u);

  server_->Script({Reply::Of(404, "late").BodyAfter(absl::Seconds(10)),
                   Reply::Of(200, "y")});
  App retried(ClientThat(Transient), server_->Url());
  const Stopwatch watch;
  result = retried.curl.Perform(options);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(retried.sink.body, "y");
  EXPECT_LT(watch.Elapsed(), absl::Seconds(5));
  EXPECT_EQ(looks_.back().body, "");
}

TEST_F(ClassifierTest, SeesTheFinalHeadOnly) {
  server_->Script("/a",
                  {Reply::Of(302).With("Location", "/b").With("X-First", "1")});
  server_->Script(
      "/b", {Reply::Raw("HTTP/1.1 103 Early Hints\r\nX-Interim: 1\r\n\r\n"
                        "HTTP/1.1 402 Payment Required\r\nContent-Length: 3\r\n"
                        "X-Twice: one\r\nx-empty:\r\nX-Twice:  two \r\n"
                        "X-Colon: a:b\r\n\r\npay")});
  App app(ClientThat(Nothing), server_->Url("/a"));
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  EXPECT_EQ(app.Perform(kLong).http_status, 402);
  ASSERT_EQ(looks_.size(), 1u);
  const Look& look = looks_[0];
  EXPECT_EQ(look.status, 402);
  EXPECT_EQ(look.body, "pay");
  EXPECT_EQ(look.headers.size(), 5u);
  EXPECT_EQ(look.Header("Content-Length"), "3");
  EXPECT_EQ(look.Header("X-Twice"), "one,two");
  EXPECT_EQ(look.Header("X-Colon"), "a:b");
  EXPECT_EQ(look.headers[2],
            std::make_pair(std::string("x-empty"), std::string()));
}

TEST_F(ClassifierTest, RulesForPostsStillApply) {
  struct Case {
    Processed processed;
    bool key;
    StopReason reason;
    int sends;
  };
  for (const Case& c :
       {Case{Processed::kYes, false, StopReason::kNotIdempotent, 1},
        Case{Processed::kUnknown, false, StopReason::kNotIdempotent, 1},
        Case{Processed::kUnknown, true, StopReason::kSuccess, 2},
        Case{Processed::kNo, false, StopReason::kSuccess, 2}}) {
    SCOPED_TRACE(absl::StrCat(ProcessedName(c.processed), c.key));
    server_->Script({Reply::Of(409, "locked"), Reply::Of(200, "done")});
    const int64_t before = Sends();
    App app(ClientThat([&c](const HttpAnswer&, Outcome* outcome) {
              outcome->kind = ErrorKind::kTransient;
              outcome->processed = c.processed;
            }),
            server_->Url());
    app.Post("order=1");
    if (c.key) app.Header("Idempotency-Key: 1");
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason, c.reason);
    EXPECT_EQ(Sends(), before + c.sends);
    EXPECT_EQ(app.sink.body, c.sends == 1 ? "locked" : "done");
  }
}

TEST_F(ClassifierTest, A503ThatDidNothing) {
  // Without it, a POST that met a 503 is not sent again.
  server_->Script({Reply::Of(503, "not yet"), Reply::Of(200, "done")});
  App app(ClientThat([](const HttpAnswer&, Outcome* outcome) {
            outcome->processed = Processed::kNo;
          }),
          server_->Url());
  app.Post("order=1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "done");
  EXPECT_EQ(Sends(), 2);
}

TEST_F(ClassifierTest, FactsAreNotItsToChange) {
  server_->Script({Reply::Of(404, "x")});
  App app(ClientThat([](const HttpAnswer&, Outcome* outcome) {
            outcome->committed = true;
            outcome->timed_out = true;
            outcome->status = 200;
            outcome->transport_error = 7;
            outcome->bytes_sent = outcome->bytes_received = -1;
          }),
          server_->Url());
  const CallResult result = app.Perform(kLong);
  ASSERT_EQ(result.record.attempts.size(), 1u);
  const Outcome& outcome = result.record.attempts[0].outcome;
  EXPECT_FALSE(outcome.committed);
  EXPECT_FALSE(outcome.timed_out);
  EXPECT_EQ(outcome.status, 404);
  EXPECT_EQ(outcome.transport_error, 0);
  EXPECT_GE(outcome.bytes_sent, 0);
  EXPECT_GE(outcome.bytes_received, 0);
}

TEST_F(ClassifierTest, ForbidsARetry) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(200)});
  App app(ClientThat([](const HttpAnswer&, Outcome* outcome) {
            outcome->retry_forbidden = true;
          }),
          server_->Url());
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kServerSaidNo);
  EXPECT_EQ(app.sink.body, "no");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(ClassifierTest, IsNotAskedAboutSuccessNorSilence) {
  const std::shared_ptr<Client> client = ClientThat(Nothing);
  server_->Script({Reply::Of(200, "a")});
  App app(client, server_->Url());
  app.Perform(kLong);
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(204)});
  app.Perform(kLong);
  server_->Script({Reply::Truncate("0123456789", 4)});
  app.Perform(kLong);
  server_->Script({Reply::Of(302).With("Location", "/b")});
  app.Perform(kLong);
  server_->Stop();
  app.Perform(absl::Milliseconds(100));
  EXPECT_EQ(looks_.size(), 0u);
}

TEST_F(ClassifierTest, OncePerAttempt) {
  server_->Script({Reply::Of(503, "a"), Reply::Of(503, "b").ThenClose(),
                   Reply::Of(503, "c").With("X-Last", "yes")});
  App app(ClientThat(Nothing), server_->Url());
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kAttemptsExhausted);
  ASSERT_EQ(looks_.size(), 3u);
  EXPECT_EQ(looks_[0].body + looks_[1].body + looks_[2].body, "abc");
  EXPECT_EQ(looks_[2].Header("X-Last"), "yes");
  EXPECT_EQ(app.sink.body, "c");
}

// Answers that libcurl itself goes on from.
TEST_F(ClassifierTest, RoundsOfLibcurlAreNoAnswers) {
  RawServer raw({{{"\r\n\r\n",
                   "HTTP/1.1 417 Expectation Failed\r\n"
                   "Content-Length: 2\r\n\r\nno"},
                  {"body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}},
                 {{"body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}});
  App app(ClientThat(Nothing), absl::StrCat("http://127.0.0.1:", raw.port()));
  app.Post("body");
  app.Header("Expect: 100-continue");
  app.curl.SetOpt(CURLOPT_EXPECT_100_TIMEOUT_MS, 5000L);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_TRUE(absl::EndsWith(app.sink.body, "ok")) << app.sink.body;
  EXPECT_EQ(looks_.size(), 0u);
}

TEST_F(ClassifierTest, UnauthorizedIsAnAnswer) {
  server_->Script(
      {Reply::Of(401, "who?").With("WWW-Authenticate", "Basic realm=\"x\""),
       Reply::Of(401)});
  App app(ClientThat(Nothing), server_->Url());
  EXPECT_EQ(app.Perform(kLong).http_status, 401);
  EXPECT_EQ(app.sink.body, "who?");
  EXPECT_EQ(app.Perform(kLong).http_status, 401);
  EXPECT_EQ(looks_.size(), 2u);
}

TEST_F(ClassifierTest, FailOnErrorStillFails) {
  server_->Script({Reply::Of(409, "a"), Reply::Of(404, "why not")});
  App app(ClientThat([](const HttpAnswer& answer, Outcome* outcome) {
            if (answer.status == 409) outcome->kind = ErrorKind::kTransient;
          }),
          server_->Url());
  app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_TRUE(absl::StrContains(app.sink.head, "404"));
  ASSERT_EQ(looks_.size(), 2u);
  EXPECT_EQ(looks_[1].body, "why not");
}

TEST_F(ClassifierTest, AnAnswerThatWasCutOff) {
  Reply reply = Reply::Truncate("0123456789", 4);
  reply.status = 404;
  server_->Script({reply});
  App app(ClientThat([](const HttpAnswer&, Outcome* outcome) {
            outcome->kind = ErrorKind::kPermanent;
          }),
          server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_PARTIAL_FILE);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, "0123");
  ASSERT_EQ(looks_.size(), 1u);
  EXPECT_EQ(looks_[0].body, "0123");
  EXPECT_EQ(looks_[0].before.transport_error, CURLE_PARTIAL_FILE);
}

// No lock is held: it may use the client, and another handle.
TEST_F(ClassifierTest, MayCallBack) {
  server_->Script("/other", {Reply::Of(200, "inner")});
  server_->Script("/", {Reply::Of(429, "x"), Reply::Of(200, "outer")});
  std::shared_ptr<Client> client;
  std::string inner;
  ClientOptions options;
  options.classify_http = [&](const HttpAnswer&, Outcome* outcome) {
    outcome->kind = ErrorKind::kTransient;
    client->ClearGate(absl::StrCat("127.0.0.1:", server_->port()));
    App other(client, server_->Url("/other"));
    CallOptions call;
    call.quota_id = "other";
    EXPECT_EQ(other.curl.Perform(call).http_status, 200);
    inner = other.sink.body;
  };
  client = NewClient(options);
  App app(client, server_->Url());
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(inner, "inner");
  EXPECT_EQ(app.sink.body, "outer");
}

}  // namespace
}  // namespace forbear::curl
