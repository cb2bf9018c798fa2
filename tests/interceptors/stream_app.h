// One stream of the echo service, of any shape, through any of gRPC's APIs, so that
// a test is written once. It sends all of its payloads, then reads until there is no
// more, then asks for the status.
//
//   StreamApp app(StreamApi::kQueue, Shape::kChat, channel);
//   app.context().AddMetadata("x", "y");
//   app.Start();
//   app.Cancel();
//   EXPECT_TRUE(app.Wait().ok());
//   EXPECT_EQ(app.received(), …);
//
// Thread rule: Cancel from anywhere; the rest from one thread.
#ifndef FORBEAR_TESTS_INTERCEPTORS_STREAM_APP_H_
#define FORBEAR_TESTS_INTERCEPTORS_STREAM_APP_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/time.h"
#include "interceptors/call_options.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::rpc {

enum class Shape { kPull, kPush, kChat };
enum class StreamApi {
  kSync,
  kReactor,
  kQueue,
  kGenericReactor,  // of any shape: to gRPC it is one with both directions
  kGenericQueue,
};

std::string NameOf(Shape shape);
std::string NameOf(StreamApi api);
// "/forbear.testing.Echo/Pull", …
std::string MethodOf(Shape shape);

class StreamApp {
 public:
  StreamApp(StreamApi api, Shape shape,
            const std::shared_ptr<grpc::Channel>& channel);
  ~StreamApp();
  StreamApp(const StreamApp&) = delete;
  StreamApp& operator=(const StreamApp&) = delete;

  // Before Start. Of a call that is made in a server's handler, before all else.
  void MakeFor(const grpc::ServerContext& context) {
    context_ = grpc::ClientContext::FromServerContext(context);
  }
  grpc::ClientContext& context() { return *context_; }
  void SetDeadline(absl::Duration d);
  void SetOptions(const CallOptions* own) { own_ = own; }
  // Of kPull the first one only. Default: "a", "b", "c".
  void SetPayloads(std::vector<std::string> payloads) {
    payloads_ = std::move(payloads);
  }
  // kChat: reads an answer to each payload before it sends the next one.
  void SetPingPong() { ping_pong_ = true; }
  // The metadata leave with the first message. Not for kPull.
  void SetCorked() {
    corked_ = true;
    context_->set_initial_metadata_corked(true);
  }
  // The last message says that it is the last one.
  void SetWriteLast() { write_last_ = true; }
  // After so many messages, sent and received, it drops the stream without a word. Not
  // of reactors, which gRPC does not let go.
  void SetAbandon(int after) { abandon_after_ = after; }
  // Called once, where the application learns of the end (of reactors: on one of gRPC's
  // threads), or has abandoned the stream. It may destroy the context, and what Wait is
  // waited for has not come before it is back.
  void SetOnEnd(std::function<void(const grpc::Status&)> on_end) {
    on_end_ = std::move(on_end);
  }

  void Start();
  void Cancel() { context_->TryCancel(); }
  // Whether Wait would return at once.
  bool done() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return done_;
  }
  const grpc::Status& Wait();
  const grpc::Status& Run() {
    Start();
    return Wait();
  }

  // After Wait, and at the end.
  const std::vector<std::string>& received() const { return received_; }
  // Then there is no status.
  bool abandoned() const { return abandoned_; }
  // Messages that gRPC said were sent.
  int sent() const { return sent_; }
  std::optional<std::string> Initial(const std::string& name) const;
  std::optional<std::string> Trailing(const std::string& name) const;
  absl::Duration took() const { return end_ - begin_; }

  CallRecord record() const;
  void DestroyContext() { context_.reset(); }

 private:
  template <typename M>
  class Reactor;
  class PullReactor;
  class PushReactor;

  testing::EchoMessage Payload(size_t i) const;
  bool IsLast(size_t i) const;
  // Asked before each message.
  bool Abandons();
  grpc::Status RunSync();
  grpc::Status RunQueue(grpc::CompletionQueue* queue);
  void StartReactor();
  template <typename Stream>
  grpc::Status RunGenericQueue(Stream* stream, grpc::CompletionQueue* queue);
  void Received(const testing::EchoMessage& message);
  void Received(const grpc::ByteBuffer& bytes);
  void Done(const grpc::Status& status);

  const StreamApi api_;
  const Shape shape_;
  const std::unique_ptr<testing::Echo::Stub> stub_;
  grpc::GenericStub generic_stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  const CallOptions* own_ = nullptr;
  std::vector<std::string> payloads_ = {"a", "b", "c"};
  bool ping_pong_ = false;
  bool write_last_ = false;
  bool corked_ = false;
  std::optional<int> abandon_after_;
  bool abandoned_ = false;
  std::function<void(const grpc::Status&)> on_end_;
  testing::EchoMessage response_;
  MonotonicTime begin_;
  std::thread thread_;
  std::shared_ptr<void> reactor_;

  std::mutex mutex_;  // guards what is below until `done_`
  std::condition_variable changed_;
  bool done_ = false;
  grpc::Status status_;
  MonotonicTime end_;
  std::vector<std::string> received_;
  int sent_ = 0;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_STREAM_APP_H_
