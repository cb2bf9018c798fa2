// The handle against a server whose every answer is scripted: what is sent
// again, what the application sees, and why a call ends.
#include "curl_wrap/handle.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_server.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

class HandleTest : public ::testing::Test {
 protected:
  int64_t Sends() const { return server_->log().Count(); }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
};

TEST_F(HandleTest, AnAnswerPassesThrough) {
  server_->Script({Reply::Of(200, "hello").With("X-Some", "thing")});
  App app(client_, server_->Url("/x"));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_FALSE(result.retry_at.has_value());
  EXPECT_EQ(result.record.total_attempts, 1);
  EXPECT_EQ(result.record.names.method(), "GET");
  EXPECT_EQ(result.record.names.target(),
            absl::StrCat("127.0.0.1:", server_->port()));
  EXPECT_EQ(app.sink.body, "hello");
  EXPECT_EQ(app.Head("X-Some"), "thing");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(HandleTest, FailedAttemptsLeaveNoTrace) {
  server_->Script({Reply::Of(503, "bad").With("X-Try", "1").ThenClose(),
                   Reply::ResetBeforeHead(),
                   Reply::Of(200, "good").With("X-Try", "3")});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "good");
  EXPECT_EQ(app.Head("X-Try"), "3");
  EXPECT_FALSE(absl::StrContains(app.sink.head, "503"));
  EXPECT_STREQ(app.error, "");
  ASSERT_EQ(result.record.attempts.size(), 3u);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 503);
  EXPECT_EQ(result.record.attempts[1].outcome.transport_error,
            CURLE_RECV_ERROR);
  EXPECT_EQ(Sends(), 3);
}

TEST_F(HandleTest, TheLastFailureIsDeliveredWhole) {
  const std::string body(200000, 'x');
  server_->Script({Reply::Of(500, "one"), Reply::Of(500, "two"),
                   Reply::Of(500, body).With("X-Last", "yes")});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 500);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, body);
  EXPECT_EQ(app.Head("X-Last"), "yes");
  EXPECT_EQ(Sends(), 3);
}

TEST_F(HandleTest, PermanentErrorsAreAnswers) {
  for (const int status : {400, 401, 403, 404, 407, 501, 505}) {
    SCOPED_TRACE(status);
    server_->Script({Reply::Of(status, "why not")});
    App app(client_, server_->Url());
    const int64_t before = Sends();
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_EQ(result.http_status, status);
    EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
    EXPECT_EQ(app.sink.body, "why not");
    EXPECT_EQ(Sends(), before + 1);
  }
}

TEST_F(HandleTest, ConnectionsOutliveRefusals) {
  server_->Script(
      {Reply::Of(429, "no"), Reply::Of(429, "no"), Reply::Of(200, "yes")});
  App app(client_, server_->Url());
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 3);
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 4);
  EXPECT_EQ(server_->connections(), 1);
  EXPECT_EQ(app.sink.body, "yesyes");
}

TEST_F(HandleTest, Truncated) {
  // The application has a part of it: no second attempt can take that back.
  server_->Script({Reply::Truncate("0123456789", 4)});
  App app(client_, server_->Url());
  CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_PARTIAL_FILE);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.stop_reason, StopReason::kCommitted);
  EXPECT_EQ(app.sink.body, "0123");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(HandleTest, TruncatedBeforeAnybodySawIt) {
  server_->Script({Reply::Truncate("0123456789", 0), Reply::Of(200, "whole")});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_HEADERFUNCTION, nullptr);
  app.curl.SetOpt(CURLOPT_HEADERDATA, nullptr);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "whole");
  EXPECT_EQ(Sends(), 2);
}

TEST_F(HandleTest, TruncatedRefusalIsARefusal) {
  server_->Script({Reply::Truncate("0123456789", 4), Reply::Of(200, "ok")});
  server_->SetHandler(nullptr);
  Reply refusal = Reply::Truncate("0123456789", 4);
  refusal.status = 503;
  server_->Script({refusal, Reply::Of(200, "ok")});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_EQ(result.record.attempts[0].outcome.status, 503);
  EXPECT_EQ(result.record.attempts[0].outcome.transport_error,
            CURLE_PARTIAL_FILE);
}

TEST_F(HandleTest, ClosedPort) {
  server_->Stop();
  App app(client_, server_->Url());
  const CallResult result = app.Perform(absl::Milliseconds(500));
  EXPECT_EQ(result.code, CURLE_COULDNT_CONNECT);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_TRUE(result.stop_reason == StopReason::kCircuitOpen ||
              result.stop_reason == StopReason::kDeadlineExceeded ||
              result.stop_reason == StopReason::kAttemptsExhausted)
      << StopReasonName(result.stop_reason);
  EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kNo);
  EXPECT_STRNE(app.error, "");
}

TEST_F(HandleTest, NoSuchHost) {
  App app(client_, "http://no-such-host.invalid/");
  const CallResult result = app.Perform(absl::Seconds(5));
  EXPECT_EQ(result.code, CURLE_COULDNT_RESOLVE_HOST);
  EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kNo);
}

TEST_F(HandleTest, ResetPostIsSentOnce) {
  server_->Script({Reply::ResetBeforeHead()});
  App app(client_, server_->Url());
  app.Post("order=1");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_RECV_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(HandleTest, PostWithIdempotencyKeyIsSentAgain) {
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200, "ok")});
  App app(client_, server_->Url());
  app.Post("order=1");
  app.Header("idempotency-key: 7f3");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 2);
  for (const Arrival& a : server_->log().Snapshot()) {
    EXPECT_EQ(a.body, "order=1");
    EXPECT_EQ(a.headers.at("idempotency-key"), "7f3");
  }
}

TEST_F(HandleTest, OverrideOfIdempotencyWins) {
  server_->Script({Reply::ResetBeforeHead()});
  App app(client_, server_->Url());
  CallOptions options;
  options.idempotent = false;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(Sends(), 1);

  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200)});
  app.Post("x");
  options.idempotent = true;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 3);
}

TEST_F(HandleTest, CustomRequestDecidesTheMethod) {
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200)});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_CUSTOMREQUEST, "PATCH");
  CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(result.record.names.method(), "PATCH");
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200)});
  app.Post("x");
  app.curl.SetOpt(CURLOPT_CUSTOMREQUEST, "DELETE");
  result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.method(), "DELETE");
}

TEST_F(HandleTest, ThrottledPostIsSentAgain) {
  server_->Script({Reply::Of(429, "slow down"), Reply::Of(200, "done")});
  App app(client_, server_->Url());
  app.Post("order=1");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "done");
  EXPECT_EQ(Sends(), 2);
}

// libcurl sends a request again by itself when a kept-alive connection dies
// before a byte of the answer. That the server sees it twice with plain libcurl
// is what makes the second half of the test mean something.
TEST_F(HandleTest, AtMostOnceOnAConnectionThatIsReused) {
  const auto once = [](const testing::HttpRequest& request) {
    return request.index_on_connection > 0 ? Reply::CloseAfterRead()
                                           : Reply::Of(200, "ok");
  };
  server_->SetHandler(once);
  CURL* plain = curl_easy_init();
  Sink sink;
  curl_easy_setopt(plain, CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  curl_easy_setopt(plain, CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(plain, CURLOPT_URL, server_->Url().c_str());
  curl_easy_setopt(plain, CURLOPT_POSTFIELDS, "pay=1");
  ASSERT_EQ(curl_easy_perform(plain), CURLE_OK);
  ASSERT_EQ(curl_easy_perform(plain), CURLE_OK);
  curl_easy_cleanup(plain);
  ASSERT_EQ(Sends(), 3) << "plain libcurl no longer repeats by itself";

  App app(client_, server_->Url());
  app.Post("pay=1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 4);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_GOT_NOTHING);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_STREQ(app.error, "Empty reply from server");
  EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kUnknown);
  EXPECT_EQ(Sends(), 5);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  EXPECT_EQ(arrivals[4].index_on_connection, 1) << "it was not reused";

  // The handle is as good as new.
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 6);

  // Who may repeat does, and it stands in the record.
  App get(client_, server_->Url());
  CallResult again = get.Perform(kLong);
  EXPECT_EQ(again.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(again.record.attempts[0].outcome.resends, 0);
  again = get.Perform(kLong);
  EXPECT_EQ(again.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(again.record.attempts[0].outcome.resends, 1);
  EXPECT_EQ(again.record.total_attempts, 1);
  EXPECT_TRUE(absl::StrContains(FormatCallRecord(again.record),
                                "sent 1 more by the transport itself"));
}

// Whatever has come of a head: libcurl repeats where it has seen no whole line.
TEST_F(HandleTest, AtMostOnceAfterPartOfAHead) {
  const std::string end = "\r\n\r\n";
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 0" + end;
  for (const std::string& part :
       {std::string("HTTP/1.1 20"), std::string("HTTP/1.1 200 OK\r\n"),
        "HTTP/1.1 100 Continue" + end, "HTTP/1.1 103 Early Hints" + end}) {
    SCOPED_TRACE(part);
    RawServer server({{{"pay=1", ok}, {"pay=1", part}}, {{"pay=1", ok}}});
    {
      App app(client_, absl::StrCat("http://127.0.0.1:", server.port()));
      app.Post("pay=1");
      EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
      app.Perform(kLong);
    }
    // Where a new connection was made, nothing was sent on it.
    const std::vector<std::string> received = server.Received();
    ASSERT_GE(received.size(), 1u);
    if (received.size() > 1) {
      EXPECT_EQ(received[1], "");
    }
  }
}

// The same through a redirect, whose second request libcurl sends on a reused
// connection even if CURLOPT_FRESH_CONNECT is set.
TEST_F(HandleTest, AtMostOnceAfterARedirect) {
  server_->Script("/to", {Reply::Of(307).With("Location", "/there")});
  server_->Script("/there", {Reply::CloseAfterRead().OnlyOnReusedConnection()});
  App app(client_, server_->Url("/to"));
  app.Post("pay=1");
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_POSTREDIR, static_cast<long>(CURL_REDIR_POST_ALL));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(Sends(), 2);
}

TEST_F(HandleTest, PostsKeepTheirConnection) {
  App app(client_, server_->Url());
  app.Post("x");
  for (int i = 0; i < 5; ++i) app.Perform(kLong);
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(HandleTest, AUsersPrereqFunctionStillRuns) {
  int calls = 0;
  App app(client_, server_->Url());
  app.Post("x");
  app.curl.SetOpt(
      CURLOPT_PREREQFUNCTION, +[](void* n, char*, char*, int, int) {
        ++*static_cast<int*>(n);
        return CURL_PREREQFUNC_OK;
      });
  app.curl.SetOpt(CURLOPT_PREREQDATA, &calls);
  app.Perform(kLong);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(curl_easy_perform(app.curl.raw()), CURLE_OK);
  EXPECT_EQ(calls, 2) << "not put back";
}

TEST_F(HandleTest, RedirectThenThrottled) {
  server_->Script("/a", {Reply::Of(302, "moved").With("Location", "/b")});
  server_->Script("/b", {Reply::Of(429, "no"), Reply::Of(200, "there")});
  App app(client_, server_->Url("/a"));
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "there");
  EXPECT_EQ(Sends(), 4);
  // The heads of the final attempt's chain, in order, and of no other.
  EXPECT_TRUE(absl::StartsWith(app.sink.head, "HTTP/1.1 302")) << app.sink.head;
  EXPECT_FALSE(absl::StrContains(app.sink.head, " 429 "));
  EXPECT_TRUE(absl::StrContains(app.sink.head, "HTTP/1.1 200"));
}

// Who answers a POST with "see there" has acted on it, whatever then is there.
TEST_F(HandleTest, APostThatWasRedirectedToARefusalIsSentOnce) {
  for (const int status : {301, 302, 303}) {
    SCOPED_TRACE(status);
    server_->Script("/a", {Reply::Of(status, "done").With("Location", "/b")});
    server_->Script("/b", {Reply::Of(429, "no"), Reply::Of(200, "there")});
    const int64_t before = Sends();
    App app(NewClient(), server_->Url("/a"));
    app.Post("pay=1");
    app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_EQ(result.http_status, 429);
    EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
    EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kUnknown);
    EXPECT_EQ(app.sink.body, "no");
    EXPECT_EQ(Sends(), before + 2);
    // The others are told nevertheless.
    EXPECT_EQ(result.record.attempts[0].outcome.kind, ErrorKind::kThrottled);
  }
}

// 307 and 308 only say where to send it; and what is harmless may be repeated.
TEST_F(HandleTest, APostThatMayBeRepeatedBehindARedirectIs) {
  for (const int status : {303, 307, 308}) {
    SCOPED_TRACE(status);
    server_->Script("/a", {Reply::Of(status, "go").With("Location", "/b")});
    server_->Script("/b", {Reply::Of(429, "no"), Reply::Of(200, "there")});
    const int64_t before = Sends();
    App app(NewClient(), server_->Url("/a"));
    app.Post("pay=1");
    app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
    CallOptions options;
    options.deadline = kLong;
    if (status == 303) options.idempotent = true;
    const CallResult result = app.curl.Perform(options);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(app.sink.body, "there");
    EXPECT_EQ(Sends(), before + 4);
  }
}

TEST_F(HandleTest, ARedirectThatIsNotFollowedIsAnAnswer) {
  server_->Script({Reply::Of(302, "moved").With("Location", "/b")});
  App app(client_, server_->Url("/a"));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.http_status, 302);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "moved");
  EXPECT_EQ(Sends(), 1);
}

// With Digest, libcurl first asks with an empty body; a server that wants no credentials
// answers that well, and only what comes then is the answer.
TEST_F(HandleTest, AGoodAnswerToARoundOfAuthenticationIsNone) {
  server_->SetHandler([](const testing::HttpRequest& request) {
    return request.body.empty() ? Reply::Of(200, "asked")
                                : Reply::Of(503, "down");
  });
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_USERPWD, "user:password");
  app.curl.SetOpt(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_DIGEST));
  app.Post("order=1");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 503);
  EXPECT_EQ(app.sink.body, "down");
  EXPECT_EQ(Sends(), 2);
}

TEST_F(HandleTest, TooManyRedirects) {
  server_->Script({Reply::Of(302).With("Location", "/again")});
  App app(client_, server_->Url("/"));
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_MAXREDIRS, 3L);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_TOO_MANY_REDIRECTS);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(Sends(), 4);
}

// A proxy's answer to CONNECT is no answer of the server's.
TEST_F(HandleTest, HeadsOfATunnel) {
  const std::string end = "\r\n\r\n";
  const std::string tunnel = "HTTP/1.1 200 Tunnel" + end;
  RawServer proxy(
      {{{end, tunnel}, {end, "HTTP/1.1 503 No" + end}},
       {{end, tunnel}, {end, "HTTP/1.1 200 OK" + end + "through"}}});
  App app(client_, "http://server.invalid/");
  app.curl.SetOpt(CURLOPT_PROXY,
                  absl::StrCat("http://127.0.0.1:", proxy.port()).c_str());
  app.curl.SetOpt(CURLOPT_HTTPPROXYTUNNEL, 1L);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK) << app.error;
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.target(), "server.invalid:80");
  EXPECT_EQ(result.record.total_attempts, 2);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 503);
  EXPECT_EQ(app.sink.body, "through");
  EXPECT_EQ(app.sink.head, tunnel + "HTTP/1.1 200 OK" + end);
}

TEST_F(HandleTest, InterimHeadsAreNoAnswers) {
  const std::string end = "\r\n\r\n";
  const std::string hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>" + end;
  RawServer server({{{end, hints}},  // … and then nothing
                    {{end, hints + "HTTP/1.1 503 No" + end}},
                    {{end, hints + "HTTP/1.1 200 OK" + end + "ok"}}});
  App app(client_, absl::StrCat("http://127.0.0.1:", server.port()));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  ASSERT_EQ(result.record.attempts.size(), 3u);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 0);
  EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kUnknown);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_EQ(app.sink.head, hints + "HTTP/1.1 200 OK" + end);
}

TEST_F(HandleTest, WhatIsNotHttp) {
  RawServer server(std::vector<RawServer::Connection>{
      {{"\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"}}});
  App app(client_, absl::StrCat("http://127.0.0.1:", server.port()));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_UNSUPPORTED_PROTOCOL);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, "");
}

TEST_F(HandleTest, HeadHasNoBody) {
  server_->Script({Reply::Of(503), Reply::Of(200).With("X-A", "b")});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_NOBODY, 1L);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.method(), "HEAD");
  EXPECT_EQ(app.Head("X-A"), "b");
  EXPECT_EQ(app.sink.body, "");
  EXPECT_EQ(Sends(), 2);
}

// A chunked answer that ends without its last chunk promises no length, and is not whole
// for all that.
TEST_F(HandleTest, TruncatedChunks) {
  server_->Script({Reply::Truncate("0123456789", 4).Chunked(),
                   Reply::Of(200, "never asked for")});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_PARTIAL_FILE);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.stop_reason, StopReason::kCommitted);
  EXPECT_EQ(app.Head("Transfer-Encoding"), "chunked");
  EXPECT_EQ(app.sink.body, "0123");
  EXPECT_EQ(Sends(), 1);

  // So is a refusal, which nobody has seen.
  Reply refusal = Reply::Truncate("0123456789", 4).Chunked();
  refusal.status = 503;
  server_->Script({refusal, Reply::Of(200, "whole").Chunked()});
  App other(client_, server_->Url());
  const CallResult second = other.Perform(kLong);
  EXPECT_EQ(second.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(other.sink.body, "whole");
  ASSERT_EQ(second.record.attempts.size(), 2u);
  EXPECT_EQ(second.record.attempts[0].outcome.transport_error,
            CURLE_PARTIAL_FILE);
  EXPECT_EQ(Sends(), 3);
}

// Server-sent events: each is the application's before the next one is sent, and a
// stream that was begun is never begun again.
TEST_F(HandleTest, EventsComeOneByOne) {
  struct Reader {
    std::mutex mutex;
    std::condition_variable changed;
    std::string got;
    static size_t OnBody(char* data, size_t size, size_t n, void* self) {
      auto* const reader = static_cast<Reader*>(self);
      const std::lock_guard<std::mutex> lock(reader->mutex);
      reader->got.append(data, size * n);
      reader->changed.notify_all();
      return size * n;
    }
    void WaitFor(const std::string& text) {
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait_for(lock, std::chrono::seconds(10),
                       [&] { return got == text; });
      EXPECT_EQ(got, text);
    }
  };
  const std::string events[] = {"data: 1\n\n", "data: 2\n\n", "data: 3\n\n"};
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
      "Transfer-Encoding: chunked\r\n\r\n";
  const auto chunk = [](const std::string& event) {
    return absl::StrCat(absl::Hex(event.size()), "\r\n", event, "\r\n");
  };
  for (const bool whole : {true, false}) {
    SCOPED_TRACE(whole);
    Reader reader;
    const std::string end = whole ? "0\r\n\r\n" : "";
    const RawServer::Connection steps = {
        {"\r\n\r\n", head + chunk(events[0]), nullptr},
        {"", chunk(events[1]), [&] { reader.WaitFor(events[0]); }},
        {"", chunk(events[2]) + end,
         [&] { reader.WaitFor(events[0] + events[1]); }}};
    RawServer server(std::vector<RawServer::Connection>{steps});
    App app(client_, absl::StrCat("http://127.0.0.1:", server.port()));
    app.Header("Accept: text/event-stream");
    app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Reader::OnBody);
    app.curl.SetOpt(CURLOPT_WRITEDATA, &reader);
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.code, whole ? CURLE_OK : CURLE_PARTIAL_FILE);
    EXPECT_EQ(result.stop_reason,
              whole ? StopReason::kSuccess : StopReason::kCommitted)
        << FormatCallRecord(result.record);
    EXPECT_EQ(result.record.total_attempts, 1);
    EXPECT_EQ(app.Head("Content-Type"), "text/event-stream");
    EXPECT_EQ(server.Received().size(), 1u);
    EXPECT_EQ(reader.got, events[0] + events[1] + events[2]);
  }
}

TEST_F(HandleTest, ChunkedAnswersWithTrailers) {
  server_->Script(
      {Reply::Of(503, "nothing here").Chunked(),
       Reply::Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                  "Trailer: X-Sum\r\n\r\n"
                  "3\r\nabc\r\n3\r\ndef\r\n0\r\nX-Sum: 42\r\n\r\n")});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "abcdef");
  EXPECT_EQ(app.Head("X-Sum"), "42");
}

TEST_F(HandleTest, TrailersOfAHeldAnswer) {
  const Reply refusal = Reply::Raw(
      "HTTP/1.1 503 Down\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n");
  ClientOptions options;
  options.endpoint.budget.capacity = 14;  // one retry, and then it is empty
  server_->Script({refusal});
  App app(NewClient(options), server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(Sends(), 2);
  EXPECT_EQ(app.sink.body, "abc");
  EXPECT_EQ(app.Head("X-Sum"), "42");
  ASSERT_GE(app.sink.events.size(), 3u);
  EXPECT_EQ(app.sink.events[app.sink.events.size() - 1].substr(0, 7), "H:X-Sum")
      << app.sink.events.back();
}

TEST_F(HandleTest, CompressedAnswersAreDecoded) {
  // "hello hello hello" by gzip.
  const unsigned char gzip[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00,
                                0x00, 0x02, 0xff, 0xcb, 0x48, 0xcd, 0xc9,
                                0xc9, 0x57, 0xc8, 0x40, 0x90, 0x00, 0x80,
                                0x88, 0xf9, 0xe5, 0x11, 0x00, 0x00, 0x00};
  const std::string body(reinterpret_cast<const char*>(gzip), sizeof(gzip));
  server_->Script({Reply::Of(503, body).With("Content-Encoding", "gzip"),
                   Reply::Of(200, body).With("Content-Encoding", "gzip")});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_ACCEPT_ENCODING, "");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(app.sink.body, "hello hello hello");
}

TEST_F(HandleTest, FailOnError) {
  server_->Script({Reply::Of(503, "body"), Reply::Of(404, "body")});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
  CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.http_status, 404);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_STREQ(app.error, "The requested URL returned error: 404");
  EXPECT_EQ(Sends(), 2);

  server_->Script({Reply::Of(503, "body")});
  result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_EQ(Sends(), 5);

  server_->Script({Reply::Of(200, "fine")});
  result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(app.sink.body, "fine");
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(HandleTest, FailOnErrorDoesNotReadForever) {
  server_->Script({Reply::Of(404, std::string(1000, 'x'))
                       .InPieces(1, absl::Milliseconds(50))});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_FAILONERROR, 1L);
  const Stopwatch watch;
  EXPECT_EQ(app.Perform(kLong).code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_LT(watch.Elapsed(), absl::Seconds(5));
}

TEST_F(HandleTest, AHeldBodyThatIsTooLarge) {
  server_->Script(
      {Reply::Of(503, std::string(1 << 20, 'x')), Reply::Of(200, "ok")});
  App app(client_, server_->Url());
  CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_EQ(Sends(), 2);
  EXPECT_EQ(server_->connections(), 2) << "the first was to be dropped";
}

TEST_F(HandleTest, AHeldHeadThatIsTooLarge) {
  Reply large = Reply::Of(503, "late").BodyAfter(absl::Seconds(20));
  for (int i = 0; i < 50; ++i) {
    large = large.With(absl::StrCat("X-", i), std::string(1000, 'x'));
  }
  server_->Script({large, Reply::Of(200, "ok")});
  App app(client_, server_->Url());
  CallOptions options = Within(kLong);
  options.max_held_bytes = 1000;
  options.max_hold_time = absl::Seconds(20);
  const Stopwatch watch;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_LT(watch.Elapsed(), absl::Seconds(5));
}

TEST_F(HandleTest, AHeldHeadThatIsTooLargeForTheBudget) {
  ClientOptions options;
  options.endpoint.budget.capacity = 1;
  options.endpoint.budget.transient_cost = 1;
  options.endpoint.budget.throttled_cost = 1;
  Reply large = Reply::Of(503, "second").BodyAfter(absl::Milliseconds(100));
  for (int i = 0; i < 50; ++i) {
    large = large.With(absl::StrCat("X-", i), std::string(1000, 'x'));
  }
  server_->Script({Reply::Of(503, "first"), large});
  App app(NewClient(options), server_->Url());
  CallOptions call = Within(kLong);
  call.max_held_bytes = 1000;
  const CallResult result = app.curl.Perform(call);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(app.sink.body, "second");
  EXPECT_EQ(app.Head("X-49"), std::string(1000, 'x'));
}

TEST_F(HandleTest, AHeldBodyThatIsTooLargeForTheBudget) {
  // Decided in the middle of the body: no retry. The rest is streamed.
  ClientOptions options;
  options.endpoint.budget.capacity = 1;
  options.endpoint.budget.transient_cost = 1;
  options.endpoint.budget.throttled_cost = 1;
  const std::string body(1 << 20, 'x');
  server_->Script({Reply::Of(503, "first"), Reply::Of(503, body)});
  App app(NewClient(options), server_->Url());
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(result.stop_reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(app.sink.body.size(), body.size());
  EXPECT_EQ(app.sink.body, body);
}

TEST_F(HandleTest, AHeldBodyThatIsTooSlow) {
  server_->Script({Reply::Of(503, "late").BodyAfter(absl::Seconds(10)),
                   Reply::Of(200, "ok")});
  App app(client_, server_->Url());
  CallOptions options;
  options.max_hold_time = absl::Milliseconds(100);
  const Stopwatch watch;
  const CallResult result = app.curl.Perform(options);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_LT(watch.Elapsed(), absl::Seconds(5));
}

TEST_F(HandleTest, AHeldBodyThatIsTooSlowForTheBudget) {
  ClientOptions options;
  options.endpoint.budget.capacity = 1;
  options.endpoint.budget.transient_cost = 1;
  options.endpoint.budget.throttled_cost = 1;
  server_->Script(
      {Reply::Of(503), Reply::Of(503, "late").BodyAfter(absl::Seconds(1))});
  App app(NewClient(options), server_->Url());
  CallOptions call;
  call.max_hold_time = absl::Milliseconds(50);
  const CallResult result = app.curl.Perform(call);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(app.sink.body, "late");
}

TEST_F(HandleTest, StreamsAsItComes) {
  // The first byte must not wait for the last.
  struct First {
    Stopwatch watch;
    absl::Duration at = absl::InfiniteDuration();
  } first;
  server_->Script(
      {Reply::Of(200, "0123456789").InPieces(1, absl::Milliseconds(100))});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_WRITEDATA, &first);
  app.curl.SetOpt(
      CURLOPT_WRITEFUNCTION, +[](char*, size_t size, size_t n, void* data) {
        auto* f = static_cast<First*>(data);
        f->at = std::min(f->at, f->watch.Elapsed());
        return size * n;
      });
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_LT(first.at, first.watch.Elapsed() - absl::Milliseconds(500));
}

TEST_F(HandleTest, TheApplicationsRefusalIsFinal) {
  server_->Script({Reply::Of(200, "data")});
  App app(client_, server_->Url());
  app.curl.SetOpt(
      CURLOPT_WRITEFUNCTION,
      +[](char*, size_t, size_t, void*) -> size_t { return 0; });
  CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_WRITE_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);

  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  app.curl.SetOpt(CURLOPT_NOPROGRESS, 0L);
  app.curl.SetOpt(
      CURLOPT_XFERINFOFUNCTION,
      +[](void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) { return 1; });
  result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_ABORTED_BY_CALLBACK);
  EXPECT_EQ(result.stop_reason, StopReason::kCancelled);
}

TEST_F(HandleTest, PausedWhileStreaming) {
  // Pauses once, and goes on from the progress callback.
  struct Pauser {
    Sink sink;
    CURL* easy = nullptr;
    bool paused = false;
    bool resumed = false;
  } pauser;
  server_->Script({Reply::Of(503, "x"), Reply::Of(200, "streamed")});
  App app(client_, server_->Url());
  pauser.easy = app.curl.raw();
  app.curl.SetOpt(CURLOPT_WRITEDATA, &pauser);
  app.curl.SetOpt(
      CURLOPT_WRITEFUNCTION,
      +[](char* data, size_t size, size_t n, void* self) -> size_t {
        auto* p = static_cast<Pauser*>(self);
        if (!p->paused) {
          p->paused = true;
          return CURL_WRITEFUNC_PAUSE;
        }
        return Sink::OnBody(data, size, n, &p->sink);
      });
  app.curl.SetOpt(CURLOPT_NOPROGRESS, 0L);
  app.curl.SetOpt(CURLOPT_XFERINFODATA, &pauser);
  app.curl.SetOpt(
      CURLOPT_XFERINFOFUNCTION,
      +[](void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
        auto* p = static_cast<Pauser*>(self);
        if (p->paused && !p->resumed) {
          p->resumed = true;
          curl_easy_pause(p->easy, CURLPAUSE_CONT);
        }
        return 0;
      });
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_TRUE(pauser.resumed);
  EXPECT_EQ(pauser.sink.body, "streamed");
}

TEST_F(HandleTest, TheHeadInTheBody) {
  const Reply reply = Reply::Of(200, "body").With("X-A", "b");
  server_->Script({Reply::Of(503, "x"), reply});
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_HEADER, 1L);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(app.sink.body, app.sink.head + "body");
  EXPECT_TRUE(absl::StartsWith(app.sink.body, "HTTP/1.1 200 OK\r\n"));
}

TEST_F(HandleTest, HeaderDataAloneGoesToTheWriteFunction) {
  server_->Script({Reply::Of(503, "x"), Reply::Of(200, "body")});
  App app(client_, server_->Url());
  Sink heads;
  app.curl.SetOpt(CURLOPT_HEADERFUNCTION, nullptr);
  app.curl.SetOpt(CURLOPT_HEADERDATA, &heads);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(app.sink.body, "body");
  EXPECT_TRUE(absl::StartsWith(heads.body, "HTTP/1.1 200 OK\r\n"));
}

TEST_F(HandleTest, WritesToAFileByDefault) {
  server_->Script({Reply::Of(503, "x"), Reply::Of(200, "to a file")});
  FILE* file = tmpfile();
  Handle curl = Handle::Create(client_);
  curl.SetOpt(CURLOPT_URL, server_->Url().c_str());
  curl.SetOpt(CURLOPT_WRITEDATA, file);
  EXPECT_EQ(curl.Perform().code, CURLE_OK);
  rewind(file);
  char text[64] = {};
  EXPECT_EQ(fread(text, 1, sizeof(text), file), 9u);
  EXPECT_STREQ(text, "to a file");
  fclose(file);
}

TEST_F(HandleTest, OptionsOfTheWrongTypeAreRefused) {
  App app(client_);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_URL, 1L), CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_POST, "1"), CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_WRITEFUNCTION, "f"),
            CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_WRITEDATA, &Sink::OnBody),
            CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(app.curl.SetOpt(static_cast<CURLoption>(9999), 1L),
            CURLE_UNKNOWN_OPTION);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_WRITEFUNCTION, NULL), CURLE_OK);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_HTTPHEADER, nullptr), CURLE_OK);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_INFILESIZE_LARGE, curl_off_t{1} << 40),
            CURLE_OK);
  EXPECT_EQ(app.curl.SetOpt(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1),
            CURLE_OK);
}

TEST_F(HandleTest, OptionsOutOfBounds) {
  App app(client_, server_->Url());
  CallOptions options;
  options.attempt_timeout = absl::ZeroDuration();
  CallResult result = app.curl.Perform(options);
  EXPECT_EQ(result.code, CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(Sends(), 0);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
}

TEST_F(HandleTest, NoTimeLeftIsNoSend) {
  App app(client_, server_->Url());
  for (const absl::Duration deadline :
       {absl::ZeroDuration(), absl::Seconds(-1), -absl::InfiniteDuration()}) {
    const CallResult result = app.Perform(deadline);
    EXPECT_EQ(result.code, CURLE_OPERATION_TIMEDOUT);
    EXPECT_EQ(result.http_status, 0);
    EXPECT_EQ(result.stop_reason, StopReason::kDeadlineExceeded);
  }
  EXPECT_EQ(Sends(), 0);
  EXPECT_STRNE(app.error, "");
}

TEST_F(HandleTest, UrlsThatAreNone) {
  App app(client_);
  EXPECT_EQ(app.Perform(kLong).code, CURLE_URL_MALFORMAT);
  app.curl.SetOpt(CURLOPT_URL, "nonsense://x/");
  EXPECT_EQ(app.Perform(kLong).code, CURLE_UNSUPPORTED_PROTOCOL);
}

TEST_F(HandleTest, OtherProtocolsPassThrough) {
  const std::string path =
      absl::StrCat(std::getenv("TEST_TMPDIR"), "/some_file");
  std::ofstream(path) << "from a file";
  App app(client_, absl::StrCat("file://", path));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_EQ(app.sink.body, "from a file");
}

TEST_F(HandleTest, ResetForgets) {
  server_->Script({Reply::Of(200, "x")});
  App app(client_, server_->Url());
  app.Post("x");
  app.Perform(kLong);
  app.curl.Reset();
  app.sink = Sink();
  app.curl.SetOpt(CURLOPT_URL, server_->Url().c_str());
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &app.sink);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.record.names.method(), "GET");
  EXPECT_EQ(app.sink.head, "");
  EXPECT_EQ(app.sink.body, "x");
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(HandleTest, BorrowedHandles) {
  CURL* easy = curl_easy_init();
  Sink sink;
  {
    Handle curl = Handle::Borrow(easy, client_);
    EXPECT_EQ(curl.raw(), easy);
    curl.SetOpt(CURLOPT_URL, server_->Url().c_str());
    curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    curl.SetOpt(CURLOPT_WRITEDATA, &sink);
    curl.SetOpt(CURLOPT_HTTPGET, 1L);
    server_->Script({Reply::Of(503, "x"), Reply::Of(200, "y")});
    EXPECT_EQ(curl.Perform().stop_reason, StopReason::kSuccess);
    EXPECT_EQ(sink.body, "y");
  }
  // It is its owner's again, with the callbacks that were set.
  EXPECT_EQ(curl_easy_perform(easy), CURLE_OK);
  EXPECT_EQ(sink.body, "yy");
  {
    // A method that nobody has told us may be a POST.
    Handle curl = Handle::Borrow(easy, client_);
    curl.SetOpt(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
    curl.SetOpt(CURLOPT_WRITEDATA, &sink);
    server_->Script({Reply::CloseAfterRead()});
    const CallResult result = curl.Perform();
    EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
    EXPECT_EQ(result.record.names.method(), "unknown");
    EXPECT_EQ(result.record.names.target(),
              absl::StrCat("127.0.0.1:", server_->port()));
  }
  curl_easy_cleanup(easy);
}

TEST_F(HandleTest, ABorrowedHandleInAMultiIsRefused) {
  CURL* easy = curl_easy_init();
  CURLM* multi = curl_multi_init();
  curl_multi_add_handle(multi, easy);
  {
    Handle curl = Handle::Borrow(easy, client_);
    curl.SetOpt(CURLOPT_URL, server_->Url().c_str());
    EXPECT_EQ(curl.Perform().code, CURLE_FAILED_INIT);
  }
  curl_multi_remove_handle(multi, easy);
  curl_multi_cleanup(multi);
  curl_easy_cleanup(easy);
  EXPECT_EQ(Sends(), 0);
}

TEST_F(HandleTest, PerformInACallbackIsRefused) {
  App app(client_, server_->Url());
  struct Inner {
    Handle* handle = nullptr;
    CURLcode code = CURLE_OK;
  } inner{&app.curl};
  app.curl.SetOpt(CURLOPT_WRITEDATA, &inner);
  app.curl.SetOpt(
      CURLOPT_WRITEFUNCTION, +[](char*, size_t size, size_t n, void* self) {
        auto* i = static_cast<Inner*>(self);
        i->code = i->handle->Perform().code;
        return size * n;
      });
  server_->Script({Reply::Of(200, "x")});
  EXPECT_EQ(app.Perform(kLong).code, CURLE_OK);
  EXPECT_EQ(inner.code, CURLE_RECURSIVE_API_CALL);
}

TEST_F(HandleTest, OffMeansPlain) {
  setenv("FORBEAR_OFF", "1", 1);
  const std::shared_ptr<Client> off = NewClient();
  unsetenv("FORBEAR_OFF");
  server_->Script({Reply::Of(503, "bad"), Reply::Of(200, "good")});
  App app(off, server_->Url());
  CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, "bad");
  EXPECT_EQ(result.record.total_attempts, 1);
  result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "badgood");
  EXPECT_EQ(Sends(), 2);
}

// Without a fault in the way: what plain libcurl delivers, and in its order.
TEST_F(HandleTest, SameAsPlain) {
  server_->Script("/plain", {Reply::Of(200, std::string(100000, 'p'))});
  server_->Script("/chunked",
                  {Reply::Of(200, std::string(50000, 'c')).Chunked()});
  server_->Script("/empty", {Reply::Of(204)});
  server_->Script("/error", {Reply::Of(404, "not here")});
  server_->Script("/moved",
                  {Reply::Of(301, "moved").With("Location", "/plain")});
  server_->Script(
      "/interim",
      {Reply::Raw("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
                  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")});
  server_->Script("/trailers",
                  {Reply::Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
                              "\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")});
  server_->Script(
      "/denied",
      {Reply::Of(401, "who?").With("WWW-Authenticate", "Basic realm=\"x\"")});
  for (const bool fail : {false, true}) {
    for (const bool header : {false, true}) {
      for (const char* path : {"/plain", "/chunked", "/empty", "/error",
                               "/moved", "/interim", "/trailers", "/denied"}) {
        SCOPED_TRACE(absl::StrCat(path, fail, header));
        std::vector<Sink> sinks;
        std::vector<CURLcode> codes;
        std::vector<std::string> errors;
        for (const bool enabled : {false, true}) {
          ClientOptions options;
          options.enabled = enabled;
          App app(NewClient(options), server_->Url(path));
          app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
          app.curl.SetOpt(CURLOPT_FAILONERROR, fail ? 1L : 0L);
          app.curl.SetOpt(CURLOPT_HEADER, header ? 1L : 0L);
          codes.push_back(app.Perform(kLong).code);
          errors.emplace_back(app.error);
          sinks.push_back(app.sink);
          // Date may have moved on by a second between the two.
          for (std::string& event : sinks.back().events) {
            std::vector<std::string> lines = absl::StrSplit(event, "\r\n");
            for (std::string& line : lines) {
              const size_t date = line.find("Date: ");
              if (date != std::string::npos) line.resize(date);
            }
            event = absl::StrJoin(lines, "\r\n");
          }
        }
        EXPECT_EQ(codes[0], codes[1]);
        EXPECT_EQ(errors[0], errors[1]);
        EXPECT_EQ(sinks[0].events, sinks[1].events);
      }
    }
  }
}

TEST_F(HandleTest, ADigestRoundIsNotARetry) {
  const auto digest = [](const testing::HttpRequest& request) {
    if (request.headers.count("authorization") == 0) {
      return Reply::Of(401, "who?")
          .With("WWW-Authenticate",
                "Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=MD5");
    }
    return Reply::Of(request.index < 2 ? 503 : 200, "in");
  };
  server_->SetHandler(digest);
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_USERPWD, "me:secret");
  app.curl.SetOpt(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_DIGEST));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.total_attempts, 2);
  EXPECT_EQ(app.sink.body, "in");
}

TEST_F(HandleTest, AttemptTimeout) {
  server_->Script({Reply::Hang(), Reply::Of(200, "ok")});
  App app(client_, server_->Url());
  CallOptions options;
  options.attempt_timeout = absl::Milliseconds(100);
  const Stopwatch watch;
  CallResult result = app.curl.Perform(options);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_TRUE(result.record.attempts[0].outcome.timed_out);
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(100));

  // libcurl's own limit is one attempt's, too.
  server_->Script({Reply::Hang(), Reply::Of(200, "ok")});
  app.curl.SetOpt(CURLOPT_TIMEOUT_MS, 100L);
  result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_TRUE(result.record.attempts[0].outcome.timed_out);
}

TEST_F(HandleTest, AHangEndsWithTheDeadline) {
  server_->Script({Reply::Hang()});
  App app(client_, server_->Url());
  const Stopwatch watch;
  const CallResult result = app.Perform(absl::Milliseconds(300));
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(290));
  EXPECT_LT(watch.Elapsed(), absl::Seconds(3));
  EXPECT_EQ(result.code, CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(result.stop_reason, StopReason::kDeadlineExceeded);
  EXPECT_TRUE(absl::StrContains(app.error, "timed out")) << app.error;
  EXPECT_EQ(Sends(), 1);
}

TEST_F(HandleTest, TheDeadlineCutsAStreamThatWasBegun) {
  server_->Script({Reply::Of(200, std::string(1000, 'x'))
                       .InPieces(1, absl::Milliseconds(20))});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(absl::Milliseconds(300));
  EXPECT_EQ(result.code, CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.stop_reason, StopReason::kCommitted);
  EXPECT_GT(app.sink.body.size(), 0u);
}

TEST_F(HandleTest, AWaitBeyondTheDeadlineEndsTheCallAtOnce) {
  server_->Script({Reply::Of(429, "in a minute").With("Retry-After", "60")});
  App app(client_, server_->Url());
  const Stopwatch watch;
  CallResult result = app.Perform(absl::Seconds(10));
  EXPECT_LT(watch.Elapsed(), absl::Seconds(5));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  ASSERT_TRUE(result.retry_at.has_value());
  EXPECT_GT(*result.retry_at, absl::Seconds(54));
  EXPECT_LE(*result.retry_at, absl::Seconds(62));
  EXPECT_EQ(app.sink.body, "in a minute");
  EXPECT_EQ(app.Head("Retry-After"), "60");
  EXPECT_EQ(Sends(), 1);

  // The next one is not even sent.
  app.sink = Sink();
  result = app.Perform(absl::Seconds(10));
  EXPECT_EQ(result.code, CURLE_COULDNT_CONNECT);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_TRUE(result.retry_at.has_value());
  EXPECT_EQ(app.sink.events.size(), 0u);
  EXPECT_EQ(Sends(), 1);

  // Nor is it for another path, but it is with another credential.
  App other(client_, server_->Url("/other"));
  EXPECT_EQ(other.Perform(absl::Seconds(1)).stop_reason,
            StopReason::kWaitExceedsDeadline);
  server_->Script({Reply::Of(200)});
  other.Header("Authorization: Bearer another");
  EXPECT_EQ(other.Perform(absl::Seconds(10)).stop_reason, StopReason::kSuccess);
  App named(client_, server_->Url());
  CallOptions options;
  options.quota_id = "batch";
  EXPECT_EQ(named.curl.Perform(options).stop_reason, StopReason::kSuccess);
}

TEST_F(HandleTest, RetryAfterThatNobodyCanMean) {
  struct Case {
    const char* value;
    bool garbage_wait;
  };
  for (const Case& c :
       {Case{"315360000", true},  // ten years
        Case{"99999999999999999999", true},
        Case{"Fri, 31 Dec 9999 23:59:59 GMT", true}, Case{"0", false},
        Case{"-5", false}, Case{"", false}, Case{"soon", false},
        Case{"1.5", false}, Case{"Thu, 01 Jan 1970 00:00:00 GMT", false}}) {
    SCOPED_TRACE(c.value);
    server_->Script({Reply::Of(503, "no").With("Retry-After", c.value),
                     Reply::Of(200, "ok")});
    App app(NewClient(), server_->Url());
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(app.sink.body, "ok");
    ASSERT_EQ(result.record.attempts.size(), 2u);
    EXPECT_EQ(result.record.attempts[0].garbage_pushback, c.garbage_wait);
  }
}

TEST_F(HandleTest, TheLongestOfSeveralRetryAfters) {
  server_->Script({Reply::Of(429, "no")
                       .With("Retry-After", "1")
                       .With("Retry-After", "50")
                       .With("Retry-After", "2")});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(absl::Seconds(10));
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(result.record.attempts[0].outcome.pushback, absl::Seconds(50));
}

TEST_F(HandleTest, RetryAfterIsReadByTheServersClock) {
  // An hour behind ours, or years: only the difference means something.
  server_->Script({Reply::Of(429, "no")
                       .With("Date", "Tue, 15 Nov 1994 08:12:31 GMT")
                       .With("Retry-After", "Tue, 15 Nov 1994 08:13:01 GMT")});
  App app(client_, server_->Url());
  const CallResult result = app.Perform(absl::Seconds(10));
  EXPECT_EQ(result.record.attempts[0].outcome.pushback, absl::Seconds(30));
}

// Two layers that repeat would multiply.
TEST_F(HandleTest, AnAttemptOfAnotherLayerIsNotRepeated) {
  server_->Script(
      {Reply::Of(503, "one"), Reply::Of(429, "two").With("Retry-After", "7")});
  App app(client_, server_->Url());
  app.Header("X-Stainless-Retry-Count: 1");
  CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kOuterLayer);
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(app.sink.body, "one");
  EXPECT_TRUE(result.record.yields_to_outer);
  // It does not wait out a refusal either, and says when it would be over.
  result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kOuterLayer);
  EXPECT_EQ(result.http_status, 429);
  ASSERT_TRUE(result.retry_at.has_value());
  EXPECT_GT(*result.retry_at, absl::Seconds(5));
  EXPECT_EQ(Sends(), 2);
  // The gate that it shut holds for all the same.
  result = app.Perform(absl::Seconds(2));
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(Sends(), 2);
}

TEST_F(HandleTest, ACallTakesItsCostOfTheLimits) {
  ClientOptions options;
  options.quota.limits = {
      {"tokens", LimitUnit::kTokens, 1000, absl::Hours(1), 1000}};
  App app(NewClient(options), server_->Url());
  CallOptions call;
  call.deadline = kLong;
  call.cost.input_tokens = 600;
  EXPECT_EQ(app.curl.Perform(call).stop_reason, StopReason::kSuccess);
  // 600 more are there in 12 minutes.
  const CallResult second = app.curl.Perform(call);
  EXPECT_EQ(second.stop_reason, StopReason::kWaitExceedsDeadline);
  ASSERT_TRUE(second.retry_at.has_value());
  EXPECT_GT(*second.retry_at, absl::Minutes(11));
  call.cost.input_tokens = 1001;
  const CallResult never = app.curl.Perform(call);
  EXPECT_EQ(never.stop_reason, StopReason::kCostTooLarge);
  EXPECT_FALSE(never.retry_at.has_value());
  EXPECT_EQ(never.record.cost.input_tokens, 1001);
  EXPECT_EQ(Sends(), 1);
}

// A call within a call: from where the outer one may be repeated, and from where
// it may not any more.
struct Within {
  Handle* curl = nullptr;
  std::vector<CallResult> results;

  void Call() {
    CallOptions options;
    options.deadline = kLong;
    results.push_back(curl->Perform(options));
  }
  static size_t OnBody(char*, size_t size, size_t n, void* self) {
    static_cast<Within*>(self)->Call();
    return size * n;
  }
};

TEST_F(HandleTest, ACallWithinACallIsNotRepeatedWhileTheOuterOneMayBe) {
  const std::unique_ptr<HttpServer> other = StartServer();
  App inner(NewClient(), other->Url());
  Within within;
  within.curl = &inner.curl;
  ClientOptions options;
  options.classify_http = [&](const HttpAnswer&, Outcome*) { within.Call(); };
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "yes")});
  App app(NewClient(options), server_->Url());
  app.curl.SetOpt(CURLOPT_WRITEFUNCTION, &Within::OnBody);
  app.curl.SetOpt(CURLOPT_WRITEDATA, &within);
  other->Script({Reply::Of(503, ""), Reply::Of(503, ""), Reply::Of(200, "")});
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  ASSERT_EQ(within.results.size(), 2u);
  // Within the classifier: the outer attempt is about to be repeated.
  EXPECT_EQ(within.results[0].stop_reason, StopReason::kOuterLayer);
  EXPECT_EQ(within.results[0].record.total_attempts, 1);
  // Within the write function: that answer is final.
  EXPECT_EQ(within.results[1].stop_reason, StopReason::kSuccess);
  EXPECT_FALSE(within.results[1].record.yields_to_outer);
  EXPECT_EQ(within.results[1].record.total_attempts, 2);
}

// What stands in a call's record and in the log must be fit to be published.
TEST_F(HandleTest, SecretsStayWhereTheyAre) {
  std::vector<std::string> lines;
  ClientOptions options;
  options.log = [&](absl::string_view line) { lines.emplace_back(line); };
  server_->Script({Reply::Of(503, "CANARY answer").With("X-Secret", "CANARY"),
                   Reply::Of(429, "CANARY").With("Retry-After", "3600")});
  std::string url = server_->Url("/CANARY?key=CANARY");
  url.replace(0, 7, "http://user:CANARY@");
  App app(NewClient(options), url);
  app.Header("Authorization: Bearer CANARY");
  app.Header("x-api-key: CANARY");
  app.Header("Idempotency-Key: CANARY");
  app.Post("CANARY");
  CallOptions call;
  call.deadline = absl::Seconds(5);
  const CallResult result = app.curl.Perform(call);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_GT(lines.size(), 3u);
  const std::string all =
      absl::StrCat(absl::StrJoin(lines, "\n"), FormatCallRecord(result.record),
                   result.record.names.target(), result.record.names.method());
  EXPECT_FALSE(absl::StrContains(all, "CANARY")) << all;
  EXPECT_FALSE(absl::StrContains(all, "user")) << all;
}

}  // namespace
}  // namespace forbear::curl
