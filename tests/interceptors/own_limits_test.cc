// Our own bounds on what leaves, in every API: limits per time, callers that may wait,
// attempts that are out at once. What leaves is counted at the server.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/rate_limiter.h"
#include "core/stop_reason.h"
#include "core/verdict.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcServer;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kQuota[] = "ours";

ClientOptions Limited(int64_t amount, absl::Duration per) {
  ClientOptions options;
  options.quota.limits = {{"ours", LimitUnit::kRequests, amount, per}};
  return options;
}

std::shared_ptr<grpc::Channel> Channel(const std::string& address,
                                       const std::shared_ptr<Client>& client) {
  RpcOptions options;
  options.quota_id = kQuota;
  options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  return CreateChannel(address, grpc::InsecureChannelCredentials(), client,
                       options);
}

void AwaitWaitingForQuota(Client* client, int64_t n) {
  const QuotaRef quota = client->QuotaOf(kQuota, MonotonicNow());
  while ((*quota)->SnapshotAt(MonotonicNow()).waiting != n) {
    std::this_thread::yield();
  }
}

void AwaitWaitingForEndpoint(Client* client, const std::string& address,
                             int64_t n) {
  const EndpointRef endpoint = client->EndpointOf(address, MonotonicNow());
  while ((*endpoint)->SnapshotAt(MonotonicNow()).waiting != n) {
    std::this_thread::yield();
  }
}

// EchoCall or StreamApp: of a call that our limit of some an hour has refused, though
// it had a minute.
template <typename Call>
void ExpectRefusedByTheLimit(Call* call) {
  EXPECT_EQ(call->Wait().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(call->Wait().error_message(), StartsWith("forbear: "));
  EXPECT_THAT(call->Wait().error_message(),
              HasSubstr("The next send is allowed in "));
  EXPECT_EQ(call->Trailing("forbear-stop-reason"), "wait_exceeds_deadline");
  const int64_t retry_at_ms =
      std::stoll(call->Trailing("forbear-retry-at-ms").value_or("-1"));
  EXPECT_GT(retry_at_ms, absl::ToInt64Milliseconds(absl::Minutes(20)));
  EXPECT_LE(retry_at_ms, absl::ToInt64Milliseconds(absl::Minutes(30)));
  EXPECT_LT(call->took(), absl::Seconds(30));  // at once, not at its deadline
  const CallRecord record = call->record();
  EXPECT_EQ(record.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(record.total_attempts, 0);
  ASSERT_EQ(record.dispatches.size(), 1u);
  EXPECT_EQ(record.dispatches[0].verdict, Verdict::kRefuse);
  EXPECT_EQ(record.dispatches[0].source, DelaySource::kLimiter);
}

class OwnLimitsTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, OwnLimitsTest, AllApis(), ApiName);

TEST_P(OwnLimitsTest, WhoDoesNotFitIsRefusedAtOnceAndNotSent) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  const auto channel =
      Channel(server->address(), *Client::Create(Limited(2, absl::Hours(1))));
  for (int i = 0; i < 2; ++i) {
    EchoCall call(GetParam(), channel);
    call.SetDeadline(absl::Minutes(1));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  }
  EchoCall third(GetParam(), channel);
  third.SetDeadline(absl::Minutes(1));
  third.Start();
  ExpectRefusedByTheLimit(&third);
  EXPECT_EQ(server->log().Count(), 2);
}

TEST_P(OwnLimitsTest, WhoFitsWaits) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  const auto channel = Channel(
      server->address(), *Client::Create(Limited(1, absl::Milliseconds(700))));
  std::vector<MonotonicTime> left;
  for (int i = 0; i < 3; ++i) {
    EchoCall call(GetParam(), channel);
    call.SetDeadline(absl::Minutes(1));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    const CallRecord record = call.record();
    ASSERT_FALSE(record.dispatches.empty());
    EXPECT_EQ(record.dispatches.back().verdict, Verdict::kGo);
    left.push_back(record.dispatches.back().at);
  }
  // When the limiter was asked, which is exact; what the server hears may be late.
  EXPECT_GE(left[1] - left[0], absl::Milliseconds(700));
  EXPECT_GE(left[2] - left[1], absl::Milliseconds(700));
  EXPECT_EQ(server->log().Count(), 3);
}

// What a retry takes counts as much.
TEST_P(OwnLimitsTest, ARetryTakesFromTheLimitToo) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
  const auto channel =
      Channel(server->address(), *Client::Create(Limited(2, absl::Hours(1))));
  EchoCall call(GetParam(), channel);
  call.SetDeadline(absl::Minutes(1));
  // The last answer is a server's.
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(call.status().error_message(), "down");
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), "wait_exceeds_deadline");
  EXPECT_EQ(call.record().total_attempts, 2);
  EXPECT_LT(call.took(), absl::Seconds(30));
  EXPECT_EQ(server->log().Count(), 2);
}

TEST_P(OwnLimitsTest, AQueueThatIsFullRefusesAtOnce) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->SetHandler([](const testing::GrpcRequest& request) {
    return request.index == 0 ? GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED)
                                    .Pushback("600000")
                              : GrpcReply::Ok(request.bytes);
  });
  ClientOptions options;
  options.quota.max_waiters = 1;
  const auto client = *Client::Create(options);
  const auto channel = Channel(server->address(), client);
  // Shuts the gate for ten minutes, and cannot wait for it.
  EchoCall shuts(GetParam(), channel);
  shuts.SetDeadline(absl::Minutes(1));
  EXPECT_EQ(shuts.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);

  EchoCall first(GetParam(), channel, "first");
  first.SetDeadline(absl::Minutes(20));
  first.Start();
  AwaitWaitingForQuota(client.get(), 1);
  EchoCall second(GetParam(), channel);
  second.SetDeadline(absl::Minutes(20));
  EXPECT_EQ(second.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(second.status().error_message(), StartsWith("forbear: "));
  EXPECT_EQ(second.Trailing("forbear-stop-reason"), "queue_full");
  EXPECT_LT(second.took(), absl::Minutes(1));
  EXPECT_EQ(second.record().stop_reason, StopReason::kQueueFull);
  EXPECT_EQ(second.record().total_attempts, 0);
  EXPECT_EQ(server->log().Count(), 1);

  // Who was there first goes on waiting, and is served.
  EXPECT_FALSE(first.done());
  EXPECT_TRUE(client->ClearGate(kQuota));
  EXPECT_TRUE(first.Wait().ok()) << first.status().error_message();
  EXPECT_EQ(first.payload(), "first");
  EXPECT_EQ(server->log().Count(), 2);
}

// Counts who is in it. Nobody leaves before LetGo.
class Room final : public testing::Echo::Service {
 public:
  Room() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~Room() override {
    LetGo();
    server_->Shutdown();
  }

  grpc::Status Say(grpc::ServerContext* /*context*/, const EchoMessage* request,
                   EchoMessage* response) override {
    std::unique_lock<std::mutex> lock(mutex_);
    ++entered_;
    most_ = std::max(most_, ++inside_);
    changed_.notify_all();
    changed_.wait(lock, [this] { return let_go_; });
    --inside_;
    *response = *request;
    return grpc::Status::OK;
  }

  const std::string& address() const { return address_; }
  void AwaitEntered(int n) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return entered_ >= n; });
  }
  void LetGo() {
    const std::lock_guard<std::mutex> lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }
  int entered() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return entered_;
  }
  // At once.
  int most() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return most_;
  }

 private:
  mutable std::mutex mutex_;  // guards the four below
  std::condition_variable changed_;
  int entered_ = 0;
  int inside_ = 0;
  int most_ = 0;
  bool let_go_ = false;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_P(OwnLimitsTest, NeverTwoAtATime) {
  constexpr int kCalls = 6;
  Room room;
  ClientOptions options;
  options.endpoint.max_concurrency = 1;
  const auto client = *Client::Create(options);
  const auto channel = Channel(room.address(), client);
  std::vector<std::unique_ptr<EchoCall>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(std::make_unique<EchoCall>(GetParam(), channel));
    calls.back()->SetDeadline(absl::Minutes(1));
    calls.back()->Start();
  }
  room.AwaitEntered(1);
  AwaitWaitingForEndpoint(client.get(), room.address(), kCalls - 1);
  EXPECT_EQ(room.entered(), 1);
  room.LetGo();
  for (const auto& call : calls) {
    EXPECT_TRUE(call->Wait().ok()) << call->status().error_message();
    EXPECT_EQ(call->record().total_attempts, 1);
  }
  EXPECT_EQ(room.entered(), kCalls);
  EXPECT_EQ(room.most(), 1);
}

class OwnLimitsOfStreamsTest : public ::testing::TestWithParam<StreamApi> {
 protected:
  StreamServer server_;
};

INSTANTIATE_TEST_SUITE_P(
    Apis, OwnLimitsOfStreamsTest,
    ::testing::Values(StreamApi::kSync, StreamApi::kReactor, StreamApi::kQueue,
                      StreamApi::kGenericReactor, StreamApi::kGenericQueue),
    [](const auto& info) { return NameOf(info.param); });

TEST_P(OwnLimitsOfStreamsTest, WhoDoesNotFitIsRefusedAtOnceAndNotSent) {
  const auto channel =
      Channel(server_.address(), *Client::Create(Limited(2, absl::Hours(1))));
  for (int i = 0; i < 2; ++i) {
    StreamApp app(GetParam(), Shape::kChat, channel);
    app.SetDeadline(absl::Minutes(1));
    EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  }
  StreamApp third(GetParam(), Shape::kChat, channel);
  third.SetDeadline(absl::Minutes(1));
  third.Start();
  ExpectRefusedByTheLimit(&third);
  EXPECT_EQ(third.sent(), 0);
  EXPECT_EQ(server_.Count(), 2);
}

TEST_P(OwnLimitsOfStreamsTest, NeverTwoAtATime) {
  server_.Script({StreamPlay::Hangs(), StreamPlay::Good()});
  ClientOptions options;
  options.endpoint.max_concurrency = 1;
  const auto client = *Client::Create(options);
  const auto channel = Channel(server_.address(), client);
  StreamApp first(GetParam(), Shape::kChat, channel);
  first.Start();
  ASSERT_TRUE(server_.WaitForCount(1));
  StreamApp second(GetParam(), Shape::kChat, channel);
  second.SetDeadline(absl::Minutes(1));
  second.Start();
  AwaitWaitingForEndpoint(client.get(), server_.address(), 1);
  EXPECT_EQ(server_.Count(), 1);
  first.Cancel();
  EXPECT_EQ(first.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(second.Wait().ok()) << second.Wait().error_message();
  EXPECT_EQ(server_.Count(), 2);
}

}  // namespace
}  // namespace forbear::rpc
