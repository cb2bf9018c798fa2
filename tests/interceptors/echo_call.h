// One call of the echo service, through any of gRPC's unary APIs, so that a test
// is written once. Counts are taken at the server.
//
//   INSTANTIATE_TEST_SUITE_P(Apis, SomeTest, AllApis(), ApiName);
//   …
//   EchoCall call(Api::kCallback, channel);
//   call.context().AddMetadata("x", "y");
//   call.Start();
//   call.Cancel();
//   EXPECT_EQ(call.Wait().error_code(), …);
//
// Thread rule: Cancel from anywhere; the rest from one thread.
#ifndef FORBEAR_TESTS_INTERCEPTORS_ECHO_CALL_H_
#define FORBEAR_TESTS_INTERCEPTORS_ECHO_CALL_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/time.h"
#include "interceptors/call_options.h"
#include "interceptors/interceptor.h"
#include "runtime/clock.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::rpc {

enum class Api {
  kSync,
  kCallback,
  kQueue,    // a stub's Async…, and Finish into a completion queue
  kGeneric,  // grpc::GenericStub: the messages are bytes
  kReactor,  // grpc::ClientUnaryReactor
};

inline auto AllApis() {
  return ::testing::Values(Api::kSync, Api::kCallback, Api::kQueue,
                           Api::kGeneric, Api::kReactor);
}

// All but the reactor's, whose calls come to an interceptor in two batches: the
// request and the answer are not in one, so that these calls can be neither hedged
// nor taken over (TakeOver in interceptors/rpc_options.h).
inline auto ApisOfOneBatch() {
  return ::testing::Values(Api::kSync, Api::kCallback, Api::kQueue,
                           Api::kGeneric);
}

// Each API with attempt 1 the application's own call, and those of one batch also
// with it taken over (true).
inline auto AllApisAlsoTaken() {
  return ::testing::Values(
      std::make_tuple(Api::kSync, false),
      std::make_tuple(Api::kCallback, false),
      std::make_tuple(Api::kQueue, false),
      std::make_tuple(Api::kGeneric, false),
      std::make_tuple(Api::kReactor, false), std::make_tuple(Api::kSync, true),
      std::make_tuple(Api::kCallback, true), std::make_tuple(Api::kQueue, true),
      std::make_tuple(Api::kGeneric, true));
}

inline std::string NameOf(Api api) {
  switch (api) {
    case Api::kSync:
      return "Sync";
    case Api::kCallback:
      return "Callback";
    case Api::kQueue:
      return "Queue";
    case Api::kGeneric:
      return "Generic";
    case Api::kReactor:
      return "Reactor";
  }
  return "Unknown";
}

inline std::string ApiName(const ::testing::TestParamInfo<Api>& info) {
  return NameOf(info.param);
}

inline constexpr char kSay[] = "/forbear.testing.Echo/Say";

class EchoCall {
 public:
  EchoCall(Api api, const std::shared_ptr<grpc::Channel>& channel,
           std::string payload = "hello")
      : api_(api),
        stub_(testing::Echo::NewStub(channel)),
        generic_stub_(channel),
        context_(std::make_unique<grpc::ClientContext>()) {
    request_.set_payload(std::move(payload));
  }
  ~EchoCall() {
    if (begin_ != MonotonicTime()) Wait();
  }

  // Before Start. Of a call that is made in a server's handler, before all else.
  void MakeFor(const grpc::ServerContext& context,
               grpc::PropagationOptions options = {}) {
    context_ = grpc::ClientContext::FromServerContext(context, options);
  }
  grpc::ClientContext& context() { return *context_; }
  void SetDeadline(absl::Duration d) {
    context_->set_deadline(std::chrono::system_clock::now() +
                           absl::ToChronoNanoseconds(d));
  }

  // Around the line that makes the call, on its thread: for its context, or for
  // `another`.
  void SetOptions(const CallOptions* own,
                  const grpc::ClientContext* another = nullptr) {
    own_ = own;
    own_is_for_ = another == nullptr ? context_.get() : another;
  }

  void Start() {
    begin_ = MonotonicNow();
    std::optional<WithCallOptions> with;
    if (own_ != nullptr) with.emplace(own_is_for_, own_);
    switch (api_) {
      case Api::kSync:
        thread_ = std::thread([this] {
          std::optional<WithCallOptions> here;
          if (own_ != nullptr) here.emplace(own_is_for_, own_);
          Done(stub_->Say(context_.get(), request_, &response_));
        });
        break;
      case Api::kCallback:
        stub_->async()->Say(
            context_.get(), &request_, &response_,
            [this](grpc::Status status) { Done(std::move(status)); });
        break;
      case Api::kQueue:
        thread_ = std::thread([this] { RunQueue(); });
        break;
      case Api::kGeneric:
        StartGeneric();
        break;
      case Api::kReactor:
        stub_->async()->Say(context_.get(), &request_, &response_, &reactor_);
        reactor_.StartCall();
        break;
    }
  }

  void Cancel() { context_->TryCancel(); }

  // Whether Wait would return at once.
  bool done() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return done_;
  }
  const grpc::Status& Wait() {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return done_; });
    }
    if (thread_.joinable()) thread_.join();
    return status_;
  }
  const grpc::Status& Run() {
    Start();
    return Wait();
  }

  // After Wait.
  const grpc::Status& status() const { return status_; }
  const std::string& payload() const { return response_.payload(); }
  // From Start to the moment at which the application had the status.
  absl::Duration took() const { return end_ - begin_; }
  MonotonicTime end() const { return end_; }
  CallRecord record() const {
    const std::optional<CallRecord> record = RecordOf(*context_);
    if (record) return *record;
    return CallRecord();
  }
  std::optional<std::string> Initial(const std::string& name) const {
    return Find(context_->GetServerInitialMetadata(), name);
  }
  std::optional<std::string> Trailing(const std::string& name) const {
    return Find(context_->GetServerTrailingMetadata(), name);
  }
  void DestroyContext() { context_.reset(); }

 private:
  class Reactor final : public grpc::ClientUnaryReactor {
   public:
    explicit Reactor(EchoCall* call) : call_(call) {}
    void OnDone(const grpc::Status& status) override { call_->Done(status); }

   private:
    EchoCall* const call_;
  };

  static std::optional<std::string> Find(
      const std::multimap<grpc::string_ref, grpc::string_ref>& metadata,
      const std::string& name) {
    const auto it = metadata.find(name);
    if (it == metadata.end()) return std::nullopt;
    return std::string(it->second.data(), it->second.size());
  }

  void RunQueue() {
    grpc::CompletionQueue queue;
    grpc::Status status;
    std::optional<WithCallOptions> with;
    if (own_ != nullptr) with.emplace(own_is_for_, own_);
    const auto reader = stub_->AsyncSay(context_.get(), request_, &queue);
    with.reset();
    reader->Finish(&response_, &status, this);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    EXPECT_TRUE(ok);
    EXPECT_EQ(tag, this);
    Done(std::move(status));
    queue.Shutdown();
    EXPECT_FALSE(queue.Next(&tag, &ok));
  }

  void StartGeneric() {
    grpc::Slice slice(request_.SerializeAsString());
    request_bytes_ = grpc::ByteBuffer(&slice, 1);
    generic_stub_.UnaryCall(
        context_.get(), kSay, grpc::StubOptions(), &request_bytes_,
        &response_bytes_, [this](grpc::Status status) {
          grpc::Slice bytes;
          if (response_bytes_.Valid() &&
              response_bytes_.DumpToSingleSlice(&bytes).ok()) {
            EXPECT_TRUE(response_.ParseFromArray(
                bytes.begin(), static_cast<int>(bytes.size())));
          }
          Done(std::move(status));
        });
  }

  void Done(grpc::Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = MonotonicNow();
    status_ = std::move(status);
    done_ = true;
    changed_.notify_all();
  }

  const Api api_;
  const CallOptions* own_ = nullptr;
  const grpc::ClientContext* own_is_for_ = nullptr;
  const std::unique_ptr<testing::Echo::Stub> stub_;
  grpc::GenericStub generic_stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  testing::EchoMessage request_;
  testing::EchoMessage response_;
  grpc::ByteBuffer request_bytes_;
  grpc::ByteBuffer response_bytes_;
  Reactor reactor_{this};
  MonotonicTime begin_;
  std::thread thread_;

  std::mutex mutex_;  // guards the four below
  std::condition_variable changed_;
  bool done_ = false;
  grpc::Status status_;
  MonotonicTime end_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_ECHO_CALL_H_
