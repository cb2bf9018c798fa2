// RpcCall: one unary call of a soak, decided by dice before it is started: by which of
// gRPC's APIs, its sizes, its limits, and what must be true of its end.
//
//   auto call = std::make_shared<RpcCall>(id, way, session, context, &dice);
//   call->Start(&queue, [] { … });     // it has ended, and was checked
//   call->Cancel();
//
// RpcSession: a channel, and what its calls follow. gRPC 1.51 crashes if a channel's
// last reference is dropped on a callback thread, where calls end. So who makes a
// session gives its shared_ptr a deleter that has another thread do it.
//
// Thread rule: Cancel from anywhere; Start once.
#ifndef FORBEAR_TESTS_SOAK_RPC_CALL_H_
#define FORBEAR_TESTS_SOAK_RPC_CALL_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "interceptors/call_options.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/soak/dice.h"
#include "tests/soak/ledger.h"
#include "tests/soak/rpc_servers.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::soak {

// A client with waits of milliseconds, and bounds that are met now and then. No call of
// it lasts much longer than kLongestCall.
ClientOptions RandomRpcClient(Dice* dice);
inline constexpr absl::Duration kLongestCall = absl::Seconds(4);

// The method that may be sent again, and the one that may be acted upon once.
inline constexpr char kSay[] = "/forbear.testing.Echo/Say";
inline constexpr char kOther[] = "/forbear.testing.Echo/Other";

struct RpcSession {
  // Its calls are made by nothing but what `take_over` says.
  RpcSession(std::shared_ptr<Client> client_of, const std::string& address,
             Dice* dice);

  const std::shared_ptr<Client> client;
  rpc::RpcOptions options;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<testing::Echo::Stub> stub;
  std::unique_ptr<grpc::GenericStub> generic;
};

class RpcCall : public std::enable_shared_from_this<RpcCall> {
 public:
  enum class Way { kSync, kCallback, kReactor, kQueue, kGeneric };
  static constexpr int kWays = 5;

  // What calls have in common.
  struct Books {
    Ledger* ledger = nullptr;
    const RpcServers* servers =
        nullptr;  // null: others, that say nothing of a call
    // One call in 50 that may be acted upon once is said to be harmless.
    bool plant_strict = false;
    // One in 1000 is reported twice.
    bool plant_report = false;
  };

  // If the session is for one kind of stubs, the way becomes one of these.
  RpcCall(uint64_t id, Way way, std::shared_ptr<RpcSession> session,
          Books books, Dice* dice);
  ~RpcCall();
  RpcCall(const RpcCall&) = delete;
  RpcCall& operator=(const RpcCall&) = delete;

  // kSync: returns when it has ended. kQueue: who reads the queue calls Finished for
  // its tag. `ended` may be called on one of gRPC's threads.
  void Start(grpc::CompletionQueue* queue, std::function<void()> ended);
  static void Finished(void* tag);

  void Cancel();

  // After its end.
  int attempts() const { return attempts_; }
  // Forbear leaves it alone: it may have been sent once, and has no record.
  bool passes_through() const { return plain_; }

 private:
  class Reactor;

  void Choose(Dice* dice);
  void ChooseOptions(Dice* dice);
  void End(const grpc::Status& status);
  void Check(const grpc::Status& status);
  void CheckRecord(const grpc::Status& status, const CallRecord& record);
  void CheckReplay(const CallRecord& record);
  void Fault(absl::string_view what, const CallRecord& record);

  const uint64_t id_;
  Way way_;
  // Destroyed after the context, which holds the channel, too.
  const std::shared_ptr<RpcSession> session_;
  const Books books_;
  const std::chrono::steady_clock::time_point begin_ =
      std::chrono::steady_clock::now();

  bool strict_ = false;
  bool plain_ = false;   // passes through
  bool faulty_ = false;  // is to be refused, with nothing sent
  bool drops_context_ = false;
  size_t size_ = 0;
  rpc::CallOptions own_;
  bool has_own_ = false;
  absl::Duration deadline_ = absl::InfiniteDuration();

  std::mutex mutex_;  // guards the context's life
  std::unique_ptr<grpc::ClientContext> context_ =
      std::make_unique<grpc::ClientContext>();
  testing::EchoMessage request_;
  testing::EchoMessage response_;
  grpc::ByteBuffer request_bytes_;
  grpc::ByteBuffer response_bytes_;
  grpc::Status status_;  // of a queue's
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<testing::EchoMessage>>
      reader_;
  std::function<void()> ended_;
  std::atomic<int> attempts_{0};
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_RPC_CALL_H_
