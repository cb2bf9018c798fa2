// Who may go away when. Most of what this proves is that the sanitizers have
// nothing to say.

#include <grpcpp/alarm.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "core/endpoint.h"
#include "core/quota.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/interceptors/echo_call.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::EchoMessage;
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

INSTANTIATE_TEST_SUITE_P(Apis, LifetimeTest, AllApisAlsoTaken(),
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

TEST_P(LifetimeTest, SeveralThreadsCancelOneCall) {
  const auto channel = Channel(*server_, Fast(), take_over());
  for (int i = 0; i < 50; ++i) {
    EchoCall call(api(), channel);
    call.Start();
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&call, turns = i * (t + 1) % 50] {
        for (int k = 0; k < turns; ++k) std::this_thread::yield();
        for (int k = 0; k < 5; ++k) call.Cancel();
      });
    }
    const StatusCode code = call.Wait().error_code();
    EXPECT_TRUE(code == StatusCode::OK || code == StatusCode::CANCELLED)
        << code;
    for (std::thread& thread : threads) thread.join();
    call.DestroyContext();
  }
}

TEST_P(LifetimeTest, ShutdownWithCallsInBackoff) {
  server_->SetHandler([](const testing::GrpcRequest&) {
    return GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("30000");
  });
  // Some have been sent, and wait for their next attempt; the others for their first.
  constexpr int kCalls = 20;
  auto channel = Channel(*server_, Fast(), take_over());
  std::vector<std::unique_ptr<EchoCall>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(std::make_unique<EchoCall>(api(), channel));
    calls.back()->Start();
    if (i > 0) continue;
    ASSERT_TRUE(server_->log().WaitForCount(1, absl::Seconds(10)));
    while (calls[0]->record().attempts.empty() ||
           calls[0]->record().attempts[0].outcome.kind == ErrorKind::kOk) {
      std::this_thread::yield();
    }
  }
  // The client is the channel's already.
  channel.reset();
  server_->Stop();
  std::vector<std::thread> threads;
  threads.reserve(kCalls);
  for (const auto& call : calls) {
    threads.emplace_back([&call] { call->Cancel(); });
  }
  for (const auto& call : calls) {
    EXPECT_EQ(call->Wait().error_code(), StatusCode::CANCELLED);
    EXPECT_LT(call->took(), absl::Seconds(30));
    EXPECT_EQ(call->record().stop_reason, StopReason::kCancelled);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(server_->log().Count(), 1);
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

// Whatever becomes of a call, what it held of its endpoint goes back.
TEST_P(LifetimeTest, NothingIsHeldForEver) {
  server_->SetHandler([](const testing::GrpcRequest& request) {
    switch (request.index % 7) {
      case 0:
        return GrpcReply::Hang();
      case 1:
      case 2:
        return GrpcReply::Error(StatusCode::UNAVAILABLE);
      case 3:
        return GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("1");
      case 4:
        return GrpcReply::Ok(request.bytes).After(absl::Milliseconds(3));
      default:
        return GrpcReply::Ok(request.bytes);
    }
  });
  ClientOptions client_options;
  client_options.retry.backoff.initial = absl::Milliseconds(2);
  client_options.endpoint.breaker.enabled = false;
  client_options.endpoint.pacing = false;
  client_options.quota.pacing = false;
  client_options.endpoint.budget.enabled = false;
  client_options.endpoint.hedge_budget.burst = 1000000;
  client_options.endpoint.max_concurrency = 3;
  const auto client = *Client::Create(client_options);
  RpcOptions options;
  options.take_over = take_over();
  options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  options.methods[0].retry = client_options.retry;
  options.methods[0].retry->attempt_timeout = absl::Milliseconds(8);
  options.methods[0].retry->hedge.enabled = true;
  options.methods[0].retry->hedge.delay = absl::Milliseconds(2);
  options.methods[0].retry->hedge.max_hedges = 2;
  const auto channel = CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), client, options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 150; ++i) {
        EchoCall call(api(), channel);
        if (i % 3 == 0) call.SetDeadline(absl::Microseconds(i * 131 % 20000));
        call.Start();
        // A timer of gRPC's cancels half of them, at any moment.
        grpc::Alarm alarm;
        absl::Notification rung;
        const int micros = i % 2 == 0 ? (i * 37 + t * 501) % 9000 : 10000000;
        alarm.Set(std::chrono::system_clock::now() +
                      std::chrono::microseconds(micros),
                  [&](bool due) {
                    if (due) call.Cancel();
                    rung.Notify();
                  });
        call.Wait();
        alarm.Cancel();
        rung.WaitForNotification();
        if (i % 5 == 0) call.DestroyContext();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const EndpointRef endpoint =
      client->EndpointOf(server_->address(), MonotonicNow());
  const QuotaRef quota = client->QuotaOf(server_->address(), MonotonicNow());
  // Each has a lock of its own, held while it is looked at.
  const auto held = [&] {
    const Endpoint::Snapshot e = (*endpoint)->SnapshotAt(MonotonicNow());
    const Quota::Snapshot q = (*quota)->SnapshotAt(MonotonicNow());
    return e.out + e.waiting + q.out + q.waiting;
  };
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (held() > 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  EXPECT_EQ(held(), 0);
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

// A call and all that it is made with.
struct OwnCall {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<testing::Echo::Stub> stub;
  grpc::ClientContext context;
  testing::EchoMessage request;
  testing::EchoMessage response;

  explicit OwnCall(std::shared_ptr<grpc::Channel> of)
      : channel(std::move(of)), stub(testing::Echo::NewStub(channel)) {}
};

// gRPC 1.51 does not survive it if that is the process's last channel, with or
// without Forbear. With another one it does, and so do we.
TEST(LifetimeTest2, TheChannelGoesInACallback) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  EchoCall other(Api::kCallback,
                 grpc::CreateChannel(server->address(),
                                     grpc::InsecureChannelCredentials()));
  ASSERT_TRUE(other.Run().ok());
  server->SetHandler(Flaky);
  for (const bool hedged : {false, true}) {
    RpcOptions options;
    options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
    options.methods[0].retry.emplace();
    options.methods[0].retry->hedge.enabled = hedged;
    options.methods[0].retry->hedge.delay = absl::ZeroDuration();
    options.methods[0].retry->backoff.initial = absl::Milliseconds(2);
    std::atomic<int> done = 0;
    for (int i = 0; i < 50; ++i) {
      auto* call = new OwnCall(CreateChannel(server->address(),
                                             grpc::InsecureChannelCredentials(),
                                             Fast(), options));
      call->stub->async()->Say(&call->context, &call->request, &call->response,
                               [call, &done](const grpc::Status& status) {
                                 EXPECT_TRUE(status.ok())
                                     << status.error_message();
                                 delete call;
                                 ++done;
                               });
    }
    while (done < 50) std::this_thread::yield();
  }
}

// A unary call of a completion queue that asks for the head by itself: when that is
// there nothing of it is pending, and it may be given up without a word.
class HeadFirstTest : public ::testing::Test {
 protected:
  struct Attempted {
    Attempted(testing::Echo::Stub* stub, grpc::CompletionQueue* queue)
        : context(std::make_unique<grpc::ClientContext>()),
          reader(stub->AsyncSay(context.get(), EchoMessage(), queue)) {
      reader->ReadInitialMetadata(this);
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(queue->Next(&tag, &ok));
      EXPECT_EQ(tag, this);
    }
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<EchoMessage>> reader;
  };

  HeadFirstTest() : server_(*GrpcServer::Create()) {
    server_->Script({GrpcReply::Hang().HeadersFirst()});
  }
  ~HeadFirstTest() override {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    EXPECT_FALSE(queue_.Next(&tag, &ok));
  }
  RpcOptions Options(absl::Duration attempt_timeout) const {
    RpcOptions options;
    options.target = server_->address();
    options.methods = {{"*", {StatusCode::UNAVAILABLE}, attempt_timeout}};
    return options;
  }

  const std::unique_ptr<GrpcServer> server_;
  grpc::CompletionQueue queue_;
};

TEST_F(HeadFirstTest, GivenUpAsTheAttemptTimesOut) {
  const auto stub = testing::Echo::NewStub(CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), Fast(),
      Options(/*attempt_timeout=*/absl::Milliseconds(3))));
  for (int i = 0; i < 400; ++i) {
    Attempted call(stub.get(), &queue_);
    // Not a sleep: it is about microseconds.
    const auto until = std::chrono::steady_clock::now() +
                       std::chrono::microseconds(i * 37 % 3500);
    while (std::chrono::steady_clock::now() < until) {
    }
  }
}

// What is told of a cancel: interceptors that are not there any more.
class Listener final : public grpc::experimental::Interceptor {
 public:
  explicit Listener(std::atomic<int>* cancels) : cancels_(cancels) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_CANCEL)) {
      ++*cancels_;
    }
    batch->Proceed();
  }

 private:
  std::atomic<int>* const cancels_;
};

class ListenerFactory final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit ListenerFactory(std::atomic<int>* cancels) : cancels_(cancels) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new Listener(cancels_);
  }

 private:
  std::atomic<int>* const cancels_;
};

TEST_F(HeadFirstTest, NobodyIsToldOfACancelWhileTheCallMayBeGivenUp) {
  std::atomic<int> cancels = 0;
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  factories.push_back(std::make_unique<ListenerFactory>(&cancels));
  factories.push_back(
      MakeInterceptorFactory(Fast(), Options(absl::Milliseconds(100))));
  const auto stub = testing::Echo::NewStub(
      grpc::experimental::CreateCustomChannelWithInterceptors(
          server_->address(), grpc::InsecureChannelCredentials(),
          grpc::ChannelArguments(), std::move(factories)));
  {
    const Attempted call(stub.get(), &queue_);
    EXPECT_TRUE(server_->log().WaitForCancelled(1, absl::Seconds(10)));
    EXPECT_EQ(cancels, 0);
  }
  // Where all of a call is pending they are.
  grpc::ClientContext context;
  EchoMessage message;
  EXPECT_EQ(stub->Say(&context, message, &message).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GT(cancels, 0);
}

// It has timed out before the application asks how it ended.
TEST_F(HeadFirstTest, RepeatedWhenItIsAskedFor) {
  server_->Script({GrpcReply::Hang().HeadersFirst(), GrpcReply::Ok("")});
  const auto stub = testing::Echo::NewStub(CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), Fast(),
      Options(/*attempt_timeout=*/absl::Milliseconds(200))));
  Attempted call(stub.get(), &queue_);
  EXPECT_TRUE(server_->log().WaitForCancelled(1, absl::Seconds(10)));
  EchoMessage response;
  grpc::Status status(StatusCode::UNKNOWN, "");
  call.reader->Finish(&response, &status, &status);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue_.Next(&tag, &ok));
  EXPECT_EQ(tag, &status);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(server_->log().Count(), 2);
  EXPECT_TRUE(RecordOf(*call.context)->attempts[0].outcome.timed_out);
}

TEST(LifetimeTest2, AFactoryThatNoChannelGets) {
  RpcOptions options;
  options.target = "127.0.0.1:1";
  std::shared_ptr<Client> client = Fast();
  const std::weak_ptr<Client> watched = client;
  auto factory = MakeInterceptorFactory(std::move(client), options);
  EXPECT_FALSE(watched.expired());
  factory.reset();
  EXPECT_TRUE(watched.expired());
}

TEST(LifetimeTest2, TheFactoryGoesWithTheLastContext) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->SetHandler([](const testing::GrpcRequest& request) {
    return request.index == 0 ? GrpcReply::Error(StatusCode::UNAVAILABLE)
                              : GrpcReply::Hang();
  });
  RpcOptions options;
  options.target = server->address();
  options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  std::shared_ptr<Client> client = Fast();
  const std::weak_ptr<Client> watched = client;
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  factories.push_back(MakeInterceptorFactory(std::move(client), options));
  auto call = std::make_unique<OwnCall>(
      grpc::experimental::CreateCustomChannelWithInterceptors(
          server->address(), grpc::InsecureChannelCredentials(),
          grpc::ChannelArguments(), std::move(factories)));
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<grpc::Status> ended;
  call->stub->async()->Say(&call->context, &call->request, &call->response,
                           [&](const grpc::Status& status) {
                             const std::lock_guard<std::mutex> lock(mutex);
                             ended = status;
                             changed.notify_all();
                           });
  // From now on nobody has the channel but the call.
  call->stub.reset();
  call->channel.reset();
  ASSERT_TRUE(server->log().WaitForCount(2, absl::Seconds(10)));
  EXPECT_FALSE(watched.expired());
  call->context.TryCancel();
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return ended.has_value(); });
  }
  EXPECT_EQ(ended->error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(RecordOf(call->context)->total_attempts, 2);
  EXPECT_FALSE(watched.expired());
  call.reset();
  // What a thread of gRPC's still holds of it for a moment.
  while (!watched.expired()) std::this_thread::yield();
}

// Calls in backoff, and in flight, keep nobody from leaving.
TEST(LifetimeDeathTest, TheProcessEndsWithCallsInBackoff) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto leave = [] {
    // Never destroyed, as the calls of a program that exits in the middle.
    static auto* const server = GrpcServer::Create()->release();
    server->SetHandler([](const testing::GrpcRequest& request) {
      return request.index == 0
                 ? GrpcReply::Hang()
                 : GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED)
                       .Pushback("30000");
    });
    static auto* const calls = new std::vector<std::unique_ptr<OwnCall>>;
    const auto channel = Channel(*server, Fast());
    for (int i = 0; i < 5; ++i) {
      calls->push_back(std::make_unique<OwnCall>(channel));
      OwnCall& call = *calls->back();
      call.stub->async()->Say(&call.context, &call.request, &call.response,
                              [](const grpc::Status&) {});
      if (i < 2 && !server->log().WaitForCount(i + 1, absl::Seconds(10))) {
        std::exit(1);
      }
    }
    std::exit(0);
  };
  EXPECT_EXIT(leave(), ::testing::ExitedWithCode(0), "");
}

TEST(LifetimeTest2, NoContextNoRecord) {
  grpc::ClientContext context;
  EXPECT_EQ(RecordOf(context), std::nullopt);
}

}  // namespace
}  // namespace forbear::rpc
