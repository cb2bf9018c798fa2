// Targets of a configuration, as calls of a channel meet them. Sends are counted by
// the server.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/policy.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "interceptors/call_options.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/unary_reactor.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::GrpcReply;
using testing::GrpcServer;

class TargetsTest : public ::testing::Test {
 protected:
  TargetsTest() : server_(*GrpcServer::Create()) {
    server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")});
    options_.retry.backoff.initial = absl::Milliseconds(1);
    options_.endpoint.breaker.enabled = false;
    options_.endpoint.pacing = false;
  }

  TargetPolicy* Add(const std::string& name) {
    options_.targets.emplace_back(options_);
    options_.targets.back().name = name;
    return &options_.targets.back();
  }

  // How often the server saw it, and under which policy; "-": Forbear did not
  // see it.
  std::string Sends(const RpcOptions& options = {}) {
    if (client_ == nullptr) client_ = *Client::Create(options_);
    EchoCall call(Api::kSync, CreateChannel(server_->address(),
                                            grpc::InsecureChannelCredentials(),
                                            client_, options));
    const int64_t before = server_->log().Count();
    call.Run();
    const std::optional<CallRecord> record = RecordOf(call.context());
    return absl::StrCat(server_->log().Count() - before, " ",
                        record ? record->names.policy() : "-");
  }

  const std::unique_ptr<GrpcServer> server_;
  ClientOptions options_;
  std::shared_ptr<Client> client_;
};

TEST_F(TargetsTest, ListingCodesInTheFileIsTheConsent) {
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {"/forbear.testing.Echo/*"};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  EXPECT_EQ(Sends(), "3 echo");
  // For the listed ones only.
  server_->Script({GrpcReply::Error(StatusCode::ABORTED)});
  EXPECT_EQ(Sends(), "1 echo");
}

TEST_F(TargetsTest, OfAnotherMethodItIsNone) {
  TargetPolicy* target = Add("other");
  target->match.rpcs = {"/forbear.testing.Echo/SayNot", "/other.Echo/*"};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  EXPECT_EQ(Sends(), "1 default");
}

TEST_F(TargetsTest, TheProgramsRuleGoesBeforeTheFile) {
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {kSay};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  target->retry.max_attempts = 4;
  RpcOptions rpc;
  // Listing nothing is a word: not again.
  rpc.methods = {{kSay, {}}};
  EXPECT_EQ(Sends(rpc), "1 echo");
  // Its codes, and the file's options.
  rpc.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  EXPECT_EQ(Sends(rpc), "4 echo");
  // Its own options.
  rpc.methods[0].retry = options_.retry;
  rpc.methods[0].retry->max_attempts = 2;
  EXPECT_EQ(Sends(rpc), "2 echo");
  // A rule for another method is none for this one.
  rpc.methods[0].method = "/other.Echo/*";
  EXPECT_EQ(Sends(rpc), "4 echo");
}

TEST_F(TargetsTest, TheHostChoosesThePolicy) {
  TargetPolicy* target = Add("host");
  target->match.hosts = {server_->address()};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  target->retry.max_attempts = 2;
  target = Add("any-host");
  target->match.rpcs = {kSay};
  EXPECT_EQ(Sends(), "2 host");
}

TEST_F(TargetsTest, SwitchedOffForSomeCallsOnly) {
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {kSay};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  target->enabled = false;
  EXPECT_EQ(Sends(), "1 -");
}

TEST_F(TargetsTest, SwitchedOnForSomeCallsOnly) {
  options_.enabled = false;
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {kSay};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  target->enabled = true;
  EXPECT_EQ(Sends(), "3 echo");
}

TEST_F(TargetsTest, ACallsTimeIsLimited) {
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {kSay};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  target->retry.call_timeout = absl::Milliseconds(300);
  server_->Script({GrpcReply::Hang()});
  client_ = *Client::Create(options_);
  const auto channel = CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), client_);
  for (const Api api : {Api::kSync, Api::kCallback}) {
    EchoCall call(api, channel);
    const MonotonicTime begin = MonotonicNow();
    EXPECT_EQ(call.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
    EXPECT_GE(MonotonicNow() - begin, absl::Milliseconds(290));
    EXPECT_LT(MonotonicNow() - begin, absl::Seconds(10));
    EXPECT_EQ(call.record().stop_reason, StopReason::kDeadlineExceeded);
    EXPECT_EQ(call.record().deadline,
              call.record().begin + absl::Milliseconds(300));
  }
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_F(TargetsTest, WaitingForTheConnection) {
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {kSay};
  target->wait_for_ready = true;
  client_ = *Client::Create(options_);
  // Nobody listens there.
  const auto channel =
      CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials(), client_);
  const auto run = [&](std::optional<bool> own) {
    EchoCall call(Api::kSync, channel);
    call.context().set_deadline(std::chrono::system_clock::now() +
                                std::chrono::milliseconds(500));
    if (own) call.context().set_wait_for_ready(*own);
    return call.Run().error_code();
  };
  EXPECT_EQ(run(std::nullopt), StatusCode::DEADLINE_EXCEEDED);
  // The application's own word goes before.
  EXPECT_EQ(run(false), StatusCode::UNAVAILABLE);
  options_.targets[0].wait_for_ready = std::nullopt;
  ASSERT_TRUE(client_->Reload(options_).ok());
  EXPECT_EQ(run(std::nullopt), StatusCode::UNAVAILABLE);
  EXPECT_EQ(run(true), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(TargetsTest, AQuotaOfItsOwn) {
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("3600000")});
  EXPECT_EQ(Sends(), "1 default");
  EXPECT_EQ(Sends(), "0 default");
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {kSay};
  target->own_quota = true;
  ASSERT_TRUE(client_->Reload(options_).ok());
  EXPECT_EQ(Sends(), "1 echo");
  EXPECT_EQ(Sends(), "0 echo");
  EXPECT_TRUE(client_->ClearGate(server_->address() + "|echo"));
  EXPECT_EQ(Sends(), "1 echo");
}

// ---- One call otherwise.

TEST_F(TargetsTest, OptionsOfOneCall) {
  client_ = *Client::Create(options_);
  RpcOptions rpc;
  rpc.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
  const auto channel = CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), client_, rpc);
  for (const Api api : {Api::kSync, Api::kCallback, Api::kQueue, Api::kGeneric,
                        Api::kReactor}) {
    SCOPED_TRACE(NameOf(api));
    const auto sends = [&](const CallOptions& own, bool of_another = false) {
      EchoCall call(api, channel);
      const grpc::ClientContext other;
      const int64_t before = server_->log().Count();
      call.SetOptions(&own, of_another ? &other : nullptr);
      const grpc::StatusCode code = call.Run().error_code();
      return absl::StrCat(server_->log().Count() - before, " ",
                          static_cast<int>(code));
    };
    CallOptions own;
    EXPECT_EQ(sends(own), "3 14");
    own.retryable = std::vector<StatusCode>{};
    EXPECT_EQ(sends(own), "1 14");
    EXPECT_EQ(sends(own, /*of_another=*/true), "3 14");
    own = CallOptions();
    own.retry = options_.retry;
    own.retry->max_attempts = 2;
    EXPECT_EQ(sends(own), "2 14");
    own.enabled = false;
    EXPECT_EQ(sends(own), "1 14");
    // Faulty ones end the call, and nothing is sent.
    own.enabled = true;
    own.retry->max_attempts = 0;
    EXPECT_EQ(sends(own), "0 3");
  }
}

// Of an asynchronous call its options are asked for when it is made, not when it is
// started.
TEST_F(TargetsTest, OptionsOfOneCallCountWhereItIsMade) {
  client_ = *Client::Create(options_);
  RpcOptions rpc;
  rpc.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  const auto stub = testing::Echo::NewStub(CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), client_, rpc));
  CallOptions own;
  own.retryable = std::vector<StatusCode>{};
  const testing::EchoMessage request;
  testing::EchoMessage response;
  for (const bool around_the_making : {true, false}) {
    SCOPED_TRACE(around_the_making);
    const int sends = around_the_making ? 1 : 3;
    // Runs both, with the options around one of them.
    const auto run = [&](const grpc::ClientContext& context, const auto& make,
                         const auto& start) {
      std::optional<WithCallOptions> with;
      if (around_the_making) with.emplace(&context, &own);
      make();
      with.reset();
      if (!around_the_making) with.emplace(&context, &own);
      start();
    };
    {
      const int64_t before = server_->log().Count();
      grpc::ClientContext context;
      UnaryReactor reactor;
      run(
          context,
          [&] { stub->async()->Say(&context, &request, &response, &reactor); },
          [&] { reactor.StartCall(); });
      EXPECT_EQ(reactor.Wait().error_code(), StatusCode::UNAVAILABLE);
      EXPECT_EQ(server_->log().Count() - before, sends);
    }
    grpc::CompletionQueue queue;
    grpc::Status status;
    const auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(queue.Next(&tag, &ok));
    };
    {
      const int64_t before = server_->log().Count();
      grpc::ClientContext context;
      std::unique_ptr<grpc::ClientAsyncResponseReader<testing::EchoMessage>>
          reader;
      run(
          context,
          [&] { reader = stub->PrepareAsyncSay(&context, request, &queue); },
          [&] { reader->StartCall(); });
      reader->Finish(&response, &status, &queue);
      next();
      EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
      EXPECT_EQ(server_->log().Count() - before, sends);
    }
    {
      const int64_t before = server_->log().Count();
      grpc::ClientContext context;
      std::unique_ptr<grpc::ClientAsyncReader<testing::EchoMessage>> reader;
      run(
          context,
          [&] { reader = stub->PrepareAsyncPull(&context, request, &queue); },
          [&] { reader->StartCall(&queue); });
      next();
      reader->Finish(&status, &queue);
      next();
      EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
      EXPECT_EQ(server_->log().Count() - before, sends);
    }
  }
}

TEST_F(TargetsTest, TheInnerScopeOfAContextCounts) {
  grpc::ClientContext a, b;
  CallOptions one, two, three;
  EXPECT_EQ(WithCallOptions::Of(&a), nullptr);
  const WithCallOptions with_one(&a, &one);
  {
    const WithCallOptions with_two(&b, &two);
    const WithCallOptions with_three(&a, &three);
    EXPECT_EQ(WithCallOptions::Of(&a), &three);
    EXPECT_EQ(WithCallOptions::Of(&b), &two);
  }
  EXPECT_EQ(WithCallOptions::Of(&a), &one);
  EXPECT_EQ(WithCallOptions::Of(&b), nullptr);
}

TEST_F(TargetsTest, EveryFaultOfACallsOptionsIsTold) {
  CallOptions own;
  EXPECT_TRUE(ValidateCallOptions(own).ok());
  own.retryable = {StatusCode::OK, StatusCode::ABORTED};
  own.attempt_timeout = absl::ZeroDuration();
  own.retry = RetryOptions();
  own.retry->max_attempts = 101;
  EXPECT_EQ(ValidateCallOptions(own).message(),
            "forbear::rpc::CallOptions: retryable is 0; it must be 1 … 16; "
            "retry.max_attempts is 101; it must be 1 … 100; "
            "attempt_timeout is 0; it must be 1ms … inf");
}

TEST_F(TargetsTest, AQuotaOfOneCall) {
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("3600000")});
  EXPECT_EQ(Sends(), "1 default");
  EXPECT_EQ(Sends(), "0 default");
  const auto channel = CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), client_);
  EchoCall call(Api::kSync, channel);
  CallOptions own;
  own.quota_id = "another-key";
  const int64_t before = server_->log().Count();
  call.SetOptions(&own);
  call.Run();
  EXPECT_EQ(server_->log().Count() - before, 1);
}

// A channel that lives on follows the new settings at its next call.
TEST_F(TargetsTest, AReloadCountsFromTheNextCallOn) {
  client_ = *Client::Create(options_);
  const auto channel = CreateChannel(
      server_->address(), grpc::InsecureChannelCredentials(), client_);
  const auto sends = [&] {
    const int64_t before = server_->log().Count();
    EchoCall call(Api::kSync, channel);
    call.Run();
    return server_->log().Count() - before;
  };
  EXPECT_EQ(sends(), 1);
  TargetPolicy* target = Add("echo");
  target->match.rpcs = {kSay};
  target->retryable_codes = {StatusCode::UNAVAILABLE};
  ASSERT_TRUE(client_->Reload(options_).ok());
  EXPECT_EQ(sends(), 3);
  options_.enabled = options_.targets[0].enabled = false;
  ASSERT_TRUE(client_->Reload(options_).ok());
  EXPECT_EQ(sends(), 1);
}

}  // namespace
}  // namespace forbear::rpc
