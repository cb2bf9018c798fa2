// What attempts carry: metadata, credentials, wait_for_ready, and the deadline
// of the server call that a call is made for.

#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
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

class Token final : public grpc::MetadataCredentialsPlugin {
 public:
  explicit Token(std::atomic<int>* asked) : asked_(asked) {}
  grpc::Status GetMetadata(
      grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
      std::multimap<grpc::string, grpc::string>* metadata) override {
    metadata->emplace("x-token", std::to_string(++*asked_));
    return grpc::Status::OK;
  }

 private:
  std::atomic<int>* const asked_;
};

TEST_P(ContextTest, CallCredentialsAreAskedForEachAttempt) {
  FailFirst();
  std::atomic<int> asked = 0;
  // Local credentials shake no hands: the plain server does not notice.
  EchoCall call(GetParam(),
                Channel(grpc::experimental::LocalCredentials(LOCAL_TCP)));
  call.context().set_credentials(
      grpc::experimental::MetadataCredentialsFromPlugin(
          std::make_unique<Token>(&asked), GRPC_SECURITY_NONE));
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

// A server whose handler calls another one, through Forbear.
class Proxy final : public testing::Echo::Service {
 public:
  explicit Proxy(const std::shared_ptr<grpc::Channel>& backend)
      : backend_(testing::Echo::NewStub(backend)) {}

  grpc::Status Say(grpc::ServerContext* context, const EchoMessage* request,
                   EchoMessage* response) override {
    const auto inner = grpc::ClientContext::FromServerContext(*context);
    const MonotonicTime begin = MonotonicNow();
    grpc::Status status = backend_->Say(inner.get(), *request, response);
    took_ms_ = absl::ToInt64Milliseconds(MonotonicNow() - begin);
    return status;
  }

  // How long the last inner call took; -1: it has not ended.
  int64_t took_ms() const { return took_ms_; }

 private:
  const std::unique_ptr<testing::Echo::Stub> backend_;
  std::atomic<int64_t> took_ms_{-1};
};

TEST_P(ContextTest, DeadlineOfTheServerCallThatItIsMadeFor) {
  std::atomic<int64_t> left = -1;
  server_->SetHandler([&left](const testing::GrpcRequest& request) {
    if (request.metadata.count("grpc-previous-rpc-attempts") == 0) {
      return GrpcReply::Error(StatusCode::UNAVAILABLE);
    }
    left = absl::ToInt64Milliseconds(request.time_left);
    return GrpcReply::Hang();
  });
  Proxy proxy(Channel());
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&proxy);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  EchoCall call(GetParam(),
                grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                    grpc::InsecureChannelCredentials()));
  call.SetDeadline(absl::Milliseconds(800));
  EXPECT_EQ(call.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(server_->log().WaitForCancelled(1, absl::Seconds(5)));
  server->Shutdown();
  EXPECT_EQ(server_->log().Count(), 2);
  // The second attempt had the outer call's deadline, and ended with it.
  EXPECT_GE(left, 0);
  EXPECT_LE(left, 850);
  EXPECT_GE(proxy.took_ms(), 300);
  EXPECT_LT(proxy.took_ms(), 5000);
}

}  // namespace
}  // namespace forbear::rpc
