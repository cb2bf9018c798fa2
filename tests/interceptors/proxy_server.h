// ProxyServer: a server of stock gRPC whose handler is the test's: for calls that are
// made for a server call.
//
//   ProxyServer proxy([&](grpc::ServerContext* context) {
//     EchoCall inner(api, backend);
//     inner.MakeFor(*context);
//     return inner.Run();
//   });
//   EchoCall outer(Api::kCallback, proxy.Channel());
//   …
//   proxy.Stop();      // the handlers are back
//
// Thread rule: the handler is called on threads of gRPC's, several at once.
#ifndef FORBEAR_TESTS_INTERCEPTORS_PROXY_SERVER_H_
#define FORBEAR_TESTS_INTERCEPTORS_PROXY_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "tests/testing/echo.grpc.pb.h"

namespace forbear::rpc {

class ProxyServer final : public testing::Echo::Service {
 public:
  using Handler = std::function<grpc::Status(grpc::ServerContext*)>;

  explicit ProxyServer(Handler handler) : handler_(std::move(handler)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ProxyServer() override { Stop(); }

  // To it, by plain gRPC.
  std::shared_ptr<grpc::Channel> Channel() const {
    return grpc::CreateChannel("127.0.0.1:" + std::to_string(port_),
                               grpc::InsecureChannelCredentials());
  }
  // Waits for the calls that it has. What their handlers have written can be read then.
  void Stop() {
    server_->Shutdown();
    const std::lock_guard<std::mutex> lock(mutex_);
  }

  grpc::Status Say(grpc::ServerContext* context,
                   const testing::EchoMessage* /*request*/,
                   testing::EchoMessage* /*response*/) override {
    grpc::Status status = handler_(context);
    const std::lock_guard<std::mutex> lock(mutex_);
    return status;
  }

 private:
  const Handler handler_;
  std::mutex mutex_;  // guards nothing: it tells Stop what has happened before
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;  // the last one: its calls end first
};

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_PROXY_SERVER_H_
