#include "tests/testing/http_server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "tests/testing/event_loop.h"
#include "tests/testing/loopback_port.h"
#include "tests/testing/reply_source.h"

namespace forbear::testing {
namespace {

// How often, and for how long, a fault waits until what it sent has left.
constexpr absl::Duration kDrainPoll = absl::Milliseconds(1);
constexpr int kDrainPolls = 5000;

constexpr int kAllMethods = EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD |
                            EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
                            EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
                            EVHTTP_REQ_PATCH;

// A mistake in the test itself.
[[noreturn]] void Die(absl::string_view message) {
  fprintf(stderr, "HttpServer: %s\n", std::string(message).c_str());
  abort();
}

const char* MethodName(evhttp_cmd_type method) {
  switch (method) {
    case EVHTTP_REQ_GET:
      return "GET";
    case EVHTTP_REQ_POST:
      return "POST";
    case EVHTTP_REQ_HEAD:
      return "HEAD";
    case EVHTTP_REQ_PUT:
      return "PUT";
    case EVHTTP_REQ_DELETE:
      return "DELETE";
    case EVHTTP_REQ_OPTIONS:
      return "OPTIONS";
    case EVHTTP_REQ_TRACE:
      return "TRACE";
    case EVHTTP_REQ_CONNECT:
      return "CONNECT";
    case EVHTTP_REQ_PATCH:
      return "PATCH";
  }
  return "?";
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const Options& options, LoopbackPort port)
      : options_(options), port_(std::move(port)), log_(options.log) {}

  ~Impl() { Stop(); }

  absl::Status Start();
  void Stop();

  const Options options_;
  const LoopbackPort port_;
  ArrivalLog log_;
  std::atomic<int64_t> accepted_{0};

  ReplySource<HttpRequest, Reply> replies_;

 private:
  class Exchange;

  struct Connection {
    int64_t id = 0;
    int64_t requests = 0;
    std::unique_ptr<Exchange> exchange;
  };

  void OnRequest(evhttp_request* request);
  void OnClose(evhttp_connection* evcon);

  // All below belong to the loop's thread.
  evhttp* http_ = nullptr;
  bool stopping_ = false;
  int64_t next_connection_id_ = 0;
  absl::flat_hash_map<evhttp_connection*, Connection> connections_;

  // The last member: its thread ends first.
  EventLoop loop_;
};

// One request on its way to its answer. It lives in its Connection, until the
// answer is given to evhttp as a whole, or the connection is freed. Members
// that may end with the exchange destroyed say so; their callers return at
// once.
class HttpServer::Impl::Exchange {
 public:
  Exchange(Impl* impl, evhttp_request* request, int64_t index, Reply reply)
      : impl_(impl),
        request_(request),
        evcon_(evhttp_request_get_connection(request)),
        bufev_(evhttp_connection_get_bufferevent(evcon_)),
        index_(index),
        reply_(std::move(reply)),
        timer_(&impl->loop_) {}

  ~Exchange() {
    if (watch_ != nullptr) event_free(watch_);
  }

  // May destroy this.
  void Begin() {
    Watch();
    if (reply_.delay_before_head > absl::ZeroDuration()) {
      timer_.Start(reply_.delay_before_head, [this] { AnswerOrFail(); });
    } else if (reply_.fault == Fault::kNone) {
      SendHead();
    } else {
      // Not within evhttp's callback: it looks at the connection afterwards.
      timer_.Start(absl::ZeroDuration(), [this] { AnswerOrFail(); });
    }
  }

  // The connection is about to be freed.
  void OnClose() {
    if (!ended_here_ && !impl_->stopping_) impl_->log_.SetCancelled(index_);
    // evhttp lets go of a request whose connection failed under it.
    if (evhttp_request_get_connection(request_) == nullptr) {
      evhttp_request_free(request_);
    }
  }

 private:
  // May destroy this.
  void AnswerOrFail() {
    switch (reply_.fault) {
      case Fault::kNone:
      case Fault::kTruncate:
      case Fault::kResetMidBody:
        return SendHead();
      case Fault::kHang:
        return;
      case Fault::kCloseAfterRead:
        Answered();
        return Close();
      case Fault::kResetBeforeHead:
        Answered();
        return Reset();
      case Fault::kRaw:
        Answered();
        return SendRaw();
    }
  }

  void Answered() { impl_->log_.SetAnswered(index_, reply_.delay_before_head); }

  // May destroy this.
  void SendHead() {
    evkeyvalq* headers = evhttp_request_get_output_headers(request_);
    for (const auto& [name, value] : reply_.headers) {
      if (evhttp_add_header(headers, name.c_str(), value.c_str()) != 0) {
        Die(absl::StrCat("cannot be sent: ", name, ": ", value));
      }
    }
    if (reply_.close_connection) {
      evhttp_add_header(headers, "Connection", "close");
    }
    if (!reply_.chunked && reply_.status != 204 &&
        evhttp_find_header(headers, "Content-Length") == nullptr) {
      evhttp_add_header(headers, "Content-Length",
                        absl::StrCat(reply_.body.size()).c_str());
    }
    to_send_ = reply_.fault == Fault::kNone
                   ? reply_.body.size()
                   : std::min(reply_.bytes_before_fault, reply_.body.size());
    evhttp_send_reply_start(request_, reply_.status, nullptr);
    Answered();
    if (reply_.delay_before_body > absl::ZeroDuration()) {
      timer_.Start(reply_.delay_before_body, [this] { SendBody(); });
    } else {
      SendBody();
    }
  }

  // May destroy this.
  void SendBody() {
    const size_t rest = to_send_ - sent_;
    const size_t piece =
        reply_.piece_bytes == 0 ? rest : std::min(rest, reply_.piece_bytes);
    if (piece > 0) {
      evbuffer* buffer = evbuffer_new();
      evbuffer_add(buffer, reply_.body.data() + sent_, piece);
      evhttp_send_reply_chunk(request_, buffer);
      evbuffer_free(buffer);
      sent_ += piece;
    }
    if (sent_ < to_send_) {
      timer_.Start(reply_.piece_interval, [this] { SendBody(); });
    } else if (reply_.fault == Fault::kTruncate) {
      AfterDrain(&Exchange::Close);
    } else if (reply_.fault == Fault::kResetMidBody) {
      AfterDrain(&Exchange::Reset);
    } else {
      Finish();
    }
  }

  void SendRaw() {
    // evhttp's own callbacks still belong to the connection's last answer.
    bufferevent_setcb(
        bufev_, nullptr, nullptr,
        [](bufferevent*, short, void* self) {
          evhttp_connection_free(static_cast<Exchange*>(self)->evcon_);
        },
        this);
    bufferevent_enable(bufev_, EV_WRITE);
    bufferevent_write(bufev_, reply_.body.data(), reply_.body.size());
    AfterDrain(&Exchange::Close);
  }

  // Calls `then` when the client's kernel has all that was sent: a reset
  // discards what has not left yet.
  void AfterDrain(void (Exchange::*then)()) {
    int unsent = 0;
    if (ioctl(Socket(), SIOCOUTQ, &unsent) != 0) unsent = 0;
    const bool drained =
        unsent == 0 && evbuffer_get_length(bufferevent_get_output(bufev_)) == 0;
    timer_.Start(kDrainPoll, [this, then, drained] {
      if (drained || ++drain_polls_ == kDrainPolls) {
        (this->*then)();
      } else {
        AfterDrain(then);
      }
    });
  }

  // Gives the rest to evhttp, which keeps the connection, or closes it when it
  // is to be closed. Destroys this.
  void Finish() {
    evhttp_request* request = request_;
    impl_->connections_[evcon_].exchange.reset();
    evhttp_send_reply_end(request);
  }

  // Ends the connection with FIN. Destroys this.
  void Close() {
    ended_here_ = true;
    evhttp_connection_free(evcon_);
  }

  // Ends the connection with RST. Destroys this.
  void Reset() {
    ended_here_ = true;
    bufferevent_disable(bufev_, EV_READ | EV_WRITE);
    if (watch_ != nullptr) event_del(watch_);
    // evhttp would say FIN before it closes, and it remembers the number of the
    // descriptor. So another socket takes the number: that closes this one at
    // once, and without lingering a close is a reset.
    const linger none = {1, 0};
    const int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (setsockopt(Socket(), SOL_SOCKET, SO_LINGER, &none, sizeof(none)) != 0 ||
        other < 0 || dup3(other, Socket(), O_CLOEXEC) < 0) {
      Die("cannot reset a connection");
    }
    close(other);
    evhttp_connection_free(evcon_);
  }

  // Notices that the client has left. While a request is answered evhttp does
  // not read from its connection.
  void Watch() {
    watch_ = event_new(
        impl_->loop_.base(), Socket(), EV_READ | EV_PERSIST,
        [](evutil_socket_t fd, short, void* arg) {
          Exchange* self = static_cast<Exchange*>(arg);
          char byte;
          const ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
          if (n > 0) {
            // The next request, already.
            event_del(self->watch_);
          } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            evhttp_connection_free(self->evcon_);
          }
        },
        this);
    event_add(watch_, nullptr);
  }

  int Socket() const { return bufferevent_getfd(bufev_); }

  Impl* const impl_;
  evhttp_request* const request_;
  evhttp_connection* const evcon_;
  bufferevent* const bufev_;
  const int64_t index_;
  const Reply reply_;

  // The connection ends because the reply says so.
  bool ended_here_ = false;

  size_t to_send_ = 0;
  size_t sent_ = 0;
  int drain_polls_ = 0;
  event* watch_ = nullptr;
  LoopTimer timer_;
};

absl::Status HttpServer::Impl::Start() {
  absl::Status status;
  loop_.RunAndWait([&] {
    if (http_ != nullptr) return;
    const absl::StatusOr<int> fd = port_.Listen();
    if (!fd.ok()) {
      status = fd.status();
      return;
    }
    evconnlistener* listener = evconnlistener_new(
        loop_.base(), nullptr, nullptr,
        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, *fd);
    if (listener == nullptr) Die("evconnlistener_new");
    http_ = evhttp_new(loop_.base());
    if (http_ == nullptr) Die("evhttp_new");
    evhttp_set_allowed_methods(http_, kAllMethods);
    evhttp_set_max_body_size(http_, static_cast<ev_ssize_t>(std::min<size_t>(
                                        options_.max_body_bytes, SSIZE_MAX)));
    evhttp_set_max_headers_size(http_, 1 << 20);
    evhttp_set_gencb(
        http_,
        [](evhttp_request* request, void* self) {
          static_cast<Impl*>(self)->OnRequest(request);
        },
        this);
    // Called once for each accepted connection.
    evhttp_set_bevcb(
        http_,
        [](event_base* base, void* self) {
          static_cast<Impl*>(self)->accepted_.fetch_add(1);
          return bufferevent_socket_new(base, -1, 0);
        },
        this);
    if (evhttp_bind_listener(http_, listener) == nullptr) {
      Die("evhttp_bind_listener");
    }
  });
  return status;
}

void HttpServer::Impl::Stop() {
  loop_.RunAndWait([&] {
    if (http_ == nullptr) return;
    stopping_ = true;
    evhttp_free(http_);
    http_ = nullptr;
    connections_.clear();
    stopping_ = false;
  });
}

void HttpServer::Impl::OnRequest(evhttp_request* request) {
  evhttp_connection* evcon = evhttp_request_get_connection(request);
  const auto [it, is_new] = connections_.try_emplace(evcon);
  Connection& connection = it->second;
  if (is_new) {
    connection.id = next_connection_id_++;
    evhttp_connection_set_closecb(
        evcon,
        [](evhttp_connection* closed, void* self) {
          static_cast<Impl*>(self)->OnClose(closed);
        },
        this);
    const int on = 1;
    setsockopt(bufferevent_getfd(evhttp_connection_get_bufferevent(evcon)),
               IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }

  HttpRequest arrived;
  arrived.method = MethodName(evhttp_request_get_command(request));
  arrived.path = evhttp_request_get_uri(request);
  for (const evkeyval* header =
           evhttp_request_get_input_headers(request)->tqh_first;
       header != nullptr; header = header->next.tqe_next) {
    const auto [entry, inserted] = arrived.headers.try_emplace(
        absl::AsciiStrToLower(header->key), header->value);
    if (!inserted) absl::StrAppend(&entry->second, ", ", header->value);
  }
  evbuffer* input = evhttp_request_get_input_buffer(request);
  arrived.body.resize(evbuffer_get_length(input));
  evbuffer_remove(input, arrived.body.data(), arrived.body.size());
  arrived.connection_id = connection.id;
  arrived.index_on_connection = connection.requests++;

  Arrival arrival;
  arrival.method = arrived.method;
  arrival.path = arrived.path;
  arrival.headers = arrived.headers;
  arrival.body_bytes = arrived.body.size();
  arrival.body_hash = ArrivalLog::HashOf(arrived.body);
  arrival.body = arrived.body.substr(0, options_.log.max_body_copy);
  arrival.connection_id = arrived.connection_id;
  arrival.index_on_connection = arrived.index_on_connection;
  const ArrivalLog::Stamp stamp = log_.Add(std::move(arrival));
  arrived.index = stamp.index;
  arrived.since_start = stamp.since_start;

  std::optional<Reply> decided =
      replies_.Next(arrived.path.substr(0, arrived.path.find('?')), arrived);
  if (!decided.has_value()) decided = Reply::Of(200, std::move(arrived.body));
  Reply reply = *std::move(decided);
  if (reply.fault_only_on_reused_connection &&
      arrived.index_on_connection == 0) {
    reply.fault = Fault::kNone;
  }
  const bool has_head = reply.fault == Fault::kNone ||
                        reply.fault == Fault::kTruncate ||
                        reply.fault == Fault::kResetMidBody;
  log_.SetAnswer(arrived.index, has_head ? reply.status : Arrival::kNoStatus,
                 reply.fault);
  connection.exchange = std::make_unique<Exchange>(this, request, arrived.index,
                                                   std::move(reply));
  connection.exchange->Begin();
}

void HttpServer::Impl::OnClose(evhttp_connection* evcon) {
  const auto it = connections_.find(evcon);
  if (it == connections_.end()) return;
  const std::unique_ptr<Exchange> exchange = std::move(it->second.exchange);
  connections_.erase(it);
  if (exchange != nullptr) exchange->OnClose();
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Create(
    const Options& options) {
  absl::StatusOr<LoopbackPort> port = LoopbackPort::Reserve(options.port);
  if (!port.ok()) return port.status();
  auto impl = std::make_unique<Impl>(options, *std::move(port));
  const absl::Status started = impl->Start();
  if (!started.ok()) return started;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() = default;

int HttpServer::port() const { return impl_->port_.number(); }

std::string HttpServer::Url(absl::string_view path) const {
  return absl::StrCat("http://127.0.0.1:", port(), path);
}

const ArrivalLog& HttpServer::log() const { return impl_->log_; }

int64_t HttpServer::connections() const { return impl_->accepted_.load(); }

void HttpServer::SetHandler(Handler handler) {
  impl_->replies_.SetHandler(std::move(handler));
}

void HttpServer::Script(std::vector<Reply> replies) {
  impl_->replies_.SetScript(std::move(replies));
}

void HttpServer::Script(std::string path, std::vector<Reply> replies) {
  impl_->replies_.SetScript(std::move(path), std::move(replies));
}

void HttpServer::Stop() { impl_->Stop(); }

absl::Status HttpServer::Start() { return impl_->Start(); }

}  // namespace forbear::testing
