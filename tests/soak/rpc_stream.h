// RpcStream: one stream of a soak, decided by dice before it is started: its shape, by
// which of gRPC's APIs, its messages, its limits, whether it is abandoned; and what must
// be true of its end.
//
//   auto stream = std::make_shared<RpcStream>(id, session, books, &dice);
//   stream->Start();
//   stream->Cancel();
//   stream->Wait();       // it has ended, and was checked
//
// Thread rule: Cancel from anywhere; the rest from one thread.
#ifndef FORBEAR_TESTS_SOAK_RPC_STREAM_H_
#define FORBEAR_TESTS_SOAK_RPC_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/interceptors/stream_app.h"
#include "tests/soak/checked_rpc.h"
#include "tests/soak/dice.h"
#include "tests/soak/rpc_session.h"

namespace forbear::soak {

class RpcStream final : public CheckedRpc {
 public:
  RpcStream(uint64_t id, std::shared_ptr<RpcSession> session, Books books,
            Dice* dice);

  void Start() { app_.Start(); }
  void Cancel() override;
  void Wait() { app_.Wait(); }

 private:
  struct Form {
    rpc::StreamApi api;
    rpc::Shape shape;
  };

  RpcStream(uint64_t id, Form form, std::shared_ptr<RpcSession> session,
            Books books, Dice* dice);
  void ChooseMessages(Dice* dice);
  void End(const grpc::Status& status);
  void CheckEnd(const grpc::Status& status);
  void CheckReceived(const grpc::Status& status);
  // Of a whole answer; message i of it.
  size_t MostReceived() const;
  std::string Expected(size_t i) const;

  const Form form_;
  std::vector<std::string> payloads_;
  size_t count_ = 0;  // as the mark says
  std::atomic<bool> cancelled_{false};

  std::mutex mutex_;  // guards the context's life
  bool context_gone_ = false;
  rpc::StreamApp app_;  // the last: it waits for its end
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_RPC_STREAM_H_
