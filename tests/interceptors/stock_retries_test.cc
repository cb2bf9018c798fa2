// The same calls, on a stock channel with a service config of gRPC, and through the
// interceptor with the same one: the same status, the same sends at the server, the
// same grpc-previous-rpc-attempts, and no wait that is shorter than A6 has it.
//
// The scenarios are those of gRPC's own end-to-end tests (grpc/grpc 1.51.1,
// test/core/end2end/tests/retry*.cc, Apache-2.0; facts only) and of proposal A6
// (grpc/proposal A6-client-retries.md, 2024-08-29), with their seconds as tenths.
// tests/core/grpc_a6_test.cc has those that are decisions alone.
//
// Where we decide otherwise, the row has both, and why (docs/conformance.md). A row
// with a reason whose two sides are the same fails as well: it is no deviation then.
//
// Streams: stock_streams_test.cc. Hedging: stock_hedges_test.cc.
//
// What gRPC repeats after it has sent it, and we then do not, is
// transparent_retry_test's.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "proto/status_name.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/expect_waits.h"
#include "tests/interceptors/raw_http2_server.h"
#include "tests/interceptors/retry_config.h"
#include "tests/interceptors/status_details.h"
#include "tests/interceptors/streams_given.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"
#include "tests/testing/loopback_port.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Arrival;
using testing::GrpcReply;
using testing::GrpcServer;

enum class Action {
  kNone,
  kCancel,       // when all replies of the script have been given
  kDropContext,  // in its callback: nobody is left to look at the call
};

// What became of a call.
struct Seen {
  StatusCode code = StatusCode::OK;
  std::string message;
  // grpc-previous-rpc-attempts of each send; "" if it had none.
  std::vector<std::string> previous;

  friend bool operator==(const Seen& a, const Seen& b) {
    return a.code == b.code && a.message == b.message &&
           a.previous == b.previous;
  }
  friend std::ostream& operator<<(std::ostream& out, const Seen& seen) {
    return out << seen.code << " \"" << seen.message << "\" after "
               << seen.previous.size() << " sends ["
               << absl::StrJoin(seen.previous, ",") << "]";
  }
};

Seen Sends(int count, StatusCode code, std::string message = "xyz") {
  Seen seen;
  seen.code = code;
  if (code != StatusCode::OK) seen.message = std::move(message);
  for (int i = 0; i < count; ++i) {
    seen.previous.push_back(i == 0 ? "" : absl::StrCat(i));
  }
  return seen;
}

RetryConfig QuickRetries(int max_attempts) {
  RetryConfig config;
  config.max_attempts = max_attempts;
  config.initial = "0.01s";
  config.max = "0.02s";
  return config;
}

struct Scenario {
  const char* name = nullptr;
  std::vector<GrpcReply> replies;
  Seen stock;
  // From one send to the next one, at least; of fewer than there are sends.
  std::vector<absl::Duration> waits;

  RetryConfig policy;
  absl::Duration deadline = absl::Seconds(30);
  Action action = Action::kNone;
  // An argument of both channels.
  const char* argument = nullptr;
  int argument_value = 0;

  // A deviation: what we do, and why. Null: there is none.
  const char* why = nullptr;
  Seen ours;
  std::vector<absl::Duration> our_waits;
};

std::vector<Scenario> Scenarios() {
  const GrpcReply aborted = GrpcReply::Error(StatusCode::ABORTED, "xyz");
  const GrpcReply ok = GrpcReply::Ok("");
  const auto ms = [](int n) { return absl::Milliseconds(n); };
  std::vector<Scenario> all;
  const auto add = [&](const char* name, std::vector<GrpcReply> replies,
                       Seen stock) -> Scenario& {
    Scenario& scenario = all.emplace_back();
    scenario.name = name;
    scenario.replies = std::move(replies);
    scenario.stock = std::move(stock);
    return scenario;
  };

  add("basic_success_on_2nd", {aborted, ok}, Sends(2, StatusCode::OK)).waits = {
      ms(80)};
  {
    Scenario& s = add("retries_disabled_by_channel", {aborted},
                      Sends(1, StatusCode::ABORTED));
    s.policy.max_attempts = 2;
    s.argument = GRPC_ARG_ENABLE_RETRIES;
    s.why =
        "the argument is about gRPC's own retries, and all of our channels "
        "have it; the policy's `enabled` and FORBEAR_OFF switch ours off";
    s.ours = Sends(2, StatusCode::ABORTED);
  }
  add("non_retriable_status",
      {GrpcReply::Error(StatusCode::INVALID_ARGUMENT, "xyz")},
      Sends(1, StatusCode::INVALID_ARGUMENT));
  add("pushback_minus1_disables", {aborted, aborted.Pushback("-1")},
      Sends(2, StatusCode::ABORTED))
      .waits = {ms(80)};
  {
    Scenario& s = add("recv_initial_metadata_commits",
                      {aborted.WithInitial("key1", "val1").HeadersFirst()},
                      Sends(1, StatusCode::ABORTED));
    s.policy.max_attempts = 2;
    s.why =
        "a unary call gives its answer at its end: until then nothing has "
        "reached the application";
    s.ours = Sends(2, StatusCode::ABORTED);
  }
  {
    GrpcReply message = aborted.HeadersFirst();
    message.response = "";
    Scenario& s = add("a_message_and_then_an_error", {message, ok},
                      Sends(1, StatusCode::ABORTED));
    s.why = "as above";
    s.ours = Sends(2, StatusCode::OK);
  }
  add("another_error_is_the_end",
      {aborted, GrpcReply::Error(StatusCode::INTERNAL, "other")},
      Sends(2, StatusCode::INTERNAL, "other"));
  add("cancel_during_first_retry_attempt", {aborted, GrpcReply::Hang()},
      Sends(2, StatusCode::CANCELLED, "CANCELLED"))
      .action = Action::kCancel;
  add("deadline_during_first_retry_attempt", {aborted, GrpcReply::Hang()},
      Sends(2, StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"))
      .deadline = absl::Seconds(1);
  add("cancel_after_first_attempt_starts", {GrpcReply::Hang()},
      Sends(1, StatusCode::CANCELLED, "CANCELLED"))
      .action = Action::kCancel;
  add("unref_before_recv",
      {GrpcReply::Error(StatusCode::FAILED_PRECONDITION, "xyz")},
      Sends(1, StatusCode::FAILED_PRECONDITION))
      .action = Action::kDropContext;
  {
    Scenario& s = add("buffer_exceeded_in_first_message", {aborted},
                      Sends(1, StatusCode::ABORTED));
    s.policy.max_attempts = 2;
    s.argument = GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE;
    s.argument_value = 2;
    s.why =
        "a request is kept by reference, at no cost; there is no bound to it";
    s.ours = Sends(2, StatusCode::ABORTED);
  }
  {
    Scenario& s =
        add("per_attempt_recv_timeout", {GrpcReply::Hang(), aborted, ok},
            Sends(3, StatusCode::OK));
    s.policy.attempt_timeout = "0.3s";
    s.argument = GRPC_ARG_EXPERIMENTAL_ENABLE_HEDGING;
    s.argument_value = 1;
    s.waits = {ms(295)};
  }
  {
    Scenario& s = add("per_attempt_recv_timeout_of_all", {GrpcReply::Hang()},
                      Sends(3, StatusCode::CANCELLED,
                            "retry perAttemptRecvTimeout exceeded"));
    s.policy.attempt_timeout = "0.3s";
    s.policy.initial = "0.01s";
    s.argument = GRPC_ARG_EXPERIMENTAL_ENABLE_HEDGING;
    s.argument_value = 1;
    s.waits = {ms(295), ms(295)};
    s.why = "CANCELLED is the caller's own word";
    s.ours = Sends(3, StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  }
  for (const int attempts : {2, 4, 5}) {
    add("previous_attempts_header", {aborted},
        Sends(attempts, StatusCode::ABORTED))
        .policy = QuickRetries(attempts);
  }
  add("success_on_the_last", {aborted, aborted, aborted, aborted, ok},
      Sends(5, StatusCode::OK))
      .policy = QuickRetries(5);
  for (const int attempts : {6, 7}) {
    Scenario& s =
        add("max_attempts_above_5", {aborted}, Sends(5, StatusCode::ABORTED));
    s.policy = QuickRetries(attempts);
    s.why = "who writes 7 is given 7";
    s.ours = Sends(attempts, StatusCode::ABORTED);
  }
  {
    Scenario& s = add("the_backoff_does_not_grow", {aborted, aborted, ok},
                      Sends(3, StatusCode::OK));
    s.policy.multiplier = 1;
    s.waits = {ms(80), ms(80)};
  }
  {
    // A6 waits the smaller of the two, and so do we; gRPC 1.51 begins with the other.
    Scenario& s = add("max_backoff_below_the_initial", {aborted, aborted, ok},
                      Sends(3, StatusCode::OK));
    s.policy.initial = "0.5s";
    s.policy.max = "0.1s";
    s.waits = {ms(500), ms(80)};
    s.our_waits = {ms(80), ms(80)};
  }
  for (const char* value : {"0", "1"}) {
    Scenario& s = add("pushback_below_the_backoff",
                      {aborted.Pushback(value), ok}, Sends(2, StatusCode::OK));
    s.our_waits = {ms(80)};  // stock: at once. The longer one counts
  }
  add("pushback_above_the_backoff", {aborted.Pushback("400"), ok},
      Sends(2, StatusCode::OK))
      .waits = {ms(400)};
  for (const char* value :
       {"-1", "abc", "1.5", "10ms", "99999999999999999999"}) {
    add("pushback_that_forbids", {aborted.Pushback(value), ok},
        Sends(1, StatusCode::ABORTED));
  }
  add("pushback_of_what_is_not_listed",
      {GrpcReply::Error(StatusCode::INTERNAL, "xyz").Pushback("1"), ok},
      Sends(1, StatusCode::INTERNAL));
  add("pushback_of_what_went_well", {ok.Pushback("-1")},
      Sends(1, StatusCode::OK));
  {
    Scenario& s =
        add("pushback_beyond_the_deadline", {aborted.Pushback("2000"), ok},
            Sends(1, StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"));
    s.deadline = ms(600);
    s.why = "a wait in vain is not begun: the call ends with retry_at";
    s.ours = Sends(1, StatusCode::ABORTED);
  }
  {
    Scenario& s =
        add("deadline_spans_attempts", {aborted},
            Sends(1, StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"));
    s.policy.initial = "5s";
    s.deadline = ms(600);
    s.why = "as above";
    s.ours = Sends(1, StatusCode::ABORTED);
  }
  {
    Scenario& s = add("pushback_does_not_extend_attempts",
                      {aborted.Pushback("1")}, Sends(2, StatusCode::ABORTED));
    s.policy.max_attempts = 2;
  }
  {
    // The third send comes after a first backoff again in gRPC, and after a second
    // one here: the call has failed as often.
    Scenario& s =
        add("pushback_resets_backoff", {aborted.Pushback("20"), aborted, ok},
            Sends(3, StatusCode::OK));
    s.policy.multiplier = 4;
    s.waits = {ms(20), ms(80)};
    s.our_waits = {ms(80), ms(320)};
  }
  {
    Scenario& s = add("throttled", {aborted}, Sends(1, StatusCode::ABORTED));
    s.policy.throttling = R"({"maxTokens": 2, "tokenRatio": 0.1})";
    s.why =
        "retryThrottling is not read: the endpoint's budget "
        "(core/retry_budget.h) is there in any case, and is wider";
    s.ours = Sends(3, StatusCode::ABORTED);
  }
  {
    const GrpcReply busy =
        GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, "xyz");
    Scenario& s = add("resource_exhausted_is_not_listed", {busy, ok},
                      Sends(1, StatusCode::RESOURCE_EXHAUSTED));
    s.why =
        "a refusal did no work: it is waited out, whether or not it is listed";
    s.ours = Sends(2, StatusCode::OK);
  }
  // RetryInfo, which gRPC does not read: a wait, if it is one, whatever else the
  // details say.
  const auto seconds = [&](int64_t n) {
    return aborted.WithDetails(RetryInfoBytes(absl::Seconds(n)));
  };
  add("retry_info", {aborted.WithDetails(RetryInfoBytes(ms(400))), ok},
      Sends(2, StatusCode::OK))
      .our_waits = {ms(400)};
  add("retry_info_of_another_code",
      {aborted.WithDetails(
           absl::StrCat(Varint(1 << 3), Varint(0), RetryInfoBytes(ms(400)))),
       ok},
      Sends(2, StatusCode::OK))
      .our_waits = {ms(400)};
  add("retry_info_and_a_pushback",
      {aborted.WithDetails(RetryInfoBytes(ms(400))).Pushback("20"), ok},
      Sends(2, StatusCode::OK))
      .our_waits = {ms(400)};
  add("retry_info_and_a_pushback_that_forbids",
      {aborted.WithDetails(RetryInfoBytes(ms(10))).Pushback("-1"), ok},
      Sends(1, StatusCode::ABORTED));
  for (const GrpcReply& reply :
       {seconds(0), seconds(-1), seconds(-315576000000),
        // More than a day is garbage (RetryOptions::max_believed_wait).
        seconds(86401), seconds(315576000001),
        aborted.WithDetails(DetailBytes("RetryInfo", "")),
        aborted.WithDetails(DetailBytes("RetryInfo", "garbage")),
        aborted.WithDetails("garbage"), aborted.WithDetails("\xFF\xFF")}) {
    add("retry_info_that_says_nothing", {reply, ok}, Sends(2, StatusCode::OK))
        .waits = {ms(80)};
  }
  for (const int64_t wait : {60, 86400}) {
    Scenario& s = add("retry_info_beyond_the_deadline", {seconds(wait), ok},
                      Sends(2, StatusCode::OK));
    s.why = "the server has asked for that time";
    s.ours = Sends(1, StatusCode::ABORTED);
  }
  {
    Scenario& s = add("retry_info_of_what_is_not_listed",
                      {GrpcReply::Error(StatusCode::INTERNAL, "xyz")
                           .WithDetails(RetryInfoBytes(ms(1))),
                       ok},
                      Sends(1, StatusCode::INTERNAL));
    s.policy.max_attempts = 2;
  }
  return all;
}

struct Result {
  Seen seen;
  std::vector<absl::Duration> sends;  // when each was heard, since the begin
};

std::shared_ptr<grpc::Channel> Channel(bool stock, const Scenario& scenario,
                                       const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (scenario.argument != nullptr) {
    arguments.SetInt(scenario.argument, scenario.argument_value);
  }
  const auto credentials = grpc::InsecureChannelCredentials();
  if (stock) {
    arguments.SetServiceConfigJSON(scenario.policy.Text());
    return grpc::CreateCustomChannel(address, credentials, arguments);
  }
  RpcOptions options;
  options.service_config = scenario.policy.Text();
  return CreateChannel(address, credentials, *Client::Create({}), options,
                       arguments);
}

Result Play(bool stock, Api api, const Scenario& scenario) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script(scenario.replies);
  const auto channel = Channel(stock, scenario, server->address());
  EchoCall call(api, channel);
  call.SetDeadline(scenario.deadline);
  const absl::Duration begin = server->log().Now();
  call.Start();
  if (scenario.action == Action::kCancel) {
    EXPECT_TRUE(server->log().WaitForCount(
        static_cast<int64_t>(scenario.replies.size()), absl::Seconds(20)));
    call.Cancel();
  }
  Result result;
  result.seen.code = call.Wait().error_code();
  result.seen.message = call.status().error_message();
  if (!stock) {
    EXPECT_EQ(call.record().total_attempts, server->log().Count());
    EXPECT_NE(call.record().stop_reason, StopReason::kNone);
  }
  if (scenario.action == Action::kDropContext) call.DestroyContext();
  const std::vector<Arrival> arrivals = server->log().Snapshot();
  for (size_t i = 0; i < arrivals.size(); ++i) {
    const auto& headers = arrivals[i].headers;
    const auto previous = headers.find("grpc-previous-rpc-attempts");
    result.seen.previous.push_back(
        previous == headers.end() ? "" : previous->second);
    result.sends.push_back(arrivals[i].since_start - begin);
  }
  return result;
}

class StockRetriesTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, StockRetriesTest, AllApis(), ApiName);

TEST_P(StockRetriesTest, Scenarios) {
  for (const Scenario& scenario : Scenarios()) {
    SCOPED_TRACE(scenario.name);
    const Result stock = Play(/*stock=*/true, GetParam(), scenario);
    EXPECT_EQ(stock.seen, scenario.stock) << "stock";
    ExpectWaits(stock.sends, scenario.waits);
    const Result ours = Play(/*stock=*/false, GetParam(), scenario);
    if (scenario.why == nullptr) {
      EXPECT_EQ(ours.seen, stock.seen) << "ours, and there is no deviation";
    } else {
      EXPECT_EQ(ours.seen, scenario.ours) << "ours: " << scenario.why;
      EXPECT_FALSE(ours.seen == stock.seen) << "no deviation: " << scenario.why;
    }
    ExpectWaits(ours.sends, scenario.our_waits.empty() ? scenario.waits
                                                       : scenario.our_waits);
  }
}

// Of every code, whether it is listed or not.
TEST_P(StockRetriesTest, EachCode) {
  for (int i = 1; i <= 16; ++i) {
    const auto code = static_cast<StatusCode>(i);
    SCOPED_TRACE(GrpcCodeName(i));
    const std::string listed = absl::StrCat("\"", GrpcCodeName(i), "\"");
    Scenario scenario;
    scenario.replies = {GrpcReply::Error(code, "xyz"), GrpcReply::Ok("")};
    scenario.policy = QuickRetries(3);
    scenario.policy.codes = listed.c_str();
    for (const bool stock : {true, false}) {
      EXPECT_EQ(Play(stock, GetParam(), scenario).seen,
                Sends(2, StatusCode::OK))
          << (stock ? "stock" : "ours") << ", listed";
    }
    scenario.policy.codes =
        code == StatusCode::ABORTED ? R"("INTERNAL")" : R"("ABORTED")";
    for (const bool stock : {true, false}) {
      // A deviation: a refusal is waited out.
      const bool again = !stock && code == StatusCode::RESOURCE_EXHAUSTED;
      EXPECT_EQ(Play(stock, GetParam(), scenario).seen,
                again ? Sends(2, StatusCode::OK) : Sends(1, code))
          << (stock ? "stock" : "ours") << ", not listed";
    }
  }
}

// Whose a policy is: the most specific name that fits has all to say of a method, and of
// one that has no policy nothing is said.
TEST(NamesTest, TheMostSpecificOneIsTheMethods) {
  const std::string with = R"("retryPolicy": {"maxAttempts": 2,
      "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
      "retryableStatusCodes": ["ABORTED"]})";
  const std::string three = R"("retryPolicy": {"maxAttempts": 3,
      "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
      "retryableStatusCodes": ["ABORTED"]})";
  const std::string none = R"("timeout": "0s")";
  const std::string all = "{}";
  const std::string service = R"({"service": "forbear.testing.Echo"})";
  const std::string method =
      R"({"service": "forbear.testing.Echo", "method": "Say"})";
  const std::string other =
      R"({"service": "forbear.testing.Echo", "method": "Chat"})";
  using Config = std::vector<std::pair<std::string, std::string>>;
  for (const auto& [config, sends] : std::vector<std::pair<Config, int>>{
           {{{all, with}}, 2},
           {{{R"({"service": ""})", with}}, 2},
           {{{service, with}}, 2},
           {{{method, with}}, 2},
           {{{absl::StrCat(service, ", ", method), with}}, 2},
           {{{other, with}}, 1},
           {{{R"({"service": "forbear.testing"})", with}}, 1},
           {{{R"({"service": "forbear.testing.Ech"})", with}}, 1},
           {{{R"({"service": "Echo"})", with}}, 1},
           {{{R"({"service": "forbear.testing.echo"})", with}}, 1},
           {{{all, with}, {service, three}}, 3},
           {{{service, three}, {all, with}}, 3},
           {{{all, with}, {service, with}, {method, three}}, 3},
           {{{all, with}, {other, three}}, 2},
           {{{service, with}, {other, three}}, 2},
           {{{all, with}, {service, none}}, 1},
           {{{all, with}, {method, none}}, 1},
           {{{service, with}, {method, none}}, 1},
           {{{method, with}, {service, none}, {all, none}}, 2},
           // Beside no name it is nobody's.
           {{{"", with}}, 1},
       }) {
    std::vector<std::string> methods;
    for (const auto& [name, said] : config) {
      methods.push_back(absl::StrCat(R"({"name": [)", name, "], ", said, "}"));
    }
    const std::string text = absl::StrCat(R"({"methodConfig": [)",
                                          absl::StrJoin(methods, ", "), "]}");
    SCOPED_TRACE(text);
    for (const bool stock : {true, false}) {
      const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
      server->Script({GrpcReply::Error(StatusCode::ABORTED, "xyz")});
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      arguments.SetServiceConfigJSON(text);
      const auto credentials = grpc::InsecureChannelCredentials();
      EchoCall call(Api::kSync,
                    stock ? grpc::CreateCustomChannel(server->address(),
                                                      credentials, arguments)
                          : CreateChannel(server->address(), credentials,
                                          *Client::Create({}), {}, arguments));
      call.SetDeadline(absl::Seconds(30));
      EXPECT_EQ(call.Run().error_code(), StatusCode::ABORTED);
      EXPECT_EQ(server->log().Count(), sends) << (stock ? "stock" : "ours");
    }
  }
}

// lb_drop_is_not_retried: what is refused on this side has been sent by nobody, and
// is not made again by us.
TEST(RefusedHereTest, IsNotSentAgain) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, "xyz")
                      .Pushback("60000")});
  const auto channel = Channel(/*stock=*/false, Scenario(), server->address());
  EchoCall first(Api::kSync, channel);
  first.SetDeadline(absl::Seconds(5));
  EXPECT_EQ(first.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EchoCall second(Api::kSync, channel);
  second.SetDeadline(absl::Seconds(5));
  EXPECT_EQ(second.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(second.record().total_attempts, 0);
  EXPECT_EQ(server->log().Count(), 1);
}

// final_status_overrides_server: a layer below rewrites the status, and the rewritten
// one decides.
class Rewriter final : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::POST_RECV_STATUS)) {
      *batch->GetRecvStatus() =
          grpc::Status(StatusCode::INVALID_ARGUMENT, "injected error");
    }
    batch->Proceed();
  }
};
class RewriterFactory final
    : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new Rewriter;
  }
};

TEST(RewrittenTest, TheRewrittenStatusDecides) {
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script({GrpcReply::Error(StatusCode::ABORTED, "xyz")});
  RpcOptions options;
  options.target = server->address();
  options.service_config = RetryConfig().Text();
  std::vector<
      std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
      factories;
  factories.push_back(MakeInterceptorFactory(*Client::Create({}), options));
  factories.push_back(std::make_unique<RewriterFactory>());
  EchoCall call(Api::kSync,
                grpc::experimental::CreateCustomChannelWithInterceptors(
                    server->address(), grpc::InsecureChannelCredentials(),
                    grpc::ChannelArguments(), std::move(factories)));
  EXPECT_EQ(call.Run().error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(call.status().error_message(), "injected error");
  EXPECT_EQ(server->log().Count(), 1);
}

// request_metadata_lifetime: what the application gave is its own again as soon as the
// call has been started.
TEST(MetadataTest, OutlivesWhatItWasMadeOf) {
  for (const bool stock : {true, false}) {
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    server->Script(
        {GrpcReply::Error(StatusCode::ABORTED, "xyz"), GrpcReply::Ok("")});
    EchoCall call(Api::kCallback,
                  Channel(stock, Scenario(), server->address()));
    {
      std::string value(100, 'v');
      call.context().AddMetadata("foo", value);
      call.context().AddMetadata("baz", "quux");
      call.Start();
      value.assign(value.size(), 'x');
    }
    EXPECT_TRUE(call.Wait().ok());
    const std::vector<Arrival> arrivals = server->log().Snapshot();
    ASSERT_EQ(arrivals.size(), 2u);
    for (const Arrival& arrival : arrivals) {
      EXPECT_EQ(arrival.headers.at("foo"), std::string(100, 'v'));
      EXPECT_EQ(arrival.headers.at("baz"), "quux");
    }
  }
}

// A server that takes one call at a time of a connection. "first" waits to be let go.
class NarrowServer final : public testing::Echo::Service {
 public:
  NarrowServer() : port_(*testing::LoopbackPort::Reserve(0)) { Start(); }
  ~NarrowServer() override { server_->Shutdown(); }

  grpc::Status Say(grpc::ServerContext* context,
                   const testing::EchoMessage* request,
                   testing::EchoMessage* response) override {
    const auto previous =
        context->client_metadata().find("grpc-previous-rpc-attempts");
    std::unique_lock<std::mutex> lock(mutex_);
    calls_.push_back(previous == context->client_metadata().end()
                         ? request->payload()
                         : absl::StrCat(request->payload(), " again"));
    changed_.notify_all();
    changed_.wait(lock,
                  [&] { return request->payload() != "first" || let_go_; });
    *response = *request;
    return grpc::Status::OK;
  }

  std::string address() const {
    return absl::StrCat("127.0.0.1:", port_.number());
  }
  // " again": with grpc-previous-rpc-attempts.
  std::vector<std::string> calls() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return calls_;
  }
  bool AwaitCalls(size_t n) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return calls_.size() >= n; });
  }
  void LetGo() {
    const std::lock_guard<std::mutex> lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }
  // Takes no more calls, and waits for those that it has.
  void Stop() { server_->Shutdown(); }
  void Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

 private:
  const testing::LoopbackPort port_;
  mutable std::mutex mutex_;  // guards the three below
  std::condition_variable changed_;
  std::vector<std::string> calls_;
  bool let_go_ = false;
  std::unique_ptr<grpc::Server> server_;
};

// transparent_max_concurrent_streams: the second call waits inside the transport, and
// was not sent when the server goes away. gRPC then makes it again, whatever the
// policy, unseen.
void PlayNotSent(bool stock, const std::string& config, StatusCode code,
                 const std::vector<std::string>& calls) {
  NarrowServer server;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
  const auto credentials = grpc::InsecureChannelCredentials();
  RpcOptions options;
  options.service_config = config;
  const auto channel =
      stock
          ? grpc::CreateCustomChannel(server.address(), credentials, arguments)
          : CreateChannel(server.address(), credentials, *Client::Create({}),
                          options, arguments);
  EchoCall first(Api::kCallback, channel, "first");
  EchoCall second(Api::kCallback, channel, "second");
  second.context().set_wait_for_ready(true);
  for (EchoCall* call : {&first, &second}) call->SetDeadline(absl::Seconds(60));
  first.Start();
  ASSERT_TRUE(server.AwaitCalls(1));
  second.Start();
  std::thread stop([&server] { server.Stop(); });
  // The client has heard of it.
  EXPECT_TRUE(channel->WaitForStateChange(
      GRPC_CHANNEL_READY,
      std::chrono::system_clock::now() + std::chrono::seconds(20)));
  server.LetGo();
  stop.join();
  EXPECT_TRUE(first.Wait().ok()) << first.status().error_message();
  server.Start();
  EXPECT_EQ(second.Wait().error_code(), code)
      << second.status().error_message();
  EXPECT_EQ(server.calls(), calls);
}

TEST(TransparentTest, Stock) {
  PlayNotSent(/*stock=*/true, "", StatusCode::OK, {"first", "second"});
}

// A deviation: gRPC's transparent retries are off, with all of its retries, and
// nothing that it tells of such a call proves that it was not sent
// (docs/decisions/0006-transparent-retries.md).
TEST(TransparentTest, OursWithoutConsent) {
  PlayNotSent(/*stock=*/false, "", StatusCode::UNAVAILABLE, {"first"});
}

// The same status, the same sends; but it counts, and says so.
TEST(TransparentTest, OursWithConsent) {
  RetryConfig config;
  config.codes = R"("UNAVAILABLE")";
  PlayNotSent(/*stock=*/false, config.Text(), StatusCode::OK,
              {"first", "second again"});
}

// transparent_not_sent_on_wire: the transport has the call, has no place for it, and
// goes away, again and again.
struct NotSent {
  const char* name;
  bool stock = false;
  int times = 0;         // by how many connections it is turned away
  int max_attempts = 0;  // 0: without a policy
  StatusCode code = StatusCode::OK;
  int sends = 1;
  std::optional<std::string> previous;
  StopReason reason = StopReason::kSuccess;
};

class NotSentTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, NotSentTest, AllApis(), ApiName);

TEST_P(NotSentTest, Table) {
  RetryConfig config = QuickRetries(3);
  config.codes = R"("UNAVAILABLE")";
  for (
      const NotSent& row : std::vector<NotSent>{
          // Without end, without a policy, and unseen.
          {"stock", true, 1, 0, StatusCode::OK, 1, std::nullopt},
          {"stock", true, 10, 0, StatusCode::OK, 1, std::nullopt},
          {"stock", true, 10, 3, StatusCode::OK, 1, std::nullopt},
          // A deviation: gRPC's transparent retries are off, and nothing that it
          // tells of such a call proves that it was not sent. Each is an attempt.
          {"no consent", false, 1, 0, StatusCode::UNAVAILABLE, 0, std::nullopt,
           StopReason::kNotIdempotent},
          {"consent", false, 1, 3, StatusCode::OK, 1, "1"},
          {"consent", false, 2, 3, StatusCode::OK, 1, "2"},
          {"consent, too few", false, 3, 3, StatusCode::UNAVAILABLE, 0,
           std::nullopt, StopReason::kAttemptsExhausted},
          {"consent, enough", false, 10, 11, StatusCode::OK, 1, "10"},
      }) {
    SCOPED_TRACE(absl::StrCat(row.name, ", ", row.times, " times, attempts ",
                              row.max_attempts));
    RawHttp2Server server({Act::kAnswer}, row.times);
    config.max_attempts = row.max_attempts;
    const std::string text = row.max_attempts == 0 ? "" : config.Text();
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
    const auto credentials = grpc::InsecureChannelCredentials();
    std::shared_ptr<grpc::Channel> channel;
    if (row.stock) {
      if (!text.empty()) arguments.SetServiceConfigJSON(text);
      channel =
          grpc::CreateCustomChannel(server.address(), credentials, arguments);
    } else {
      // Eleven attempts of one call are an outage to the one and too dear for the
      // other.
      ClientOptions client;
      client.endpoint.breaker.enabled = false;
      client.endpoint.budget.enabled = false;
      RpcOptions options;
      options.service_config = text;
      channel = CreateChannel(server.address(), credentials,
                              *Client::Create(client), options, arguments);
    }
    EchoCall call(GetParam(), channel);
    call.SetDeadline(absl::Seconds(60));
    const int before = StreamsGiven::Count();
    call.Start();
    for (int i = 1; i <= row.times; ++i) {
      ASSERT_TRUE(StreamsGiven::Await(before + i)) << i;
      server.TurnAway();
    }
    EXPECT_EQ(call.Wait().error_code(), row.code)
        << call.status().error_message();
    EXPECT_EQ(server.sends(), row.sends);
    EXPECT_EQ(server.First("grpc-previous-rpc-attempts"), row.previous);
    EXPECT_EQ(StreamsGiven::Count() - before, row.times + row.sends);
    if (!row.stock) {
      EXPECT_EQ(call.record().stop_reason, row.reason);
      EXPECT_EQ(call.record().total_attempts, row.times + row.sends);
    }
  }
}

// What a pushback is to a client, as a server of another make has written it. gRPC 1.51
// reads it, and hands what it has read to interceptors, written anew: of "01", "+5" and
// " 5", which A6 does not allow, nobody behind it can tell.
struct OnTheWire {
  std::vector<const char*> values;  // of as many trailers
  Seen stock;
  const char* why = nullptr;  // a deviation
  Seen ours = Seen();
};

TEST(PushbackTest, OnTheWire) {
  const Seen again = Sends(2, StatusCode::OK);
  const Seen once = Sends(1, StatusCode::UNAVAILABLE, "");
  const Seen late =
      Sends(1, StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded");
  const char* const in_vain = "a wait in vain is not begun";
  const char* const too_long = "no integer of 32 bits, by A6: no retry";
  const char* const not_meant =
      "more than a day is garbage (RetryOptions::max_believed_wait)";
  for (const OnTheWire& row : std::vector<OnTheWire>{
           {{"0"}, again},
           {{"1"}, again},
           {{"20"}, again},
           {{"01"}, again},
           {{"+5"}, again},
           {{" 5"}, again},
           {{"5 "}, again},
           {{"00"}, again},
           {{"-0"}, again},
           {{"-1"}, once},
           {{"-2147483648"}, once},
           {{"-9223372036854775808"}, once},
           {{""}, once},
           {{" "}, once},
           {{"-"}, once},
           {{"abc"}, once},
           {{"1.5"}, once},
           {{"1e3"}, once},
           {{"0x10"}, once},
           {{"10ms"}, once},
           {{"5,6"}, once},
           {{"99999999999999999999"}, once},
           // The last one counts.
           {{"-1", "5"}, again},
           {{"5", "-1"}, once},
           {{"5", "abc"}, once},
           {{"60000"}, late, in_vain, once},
           {{"86400000"}, late, in_vain, once},
           {{"86400001"}, late, not_meant, again},
           {{"2147483647"}, late, not_meant, again},
           {{"2147483648"}, late, too_long, once},
           {{"9223372036854775807"}, late, too_long, once},
       }) {
    SCOPED_TRACE(::testing::PrintToString(row.values));
    for (const bool stock : {true, false}) {
      RawHttp2Server server({Act::kUnavailable, Act::kAnswer});
      std::vector<std::pair<std::string, std::string>> trailers;
      for (const char* value : row.values) {
        trailers.emplace_back("grpc-retry-pushback-ms", value);
      }
      server.SetTrailers(trailers);
      Scenario scenario;
      scenario.policy = QuickRetries(3);
      scenario.policy.codes = R"("UNAVAILABLE")";
      EchoCall call(Api::kSync, Channel(stock, scenario, server.address()));
      call.SetDeadline(absl::Seconds(1));
      Seen seen;
      seen.code = call.Run().error_code();
      seen.message = call.status().error_message();
      // Of a send that is not the first one of its connection the headers cannot be
      // read; StockRetriesTest has them.
      seen.previous = Sends(server.sends(), seen.code).previous;
      const Seen& expected = stock || row.why == nullptr ? row.stock : row.ours;
      EXPECT_EQ(seen, expected) << (stock ? "stock" : "ours");
    }
    if (row.why != nullptr) {
      EXPECT_FALSE(row.stock == row.ours) << "no deviation: " << row.why;
    }
  }
}

}  // namespace
}  // namespace forbear::rpc
