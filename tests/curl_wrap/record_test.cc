// What stands in the record of a call over libcurl, besides its decisions.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_server.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr char kRefusal[] =
    "HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 10\r\n\r\n0123456789";
constexpr char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";

std::string RawUrl(const RawServer& server) {
  return absl::StrCat("http://127.0.0.1:", server.port(), "/");
}

TEST(RecordTest, BytesOfEveryAttempt) {
  RawServer server(
      {RawServer::Connection{{"\r\n\r\n", kRefusal}, {"\r\n\r\n", kAnswer}}});
  App app(NewClient(), RawUrl(server));
  const CallResult result = app.Perform(kLong);
  ASSERT_EQ(result.record.attempts.size(), 2u);
  const Outcome& first = result.record.attempts[0].outcome;
  const Outcome& second = result.record.attempts[1].outcome;
  EXPECT_EQ(first.bytes_received, static_cast<int64_t>(sizeof(kRefusal)) - 1);
  EXPECT_EQ(second.bytes_received, static_cast<int64_t>(sizeof(kAnswer)) - 1);
  EXPECT_GT(first.bytes_sent, 0);
  EXPECT_EQ(static_cast<size_t>(first.bytes_sent + second.bytes_sent),
            server.Received()[0].size());
}

TEST(RecordTest, BytesOfBodies) {
  // Together with the head, and after it.
  for (const size_t size : {size_t{10}, size_t{200000}}) {
    SCOPED_TRACE(size);
    RawServer server({RawServer::Connection{{"the end", kAnswer}}});
    App app(NewClient(), RawUrl(server));
    app.Post(std::string(size, 'x') + "the end");
    const CallResult result = app.Perform(kLong);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
    ASSERT_EQ(result.record.attempts.size(), 1u);
    EXPECT_EQ(static_cast<size_t>(result.record.attempts[0].outcome.bytes_sent),
              server.Received()[0].size());
  }
}

TEST(RecordTest, BytesOfAnAnswerThatWasGivenUp) {
  const std::unique_ptr<HttpServer> server = StartServer();
  server->Script({Reply::Of(503, std::string(1 << 20, 'x')), Reply::Of(200)});
  App app(NewClient(), server->Url());
  const CallResult result = app.Perform(kLong);
  ASSERT_EQ(result.record.attempts.size(), 2u);
  EXPECT_GT(result.record.attempts[0].outcome.bytes_received, 10000);
  EXPECT_LT(result.record.attempts[0].outcome.bytes_received, 1 << 20);
  EXPECT_GT(result.record.attempts[0].outcome.bytes_sent, 0);
}

TEST(RecordTest, NoBytesWithoutAConnection) {
  const std::unique_ptr<HttpServer> server = StartServer();
  App app(NewClient(), server->Url());
  EXPECT_EQ(app.Perform(kLong).stop_reason, StopReason::kSuccess);
  server->Stop();
  const CallResult result = app.Perform(absl::Milliseconds(200));
  ASSERT_GE(result.record.attempts.size(), 1u);
  EXPECT_EQ(result.record.attempts.back().outcome.bytes_sent, 0);
  EXPECT_EQ(result.record.attempts.back().outcome.bytes_received, 0);
}

// What fails on this side says nothing about the server (core/outcome.h).
TEST(RecordTest, LocalFailuresAreSilent) {
  const std::unique_ptr<HttpServer> server = StartServer();
  std::string url = server->Url();
  url.replace(0, 4, "https");
  App tls(NewClient(), url);
  CallResult result = tls.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  ASSERT_EQ(result.record.attempts.size(), 1u);
  EXPECT_TRUE(IsSilent(result.record.attempts[0].outcome))
      << FormatCallRecord(result.record);

  App certificate(NewClient(), url);
  certificate.curl.SetOpt(CURLOPT_CAINFO, "/nonexistent");
  result = certificate.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kPermanentError);
  ASSERT_EQ(result.record.attempts.size(), 1u);
  EXPECT_TRUE(IsSilent(result.record.attempts[0].outcome))
      << FormatCallRecord(result.record);

  // A write error comes after the server has spoken.
  App full(NewClient(), server->Url());
  server->Script({Reply::Of(200, "x")});
  full.curl.SetOpt(
      CURLOPT_WRITEFUNCTION,
      +[](char*, size_t, size_t, void*) -> size_t { return 0; });
  result = full.Perform(kLong);
  EXPECT_EQ(result.code, CURLE_WRITE_ERROR);
  EXPECT_FALSE(IsSilent(result.record.attempts[0].outcome));
}

// A call that passes through has a record like any other.
TEST(RecordTest, OfACallThatPassesThrough) {
  const std::unique_ptr<HttpServer> server = StartServer();
  server->Script({Reply::Of(200, "0123456789")});
  ClientOptions options;
  options.enabled = false;
  options.name = "careful";
  const std::shared_ptr<Client> client = NewClient(options);
  App app(client, server->Url());
  const absl::Time before = absl::Now();
  CallResult result = app.Perform(kLong);
  const CallRecord& record = result.record;
  EXPECT_GE(record.wall_start, before - absl::Seconds(1));
  EXPECT_LE(record.wall_start, absl::Now() + absl::Seconds(1));
  EXPECT_EQ(record.names.policy(), "careful");
  EXPECT_EQ(record.protocol, Protocol::kHttp);
  EXPECT_EQ(record.names.method(), "GET");
  EXPECT_EQ(record.names.target(), absl::StrCat("127.0.0.1:", server->port()));
  EXPECT_TRUE(record.deadline.is_infinite());
  EXPECT_TRUE(record.idempotent);
  EXPECT_EQ(record.total_attempts, 1);
  ASSERT_EQ(record.attempts.size(), 1u);
  EXPECT_GT(record.attempts[0].outcome.bytes_sent, 0);
  EXPECT_GT(record.attempts[0].outcome.bytes_received, 10);
  EXPECT_GE(record.end, record.begin);

  app.Post("x");
  EXPECT_FALSE(app.Perform(kLong).record.idempotent);
  CallOptions call;
  call.idempotent = true;
  EXPECT_TRUE(app.curl.Perform(call).record.idempotent);
}

TEST(RecordTest, OfAFile) {
  const std::string path = absl::StrCat(std::getenv("TEST_TMPDIR"), "/file");
  std::ofstream(path) << "0123456789";
  App app(NewClient(), absl::StrCat("file://", path));
  const CallResult result = app.Perform(kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "0123456789");
  EXPECT_FALSE(absl::StrContains(FormatCallRecord(result.record), path));
}

// What is no method name may be anything.
TEST(RecordTest, NamesThatMustNotBeWrittenDown) {
  const std::unique_ptr<HttpServer> server = StartServer();
  for (const bool enabled : {true, false}) {
    ClientOptions options;
    options.enabled = enabled;
    App app(NewClient(options), server->Url());
    app.curl.SetOpt(CURLOPT_CUSTOMREQUEST, "GET#key@CANARY");
    const CallResult result = app.Perform(kLong);
    EXPECT_FALSE(absl::StrContains(result.record.names.method(), "CANARY"))
        << result.record.names.method();
  }
}

}  // namespace
}  // namespace forbear::curl
