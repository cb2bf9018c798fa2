// Every unary API, with attempt 1 the application's own and taken over, while the
// connection goes: a server that is killed and comes back, GOAWAY, a breaker that is
// open; and on other connections: TLS, compression, messages of 8 MiB. What the server
// saw is counted at the server.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/raw_http2_server.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/certificate.h"
#include "tests/testing/echo.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Arrival;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcServer;

constexpr size_t kLarge = size_t{8} << 20;

std::string Bytes(const std::string& payload) {
  EchoMessage message;
  message.set_payload(payload);
  return message.SerializeAsString();
}

// Bytes that no compression makes fewer.
std::string Noise(size_t size) {
  std::string bytes(size, '\0');
  uint64_t state = 1;
  for (char& c : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 56);
  }
  return bytes;
}

class UnaryTransportTest
    : public ::testing::TestWithParam<std::tuple<Api, bool>> {
 protected:
  static Api api() { return std::get<0>(GetParam()); }

  static std::shared_ptr<grpc::Channel> Channel(
      const std::string& address, ClientOptions client = {},
      std::vector<StatusCode> retryable = {StatusCode::UNAVAILABLE},
      const std::shared_ptr<grpc::ChannelCredentials>& credentials =
          grpc::InsecureChannelCredentials()) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    // Or a stopped server stays unreachable for long after it is back. (The shortest
    // backoff stays as it is: it is also how long connecting may take.)
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
    RpcOptions options;
    options.methods = {{kSay, std::move(retryable)}};
    if (std::get<1>(GetParam())) {
      options.take_over = api() == Api::kGeneric ? TakeOver::kGenericStubs
                                                 : TakeOver::kGeneratedStubs;
    }
    return CreateChannel(address, credentials,
                         *Client::Create(std::move(client)), options,
                         arguments);
  }

  // A call whose first attempt fails, and whose second one is answered.
  static void ExpectSecondAttempt(GrpcServer* server, EchoCall* call,
                                  const std::string& answer) {
    server->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down"),
                    GrpcReply::Ok(Bytes(answer))});
    call->SetDeadline(absl::Seconds(60));
    EXPECT_TRUE(call->Run().ok()) << call->status().error_message();
    EXPECT_EQ(call->payload(), answer);
    EXPECT_EQ(call->record().total_attempts, 2);
    const std::vector<Arrival> arrivals = server->log().Snapshot();
    ASSERT_EQ(arrivals.size(), 2u);
    EXPECT_EQ(arrivals[0].body_bytes, arrivals[1].body_bytes);
    EXPECT_EQ(arrivals[0].body_hash, arrivals[1].body_hash);
  }
};

INSTANTIATE_TEST_SUITE_P(All, UnaryTransportTest, AllApisAlsoTaken(),
                         [](const auto& info) {
                           return (std::get<1>(info.param) ? "Taken_" : "") +
                                  NameOf(std::get<0>(info.param));
                         });

TEST_P(UnaryTransportTest, ServerKilledAndRestarted) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script({GrpcReply::Hang(), GrpcReply::Ok(Bytes("at last"))});
  // A server that is shut down ends its calls with the one or the other.
  EchoCall call(api(),
                Channel(server->address(), {},
                        {StatusCode::UNAVAILABLE, StatusCode::CANCELLED}));
  call.context().set_wait_for_ready(true);
  call.SetDeadline(absl::Seconds(60));
  call.Start();
  ASSERT_TRUE(server->log().WaitForCount(1, absl::Seconds(20)));
  server->Stop();
  ASSERT_TRUE(server->Start().ok());
  EXPECT_TRUE(call.Wait().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "at last");
  EXPECT_EQ(server->log().Count(), 2);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(record.total_attempts, 2);
}

TEST_P(UnaryTransportTest, GoAway) {
  for (const Act act : {Act::kGoAway, Act::kGoAwayAndClose,
                        Act::kGoAwayAfterAndClose, Act::kClose}) {
    SCOPED_TRACE(static_cast<int>(act));
    RawHttp2Server server({Act::kAnswer, act, Act::kAnswer});
    const auto channel = Channel(server.address());
    EchoCall first(api(), channel);
    first.SetDeadline(absl::Seconds(60));
    ASSERT_TRUE(first.Run().ok()) << first.status().error_message();
    EchoCall call(api(), channel);
    call.SetDeadline(absl::Seconds(60));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    EXPECT_EQ(server.sends(), 3);
    EXPECT_EQ(server.connections(), 2);
    EXPECT_EQ(call.record().total_attempts, 2);
    EXPECT_EQ(call.record().stop_reason, StopReason::kSuccess);
  }
}

// Failures that are not repeated open the breaker; the next call is refused, or waits
// until it lets one through, if its deadline allows that.
TEST_P(UnaryTransportTest, BreakerOpen) {
  for (const WhenOpen when_open : {WhenOpen::kFail, WhenOpen::kWait}) {
    SCOPED_TRACE(when_open == WhenOpen::kFail ? "fail" : "wait");
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    server->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
    ClientOptions options;
    options.retry.when_open = when_open;
    options.endpoint.breaker.min_open = absl::Seconds(1);
    const auto channel = Channel(server->address(), options, {});
    int64_t sends = 0;
    for (;;) {
      EchoCall call(api(), channel);
      call.SetDeadline(absl::Milliseconds(500));
      EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
      if (call.record().total_attempts == 0) {
        EXPECT_EQ(call.record().stop_reason, StopReason::kCircuitOpen);
        EXPECT_NE(call.Trailing("forbear-retry-at-ms"), std::nullopt);
        break;
      }
      ASSERT_EQ(server->log().Count(), ++sends);
      ASSERT_LT(sends, 100) << "it does not open";
    }
    EXPECT_EQ(server->log().Count(), sends);
    if (when_open == WhenOpen::kFail) continue;
    server->Script({GrpcReply::Ok(Bytes("back"))});
    EchoCall call(api(), channel);
    call.SetDeadline(absl::Seconds(60));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    EXPECT_EQ(call.payload(), "back");
    EXPECT_EQ(server->log().Count(), sends + 1);
  }
}

TEST_P(UnaryTransportTest, Tls) {
  GrpcServer::Options options;
  options.tls = true;
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create(options);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = testing::kCertificate;
  EchoCall call(api(), Channel(server->address(), {}, {StatusCode::UNAVAILABLE},
                               grpc::SslCredentials(tls)));
  ExpectSecondAttempt(server.get(), &call, "at last");
  const auto auth = call.context().auth_context();
  ASSERT_NE(auth, nullptr);
  EXPECT_EQ(auth->GetPeerIdentity().empty(), std::get<1>(GetParam()));
}

TEST_P(UnaryTransportTest, LargeMessages) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  const std::string request = Noise(kLarge);
  EchoCall call(api(), Channel(server->address()), request);
  ExpectSecondAttempt(server.get(), &call, Noise(kLarge + 1));
  EXPECT_EQ(server->log().Snapshot().back().body_hash,
            testing::ArrivalLog::HashOf(Bytes(request)));
}

TEST_P(UnaryTransportTest, CompressedOnEachAttempt) {
  RawHttp2Server server({Act::kUnavailable, Act::kAnswer});
  const std::string request(30000, 'a');
  EchoCall call(api(), Channel(server.address()), request);
  call.context().set_compression_algorithm(GRPC_COMPRESS_GZIP);
  call.SetDeadline(absl::Seconds(60));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(server.sends(), 2);
  EXPECT_GT(server.message_bytes(), 2 * 5);  // what stands before a message
  EXPECT_LT(server.message_bytes(), static_cast<int64_t>(request.size()) / 10);
}

TEST_P(UnaryTransportTest, LargeAndCompressed) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  const std::string request(kLarge, 'a');
  EchoCall call(api(), Channel(server->address()), request);
  call.context().set_compression_algorithm(GRPC_COMPRESS_GZIP);
  ExpectSecondAttempt(server.get(), &call, std::string(kLarge, 'b'));
}

}  // namespace
}  // namespace forbear::rpc
