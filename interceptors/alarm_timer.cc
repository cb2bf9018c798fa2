#include "interceptors/alarm_timer.h"

#include <utility>

#include "interceptors/grpc_time.h"
#include "runtime/clock.h"

namespace forbear::rpc {

void AlarmTimer::Arm(MonotonicTime time, std::function<void()> due) {
  auto wait = std::make_shared<Wait>();
  wait->due = std::move(due);
  std::shared_ptr<Wait> old;  // destroyed, and so cancelled, without the lock
  uint64_t number;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    number = ++number_;
    if (std::exchange(woken_, false)) time = MonotonicNow();
    old = std::exchange(wait_, wait);
  }
  wait->alarm.Set(ToGrpcTime(time), [self = shared_from_this(), number](bool) {
    self->Fire(number);
  });
  bool woken;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wait->set = true;
    woken = wait_ == wait && woken_;
  }
  if (woken) wait->alarm.Cancel();
}

void AlarmTimer::Disarm() {
  std::shared_ptr<Wait> old;
  const std::lock_guard<std::mutex> lock(mutex_);
  old.swap(wait_);
}

void AlarmTimer::Wake() {
  std::shared_ptr<Wait> wait;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    woken_ = true;
    if (wait_ != nullptr && wait_->set) wait = wait_;
  }
  if (wait != nullptr) wait->alarm.Cancel();
}

void AlarmTimer::Fire(uint64_t number) {
  std::shared_ptr<Wait> wait;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // One that was cancelled because its wait is over fires, too.
    if (number != number_ || wait_ == nullptr) return;
    wait.swap(wait_);
    woken_ = false;
  }
  // Whoever has armed it may still hold the wait: what `due` holds is let go here.
  const std::function<void()> due = std::move(wait->due);
  due();
}

void RunSoon(std::function<void()> function) {
  auto timer = std::make_shared<AlarmTimer>();
  timer->Arm(MonotonicNow(), std::move(function));
}

}  // namespace forbear::rpc
