// Quota: what the callers of one limit share: one host, one credential, one
// model or route. Gate, pace, our own limits and the queue; a throttled answer
// to one of them stops all of them.
//
// The order of leaving: only the head of the queue asks for a time, everyone
// else waits to become the head. Whoever leaves the queue wakes the next.
//
//   Quota quota(QuotaOptions{});
//   Quota::Answer a = quota.Ask(ticket, waiter, cost, now, limit, &wakes);
//   if (a.verdict == Verdict::kGo) …send, with a.permit…
//   if (a.verdict == Verdict::kWait) …queued; ask again at a.until, or when woken…
//   …the answer's head:   quota.OnAnswer(permit, outcome, now, &wakes);
//   …its end, if it says: quota.Settle(permit, usage, now, &wakes);
//
// Limits (core/rate_limiter.h). Each attempt takes its cost when it leaves, and
// nobody takes anything while waiting. A caller that comes last knows what those
// before it will take: if that and its own cost cannot leave before its limit,
// it is refused at once, with the time at which it could have. (Should some of
// those before it give up, that was too strict; what they take is not known to
// be less.) A cost that a limit can never hold is refused with kCostTooLarge.
// What was taken stays taken, whatever the answer, unless nothing was sent; a
// throttled answer empties no limit of ours: the gate stops callers.
//
// Thread rule: not thread-safe; runtime puts one lock around it, and wakes
// after unlocking. Times that run backward between threads are taken as equal.
#ifndef FORBEAR_CORE_QUOTA_H_
#define FORBEAR_CORE_QUOTA_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "core/cost.h"
#include "core/open_lane.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/rate_limiter.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"

namespace forbear {

struct QuotaOptions {
  // Callers that may wait for one key. Further ones end with kQueueFull.
  // Default 100,000 (about 150 bytes each, and as much again with limits).
  // 1 … 10,000,000.
  int max_waiters = 100000;
  // What may leave, at most 8 limits. Default none.
  std::vector<RateLimitOptions> limits;
  // False: as if there were no limits. A kill switch. Default true.
  bool limits_enabled = true;
  // False: a server's wait is still kept, but when it is over all callers may leave
  // at once (Pacer::SetPacing). A kill switch. Default true.
  bool pacing = true;
  // Which parts of it are on. Default: all.
  PacingParts pacing_parts;
  // How many processes share the limit, this one included, as far as the application
  // knows (Pacer::SetPeers). Default 1. 1 … 1,000,000.
  int peers = 1;
};

void ValidateQuota(const QuotaOptions& options, absl::string_view path,
                   std::vector<std::string>* faults);

class Quota {
 public:
  // Leave to make one attempt: to exactly one of Return and OnAnswer.
  struct Permit {
    Pacer::Permit pacer;
    RateLimiter::Permit limiter;
  };
  struct Answer {
    Verdict verdict = Verdict::kGo;
    MonotonicTime until;                      // kWait, kRefuse: not before this
    DelaySource source = DelaySource::kNone;  // kWait, kRefuse: because of this
    StopReason reason = StopReason::kNone;    // kRefuse
    Permit permit;                            // kGo
  };

  // REQUIRES: options passed ValidateQuota.
  // `place`: this process's among its peers (Pacer::SetPeers).
  explicit Quota(const QuotaOptions& options, double place = 0);

  // May the caller send now? `limit` is when it gives up waiting; `cost` is the
  // same each time it asks. kRefuse with an infinite `until`: never.
  Answer Ask(const Ticket& ticket, const std::shared_ptr<Waiter>& waiter,
             const Cost& cost, MonotonicTime now, MonotonicTime limit,
             WakeList* wakes);
  // At the cost of one request.
  Answer Ask(const Ticket& ticket, const std::shared_ptr<Waiter>& waiter,
             MonotonicTime now, MonotonicTime limit, WakeList* wakes) {
    return Ask(ticket, waiter, Cost(), now, limit, wakes);
  }

  // May a request that is on its way be sent on here by a redirect? It has not waited,
  // and does not: kRefuse if there is word against it (the gate, the pace, a limit of
  // ours), or others wait. Slow start does not hold it. `must_go`: it goes whatever
  // they say, and teaches no more than what left before a gate was shut.
  Answer SendOn(bool must_go, MonotonicTime now);

  // The caller no longer waits. Nothing if it did not.
  void Leave(const Ticket& ticket, WakeList* wakes);

  // A kGo that was not used.
  void Return(const Permit& permit, WakeList* wakes);

  // What became of a send: once per permit, when the answer's head is there.
  void OnAnswer(const Permit& permit, const Outcome& outcome, MonotonicTime now,
                WakeList* wakes);

  // Where the limit stands, if that answer tells it: after OnAnswer.
  void OnTold(const Permit& permit, const LimitStand& stand, MonotonicTime now,
              WakeList* wakes);

  // What the attempt really took, if the answer says so: after OnAnswer, at
  // most once per permit.
  void Settle(const Permit& permit, const Usage& usage, MonotonicTime now,
              WakeList* wakes);

  // After OnAnswer: the rest of the answer is a refusal, or asks for a longer
  // wait. Shuts the gate, or keeps it shut.
  void OnRefusedLater(const Permit& permit, const Outcome& outcome,
                      MonotonicTime now, WakeList* wakes);

  // Nothing that costs so much is sent before this time, as far as gate and
  // limits know; `source`, if there is one to wait for, says which of them.
  MonotonicTime NotBefore(const Cost& cost, MonotonicTime now,
                          DelaySource* source) const;

  // For operators: opens the gate and forgets the pace.
  void ClearGate(WakeList* wakes);

  // New options for the same state: who waits goes on waiting, gate and pace
  // stay, limits keep how full they are (RateLimiter::Reconfigure). A shorter
  // queue throws nobody out.
  // REQUIRES: options passed ValidateQuota.
  void Reconfigure(const QuotaOptions& options, MonotonicTime now,
                   WakeList* wakes);

  // When the pacer lets the first of the queue leave. REQUIRES: it is.
  MonotonicTime TurnOf(const Ticket& head, MonotonicTime now) const;

  const Pacer& pacer() const { return pacer_; }
  const WaitQueue& queue() const { return queue_; }
  // Null while there are no limits.
  const RateLimiter* limiter() const {
    return limits_ == nullptr ? nullptr : &limits_->limiter;
  }
  // Whether it may be forgotten (runtime/registry.h): nobody waits, nothing is
  // out, no server's wait is running, and its limits are full. A learned pace is
  // learned again.
  bool IsIdle(MonotonicTime now) const;

  // core/open_lane.h: whether there is nothing to decide, on these terms; and what
  // passed meanwhile.
  bool IsCalm() const {
    return limits_ == nullptr && queue_.empty() && pacer_.IsCalm(now_);
  }
  LaneTerms Terms() const { return {pacer_.last()}; }
  void CountCalm(const LanePassed& passed) {
    pacer_.CountCalm(passed.last, passed.done);
    out_ += passed.sent - passed.done;
  }

  // For people.
  struct Snapshot {
    int64_t waiting = 0;                // callers in the queue
    int64_t out = 0;                    // attempts that are out, to their head
    std::optional<MonotonicTime> gate;  // nothing goes before it
    std::optional<double> pace;         // sends per second; absent: unspaced
    struct Limit {
      std::string name;
      LimitUnit unit = LimitUnit::kRequests;
      RateLimiter::Level level;
    };
    std::vector<Limit> limits;
  };
  Snapshot SnapshotAt(MonotonicTime now) const;

 private:
  MonotonicTime Forward(MonotonicTime now) { return now_ = Later(now_, now); }
  Pacer::Others Others() const {
    return {out_, static_cast<int64_t>(queue_.size())};
  }

  // The limits, and what those in the queue will take.
  struct Limits {
    explicit Limits(const std::vector<RateLimitOptions>& options)
        : limiter(options) {}
    RateLimiter limiter;
    absl::btree_map<Ticket, Cost> queued;
    Cost sum{0, 0, 0, 0};  // of `queued`
    // The latest that was ever queued.
    Ticket last{MonotonicTime::InfinitePast(), 0};
  };

  void OnRefused(const Permit& permit, const Outcome& outcome,
                 MonotonicTime now, WakeList* wakes);
  // When the limits let this caller go, as far as is known; `first` in the queue
  // or not.
  MonotonicTime LimitedUntil(const Ticket& ticket, const Cost& cost, bool first,
                             MonotonicTime now) const;

  std::unique_ptr<Limits> limits_;  // null: none, and none before
  const double place_;
  Pacer pacer_;
  WaitQueue queue_;
  MonotonicTime now_ = MonotonicTime::InfinitePast();
  int64_t out_ = 0;  // permits that are out
};

}  // namespace forbear

#endif  // FORBEAR_CORE_QUOTA_H_
