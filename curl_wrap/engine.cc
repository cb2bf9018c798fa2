#include "curl_wrap/engine.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "curl_wrap/call_setup.h"
#include "curl_wrap/inbox.h"
#include "curl_wrap/refuse.h"
#include "curl_wrap/transfer.h"
#include "curl_wrap/transfer_set.h"
#include "runtime/clock.h"

namespace forbear::curl {
namespace {

constexpr int kMaxEvents = 128;
constexpr int kMaxRounds = 3;

// The Loop whose thread this is.
thread_local const void* t_loop = nullptr;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

struct CleanUpMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};

}  // namespace

// The thread, and what it runs: libcurl's sockets on an epoll instance, one timer for
// libcurl, one for the set, and an eventfd by which others ring.
class Engine::Loop {
 public:
  Loop(std::shared_ptr<Client> client, const EngineOptions& options)
      : client_(std::move(client)),
        max_transfers_(static_cast<size_t>(options.max_transfers)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        multi_(curl_multi_init()),
        inbox_(std::make_shared<Inbox>([this] { Ring(); })),
        set_(multi_.get(), client_, TransferSet::LimitsOf(options),
             [this] { --transfers_; }) {}

  absl::Status Begin();
  // `shows_easy`: `done` is the application's, and gets the easy handle.
  uint64_t Start(Request request, Handle* handle, CallOptions options,
                 Done done, bool shows_easy);
  void Cancel(uint64_t id) {
    inbox_->Post({Inbox::What::kCancel, id, nullptr});
  }
  void Shutdown(absl::Duration grace);
  Counts counts() const {
    Counts counts;
    counts.queued = queued_;
    counts.waiting = waiting_;
    counts.in_flight = in_flight_;
    return counts;
  }

 private:
  void Ring() const {
    const uint64_t one = 1;
    // It is full only if nobody has listened, who then has to listen anyway.
    (void)!write(bell_.get(), &one, sizeof(one));
  }
  void Run();
  void Listen(MonotonicTime until);
  void ReadMessages();
  static int OnSocket(CURL* easy, curl_socket_t fd, int what, void* self,
                      void* known);
  static int OnTimer(CURLM* multi, long timeout_ms, void* self);

  const std::shared_ptr<Client> client_;
  const size_t max_transfers_;
  const Descriptor epoll_;
  const Descriptor bell_;
  const std::unique_ptr<CURLM, CleanUpMulti> multi_;
  const std::shared_ptr<Inbox> inbox_;
  TransferSet set_;                                       // the thread's
  std::vector<Inbox::Item> items_;                        // likewise
  MonotonicTime curl_timer_ = MonotonicTime::Infinite();  // the thread's
  HeaderPool headers_;
  std::atomic<uint64_t> next_id_{1};
  std::atomic<size_t> transfers_{0};
  std::atomic<size_t> queued_{0};
  std::atomic<size_t> waiting_{0};
  std::atomic<size_t> in_flight_{0};

  std::mutex join_mutex_;  // of thread_
  std::atomic<bool> stopping_{false};
  std::atomic<MonotonicTime> stop_at_{MonotonicTime::Infinite()};
  std::thread thread_;
};

absl::Status Engine::Loop::Begin() {
  if (epoll_.get() < 0 || bell_.get() < 0 || multi_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the engine gets no file descriptors: ", std::strerror(errno),
        "; close some, or raise the limit (ulimit -n)"));
  }
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = bell_.get();
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bell_.get(), &event);
  CURLM* const multi = multi_.get();
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &OnSocket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &OnTimer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
  // The thread inherits the mask: signals are others' to handle.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  absl::Status status;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& e) {
    status = absl::ResourceExhaustedError(
        absl::StrCat("the engine gets no thread: ", e.what()));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

uint64_t Engine::Loop::Start(Request request, Handle* handle,
                             CallOptions options, Done done, bool shows_easy) {
  const uint64_t id = next_id_.fetch_add(1);
  const CURLcode busy =
      handle == nullptr ? CURLE_OK : HandleAccess::Begin(handle);
  if (busy != CURLE_OK) {
    Response response;
    FillFault(busy, &response);
    if (done) done(std::move(response));
    return id;
  }
  StopReason refused = StopReason::kQueueFull;
  if (transfers_.fetch_add(1) < max_transfers_) {
    request.Pack(&headers_);
    Inbox::Item item;
    item.what = Inbox::What::kStart;
    item.id = id;
    item.transfer = std::make_shared<Transfer>(
        id, inbox_, std::move(request), handle, std::move(options),
        std::move(done), MonotonicNow(), shows_easy);
    if (inbox_->PostOrKeep(&item)) return id;
    done = std::move(item.transfer->done);
    refused = StopReason::kCancelled;
  }
  --transfers_;
  if (handle != nullptr) HandleAccess::End(handle);
  if (!shows_easy) {
    ReportRefusal(done, refused);
    return id;
  }
  return Refuse(std::move(done), refused) ? id : 0;
}

void Engine::Loop::Shutdown(absl::Duration grace) {
  if (t_loop == this) {
    // It would wait for itself for ever.
    fprintf(stderr,
            "forbear: Engine::Shutdown, or ~Engine, was called by the engine's "
            "own thread, in a callback; call it on another one\n");
    abort();
  }
  inbox_->Close();
  const MonotonicTime stop_at =
      MonotonicNow() + std::max(grace, absl::ZeroDuration());
  // Of several that shut it down, the one that waits the shortest.
  MonotonicTime earliest = stop_at_;
  while (stop_at < earliest &&
         !stop_at_.compare_exchange_weak(earliest, stop_at)) {
  }
  stopping_ = true;
  Ring();
  std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
  // Not before: those that are out still wake each other, and may be cancelled.
  inbox_->CloseForGood();
}

// --- The thread. ---

int Engine::Loop::OnSocket(CURL* /*easy*/, curl_socket_t fd, int what,
                           void* self, void* known) {
  auto* const loop = static_cast<Loop*>(self);
  const int epoll = loop->epoll_.get();
  epoll_event event = {};
  event.data.fd = fd;
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event);
    return 0;
  }
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  // Numbers of descriptors are used again, and libcurl does not say when one was
  // closed: what is there may be an old one's, or nothing. What is likely comes first.
  if (known == nullptr) curl_multi_assign(loop->multi_.get(), fd, loop);
  const int likely = known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  const int other = known == nullptr ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(epoll, likely, fd, &event) != 0) {
    epoll_ctl(epoll, other, fd, &event);
  }
  return 0;
}

int Engine::Loop::OnTimer(CURLM* /*multi*/, long timeout_ms, void* self) {
  static_cast<Loop*>(self)->curl_timer_ =
      timeout_ms < 0 ? MonotonicTime::Infinite()
                     : MonotonicNow() + absl::Milliseconds(timeout_ms);
  return 0;
}

void Engine::Loop::Listen(MonotonicTime until) {
  const absl::Duration wait =
      until.is_infinite() ? absl::InfiniteDuration() : until - MonotonicNow();
  int timeout_ms = -1;
  if (wait < absl::Hours(1)) {
    timeout_ms = static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(
        std::max(wait, absl::ZeroDuration()), absl::Milliseconds(1))));
  } else if (wait != absl::InfiniteDuration()) {
    timeout_ms = 3600 * 1000;
  }
  epoll_event events[kMaxEvents];
  const int count = epoll_wait(epoll_.get(), events, kMaxEvents, timeout_ms);
  int running = 0;
  for (int i = 0; i < count; ++i) {
    if (events[i].data.fd == bell_.get()) {
      uint64_t rings = 0;
      (void)!read(bell_.get(), &rings, sizeof(rings));
      continue;
    }
    int mask = 0;
    if ((events[i].events & EPOLLIN) != 0) mask |= CURL_CSELECT_IN;
    if ((events[i].events & EPOLLOUT) != 0) mask |= CURL_CSELECT_OUT;
    if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0) {
      mask |= CURL_CSELECT_ERR;
    }
    curl_multi_socket_action(multi_.get(), events[i].data.fd, mask, &running);
  }
  if (MonotonicNow() >= curl_timer_) {
    // It sets the next one, or this was the last.
    curl_timer_ = MonotonicTime::Infinite();
    curl_multi_socket_action(multi_.get(), CURL_SOCKET_TIMEOUT, 0, &running);
  }
}

void Engine::Loop::ReadMessages() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    // A copy: the message is gone with its handle's removal.
    const CURLMSG what = message->msg;
    CURL* const easy = message->easy_handle;
    const CURLcode code = message->data.result;
    if (what == CURLMSG_DONE) set_.OnMessage(easy, code);
  }
}

void Engine::Loop::Run() {
  pthread_setname_np(pthread_self(), "forbear-curl");
  t_loop = this;
  for (;;) {
    // Before the inbox: what was started before it was closed is in it.
    const bool stopping = stopping_;
    const MonotonicTime stop_at = stop_at_;
    const auto work = [&] {
      const MonotonicTime now = MonotonicNow();
      if (stopping && now >= stop_at) set_.CancelAll();
      set_.Run(now);
    };
    work();
    // Done functions start the next ones. But libcurl must have its turn, too.
    int rounds = 0;
    for (; rounds < kMaxRounds && inbox_->TakeAll(&items_); ++rounds) {
      for (Inbox::Item& item : items_) set_.Post(std::move(item));
      items_.clear();
      work();
    }
    const TransferSet::Counts counts = set_.counts();
    queued_ = counts.queued;
    waiting_ = counts.waiting;
    in_flight_ = counts.in_flight;
    if (stopping && set_.empty()) return;
    const MonotonicTime next =
        Earlier(set_.next(), stopping ? stop_at : MonotonicTime::Infinite());
    Listen(rounds < kMaxRounds ? Earlier(next, curl_timer_)
                               : MonotonicTime::InfinitePast());
    inbox_->StayAwake();
    ReadMessages();
  }
}

// --- The engine. ---

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    std::shared_ptr<Client> client, const EngineOptions& options) {
  const absl::Status valid = ValidateEngineOptions(options);
  if (!valid.ok()) return valid;
  InitLibcurl();
  auto loop = std::make_unique<Loop>(std::move(client), options);
  const absl::Status status = loop->Begin();
  if (!status.ok()) return status;
  return std::unique_ptr<Engine>(new Engine(std::move(loop)));
}

Engine::Engine(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}

Engine::~Engine() { Shutdown(absl::ZeroDuration()); }

uint64_t Engine::Start(Request request, CallOptions options, const Done& done) {
  return loop_->Start(std::move(request), nullptr, std::move(options), done,
                      /*shows_easy=*/true);
}

uint64_t Engine::Start(Handle* handle, CallOptions options, const Done& done) {
  return loop_->Start(Request(), handle, std::move(options), done,
                      /*shows_easy=*/true);
}

std::future<Response> Engine::Send(Request request, CallOptions options) {
  auto promise = std::make_shared<std::promise<Response>>();
  std::future<Response> future = promise->get_future();
  loop_->Start(
      std::move(request), nullptr, std::move(options),
      [promise](Response response) { promise->set_value(std::move(response)); },
      /*shows_easy=*/false);
  return future;
}

void Engine::Cancel(uint64_t id) { loop_->Cancel(id); }

void Engine::Shutdown(absl::Duration grace) { loop_->Shutdown(grace); }

Engine::Counts Engine::counts() const { return loop_->counts(); }

}  // namespace forbear::curl
