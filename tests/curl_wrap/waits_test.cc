// What a server asks for, in real time: each test waits for seconds.
#include <algorithm>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

TEST(WaitsTest, NeverBeforeTheServerSaid) {
  auto server = StartServer();
  server->Script({Reply::Of(429, "one").With("Retry-After", "1"),
                  Reply::Of(429, "two").With("Retry-After", "1"),
                  Reply::Of(200, "three").With("X-Mine", "yes")});
  App app(NewClient(), server->Url());
  app.Post("x");
  const CallResult result = app.Perform(absl::Seconds(30));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "three");
  EXPECT_FALSE(absl::StrContains(app.sink.head, "429"));
  EXPECT_EQ(app.Head("X-Mine"), "yes");
  const std::vector<Arrival> arrivals = server->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  for (size_t i = 1; i < arrivals.size(); ++i) {
    EXPECT_GE(arrivals[i].since_start - arrivals[i - 1].since_start,
              absl::Seconds(1));
  }
  EXPECT_EQ(result.record.attempts[1].wait_source, DelaySource::kRetryAfter);
  EXPECT_EQ(result.record.wasted_sends(), 2);
}

TEST(WaitsTest, UnavailableWithAWait) {
  auto server = StartServer();
  server->Script(
      {Reply::Of(503, "one").With("Retry-After", "1"), Reply::Of(200, "two")});
  const auto client = NewClient();
  App app(client, server->Url());
  EXPECT_EQ(app.Perform(absl::Seconds(30)).stop_reason, StopReason::kSuccess);
  const std::vector<Arrival> arrivals = server->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 2u);
  EXPECT_GE(arrivals[1].since_start - arrivals[0].since_start,
            absl::Seconds(1));
}

TEST(WaitsTest, OneThatNeverRecovers) {
  auto server = StartServer();
  server->Script({Reply::Of(429, "no").With("Retry-After", "1")});
  App app(NewClient(), server->Url());
  const Stopwatch watch;
  const CallResult result = app.Perform(absl::Milliseconds(2500));
  // The third send would be after 3 s: it knows so after 2.
  EXPECT_GE(watch.Elapsed(), absl::Seconds(2));
  EXPECT_LE(watch.Elapsed(), absl::Milliseconds(2500));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  ASSERT_TRUE(result.retry_at.has_value());
  EXPECT_GT(*result.retry_at, absl::Milliseconds(100));
  EXPECT_LT(*result.retry_at, absl::Milliseconds(1500));
  EXPECT_EQ(app.sink.body, "no");
  EXPECT_LE(server->log().Count(), 3);
}

TEST(WaitsTest, OneThatIsDownForGood) {
  auto server = StartServer();
  server->Script({Reply::Of(503, "down")});
  ClientOptions options;
  options.retry.max_attempts = 100;
  App app(NewClient(options), server->Url());
  const Stopwatch watch;
  const CallResult result = app.Perform(absl::Seconds(2));
  EXPECT_LE(watch.Elapsed(), absl::Seconds(10));
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(app.sink.body, "down");
  // Or an attempt was out when the time was over.
  EXPECT_TRUE(result.retry_at.has_value() ||
              result.stop_reason == StopReason::kDeadlineExceeded)
      << StopReasonName(result.stop_reason);
  EXPECT_LE(server->log().Count(), 10);
}

// The headers of a refusal stop everybody, long before its body is there.
TEST(WaitsTest, HeadersStopOthers) {
  auto server = StartServer();
  server->Script({Reply::Of(429, "slow page")
                      .With("Retry-After", "2")
                      .BodyAfter(absl::Seconds(5)),
                  Reply::Of(200, "ok")});
  const auto client = NewClient();
  CallResult first;
  App app(client, server->Url());
  std::thread caller([&] { first = app.Perform(absl::Seconds(30)); });
  ASSERT_TRUE(server->log().WaitForCount(1, absl::Seconds(10)));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));

  App other(client, server->Url("/other"));
  const Stopwatch watch;
  const CallResult refused = other.Perform(absl::Seconds(1));
  // At once, not when its time is over.
  EXPECT_LT(watch.Elapsed(), absl::Seconds(1));
  EXPECT_EQ(refused.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_TRUE(refused.retry_at.has_value());
  EXPECT_EQ(server->log().Count(), 1);

  const CallResult waited = other.Perform(absl::Seconds(30));
  EXPECT_EQ(waited.stop_reason, StopReason::kSuccess);
  caller.join();
  EXPECT_EQ(first.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(app.sink.body, "ok");
  const std::vector<Arrival> arrivals = server->log().Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_GE(arrivals[1].since_start - arrivals[0].since_start,
            absl::Seconds(2));
}

// Servers close connections that were idle for long: a call that must go at
// most once does not try its luck on one.
TEST(WaitsTest, OnlyYoungConnectionsForWhatGoesAtMostOnce) {
  auto server = StartServer();
  App get(NewClient(), server->Url());
  App post(NewClient(), server->Url());
  post.Post("x");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(get.Perform(absl::Seconds(30)).stop_reason, StopReason::kSuccess);
    EXPECT_EQ(post.Perform(absl::Seconds(30)).stop_reason,
              StopReason::kSuccess);
    if (i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  }
  EXPECT_EQ(server->log().Count(), 4);
  EXPECT_EQ(server->connections(), 3);
}

// An answer that was held back is not lost when the wait after it turns out to
// be too long.
TEST(WaitsTest, WhatWasHeldIsDeliveredIfNoAttemptFollows) {
  auto server = StartServer();
  server->SetHandler([](const testing::HttpRequest& request) {
    return request.path == "/other"
               ? Reply::Of(429, "later").With("Retry-After", "60")
               : Reply::Of(429, "mine").With("Retry-After", "1");
  });
  const auto client = NewClient();
  App app(client, server->Url("/mine"));
  App other(client, server->Url("/other"));
  // Both are out at the same time; the other one's wait shuts the gate.
  CallResult mine;
  std::thread caller([&] { mine = app.Perform(absl::Seconds(5)); });
  other.Perform(absl::Seconds(5));
  caller.join();
  EXPECT_EQ(mine.stop_reason, StopReason::kWaitExceedsDeadline);
  if (mine.record.total_attempts > 0) {
    EXPECT_EQ(mine.code, CURLE_OK);
    EXPECT_EQ(mine.http_status, 429);
    EXPECT_EQ(app.sink.body, "mine");
  }
}

}  // namespace
}  // namespace forbear::curl
