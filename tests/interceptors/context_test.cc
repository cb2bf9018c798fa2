// What attempts carry, and how: the table in docs/grpc.md, seen from the server.

#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/token_credentials.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcServer;

class ContextTest : public ::testing::TestWithParam<Api> {
 protected:
  ContextTest() : server_(*GrpcServer::Create()) {
    options_.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  }
  std::shared_ptr<grpc::Channel> Channel(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials =
          grpc::InsecureChannelCredentials(),
      const grpc::ChannelArguments& arguments = grpc::ChannelArguments()) {
    return CreateChannel(server_->address(), credentials, *Client::Create({}),
                         options_, arguments);
  }
  // Fails the first attempt of each call.
  void FailFirst() {
    server_->SetHandler([](const testing::GrpcRequest& request) {
      return request.metadata.count("grpc-previous-rpc-attempts") == 0
                 ? GrpcReply::Error(StatusCode::UNAVAILABLE)
                 : GrpcReply::Ok(request.bytes);
    });
  }

  const std::unique_ptr<GrpcServer> server_;
  RpcOptions options_;
};

INSTANTIATE_TEST_SUITE_P(Apis, ContextTest, AllApis(), ApiName);

TEST_P(ContextTest, Metadata) {
  FailFirst();
  EchoCall call(GetParam(), Channel());
  call.context().AddMetadata("x-text", "one");
  call.context().AddMetadata("x-text", "two");
  call.context().AddMetadata("x-raw-bin", std::string("\0\xff\x01", 3));
  call.SetDeadline(absl::Seconds(20));
  EXPECT_TRUE(call.Run().ok());
  const auto sends = server_->log().Snapshot();
  ASSERT_EQ(sends.size(), 2u);
  for (const auto& send : sends) {
    EXPECT_EQ(send.headers.at("x-text"), "one, two");
    EXPECT_EQ(send.headers.at("x-raw-bin"), std::string("\0\xff\x01", 3));
  }
  EXPECT_EQ(sends[0].headers.count("grpc-previous-rpc-attempts"), 0u);
  EXPECT_EQ(sends[1].headers.at("grpc-previous-rpc-attempts"), "1");
  // All else is alike.
  std::map<std::string, std::string> second = sends[1].headers;
  second.erase("grpc-previous-rpc-attempts");
  EXPECT_EQ(sends[0].headers, second);
}

TEST_P(ContextTest, WhatIsLeftOfTheDeadline) {
  std::atomic<int64_t> left[2] = {0, 0};
  server_->SetHandler([&left](const testing::GrpcRequest& request) {
    left[request.index % 2] = absl::ToInt64Milliseconds(request.time_left);
    return request.index == 0
               ? GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback("1000")
               : GrpcReply::Ok(request.bytes);
  });
  EchoCall call(GetParam(), Channel());
  call.SetDeadline(absl::Seconds(10));
  EXPECT_TRUE(call.Run().ok());
  EXPECT_GT(left[0], 5000);
  EXPECT_LE(left[0], 10100);
  EXPECT_GT(left[1], 3000);
  // gRPC may send a time-out that is up to 3 % off.
  EXPECT_LE(left[1], left[0] - 600);
}

TEST_P(ContextTest, CallCredentialsAreAskedForEachAttempt) {
  FailFirst();
  std::atomic<int> asked = 0;
  // Local credentials shake no hands: the plain server does not notice.
  EchoCall call(GetParam(),
                Channel(grpc::experimental::LocalCredentials(LOCAL_TCP)));
  call.context().set_credentials(TokenCredentials(&asked, GRPC_SECURITY_NONE));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  const auto sends = server_->log().Snapshot();
  ASSERT_EQ(sends.size(), 2u);
  EXPECT_EQ(sends[0].headers.at("x-token"), "1");
  EXPECT_EQ(sends[1].headers.at("x-token"), "2");
}

TEST_P(ContextTest, WaitForReady) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
  const auto channel = Channel(grpc::InsecureChannelCredentials(), arguments);
  for (const bool wait : {true, false}) {
    // The second attempt finds nobody at home.
    server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback("500"),
                     GrpcReply::Ok("")});
    const int64_t before = server_->log().Count();
    EchoCall call(GetParam(), channel);
    call.context().set_wait_for_ready(wait);
    call.SetDeadline(absl::Seconds(20));
    call.Start();
    ASSERT_TRUE(server_->log().WaitForCount(before + 1, absl::Seconds(5)));
    while (call.record().attempts.empty() ||
           call.record().attempts[0].outcome.kind == ErrorKind::kOk) {
      std::this_thread::yield();
    }
    server_->Stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    const int attempts = call.record().total_attempts;
    ASSERT_TRUE(server_->Start().ok());
    call.Wait();
    if (wait) {
      EXPECT_TRUE(call.status().ok()) << call.status().error_message();
      EXPECT_EQ(call.record().total_attempts, 2);
    } else {
      EXPECT_GT(attempts, 2);  // failed fast
    }
  }
}

class HedgeContextTest : public ContextTest {};

INSTANTIATE_TEST_SUITE_P(Apis, HedgeContextTest, ApisOfOneBatch(), ApiName);

TEST_P(HedgeContextTest, AHedgeCarriesWhatARetryDoes) {
  server_->SetHandler([](const testing::GrpcRequest& request) {
    return request.metadata.count("grpc-previous-rpc-attempts") == 0
               ? GrpcReply::Hang()
               : GrpcReply::Ok(request.bytes);
  });
  options_.methods[0].retry.emplace();
  options_.methods[0].retry->hedge.enabled = true;
  options_.methods[0].retry->hedge.delay = absl::Milliseconds(20);
  std::atomic<int> asked = 0;
  const auto channel = Channel(grpc::experimental::LocalCredentials(LOCAL_TCP));
  ASSERT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() +
                                        std::chrono::seconds(30)));
  EchoCall call(GetParam(), channel);
  call.context().AddMetadata("x-raw-bin", std::string("\0\xff\x01", 3));
  call.context().set_credentials(TokenCredentials(&asked, GRPC_SECURITY_NONE));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  const auto sends = server_->log().Snapshot();
  ASSERT_EQ(sends.size(), 2u);
  std::map<std::string, std::string> first = sends[0].headers;
  std::map<std::string, std::string> second = sends[1].headers;
  // They may overtake each other.
  if (first.count("grpc-previous-rpc-attempts") > 0) first.swap(second);
  EXPECT_EQ(first.at("x-token"), "1");
  EXPECT_EQ(second.at("x-token"), "2");
  EXPECT_EQ(second.at("grpc-previous-rpc-attempts"), "1");
  first.erase("x-token");
  second.erase("x-token");
  second.erase("grpc-previous-rpc-attempts");
  EXPECT_EQ(first, second);
}

TEST_P(ContextTest, AnAttemptTimeoutIsTheServersDeadlineFromTheSecondOn) {
  std::atomic<int64_t> left[2] = {0, 0};
  server_->SetHandler([&left](const testing::GrpcRequest& request) {
    left[request.index % 2] = absl::ToInt64Milliseconds(request.time_left);
    return request.index == 0 ? GrpcReply::Error(StatusCode::UNAVAILABLE)
                              : GrpcReply::Ok(request.bytes);
  });
  options_.methods[0].attempt_timeout = absl::Seconds(10);
  EchoCall call(GetParam(), Channel());
  call.SetDeadline(absl::Seconds(60));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  // Attempt 1 is the application's own call; it is cancelled when its time is over.
  EXPECT_GT(left[0], 15000);
  EXPECT_GT(left[1], 0);
  EXPECT_LE(left[1], 10400);
}

// Sees what only a real service sees of a call. Its first attempt fails.
class Inspector final : public testing::Echo::Service {
 public:
  struct Sight {
    std::string authority;
    std::string peer;
  };

  // `takes_gzip`: false: gRPC itself refuses requests that are compressed so.
  explicit Inspector(bool takes_gzip = true) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    if (!takes_gzip) {
      builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
    }
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Inspector() override { server_->Shutdown(); }

  grpc::Status Say(grpc::ServerContext* context, const EchoMessage* request,
                   EchoMessage* response) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const grpc::string_ref authority = context->ExperimentalGetAuthority();
    seen_.push_back(
        {std::string(authority.data(), authority.size()), context->peer()});
    if (context->client_metadata().count("grpc-previous-rpc-attempts") == 0) {
      return grpc::Status(StatusCode::UNAVAILABLE, "first");
    }
    *response = *request;
    return grpc::Status::OK;
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::vector<Sight> seen() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return seen_;
  }

 private:
  int port_ = 0;
  mutable std::mutex mutex_;  // guards seen_
  std::vector<Sight> seen_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_P(ContextTest, AuthorityAndPeer) {
  Inspector server;
  const auto channel =
      CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                    *Client::Create({}), options_);
  EchoCall given(GetParam(), channel);
  given.context().set_authority("shop.example");
  EXPECT_TRUE(given.Run().ok()) << given.status().error_message();
  EchoCall none(GetParam(), channel);
  EXPECT_TRUE(none.Run().ok()) << none.status().error_message();
  const std::vector<Inspector::Sight> seen = server.seen();
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].authority, "shop.example");
  EXPECT_EQ(seen[1].authority, "shop.example");
  EXPECT_EQ(seen[2].authority, server.address());
  EXPECT_EQ(seen[3].authority, server.address());
  // One connection for all of them.
  EXPECT_EQ(seen[3].peer, seen[0].peer);
  EXPECT_EQ(none.context().peer(), "ipv4:" + server.address());
}

// The application's own call has been nowhere, then.
class TakenContextTest : public ContextTest {};

INSTANTIATE_TEST_SUITE_P(Apis, TakenContextTest, ApisOfOneBatch(), ApiName);

TEST_P(TakenContextTest, PeerIsWhatWasDialled) {
  Inspector server;
  options_.take_over = GetParam() == Api::kGeneric ? TakeOver::kGenericStubs
                                                   : TakeOver::kGeneratedStubs;
  // Who was reached has another name.
  const std::string dialled = "ipv4:///" + server.address();
  EchoCall call(GetParam(),
                CreateChannel(dialled, grpc::InsecureChannelCredentials(),
                              *Client::Create({}), options_));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(server.seen().size(), 2u);
  EXPECT_EQ(call.context().peer(), dialled);
  // And not taken over, for comparison.
  options_.take_over = TakeOver::kNever;
  EchoCall own(GetParam(),
               CreateChannel(dialled, grpc::InsecureChannelCredentials(),
                             *Client::Create({}), options_));
  EXPECT_TRUE(own.Run().ok()) << own.status().error_message();
  EXPECT_EQ(own.context().peer(), "ipv4:" + server.address());
}

TEST_P(ContextTest, Compression) {
  Inspector server(/*takes_gzip=*/false);
  options_.methods[0].retryable = {StatusCode::UNAVAILABLE,
                                   StatusCode::UNIMPLEMENTED};
  const auto channel =
      CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                    *Client::Create({}), options_);
  EchoCall call(GetParam(), channel, std::string(10000, 'x'));
  call.context().set_compression_algorithm(GRPC_COMPRESS_GZIP);
  // Each attempt was compressed, or one would have come through.
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(server.seen().size(), 0u);
  const CallRecord record = call.record();
  ASSERT_EQ(record.attempts.size(), 3u);
  for (const AttemptRecord& attempt : record.attempts) {
    EXPECT_EQ(attempt.outcome.status, StatusCode::UNIMPLEMENTED);
  }
  EchoCall plain(GetParam(), channel, std::string(10000, 'x'));
  EXPECT_TRUE(plain.Run().ok()) << plain.status().error_message();
  EXPECT_EQ(server.seen().size(), 2u);
}

// An interceptor below ours: sees the contexts of all attempts.
class CensusSpy final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit CensusSpy(std::vector<census_context*>* seen) : seen_(seen) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* info) override {
    seen_->push_back(info->client_context()->census_context());
    return nullptr;
  }

 private:
  std::vector<census_context*>* const seen_;
};

TEST_P(ContextTest, CensusContext) {
  FailFirst();
  options_.target = server_->address();
  std::vector<census_context*> seen;  // one call: one attempt after the other
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  factories.push_back(MakeInterceptorFactory(*Client::Create({}), options_));
  factories.push_back(std::make_unique<CensusSpy>(&seen));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  EchoCall call(GetParam(),
                grpc::experimental::CreateCustomChannelWithInterceptors(
                    server_->address(), grpc::InsecureChannelCredentials(),
                    arguments, std::move(factories)));
  // gRPC hands it to tracers that are linked in, and there are none.
  int something = 0;
  auto* const census = reinterpret_cast<census_context*>(&something);
  call.context().set_census_context(census);
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(seen, (std::vector<census_context*>{census, census}));
}

}  // namespace
}  // namespace forbear::rpc
