// One throttled answer stops all callers of its key; afterwards they leave
// spaced.

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using testing::GrpcReply;
using testing::GrpcServer;

class GateTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, GateTest,
                         ::testing::Values(Api::kSync, Api::kCallback));

TEST_P(GateTest, FiftyCallersOfOneKey) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->SetHandler([](const testing::GrpcRequest& request) {
    return request.index == 0
               ? GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED)
                     .Pushback("2000")
               : GrpcReply::Ok(request.bytes);
  });
  const auto client = *Client::Create({});
  // Two channels: what callers share is the key.
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < 2; ++i) {
    channels.push_back(CreateChannel(
        server->address(), grpc::InsecureChannelCredentials(), client));
  }
  EchoCall first(GetParam(), channels[0]);
  first.SetDeadline(absl::Seconds(30));
  first.Start();
  ASSERT_TRUE(server->log().WaitForCount(1, absl::Seconds(5)));
  while (first.record().attempts.empty() ||
         first.record().attempts[0].outcome.kind == ErrorKind::kOk) {
    std::this_thread::yield();
  }

  std::vector<std::unique_ptr<EchoCall>> calls;
  for (int i = 0; i < 49; ++i) {
    calls.push_back(std::make_unique<EchoCall>(GetParam(), channels[i % 2]));
    calls.back()->SetDeadline(absl::Seconds(30));
    calls.back()->Start();
  }
  for (const auto& call : calls) {
    EXPECT_TRUE(call->Wait().ok()) << call->status().error_message();
    EXPECT_EQ(call->record().total_attempts, 1);
    EXPECT_GE(call->record().attempts[0].waited, absl::Milliseconds(1500));
  }
  EXPECT_TRUE(first.Wait().ok());

  const auto sends = server->log().Snapshot();
  ASSERT_EQ(sends.size(), 51u);
  const absl::Duration gate = sends[0].since_start + absl::Seconds(2);
  for (size_t i = 1; i < sends.size(); ++i) {
    EXPECT_GE(sends[i].since_start, gate) << i;
  }
  const auto bin = server->log().FullestBin(absl::Milliseconds(100), gate);
  std::printf("fullest 100 ms: %d of 50; the last one %.2f s after the gate\n",
              static_cast<int>(bin.count),
              absl::ToDoubleSeconds(sends.back().since_start - gate));
  // They leave every 20 ms; a busy machine brings some late, beside those after them.
  // Virtual time is exact about it (tests/core:quota_test).
  EXPECT_LE(bin.count, 10);
}

TEST(QuotaTest, KeysDoNotShare) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->SetHandler([](const testing::GrpcRequest& request) {
    return request.index == 0
               ? GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED)
                     .Pushback("30000")
               : GrpcReply::Ok(request.bytes);
  });
  const auto client = *Client::Create({});
  const auto channel = [&](const char* quota_id) {
    RpcOptions options;
    options.quota_id = quota_id;
    return CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                         client, options);
  };
  EchoCall a(Api::kSync, channel("a"));
  a.SetDeadline(absl::Seconds(10));
  EXPECT_EQ(a.Run().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EchoCall b(Api::kSync, channel("b"));
  EXPECT_TRUE(b.Run().ok());
  EXPECT_LT(b.took(), absl::Seconds(5));
  // An operator lets everybody go.
  EchoCall waits(Api::kCallback, channel("a"));
  waits.Start();
  EXPECT_TRUE(client->ClearGate("a"));
  EXPECT_TRUE(waits.Wait().ok());
  EXPECT_LT(waits.took(), absl::Seconds(10));
}

}  // namespace
}  // namespace forbear::rpc
