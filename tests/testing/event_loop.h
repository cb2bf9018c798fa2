#ifndef FORBEAR_TESTS_TESTING_EVENT_LOOP_H_
#define FORBEAR_TESTS_TESTING_EVENT_LOOP_H_

#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/time/time.h"

struct event;
struct event_base;

namespace forbear::testing {

// One thread that runs a libevent loop: the place where a server's state lives,
// so that the state needs no locks.
//
//   EventLoop loop;
//   loop.Post([&] { …on the loop's thread… });
//   loop.RunAndWait([&] { server.reset(); });
//
// Functions run in the order in which they were posted. The destructor runs
// what was posted before it and then ends the thread.
//
// Thread rule: Post() and RunAndWait() may be called from any thread; base()
// only on the loop's.
class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs `task` on the loop's thread, later.
  void Post(std::function<void()> task);

  // Runs `task` on the loop's thread and returns when it is done. On the
  // loop's thread: runs it at once.
  void RunAndWait(const std::function<void()>& task);

  bool OnLoopThread() const {
    return std::this_thread::get_id() == thread_.get_id();
  }

  event_base* base() const { return base_; }

 private:
  void RunTasks();

  event_base* base_;
  int wake_fd_;
  event* wake_event_;

  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;  // Guarded by mutex_.

  std::thread thread_;
};

// Calls a function once on the loop's thread, after a while.
//
// Thread rule: all members, and the destructor, only on the loop's thread.
class LoopTimer {
 public:
  // REQUIRES: `loop` outlives the timer.
  explicit LoopTimer(EventLoop* loop);
  ~LoopTimer();
  LoopTimer(const LoopTimer&) = delete;
  LoopTimer& operator=(const LoopTimer&) = delete;

  // Calls `task` after `delay`, not sooner, and never from within Start(); a
  // task that still waits is dropped. `task` may destroy the timer.
  void Start(absl::Duration delay, std::function<void()> task);

  // Drops the task that waits, if there is one.
  void Cancel();

 private:
  static void Fire(int, short, void* timer);

  event* event_;
  std::function<void()> task_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_EVENT_LOOP_H_
