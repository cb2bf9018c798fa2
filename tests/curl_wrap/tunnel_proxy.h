// A proxy that tunnels (CONNECT), to any port of this machine.
#ifndef FORBEAR_TESTS_CURL_WRAP_TUNNEL_PROXY_H_
#define FORBEAR_TESTS_CURL_WRAP_TUNNEL_PROXY_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace forbear::curl {

// Whatever host it is asked for, it connects to 127.0.0.1. A tunnel lasts until one of
// its ends closes.
//
// Thread rule: const members from any thread.
class TunnelProxy {
 public:
  TunnelProxy() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = Address(0);
    socklen_t size = sizeof(address);
    (void)bind(fd_, reinterpret_cast<sockaddr*>(&address), size);
    listen(fd_, 8);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    accepts_ = std::thread([this] { Accept(); });
  }
  ~TunnelProxy() {
    shutdown(fd_, SHUT_RDWR);
    accepts_.join();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& tunnel : tunnels_) tunnel.join();
    for (const int fd : open_) close(fd);
    close(fd_);
  }
  TunnelProxy(const TunnelProxy&) = delete;
  TunnelProxy& operator=(const TunnelProxy&) = delete;

  std::string url() const {
    return "http://127.0.0.1:" + std::to_string(port_);
  }
  // How many were asked for.
  int tunnels() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return count_;
  }

 private:
  static sockaddr_in Address(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  void Accept() {
    for (;;) {
      const int fd = accept(fd_, nullptr, nullptr);
      if (fd < 0) return;
      const std::lock_guard<std::mutex> lock(mutex_);
      open_.push_back(fd);
      tunnels_.emplace_back([this, fd] { Serve(fd); });
    }
  }

  void Serve(int client) {
    std::string head;
    char byte;
    while (head.size() < 4 ||
           head.compare(head.size() - 4, 4, "\r\n\r\n") != 0) {
      if (recv(client, &byte, 1, 0) != 1) return;
      head += byte;
    }
    // "CONNECT host:port HTTP/1.1"
    const size_t colon = head.find(':');
    const sockaddr_in address = Address(std::atoi(&head[colon + 1]));
    const int server = socket(AF_INET, SOCK_STREAM, 0);
    const bool connected =
        connect(server, reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) == 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      open_.push_back(server);
      ++count_;
    }
    const std::string answer =
        connected ? "HTTP/1.1 200 Tunnel\r\n\r\n" : "HTTP/1.1 502 No\r\n\r\n";
    send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
    if (connected) Relay(client, server);
    shutdown(client, SHUT_RDWR);
    shutdown(server, SHUT_RDWR);
  }

  static void Relay(int a, int b) {
    for (;;) {
      pollfd both[] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
      if (poll(both, 2, -1) < 0) return;
      for (int i = 0; i < 2; ++i) {
        if (both[i].revents == 0) continue;
        char data[4096];
        const ssize_t n = recv(both[i].fd, data, sizeof(data), 0);
        if (n <= 0) return;
        send(both[1 - i].fd, data, static_cast<size_t>(n), MSG_NOSIGNAL);
      }
    }
  }

  const int fd_;
  int port_ = 0;
  mutable std::mutex mutex_;
  int count_ = 0;                     // guarded by mutex_
  std::vector<int> open_;             // guarded by mutex_
  std::vector<std::thread> tunnels_;  // of the thread that accepts
  std::thread accepts_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_TESTS_CURL_WRAP_TUNNEL_PROXY_H_
