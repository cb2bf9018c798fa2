// Who may go away when. Most of what this proves is that the sanitizers have
// nothing to say.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <tuple>
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

// Every other attempt fails.
GrpcReply Flaky(const testing::GrpcRequest& request) {
  return request.metadata.count("grpc-previous-rpc-attempts") == 0
             ? GrpcReply::Error(StatusCode::UNAVAILABLE)
             : GrpcReply::Ok(request.bytes);
}

std::shared_ptr<Client> Fast() {
  ClientOptions options;
  options.retry.backoff.initial = absl::Milliseconds(2);
  options.endpoint.breaker.enabled = false;
  options.endpoint.pacing = false;
  options.endpoint.budget.enabled = false;
  return *Client::Create(options);
}

std::shared_ptr<grpc::Channel> Channel(const GrpcServer& server,
                                       std::shared_ptr<Client> client,
                                       TakeOver take_over = TakeOver::kNever) {
  RpcOptions options;
  options.take_over = take_over;
  options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  return CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                       std::move(client), options);
}

// With attempt 1 the application's own call, and taken over.
class LifetimeTest : public ::testing::TestWithParam<std::tuple<Api, bool>> {
 protected:
  LifetimeTest() : server_(*GrpcServer::Create()) {
    server_->SetHandler(Flaky);
  }
  static Api api() { return std::get<0>(GetParam()); }
  static TakeOver take_over() {
    if (!std::get<1>(GetParam())) return TakeOver::kNever;
    return api() == Api::kGeneric ? TakeOver::kGenericStubs
                                  : TakeOver::kGeneratedStubs;
  }

  const std::unique_ptr<GrpcServer> server_;
};

INSTANTIATE_TEST_SUITE_P(Apis, LifetimeTest,
                         ::testing::Combine(AllApis(), ::testing::Bool()),
                         [](const auto& info) {
                           return (std::get<1>(info.param) ? "Taken_" : "") +
                                  NameOf(std::get<0>(info.param));
                         });

TEST_P(LifetimeTest, ContextDestroyedRightAfterCompletion) {
  const auto channel = Channel(*server_, Fast(), take_over());
  for (int i = 0; i < 100; ++i) {
    EchoCall call(api(), channel);
    EXPECT_TRUE(call.Run().ok());
    call.DestroyContext();
  }
}

TEST_P(LifetimeTest, ChannelAndClientDroppedRightAfterACall) {
  for (int i = 0; i < 30; ++i) {
    auto channel = Channel(*server_, Fast(), take_over());
    EchoCall call(api(), channel);
    call.Start();
    // The context is now the only one to hold the channel; its stub, too.
    channel.reset();
    EXPECT_TRUE(call.Wait().ok());
  }
}

TEST_P(LifetimeTest, CancelAtAnyMoment) {
  const auto channel = Channel(*server_, Fast(), take_over());
  for (int i = 0; i < 200; ++i) {
    EchoCall call(api(), channel);
    call.Start();
    std::this_thread::sleep_for(std::chrono::microseconds(i * 17 % 3000));
    call.Cancel();
    const StatusCode code = call.Wait().error_code();
    EXPECT_TRUE(code == StatusCode::OK || code == StatusCode::CANCELLED)
        << code;
    const StopReason reason = call.record().stop_reason;
    EXPECT_EQ(reason, code == StatusCode::OK ? StopReason::kSuccess
                                             : StopReason::kCancelled);
  }
}

TEST_P(LifetimeTest, CancelRacesWithTheAttemptTimeout) {
  server_->Script({GrpcReply::Hang()});
  RpcOptions options;
  options.methods = {{"*", {StatusCode::UNAVAILABLE}, absl::Milliseconds(3)}};
  options.take_over = take_over();
  const auto channel = CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), Fast(), options);
  for (int i = 0; i < 200; ++i) {
    EchoCall call(api(), channel);
    call.SetDeadline(absl::Seconds(20));
    call.Start();
    std::this_thread::sleep_for(std::chrono::microseconds(i * 37 % 8000));
    call.Cancel();
    const StatusCode code = call.Wait().error_code();
    EXPECT_TRUE(code == StatusCode::CANCELLED ||
                code == StatusCode::DEADLINE_EXCEEDED)
        << code;
  }
}

TEST_P(LifetimeTest, ServerStopsWithCallsInEveryState) {
  server_->SetHandler([](const testing::GrpcRequest& request) {
    switch (request.index % 4) {
      case 0:
        return GrpcReply::Hang();
      case 1:
        return GrpcReply::Error(StatusCode::UNAVAILABLE);
      case 2:
        return GrpcReply::Ok(request.bytes).After(absl::Milliseconds(20));
      default:
        return GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("20");
    }
  });
  const auto channel = Channel(*server_, Fast(), take_over());
  std::vector<std::unique_ptr<EchoCall>> calls;
  for (int i = 0; i < 50; ++i) {
    calls.push_back(std::make_unique<EchoCall>(api(), channel));
    calls.back()->SetDeadline(absl::Seconds(2));
    calls.back()->Start();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  server_->Stop();
  for (const auto& call : calls) call->Wait();
}

TEST(LifetimeTest2, ContextDestroyedInsideItsCallback) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->SetHandler(Flaky);
  const auto channel = Channel(*server, Fast());
  const auto stub = testing::Echo::NewStub(channel);
  struct State {
    grpc::ClientContext context;
    testing::EchoMessage request;
    testing::EchoMessage response;
  };
  std::atomic<int> done = 0;
  for (int i = 0; i < 200; ++i) {
    auto* state = new State;
    stub->async()->Say(&state->context, &state->request, &state->response,
                       [state, &done](const grpc::Status& status) {
                         EXPECT_TRUE(status.ok());
                         delete state;
                         ++done;
                       });
  }
  while (done < 200) std::this_thread::yield();
}

TEST(LifetimeTest2, NoContextNoRecord) {
  grpc::ClientContext context;
  EXPECT_EQ(RecordOf(context), std::nullopt);
}

}  // namespace
}  // namespace forbear::rpc
