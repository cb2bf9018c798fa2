// racy_interceptor must be stopped by ./dev tsan: a gRPC client interceptor and
// the application write the same variable, each on a thread of its own, without
// a lock. sound_interceptor must pass: there they have one.
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_server.h"

namespace forbear::testing {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;

struct Seen {
  bool locked = false;
  std::mutex mutex;
  int statuses = 0;

  void Count() {
    std::unique_lock<std::mutex> lock(mutex, std::defer_lock);
    if (locked) lock.lock();
    ++statuses;
  }
};

class CountsStatuses final : public Interceptor {
 public:
  explicit CountsStatuses(Seen* seen) : seen_(seen) {}
  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            InterceptionHookPoints::POST_RECV_STATUS)) {
      seen_->Count();
    }
    methods->Proceed();
  }

 private:
  Seen* const seen_;
};

class Factory final : public ClientInterceptorFactoryInterface {
 public:
  explicit Factory(Seen* seen) : seen_(seen) {}
  Interceptor* CreateClientInterceptor(ClientRpcInfo*) override {
    return new CountsStatuses(seen_);
  }

 private:
  Seen* const seen_;
};

int Run(bool locked) {
  Seen seen;
  seen.locked = locked;
  const std::unique_ptr<GrpcServer> server = GrpcServer::Create().value();
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<Factory>(&seen));
  const auto stub =
      Echo::NewStub(grpc::experimental::CreateCustomChannelWithInterceptors(
          server->address(), grpc::InsecureChannelCredentials(), {},
          std::move(factories)));

  grpc::ClientContext context;
  EchoMessage request;
  EchoMessage response;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  bool ok = false;
  stub->async()->Say(&context, &request, &response, [&](grpc::Status status) {
    const std::lock_guard<std::mutex> lock(mutex);
    done = true;
    ok = status.ok();
    changed.notify_all();
  });
  seen.Count();  // on this thread, while the call is on its way
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [&] { return done; });
  return ok && seen.statuses == 2 ? 0 : 1;
}

}  // namespace
}  // namespace forbear::testing

int main(int, char** argv) { return forbear::testing::Run(argv[1][0] == 's'); }
