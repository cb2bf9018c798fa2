// Every unary API of gRPC against everything that can become of a call. What
// the server saw is counted at the server; upper bounds of time are generous,
// lower ones exact.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/status_details.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/echo2.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcServer;

std::string Bytes(const std::string& payload) {
  EchoMessage message;
  message.set_payload(payload);
  return message.SerializeAsString();
}

struct Scenario {
  const char* name;
  std::vector<GrpcReply> replies;
  // The call's deadline; zero: none.
  absl::Duration deadline;
  // The caller cancels when the server has seen this many sends; 0: never.
  int cancel_after;
  // And first waits until the last of these has failed.
  bool cancel_in_backoff;

  StatusCode code;
  StopReason reason;
  int sends;
  absl::Duration at_least;  // how long it takes
};

std::ostream& operator<<(std::ostream& out, const Scenario& scenario) {
  return out << scenario.name;
}

std::vector<Scenario> Scenarios() {
  const GrpcReply down = GrpcReply::Error(StatusCode::UNAVAILABLE, "down");
  const GrpcReply busy = GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED);
  const GrpcReply ok = GrpcReply::Ok(Bytes("at last"));
  const absl::Duration none;
  return {
      {"Ok",
       {ok},
       none,
       0,
       false,
       StatusCode::OK,
       StopReason::kSuccess,
       1,
       none},
      {"UnavailableTwice",
       {down, down, ok},
       none,
       0,
       false,
       StatusCode::OK,
       StopReason::kSuccess,
       3,
       none},
      {"Pushback",
       {busy.Pushback("600"), ok},
       none,
       0,
       false,
       StatusCode::OK,
       StopReason::kSuccess,
       2,
       absl::Milliseconds(600)},
      {"RetryInfo",
       {busy.WithDetails(RetryInfoBytes(absl::Milliseconds(600))), ok},
       none,
       0,
       false,
       StatusCode::OK,
       StopReason::kSuccess,
       2,
       absl::Milliseconds(600)},
      {"DeadlineDuringTheFirstAttempt",
       {GrpcReply::Hang()},
       absl::Milliseconds(400),
       0,
       false,
       StatusCode::DEADLINE_EXCEEDED,
       StopReason::kDeadlineExceeded,
       1,
       absl::Milliseconds(395)},
      {"DeadlineDuringALaterAttempt",
       {down, GrpcReply::Hang()},
       absl::Milliseconds(1200),
       0,
       false,
       StatusCode::DEADLINE_EXCEEDED,
       StopReason::kDeadlineExceeded,
       2,
       absl::Milliseconds(1195)},
      // A wait that does not fit is not begun.
      {"DeadlineBeforeTheEndOfABackoff",
       {busy.Pushback("60000")},
       absl::Seconds(20),
       0,
       false,
       StatusCode::RESOURCE_EXHAUSTED,
       StopReason::kWaitExceedsDeadline,
       1,
       none},
      {"CancelDuringTheFirstAttempt",
       {GrpcReply::Hang()},
       none,
       1,
       false,
       StatusCode::CANCELLED,
       StopReason::kCancelled,
       1,
       none},
      {"CancelDuringALaterAttempt",
       {down, GrpcReply::Hang()},
       none,
       2,
       false,
       StatusCode::CANCELLED,
       StopReason::kCancelled,
       2,
       none},
      {"CancelDuringABackoff",
       {busy.Pushback("30000")},
       none,
       1,
       true,
       StatusCode::CANCELLED,
       StopReason::kCancelled,
       1,
       none},
  };
}

// Whether attempt 1 is the application's own call, or taken over.
#if defined(FORBEAR_GRPC_PRIVATE_ACCESS) && !FORBEAR_GRPC_PRIVATE_ACCESS
constexpr bool kTaken[] = {true};
auto Apis() { return ApisOfOneBatch(); }  // a reactor's is not taken over
#else
constexpr bool kTaken[] = {false, true};
auto Apis() { return AllApis(); }
#endif

TakeOver TakeOverOf(Api api, bool taken) {
  if (!taken) return TakeOver::kNever;
  return api == Api::kGeneric ? TakeOver::kGenericStubs
                              : TakeOver::kGeneratedStubs;
}

class UnaryMatrixTest
    : public ::testing::TestWithParam<std::tuple<Api, bool, Scenario>> {};

std::string NameOfAll(
    const ::testing::TestParamInfo<std::tuple<Api, bool, Scenario>>& info) {
  return NameOf(std::get<0>(info.param)) + "_" +
         (std::get<1>(info.param) ? "Taken_" : "") +
         std::get<2>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(All, UnaryMatrixTest,
                         ::testing::Combine(ApisOfOneBatch(),
                                            ::testing::ValuesIn(kTaken),
                                            ::testing::ValuesIn(Scenarios())),
                         NameOfAll);
#if !defined(FORBEAR_GRPC_PRIVATE_ACCESS) || FORBEAR_GRPC_PRIVATE_ACCESS
INSTANTIATE_TEST_SUITE_P(Reactors, UnaryMatrixTest,
                         ::testing::Combine(::testing::Values(Api::kReactor),
                                            ::testing::Values(false),
                                            ::testing::ValuesIn(Scenarios())),
                         NameOfAll);
#endif

TEST_P(UnaryMatrixTest, EndsAsItShould) {
  const auto& [api, taken, scenario] = GetParam();
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script(scenario.replies);
  RpcOptions options;
  options.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
  options.take_over = TakeOverOf(api, taken);
  EchoCall call(
      api, CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                         *Client::Create({}), options));
  if (scenario.deadline > absl::ZeroDuration()) {
    call.SetDeadline(scenario.deadline);
  }
  call.Start();
  if (scenario.cancel_after > 0) {
    ASSERT_TRUE(
        server->log().WaitForCount(scenario.cancel_after, absl::Seconds(10)));
    while (scenario.cancel_in_backoff &&
           (call.record().attempts.empty() ||
            call.record().attempts.back().outcome.kind == ErrorKind::kOk)) {
      std::this_thread::yield();
    }
    call.Cancel();
  }
  EXPECT_EQ(call.Wait().error_code(), scenario.code)
      << call.status().error_message();
  EXPECT_GE(call.took(), scenario.at_least);
  EXPECT_LT(call.took(), absl::Seconds(15));
  EXPECT_EQ(server->log().Count(), scenario.sends);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, scenario.reason);
  EXPECT_EQ(record.total_attempts, scenario.sends);
  if (scenario.code == StatusCode::OK) {
    EXPECT_EQ(call.payload(), "at last");
  }
  // Nobody is left working for a caller who has gone.
  if (scenario.replies.back().hang) {
    EXPECT_TRUE(server->log().WaitForCancelled(1, absl::Seconds(5)));
  }
  // What was sent, and was received where that is known: not if the response
  // is that of the application's own call.
  for (const AttemptRecord& attempt : record.attempts) {
    EXPECT_EQ(attempt.outcome.bytes_sent,
              static_cast<int64_t>(Bytes("hello").size()));
    EXPECT_EQ(
        attempt.outcome.bytes_received,
        (taken || attempt.number > 1) && attempt.outcome.kind == ErrorKind::kOk
            ? static_cast<int64_t>(Bytes("at last").size())
            : 0);
  }
}

// The deadline passes while the call waits: the gate opens in time for one
// caller, but another one is ahead and does not come back.
class UnaryMatrixApiTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(All, UnaryMatrixApiTest, Apis(), ApiName);

TEST_P(UnaryMatrixApiTest, DeadlineDuringAWait) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script(
      {GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED).Pushback("300"),
       GrpcReply::Hang()});
  RpcOptions options;
  options.take_over = TakeOverOf(GetParam(), kTaken[0]);
  const auto channel =
      CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                    *Client::Create({}), options);
  EchoCall first(GetParam(), channel);
  first.SetDeadline(absl::Seconds(10));
  first.Start();
  ASSERT_TRUE(server->log().WaitForCount(2, absl::Seconds(5)));
  EchoCall second(GetParam(), channel);
  second.SetDeadline(absl::Milliseconds(400));
  EXPECT_EQ(second.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GE(second.took(), absl::Milliseconds(395));
  EXPECT_LT(second.took(), absl::Seconds(5));
  EXPECT_EQ(second.record().stop_reason, StopReason::kDeadlineExceeded);
  EXPECT_EQ(second.record().total_attempts, 0);
  first.Cancel();
  EXPECT_EQ(first.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(server->log().Count(), 2);
}

// Two packages have a service Echo with a method Say, and one of them has a
// second method: each rule is for its own.
TEST(RulesTest, DoNotMixBetweenServicesAndPackages) {
  constexpr char kOther[] = "/forbear.testing.Echo/Other";
  constexpr char kSayOfOther[] = "/forbear.testing.other.Echo/Say";
  const std::vector<std::string> all = {kSay, kOther, kSayOfOther};
  struct {
    std::string rule;
    std::vector<std::string> consents;
  } const cases[] = {
      {kSay, {kSay}},
      {kOther, {kOther}},
      {kSayOfOther, {kSayOfOther}},
      {"/forbear.testing.Echo/*", {kSay, kOther}},
      {"/forbear.testing.other.Echo/*", {kSayOfOther}},
      {"*", all},
      {"/Echo/Say", {}},
      {"/testing.Echo/Say", {}},
  };
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  for (const auto& c : cases) {
    RpcOptions options;
    options.methods = {{c.rule, {StatusCode::UNAVAILABLE}}};
    options.take_over = TakeOverOf(Api::kSync, kTaken[0]);
    const auto channel =
        CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create({}), options);
    const auto echo = testing::Echo::NewStub(channel);
    const auto other = testing::other::Echo::NewStub(channel);
    for (const std::string& method : all) {
      const bool consent = std::find(c.consents.begin(), c.consents.end(),
                                     method) != c.consents.end();
      server->Script({GrpcReply::Error(StatusCode::UNAVAILABLE),
                      GrpcReply::Ok(Bytes("ok"))});
      const int64_t before = server->log().Count();
      grpc::ClientContext context;
      EchoMessage request;
      EchoMessage response;
      const grpc::Status status =
          method == kSay     ? echo->Say(&context, request, &response)
          : method == kOther ? echo->Other(&context, request, &response)
                             : other->Say(&context, request, &response);
      EXPECT_EQ(status.ok(), consent) << c.rule << " " << method;
      EXPECT_EQ(server->log().Count() - before, consent ? 2 : 1)
          << c.rule << " " << method;
      EXPECT_EQ(server->log().Snapshot().back().path, method);
    }
  }
}

}  // namespace
}  // namespace forbear::rpc
