// What becomes of one call, for each API, against a real server. Sends are
// counted by the server. Upper bounds of time are generous, lower ones exact.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/backoff.h"
#include "core/outcome.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/status_details.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Arrival;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcServer;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Bytes(const std::string& payload) {
  EchoMessage message;
  message.set_payload(payload);
  return message.SerializeAsString();
}

class UnaryTest : public ::testing::TestWithParam<Api> {
 protected:
  UnaryTest() : server_(*GrpcServer::Create()), client_(*Client::Create({})) {}

  std::shared_ptr<grpc::Channel> Channel(RpcOptions options = {}) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    return CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                         client_, std::move(options), arguments);
  }
  // Listing UNAVAILABLE is the consent.
  static RpcOptions Consent(std::vector<StatusCode> codes = {
                                StatusCode::UNAVAILABLE}) {
    RpcOptions options;
    options.methods = {{kSay, std::move(codes)}};
    return options;
  }

  // grpc-previous-rpc-attempts of each arrival; "-": absent.
  std::vector<std::string> PreviousAttempts() const {
    std::vector<std::string> values;
    for (const Arrival& a : server_->log().Snapshot()) {
      const auto it = a.headers.find("grpc-previous-rpc-attempts");
      values.push_back(it == a.headers.end() ? "-" : it->second);
    }
    return values;
  }

  const std::unique_ptr<GrpcServer> server_;
  const std::shared_ptr<Client> client_;
};

INSTANTIATE_TEST_SUITE_P(Apis, UnaryTest, AllApis(), ApiName);

TEST_P(UnaryTest, Ok) {
  server_->Script({GrpcReply::Ok(Bytes("hi"))
                       .WithInitial("x-initial", "1")
                       .WithTrailing("x-trailing", "2")});
  EchoCall call(GetParam(), Channel());
  EXPECT_TRUE(call.Run().ok());
  EXPECT_EQ(call.payload(), "hi");
  EXPECT_EQ(call.Initial("x-initial"), "1");
  EXPECT_EQ(call.Trailing("x-trailing"), "2");
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), std::nullopt);
  EXPECT_EQ(server_->log().Count(), 1);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(record.protocol, Protocol::kGrpc);
  EXPECT_EQ(record.names.target(), server_->address());
  EXPECT_EQ(record.names.method(), kSay);
  ASSERT_EQ(record.attempts.size(), 1u);
  EXPECT_EQ(record.attempts[0].outcome.kind, ErrorKind::kOk);
}

TEST_P(UnaryTest, UnavailableTwiceThenOkWithConsent) {
  const GrpcReply down = GrpcReply::Error(StatusCode::UNAVAILABLE, "down")
                             .WithTrailing("x-trailing", "bad");
  server_->Script({down, down,
                   GrpcReply::Ok(Bytes("at last"))
                       .WithInitial("x-initial", "good")
                       .WithTrailing("x-trailing", "good")});
  EchoCall call(GetParam(), Channel(Consent()));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "at last");
  // Of the final attempt, and of no other; but a reactor has had the first one's,
  // which had none.
  EXPECT_EQ(call.Initial("x-initial"),
            GetParam() == Api::kReactor
                ? std::nullopt
                : std::make_optional<std::string>("good"));
  EXPECT_EQ(call.Trailing("x-trailing"), "good");
  EXPECT_EQ(call.context().GetServerTrailingMetadata().count("x-trailing"), 1u);
  EXPECT_EQ(PreviousAttempts(), (std::vector<std::string>{"-", "1", "2"}));
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
  ASSERT_EQ(record.attempts.size(), 3u);
  EXPECT_EQ(record.attempts[0].outcome.status, StatusCode::UNAVAILABLE);
  EXPECT_EQ(record.attempts[1].outcome.kind, ErrorKind::kTransient);
  EXPECT_EQ(record.attempts[2].outcome.kind, ErrorKind::kOk);
  EXPECT_EQ(record.wasted_sends(), 2);
}

TEST_P(UnaryTest, UnavailableWithoutConsentIsSentOnce) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "down")
                       .WithDetails("details")
                       .WithTrailing("x-trailing", "1")});
  EchoCall call(GetParam(), Channel());
  const grpc::Status& status = call.Run();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "down");
  EXPECT_EQ(status.error_details(), "details");
  EXPECT_EQ(call.Trailing("x-trailing"), "1");
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), std::nullopt);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kNotIdempotent);
}

TEST_P(UnaryTest, ConsentIsForTheListedCodesOnly) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE)});
  EchoCall call(GetParam(), Channel(Consent({StatusCode::ABORTED})));
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kNotIdempotent);
}

TEST_P(UnaryTest, AListedCodeOtherThanUnavailable) {
  server_->Script(
      {GrpcReply::Error(StatusCode::ABORTED), GrpcReply::Ok(Bytes("done"))});
  EchoCall call(GetParam(), Channel(Consent({StatusCode::ABORTED})));
  EXPECT_TRUE(call.Run().ok());
  EXPECT_EQ(call.payload(), "done");
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_P(UnaryTest, AnUnlistedCodeIsFinal) {
  server_->Script({GrpcReply::Error(StatusCode::INTERNAL, "broken")});
  EchoCall call(GetParam(), Channel(Consent()));
  EXPECT_EQ(call.Run().error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kPermanentError);
}

TEST_P(UnaryTest, WhenRetriesEndTheLastStatusIsTheServersOwn) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "first"),
                   GrpcReply::Error(StatusCode::UNAVAILABLE, "second"),
                   GrpcReply::Error(StatusCode::UNAVAILABLE, "third")
                       .WithDetails("third details")
                       .WithTrailing("x-trailing", "third")});
  EchoCall call(GetParam(), Channel(Consent()));
  const grpc::Status& status = call.Run();
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "third");
  EXPECT_EQ(status.error_details(), "third details");
  EXPECT_EQ(call.Trailing("x-trailing"), "third");
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_EQ(call.record().stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_THAT(call.context().debug_error_string(), HasSubstr("third"));
}

TEST_P(UnaryTest, PushbackTwiceIsHonoured) {
  const GrpcReply busy =
      GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("1000");
  server_->Script({busy, busy, GrpcReply::Ok(Bytes("ok"))});
  EchoCall call(GetParam(), Channel());
  EXPECT_TRUE(call.Run().ok());
  EXPECT_EQ(call.payload(), "ok");
  const std::vector<Arrival> sends = server_->log().Snapshot();
  ASSERT_EQ(sends.size(), 3u);
  EXPECT_GE(sends[1].since_start - sends[0].since_start, absl::Seconds(1));
  EXPECT_GE(sends[2].since_start - sends[1].since_start, absl::Seconds(1));
  EXPECT_LE(call.took(), absl::Seconds(5));
  EXPECT_EQ(PreviousAttempts(), (std::vector<std::string>{"-", "1", "2"}));
  const CallRecord record = call.record();
  ASSERT_EQ(record.attempts.size(), 3u);
  EXPECT_EQ(record.attempts[1].wait_source, DelaySource::kPushback);
  EXPECT_EQ(record.attempts[1].outcome.pushback, absl::Seconds(1));
}

TEST_P(UnaryTest, RetryInfoIsHonoured) {
  server_->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED)
                       .WithDetails(RetryInfoBytes(absl::Milliseconds(700))),
                   GrpcReply::Ok(Bytes("ok"))});
  EchoCall call(GetParam(), Channel());
  EXPECT_TRUE(call.Run().ok());
  const std::vector<Arrival> sends = server_->log().Snapshot();
  ASSERT_EQ(sends.size(), 2u);
  EXPECT_GE(sends[1].since_start - sends[0].since_start,
            absl::Milliseconds(700));
  EXPECT_EQ(call.record().attempts[1].wait_source, DelaySource::kRetryInfo);
}

TEST_P(UnaryTest, ADaysQuotaIsNotWaitedFor) {
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED)
           .WithDetails(QuotaFailureBytes("ReadRequestsPerDayPerProject") +
                        RetryInfoBytes(absl::Milliseconds(100))),
       GrpcReply::Ok(Bytes("never"))});
  EchoCall call(GetParam(), Channel());
  EXPECT_EQ(call.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server_->log().Count(), 1);
  EXPECT_EQ(call.record().stop_reason, StopReason::kQuotaExhausted);
  EXPECT_EQ(call.record().attempts[0].outcome.kind, ErrorKind::kQuotaExhausted);
}

TEST_P(UnaryTest, AServerThatForbidsARetryIsObeyed) {
  for (const char* pushback : {"-1", "soon"}) {
    const int64_t before = server_->log().Count();
    server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "never")
                         .Pushback(pushback)});
    EchoCall call(GetParam(), Channel(Consent()));
    EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(server_->log().Count() - before, 1) << pushback;
    EXPECT_EQ(call.record().stop_reason, StopReason::kServerSaidNo);
  }
  // Also when it refused, and the call could be sent again.
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("-1")});
  EchoCall call(GetParam(), Channel());
  EXPECT_EQ(call.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(call.record().stop_reason, StopReason::kServerSaidNo);
  EXPECT_EQ(server_->log().Count(), 3);
}

TEST_P(UnaryTest, AWaitThatDoesNotFitEndsTheCallAtOnce) {
  server_->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, "busy")
                       .Pushback("60000")});
  EchoCall call(GetParam(), Channel());
  call.SetDeadline(absl::Seconds(30));
  const grpc::Status& status = call.Run();
  EXPECT_LT(call.took(), absl::Seconds(5));
  // The server's own word, and when to come back.
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "busy");
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), "wait_exceeds_deadline");
  const int ms = std::stoi(call.Trailing("forbear-retry-at-ms").value_or("0"));
  EXPECT_GT(ms, 55000);
  EXPECT_LT(ms, 61000);
  EXPECT_NE(call.record().retry_at, std::nullopt);
  EXPECT_EQ(server_->log().Count(), 1);

  // The next caller is refused without being sent: the quota is in the way.
  EchoCall next(GetParam(), Channel());
  next.SetDeadline(absl::Seconds(30));
  EXPECT_EQ(next.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(next.status().error_message(), StartsWith("forbear: "));
  EXPECT_EQ(next.Trailing("forbear-stop-reason"), "wait_exceeds_deadline");
  EXPECT_NE(next.Trailing("forbear-retry-at-ms"), std::nullopt);
  EXPECT_LT(next.took(), absl::Seconds(5));
  EXPECT_EQ(next.record().total_attempts, 0);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(UnaryTest, TheEndpointsOwnWaitIsUnavailable) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE, "maintenance")
                       .Pushback("60000")});
  const auto channel = Channel();
  EchoCall call(GetParam(), channel);
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EchoCall next(GetParam(), channel);
  next.SetDeadline(absl::Seconds(30));
  EXPECT_EQ(next.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(next.status().error_message(), StartsWith("forbear: "));
  EXPECT_EQ(next.record().stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(UnaryTest, DeadlineDuringAnAttempt) {
  server_->Script({GrpcReply::Hang()});
  EchoCall call(GetParam(), Channel(Consent({StatusCode::UNAVAILABLE,
                                             StatusCode::DEADLINE_EXCEEDED})));
  call.SetDeadline(absl::Milliseconds(300));
  EXPECT_EQ(call.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GE(call.took(), absl::Milliseconds(295));
  EXPECT_LT(call.took(), absl::Seconds(5));
  EXPECT_EQ(server_->log().Count(), 1);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kDeadlineExceeded);
  EXPECT_EQ(record.retry_at, std::nullopt);
  ASSERT_EQ(record.attempts.size(), 1u);
  EXPECT_TRUE(record.attempts[0].outcome.timed_out);
}

TEST_P(UnaryTest, DeadlineDuringALaterAttempt) {
  server_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE), GrpcReply::Hang()});
  EchoCall call(GetParam(), Channel(Consent()));
  call.SetDeadline(absl::Milliseconds(1500));
  EXPECT_EQ(call.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GE(call.took(), absl::Milliseconds(1495));
  EXPECT_LT(call.took(), absl::Seconds(6));
  EXPECT_EQ(server_->log().Count(), 2);
  EXPECT_EQ(call.record().stop_reason, StopReason::kDeadlineExceeded);
  EXPECT_TRUE(server_->log().WaitForCancelled(1, absl::Seconds(5)));
}

TEST_P(UnaryTest, DeadlineDuringAWait) {
  // The gate opens in time for one caller, but another one is ahead and does
  // not come back.
  server_->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("300"),
       GrpcReply::Hang()});
  const auto channel = Channel();
  EchoCall first(GetParam(), channel);
  first.SetDeadline(absl::Seconds(5));
  first.Start();
  ASSERT_TRUE(server_->log().WaitForCount(2, absl::Seconds(5)));
  EchoCall second(GetParam(), channel);
  second.SetDeadline(absl::Milliseconds(400));
  EXPECT_EQ(second.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GE(second.took(), absl::Milliseconds(395));
  EXPECT_EQ(second.record().stop_reason, StopReason::kDeadlineExceeded);
  EXPECT_EQ(second.record().total_attempts, 0);
  first.Cancel();
  EXPECT_EQ(first.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_P(UnaryTest, AttemptTimeoutMakesAnotherAttempt) {
  server_->Script({GrpcReply::Hang(), GrpcReply::Hang(),
                   GrpcReply::Ok(Bytes("third time"))});
  RpcOptions options = Consent();
  options.methods[0].attempt_timeout = absl::Milliseconds(200);
  EchoCall call(GetParam(), Channel(options));
  call.SetDeadline(absl::Seconds(20));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "third time");
  EXPECT_GE(call.took(), absl::Milliseconds(400));
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_TRUE(server_->log().WaitForCancelled(2, absl::Seconds(5)));
  const CallRecord record = call.record();
  ASSERT_EQ(record.attempts.size(), 3u);
  EXPECT_TRUE(record.attempts[0].outcome.timed_out);
  EXPECT_TRUE(record.attempts[1].outcome.timed_out);
}

TEST_P(UnaryTest, AttemptTimeoutWithoutConsentIsFinal) {
  server_->Script({GrpcReply::Hang()});
  RpcOptions options = Consent({});
  options.methods[0].attempt_timeout = absl::Milliseconds(200);
  EchoCall call(GetParam(), Channel(options));
  call.SetDeadline(absl::Seconds(20));
  // Our own cancel is no CANCELLED of the application's.
  EXPECT_EQ(call.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(call.status().error_message(), StartsWith("forbear: "));
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), "not_idempotent");
  EXPECT_LT(call.took(), absl::Seconds(10));
  EXPECT_EQ(call.record().stop_reason, StopReason::kNotIdempotent);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(UnaryTest, CancelDuringAnAttempt) {
  server_->Script({GrpcReply::Hang()});
  EchoCall call(GetParam(), Channel(Consent()));
  call.Start();
  ASSERT_TRUE(server_->log().WaitForCount(1, absl::Seconds(5)));
  call.Cancel();
  EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(server_->log().WaitForCancelled(1, absl::Seconds(5)));
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(UnaryTest, CancelDuringALaterAttempt) {
  server_->Script(
      {GrpcReply::Error(StatusCode::UNAVAILABLE), GrpcReply::Hang()});
  EchoCall call(GetParam(), Channel(Consent()));
  call.Start();
  ASSERT_TRUE(server_->log().WaitForCount(2, absl::Seconds(10)));
  call.Cancel();
  EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(server_->log().WaitForCancelled(1, absl::Seconds(5)));
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_P(UnaryTest, CancelBeforeTheStart) {
  EchoCall call(GetParam(), Channel(Consent()));
  call.Cancel();
  EXPECT_EQ(call.Run().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  EXPECT_EQ(server_->log().Count(), 0);
}

TEST_P(UnaryTest, CancelDuringBackoffReturnsAtOnce) {
  server_->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, "busy")
                       .Pushback("30000")});
  std::vector<double> milliseconds;
  for (int i = 0; i < 100; ++i) {
    // A key of its own for each, or they would wait for one another.
    RpcOptions options;
    options.quota_id = std::to_string(i);
    EchoCall call(GetParam(), Channel(options));
    call.Start();
    ASSERT_TRUE(server_->log().WaitForCount(i + 1, absl::Seconds(5)));
    while (call.record().attempts.empty() ||
           call.record().attempts[0].outcome.kind == ErrorKind::kOk) {
      std::this_thread::yield();
    }
    // Into the wait itself.
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    const MonotonicTime cancelled = MonotonicNow();
    call.Cancel();
    EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED);
    EXPECT_EQ(call.Trailing("forbear-stop-reason"), "cancelled");
    EXPECT_EQ(call.Trailing("grpc-retry-pushback-ms"), std::nullopt);
    milliseconds.push_back(absl::ToDoubleMilliseconds(call.end() - cancelled));
    EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  }
  EXPECT_EQ(server_->log().Count(), 100);
  std::sort(milliseconds.begin(), milliseconds.end());
  std::printf("cancel during backoff: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n",
              milliseconds[49], milliseconds[98], milliseconds[99]);
  // A safety limit, for a machine that is busy with other things: the wait that
  // was cut short is of 30 s.
  EXPECT_LE(milliseconds[98], 500);
}

// The attempt's own end is that of our time-out, and no word of the application's.
TEST_P(UnaryTest, CancelDuringTheBackoffAfterAnAttemptTimeout) {
  server_->Script({GrpcReply::Hang()});
  RpcOptions options = Consent();
  options.methods[0].attempt_timeout = absl::Milliseconds(50);
  options.methods[0].retry = RetryOptions();
  options.methods[0].retry->backoff.initial = absl::Minutes(1);
  options.methods[0].retry->backoff.max = absl::Minutes(1);
  options.methods[0].retry->backoff.jitter = Jitter::kNone;
  options.methods[0].retry->backoff.lone_part = 1;
  options.methods[0].retry->max_elapsed = absl::Minutes(5);
  EchoCall call(GetParam(), Channel(options));
  call.Start();
  while (call.record().attempts.empty() ||
         call.record().attempts[0].outcome.kind == ErrorKind::kOk) {
    std::this_thread::yield();
  }
  call.Cancel();
  EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED)
      << call.status().error_message();
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), "cancelled");
  EXPECT_LT(call.took(), absl::Seconds(30));
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  // On a busy machine it may be over before it has arrived.
  EXPECT_LE(server_->log().Count(), 1);
}

TEST_P(UnaryTest, CancelWhileHeldBeforeTheFirstSend) {
  server_->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, "busy")
                       .Pushback("30000")});
  const auto channel = Channel();
  EchoCall first(GetParam(), channel);
  first.SetDeadline(absl::Seconds(5));
  first.Run();
  EchoCall held(GetParam(), channel);
  held.Start();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  held.Cancel();
  EXPECT_EQ(held.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_LT(held.took(), absl::Seconds(5));
  EXPECT_EQ(held.record().total_attempts, 0);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(UnaryTest, SizesFromNothingTo8MiB) {
  const std::string big(8 << 20, 'x');
  for (const std::string& payload : {std::string(), big}) {
    // At the first attempt, and after a retry. The handler echoes.
    server_->SetHandler([](const testing::GrpcRequest& request) {
      return request.metadata.count("grpc-previous-rpc-attempts") == 0
                 ? GrpcReply::Error(StatusCode::UNAVAILABLE)
                 : GrpcReply::Ok(request.bytes);
    });
    EchoCall again(GetParam(), Channel(Consent()), payload);
    EXPECT_TRUE(again.Run().ok()) << again.status().error_message();
    EXPECT_TRUE(again.payload() == payload) << again.payload().size();
    server_->SetHandler(nullptr);
    EchoCall once(GetParam(), Channel(), payload);
    EXPECT_TRUE(once.Run().ok()) << once.status().error_message();
    EXPECT_TRUE(once.payload() == payload) << once.payload().size();
  }
  EXPECT_EQ(server_->log().Count(), 6);
}

TEST_P(UnaryTest, AResponseBesideAnErrorIsTheLastAttempts) {
  GrpcReply first = GrpcReply::Error(StatusCode::UNAVAILABLE);
  first.response = Bytes("first");
  GrpcReply second = GrpcReply::Error(StatusCode::INTERNAL, "broken");
  second.response = Bytes("second");
  server_->Script({first, second});
  EchoCall call(GetParam(), Channel(Consent()));
  EXPECT_EQ(call.Run().error_code(), StatusCode::INTERNAL);
  EXPECT_EQ(call.status().error_message(), "broken");
  EXPECT_EQ(call.payload(), "second");
  EXPECT_EQ(server_->log().Count(), 2);
}

// A broken server's. The sync API alone has a word for it.
TEST_P(UnaryTest, OkWithoutAResponseIsNotTheFirstAttempts) {
  GrpcReply none;
  server_->Script({none});
  EchoCall stock(GetParam(),
                 grpc::CreateChannel(server_->address(),
                                     grpc::InsecureChannelCredentials()));
  const StatusCode code = stock.Run().error_code();
  GrpcReply first = GrpcReply::Error(StatusCode::UNAVAILABLE);
  first.response = Bytes("first");
  server_->Script({first, none});
  EchoCall call(GetParam(), Channel(Consent()));
  EXPECT_EQ(call.Run().error_code(), code);
  EXPECT_EQ(call.payload(), "");
}

TEST_P(UnaryTest, AnAttemptOfAnotherLayerIsNotRepeated) {
  server_->Script({GrpcReply::Error(StatusCode::UNAVAILABLE)});
  EchoCall call(GetParam(), Channel(Consent()));
  call.context().AddMetadata("x-envoy-attempt-count", "2");
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(call.record().stop_reason, StopReason::kOuterLayer);
  EXPECT_TRUE(call.record().yields_to_outer);
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(UnaryTest, AMessageOverTheLimitIsNotRetried) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(1000);
  const auto channel =
      CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                    client_, {}, arguments);
  EchoCall call(GetParam(), channel, std::string(2000, 'x'));
  EXPECT_EQ(call.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(call.record().stop_reason, StopReason::kPermanentError);
  EXPECT_EQ(server_->log().Count(), 1);
  // And nobody else waits for it.
  EchoCall next(GetParam(), channel);
  EXPECT_TRUE(next.Run().ok());
  EXPECT_LT(next.took(), absl::Seconds(2));
}

TEST_P(UnaryTest, MoreThanFiveAttemptsAndRetryOptionsOfAMethod) {
  server_->SetHandler([](const testing::GrpcRequest& request) {
    const auto it = request.metadata.find("grpc-previous-rpc-attempts");
    return it == request.metadata.end() || it->second != "7"
               ? GrpcReply::Error(StatusCode::UNAVAILABLE)
               : GrpcReply::Ok(request.bytes);
  });
  ClientOptions client_options;
  client_options.endpoint.breaker.enabled = false;
  RpcOptions options = Consent();
  options.methods[0].retry.emplace();
  options.methods[0].retry->max_attempts = 8;
  options.methods[0].retry->backoff.initial = absl::Milliseconds(1);
  options.methods[0].retry->backoff.max = absl::Milliseconds(5);
  EchoCall call(
      GetParam(),
      CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                    *Client::Create(client_options), options));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(server_->log().Count(), 8);
}

TEST_P(UnaryTest, InvalidOptionsEndEveryCallWithTheirFaults) {
  RpcOptions options;
  options.methods = {{"Say", {}}};
  EchoCall call(GetParam(), Channel(options));
  EXPECT_EQ(call.Run().error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(call.status().error_message(),
              HasSubstr("methods[0].method is \"Say\""));
  EXPECT_EQ(server_->log().Count(), 0);
}

}  // namespace
}  // namespace forbear::rpc
