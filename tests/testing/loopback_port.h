#ifndef FORBEAR_TESTS_TESTING_LOOPBACK_PORT_H_
#define FORBEAR_TESTS_TESTING_LOOPBACK_PORT_H_

#include "absl/status/statusor.h"

namespace forbear::testing {

// A TCP port of 127.0.0.1 that nobody else gets while this object lives.
//
// A server that stops and later starts again on its port would otherwise race
// with every other program for it: the kernel may hand the port to an outgoing
// connection meanwhile. So a socket stays bound to the port without listening.
// A client that connects while no server listens is refused (ECONNREFUSED), as
// by any closed port. Our servers bind the same port beside it, which Linux
// allows to sockets with SO_REUSEADDR as long as at most one of them listens.
//
//   absl::StatusOr<LoopbackPort> port = LoopbackPort::Reserve(0);
//   StartServerOn(port->number());
//
// Thread rule: const members may be called from any thread.
class LoopbackPort {
 public:
  // `number` 0 takes any free port. kUnavailable if somebody has the port.
  static absl::StatusOr<LoopbackPort> Reserve(int number);

  LoopbackPort(LoopbackPort&& other) noexcept;
  LoopbackPort& operator=(LoopbackPort&& other) noexcept;
  ~LoopbackPort();

  int number() const { return number_; }

  // A listening, non-blocking socket on the port, owned by the caller.
  // kUnavailable if there is one already.
  absl::StatusOr<int> Listen() const;

 private:
  LoopbackPort(int socket, int number) : socket_(socket), number_(number) {}

  int socket_;
  int number_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_LOOPBACK_PORT_H_
