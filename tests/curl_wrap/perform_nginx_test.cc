// Perform(CURL*) against nginx, which was not written by us; over TLS and HTTP/2, too.
#include <curl/curl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "curl_wrap/perform.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/raw_app.h"
#include "tests/testing/nginx.h"

namespace forbear::curl {
namespace {

using testing::Nginx;

constexpr char kHttp[] = "limit_req_zone $server_port zone=one:1m rate=1r/s;";
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
  location /refused {
    add_header Retry-After 1 always;
    return 429 "slow down";
  }
  location /down {
    return 503 "down";
  })";

class PerformNginxTest : public ::testing::Test {
 protected:
  explicit PerformNginxTest(bool tls = false) : tls_(tls) {}

  void SetUp() override {
    Nginx::Options options;
    options.http = kHttp;
    options.server = kServer;
    options.tls = tls_;
    auto nginx = Nginx::Start(options);
    ASSERT_TRUE(nginx.ok()) << nginx.status();
    nginx_ = std::move(*nginx);
  }

  const bool tls_;
  std::unique_ptr<Nginx> nginx_;
  std::shared_ptr<Client> client_ = NewClient();
};

TEST_F(PerformNginxTest, OneThatNeverRecovers) {
  RawApp app(client_, nginx_->Url("/refused"));
  const Stopwatch watch;
  RawOptions options;
  options.deadline = absl::Milliseconds(1500);
  const CallResult result = app.Perform(options);
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
}

TEST_F(PerformNginxTest, Down) {
  RawApp app(client_, nginx_->Url("/down"));
  const CallResult result = app.Perform();
  EXPECT_EQ(result.http_status, 503);
  EXPECT_EQ(result.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(app.sink.body, "down");
  ASSERT_TRUE(nginx_->WaitForCount(3, absl::Seconds(5)));
  EXPECT_EQ(nginx_->Count(), 3);
}

// One request per second: the second call is refused, and waits.
class PerformTlsTest : public PerformNginxTest,
                       public ::testing::WithParamInterface<bool> {
 protected:
  PerformTlsTest() : PerformNginxTest(/*tls=*/true) {}
};

TEST_P(PerformTlsTest, ALimitOfOnePerSecond) {
  const bool http2 = GetParam();
  ASSERT_NE(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_HTTP2,
            0)
      << "this libcurl has no HTTP/2; Debian's has";
  RawApp app(client_, nginx_->Url("/one"));
  app.Set(CURLOPT_CAINFO, nginx_->CertificateFile().c_str());
  app.Set(CURLOPT_HTTP_VERSION,
          static_cast<long>(http2 ? CURL_HTTP_VERSION_2TLS
                                  : CURL_HTTP_VERSION_1_1));
  app.Post("x");
  RawOptions options;
  options.deadline = absl::Seconds(30);
  options.body_replays = true;
  int attempts = 0;
  for (int i = 0; i < 2; ++i) {
    app.sink = Sink();
    const CallResult result = app.Perform(options);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
        << app.error << FormatCallRecord(result.record);
    EXPECT_EQ(result.http_status, 200);
    EXPECT_EQ(app.sink.body, "ok");
    attempts += result.record.total_attempts;
    long version = 0;
    curl_easy_getinfo(app.easy, CURLINFO_HTTP_VERSION, &version);
    EXPECT_EQ(version, http2 ? CURL_HTTP_VERSION_2_0 : CURL_HTTP_VERSION_1_1);
  }
  EXPECT_GE(attempts, 3);
  ASSERT_TRUE(nginx_->WaitForCount(attempts, absl::Seconds(5)));
  const std::vector<Arrival> arrivals = nginx_->Arrivals();
  ASSERT_EQ(static_cast<int>(arrivals.size()), attempts);
  EXPECT_GE(arrivals[2].since_start - arrivals[1].since_start,
            absl::Milliseconds(995));
  // A refusal's body costs its connection, or only its stream.
  EXPECT_EQ(arrivals[1].connection_id == arrivals[2].connection_id, http2);
}

INSTANTIATE_TEST_SUITE_P(Versions, PerformTlsTest, ::testing::Bool());

}  // namespace
}  // namespace forbear::curl
