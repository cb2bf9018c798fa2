// SharedState: what a call asks of the two states it shares with others, and
// what they answer. The execution knows this interface only; who locks what is
// the business of the one who owns the states.
//
// BasicSharedState is the one implementation, over any mutex: runtime uses it
// with a real one, simulators and tests with NoMutex. It fixes the order that
// keeps the two states honest and deadlock-free:
//   - quota first, then endpoint; one lock at a time, never nested;
//   - what the quota gave is returned if the endpoint refuses.
//
//   Guarded<Quota, NoMutex> quota(QuotaOptions{});
//   Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, now);
//   BasicSharedState<NoMutex> shared(&quota, &endpoint);
//   Execution call(policy, facts, &shared, …);
//
// Thread rule: as thread-safe as its mutex.
#ifndef FORBEAR_CORE_SHARED_STATE_H_
#define FORBEAR_CORE_SHARED_STATE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "core/cost.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"

namespace forbear {

// Leave to make one attempt, of both states. Comes from Dispatch, ends with
// OnAttemptDone, exactly once.
struct AttemptPermit {
  Quota::Permit quota;
  Endpoint::Permit endpoint;
  bool head_seen = false;  // OnAnswerHead was called, with these:
  ErrorKind head_kind = ErrorKind::kOk;
  std::optional<absl::Duration> head_pushback;

  // The attempt has ended as a refusal that the head did not tell of, or with a
  // longer wait: who classifies answers has read it in the body.
  bool RefusedLater(const Outcome& outcome) const {
    return head_seen && (outcome.kind != head_kind ||
                         outcome.pushback.value_or(absl::ZeroDuration()) >
                             head_pushback.value_or(absl::ZeroDuration()));
  }
};

// Where a call waits, and what for. Kept by the call; `where` is changed by
// SharedState only.
struct WaitPlace {
  using Where = Holder;
  Ticket ticket;
  Where where = Where::kNowhere;
  Cost cost;  // what it will take
};

struct DispatchAnswer {
  Verdict verdict = Verdict::kGo;
  MonotonicTime until;                      // kWait, kRefuse
  DelaySource source = DelaySource::kNone;  // kWait, kRefuse
  StopReason reason = StopReason::kNone;    // kRefuse
  // kWait, kRefuse: the state that said so.
  WaitPlace::Where holder = WaitPlace::Where::kNowhere;
  AttemptPermit permit;  // kGo
};

class SharedState {
 public:
  virtual ~SharedState() = default;

  // May an attempt start now? kWait leaves the call queued at `place`.
  virtual DispatchAnswer Dispatch(WaitPlace* place,
                                  const std::shared_ptr<Waiter>& waiter,
                                  MonotonicTime now, MonotonicTime limit,
                                  WhenOpen when_open, WakeList* wakes) = 0;

  // For calls that may hedge (core/hedge.h). Once for each, at its first send:
  virtual void CountForHedges(MonotonicTime now) = 0;
  // May a hedge start now? kGo or kRefuse: a hedge never waits. What kGo took
  // from the budget of hedges goes back through ReturnHedge if it was not sent.
  // `of` is the place of the call, who does not wait.
  virtual DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                                       WakeList* wakes) = 0;
  virtual void ReturnHedge() = 0;

  // The call no longer waits.
  virtual void Leave(WaitPlace* place, WakeList* wakes) = 0;

  // The head of an answer is there: shuts gates. At most once per permit.
  virtual void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                            MonotonicTime now, WakeList* wakes) = 0;

  // An attempt has ended: its permit goes back. Returns the time before which
  // nothing will be sent as far as the states know, and why.
  struct NotBefore {
    MonotonicTime time;
    DelaySource source = DelaySource::kNone;
  };
  virtual NotBefore OnAttemptDone(AttemptPermit* permit, const Outcome& outcome,
                                  MonotonicTime now, double random,
                                  WakeList* wakes) = 0;

  // The retry budget. Withdraw is false, and takes nothing, if too little is
  // left.
  virtual bool Withdraw(int cost) = 0;
  virtual void Deposit(int tokens) = 0;
  virtual RetryCosts retry_costs() const = 0;
};

struct NoMutex {
  void lock() {}
  void unlock() {}
};

// A state and its lock.
template <typename T, typename Mutex>
struct Guarded {
  template <typename... Args>
  explicit Guarded(Args&&... args) : value(std::forward<Args>(args)...) {}
  Mutex mutex;
  T value;
};

// The states must outlive it.
template <typename Mutex>
class BasicSharedState final : public SharedState {
 public:
  BasicSharedState(Guarded<Quota, Mutex>* quota,
                   Guarded<Endpoint, Mutex>* endpoint)
      : quota_(quota), endpoint_(endpoint) {}

  DispatchAnswer Dispatch(WaitPlace* place,
                          const std::shared_ptr<Waiter>& waiter,
                          MonotonicTime now, MonotonicTime limit,
                          WhenOpen when_open, WakeList* wakes) override {
    DispatchAnswer answer;
    {
      Lock lock(&quota_->mutex);
      Quota::Answer a = quota_->value.Ask(place->ticket, waiter, place->cost,
                                          now, limit, wakes);
      Copy(a, &answer);
      answer.permit.quota = a.permit;
    }
    if (answer.verdict != Verdict::kGo) {
      answer.holder = WaitPlace::Where::kQuota;
      LeaveEndpoint(place, wakes);
      place->where = answer.verdict == Verdict::kWait
                         ? WaitPlace::Where::kQuota
                         : WaitPlace::Where::kNowhere;
      return answer;
    }
    {
      Lock lock(&endpoint_->mutex);
      Endpoint::Answer a = endpoint_->value.Ask(place->ticket, waiter, now,
                                                limit, when_open, wakes);
      Copy(a, &answer);
      answer.permit.endpoint = a.permit;
    }
    place->where = answer.verdict == Verdict::kWait
                       ? WaitPlace::Where::kEndpoint
                       : WaitPlace::Where::kNowhere;
    if (answer.verdict != Verdict::kGo) {
      answer.holder = WaitPlace::Where::kEndpoint;
      Lock lock(&quota_->mutex);
      quota_->value.Return(answer.permit.quota, wakes);
    }
    return answer;
  }

  void CountForHedges(MonotonicTime now) override {
    Lock lock(&endpoint_->mutex);
    endpoint_->value.hedge_budget().OnCall(now);
  }

  DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                               WakeList* wakes) override {
    bool paid = false;
    {
      Lock lock(&endpoint_->mutex);
      paid = endpoint_->value.hedge_budget().Withdraw(now);
    }
    if (!paid) {
      DispatchAnswer answer;
      answer.verdict = Verdict::kRefuse;
      answer.until = now;
      answer.reason = StopReason::kBudgetExhausted;
      answer.holder = WaitPlace::Where::kEndpoint;
      return answer;
    }
    // Behind everybody who waits already, and with a limit that has passed: it
    // goes at once or is refused, and is never queued.
    WaitPlace place = of;
    place.ticket.arrived = now;
    DispatchAnswer answer =
        Dispatch(&place, nullptr, now, MonotonicTime::InfinitePast(),
                 WhenOpen::kFail, wakes);
    if (answer.verdict != Verdict::kGo) ReturnHedge();
    return answer;
  }

  void ReturnHedge() override {
    Lock lock(&endpoint_->mutex);
    endpoint_->value.hedge_budget().Return();
  }

  void Leave(WaitPlace* place, WakeList* wakes) override {
    if (place->where == WaitPlace::Where::kQuota) {
      Lock lock(&quota_->mutex);
      quota_->value.Leave(place->ticket, wakes);
    }
    LeaveEndpoint(place, wakes);
    place->where = WaitPlace::Where::kNowhere;
  }

  void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                    MonotonicTime now, WakeList* wakes) override {
    permit->head_seen = true;
    permit->head_kind = outcome.kind;
    permit->head_pushback = outcome.pushback;
    {
      Lock lock(&quota_->mutex);
      quota_->value.OnAnswer(permit->quota, outcome, now, wakes);
    }
    Lock lock(&endpoint_->mutex);
    endpoint_->value.OnAnswerHead(permit->endpoint, outcome, now, wakes);
  }

  NotBefore OnAttemptDone(AttemptPermit* permit, const Outcome& outcome,
                          MonotonicTime now, double random,
                          WakeList* wakes) override {
    NotBefore result;
    result.time = now;
    {
      Lock lock(&quota_->mutex);
      if (!permit->head_seen) {
        quota_->value.OnAnswer(permit->quota, outcome, now, wakes);
      } else if ((outcome.kind == ErrorKind::kThrottled ||
                  outcome.kind == ErrorKind::kQuotaExhausted) &&
                 permit->RefusedLater(outcome)) {
        quota_->value.OnRefusedLater(permit->quota, outcome, now, wakes);
      }
      if (outcome.usage.known()) {
        quota_->value.Settle(permit->quota, outcome.usage, now, wakes);
      }
      DelaySource source = DelaySource::kNone;
      const MonotonicTime t =
          quota_->value.NotBefore(permit->quota.limiter.cost, now, &source);
      Keep(t, source, &result);
    }
    Lock lock(&endpoint_->mutex);
    Endpoint& endpoint = endpoint_->value;
    const bool known =
        permit->head_seen &&
        !(outcome.kind == ErrorKind::kTransient &&
          outcome.pushback.has_value() && permit->RefusedLater(outcome));
    endpoint.OnAttemptDone(permit->endpoint, outcome, /*head_seen=*/known, now,
                           random, wakes);
    Keep(endpoint.pacer().gate_until(), DelaySource::kGate, &result);
    Keep(endpoint.NotBefore(now), DelaySource::kBreaker, &result);
    return result;
  }

  bool Withdraw(int cost) override {
    Lock lock(&endpoint_->mutex);
    return endpoint_->value.budget().Withdraw(cost);
  }
  void Deposit(int tokens) override {
    Lock lock(&endpoint_->mutex);
    endpoint_->value.budget().Deposit(tokens);
  }
  RetryCosts retry_costs() const override {
    Lock lock(&endpoint_->mutex);
    return endpoint_->value.budget().costs();
  }

 private:
  class Lock {
   public:
    explicit Lock(Mutex* mutex) : mutex_(mutex) { mutex_->lock(); }
    ~Lock() { mutex_->unlock(); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    Mutex* const mutex_;
  };

  template <typename Answer>
  static void Copy(const Answer& from, DispatchAnswer* to) {
    to->verdict = from.verdict;
    to->until = from.until;
    to->source = from.source;
    to->reason = from.reason;
  }

  static void Keep(MonotonicTime time, DelaySource source, NotBefore* result) {
    if (time > result->time) *result = {time, source};
  }

  void LeaveEndpoint(WaitPlace* place, WakeList* wakes) {
    if (place->where != WaitPlace::Where::kEndpoint) return;
    Lock lock(&endpoint_->mutex);
    endpoint_->value.Leave(place->ticket, wakes);
  }

  Guarded<Quota, Mutex>* const quota_;
  Guarded<Endpoint, Mutex>* const endpoint_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_SHARED_STATE_H_
