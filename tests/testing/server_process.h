#ifndef FORBEAR_TESTS_TESTING_SERVER_PROCESS_H_
#define FORBEAR_TESTS_TESTING_SERVER_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

namespace forbear::testing {

// A server in a process of its own, for tests and benchmarks that look at the threads,
// the memory or the time of theirs.
//
//   int main() {
//     const ServerProcess server([](int* port) {
//       std::shared_ptr<GrpcServer> server = *GrpcServer::Create();
//       *port = server->port();
//       return server;
//     });
//     … server.address() …
//   }
//
// It is a fork of this process: what runs there sees a copy of all that was there, and
// nothing that it changes is seen here. It ends with this object, or with this
// process.
//
// Thread rule: const members may be called from any thread.
class ServerProcess {
 public:
  // Starts a server in the other process, on 127.0.0.1; what it returns lives as long
  // as that. Null: it did not start.
  using Start = std::function<std::shared_ptr<void>(int* port)>;

  // Ends the program if there is no process or no server.
  // REQUIRES: this process has one thread, and has not used gRPC yet.
  explicit ServerProcess(const Start& start);
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // "127.0.0.1:<port>".
  std::string address() const;

 private:
  pid_t child_ = 0;
  int end_ = -1;  // the child ends when this is closed
  int port_ = 0;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_SERVER_PROCESS_H_
