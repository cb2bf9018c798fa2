#include "runtime/blocking_driver.h"

#include "core/action.h"
#include "runtime/clock.h"
#include "runtime/nesting.h"

namespace forbear {

Parker::Why Parker::ParkUntil(MonotonicTime time) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto changed = [this] { return woken_ || cancelled_; };
  if (time.is_infinite()) {
    changed_.wait(lock, changed);
  } else if (!changed_.wait_until(lock, ToSteady(time), changed)) {
    return Why::kTimer;
  }
  if (cancelled_) return Why::kCancelled;
  woken_ = false;
  return Why::kWoken;
}

void Parker::Wake() {
  std::lock_guard<std::mutex> lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

void Parker::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  cancelled_ = true;
  changed_.notify_all();
}

void RunBlocking(Call* call, Parker* parker, BlockingTransport* transport) {
  if (parker->cancelled()) {
    call->OnCancel();
  } else {
    call->Begin();
  }
  call->TakeAftermath().Deliver();
  Action action;
  while (call->NextAction(&action)) {
    switch (action.type) {
      case Action::Type::kStartAttempt:
        call->TakeAftermath().Deliver();  // the log says so before it happens
        {
          const InsideAttempt inside(call);
          transport->Attempt(call, action.attempt, action.time);
        }
        break;
      case Action::Type::kWaitUntil:
        call->TakeAftermath().Deliver();
        switch (parker->ParkUntil(action.time)) {
          case Parker::Why::kTimer:
            call->OnTimer();
            break;
          case Parker::Why::kWoken:
            call->OnWake();
            break;
          case Parker::Why::kCancelled:
            call->OnCancel();
            break;
        }
        break;
      case Action::Type::kCancelAttempt:
        break;  // Attempt has returned: there is nothing left to stop
      case Action::Type::kFinish:
        call->TakeAftermath().Deliver();
        return;
    }
    call->TakeAftermath().Deliver();
  }
}

}  // namespace forbear
