// Hedges of unary calls, for each API, with attempt 1 the application's own call and
// taken over, against a real server that counts at its door. What decides when a hedge
// starts is the core's (tests/core/hedge_test.cc, execution_test.cc).

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/replay.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/classifier.h"
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
using testing::Arrival;
using testing::Echo;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcRequest;
using testing::GrpcServer;
using ::testing::HasSubstr;

std::string Bytes(const std::string& payload) {
  EchoMessage message;
  message.set_payload(payload);
  return message.SerializeAsString();
}

// 1 for a call's first attempt, and so on.
int NumberOf(const std::map<std::string, std::string>& metadata) {
  const auto it = metadata.find("grpc-previous-rpc-attempts");
  return it == metadata.end() ? 1 : std::stoi(it->second) + 1;
}

// Nothing of it but the hedges' own budget holds a hedge back.
ClientOptions Unguarded() {
  ClientOptions options;
  options.endpoint.breaker.enabled = false;
  options.endpoint.pacing = false;
  options.endpoint.budget.enabled = false;
  options.quota.pacing = false;
  return options;
}

class HedgeTest : public ::testing::TestWithParam<std::tuple<Api, bool>> {
 protected:
  HedgeTest() : server_(*GrpcServer::Create()) {
    options_.methods.resize(1);
    MethodRule& rule = options_.methods[0];
    rule.method = "*";
    rule.retryable = {StatusCode::UNAVAILABLE};
    rule.retry.emplace();
    rule.retry->hedge.enabled = true;
    SetDelay(absl::Milliseconds(20));
    if (std::get<1>(GetParam())) {
      options_.take_over = api() == Api::kGeneric ? TakeOver::kGenericStubs
                                                  : TakeOver::kGeneratedStubs;
    }
  }

  static Api api() { return std::get<0>(GetParam()); }
  RetryOptions& retry() { return *options_.methods[0].retry; }
  void SetDelay(absl::Duration delay) { retry().hedge.delay = delay; }
  void SetMaxAttempts(int n) {
    retry().max_attempts = n;
    retry().hedge.max_hedges = n - 1;
  }
  // What becomes of attempt 1, 2, … of a call; the last one also of later ones.
  void Answer(std::vector<GrpcReply> replies) {
    server_->SetHandler([replies = std::move(replies)](const GrpcRequest& r) {
      const size_t n = NumberOf(r.metadata);
      return replies[std::min(n, replies.size()) - 1];
    });
  }
  // Connected: attempts that wait for a connection would leave all at once.
  std::shared_ptr<grpc::Channel> Channel(
      const ClientOptions& client = Unguarded()) {
    auto channel =
        CreateChannel(server_->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create(client), options_);
    EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() +
                                          std::chrono::seconds(30)));
    return channel;
  }
  // Whether the machine, fed with what the record says, decides the same.
  void ExpectReplays(const CallRecord& record) {
    RetryOptions options = retry();
    options.hedge.repeat_consent = true;  // as codes are listed
    const absl::StatusOr<CallRecord> again = Replay(record, options);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, record);
  }
  bool Cancelled(int64_t n) const {
    return server_->log().WaitForCancelled(n, absl::Seconds(10));
  }

  const std::unique_ptr<GrpcServer> server_;
  RpcOptions options_;
};

INSTANTIATE_TEST_SUITE_P(Apis, HedgeTest,
                         ::testing::Combine(ApisOfOneBatch(),
                                            ::testing::Bool()),
                         [](const auto& info) {
                           return (std::get<1>(info.param) ? "Taken_" : "") +
                                  NameOf(std::get<0>(info.param));
                         });

TEST_P(HedgeTest, TheHedgeWins) {
  Answer({GrpcReply::Hang(), GrpcReply::Ok(Bytes("second"))
                                 .WithInitial("x-initial", "2")
                                 .WithTrailing("x-trailing", "2")});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "second");
  EXPECT_EQ(call.Initial("x-initial"), "2");
  EXPECT_EQ(call.Trailing("x-trailing"), "2");
  EXPECT_GE(call.took(), absl::Milliseconds(20));
  // The first one was told to stop, and nothing else was sent.
  EXPECT_TRUE(Cancelled(1));
  const std::vector<Arrival> sends = server_->log().Snapshot();
  ASSERT_EQ(sends.size(), 2u);
  EXPECT_EQ(NumberOf(sends[0].headers) + NumberOf(sends[1].headers), 1 + 2);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
  ASSERT_EQ(record.attempts.size(), 2u);
  EXPECT_TRUE(record.attempts[0].lost);
  EXPECT_FALSE(record.attempts[0].hedge);
  EXPECT_EQ(record.attempts[0].outcome.kind, ErrorKind::kCancelled);
  EXPECT_TRUE(record.attempts[1].hedge);
  EXPECT_FALSE(record.attempts[1].lost);
  EXPECT_EQ(record.attempts[1].outcome.kind, ErrorKind::kOk);
  EXPECT_EQ(record.max_in_flight, 2);
  ExpectReplays(record);
}

TEST_P(HedgeTest, TheHedgeLoses) {
  Answer({GrpcReply::Ok(Bytes("first"))
              .WithTrailing("x-trailing", "1")
              .After(absl::Milliseconds(500)),
          GrpcReply::Hang()});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "first");
  EXPECT_EQ(call.Trailing("x-trailing"), "1");
  EXPECT_TRUE(Cancelled(1));
  EXPECT_EQ(server_->log().Count(), 2);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
  ASSERT_EQ(record.attempts.size(), 2u);
  EXPECT_FALSE(record.attempts[0].lost);
  EXPECT_TRUE(record.attempts[1].hedge);
  EXPECT_TRUE(record.attempts[1].lost);
}

TEST_P(HedgeTest, AnAnswerInTimeIsNotHedged) {
  SetDelay(absl::Seconds(30));
  Answer({GrpcReply::Ok(Bytes("first"))});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok());
  EXPECT_LT(call.took(), absl::Seconds(20));
  EXPECT_EQ(server_->log().Count(), 1);
}

TEST_P(HedgeTest, AllFail) {
  SetMaxAttempts(3);
  std::vector<GrpcReply> replies;
  for (const char* message : {"first", "second", "third"}) {
    replies.push_back(GrpcReply::Error(StatusCode::UNAVAILABLE, message)
                          .WithTrailing("x-trailing", message)
                          .After(absl::Milliseconds(200)));
  }
  Answer(replies);
  EchoCall call(api(), Channel());
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_->log().Count(), 3);
  const CallRecord record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kAttemptsExhausted);
  ASSERT_EQ(record.attempts.size(), 3u);
  // The answer is that of whichever failed last, whole.
  int last = 0;
  for (int i = 1; i < 3; ++i) {
    EXPECT_EQ(record.attempts[i].outcome.status, StatusCode::UNAVAILABLE);
    if (record.attempts[i].end > record.attempts[last].end) last = i;
  }
  EXPECT_EQ(call.status().error_message(), replies[last].message);
  EXPECT_EQ(call.Trailing("x-trailing"), replies[last].message);
  EXPECT_EQ(call.context().GetServerTrailingMetadata().count("x-trailing"), 1u);
}

TEST_P(HedgeTest, ANonFatalFailureMakesTheNextOneLeaveAtOnce) {
  SetMaxAttempts(3);
  SetDelay(absl::Seconds(1));
  Answer({GrpcReply::Hang(), GrpcReply::Error(StatusCode::UNAVAILABLE),
          GrpcReply::Ok(Bytes("third"))});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "third");
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_TRUE(Cancelled(1));
  const CallRecord record = call.record();
  ASSERT_EQ(record.attempts.size(), 3u);
  EXPECT_GE(record.attempts[1].start - record.attempts[0].start,
            absl::Seconds(1));
  EXPECT_EQ(record.attempts[2].start, record.attempts[1].end);
}

TEST_P(HedgeTest, AfterAFailureTheOneThatIsOutMayStillWin) {
  Answer({GrpcReply::Ok(Bytes("first")).After(absl::Milliseconds(500)),
          GrpcReply::Error(StatusCode::UNAVAILABLE, "second")
              .WithTrailing("x-trailing", "2")});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "first");
  EXPECT_EQ(call.Trailing("x-trailing"), std::nullopt);
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_P(HedgeTest, TheFirstFailsAndTheHedgeWins) {
  Answer({GrpcReply::Error(StatusCode::UNAVAILABLE, "first")
              .WithTrailing("x-trailing", "1")
              .After(absl::Milliseconds(300)),
          GrpcReply::Ok(Bytes("second")).After(absl::Milliseconds(600))});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "second");
  EXPECT_EQ(call.Trailing("x-trailing"), std::nullopt);
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST_P(HedgeTest, AFatalCodeEndsAll) {
  SetMaxAttempts(4);
  Answer({GrpcReply::Hang(), GrpcReply::Hang(),
          GrpcReply::Error(StatusCode::INVALID_ARGUMENT, "no good")
              .WithTrailing("x-trailing", "3")});
  EchoCall call(api(), Channel());
  EXPECT_EQ(call.Run().error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(call.status().error_message(), "no good");
  EXPECT_EQ(call.Trailing("x-trailing"), "3");
  EXPECT_THAT(call.context().debug_error_string(), HasSubstr("no good"));
  EXPECT_TRUE(Cancelled(2));
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_EQ(call.record().stop_reason, StopReason::kPermanentError);
}

TEST_P(HedgeTest, PushbackStopsHedging) {
  for (const char* pushback : {"0", "10", "-1"}) {
    SCOPED_TRACE(pushback);
    SetMaxAttempts(5);
    // A busy machine may need longer than 20 ms for the word that stops them.
    SetDelay(absl::Milliseconds(200));
    Answer({GrpcReply::Ok(Bytes("first")).After(absl::Milliseconds(1200)),
            GrpcReply::Error(StatusCode::UNAVAILABLE).Pushback(pushback)});
    const int64_t before = server_->log().Count();
    EchoCall call(api(), Channel());
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    EXPECT_EQ(call.payload(), "first");
    // Without it there would be five of them.
    EXPECT_EQ(server_->log().Count() - before, 2);
  }
}

TEST_P(HedgeTest, NegativePushbackOfTheLastOneIsTheEnd) {
  SetMaxAttempts(5);
  Answer({GrpcReply::Error(StatusCode::UNAVAILABLE, "first")
              .Pushback("-1")
              .After(absl::Milliseconds(500)),
          GrpcReply::Error(StatusCode::UNAVAILABLE, "second").Pushback("-1")});
  EchoCall call(api(), Channel());
  EXPECT_EQ(call.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(call.status().error_message(), "first");
  EXPECT_EQ(server_->log().Count(), 2);
  EXPECT_EQ(call.record().stop_reason, StopReason::kServerSaidNo);
}

TEST_P(HedgeTest, TheCallerCancelsInMidAir) {
  SetMaxAttempts(3);
  Answer({GrpcReply::Hang()});
  EchoCall call(api(), Channel());
  call.Start();
  ASSERT_TRUE(server_->log().WaitForCount(3, absl::Seconds(10)));
  call.Cancel();
  EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(Cancelled(3));
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
}

TEST_P(HedgeTest, TheDeadlineEndsAll) {
  SetMaxAttempts(3);
  Answer({GrpcReply::Hang()});
  EchoCall call(api(), Channel());
  call.SetDeadline(absl::Seconds(1));
  EXPECT_EQ(call.Run().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_GE(call.took(), absl::Milliseconds(990));
  EXPECT_TRUE(Cancelled(3));
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_EQ(call.record().stop_reason, StopReason::kDeadlineExceeded);
}

TEST_P(HedgeTest, AttemptTimeouts) {
  options_.methods[0].attempt_timeout = absl::Milliseconds(300);
  SetMaxAttempts(3);
  Answer({GrpcReply::Hang(), GrpcReply::Hang(), GrpcReply::Ok(Bytes("third"))});
  SetDelay(absl::Milliseconds(200));
  EchoCall call(api(), Channel());
  call.SetDeadline(absl::Seconds(30));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "third");
  EXPECT_EQ(server_->log().Count(), 3);
  EXPECT_TRUE(Cancelled(2));
  EXPECT_TRUE(call.record().attempts[0].outcome.timed_out);
}

TEST_P(HedgeTest, TheBudgetIsTheEndpointsOwn) {
  ClientOptions client = Unguarded();
  client.endpoint.hedge_budget.burst = 1;
  client.endpoint.hedge_budget.ratio = 0;
  client.endpoint.hedge_budget.per_second = 0;
  Answer({GrpcReply::Ok(Bytes("first")).After(absl::Milliseconds(400))});
  const auto channel = Channel(client);
  for (const int64_t sends : {2, 3}) {
    EchoCall call(api(), channel);
    EXPECT_TRUE(call.Run().ok());
    EXPECT_EQ(server_->log().Count(), sends);
  }
}

TEST_P(HedgeTest, WithoutConsentNothingIsHedged) {
  options_.methods[0].retryable.clear();
  Answer({GrpcReply::Ok(Bytes("first")).After(absl::Milliseconds(300))});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok());
  EXPECT_EQ(server_->log().Count(), 1);
  retry().hedge.repeat_consent = true;
  EchoCall with(api(), Channel());
  EXPECT_TRUE(with.Run().ok());
  EXPECT_EQ(server_->log().Count(), 3);
}

TEST_P(HedgeTest, ByAServiceConfig) {
  options_.methods.clear();
  options_.service_config = R"({"methodConfig": [
      {"name": [{"service": "forbear.testing.Echo"}],
       "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0s",
                         "nonFatalStatusCodes": ["UNAVAILABLE"]}}]})";
  Answer({GrpcReply::Hang(), GrpcReply::Error(StatusCode::UNAVAILABLE),
          GrpcReply::Ok(Bytes("third"))});
  EchoCall call(api(), Channel());
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(call.payload(), "third");
  EXPECT_TRUE(Cancelled(1));
  EXPECT_EQ(server_->log().Count(), 3);
}

TEST_P(HedgeTest, TheApplicationsClassifierSeesNoCancelledLosers) {
  ClientOptions client = Unguarded();
  std::mutex mutex;
  std::vector<int> codes;
  client.classify_rpc = [&](const RpcAnswer& answer, Outcome*) {
    const std::lock_guard<std::mutex> lock(mutex);
    codes.push_back(answer.code);
  };
  SetMaxAttempts(3);
  Answer({GrpcReply::Hang(), GrpcReply::Error(StatusCode::UNAVAILABLE),
          GrpcReply::Ok(Bytes("third"))});
  EchoCall call(api(), Channel(client));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_TRUE(Cancelled(1));
  const std::lock_guard<std::mutex> lock(mutex);
  EXPECT_EQ(codes, std::vector<int>{StatusCode::UNAVAILABLE});
}

TEST_P(HedgeTest, TheContextGoesWithLosersInMidAir) {
  SetDelay(absl::ZeroDuration());
  Answer({GrpcReply::Ok(Bytes("first")).After(absl::Milliseconds(20)),
          GrpcReply::Hang(), GrpcReply::Hang()});
  SetMaxAttempts(3);
  ClientOptions client = Unguarded();
  client.endpoint.hedge_budget.burst = 1000000;
  for (int i = 0; i < 30; ++i) {
    // The losers' contexts hold the channel after all else has let it go.
    auto channel = Channel(client);
    EchoCall call(api(), channel);
    call.Start();
    channel.reset();
    EXPECT_TRUE(call.Wait().ok());
    call.DestroyContext();
  }
  // Of the losers, whoever had come as far as the server by then.
  const int64_t sends = server_->log().Count();
  EXPECT_GT(sends, 60);
  EXPECT_LE(sends, 90);
  EXPECT_TRUE(Cancelled(sends - 30));
}

// The loser comes back, on a callback thread, when nobody else has the channel any
// more. gRPC 1.51 may crash if that thread drops it; it does not each time, so that
// this proves an orderly end and no more.
TEST_P(HedgeTest, TheLoserIsTheLastToHaveTheChannel) {
  Answer({GrpcReply::Ok(Bytes("first")).After(absl::Milliseconds(200)),
          GrpcReply::Hang()});
  SetDelay(absl::ZeroDuration());
  for (int i = 0; i < 3; ++i) {
    absl::Notification back;
    absl::Notification dropped;
    ClientOptions client = Unguarded();
    client.log = [&](absl::string_view line) {
      if (!absl::StrContains(line, "attempt 2 ended")) return;
      EXPECT_TRUE(dropped.WaitForNotificationWithTimeout(absl::Seconds(30)));
      back.Notify();
    };
    {
      auto channel = Channel(client);
      EchoCall call(api(), channel);
      call.Start();
      channel.reset();
      EXPECT_TRUE(call.Wait().ok()) << call.status().error_message();
    }
    dropped.Notify();
    EXPECT_TRUE(back.WaitForNotificationWithTimeout(absl::Seconds(30)));
  }
  EXPECT_TRUE(Cancelled(3));
}

TEST_P(HedgeTest, WhoeverWinsTheRace) {
  SetDelay(absl::ZeroDuration());
  SetMaxAttempts(3);
  Answer({GrpcReply::Ok(Bytes("1")), GrpcReply::Ok(Bytes("2")),
          GrpcReply::Error(StatusCode::UNAVAILABLE)});
  ClientOptions client = Unguarded();
  client.endpoint.hedge_budget.burst = 1000000;
  const auto channel = Channel(client);
  int won[3] = {};
  for (int i = 0; i < 200; ++i) {
    EchoCall call(api(), channel);
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    const CallRecord record = call.record();
    EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
    ExpectReplays(record);
    // It is the one of which the record says so.
    for (const AttemptRecord& attempt : record.attempts) {
      if (attempt.lost || attempt.outcome.kind != ErrorKind::kOk) continue;
      EXPECT_EQ(call.payload(), std::to_string(attempt.number));
      ++won[attempt.number];
    }
    call.DestroyContext();
  }
  EXPECT_EQ(won[1] + won[2], 200);
}

TEST_P(HedgeTest, CancelAtAnyMoment) {
  SetDelay(absl::Milliseconds(1));
  SetMaxAttempts(4);
  server_->SetHandler([](const GrpcRequest& request) {
    return (request.index % 3 == 0 ? GrpcReply::Error(StatusCode::UNAVAILABLE)
                                   : GrpcReply::Ok(request.bytes))
        .After(absl::Milliseconds(request.index % 4));
  });
  ClientOptions client = Unguarded();
  client.endpoint.hedge_budget.burst = 1000000;
  client.retry.backoff.initial = absl::Milliseconds(1);
  const auto channel = Channel(client);
  for (int i = 0; i < 200; ++i) {
    const int64_t before = server_->log().Count();
    EchoCall call(api(), channel);
    call.Start();
    if (i % 5 != 0) {
      // When so many attempts have arrived, and some turns later.
      while (server_->log().Count() < before + i % 4 && !call.done()) {
        std::this_thread::yield();
      }
      for (int n = i * 37 % 101; n > 0; --n) std::this_thread::yield();
      call.Cancel();
    }
    const StatusCode code = call.Wait().error_code();
    const CallRecord record = call.record();
    ExpectReplays(record);
    const StopReason reason = record.stop_reason;
    if (code == StatusCode::OK) {
      EXPECT_EQ(reason, StopReason::kSuccess);
    } else if (code == StatusCode::CANCELLED) {
      EXPECT_EQ(reason, StopReason::kCancelled);
    } else {
      EXPECT_EQ(code, StatusCode::UNAVAILABLE);
    }
    call.DestroyContext();
  }
}

// Its failure would make the next hedge leave at once.
TEST_P(HedgeTest, NothingIsSentAfterACancel) {
  SetMaxAttempts(3);
  Answer({GrpcReply::Hang(), GrpcReply::Error(StatusCode::UNAVAILABLE),
          GrpcReply::Hang()});
  ClientOptions client = Unguarded();
  absl::Notification cancel;
  absl::Notification cancelled;
  client.classify_rpc = [&](const RpcAnswer& answer, Outcome*) {
    if (answer.code == StatusCode::UNAVAILABLE) {
      cancel.Notify();
      cancelled.WaitForNotification();
    } else {
      // The first attempt is not back before the other one's failure is known.
      server_->log().WaitForCount(3, absl::Milliseconds(300));
    }
  };
  EchoCall call(api(), Channel(client));
  call.Start();
  cancel.WaitForNotification();
  call.Cancel();
  cancelled.Notify();
  EXPECT_EQ(call.Wait().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  EXPECT_EQ(server_->log().Count(), 2);
}

TEST(HedgeOfReactorsTest, ACallInTwoBatchesIsNotHedged) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->SetHandler([](const GrpcRequest& request) {
    return GrpcReply::Ok(request.bytes).After(absl::Milliseconds(300));
  });
  RpcOptions options;
  options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  options.methods[0].retry.emplace();
  options.methods[0].retry->hedge.enabled = true;
  options.methods[0].retry->hedge.delay = absl::ZeroDuration();
  const auto stub = Echo::NewStub(
      CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                    *Client::Create(Unguarded()), options));
  grpc::ClientContext context;
  EchoMessage request;
  EchoMessage response;
  UnaryReactor reactor;
  stub->async()->Say(&context, &request, &response, &reactor);
  reactor.StartCall();
  EXPECT_TRUE(reactor.Wait().ok());
  EXPECT_EQ(server->log().Count(), 1);
  EXPECT_EQ(RecordOf(context)->max_in_flight, 1);
}

}  // namespace
}  // namespace forbear::rpc
