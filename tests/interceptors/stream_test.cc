// What the matrix does not show of streams: what is sent again, what commits, and
// what an attempt carries.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "interceptors/call_options.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/classifier.h"
#include "runtime/client.h"
#include "tests/interceptors/slow_hijack.h"
#include "tests/interceptors/status_details.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"
#include "tests/interceptors/token_credentials.h"
#include "tests/testing/certificate.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using Payloads = std::vector<std::string>;

const StreamPlay kGood = StreamPlay::Good();
const StreamPlay kDown = StreamPlay::Fails(StatusCode::UNAVAILABLE);

RpcOptions Options() {
  RpcOptions options;
  options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
  return options;
}

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  // Or a stopped server stays unreachable for long after it is back. The minimum is
  // how long connecting may take.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
  arguments.SetMaxReceiveMessageSize(-1);
  return arguments;
}

class StreamTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {
 protected:
  static Shape shape() { return std::get<0>(GetParam()); }
  static StreamApi api() { return std::get<1>(GetParam()); }

  std::shared_ptr<grpc::Channel> Channel(
      const RpcOptions& options = Options(),
      std::shared_ptr<Client> client = *Client::Create({})) {
    return CreateChannel(server_.address(), grpc::InsecureChannelCredentials(),
                         std::move(client), options, Arguments());
  }

  StreamServer server_;
};

std::string NameOfBoth(
    const ::testing::TestParamInfo<std::tuple<Shape, StreamApi>>& info) {
  return NameOf(std::get<0>(info.param)) + "_" +
         NameOf(std::get<1>(info.param));
}

const auto kAllApis =
    ::testing::Values(StreamApi::kSync, StreamApi::kReactor, StreamApi::kQueue,
                      StreamApi::kGenericReactor, StreamApi::kGenericQueue);
const auto kStubs =
    ::testing::Values(StreamApi::kSync, StreamApi::kReactor, StreamApi::kQueue);

INSTANTIATE_TEST_SUITE_P(All, StreamTest,
                         ::testing::Combine(::testing::Values(Shape::kPull,
                                                              Shape::kPush,
                                                              Shape::kChat),
                                            kAllApis),
                         NameOfBoth);

// What the application has is its own: it gets the true status, and no second send.
TEST_P(StreamTest, CutAfterSomeMessages) {
  if (shape() == Shape::kPush) return;  // has one answer, or none
  StreamPlay cut = StreamPlay::Fails(StatusCode::UNAVAILABLE,
                                     shape() == Shape::kPull ? 2 : 3);
  cut.message = "cut";
  server_.Script({cut, kGood});
  StreamApp app(api(), shape(), Channel());
  EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(app.Wait().error_message(), "cut");
  EXPECT_EQ(app.received(), shape() == Shape::kPull ? Payloads({"a#0", "a#1"})
                                                    : Payloads({"a", "b"}));
  EXPECT_EQ(app.Initial("x-stream"), "1");
  EXPECT_EQ(app.Trailing("x-stream"), "1");
  EXPECT_EQ(server_.Count(), 1);
  const CallRecord record = app.record();
  EXPECT_EQ(record.stop_reason, StopReason::kCommitted);
  ASSERT_EQ(record.attempts.size(), 1u);
  EXPECT_TRUE(record.attempts[0].outcome.committed);
  EXPECT_TRUE(record.attempts[0].head.has_value());
}

TEST_P(StreamTest, WhatWasSentIsSentAgain) {
  const int heard = shape() == Shape::kPull   ? 0
                    : shape() == Shape::kPush ? 2
                                              : 1;
  server_.Script(
      {StreamPlay::Fails(StatusCode::UNAVAILABLE, heard), kDown, kGood});
  StreamApp app(api(), shape(), Channel());
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  const auto seen = server_.Seen();
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[2].payloads, shape() == Shape::kPull
                                  ? Payloads({"a"})
                                  : Payloads({"a", "b", "c"}));
  int64_t bytes = 0;
  for (const std::string& payload : seen[2].payloads) {
    bytes +=
        static_cast<int64_t>(payload.size()) + 2;  // protobuf's tag, length
  }
  const CallRecord record = app.record();
  ASSERT_EQ(record.attempts.size(), 3u);
  EXPECT_EQ(record.attempts[2].outcome.bytes_sent, bytes);
  EXPECT_GT(record.attempts[2].outcome.bytes_received, 0);
}

TEST_P(StreamTest, LargeMessages) {
  const std::string large(8 << 20, 'x');
  server_.Script({kDown, StreamPlay::Good().Count(1)});
  StreamApp app(api(), shape(), Channel());
  app.context().set_compression_algorithm(GRPC_COMPRESS_GZIP);
  app.SetPayloads({large});
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  // The first one is kept, whatever its size.
  EXPECT_EQ(server_.Count(), 2);
  EXPECT_TRUE(server_.Seen()[1].payloads == Payloads({large}));
  ASSERT_EQ(app.received().size(), 1u);
  EXPECT_TRUE(app.received()[0] ==
              (shape() == Shape::kPull ? large + "#0" : large));
}

TEST_P(StreamTest, MetadataAndDeadlineOfEachAttempt) {
  server_.Script({kDown, kGood});
  StreamApp app(api(), shape(), Channel());
  app.context().AddMetadata("x-text", "one");
  app.context().set_authority("another.example");
  app.SetDeadline(absl::Seconds(20));
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  const auto seen = server_.Seen();
  ASSERT_EQ(seen.size(), 2u);
  for (const SeenStream& stream : seen) {
    EXPECT_EQ(stream.metadata.at("x-text"), "one");
    EXPECT_EQ(stream.authority, "another.example");
    EXPECT_GT(stream.time_left, absl::Seconds(10));
    EXPECT_LE(stream.time_left, absl::Seconds(21));
  }
  // All else is alike.
  std::map<std::string, std::string> second = seen[1].metadata;
  EXPECT_EQ(second["grpc-previous-rpc-attempts"], "1");
  second.erase("grpc-previous-rpc-attempts");
  EXPECT_EQ(seen[0].metadata, second);
}

TEST_P(StreamTest, TlsAndCallCredentials) {
  grpc::SslServerCredentialsOptions server_options;
  server_options.pem_key_cert_pairs.push_back(
      {testing::kCertificateKey, testing::kCertificate});
  StreamServer server(grpc::SslServerCredentials(server_options));
  grpc::SslCredentialsOptions client_options;
  client_options.pem_root_certs = testing::kCertificate;
  std::atomic<int> asked = 0;
  const std::string dialled = "ipv4:///" + server.address();
  server.Script({kDown, kGood});
  StreamApp app(api(), shape(),
                CreateChannel(dialled, grpc::SslCredentials(client_options),
                              *Client::Create({}), Options(), Arguments()));
  app.context().set_credentials(
      TokenCredentials(&asked, GRPC_PRIVACY_AND_INTEGRITY));
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  const auto seen = server.Seen();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].metadata.at("x-token"), "1");
  EXPECT_EQ(seen[1].metadata.at("x-token"), "2");
  // The application's own call has been nowhere.
  EXPECT_EQ(app.context().peer(), dialled);
  const auto auth = app.context().auth_context();
  EXPECT_TRUE(auth == nullptr || auth->begin() == auth->end());
}

TEST_P(StreamTest, ServerKilledAndRestarted) {
  server_.Script({StreamPlay::Hangs(), kGood});
  StreamApp app(api(), shape(), Channel());
  app.context().set_wait_for_ready(true);
  app.SetDeadline(absl::Seconds(30));
  app.Start();
  ASSERT_TRUE(server_.WaitForCount(1));
  server_.Stop();
  server_.Start();
  EXPECT_TRUE(app.Wait().ok()) << app.Wait().error_message();
  EXPECT_EQ(server_.Count(), 2);
  EXPECT_EQ(app.record().total_attempts, 2);
}

// The second attempt finds nobody at home.
TEST_P(StreamTest, WaitForReadyIsThatOfEachAttempt) {
  for (const bool wait : {true, false}) {
    SCOPED_TRACE(wait);
    const int before = server_.Count();
    server_.Script({kDown.Pushback("500"), kGood});
    const auto channel = Channel();
    StreamApp app(api(), shape(), channel);
    app.context().set_wait_for_ready(wait);
    app.SetDeadline(absl::Minutes(1));
    app.Start();
    ASSERT_TRUE(server_.WaitForCount(before + 1));
    while (app.record().attempts.empty() ||
           app.record().attempts[0].outcome.kind == ErrorKind::kOk) {
      std::this_thread::yield();
    }
    server_.Stop();
    if (wait) {
      while (app.record().total_attempts < 2 ||
             channel->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE) {
        std::this_thread::yield();
      }
      EXPECT_FALSE(app.done());
    } else {
      EXPECT_EQ(app.Wait().error_code(), StatusCode::UNAVAILABLE);
      EXPECT_EQ(app.record().total_attempts, 3);  // failed fast
      EXPECT_EQ(server_.Count(), before + 1);
    }
    server_.Start();
    if (!wait) continue;
    EXPECT_TRUE(app.Wait().ok()) << app.Wait().error_message();
    EXPECT_EQ(app.record().total_attempts, 2);
    EXPECT_EQ(server_.Count(), before + 2);
  }
}

TEST_P(StreamTest, WaitsForTheGateThatAnotherOneShut) {
  server_.Script(
      {StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED).Pushback("700"),
       kGood});
  const auto channel = Channel();
  StreamApp first(api(), shape(), channel);
  first.Start();
  while (first.record().attempts.empty() ||
         first.record().attempts[0].outcome.kind == ErrorKind::kOk) {
    std::this_thread::yield();
  }
  StreamApp second(api(), shape(), channel);
  EXPECT_TRUE(second.Run().ok()) << second.Wait().error_message();
  EXPECT_TRUE(first.Wait().ok());
  EXPECT_EQ(server_.Count(), 3);
  const CallRecord record = second.record();
  ASSERT_EQ(record.attempts.size(), 1u);
  EXPECT_GT(record.attempts[0].waited, absl::Milliseconds(100));
  // One that cannot wait is refused, and never sent.
  server_.Script(
      {StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED).Pushback("60000")});
  for (const int attempts : {1, 0}) {
    StreamApp app(api(), shape(), channel);
    app.SetDeadline(absl::Seconds(20));
    EXPECT_EQ(app.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(app.Trailing("forbear-stop-reason"), "wait_exceeds_deadline");
    EXPECT_GT(std::stoi(app.Trailing("forbear-retry-at-ms").value_or("0")),
              20000);
    EXPECT_EQ(app.record().total_attempts, attempts);
    if (attempts == 0) {
      EXPECT_EQ(app.sent(), 0);
    }
  }
  EXPECT_EQ(server_.Count(), 4);
}

TEST_P(StreamTest, CircuitOpen) {
  ClientOptions client;
  client.retry.when_open = WhenOpen::kFail;
  client.retry.max_attempts = 1;
  // Opens at the third failure, for long.
  client.endpoint.breaker.consecutive_failures = 3;
  client.endpoint.breaker.min_open = absl::Seconds(60);
  client.endpoint.breaker.max_open = absl::Seconds(60);
  server_.Script({kDown});
  const auto channel = Channel(Options(), *Client::Create(client));
  for (int i = 1; i <= 6; ++i) {
    StreamApp app(api(), shape(), channel);
    EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(app.record().total_attempts, i <= 3 ? 1 : 0);
    if (i <= 3) continue;
    EXPECT_EQ(app.record().stop_reason, StopReason::kCircuitOpen);
    EXPECT_EQ(app.Trailing("forbear-stop-reason"), "circuit_open");
    EXPECT_EQ(app.Wait().error_message().find("forbear: "), 0u);
  }
  EXPECT_EQ(server_.Count(), 3);
}

TEST_P(StreamTest, OptionsOfOneCall) {
  CallOptions none;
  none.retryable = std::vector<StatusCode>();
  CallOptions off;
  off.enabled = false;
  CallOptions internal;
  internal.retryable = {StatusCode::INTERNAL};
  // There is no rule for the method: what it has of its own makes it ours.
  RpcOptions no_rule;
  server_.Script({kDown, kGood});
  {
    StreamApp app(api(), shape(), Channel());
    app.SetOptions(&none);
    EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(app.record().stop_reason, StopReason::kNotIdempotent);
  }
  server_.Script({kDown, kGood});
  {
    StreamApp app(api(), shape(), Channel());
    app.SetOptions(&off);
    EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
    EXPECT_EQ(RecordOf(app.context()), std::nullopt);
  }
  server_.Script({StreamPlay::Fails(StatusCode::INTERNAL), kGood});
  {
    StreamApp app(api(), shape(), Channel(no_rule));
    app.SetOptions(&internal);
    EXPECT_TRUE(app.Run().ok());
    EXPECT_EQ(app.record().total_attempts, 2);
  }
  EXPECT_EQ(server_.Count(), 4);
}

TEST_P(StreamTest, TheApplicationsClassifier) {
  StreamPlay fails = StreamPlay::Fails(StatusCode::INTERNAL);
  fails.message = "try again";
  server_.Script({fails, kGood});
  ClientOptions client;
  std::atomic<int> asked = 0;
  client.classify_rpc = [&asked](const RpcAnswer& answer, Outcome* outcome) {
    ++asked;
    if (answer.message != "try again") return;
    outcome->kind = ErrorKind::kTransient;
    outcome->processed = Processed::kNo;
  };
  StreamApp app(api(), shape(), Channel(Options(), *Client::Create(client)));
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(server_.Count(), 2);
}

TEST_P(StreamTest, RetryInfoIsHonoured) {
  StreamPlay busy = StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED);
  busy.details = RetryInfoBytes(absl::Milliseconds(600));
  server_.Script({busy, kGood});
  StreamApp app(api(), shape(), Channel());
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  EXPECT_EQ(server_.Count(), 2);
  const CallRecord record = app.record();
  ASSERT_EQ(record.attempts.size(), 2u);
  EXPECT_EQ(record.attempts[1].wait_source, DelaySource::kRetryInfo);
  EXPECT_GE(record.attempts[1].start - record.attempts[0].end,
            absl::Milliseconds(600));
}

TEST_P(StreamTest, PushbackIsHonoured) {
  server_.Script({kDown.Pushback("600"), kGood});
  StreamApp app(api(), shape(), Channel());
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  EXPECT_EQ(server_.Count(), 2);
  const CallRecord record = app.record();
  ASSERT_EQ(record.attempts.size(), 2u);
  EXPECT_EQ(record.attempts[1].wait_source, DelaySource::kPushback);
  EXPECT_GE(record.attempts[1].start - record.attempts[0].end,
            absl::Milliseconds(600));
}

// A server whose handler makes a stream to another one, through Forbear.
class Proxy final : public testing::Echo::Service {
 public:
  Proxy(StreamApi api, Shape shape, std::shared_ptr<grpc::Channel> backend)
      : api_(api), shape_(shape), backend_(std::move(backend)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Proxy() override { server_->Shutdown(); }

  grpc::Status Say(grpc::ServerContext* context, const testing::EchoMessage*,
                   testing::EchoMessage*) override {
    StreamApp inner(api_, shape_, backend_);
    inner.MakeFor(*context);
    const grpc::Status status = inner.Run();
    attempts_ = inner.record().total_attempts;
    return status;
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  // Of the inner stream, when it has ended; -1: it has not.
  int attempts() const { return attempts_; }

 private:
  const StreamApi api_;
  const Shape shape_;
  const std::shared_ptr<grpc::Channel> backend_;
  std::atomic<int> attempts_{-1};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// A call of that server, by callback.
class OuterCall {
 public:
  explicit OuterCall(const Proxy& proxy)
      : stub_(testing::Echo::NewStub(grpc::CreateChannel(
            proxy.address(), grpc::InsecureChannelCredentials()))) {}

  grpc::ClientContext& context() { return context_; }
  void Start() {
    stub_->async()->Say(&context_, &message_, &message_,
                        [this](const grpc::Status& status) {
                          end_.set_value(status.error_code());
                        });
  }
  StatusCode Wait() { return end_.get_future().get(); }

 private:
  const std::unique_ptr<testing::Echo::Stub> stub_;
  grpc::ClientContext context_;
  testing::EchoMessage message_;
  std::promise<StatusCode> end_;
};

TEST_P(StreamTest, DeadlineOfTheServerCallThatItIsMadeFor) {
  server_.Script({kDown, StreamPlay::Hangs()});
  Proxy proxy(api(), shape(), Channel());
  OuterCall outer(proxy);
  outer.context().set_deadline(std::chrono::system_clock::now() +
                               std::chrono::seconds(2));
  outer.Start();
  EXPECT_EQ(outer.Wait(), StatusCode::DEADLINE_EXCEEDED);
  // The second attempt had the outer call's deadline, and ended with it.
  EXPECT_TRUE(server_.WaitFor([](const std::vector<SeenStream>& seen) {
    return seen.size() == 2 && seen[1].cancelled;
  }));
  EXPECT_LE(server_.Seen()[1].time_left, absl::Milliseconds(2050));
  while (proxy.attempts() < 0) std::this_thread::yield();
  EXPECT_EQ(proxy.attempts(), 2);
}

TEST_P(StreamTest, CancellationOfTheServerCallThatItIsMadeFor) {
  server_.Script({kDown, StreamPlay::Hangs()});
  Proxy proxy(api(), shape(), Channel());
  OuterCall outer(proxy);
  outer.Start();
  ASSERT_TRUE(server_.WaitForCount(2));
  EXPECT_EQ(server_.Seen()[1].time_left, absl::InfiniteDuration());
  outer.context().TryCancel();
  EXPECT_EQ(outer.Wait(), StatusCode::CANCELLED);
  EXPECT_TRUE(server_.WaitFor(
      [](const std::vector<SeenStream>& seen) { return seen[1].cancelled; }));
  while (proxy.attempts() < 0) std::this_thread::yield();
  EXPECT_EQ(proxy.attempts(), 2);
  EXPECT_EQ(server_.Count(), 2);
}

// The attempt's own end is that of our time-out, and no word of the application's.
TEST_P(StreamTest, CancelDuringTheBackoffAfterAnAttemptTimeout) {
  server_.Script({StreamPlay::Hangs()});
  RpcOptions options = Options();
  options.methods[0].attempt_timeout = absl::Milliseconds(50);
  options.methods[0].retry = RetryOptions();
  options.methods[0].retry->backoff.initial = absl::Minutes(1);
  options.methods[0].retry->backoff.max = absl::Minutes(1);
  options.methods[0].retry->backoff.jitter = Jitter::kNone;
  options.methods[0].retry->backoff.lone_part = 1;
  options.methods[0].retry->max_elapsed = absl::Minutes(5);
  StreamApp app(api(), shape(), Channel(options));
  app.Start();
  while (app.record().attempts.empty() ||
         app.record().attempts[0].outcome.kind == ErrorKind::kOk) {
    std::this_thread::yield();
  }
  app.Cancel();
  EXPECT_EQ(app.Wait().error_code(), StatusCode::CANCELLED)
      << app.Wait().error_message();
  EXPECT_EQ(app.Trailing("forbear-stop-reason"), "cancelled");
  EXPECT_LT(app.took(), absl::Seconds(30));
  EXPECT_EQ(app.record().stop_reason, StopReason::kCancelled);
  // On a busy machine it may be over before it has arrived.
  EXPECT_LE(server_.Count(), 1);
}

// They end the stream, and nothing is sent; also if its first batch has no metadata, as
// that of a corked reactor, and nothing else would end it.
TEST_P(StreamTest, FaultyOptions) {
  CallOptions own;
  own.attempt_timeout = -absl::Seconds(1);
  for (const bool corked : {false, true}) {
    if (corked &&
        (shape() == Shape::kPull || api() == StreamApi::kGenericQueue)) {
      continue;
    }
    StreamApp app(api(), shape(), Channel());
    app.SetOptions(&own);
    if (corked) app.SetCorked();
    app.SetDeadline(absl::Seconds(20));  // would end the faulty
    EXPECT_EQ(app.Run().error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_LT(app.took(), absl::Seconds(10));
    EXPECT_TRUE(app.received().empty());
    EXPECT_EQ(server_.Count(), 0);
  }
}

// Of those that send more than one message.
class SendingStreamTest : public StreamTest {};

INSTANTIATE_TEST_SUITE_P(
    All, SendingStreamTest,
    ::testing::Combine(::testing::Values(Shape::kPush, Shape::kChat), kStubs),
    NameOfBoth);

TEST_P(SendingStreamTest, CorkedAndLast) {
  for (const bool corked : {false, true}) {
    for (const bool last : {false, true}) {
      server_.Script(
          {kDown, StreamPlay::Fails(StatusCode::UNAVAILABLE, 1), kGood});
      const int before = server_.Count();
      StreamApp app(api(), shape(), Channel());
      if (corked) app.SetCorked();
      if (last) app.SetWriteLast();
      EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
      EXPECT_EQ(app.sent(), 3);
      EXPECT_EQ(app.received(), shape() == Shape::kPush
                                    ? Payloads({"abc"})
                                    : Payloads({"a", "b", "c"}));
      EXPECT_EQ(server_.Count() - before, 3);
    }
  }
}

// More than may be kept: it goes on, but not again.
TEST_P(SendingStreamTest, OverTheBuffer) {
  RpcOptions options = Options();
  options.max_stream_buffer = 1000;
  const Payloads payloads(5, std::string(400, 'x'));
  // The third message is one too many, and the server has it before it fails. Of
  // kChat it has answered then.
  const StreamPlay fails = StreamPlay::Fails(StatusCode::UNAVAILABLE, 4);
  for (const bool good : {true, false}) {
    server_.Script({good ? kGood : fails, kGood});
    const int before = server_.Count();
    StreamApp app(api(), shape(), Channel(options));
    app.SetPayloads(payloads);
    EXPECT_EQ(app.Run().ok(), good);
    EXPECT_EQ(server_.Count() - before, 1);
    const CallRecord record = app.record();
    ASSERT_EQ(record.attempts.size(), 1u);
    if (good) {
      EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
      EXPECT_EQ(server_.Seen().back().payloads, payloads);
    } else if (shape() == Shape::kPush) {
      EXPECT_EQ(record.stop_reason, StopReason::kNotReplayable);
      EXPECT_FALSE(record.attempts[0].replayable);
    } else {
      EXPECT_EQ(record.stop_reason, StopReason::kCommitted);
    }
  }
  // Below it, all is sent again.
  options.max_stream_buffer = 5000;
  server_.Script({StreamPlay::Fails(StatusCode::UNAVAILABLE, 1), kGood});
  StreamApp app(api(), shape(), Channel(options));
  app.SetPayloads(payloads);
  EXPECT_TRUE(app.Run().ok());
  EXPECT_EQ(server_.Seen().back().payloads, payloads);
}

// A message without bytes takes memory as well.
TEST_P(SendingStreamTest, EmptyMessagesFillTheBufferToo) {
  if (shape() == Shape::kChat) return;  // would be answered
  RpcOptions options = Options();
  options.max_stream_buffer = 1000;
  server_.Script({StreamPlay::Fails(StatusCode::UNAVAILABLE, 500), kGood});
  StreamApp app(api(), shape(), Channel(options));
  app.SetPayloads(Payloads(500, ""));
  EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(app.record().stop_reason, StopReason::kNotReplayable);
  EXPECT_EQ(server_.Count(), 1);
}

// What is kept is let go with the first answer: the bound is not for the rest.
TEST_P(SendingStreamTest, NoBoundAfterTheAnswer) {
  RpcOptions options = Options();
  options.max_stream_buffer = 100;
  server_.Script({kGood.WithHead()});
  StreamApp app(api(), shape(), Channel(options));
  const Payloads payloads(50, std::string(90, 'x'));
  app.SetPayloads(payloads);
  if (shape() == Shape::kChat) app.SetPingPong();
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  EXPECT_EQ(app.sent(), 50);
  EXPECT_EQ(server_.Seen().back().payloads, payloads);
}

// A write to a stream that is over fails, as gRPC's own do.
TEST_P(SendingStreamTest, WritesFailAfterTheEnd) {
  server_.Script({StreamPlay::Fails(StatusCode::INTERNAL, 1)});
  StreamApp app(api(), shape(), Channel());
  app.SetPayloads(Payloads(100000, "x"));
  EXPECT_EQ(app.Run().error_code(), StatusCode::INTERNAL);
  EXPECT_LT(app.sent(), 100000);
  EXPECT_EQ(server_.Count(), 1);
}

// Also to one that was refused because of faulty options.
TEST_P(SendingStreamTest, WritesFailWhereOptionsAreFaulty) {
  RpcOptions faulty;
  faulty.methods = {{"Chat", {}}};
  CallOptions own;
  own.attempt_timeout = absl::ZeroDuration();
  for (const bool of_the_call : {false, true}) {
    for (const bool corked : {false, true}) {
      StreamApp app(api(), shape(), Channel(of_the_call ? Options() : faulty));
      if (of_the_call) app.SetOptions(&own);
      if (corked) app.SetCorked();
      app.SetPayloads(Payloads(1000, "x"));
      EXPECT_EQ(app.Run().error_code(), StatusCode::INVALID_ARGUMENT);
      // A corked one's first message goes down with what starts the call.
      EXPECT_LE(app.sent(), corked ? 1 : 0);
      EXPECT_TRUE(app.received().empty());
    }
  }
  EXPECT_EQ(server_.Count(), 0);
}

TEST_P(SendingStreamTest, PingPong) {
  if (shape() == Shape::kPush) return;
  server_.Script({kDown, StreamPlay::Fails(StatusCode::UNAVAILABLE, 1), kGood});
  StreamApp app(api(), shape(), Channel());
  app.SetPingPong();
  EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
  EXPECT_EQ(app.received(), Payloads({"a", "b", "c"}));
  EXPECT_EQ(server_.Count(), 3);
}

// Its first batch is no open, but whatever comes first; and two may come at once.
class CorkedStreamTest : public ::testing::Test {
 protected:
  CorkedStreamTest() {
    context_.set_initial_metadata_corked(true);
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(10));
    stream_ = stub_->Chat(&context_);
    out_.set_payload("x");
  }

  StreamServer server_;
  SlowHijack slow_;
  const std::unique_ptr<testing::Echo::Stub> stub_ = testing::Echo::NewStub(
      slow_.Channel(server_.address(), *Client::Create({}), Options()));
  grpc::ClientContext context_;
  std::unique_ptr<
      grpc::ClientReaderWriter<testing::EchoMessage, testing::EchoMessage>>
      stream_;
  testing::EchoMessage in_;
  testing::EchoMessage out_;
};

TEST_F(CorkedStreamTest, AReadWhileTheFirstWriteIsHijacked) {
  bool read = false;
  std::thread reader([&] {
    slow_.WaitUntilHijacking();
    read = stream_->Read(&in_);
  });
  EXPECT_TRUE(stream_->Write(out_));
  reader.join();
  EXPECT_TRUE(read);
  EXPECT_EQ(in_.payload(), "x");
  EXPECT_TRUE(stream_->WritesDone());
  EXPECT_FALSE(stream_->Read(&in_));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(CorkedStreamTest, AWriteWhileTheFirstReadIsHijacked) {
  std::thread reader([&] { stream_->Read(&in_); });
  slow_.WaitUntilHijacking();
  EXPECT_TRUE(stream_->Write(out_));
  reader.join();
  EXPECT_EQ(server_.Count(), 1);
  EXPECT_TRUE(stream_->WritesDone());
  while (stream_->Read(&in_)) {
  }
  EXPECT_TRUE(stream_->Finish().ok());
}

// Of faulty options. What came down to gRPC meanwhile would end at the deadline.
TEST(RefusedCorkedStreamTest, TwoBatchesAtOnce) {
  for (const bool writes_first : {true, false}) {
    StreamServer server;
    SlowHijack slow;
    RpcOptions faulty;
    faulty.methods = {{"Chat", {}}};
    const auto stub = testing::Echo::NewStub(
        slow.Channel(server.address(), *Client::Create({}), faulty));
    grpc::ClientContext context;
    context.set_initial_metadata_corked(true);
    const auto deadline =
        std::chrono::system_clock::now() + std::chrono::seconds(10);
    context.set_deadline(deadline);
    const auto stream = stub->Chat(&context);
    testing::EchoMessage in;
    const testing::EchoMessage out;
    std::thread reader([&] {
      if (writes_first) slow.WaitUntilHijacking();
      EXPECT_FALSE(stream->Read(&in));
    });
    if (!writes_first) slow.WaitUntilHijacking();
    // The first one of all is hijacked, and cannot be failed.
    EXPECT_EQ(stream->Write(out), writes_first);
    reader.join();
    EXPECT_EQ(stream->Finish().error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_LT(std::chrono::system_clock::now(), deadline);
  }
}

// Cancels after a while what should have ended by itself: a test of that fails, and
// does not hang.
class EndsAtLast {
 public:
  explicit EndsAtLast(grpc::ClientContext* context)
      : thread_([this, context] {
          if (ended_.get_future().wait_for(std::chrono::seconds(10)) !=
              std::future_status::ready) {
            context->TryCancel();
          }
        }) {}
  ~EndsAtLast() {
    ended_.set_value();
    thread_.join();
  }

 private:
  std::promise<void> ended_;
  std::thread thread_;
};

class SilentCorkedStreamTest : public ::testing::Test {
 protected:
  SilentCorkedStreamTest()
      : stub_(testing::Echo::NewStub(
            CreateChannel(server_.address(), grpc::InsecureChannelCredentials(),
                          *Client::Create({}), Options(), Arguments()))) {
    context_.set_initial_metadata_corked(true);
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::milliseconds(300));
  }
  void ExpectDeadline(const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED)
        << status.error_message();
    EXPECT_EQ(status.error_message().find("forbear: "), 0u);
    const auto& trailers = context_.GetServerTrailingMetadata();
    EXPECT_EQ(trailers.count("forbear-stop-reason"), 1u);
    const CallRecord record = *RecordOf(context_);
    EXPECT_EQ(record.stop_reason, StopReason::kDeadlineExceeded);
    EXPECT_EQ(record.total_attempts, 0);
    EXPECT_EQ(server_.Count(), 0);
  }

  StreamServer server_;
  const std::unique_ptr<testing::Echo::Stub> stub_;
  grpc::ClientContext context_;
  testing::EchoMessage message_;
};

TEST_F(SilentCorkedStreamTest, ReadWaitsUntilTheDeadline) {
  const EndsAtLast ends(&context_);
  const auto stream = stub_->Chat(&context_);
  EXPECT_FALSE(stream->Read(&message_));
  // It brings the metadata, too late.
  EXPECT_FALSE(stream->Write(message_));
  EXPECT_FALSE(stream->Write(message_));
  EXPECT_FALSE(stream->Read(&message_));
  ExpectDeadline(stream->Finish());
}

TEST_F(SilentCorkedStreamTest, FinishWaitsUntilTheDeadline) {
  const EndsAtLast ends(&context_);
  const auto writer = stub_->Push(&context_, &message_);
  ExpectDeadline(writer->Finish());
}

class SilentReactor final
    : public grpc::ClientBidiReactor<testing::EchoMessage,
                                     testing::EchoMessage> {
 public:
  void OnReadDone(bool ok) override { EXPECT_FALSE(ok); }
  void OnDone(const grpc::Status& status) override { end_.set_value(status); }
  grpc::Status Wait() { return end_.get_future().get(); }

 private:
  std::promise<grpc::Status> end_;
};

TEST_F(SilentCorkedStreamTest, ReactorIsDoneAtTheDeadline) {
  const EndsAtLast ends(&context_);
  SilentReactor reactor;
  stub_->async()->Chat(&context_, &reactor);
  reactor.StartRead(&message_);
  reactor.StartCall();
  ExpectDeadline(reactor.Wait());
}

// The deadline that nothing was written until is that of what follows, too.
TEST_F(SilentCorkedStreamTest, WritesInTimeAndHearsNothing) {
  const EndsAtLast ends(&context_);
  server_.Script({StreamPlay::Hangs()});
  SilentReactor reactor;
  stub_->async()->Chat(&context_, &reactor);
  reactor.StartRead(&message_);
  reactor.AddHold();
  reactor.StartCall();  // the read has come down when it returns
  const testing::EchoMessage out;
  reactor.StartWrite(&out);
  reactor.RemoveHold();
  EXPECT_EQ(reactor.Wait().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server_.Count(), 1);
  EXPECT_EQ(RecordOf(context_)->total_attempts, 1);
}

// The endpoint is well again, and no stream need end to show that.
TEST_P(StreamTest, LongStreamsCloseTheBreaker) {
  ClientOptions client;
  client.retry.max_attempts = 1;
  client.endpoint.breaker.consecutive_failures = 3;
  client.endpoint.breaker.min_open = absl::Milliseconds(100);
  client.endpoint.breaker.max_open = absl::Milliseconds(100);
  server_.Script({kDown, kDown, kDown, StreamPlay::Hangs().WithHead()});
  const auto channel = Channel(Options(), *Client::Create(client));
  for (int i = 0; i < 3; ++i) {
    StreamApp app(api(), shape(), channel);
    EXPECT_EQ(app.Run().error_code(), StatusCode::UNAVAILABLE);
  }
  std::vector<std::unique_ptr<StreamApp>> apps;
  for (int i = 0; i < 4; ++i) {
    apps.push_back(std::make_unique<StreamApp>(api(), shape(), channel));
    apps.back()->Start();
    EXPECT_TRUE(server_.WaitForCount(4 + i));
  }
  for (const auto& app : apps) {
    app->Cancel();
    app->Wait();
    ASSERT_EQ(app->record().attempts.size(), 1u);
    EXPECT_LT(app->record().attempts[0].waited, absl::Seconds(5));
  }
}

TEST(StreamOptionsTest, BoundsOfTheBuffer) {
  RpcOptions options = Options();
  options.target = "t";
  for (const int64_t valid : {int64_t{0}, int64_t{1} << 30}) {
    options.max_stream_buffer = valid;
    EXPECT_TRUE(ValidateRpcOptions(options).ok());
  }
  for (const int64_t faulty : {int64_t{-1}, (int64_t{1} << 30) + 1}) {
    options.max_stream_buffer = faulty;
    const absl::Status status = ValidateRpcOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("max_stream_buffer"),
              absl::string_view::npos)
        << status;
  }
}

}  // namespace
}  // namespace forbear::rpc
