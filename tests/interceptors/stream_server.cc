#include "tests/interceptors/stream_server.h"

#include <grpc/grpc.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"

namespace forbear::rpc {
namespace {

using grpc::ServerContext;
using testing::EchoMessage;

constexpr auto kLong = std::chrono::seconds(15);

}  // namespace

class StreamServer::Service final : public testing::Echo::Service {
 public:
  grpc::Status Pull(ServerContext* context, const EchoMessage* request,
                    grpc::ServerWriter<EchoMessage>* writer) override {
    const auto [index, play] =
        Arrive(context, [](const StreamPlay& p) { return p.after; });
    Note(index, request->payload());
    if (play.head) writer->SendInitialMetadata();
    const bool good = play.code == grpc::StatusCode::OK && !play.hang;
    for (int i = 0; i < (good ? play.count : play.after); ++i) {
      EchoMessage message;
      message.set_payload(absl::StrCat(request->payload(), "#", i));
      if (!writer->Write(message)) break;
    }
    return End(context, index, play);
  }

  grpc::Status Push(ServerContext* context,
                    grpc::ServerReader<EchoMessage>* reader,
                    EchoMessage* response) override {
    const auto [index, play] =
        Arrive(context, [](const StreamPlay&) { return 0; });
    if (play.head) reader->SendInitialMetadata();
    const bool good = play.code == grpc::StatusCode::OK && !play.hang;
    EchoMessage message;
    std::string all;
    for (int n = 0; (good || n < play.after) && reader->Read(&message); ++n) {
      Note(index, message.payload());
      all += message.payload();
    }
    response->set_payload(all);
    return End(context, index, play);
  }

  grpc::Status Chat(
      ServerContext* context,
      grpc::ServerReaderWriter<EchoMessage, EchoMessage>* stream) override {
    const auto [index, play] =
        Arrive(context, [](const StreamPlay& p) { return p.after - 1; });
    if (play.head) stream->SendInitialMetadata();
    const bool good = play.code == grpc::StatusCode::OK && !play.hang;
    EchoMessage message;
    for (int n = 1; (good || n <= play.after) && stream->Read(&message); ++n) {
      Note(index, message.payload());
      if (good || n < play.after) stream->Write(message);
    }
    return End(context, index, play);
  }

  void Script(std::vector<StreamPlay> plays) {
    const std::lock_guard<std::mutex> lock(mutex_);
    plays_ = std::move(plays);
    played_ = 0;
  }
  std::vector<SeenStream> Seen() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return seen_;
  }
  bool WaitFor(
      const std::function<bool(const std::vector<SeenStream>&)>& is_so) const {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kLong, [&] { return is_so(seen_); });
  }

 private:
  // `answers`: how many messages are sent before it fails or hangs. Whoever sends
  // none ends with trailers alone.
  std::pair<size_t, StreamPlay> Arrive(ServerContext* context,
                                       int (*answers)(const StreamPlay&)) {
    SeenStream seen;
    for (const auto& [name, value] : context->client_metadata()) {
      seen.metadata[std::string(name.data(), name.size())] =
          std::string(value.data(), value.size());
    }
    const auto deadline = context->deadline();
    seen.time_left =
        deadline == std::chrono::system_clock::time_point::max()
            ? absl::InfiniteDuration()
            : absl::FromChrono(deadline - std::chrono::system_clock::now());
    const grpc::string_ref authority = context->ExperimentalGetAuthority();
    seen.authority = std::string(authority.data(), authority.size());
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t index = seen_.size();
    seen_.push_back(std::move(seen));
    StreamPlay play;
    if (!plays_.empty()) {
      play = plays_[std::min(played_++, plays_.size() - 1)];
    }
    const std::string number = absl::StrCat(seen_.size());
    context->AddTrailingMetadata("x-stream", number);
    const bool good = play.code == grpc::StatusCode::OK && !play.hang;
    if (good || play.head || answers(play) > 0) {
      context->AddInitialMetadata("x-stream", number);
    }
    changed_.notify_all();
    return {index, play};
  }

  void Note(size_t index, const std::string& payload) {
    const std::lock_guard<std::mutex> lock(mutex_);
    seen_[index].payloads.push_back(payload);
    changed_.notify_all();
  }

  grpc::Status End(ServerContext* context, size_t index,
                   const StreamPlay& play) {
    if (play.hang) {
      // gRPC's sync API tells of a cancel only who asks.
      std::unique_lock<std::mutex> lock(mutex_);
      while (!context->IsCancelled()) {
        changed_.wait_for(lock, std::chrono::milliseconds(2));
      }
    }
    if (context->IsCancelled()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      seen_[index].cancelled = true;
      changed_.notify_all();
      return grpc::Status::CANCELLED;
    }
    if (!play.pushback.empty()) {
      context->AddTrailingMetadata("grpc-retry-pushback-ms", play.pushback);
    }
    return grpc::Status(play.code, play.message, play.details);
  }

  mutable std::mutex mutex_;  // guards all below
  mutable std::condition_variable changed_;
  std::vector<StreamPlay> plays_;
  size_t played_ = 0;
  std::vector<SeenStream> seen_;
};

StreamServer::StreamServer(std::shared_ptr<grpc::ServerCredentials> credentials)
    : credentials_(credentials == nullptr ? grpc::InsecureServerCredentials()
                                          : std::move(credentials)),
      port_(*testing::LoopbackPort::Reserve(0)),
      service_(std::make_unique<Service>()) {
  // The library's last user would wait for its shutdown.
  static const bool once = [] {
    grpc_init();
    return true;
  }();
  (void)once;
  Start();
}

StreamServer::~StreamServer() { Stop(); }

std::string StreamServer::address() const {
  return absl::StrCat("127.0.0.1:", port_.number());
}

void StreamServer::Script(std::vector<StreamPlay> plays) {
  service_->Script(std::move(plays));
}

int StreamServer::Count() const {
  return static_cast<int>(service_->Seen().size());
}

std::vector<SeenStream> StreamServer::Seen() const { return service_->Seen(); }

bool StreamServer::WaitFor(
    const std::function<bool(const std::vector<SeenStream>&)>& is_so) const {
  return service_->WaitFor(is_so);
}

bool StreamServer::WaitForCount(int n) const {
  return WaitFor([n](const std::vector<SeenStream>& seen) {
    return static_cast<int>(seen.size()) >= n;
  });
}

void StreamServer::Start() {
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort(address(), credentials_, &bound);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || bound == 0) {
    std::cerr << "cannot listen on " << address() << std::endl;
    std::abort();
  }
}

void StreamServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
}

}  // namespace forbear::rpc
