// Many callers of one key, each on a thread of its own.
#include <algorithm>
#include <iostream>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"

namespace forbear::curl {
namespace {

TEST(CrowdTest, OneRefusalStopsEverybodyAndNobodyStampedes) {
  constexpr int kCallers = 50;
  auto server = StartServer();
  server->Script(
      {Reply::Of(429, "no").With("Retry-After", "2"), Reply::Of(200, "ok")});
  const auto client = NewClient();
  std::vector<CallResult> results(kCallers);
  std::vector<std::thread> callers;
  const auto call = [&](int i) {
    App app(client, server->Url());
    results[static_cast<size_t>(i)] = app.Perform(absl::Seconds(60));
  };
  callers.emplace_back(call, 0);
  ASSERT_TRUE(server->log().WaitForCount(1, absl::Seconds(10)));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  for (int i = 1; i < kCallers; ++i) callers.emplace_back(call, i);
  for (std::thread& t : callers) t.join();

  for (const CallResult& r : results) {
    EXPECT_EQ(r.stop_reason, StopReason::kSuccess);
  }
  const std::vector<Arrival> arrivals = server->log().Snapshot();
  ASSERT_EQ(arrivals.size(), kCallers + 1u);
  const absl::Duration gate = arrivals[0].since_start + absl::Seconds(2);
  EXPECT_GE(arrivals[1].since_start, gate);
  const testing::ArrivalLog::Bin fullest =
      server->log().FullestBin(absl::Milliseconds(100), gate);
  std::cout << "fullest 100 ms: " << fullest.count << " of " << kCallers
            << "; all answered " << arrivals.back().since_start - gate
            << " after the gate opened\n";
  // They leave every 20 ms; a busy machine brings some late, beside those after them.
  // Virtual time is exact about it (tests/core:quota_test).
  EXPECT_LE(fullest.count, kCallers / 5);
}

// 20 callers meet a server that is down for 3 s.
class OutageTest : public ::testing::Test {
 protected:
  static constexpr int kCallers = 20;

  std::vector<CallResult> CallAll(absl::Duration deadline) {
    std::vector<CallResult> results(kCallers);
    std::vector<std::thread> callers;
    for (size_t i = 0; i < kCallers; ++i) {
      callers.emplace_back([&, i] {
        App app(client_, server_->Url());
        results[i] = app.Perform(deadline);
      });
    }
    for (std::thread& t : callers) t.join();
    return results;
  }

  std::unique_ptr<HttpServer> server_ = StartServer();
  std::shared_ptr<Client> client_ = NewClient();
};

TEST_F(OutageTest, Answers503) {
  server_->SetHandler([](const testing::HttpRequest& request) {
    return request.since_start < absl::Seconds(3) ? Reply::Of(503, "down")
                                                  : Reply::Of(200, "up");
  });
  const std::vector<CallResult> results = CallAll(absl::Seconds(30));
  for (const CallResult& r : results) {
    EXPECT_EQ(r.stop_reason, StopReason::kSuccess)
        << FormatCallRecord(r.record);
    EXPECT_EQ(r.http_status, 200);
  }
  const int64_t sends = server_->log().CountOfStatus(503);
  std::cout << "sends while down (503): " << sends << "\n";
  EXPECT_LE(sends, 15);
}

TEST_F(OutageTest, ClosedPort) {
  server_->Stop();
  const Stopwatch down;
  std::thread starter([this] {
    std::this_thread::sleep_for(std::chrono::seconds(3));
    ASSERT_TRUE(server_->Start().ok());
  });
  const std::vector<CallResult> results = CallAll(absl::Seconds(30));
  starter.join();
  int sends = 0;
  for (const CallResult& r : results) {
    EXPECT_EQ(r.stop_reason, StopReason::kSuccess)
        << FormatCallRecord(r.record);
    sends += r.record.total_attempts - 1;
  }
  std::cout << "sends while down (closed port): " << sends << "\n";
  EXPECT_LE(sends, 15);
  EXPECT_EQ(server_->log().Count(), kCallers);
}

TEST_F(OutageTest, ShortDeadlinesAreRefusedAtOnce) {
  server_->Script({Reply::Of(503, "down")});
  // Until the breaker's open time has grown beyond a second.
  CallResult result;
  Stopwatch all;
  absl::Duration took;
  bool refused = false;
  while (!refused && all.Elapsed() < absl::Seconds(10)) {
    App app(client_, server_->Url());
    const Stopwatch watch;
    result = app.Perform(absl::Seconds(1));
    took = watch.Elapsed();
    refused = result.record.total_attempts == 0 &&
              result.stop_reason == StopReason::kCircuitOpen;
  }
  ASSERT_TRUE(refused);
  // At once, not when its time is over.
  EXPECT_LT(took, absl::Seconds(1));
  EXPECT_EQ(result.code, CURLE_COULDNT_CONNECT);
  EXPECT_EQ(result.http_status, 0);
  ASSERT_TRUE(result.retry_at.has_value());
  EXPECT_GT(*result.retry_at, absl::Milliseconds(700));
  const int64_t before = server_->log().Count();
  for (const CallResult& r : CallAll(absl::Milliseconds(300))) {
    EXPECT_EQ(r.stop_reason, StopReason::kCircuitOpen);
    EXPECT_EQ(r.record.total_attempts, 0);
    EXPECT_TRUE(r.retry_at.has_value());
  }
  EXPECT_EQ(server_->log().Count(), before);
}

}  // namespace
}  // namespace forbear::curl
