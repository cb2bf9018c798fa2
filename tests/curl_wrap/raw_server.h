// A server that says, byte for byte, what a test wants, before it has read a
// whole request if need be.
#ifndef FORBEAR_TESTS_CURL_WRAP_RAW_SERVER_H_
#define FORBEAR_TESTS_CURL_WRAP_RAW_SERVER_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace forbear::curl {

// Thread rule: Received() ends the server; WaitForAnswers from any thread, the rest from
// one.
class RawServer {
 public:
  // Reads until what was read since the last answer ends with `until`, or the
  // client leaves; then sends `answer`. `first`, on the server's thread, before that:
  // for who has to wait for something.
  struct Step {
    std::string until;
    std::string answer;
    std::function<void()> first = {};
  };

  using Connection = std::vector<Step>;

  // One list of steps for each connection, which are served one after the other
  // and closed.
  explicit RawServer(std::vector<Connection> connections)
      : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    (void)bind(fd_, reinterpret_cast<sockaddr*>(&address), size);
    listen(fd_, 8);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, connections = std::move(connections)] {
      for (const Connection& steps : connections) Serve(steps);
    });
  }
  ~RawServer() {
    Received();
    close(fd_);
  }

  int port() const { return port_; }

  // Until it has sent so many answers, and not for ever.
  void WaitForAnswers(int n) const {
    std::unique_lock<std::mutex> lock(mutex_);
    answered_.wait_for(lock, std::chrono::seconds(20),
                       [&] { return answers_ >= n; });
  }

  // What came on each connection. Waits until all were served.
  std::vector<std::string> Received() {
    shutdown(fd_, SHUT_RDWR);  // no further connection comes
    if (thread_.joinable()) thread_.join();
    return received_;
  }

 private:
  void Serve(const Connection& steps) {
    const int fd = accept(fd_, nullptr, nullptr);
    if (fd < 0) return;
    std::string all;
    for (const Step& step : steps) {
      std::string in;
      char byte;
      while (in.size() < step.until.size() ||
             in.compare(in.size() - step.until.size(), std::string::npos,
                        step.until) != 0) {
        if (recv(fd, &byte, 1, 0) != 1) break;
        in += byte;
      }
      all += in;
      if (step.first) step.first();
      send(fd, step.answer.data(), step.answer.size(), MSG_NOSIGNAL);
      const std::lock_guard<std::mutex> lock(mutex_);
      ++answers_;
      answered_.notify_all();
    }
    received_.push_back(all);
    close(fd);
  }

  const int fd_;
  int port_ = 0;
  std::vector<std::string> received_;
  mutable std::mutex mutex_;
  mutable std::condition_variable answered_;
  int answers_ = 0;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_TESTS_CURL_WRAP_RAW_SERVER_H_
