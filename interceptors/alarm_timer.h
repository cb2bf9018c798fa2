// AlarmTimer: how a call waits without a thread. A grpc::Alarm that can be
// armed again, and woken before its time. Private.
//
//   auto timer = std::make_shared<AlarmTimer>();
//   timer->Arm(until, [call] { call->OnDue(); });   // on one of gRPC's threads
//   timer->Wake();                                  // now, please
//
// A wake that comes while nothing is armed counts for the next Arm. `due` is
// called once for each Arm, unless another Arm or Disarm comes before it. Once it is
// called, what it holds is let go on the timer's thread, right after.
//
// Each wait has a grpc::Alarm of its own, which is destroyed at its end: one
// that is set again while its callback runs would overwrite that callback.
//
// Thread rule: thread-safe. Its lock is the innermost one, and nothing is
// called while it is held: Wake may be called with any lock held.
#ifndef FORBEAR_INTERCEPTORS_ALARM_TIMER_H_
#define FORBEAR_INTERCEPTORS_ALARM_TIMER_H_

#include <grpcpp/alarm.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear::rpc {

class AlarmTimer final : public Waiter,
                         public std::enable_shared_from_this<AlarmTimer> {
 public:
  // Not at the same time as another Arm.
  void Arm(MonotonicTime time, std::function<void()> due);
  void Disarm();
  void Wake() override;

 private:
  struct Wait {
    std::function<void()> due;
    grpc::Alarm alarm;
    bool set = false;  // the alarm can be cancelled
  };

  void Fire(uint64_t number);

  std::mutex mutex_;            // guards all below
  std::shared_ptr<Wait> wait_;  // null: not armed
  uint64_t number_ = 0;         // of the last Arm
  bool woken_ = false;
};

// Calls `function` soon, on one of gRPC's timer threads, with no lock held.
void RunSoon(std::function<void()> function);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_ALARM_TIMER_H_
