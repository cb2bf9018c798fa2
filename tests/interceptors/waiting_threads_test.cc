// Calls that wait hold no thread.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"
#include "tests/testing/server_process.h"

namespace forbear::rpc {
namespace {

using testing::GrpcReply;
using testing::GrpcServer;
using testing::ServerProcess;

constexpr int kCalls = 2000;

int Threads() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "Threads:") {
      int n = 0;
      status >> n;
      return n;
    }
  }
  return -1;
}

GrpcReply Answer(const testing::GrpcRequest& request) {
  testing::EchoMessage message;
  message.ParseFromString(request.bytes);
  if (message.payload() == "hang") return GrpcReply::Hang();
  if (message.payload() == "busy") {
    // Not before all of them have arrived.
    return GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED)
        .Pushback("60000")
        .After(absl::Seconds(2));
  }
  return GrpcReply::Ok(request.bytes);
}

std::vector<std::unique_ptr<EchoCall>> Start(
    const std::shared_ptr<grpc::Channel>& channel, const char* payload) {
  // An endpoint that is known, so that all calls are out at once.
  for (int i = 0; i < 30; ++i) {
    EchoCall call(Api::kCallback, channel);
    EXPECT_TRUE(call.Run().ok());
  }
  std::vector<std::unique_ptr<EchoCall>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(
        std::make_unique<EchoCall>(Api::kCallback, channel, payload));
    calls.back()->SetDeadline(absl::Minutes(5));
    calls.back()->Start();
  }
  return calls;
}

TEST(WaitingThreadsTest, TwoThousandCallsInBackoff) {
  // The threads of this process are the client's.
  const ServerProcess server([](int* port) {
    std::shared_ptr<GrpcServer> running = *GrpcServer::Create();
    running->SetHandler(Answer);
    *port = running->port();
    return running;
  });

  // Plain calls in flight, for comparison.
  int plain;
  {
    const auto calls =
        Start(grpc::CreateChannel(server.address(),
                                  grpc::InsecureChannelCredentials()),
              "hang");
    std::this_thread::sleep_for(std::chrono::seconds(1));
    plain = Threads();
    for (const auto& call : calls) call->Cancel();
    for (const auto& call : calls) {
      EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::CANCELLED);
    }
  }

  // Or all but a hundred of them would end with kBudgetExhausted.
  ClientOptions options;
  options.endpoint.budget.enabled = false;
  const auto calls =
      Start(CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                          *Client::Create(options)),
            "busy");
  int waiting = 0;
  const MonotonicTime begin = MonotonicNow();
  while (waiting < kCalls && MonotonicNow() - begin < absl::Seconds(60)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    waiting = 0;
    for (const auto& call : calls) {
      const CallRecord record = call->record();
      if (record.stop_reason == StopReason::kNone &&
          record.attempts.size() == 1 &&
          record.attempts[0].outcome.kind == ErrorKind::kThrottled) {
        ++waiting;
      }
    }
  }
  EXPECT_EQ(waiting, kCalls);
  const int in_backoff = Threads();
  std::printf("threads: %d with %d plain calls in flight, %d in backoff\n",
              plain, kCalls, in_backoff);
  EXPECT_LE(in_backoff, plain + 2);

  const MonotonicTime cancelled = MonotonicNow();
  for (const auto& call : calls) call->Cancel();
  for (const auto& call : calls) {
    EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::CANCELLED);
    EXPECT_EQ(call->record().total_attempts, 1);
  }
  std::printf("all cancelled in %.0f ms\n",
              absl::ToDoubleMilliseconds(MonotonicNow() - cancelled));
}

}  // namespace
}  // namespace forbear::rpc
