// Execution against a twin: every short sequence of events, fed to both.
//
// The twin (class Twin) is written from the table in core/execution.h and the
// rules in docs/design.md, not from execution.cc: naive, slow, and without a
// thought for how it is done there. Both have the same model of the shared
// states (class Model), which counts what is given and what comes back.
//
// A failure prints the events of the sequence in order, and the options.

#include "core/execution.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/cost.h"
#include "core/outcome.h"
#include "core/replay.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

using Phase = Execution::Phase;
using Head = Execution::HeadDecision;

constexpr absl::Duration kBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLimit = absl::Seconds(20);
constexpr absl::Duration kAttempt = absl::Seconds(6);
constexpr absl::Duration kHedge = absl::Seconds(1);
constexpr Cost kCost{1, 20, 300, 4000};

// What both calls share with nobody: a gate, a breaker, a queue in front, and a
// budget. The same rules as SharedState's, the least code.
class Model final : public SharedState {
 public:
  explicit Model(int budget) : level(budget), full(budget) {}

  DispatchAnswer Dispatch(WaitPlace* place, const std::shared_ptr<Waiter>&,
                          MonotonicTime now, MonotonicTime limit,
                          WhenOpen when_open, WakeList*) override {
    DispatchAnswer a;
    asked_with = place->ticket;
    asked_for = place->cost;
    const MonotonicTime until = Later(gate, open);
    queued = false;
    if (until <= now && !others_first) {
      ++out;
      ++given;
      return a;
    }
    a.until = until <= now ? MonotonicTime::Infinite() : until;
    a.source = gate > now   ? DelaySource::kGate
               : open > now ? DelaySource::kBreaker
                            : DelaySource::kQueue;
    if ((until > now && until >= limit) ||
        (open > now && when_open == WhenOpen::kFail)) {
      a.verdict = Verdict::kRefuse;
      a.until = until;
      a.reason = open > now && (when_open == WhenOpen::kFail || open > gate)
                     ? StopReason::kCircuitOpen
                     : StopReason::kWaitExceedsDeadline;
      return a;
    }
    if (full_queue) {
      a.verdict = Verdict::kRefuse;
      a.reason = StopReason::kQueueFull;
      return a;
    }
    queued = true;
    a.verdict = Verdict::kWait;
    return a;
  }

  void CountForHedges(MonotonicTime) override { ++hedgeable; }
  DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                               WakeList*) override {
    DispatchAnswer a;
    asked_for = of.cost;
    if (hedges_left == 0 || gate > now || open > now || others_first) {
      a.verdict = Verdict::kRefuse;
      a.until = now;
      a.reason = hedges_left == 0 ? StopReason::kBudgetExhausted
                                  : StopReason::kWaitExceedsDeadline;
      return a;
    }
    --hedges_left;
    ++out;
    ++given;
    return a;
  }
  void ReturnHedge() override { ++hedges_left; }

  void Leave(WaitPlace*, WakeList*) override { queued = false; }

  void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                    MonotonicTime now, WakeList*) override {
    permit->head_seen = true;
    ++heads;
    Shut(outcome, now);
  }

  NotBefore OnAttemptDone(AttemptPermit* permit, const Outcome& outcome,
                          MonotonicTime now, double, WakeList*) override {
    --out;
    if (!permit->head_seen) Shut(outcome, now);
    NotBefore n;
    n.time = now;
    if (gate > n.time) n = {gate, DelaySource::kGate};
    if (open > n.time) n = {open, DelaySource::kBreaker};
    return n;
  }

  bool Withdraw(int cost) override {
    if (level < cost) return false;
    level -= cost;
    return true;
  }
  void Deposit(int tokens) override { level = std::min(full, level + tokens); }
  RetryCosts retry_costs() const override {
    return {costs.transient_cost, costs.throttled_cost};
  }

  void Shut(const Outcome& o, MonotonicTime now) {
    if (o.kind == ErrorKind::kQuotaExhausted) {
      // Not known when: somebody looks again in a second.
      gate = Later(gate, now + o.pushback.value_or(absl::Seconds(1)));
    } else if (o.pushback && (o.kind == ErrorKind::kThrottled ||
                              o.kind == ErrorKind::kTransient)) {
      gate = Later(gate, now + *o.pushback);
    }
  }

  bool operator==(const Model& o) const {
    return out == o.out && given == o.given && queued == o.queued &&
           level == o.level && heads == o.heads && gate == o.gate &&
           hedges_left == o.hedges_left && hedgeable == o.hedgeable &&
           asked_with == o.asked_with && asked_for == o.asked_for;
  }
  std::string Text() const {
    return absl::StrCat("out ", out, " given ", given, " queued ", queued,
                        " level ", level, " heads ", heads, " hedges left ",
                        hedges_left, " hedgeable ", hedgeable, " gate ",
                        gate.nanos(), " ticket ", asked_with.arrived.nanos());
  }

  MonotonicTime gate = MonotonicTime::InfinitePast();
  MonotonicTime open = MonotonicTime::InfinitePast();
  bool others_first = false;
  bool full_queue = false;
  bool queued = false;
  int out = 0;
  int given = 0;
  int heads = 0;
  int hedges_left = 2;
  int hedgeable = 0;
  int level;
  int full;
  Ticket asked_with;
  Cost asked_for;
  BudgetOptions costs;
};

Outcome Cancelled() {
  Outcome o;
  o.kind = ErrorKind::kCancelled;
  return o;
}

struct Options {
  bool deadline = true;
  bool idempotent = true;
  bool replayable = true;
  int max_attempts = 2;
  WhenOpen when_open = WhenOpen::kWait;
  int budget = 500;
  bool attempt_timeout = false;
  bool enabled = true;
  bool nested = false;
  // Hedges of one call; 0: the policy has none.
  int hedges = 0;
  int max_in_flight = 1;
  bool billable = false;
  bool consent = false;  // to both

  std::string Text() const {
    return absl::StrCat("deadline ", deadline, " idempotent ", idempotent,
                        " replayable ", replayable, " max_attempts ",
                        max_attempts, " fail ", when_open == WhenOpen::kFail,
                        " budget ", budget, " timeout ", attempt_timeout,
                        " enabled ", enabled, " nested ", nested, " hedges ",
                        hedges, " max_in_flight ", max_in_flight, " billable ",
                        billable, " consent ", consent);
  }
};

// The machine once more, from its table.
class Twin {
 public:
  Twin(const Options& o, MonotonicTime deadline)
      : o_(o),
        hedges_(o.hedges > 0 && o.max_in_flight > 1 && o.max_attempts > 1 &&
                o.enabled && !o.nested && o.replayable &&
                (o.idempotent || o.consent) && (!o.billable || o.consent)),
        deadline_(deadline),
        model(o.budget) {}

  void Begin(MonotonicTime now) {
    if (phase != Phase::kNew) return;
    limit = o_.deadline ? deadline_ : now + kLimit;
    ticket_ = now;
    wait_began_ = now;
    begin = now;
    if (now >= deadline_) return Finish(StopReason::kDeadlineExceeded, {}, now);
    Dispatch(now);
  }

  Head OnHead(int n, Outcome outcome, MonotonicTime now) {
    const auto it = out.find(n);
    if (it == out.end() || it->second.permit.head_seen) return Head::kCommit;
    Believe(&outcome);
    WakeList none;
    model.OnAnswerHead(&it->second.permit, outcome, now, &none);
    if (it->second.lost) return Head::kHold;
    if (hedges_) {
      const bool bad = Bad(outcome);
      if (bad && AsksForLess(outcome)) told_ = true;
      if (!bad || told_) NoHedge();
      // What is good is the application's, and it alone.
      if (!bad) {
        OthersLose(n, now);
        return Head::kCommit;
      }
      if (Racing() > 1) return Head::kHold;
    }
    const bool never_seen = outcome.kind == ErrorKind::kTransient &&
                            outcome.processed == Processed::kNo && !free_used_;
    if (!Retryable(outcome, failures_ + (never_seen ? 0 : 1))) {
      return Head::kCommit;
    }
    const MonotonicTime back =
        now + outcome.pushback.value_or(absl::ZeroDuration());
    return back < limit ? Head::kHold : Head::kCommit;
  }

  void OnDone(int n, Outcome outcome, MonotonicTime now) {
    const auto it = out.find(n);
    if (it == out.end()) return;
    Flight flight = it->second;
    out.erase(it);
    const bool garbage = Believe(&outcome);
    records[n].end = now;
    records[n].outcome = outcome;
    records[n].garbage_pushback = garbage;
    WakeList none;
    const SharedState::NotBefore known =
        model.OnAttemptDone(&flight.permit, outcome, now, 0, &none);
    // Too late for the call; the states have been told.
    if (flight.lost) return;

    switch (outcome.kind) {
      case ErrorKind::kOk:
        model.Deposit(failed_ ? paid_ : 1);
        return Finish(StopReason::kSuccess, {}, now);
      case ErrorKind::kPermanent:
        if (outcome.retry_wanted && !outcome.retry_forbidden &&
            !outcome.committed) {
          break;
        }
        return Finish(StopReason::kPermanentError, {}, now);
      case ErrorKind::kCancelled:
        return Finish(StopReason::kCancelled, {}, now);
      default:
        break;
    }
    const bool permanent = outcome.kind == ErrorKind::kPermanent;
    const bool exhausted = outcome.kind == ErrorKind::kQuotaExhausted;
    const bool transient = outcome.kind == ErrorKind::kTransient || permanent;
    const bool free = transient && !permanent &&
                      outcome.processed == Processed::kNo && !free_used_;
    failed_ = true;
    if (free) free_used_ = true;
    if (transient && !free) ++failures_;
    // Another one may yet answer, and a further one may help.
    if (hedges_ && Racing() > 0 && !outcome.committed) {
      if (AsksForLess(outcome)) told_ = true;
      return TryHedge(now);
    }
    // A transport's timer may be 10 ms early.
    const MonotonicTime at_most =
        outcome.timed_out ? now + absl::Milliseconds(10) : now;
    if (at_most >= limit && !outcome.committed && !permanent && !exhausted) {
      return Late(now, {});
    }
    // Why not, in the order of core/retry_policy.h.
    if (exhausted && (!outcome.pushback || outcome.retry_forbidden)) {
      std::optional<MonotonicTime> at;
      if (known.time > now) at = known.time;
      return Finish(StopReason::kQuotaExhausted, at, now);
    }
    if (outcome.committed) return Finish(StopReason::kCommitted, {}, now);
    if (outcome.retry_forbidden)
      return Finish(StopReason::kServerSaidNo, {}, now);
    if (outcome.processed != Processed::kNo && !o_.idempotent &&
        !outcome.repeatable) {
      return Finish(StopReason::kNotIdempotent, {}, now);
    }
    if (!o_.replayable) return Finish(StopReason::kNotReplayable, {}, now);
    if (!o_.enabled) return Finish(StopReason::kAttemptsExhausted, {}, now);
    if (transient && failures_ >= o_.max_attempts) {
      return Finish(StopReason::kAttemptsExhausted, {}, now);
    }
    if (o_.nested) {
      std::optional<MonotonicTime> at;
      if (known.time > now) at = known.time;
      return Finish(StopReason::kOuterLayer, at, now);
    }
    // The earliest next send.
    absl::Duration own = transient
                             ? kBackoff * (1 << (std::max(1, failures_) - 1))
                             : absl::ZeroDuration();
    DelaySource because = DelaySource::kBackoff;
    // A permanent error shuts no gate, so its wait is the call's own to keep.
    if (permanent && outcome.pushback && *outcome.pushback > own) {
      own = *outcome.pushback;
      because = outcome.pushback_source;
    }
    const MonotonicTime earliest = Later(known.time, now + own);
    const bool breaker = model.open > now && model.open > model.gate;
    if (breaker && o_.when_open == WhenOpen::kFail) {
      return Finish(StopReason::kCircuitOpen, earliest, now);
    }
    if (earliest >= limit) {
      return Finish(breaker && model.open >= now + own
                        ? StopReason::kCircuitOpen
                    : exhausted ? StopReason::kQuotaExhausted
                                : StopReason::kWaitExceedsDeadline,
                    earliest, now);
    }
    // Transient retries pay before they wait, throttled ones when they leave.
    if (transient) {
      owed_ = free ? 0 : 14;
      if (!model.Withdraw(owed_)) {
        owed_ = 0;
        return Finish(StopReason::kBudgetExhausted, {}, now);
      }
    } else {
      due_ = 5;
    }
    wait_began_ = now;
    waited_for_ = DelaySource::kNone;
    if (outcome.pushback) told_by_ = outcome.pushback_source;
    if (transient) {
      phase = Phase::kBackoff;
      back_ = now + own;
      back_because_ = because;
      Wait(back_, because);
    } else {
      Dispatch(now);
    }
  }

  void OnTimer(MonotonicTime now) {
    if (phase == Phase::kInFlight && hedge_at_) {
      if (now < *hedge_at_) return Wait(*hedge_at_, DelaySource::kHedge);
      return TryHedge(now);
    }
    if (phase == Phase::kBackoff) {
      if (now >= limit) return Late(now, back_);
      if (now < back_) return Wait(back_, back_because_);
      ticket_ = now;
      return Dispatch(now);
    }
    if (phase == Phase::kQueued) {
      if (now >= limit) return Late(now, waits_for_);
      Dispatch(now);
    }
  }

  void OnCancel(MonotonicTime now) {
    if (phase == Phase::kFinished) return;
    // Everything comes back now, and nothing more is heard.
    for (auto& [n, flight] : std::map<int, Flight>(out)) {
      if (!flight.lost) Cancel(n, now);
      WakeList none;
      if (out.erase(n) > 0) {
        model.OnAttemptDone(&flight.permit, Cancelled(), now, 0, &none);
      }
    }
    Finish(StopReason::kCancelled, {}, now);
  }

  struct Flight {
    AttemptPermit permit;
    int paid = 0;
    bool hedge = false;
    bool lost = false;
  };
  // Attempts whose permits are out.
  std::map<int, Flight> out;
  // Those of them that may still win.
  int Racing() const {
    return static_cast<int>(
        std::count_if(out.begin(), out.end(),
                      [](const auto& entry) { return !entry.second.lost; }));
  }

  // Undelivered actions, oldest first.
  std::deque<Action> actions;
  Phase phase = Phase::kNew;
  int sent = 0;  // attempts, those that were taken back not counted
  std::map<int, AttemptRecord> records;
  StopReason reason = StopReason::kNone;
  std::optional<MonotonicTime> retry_at;
  MonotonicTime begin;
  MonotonicTime limit = MonotonicTime::Infinite();

 private:
  // A wait above 24 h is none.
  static bool Believe(Outcome* o) {
    if (o->pushback && *o->pushback > absl::Hours(24)) {
      o->pushback.reset();
      o->pushback_source = DelaySource::kNone;
      return true;
    }
    return false;
  }

  static bool Bad(const Outcome& o) {
    return o.kind == ErrorKind::kTransient || o.kind == ErrorKind::kThrottled ||
           o.kind == ErrorKind::kQuotaExhausted ||
           (o.kind == ErrorKind::kPermanent && o.retry_wanted &&
            !o.retry_forbidden);
  }
  static bool AsksForLess(const Outcome& o) {
    return o.kind == ErrorKind::kThrottled ||
           o.kind == ErrorKind::kQuotaExhausted || o.pushback.has_value() ||
           o.retry_forbidden;
  }

  void NoHedge() {
    hedge_at_.reset();
    ForgetWaits();
  }
  bool HedgeAllowed() const {
    return !told_ && tried_ < o_.hedges && Racing() < o_.max_in_flight &&
           failures_ + Racing() < o_.max_attempts;
  }
  // Not within the last 10 ms of the call.
  bool LeavesTime(MonotonicTime t) const {
    return t + absl::Milliseconds(10) < limit;
  }
  void ExpectHedge(MonotonicTime now) {
    hedge_at_.reset();
    if (!hedges_ || !HedgeAllowed() || !LeavesTime(now + kHedge)) return;
    hedge_at_ = now + kHedge;
    Wait(*hedge_at_, DelaySource::kHedge);
  }
  void TryHedge(MonotonicTime now) {
    hedge_at_.reset();
    if (!HedgeAllowed() || !LeavesTime(now)) return;
    ++tried_;
    WakeList none;
    WaitPlace place;
    place.cost = kCost;
    if (model.DispatchHedge(place, now, &none).verdict == Verdict::kGo) {
      Start(now, /*hedge=*/true);
    } else {
      ExpectHedge(now);
    }
  }

  bool Retryable(const Outcome& o, int failures) const {
    const bool wanted = o.kind == ErrorKind::kPermanent && o.retry_wanted;
    const bool throttled = o.kind == ErrorKind::kThrottled ||
                           (o.kind == ErrorKind::kQuotaExhausted && o.pushback);
    if (o.kind != ErrorKind::kTransient && !throttled && !wanted) return false;
    if (o.committed || o.retry_forbidden || !o_.replayable || !o_.enabled) {
      return false;
    }
    if (o.processed != Processed::kNo && !o_.idempotent && !o.repeatable) {
      return false;
    }
    return (throttled || failures < o_.max_attempts) && !o_.nested;
  }

  void Dispatch(MonotonicTime now) {
    phase = Phase::kQueued;
    WaitPlace place;
    place.ticket = {ticket_, 1};
    place.cost = kCost;
    WakeList none;
    const DispatchAnswer a =
        model.Dispatch(&place, nullptr, now, limit, o_.when_open, &none);
    if (a.verdict == Verdict::kRefuse) {
      if (a.reason == StopReason::kQueueFull) return Finish(a.reason, {}, now);
      return Finish(a.reason, a.until, now);
    }
    if (a.verdict == Verdict::kWait) {
      waits_for_ = a.until;
      const bool told =
          a.source == DelaySource::kGate && told_by_ != DelaySource::kNone;
      return Wait(a.until, told ? told_by_ : a.source);
    }
    phase = Phase::kInFlight;
    const bool paid = model.Withdraw(due_);
    if (paid) owed_ += due_;
    due_ = 0;
    paid_ = owed_;
    owed_ = 0;
    Start(now, /*hedge=*/false);
    if (!paid) Finish(StopReason::kBudgetExhausted, {}, now);
  }

  void Start(MonotonicTime now, bool hedge) {
    const int n = ++sent;
    out[n].hedge = hedge;
    out[n].paid = hedge ? 0 : paid_;
    AttemptRecord r;
    r.number = n;
    r.start = r.end = now;
    r.hedge = hedge;
    r.waited = now - wait_began_;
    r.wait_source = waited_for_;
    waited_for_ = told_by_ = DelaySource::kNone;
    records[n] = r;
    Action start;
    start.type = Action::Type::kStartAttempt;
    start.attempt = n;
    start.time = deadline_;
    if (o_.attempt_timeout) start.time = Earlier(deadline_, now + kAttempt);
    Add(start);
    if (!hedges_) return;
    if (n == 1) model.CountForHedges(now);
    wait_began_ = now;
    ExpectHedge(now);
  }

  // Stops attempt n. One that was never delivered is forgotten, token and all.
  void Cancel(int n, MonotonicTime now) {
    const auto start =
        std::find_if(actions.begin(), actions.end(), [n](const Action& a) {
          return a.type == Action::Type::kStartAttempt && a.attempt == n;
        });
    if (start != actions.end()) {
      actions.erase(start);
      records.erase(n);
      --sent;
      WakeList none;
      model.OnAttemptDone(&out[n].permit, Cancelled(), now, 0, &none);
      model.Deposit(out[n].paid);
      if (out[n].hedge) model.ReturnHedge();
      out.erase(n);
      return;
    }
    records[n].end = now;
    records[n].outcome = Cancelled();
    Action cancel;
    cancel.type = Action::Type::kCancelAttempt;
    cancel.attempt = n;
    Add(cancel);
  }
  void OthersLose(int winner, MonotonicTime now) {
    std::vector<int> losers;
    for (const auto& [n, flight] : out) {
      if (n != winner && !flight.lost) losers.push_back(n);
    }
    // The last one first.
    for (size_t i = losers.size(); i-- > 0;) {
      const int n = losers[i];
      Cancel(n, now);
      if (out.count(n) == 0) continue;
      out[n].lost = true;
      records[n].lost = true;
    }
  }

  void Wait(MonotonicTime until, DelaySource source) {
    waited_for_ = source;
    Action wait;
    wait.type = Action::Type::kWaitUntil;
    wait.time = Earlier(until, limit);
    wait.source = source;
    Add(wait);
  }

  void Late(MonotonicTime now, std::optional<MonotonicTime> known) {
    if (known && (*known <= now || known->is_infinite())) known.reset();
    Finish(
        o_.deadline ? StopReason::kDeadlineExceeded : StopReason::kMaxElapsed,
        known, now);
  }

  void Finish(StopReason why, std::optional<MonotonicTime> at,
              MonotonicTime now) {
    if (phase == Phase::kFinished) return;
    phase = Phase::kFinished;
    model.queued = false;
    model.Deposit(owed_);
    owed_ = 0;
    OthersLose(0, now);
    reason = why;
    retry_at = at;
    Action finish;
    finish.type = Action::Type::kFinish;
    finish.reason = why;
    finish.retry_at = at;
    Add(finish);
  }

  // A newer action makes an undelivered wait void.
  void ForgetWaits() {
    actions.erase(std::remove_if(actions.begin(), actions.end(),
                                 [](const Action& x) {
                                   return x.type == Action::Type::kWaitUntil;
                                 }),
                  actions.end());
  }
  void Add(const Action& a) {
    ForgetWaits();
    actions.push_back(a);
  }

  const Options o_;
  const bool hedges_;
  const MonotonicTime deadline_;
  MonotonicTime ticket_;
  MonotonicTime wait_began_;
  MonotonicTime back_;
  DelaySource back_because_ = DelaySource::kNone;
  std::optional<MonotonicTime> waits_for_;
  DelaySource waited_for_ = DelaySource::kNone;
  DelaySource told_by_ = DelaySource::kNone;
  std::optional<MonotonicTime> hedge_at_;
  int tried_ = 0;
  bool told_ = false;
  bool failed_ = false;
  bool free_used_ = false;
  int failures_ = 0;
  int owed_ = 0;
  int due_ = 0;  // of a throttled retry that has not left
  int paid_ = 0;

 public:
  Model model;
};

class NoWaiter final : public Waiter {
 public:
  void Wake() override {}
};

// One event of the alphabet.
struct Letter {
  enum class What {
    kBegin,
    kHead,
    kDone,
    kTimerOnTime,
    kTimerEarly,
    kWake,
    kCancel,
    kDrain,
    kPass,    // 7 s go by
    kNear,    // all but 12 ms of the limit go by
    kGate,    // another call shuts the gate for 3 s
    kOpen,    // the breaker opens for 2 s
    kQueue,   // others come first, or no longer
    kLetter,  // a late letter: attempt 1 ends once more
  };
  What what = What::kBegin;
  Outcome outcome;
  std::string name;
  bool older = false;  // the attempt before the last one that was delivered
};

std::string Text(const Action& a) {
  return absl::StrCat("{", static_cast<int>(a.type), " n", a.attempt, " t",
                      a.time.is_infinite() ? -1 : a.time.nanos() / 1000000,
                      " s", static_cast<int>(a.source), " ",
                      StopReasonName(a.reason), " r",
                      a.retry_at ? a.retry_at->nanos() / 1000000 : -1, "}");
}

std::string Text(const AttemptRecord& r) {
  return absl::StrCat(
      r.number, " ", r.start.nanos(), "-", r.end.nanos(), " kind ",
      static_cast<int>(r.outcome.kind), " push ",
      r.outcome.pushback ? absl::FormatDuration(*r.outcome.pushback) : "-",
      " waited ", absl::FormatDuration(r.waited), " ",
      DelaySourceName(r.wait_source), r.garbage_pushback ? " garbage" : "",
      r.hedge ? " hedge" : "", r.lost ? " lost" : "");
}

bool Same(const Action& a, const Action& b) {
  return a.type == b.type && a.attempt == b.attempt && a.time == b.time &&
         a.source == b.source && a.reason == b.reason &&
         a.retry_at == b.retry_at;
}

bool Same(const AttemptRecord& a, const AttemptRecord& b) {
  return a.number == b.number && a.start == b.start && a.end == b.end &&
         a.outcome.kind == b.outcome.kind &&
         a.outcome.pushback == b.outcome.pushback && a.waited == b.waited &&
         a.wait_source == b.wait_source && a.hedge == b.hedge &&
         a.lost == b.lost && a.garbage_pushback == b.garbage_pushback;
}

// Runs one sequence through both. Returns what differs, or nothing.
class Pair {
 public:
  explicit Pair(const Options& o)
      : options_(o),
        now_(MonotonicTime::FromNanos(5000000000)),
        deadline_(o.deadline ? now_ + kLimit : MonotonicTime::Infinite()),
        twin_(o, deadline_),
        model_(o.budget) {
    retry_.enabled = o.enabled;
    retry_.max_attempts = o.max_attempts;
    retry_.max_elapsed = kLimit;
    retry_.hedge.enabled = o.hedges > 0;
    retry_.hedge.delay = kHedge;
    retry_.hedge.max_hedges = std::max(1, o.hedges);
    retry_.hedge.billable_consent = retry_.hedge.repeat_consent = o.consent;
    retry_.when_open = o.when_open;
    retry_.backoff.initial = kBackoff;
    retry_.backoff.jitter = Jitter::kNone;
    if (o.attempt_timeout) retry_.attempt_timeout = kAttempt;
    CallSpec spec;
    spec.call_id = 1;
    spec.deadline = deadline_;
    spec.idempotent = o.idempotent;
    spec.replayable = o.replayable;
    spec.nested = o.nested;
    spec.cost = kCost;
    spec.billable = o.billable;
    spec.max_in_flight = o.max_in_flight;
    static const auto* const waiter =
        new std::shared_ptr<Waiter>(std::make_shared<NoWaiter>());
    call_.emplace(spec, &retry_, &model_, *waiter);
  }

  std::string Feed(const Letter& letter) {
    using What = Letter::What;
    switch (letter.what) {
      case What::kBegin:
        call_->Begin(now_);
        twin_.Begin(now_);
        break;
      case What::kHead: {
        now_ = now_ + absl::Milliseconds(5);
        const int n = std::max(1, delivered_ - (letter.older ? 1 : 0));
        const CallRecord& record = call_->record();
        const bool first = call_->phase() == Phase::kInFlight &&
                           n == record.total_attempts &&
                           !record.attempts.back().head;
        const Head preview = call_->PreviewHead(letter.outcome, now_);
        const Head a = call_->OnAnswerHead(n, letter.outcome, now_);
        if (options_.max_in_flight == 1 && first && a != preview) {
          return absl::StrCat("head preview ", static_cast<int>(preview));
        }
        if (a != twin_.OnHead(n, letter.outcome, now_)) {
          return absl::StrCat("head decision ", static_cast<int>(a));
        }
        break;
      }
      case What::kDone: {
        now_ = now_ + absl::Milliseconds(5);
        const int n = std::max(1, delivered_ - (letter.older ? 1 : 0));
        call_->OnAttemptDone(n, letter.outcome, now_);
        twin_.OnDone(n, letter.outcome, now_);
        break;
      }
      case What::kLetter:
        call_->OnAttemptDone(1, letter.outcome, now_);
        twin_.OnDone(1, letter.outcome, now_);
        break;
      case What::kTimerOnTime:
        if (wait_ && *wait_ > now_) now_ = *wait_;
        call_->OnTimer(now_);
        twin_.OnTimer(now_);
        break;
      case What::kTimerEarly:
        now_ = now_ + absl::Milliseconds(1);
        call_->OnTimer(now_);
        twin_.OnTimer(now_);
        break;
      case What::kWake:
        call_->OnWake(now_);
        twin_.OnTimer(now_);
        break;
      case What::kCancel:
        call_->OnCancel(now_);
        twin_.OnCancel(now_);
        break;
      case What::kDrain: {
        std::string bad = Drain();
        if (!bad.empty()) return bad;
        break;
      }
      case What::kPass:
        now_ = now_ + absl::Seconds(7);
        break;
      case What::kNear:
        if (!call_->limit().is_infinite()) {
          now_ = Later(now_, call_->limit() - absl::Milliseconds(12));
        }
        break;
      case What::kGate:
        model_.gate = twin_.model.gate =
            Later(model_.gate, now_ + absl::Seconds(3));
        break;
      case What::kOpen:
        model_.open = twin_.model.open = now_ + absl::Seconds(2);
        break;
      case What::kQueue:
        model_.others_first = twin_.model.others_first = !model_.others_first;
        break;
    }
    call_->TakeWakes();
    return Compare();
  }

  // The end of every sequence: whatever is left is delivered, then the call is
  // cancelled, and everything must be back.
  std::string End() {
    std::string bad = Drain();
    if (!bad.empty()) return bad;
    if (call_->phase() != Phase::kFinished) {
      call_->OnCancel(now_);
      twin_.OnCancel(now_);
      bad = Drain();
      if (!bad.empty()) return bad;
    }
    if (!finished_) return "no kFinish";
    // Those that lost come home, and the states hear how they ended.
    for (const auto& [n, flight] : std::map<int, Twin::Flight>(twin_.out)) {
      call_->OnAttemptDone(n, Cancelled(), now_);
      twin_.OnDone(n, Cancelled(), now_);
    }
    if (options_.hedges > 0) {
      bad = CheckReplay();
      if (!bad.empty()) return bad;
    }
    if (model_.out != 0) return "a permit was kept";
    if (model_.queued) return "left in the queue";
    return Compare();
  }

 private:
  std::string Drain() {
    Action a;
    while (call_->NextAction(&a)) {
      if (twin_.actions.empty())
        return "more actions than the twin: " + Text(a);
      const Action b = twin_.actions.front();
      twin_.actions.pop_front();
      if (!Same(a, b)) return absl::StrCat(Text(a), " twin ", Text(b));
      // What holds without a twin.
      if (finished_) return "an action after kFinish";
      switch (a.type) {
        case Action::Type::kStartAttempt:
          if (a.attempt != delivered_ + 1) return "attempts out of order";
          delivered_ = a.attempt;
          wait_.reset();
          if (a.time > deadline_) return "an attempt beyond the deadline";
          break;
        case Action::Type::kWaitUntil:
          if (a.time > call_->limit()) return "a wait beyond the limit";
          wait_ = a.time;
          break;
        case Action::Type::kCancelAttempt:
          if (a.attempt > delivered_) return "a cancel of what was never sent";
          break;
        case Action::Type::kFinish:
          finished_ = true;
          break;
      }
    }
    return twin_.actions.empty() ? "" : "fewer actions than the twin";
  }

  // From the record alone, the same call again.
  std::string CheckReplay() const {
    const CallRecord& r = call_->record();
    const absl::StatusOr<CallRecord> again = Replay(r, retry_);
    if (!again.ok()) {
      return absl::StrCat("replay: ", again.status().ToString(), "\n",
                          FormatCallRecord(r));
    }
    if (*again != r) {
      return absl::StrCat("replay:\n", FormatCallRecord(*again), "of\n",
                          FormatCallRecord(r));
    }
    return "";
  }

  std::string Compare() const {
    const CallRecord& r = call_->record();
    if (call_->phase() != twin_.phase) {
      return absl::StrCat("phase ", static_cast<int>(call_->phase()), " twin ",
                          static_cast<int>(twin_.phase));
    }
    if (!(model_ == twin_.model)) {
      return absl::StrCat(model_.Text(), " twin ", twin_.model.Text());
    }
    if (model_.out < 0 || twin_.Racing() > options_.max_in_flight) {
      return "permits";
    }
    if (r.total_attempts != twin_.sent) {
      return absl::StrCat("attempts ", r.total_attempts, " twin ", twin_.sent);
    }
    size_t kept = 0;
    for (const AttemptRecord& a : r.attempts) {
      const auto it = twin_.records.find(a.number);
      if (it == twin_.records.end()) return "a record of no attempt";
      if (!Same(a, it->second)) {
        return absl::StrCat(Text(a), " twin ", Text(it->second));
      }
      ++kept;
    }
    if (kept !=
        std::min<size_t>(twin_.records.size(), CallRecord::kMaxAttempts)) {
      return "records lost";
    }
    if (twin_.phase == Phase::kFinished &&
        (r.stop_reason != twin_.reason || r.retry_at != twin_.retry_at)) {
      return absl::StrCat("ends ", StopReasonName(r.stop_reason), " twin ",
                          StopReasonName(twin_.reason));
    }
    // Conservation: what is missing from the budget is owed for one retry that
    // is under way, or was spent on retries that were sent.
    if (model_.level < 0 || model_.level > model_.full) return "budget";
    return "";
  }

  const Options options_;
  MonotonicTime now_;
  const MonotonicTime deadline_;
  Twin twin_;
  Model model_;
  RetryOptions retry_;
  std::optional<Execution> call_;
  int delivered_ = 0;
  std::optional<MonotonicTime> wait_;
  bool finished_ = false;
};

Letter L(Letter::What what, std::string name) {
  return {what, {}, std::move(name)};
}

Letter WithOutcome(Letter::What what, ErrorKind kind, Processed processed,
                   std::optional<absl::Duration> pushback) {
  Letter l;
  l.what = what;
  l.outcome.kind = kind;
  l.outcome.processed = processed;
  l.outcome.pushback = pushback;
  if (pushback) l.outcome.pushback_source = DelaySource::kRetryAfter;
  l.name = absl::StrCat(what == Letter::What::kHead ? "head(" : "done(",
                        ErrorKindName(kind), ",", ProcessedName(processed), ",",
                        pushback ? absl::FormatDuration(*pushback) : "-", ")");
  return l;
}

const std::vector<std::optional<absl::Duration>>& Pushbacks() {
  static const auto* const all = new std::vector<std::optional<absl::Duration>>{
      std::nullopt, absl::ZeroDuration(), absl::Seconds(1),
      // The first attempt ends after 5 ms: exactly at the limit.
      kLimit - absl::Milliseconds(5), absl::Seconds(100), absl::Hours(87600)};
  return *all;
}

std::vector<Letter> Misc() {
  using What = Letter::What;
  Letter stale = L(What::kLetter, "stale");
  stale.outcome.kind = ErrorKind::kOk;
  return {L(What::kBegin, "begin"),      L(What::kTimerOnTime, "timer"),
          L(What::kTimerEarly, "early"), L(What::kWake, "wake"),
          L(What::kCancel, "cancel"),    L(What::kDrain, "drain"),
          L(What::kPass, "pass"),        L(What::kGate, "gate"),
          L(What::kNear, "near"),        L(What::kOpen, "open"),
          L(What::kQueue, "queue"),      stale};
}

// Every outcome there is.
std::vector<Letter> AllOutcomes(Letter::What what) {
  std::vector<Letter> all;
  for (ErrorKind kind : {ErrorKind::kOk, ErrorKind::kTransient,
                         ErrorKind::kThrottled, ErrorKind::kPermanent,
                         ErrorKind::kCancelled, ErrorKind::kQuotaExhausted}) {
    for (Processed p : {Processed::kNo, Processed::kUnknown, Processed::kYes}) {
      for (const auto& pushback : Pushbacks()) {
        all.push_back(WithOutcome(what, kind, p, pushback));
      }
    }
  }
  for (const auto& pushback : Pushbacks()) {
    for (Processed p : {Processed::kNo, Processed::kUnknown, Processed::kYes}) {
      Letter wanted = WithOutcome(what, ErrorKind::kPermanent, p, pushback);
      wanted.outcome.retry_wanted = true;
      wanted.name += "wanted";
      all.push_back(wanted);
    }
  }
  Letter both = WithOutcome(what, ErrorKind::kPermanent, Processed::kNo, {});
  both.outcome.retry_wanted = both.outcome.retry_forbidden = true;
  both.name += "wanted-and-forbidden";
  all.push_back(both);
  Letter taken = WithOutcome(what, ErrorKind::kPermanent, Processed::kNo, {});
  taken.outcome.retry_wanted = taken.outcome.committed = true;
  taken.name += "wanted-and-committed";
  all.push_back(taken);
  for (ErrorKind kind : {ErrorKind::kTransient, ErrorKind::kThrottled,
                         ErrorKind::kQuotaExhausted}) {
    Letter committed = WithOutcome(what, kind, Processed::kNo, std::nullopt);
    committed.outcome.committed = true;
    committed.name += "committed";
    all.push_back(committed);
    Letter forbidden = WithOutcome(what, kind, Processed::kNo, std::nullopt);
    forbidden.outcome.retry_forbidden = true;
    forbidden.name += "forbidden";
    all.push_back(forbidden);
    for (Processed p : {Processed::kNo, Processed::kUnknown, Processed::kYes}) {
      Letter repeatable = WithOutcome(what, kind, p, std::nullopt);
      repeatable.outcome.repeatable = true;
      repeatable.name += "repeatable";
      all.push_back(repeatable);
      Letter late = WithOutcome(what, kind, p, std::nullopt);
      late.outcome.timed_out = true;
      late.name += "timed-out";
      all.push_back(late);
    }
  }
  return all;
}

// The ones that tell branches apart, for longer sequences.
std::vector<Letter> FewOutcomes() {
  using What = Letter::What;
  const auto t = ErrorKind::kTransient;
  const auto h = ErrorKind::kThrottled;
  return {WithOutcome(What::kDone, ErrorKind::kOk, Processed::kYes, {}),
          WithOutcome(What::kDone, t, Processed::kNo, {}),
          WithOutcome(What::kDone, t, Processed::kUnknown, {}),
          WithOutcome(What::kDone, t, Processed::kUnknown, absl::Seconds(1)),
          WithOutcome(What::kDone, h, Processed::kNo, {}),
          WithOutcome(What::kDone, h, Processed::kNo, absl::Seconds(1)),
          WithOutcome(What::kDone, h, Processed::kNo, absl::Seconds(100)),
          WithOutcome(What::kDone, ErrorKind::kQuotaExhausted, Processed::kNo,
                      absl::Seconds(1)),
          WithOutcome(What::kHead, h, Processed::kNo, absl::Seconds(1))};
}

// All sequences prefix · letters^length, on every set of options. Who only counts
// lines (./dev coverage, not optimised: twenty minutes) is content with length 3.
int64_t Exhaust(const std::vector<Letter>& prefix,
                const std::vector<Letter>& letters, int length,
                const std::vector<Options>& options) {
  int64_t sequences = 0;
  if (std::getenv("COVERAGE_DIR") != nullptr) length = std::min(length, 3);
  for (const Options& o : options) {
    std::vector<size_t> digits(static_cast<size_t>(length), 0);
    bool more = true;
    while (more) {
      ++sequences;
      Pair pair(o);
      std::string bad;
      size_t fed = 0;
      for (const Letter& l : prefix) {
        bad = pair.Feed(l);
        if (!bad.empty()) break;
      }
      for (; bad.empty() && fed < digits.size(); ++fed) {
        bad = pair.Feed(letters[digits[fed]]);
      }
      if (bad.empty()) bad = pair.End();
      if (!bad.empty()) {
        std::string text;
        for (const Letter& l : prefix) absl::StrAppend(&text, l.name, " ");
        for (size_t i = 0; i < fed; ++i) {
          absl::StrAppend(&text, letters[digits[i]].name, " ");
        }
        ADD_FAILURE() << bad << "\n  sequence: " << text
                      << "\n  options: " << o.Text();
        return sequences;
      }
      // The next number in base letters.size(). A sequence whose prefix
      // already ended needs no special case: Finished has its column too.
      more = false;
      for (size_t i = digits.size(); i-- > 0;) {
        if (++digits[i] < letters.size()) {
          more = true;
          break;
        }
        digits[i] = 0;
      }
    }
  }
  return sequences;
}

std::vector<Options> AllOptions() {
  std::vector<Options> all;
  for (bool deadline : {true, false}) {
    for (bool idempotent : {true, false}) {
      for (bool replayable : {true, false}) {
        for (int attempts : {1, 2}) {
          for (WhenOpen w : {WhenOpen::kWait, WhenOpen::kFail}) {
            for (int budget : {500, 3}) {
              all.push_back({deadline, idempotent, replayable, attempts, w,
                             budget, budget == 3});
            }
          }
        }
      }
    }
  }
  Options off;
  off.enabled = false;
  all.push_back(off);
  for (bool deadline : {true, false}) {
    Options nested;
    nested.deadline = deadline;
    nested.nested = true;
    all.push_back(nested);
  }
  return all;
}

std::vector<Letter> Join(std::vector<Letter> a, const std::vector<Letter>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(ExecutionTest, EveryOutcomeOnEveryOption) {
  using What = Letter::What;
  const std::vector<Letter> started = {L(What::kBegin, "begin"),
                                       L(What::kDrain, "drain")};
  int64_t n = 0;
  for (What what : {What::kDone, What::kHead}) {
    n += Exhaust(started, Join(AllOutcomes(What::kDone), Misc()), 1,
                 AllOptions());
    for (const Letter& first : AllOutcomes(what)) {
      std::vector<Letter> prefix = started;
      prefix.push_back(first);
      n += Exhaust(prefix, Join(AllOutcomes(What::kDone), Misc()), 1,
                   AllOptions());
      if (HasFailure()) return;
    }
  }
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

TEST(ExecutionTest, EveryOutcomeNearTheLimit) {
  using What = Letter::What;
  const int64_t n =
      Exhaust({L(What::kBegin, "begin"), L(What::kDrain, "drain"),
               L(What::kNear, "near")},
              Join(AllOutcomes(What::kDone), Misc()), 2,
              {{}, {false, false, true, 2, WhenOpen::kWait, 500, true}});
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

TEST(ExecutionTest, EverySecondOutcome) {
  using What = Letter::What;
  // Attempt 1 failed in each way that may be retried; the retry went out, and
  // ended in every way.
  int64_t n = 0;
  for (const Letter& first : AllOutcomes(What::kDone)) {
    if (!MayChange(first.outcome)) continue;
    const std::vector<Letter> prefix = {L(What::kBegin, "begin"),
                                        L(What::kDrain, "drain"),
                                        first,
                                        L(What::kDrain, "drain"),
                                        L(What::kTimerOnTime, "timer"),
                                        L(What::kDrain, "drain"),
                                        L(What::kTimerOnTime, "timer"),
                                        L(What::kDrain, "drain")};
    n += Exhaust(prefix, Join(AllOutcomes(What::kDone), Misc()), 1,
                 AllOptions());
    if (HasFailure()) return;
  }
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

// Everything may happen at any time, with what is undelivered left lying.
TEST(ExecutionTest, EverySequenceOfFive) {
  using What = Letter::What;
  const std::vector<Letter> letters = Join(Misc(), FewOutcomes());
  int64_t n = Exhaust({}, letters, 4, {{}});
  n += Exhaust({L(What::kBegin, "begin")}, letters, 4,
               {{}, {false, true, true, 2, WhenOpen::kFail, 20, true}});
  // A second begin is ignored: seen above.
  const std::vector<Letter> after(letters.begin() + 1, letters.end());
  n += Exhaust({L(What::kBegin, "begin"), L(What::kDrain, "drain")}, after, 5,
               {{true, true, true, 3, WhenOpen::kWait, 20, false}});
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

TEST(ExecutionTest, EverySequenceOfFourAfterAFailure) {
  using What = Letter::What;
  int64_t n = 0;
  for (const Letter& first : FewOutcomes()) {
    if (first.what != What::kDone || first.outcome.kind == ErrorKind::kOk ||
        first.outcome.pushback > absl::Seconds(1)) {
      continue;  // ends the call
    }
    const std::vector<Letter> prefix = {L(What::kBegin, "begin"),
                                        L(What::kDrain, "drain"), first};
    const std::vector<Letter> letters = Join(Misc(), FewOutcomes());
    n += Exhaust(prefix, letters, 4,
                 {{true, true, true, 3, WhenOpen::kWait, 20, false}});
    n += Exhaust(prefix, letters, 3,
                 {{false, true, true, 2, WhenOpen::kFail, 500, true}});
    if (HasFailure()) return;
  }
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

// --- Hedges: several attempts at a time. Each call is made again from its record,
// too (Pair::End).

Letter Older(Letter l) {
  l.older = true;
  l.name = absl::StrCat("older-", l.name);
  return l;
}

// Both attempts, and what tells them apart.
std::vector<Letter> HedgeLetters() {
  using What = Letter::What;
  const Letter ok =
      WithOutcome(What::kDone, ErrorKind::kOk, Processed::kYes, {});
  const Letter bad =
      WithOutcome(What::kDone, ErrorKind::kTransient, Processed::kUnknown, {});
  const Letter told = WithOutcome(What::kDone, ErrorKind::kThrottled,
                                  Processed::kNo, absl::Seconds(1));
  Letter broken = bad;
  broken.outcome.committed = true;
  broken.name += "committed";
  const Letter good_head =
      WithOutcome(What::kHead, ErrorKind::kOk, Processed::kYes, {});
  const Letter bad_head =
      WithOutcome(What::kHead, ErrorKind::kTransient, Processed::kUnknown, {});
  return {ok,
          bad,
          told,
          broken,
          good_head,
          bad_head,
          Older(ok),
          Older(bad),
          Older(told),
          Older(good_head),
          L(What::kTimerOnTime, "timer"),
          L(What::kCancel, "cancel"),
          L(What::kDrain, "drain"),
          L(What::kGate, "gate")};
}

Options Hedging(int hedges, int max_attempts = 3) {
  Options o;
  o.hedges = hedges;
  o.max_in_flight = 5;
  o.max_attempts = max_attempts;
  return o;
}

TEST(ExecutionTest, HedgesEverySequenceOfFive) {
  using What = Letter::What;
  const std::vector<Letter> sent = {L(What::kBegin, "begin"),
                                    L(What::kDrain, "drain")};
  std::vector<Letter> two = sent;
  two.push_back(L(What::kTimerOnTime, "timer"));
  two.push_back(L(What::kDrain, "drain"));
  const std::vector<Letter> letters = HedgeLetters();
  int64_t n = Exhaust(sent, letters, 5, {Hedging(1)});
  n += Exhaust(two, letters, 5, {Hedging(2, 4)});
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

TEST(ExecutionTest, HedgesEveryOutcomeOfBoth) {
  using What = Letter::What;
  // Whatever one ends with, and then the other one, in either order, on all that
  // may forbid a hedge.
  std::vector<Options> options;
  for (bool idempotent : {true, false}) {
    for (bool billable : {true, false}) {
      for (bool consent : {true, false}) {
        Options o = Hedging(1);
        o.idempotent = idempotent;
        o.billable = billable;
        o.consent = consent;
        options.push_back(o);
      }
    }
  }
  for (int max_attempts : {1, 2, 3}) {
    Options o = Hedging(1, max_attempts);
    o.deadline = false;
    o.attempt_timeout = true;
    options.push_back(o);
  }
  Options blocking = Hedging(1);
  blocking.max_in_flight = 1;
  Options nested = Hedging(1);
  nested.nested = true;
  Options fixed = Hedging(1);
  fixed.replayable = false;
  Options off = Hedging(1);
  off.enabled = false;
  Options poor = Hedging(4, 6);
  poor.budget = 3;
  options.insert(options.end(), {blocking, nested, fixed, off, poor});

  std::vector<Letter> second = AllOutcomes(What::kDone);
  for (const Letter& l : AllOutcomes(What::kHead)) second.push_back(l);
  int64_t n = 0;
  for (What what : {What::kDone, What::kHead}) {
    for (const Letter& first : AllOutcomes(what)) {
      for (bool older : {false, true}) {
        n += Exhaust({L(What::kBegin, "begin"), L(What::kDrain, "drain"),
                      L(What::kTimerOnTime, "timer"), L(What::kDrain, "drain"),
                      older ? Older(first) : first},
                     second, 1, older ? options : std::vector<Options>{poor});
        if (HasFailure()) return;
      }
    }
  }
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

TEST(ExecutionTest, HedgesThatMayNotGoAreNotSent) {
  using What = Letter::What;
  const std::vector<Letter> letters = HedgeLetters();
  int64_t n = 0;
  for (What hindrance : {What::kGate, What::kOpen, What::kQueue, What::kNear}) {
    n += Exhaust({L(What::kBegin, "begin"), L(What::kDrain, "drain"),
                  L(hindrance, "hindrance"), L(What::kTimerOnTime, "timer"),
                  L(What::kDrain, "drain")},
                 letters, 3, {Hedging(1), Hedging(4, 10)});
    if (HasFailure()) return;
  }
  std::printf("%lld sequences\n", static_cast<long long>(n));
}

// A driver that goes away in the middle takes nothing along.
TEST(ExecutionTest, DroppedCallGivesBackWhatItHolds) {
  const auto waiter = std::make_shared<NoWaiter>();
  RetryOptions retry;
  retry.backoff.initial = absl::ZeroDuration();
  CallSpec spec;
  spec.idempotent = true;
  Outcome failed;
  failed.kind = ErrorKind::kTransient;
  const MonotonicTime now = MonotonicTime::FromNanos(1000);
  // 0: new. 1: queued. 2: a start undelivered. 3: in flight. 4: in backoff.
  // 5: a retry undelivered. 6: a retry in flight.
  for (int stage = 0; stage <= 6; ++stage) {
    Model model(100);
    {
      Execution call(spec, &retry, &model, waiter);
      model.others_first = stage == 1;
      if (stage >= 1) call.Begin(now);
      Action action;
      if (stage >= 3) call.NextAction(&action);
      if (stage >= 4) call.OnAttemptDone(1, failed, now);
      if (stage >= 4) call.NextAction(&action);
      if (stage >= 5) call.OnTimer(now);
      if (stage >= 6) call.NextAction(&action);
    }
    EXPECT_EQ(model.out, 0) << stage;
    EXPECT_FALSE(model.queued) << stage;
    // A retry that was sent has been paid for.
    EXPECT_EQ(model.level, stage == 6 ? 100 - 14 : 100) << stage;
  }
}

// Likewise with a hedge, which is paid from a budget of its own.
TEST(ExecutionTest, DroppedCallGivesBackTheHedgeThatWasNotSent) {
  const auto waiter = std::make_shared<NoWaiter>();
  RetryOptions retry;
  retry.hedge.enabled = true;
  retry.hedge.delay = kHedge;
  CallSpec spec;
  spec.idempotent = true;
  spec.max_in_flight = 2;
  const MonotonicTime now = MonotonicTime::FromNanos(1000);
  for (const bool sent : {false, true}) {
    Model model(100);
    {
      Execution call(spec, &retry, &model, waiter);
      call.Begin(now);
      Action action;
      while (call.NextAction(&action)) {
      }
      call.OnTimer(now + kHedge);
      ASSERT_EQ(call.record().total_attempts, 2);
      EXPECT_EQ(model.hedges_left, 1);
      if (sent) {
        ASSERT_TRUE(call.NextAction(&action));
      }
    }
    EXPECT_EQ(model.out, 0) << sent;
    EXPECT_EQ(model.hedges_left, sent ? 1 : 2);
  }
}

// A call without a failure earns a token, hedged or not; one that was retried gets
// back what its last retry cost.
TEST(ExecutionTest, WhatASuccessBringsTheBudget) {
  const auto waiter = std::make_shared<NoWaiter>();
  RetryOptions retry;
  retry.backoff.initial = absl::ZeroDuration();
  retry.hedge.delay = kHedge;
  CallSpec spec;
  spec.idempotent = true;
  spec.max_in_flight = 2;
  Outcome failed;
  failed.kind = ErrorKind::kTransient;
  const MonotonicTime now = MonotonicTime::FromNanos(1000);
  for (const bool hedged : {false, true}) {
    for (const bool fails : {false, true}) {
      retry.hedge.enabled = hedged;
      Model model(100);
      model.level = 50;
      Execution call(spec, &retry, &model, waiter);
      call.Begin(now);
      Action action;
      const auto drain = [&] {
        while (call.NextAction(&action)) {
        }
      };
      drain();
      if (fails) {
        call.OnAttemptDone(1, failed, now);
        drain();
        call.OnTimer(now);
        drain();
        ASSERT_EQ(model.level, 50 - 14);
      }
      if (hedged) {
        call.OnTimer(now + kHedge);
        drain();
      }
      const int last = call.record().total_attempts;
      ASSERT_EQ(last, 1 + (hedged ? 1 : 0) + (fails ? 1 : 0));
      call.OnAttemptDone(last, Outcome(), now + kHedge);
      ASSERT_EQ(call.record().stop_reason, StopReason::kSuccess);
      EXPECT_EQ(model.level, fails ? 50 : 51) << "hedged " << hedged;
    }
  }
}

// call_timeout is a deadline from the beginning, unless there is a sooner one.
TEST(ExecutionTest, ACallsTimeIsADeadline) {
  const auto waiter = std::make_shared<NoWaiter>();
  const MonotonicTime now = MonotonicTime::FromNanos(1000);
  const MonotonicTime never = MonotonicTime::Infinite();
  RetryOptions retry;
  const auto deadline = [&](absl::Duration timeout, MonotonicTime own) {
    retry.call_timeout = timeout;
    Model model(100);
    CallSpec spec;
    spec.deadline = own;
    Execution call(spec, &retry, &model, waiter);
    call.Begin(now);
    Action action;
    EXPECT_TRUE(call.NextAction(&action));
    EXPECT_EQ(call.record().deadline, action.time);
    EXPECT_EQ(call.limit(), action.time.is_infinite() ? now + retry.max_elapsed
                                                      : action.time);
    return action.time;
  };
  const absl::Duration second = absl::Seconds(1);
  EXPECT_EQ(deadline(absl::InfiniteDuration(), never), never);
  EXPECT_EQ(deadline(second, never), now + second);
  EXPECT_EQ(deadline(second, now + second * 2), now + second);
  EXPECT_EQ(deadline(second * 2, now + second), now + second);
  // Longer than a call without a deadline would wait.
  EXPECT_EQ(deadline(absl::Hours(100), never), now + absl::Hours(100));
}

TEST(ExecutionTest, KeepsTheLastSixteenAttemptsAndCountsAll) {
  const auto waiter = std::make_shared<NoWaiter>();
  RetryOptions retry;
  Model model(100000);
  CallSpec spec;
  Execution call(spec, &retry, &model, waiter);
  MonotonicTime now = MonotonicTime::FromNanos(1000);
  call.Begin(now);
  Outcome throttled;
  throttled.kind = ErrorKind::kThrottled;
  throttled.processed = Processed::kNo;
  Action action;
  for (int n = 1; n <= 40; ++n) {
    ASSERT_TRUE(call.NextAction(&action));
    ASSERT_EQ(action.type, Action::Type::kStartAttempt);
    ASSERT_EQ(action.attempt, n);
    now = now + absl::Milliseconds(1);
    call.OnAttemptDone(n, n < 40 ? throttled : Outcome(), now);
  }
  const CallRecord& r = call.record();
  EXPECT_EQ(r.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(r.total_attempts, 40);
  ASSERT_EQ(r.attempts.size(), static_cast<size_t>(CallRecord::kMaxAttempts));
  EXPECT_EQ(r.attempts.front().number, 25);
  EXPECT_EQ(r.attempts.back().number, 40);
  EXPECT_EQ(r.wasted_sends(), 39);
}

}  // namespace
}  // namespace forbear
