// Calls that wait hold no thread.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/rate_limiter.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "runtime/clock.h"
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

// So that the endpoint is known, and all calls may be out at once.
constexpr int kFirst = 30;
void MakeFirstCalls(const std::shared_ptr<grpc::Channel>& channel) {
  for (int i = 0; i < kFirst; ++i) {
    EchoCall call(Api::kCallback, channel);
    EXPECT_TRUE(call.Run().ok());
  }
}

std::vector<std::unique_ptr<EchoCall>> Start(
    const std::shared_ptr<grpc::Channel>& channel, const char* payload,
    absl::Duration deadline = absl::Minutes(5)) {
  std::vector<std::unique_ptr<EchoCall>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(
        std::make_unique<EchoCall>(Api::kCallback, channel, payload));
    calls.back()->SetDeadline(deadline);
    calls.back()->Start();
  }
  return calls;
}

// How many threads gRPC has with so many calls in flight.
int ThreadsOfPlainCalls(const std::string& address) {
  const auto channel =
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  MakeFirstCalls(channel);
  const auto calls = Start(channel, "hang");
  // On the same connection, behind all of them: they are out when these are answered.
  MakeFirstCalls(channel);
  const int threads = Threads();
  for (const auto& call : calls) call->Cancel();
  for (const auto& call : calls) {
    EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::CANCELLED);
  }
  return threads;
}

class WaitingThreadsTest : public ::testing::Test {
 protected:
  // The threads of this process are the client's. It forks, and so it comes before
  // all else that gRPC does here.
  static void SetUpTestSuite() {
    server_ = new ServerProcess([](int* port) {
      std::shared_ptr<GrpcServer> running = *GrpcServer::Create();
      running->SetHandler(Answer);
      *port = running->port();
      return running;
    });
  }
  static void TearDownTestSuite() { delete server_; }

  static ServerProcess* server_;
};
ServerProcess* WaitingThreadsTest::server_ = nullptr;

TEST_F(WaitingThreadsTest, TwoThousandCallsInBackoff) {
  // Plain calls in flight, for comparison.
  const int plain = ThreadsOfPlainCalls(server_->address());

  // Or all but a hundred of them would end with kBudgetExhausted.
  ClientOptions options;
  options.endpoint.budget.enabled = false;
  const auto channel =
      CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                    *Client::Create(options));
  MakeFirstCalls(channel);
  const auto calls = Start(channel, "busy");
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

// Nor do those that a limit of ours holds, or others that are out.
TEST_F(WaitingThreadsTest, TwoThousandCallsThatOurOwnBoundsHold) {
  const int plain = ThreadsOfPlainCalls(server_->address());
  const auto check = [plain](const std::shared_ptr<grpc::Channel>& channel,
                             const auto& waiting) {
    // All of them could be served in time, or they would be refused.
    const auto calls = Start(channel, "held", absl::Hours(1000));
    while (waiting() < kCalls) std::this_thread::yield();
    const int held = Threads();
    std::printf("threads: %d with %d plain calls in flight, %d held\n", plain,
                kCalls, held);
    EXPECT_LE(held, plain + 2);
    for (const auto& call : calls) call->Cancel();
    for (const auto& call : calls) {
      EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::CANCELLED);
      EXPECT_EQ(call->record().total_attempts, 0);
    }
  };
  const auto channel = [](const std::shared_ptr<Client>& client) {
    auto made = CreateChannel(server_->address(),
                              grpc::InsecureChannelCredentials(), client);
    MakeFirstCalls(made);
    return made;
  };
  {
    // What the first calls take, and then three an hour.
    ClientOptions options;
    options.quota.limits = {
        {"ours", LimitUnit::kRequests, kFirst, absl::Hours(10)}};
    const auto client = *Client::Create(options);
    const QuotaRef quota = client->QuotaOf(server_->address(), MonotonicNow());
    check(channel(client),
          [&] { return (*quota)->SnapshotAt(MonotonicNow()).waiting; });
  }
  {
    ClientOptions options;
    options.endpoint.max_concurrency = 1;
    const auto client = *Client::Create(options);
    const EndpointRef endpoint =
        client->EndpointOf(server_->address(), MonotonicNow());
    const auto made = channel(client);
    EchoCall first(Api::kCallback, made, "hang");
    first.Start();
    check(made,
          [&] { return (*endpoint)->SnapshotAt(MonotonicNow()).waiting; });
    first.Cancel();
    EXPECT_EQ(first.Wait().error_code(), grpc::StatusCode::CANCELLED);
  }
}

}  // namespace
}  // namespace forbear::rpc
