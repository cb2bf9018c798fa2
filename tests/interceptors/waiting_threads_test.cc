// Calls that wait hold no thread.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
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

// A server in a process of its own: the threads of this one are the client's.
class ServerProcess {
 public:
  // REQUIRES: gRPC has not been used in this process.
  ServerProcess() {
    int up[2];
    int down[2];
    if (pipe(up) != 0 || pipe(down) != 0) std::abort();
    child_ = fork();
    if (child_ == 0) {
      close(down[1]);
      Serve(up[1], down[0]);
      _exit(0);
    }
    close(up[1]);
    close(down[0]);
    end_ = down[1];
    if (read(up[0], &port_, sizeof(port_)) != sizeof(port_)) std::abort();
    close(up[0]);
  }
  ~ServerProcess() {
    close(end_);
    waitpid(child_, nullptr, 0);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  // Until the other end of `end` is closed.
  static void Serve(int port, int end) {
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    server->SetHandler([](const testing::GrpcRequest& request) {
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
    });
    const int number = server->port();
    char byte;
    if (write(port, &number, sizeof(number)) != sizeof(number) ||
        read(end, &byte, 1) != 0) {
      std::abort();
    }
  }

  pid_t child_ = 0;
  int end_ = -1;
  int port_ = 0;
};

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
  const ServerProcess server;

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
