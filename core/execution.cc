#include "core/execution.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/hedge.h"
#include "core/random.h"
#include "core/retry_budget.h"

namespace forbear {
namespace {

// Transports count in milliseconds: one whose time is the call's deadline may
// end an attempt a little before our clock says so.
constexpr absl::Duration kTimerSlack = absl::Milliseconds(10);

// Whether the server asks for less.
bool Tells(const Outcome& outcome) {
  return outcome.kind == ErrorKind::kThrottled ||
         outcome.kind == ErrorKind::kQuotaExhausted || outcome.pushback ||
         outcome.retry_forbidden;
}

Outcome Cancelled() {
  Outcome outcome;
  outcome.kind = ErrorKind::kCancelled;
  return outcome;
}

// Cancelled before it left: it took nothing of any limit.
Outcome NeverSent() {
  Outcome outcome = Cancelled();
  outcome.processed = Processed::kNo;
  return outcome;
}

}  // namespace

Execution::Execution(CallSpec spec, const RetryOptions* options,
                     SharedState* shared, std::shared_ptr<Waiter> waiter)
    : options_(*options),
      shared_(shared),
      waiter_(std::move(waiter)),
      replayable_(spec.replayable),
      nested_(spec.nested),
      billable_(spec.billable) {
  record_.call_id = spec.call_id;
  record_.seed = spec.seed;
  record_.protocol = spec.protocol;
  record_.names = std::move(spec.names);
  record_.wall_start = spec.wall_start;
  record_.deadline = spec.deadline;
  record_.idempotent = spec.idempotent;
  record_.cost = spec.cost;
  record_.yields_to_outer = spec.nested && options_.yield_to_outer;
  if (!options_.enabled || !options_.hedge.enabled) return;
  HedgeFacts facts = FactsForHedges();
  facts.max_in_flight = spec.max_in_flight;
  hedges_ = MayHedge(options_.hedge, facts);
  if (hedges_) record_.max_in_flight = spec.max_in_flight;
}

Execution::~Execution() {
  // A driver that goes away in the middle must not take permits along.
  for (InFlight& a : in_flight_) {
    const bool sent = !IsUndelivered(a.number);
    shared_->OnAttemptDone(&a.permit, sent ? Cancelled() : NeverSent(),
                           record_.end, 0.0, &wakes_);
    if (sent) continue;
    shared_->Deposit(a.cost);
    if (a.hedge) shared_->ReturnHedge();
  }
  if (phase_ != Phase::kFinished) {
    Leave();
    if (pending_cost_ > 0) shared_->Deposit(pending_cost_);
  }
  for (const auto& waiter : wakes_) waiter->Wake();
}

void Execution::Begin(MonotonicTime now) {
  if (phase_ != Phase::kNew) return;
  SetLimit(now);
  if (now >= record_.deadline) {
    Finish(StopReason::kDeadlineExceeded, std::nullopt, now);
    return;
  }
  Dispatch(now);
}

void Execution::BeginSent(MonotonicTime now, const AttemptPermit& permit,
                          std::optional<MonotonicTime> head) {
  if (phase_ != Phase::kNew) return;
  SetLimit(now);
  DispatchAnswer answer;
  answer.permit = permit;
  Go(answer, now);
  record_.attempts.back().head = head;
}

void Execution::SetLimit(MonotonicTime now) {
  record_.begin = record_.end = now;
  waiting_since_ = now;
  record_.deadline = Earlier(record_.deadline, now + options_.call_timeout);
  limit_ = record_.deadline.is_infinite() ? now + options_.max_elapsed
                                          : record_.deadline;
  ticket_ = {now, record_.call_id};
}

void Execution::AddWakes(WakeList wakes) {
  std::move(wakes.begin(), wakes.end(), std::back_inserter(wakes_));
}

void Execution::Dispatch(MonotonicTime now) {
  phase_ = Phase::kQueued;
  WaitPlace place = Place();
  const DispatchAnswer answer = shared_->Dispatch(&place, waiter_, now, limit_,
                                                  options_.when_open, &wakes_);
  where_ = place.where;
  holder_ = answer.holder;
  switch (answer.verdict) {
    case Verdict::kGo: {
      const bool paid = PayDue();
      Go(answer, now);
      // Nobody has seen the start yet: this takes it back, permits and all.
      if (!paid) Finish(StopReason::kBudgetExhausted, std::nullopt, now);
      return;
    }
    case Verdict::kWait:
      Record(answer, now, /*hedge=*/false);
      Wait(answer.until,
           answer.source == DelaySource::kGate && told_by_ != DelaySource::kNone
               ? told_by_
               : answer.source);
      return;
    case Verdict::kRefuse:
      Record(answer, now, /*hedge=*/false);
      Finish(answer.reason,
             answer.reason == StopReason::kQueueFull
                 ? std::nullopt
                 : std::optional<MonotonicTime>(answer.until),
             now);
      return;
  }
}

void Execution::Leave() {
  WaitPlace place = Place();
  shared_->Leave(&place, &wakes_);
}

void Execution::Go(const DispatchAnswer& answer, MonotonicTime now) {
  Record(answer, now, /*hedge=*/false);
  InFlight& attempt = in_flight_.emplace_back();
  attempt.permit = answer.permit;
  attempt.cost = last_cost_ = std::exchange(pending_cost_, 0);
  StartAttempt(&attempt, now);
}

bool Execution::PayDue() {
  if (due_cost_ == 0) return true;
  const int cost = std::exchange(due_cost_, 0);
  const bool paid = shared_->Withdraw(cost);
  if (paid) pending_cost_ = cost;
  if (AttemptRecord* r = FindRecord(weighed_)) {
    r->budget = paid ? BudgetAnswer::kPaid : BudgetAnswer::kRefused;
    r->budget_cost = cost;
  }
  return paid;
}

void Execution::Record(const DispatchAnswer& answer, MonotonicTime now,
                       bool hedge) {
  DispatchRecord r;
  r.at = now;
  r.verdict = answer.verdict;
  r.until = answer.verdict == Verdict::kGo ? now : answer.until;
  r.source = answer.source;
  r.holder = answer.holder;
  r.reason = answer.reason;
  r.hedge = hedge;
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
  if (hedges_) NoteEvent(EventRecord::What::kAsk, 0, now);
}

void Execution::StartAttempt(InFlight* attempt, MonotonicTime now) {
  phase_ = Phase::kInFlight;
  const int number = attempt->number = ++record_.total_attempts;
  if (record_.attempts.size() == CallRecord::kMaxAttempts) {
    record_.attempts.erase(record_.attempts.begin());
  }
  AttemptRecord& r = record_.attempts.emplace_back();
  r.hedge = attempt->hedge;
  r.number = number;
  r.start = r.end = now;
  r.waited = now - waiting_since_;
  r.wait_source = std::exchange(wait_source_, DelaySource::kNone);
  told_by_ = DelaySource::kNone;

  Action action;
  action.type = Action::Type::kStartAttempt;
  action.attempt = number;
  action.time = Earlier(record_.deadline, now + options_.attempt_timeout);
  Push(action);
  if (hedges_) {
    if (number == 1) shared_->CountForHedges(now);
    waiting_since_ = now;
    ArmHedge(now);
  }
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

RetryFacts Execution::FactsFor(const Outcome& outcome) const {
  RetryFacts facts;
  facts.idempotent = record_.idempotent || outcome.repeatable;
  facts.replayable = replayable_;
  facts.counted_failures = counted_failures_;
  facts.nested = nested_;
  return facts;
}

Execution::HeadDecision Execution::OnAnswerHead(int n, Outcome outcome,
                                                MonotonicTime now) {
  InFlight* attempt = Find(n);
  if (attempt == nullptr || attempt->permit.head_seen) {
    return HeadDecision::kCommit;
  }
  DropGarbage(options_, &outcome);
  if (AttemptRecord* r = FindRecord(n)) r->head = now;
  shared_->OnAnswerHead(&attempt->permit, outcome, now, &wakes_);
  const HeadDecision decision = DecideHead(outcome, now);
  return hedges_ ? OnHeadAmongHedges(n, outcome, decision, now) : decision;
}

Execution::HeadDecision Execution::PreviewHead(Outcome outcome,
                                               MonotonicTime now) const {
  if (phase_ == Phase::kFinished) return HeadDecision::kCommit;
  DropGarbage(options_, &outcome);
  return DecideHead(outcome, now);
}

void Execution::OnLimitTold(int n, const LimitStand& stand, MonotonicTime now) {
  const InFlight* const attempt = Find(n);
  if (attempt == nullptr || !attempt->permit.head_seen) return;
  shared_->OnLimitTold(attempt->permit, stand, now, &wakes_);
}

Execution::HeadDecision Execution::DecideHead(const Outcome& outcome,
                                              MonotonicTime now) const {
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

void Execution::OnAttemptDone(int n, const Outcome& outcome,
                              MonotonicTime now) {
  InFlight* const attempt = Find(n);
  if (attempt == nullptr) return;
  AttemptRecord* const r = FindRecord(n);
  if (r == nullptr) {
    AttemptRecord unrecorded;
    OnAttemptDone(attempt, &unrecorded, outcome, now);
  } else {
    OnAttemptDone(attempt, r, outcome, now);
  }
}

void Execution::OnAttemptDone(InFlight* attempt, AttemptRecord* r,
                              const Outcome& reported, MonotonicTime now) {
  const int n = attempt->number;
  Outcome& outcome = r->outcome;
  outcome = reported;
  r->end = now;
  r->garbage_pushback = DropGarbage(options_, &outcome);
  r->replayable = replayable_;
  if (hedges_) NoteEvent(EventRecord::What::kEnd, n, now);
  const bool lost = attempt->lost;
  attempt->permit.endpoint.free =
      outcome.kind == ErrorKind::kTransient &&
      BoundOf(outcome, free_retry_used_) == Bound::kFree;
  const SharedState::NotBefore known =
      shared_->OnAttemptDone(&attempt->permit, outcome, now, Chance(), &wakes_);
  Drop(attempt);
  if (lost) return;

  if (outcome.kind == ErrorKind::kOk) {
    // AWS retry 2.1: the last cost comes back; a clean success earns one.
    shared_->Deposit(has_failed_ ? last_cost_ : 1);
  }

  const bool failed = MayChange(outcome);
  const Bound bound = BoundOf(outcome, free_retry_used_);
  if (failed) {
    has_failed_ = true;
    if (bound == Bound::kFree) free_retry_used_ = true;
    if (bound == Bound::kCount) ++counted_failures_;
    if (hedges_ && !outcome.committed && Live() > 0) {
      OnFailedAmongOthers(outcome, now);
      return;
    }
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
  if (why == StopReason::kNone || tells) {
    r->not_before = known.time;
    r->not_before_source = known.source;
    r->lone = known.lone;
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
    wait.backoff = BackoffDelay(
        options_.backoff, std::max(1, counted_failures_), Chance(), known.lone);
  }
  const MonotonicTime earliest = EarliestSend(wait, outcome);
  const StopReason why_not_wait = WhyNotWait(options_, wait, outcome);
  if (why_not_wait != StopReason::kNone) {
    Finish(why_not_wait, earliest, now);
    return;
  }

  const RetryCosts costs = shared_->retry_costs();
  weighed_ = n;
  waiting_since_ = now;
  wait_source_ = DelaySource::kNone;
  if (outcome.pushback) told_by_ = outcome.pushback_source;
  if (bound == Bound::kTime) {
    // Pays when it leaves: the queue lets callers out one by one, so waiting
    // in it threatens nobody, and a hundred waiters would empty the bucket.
    due_cost_ = costs.throttled;
    Dispatch(now);  // with the ticket it has
    return;
  }

  const int cost = bound == Bound::kFree ? 0 : costs.transient;
  const bool paid = shared_->Withdraw(cost);
  r->budget = paid ? BudgetAnswer::kPaid : BudgetAnswer::kRefused;
  r->budget_cost = cost;
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
  if (phase_ == Phase::kInFlight) OnHedgeTimer(now);
  if (phase_ != Phase::kQueued && phase_ != Phase::kBackoff) return;
  if (phase_ == Phase::kBackoff && now < backoff_until_ && now < limit_) {
    Wait(backoff_until_, wait_source_);
    return;
  }
  if (now >= limit_) {
    if (hedges_) NoteEvent(EventRecord::What::kTimeUp, 0, now);
    FinishAtLimit(now);
    return;
  }
  if (phase_ == Phase::kBackoff) {
    ticket_ = {now, record_.call_id};  // behind those who came meanwhile
  }
  Dispatch(now);
}

void Execution::OnWake(MonotonicTime now) { OnTimer(now); }

void Execution::OnCancel(MonotonicTime now) {
  if (phase_ == Phase::kFinished) return;
  if (hedges_) NoteEvent(EventRecord::What::kCancel, 0, now);
  // Permits go back now, and late news is dropped: who cancels does not know
  // whether the driver will ever hear of the attempts again.
  while (!in_flight_.empty()) {
    InFlight& a = in_flight_.front();
    if (IsUndelivered(a.number)) {
      TakeBack(&a, now);
      continue;
    }
    shared_->OnAttemptDone(&a.permit, Cancelled(), now, Chance(), &wakes_);
    if (!a.lost) {
      if (AttemptRecord* r = FindRecord(a.number)) {
        r->end = now;
        r->outcome = Cancelled();
      }
      Action action;
      action.type = Action::Type::kCancelAttempt;
      action.attempt = a.number;
      Push(action);
    }
    Drop(&a);
  }
  Finish(StopReason::kCancelled, std::nullopt, now);
}

void Execution::FinishAtLimit(MonotonicTime now) {
  std::optional<MonotonicTime> retry_at;
  if (phase_ != Phase::kInFlight && waits_until_ > now &&
      !waits_until_.is_infinite()) {
    retry_at = waits_until_;
  }
  Finish(record_.deadline.is_infinite() ? StopReason::kMaxElapsed
                                        : StopReason::kDeadlineExceeded,
         retry_at, now);
}

void Execution::Finish(StopReason reason, std::optional<MonotonicTime> retry_at,
                       MonotonicTime now) {
  if (phase_ == Phase::kFinished) return;
  if (phase_ == Phase::kNew) record_.begin = now;
  phase_ = Phase::kFinished;
  Leave();
  if (pending_cost_ > 0) shared_->Deposit(std::exchange(pending_cost_, 0));
  LoseOthers(0, now);

  record_.end = now;
  record_.stop_reason = reason;
  // "Never" is no time to come back at.
  if (retry_at && retry_at->is_infinite()) retry_at.reset();
  record_.retry_at = retry_at;
  Action action;
  action.type = Action::Type::kFinish;
  action.reason = reason;
  action.retry_at = retry_at;
  Push(action);
}

// --- Several attempts at a time. ---

int Execution::Live() const {
  return static_cast<int>(
      std::count_if(in_flight_.begin(), in_flight_.end(),
                    [](const InFlight& a) { return !a.lost; }));
}

void Execution::TakeBack(InFlight* attempt, MonotonicTime now) {
  shared_->OnAttemptDone(&attempt->permit, NeverSent(), now, Chance(), &wakes_);
  // What was never sent was not paid for either.
  shared_->Deposit(attempt->cost);
  if (attempt->hedge) shared_->ReturnHedge();
  const int n = attempt->number;
  Drop(attempt);
  actions_.erase(
      std::remove_if(actions_.begin(), actions_.end(),
                     [n](const Action& a) { return a.attempt == n; }),
      actions_.end());
  --record_.total_attempts;
  record_.attempts.erase(
      std::remove_if(record_.attempts.begin(), record_.attempts.end(),
                     [n](const AttemptRecord& r) { return r.number == n; }),
      record_.attempts.end());
}

void Execution::Drop(InFlight* attempt) {
  in_flight_.erase(in_flight_.begin() + (attempt - in_flight_.data()));
  if (in_flight_.empty()) std::vector<InFlight>().swap(in_flight_);
}

void Execution::LoseOthers(int n, MonotonicTime now) {
  // From the last: what is undelivered was started last, and is forgotten.
  for (size_t i = in_flight_.size(); i-- > 0;) {
    InFlight& a = in_flight_[i];
    if (a.number == n || a.lost) continue;
    if (IsUndelivered(a.number)) {
      TakeBack(&a, now);
      continue;
    }
    a.lost = true;
    if (AttemptRecord* r = FindRecord(a.number)) {
      r->lost = true;
      r->end = now;
      r->outcome = Cancelled();
    }
    Action action;
    action.type = Action::Type::kCancelAttempt;
    action.attempt = a.number;
    Push(action);
  }
}

HedgeFacts Execution::FactsForHedges() const {
  HedgeFacts facts;
  facts.idempotent = record_.idempotent;
  facts.replayable = replayable_;
  facts.billable = billable_;
  facts.yields = record_.yields_to_outer;
  facts.max_in_flight = record_.max_in_flight;
  facts.max_attempts = options_.max_attempts;
  return facts;
}

bool Execution::MayHedgeNow() const {
  HedgeFacts facts = FactsForHedges();
  facts.in_flight = Live();
  facts.hedges = hedges_tried_;
  facts.counted_failures = counted_failures_;
  facts.told = told_;
  return MayHedge(options_.hedge, facts);
}

void Execution::ArmHedge(MonotonicTime now) {
  hedge_at_ = now + options_.hedge.delay;
  if (hedge_at_ + kTimerSlack < limit_ && MayHedgeNow()) {
    Wait(hedge_at_, DelaySource::kHedge);
  } else {
    hedge_at_ = MonotonicTime::Infinite();
  }
}

void Execution::OnHedgeTimer(MonotonicTime now) {
  if (hedge_at_.is_infinite()) return;
  if (now < hedge_at_) {
    Wait(hedge_at_, DelaySource::kHedge);
  } else {
    Hedge(now);
  }
}

void Execution::Hedge(MonotonicTime now) {
  hedge_at_ = MonotonicTime::Infinite();
  if (now + kTimerSlack >= limit_ || !MayHedgeNow()) return;
  ++hedges_tried_;
  const DispatchAnswer answer = shared_->DispatchHedge(Place(), now, &wakes_);
  Record(answer, now, /*hedge=*/true);
  if (answer.verdict == Verdict::kGo) {
    InFlight& hedge = in_flight_.emplace_back();
    hedge.permit = answer.permit;
    hedge.hedge = true;
    StartAttempt(&hedge, now);
  } else {
    ArmHedge(now);
  }
}

Execution::HeadDecision Execution::OnHeadAmongHedges(int n,
                                                     const Outcome& outcome,
                                                     HeadDecision alone,
                                                     MonotonicTime now) {
  using What = EventRecord::What;
  const bool fails = MayChange(outcome);
  const bool tells = fails && Tells(outcome);
  NoteEvent(tells   ? What::kHeadTold
            : fails ? What::kHeadFailed
                    : What::kHeadGood,
            n, now);
  if (Find(n)->lost) return HeadDecision::kHold;
  if (tells) told_ = true;
  if (!fails || tells) {
    hedge_at_ = MonotonicTime::Infinite();
    DropWait();
  }
  if (!fails) {
    LoseOthers(n, now);
    return HeadDecision::kCommit;
  }
  return Live() > 1 ? HeadDecision::kHold : alone;
}

void Execution::OnFailedAmongOthers(const Outcome& outcome, MonotonicTime now) {
  if (Tells(outcome)) told_ = true;
  Hedge(now);
}

void Execution::NoteEvent(EventRecord::What what, int attempt,
                          MonotonicTime now) {
  if (record_.events.size() == CallRecord::kMaxEvents) return;
  record_.events.push_back({what, attempt, now});
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

void Execution::DropWait() {
  const auto wait = std::find_if(
      actions_.begin(), actions_.end(),
      [](const Action& a) { return a.type == Action::Type::kWaitUntil; });
  if (wait != actions_.end()) actions_.erase(wait);
}

void Execution::Push(const Action& action) {
  DropWait();  // whatever comes, an undelivered one is out of date
  actions_.push_back(action);
}

bool Execution::NextAction(Action* action) {
  if (actions_.empty()) return false;
  *action = actions_.front();
  actions_.erase(actions_.begin());
  if (hedges_ && action->type == Action::Type::kStartAttempt) {
    const AttemptRecord* const r = FindRecord(action->attempt);
    NoteEvent(EventRecord::What::kSent, action->attempt,
              r == nullptr ? record_.begin : r->start);
  }
  return true;
}

double Execution::Chance() { return UnitRandom(record_.seed, chances_++); }

}  // namespace forbear
