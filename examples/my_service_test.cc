// How to test your own code that calls a service through Forbear:
//
//   bazel test //examples:my_service_test
//
// 1. Your code, against a real server on loopback whose answers you script
//    (tests/testing/http_server.h; grpc_server.h is the same for gRPC).
// 2. Your options, under load, in virtual time: an hour takes milliseconds
//    (tests/testing/simulation.h).
#include <curl/curl.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "curl_wrap/handle.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/http_server.h"
#include "tests/testing/outcome_matchers.h"
#include "tests/testing/reply.h"
#include "tests/testing/simulation.h"

namespace {

using forbear::StopReason;
using forbear::testing::AttemptEndedWith;
using forbear::testing::HasAttempts;
using forbear::testing::HttpServer;
using forbear::testing::Reply;
using forbear::testing::SimCallOptions;
using forbear::testing::SimOptions;
using forbear::testing::Simulation;
using forbear::testing::StoppedWith;
using forbear::testing::TokenBucket;
using ::testing::AllOf;
using ::testing::Le;

// ---- Your code. It takes its client, so that a test can give it one of its own.

forbear::RetryOptions MyRetries() {
  forbear::RetryOptions retry;
  retry.max_attempts = 4;
  return retry;
}

class PriceService {
 public:
  PriceService(std::shared_ptr<forbear::Client> client, const std::string& url)
      : curl_(forbear::curl::Handle::Create(std::move(client))) {
    curl_.SetOpt(CURLOPT_URL, url.c_str());
    curl_.SetOpt(CURLOPT_WRITEFUNCTION, &Append);
    curl_.SetOpt(CURLOPT_WRITEDATA, &body_);
  }

  std::optional<std::string> Price(absl::Duration deadline) {
    body_.clear();
    forbear::curl::CallOptions options;
    options.deadline = deadline;
    last_ = curl_.Perform(options);
    if (last_.code != CURLE_OK || last_.http_status != 200) return std::nullopt;
    return body_;
  }
  const forbear::curl::CallResult& last() const { return last_; }

 private:
  static size_t Append(char* data, size_t size, size_t n, void* to) {
    static_cast<std::string*>(to)->append(data, size * n);
    return size * n;
  }

  forbear::curl::Handle curl_;
  std::string body_;
  forbear::curl::CallResult last_;
};

// ---- 1. Against a scripted server.

class PriceServiceTest : public ::testing::Test {
 protected:
  static std::shared_ptr<forbear::Client> MakeClient() {
    forbear::ClientOptions options;
    options.retry = MyRetries();
    return forbear::Client::Create(options).value();
  }

  std::unique_ptr<HttpServer> server_ = HttpServer::Create().value();
  PriceService service_{MakeClient(), server_->Url("/price")};
};

TEST_F(PriceServiceTest, GetsThroughABadMoment) {
  server_->Script({Reply::ResetBeforeHead(), Reply::Of(503, "sorry"),
                   Reply::Of(200, "42")});
  EXPECT_EQ(service_.Price(absl::Seconds(30)), "42");
  EXPECT_THAT(service_.last().record,
              AllOf(StoppedWith(StopReason::kSuccess), HasAttempts(3),
                    AttemptEndedWith(2, 503), AttemptEndedWith(3, 200)));
  EXPECT_EQ(server_->log().Count(), 3);  // the server's own count
}

TEST_F(PriceServiceTest, DoesNotWaitLongerThanItsCallerCan) {
  server_->Script({Reply::Of(429).With("Retry-After", "3600")});
  EXPECT_EQ(service_.Price(absl::Seconds(5)), std::nullopt);
  EXPECT_THAT(
      service_.last().record,
      AllOf(StoppedWith(StopReason::kWaitExceedsDeadline), HasAttempts(1)));
  EXPECT_GT(service_.last().retry_at, absl::Minutes(59));
}

TEST_F(PriceServiceTest, GivesUpAfterFourAttempts) {
  server_->Script({Reply::Of(500)});
  EXPECT_EQ(service_.Price(absl::Seconds(30)), std::nullopt);
  EXPECT_THAT(
      service_.last().record,
      AllOf(StoppedWith(StopReason::kAttemptsExhausted), HasAttempts(Le(4))));
}

// ---- 2. In virtual time: 600 callers, a limit of one call a second.

TEST(MyRetriesTest, SixHundredAtOnceAreServedInTenMinutes) {
  SimOptions options;
  options.seed = 7;
  Simulation simulation(options);
  TokenBucket service;  // 1 call a second, 5 at once; else 429 + Retry-After
  service.rate = 1;
  service.burst = 5;
  simulation.SetServer(std::ref(service));
  SimCallOptions call;
  call.retry = MyRetries();
  call.deadline = absl::Minutes(15);
  for (int i = 0; i < 600; ++i) simulation.AddCall(call);
  simulation.Run();

  EXPECT_EQ(simulation.Faults(), "");  // nobody was sent sooner than allowed, …
  EXPECT_EQ(simulation.Ended(StopReason::kSuccess), 600);
  EXPECT_LT(simulation.LastEnd(), absl::Minutes(12));
  EXPECT_LT(service.refused, 60);  // sends in vain
}

}  // namespace
