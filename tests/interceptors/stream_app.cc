#include "tests/interceptors/stream_app.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

#include "interceptors/interceptor.h"
#include "runtime/clock.h"

namespace forbear::rpc {
namespace {

using grpc::ByteBuffer;
using testing::EchoMessage;

void Convert(const EchoMessage& from, EchoMessage* to) { *to = from; }
void Convert(const EchoMessage& from, ByteBuffer* to) {
  const grpc::Slice slice(from.SerializeAsString());
  *to = ByteBuffer(&slice, 1);
}

// The next end in the queue, which must be of `tag`.
bool Next(grpc::CompletionQueue* queue, void* tag) {
  void* got = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue->Next(&got, &ok));
  EXPECT_EQ(got, tag);
  return ok;
}

void* Tag(int n) { return reinterpret_cast<void*>(static_cast<intptr_t>(n)); }

}  // namespace

std::string NameOf(Shape shape) {
  switch (shape) {
    case Shape::kPull:
      return "Pull";
    case Shape::kPush:
      return "Push";
    case Shape::kChat:
      return "Chat";
  }
  return "";
}

std::string NameOf(StreamApi api) {
  switch (api) {
    case StreamApi::kSync:
      return "Sync";
    case StreamApi::kReactor:
      return "Reactor";
    case StreamApi::kQueue:
      return "Queue";
    case StreamApi::kGenericReactor:
      return "GenericReactor";
    case StreamApi::kGenericQueue:
      return "GenericQueue";
  }
  return "";
}

std::string MethodOf(Shape shape) {
  return "/forbear.testing.Echo/" + NameOf(shape);
}

// With both directions, of messages M.
template <typename M>
class StreamApp::Reactor final : public grpc::ClientBidiReactor<M, M> {
 public:
  Reactor(StreamApp* app, size_t payloads) : app_(app), payloads_(payloads) {}

  void Begin() {
    this->StartRead(&in_);
    Write();
    this->StartCall();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return;
    {
      const std::lock_guard<std::mutex> lock(app_->mutex_);
      ++app_->sent_;
    }
    if (!app_->ping_pong_ || ++halves_ % 2 == 0) Write();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    app_->Received(in_);
    this->StartRead(&in_);
    // The answer may be there before the end of the write.
    if (app_->ping_pong_ && ++halves_ % 2 == 0) Write();
  }
  void OnDone(const grpc::Status& status) override { app_->Done(status); }

 private:
  void Write() {
    if (next_ == payloads_) {
      if (!std::exchange(closed_, true)) this->StartWritesDone();
      return;
    }
    Convert(app_->Payload(next_), &out_);
    closed_ = app_->write_last_ && next_ + 1 == payloads_;
    grpc::WriteOptions options;
    if (closed_) options.set_last_message();
    ++next_;
    this->StartWrite(&out_, options);
  }

  StreamApp* const app_;
  const size_t payloads_;
  size_t next_ = 0;
  bool closed_ = false;
  std::atomic<int> halves_ = 0;  // of exchanges, that are done
  M in_;
  M out_;
};

class StreamApp::PullReactor final
    : public grpc::ClientReadReactor<EchoMessage> {
 public:
  explicit PullReactor(StreamApp* app) : app_(app), request(app->Payload(0)) {}
  void Begin() {
    StartRead(&in_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    app_->Received(in_);
    StartRead(&in_);
  }
  void OnDone(const grpc::Status& status) override { app_->Done(status); }

 private:
  StreamApp* const app_;

 public:
  const EchoMessage request;

 private:
  EchoMessage in_;
};

class StreamApp::PushReactor final
    : public grpc::ClientWriteReactor<EchoMessage> {
 public:
  explicit PushReactor(StreamApp* app) : app_(app) {}
  void Begin() {
    Write();
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return;
    {
      const std::lock_guard<std::mutex> lock(app_->mutex_);
      ++app_->sent_;
    }
    Write();
  }
  void OnDone(const grpc::Status& status) override {
    if (status.ok()) app_->Received(app_->response_);
    app_->Done(status);
  }

 private:
  void Write() {
    if (next_ == app_->payloads_.size()) {
      if (!closed_) StartWritesDone();
      return;
    }
    out_ = app_->Payload(next_);
    closed_ = app_->IsLast(next_);
    grpc::WriteOptions options;
    if (closed_) options.set_last_message();
    ++next_;
    StartWrite(&out_, options);
  }

  StreamApp* const app_;
  size_t next_ = 0;
  bool closed_ = false;
  EchoMessage out_;
};

StreamApp::StreamApp(StreamApi api, Shape shape,
                     const std::shared_ptr<grpc::Channel>& channel)
    : api_(api),
      shape_(shape),
      stub_(testing::Echo::NewStub(channel)),
      generic_stub_(channel),
      context_(std::make_unique<grpc::ClientContext>()) {}

StreamApp::~StreamApp() {
  if (begin_ != MonotonicTime()) Wait();
}

void StreamApp::SetDeadline(absl::Duration d) {
  context_->set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoNanoseconds(d));
}

EchoMessage StreamApp::Payload(size_t i) const {
  EchoMessage message;
  message.set_payload(payloads_[i]);
  return message;
}

bool StreamApp::IsLast(size_t i) const {
  return write_last_ && i + 1 == payloads_.size();
}

bool StreamApp::Abandons() {
  abandoned_ = abandon_after_ && (*abandon_after_)-- == 0;
  return abandoned_;
}

void StreamApp::Start() {
  begin_ = MonotonicNow();
  switch (api_) {
    case StreamApi::kSync:
      thread_ = std::thread([this] { Done(RunSync()); });
      break;
    case StreamApi::kQueue:
    case StreamApi::kGenericQueue:
      thread_ = std::thread([this] {
        grpc::CompletionQueue queue;
        Done(RunQueue(&queue));
      });
      break;
    case StreamApi::kReactor:
    case StreamApi::kGenericReactor:
      StartReactor();
      break;
  }
}

grpc::Status StreamApp::RunSync() {
  std::optional<WithCallOptions> with;
  if (own_ != nullptr) with.emplace(context_.get(), own_);
  EchoMessage message;
  const auto write = [this](auto* stream, size_t i) {
    if (Abandons()) return false;
    grpc::WriteOptions options;
    if (IsLast(i)) options.set_last_message();
    if (!stream->Write(Payload(i), options)) return false;
    ++sent_;
    return true;
  };
  const auto read = [&](auto* stream) {
    if (Abandons() || !stream->Read(&message)) return false;
    Received(message);
    return true;
  };
  switch (shape_) {
    case Shape::kPull: {
      const auto reader = stub_->Pull(context_.get(), Payload(0));
      while (read(reader.get())) {
      }
      return abandoned_ ? grpc::Status() : reader->Finish();
    }
    case Shape::kPush: {
      const auto writer = stub_->Push(context_.get(), &response_);
      for (size_t i = 0; i < payloads_.size() && write(writer.get(), i); ++i) {
      }
      if (abandoned_) break;
      if (!write_last_) writer->WritesDone();
      grpc::Status status = writer->Finish();
      if (status.ok()) Received(response_);
      return status;
    }
    case Shape::kChat: {
      const auto stream = stub_->Chat(context_.get());
      for (size_t i = 0; i < payloads_.size() && write(stream.get(), i); ++i) {
        if (ping_pong_ && !read(stream.get())) break;
      }
      if (abandoned_) break;
      if (!write_last_) stream->WritesDone();
      while (read(stream.get())) {
      }
      if (abandoned_) break;
      return stream->Finish();
    }
  }
  return grpc::Status();
}

grpc::Status StreamApp::RunQueue(grpc::CompletionQueue* queue) {
  std::optional<WithCallOptions> with;
  if (own_ != nullptr) with.emplace(context_.get(), own_);
  grpc::Status status;
  EchoMessage message;
  const auto write = [&](auto* stream, size_t i) {
    if (Abandons()) return false;
    grpc::WriteOptions options;
    if (IsLast(i)) options.set_last_message();
    stream->Write(Payload(i), options, Tag(2));
    if (!Next(queue, Tag(2))) return false;
    ++sent_;
    return true;
  };
  const auto read = [&](auto* stream) {
    if (Abandons()) return false;
    stream->Read(&message, Tag(3));
    if (!Next(queue, Tag(3))) return false;
    Received(message);
    return true;
  };
  const auto finish = [&](auto* stream) {
    stream->Finish(&status, Tag(4));
    EXPECT_TRUE(Next(queue, Tag(4)));
    return status;
  };
  if (api_ == StreamApi::kGenericQueue) {
    const auto stream =
        generic_stub_.PrepareCall(context_.get(), MethodOf(shape_), queue);
    return RunGenericQueue(stream.get(), queue);
  }
  switch (shape_) {
    case Shape::kPull: {
      const auto reader =
          stub_->AsyncPull(context_.get(), Payload(0), queue, Tag(1));
      Next(queue, Tag(1));
      while (read(reader.get())) {
      }
      return abandoned_ ? status : finish(reader.get());
    }
    case Shape::kPush: {
      const auto writer =
          stub_->AsyncPush(context_.get(), &response_, queue, Tag(1));
      if (!corked_) Next(queue, Tag(1));
      bool ok = true;
      for (size_t i = 0; i < payloads_.size() && ok; ++i) {
        ok = write(writer.get(), i);
      }
      if (abandoned_) break;
      if (!write_last_ && ok) {
        writer->WritesDone(Tag(2));
        Next(queue, Tag(2));
      }
      finish(writer.get());
      if (status.ok()) Received(response_);
      break;
    }
    case Shape::kChat: {
      const auto stream = stub_->AsyncChat(context_.get(), queue, Tag(1));
      if (!corked_) Next(queue, Tag(1));
      bool ok = true;
      for (size_t i = 0; i < payloads_.size() && ok; ++i) {
        ok = write(stream.get(), i) && (!ping_pong_ || read(stream.get()));
      }
      if (abandoned_) break;
      if (!write_last_ && ok) {
        stream->WritesDone(Tag(2));
        Next(queue, Tag(2));
      }
      while (read(stream.get())) {
      }
      if (abandoned_) break;
      return finish(stream.get());
    }
  }
  return status;
}

template <typename Stream>
grpc::Status StreamApp::RunGenericQueue(Stream* stream,
                                        grpc::CompletionQueue* queue) {
  grpc::Status status;
  ByteBuffer bytes;
  stream->StartCall(Tag(1));
  Next(queue, Tag(1));
  bool ok = true;
  const size_t count = shape_ == Shape::kPull ? 1 : payloads_.size();
  for (size_t i = 0; i < count && ok; ++i) {
    if (Abandons()) return status;
    ByteBuffer out;
    Convert(Payload(i), &out);
    stream->Write(out, Tag(2));
    ok = Next(queue, Tag(2));
    if (ok) ++sent_;
  }
  if (ok) {
    stream->WritesDone(Tag(2));
    Next(queue, Tag(2));
  }
  for (;;) {
    if (Abandons()) return status;
    stream->Read(&bytes, Tag(3));
    if (!Next(queue, Tag(3))) break;
    Received(bytes);
  }
  stream->Finish(&status, Tag(4));
  EXPECT_TRUE(Next(queue, Tag(4)));
  return status;
}

void StreamApp::StartReactor() {
  std::optional<WithCallOptions> with;
  if (own_ != nullptr) with.emplace(context_.get(), own_);
  if (api_ == StreamApi::kGenericReactor) {
    const auto reactor = std::make_shared<Reactor<ByteBuffer>>(
        this, shape_ == Shape::kPull ? 1 : payloads_.size());
    reactor_ = reactor;
    generic_stub_.PrepareBidiStreamingCall(context_.get(), MethodOf(shape_),
                                           grpc::StubOptions(), reactor.get());
    reactor->Begin();
    return;
  }
  switch (shape_) {
    case Shape::kPull: {
      const auto reactor = std::make_shared<PullReactor>(this);
      reactor_ = reactor;
      stub_->async()->Pull(context_.get(), &reactor->request, reactor.get());
      reactor->Begin();
      break;
    }
    case Shape::kPush: {
      const auto reactor = std::make_shared<PushReactor>(this);
      reactor_ = reactor;
      stub_->async()->Push(context_.get(), &response_, reactor.get());
      reactor->Begin();
      break;
    }
    case Shape::kChat: {
      const auto reactor =
          std::make_shared<Reactor<EchoMessage>>(this, payloads_.size());
      reactor_ = reactor;
      stub_->async()->Chat(context_.get(), reactor.get());
      reactor->Begin();
      break;
    }
  }
}

void StreamApp::Received(const EchoMessage& message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  received_.push_back(message.payload());
}

void StreamApp::Received(const ByteBuffer& bytes) {
  EchoMessage message;
  std::vector<grpc::Slice> slices;
  std::string text;
  EXPECT_TRUE(bytes.Dump(&slices).ok());
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  EXPECT_TRUE(message.ParseFromString(text));
  Received(message);
}

void StreamApp::Done(const grpc::Status& status) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = MonotonicNow();
    status_ = status;
  }
  if (on_end_) on_end_(status);
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

const grpc::Status& StreamApp::Wait() {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }
  if (thread_.joinable()) thread_.join();
  return status_;
}

std::optional<std::string> StreamApp::Initial(const std::string& name) const {
  const auto& metadata = context_->GetServerInitialMetadata();
  const auto it = metadata.find(name);
  if (it == metadata.end()) return std::nullopt;
  return std::string(it->second.data(), it->second.size());
}

std::optional<std::string> StreamApp::Trailing(const std::string& name) const {
  const auto& metadata = context_->GetServerTrailingMetadata();
  const auto it = metadata.find(name);
  if (it == metadata.end()) return std::nullopt;
  return std::string(it->second.data(), it->second.size());
}

CallRecord StreamApp::record() const {
  const std::optional<CallRecord> record = RecordOf(*context_);
  return record ? *record : CallRecord();
}

}  // namespace forbear::rpc
