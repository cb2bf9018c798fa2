#include "tests/testing/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tests/testing/certificate.h"
#include "tests/testing/event_loop.h"
#include "tests/testing/grpc_library.h"
#include "tests/testing/loopback_port.h"
#include "tests/testing/reply_source.h"

namespace forbear::testing {
namespace {

// Connections that are remembered by their peer's address.
constexpr size_t kMaxPeers = 100000;

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

grpc::ByteBuffer ToByteBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::shared_ptr<grpc::ServerCredentials> Tls() {
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs = {{kCertificateKey, kCertificate}};
  return grpc::SslServerCredentials(options);
}

}  // namespace

class GrpcServer::Impl {
 public:
  Impl(const Options& options, LoopbackPort port)
      : port_(std::move(port)), tls_(options.tls), log_(options.log) {}

  ~Impl() { Stop(); }

  absl::Status Start();
  void Stop();

  const LoopbackPort port_;
  const bool tls_;
  ArrivalLog log_;
  ReplySource<GrpcRequest, GrpcReply> replies_;

 private:
  class Call;
  class Service;

  // The gRPC server of one Start().
  struct Running {
    std::unique_ptr<grpc::CallbackGenericService> service;
    std::unique_ptr<grpc::Server> server;
  };

  struct Connection {
    int64_t id = 0;
    int64_t calls = 0;
  };

  std::mutex start_stop_mutex_;  // Guards running_.
  std::optional<Running> running_;

  std::atomic<bool> stopping_{false};

  std::mutex connections_mutex_;  // Guards the two below.
  absl::flat_hash_map<std::string, Connection> connections_;
  int64_t next_connection_id_ = 0;

  // The last member: its thread ends first.
  EventLoop loop_;
};

// One call. gRPC's reactions come on any of its threads, some at the same time;
// each only posts to the loop, on which everything else happens. So there is
// one order of events, Finish() comes once, and `delete` after all posts.
class GrpcServer::Impl::Call : public grpc::ServerGenericBidiReactor {
 public:
  Call(Impl* impl, grpc::GenericCallbackServerContext* context)
      : impl_(impl), context_(context) {
    Order();
    StartRead(&request_bytes_);
  }

  void OnReadDone(bool ok) override {
    if (ok) Arrive();
    impl_->loop_.Post([this, ok] {
      if (ok) {
        Answer();
      } else {
        FinishOnce(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                "there was no request message"));
      }
    });
  }

  void OnSendInitialMetadataDone(bool) override {
    impl_->loop_.Post([this] { SendReplyLater(); });
  }

  void OnCancel() override {
    Order();
    impl_->loop_.Post([this] { Cancelled(); });
  }

  void OnDone() override {
    impl_->loop_.Post([this] { delete this; });
  }

 private:
  // A cancel comes after the constructor, but on a thread of which thread sanitizer
  // cannot know that, for gRPC is not instrumented.
  static void Order() {
    static std::mutex mutex;
    const std::lock_guard<std::mutex> lock(mutex);
  }

  // On gRPC's thread, so that the time is that of the arrival.
  void Arrive() {
    request_.method = context_->method();
    request_.bytes = ToString(request_bytes_);
    for (const auto& [name, value] : context_->client_metadata()) {
      const auto [entry, inserted] = request_.metadata.try_emplace(
          std::string(name.data(), name.size()), value.data(), value.size());
      if (!inserted) {
        absl::StrAppend(&entry->second, ", ",
                        absl::string_view(value.data(), value.size()));
      }
    }
    const auto deadline = context_->deadline();
    request_.time_left =
        deadline == std::chrono::system_clock::time_point::max()
            ? absl::InfiniteDuration()
            : absl::FromChrono(deadline - std::chrono::system_clock::now());
    {
      const std::lock_guard<std::mutex> lock(impl_->connections_mutex_);
      if (impl_->connections_.size() >= kMaxPeers) impl_->connections_.clear();
      const auto [it, is_new] =
          impl_->connections_.try_emplace(context_->peer());
      if (is_new) it->second.id = impl_->next_connection_id_++;
      request_.connection_id = it->second.id;
      request_.index_on_connection = it->second.calls++;
    }

    Arrival arrival;
    arrival.path = request_.method;
    arrival.headers = request_.metadata;
    arrival.body_bytes = request_.bytes.size();
    arrival.body_hash = ArrivalLog::HashOf(request_.bytes);
    arrival.body = request_.bytes;
    arrival.connection_id = request_.connection_id;
    arrival.index_on_connection = request_.index_on_connection;
    const ArrivalLog::Stamp stamp = impl_->log_.Add(std::move(arrival));
    request_.index = stamp.index;
    request_.since_start = stamp.since_start;
  }

  // What follows is on the loop's thread.

  void Answer() {
    arrived_ = true;
    std::optional<GrpcReply> decided =
        impl_->replies_.Next(request_.method, request_);
    reply_ = decided.has_value() ? *std::move(decided)
                                 : GrpcReply::Ok(std::move(request_.bytes));
    impl_->log_.SetAnswer(request_.index,
                          reply_.hang ? Arrival::kNoStatus : reply_.code,
                          reply_.hang ? Fault::kHang : Fault::kNone);
    if (finished_) {  // Cancelled already.
      LogCancelled();
      return;
    }
    for (const auto& [name, value] : reply_.initial_metadata) {
      context_->AddInitialMetadata(name, value);
    }
    if (reply_.headers_first) {
      // gRPC merges headers that have not left yet with the trailers.
      StartSendInitialMetadata();
    } else {
      SendReplyLater();
    }
  }

  void SendReplyLater() {
    if (finished_ || reply_.hang) return;
    if (reply_.delay > absl::ZeroDuration()) {
      timer_.emplace(&impl_->loop_);
      timer_->Start(reply_.delay, [this] { SendReply(); });
    } else {
      SendReply();
    }
  }

  void SendReply() {
    impl_->log_.SetAnswered(request_.index, reply_.delay);
    for (const auto& [name, value] : reply_.trailing_metadata) {
      context_->AddTrailingMetadata(name, value);
    }
    grpc::Status status(reply_.code, reply_.message, reply_.details);
    if (reply_.response.has_value()) {
      finished_ = true;
      response_bytes_ = ToByteBuffer(*reply_.response);
      StartWriteAndFinish(&response_bytes_, grpc::WriteOptions(),
                          std::move(status));
    } else {
      FinishOnce(std::move(status));
    }
  }

  void Cancelled() {
    if (finished_) return;
    timer_.reset();
    if (arrived_) LogCancelled();
    FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }

  // The client left, unless it is the server that ends all calls.
  void LogCancelled() {
    if (!impl_->stopping_.load()) impl_->log_.SetCancelled(request_.index);
  }

  void FinishOnce(grpc::Status status) {
    if (finished_) return;
    finished_ = true;
    Finish(std::move(status));
  }

  Impl* const impl_;
  grpc::GenericCallbackServerContext* const context_;

  grpc::ByteBuffer request_bytes_;
  grpc::ByteBuffer response_bytes_;
  GrpcRequest request_;

  // On the loop's thread.
  bool arrived_ = false;
  bool finished_ = false;
  GrpcReply reply_;
  std::optional<LoopTimer> timer_;
};

class GrpcServer::Impl::Service : public grpc::CallbackGenericService {
 public:
  explicit Service(Impl* impl) : impl_(impl) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return new Call(impl_, context);
  }

 private:
  Impl* const impl_;
};

absl::Status GrpcServer::Impl::Start() {
  const std::lock_guard<std::mutex> lock(start_stop_mutex_);
  if (running_.has_value()) return absl::OkStatus();
  Running running;
  running.service = std::make_unique<Service>(this);
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port_.number()),
                           tls_ ? Tls() : grpc::InsecureServerCredentials(),
                           &bound);
  // Otherwise two servers may listen on one port, and share its clients.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterCallbackGenericService(running.service.get());
  running.server = builder.BuildAndStart();
  if (running.server == nullptr || bound == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on 127.0.0.1:", port_.number()));
  }
  running_.emplace(std::move(running));
  return absl::OkStatus();
}

void GrpcServer::Impl::Stop() {
  const std::lock_guard<std::mutex> lock(start_stop_mutex_);
  if (!running_.has_value()) return;
  stopping_.store(true);
  // Cancels all calls, and waits until they are done.
  running_->server->Shutdown(std::chrono::system_clock::now());
  // Their objects too.
  loop_.RunAndWait([] {});
  stopping_.store(false);
  running_.reset();
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Create(
    const Options& options) {
  KeepGrpcUp();
  absl::StatusOr<LoopbackPort> port = LoopbackPort::Reserve(options.port);
  if (!port.ok()) return port.status();
  auto impl = std::make_unique<Impl>(options, *std::move(port));
  const absl::Status started = impl->Start();
  if (!started.ok()) return started;
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GrpcServer::~GrpcServer() = default;

int GrpcServer::port() const { return impl_->port_.number(); }

std::string GrpcServer::address() const {
  return absl::StrCat("127.0.0.1:", port());
}

const ArrivalLog& GrpcServer::log() const { return impl_->log_; }

void GrpcServer::SetHandler(Handler handler) {
  impl_->replies_.SetHandler(std::move(handler));
}

void GrpcServer::Script(std::vector<GrpcReply> replies) {
  impl_->replies_.SetScript(std::move(replies));
}

void GrpcServer::Script(std::string method, std::vector<GrpcReply> replies) {
  impl_->replies_.SetScript(std::move(method), std::move(replies));
}

void GrpcServer::Stop() { impl_->Stop(); }

absl::Status GrpcServer::Start() { return impl_->Start(); }

}  // namespace forbear::testing
