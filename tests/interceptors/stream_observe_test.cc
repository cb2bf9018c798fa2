// Streams that are left alone, but for what their ends tell; and which ones are.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/policy.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/all_streams.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;

const StreamPlay kGood = StreamPlay::Good();
const StreamPlay kDown = StreamPlay::Fails(StatusCode::UNAVAILABLE);

// What a build that may not touch gRPC's private members makes of kRetry.
#if defined(FORBEAR_GRPC_PRIVATE_ACCESS) && !FORBEAR_GRPC_PRIVATE_ACCESS
constexpr Streams kObserved = Streams::kRetry;
#else
constexpr Streams kObserved = Streams::kObserve;
#endif

class StreamObserveTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {
 protected:
  StreamObserveTest() {
    options_.methods = {{"*", {StatusCode::UNAVAILABLE}}};
    options_.streams = kObserved;
    // Opens at the third failure, for long.
    client_.endpoint.breaker.consecutive_failures = 3;
    client_.endpoint.breaker.min_open = absl::Seconds(60);
    client_.endpoint.breaker.max_open = absl::Seconds(60);
    client_.retry.when_open = WhenOpen::kFail;
  }
  static Shape shape() { return std::get<0>(GetParam()); }
  static StreamApi api() { return std::get<1>(GetParam()); }
  std::shared_ptr<grpc::Channel> Channel() {
    return CreateChannel(server_.address(), grpc::InsecureChannelCredentials(),
                         *Client::Create(client_), options_);
  }

  StreamServer server_;
  RpcOptions options_;
  ClientOptions client_;
};

INSTANTIATE_TEST_SUITE_P(All, StreamObserveTest, AllStreams(), kNameOfStream);

TEST_P(StreamObserveTest, NothingIsSentAgain) {
  server_.Script({kDown, kGood});
  const auto channel = Channel();
  {
    StreamApp app(api(), shape(), channel);
    EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(app.record().stop_reason, StopReason::kAttemptsExhausted);
    EXPECT_EQ(app.record().total_attempts, 1);
    EXPECT_EQ(app.Trailing("x-stream"), "1");
  }
  StreamApp app(api(), shape(), channel);
  EXPECT_TRUE(app.Run().ok());
  EXPECT_FALSE(app.received().empty());
  EXPECT_EQ(app.record().stop_reason, StopReason::kSuccess);
  EXPECT_EQ(server_.Count(), 2);
}

TEST_P(StreamObserveTest, TheirEndsOpenTheBreakerWhichDoesNotHoldThem) {
  server_.Script({kDown, kDown, kDown, kGood});
  const auto channel = Channel();
  for (int i = 0; i < 3; ++i) {
    StreamApp app(api(), shape(), channel);
    EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
  }
  // A unary call is refused, …
  const auto stub = testing::Echo::NewStub(channel);
  grpc::ClientContext context;
  testing::EchoMessage message;
  const grpc::Status status = stub->Say(&context, message, &message);
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(RecordOf(context)->stop_reason, StopReason::kCircuitOpen);
  EXPECT_EQ(RecordOf(context)->total_attempts, 0);
  // … a stream is not.
  StreamApp app(api(), shape(), channel);
  EXPECT_TRUE(app.Run().ok());
  EXPECT_EQ(app.record().total_attempts, 0);
  EXPECT_EQ(server_.Count(), 4);
}

TEST_P(StreamObserveTest, TheyShutTheGate) {
  server_.Script(
      {StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED).Pushback("60000")});
  const auto channel = Channel();
  StreamApp app(api(), shape(), channel);
  EXPECT_EQ(app.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const auto stub = testing::Echo::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(20));
  testing::EchoMessage message;
  EXPECT_EQ(stub->Say(&context, message, &message).error_code(),
            StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(RecordOf(context)->total_attempts, 0);
}

TEST_P(StreamObserveTest, Cancelled) {
  server_.Script({StreamPlay::Hangs()});
  StreamApp app(api(), shape(), Channel());
  app.Start();
  ASSERT_TRUE(server_.WaitForCount(1));
  app.Cancel();
  EXPECT_EQ(app.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(app.record().stop_reason, StopReason::kCancelled);
}

// It ends them as a deadline does. gRPC counts it by a clock of its own, which need not
// be right on a virtual machine: so the server ends them here, as one that knows it, when
// there is less left than a timer may be wrong by.
TEST_P(StreamObserveTest, TheServiceConfigsTimeoutIsATimeOut) {
  options_.target = server_.address();
  options_.methods.clear();
  options_.service_config = R"({"methodConfig": [{"name": [{}],
      "timeout": "0.001s", "retryPolicy": {"maxAttempts": 3,
      "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]}}]})";
  server_.SetPlayer(
      [](const SeenStream&) {
        return StreamPlay::Fails(StatusCode::DEADLINE_EXCEEDED);
      },
      nullptr);
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  factories.push_back(
      MakeInterceptorFactory(*Client::Create(client_), options_));
  const auto channel = grpc::experimental::CreateCustomChannelWithInterceptors(
      server_.address(), grpc::InsecureChannelCredentials(),
      grpc::ChannelArguments(), std::move(factories));
  for (int i = 0; i < 4; ++i) {
    StreamApp app(api(), shape(), channel);
    EXPECT_EQ(app.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
    const CallRecord record = app.record();
    // The breaker is open then.
    ASSERT_EQ(record.attempts.size(), i < 3 ? 1u : 0u);
    if (i < 3) {
      EXPECT_TRUE(record.attempts[0].outcome.timed_out);
    }
  }
}

// The stream is the probe, which others wait for; and it goes on.
TEST_P(StreamObserveTest, AMessageShowsThatTheServerLives) {
  if (shape() == Shape::kPush) return;  // has one at its end
  client_.endpoint.breaker.min_open = absl::Milliseconds(50);
  client_.endpoint.breaker.max_open = absl::Milliseconds(50);
  client_.endpoint.breaker.successes_to_close = 1;
  client_.endpoint.breaker.probe_lease = absl::Minutes(10);
  server_.Script({kDown, kDown, kDown, StreamPlay::Hangs(2)});
  const auto channel = Channel();
  for (int i = 0; i < 3; ++i) {
    StreamApp app(api(), shape(), channel);
    EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
  }
  std::unique_ptr<StreamApp> app;
  do {
    if (app != nullptr) app->Cancel();
    app = std::make_unique<StreamApp>(api(), shape(), channel);
    app->SetDeadline(absl::Seconds(20));
    const int before = server_.Count();
    app->Start();
    ASSERT_TRUE(server_.WaitForCount(before + 1));
  } while (app->record().total_attempts == 0);  // it is open yet
  while (!app->record().attempts[0].head && !app->done()) {
    std::this_thread::yield();
  }
  ASSERT_TRUE(app->record().attempts[0].head.has_value());
  const auto stub = testing::Echo::NewStub(channel);
  grpc::ClientContext context;
  testing::EchoMessage message;
  stub->Say(&context, message, &message);
  EXPECT_EQ(RecordOf(context)->total_attempts, 1);
  app->Cancel();
}

TEST_P(StreamObserveTest, WhichStreamsAreForbears) {
  const auto is_ours = [this] {
    StreamApp app(api(), shape(), Channel());
    EXPECT_TRUE(app.Run().ok());
    return RecordOf(app.context()).has_value();
  };
  for (const Streams streams : {Streams::kRetry, Streams::kObserve}) {
    options_.streams = streams;
    options_.methods = {{"*", {}}};
    EXPECT_TRUE(is_ours());
    options_.methods = {{"/forbear.testing.Echo/*", {}}};
    EXPECT_TRUE(is_ours());
    options_.methods = {{"/forbear.testing.Echo/Say", {}}};
    EXPECT_FALSE(is_ours());
    options_.methods.clear();
    EXPECT_FALSE(is_ours());
    TargetPolicy target{client_};
    target.name = "echo";
    target.match.rpcs = {MethodOf(shape())};
    client_.targets = {target};
    EXPECT_TRUE(is_ours());
    client_.targets[0].enabled = false;
    EXPECT_FALSE(is_ours());
    client_.targets.clear();
  }
  options_.methods = {{"*", {}}};
  options_.streams = Streams::kOff;
  EXPECT_FALSE(is_ours());
}

}  // namespace
}  // namespace forbear::rpc
