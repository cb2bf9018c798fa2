#include "core/execution.h"

#include <algorithm>
#include <utility>

#include "core/random.h"

namespace forbear {
namespace {

// Transports count in milliseconds: one whose time is the call's deadline may
// end an attempt a little before our clock says so.
constexpr absl::Duration kTimerSlack = absl::Milliseconds(10);

}  // namespace

Execution::Execution(CallSpec spec, const RetryOptions* options,
                     SharedState* shared, std::shared_ptr<Waiter> waiter)
    : spec_(std::move(spec)),
      options_(*options),
      shared_(shared),
      waiter_(std::move(waiter)) {
  record_.call_id = spec_.call_id;
  record_.seed = spec_.seed;
  record_.protocol = spec_.protocol;
  record_.target = NameForRecord(spec_.target);
  record_.method = NameForRecord(spec_.method);
  record_.policy = spec_.policy;
  record_.wall_start = spec_.wall_start;
  record_.deadline = spec_.deadline;
  record_.idempotent = spec_.idempotent;
  record_.yields_to_outer = spec_.nested && options_.yield_to_outer;
}

Execution::~Execution() {
  // A driver that goes away in the middle must not take permits along.
  Outcome dropped;
  dropped.kind = ErrorKind::kCancelled;
  for (InFlight& a : in_flight_) {
    shared_->OnAttemptDone(&a.permit, dropped, record_.end, 0.0, &wakes_);
    if (IsUndelivered(a.number)) shared_->Deposit(a.cost);
  }
  if (phase_ != Phase::kFinished) {
    shared_->Leave(&place_, &wakes_);
    if (pending_cost_ > 0) shared_->Deposit(pending_cost_);
  }
  for (const auto& waiter : wakes_) waiter->Wake();
}

void Execution::Begin(MonotonicTime now) {
  if (phase_ != Phase::kNew) return;
  record_.begin = record_.end = now;
  waiting_since_ = now;
  limit_ = spec_.deadline.is_infinite() ? now + options_.max_elapsed
                                        : spec_.deadline;
  place_.ticket = {now, spec_.call_id};
  if (now >= spec_.deadline) {
    Finish(StopReason::kDeadlineExceeded, std::nullopt, now);
    return;
  }
  Dispatch(now);
}

void Execution::Dispatch(MonotonicTime now) {
  phase_ = Phase::kQueued;
  const DispatchAnswer answer = shared_->Dispatch(&place_, waiter_, now, limit_,
                                                  options_.when_open, &wakes_);
  holder_ = answer.holder;
  Record(answer, now);
  switch (answer.verdict) {
    case Verdict::kGo: {
      const bool paid = PayDue();
      StartAttempt(answer.permit, now);
      // Nobody has seen the start yet: this takes it back, permits and all.
      if (!paid) Finish(StopReason::kBudgetExhausted, std::nullopt, now);
      return;
    }
    case Verdict::kWait:
      Wait(answer.until,
           answer.source == DelaySource::kGate && told_by_ != DelaySource::kNone
               ? told_by_
               : answer.source);
      return;
    case Verdict::kRefuse:
      Finish(answer.reason,
             answer.reason == StopReason::kQueueFull
                 ? std::nullopt
                 : std::optional<MonotonicTime>(answer.until),
             now);
      return;
  }
}

bool Execution::PayDue() {
  if (due_cost_ == 0) return true;
  const int cost = std::exchange(due_cost_, 0);
  const bool paid = shared_->Withdraw(cost);
  if (paid) pending_cost_ = cost;
  AttemptRecord& r = record_.attempts.back();  // the one that is retried
  r.budget = paid ? BudgetAnswer::kPaid : BudgetAnswer::kRefused;
  r.budget_cost = cost;
  return paid;
}

void Execution::Record(const DispatchAnswer& answer, MonotonicTime now) {
  DispatchRecord r;
  r.at = now;
  r.verdict = answer.verdict;
  r.until = answer.verdict == Verdict::kGo ? now : answer.until;
  r.source = answer.source;
  r.holder = answer.holder;
  r.reason = answer.reason;
  auto& all = record_.dispatches;
  if (r.verdict == Verdict::kWait && !all.empty()) {
    // Whoever is woken for nothing is told the same again.
    DispatchRecord last = all.back();
    last.at = r.at;
    if (last == r) return;
  }
  if (all.size() == CallRecord::kMaxDispatches) {
    all.erase(all.begin());
    ++record_.dropped_dispatches;
  }
  all.push_back(r);
}

void Execution::StartAttempt(const AttemptPermit& permit, MonotonicTime now) {
  phase_ = Phase::kInFlight;
  const int number = ++record_.total_attempts;
  last_cost_ = std::exchange(pending_cost_, 0);
  in_flight_.push_back({number, permit, last_cost_});

  AttemptRecord attempt;
  attempt.number = number;
  attempt.start = attempt.end = now;
  attempt.waited = now - waiting_since_;
  attempt.wait_source = std::exchange(wait_source_, DelaySource::kNone);
  told_by_ = DelaySource::kNone;
  if (record_.attempts.size() == CallRecord::kMaxAttempts) {
    record_.attempts.erase(record_.attempts.begin());
  }
  record_.attempts.push_back(std::move(attempt));

  Action action;
  action.type = Action::Type::kStartAttempt;
  action.attempt = number;
  action.time = Earlier(spec_.deadline, now + options_.attempt_timeout);
  Push(action);
}

void Execution::Wait(MonotonicTime until, DelaySource source) {
  waits_until_ = until;
  wait_source_ = source;
  Action action;
  action.type = Action::Type::kWaitUntil;
  action.time = Earlier(until, limit_);
  action.source = source;
  Push(action);
}

bool Execution::DropGarbage(Outcome* outcome) const {
  if (!outcome->pushback) return false;
  if (*outcome->pushback < absl::ZeroDuration()) {
    outcome->pushback = absl::ZeroDuration();
  }
  if (*outcome->pushback <= options_.max_believed_wait) {
    // Times are whole nanoseconds. Upward: never sooner than it asked.
    outcome->pushback = absl::Ceil(*outcome->pushback, absl::Nanoseconds(1));
    return false;
  }
  outcome->pushback.reset();
  outcome->pushback_source = DelaySource::kNone;
  return true;
}

RetryFacts Execution::FactsFor(const Outcome& outcome) const {
  RetryFacts facts;
  facts.idempotent = spec_.idempotent || outcome.repeatable;
  facts.replayable = spec_.replayable;
  facts.counted_failures = counted_failures_;
  facts.nested = spec_.nested;
  return facts;
}

Execution::HeadDecision Execution::OnAnswerHead(int n, Outcome outcome,
                                                MonotonicTime now) {
  InFlight* attempt = Find(n);
  if (attempt == nullptr || attempt->permit.head_seen) {
    return HeadDecision::kCommit;
  }
  DropGarbage(&outcome);
  if (AttemptRecord* r = FindRecord(n)) r->head = now;
  shared_->OnAnswerHead(&attempt->permit, outcome, now, &wakes_);
  if (phase_ != Phase::kInFlight) return HeadDecision::kCommit;
  RetryFacts facts = FactsFor(outcome);
  const bool counts = BoundOf(outcome, free_retry_used_) == Bound::kCount;
  if (counts) ++facts.counted_failures;
  if (WhyNotRetry(options_, facts, outcome) != StopReason::kNone) {
    return HeadDecision::kCommit;
  }
  if (now + outcome.pushback.value_or(absl::ZeroDuration()) >= limit_) {
    return HeadDecision::kCommit;  // it will be refused, with retry_at
  }
  return HeadDecision::kHold;
}

void Execution::OnAttemptDone(int n, Outcome outcome, MonotonicTime now) {
  InFlight* attempt = Find(n);
  if (attempt == nullptr) return;
  const bool garbage = DropGarbage(&outcome);
  AttemptRecord* const r = FindRecord(n);
  if (r != nullptr) {
    r->end = now;
    r->outcome = outcome;
    r->garbage_pushback = garbage;
    r->replayable = spec_.replayable;
  }
  AttemptPermit permit = attempt->permit;
  in_flight_.erase(in_flight_.begin() + (attempt - in_flight_.data()));
  const SharedState::NotBefore known =
      shared_->OnAttemptDone(&permit, outcome, now, Chance(), &wakes_);
  if (phase_ != Phase::kInFlight) return;

  const bool failed = MayChange(outcome);
  if (failed && !in_flight_.empty()) return;  // another one may still answer

  if (outcome.kind == ErrorKind::kOk) {
    // AWS retry 2.1: the last cost comes back; a clean success earns one.
    shared_->Deposit(record_.total_attempts == 1 ? 1 : last_cost_);
  }

  const Bound bound = BoundOf(outcome, free_retry_used_);
  if (failed) {
    if (bound == Bound::kFree) free_retry_used_ = true;
    if (bound == Bound::kCount) ++counted_failures_;
  }
  const bool over =
      now >= limit_ || (outcome.timed_out && now + kTimerSlack >= limit_);
  const bool answered = outcome.kind == ErrorKind::kPermanent ||
                        outcome.kind == ErrorKind::kQuotaExhausted;
  if (failed && over && !answered && !outcome.committed) {
    FinishAtLimit(now);
    return;
  }
  const StopReason why = WhyNotRetry(options_, FactsFor(outcome), outcome);
  // Who ends so is told when a later send may help.
  const bool tells =
      why == StopReason::kQuotaExhausted || why == StopReason::kOuterLayer;
  if (r != nullptr && (why == StopReason::kNone || tells)) {
    r->not_before = known.time;
    r->not_before_source = known.source;
  }
  if (why != StopReason::kNone) {
    std::optional<MonotonicTime> retry_at;
    if (tells && known.time > now) retry_at = known.time;
    Finish(why, retry_at, now);
    return;
  }

  // The earliest possible next send. A throttled call's own backoff is its
  // quota's gate; the order of the queue does the rest.
  WaitFacts wait;
  wait.now = now;
  wait.limit = limit_;
  wait.not_before = known.time;
  wait.breaker_open = known.source == DelaySource::kBreaker && known.time > now;
  if (bound != Bound::kTime) {
    wait.backoff = BackoffDelay(options_.backoff,
                                std::max(1, counted_failures_), Chance());
  }
  const MonotonicTime earliest = EarliestSend(wait, outcome);
  const StopReason why_not_wait = WhyNotWait(options_, wait, outcome);
  if (why_not_wait != StopReason::kNone) {
    Finish(why_not_wait, earliest, now);
    return;
  }

  const BudgetOptions& costs = shared_->budget_options();
  waiting_since_ = now;
  if (outcome.pushback) told_by_ = outcome.pushback_source;
  if (bound == Bound::kTime) {
    // Pays when it leaves: the queue lets callers out one by one, so waiting
    // in it threatens nobody, and a hundred waiters would empty the bucket.
    due_cost_ = costs.throttled_cost;
    Dispatch(now);  // with the ticket it has
    return;
  }

  const int cost = bound == Bound::kFree ? 0 : costs.transient_cost;
  const bool paid = shared_->Withdraw(cost);
  if (r != nullptr) {
    r->budget = paid ? BudgetAnswer::kPaid : BudgetAnswer::kRefused;
    r->budget_cost = cost;
  }
  if (!paid) {
    Finish(StopReason::kBudgetExhausted, std::nullopt, now);
    return;
  }
  pending_cost_ = cost;
  phase_ = Phase::kBackoff;
  // The rest of the wait is the shared states' to watch.
  wait.not_before = now;
  backoff_until_ = EarliestSend(wait, outcome);
  Wait(backoff_until_, backoff_until_ > now + wait.backoff
                           ? outcome.pushback_source
                           : DelaySource::kBackoff);
}

void Execution::OnTimer(MonotonicTime now) {
  if (phase_ != Phase::kQueued && phase_ != Phase::kBackoff) return;
  if (phase_ == Phase::kBackoff && now < backoff_until_ && now < limit_) {
    Wait(backoff_until_, wait_source_);
    return;
  }
  if (now >= limit_) {
    FinishAtLimit(now);
    return;
  }
  if (phase_ == Phase::kBackoff) {
    place_.ticket = {now, spec_.call_id};  // behind those who came meanwhile
  }
  Dispatch(now);
}

void Execution::OnWake(MonotonicTime now) { OnTimer(now); }

void Execution::OnCancel(MonotonicTime now) {
  Finish(StopReason::kCancelled, std::nullopt, now);
}

void Execution::FinishAtLimit(MonotonicTime now) {
  std::optional<MonotonicTime> retry_at;
  if (phase_ != Phase::kInFlight && waits_until_ > now &&
      !waits_until_.is_infinite()) {
    retry_at = waits_until_;
  }
  Finish(spec_.deadline.is_infinite() ? StopReason::kMaxElapsed
                                      : StopReason::kDeadlineExceeded,
         retry_at, now);
}

void Execution::Finish(StopReason reason, std::optional<MonotonicTime> retry_at,
                       MonotonicTime now) {
  if (phase_ == Phase::kFinished) return;
  if (phase_ == Phase::kNew) record_.begin = now;
  phase_ = Phase::kFinished;
  shared_->Leave(&place_, &wakes_);
  if (pending_cost_ > 0) shared_->Deposit(std::exchange(pending_cost_, 0));

  // Permits go back now: who cancels does not know whether the driver will ever
  // hear of the attempt again.
  Outcome cancelled;
  cancelled.kind = ErrorKind::kCancelled;
  for (InFlight& a : in_flight_) {
    shared_->OnAttemptDone(&a.permit, cancelled, now, Chance(), &wakes_);
    // A retry that was never sent was not paid for either.
    if (IsUndelivered(a.number)) shared_->Deposit(a.cost);
    if (AttemptRecord* r = FindRecord(a.number)) {
      r->end = now;
      r->outcome = cancelled;
    }
    Action action;
    action.type = Action::Type::kCancelAttempt;
    action.attempt = a.number;
    Push(action);
  }
  in_flight_.clear();

  record_.end = now;
  record_.stop_reason = reason;
  record_.retry_at = retry_at;
  Action action;
  action.type = Action::Type::kFinish;
  action.reason = reason;
  action.retry_at = retry_at;
  Push(action);
}

Execution::InFlight* Execution::Find(int n) {
  for (InFlight& a : in_flight_) {
    if (a.number == n) return &a;
  }
  return nullptr;
}

bool Execution::IsUndelivered(int n) const {
  return std::any_of(actions_.begin(), actions_.end(), [n](const Action& a) {
    return a.type == Action::Type::kStartAttempt && a.attempt == n;
  });
}

AttemptRecord* Execution::FindRecord(int n) {
  for (AttemptRecord& r : record_.attempts) {
    if (r.number == n) return &r;
  }
  return nullptr;
}

void Execution::Push(const Action& action) {
  const auto undelivered = [this](Action::Type type, int attempt) {
    return std::find_if(actions_.begin(), actions_.end(), [=](const Action& a) {
      return a.type == type && a.attempt == attempt;
    });
  };
  // Whatever comes, an undelivered wait is out of date.
  auto wait = undelivered(Action::Type::kWaitUntil, 0);
  if (wait != actions_.end()) actions_.erase(wait);
  if (action.type == Action::Type::kCancelAttempt) {
    auto start = undelivered(Action::Type::kStartAttempt, action.attempt);
    if (start != actions_.end()) {
      // Never sent: as if it had not been.
      actions_.erase(start);
      --record_.total_attempts;
      record_.attempts.pop_back();
      return;
    }
  }
  actions_.push_back(action);
}

bool Execution::NextAction(Action* action) {
  if (actions_.empty()) return false;
  *action = actions_.front();
  actions_.erase(actions_.begin());
  return true;
}

WakeList Execution::TakeWakes() { return std::exchange(wakes_, {}); }

double Execution::Chance() { return UnitRandom(spec_.seed, chances_++); }

}  // namespace forbear
