// A service config on a channel: its retries are ours, all else of it is gRPC's and
// stays in force; retries go to other backends. Real servers, counted at their doors.

#include <gmock/gmock.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "runtime/clock.h"
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
using ::testing::HasSubstr;

constexpr char kService[] = "forbear.testing.Echo";
constexpr char kPolicy[] = R"("retryPolicy": {"maxAttempts": 3,
    "initialBackoff": "0.001s", "maxBackoff": "0.01s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]})";

std::string Config(const std::string& of_method,
                   const std::string& of_all = "") {
  return absl::StrCat("{", of_all,
                      R"("methodConfig": [{"name": [{"service": ")", kService,
                      "\"}], ", of_method, "}]}");
}

// One that takes three servers, of which one is down, for three servers.
std::shared_ptr<Client> Unguarded() {
  ClientOptions options;
  options.endpoint.breaker.enabled = false;
  options.endpoint.budget.enabled = false;
  options.endpoint.pacing = false;
  return *Client::Create(options);
}

// A server of the echo service that tells of its health.
class Backend final : public testing::Echo::Service {
 public:
  Backend() {
    grpc::ServerBuilder builder;
    grpc::EnableDefaultHealthCheckService(true);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    SetServing(true);
  }
  ~Backend() override { server_->Shutdown(); }

  grpc::Status Say(grpc::ServerContext* context, const EchoMessage* request,
                   EchoMessage* response) override {
    ++sends_;
    if (context->client_metadata().count("grpc-previous-rpc-attempts") > 0) {
      ++retries_;
    }
    if (fails_) return grpc::Status(StatusCode::UNAVAILABLE, "this one fails");
    *response = *request;
    return grpc::Status::OK;
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int sends() const { return sends_; }
  int retries() const { return retries_; }
  void Fail() { fails_ = true; }
  void SetServing(bool serving) {
    server_->GetHealthCheckService()->SetServingStatus(kService, serving);
  }

 private:
  int port_ = 0;
  std::atomic<int> sends_{0};
  std::atomic<int> retries_{0};
  std::atomic<bool> fails_{false};
  std::unique_ptr<grpc::Server> server_;
};

class BalancingTest : public ::testing::TestWithParam<Api> {
 protected:
  std::shared_ptr<grpc::Channel> Channel(const std::string& config) {
    RpcOptions options;
    options.service_config = config;
    return CreateChannel(
        absl::StrCat("ipv4:", backends_[0].address(), ",",
                     backends_[1].address(), ",", backends_[2].address()),
        grpc::InsecureChannelCredentials(), Unguarded(), options);
  }
  // Makes calls, which must succeed, until `enough`. How many.
  int CallUntil(const std::shared_ptr<grpc::Channel>& channel,
                const std::function<bool()>& enough) {
    const MonotonicTime give_up = MonotonicNow() + absl::Seconds(60);
    int calls = 0;
    while (!enough() && MonotonicNow() < give_up) {
      EchoCall call(GetParam(), channel);
      call.context().set_wait_for_ready(true);
      EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
      ++calls;
    }
    EXPECT_TRUE(enough());
    return calls;
  }
  int Sends() const {
    return backends_[0].sends() + backends_[1].sends() + backends_[2].sends();
  }

  std::array<Backend, 3> backends_;
};

INSTANTIATE_TEST_SUITE_P(Apis, BalancingTest, AllApis(), ApiName);

TEST_P(BalancingTest, ARetryGoesToAnotherBackend) {
  const auto channel =
      Channel(Config(kPolicy, R"("loadBalancingConfig": [{"round_robin": {}}],
          "healthCheckConfig": {"serviceName": "forbear.testing.Echo"},)"));
  // Until all three are connected, a retry may have nowhere else to go.
  int calls = CallUntil(channel, [&] {
    return backends_[0].sends() > 0 && backends_[1].sends() > 0 &&
           backends_[2].sends() > 0;
  });
  const int before = backends_[1].sends();
  backends_[1].Fail();
  calls += CallUntil(channel, [&] {
    return backends_[1].sends() >= before + 5 && backends_[0].sends() >= 5 &&
           backends_[2].sends() >= 5;
  });
  // Every call that met the one that fails was made again, and answered by another.
  EXPECT_EQ(Sends(), calls + backends_[1].sends() - before);
  EXPECT_EQ(backends_[0].retries() + backends_[2].retries(),
            backends_[1].sends() - before);
  // Round robin: the next one's turn.
  EXPECT_EQ(backends_[1].retries(), 0);
}

TEST_P(BalancingTest, WhoIsNotHealthyGetsNothing) {
  backends_[0].SetServing(false);
  backends_[1].Fail();
  const auto channel =
      Channel(Config(kPolicy, R"("loadBalancingConfig": [{"round_robin": {}}],
          "healthCheckConfig": {"serviceName": "forbear.testing.Echo"},)"));
  CallUntil(channel, [&] {
    return backends_[1].sends() >= 5 && backends_[2].sends() >= 10;
  });
  EXPECT_EQ(backends_[0].sends(), 0);
  // It gets well, and the others' retries.
  backends_[0].SetServing(true);
  CallUntil(channel, [&] { return backends_[0].sends() >= 1; });
  backends_[2].Fail();
  CallUntil(channel, [&] { return backends_[0].retries() >= 3; });
}

enum class Place { kOptions, kArguments };

class ServiceConfigChannelTest
    : public ::testing::TestWithParam<std::tuple<Api, Place>> {
 protected:
  ServiceConfigChannelTest() : server_(*GrpcServer::Create()) {}

  static Api api() { return std::get<0>(GetParam()); }
  std::shared_ptr<grpc::Channel> Channel(const std::string& config,
                                         RpcOptions options = {}) {
    grpc::ChannelArguments arguments;
    if (std::get<1>(GetParam()) == Place::kOptions) {
      options.service_config = config;
    } else {
      arguments.SetServiceConfigJSON(config);
    }
    return CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                         Unguarded(), options, arguments);
  }

  const std::unique_ptr<GrpcServer> server_;
};

INSTANTIATE_TEST_SUITE_P(
    ApisAndPlaces, ServiceConfigChannelTest,
    ::testing::Combine(AllApis(),
                       ::testing::Values(Place::kOptions, Place::kArguments)),
    [](const auto& info) {
      return NameOf(std::get<0>(info.param)) +
             (std::get<1>(info.param) == Place::kOptions ? "_Options"
                                                         : "_Arguments");
    });

TEST_P(ServiceConfigChannelTest, ItsRetriesAreOursAndNotMultiplied) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
  EchoCall call(api(), Channel(Config(kPolicy)));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->log().Count(), 3);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_EQ(record.total_attempts, 3);
}

TEST_P(ServiceConfigChannelTest, WhatGrpcWouldNotTakeDoesNotReachIt) {
  // A code by its number: of this gRPC refuses all of the config.
  std::string config = Config(kPolicy);
  config.replace(config.find("\"UNAVAILABLE\""), 13, "14");
  server_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE), GrpcReply::Ok("")});
  EchoCall call(api(), Channel(config));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_P(ServiceConfigChannelTest, ARuleOfTheProgramsGoesBeforeIt) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
  RpcOptions options;
  options.methods = {{"*", {}}};
  EchoCall call(api(), Channel(Config(kPolicy), options));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kNotIdempotent);
}

// gRPC counts its part of it, each attempt's, on a clock of its own, which on some
// virtual machines is seconds off: nothing here depends on that part.
TEST_P(ServiceConfigChannelTest, ItsTimeoutBoundsAllOfACall) {
  server_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE),
       GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback("70000")});
  EchoCall call(
      api(), Channel(Config(absl::StrCat(R"("timeout": "60s", )", kPolicy))));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  // The wait would outlast it.
  EXPECT_LT(call.took(), absl::Seconds(20));
  EXPECT_EQ(server_->log().Count(), 2);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(record.deadline - record.begin, absl::Seconds(60));
}

TEST_P(ServiceConfigChannelTest, WhatIsGrpcsStaysInForce) {
  EchoCall call(api(),
                Channel(Config(absl::StrCat(R"("maxRequestMessageBytes": 10, )",
                                            kPolicy))),
                std::string(100, 'x'));
  EXPECT_EQ(call.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(call.status().error_message(), HasSubstr("larger than max"));
  EXPECT_EQ(server_->log().Count(), 0);
  EXPECT_EQ(call.record().stop_reason, StopReason::kPermanentError);
}

TEST_P(ServiceConfigChannelTest, AFaultyOneEndsEveryCallWithItsFaults) {
  EchoCall call(api(), Channel(Config(R"("retryPolicy": {"maxAttempts": 1})")));
  EXPECT_EQ(call.Run().error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(
      call.status().error_message(),
      HasSubstr(
          "service_config: methodConfig[0].retryPolicy.maxAttempts is 1"));
  EXPECT_THAT(call.status().error_message(),
              HasSubstr("initialBackoff is missing"));
  EXPECT_EQ(server_->log().Count(), 0);
}

TEST(ServiceConfigOfBothTest, TheOptionsGoBeforeTheArguments) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
  std::string two = Config(kPolicy);
  two.replace(two.find("\"maxAttempts\": 3"), 16, "\"maxAttempts\": 2");
  RpcOptions options;
  options.service_config = two;
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(
      Config(absl::StrCat(R"("maxRequestMessageBytes": 10, )", kPolicy)));
  EchoCall call(
      Api::kSync,
      CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                    Unguarded(), options, arguments),
      std::string(100, 'x'));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server->log().Count(), 2);
}

}  // namespace
}  // namespace forbear::rpc
