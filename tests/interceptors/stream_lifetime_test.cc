// Who may go away when, of streams. Most of what this proves is that the sanitizers
// have nothing to say.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Echo;
using testing::EchoMessage;

const StreamPlay kGood = StreamPlay::Good();
const StreamPlay kDown = StreamPlay::Fails(StatusCode::UNAVAILABLE);

std::shared_ptr<Client> Fast() {
  ClientOptions options;
  options.retry.backoff.initial = absl::Milliseconds(2);
  options.retry.max_attempts = 20;
  options.endpoint.breaker.enabled = false;
  options.endpoint.pacing = false;
  options.endpoint.budget.enabled = false;
  return *Client::Create(options);
}

// Channels that tests have dropped: in the end nobody has them.
class Dropped {
 public:
  void Add(const std::shared_ptr<grpc::Channel>& channel) {
    channels_.push_back(channel);
  }
  // Waits for what timer threads drop. (gRPC ends its threads with the last channel;
  // a program that ends meanwhile leaks them, says thread sanitizer.)
  void ExpectGone() {
    const MonotonicTime begin = MonotonicNow();
    for (const auto& channel : channels_) {
      while (!channel.expired() && MonotonicNow() - begin < absl::Seconds(15)) {
        std::this_thread::yield();
      }
      EXPECT_TRUE(channel.expired());
    }
    // Its first call waits for threads that are being ended.
    StreamServer server;
    StreamApp app(StreamApi::kReactor, Shape::kChat,
                  grpc::CreateChannel(server.address(),
                                      grpc::InsecureChannelCredentials()));
    EXPECT_TRUE(app.Run().ok());
  }

 private:
  std::vector<std::weak_ptr<grpc::Channel>> channels_;
};

std::shared_ptr<grpc::Channel> ChannelTo(
    const StreamServer& server, Streams streams = Streams::kRetry,
    absl::Duration attempt_timeout = absl::InfiniteDuration()) {
  RpcOptions options;
  options.methods = {{"*", {StatusCode::UNAVAILABLE}, attempt_timeout}};
  options.streams = streams;
  return CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                       Fast(), options);
}

// Lets others run, the more often the larger `i` is: what is done next is done at
// another moment each time.
void Yield(int i) {
  for (int n = i * 37 % 101; n > 0; --n) std::this_thread::yield();
}

// Every other stream fails.
std::vector<StreamPlay> Flaky() {
  std::vector<StreamPlay> plays;
  for (int i = 0; i < 500; ++i) {
    plays.push_back(kDown);
    plays.push_back(kGood);
  }
  return plays;
}

class StreamLifetimeTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi, Streams>> {
 protected:
  static Shape shape() { return std::get<0>(GetParam()); }
  static StreamApi api() { return std::get<1>(GetParam()); }
  static Streams streams() { return std::get<2>(GetParam()); }

  // Until that many streams have arrived, or this one has come to its end.
  void WaitForCount(int n, StreamApp* app) const {
    while (server_.Count() < n && !app->done()) std::this_thread::yield();
  }

  StreamServer server_;
};

INSTANTIATE_TEST_SUITE_P(
    All, StreamLifetimeTest,
    ::testing::Combine(
        ::testing::Values(Shape::kPull, Shape::kPush, Shape::kChat),
        ::testing::Values(StreamApi::kSync, StreamApi::kReactor,
                          StreamApi::kQueue, StreamApi::kGenericReactor,
                          StreamApi::kGenericQueue),
        ::testing::Values(Streams::kRetry, Streams::kObserve)),
    [](const auto& info) {
      return NameOf(std::get<0>(info.param)) + "_" +
             NameOf(std::get<1>(info.param)) +
             (std::get<2>(info.param) == Streams::kObserve ? "_Observed" : "");
    });

TEST_P(StreamLifetimeTest, ContextDestroyedRightAfterCompletion) {
  server_.Script(Flaky());
  const auto channel = ChannelTo(server_, streams());
  for (int i = 0; i < 50; ++i) {
    StreamApp app(api(), shape(), channel);
    const bool ok = app.Run().ok();
    EXPECT_TRUE(ok || streams() == Streams::kObserve);
    app.DestroyContext();
  }
}

TEST_P(StreamLifetimeTest, ChannelAndClientDroppedRightAfterACall) {
  server_.Script(Flaky());
  Dropped dropped;
  for (int i = 0; i < 20; ++i) {
    auto channel = ChannelTo(server_, streams());
    dropped.Add(channel);
    StreamApp app(api(), shape(), channel);
    app.Start();
    // The context is now the only one to hold the channel; its stub, too.
    channel.reset();
    const bool ok = app.Wait().ok();
    EXPECT_TRUE(ok || streams() == Streams::kObserve);
  }
  dropped.ExpectGone();
}

TEST_P(StreamLifetimeTest, CancelAtAnyMoment) {
  server_.Script(Flaky());
  const auto channel = ChannelTo(server_, streams());
  for (int i = 0; i < 100; ++i) {
    StreamApp app(api(), shape(), channel);
    const int before = server_.Count();
    app.Start();
    // Before it has arrived, in an attempt, in the next one.
    WaitForCount(before + i % 3, &app);
    Yield(i);
    app.Cancel();
    const StatusCode code = app.Wait().error_code();
    EXPECT_TRUE(code == StatusCode::OK || code == StatusCode::CANCELLED ||
                streams() == Streams::kObserve)
        << code;
    if (streams() == Streams::kObserve) continue;
    EXPECT_EQ(app.record().stop_reason, code == StatusCode::OK
                                            ? StopReason::kSuccess
                                            : StopReason::kCancelled);
  }
}

TEST_P(StreamLifetimeTest, CancelRacesWithTheAttemptTimeout) {
  server_.Script({StreamPlay::Hangs()});
  const auto channel =
      ChannelTo(server_, streams(), /*attempt_timeout=*/absl::Milliseconds(3));
  for (int i = 0; i < 50; ++i) {
    StreamApp app(api(), shape(), channel);
    app.SetDeadline(absl::Seconds(20));
    const int before = server_.Count();
    app.Start();
    // Observed, there is one attempt, and nobody ends it.
    const int most = streams() == Streams::kObserve ? 2 : 4;
    WaitForCount(before + i % most, &app);
    Yield(i);
    app.Cancel();
    const StatusCode code = app.Wait().error_code();
    EXPECT_TRUE(code == StatusCode::CANCELLED ||
                code == StatusCode::DEADLINE_EXCEEDED)
        << code;
  }
}

TEST_P(StreamLifetimeTest, ServerStopsWithStreamsInEveryState) {
  std::vector<StreamPlay> plays;
  for (int i = 0; i < 20; ++i) {
    plays.insert(
        plays.end(),
        {StreamPlay::Hangs(), kDown, StreamPlay::Hangs().WithHead(),
         StreamPlay::Hangs(2), kGood,
         StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED).Pushback("20")});
  }
  server_.Script(plays);
  const auto channel = ChannelTo(server_, streams());
  std::vector<std::unique_ptr<StreamApp>> apps;
  for (int i = 0; i < 30; ++i) {
    apps.push_back(std::make_unique<StreamApp>(api(), shape(), channel));
    apps.back()->SetDeadline(absl::Seconds(3));
    apps.back()->Start();
  }
  ASSERT_TRUE(server_.WaitForCount(12));
  server_.Stop();
  for (const auto& app : apps) app->Wait();
}

// An application that drops a stream without a word, in every state of it.
class AbandonedTest : public ::testing::TestWithParam<Shape> {
 protected:
  // After up to `most` attempts.
  void Abandon(const std::vector<StreamPlay>& plays, bool reads, int most) {
    server_.Script(plays);
    Dropped dropped;
    for (int i = 0; i < 40; ++i) {
      auto channel = ChannelTo(server_);
      dropped.Add(channel);
      const auto stub = Echo::NewStub(channel);
      EchoMessage message;
      grpc::ClientContext context;
      // Ends the reads of plays that send nothing.
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::milliseconds(reads ? 5000 : 60000));
      const int before = server_.Count();
      const auto moment = [&] {
        EXPECT_TRUE(server_.WaitForCount(before + i % (most + 1)));
        Yield(i);
      };
      switch (GetParam()) {
        case Shape::kPull: {
          const auto stream = stub->Pull(&context, message);
          if (reads) stream->Read(&message);
          moment();
          break;
        }
        case Shape::kPush: {
          const auto stream = stub->Push(&context, &message);
          moment();
          break;
        }
        case Shape::kChat: {
          const auto stream = stub->Chat(&context);
          if (reads) {
            stream->Write(message);
            stream->Read(&message);
          }
          moment();
          break;
        }
      }
      channel.reset();
    }
    dropped.ExpectGone();
  }

  StreamServer server_;
};

INSTANTIATE_TEST_SUITE_P(All, AbandonedTest,
                         ::testing::Values(Shape::kPull, Shape::kPush,
                                           Shape::kChat),
                         [](const auto& info) { return NameOf(info.param); });

TEST_P(AbandonedTest, InAnAttempt) { Abandon({StreamPlay::Hangs()}, false, 1); }
TEST_P(AbandonedTest, BetweenAttempts) { Abandon({kDown}, false, 4); }
TEST_P(AbandonedTest, InAWait) {
  Abandon({StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED).Pushback("30000")},
          false, 1);
}
TEST_P(AbandonedTest, AfterAMessage) {
  Abandon({StreamPlay::Hangs(GetParam() == Shape::kPull ? 1 : 2)},
          GetParam() == Shape::kPull, 1);
}
TEST_P(AbandonedTest, WithMessagesThatNobodyReads) {
  Abandon({StreamPlay::Good().Count(1000)}, true, 1);
}

// The channel's last reference goes on a callback thread: the reactor has it.
TEST(StreamLifetimeTest2, EverythingDestroyedInOnDone) {
  StreamServer server;
  server.Script(Flaky());
  struct Everything final : grpc::ClientBidiReactor<EchoMessage, EchoMessage> {
    explicit Everything(std::atomic<int>* done_of) : done(done_of) {}
    void OnReadDone(bool ok) override {
      if (ok) StartRead(&in);
    }
    void OnWriteDone(bool ok) override {
      if (ok) StartWritesDone();
    }
    void OnDone(const grpc::Status& status) override {
      EXPECT_TRUE(status.ok()) << status.error_message();
      std::atomic<int>* const counter = done;
      delete this;
      ++*counter;
    }
    std::atomic<int>* const done;
    grpc::ClientContext context;
    EchoMessage in;
    EchoMessage out;
  };
  const auto channel = ChannelTo(server);
  const auto stub = Echo::NewStub(channel);
  std::atomic<int> done = 0;
  for (int i = 0; i < 100; ++i) {
    auto* everything = new Everything(&done);
    stub->async()->Chat(&everything->context, everything);
    everything->StartRead(&everything->in);
    everything->StartWrite(&everything->out);
    everything->StartCall();
  }
  while (done < 100) std::this_thread::yield();
}

// Finish, and no read: what nobody read is dropped when the deadline passes.
TEST(StreamLifetimeTest2, FinishWithoutReading) {
  StreamServer server;
  server.Script({StreamPlay::Hangs(5)});
  const auto stub = Echo::NewStub(ChannelTo(server));
  for (const bool cancels : {false, true}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(cancels ? 20000 : 300));
    EchoMessage message;
    const auto reader = stub->Pull(&context, message);
    EXPECT_TRUE(reader->Read(&message));
    if (cancels) context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(),
              cancels ? StatusCode::CANCELLED : StatusCode::DEADLINE_EXCEEDED);
  }
}

}  // namespace
}  // namespace forbear::rpc
