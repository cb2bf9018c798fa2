// SharedState: what a call asks of the two states it shares with others, and
// what they answer. The execution knows this interface only; who locks what is
// the business of the one who owns the states.
//
// BasicSharedState is the one implementation, over any mutex: runtime uses it
// with a real one, simulators and tests with NoMutex. It fixes the order that
// keeps the two states honest and deadlock-free:
//   - quota first, then endpoint; one lock at a time, never nested;
//   - what the quota gave is returned if the endpoint refuses.
// While neither has anything to decide, calls go by without any lock
// (core/open_lane.h).
//
//   Guarded<Quota, NoMutex> quota(QuotaOptions{});
//   Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, now);
//   BasicSharedState<NoMutex> shared(&quota, &endpoint);
//   Execution call(policy, facts, &shared, …);
//   quota->SnapshotAt(now);        // with the lock, to the end of the statement
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
#include "core/open_lane.h"
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
  bool endpoint_head_seen = false;  // false: the endpoint has yet to count it
  absl::Duration head_pushback;     // of the head, too; zero: none

  // The attempt has ended as a refusal that the head did not tell of, or with a
  // longer wait: who classifies answers has read it in the body.
  bool RefusedLater(const Outcome& outcome) const {
    return head_seen &&
           (outcome.kind != head_kind ||
            outcome.pushback.value_or(absl::ZeroDuration()) > head_pushback);
  }
};

// Leave to make one attempt that was got from both lanes (core/open_lane.h): all
// that is to be known of it.
struct LanePermit {
  uint64_t of_quota = 0;  // its numbers
  uint64_t of_endpoint = 0;
  uint64_t generation = 0;
  MonotonicTime sent;
};

// The same permit.
inline AttemptPermit PermitOf(const LanePermit& lane) {
  AttemptPermit permit;
  permit.quota.pacer.number = lane.of_quota;
  permit.quota.pacer.sent = lane.sent;
  permit.endpoint.pacer.number = lane.of_endpoint;
  permit.endpoint.pacer.sent = lane.sent;
  permit.endpoint.breaker.generation = lane.generation;
  return permit;
}

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

  // The way of nearly all calls, which costs next to nothing
  // (core/light_execution.h). Each is false if it cannot be gone, and then nothing
  // has happened.
  //
  // True: as if Dispatch had been asked for a call's first attempt, and said kGo.
  virtual bool TryDispatch(MonotonicTime /*now*/, LanePermit* /*permit*/,
                           WakeList* /*wakes*/) {
    return false;
  }
  // The head of a good answer. True: as OnAnswerHead; the permit has a head now.
  virtual bool TryGoodHead(const LanePermit& /*permit*/,
                           MonotonicTime /*now*/) {
    return false;
  }
  // The end of a good answer whose head came or not. True: as OnAttemptDone, and
  // what a call that succeeds at once deposits is deposited.
  virtual bool TryGoodEnd(const LanePermit& /*permit*/, bool /*head_seen*/,
                          MonotonicTime /*now*/, WakeList* /*wakes*/) {
    return false;
  }

  // For calls that may hedge (core/hedge.h). Once for each, at its first send:
  virtual void CountForHedges(MonotonicTime now) = 0;
  // May a hedge start now? kGo or kRefuse: a hedge never waits. What kGo took
  // from the budget of hedges goes back through ReturnHedge if it was not sent.
  // `of` is the place of the call, who does not wait.
  virtual DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                                       WakeList* wakes) = 0;
  virtual void ReturnHedge() = 0;

  // May a request that is on its way be sent on to here by a redirect (Quota::SendOn)?
  // kGo or kRefuse: who comes so never waits. `must_go`: always kGo. For states that are
  // part of a core/redirect_chain.h.
  virtual DispatchAnswer SendOn(bool /*must_go*/, MonotonicTime /*now*/,
                                WakeList* /*wakes*/) {
    return {};
  }

  // A kGo of Dispatch that was not used: what it took goes back, its turn as well. For
  // states that are part of a core/redirect_chain.h.
  virtual void Return(const AttemptPermit& /*permit*/, MonotonicTime /*now*/,
                      WakeList* /*wakes*/) {}

  // No server of theirs wants to be asked before that.
  virtual MonotonicTime GateUntil() { return MonotonicTime::InfinitePast(); }

  // The call no longer waits.
  virtual void Leave(WaitPlace* place, WakeList* wakes) = 0;

  // The head of an answer is there: shuts gates. At most once per permit.
  virtual void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                            MonotonicTime now, WakeList* wakes) = 0;

  // A good answer's head tells where the limit of requests stands: after
  // OnAnswerHead.
  virtual void OnLimitTold(const AttemptPermit& /*permit*/,
                           const LimitStand& /*stand*/, MonotonicTime /*now*/,
                           WakeList* /*wakes*/) {}

  // An attempt has ended: its permit goes back. Returns the time before which
  // nothing will be sent as far as the states know, and why.
  struct NotBefore {
    MonotonicTime time;
    DelaySource source = DelaySource::kNone;
    // It was a failure, and the server's last answer before it was good.
    bool lone = false;
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

// For one thread. A mutex for several also says which word the lane is made of.
struct NoMutex {
  using Word = PlainWord;
  void lock() {}
  void unlock() {}
};

// A state, its lock, and the way past both.
template <typename T, typename Mutex>
class Guarded {
 public:
  template <typename... Args>
  explicit Guarded(Args&&... args) : value_(std::forward<Args>(args)...) {}

  // Has the state for itself: with the lock, and with the lane closed.
  class Turn {
   public:
    explicit Turn(Guarded* guarded) : guarded_(guarded) {
      guarded_->mutex_.lock();
      LanePassed passed;
      if (guarded_->lane_.Close(&passed)) guarded_->value_.CountCalm(passed);
    }
    ~Turn() {
      const T& value = guarded_->value_;
      if (value.IsCalm()) guarded_->lane_.Open(value.Terms());
      guarded_->mutex_.unlock();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    T* operator->() const { return &guarded_->value_; }
    T& operator*() const { return guarded_->value_; }

   private:
    Guarded* const guarded_;
  };

  // To the end of the statement: guarded->SnapshotAt(now).
  Turn operator->() { return Turn(this); }

  // The state itself, if there is one thread only. The lane is closed until the
  // next turn has ended.
  T& alone() {
    LanePassed passed;
    if (lane_.Close(&passed)) value_.CountCalm(passed);
    return value_;
  }

  OpenLane<typename Mutex::Word>& lane() { return lane_; }
  Mutex& mutex() { return mutex_; }

 private:
  OpenLane<typename Mutex::Word> lane_;
  Mutex mutex_;
  T value_;
};

// The states must outlive it.
template <typename Mutex>
class BasicSharedState final : public SharedState {
 public:
  BasicSharedState(Guarded<Quota, Mutex>* quota,
                   Guarded<Endpoint, Mutex>* endpoint)
      : quota_(quota), endpoint_(endpoint) {}

  bool TryDispatch(MonotonicTime now, LanePermit* permit,
                   WakeList* wakes) override {
    if (!endpoint_->lane().is_open()) return false;
    permit->of_quota = quota_->lane().Send();
    if (permit->of_quota == 0) return false;
    permit->sent = now;
    permit->of_endpoint = endpoint_->lane().Send(&permit->generation);
    if (permit->of_endpoint != 0) return true;
    // Closed just now.
    (*quota_)->Return(PermitOf(*permit).quota, wakes);
    return false;
  }

  bool TryGoodHead(const LanePermit& /*permit*/,
                   MonotonicTime /*now*/) override {
    // The endpoint only counts it, and may as well do so at the end.
    return endpoint_->lane().is_open() && quota_->lane().Done();
  }

  bool TryGoodEnd(const LanePermit& permit, bool head_seen, MonotonicTime now,
                  WakeList* wakes) override {
    if (head_seen ? !endpoint_->lane().is_open() : !quota_->lane().Done()) {
      return false;
    }
    // Open: the budget is full.
    if (endpoint_->lane().Done(permit.generation, now)) return true;
    // It has something to decide, or the window moves on. No breaker opens on good news: no
    // chance is asked for.
    typename Guarded<Endpoint, Mutex>::Turn endpoint(endpoint_);
    endpoint->OnAttemptDone(PermitOf(permit).endpoint, Outcome(),
                            /*head_seen=*/false, now, /*random=*/0, wakes);
    endpoint->budget().Deposit(1);
    return true;
  }

  DispatchAnswer Dispatch(WaitPlace* place,
                          const std::shared_ptr<Waiter>& waiter,
                          MonotonicTime now, MonotonicTime limit,
                          WhenOpen when_open, WakeList* wakes) override {
    DispatchAnswer answer;
    {
      Quota::Answer a =
          (*quota_)->Ask(place->ticket, waiter, place->cost, now, limit, wakes);
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
      Endpoint::Answer a =
          (*endpoint_)
              ->Ask(place->ticket, waiter, now, limit, when_open, wakes);
      Copy(a, &answer);
      answer.permit.endpoint = a.permit;
    }
    place->where = answer.verdict == Verdict::kWait
                       ? WaitPlace::Where::kEndpoint
                       : WaitPlace::Where::kNowhere;
    if (answer.verdict != Verdict::kGo) {
      answer.holder = WaitPlace::Where::kEndpoint;
      (*quota_)->Return(answer.permit.quota, wakes);
    }
    return answer;
  }

  DispatchAnswer SendOn(bool must_go, MonotonicTime now,
                        WakeList* wakes) override {
    DispatchAnswer answer;
    {
      const Quota::Answer a = (*quota_)->SendOn(must_go, now);
      Copy(a, &answer);
      answer.permit.quota = a.permit;
    }
    if (answer.verdict != Verdict::kGo) {
      answer.holder = WaitPlace::Where::kQuota;
      return answer;
    }
    const Endpoint::Answer a = (*endpoint_)->SendOn(must_go, now);
    Copy(a, &answer);
    answer.permit.endpoint = a.permit;
    if (answer.verdict != Verdict::kGo) {
      answer.holder = WaitPlace::Where::kEndpoint;
      (*quota_)->Return(answer.permit.quota, wakes);
    }
    return answer;
  }

  void Return(const AttemptPermit& permit, MonotonicTime now,
              WakeList* wakes) override {
    (*quota_)->Return(permit.quota, wakes);
    (*endpoint_)->Return(permit.endpoint, now, wakes);
  }

  MonotonicTime GateUntil() override {
    const MonotonicTime of_quota = (*quota_)->pacer().gate_until();
    return Later(of_quota, (*endpoint_)->pacer().gate_until());
  }

  void CountForHedges(MonotonicTime now) override {
    (*endpoint_)->hedge_budget().OnCall(now);
  }

  DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                               WakeList* wakes) override {
    if (!(*endpoint_)->hedge_budget().Withdraw(now)) {
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

  void ReturnHedge() override { (*endpoint_)->hedge_budget().Return(); }

  void Leave(WaitPlace* place, WakeList* wakes) override {
    if (place->where == WaitPlace::Where::kQuota) {
      (*quota_)->Leave(place->ticket, wakes);
    }
    LeaveEndpoint(place, wakes);
    place->where = WaitPlace::Where::kNowhere;
  }

  void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                    MonotonicTime now, WakeList* wakes) override {
    permit->head_seen = true;
    permit->head_kind = outcome.kind;
    permit->head_pushback = outcome.pushback.value_or(absl::ZeroDuration());
    const bool good = outcome.kind == ErrorKind::kOk;
    if (!good || !quota_->lane().Done()) {
      (*quota_)->OnAnswer(permit->quota, outcome, now, wakes);
    }
    // A good head only counts here, and may as well do so at the end.
    if (good && endpoint_->lane().is_open()) return;
    permit->endpoint_head_seen = true;
    (*endpoint_)->OnAnswerHead(&permit->endpoint, outcome, now, wakes);
  }

  void OnLimitTold(const AttemptPermit& permit, const LimitStand& stand,
                   MonotonicTime now, WakeList* wakes) override {
    (*quota_)->OnTold(permit.quota, stand, now, wakes);
  }

  NotBefore OnAttemptDone(AttemptPermit* permit, const Outcome& outcome,
                          MonotonicTime now, double random,
                          WakeList* wakes) override {
    NotBefore result;
    result.time = now;
    const bool good = outcome.kind == ErrorKind::kOk;
    // Without limits, what it used settles nothing.
    const bool quota_knows =
        good &&
        (permit->head_seen ? quota_->lane().is_open() : quota_->lane().Done());
    if (!quota_knows)
      OnAttemptDoneAtQuota(permit, outcome, now, wakes, &result);
    if (good && !permit->endpoint_head_seen &&
        endpoint_->lane().Done(permit->endpoint.breaker.generation, now)) {
      return result;
    }
    typename Guarded<Endpoint, Mutex>::Turn endpoint(endpoint_);
    if (permit->head_seen && !permit->endpoint_head_seen) {
      endpoint->OnAnswerHead(&permit->endpoint, Outcome(), now, wakes);
    }
    const bool known =
        permit->head_seen &&
        !(outcome.kind == ErrorKind::kTransient &&
          outcome.pushback.has_value() && permit->RefusedLater(outcome));
    endpoint->OnAttemptDone(permit->endpoint, outcome, /*head_seen=*/known, now,
                            random, wakes);
    result.lone = endpoint->HasFailedOnce();
    Keep(endpoint->pacer().gate_until(), DelaySource::kGate, &result);
    Keep(endpoint->NotBefore(now), DelaySource::kBreaker, &result);
    return result;
  }

  bool Withdraw(int cost) override {
    return (*endpoint_)->budget().Withdraw(cost);
  }
  void Deposit(int tokens) override {
    // Open: the budget is full.
    if (!endpoint_->lane().is_open()) (*endpoint_)->budget().Deposit(tokens);
  }
  RetryCosts retry_costs() const override {
    return (*endpoint_)->budget().costs();
  }

 private:
  void OnAttemptDoneAtQuota(AttemptPermit* permit, const Outcome& outcome,
                            MonotonicTime now, WakeList* wakes,
                            NotBefore* result) {
    typename Guarded<Quota, Mutex>::Turn quota(quota_);
    if (!permit->head_seen) {
      quota->OnAnswer(permit->quota, outcome, now, wakes);
    } else if ((outcome.kind == ErrorKind::kThrottled ||
                outcome.kind == ErrorKind::kQuotaExhausted) &&
               permit->RefusedLater(outcome)) {
      quota->OnRefusedLater(permit->quota, outcome, now, wakes);
    }
    if (outcome.usage.known()) {
      quota->Settle(permit->quota, outcome.usage, now, wakes);
    }
    DelaySource source = DelaySource::kNone;
    const MonotonicTime t =
        quota->NotBefore(permit->quota.limiter.cost, now, &source);
    Keep(t, source, result);
  }

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
    (*endpoint_)->Leave(place->ticket, wakes);
  }

  Guarded<Quota, Mutex>* const quota_;
  Guarded<Endpoint, Mutex>* const endpoint_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_SHARED_STATE_H_
