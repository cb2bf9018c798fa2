// The application's own look at a gRPC answer (runtime/classifier.h).

#include "runtime/classifier.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
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

class ClassifierTest : public ::testing::TestWithParam<Api> {
 protected:
  ClassifierTest() : server_(*GrpcServer::Create()) {}

  std::shared_ptr<grpc::Channel> Channel(RpcClassifier classifier,
                                         RpcOptions options = {}) {
    ClientOptions client_options;
    client_options.endpoint.breaker.enabled = false;
    client_options.endpoint.pacing = false;
    client_options.endpoint.budget.enabled = false;
    client_options.classify_rpc = std::move(classifier);
    return CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                         *Client::Create(client_options), std::move(options));
  }

  const std::unique_ptr<GrpcServer> server_;
};

INSTANTIATE_TEST_SUITE_P(Apis, ClassifierTest, AllApis(), ApiName);

TEST_P(ClassifierTest, AThrottledAnswerThatNoWaitCures) {
  server_->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, "no credit")
                       .Pushback("60000")});
  EchoCall call(GetParam(), Channel([](const RpcAnswer& answer, Outcome* o) {
                  if (answer.message == "no credit") {
                    o->kind = ErrorKind::kPermanent;
                  }
                }));
  EXPECT_EQ(call.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(call.status().error_message(), "no credit");
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), std::nullopt);
  EXPECT_EQ(call.record().stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(ClassifierTest, AnErrorThatIsWorthARetryAfterAWait) {
  server_->Script({GrpcReply::Error(StatusCode::INVALID_ARGUMENT, "bad")
                       .WithDetails("replica behind"),
                   GrpcReply::Error(StatusCode::INVALID_ARGUMENT, "bad")
                       .WithDetails("replica behind"),
                   GrpcReply::Ok("")});
  EchoCall call(GetParam(), Channel([](const RpcAnswer& answer, Outcome* o) {
                  if (answer.code != StatusCode::INVALID_ARGUMENT ||
                      answer.details != "replica behind") {
                    return;
                  }
                  o->kind = ErrorKind::kTransient;
                  o->repeatable = true;
                  o->pushback = absl::Milliseconds(300);
                  o->pushback_source = DelaySource::kPushback;
                }));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_GE(call.took(), absl::Milliseconds(600));
  EXPECT_EQ(server_->log().Count(), 3);
  const CallRecord record = call.record();
  ASSERT_EQ(record.attempts.size(), 3u);
  EXPECT_EQ(record.attempts[0].outcome.status, StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(record.attempts[1].outcome.kind, ErrorKind::kTransient);
  EXPECT_EQ(record.attempts[1].outcome.pushback, absl::Milliseconds(300));
}

// Of the first attempt, and of later ones, which come another way.
TEST_P(ClassifierTest, SeesEachAttemptOnceAndNoOk) {
  const auto reply = [](const std::string& n) {
    return GrpcReply::Error(StatusCode::UNAVAILABLE, "message " + n)
        .WithDetails("details " + n)
        .WithTrailing("x-trailing", "trailing " + n);
  };
  server_->Script({reply("1"), reply("2"), GrpcReply::Ok("")});
  std::mutex mutex;
  std::vector<std::string> seen;
  RpcOptions options;
  options.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
  EchoCall call(GetParam(),
                Channel(
                    [&](const RpcAnswer& answer, Outcome* outcome) {
                      std::string text(answer.message);
                      text += "; " + std::string(answer.details);
                      for (const auto& [name, value] : answer.trailers) {
                        if (name != "x-trailing") continue;
                        text += "; " + std::string(value);
                      }
                      EXPECT_EQ(answer.code, StatusCode::UNAVAILABLE);
                      EXPECT_EQ(outcome->kind, ErrorKind::kTransient);
                      EXPECT_TRUE(outcome->repeatable);
                      const std::lock_guard<std::mutex> lock(mutex);
                      seen.push_back(text);
                    },
                    options));
  EXPECT_TRUE(call.Run().ok());
  EXPECT_EQ(seen,
            (std::vector<std::string>{"message 1; details 1; trailing 1",
                                      "message 2; details 2; trailing 2"}));
  EXPECT_EQ(server_->log().Count(), 3);
}

// No lock of ours is held: the function may look at its own call, cancel it,
// and make another one.
TEST_P(ClassifierTest, MayCallBack) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
  RpcOptions options;
  options.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
  EchoCall* running = nullptr;
  std::atomic<int> calls = 0;
  const auto channel = Channel(
      [&](const RpcAnswer&, Outcome*) {
        ++calls;
        EXPECT_EQ(running->record().total_attempts, calls);
        if (calls == 2) running->Cancel();
      },
      options);
  EchoCall call(GetParam(), channel);
  running = &call;
  EXPECT_EQ(call.Run().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(server_->log().Count(), 2);
}

// A cancel of another thread, and the attempt's time-out, while the function
// runs: the call ends after it.
TEST_P(ClassifierTest, NothingEndsTheCallWhileItLooks) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")
                       .WithTrailing("x-trailing", "still here")});
  RpcOptions options;
  options.methods = {
      {kSay, {StatusCode::UNAVAILABLE}, absl::Milliseconds(500)}};
  std::atomic<bool> looking = false;
  std::atomic<bool> cancelled = false;
  EchoCall call(
      GetParam(),
      Channel(
          [&](const RpcAnswer& answer, Outcome*) {
            looking = true;
            while (!cancelled) std::this_thread::yield();
            std::this_thread::sleep_for(std::chrono::milliseconds(700));
            bool found = false;
            for (const auto& [name, value] : answer.trailers) {
              found |= value == "still here";
            }
            EXPECT_TRUE(found);
          },
          options));
  call.Start();
  while (!looking) std::this_thread::yield();
  call.Cancel();
  cancelled = true;
  EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_GE(call.took(), absl::Milliseconds(700));
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
}

TEST_P(ClassifierTest, FromManyThreadsAtOnce) {
  server_->SetHandler([](const testing::GrpcRequest& request) {
    return request.metadata.count("grpc-previous-rpc-attempts") == 0
               ? GrpcReply::Error(StatusCode::ABORTED, "again")
               : GrpcReply::Ok(request.bytes);
  });
  std::atomic<int> seen = 0;
  const auto channel = Channel([&](const RpcAnswer& answer, Outcome* outcome) {
    if (answer.code != StatusCode::ABORTED) return;
    ++seen;
    outcome->kind = ErrorKind::kTransient;
    outcome->repeatable = true;
  });
  constexpr int kThreads = 8;
  constexpr int kCalls = 20;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kCalls; ++i) {
        EchoCall call(GetParam(), channel);
        EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen, kThreads * kCalls);
  EXPECT_EQ(server_->log().Count(), 2 * kThreads * kCalls);
}

}  // namespace
}  // namespace forbear::rpc
