// The main cases once more against nginx: a server, and limits, that were not
// written by us.
#include "tests/testing/nginx.h"

#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

using testing::Nginx;

constexpr char kHttp[] =
    "limit_req_zone $server_port zone=one:1m rate=1r/s;"
    "limit_req_zone $server_port zone=ten:1m rate=10r/s;";
constexpr char kServer[] = R"(
  location /one {
    limit_req zone=one;
    limit_req_status 429;
    error_page 429 @slow_down;
    proxy_pass http://ok;
  }
  location @slow_down {
    add_header Retry-After 1 always;
    return 429 "slow down";
  }
  location /ten {
    limit_req zone=ten burst=1 nodelay;
    limit_req_status 429;
    proxy_pass http://ok;
  }
  location /refused {
    add_header Retry-After 1 always;
    return 429 "slow down";
  }
  location /down {
    return 503 "down";
  }
  location /gone {
    return 444;  # closes the connection without an answer
  })";

class NginxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Nginx::Options options;
    options.http = kHttp;
    options.server = kServer;
    auto nginx = Nginx::Start(options);
    ASSERT_TRUE(nginx.ok()) << nginx.status();
    nginx_ = std::move(*nginx);
  }

  std::unique_ptr<Nginx> nginx_;
  std::shared_ptr<Client> client_ = NewClient();
};

TEST_F(NginxTest, ALimitOfOnePerSecond) {
  App app(client_, nginx_->Url("/one"));
  app.Post("x");
  const Stopwatch watch;
  for (int i = 0; i < 3; ++i) {
    app.sink = Sink();
    const CallResult result = app.Perform(absl::Seconds(30));
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
        << FormatCallRecord(result.record);
    EXPECT_EQ(result.http_status, 200);
    EXPECT_EQ(app.sink.body, "ok");
    EXPECT_FALSE(absl::StrContains(app.sink.head, "429"));
  }
  EXPECT_GE(watch.Elapsed(), absl::Milliseconds(1900));
  ASSERT_TRUE(nginx_->WaitForCount(5, absl::Seconds(5)));
  EXPECT_LE(nginx_->Count(), 7);
}

TEST_F(NginxTest, ALimitThatNamesNoWait) {
  // 8 callers and 10 requests per second: everybody gets through.
  std::vector<std::thread> callers;
  std::vector<CallResult> results(8);
  for (CallResult& result : results) {
    callers.emplace_back([&, to = &result] {
      App app(client_, nginx_->Url("/ten"));
      app.Post("x");
      *to = app.Perform(absl::Seconds(30));
    });
  }
  for (std::thread& t : callers) t.join();
  for (const CallResult& r : results) {
    EXPECT_EQ(r.stop_reason, StopReason::kSuccess);
  }
}

TEST_F(NginxTest, OneThatNeverRecovers) {
  App app(client_, nginx_->Url("/refused"));
  const Stopwatch watch;
  const CallResult result = app.Perform(absl::Milliseconds(1500));
  EXPECT_LE(watch.Elapsed(), absl::Seconds(10));
  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 429);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_TRUE(result.retry_at.has_value());
  EXPECT_EQ(app.sink.body, "slow down");
  ASSERT_TRUE(nginx_->WaitForCount(2, absl::Seconds(5)));
  EXPECT_EQ(nginx_->Count(), 2);
  const std::vector<Arrival> arrivals = nginx_->Arrivals();
  EXPECT_GE(arrivals[1].since_start - arrivals[0].since_start,
            absl::Milliseconds(995));
  EXPECT_EQ(arrivals[0].connection_id, arrivals[1].connection_id);
}

TEST_F(NginxTest, Down) {
  App app(client_, nginx_->Url("/down"));
  const CallResult result = app.Perform(absl::Seconds(30));
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, "down");
  ASSERT_TRUE(nginx_->WaitForCount(3, absl::Seconds(5)));
  EXPECT_EQ(nginx_->Count(), 3);
}

TEST_F(NginxTest, AConnectionThatIsReusedAndClosed) {
  App app(client_, nginx_->Url("/one"));
  app.Post("x");
  EXPECT_EQ(app.Perform(absl::Seconds(30)).stop_reason, StopReason::kSuccess);
  app.curl.SetOpt(CURLOPT_URL, nginx_->Url("/gone").c_str());
  const CallResult result = app.Perform(absl::Seconds(30));
  EXPECT_EQ(result.code, CURLE_GOT_NOTHING);
  EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent);
  ASSERT_TRUE(nginx_->WaitForCount(2, absl::Seconds(5)));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(nginx_->Count(), 2);
  const std::vector<Arrival> arrivals = nginx_->Arrivals();
  EXPECT_EQ(arrivals[0].connection_id, arrivals[1].connection_id);
}

}  // namespace
}  // namespace forbear::curl
