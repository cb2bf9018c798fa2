// One changed line in a program of plain libcurl, against servers whose every answer
// is scripted: what is sent again, what the application sees, and why a call ends.
#include "curl_wrap/perform.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "curl_wrap/raw_transfer.h"
#include "gtest/gtest.h"
#include "proto/record_convert.h"
#include "runtime/classifier.h"
#include "tests/curl_wrap/raw_app.h"
#include "tests/curl_wrap/raw_server.h"

namespace forbear::curl {
namespace {

RawOptions RawWithin(absl::Duration deadline) {
  RawOptions options;
  options.deadline = deadline;
  return options;
}

class PerformTest : public ::testing::Test {
 protected:
  int64_t Sends() const { return server_->log().Count(); }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
};

// --- Answers. ---

TEST_F(PerformTest, AnAnswerPassesThrough) {
  server_->Script({Reply::Of(200, "hello").With("X-Some", "thing")});
  RawApp app(client_, server_->Url("/x"));
  const CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.total_attempts, 1);
  EXPECT_EQ(result.record.names.method(), "GET");
  EXPECT_EQ(result.record.names.target(),
            absl::StrCat("127.0.0.1:", server_->port()));
  EXPECT_EQ(app.sink.body, "hello");
  EXPECT_EQ(app.Head("X-Some"), "thing");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, BodiesOfFailedAttemptsAreHidden) {
  // Small and with its head, large, late, chunked, of an encoding: not a byte.
  const std::vector<Reply> failures = {
      Reply::Of(503, "bad"),
      Reply::Of(503, std::string(300000, 'x')),
      Reply::Of(503, "later").BodyAfter(absl::Milliseconds(20)),
      Reply::Of(503, "chunks").Chunked(),
      Reply::Of(503, "not gzip").With("Content-Encoding", "gzip"),
      Reply::Raw("HTTP/1.0 503 No\r\n\r\nuntil the end"),
      Reply::Truncate("0123456789", 4)};
  for (size_t i = 0; i < failures.size(); ++i) {
    SCOPED_TRACE(i);
    Reply failure = failures[i];
    failure.status = 503;
    const int64_t before = Sends();
    server_->Script({failure.With("X-Try", "1"),
                     Reply::Of(200, "good").With("X-Try", "2")});
    RawApp app(NewClient(), server_->Url());
    app.Set(CURLOPT_ACCEPT_ENCODING, "");
    const CallResult result = app.Perform();
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(app.sink.body, "good");
    EXPECT_STREQ(app.error, "");
    EXPECT_EQ(result.record.attempts[0].outcome.status, 503);
    EXPECT_EQ(Sends(), before + 2);
    // Their heads are seen, as those of redirects are.
    EXPECT_TRUE(absl::StrContains(app.sink.head, " 503 "));
  }
}

TEST_F(PerformTest, TheLastFailureIsDeliveredWhole) {
  const std::string body(200000, 'x');
  server_->Script({Reply::Of(500, "one"), Reply::Of(500, "two"),
                   Reply::Of(500, body).With("X-Last", "yes")});
  RawApp app(client_, server_->Url());
  const CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 500);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, body);
  EXPECT_EQ(app.Head("X-Last"), "yes");
  EXPECT_EQ(Sends(), 3);
}

// A refusal of the budget is known to nobody before it is asked.
TEST_F(PerformTest, TheLastFailureOfAnEmptyBudgetIsDeliveredWhole) {
  ClientOptions options;
  options.endpoint.budget.capacity = 14;  // one retry, and then it is empty
  server_->Script(
      {Reply::Of(503, "one"), Reply::Of(503, "two"), Reply::Of(503, "three")});
  RawApp app(NewClient(options), server_->Url());
  const CallResult result = app.Perform();
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(result.stop_reason, StopReason::kBudgetExhausted);
  if (RawTransfer::BrakeOfLibcurl() == RawTransfer::Brake::kPause) {
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_EQ(app.sink.body, "two");
  } else {
    EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
    EXPECT_EQ(app.sink.body, "");
  }
  EXPECT_EQ(Sends(), 2);
}

TEST_F(PerformTest, PermanentErrorsAreAnswers) {
  for (const int status : {400, 401, 403, 404, 407, 501, 505}) {
    SCOPED_TRACE(status);
    server_->Script({Reply::Of(status, "why not")});
    RawApp app(client_, server_->Url());
    const int64_t before = Sends();
    const CallResult result = app.Perform();
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_EQ(result.http_status, status);
    EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
    EXPECT_EQ(app.sink.body, "why not");
    EXPECT_EQ(Sends(), before + 1);
  }
}

TEST_F(PerformTest, TheServersWordOnRetryingCounts) {
  server_->Script({Reply::Of(503, "for good").With("x-should-retry", "false")});
  RawApp app(client_, server_->Url());
  CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kServerSaidNo);
  EXPECT_EQ(app.sink.body, "for good");
  EXPECT_EQ(Sends(), 1);
  // The last line of a head may turn it.
  server_->Script({Reply::Raw("HTTP/1.1 404 No\r\nContent-Length: 5\r\n"
                              "x-should-retry: true\r\n\r\nagain"),
                   Reply::Of(200, "yes")});
  app.sink = Sink();
  result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "yes");
  EXPECT_EQ(Sends(), 3);
}

TEST_F(PerformTest, StreamsAsItComes) {
  struct First {
    Stopwatch watch;
    absl::Duration at = absl::InfiniteDuration();
  } first;
  server_->Script(
      {Reply::Of(200, "0123456789").InPieces(1, absl::Milliseconds(50))});
  RawApp app(client_, server_->Url());
  app.Set(CURLOPT_WRITEDATA, &first);
  app.Set(
      CURLOPT_WRITEFUNCTION, +[](char*, size_t size, size_t n, void* data) {
        auto* f = static_cast<First*>(data);
        f->at = std::min(f->at, f->watch.Elapsed());
        return size * n;
      });
  EXPECT_EQ(app.Perform().code, CURLE_OK);
  EXPECT_LT(first.at, first.watch.Elapsed() - absl::Milliseconds(250));
}

// The stop is a pause before libcurl 8.7: curl_wrap/perform.h, "Pauses".
TEST_F(PerformTest, AProgressFunctionMayEndItsOwnPauses) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "yes")});
  RawApp app(client_, server_->Url());
  struct Pauses {
    RawApp* app;
    bool once = false;    // it has paused
    bool paused = false;  // and not gone on
    bool always = false;
  } pauses{&app};
  app.Set(CURLOPT_NOPROGRESS, 0L);
  app.Set(CURLOPT_XFERINFODATA, &pauses);
  app.Set(
      CURLOPT_XFERINFOFUNCTION,
      +[](void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
        auto* p = static_cast<Pauses*>(data);
        if (p->always || std::exchange(p->paused, false)) {
          curl_easy_pause(p->app->easy, CURLPAUSE_CONT);
        }
        return 0;
      });
  app.Set(CURLOPT_WRITEDATA, &pauses);
  app.Set(
      CURLOPT_WRITEFUNCTION,
      +[](char* bytes, size_t size, size_t n, void* data) {
        auto* p = static_cast<Pauses*>(data);
        if (!std::exchange(p->once, true)) {
          p->paused = true;
          return size_t{CURL_WRITEFUNC_PAUSE};
        }
        return Sink::OnBody(bytes, size, n, &p->app->sink);
      });
  RawOptions options;
  options.deadline = absl::Seconds(10);
  const CallResult result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(app.sink.body, "yes");
  EXPECT_TRUE(pauses.once);
  EXPECT_EQ(Sends(), 2);
}

TEST_F(PerformTest, AConnectionOutlivesWhatHasNoBody) {
  server_->Script({Reply::Of(503), Reply::Of(503), Reply::Of(200, "yes")});
  RawApp app(client_, server_->Url());
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "yes");
  EXPECT_EQ(Sends(), 3);
  EXPECT_EQ(server_->connections(), 1);
  // A body that nobody is to see costs its connection.
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "yes")});
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
  EXPECT_EQ(server_->connections(), 2);
}

TEST_F(PerformTest, ConnectionsOutliveCalls) {
  RawApp app(client_, server_->Url());
  for (int i = 0; i < 5; ++i) app.Perform();
  RawApp other(client_, server_->Url());
  other.Perform();
  EXPECT_EQ(Sends(), 6);
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(PerformTest, HeadHasNoBody) {
  server_->Script({Reply::Of(503), Reply::Of(200).With("X-A", "b")});
  RawApp app(client_, server_->Url());
  app.Set(CURLOPT_NOBODY, 1L);
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.method(), "HEAD");
  EXPECT_EQ(app.Head("X-A"), "b");
  EXPECT_EQ(Sends(), 2);
}

// What a failure at the end of a transfer is, its record says.
TEST_F(PerformTest, TheRecordCountsBytes) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "0123456789")});
  RawApp app(client_, server_->Url());
  app.Post("12345");
  RawOptions options;
  options.idempotent = true;
  options.body_replays = true;
  const CallResult result = app.Perform(options);
  ASSERT_EQ(result.record.attempts.size(), 2u);
  EXPECT_EQ(result.record.names.method(), "POST");
  for (const AttemptRecord& a : result.record.attempts) {
    EXPECT_EQ(a.outcome.bytes_sent,
              result.record.attempts[0].outcome.bytes_sent);
    EXPECT_GT(a.outcome.bytes_sent, 60);
    EXPECT_LT(a.outcome.bytes_sent, 400);
    EXPECT_TRUE(a.head.has_value());
  }
  const int64_t head = static_cast<int64_t>(app.sink.head.size());
  EXPECT_EQ(result.record.attempts[0].outcome.bytes_received +
                result.record.attempts[1].outcome.bytes_received,
            head + 10);
}

// --- What may be repeated. ---

TEST_F(PerformTest, AResetGetIsSentAgain) {
  server_->Script({Reply::ResetBeforeHead(), Reply::CloseAfterRead(),
                   Reply::Of(200, "ok")});
  RawApp app(client_, server_->Url());
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_EQ(Sends(), 3);
  EXPECT_EQ(result.record.attempts[0].outcome.transport_error,
            CURLE_RECV_ERROR);
  EXPECT_TRUE(result.record.attempts[0].outcome.repeatable);
}

TEST_F(PerformTest, AResetPostIsSentOnce) {
  server_->Script({Reply::ResetBeforeHead()});
  RawApp app(client_, server_->Url());
  app.Post("order=1");
  RawOptions options;
  options.body_replays = true;
  const CallResult result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_RECV_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_FALSE(result.record.attempts[0].outcome.repeatable);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, AFailedPostIsSentOnce) {
  server_->Script({Reply::Of(500, "charged?")});
  RawApp app(client_, server_->Url());
  app.Post("order=1");
  RawOptions options;
  options.body_replays = true;
  const CallResult result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(app.sink.body, "charged?");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, APostThatMayBeRepeatedIs) {
  // By the caller's word, or by its Idempotency-Key.
  for (const bool by_key : {false, true}) {
    server_->Script({Reply::ResetBeforeHead(), Reply::Of(200, "ok")});
    const int64_t before = Sends();
    RawApp app(NewClient(), server_->Url());
    app.Post("order=1");
    RawOptions options;
    options.body_replays = true;
    if (by_key) {
      app.Header("idempotency-key: 7f3");
    } else {
      options.idempotent = true;
    }
    const CallResult result = app.Perform(options);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(Sends(), before + 2);
    EXPECT_EQ(server_->log().Snapshot().back().body, "order=1");
  }
}

TEST_F(PerformTest, TheCallersNoGoesBeforeTheMethod) {
  server_->Script({Reply::ResetBeforeHead()});
  RawApp app(client_, server_->Url());
  RawOptions options;
  options.idempotent = false;
  EXPECT_EQ(app.Perform(options).stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, CustomRequestDecidesTheMethod) {
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200)});
  RawApp app(client_, server_->Url());
  app.Set(CURLOPT_CUSTOMREQUEST, "PATCH");
  CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(result.record.names.method(), "PATCH");
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(200)});
  app.Set(CURLOPT_CUSTOMREQUEST, "DELETE");
  result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.method(), "DELETE");
}

// The POST was acted upon, whatever became of the GET after it.
TEST_F(PerformTest, APostThatWasRedirectedToAGetIsAPost) {
  server_->Script("/a", {Reply::Of(303).With("Location", "/b").ThenClose()});
  server_->Script("/b", {Reply::ResetBeforeHead()});
  RawApp app(client_, server_->Url("/a"));
  app.Post("order=1");
  app.Set(CURLOPT_FOLLOWLOCATION, 1L);
  RawOptions options;
  options.body_replays = true;
  const CallResult result = app.Perform(options);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(result.record.names.method(), "POST");
  EXPECT_EQ(Sends(), 2);
}

// A refusal says that it was not acted upon: the GET, that is.
TEST_F(PerformTest, APostThatWasRedirectedToARefusalIsSentOnce) {
  for (const int status : {301, 302, 303, 307}) {
    SCOPED_TRACE(status);
    server_->Script("/a", {Reply::Of(status).With("Location", "/b")});
    server_->Script("/b", {Reply::Of(429), Reply::Of(200, "there")});
    const int64_t before = Sends();
    RawApp app(NewClient(), server_->Url("/a"));
    app.Post("order=1");
    app.Set(CURLOPT_FOLLOWLOCATION, 1L);
    RawOptions options;
    options.body_replays = true;
    const CallResult result = app.Perform(options);
    if (status == 307) {  // "send it there"
      EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
      EXPECT_EQ(Sends(), before + 4);
      continue;
    }
    EXPECT_EQ(result.http_status, 429);
    EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
    EXPECT_EQ(Sends(), before + 2);
  }
}

// libcurl sends a request again by itself when a kept-alive connection dies before a
// byte of the answer.
TEST_F(PerformTest, WhatLibcurlRepeatsByItself) {
  server_->SetHandler([](const testing::HttpRequest& request) {
    return request.index_on_connection > 0 ? Reply::CloseAfterRead()
                                           : Reply::Of(200, "ok");
  });
  RawApp app(client_, server_->Url());
  app.Post("pay=1");
  CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.attempts[0].outcome.resends, 0);
  result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.attempts[0].outcome.resends, 1);
  EXPECT_EQ(Sends(), 3) << "libcurl no longer repeats by itself";
  // Who says that it must not be repeated has a new connection each time.
  RawOptions once;
  once.idempotent = false;
  EXPECT_EQ(app.Perform(once).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.Perform(once).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Sends(), 5);
  EXPECT_EQ(server_->connections(), 4);
}

// … also if connections come from elsewhere.
TEST_F(PerformTest, AtMostOnceWithConnectionsOfAShare) {
  server_->SetHandler([](const testing::HttpRequest& request) {
    return request.index_on_connection > 0 ? Reply::CloseAfterRead()
                                           : Reply::Of(200, "ok");
  });
  CURLSH* const share = curl_share_init();
  curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT);
  {
    RawApp app(client_, server_->Url());
    app.Set(CURLOPT_SHARE, share);
    app.Post("pay=1");
    RawOptions once;
    once.idempotent = false;
    EXPECT_EQ(app.Perform(once).stop_reason, StopReason::kSuccess);
    const CallResult result = app.Perform(once);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(result.record.attempts.at(0).outcome.resends, 0);
    EXPECT_EQ(Sends(), 2) << "paid twice";
    EXPECT_EQ(server_->connections(), 2);
    // It is not so for ever.
    EXPECT_EQ(curl_easy_perform(app.easy), CURLE_OK);
    EXPECT_GT(Sends(), 3) << "the share has no connection";
  }
  curl_share_cleanup(share);
}

TEST_F(PerformTest, ClosedPort) {
  server_->Stop();
  ClientOptions options;
  options.retry.max_attempts = 100;
  options.log = [this](absl::string_view line) {
    // It comes back when two attempts have found it away.
    if (absl::StrContains(line, "attempt 2 ended")) {
      EXPECT_TRUE(server_->Start().ok());
    }
  };
  RawApp app(NewClient(options), server_->Url());
  // Nobody has asked for a byte of it.
  RawSource source;
  source.body = "once";
  app.Set(CURLOPT_POST, 1L);
  app.Set(CURLOPT_POSTFIELDSIZE, 4L);
  app.Set(CURLOPT_READFUNCTION, &RawSource::Read);
  app.Set(CURLOPT_READDATA, &source);
  const CallResult result = app.Perform(RawWithin(absl::Seconds(20)));
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.total_attempts, 3);
  EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kNo);
  EXPECT_EQ(Sends(), 1);
  EXPECT_EQ(server_->log().Snapshot()[0].body, "once");
}

TEST_F(PerformTest, NoSuchHost) {
  RawApp app(client_, "http://no-such-host.invalid/");
  const CallResult result = app.Perform(RawWithin(absl::Seconds(5)));
  EXPECT_EQ(result.code, CURLE_COULDNT_RESOLVE_HOST);
  EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kNo);
  EXPECT_STRNE(app.error, "");
}

// --- Request bodies. ---

TEST_F(PerformTest, ABodyOfUnknownOriginIsSentOnce) {
  server_->Script({Reply::Of(429, "slow down")});
  RawApp app(client_, server_->Url());
  app.Post("order=1");
  const CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(app.sink.body, "slow down");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, FieldsAndMimeAreSentAgainByLibcurl) {
  RawOptions options;
  options.body_replays = true;
  for (const bool mime : {false, true}) {
    server_->Script({Reply::Of(429, "no"), Reply::Of(200, "yes")});
    RawApp app(NewClient(), server_->Url());
    curl_mime* parts = nullptr;
    if (mime) {
      parts = curl_mime_init(app.easy);
      curl_mimepart* part = curl_mime_addpart(parts);
      curl_mime_name(part, "memory");
      curl_mime_data(part, "order=1", CURL_ZERO_TERMINATED);
      app.Set(CURLOPT_MIMEPOST, parts);
    } else {
      app.Post("order=1");
    }
    EXPECT_EQ(app.Perform(options).stop_reason, StopReason::kSuccess);
    EXPECT_EQ(app.sink.body, "yes");
    curl_mime_free(parts);
  }
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 4u);
  EXPECT_EQ(arrivals[0].body, "order=1");
  EXPECT_EQ(arrivals[1].body, "order=1");
  EXPECT_EQ(arrivals[2].body_bytes, arrivals[3].body_bytes);
  EXPECT_TRUE(absl::StrContains(arrivals[3].body, "order=1"));
}

class PerformUploadTest : public PerformTest {
 protected:
  void Upload(RawApp* app) {
    app->Set(CURLOPT_UPLOAD, 1L);
    app->Set(CURLOPT_READFUNCTION, &RawSource::Read);
    app->Set(CURLOPT_READDATA, &source_);
    app->Set(CURLOPT_INFILESIZE_LARGE,
             static_cast<curl_off_t>(source_.body.size()));
  }
  RawSource source_{std::string(100000, 'u')};
};

TEST_F(PerformUploadTest, WithoutRewind) {
  server_->Script({Reply::Of(503, "no").ThenClose()});
  RawApp app(client_, server_->Url());
  Upload(&app);
  CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(app.sink.body, "no");
  server_->Script({Reply::ResetBeforeHead()});
  source_.at = 0;
  result = app.Perform();
  EXPECT_EQ(result.code, CURLE_RECV_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(Sends(), 2);
}

TEST_F(PerformUploadTest, WithRewind) {
  server_->Script({Reply::Of(503, "no"), Reply::ResetBeforeHead(),
                   Reply::Of(200, "taken")});
  RawApp app(client_, server_->Url());
  Upload(&app);
  RawOptions options;
  options.rewind_body = [this] { return source_.Rewind(); };
  const CallResult result = app.Perform(options);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.method(), "PUT");

  EXPECT_EQ(app.sink.body, "taken");
  EXPECT_EQ(source_.rewinds, 2);
  EXPECT_EQ(Sends(), 3);
  for (const Arrival& a : server_->log().Snapshot()) {
    EXPECT_EQ(a.body_hash, testing::ArrivalLog::HashOf(source_.body));
  }
}

TEST_F(PerformUploadTest, ARewindThatFails) {
  RawOptions options;
  options.rewind_body = [] { return false; };
  // After a refusal, whose body is gone …
  server_->Script({Reply::Of(503, "no")});
  RawApp app(client_, server_->Url());
  Upload(&app);
  CallResult result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_SEND_FAIL_REWIND);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_EQ(Sends(), 1);
  // … and after a reset.
  server_->Script({Reply::ResetBeforeHead()});
  source_.at = 0;
  result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_RECV_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(Sends(), 2);
}

// The answer comes while the body is being sent: nothing of it is read after it was
// rewound.
TEST_F(PerformUploadTest, AnEarlyRefusal) {
  source_.body = std::string(16 << 20, 'u');
  const std::string end = "Content-Length: 2\r\nConnection: close\r\n\r\n";
  RawServer server({{{"uuuu", "HTTP/1.1 503 No\r\n" + end + "no"}},
                    {{"\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\n" + end + "ok"}}});
  RawApp app(client_, absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  Upload(&app);
  app.Set(CURLOPT_INFILESIZE_LARGE, curl_off_t{-1});
  app.Header("Expect:");
  RawOptions options;
  size_t read = 0;
  options.rewind_body = [&] {
    read = source_.at;
    source_.body = "all of it";
    return source_.Rewind();
  };
  const CallResult result = app.Perform(options);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
      << FormatCallRecord(result.record);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_GT(read, 0u);
  EXPECT_LT(read, size_t{16} << 20) << "the answer was not early";
  const std::vector<std::string> received = server.Received();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_TRUE(
      absl::EndsWith(received[1], "\r\n\r\n9\r\nall of it\r\n0\r\n\r\n"))
      << received[1];
}

TEST_F(PerformUploadTest, ExpectContinueSavesWhatCannotBeReplayed) {
  source_.body = "body";
  const std::string end = "Content-Length: 2\r\nConnection: close\r\n\r\n";
  RawServer server({{{"\r\n\r\n", "HTTP/1.1 503 No\r\n" + end + "no"}},
                    {{"\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
                     {"body", "HTTP/1.1 503 No\r\n" + end + "no"}}});
  RawApp app(client_, absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  Upload(&app);
  app.Set(CURLOPT_EXPECT_100_TIMEOUT_MS, 10000L);
  app.Header("Expect: 100-continue");
  const CallResult result = app.Perform();
  // The first refusal came before the body, the second one after it.
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(result.record.total_attempts, 2);
  EXPECT_EQ(app.sink.body, "no");
  const std::vector<std::string> received = server.Received();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_TRUE(absl::EndsWith(received[0], "\r\n\r\n"));
  EXPECT_TRUE(absl::EndsWith(received[1], "\r\n\r\nbody"));
}

// --- What the application already has. ---

TEST_F(PerformTest, PartOfAnAnswerCommits) {
  server_->Script({Reply::Truncate("0123456789", 4)});
  RawApp app(client_, server_->Url());
  const CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_PARTIAL_FILE);
  EXPECT_EQ(result.stop_reason, StopReason::kCommitted);
  EXPECT_EQ(app.sink.body, "0123");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, NothingOfABodyDoesNot) {
  server_->Script({Reply::Truncate("0123456789", 0), Reply::Of(200, "whole")});
  RawApp app(client_, server_->Url());
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "whole");
  EXPECT_EQ(Sends(), 2);
}

TEST_F(PerformTest, WhatWasForgottenDoesNot) {
  server_->Script({Reply::Truncate("0123456789", 4), Reply::Of(200, "whole")});
  RawApp app(client_, server_->Url());
  int resets = 0;
  RawOptions options;
  options.reset_sink = [&] {
    ++resets;
    app.sink.body.clear();
    return true;
  };
  EXPECT_EQ(app.Perform(options).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "whole");
  EXPECT_EQ(resets, 1);
  EXPECT_EQ(Sends(), 2);
}

TEST_F(PerformTest, TheSinkIsResetOnlyIfThatHelps) {
  int resets = 0;
  RawOptions options;
  options.reset_sink = [&] {
    ++resets;
    return false;
  };
  server_->Script({Reply::Truncate("0123456789", 4)});
  {
    RawApp app(NewClient(), server_->Url());
    EXPECT_EQ(app.Perform(options).stop_reason, StopReason::kCommitted);
    EXPECT_EQ(resets, 1);
  }
  {
    // A POST would not be repeated anyway.
    RawApp app(NewClient(), server_->Url());
    app.Post("x");
    options.body_replays = true;
    EXPECT_EQ(app.Perform(options).stop_reason, StopReason::kCommitted);
  }
  {
    ClientOptions once;
    once.retry.max_attempts = 1;
    RawApp app(NewClient(once), server_->Url());
    EXPECT_EQ(app.Perform(options).stop_reason, StopReason::kCommitted);
  }
  EXPECT_EQ(resets, 1);
  EXPECT_EQ(Sends(), 3);
}

TEST_F(PerformTest, TheApplicationsRefusalIsFinal) {
  server_->Script({Reply::Of(200, "data")});
  RawApp app(client_, server_->Url());
  app.Set(
      CURLOPT_WRITEFUNCTION,
      +[](char*, size_t, size_t, void*) -> size_t { return 0; });
  CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_WRITE_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  app.Set(CURLOPT_WRITEFUNCTION, &Sink::OnBody);
  app.Set(CURLOPT_NOPROGRESS, 0L);
  app.Set(
      CURLOPT_XFERINFOFUNCTION,
      +[](void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) { return 1; });
  result = app.Perform();
  EXPECT_EQ(result.code, CURLE_ABORTED_BY_CALLBACK);
  EXPECT_EQ(result.stop_reason, StopReason::kCancelled);
  EXPECT_LE(Sends(), 2);
}

// --- Heads that are not the last. ---

TEST_F(PerformTest, RedirectThenUnavailable) {
  server_->Script("/a",
                  {Reply::Of(302, "moved").With("Location", "/b").ThenClose()});
  server_->Script("/b", {Reply::Of(503, "no"), Reply::ResetBeforeHead(),
                         Reply::Of(200, "there")});
  RawApp app(client_, server_->Url("/a"));
  app.Set(CURLOPT_FOLLOWLOCATION, 1L);
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.total_attempts, 3);
  EXPECT_EQ(app.sink.body, "there");
  EXPECT_EQ(Sends(), 6);
}

// The body of a redirect has gone to nobody, though no other request was sent.
TEST_F(PerformTest, RedirectToNobody) {
  auto other = StartServer();
  const std::string there = other->Url("/b");
  other->Stop();
  server_->Script({Reply::Of(302, "moved").With("Location", there),
                   Reply::Of(200, "here")});
  RawApp app(client_, server_->Url("/a"));
  app.Set(CURLOPT_FOLLOWLOCATION, 1L);
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "here");
  EXPECT_EQ(Sends(), 2);
}

TEST_F(PerformTest, ARedirectThatIsNotFollowedIsAnAnswer) {
  server_->Script({Reply::Of(302, "moved").With("Location", "/b")});
  RawApp app(client_, server_->Url("/a"));
  const CallResult result = app.Perform();
  EXPECT_EQ(result.http_status, 302);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "moved");
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, ADigestRoundThenUnavailable) {
  std::atomic<int> refusals{2};
  server_->SetHandler([&refusals](const testing::HttpRequest& request) {
    if (request.headers.count("authorization") == 0) {
      return Reply::Of(401, "who")
          .With("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\"");
    }
    return refusals-- > 0 ? Reply::Of(503, "no") : Reply::Of(200, "yes");
  });
  RawApp app(client_, server_->Url("/a"));
  app.Set(CURLOPT_USERPWD, "user:password");
  app.Set(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_DIGEST));
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.total_attempts, 3);
  EXPECT_EQ(app.sink.body, "yes");
}

TEST_F(PerformTest, HeadsOfATunnel) {
  const std::string end = "\r\n\r\n";
  const std::string tunnel = "HTTP/1.1 200 Tunnel" + end;
  RawServer proxy({{{end, tunnel}, {end, "HTTP/1.1 503 No" + end + "no"}},
                   {{end, tunnel}, {end, "HTTP/1.1 200 OK" + end + "yes"}}});
  RawApp app(client_, "http://server.invalid/");
  app.Set(CURLOPT_PROXY,
          absl::StrCat("http://127.0.0.1:", proxy.port()).c_str());
  app.Set(CURLOPT_HTTPPROXYTUNNEL, 1L);
  const CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_OK) << app.error;
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(result.record.names.target(), "server.invalid:80");
  EXPECT_EQ(result.record.names.method(), "GET");
  EXPECT_EQ(result.record.total_attempts, 2);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 503);
  EXPECT_EQ(app.sink.body, "yes");
}

TEST_F(PerformTest, InterimHeadsAreNoAnswers) {
  const std::string end = "\r\n\r\n";
  const std::string hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>" + end;
  RawServer server({{{end, hints}},  // … and then nothing
                    {{end, hints + "HTTP/1.1 503 No" + end + "no"}},
                    {{end, hints + "HTTP/1.1 200 OK" + end + "ok"}}});
  RawApp app(client_, absl::StrCat("http://127.0.0.1:", server.port()));
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  ASSERT_EQ(result.record.attempts.size(), 3u);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 0);
  EXPECT_EQ(result.record.attempts[1].outcome.status, 503);
  EXPECT_EQ(app.sink.body, "ok");
}

TEST_F(PerformTest, WhatIsNotHttp) {
  RawServer server(std::vector<RawServer::Connection>{
      {{"\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"}}});
  RawApp app(client_, absl::StrCat("http://127.0.0.1:", server.port()));
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_NE(result.code, CURLE_OK);
  EXPECT_EQ(app.sink.body, "");
}

// --- Time. ---

TEST_F(PerformTest, TheDeadlineEndsWhatHangs) {
  server_->Script({Reply::Hang()});
  RawApp app(client_, server_->Url());
  const Stopwatch watch;
  const CallResult result = app.Perform(RawWithin(absl::Milliseconds(200)));
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(199));
  EXPECT_LT(watch.Elapsed(), absl::Seconds(10));
  EXPECT_EQ(result.code, CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_EQ(result.stop_reason, StopReason::kDeadlineExceeded);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, AnAttemptTimeoutIsAFailure) {
  server_->Script({Reply::Hang(),
                   Reply::Of(503, "slow").BodyAfter(absl::Seconds(10)),
                   Reply::Of(200, "ok")});
  RawApp app(client_, server_->Url());
  RawOptions options = RawWithin(absl::Seconds(20));
  options.attempt_timeout = absl::Milliseconds(200);
  const Stopwatch watch;
  const CallResult result = app.Perform(options);
  EXPECT_LT(watch.Elapsed(), absl::Seconds(5));
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  ASSERT_EQ(result.record.attempts.size(), 3u);
  EXPECT_TRUE(result.record.attempts[0].outcome.timed_out);
  // Nobody waits for a body that nobody is to see.
  EXPECT_FALSE(result.record.attempts[1].outcome.timed_out);
  EXPECT_EQ(result.record.attempts[1].outcome.status, 503);
}

TEST_F(PerformTest, LibcurlsOwnTimeoutIsPerAttempt) {
  server_->Script({Reply::Hang(), Reply::Of(200, "ok")});
  RawApp app(client_, server_->Url());
  app.Set(CURLOPT_TIMEOUT_MS, 150L);
  const CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_TRUE(result.record.attempts[0].outcome.timed_out);
  EXPECT_EQ(Sends(), 2);
}

TEST_F(PerformTest, AWaitBeyondTheDeadlineIsRefused) {
  server_->Script(
      {Reply::Of(429, "come back tomorrow").With("Retry-After", "3600")});
  RawApp app(client_, server_->Url());
  const Stopwatch watch;
  CallResult result = app.Perform(RawWithin(absl::Seconds(5)));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  ASSERT_TRUE(result.retry_at.has_value());
  EXPECT_GT(*result.retry_at, absl::Seconds(3590));
  EXPECT_EQ(app.sink.body, "come back tomorrow");
  // The gate is shut for the next call, which sends nothing.
  result = app.Perform(RawWithin(absl::Seconds(5)));
  EXPECT_EQ(result.code, CURLE_COULDNT_CONNECT);
  EXPECT_EQ(result.http_status, 0);
  EXPECT_EQ(result.record.total_attempts, 0);
  EXPECT_TRUE(result.retry_at.has_value());
  EXPECT_LT(watch.Elapsed(), absl::Seconds(2));
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, NoTimeLeftIsNoSend) {
  RawApp app(client_, server_->Url());
  const CallResult result = app.Perform(RawWithin(absl::ZeroDuration()));
  EXPECT_EQ(result.code, CURLE_OPERATION_TIMEDOUT);
  EXPECT_EQ(result.stop_reason, StopReason::kDeadlineExceeded);
  EXPECT_EQ(Sends(), 0);
}

// A limit that a good answer tells of is kept before it refuses.
TEST_F(PerformTest, LimitsThatGoodAnswersTellAreKept) {
  server_->Script({Reply::Of(200, "ok")
                       .With("x-ratelimit-limit-requests", "100")
                       .With("x-ratelimit-remaining-requests", "0")
                       .With("x-ratelimit-reset-requests", "60s")});
  RawApp app(client_, server_->Url());
  RawOptions options = RawWithin(absl::Milliseconds(200));
  options.profile = "openai";
  EXPECT_EQ(app.Perform(options).stop_reason, StopReason::kSuccess);
  const CallResult result = app.Perform(options);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(Sends(), 1);
}

// --- The handle's options. ---

TEST_F(PerformTest, FailOnErrorOfTheApplication) {
  server_->Script({Reply::Of(503, "body"), Reply::Of(404, "body")});
  RawApp app(client_, server_->Url());
  app.Set(CURLOPT_FAILONERROR, 1L);
  RawOptions options;
  options.fail_on_error = true;
  CallResult result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.http_status, 404);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_EQ(Sends(), 2);

  server_->Script({Reply::Of(503, "body")});
  result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, "");
  EXPECT_EQ(Sends(), 5);

  server_->Script({Reply::Of(401, "who")});
  result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_HTTP_RETURNED_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(result.record.attempts[0].outcome.status, 401);

  server_->Script({Reply::Of(200, "fine")});
  result = app.Perform(options);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(app.sink.body, "fine");
  // It is still set.
  server_->Script({Reply::Of(404, "body")});
  EXPECT_EQ(curl_easy_perform(app.easy), CURLE_HTTP_RETURNED_ERROR);
}

TEST_F(PerformTest, WhatIsSetIsClearedAndNothingElse) {
  struct Seen {
    int lines = 0;
    static int On(CURL*, curl_infotype, char*, size_t, void* self) {
      ++static_cast<Seen*>(self)->lines;
      return 0;
    }
  } seen;
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "yes")});
  RawApp app(client_, server_->Url());
  app.Set(CURLOPT_DEBUGFUNCTION, &Seen::On);
  app.Set(CURLOPT_DEBUGDATA, &seen);
  app.Set(CURLOPT_VERBOSE, 1L);
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
  EXPECT_EQ(seen.lines, 0);
  server_->Script({Reply::Of(503, "body")});
  // Off, and no FAILONERROR is left.
  app.sink = Sink();
  EXPECT_EQ(curl_easy_perform(app.easy), CURLE_OK);
  EXPECT_EQ(app.sink.body, "body");
  EXPECT_EQ(seen.lines, 0);
  app.Set(CURLOPT_DEBUGFUNCTION, &Seen::On);
  app.Set(CURLOPT_DEBUGDATA, &seen);
  EXPECT_EQ(curl_easy_perform(app.easy), CURLE_OK);
  EXPECT_EQ(seen.lines, 0) << "VERBOSE is on";
}

TEST_F(PerformTest, GetinfoSpeaksOfTheLastAttempt) {
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "12345")});
  RawApp app(client_, server_->Url());
  app.Perform();
  long status = 0;
  curl_off_t size = 0;
  curl_easy_getinfo(app.easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(app.easy, CURLINFO_SIZE_DOWNLOAD_T, &size);
  EXPECT_EQ(status, 200);
  EXPECT_EQ(size, 5);
}

// --- Off. ---

TEST_F(PerformTest, PassesThroughWhenOff) {
  server_->Script({Reply::Of(503, "as it is")});
  ClientOptions off;
  off.enabled = false;
  ClientOptions no_policy;
  no_policy.enabled = true;
  RawOptions call_off;
  call_off.enabled = false;
  struct Seen {
    int lines = 0;
  } seen;
  int round = 0;
  for (const bool by_client : {true, false}) {
    RawApp app(NewClient(by_client ? off : no_policy), server_->Url());
    app.Set(CURLOPT_DEBUGDATA, &seen);
    app.Set(
        CURLOPT_DEBUGFUNCTION,
        +[](CURL*, curl_infotype, char*, size_t, void* self) {
          ++static_cast<Seen*>(self)->lines;
          return 0;
        });
    app.Set(CURLOPT_VERBOSE, 1L);
    const CallResult result = app.Perform(by_client ? RawOptions() : call_off);
    EXPECT_EQ(result.code, CURLE_OK);
    EXPECT_EQ(result.http_status, 503);
    EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
    EXPECT_EQ(result.record.total_attempts, 1);
    EXPECT_EQ(app.sink.body, "as it is");
    EXPECT_EQ(Sends(), ++round);
    EXPECT_GT(std::exchange(seen.lines, 0), 0) << "it was touched";
  }
}

TEST_F(PerformTest, OtherProtocolsPassThrough) {
  RawApp app(client_, "file:///etc/hostname");
  const CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_NE(app.sink.body, "");
}

// libcurl tells the URL of a CURLU only once it was used.
TEST_F(PerformTest, ACurluPassesThroughAtFirst) {
  CURLU* url = curl_url();
  curl_url_set(url, CURLUPART_URL, server_->Url("/x").c_str(), 0);
  RawApp app(client_, "");
  app.Set(CURLOPT_URL, nullptr);
  app.Set(CURLOPT_CURLU, url);
  server_->Script({Reply::Of(503, "as it is")});
  CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.record.total_attempts, 1);
  EXPECT_EQ(app.sink.body, "as it is");
  EXPECT_EQ(Sends(), 1);
  server_->Script({Reply::Of(503, "no"), Reply::Of(200, "yes")});
  app.sink = Sink();
  result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "yes");
  curl_url_cleanup(url);
}

// --- Wrong usage. ---

TEST_F(PerformTest, Faults) {
  EXPECT_EQ(Perform(nullptr, {}, client_).code, CURLE_BAD_FUNCTION_ARGUMENT);
  RawApp app(client_, server_->Url());
  RawOptions options;
  options.attempt_timeout = absl::ZeroDuration();
  EXPECT_EQ(app.Perform(options).code, CURLE_BAD_FUNCTION_ARGUMENT);
  EXPECT_EQ(Sends(), 0);
}

TEST_F(PerformTest, AHandleOfSomebodyElsesMulti) {
  std::vector<std::string> log;
  ClientOptions options;
  options.log = [&log](absl::string_view line) { log.emplace_back(line); };
  RawApp app(NewClient(options), server_->Url());
  struct Seen {
    int lines = 0;
  } seen;
  app.Set(CURLOPT_DEBUGDATA, &seen);
  app.Set(
      CURLOPT_DEBUGFUNCTION,
      +[](CURL*, curl_infotype, char*, size_t, void* self) {
        ++static_cast<Seen*>(self)->lines;
        return 0;
      });
  app.Set(CURLOPT_VERBOSE, 1L);
  CURLM* multi = curl_multi_init();
  curl_multi_add_handle(multi, app.easy);
  const CallResult result = app.Perform();
  EXPECT_EQ(result.code, CURLE_FAILED_INIT);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_TRUE(absl::StrContains(absl::StrJoin(log, "\n"), "multi handle"));
  EXPECT_EQ(Sends(), 0);
  // Nor was it touched.
  int running = 1;
  while (running > 0) {
    curl_multi_perform(multi, &running);
    curl_multi_poll(multi, nullptr, 0, 100, nullptr);
  }
  EXPECT_EQ(Sends(), 1);
  EXPECT_GT(seen.lines, 0);
  curl_multi_remove_handle(multi, app.easy);
  curl_multi_cleanup(multi);
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
}

TEST_F(PerformTest, WithinACallback) {
  struct Within {
    RawApp* app = nullptr;
    RawApp* other = nullptr;
    CallResult same;
    CallResult another;
  } within;
  RawApp app(client_, server_->Url());
  RawApp other(client_, server_->Url("/other"));
  within.app = &app;
  within.other = &other;
  server_->Script("/other", {Reply::Of(503, "no"), Reply::Of(200, "inner")});
  app.Set(CURLOPT_WRITEDATA, &within);
  app.Set(
      CURLOPT_WRITEFUNCTION,
      +[](char*, size_t size, size_t n, void* self) -> size_t {
        auto* w = static_cast<Within*>(self);
        w->same = w->app->Perform();
        w->another = w->other->Perform();
        return size * n;
      });
  server_->Script({Reply::Of(200, "outer")});
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
  EXPECT_EQ(within.same.code, CURLE_RECURSIVE_API_CALL);
  // The outer answer is final: the inner call may repeat.
  EXPECT_EQ(within.another.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(other.sink.body, "inner");
  EXPECT_EQ(Sends(), 3);
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
}

TEST_F(PerformTest, WithinACallbackOfPlainLibcurl) {
  struct Within {
    RawApp* app = nullptr;
    CURLcode code = CURLE_OK;
  } within;
  RawApp app(client_, server_->Url());
  within.app = &app;
  server_->Script({Reply::Of(200, "outer")});
  app.Set(CURLOPT_WRITEDATA, &within);
  app.Set(
      CURLOPT_WRITEFUNCTION,
      +[](char*, size_t size, size_t n, void* self) -> size_t {
        auto* w = static_cast<Within*>(self);
        w->code = w->app->Perform().code;
        return size * n;
      });
  EXPECT_EQ(curl_easy_perform(app.easy), CURLE_OK);
  EXPECT_EQ(within.code, CURLE_FAILED_INIT);
  EXPECT_EQ(Sends(), 1);
}

TEST_F(PerformTest, WithinACallbackOfAnAttemptThatIsRepeated) {
  // From the read function: whether that attempt is the last, nobody knows.
  struct Within {
    RawApp* other = nullptr;
    CallResult result;
    bool done = false;
  } within;
  RawApp app(client_, server_->Url());
  RawApp other(client_, server_->Url("/other"));
  within.other = &other;
  server_->Script("/other", {Reply::Of(503, "no")});
  app.Set(CURLOPT_UPLOAD, 1L);
  app.Set(CURLOPT_READDATA, &within);
  app.Set(
      CURLOPT_READFUNCTION, +[](char*, size_t, size_t, void* self) -> size_t {
        auto* w = static_cast<Within*>(self);
        if (!std::exchange(w->done, true)) w->result = w->other->Perform();
        return 0;
      });
  EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
  EXPECT_EQ(within.result.stop_reason, StopReason::kOuterLayer);
  EXPECT_EQ(within.result.record.total_attempts, 1);
}

TEST_F(PerformTest, ManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10; ++j) {
        RawApp app(client_, server_->Url());
        if (app.Perform().stop_reason == StopReason::kSuccess) ++good;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(good, 40);
  EXPECT_EQ(Sends(), 40);
  EXPECT_LE(server_->connections(), 4);
}

// A child has the parent's sockets, but must not speak on them.
TEST_F(PerformTest, AChildHasConnectionsOfItsOwn) {
  RawApp app(client_, server_->Url());
  EXPECT_EQ(app.Perform().code, CURLE_OK);
  EXPECT_EQ(server_->connections(), 1);
  const pid_t child = fork();
  if (child == 0) {
    CURL* easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, server_->Url().c_str());
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    ClientOptions options;
    const CallResult result = Perform(easy, {}, NewClient(options));
    _exit(result.code == CURLE_OK ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(server_->connections(), 2);
  EXPECT_EQ(app.Perform().code, CURLE_OK);
  EXPECT_EQ(server_->connections(), 2);
}

// --- The application's own look at an answer. ---

TEST_F(PerformTest, AClassifierSeesTheHead) {
  int asked = 0;
  ClientOptions options;
  options.classify_http = [&asked](const HttpAnswer& answer, Outcome* outcome) {
    ++asked;
    EXPECT_TRUE(answer.body.empty());
    for (const auto& [name, value] : answer.headers) {
      if (name != "X-Kind") continue;
      if (value == "again") outcome->kind = ErrorKind::kTransient;
      if (value == "never") outcome->kind = ErrorKind::kPermanent;
    }
  };
  const bool exact =
      RawTransfer::BrakeOfLibcurl() == RawTransfer::Brake::kPause;
  RawApp app(NewClient(options), server_->Url());
  server_->Script({Reply::Of(503, "x").With("X-Kind", "never")});
  CallResult result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(app.sink.body, exact ? "x" : "");
  EXPECT_EQ(asked, 1);
  if (!exact) return;
  app.sink = Sink();
  server_->Script(
      {Reply::Of(404, "x").With("X-Kind", "again"), Reply::Of(200, "ok")});
  result = app.Perform();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  EXPECT_EQ(asked, 2);
}

// --- Secrets. ---

TEST_F(PerformTest, SecretsStayWhereTheyAre) {
  std::vector<std::string> lines;
  ClientOptions options;
  options.log = [&](absl::string_view line) { lines.emplace_back(line); };
  server_->Script({Reply::Of(503, "CANARY answer").With("X-Secret", "CANARY"),
                   Reply::Of(429, "CANARY").With("Retry-After", "3600")});
  std::string url = server_->Url("/CANARY?key=CANARY");
  url.replace(0, 7, "http://user:CANARY@");
  RawApp app(NewClient(options), url);
  app.Header("Authorization: Bearer CANARY");
  app.Header("x-api-key: CANARY");
  app.Header("Idempotency-Key: CANARY");
  app.Post("CANARY");
  RawOptions call = RawWithin(absl::Seconds(5));
  call.body_replays = true;
  CallResult result = app.Perform(call);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_TRUE(absl::StrContains(app.sink.body, "CANARY"));
  EXPECT_EQ(server_->log().Snapshot()[0].headers.at("x-api-key"), "CANARY");
  // What is no method may be anything.
  app.Set(CURLOPT_CUSTOMREQUEST, "GET CANARY");
  const CallResult odd = app.Perform(call);
  EXPECT_GT(lines.size(), 3u);
  const std::string all =
      absl::StrCat(absl::StrJoin(lines, "\n"), RecordToJson(result.record),
                   FormatCallRecord(result.record), RecordToJson(odd.record),
                   FormatCallRecord(odd.record));
  EXPECT_TRUE(absl::StrContains(all, "127.0.0.1"));
  EXPECT_FALSE(absl::StrContains(all, "CANARY")) << all;
  EXPECT_FALSE(absl::StrContains(all, "user")) << all;
}

}  // namespace
}  // namespace forbear::curl
