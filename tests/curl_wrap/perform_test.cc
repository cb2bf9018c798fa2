// One changed line in a program of plain libcurl, against servers whose every answer
// is scripted: what is sent again, what the application sees, and why a call ends.
#include "curl_wrap/perform.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "runtime/classifier.h"
#include "tests/curl_wrap/raw_app.h"
#include "tests/curl_wrap/raw_server.h"

namespace forbear::curl {
namespace {

RawOptions Within(absl::Duration deadline) {
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
  // Small and with its head, large, late, chunked, compressed or not: not a byte.
  server_->Script({Reply::Of(503, "bad").With("X-Try", "1"),
                   Reply::Of(503, std::string(300000, 'x')),
                   Reply::Of(503, "later").BodyAfter(absl::Milliseconds(20)),
                   Reply::Of(503, "chunks").Chunked(),
                   Reply::Of(503, "not gzip").With("Content-Encoding", "gzip"),
                   Reply::Of(200, "good").With("X-Try", "6")});
  ClientOptions options;
  options.retry.max_attempts = 10;
  options.retry.backoff.initial = absl::Milliseconds(2);
  RawApp app(NewClient(options), server_->Url());
  const CallResult result = app.Perform(Within(absl::Seconds(20)));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "good");
  EXPECT_STREQ(app.error, "");
  EXPECT_EQ(result.record.total_attempts, 6);
  EXPECT_EQ(Sends(), 6);
  // Their heads are seen, as those of redirects are.
  EXPECT_EQ(app.Head("X-Try"), "1");
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
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kBudgetExhausted);
  EXPECT_EQ(app.sink.body, "two");
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

}  // namespace
}  // namespace forbear::curl
