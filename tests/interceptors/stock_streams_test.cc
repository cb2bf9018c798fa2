// The same streams, on a stock channel with a service config of gRPC, and through the
// interceptor with the same text: the same status, the same sends at the server with
// the same messages, the same grpc-previous-rpc-attempts, and no wait that is shorter.
//
// The scenarios are those of gRPC's own end-to-end tests (grpc/grpc 1.51.1,
// test/core/end2end/tests/retry*.cc, Apache-2.0; facts only), with their seconds as
// tenths, and some beside them, which are marked. stock_retries_test.cc has the unary
// ones.
//
// Where we decide otherwise, the row has both, and why (docs/conformance.md). A row
// with a reason whose two sides are the same fails as well: it is no deviation then.

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/interceptors/expect_waits.h"
#include "tests/interceptors/retry_config.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"
#include "tests/testing/echo.grpc.pb.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Echo;
using testing::EchoMessage;
using Texts = std::vector<std::string>;

// What a server does in a stream, one after the other; then it ends it.
struct Move {
  enum class Type { kHear, kSay, kHead };
  Type type;
  std::string text;
};
const Move kHear = {Move::Type::kHear, ""};  // a message, or that none follows
const Move kHead = {Move::Type::kHead, ""};
Move Say(std::string text) { return {Move::Type::kSay, std::move(text)}; }

struct Play {
  std::vector<Move> moves;
  StatusCode code = StatusCode::ABORTED;
  std::string message = "xyz";
  std::string pushback;  // empty: none
  bool hang = false;     // instead of the end: until the client cancels
};
Play Fails(std::vector<Move> moves, std::string message = "xyz") {
  Play play;
  play.moves = std::move(moves);
  play.message = std::move(message);
  return play;
}
Play Hangs(std::vector<Move> moves) {
  Play play;
  play.moves = std::move(moves);
  play.hang = true;
  return play;
}

// A stream as the server saw it.
struct Heard {
  std::string previous;  // grpc-previous-rpc-attempts; "": none
  Texts messages;
  MonotonicTime begin;
};

// A real server on 127.0.0.1 whose n-th stream is played as the n-th play says; the
// last one repeats.
class Server {
 public:
  explicit Server(std::vector<Play> plays) : service_(this, std::move(plays)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~Server() { server_->Shutdown(std::chrono::system_clock::now()); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  std::vector<Heard> heard() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return heard_;
  }
  // That stream n, from 1, has had so many messages.
  void AwaitHeard(size_t n, size_t messages) {
    Await([=] {
      return heard_.size() >= n && heard_[n - 1].messages.size() >= messages;
    });
  }
  // That so many streams are over, and their statuses sent.
  void AwaitEnds(int n) {
    Await([=] { return ends_ >= n; });
  }

 private:
  class Reactor;
  class Service final : public Echo::CallbackService {
   public:
    Service(Server* server, std::vector<Play> plays)
        : server_(*server), plays_(std::move(plays)) {}
    grpc::ServerBidiReactor<EchoMessage, EchoMessage>* Chat(
        grpc::CallbackServerContext* context) override;
    grpc::ServerUnaryReactor* Say(grpc::CallbackServerContext* context,
                                  const EchoMessage* /*request*/,
                                  EchoMessage* /*response*/) override {
      grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
      reactor->Finish(grpc::Status::OK);
      return reactor;
    }

   private:
    Server& server_;
    const std::vector<Play> plays_;
  };

  void Await(const std::function<bool()>& is_so) {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), is_so));
  }

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<Heard> heard_;
  int ends_ = 0;

  int port_ = 0;
  Service service_;
  std::unique_ptr<grpc::Server> server_;
};

class Server::Reactor final
    : public grpc::ServerBidiReactor<EchoMessage, EchoMessage> {
 public:
  Reactor(Server* server, size_t index, const Play& play,
          grpc::CallbackServerContext* context)
      : server_(*server), index_(index), play_(play), context_(*context) {
    GoOn();
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      const std::lock_guard<std::mutex> lock(server_.mutex_);
      server_.heard_[index_].messages.push_back(in_.payload());
      server_.changed_.notify_all();
    }
    GoOn();
  }
  void OnWriteDone(bool /*ok*/) override { GoOn(); }
  void OnSendInitialMetadataDone(bool /*ok*/) override { GoOn(); }
  void OnCancel() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      cancelled_ = true;
      if (!hanging_) return;
    }
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      const std::lock_guard<std::mutex> lock(server_.mutex_);
      ++server_.ends_;
      server_.changed_.notify_all();
    }
    delete this;
  }

 private:
  void GoOn() {
    if (next_ == play_.moves.size()) {
      End();
      return;
    }
    const Move& move = play_.moves[next_++];
    switch (move.type) {
      case Move::Type::kHear:
        StartRead(&in_);
        break;
      case Move::Type::kSay:
        out_.set_payload(move.text);
        StartWrite(&out_);
        break;
      case Move::Type::kHead:
        StartSendInitialMetadata();
        break;
    }
  }
  void End() {
    if (play_.hang) {
      const std::lock_guard<std::mutex> lock(mutex_);
      hanging_ = true;
      if (!cancelled_) return;
    }
    if (!play_.pushback.empty()) {
      context_.AddTrailingMetadata("grpc-retry-pushback-ms", play_.pushback);
    }
    Finish(grpc::Status(play_.code, play_.message));
  }

  Server& server_;
  const size_t index_;
  const Play& play_;
  grpc::CallbackServerContext& context_;
  size_t next_ = 0;
  EchoMessage in_;
  EchoMessage out_;
  std::mutex mutex_;  // guards the two below
  bool hanging_ = false;
  bool cancelled_ = false;
};

grpc::ServerBidiReactor<EchoMessage, EchoMessage>* Server::Service::Chat(
    grpc::CallbackServerContext* context) {
  Heard heard;
  heard.begin = MonotonicNow();
  const auto previous =
      context->client_metadata().find("grpc-previous-rpc-attempts");
  if (previous != context->client_metadata().end()) {
    heard.previous =
        std::string(previous->second.data(), previous->second.size());
  }
  size_t index = 0;
  {
    const std::lock_guard<std::mutex> lock(server_.mutex_);
    index = server_.heard_.size();
    server_.heard_.push_back(std::move(heard));
    server_.changed_.notify_all();
  }
  return new Reactor(&server_, index,
                     plays_[std::min(index, plays_.size() - 1)], context);
}

// What the application has received.
class Inbox {
 public:
  void Add(const std::string& text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    texts_.push_back(text);
    changed_.notify_all();
  }
  void AwaitCount(size_t n) {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return texts_.size() >= n; }));
  }
  Texts texts() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return texts_;
  }

 private:
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  Texts texts_;
};

// A stream of the application's, which reads all the time: stock gRPC looks at an
// attempt's end only for an application that receives.
class AppStream {
 public:
  virtual ~AppStream() = default;
  // They wait until it is done.
  virtual void Write(const EchoMessage& message) = 0;
  virtual void WriteLast(const EchoMessage& message) = 0;
  virtual void WritesDone() = 0;
  // After all has been read.
  virtual grpc::Status Finish() = 0;
};

class SyncStream final : public AppStream {
 public:
  SyncStream(Echo::Stub* stub, grpc::ClientContext* context, Inbox* inbox)
      : stream_(stub->Chat(context)), reader_([this, inbox] {
          EchoMessage message;
          while (stream_->Read(&message)) inbox->Add(message.payload());
        }) {}
  void Write(const EchoMessage& message) override { stream_->Write(message); }
  void WriteLast(const EchoMessage& message) override {
    stream_->WriteLast(message, grpc::WriteOptions());
  }
  void WritesDone() override { stream_->WritesDone(); }
  grpc::Status Finish() override {
    reader_.join();
    return stream_->Finish();
  }

 private:
  const std::unique_ptr<grpc::ClientReaderWriter<EchoMessage, EchoMessage>>
      stream_;
  std::thread reader_;
};

class QueueStream final : public AppStream {
 public:
  QueueStream(Echo::Stub* stub, grpc::ClientContext* context, Inbox* inbox)
      : inbox_(*inbox), stream_(stub->AsyncChat(context, &queue_, this)) {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue_.Next(&tag, &ok));
    stream_->Read(&in_, &in_);
    thread_ = std::thread([this] { Loop(); });
  }
  ~QueueStream() override {
    queue_.Shutdown();
    thread_.join();
  }
  void Write(const EchoMessage& message) override {
    stream_->Write(message, this);
    Await(&done_);
  }
  void WriteLast(const EchoMessage& message) override {
    stream_->WriteLast(message, grpc::WriteOptions(), this);
    Await(&done_);
  }
  void WritesDone() override {
    stream_->WritesDone(this);
    Await(&done_);
  }
  grpc::Status Finish() override {
    Await(&read_all_);
    grpc::Status status;
    stream_->Finish(&status, this);
    Await(&done_);
    return status;
  }

 private:
  void Loop() {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
      if (tag == &in_ && ok) {
        inbox_.Add(in_.payload());
        stream_->Read(&in_, &in_);
        continue;
      }
      const std::lock_guard<std::mutex> lock(mutex_);
      (tag == &in_ ? read_all_ : done_) = true;
      changed_.notify_all();
    }
  }
  void Await(bool* what) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [what] { return *what; });
    *what = false;
  }

  Inbox& inbox_;
  grpc::CompletionQueue queue_;
  const std::unique_ptr<grpc::ClientAsyncReaderWriter<EchoMessage, EchoMessage>>
      stream_;
  EchoMessage in_;
  std::thread thread_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool done_ = false;
  bool read_all_ = false;
};

// How often a stock channel has begun to wait for a retry: it tells nobody but its log.
class StockBackoffs {
 public:
  static int Count() {
    static const int enabled = Listen();
    EXPECT_EQ(enabled, 1) << "gRPC has no such tracer";
    return count;
  }

 private:
  static int Listen() {
    gpr_set_log_function(&OnLog);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_INFO);
    return grpc_tracer_set_enabled("retry", 1);
  }
  static void OnLog(gpr_log_func_args* args) {
    if (std::strstr(args->message, "retrying failed call in") != nullptr) {
      ++count;
    } else if (args->severity == GPR_LOG_SEVERITY_ERROR) {
      std::fprintf(stderr, "%s:%d: %s\n", args->file, args->line,
                   args->message);
    }
  }

  static std::atomic<int> count;
};
std::atomic<int> StockBackoffs::count{0};

enum class Api { kSync, kQueue };

// The application of a row.
class App {
 public:
  App(Api api, bool stock, const std::shared_ptr<grpc::Channel>& channel,
      Server* server_of, absl::Duration deadline)
      : server(*server_of), stock_(stock), stub_(Echo::NewStub(channel)) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          absl::ToChronoNanoseconds(deadline));
    if (api == Api::kSync) {
      stream_ = std::make_unique<SyncStream>(stub_.get(), &context_, &inbox_);
    } else {
      stream_ = std::make_unique<QueueStream>(stub_.get(), &context_, &inbox_);
    }
  }

  void Write(const std::string& text) {
    EchoMessage message;
    message.set_payload(text);
    stream_->Write(message);
  }
  // And nothing follows.
  void WriteLast(const std::string& text) {
    EchoMessage message;
    message.set_payload(text);
    stream_->WriteLast(message);
    closed_ = true;
  }
  void AwaitReceived(size_t n) { inbox_.AwaitCount(n); }
  void Cancel() { context_.TryCancel(); }
  // The first attempt has failed, and the second one has not begun.
  void AwaitBackoff() {
    if (stock_) {
      while (StockBackoffs::Count() == backoffs_before_) {
        std::this_thread::yield();
      }
      return;
    }
    server.AwaitEnds(1);
    while (record().attempts.empty() ||
           record().attempts[0].outcome.kind == ErrorKind::kOk) {
      std::this_thread::yield();
    }
  }
  grpc::Status End() {
    if (!closed_) stream_->WritesDone();
    return stream_->Finish();
  }
  // Whether it is a call of Forbear's.
  bool is_ours() const { return RecordOf(context_).has_value(); }
  CallRecord record() const {
    return RecordOf(context_).value_or(CallRecord());
  }

  Texts received() const { return inbox_.texts(); }

  Server& server;

 private:
  const bool stock_;
  const int backoffs_before_ = StockBackoffs::Count();
  const std::unique_ptr<Echo::Stub> stub_;
  grpc::ClientContext context_;
  Inbox inbox_;
  std::unique_ptr<AppStream> stream_;
  bool closed_ = false;
};

// What became of a stream.
struct Seen {
  StatusCode code = StatusCode::OK;
  std::string message;
  // Of each send: its grpc-previous-rpc-attempts, and what the server has heard.
  Texts previous;
  std::vector<Texts> heard;
  // By the application.
  Texts received;

  friend bool operator==(const Seen& a, const Seen& b) {
    return a.code == b.code && a.message == b.message &&
           a.previous == b.previous && a.heard == b.heard &&
           a.received == b.received;
  }
  friend std::ostream& operator<<(std::ostream& out, const Seen& seen) {
    out << seen.code << " \"" << seen.message << "\" after "
        << seen.previous.size() << " sends ["
        << absl::StrJoin(seen.previous, ",") << "]";
    for (const Texts& texts : seen.heard) {
      out << " (" << absl::StrJoin(texts, ",") << ")";
    }
    return out << "; received (" << absl::StrJoin(seen.received, ",") << ")";
  }
};

Seen Ends(StatusCode code, std::string message, std::vector<Texts> heard,
          Texts received = {}) {
  Seen seen;
  seen.code = code;
  seen.message = std::move(message);
  seen.heard = std::move(heard);
  seen.received = std::move(received);
  for (size_t i = 0; i < seen.heard.size(); ++i) {
    seen.previous.push_back(i == 0 ? "" : absl::StrCat(i));
  }
  return seen;
}
Seen Aborted(std::vector<Texts> heard, Texts received = {}) {
  return Ends(StatusCode::ABORTED, "xyz", std::move(heard),
              std::move(received));
}

constexpr size_t kLargeBytes = 102400;
const char kLarge[] = "(100 KiB)";  // stands for it in a Seen

struct Row {
  const char* name = nullptr;
  std::vector<Play> plays;
  // Ends with the closing of its side, and reads to the end.
  std::function<void(App&)> app;
  Seen stock;
  // From one send to the next one, at least; of fewer than there are sends.
  std::vector<absl::Duration> waits;

  RetryConfig config;
  absl::Duration deadline = absl::Seconds(30);
  // Bytes that may be kept: of both channels. 0: as each has it.
  int buffer = 0;

  // A deviation: what we do, and why. Null: there is none.
  const char* why = nullptr;
  Seen ours;
  std::vector<absl::Duration> our_waits;
};

std::vector<Row> Rows() {
  const auto ms = [](int n) { return absl::Milliseconds(n); };
  const std::string large(kLargeBytes, 'a');
  const auto writes_foo = [](App& app) { app.Write("foo"); };
  const Play fails = Fails({kHear});
  Play good;
  good.moves = {kHear, Say("quux")};
  good.code = StatusCode::OK;
  good.message = "";
  std::vector<Row> all;
  const auto add = [&](const char* name, std::vector<Play> plays,
                       std::function<void(App&)> app, Seen stock) -> Row& {
    Row& row = all.emplace_back();
    row.name = name;
    row.plays = std::move(plays);
    row.app = std::move(app);
    row.stock = std::move(stock);
    return row;
  };

  add(
      "streaming",
      {Fails({kHear, kHear}), Fails({kHear, kHear, kHear, kHear, Say("quux")})},
      [](App& app) {
        app.Write("foo");
        app.server.AwaitHeard(1, 1);
        app.Write("bar");
        app.server.AwaitHeard(2, 2);
        app.WriteLast("baz");
      },
      Aborted({{"foo", "bar"}, {"foo", "bar", "baz"}}, {"quux"}))
      .waits = {ms(80)};
  add(
      "streaming_succeeds_before_replay_finished",
      {Fails({kHear, kHear, kHear}), Fails({kHear, Say("quux")})},
      [](App& app) {
        app.Write("foo");
        app.Write("bar");
        app.Write("baz");
      },
      Aborted({{"foo", "bar", "baz"}, {"foo"}}, {"quux"}))
      .waits = {ms(80)};
  add(
      "streaming_after_commit",
      {Fails({kHear, Say("baz"), kHear, Say("quux")})},
      [](App& app) {
        app.Write("foo");
        app.AwaitReceived(1);
        app.Write("bar");
      },
      Aborted({{"foo", "bar"}}, {"baz", "quux"}));
  // Trailers alone commit nothing.
  add("basic_success_on_2nd", {fails, good}, writes_foo,
      Ends(StatusCode::OK, "", {{"foo"}, {"foo"}}, {"quux"}))
      .waits = {ms(80)};
  add("recv_initial_metadata_commits", {Fails({kHear, kHead}), good},
      writes_foo, Aborted({{"foo"}}));
  add("recv_message_commits", {Fails({kHear, Say("bar")}), good}, writes_foo,
      Aborted({{"foo"}}, {"bar"}));
  {
    Play play = fails;
    play.code = StatusCode::INVALID_ARGUMENT;
    add("non_retriable_status", {play, good}, writes_foo,
        Ends(StatusCode::INVALID_ARGUMENT, "xyz", {{"foo"}}));
  }
  add("too_many_attempts", {fails}, writes_foo, Aborted({{"foo"}, {"foo"}}))
      .config.max_attempts = 2;
  {
    Row& row = add("previous_attempts_header", {fails}, writes_foo,
                   Aborted({{"foo"}, {"foo"}, {"foo"}, {"foo"}, {"foo"}}));
    row.config.max_attempts = 5;
    row.config.initial = "0.01s";
    row.config.max = "0.02s";
  }
  {
    Play play = fails;
    play.pushback = "-1";
    add("pushback_minus1_disables", {fails, play}, writes_foo,
        Aborted({{"foo"}, {"foo"}}))
        .waits = {ms(80)};
    play.pushback = "400";
    add("pushback_above_the_backoff", {play, good}, writes_foo,
        Ends(StatusCode::OK, "", {{"foo"}, {"foo"}}, {"quux"}))
        .waits = {ms(400)};
  }

  // What is kept for another attempt.
  const char* const first_is_kept =
      "the first message is kept whatever its size, as a unary call's request "
      "is";
  {
    Row& row = add("exceeds_buffer_size_in_initial_batch", {fails}, writes_foo,
                   Aborted({{"foo"}}));
    row.config.max_attempts = 2;
    row.buffer = 2;
    row.why = first_is_kept;
    row.ours = Aborted({{"foo"}, {"foo"}});
  }
  {
    Row& row = add(
        "exceeds_buffer_size_in_subsequent_batch", {fails},
        [large](App& app) { app.Write(large); }, Aborted({{kLarge}}));
    row.config.max_attempts = 2;
    row.buffer = kLargeBytes;
    row.why = first_is_kept;
    row.ours = Aborted({{kLarge}, {kLarge}});
  }
  {
    Row& row = add(
        "exceeds_buffer_size_in_delay",
        {Fails({}, "message1"), Fails({kHear}, "message2")},
        [large](App& app) {
          app.AwaitBackoff();
          app.Write(large);
        },
        Ends(StatusCode::ABORTED, "message2", {{}, {kLarge}}));
    row.config.initial = "2s";
    row.buffer = kLargeBytes;
    row.waits = {ms(1600)};
    row.why = first_is_kept;
    row.ours = Ends(StatusCode::ABORTED, "message2", {{}, {kLarge}, {kLarge}});
  }
  // The same two with a message before them: not of gRPC's tests.
  {
    Row& row = add(
        "exceeds_buffer_size_with_the_second_message", {Fails({kHear, kHear})},
        [large](App& app) {
          app.Write("foo");
          app.Write(large);
        },
        Aborted({{"foo", kLarge}}));
    row.buffer = kLargeBytes;
  }
  {
    Row& row = add(
        "exceeds_buffer_size_in_delay_with_the_second_message",
        {Fails({kHear}, "message1"), Fails({kHear, kHear}, "message2")},
        [large](App& app) {
          app.Write("foo");
          app.AwaitBackoff();
          app.Write(large);
        },
        Ends(StatusCode::ABORTED, "message2", {{"foo"}, {kLarge, "foo"}}));
    row.config.initial = "2s";
    row.buffer = kLargeBytes;
    row.waits = {ms(1600)};
    row.why = "gRPC 1.51.1 sends them in the wrong order";
    row.ours =
        Ends(StatusCode::ABORTED, "message2", {{"foo"}, {"foo", kLarge}});
  }

  // Cancels and deadlines.
  add(
      "cancel_during_first_retry_attempt", {fails, Hangs({kHear})},
      [](App& app) {
        app.Write("foo");
        app.server.AwaitHeard(2, 1);
        app.Cancel();
      },
      Ends(StatusCode::CANCELLED, "CANCELLED", {{"foo"}, {"foo"}}));
  add("deadline_during_first_retry_attempt", {fails, Hangs({kHear})},
      writes_foo,
      Ends(StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded",
           {{"foo"}, {"foo"}}))
      .deadline = absl::Seconds(2);
  add(
      "cancel_after_first_attempt_starts", {Hangs({kHear})},
      [](App& app) {
        app.Write("foo");
        app.server.AwaitHeard(1, 1);
        app.Cancel();
      },
      Ends(StatusCode::CANCELLED, "CANCELLED", {{"foo"}}));
  {
    Row& row = add(
        "cancel_during_delay", {fails},
        [](App& app) {
          app.Write("foo");
          app.AwaitBackoff();
          app.Cancel();
        },
        Ends(StatusCode::CANCELLED, "CANCELLED", {{"foo"}}));
    row.config.initial = "10s";
    row.why = "nothing was out: the status is Forbear's, and says so";
    row.ours = Ends(
        StatusCode::CANCELLED,
        absl::StrCat("forbear: ", StopReasonSentence(StopReason::kCancelled)),
        {{"foo"}});
  }
  {
    Row& row = add(
        "deadline_during_delay", {fails}, writes_foo,
        Ends(StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded", {{"foo"}}));
    row.config.initial = "10s";
    row.deadline = ms(1000);
    row.why = "a wait in vain is not begun: the call ends with retry_at";
    row.ours = Aborted({{"foo"}});
  }

  // perAttemptRecvTimeout, with the experiment that it takes.
  {
    Row& row = add(
        "per_attempt_recv_timeout", {Hangs({kHear}), fails, good}, writes_foo,
        Ends(StatusCode::OK, "", {{"foo"}, {"foo"}, {"foo"}}, {"quux"}));
    row.config.attempt_timeout = "0.5s";
    row.waits = {ms(495), ms(80)};
  }
  {
    Row& row =
        add("per_attempt_recv_timeout_on_last_attempt", {Hangs({kHear})},
            writes_foo,
            Ends(StatusCode::CANCELLED, "retry perAttemptRecvTimeout exceeded",
                 {{"foo"}, {"foo"}}));
    row.config.max_attempts = 2;
    row.config.attempt_timeout = "0.5s";
    row.waits = {ms(495)};
    row.why = "a time-out is DEADLINE_EXCEEDED; CANCELLED is the caller's";
    row.ours =
        Ends(StatusCode::DEADLINE_EXCEEDED,
             "forbear: The attempt took longer than its attempt_timeout.",
             {{"foo"}, {"foo"}});
  }
  {
    // Not of gRPC's tests: it is the time until something is received.
    Row& row = add(
        "per_attempt_recv_timeout_until_the_head", {Hangs({kHear, kHead})},
        writes_foo,
        Ends(StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded", {{"foo"}}));
    row.config.attempt_timeout = "0.5s";
    row.deadline = ms(1500);
  }
  return all;
}

struct Result {
  Seen seen;
  std::vector<absl::Duration> sends;  // when each was heard, since the begin
};

std::shared_ptr<grpc::Channel> Channel(bool stock, const Row& row,
                                       const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_EXPERIMENTAL_ENABLE_HEDGING, 1);
  RpcOptions options;
  if (row.buffer > 0) {
    arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, row.buffer);
    options.max_stream_buffer = row.buffer;
  }
  const auto credentials = grpc::InsecureChannelCredentials();
  if (stock) {
    arguments.SetServiceConfigJSON(row.config.Text());
    return grpc::CreateCustomChannel(address, credentials, arguments);
  }
  options.service_config = row.config.Text();
  return CreateChannel(address, credentials, *Client::Create({}), options,
                       arguments);
}

Result PlayRow(bool stock, Api api, const Row& row) {
  Server server(row.plays);
  const MonotonicTime begin = MonotonicNow();
  App app(api, stock, Channel(stock, row, server.address()), &server,
          row.deadline);
  row.app(app);
  const grpc::Status status = app.End();
  Result result;
  result.seen.code = status.error_code();
  result.seen.message = status.error_message();
  result.seen.received = app.received();
  const std::vector<Heard> heard = server.heard();
  for (size_t i = 0; i < heard.size(); ++i) {
    result.seen.previous.push_back(heard[i].previous);
    Texts texts = heard[i].messages;
    std::replace(texts.begin(), texts.end(), std::string(kLargeBytes, 'a'),
                 std::string(kLarge));
    result.seen.heard.push_back(std::move(texts));
    result.sends.push_back(heard[i].begin - begin);
  }
  if (!stock) {
    EXPECT_EQ(app.record().total_attempts, static_cast<int>(heard.size()));
    EXPECT_NE(app.record().stop_reason, StopReason::kNone);
  }
  return result;
}

class StockStreamsTest : public ::testing::TestWithParam<Api> {};

std::string NameOfApi(const ::testing::TestParamInfo<Api>& info) {
  return info.param == Api::kSync ? "Sync" : "Queue";
}

INSTANTIATE_TEST_SUITE_P(Apis, StockStreamsTest,
                         ::testing::Values(Api::kSync, Api::kQueue), NameOfApi);

TEST_P(StockStreamsTest, Rows) {
  for (const Row& row : Rows()) {
    SCOPED_TRACE(row.name);
    const Result stock = PlayRow(/*stock=*/true, GetParam(), row);
    EXPECT_EQ(stock.seen, row.stock) << "stock";
    ExpectWaits(stock.sends, row.waits);
    const Result ours = PlayRow(/*stock=*/false, GetParam(), row);
    if (row.why == nullptr) {
      EXPECT_EQ(ours.seen, stock.seen) << "ours, and there is no deviation";
    } else {
      EXPECT_EQ(ours.seen, row.ours) << "ours: " << row.why;
      EXPECT_FALSE(ours.seen == stock.seen) << "no deviation: " << row.why;
    }
    ExpectWaits(ours.sends, row.our_waits.empty() ? row.waits : row.our_waits);
  }
}

// The same of the shapes that go one way, which the rows do not have.
Seen PlayOneWay(bool stock, StreamApi api, Shape shape, int fails) {
  StreamServer server;
  // Of Push it has heard all three messages then: stock gRPC may say of a write that it
  // has failed, and make it again nevertheless.
  StreamPlay failing =
      StreamPlay::Fails(StatusCode::ABORTED, shape == Shape::kPush ? 3 : 0);
  failing.message = "xyz";
  std::vector<StreamPlay> plays(static_cast<size_t>(fails), failing);
  plays.push_back(StreamPlay::Good());
  server.Script(std::move(plays));
  Row row;
  row.config.initial = "0.01s";
  StreamApp app(api, shape, Channel(stock, row, server.address()));
  app.SetDeadline(absl::Minutes(1));
  Seen result;
  result.code = app.Run().error_code();
  result.message = app.Wait().error_message();
  result.received = app.received();
  for (const SeenStream& stream : server.Seen()) {
    const auto previous = stream.metadata.find("grpc-previous-rpc-attempts");
    result.previous.push_back(
        previous == stream.metadata.end() ? "" : previous->second);
    result.heard.push_back(stream.payloads);
  }
  return result;
}

class StockOneWayTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {};

INSTANTIATE_TEST_SUITE_P(
    All, StockOneWayTest,
    ::testing::Combine(::testing::Values(Shape::kPull, Shape::kPush),
                       ::testing::Values(StreamApi::kSync, StreamApi::kReactor,
                                         StreamApi::kQueue)),
    [](const auto& info) {
      return NameOf(std::get<0>(info.param)) + "_" +
             NameOf(std::get<1>(info.param));
    });

TEST_P(StockOneWayTest, AsStock) {
  const auto [shape, api] = GetParam();
  const Texts all =
      shape == Shape::kPull ? Texts({"a"}) : Texts({"a", "b", "c"});
  const Seen good = Ends(
      StatusCode::OK, "", {all, all},
      shape == Shape::kPull ? Texts({"a#0", "a#1", "a#2"}) : Texts({"abc"}));
  const Seen bad = Aborted({all, all, all});
  for (const bool stock : {true, false}) {
    SCOPED_TRACE(stock ? "stock" : "ours");
    EXPECT_EQ(PlayOneWay(stock, api, shape, 1), good);
    EXPECT_EQ(PlayOneWay(stock, api, shape, 3), bad);
  }
}

// What a service config says beside its retryPolicy, for streams.
class StreamConfigTest : public ::testing::TestWithParam<Api> {
 protected:
  static std::shared_ptr<grpc::Channel> Channel(const Server& server,
                                                const std::string& config) {
    RpcOptions options;
    options.service_config = config;
    return CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                         *Client::Create({}), options);
  }
};

INSTANTIATE_TEST_SUITE_P(Apis, StreamConfigTest,
                         ::testing::Values(Api::kSync, Api::kQueue), NameOfApi);

TEST_P(StreamConfigTest, ItsTimeoutBoundsAllOfAStream) {
  Play play = Fails({kHear});
  play.pushback = "70000";
  Server server({Fails({kHear}), play});
  RetryConfig config;
  config.timeout = "60s";
  App app(GetParam(), /*stock=*/false, Channel(server, config.Text()), &server,
          absl::Hours(1));
  app.Write("foo");
  EXPECT_EQ(app.End().error_code(), StatusCode::ABORTED);
  EXPECT_EQ(server.heard().size(), 2u);
  const CallRecord record = app.record();
  EXPECT_EQ(record.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(record.deadline - record.begin, absl::Seconds(60));
}

// A stream that cannot be made again costs what it costs without Forbear.
TEST_P(StreamConfigTest, OneWithoutRetriesLeavesStreamsAlone) {
  for (const bool retries : {false, true}) {
    Server server({Fails({kHear, Say("quux")})});
    const std::string config =
        retries ? RetryConfig().Text()
                : R"({"methodConfig": [{"name": [{}], "timeout": "60s",
                      "waitForReady": true, "maxRequestMessageBytes": 1000}]})";
    App app(GetParam(), /*stock=*/false, Channel(server, config), &server,
            absl::Seconds(30));
    app.Write("foo");
    EXPECT_EQ(app.End().error_code(), StatusCode::ABORTED);
    EXPECT_EQ(app.received(), Texts({"quux"}));
    EXPECT_EQ(app.is_ours(), retries);
  }
}

// A deviation from A6, which hedges them, too: one attempt is out at a time. What is
// not fatal is retried.
TEST_P(StreamConfigTest, AHedgingPolicyHedgesNoStream) {
  const std::string config =
      R"({"methodConfig": [{"name": [{"service": "forbear.testing.Echo"}],
          "hedgingPolicy": {"maxAttempts": 4, "hedgingDelay": "0.05s",
                            "nonFatalStatusCodes": ["ABORTED"]}}]})";
  Server server({Fails({kHear}), Hangs({kHear})});
  App app(GetParam(), /*stock=*/false, Channel(server, config), &server,
          absl::Milliseconds(1500));
  app.Write("foo");
  EXPECT_EQ(app.End().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server.heard().size(), 2u);
  const CallRecord record = app.record();
  ASSERT_EQ(record.attempts.size(), 2u);
  EXPECT_FALSE(record.attempts[1].hedge);
}

// A deviation that no row can have: its application does not read.
class WriterTest : public ::testing::Test {
 protected:
  // A stream that has sent "foo".
  void Start(bool stock, std::vector<Play> plays) {
    server_.emplace(std::move(plays));
    Row row;
    row.config.initial = "0.01s";
    channel_ = Channel(stock, row, server_->address());
    stub_ = Echo::NewStub(channel_);
    stream_ = stub_->Chat(&context_);
    EchoMessage message;
    message.set_payload("foo");
    EXPECT_TRUE(stream_->Write(message));
  }
  void End() {
    EXPECT_TRUE(stream_->WritesDone());
    EchoMessage message;
    EXPECT_TRUE(stream_->Read(&message));
    EXPECT_EQ(message.payload(), "quux");
    EXPECT_FALSE(stream_->Read(&message));
    EXPECT_TRUE(stream_->Finish().ok());
  }
  static Play Good() {
    Play play = Fails({kHear, Say("quux")});
    play.code = StatusCode::OK;
    return play;
  }

  std::optional<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Echo::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<EchoMessage, EchoMessage>> stream_;
};

TEST_F(WriterTest, OursIsRepeatedAtOnce) {
  Start(/*stock=*/false, {Fails({kHear}), Good()});
  server_->AwaitHeard(2, 1);
  End();
  EXPECT_EQ(server_->heard().size(), 2u);
}

TEST_F(WriterTest, StockWaitsForAReader) {
  Start(/*stock=*/true, {Fails({kHear}), Fails({kHear}), Good()});
  server_->AwaitEnds(1);
  // Another one, which reads, has failed and been repeated meanwhile.
  App other(Api::kSync, /*stock=*/true, channel_, &*server_, absl::Seconds(30));
  other.Write("bar");
  EXPECT_TRUE(other.End().ok());
  EXPECT_EQ(server_->heard().size(), 3u);
  End();
  const std::vector<Heard> heard = server_->heard();
  ASSERT_EQ(heard.size(), 4u);
  EXPECT_EQ(heard[2].messages, Texts({"bar"}));
  EXPECT_EQ(heard[3].messages, Texts({"foo"}));
  EXPECT_EQ(heard[3].previous, "1");
}

}  // namespace
}  // namespace forbear::rpc
