// Calls that wait hold no thread.

#include <gtest/gtest.h>

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

namespace forbear::rpc {
namespace {

using testing::GrpcReply;
using testing::GrpcServer;

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

std::vector<std::unique_ptr<EchoCall>> Start(
    const std::shared_ptr<grpc::Channel>& channel) {
  std::vector<std::unique_ptr<EchoCall>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(std::make_unique<EchoCall>(Api::kCallback, channel));
    calls.back()->SetDeadline(absl::Minutes(5));
    calls.back()->Start();
  }
  return calls;
}

TEST(WaitingThreadsTest, TwoThousandCallsInBackoff) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();

  {
  server->Script({GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED)
                      .Pushback("60000")
                      .After(absl::Seconds(2))});
    const auto calls = Start(grpc::CreateChannel(
        server->address(), grpc::InsecureChannelCredentials()));
    for (const auto& call : calls) call->Wait();
  }
  const int64_t count=server->log().Count();
  // Plain calls in flight, for comparison.
  server->Script({GrpcReply::Hang()});
  int plain;
  {
    const auto calls = Start(grpc::CreateChannel(
        server->address(), grpc::InsecureChannelCredentials()));
    ASSERT_TRUE(server->log().WaitForCount(count+kCalls, absl::Seconds(30)));
    plain = Threads();system("for t in /proc/$PPID/task/*; do cat $t/comm; done | sort | uniq -c");
    for (const auto& call : calls) call->Cancel();
    for (const auto& call : calls) {
      EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::CANCELLED);
    }
  }

  // Or all but a hundred of them would end with kBudgetExhausted.
  ClientOptions options;
  options.endpoint.budget.enabled = false;
  const auto channel =
      CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                    *Client::Create(options));
  // An endpoint that is known, so that all calls are out at once.
  server->Script({});
  for (int i = 0; i < 30; ++i) {
    EchoCall call(Api::kCallback, channel);
    ASSERT_TRUE(call.Run().ok());
  }
  const int64_t before = server->log().Count();
  // Not before all of them have arrived.
  server->Script({GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED)
                      .Pushback("60000")
                      .After(absl::Seconds(2))});
  const auto calls = Start(channel);
  ASSERT_TRUE(server->log().WaitForCount(before + 1, absl::Seconds(30)));
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
  const int in_backoff = Threads();system("for t in /proc/$PPID/task/*; do cat $t/comm; done | sort | uniq -c");
  std::printf("threads: %d with %d plain calls in flight, %d in backoff\n",
              plain, kCalls, in_backoff);
  EXPECT_LE(in_backoff, plain + 2);
  EXPECT_EQ(server->log().Count(), before + kCalls);

  const MonotonicTime cancelled = MonotonicNow();
  for (const auto& call : calls) call->Cancel();
  for (const auto& call : calls) {
    EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::CANCELLED);
  }
  std::printf("all cancelled in %.0f ms\n",
              absl::ToDoubleMilliseconds(MonotonicNow() - cancelled));
  EXPECT_EQ(server->log().Count(), before + kCalls);
}

}  // namespace
}  // namespace forbear::rpc
