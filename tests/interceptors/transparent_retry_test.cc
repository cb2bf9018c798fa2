// What gRPC sends again by itself, and what that means for us. The numbers are
// those of docs/decisions/0006-transparent-retries.md.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/raw_http2_server.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;

// Whose channel: gRPC's own, with its retries off or on; ours, without and with
// UNAVAILABLE listed; and ours on a channel whose retries are on.
enum class Kind { kStock0, kStock1, kOurs, kConsent, kOurs1 };

std::shared_ptr<grpc::Channel> Channel(Kind kind, const std::string& address) {
  grpc::ChannelArguments arguments;
  // Each channel its own connections.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  const auto credentials = grpc::InsecureChannelCredentials();
  RpcOptions options;
  options.target = address;
  switch (kind) {
    case Kind::kStock0:
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
      return grpc::CreateCustomChannel(address, credentials, arguments);
    case Kind::kStock1:
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 1);
      return grpc::CreateCustomChannel(address, credentials, arguments);
    case Kind::kConsent:
      options.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
      [[fallthrough]];
    case Kind::kOurs:
      return CreateChannel(address, credentials, *Client::Create({}), options,
                           arguments);
    case Kind::kOurs1: {
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 1);
      std::vector<std::unique_ptr<
          grpc::experimental::ClientInterceptorFactoryInterface>>
          factories;
      factories.push_back(MakeInterceptorFactory(*Client::Create({}), options));
      return grpc::experimental::CreateCustomChannelWithInterceptors(
          address, credentials, arguments, std::move(factories));
    }
  }
  return nullptr;
}

struct Seen {
  StatusCode code;
  int sends;
};

struct Case {
  const char* name;
  std::vector<Act> acts;
  // With GRPC_ARG_ENABLE_RETRIES 0 or 1; ours has 0, but for the last.
  Seen stock0;
  Seen stock1;
  Seen ours;
  Seen consent;
  Seen ours1;
};

// The second call on a channel, so that its connection is there.
void Check(const Case& c, Kind kind, const Seen& expected) {
  SCOPED_TRACE(std::string(c.name) + ", kind " +
               std::to_string(static_cast<int>(kind)));
  std::vector<Act> acts = {Act::kAnswer};
  acts.insert(acts.end(), c.acts.begin(), c.acts.end());
  RawHttp2Server server(acts);
  const auto channel = Channel(kind, server.address());
  EchoCall first(Api::kSync, channel);
  first.SetDeadline(absl::Seconds(20));
  ASSERT_TRUE(first.Run().ok()) << first.status().error_message();
  EchoCall call(Api::kSync, channel);
  call.SetDeadline(absl::Seconds(20));
  EXPECT_EQ(call.Run().error_code(), expected.code)
      << call.status().error_message();
  EXPECT_EQ(server.sends() - 1, expected.sends);
  // What gRPC sends again by itself, our record does not see.
  if (kind == Kind::kOurs || kind == Kind::kConsent) {
    EXPECT_EQ(call.record().total_attempts, expected.sends);
  } else if (kind == Kind::kOurs1) {
    EXPECT_EQ(call.record().total_attempts, 1);
  }
}

TEST(TransparentRetryTest, Table) {
  const Seen ok1 = {StatusCode::OK, 1};
  const Seen ok2 = {StatusCode::OK, 2};
  const Seen ok3 = {StatusCode::OK, 3};
  const Seen down1 = {StatusCode::UNAVAILABLE, 1};
  const Seen down2 = {StatusCode::UNAVAILABLE, 2};
  const Seen down3 = {StatusCode::UNAVAILABLE, 3};
  const Seen internal = {StatusCode::INTERNAL, 1};
  const Act ok = Act::kAnswer;
  const Case cases[] = {
      {"answer", {ok}, ok1, ok1, ok1, ok1, ok1},
      {"UNAVAILABLE", {Act::kUnavailable, ok}, down1, down1, down1, ok2, down1},
      // Not processed, as HTTP/2 has it.
      {"GOAWAY", {Act::kGoAway, ok}, down1, ok2, down1, ok2, ok2},
      {"GOAWAY, closed",
       {Act::kGoAwayAndClose, ok},
       down1,
       ok2,
       down1,
       ok2,
       ok2},
      {"GOAWAY twice",
       {Act::kGoAway, Act::kGoAway, ok},
       down1,
       down2,
       down1,
       ok3,
       down2},
      {"REFUSED_STREAM", {Act::kRefuse, ok}, down1, down1, down1, ok2, down1},
      {"REFUSED_STREAM always",
       {Act::kRefuse},
       down1,
       down1,
       down1,
       down3,
       down1},
      // Perhaps processed.
      {"GOAWAY after it, closed",
       {Act::kGoAwayAfterAndClose, ok},
       down1,
       down1,
       down1,
       ok2,
       down1},
      {"closed", {Act::kClose, ok}, down1, down1, down1, ok2, down1},
      {"INTERNAL_ERROR",
       {Act::kReset, ok},
       internal,
       internal,
       internal,
       internal,
       internal},
  };
  for (const Case& c : cases) {
    Check(c, Kind::kStock0, c.stock0);
    Check(c, Kind::kStock1, c.stock1);
    Check(c, Kind::kOurs, c.ours);
    Check(c, Kind::kConsent, c.consent);
    Check(c, Kind::kOurs1, c.ours1);
  }
}

// Why an UNAVAILABLE that is provably unprocessed is not free to be sent again:
// nothing that gRPC hands out proves it. What it says of a GOAWAY, a server can
// say of anything.
TEST(TransparentRetryTest, AnUnprocessedStreamLooksLikeAServersWord) {
  RawHttp2Server raw({Act::kGoAway});
  EchoCall lost(Api::kSync, Channel(Kind::kStock0, raw.address()));
  lost.SetDeadline(absl::Seconds(20));
  ASSERT_EQ(lost.Run().error_code(), StatusCode::UNAVAILABLE);

  const std::unique_ptr<testing::GrpcServer> server =
      *testing::GrpcServer::Create();
  server->Script({testing::GrpcReply::Error(StatusCode::UNAVAILABLE,
                                            lost.status().error_message())});
  EchoCall said(Api::kSync, Channel(Kind::kStock0, server->address()));
  said.SetDeadline(absl::Seconds(20));
  ASSERT_EQ(said.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server->log().Count(), 1);

  EXPECT_EQ(lost.status().error_message(), said.status().error_message());
  EXPECT_EQ(lost.status().error_details(), said.status().error_details());
  EXPECT_TRUE(lost.context().GetServerTrailingMetadata().empty());
  EXPECT_TRUE(said.context().GetServerTrailingMetadata().empty());
  for (EchoCall* call : {&lost, &said}) {
    EXPECT_THAT(call->context().debug_error_string(),
                ::testing::HasSubstr("Error received from peer"));
  }
}

}  // namespace
}  // namespace forbear::rpc
