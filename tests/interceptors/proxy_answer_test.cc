// What a proxy says instead of the server, in HTTP and not in gRPC: gRPC makes a status
// of it, by its own table, and gives nothing else of it on. Sends are counted at the
// server.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/raw_http2_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;

constexpr Act kBusy[] = {Act::kHttp429, Act::kHttp502, Act::kHttp503,
                         Act::kHttp504};

class ProxyAnswerTest : public ::testing::TestWithParam<Api> {
 protected:
  static std::shared_ptr<grpc::Channel> Channel(
      const RawHttp2Server& server, bool consent,
      StatusCode code = StatusCode::UNAVAILABLE) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    RpcOptions options;
    if (consent) options.methods = {{kSay, {code}}};
    return CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                         *Client::Create({}), options, arguments);
  }
};

INSTANTIATE_TEST_SUITE_P(Apis, ProxyAnswerTest, AllApis(), ApiName);

TEST_P(ProxyAnswerTest, BusyIsUnavailableAndMadeAgainWithConsent) {
  for (const Act act : kBusy) {
    RawHttp2Server server({act, Act::kAnswer});
    EchoCall call(GetParam(), Channel(server, /*consent=*/true));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    EXPECT_EQ(server.sends(), 2);
    const CallRecord record = call.record();
    ASSERT_EQ(record.attempts.size(), 2u);
    const Outcome& outcome = record.attempts[0].outcome;
    EXPECT_EQ(outcome.status, StatusCode::UNAVAILABLE);
    EXPECT_EQ(outcome.kind, ErrorKind::kTransient);
    // gRPC keeps the page's Retry-After to itself.
    EXPECT_EQ(outcome.pushback, std::nullopt);
    EXPECT_LT(call.took(), absl::Seconds(20));
  }
}

TEST_P(ProxyAnswerTest, WithoutConsentItIsTheEnd) {
  for (const Act act : kBusy) {
    RawHttp2Server server({act, Act::kAnswer});
    EchoCall call(GetParam(), Channel(server, /*consent=*/false));
    EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(server.sends(), 1);
    EXPECT_EQ(call.record().stop_reason, StopReason::kNotIdempotent);
  }
}

TEST_P(ProxyAnswerTest, WhatIsNotThereIsUnimplemented) {
  RawHttp2Server server({Act::kHttp404});
  EchoCall call(GetParam(), Channel(server, /*consent=*/true));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(server.sends(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kPermanentError);
}

// gRPC's table (doc/http-grpc-status-mapping.md of grpc/grpc), on a stock channel and on
// ours: the same status, and it is made again if the method lists that.
TEST_P(ProxyAnswerTest, TheTable) {
  struct Row {
    Act act;
    StatusCode code;
  };
  for (const auto& [act, code] :
       {Row{Act::kHttp200, StatusCode::UNKNOWN},
        Row{Act::kHttp400, StatusCode::INTERNAL},
        Row{Act::kHttp401, StatusCode::UNAUTHENTICATED},
        Row{Act::kHttp403, StatusCode::PERMISSION_DENIED},
        Row{Act::kHttp404, StatusCode::UNIMPLEMENTED},
        Row{Act::kHttp408, StatusCode::UNKNOWN},
        Row{Act::kHttp429, StatusCode::UNAVAILABLE},
        Row{Act::kHttp500, StatusCode::UNKNOWN},
        Row{Act::kHttp502, StatusCode::UNAVAILABLE},
        Row{Act::kHttp503, StatusCode::UNAVAILABLE},
        Row{Act::kHttp503Empty, StatusCode::UNAVAILABLE},
        Row{Act::kHttp504, StatusCode::UNAVAILABLE},
        // A grpc-status goes before.
        Row{Act::kHttp500Unavailable, StatusCode::UNAVAILABLE}}) {
    SCOPED_TRACE(static_cast<int>(act));
    grpc::Status stock;
    {
      RawHttp2Server server({act, Act::kAnswer});
      grpc::ChannelArguments arguments;
      // With them, gRPC 1.51 loses the end of some reactors' calls that get a page.
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
      EchoCall call(
          GetParam(),
          grpc::CreateCustomChannel(
              server.address(), grpc::InsecureChannelCredentials(), arguments));
      stock = call.Run();
      EXPECT_EQ(stock.error_code(), code) << stock.error_message();
      EXPECT_EQ(server.sends(), 1);
    }
    {
      RawHttp2Server server({act, Act::kAnswer});
      EchoCall call(GetParam(), Channel(server, /*consent=*/false));
      EXPECT_EQ(call.Run().error_code(), code);
      EXPECT_EQ(call.status().error_message(), stock.error_message());
      EXPECT_EQ(server.sends(), 1);
    }
    {
      RawHttp2Server server({act, Act::kAnswer});
      EchoCall call(GetParam(), Channel(server, /*consent=*/true, code));
      EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
      EXPECT_EQ(server.sends(), 2);
      EXPECT_LT(call.took(), absl::Seconds(20));
    }
  }
}

}  // namespace
}  // namespace forbear::rpc
