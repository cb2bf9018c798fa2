// Which calls are Forbear's, and which pass through untouched.

#include <grpcpp/alarm.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/slow_hijack.h"
#include "tests/interceptors/unary_reactor.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/echo2.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Echo;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcServer;

std::string Bytes(const std::string& payload) {
  EchoMessage message;
  message.set_payload(payload);
  return message.SerializeAsString();
}

class ShapesTest : public ::testing::Test {
 protected:
  ShapesTest() : server_(*GrpcServer::Create()) {
    options_.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  }
  std::shared_ptr<grpc::Channel> Channel(std::shared_ptr<Client> client) {
    return CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                         std::move(client), options_);
  }
  std::shared_ptr<grpc::Channel> Channel() {
    return Channel(*Client::Create({}));
  }
  // Of one's own, with interceptors of one's own.
  std::shared_ptr<grpc::Channel> Channel(
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>
          before,
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>
          after) {
    options_.target = server_->address();
    std::vector<
        std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
        factories;
    if (before != nullptr) factories.push_back(std::move(before));
    factories.push_back(MakeInterceptorFactory(*Client::Create({}), options_));
    if (after != nullptr) factories.push_back(std::move(after));
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    return grpc::experimental::CreateCustomChannelWithInterceptors(
        server_->address(), grpc::InsecureChannelCredentials(), arguments,
        std::move(factories));
  }
  void FailTwice() {
    server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE),
                     GrpcReply::Error(StatusCode::UNAVAILABLE),
                     GrpcReply::Ok(Bytes("at last"))});
  }

  const std::unique_ptr<GrpcServer> server_;
  RpcOptions options_;
};

TEST_F(ShapesTest, StreamsOfMethodsWithoutARulePassThrough) {
  options_.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down"),
                   GrpcReply::Ok(Bytes("message"))});
  const auto stub = Echo::NewStub(Channel());
  EchoMessage message;
  {
    grpc::ClientContext context;
    const auto reader = stub->Pull(&context, message);
    EXPECT_FALSE(reader->Read(&message));
    EXPECT_EQ(reader->Finish().error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(server_->log().Count(), 1);
    EXPECT_EQ(RecordOf(context), std::nullopt);
  }
  {
    grpc::ClientContext context;
    const auto reader = stub->Pull(&context, message);
    EXPECT_TRUE(reader->Read(&message));
    EXPECT_EQ(message.payload(), "message");
    EXPECT_FALSE(reader->Read(&message));
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    const auto writer = stub->Push(&context, &message);
    EXPECT_TRUE(writer->Write(message));
    EXPECT_TRUE(writer->WritesDone());
    EXPECT_TRUE(writer->Finish().ok());
  }
  {
    grpc::ClientContext context;
    const auto stream = stub->Chat(&context);
    EXPECT_TRUE(stream->Write(message));
    EXPECT_TRUE(stream->Read(&message));
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }
  EXPECT_EQ(server_->log().Count(), 4);
}

TEST_F(ShapesTest, DisabledClientPassesCallsThrough) {
  ClientOptions options;
  options.enabled = false;
  FailTwice();
  EchoCall call(Api::kSync, Channel(*Client::Create(options)));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(RecordOf(call.context()), std::nullopt);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_F(ShapesTest, ForbearOffPassesCallsThrough) {
  ASSERT_EQ(setenv("FORBEAR_OFF", "1", 1), 0);
  const auto channel = Channel();
  ASSERT_EQ(unsetenv("FORBEAR_OFF"), 0);
  FailTwice();
  EchoCall call(Api::kCallback, channel);
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(RecordOf(call.context()), std::nullopt);
  EXPECT_EQ(server_->log().Count(), 1);
}

// Also gRPC's own retries, wherever their policy was given.
TEST_F(ShapesTest, ForbearOffLeavesGrpcsOwnRetriesAlone) {
  const std::string config = R"({"methodConfig": [{"name": [{}],
      "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.01s",
        "maxBackoff": "0.1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]}}]})";
  ASSERT_EQ(setenv("FORBEAR_OFF", "1", 1), 0);
  const auto off = *Client::Create({});
  ASSERT_EQ(unsetenv("FORBEAR_OFF"), 0);
  for (const bool in_arguments : {true, false}) {
    SCOPED_TRACE(in_arguments);
    grpc::ChannelArguments arguments;
    RpcOptions options;
    if (in_arguments) {
      arguments.SetServiceConfigJSON(config);
    } else {
      options.service_config = config;
    }
    FailTwice();
    const int64_t before = server_->log().Count();
    EchoCall call(Api::kSync, CreateChannel(server_->address(),
                                            grpc::InsecureChannelCredentials(),
                                            off, options, arguments));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    EXPECT_EQ(call.payload(), "at last");
    EXPECT_EQ(RecordOf(call.context()), std::nullopt);
    EXPECT_EQ(server_->log().Count() - before, 3);
  }
}

// What can be switched on again while the channel lives has to have one retrier then.
TEST_F(ShapesTest, ADisabledClientStillKeepsGrpcFromRetrying) {
  ClientOptions client_options;
  client_options.enabled = false;
  const auto client = *Client::Create(client_options);
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{"name": [{}],
      "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.01s",
        "maxBackoff": "0.1s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]}}]})");
  const auto channel =
      CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                    client, {}, arguments);
  FailTwice();
  EchoCall first(Api::kSync, channel);
  EXPECT_EQ(first.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->log().Count(), 1);
  client_options.enabled = true;
  ASSERT_TRUE(client->Reload(client_options).ok());
  FailTwice();
  EchoCall second(Api::kSync, channel);
  EXPECT_TRUE(second.Run().ok()) << second.status().error_message();
  EXPECT_EQ(second.record().total_attempts, 3);
  EXPECT_EQ(server_->log().Count(), 4);
}

TEST_F(ShapesTest, FaultyOptionsLeaveNoRecord) {
  options_.methods = {{"Say", {}}};
  EchoCall call(Api::kSync, Channel());
  EXPECT_EQ(call.Run().error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(RecordOf(call.context()), std::nullopt);
  EXPECT_EQ(server_->log().Count(), 0);
}

TEST_F(ShapesTest, MethodsOfTwoServicesWithTheSameNames) {
  options_.methods = {
      {"/forbear.testing.other.Echo/*", {StatusCode::UNAVAILABLE}},
      {"/forbear.testing.Echo/Other", {StatusCode::UNAVAILABLE}}};
  const auto channel = Channel();
  const auto echo = Echo::NewStub(channel);
  const auto other = testing::other::Echo::NewStub(channel);
  const auto sends = [&](auto call) {
    const int64_t before = server_->log().Count();
    server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE),
                     GrpcReply::Ok(Bytes("ok"))});
    grpc::ClientContext context;
    EchoMessage request;
    EchoMessage response;
    call(&context, request, &response);
    return server_->log().Count() - before;
  };
  EXPECT_EQ(sends([&](auto* c, auto& q, auto* a) { echo->Say(c, q, a); }), 1);
  EXPECT_EQ(sends([&](auto* c, auto& q, auto* a) { echo->Other(c, q, a); }), 2);
  EXPECT_EQ(sends([&](auto* c, auto& q, auto* a) { other->Say(c, q, a); }), 2);
  EXPECT_EQ(server_->log().Snapshot().back().path,
            "/forbear.testing.other.Echo/Say");
}

TEST_F(ShapesTest, FactoryOnAChannelOfOnesOwn) {
  options_.target = "the echo service";
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  factories.push_back(MakeInterceptorFactory(*Client::Create({}), options_));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  const auto channel = grpc::experimental::CreateCustomChannelWithInterceptors(
      server_->address(), grpc::InsecureChannelCredentials(), arguments,
      std::move(factories));
  FailTwice();
  EchoCall call(Api::kSync, channel);
  EXPECT_TRUE(call.Run().ok());
  EXPECT_EQ(call.record().names.target(), "the echo service");
  EXPECT_EQ(server_->log().Count(), 3);
}

// An interceptor that makes gRPC take ours for another one: it is not there for
// the calls of the test, so that positions shift (the reason for IsAttempt).
class Absent final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return nullptr;
  }
};

TEST_F(ShapesTest, AnEarlierFactoryThatDeclines) {
  options_.target = "t";
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  factories.push_back(std::make_unique<Absent>());
  factories.push_back(MakeInterceptorFactory(*Client::Create({}), options_));
  const auto channel = grpc::experimental::CreateCustomChannelWithInterceptors(
      server_->address(), grpc::InsecureChannelCredentials(), {},
      std::move(factories));
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE)});
  EchoCall call(Api::kCallback, channel);
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_EQ(call.record().total_attempts, 3);
}

// What an interceptor of the application's own sees of the answers.
class Watcher final : public grpc::experimental::Interceptor {
 public:
  using Hook = grpc::experimental::InterceptionHookPoints;

  Watcher(bool bytes, std::vector<std::string>* seen)
      : bytes_(bytes), seen_(*seen) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(Hook::POST_RECV_MESSAGE)) {
      const void* const message = batch->GetRecvMessage();
      if (message == nullptr) {
        seen_.emplace_back("none");
      } else if (bytes_) {
        seen_.push_back(
            PayloadOf(*static_cast<const grpc::ByteBuffer*>(message)));
      } else {
        seen_.push_back(static_cast<const EchoMessage*>(message)->payload());
      }
    }
    batch->Proceed();
  }

  static std::string PayloadOf(grpc::ByteBuffer bytes) {
    EchoMessage parsed;
    EXPECT_TRUE(
        grpc::SerializationTraits<grpc::protobuf::MessageLite>::Deserialize(
            &bytes, &parsed)
            .ok());
    return parsed.payload();
  }

 private:
  const bool bytes_;
  std::vector<std::string>& seen_;
};

class WatcherFactory final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  WatcherFactory(bool bytes, std::vector<std::string>* seen)
      : bytes_(bytes), seen_(seen) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new Watcher(bytes_, seen_);
  }

 private:
  const bool bytes_;
  std::vector<std::string>* const seen_;
};

TEST_F(ShapesTest, AnEarlierInterceptorSeesTheResponse) {
  for (const Api api : {Api::kSync, Api::kCallback, Api::kQueue, Api::kGeneric,
                        Api::kReactor}) {
    SCOPED_TRACE(NameOf(api));
    std::vector<std::string> seen;
    const auto channel = Channel(
        std::make_unique<WatcherFactory>(api == Api::kGeneric, &seen), nullptr);
    FailTwice();
    EchoCall call(api, channel);
    EXPECT_TRUE(call.Run().ok());
    EXPECT_EQ(call.payload(), "at last");
    EXPECT_EQ(seen, std::vector<std::string>{"at last"});
  }
}

TEST_F(ShapesTest, ALaterInterceptorFindsBytes) {
  std::vector<std::string> seen;
  const auto channel =
      Channel(nullptr, std::make_unique<WatcherFactory>(/*bytes=*/true, &seen));
  FailTwice();
  EchoCall call(Api::kSync, channel);
  EXPECT_TRUE(call.Run().ok());
  EXPECT_EQ(seen, (std::vector<std::string>{"none", "none", "at last"}));
}

// An interceptor of the application's own, after ours, that takes its time with what
// is sent.
class Slow final : public grpc::experimental::Interceptor {
 public:
  using Hook = grpc::experimental::InterceptionHookPoints;

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_MESSAGE)) {
      alarm_.Set(
          std::chrono::system_clock::now() + std::chrono::milliseconds(20),
          [batch](bool) { batch->Proceed(); });
    } else {
      batch->Proceed();
    }
  }

 private:
  grpc::Alarm alarm_;
};

class SlowFactory final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new Slow;
  }
};

TEST_F(ShapesTest, ALaterInterceptorMayTakeItsTime) {
  server_->SetHandler([](const testing::GrpcRequest& request) {
    return request.metadata.count("grpc-previous-rpc-attempts") == 0
               ? GrpcReply::Error(StatusCode::UNAVAILABLE)
               : GrpcReply::Ok(request.bytes);
  });
  for (const Api api : {Api::kSync, Api::kCallback, Api::kQueue, Api::kGeneric,
                        Api::kReactor}) {
    SCOPED_TRACE(NameOf(api));
    const auto channel = Channel(nullptr, std::make_unique<SlowFactory>());
    EchoCall call(api, channel, "my own words");
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    EXPECT_EQ(call.payload(), "my own words");
  }
}

TEST_F(ShapesTest, CompletionQueue) {
  FailTwice();
  const auto stub = Echo::NewStub(Channel());
  for (const bool initial_metadata_first : {false, true}) {
    const int64_t before = server_->log().Count();
    if (initial_metadata_first) FailTwice();
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    EchoMessage request;
    EchoMessage response;
    grpc::Status status(StatusCode::UNKNOWN, "");
    const auto reader = stub->AsyncSay(&context, request, &queue);
    void* tag = nullptr;
    bool ok = false;
    if (initial_metadata_first) {
      reader->ReadInitialMetadata(&context);
      ASSERT_TRUE(queue.Next(&tag, &ok));
    }
    reader->Finish(&response, &status, &status);
    ASSERT_TRUE(queue.Next(&tag, &ok));
    EXPECT_TRUE(ok);
    EXPECT_EQ(tag, &status);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.payload(), "at last");
    EXPECT_EQ(server_->log().Count() - before, 3);
    queue.Shutdown();
    EXPECT_FALSE(queue.Next(&tag, &ok));
  }
}

// It ends when what waits in it has ended, and has brought that.
TEST_F(ShapesTest, ACompletionQueueIsShutDownWhileItsCallsWait) {
  const std::string bytes = Bytes("generic");
  grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  for (const bool hedged : {false, true}) {
    CallOptions own;
    own.retry.emplace();
    own.retry->hedge.enabled = hedged;
    own.retry->hedge.delay = absl::Milliseconds(1);
    own.retry->backoff.initial = absl::Milliseconds(50);
    for (int kind = 0; kind < 3; ++kind) {
      SCOPED_TRACE(kind);
      FailTwice();
      const auto channel = Channel();
      const auto stub = Echo::NewStub(channel);
      grpc::GenericStub generic(channel);
      grpc::ClientContext context;
      grpc::CompletionQueue queue;
      EchoMessage response;
      grpc::ByteBuffer response_bytes;
      grpc::Status status(StatusCode::UNKNOWN, "");
      void* tag = nullptr;
      bool ok = false;
      std::unique_ptr<grpc::ClientAsyncResponseReader<EchoMessage>> reader;
      std::unique_ptr<grpc::GenericClientAsyncResponseReader> generic_reader;
      const WithCallOptions with(&context, &own);
      if (kind == 2) {
        generic_reader =
            generic.PrepareUnaryCall(&context, kSay, request, &queue);
        generic_reader->StartCall();
        generic_reader->Finish(&response_bytes, &status, &status);
      } else {
        reader = stub->AsyncSay(&context, EchoMessage(), &queue);
        if (kind == 1) {
          reader->ReadInitialMetadata(&context);
          ASSERT_TRUE(queue.Next(&tag, &ok));
        }
        reader->Finish(&response, &status, &status);
      }
      queue.Shutdown();
      ASSERT_TRUE(queue.Next(&tag, &ok));
      EXPECT_TRUE(ok);
      EXPECT_EQ(tag, &status);
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(
          kind == 2 ? Watcher::PayloadOf(response_bytes) : response.payload(),
          "at last");
      EXPECT_FALSE(queue.Next(&tag, &ok));
    }
  }
}

// Who has read them has those of attempt 1, and keeps them.
TEST_F(ShapesTest, CompletionQueueWithReadInitialMetadata) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE)
                       .HeadersFirst()
                       .WithInitial("x-attempt", "first"),
                   GrpcReply::Ok(Bytes("second"))
                       .WithInitial("x-attempt", "second")
                       .WithTrailing("x-trailer", "second")});
  const auto stub = Echo::NewStub(Channel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto reader = stub->AsyncSay(&context, EchoMessage(), &queue);
  void* tag = nullptr;
  bool ok = false;
  reader->ReadInitialMetadata(&queue);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(ok);
  EchoMessage response;
  grpc::Status status;
  reader->Finish(&response, &status, &queue);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(ok);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.payload(), "second");
  const auto& initial = context.GetServerInitialMetadata();
  ASSERT_EQ(initial.count("x-attempt"), 1u);
  EXPECT_EQ(initial.find("x-attempt")->second, "first");
  EXPECT_EQ(context.GetServerTrailingMetadata().count("x-trailer"), 1u);
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_F(ShapesTest, ReactorMakesTwoBatches) {
  FailTwice();
  const auto channel = Channel();
  const auto stub = Echo::NewStub(channel);
  {
    grpc::ClientContext context;
    EchoMessage request;
    EchoMessage response;
    UnaryReactor reactor;
    stub->async()->Say(&context, &request, &response, &reactor);
    reactor.StartCall();
    EXPECT_TRUE(reactor.Wait().ok());
    EXPECT_EQ(response.payload(), "at last");
    EXPECT_EQ(server_->log().Count(), 3);
  }
  // Refused before it is sent: both batches are held, then hijacked.
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("60000")});
  for (const int64_t sends : {4, 4}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(20));
    EchoMessage request;
    EchoMessage response;
    UnaryReactor reactor;
    stub->async()->Say(&context, &request, &response, &reactor);
    reactor.StartCall();
    EXPECT_EQ(reactor.Wait().error_code(), StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(server_->log().Count(), sends);
  }
  // Held, then cancelled.
  grpc::ClientContext context;
  EchoMessage request;
  EchoMessage response;
  UnaryReactor reactor;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(100));
  stub->async()->Say(&context, &request, &response, &reactor);
  reactor.StartCall();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  context.TryCancel();
  EXPECT_EQ(reactor.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(server_->log().Count(), 4);
}

// Refused by another thread while the second batch is made. One that went past Forbear
// would have the end of a call that was never sent: this one's is its cancel, others
// have none.
TEST_F(ShapesTest, ReactorRefusedBetweenItsBatches) {
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("60000")});
  const std::shared_ptr<Client> client = *Client::Create({});
  EchoCall first(Api::kSync, Channel(client));
  first.SetDeadline(absl::Seconds(20));
  EXPECT_EQ(first.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  SlowHijack slow;
  const auto channel = slow.Channel(server_->address(), client, options_);
  const auto stub = Echo::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(100));
  slow.AfterFirst([&] {
    context.TryCancel();
    slow.WaitUntilHijacking();
  });
  EchoMessage request;
  EchoMessage response;
  UnaryReactor reactor;
  stub->async()->Say(&context, &request, &response, &reactor);
  reactor.StartCall();
  const grpc::Status status = reactor.Wait();
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(status.error_message().find("forbear: "), 0u)
      << status.error_message();
  EXPECT_EQ(context.GetServerTrailingMetadata().count("forbear-stop-reason"),
            1u);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_F(ShapesTest, ReactorHeldThenSent) {
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("1000"),
       GrpcReply::Ok(Bytes("ok"))});
  const auto channel = Channel();
  const auto stub = Echo::NewStub(channel);
  EchoCall first(Api::kCallback, channel);
  first.Start();
  ASSERT_TRUE(server_->log().WaitForCount(1, absl::Seconds(5)));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  grpc::ClientContext context;
  EchoMessage request;
  EchoMessage response;
  UnaryReactor reactor;
  stub->async()->Say(&context, &request, &response, &reactor);
  reactor.StartCall();
  EXPECT_TRUE(reactor.Wait().ok());
  EXPECT_EQ(response.payload(), "ok");
  EXPECT_GE(RecordOf(context)->attempts[0].waited, absl::Milliseconds(500));
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_EQ(server_->log().Count(), 3);
}

TEST_F(ShapesTest, GenericStub) {
  FailTwice();
  grpc::GenericStub stub(Channel());
  grpc::ClientContext context;
  const std::string bytes = Bytes("generic");
  grpc::Slice slice(bytes);
  grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  grpc::Status status;
  stub.UnaryCall(&context, kSay, grpc::StubOptions(), &request, &response,
                 [&](grpc::Status s) {
                   const std::lock_guard<std::mutex> lock(mutex);
                   status = s;
                   done = true;
                   changed.notify_all();
                 });
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return done; });
  }
  EXPECT_TRUE(status.ok()) << status.error_message();
  grpc::Slice answer;
  ASSERT_TRUE(response.DumpToSingleSlice(&answer).ok());
  EXPECT_EQ(std::string(answer.begin(), answer.end()), Bytes("at last"));
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_EQ(RecordOf(context)->names.method(), kSay);
}

// Nobody tells how to make a message of such a type.
TEST_F(ShapesTest, AStubOfOtherMessagesIsNotRepeated) {
  FailTwice();
  grpc::TemplatedGenericStub<EchoMessage, EchoMessage> stub(Channel());
  grpc::ClientContext context;
  EchoMessage response;
  grpc::CompletionQueue queue;
  const auto reader =
      stub.PrepareUnaryCall(&context, kSay, EchoMessage(), &queue);
  reader->StartCall();
  grpc::Status status;
  reader->Finish(&response, &status, &queue);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(RecordOf(context)->stop_reason, StopReason::kNotReplayable);
}

}  // namespace
}  // namespace forbear::rpc
