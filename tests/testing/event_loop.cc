#include "tests/testing/event_loop.h"

#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <future>
#include <memory>
#include <utility>

namespace forbear::testing {
namespace {

// libevent stores times as seconds and microseconds; more than this is for
// ever anyway.
constexpr absl::Duration kLongest = absl::Hours(24 * 365);

timeval AsTimeval(absl::Duration delay) {
  delay = std::min(std::max(delay, absl::ZeroDuration()), kLongest);
  return absl::ToTimeval(absl::Ceil(delay, absl::Microseconds(1)));
}

[[noreturn]] void Die(const char* what) {
  perror(what);
  abort();
}

}  // namespace

EventLoop::EventLoop() {
  event_config* config = event_config_new();
  if (config == nullptr) Die("event_config_new");
  // Timers count from the real now, not from when the loop last looked, and
  // are finer than a millisecond.
  event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
  event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
  // No other thread touches the base: Post() goes through wake_fd_.
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  base_ = event_base_new_with_config(config);
  event_config_free(config);
  if (base_ == nullptr) Die("event_base_new_with_config");

  wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd_ < 0) Die("eventfd");
  wake_event_ = event_new(
      base_, wake_fd_, EV_READ | EV_PERSIST,
      [](evutil_socket_t, short, void* self) {
        static_cast<EventLoop*>(self)->RunTasks();
      },
      this);
  if (wake_event_ == nullptr || event_add(wake_event_, nullptr) != 0) {
    Die("event_add");
  }

  thread_ = std::thread([this] {
    // libevent writes to connections that the client may have closed.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    event_base_dispatch(base_);
  });
}

EventLoop::~EventLoop() {
  Post([this] { event_base_loopexit(base_, nullptr); });
  thread_.join();
  event_free(wake_event_);
  event_base_free(base_);
  close(wake_fd_);
}

void EventLoop::Post(std::function<void()> task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    if (tasks_.size() > 1) return;  // It is awake already.
  }
  const uint64_t one = 1;
  if (write(wake_fd_, &one, sizeof(one)) != sizeof(one)) Die("eventfd write");
}

void EventLoop::RunAndWait(const std::function<void()>& task) {
  if (OnLoopThread()) {
    task();
    return;
  }
  // Shared: set_value() may still run when the waiter goes on.
  const auto done = std::make_shared<std::promise<void>>();
  Post([&task, done] {
    task();
    done->set_value();
  });
  done->get_future().wait();
}

void EventLoop::RunTasks() {
  uint64_t count;
  if (read(wake_fd_, &count, sizeof(count)) != sizeof(count)) return;
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks.swap(tasks_);
  }
  for (std::function<void()>& task : tasks) task();
}

LoopTimer::LoopTimer(EventLoop* loop)
    : event_(event_new(loop->base(), -1, 0, &LoopTimer::Fire, this)) {
  if (event_ == nullptr) Die("event_new");
}

LoopTimer::~LoopTimer() { event_free(event_); }

void LoopTimer::Start(absl::Duration delay, std::function<void()> task) {
  task_ = std::move(task);
  const timeval after = AsTimeval(delay);
  if (event_add(event_, &after) != 0) Die("event_add");
}

void LoopTimer::Cancel() {
  event_del(event_);
  task_ = nullptr;
}

void LoopTimer::Fire(int, short, void* timer) {
  // The task may destroy the timer, or start it again.
  const std::function<void()> task =
      std::exchange(static_cast<LoopTimer*>(timer)->task_, nullptr);
  task();
}

}  // namespace forbear::testing
