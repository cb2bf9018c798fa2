#ifndef FORBEAR_TESTS_TESTING_GRPC_SERVER_PROCESS_H_
#define FORBEAR_TESTS_TESTING_GRPC_SERVER_PROCESS_H_

#include <sys/types.h>

#include <string>

#include "tests/testing/grpc_server.h"

namespace forbear::testing {

// A GrpcServer in a process of its own, for tests and benchmarks that look at the
// threads, the memory or the time of theirs.
//
//   int main() {
//     const GrpcServerProcess server([](const GrpcRequest& request) {
//       return GrpcReply::Ok(request.bytes);
//     });
//     … server.address() …
//   }
//
// It is a fork of this process: the handler sees a copy of all that was there, and
// nothing that it changes is seen here. It ends with this object, or with this
// process.
//
// Thread rule: const members may be called from any thread.
class GrpcServerProcess {
 public:
  // Ends the program if there is no process or no port.
  // REQUIRES: this process has one thread, and has not used gRPC yet.
  explicit GrpcServerProcess(const GrpcServer::Handler& handler);
  ~GrpcServerProcess();
  GrpcServerProcess(const GrpcServerProcess&) = delete;
  GrpcServerProcess& operator=(const GrpcServerProcess&) = delete;

  // "127.0.0.1:<port>".
  std::string address() const;

 private:
  pid_t child_ = 0;
  int end_ = -1;  // the child ends when this is closed
  int port_ = 0;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_GRPC_SERVER_PROCESS_H_
