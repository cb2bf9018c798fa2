// RpcCall: one unary call of a soak, decided by dice before it is started: by which of
// gRPC's APIs, its sizes, its limits, and what must be true of its end.
//
//   auto call = std::make_shared<RpcCall>(id, way, session, context, &dice);
//   call->Start(&queue, [] { … });     // it has ended, and was checked
//   call->Cancel();
//
// Thread rule: Cancel from anywhere; Start once.
#ifndef FORBEAR_TESTS_SOAK_RPC_CALL_H_
#define FORBEAR_TESTS_SOAK_RPC_CALL_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "tests/soak/checked_rpc.h"
#include "tests/soak/dice.h"
#include "tests/soak/rpc_session.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::soak {

class RpcCall final : public CheckedRpc,
                      public std::enable_shared_from_this<RpcCall> {
 public:
  enum class Way { kSync, kCallback, kReactor, kQueue, kGeneric };
  static constexpr int kWays = 5;

  // If the session is for one kind of stubs, the way becomes one of these.
  RpcCall(uint64_t id, Way way, std::shared_ptr<RpcSession> session,
          Books books, Dice* dice);
  ~RpcCall() override;

  // kSync: returns when it has ended. kQueue: who reads the queue calls Finished for
  // its tag. `ended` may be called on one of gRPC's threads.
  void Start(grpc::CompletionQueue* queue, std::function<void()> ended);
  static void Finished(void* tag);

  void Cancel() override;

 private:
  class Reactor;

  void End(const grpc::Status& status);
  void CheckEnd(const grpc::Status& status);

  Way way_;
  size_t size_ = 0;

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
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_RPC_CALL_H_
