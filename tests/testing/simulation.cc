#include "tests/testing/simulation.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/cost.h"
#include "core/random.h"
#include "core/rate_limiter.h"
#include "core/retry_budget.h"

namespace forbear::testing {

namespace {

// The middle of the i-th of n.
double PlaceOf(size_t i, size_t n) {
  return (static_cast<double>(i) + 0.5) / static_cast<double>(n);
}

}  // namespace

Outcome OkOutcome() {
  Outcome o;
  o.processed = Processed::kYes;
  o.status = 200;
  return o;
}

Outcome ThrottledOutcome(std::optional<absl::Duration> wait) {
  Outcome o;
  o.kind = ErrorKind::kThrottled;
  o.processed = Processed::kNo;
  o.pushback = wait;
  if (wait) o.pushback_source = DelaySource::kRetryAfter;
  o.status = 429;
  return o;
}

Outcome ExhaustedOutcome(std::optional<absl::Duration> reset) {
  Outcome o = ThrottledOutcome(reset);
  o.kind = ErrorKind::kQuotaExhausted;
  return o;
}

Outcome TransientOutcome(Processed processed,
                         std::optional<absl::Duration> wait) {
  Outcome o;
  o.kind = ErrorKind::kTransient;
  o.processed = processed;
  o.pushback = wait;
  if (wait) o.pushback_source = DelaySource::kRetryAfter;
  o.status = 503;
  return o;
}

SimReply TokenBucket::operator()(const SimSend& send) {
  if (level < 0) {
    level = burst;
    filled = send.time;
  }
  level =
      std::min(burst, level + rate * absl::ToDoubleSeconds(send.time - filled));
  filled = send.time;
  SimReply reply;
  reply.head = latency;
  if (level >= 1.0 - 1e-9) {
    level -= 1.0;
    ++admitted;
    reply.outcome = OkOutcome();
    return reply;
  }
  ++refused;
  double wait = (1.0 - level) / rate;
  if (whole_seconds) wait = std::ceil(wait);
  reply.outcome = ThrottledOutcome(
      announce ? std::optional<absl::Duration>(absl::Seconds(wait))
               : std::nullopt);
  return reply;
}

class Simulation::CallWaiter final : public Waiter {
 public:
  CallWaiter(Simulation* simulation, size_t call)
      : simulation_(simulation), call_(call) {}
  void Wake() override {
    Simulation* const s = simulation_;
    ++s->wakes_;
    Call* const call = &s->calls_[call_];
    if (call->wake_pending_ || call->finished_) return;
    call->wake_pending_ = true;
    s->Schedule(s->now_ + s->Late(), call_, [s, call] {
      call->wake_pending_ = false;
      s->Feed(call, [s](LightExecution* e) { e->OnWake(s->now_); });
    });
  }
  size_t call() const { return call_; }

 private:
  Simulation* const simulation_;
  const size_t call_;
};

// Counts what is given and what comes back.
class Simulation::Counted final : public SharedState {
 public:
  Counted(Simulation* s, size_t quota, size_t endpoint)
      : simulation_(s), quota_(quota), endpoint_(endpoint) {}

  // The call begins: it looks its states up.
  void Hold() {
    held_quota_ = simulation_->quotas_[quota_];
    held_endpoint_ = simulation_->endpoints_[endpoint_];
    real_.emplace(held_quota_.get(), held_endpoint_.get());
  }
  // The call is over, and so are its attempts.
  void LetGo() {
    if (out != 0) return;
    held_quota_.reset();
    held_endpoint_.reset();
  }

  DispatchAnswer Dispatch(WaitPlace* place,
                          const std::shared_ptr<Waiter>& waiter,
                          MonotonicTime now, MonotonicTime limit,
                          WhenOpen when_open, WakeList* wakes) override {
    DispatchAnswer a =
        real_->Dispatch(place, waiter, now, limit, when_open, wakes);
    if (a.verdict == Verdict::kGo) {
      ++out;
      ++simulation_->out_[endpoint_];
    }
    return a;
  }
  bool TryDispatch(MonotonicTime now, LanePermit* permit,
                   WakeList* wakes) override {
    if (!real_->TryDispatch(now, permit, wakes)) return false;
    ++out;
    ++simulation_->out_[endpoint_];
    return true;
  }
  bool TryGoodHead(const LanePermit& permit, MonotonicTime now) override {
    return real_->TryGoodHead(permit, now);
  }
  bool TryGoodEnd(const LanePermit& permit, bool head_seen, MonotonicTime now,
                  WakeList* wakes) override {
    if (!real_->TryGoodEnd(permit, head_seen, now, wakes)) return false;
    --out;
    --simulation_->out_[endpoint_];
    return true;
  }
  void CountForHedges(MonotonicTime now) override {
    real_->CountForHedges(now);
  }
  DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                               WakeList* wakes) override {
    DispatchAnswer a = real_->DispatchHedge(of, now, wakes);
    if (a.verdict == Verdict::kWait) simulation_->Broken("a hedge waits");
    if (a.verdict == Verdict::kGo) {
      ++out;
      ++simulation_->out_[endpoint_];
    }
    return a;
  }
  void ReturnHedge() override { real_->ReturnHedge(); }
  void Leave(WaitPlace* place, WakeList* wakes) override {
    // A call that never began holds nothing, and waits nowhere.
    if (real_) real_->Leave(place, wakes);
  }
  void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                    MonotonicTime now, WakeList* wakes) override {
    real_->OnAnswerHead(permit, outcome, now, wakes);
  }
  NotBefore OnAttemptDone(AttemptPermit* permit, const Outcome& outcome,
                          MonotonicTime now, double random,
                          WakeList* wakes) override {
    if (--out < 0) simulation_->Broken("a permit went back twice");
    --simulation_->out_[endpoint_];
    return real_->OnAttemptDone(permit, outcome, now, random, wakes);
  }
  void OnLimitTold(const AttemptPermit& permit, const LimitStand& stand,
                   MonotonicTime now, WakeList* wakes) override {
    real_->OnLimitTold(permit, stand, now, wakes);
  }
  bool Withdraw(int cost) override { return real_->Withdraw(cost); }
  void Deposit(int tokens) override { real_->Deposit(tokens); }
  RetryCosts retry_costs() const override { return real_->retry_costs(); }

  int out = 0;

 private:
  Simulation* const simulation_;
  const size_t quota_;
  const size_t endpoint_;
  std::shared_ptr<Guarded<Quota, Mutex>> held_quota_;
  std::shared_ptr<Guarded<Endpoint, Mutex>> held_endpoint_;
  std::optional<BasicSharedState<Mutex>> real_;
};

Simulation::Call::Call(Simulation* simulation, size_t number,
                       const SimCallOptions& options)
    : options_(options),
      number_(number),
      waiter_(std::make_shared<CallWaiter>(simulation, number)),
      shared_(std::make_unique<Counted>(simulation, options.quota,
                                        options.endpoint)) {
  CallSpec spec;
  spec.call_id = number + 1;
  spec.seed = MixRandom(simulation->options_.seed, number);
  const MonotonicTime start = simulation->start() + options.start;
  if (options.deadline != absl::InfiniteDuration()) {
    spec.deadline = start + options.deadline;
  }
  spec.idempotent = options.idempotent;
  spec.nested = options.nested;
  spec.billable = options.billable;
  spec.cost = options.cost;
  spec.max_in_flight = options.max_in_flight;
  spec.names = CallNames("server", "CALL", "");
  source_ = std::make_unique<GivenSource>(spec, waiter_);
  execution_ = std::make_unique<LightExecution>(
      source_.get(), source_->waiter(), spec.deadline, spec.cost,
      &options_.retry, LightExecution::ArePlain(options_.retry), shared_.get());
}

Simulation::Call::~Call() = default;

Simulation::Simulation(const SimOptions& options)
    : options_(options),
      now_(options.start),
      quota_options_(options.quota),
      endpoint_options_(options.endpoint) {
  for (size_t i = 0; i < options.quotas; ++i) quotas_.push_back(NewQuota(i));
  for (size_t i = 0; i < options.endpoints; ++i) {
    endpoints_.push_back(NewEndpoint(i));
  }
  quota_walls_.resize(options.quotas);
  endpoint_walls_.resize(options.endpoints);
  out_.resize(options.endpoints);
}

Simulation::~Simulation() {
  // Calls that a test stopped in the middle give back what they hold, and wake
  // others, who must all still be there.
  depth_ = 1 << 20;  // no preemption any more
  for (Call& call : calls_) call.execution_.reset();
}

std::shared_ptr<Guarded<Quota, Simulation::Mutex>> Simulation::NewQuota(
    size_t i) {
  auto state = std::make_shared<Guarded<Quota, Mutex>>(
      quota_options_, PlaceOf(i, options_.quotas));
  state->mutex().simulation = this;
  return state;
}

std::shared_ptr<Guarded<Endpoint, Simulation::Mutex>> Simulation::NewEndpoint(
    size_t i) {
  auto state = std::make_shared<Guarded<Endpoint, Mutex>>(
      endpoint_options_, now_, PlaceOf(i, options_.endpoints));
  state->mutex().simulation = this;
  return state;
}

void Simulation::Reconfigure(const QuotaOptions& quota,
                             const EndpointOptions& endpoint) {
  quota_options_ = quota;
  endpoint_options_ = endpoint;
  WakeList wakes;
  for (const auto& q : quotas_) q->alone().Reconfigure(quota, now_, &wakes);
  for (const auto& e : endpoints_)
    e->alone().Reconfigure(endpoint, now_, &wakes);
  for (const auto& waiter : wakes) waiter->Wake();
}

int Simulation::Forget() {
  int forgotten = 0;
  for (size_t i = 0; i < quotas_.size(); ++i) {
    auto& q = quotas_[i];
    if (q.use_count() > 1 || !q->alone().IsIdle(now_)) continue;
    q = NewQuota(i);
    ++forgotten;
  }
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    auto& e = endpoints_[i];
    if (e.use_count() > 1 || !e->alone().IsIdle(now_)) continue;
    if (out_[i] != 0) Broken("an endpoint is forgotten with attempts out");
    e = NewEndpoint(i);
    ++forgotten;
  }
  return forgotten;
}

size_t Simulation::AddCall(const SimCallOptions& options) {
  const size_t n = calls_.size();
  calls_.emplace_back(this, n, options);
  Call* const call = &calls_.back();
  const MonotonicTime start = options_.start + options.start;
  Schedule(start, n, [this, call] {
    call->ticket_ = now_;
    call->shared_->Hold();
    Feed(call, [this](LightExecution* e) { e->Begin(now_); });
  });
  if (options.cancel != absl::InfiniteDuration()) {
    Schedule(start + options.cancel, n, [this, call] {
      call->taken_back_ = !call->finished_;
      Feed(call, [this](LightExecution* e) { e->OnCancel(now_); });
    });
  }
  return n;
}

void Simulation::At(absl::Duration after_start, std::function<void()> what) {
  Schedule(options_.start + after_start, kNoCall, std::move(what));
}

void Simulation::Schedule(MonotonicTime time, size_t call,
                          std::function<void()> what) {
  events_.emplace(Later(time, now_), Event{call, std::move(what)});
}

void Simulation::RunOne(std::multimap<MonotonicTime, Event>::iterator it) {
  now_ = Later(now_, it->first);
  const std::function<void()> what = std::move(it->second.what);
  events_.erase(it);
  ++events_run_;
  what();
}

// Another thread's turn: an event of a call that is not in one itself, now or
// some microseconds from now.
void Simulation::Unlocked() {
  if (options_.preempt <= 0 || depth_ >= 3) return;
  if (Chance() >= options_.preempt) return;
  const MonotonicTime horizon = now_ + absl::Microseconds(20);
  for (auto it = events_.begin(); it != events_.end() && it->first <= horizon;
       ++it) {
    if (it->second.call == kNoCall || calls_[it->second.call].busy_) continue;
    ++depth_;
    RunOne(it);
    --depth_;
    return;
  }
}

void Simulation::Run(absl::Duration until) {
  const MonotonicTime end = options_.start + until;
  while (!events_.empty() && events_.begin()->first <= end) {
    const MonotonicTime before = now_;
    if (events_.begin()->first > before) CheckRest();
    RunOne(events_.begin());
    if (events_run_ > options_.max_events) {
      Broken("it does not come to rest: too many events");
      return;
    }
  }
  if (events_.empty()) {
    CheckRest();
    CheckEnd();
  }
}

void Simulation::Feed(Call* call,
                      const std::function<void(LightExecution*)>& event) {
  LightExecution* const e = call->execution_.get();
  call->busy_ = true;
  const Execution::Phase before = e->phase();
  const MonotonicTime now = now_;
  event(e);
  if (before == Execution::Phase::kBackoff &&
      e->phase() != Execution::Phase::kBackoff) {
    call->ticket_ = now;
  }
  if (e->phase() == Execution::Phase::kQueued) {
    queued_.insert(call->number_);
  } else {
    queued_.erase(call->number_);
  }
  Drain(call);
  if (call->finished_) call->shared_->LetGo();
  call->busy_ = false;
  for (const std::shared_ptr<Waiter>& w : e->TakeWakes()) w->Wake();
}

void Simulation::Drain(Call* call) {
  LightExecution* const e = call->execution_.get();
  Action action;
  while (e->NextAction(&action)) {
    if (call->finished_) Broken("an action after kFinish");
    switch (action.type) {
      case Action::Type::kStartAttempt:
        Send(call, action);
        break;
      case Action::Type::kWaitUntil: {
        if (action.time > e->limit()) Broken("a wait beyond the limit");
        call->timer_ = action.time;
        const uint64_t epoch = ++call->timer_epoch_;
        Schedule(action.time + Late(), call->number_, [this, call, epoch] {
          if (epoch != call->timer_epoch_) return;
          call->timer_ = MonotonicTime::Infinite();
          Feed(call, [this](LightExecution* x) { x->OnTimer(now_); });
        });
        break;
      }
      case Action::Type::kCancelAttempt: {
        const int n = action.attempt;
        if (call->live_.erase(n) == 0) {
          Broken("a cancel of an attempt that is not out");
        }
        const auto open = call->open_.find(n);
        const bool ends = open != call->open_.end() && open->second;
        // Too late: its answer comes all the same.
        if (!call->taken_back_ && ends && Chance() < options_.late_losers)
          break;
        if (open != call->open_.end()) call->open_.erase(open);
        if (call->taken_back_) break;  // its driver is torn down, and silent
        Schedule(now_ + Late(), call->number_, [this, call, n] {
          Outcome cancelled;
          cancelled.kind = ErrorKind::kCancelled;
          Feed(call, [&](LightExecution* x) {
            x->OnAttemptDone(n, cancelled, now_);
          });
        });
        break;
      }
      case Action::Type::kFinish:
        call->finished_ = true;
        call->finished_at_ = now_;
        ++call->timer_epoch_;
        call->timer_ = MonotonicTime::Infinite();
        if (!call->live_.empty()) Broken("kFinish while an attempt is out");
        if (on_finish_) {
          Schedule(now_, kNoCall, [this, call] { on_finish_(*call); });
        }
        break;
    }
  }
}

void Simulation::Send(Call* call, const Action& action) {
  ++call->timer_epoch_;
  call->timer_ = MonotonicTime::Infinite();
  const SimCallOptions& o = call->options_;
  if (static_cast<int>(call->live_.size()) >= o.max_in_flight) {
    Broken("more attempts at a time than the call may have");
  }
  const bool hedge = !call->live_.empty();
  if (now_ >= action.time) Broken("a send at or after the deadline");
  for (const Wall& wall :
       {quota_walls_[o.quota], endpoint_walls_[o.endpoint]}) {
    // Who decided in the same instant as the answer arrived, or, preempted, a
    // hair before, could not know.
    const absl::Duration grace =
        options_.preempt > 0 ? absl::Microseconds(100) : absl::ZeroDuration();
    if (now_ > wall.since + grace && now_ < wall.until) {
      Broken(absl::StrCat("call ", call->number_, " sends ",
                          absl::FormatDuration(wall.until - now_),
                          " before the server's wait is over"));
    }
  }
  if (options_.preempt <= 0) {
    for (const size_t number : queued_) {
      const Call& other = calls_[number];
      if (other.number_ == call->number_ || other.wake_pending_) continue;
      if (other.options_.quota != o.quota ||
          other.options_.endpoint != o.endpoint ||
          other.execution_->phase() != Execution::Phase::kQueued) {
        continue;
      }
      // A hedge has a ticket of its own, of now.
      if (std::make_pair(other.ticket_, other.number_) <
          std::make_pair(hedge ? now_ : call->ticket_, call->number_)) {
        Broken(absl::StrCat("call ", call->number_, " overtakes call ",
                            other.number_));
      }
    }
  }
  const int n = action.attempt;
  call->live_.insert(n);
  ++call->sent_;
  const SimSend send{now_, call->number_, n, o.quota, o.endpoint};
  sends_.push_back(send);
  if (options_.transit <= absl::ZeroDuration()) {
    Arrive(call, send, action.time);
    return;
  }
  // On its way it can be cancelled, and arrives all the same.
  call->open_[n] = true;
  const MonotonicTime deadline = action.time;
  Schedule(now_ + options_.transit * Chance(), kNoCall,
           [this, call, send, deadline] { Arrive(call, send, deadline); });
}

void Simulation::Arrive(Call* call, const SimSend& send,
                        MonotonicTime deadline) {
  const int n = send.attempt;
  SimSend arrived = send;
  arrived.time = now_;
  const SimReply reply = server_(arrived);
  if (now_ > send.time && call->open_.count(n) == 0) return;

  const MonotonicTime head = Later(send.time + reply.head, now_);
  const MonotonicTime done = head + reply.body;
  call->open_[n] = !Earlier(done, deadline).is_infinite();
  if (done < deadline) {
    if (!reply.headless) {
      Schedule(head, call->number_, [this, call, n, reply] {
        if (call->open_.count(n) == 0) return;
        Told(*call, reply.outcome);
        Feed(call, [&](LightExecution* x) {
          x->OnAnswerHead(n, reply.outcome, now_);
          if (reply.stand) x->OnLimitTold(n, *reply.stand, now_);
        });
      });
    }
    Schedule(done, call->number_, [this, call, n, reply] {
      if (call->open_.erase(n) == 0) return;
      call->live_.erase(n);
      Feed(call, [&](LightExecution* x) {
        x->OnAttemptDone(n, reply.outcome, now_);
      });
    });
  } else if (!deadline.is_infinite()) {
    Schedule(deadline, call->number_, [this, call, n] {
      if (call->open_.erase(n) == 0) return;
      call->live_.erase(n);
      Outcome timeout = TransientOutcome(Processed::kUnknown);
      timeout.timed_out = true;
      Feed(call,
           [&](LightExecution* x) { x->OnAttemptDone(n, timeout, now_); });
    });
  }
}

void Simulation::Told(const Call& call, const Outcome& outcome) {
  if (!outcome.pushback ||
      *outcome.pushback > call.options_.retry.max_believed_wait) {
    return;
  }
  Wall* wall = nullptr;
  if (outcome.kind == ErrorKind::kThrottled ||
      outcome.kind == ErrorKind::kQuotaExhausted) {
    wall = &quota_walls_[call.options_.quota];
  } else if (outcome.kind == ErrorKind::kTransient) {
    wall = &endpoint_walls_[call.options_.endpoint];
  } else {
    return;
  }
  const MonotonicTime until = now_ + *outcome.pushback;
  if (until > wall->until) *wall = {now_, until};
}

void Simulation::CheckHead(const char* which, const WaitQueue& queue,
                           MonotonicTime earliest) {
  WakeList head;
  queue.CollectHead(&head);
  if (head.empty()) return;
  const Call& call = calls_[static_cast<CallWaiter*>(head[0].get())->call()];
  if (call.wake_pending_ || call.busy_) return;
  if (call.timer_ <= Later(earliest, now_)) return;
  Broken(absl::StrCat("lost wake-up: call ", call.number_, ", the head of the ",
                      which, "'s queue, sleeps until +",
                      absl::FormatDuration(call.timer_ - options_.start),
                      ", could go at +",
                      absl::FormatDuration(earliest - options_.start)));
}

void Simulation::CheckDoomed(const char* which, const WaitQueue& queue,
                             MonotonicTime not_before) {
  if (not_before <= now_) return;
  WakeList doomed;
  queue.CollectDoomed(not_before, &doomed);
  for (const auto& waiter : doomed) {
    const Call& call = calls_[static_cast<CallWaiter*>(waiter.get())->call()];
    if (call.wake_pending_ || call.busy_) continue;
    Broken(absl::StrCat("call ", call.number_, " is doomed in the ", which,
                        "'s queue, and was not told"));
  }
}

void Simulation::CheckRest() {
  for (const auto& q : quotas_) {
    CheckDoomed("quota", q->alone().queue(), q->alone().pacer().gate_until());
    const Ticket* const first = q->alone().queue().first();
    if (first == nullptr) continue;
    MonotonicTime earliest = q->alone().TurnOf(*first, now_);
    if (const RateLimiter* const limiter = q->alone().limiter()) {
      WakeList head;
      q->alone().queue().CollectHead(&head);
      if (!head.empty()) {
        const size_t call = static_cast<CallWaiter*>(head[0].get())->call();
        earliest = Later(earliest,
                         limiter->Earliest(calls_[call].options_.cost, now_));
      }
    }
    CheckHead("quota", q->alone().queue(), earliest);
  }
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    const Endpoint& e = endpoints_[i]->alone();
    CheckDoomed("endpoint", e.queue(), e.pacer().gate_until());
    if (e.breaker().state() == CircuitBreaker::State::kOpen) {
      CheckDoomed("endpoint", e.queue(), e.NotBefore(now_));
    }
    const int places = endpoint_options_.max_concurrency;
    if (places > 0 && out_[i] >= places) continue;
    const Ticket* const first = e.queue().first();
    if (first == nullptr) continue;
    CheckHead("endpoint", e.queue(), e.TurnOf(*first, now_));
  }
}

void Simulation::CheckEnd() {
  for (const Call& call : calls_) {
    if (!call.finished_) {
      Broken(absl::StrCat("call ", call.number_, " never ends; phase ",
                          static_cast<int>(call.execution_->phase())));
    }
    if (call.shared_->out != 0) {
      Broken(absl::StrCat("call ", call.number_, " kept a permit"));
    }
    const CallRecord& r = call.record();
    if (call.sent_ != r.total_attempts) {
      Broken(absl::StrCat("call ", call.number_, " sent ", call.sent_,
                          " times, its record says ", r.total_attempts));
    }
  }
  for (const auto& q : quotas_) {
    if (!q->alone().queue().empty())
      Broken("somebody is left in a quota's queue");
    if (!q->alone().IsIdle(MonotonicTime::Infinite())) {
      Broken("a quota counts permits that are out");
    }
  }
  for (const auto& e : endpoints_) {
    if (!e->alone().queue().empty()) {
      Broken("somebody is left in an endpoint's queue");
    }
    if (e->alone().breaker().state() == CircuitBreaker::State::kClosed &&
        !e->alone().IsIdle(MonotonicTime::Infinite())) {
      Broken("an endpoint counts permits that are out");
    }
    const int level = e->alone().budget().level();
    if (level < 0 || level > endpoint_options_.budget.capacity) {
      Broken("a budget outside its bounds");
    }
  }
}

int64_t Simulation::SendsBetween(absl::Duration from, absl::Duration to) const {
  int64_t n = 0;
  for (const SimSend& s : sends_) {
    if (s.time >= start() + from && s.time < start() + to) ++n;
  }
  return n;
}

int64_t Simulation::FullestBin(absl::Duration width,
                               absl::Duration from) const {
  int64_t most = 0;
  size_t first = 0;
  for (size_t i = 0; i < sends_.size(); ++i) {
    if (sends_[i].time < start() + from) {
      first = i + 1;
      continue;
    }
    while (sends_[i].time - sends_[first].time >= width) ++first;
    most = std::max<int64_t>(most, static_cast<int64_t>(i - first + 1));
  }
  return most;
}

int64_t Simulation::Ended(StopReason reason) const {
  return std::count_if(calls_.begin(), calls_.end(), [=](const Call& c) {
    return c.finished_ && c.record().stop_reason == reason;
  });
}

absl::Duration Simulation::LastEnd() const {
  absl::Duration last;
  for (const Call& c : calls_) {
    if (c.finished_) last = std::max(last, c.finished_at_ - start());
  }
  return last;
}

void Simulation::Broken(const std::string& what) {
  ++broken_;
  if (faults_.size() >= 5) return;
  faults_.push_back(absl::StrCat(
      "+", absl::FormatDuration(now_ - options_.start), " ", what));
}

std::string Simulation::Faults() const {
  if (broken_ == 0) return "";
  return absl::StrCat("seed ", options_.seed, ": ", broken_, " faults\n  ",
                      absl::StrJoin(faults_, "\n  "));
}

double Simulation::Chance() { return UnitRandom(options_.seed, chances_++); }

absl::Duration Simulation::Late() {
  if (options_.late <= absl::ZeroDuration()) return absl::ZeroDuration();
  return options_.late * Chance();
}

}  // namespace forbear::testing
