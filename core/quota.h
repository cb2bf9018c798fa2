// Quota: what the callers of one limit share: one host, one credential, one
// model or route. Gate, pace and queue; a throttled answer to one of them stops
// all of them.
//
// The order of leaving: only the head of the queue asks for a time, everyone
// else waits to become the head. Whoever leaves the queue wakes the next.
//
//   Quota quota(QuotaOptions{});
//   Quota::Answer a = quota.Ask(ticket, waiter, now, limit, &wakes);
//   if (a.verdict == Verdict::kGo) …send, with a.permit…
//   if (a.verdict == Verdict::kWait) …queued; ask again at a.until, or when woken…
//   …the answer's head:   quota.OnAnswer(permit, outcome, now, &wakes);
//
// Thread rule: not thread-safe; runtime puts one lock around it, and wakes
// after unlocking. Times that run backward between threads are taken as equal.
#ifndef FORBEAR_CORE_QUOTA_H_
#define FORBEAR_CORE_QUOTA_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"

namespace forbear {

struct QuotaOptions {
  // Callers that may wait for one key. Further ones end with kQueueFull.
  // Default 100,000 (about 150 bytes each). 1 … 10,000,000.
  int max_waiters = 100000;
};

void ValidateQuota(const QuotaOptions& options, absl::string_view path,
                   std::vector<std::string>* faults);

class Quota {
 public:
  struct Answer {
    Verdict verdict = Verdict::kGo;
    MonotonicTime until;                      // kWait, kRefuse: not before this
    DelaySource source = DelaySource::kNone;  // kWait, kRefuse: because of this
    StopReason reason = StopReason::kNone;    // kRefuse
    Pacer::Permit permit;                     // kGo
  };

  // REQUIRES: options passed ValidateQuota.
  explicit Quota(const QuotaOptions& options)
      : queue_(static_cast<size_t>(options.max_waiters)) {}

  // May the caller send now? `limit` is when it gives up waiting.
  Answer Ask(const Ticket& ticket, const std::shared_ptr<Waiter>& waiter,
             MonotonicTime now, MonotonicTime limit, WakeList* wakes);

  // The caller no longer waits. Nothing if it did not.
  void Leave(const Ticket& ticket, WakeList* wakes);

  // A kGo that was not used.
  void Return(const Pacer::Permit& permit, WakeList* wakes);

  // What became of a send: once per permit, when the answer's head is there.
  void OnAnswer(const Pacer::Permit& permit, const Outcome& outcome,
                MonotonicTime now, WakeList* wakes);

  // After OnAnswer: the rest of the answer is a refusal, or asks for a longer
  // wait. Shuts the gate, or keeps it shut.
  void OnRefusedLater(const Pacer::Permit& permit, const Outcome& outcome,
                      MonotonicTime now, WakeList* wakes);

  // For operators: opens the gate and forgets the pace.
  void ClearGate(WakeList* wakes);

  const Pacer& pacer() const { return pacer_; }
  const WaitQueue& queue() const { return queue_; }
  // Whether it may be forgotten (runtime/registry.h): nobody waits, nothing is
  // out, and no server's wait is running. A learned pace is learned again.
  bool IsIdle(MonotonicTime now) const {
    return queue_.empty() && out_ == 0 && !pacer_.IsGated(now);
  }

 private:
  MonotonicTime Forward(MonotonicTime now) { return now_ = Later(now_, now); }

  // True if callers may leave earlier than before.
  bool OnRefused(const Pacer::Permit& permit, const Outcome& outcome,
                 MonotonicTime now, WakeList* wakes);

  Pacer pacer_;
  WaitQueue queue_;
  MonotonicTime now_ = MonotonicTime::InfinitePast();
  int64_t out_ = 0;  // permits that are out
};

}  // namespace forbear

#endif  // FORBEAR_CORE_QUOTA_H_
