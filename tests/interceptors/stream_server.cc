#include "tests/interceptors/stream_server.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "tests/testing/grpc_library.h"

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
    Visit visit(context);
    Arrive(&visit, [](const StreamPlay& p) { return p.after; });
    const StreamPlay& play = visit.play;
    Note(&visit, request->payload());
    if (play.head) writer->SendInitialMetadata();
    for (int i = 0; i < (play.good() ? play.count : play.after); ++i) {
      EchoMessage message;
      message.set_payload(absl::StrCat(request->payload(), "#", i));
      if (!Answer(&visit, writer, message)) break;
    }
    return End(&visit);
  }

  grpc::Status Push(ServerContext* context,
                    grpc::ServerReader<EchoMessage>* reader,
                    EchoMessage* response) override {
    Visit visit(context);
    Arrive(&visit, [](const StreamPlay&) { return 0; });
    const StreamPlay& play = visit.play;
    if (play.head) reader->SendInitialMetadata();
    EchoMessage message;
    std::string all;
    for (int n = 0; (play.good() || n < play.after) && reader->Read(&message);
         ++n) {
      Note(&visit, message.payload());
      all += message.payload();
    }
    response->set_payload(all);
    return End(&visit);
  }

  grpc::Status Chat(
      ServerContext* context,
      grpc::ServerReaderWriter<EchoMessage, EchoMessage>* stream) override {
    Visit visit(context);
    Arrive(&visit, [](const StreamPlay& p) { return p.after - 1; });
    const StreamPlay& play = visit.play;
    if (play.head) stream->SendInitialMetadata();
    EchoMessage message;
    for (int n = 1; (play.good() || n <= play.after) && stream->Read(&message);
         ++n) {
      Note(&visit, message.payload());
      if (play.good() || n < play.after) Answer(&visit, stream, message);
    }
    return End(&visit);
  }

  void Script(std::vector<StreamPlay> plays) {
    const std::lock_guard<std::mutex> lock(mutex_);
    plays_ = std::move(plays);
    played_ = 0;
  }
  void SetPlayer(Player player, Listener ended) {
    player_ = std::move(player);
    ended_ = std::move(ended);
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
  struct Visit {
    explicit Visit(ServerContext* context_of) : context(context_of) {}
    ServerContext* const context;
    StreamPlay play;
    size_t index = 0;  // in seen_
    SeenStream own;    // instead, with a player
    int answers = 0;
  };

  // `answers`: how many messages are sent before it fails or hangs. Whoever sends
  // none ends with trailers alone.
  void Arrive(Visit* visit, int (*answers)(const StreamPlay&)) {
    ServerContext* const context = visit->context;
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
    if (player_) {
      visit->play = player_(seen);
      visit->own = std::move(seen);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!player_) {
      visit->index = seen_.size();
      seen_.push_back(std::move(seen));
      if (!plays_.empty()) {
        visit->play = plays_[std::min(played_++, plays_.size() - 1)];
      }
    }
    const StreamPlay& play = visit->play;
    const std::string number = absl::StrCat(++arrived_);
    context->AddTrailingMetadata("x-stream", number);
    if (play.good() || play.head || answers(play) > 0) {
      context->AddInitialMetadata("x-stream", number);
    }
    changed_.notify_all();
  }

  void Note(Visit* visit, const std::string& payload) {
    if (player_) {
      visit->own.payloads.push_back(payload);
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    seen_[visit->index].payloads.push_back(payload);
    changed_.notify_all();
  }

  template <typename Stream>
  static bool Answer(Visit* visit, Stream* stream, const EchoMessage& message) {
    if (visit->play.stutters && visit->answers == 0) stream->Write(message);
    ++visit->answers;
    return stream->Write(message);
  }

  grpc::Status End(Visit* visit) {
    ServerContext* const context = visit->context;
    const StreamPlay& play = visit->play;
    if (play.hang) {
      // gRPC's sync API tells of a cancel only who asks.
      std::unique_lock<std::mutex> lock(mutex_);
      while (!context->IsCancelled()) {
        changed_.wait_for(lock, std::chrono::milliseconds(2));
      }
    }
    const bool cancelled = context->IsCancelled();
    if (player_) {
      visit->own.cancelled = cancelled;
      if (ended_) ended_(visit->own);
    } else if (cancelled) {
      const std::lock_guard<std::mutex> lock(mutex_);
      seen_[visit->index].cancelled = true;
      changed_.notify_all();
    }
    if (cancelled) return grpc::Status::CANCELLED;
    if (play.reset) context->TryCancel();
    context->AddTrailingMetadata("x-answers", absl::StrCat(visit->answers));
    if (!play.pushback.empty()) {
      context->AddTrailingMetadata("grpc-retry-pushback-ms", play.pushback);
    }
    return grpc::Status(play.code, play.message, play.details);
  }

  Player player_;
  Listener ended_;
  mutable std::mutex mutex_;  // guards all below
  mutable std::condition_variable changed_;
  std::vector<StreamPlay> plays_;
  size_t played_ = 0;
  std::vector<SeenStream> seen_;
  int64_t arrived_ = 0;
};

StreamServer::StreamServer(std::shared_ptr<grpc::ServerCredentials> credentials)
    : credentials_(credentials == nullptr ? grpc::InsecureServerCredentials()
                                          : std::move(credentials)),
      port_(*testing::LoopbackPort::Reserve(0)),
      service_(std::make_unique<Service>()) {
  testing::KeepGrpcUp();
  Start();
}

StreamServer::~StreamServer() { Stop(); }

std::string StreamServer::address() const {
  return absl::StrCat("127.0.0.1:", port_.number());
}

void StreamServer::Script(std::vector<StreamPlay> plays) {
  service_->Script(std::move(plays));
}

void StreamServer::SetPlayer(Player player, Listener ended) {
  service_->SetPlayer(std::move(player), std::move(ended));
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
  // A thread that has done its work waits for the next, and is not ended and made again.
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 8);
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
