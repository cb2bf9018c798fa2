// The blocking driver: one call, on the thread of its caller, who sleeps while
// there is nothing to do. The loop has one arm per action; what an attempt is,
// the transport knows.
//
//   auto parker = std::make_shared<Parker>();
//   Call call(client, request, parker);
//   RunBlocking(&call, parker.get(), &transport);
//   …from another thread:  parker->Cancel();
//
// Thread rule: RunBlocking and the transport stay on one thread; Parker is
// thread-safe.
#ifndef FORBEAR_RUNTIME_BLOCKING_DRIVER_H_
#define FORBEAR_RUNTIME_BLOCKING_DRIVER_H_

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "core/time.h"
#include "core/wait_queue.h"
#include "runtime/call.h"

namespace forbear {

// Where a caller sleeps between attempts.
class Parker final : public Waiter {
 public:
  enum class Why { kTimer, kWoken, kCancelled };

  // Sleeps until `time`, a wake or a cancel, whichever is first. A wake that
  // came since the last call counts at once. A cancel counts for good.
  Why ParkUntil(MonotonicTime time);

  void Wake() override;
  void Cancel();
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  // For another call. REQUIRES: nobody else has it any more.
  void Reset() {
    woken_ = false;
    cancelled_.store(false, std::memory_order_relaxed);
  }

 private:
  // Not absl::Mutex: its timed wait (20220623) goes by the wall clock.
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  std::atomic<bool> cancelled_{false};  // changed with mutex_ held
};

// How attempts are made.
class BlockingTransport {
 public:
  virtual ~BlockingTransport() = default;

  // Makes attempt n, and ends it by `deadline` (may be infinite) or when the
  // parker is cancelled. Must call call->OnAttemptDone(n, …), or, if the caller
  // cancelled, call->OnCancel(), before it returns; may call OnAnswerHead before.
  virtual void Attempt(Call* call, int n, MonotonicTime deadline) = 0;
};

// Begins the call and drives it to its end. What became of it is in
// call->record().
void RunBlocking(Call* call, Parker* parker, BlockingTransport* transport);

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_BLOCKING_DRIVER_H_
