// An endpoint that is down, and comes back.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::GrpcReply;
using testing::GrpcServer;
using ::testing::StartsWith;

class BreakerTest : public ::testing::TestWithParam<Api> {
 protected:
  BreakerTest() : server_(*GrpcServer::Create()) {
    RpcOptions options;
    options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
    grpc::ChannelArguments arguments;
    // Or a stopped server stays unreachable for long after it is back.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
    channel_ =
        CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create({}), options, arguments);
  }

  std::vector<std::unique_ptr<EchoCall>> Start(int n, absl::Duration deadline) {
    std::vector<std::unique_ptr<EchoCall>> calls;
    for (int i = 0; i < n; ++i) {
      calls.push_back(std::make_unique<EchoCall>(GetParam(), channel_));
      calls.back()->SetDeadline(deadline);
      calls.back()->Start();
    }
    return calls;
  }

  const std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

INSTANTIATE_TEST_SUITE_P(Apis, BreakerTest,
                         ::testing::Values(Api::kSync, Api::kCallback));

TEST_P(BreakerTest, ScriptedOutageOfThreeSeconds) {
  auto down = std::make_shared<std::atomic<bool>>(true);
  server_->SetHandler([down](const testing::GrpcRequest& request) {
    return down->load() ? GrpcReply::Error(StatusCode::UNAVAILABLE, "down")
                        : GrpcReply::Ok(request.bytes);
  });
  const auto calls = Start(20, absl::Seconds(30));
  std::this_thread::sleep_for(std::chrono::seconds(3));
  const int64_t sends = server_->log().Count();
  down->store(false);
  for (const auto& call : calls) {
    EXPECT_TRUE(call->Wait().ok()) << call->status().error_message();
  }
  std::printf("sends while down: %d, in all: %d\n", static_cast<int>(sends),
              static_cast<int>(server_->log().Count()));
  EXPECT_LE(sends, 15);
}

TEST_P(BreakerTest, StoppedServer) {
  server_->Stop();
  const auto calls = Start(20, absl::Seconds(30));
  std::this_thread::sleep_for(std::chrono::seconds(3));
  int attempts = 0;
  for (const auto& call : calls) attempts += call->record().total_attempts;
  ASSERT_TRUE(server_->Start().ok());
  for (const auto& call : calls) {
    EXPECT_TRUE(call->Wait().ok()) << call->status().error_message() << "\n"
                                   << FormatCallRecord(call->record());
  }
  std::printf("attempts while down: %d\n", attempts);
  EXPECT_LE(attempts, 15);
}

TEST_P(BreakerTest, CallersThatCannotWaitAreRefusedAtOnceWithRetryAt) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
  // The breaker doubles its open time with each failed probe: 0.25 s, …
  // After 1 + 2 s or so it lies beyond a deadline of a second.
  const MonotonicTime begin = MonotonicNow();
  int refused = 0;
  while (refused < 20 && MonotonicNow() - begin < absl::Seconds(12)) {
    EchoCall call(GetParam(), channel_);
    call.SetDeadline(absl::Seconds(1));
    const StatusCode code = call.Run().error_code();
    const CallRecord record = call.record();
    // A probe that leaves just before the deadline may be overtaken by it.
    if (record.stop_reason != StopReason::kCircuitOpen) continue;
    EXPECT_EQ(code, StatusCode::UNAVAILABLE);
    ASSERT_NE(record.retry_at, std::nullopt);
    EXPECT_EQ(call.Trailing("forbear-stop-reason"), "circuit_open");
    EXPECT_GT(std::stoi(call.Trailing("forbear-retry-at-ms").value_or("0")), 0);
    if (record.total_attempts > 0) continue;
    EXPECT_THAT(call.status().error_message(), StartsWith("forbear: "));
    // At once, not when its time is over.
    EXPECT_LT(call.took(), absl::Seconds(1));
    ++refused;
  }
  EXPECT_EQ(refused, 20);
  EXPECT_LE(server_->log().Count(), 15);
}

}  // namespace
}  // namespace forbear::rpc
