#include "tests/testing/loopback_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace forbear::testing {
namespace {

// Enough for a few thousand clients that connect at once.
constexpr int kBacklog = 4096;

absl::Status Failed(const char* what, int number) {
  const int error = errno;
  return absl::UnavailableError(
      absl::StrCat(what, " 127.0.0.1:", number, ": ", strerror(error)));
}

// A socket bound to the port, or -1 with errno set.
int BoundSocket(int number, int flags) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (fd < 0) return -1;
  const int on = 1;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(number));
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
          0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

}  // namespace

absl::StatusOr<LoopbackPort> LoopbackPort::Reserve(int number) {
  if (number < 0 || number > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("no TCP port: ", number));
  }
  const int fd = BoundSocket(number, 0);
  if (fd < 0) return Failed("bind", number);
  LoopbackPort port(fd, number);
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return Failed("getsockname", number);
  }
  port.number_ = ntohs(address.sin_port);
  return port;
}

LoopbackPort::LoopbackPort(LoopbackPort&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)), number_(other.number_) {}

LoopbackPort& LoopbackPort::operator=(LoopbackPort&& other) noexcept {
  std::swap(socket_, other.socket_);
  std::swap(number_, other.number_);
  return *this;
}

LoopbackPort::~LoopbackPort() {
  if (socket_ >= 0) close(socket_);
}

absl::StatusOr<int> LoopbackPort::Listen() const {
  const int fd = BoundSocket(number_, SOCK_NONBLOCK);
  if (fd < 0) return Failed("bind", number_);
  if (listen(fd, kBacklog) != 0) {
    const absl::Status status = Failed("listen", number_);
    close(fd);
    return status;
  }
  return fd;
}

}  // namespace forbear::testing
