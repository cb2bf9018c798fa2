// Calls that are made for a server call (ClientContext::FromServerContext): they end
// with its deadline and with its cancellation, whatever they do just then. What the
// application is told is looked at where the inner call was made; sends are counted at
// the backend.

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/all_streams.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/proxy_server.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::GrpcReply;
using testing::GrpcServer;

// Longer than any test may take, so that who sees its end has not waited for it.
constexpr char kLongPushback[] = "40000";
constexpr absl::Duration kFarLess = absl::Seconds(20);

// How an inner call ended.
struct End {
  grpc::Status status;
  absl::Duration took;
  CallRecord record;
  std::optional<std::string> stop_reason;
};

template <typename Call>
End RunToEnd(Call* call) {
  End end;
  end.status = call->Run();
  end.took = call->took();
  end.record = call->record();
  end.stop_reason = call->Trailing("forbear-stop-reason");
  return end;
}

// With CANCELLED; or, if its deadline was the outer call's, with DEADLINE_EXCEEDED: of
// the two, which come at the same time, the client's cancel may be the first.
void ExpectEndedInAWait(const End& end, StatusCode or_code) {
  if (end.status.error_code() != or_code) {
    EXPECT_EQ(end.status.error_code(), StatusCode::CANCELLED);
  }
  EXPECT_EQ(end.status.error_message(),
            "forbear: The server call that the call was made for has ended.");
  EXPECT_EQ(end.stop_reason, "cancelled");
  EXPECT_EQ(end.record.stop_reason, StopReason::kCancelled);
  EXPECT_LT(end.took, kFarLess);
}

// An outer call of `handler` that ends by its deadline. The handler is back.
void EndByDeadline(ProxyServer::Handler handler, absl::Duration deadline) {
  ProxyServer proxy(std::move(handler));
  EchoCall call(Api::kCallback, proxy.Channel());
  call.SetDeadline(deadline);
  EXPECT_EQ(call.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  proxy.Stop();
}

// … that is cancelled when `moment` has come, which it returns.
void EndByCancel(ProxyServer::Handler handler,
                 const std::function<bool()>& moment) {
  ProxyServer proxy(std::move(handler));
  EchoCall call(Api::kCallback, proxy.Channel());
  call.Start();
  EXPECT_TRUE(moment());
  call.Cancel();
  EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED);
  proxy.Stop();
}

class ServerCallTest : public ::testing::TestWithParam<std::tuple<Api, bool>> {
 protected:
  ServerCallTest() : backend_(*GrpcServer::Create()) {
    options_.methods = {{"*", {StatusCode::UNAVAILABLE}}};
    if (std::get<1>(GetParam())) {
      options_.take_over = api() == Api::kGeneric ? TakeOver::kGenericStubs
                                                  : TakeOver::kGeneratedStubs;
    }
  }
  Api api() const { return std::get<0>(GetParam()); }
  std::shared_ptr<grpc::Channel> Channel() {
    return CreateChannel(backend_->address(),
                         grpc::InsecureChannelCredentials(),
                         *Client::Create({}), options_);
  }
  // One call to `channel`, for a server call.
  ProxyServer::Handler Calls(const std::shared_ptr<grpc::Channel>& channel,
                             grpc::PropagationOptions options = {}) {
    return [this, channel, options](grpc::ServerContext* context) {
      EchoCall inner(api(), channel);
      inner.MakeFor(*context, options);
      if (!begun_.HasBeenNotified()) begun_.Notify();
      end_ = RunToEnd(&inner);
      return end_.status;
    };
  }

  const std::unique_ptr<GrpcServer> backend_;
  RpcOptions options_;
  absl::Notification begun_;
  End end_;
};

constexpr auto kNameOf = [](const auto& info) {
  return NameOf(std::get<0>(info.param)) +
         (std::get<1>(info.param) ? "_taken" : "");
};

INSTANTIATE_TEST_SUITE_P(Apis, ServerCallTest, AllApisAlsoTaken(), kNameOf);

TEST_P(ServerCallTest, ItsDeadlineEndsAnAttempt) {
  std::atomic<int64_t> left = -1;
  backend_->SetHandler([&left](const testing::GrpcRequest& request) {
    if (request.metadata.count("grpc-previous-rpc-attempts") == 0) {
      return GrpcReply::Error(StatusCode::UNAVAILABLE);
    }
    left = absl::ToInt64Milliseconds(request.time_left);
    return GrpcReply::Hang();
  });
  EndByDeadline(Calls(Channel()), absl::Milliseconds(800));
  EXPECT_TRUE(backend_->log().WaitForCancelled(1, absl::Seconds(10)));
  EXPECT_EQ(backend_->log().Count(), 2);
  // The second attempt had the outer call's deadline, and ended with it.
  EXPECT_GE(left, 0);
  EXPECT_LE(left, 850);
  EXPECT_GE(end_.took, absl::Milliseconds(300));
  EXPECT_LT(end_.took, kFarLess);
}

TEST_P(ServerCallTest, ItsCancellationEndsAnAttempt) {
  backend_->SetHandler([](const testing::GrpcRequest& request) {
    return request.index == 0 ? GrpcReply::Error(StatusCode::UNAVAILABLE)
                              : GrpcReply::Hang();
  });
  EndByCancel(Calls(Channel()), [this] {
    return backend_->log().WaitForCount(2, absl::Seconds(10));
  });
  EXPECT_TRUE(backend_->log().WaitForCancelled(1, absl::Seconds(10)));
  EXPECT_EQ(backend_->log().Count(), 2);
  EXPECT_EQ(end_.status.error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(end_.record.stop_reason, StopReason::kCancelled);
}

TEST_P(ServerCallTest, ItsCancellationEndsABackoff) {
  backend_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback(kLongPushback),
       GrpcReply::Ok("")});
  EndByCancel(Calls(Channel()), [this] {
    return backend_->log().WaitForCount(1, absl::Seconds(10));
  });
  // It may have come before the attempt's end was known.
  EXPECT_EQ(end_.status.error_code(), StatusCode::CANCELLED);
  EXPECT_LT(end_.took, kFarLess);
  EXPECT_EQ(backend_->log().Count(), 1);
}

TEST_P(ServerCallTest, ItsDeadlineEndsABackoff) {
  backend_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback(kLongPushback),
       GrpcReply::Ok("")});
  EndByDeadline(Calls(Channel()), absl::Seconds(2));
  ExpectEndedInAWait(end_, StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(backend_->log().Count(), 1);
}

TEST_P(ServerCallTest, ItEndsASecondBackoff) {
  backend_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback("50"),
       GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback(kLongPushback),
       GrpcReply::Ok("")});
  EndByDeadline(Calls(Channel()), absl::Seconds(3));
  ExpectEndedInAWait(end_, StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(backend_->log().Count(), 2);
}

TEST_P(ServerCallTest, ItsCancellationEndsAWaitForAGate) {
  backend_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback(kLongPushback),
       GrpcReply::Ok("")});
  const std::shared_ptr<grpc::Channel> channel = Channel();
  {
    EchoCall shuts(api(), channel);
    shuts.SetDeadline(absl::Seconds(10));  // no time to wait
    EXPECT_EQ(shuts.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  }
  EndByCancel(Calls(channel), [this] {
    return begun_.WaitForNotificationWithTimeout(absl::Seconds(10));
  });
  ExpectEndedInAWait(end_, StatusCode::CANCELLED);
  EXPECT_EQ(backend_->log().Count(), 1);
}

// Who does not want to inherit does not.
TEST_P(ServerCallTest, ACallThatInheritsNothingGoesOn) {
  backend_->SetHandler([](const testing::GrpcRequest& request) {
    return request.index == 0
               ? GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback("700")
               : GrpcReply::Ok(request.bytes);
  });
  EndByCancel(
      Calls(Channel(), grpc::PropagationOptions()
                           .disable_deadline_propagation()
                           .disable_cancellation_propagation()),
      [this] { return backend_->log().WaitForCount(1, absl::Seconds(10)); });
  EXPECT_TRUE(end_.status.ok()) << end_.status.error_message();
  EXPECT_EQ(backend_->log().Count(), 2);
}

// Its deadline alone: that is seen in a wait.
TEST_P(ServerCallTest, ACallThatInheritsTheDeadlineAlone) {
  backend_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback(kLongPushback),
       GrpcReply::Ok("")});
  EndByDeadline(
      Calls(Channel(),
            grpc::PropagationOptions().disable_cancellation_propagation()),
      absl::Seconds(2));
  ExpectEndedInAWait(end_, StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(backend_->log().Count(), 1);
}

// A call that goes well after a wait is not disturbed, and lets everything go.
TEST_P(ServerCallTest, ACallThatGoesWellAfterAWait) {
  backend_->SetHandler([](const testing::GrpcRequest& request) {
    return request.index % 2 == 0
               ? GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback("1")
               : GrpcReply::Ok(request.bytes);
  });
  for (int i = 0; i < 10; ++i) {
    ProxyServer proxy(Calls(Channel()));  // a channel of its own, which goes
    EchoCall call(Api::kCallback, proxy.Channel());
    call.SetDeadline(absl::Seconds(30));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    proxy.Stop();
    EXPECT_EQ(end_.record.stop_reason, StopReason::kSuccess);
  }
  EXPECT_EQ(backend_->log().Count(), 20);
}

// A deadline that is said once more can be seen: a wait that does not fit ends the call
// at once.
TEST_P(ServerCallTest, ItsDeadlineSaidOnceMoreBoundsWaits) {
  backend_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback("30000"),
                    GrpcReply::Ok("")});
  const std::shared_ptr<grpc::Channel> channel = Channel();
  ProxyServer proxy([&](grpc::ServerContext* context) {
    EchoCall inner(api(), channel);
    inner.MakeFor(*context);
    inner.context().set_deadline(context->raw_deadline());
    end_ = RunToEnd(&inner);
    return end_.status;
  });
  EchoCall call(Api::kCallback, proxy.Channel());
  call.SetDeadline(absl::Seconds(25));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  proxy.Stop();
  EXPECT_LT(end_.took, kFarLess);
  EXPECT_EQ(end_.record.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(backend_->log().Count(), 1);
}

// By APIs that do not block.
class ServerCallThatEndsTest : public ServerCallTest {};

INSTANTIATE_TEST_SUITE_P(
    Apis, ServerCallThatEndsTest,
    ::testing::Values(std::make_tuple(Api::kCallback, false),
                      std::make_tuple(Api::kReactor, false),
                      std::make_tuple(Api::kGeneric, false),
                      std::make_tuple(Api::kGeneric, true)),
    kNameOf);

// gRPC cancels what is made for a server call when that has ended in any way.
TEST_P(ServerCallThatEndsTest, ItsEndEndsABackoff) {
  backend_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback(kLongPushback),
       GrpcReply::Ok("")});
  EchoCall inner(api(), Channel());
  ProxyServer proxy([&inner](grpc::ServerContext* context) {
    inner.MakeFor(*context);
    inner.Start();
    return grpc::Status::OK;
  });
  EchoCall call(Api::kCallback, proxy.Channel());
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(inner.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_LT(inner.took(), kFarLess);
  EXPECT_LE(backend_->log().Count(), 1);
}

class StreamOfAServerCallTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {
 protected:
  std::shared_ptr<grpc::Channel> Channel() {
    RpcOptions options;
    options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
    return CreateChannel(backend_.address(), grpc::InsecureChannelCredentials(),
                         *Client::Create({}), options);
  }
  ProxyServer::Handler Calls(const std::shared_ptr<grpc::Channel>& channel) {
    return [this, channel](grpc::ServerContext* context) {
      StreamApp inner(std::get<1>(GetParam()), std::get<0>(GetParam()),
                      channel);
      inner.MakeFor(*context);
      end_ = RunToEnd(&inner);
      return end_.status;
    };
  }

  StreamServer backend_;
  End end_;
};

INSTANTIATE_TEST_SUITE_P(All, StreamOfAServerCallTest, AllStreams(),
                         kNameOfStream);

TEST_P(StreamOfAServerCallTest, ItsCancellationEndsABackoff) {
  backend_.Script(
      {StreamPlay::Fails(StatusCode::UNAVAILABLE).Pushback(kLongPushback),
       StreamPlay::Good()});
  EndByCancel(Calls(Channel()), [this] { return backend_.WaitForCount(1); });
  EXPECT_EQ(end_.status.error_code(), StatusCode::CANCELLED);
  EXPECT_LT(end_.took, kFarLess);
  EXPECT_EQ(backend_.Count(), 1);
}

TEST_P(StreamOfAServerCallTest, ItsDeadlineEndsABackoff) {
  backend_.Script(
      {StreamPlay::Fails(StatusCode::UNAVAILABLE).Pushback(kLongPushback),
       StreamPlay::Good()});
  EndByDeadline(Calls(Channel()), absl::Seconds(2));
  ExpectEndedInAWait(end_, StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(backend_.Count(), 1);
}

TEST_P(StreamOfAServerCallTest, AStreamThatGoesWellAfterAWait) {
  for (int i = 0; i < 5; ++i) {
    backend_.Script({StreamPlay::Fails(StatusCode::UNAVAILABLE).Pushback("1"),
                     StreamPlay::Good()});
    ProxyServer proxy(Calls(Channel()));  // a channel of its own, which goes
    EchoCall call(Api::kCallback, proxy.Channel());
    call.SetDeadline(absl::Seconds(30));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    proxy.Stop();
    EXPECT_EQ(end_.record.stop_reason, StopReason::kSuccess);
  }
}

}  // namespace
}  // namespace forbear::rpc
