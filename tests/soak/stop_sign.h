// StopSign: what many threads look at to know that they should end, and wait at
// meanwhile: a pause ends when it is raised. Tally: how many of something there are, for
// who waits until there are none.
//
//   while (!stopping) {
//     …
//     stopping.WaitFor(dice.Millis(0, 20));
//   }
//
// Thread rule: thread-safe. Either may be destroyed right after its wait has returned.
#ifndef FORBEAR_TESTS_SOAK_STOP_SIGN_H_
#define FORBEAR_TESTS_SOAK_STOP_SIGN_H_

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace forbear::soak {

class StopSign {
 public:
  explicit operator bool() const { return raised_; }
  void Raise() {
    const std::lock_guard<std::mutex> lock(mutex_);
    raised_ = true;
    changed_.notify_all();
  }
  // True, and at once: it is raised. False: it was not for so long.
  bool WaitFor(absl::Duration longest) const {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoMicroseconds(longest),
                             [this] { return raised_.load(); });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::atomic<bool> raised_{false};  // changes with the lock
};

class Tally {
 public:
  int count() const { return count_; }
  void Add() { ++count_; }
  void Remove() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--count_ == 0) none_.notify_all();
  }
  void WaitForNone() {
    std::unique_lock<std::mutex> lock(mutex_);
    none_.wait(lock, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  std::atomic<int> count_{0};  // becomes less with the lock
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_STOP_SIGN_H_
