// RESOURCE_EXHAUSTED that gRPC itself makes, on either side, is no refusal of a server:
// the call may have been acted on, and nobody else is in the way of a limit. What is
// sent is counted at the server's door.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/all_streams.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/raw_http2_server.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Echo;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcServer;

// More than the 8 KiB that gRPC takes by default.
constexpr size_t kTooMuch = 20000;

// What implementations of gRPC say of what is too large, or of their own memory.
constexpr const char* kTooLarge[] = {
    "Received message larger than max (8388617 vs. 4194304)",
    "received initial metadata size exceeds limit",
    "received metadata size exceeds soft limit (9000 vs. 8192), rejecting "
    "requests with some random probability",
    "Buffers full",
    "gRPC message exceeds maximum size 4194304: 8388617",
    "grpc: received message after decompression larger than max (9 vs. 4)",
    "Received message exceeds the maximum configured message size.",
};

// Answers well, with as much metadata as it is told, and counts the calls that come to
// its handlers.
class Baggage final : public Echo::Service {
 public:
  Baggage() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Baggage() override { server_->Shutdown(); }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int calls() const { return calls_; }
  void Carry(size_t initial, size_t trailing) {
    initial_ = initial;
    trailing_ = trailing;
  }

  grpc::Status Say(grpc::ServerContext* context, const EchoMessage* request,
                   EchoMessage* response) override {
    *response = *request;
    return Done(context);
  }
  grpc::Status Pull(grpc::ServerContext* context, const EchoMessage*,
                    grpc::ServerWriter<EchoMessage>*) override {
    return Done(context);
  }
  grpc::Status Push(grpc::ServerContext* context,
                    grpc::ServerReader<EchoMessage>* reader,
                    EchoMessage*) override {
    EchoMessage message;
    while (reader->Read(&message)) continue;
    return Done(context);
  }
  grpc::Status Chat(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<EchoMessage, EchoMessage>* stream) override {
    EchoMessage message;
    while (stream->Read(&message)) continue;
    return Done(context);
  }

 private:
  grpc::Status Done(grpc::ServerContext* context) {
    ++calls_;
    if (initial_ > 0) {
      context->AddInitialMetadata("x-large", std::string(initial_, 'x'));
    }
    if (trailing_ > 0) {
      context->AddTrailingMetadata("x-large", std::string(trailing_, 'x'));
    }
    return grpc::Status::OK;
  }

  std::atomic<size_t> initial_{0};
  std::atomic<size_t> trailing_{0};
  std::atomic<int> calls_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;  // the last one: its calls end first
};

// Channels to one server that share the limit, but no connection: gRPC 1.51 gives up the
// one on which too much metadata came, and all calls on it.
class Channels {
 public:
  explicit Channels(std::string address, std::vector<StatusCode> codes = {})
      : address_(std::move(address)), client_(*Client::Create({})) {
    options_.methods = {{"*", std::move(codes)}};
  }
  std::shared_ptr<grpc::Channel> New() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return CreateChannel(address_, grpc::InsecureChannelCredentials(), client_,
                         options_, arguments);
  }

 private:
  const std::string address_;
  const std::shared_ptr<Client> client_;
  RpcOptions options_;
};

// The call ended with the answer to its only attempt.
void ExpectPermanent(const grpc::Status& status, const CallRecord& record) {
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED)
      << status.error_message();
  EXPECT_EQ(record.stop_reason, StopReason::kPermanentError);
  ASSERT_EQ(record.attempts.size(), 1u);
  EXPECT_EQ(record.attempts[0].outcome.processed, Processed::kUnknown);
}

// A request that is too large ends its connection, too: what is still being sent may
// find it closed before it finds the answer.
void ExpectSentOnce(const grpc::Status& status, const CallRecord& record) {
  EXPECT_EQ(record.total_attempts, 1);
  if (status.error_code() == StatusCode::UNAVAILABLE) return;
  ExpectPermanent(status, record);
}

void ExpectNobodyWaits(const Channels& channels) {
  EchoCall next(Api::kCallback, channels.New());
  EXPECT_TRUE(next.Run().ok()) << next.status().error_message();
  ASSERT_EQ(next.record().attempts.size(), 1u);
  EXPECT_EQ(next.record().attempts[0].waited, absl::ZeroDuration());
}

// ---- Unary calls.

class OwnRefusalTest : public ::testing::TestWithParam<Api> {
 protected:
  static void Run(EchoCall* call) {
    call->SetDeadline(absl::Seconds(20));
    call->Run();
  }
};

INSTANTIATE_TEST_SUITE_P(Apis, OwnRefusalTest, AllApis(), ApiName);

TEST_P(OwnRefusalTest, AGoodAnswerWithTooMuchMetadata) {
  for (const auto& [initial, trailing] :
       {std::tuple(kTooMuch, size_t{0}), {size_t{0}, kTooMuch}}) {
    Baggage server;
    // Also where the code is listed: it would be as large again.
    for (const auto& codes :
         {std::vector<StatusCode>{}, {StatusCode::RESOURCE_EXHAUSTED}}) {
      const Channels channels(server.address(), codes);
      server.Carry(initial, trailing);
      const int before = server.calls();
      EchoCall call(GetParam(), channels.New());
      Run(&call);
      ExpectPermanent(call.status(), call.record());
      EXPECT_EQ(server.calls() - before, 1);
      server.Carry(0, 0);
      ExpectNobodyWaits(channels);
    }
  }
}

TEST_P(OwnRefusalTest, ARequestWithTooMuchMetadata) {
  Baggage server;
  const Channels channels(server.address());
  EchoCall call(GetParam(), channels.New());
  call.context().AddMetadata("x-large", std::string(kTooMuch, 'x'));
  Run(&call);
  ExpectSentOnce(call.status(), call.record());
  EXPECT_EQ(server.calls(), 0);
  ExpectNobodyWaits(channels);
}

TEST_P(OwnRefusalTest, WhatServersOfOtherLanguagesSay) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  const Channels channels(server->address());
  for (const char* text : kTooLarge) {
    SCOPED_TRACE(text);
    server->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, text),
                    GrpcReply::Ok("")});
    const int64_t before = server->log().Count();
    EchoCall call(GetParam(), channels.New());
    Run(&call);
    ExpectPermanent(call.status(), call.record());
    EXPECT_EQ(server->log().Count() - before, 1);
    ExpectNobodyWaits(channels);
  }
}

// RST_STREAM, ENHANCE_YOUR_CALM: who asks for calm is given it, but the call may have
// been acted on.
TEST_P(OwnRefusalTest, AStreamThatIsResetForCalm) {
  RawHttp2Server server({Act::kCalm, Act::kAnswer});
  const Channels channels(server.address());
  EchoCall call(GetParam(), channels.New());
  Run(&call);
  EXPECT_EQ(call.status().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server.sends(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kNotIdempotent);
  ASSERT_EQ(call.record().attempts.size(), 1u);
  EXPECT_EQ(call.record().attempts[0].outcome.kind, ErrorKind::kThrottled);
  EchoCall next(GetParam(), channels.New());
  Run(&next);
  EXPECT_TRUE(next.status().ok()) << next.status().error_message();
  ASSERT_EQ(next.record().attempts.size(), 1u);
  EXPECT_GT(next.record().attempts[0].waited, absl::ZeroDuration());
}

TEST_P(OwnRefusalTest, AStreamThatIsResetForCalmIsMadeAgainWithConsent) {
  RawHttp2Server server({Act::kCalm, Act::kAnswer});
  EchoCall call(
      GetParam(),
      Channels(server.address(), {StatusCode::RESOURCE_EXHAUSTED}).New());
  Run(&call);
  EXPECT_TRUE(call.status().ok()) << call.status().error_message();
  EXPECT_EQ(server.sends(), 2);
}

// ---- Streams.

class OwnRefusalOfStreamTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {
 protected:
  static Shape shape() { return std::get<0>(GetParam()); }
  static StreamApi api() { return std::get<1>(GetParam()); }
  static void Run(StreamApp* app) {
    app->SetDeadline(absl::Seconds(20));
    app->Run();
  }
};

INSTANTIATE_TEST_SUITE_P(All, OwnRefusalOfStreamTest, AllStreams(),
                         kNameOfStream);

TEST_P(OwnRefusalOfStreamTest, AnAnswerWithTooMuchMetadata) {
  Baggage server;
  const Channels channels(server.address());
  server.Carry(kTooMuch, 0);
  StreamApp app(api(), shape(), channels.New());
  Run(&app);
  ExpectPermanent(app.Wait(), app.record());
  EXPECT_EQ(server.calls(), 1);
  server.Carry(0, 0);
  ExpectNobodyWaits(channels);
}

TEST_P(OwnRefusalOfStreamTest, ARequestWithTooMuchMetadata) {
  Baggage server;
  const Channels channels(server.address());
  StreamApp app(api(), shape(), channels.New());
  app.context().AddMetadata("x-large", std::string(kTooMuch, 'x'));
  Run(&app);
  ExpectSentOnce(app.Wait(), app.record());
  EXPECT_EQ(server.calls(), 0);
  ExpectNobodyWaits(channels);
}

TEST_P(OwnRefusalOfStreamTest, WhatServersOfOtherLanguagesSay) {
  for (const char* text : kTooLarge) {
    SCOPED_TRACE(text);
    StreamServer server;
    StreamPlay play = StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED);
    play.message = text;
    server.Script({play, StreamPlay::Good()});
    const Channels channels(server.address());
    StreamApp app(api(), shape(), channels.New());
    Run(&app);
    ExpectPermanent(app.Wait(), app.record());
    EXPECT_EQ(server.Count(), 1);
    StreamApp next(api(), shape(), channels.New());
    Run(&next);
    EXPECT_TRUE(next.Wait().ok()) << next.Wait().error_message();
    ASSERT_EQ(next.record().attempts.size(), 1u);
    EXPECT_EQ(next.record().attempts[0].waited, absl::ZeroDuration());
  }
}

TEST_P(OwnRefusalOfStreamTest, AStreamThatIsResetForCalm) {
  RawHttp2Server server({Act::kCalm, Act::kAnswer});
  const Channels channels(server.address());
  StreamApp app(api(), shape(), channels.New());
  Run(&app);
  EXPECT_EQ(app.Wait().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server.sends(), 1);
  EXPECT_EQ(app.record().stop_reason, StopReason::kNotIdempotent);
  StreamApp next(api(), shape(), channels.New());
  Run(&next);
  EXPECT_TRUE(next.Wait().ok()) << next.Wait().error_message();
  ASSERT_EQ(next.record().attempts.size(), 1u);
  EXPECT_GT(next.record().attempts[0].waited, absl::ZeroDuration());
}

TEST_P(OwnRefusalOfStreamTest, IsMadeAgainWithConsent) {
  RawHttp2Server server({Act::kCalm, Act::kAnswer});
  StreamApp app(
      api(), shape(),
      Channels(server.address(), {StatusCode::RESOURCE_EXHAUSTED}).New());
  Run(&app);
  EXPECT_TRUE(app.Wait().ok()) << app.Wait().error_message();
  EXPECT_EQ(server.sends(), 2);
}

}  // namespace
}  // namespace forbear::rpc
