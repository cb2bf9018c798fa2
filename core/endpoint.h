// Endpoint: what the callers of one server share: host, port and route group.
// The circuit breaker, the gate of a server that says when it will be back, the
// queue of those who wait for either, and the budgets of retries and hedges.
//
// A caller that may not send waits here in order of arrival. When the breaker
// opens up again one probe goes; when it has closed, callers leave spaced, not
// all at once (core/pacer.h).
//
// Slow start (core/send_window.h). Of an endpoint that has hardly ever answered,
// nobody knows whether it is there at all: a few attempts are out at a time, the
// others wait for them, for at most half a second. An outage that is there at the
// start costs a few sends instead of one per caller.
//
// Shedding. A 503, or UNAVAILABLE, may be what a server says when it has too much to
// do, or a fault like any other. After kShedRun of them in a row, with no good answer
// in between and the last of them kShedTime after the first (a connection that breaks
// under a hundred streams is no overload), they count as refusals: callers wait, and
// leave at the rate that it has shown it can take. That ends when none has come for
// kShedMemory; or for as long when they come however slowly callers leave: then they
// are faults. (A random 503 in twenty makes every lesson say less than the last.)
// What has been taken for shedding for kShedTrust has to show it once more.
//
// Concurrency. With max_concurrency, at most so many attempts are out at a time;
// who comes further waits for the end of one. Nobody holds a place while waiting,
// not even between two attempts of a call.
//
//   Endpoint endpoint(EndpointOptions{}, now);
//   Endpoint::Answer a = endpoint.Ask(ticket, waiter, now, limit, WhenOpen::kWait, &wakes);
//   if (a.verdict == Verdict::kGo) …send, with a.permit…
//   …its end:  endpoint.OnAttemptDone(permit, outcome, now, random, &wakes);
//
// Thread rule: not thread-safe; runtime puts one lock around it, and wakes
// after unlocking. Times that run backward between threads are taken as equal.
#ifndef FORBEAR_CORE_ENDPOINT_H_
#define FORBEAR_CORE_ENDPOINT_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/circuit_breaker.h"
#include "core/hedge_budget.h"
#include "core/open_lane.h"
#include "core/outcome.h"
#include "core/pacer.h"
#include "core/quota.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear {

struct EndpointOptions {
  BreakerOptions breaker;
  BudgetOptions budget;
  HedgeBudgetOptions hedge_budget;
  // Callers that may wait for one endpoint. Default 100,000. 1 … 10,000,000.
  int max_waiters = 100000;
  // Attempts that may be out at a time. Default 0: any number. 0 … 1,000,000.
  int max_concurrency = 0;
  // False: a server's wait and the breaker are still kept, but when they are over
  // all callers may leave at once, and there is no slow start. A kill switch.
  // Default true.
  bool pacing = true;
  // Which parts of it are on; what is learned of an endpoint is how much one that
  // sheds load can take, and nothing is told. Default: all.
  PacingParts pacing_parts;
  // As QuotaOptions::peers. Default 1. 1 … 1,000,000.
  int peers = 1;
};

void ValidateEndpoint(const EndpointOptions& options, absl::string_view path,
                      std::vector<std::string>* faults);

// What an attempt's end is to the circuit breaker.
CircuitBreaker::Result BreakerResultOf(const Outcome& outcome);

class Endpoint {
 public:
  struct Permit {
    CircuitBreaker::Permit breaker;
    Pacer::Permit pacer;
    // Set before OnAttemptDone: this failure is repeated for free (it was never
    // processed, and is the call's first), and the retry budget does not count
    // it: gRPC's transparent retries.
    bool free = false;
    // The breaker knows already that the server lives, from the head.
    bool head_counted = false;
  };
  struct Answer {
    Verdict verdict = Verdict::kGo;
    MonotonicTime until;
    DelaySource source = DelaySource::kNone;
    StopReason reason = StopReason::kNone;
    Permit permit;
  };

  // REQUIRES: options passed ValidateEndpoint.
  // `place`: this process's among its peers (Pacer::SetPeers).
  Endpoint(const EndpointOptions& options, MonotonicTime now, double place = 0);

  // May the caller send now? `limit` is when it gives up waiting.
  Answer Ask(const Ticket& ticket, const std::shared_ptr<Waiter>& waiter,
             MonotonicTime now, MonotonicTime limit, WhenOpen when_open,
             WakeList* wakes);

  // As Quota::SendOn; of the breaker, too.
  Answer SendOn(bool must_go, MonotonicTime now);

  // The caller no longer waits. Nothing if it did not.
  void Leave(const Ticket& ticket, WakeList* wakes);

  // A server that says when it will be back shuts the gate when the head of
  // its answer arrives, before the body. A probe has found out then that the
  // server lives: the rest may take days, if it is a stream. Once per permit at most.
  void OnAnswerHead(Permit* permit, const Outcome& outcome, MonotonicTime now,
                    WakeList* wakes);

  // The end of an attempt: once per permit. `head_seen`: OnAnswerHead was
  // called for it. `random` in [0, 1).
  void OnAttemptDone(const Permit& permit, const Outcome& outcome,
                     bool head_seen, MonotonicTime now, double random,
                     WakeList* wakes);

  // Instead: a kGo of Ask that was not used.
  void Return(const Permit& permit, MonotonicTime now, WakeList* wakes);

  // Nothing is sent to this endpoint before this time, as far as is known.
  MonotonicTime NotBefore(MonotonicTime now) const;

  // Whether the last attempt failed, and the server's last answer before that was
  // good.
  bool HasFailedOnce() const {
    return breaker_.has_answered() && breaker_.run() == 1;
  }

  // For operators: opens the gate.
  void ClearGate(WakeList* wakes);

  // For operators: holds the breaker open or closed, or lets it decide again.
  // While it is held open, who waits is refused with kCircuitOpen and without a
  // time (`until` is infinite).
  void ForceBreaker(CircuitBreaker::Forced forced, MonotonicTime now,
                    WakeList* wakes);

  // New options for the same state: who waits goes on waiting, what is out stays
  // out, gate and pace stay, the breaker keeps its state and the budget how full
  // it is (their Reconfigure). A shorter queue and fewer places throw nobody out.
  // REQUIRES: options passed ValidateEndpoint.
  void Reconfigure(const EndpointOptions& options, MonotonicTime now,
                   WakeList* wakes);

  RetryBudget& budget() { return budget_; }
  HedgeBudget& hedge_budget() { return hedge_budget_; }
  const CircuitBreaker& breaker() const { return breaker_; }
  const WaitQueue& queue() const { return queue_; }
  const Pacer& pacer() const { return pacer_; }
  // Whether it may be forgotten (runtime/registry.h): nobody waits, nothing is
  // out, no server's wait is running, no operator holds the breaker, and it is
  // closed, or could have been probed for a minute and nobody cared.
  bool IsIdle(MonotonicTime now) const {
    return queue_.empty() && out_ == 0 && !pacer_.IsGated(now) &&
           breaker_.forced() == CircuitBreaker::Forced::kAuto &&
           (breaker_.state() == CircuitBreaker::State::kClosed ||
            breaker_.open_until() + absl::Minutes(1) <= now);
  }

  // core/open_lane.h: whether there is nothing to decide, on these terms; and what
  // passed meanwhile.
  bool IsCalm() const {
    return queue_.empty() && max_out_ == kAny && shed_run_ == 0 &&
           breaker_.IsCalm() && budget_.IsFull() && pacer_.IsCalm(now_);
  }
  LaneTerms Terms() const {
    return {pacer_.last(), breaker_.generation(),
            breaker_.window().newest_end()};
  }
  void CountCalm(const LanePassed& passed) {
    pacer_.CountCalm(passed.last, passed.done);
    breaker_.ReportCalm(passed.done);
    out_ += passed.sent - passed.done;
  }

  // For people.
  struct Snapshot {
    int64_t waiting = 0;  // callers in the queue
    int64_t out = 0;      // attempts that are out
    CircuitBreaker::State breaker = CircuitBreaker::State::kClosed;
    CircuitBreaker::Forced forced = CircuitBreaker::Forced::kAuto;
    // While it is open: until then. Absent: it is not, or has no end.
    std::optional<MonotonicTime> open_until;
    // In the breaker's window, as of the last attempt that ended.
    int64_t calls = 0;
    int64_t failures = 0;
    int64_t slow = 0;
    int64_t run = 0;                    // failures in a row, up to now
    std::optional<MonotonicTime> gate;  // nothing goes before it
    std::optional<double> pace;         // sends per second; absent: unspaced
    double budget = 0;                  // how full the retry budget is: 0 … 1
  };
  Snapshot SnapshotAt(MonotonicTime now) const;

  // When pacer and breaker let the first of the queue leave. REQUIRES: it is.
  MonotonicTime TurnOf(const Ticket& head, MonotonicTime now) const {
    // Since it came: what it waited elsewhere counts, too.
    return Later(breaker_.AdmitTime(now, Patience()),
                 pacer_.Earliest(now, head.arrived, out_));
  }

  static constexpr int kShedRun = 3;
  static constexpr absl::Duration kShedTime = absl::Milliseconds(100);
  static constexpr absl::Duration kShedMemory = absl::Seconds(60);
  // Then it has to be shown again.
  static constexpr absl::Duration kShedTrust = absl::Seconds(30);
  // So many surprises in a row (LearnedLimit::surprises), or a lesson that says less
  // than this part of the best one.
  static constexpr int kShedSurprises = 4;
  static constexpr double kFaultsPart = 0.35;

 private:
  static constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

  MonotonicTime Forward(MonotonicTime now) { return now_ = Later(now_, now); }
  Pacer::Others Others() const {
    return {out_, static_cast<int64_t>(queue_.size())};
  }
  static int64_t MostOut(const EndpointOptions& options) {
    return options.max_concurrency > 0 ? options.max_concurrency : kAny;
  }
  // The gate and the pace, as far as this answer moves them. True if callers
  // may leave earlier than before.
  bool Pace(const Permit& permit, const Outcome& outcome, MonotonicTime now,
            WakeList* wakes);
  void TellBreaker(const Permit& permit, CircuitBreaker::Result result,
                   MonotonicTime now, double random, WakeList* wakes);
  // Of those who wait.
  CircuitBreaker::Patience Patience() const {
    return pacing_ ? CircuitBreaker::Patience::kWaits
                   : CircuitBreaker::Patience::kNone;
  }
  // As pacer().gate_until(), for the breaker.
  MonotonicTime OpenUntil() const { return breaker_.open_until(Patience()); }
  // Whether this failure is the server's way to ask for less.
  bool IsShedding(const Outcome& outcome, MonotonicTime now);
  bool AreFaults();

  const double place_;
  CircuitBreaker breaker_;
  Pacer pacer_;
  RetryBudget budget_;
  HedgeBudget hedge_budget_;
  WaitQueue queue_;
  MonotonicTime now_ = MonotonicTime::InfinitePast();
  int64_t max_out_;  // of permits
  bool pacing_;
  bool learns_;
  int64_t out_ = 0;  // permits that are out
  // Answers in a row that may be shedding, and whether they are taken for it.
  int shed_run_ = 0;
  bool sheds_ = false;
  MonotonicTime shed_since_;   // the first of the run
  MonotonicTime sheds_since_;  // since they are taken for it
  double shed_rate_ = 0;       // the best that was learned since
  // Until then they are faults.
  MonotonicTime faults_until_ = MonotonicTime::InfinitePast();
  MonotonicTime last_shed_ = MonotonicTime::InfinitePast();
};

}  // namespace forbear

#endif  // FORBEAR_CORE_ENDPOINT_H_
