// A gRPC client that gets through UNAVAILABLE and RESOURCE_EXHAUSTED:
//
//   bazel run //examples:grpc_hello                       # its own bad server
//   bazel run //examples:grpc_hello -- 127.0.0.1:50051    # yours
//
// Code that makes calls stays as it is. The three lines that make the channel
// change; they are marked.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "core/call_record.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

using forbear::testing::Echo;
using forbear::testing::EchoMessage;
using forbear::testing::GrpcReply;
using forbear::testing::GrpcServer;

int main(int argc, char** argv) {
  std::unique_ptr<GrpcServer> server;
  std::string target;
  if (argc > 1) {
    target = argv[1];
  } else {
    server = *GrpcServer::Create();
    server->Script(
        {GrpcReply::Error(grpc::StatusCode::UNAVAILABLE),
         GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED).Pushback("500"),
         GrpcReply::Ok("")});
    target = server->address();
  }

  forbear::rpc::RpcOptions options;  // 1: which methods may be sent again
  options.methods = {
      {"/forbear.testing.Echo/*", {grpc::StatusCode::UNAVAILABLE}}};
  const std::shared_ptr<grpc::Channel> channel =  // 2: grpc::CreateChannel
      forbear::rpc::CreateChannel(target, grpc::InsecureChannelCredentials(),
                                  forbear::Client::Default(),  // 3: shared
                                  options);

  const std::unique_ptr<Echo::Stub> stub = Echo::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(10));
  EchoMessage request;
  EchoMessage response;
  const grpc::Status status = stub->Say(&context, request, &response);

  // What happened, for who wants to know.
  const std::optional<forbear::CallRecord> record =
      forbear::rpc::RecordOf(context);
  if (record) std::cerr << forbear::FormatCallRecord(*record);
  if (!status.ok()) {
    std::cerr << status.error_message() << "\n";
    return 1;
  }
  std::cout << "answered\n";
  return 0;
}
