#include "tests/interceptors/raw_http2_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <utility>

namespace forbear::rpc {
namespace {

// RFC 9113 §6 and §7.
enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
};
constexpr uint8_t kAck = 1;
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;
constexpr uint32_t kNoError = 0;
constexpr uint32_t kInternalError = 2;
constexpr uint32_t kRefusedStream = 7;
constexpr uint32_t kEnhanceYourCalm = 11;
constexpr uint32_t kMaxConcurrentStreams = 3;  // a setting
constexpr size_t kPrefaceSize = 24;

// HPACK (RFC 7541), written out: an indexed field, and literals that nobody
// indexes.
constexpr absl::string_view kStatus200("\x88", 1);
constexpr absl::string_view kContentType(
    "\x0f\x10\x10"
    "application/grpc",
    19);
constexpr absl::string_view kGrpcStatus0(
    "\x00\x0b"
    "grpc-status"
    "\x01"
    "0",
    15);
constexpr absl::string_view kGrpcStatus14(
    "\x00\x0b"
    "grpc-status"
    "\x02"
    "14",
    16);

constexpr absl::string_view kHtml(
    "\x0f\x10\x09"
    "text/html",
    12);
constexpr absl::string_view kRetryAfter30(
    "\x00\x0b"
    "retry-after"
    "\x02"
    "30",
    16);

std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) {
    text.push_back(static_cast<char>(value >> (8 * i)));
  }
  return text;
}

std::string Frame(FrameType type, uint8_t flags, uint32_t stream,
                  absl::string_view payload) {
  std::string frame = BigEndian(static_cast<uint32_t>(payload.size()), 3);
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  frame += BigEndian(stream, 4);
  frame.append(payload.data(), payload.size());
  return frame;
}

std::string Joined(std::initializer_list<absl::string_view> parts) {
  std::string all;
  for (const absl::string_view part : parts)
    all.append(part.data(), part.size());
  return all;
}

bool Send(int fd, const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n =
        send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

bool Receive(int fd, size_t size, std::string* bytes) {
  bytes->resize(size);
  size_t received = 0;
  while (received < size) {
    const ssize_t n = recv(fd, bytes->data() + received, size - received, 0);
    if (n <= 0) return false;
    received += static_cast<size_t>(n);
  }
  return true;
}

uint32_t Number(absl::string_view bytes) {
  uint32_t number = 0;
  for (const char c : bytes) number = number << 8 | static_cast<uint8_t>(c);
  return number;
}

}  // namespace

RawHttp2Server::RawHttp2Server(std::vector<Act> acts, int closed)
    : acts_(std::move(acts)),
      closed_(static_cast<size_t>(closed)),
      listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in name = {};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(name);
  auto* const generic = reinterpret_cast<sockaddr*>(&name);
  if (acts_.empty() || listener_ < 0 || bind(listener_, generic, size) != 0 ||
      listen(listener_, 16) != 0 ||
      getsockname(listener_, generic, &size) != 0) {
    std::abort();
  }
  address_ = "127.0.0.1:" + std::to_string(ntohs(name.sin_port));
  acceptor_ = std::thread([this] { Accept(); });
}

RawHttp2Server::~RawHttp2Server() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (const int fd : sockets_) shutdown(fd, SHUT_RDWR);
  }
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  for (const int fd : sockets_) close(fd);
  close(listener_);
}

int RawHttp2Server::sends() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sends_;
}

int RawHttp2Server::connections() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int>(sockets_.size());
}

int64_t RawHttp2Server::message_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return message_bytes_;
}

void RawHttp2Server::SetTrailers(
    std::vector<std::pair<std::string, std::string>> trailers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  trailers_.clear();
  for (const auto& [name, value] : trailers) {
    // A literal that nobody indexes, under a new name.
    trailers_.push_back('\0');
    trailers_.push_back(static_cast<char>(name.size()));
    trailers_ += name;
    trailers_.push_back(static_cast<char>(value.size()));
    trailers_ += value;
  }
}

void RawHttp2Server::TurnAway() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int fd = sockets_.back();
  Send(fd, Frame(kGoAway, 0, 0, BigEndian(0, 4) + BigEndian(kNoError, 4)));
  shutdown(fd, SHUT_RDWR);
}

std::optional<std::string> RawHttp2Server::First(absl::string_view name) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  // gRPC writes a literal without Huffman's code.
  const size_t at = head_.find(std::string(name));
  if (at == std::string::npos) return std::nullopt;
  const size_t size = at + name.size();
  return head_.substr(size + 1, static_cast<uint8_t>(head_[size]));
}

void RawHttp2Server::Accept() {
  for (;;) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) {
      close(fd);
      return;
    }
    // Closed at the very end, so that its number means one socket only.
    sockets_.push_back(fd);
    const bool closed = sockets_.size() <= closed_;
    threads_.emplace_back([this, fd, closed] { Serve(fd, closed); });
  }
}

void RawHttp2Server::Serve(int fd, bool closed) {
  std::string bytes;
  const std::string settings =
      closed ? BigEndian(kMaxConcurrentStreams, 2) + BigEndian(0, 4) : "";
  if (!Receive(fd, kPrefaceSize, &bytes) ||
      !Send(fd, Frame(kSettings, 0, 0, settings))) {
    return;
  }
  for (;;) {
    if (!Receive(fd, 9, &bytes)) return;
    const uint32_t size = Number(absl::string_view(bytes).substr(0, 3));
    const auto type = static_cast<uint8_t>(bytes[3]);
    const auto flags = static_cast<uint8_t>(bytes[4]);
    const uint32_t stream = Number(absl::string_view(bytes).substr(5));
    if (!Receive(fd, size, &bytes)) return;
    if (type == kSettings && (flags & kAck) == 0) {
      if (!Send(fd, Frame(kSettings, kAck, 0, ""))) return;
    } else if (type == kPing && (flags & kAck) == 0) {
      if (!Send(fd, Frame(kPing, kAck, 0, bytes))) return;
    } else if (type == kHeaders || type == kData) {
      Act act = Act::kAnswer;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (type == kHeaders) {
          ++sends_;
          head_ = bytes;
        }
        if (type == kData) message_bytes_ += size;
        if ((flags & kEndStream) == 0) continue;
        act = acts_[std::min(next_act_++, acts_.size() - 1)];
      }
      if (!Perform(act, fd, stream)) {
        shutdown(fd, SHUT_RDWR);
        return;
      }
    }
  }
}

bool RawHttp2Server::Perform(Act act, int fd, uint32_t stream) {
  std::string trailers;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    trailers = trailers_;
  }
  const auto page = [fd, stream](absl::string_view status) {
    // A literal under the static table's ":status".
    return Send(fd, Frame(kHeaders, kEndHeaders, stream,
                          Joined({"\x08\x03", status, kHtml, kRetryAfter30})) +
                        Frame(kData, kEndStream, stream, "<p>Busy</p>"));
  };
  const auto go_away = [fd](uint32_t last) {
    return Send(
        fd, Frame(kGoAway, 0, 0, BigEndian(last, 4) + BigEndian(kNoError, 4)));
  };
  switch (act) {
    case Act::kAnswer:
      return Send(fd, Frame(kHeaders, kEndHeaders, stream,
                            Joined({kStatus200, kContentType})) +
                          Frame(kData, 0, stream, std::string(5, '\0')) +
                          Frame(kHeaders, kEndHeaders | kEndStream, stream,
                                kGrpcStatus0));
    case Act::kUnavailable:
      return Send(
          fd,
          Frame(kHeaders, kEndHeaders | kEndStream, stream,
                Joined({kStatus200, kContentType, kGrpcStatus14, trailers})));
    case Act::kRefuse:
      return Send(fd,
                  Frame(kRstStream, 0, stream, BigEndian(kRefusedStream, 4)));
    case Act::kReset:
      return Send(fd,
                  Frame(kRstStream, 0, stream, BigEndian(kInternalError, 4)));
    case Act::kCalm:
      return Send(fd,
                  Frame(kRstStream, 0, stream, BigEndian(kEnhanceYourCalm, 4)));
    case Act::kGoAway:
      return go_away(stream < 2 ? 0 : stream - 2);
    case Act::kGoAwayAndClose:
      go_away(stream < 2 ? 0 : stream - 2);
      return false;
    case Act::kGoAwayAfterAndClose:
      go_away(stream);
      return false;
    case Act::kClose:
      return false;
    case Act::kHttp200:
      return page("200");
    case Act::kHttp400:
      return page("400");
    case Act::kHttp401:
      return page("401");
    case Act::kHttp403:
      return page("403");
    case Act::kHttp404:
      return page("404");
    case Act::kHttp408:
      return page("408");
    case Act::kHttp429:
      return page("429");
    case Act::kHttp500:
      return page("500");
    case Act::kHttp502:
      return page("502");
    case Act::kHttp503:
      return page("503");
    case Act::kHttp504:
      return page("504");
    case Act::kHttp503Empty:
      return Send(fd, Frame(kHeaders, kEndHeaders | kEndStream, stream,
                            Joined({"\x08\x03", "503", kHtml, kRetryAfter30})));
    case Act::kHttp500Unavailable:
      return Send(
          fd, Frame(kHeaders, kEndHeaders | kEndStream, stream,
                    Joined({"\x08\x03", "500", kContentType, kGrpcStatus14})));
  }
  return false;
}

}  // namespace forbear::rpc
