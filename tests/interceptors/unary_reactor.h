// UnaryReactor: what ends a unary call that is made with gRPC's reactor API.
//
//   UnaryReactor reactor;
//   stub->async()->Say(&context, &request, &response, &reactor);
//   reactor.StartCall();
//   EXPECT_TRUE(reactor.Wait().ok());
//
// Thread rule: as gRPC's reactors; Wait from anywhere.
#ifndef FORBEAR_TESTS_INTERCEPTORS_UNARY_REACTOR_H_
#define FORBEAR_TESTS_INTERCEPTORS_UNARY_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>

namespace forbear::rpc {

class UnaryReactor final : public grpc::ClientUnaryReactor {
 public:
  void OnDone(const grpc::Status& status) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    status_ = status;
    done_ = true;
    changed_.notify_all();
  }
  grpc::Status Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
    return status_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  grpc::Status status_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_UNARY_REACTOR_H_
