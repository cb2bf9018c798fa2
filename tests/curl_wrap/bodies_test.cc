// Request bodies of all kinds, sent again byte for byte, or not at all.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_server.h"

namespace forbear::curl {
namespace {

using testing::ArrivalLog;

constexpr absl::Duration kLong = absl::Seconds(20);

std::string LargeBody() {
  std::string body;
  for (int i = 0; body.size() < (1 << 20); ++i) absl::StrAppend(&body, i, ",");
  return body;
}

class BodiesTest : public ::testing::Test {
 protected:
  // Refused, refused with a page, reset, and then accepted.
  void ScriptTrouble() {
    server_->Script({Reply::Of(429, "no"), Reply::Of(503, "no").ThenClose(),
                     Reply::ResetBeforeHead(), Reply::Of(200, "taken")});
  }
  // All four sends brought the same bytes.
  void ExpectFourTimes(const std::string& body) {
    EXPECT_EQ(server_->log().Count(), 4);
    for (const Arrival& a : server_->log().Snapshot()) {
      EXPECT_EQ(a.body_bytes, body.size());
      EXPECT_EQ(a.body_hash, ArrivalLog::HashOf(body));
    }
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
  const std::string body_ = LargeBody();
};

TEST_F(BodiesTest, CopiedFields) {
  ScriptTrouble();
  App app(client_, server_->Url());
  app.Post(body_);
  app.Header("Idempotency-Key: 1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "taken");
  ExpectFourTimes(body_);
}

TEST_F(BodiesTest, Fields) {
  ScriptTrouble();
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_POSTFIELDS, body_.c_str());
  app.curl.SetOpt(CURLOPT_POSTFIELDSIZE, static_cast<long>(body_.size()));
  app.Header("Idempotency-Key: 1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  ExpectFourTimes(body_);
}

// What cannot be read again is kept, if it is not too much.
TEST_F(BodiesTest, AKeptBody) {
  ScriptTrouble();
  Source source;
  source.body = body_;
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  CallOptions options;
  options.max_buffered_body = body_.size();
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "taken");
  EXPECT_EQ(source.at, body_.size());
  EXPECT_EQ(source.seeks, 0);
  ExpectFourTimes(body_);
}

TEST_F(BodiesTest, ABodyThatIsTooLargeToBeKept) {
  ScriptTrouble();
  Source source;
  source.body = body_;
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  CallOptions options;
  options.max_buffered_body = body_.size() - 1;
  const CallResult result = app.curl.Perform(options);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(server_->log().Snapshot()[0].body_hash, ArrivalLog::HashOf(body_));
}

// Nor is a function asked again that has said that there is no more; and libcurl's own
// rewinds, for a redirect, are served from what is kept.
TEST_F(BodiesTest, AKeptBodyThroughARedirect) {
  server_->Script("/a", {Reply::Of(307).With("Location", "/b")});
  server_->Script("/b", {Reply::Of(503), Reply::Of(200)});
  struct Once {
    std::string left = "all of it";
    int asked_after_the_end = 0;
    static size_t Read(char* to, size_t size, size_t n, void* self) {
      auto* const once = static_cast<Once*>(self);
      if (once->left.empty()) {
        ++once->asked_after_the_end;
        return 0;
      }
      const size_t length = std::min(size * n, once->left.size());
      std::copy_n(once->left.data(), length, to);
      once->left.erase(0, length);
      return length;
    }
  } once;
  App app(client_, server_->Url("/a"));
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Once::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &once);
  CallOptions options;
  options.max_buffered_body = 100;
  EXPECT_EQ(app.curl.Perform(options).stop_reason, StopReason::kSuccess);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  EXPECT_EQ(arrivals.size(), 4u);
  for (const Arrival& a : arrivals) EXPECT_EQ(a.body, "all of it");
  EXPECT_EQ(once.asked_after_the_end, 1);
}

TEST_F(BodiesTest, Mime) {
  ScriptTrouble();
  App app(client_, server_->Url());
  const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/part");
  std::ofstream(path) << body_;
  curl_mime* mime = curl_mime_init(app.curl.raw());
  curl_mimepart* part = curl_mime_addpart(mime);
  curl_mime_name(part, "memory");
  curl_mime_data(part, body_.data(), body_.size());
  part = curl_mime_addpart(mime);
  curl_mime_name(part, "file");
  curl_mime_filedata(part, path.c_str());
  app.curl.SetOpt(CURLOPT_MIMEPOST, mime);
  app.Header("Idempotency-Key: 1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(server_->log().Count(), 4);
  const std::vector<Arrival> arrivals = server_->log().Snapshot();
  for (const Arrival& a : arrivals) {
    EXPECT_GT(a.body_bytes, 2 * body_.size());
    EXPECT_EQ(a.body_bytes, arrivals[0].body_bytes);
  }
  curl_mime_free(mime);
}

TEST_F(BodiesTest, MimeWithCallbacks) {
  // With a seek function it is sent again; without, it is not.
  for (const bool seeks : {true, false}) {
    server_->Script({Reply::Of(503, "no"), Reply::Of(200, "yes")});
    const int64_t before = server_->log().Count();
    App app(NewClient(), server_->Url());
    Source source{body_};
    curl_mime* mime = curl_mime_init(app.curl.raw());
    curl_mimepart* part = curl_mime_addpart(mime);
    curl_mime_name(part, "data");
    curl_mime_data_cb(part, static_cast<curl_off_t>(body_.size()),
                      &Source::Read, seeks ? &Source::Seek : nullptr, nullptr,
                      &source);
    app.curl.SetOpt(CURLOPT_MIMEPOST, mime);
    app.Header("Idempotency-Key: 1");
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason,
              seeks ? StopReason::kSuccess : StopReason::kNotReplayable);
    EXPECT_EQ(server_->log().Count(), before + (seeks ? 2 : 1));
    curl_mime_free(mime);
  }
}

TEST_F(BodiesTest, ReadAndSeek) {
  for (const bool known_size : {true, false}) {
    ScriptTrouble();
    server_ = StartServer();
    ScriptTrouble();
    App app(NewClient(), server_->Url());
    Source source{body_};
    app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
    app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
    app.curl.SetOpt(CURLOPT_READDATA, &source);
    app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &Source::Seek);
    app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
    if (known_size) {
      app.curl.SetOpt(CURLOPT_INFILESIZE_LARGE,
                      static_cast<curl_off_t>(body_.size()));
    }
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    EXPECT_EQ(result.record.names.method(), "PUT");
    EXPECT_EQ(source.seeks, 3);
    ExpectFourTimes(body_);
  }
}

TEST_F(BodiesTest, PostByCallback) {
  ScriptTrouble();
  App app(client_, server_->Url());
  Source source{body_};
  app.curl.SetOpt(CURLOPT_POST, 1L);
  app.curl.SetOpt(CURLOPT_POSTFIELDSIZE_LARGE,
                  static_cast<curl_off_t>(body_.size()));
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  app.curl.SetOpt(CURLOPT_SEEKFUNCTION, &Source::Seek);
  app.curl.SetOpt(CURLOPT_SEEKDATA, &source);
  app.Header("Idempotency-Key: 1");
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  ExpectFourTimes(body_);
}

TEST_F(BodiesTest, File) {
  ScriptTrouble();
  App app(client_, server_->Url());
  FILE* file = tmpfile();
  std::fputs("not this;", file);
  std::fwrite(body_.data(), 1, body_.size(), file);
  fseeko(file, 9, SEEK_SET);
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READDATA, file);
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  ExpectFourTimes(body_);
  fclose(file);
}

TEST_F(BodiesTest, ReadWithoutSeek) {
  server_->Script({Reply::Of(429, "refused")});
  App app(client_, server_->Url());
  Source source{body_};
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(app.sink.body, "refused");
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_F(BodiesTest, SeekThatFails) {
  server_->Script({Reply::Of(503, "refused")});
  App app(client_, server_->Url());
  Source source{body_};
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  app.curl.SetOpt(
      CURLOPT_SEEKFUNCTION,
      +[](void*, curl_off_t, int) -> int { return CURL_SEEKFUNC_FAIL; });
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(app.sink.body, "refused");
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_F(BodiesTest, APipe) {
  server_->Script({Reply::ResetBeforeHead()});
  App app(client_, server_->Url());
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "piped", 5), 5);
  close(ends[1]);
  FILE* file = fdopen(ends[0], "r");
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READDATA, file);
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_RECV_ERROR);
  EXPECT_EQ(result.stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(server_->log().Snapshot()[0].body, "piped");
  fclose(file);
}

TEST_F(BodiesTest, WhatWasNeverReadCanBeSent) {
  // The port is closed at first: nobody has asked for a byte of the body.
  server_->Stop();
  std::thread starter([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ASSERT_TRUE(server_->Start().ok());
  });
  ClientOptions options;
  options.retry.max_attempts = 100;
  App app(NewClient(options), server_->Url());
  Source source{"once"};
  app.curl.SetOpt(CURLOPT_POST, 1L);
  app.curl.SetOpt(CURLOPT_POSTFIELDSIZE, 4L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  const CallResult result = app.Perform(kLong);
  starter.join();
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(server_->log().Snapshot()[0].body, "once");
}

TEST_F(BodiesTest, AnAbortOfTheReadPassesThrough) {
  App app(client_, server_->Url());
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(
      CURLOPT_READFUNCTION, +[](char*, size_t, size_t, void*) -> size_t {
        return CURL_READFUNC_ABORT;
      });
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_ABORTED_BY_CALLBACK);
  EXPECT_EQ(result.stop_reason, StopReason::kCancelled);
}

TEST_F(BodiesTest, ExpectContinueSavesWhatCannotBeReplayed) {
  const std::string end = "Content-Length: 2\r\nConnection: close\r\n\r\n";
  RawServer server({{{"\r\n\r\n", "HTTP/1.1 503 No\r\n" + end + "no"}},
                    {{"\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
                     {"body", "HTTP/1.1 200 OK\r\n" + end + "ok"}}});
  App app(client_, absl::StrCat("http://127.0.0.1:", server.port(), "/"));
  Source source{"body"};
  app.curl.SetOpt(CURLOPT_UPLOAD, 1L);
  app.curl.SetOpt(CURLOPT_READFUNCTION, &Source::Read);
  app.curl.SetOpt(CURLOPT_READDATA, &source);
  app.curl.SetOpt(CURLOPT_INFILESIZE, 4L);
  app.curl.SetOpt(CURLOPT_EXPECT_100_TIMEOUT_MS, 10000L);
  app.Header("Expect: 100-continue");
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  const std::vector<std::string> received = server.Received();
  ASSERT_EQ(received.size(), 2u);
  EXPECT_TRUE(absl::EndsWith(received[0], "\r\n\r\n"));
  EXPECT_TRUE(absl::EndsWith(received[1], "\r\n\r\nbody"));
}

}  // namespace
}  // namespace forbear::curl
