#include "core/endpoint.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

CircuitBreaker::Result BreakerResultOf(const Outcome& outcome) {
  if (IsSilent(outcome)) return CircuitBreaker::Result::kNeutral;
  switch (outcome.kind) {
    case ErrorKind::kOk:
    case ErrorKind::kPermanent:
      return CircuitBreaker::Result::kSuccess;
    case ErrorKind::kThrottled:
    case ErrorKind::kQuotaExhausted:
      return CircuitBreaker::Result::kThrottled;
    case ErrorKind::kTransient:
      return CircuitBreaker::Result::kFailure;
    case ErrorKind::kCancelled:
      break;
  }
  return CircuitBreaker::Result::kNeutral;
}

void ValidateEndpoint(const EndpointOptions& options, absl::string_view path,
                      std::vector<std::string>* faults) {
  ValidateBreaker(options.breaker, absl::StrCat(path, ".breaker"), faults);
  ValidateBudget(options.budget, absl::StrCat(path, ".budget"), faults);
  ValidateHedgeBudget(options.hedge_budget, absl::StrCat(path, ".hedge_budget"),
                      faults);
  CheckNumber(absl::StrCat(path, ".max_waiters"), options.max_waiters, 1,
              10000000, faults);
  CheckNumber(absl::StrCat(path, ".max_concurrency"), options.max_concurrency,
              0, 1000000, faults);
  CheckNumber(absl::StrCat(path, ".peers"), options.peers, 1, 1000000, faults);
}

Endpoint::Endpoint(const EndpointOptions& options, MonotonicTime now,
                   double place)
    : place_(place),
      breaker_(options.breaker, now),
      budget_(options.budget),
      hedge_budget_(options.hedge_budget, now),
      queue_(static_cast<size_t>(options.max_waiters)),
      max_out_(MostOut(options)),
      pacing_(options.pacing),
      learns_(options.pacing_parts.learn) {
  pacer_.SetPacing(options.pacing, options.pacing_parts);
  pacer_.SetPeers(options.peers, place_);
}

MonotonicTime Endpoint::NotBefore(MonotonicTime now) const {
  MonotonicTime t = Later(now, pacer_.gate_until());
  // Not AdmitTime: while a probe is out, its report may come at any moment.
  if (breaker_.state() == CircuitBreaker::State::kOpen) {
    t = Later(t, OpenUntil());
  }
  return t;
}

Endpoint::Answer Endpoint::Ask(const Ticket& ticket,
                               const std::shared_ptr<Waiter>& waiter,
                               MonotonicTime now, MonotonicTime limit,
                               WhenOpen when_open, WakeList* wakes) {
  now = Forward(now);
  Answer answer;
  const bool first = queue_.IsFirst(ticket);
  const bool open = breaker_.state() != CircuitBreaker::State::kClosed;
  if (first) {
    const auto patience = when_open == WhenOpen::kWait
                              ? Patience()
                              : CircuitBreaker::Patience::kNone;
    MonotonicTime earliest = TurnOf(ticket, now);
    if (when_open == WhenOpen::kFail) {
      earliest = Later(earliest, breaker_.AdmitTime(now));
    }
    // No place is free: woken when one is.
    if (out_ >= max_out_) earliest = MonotonicTime::Infinite();
    if (earliest <= now &&
        breaker_.Acquire(now, &answer.permit.breaker, patience)) {
      Leave(ticket, wakes);
      answer.permit.pacer = pacer_.OnSend(now);
      ++out_;
      return answer;
    }
    answer.until = earliest;
  } else {
    // Only the head has a time; the others are woken when they become the head.
    answer.until = MonotonicTime::Infinite();
  }

  answer.source = pacer_.IsGated(now) ? DelaySource::kGate
                  : open              ? DelaySource::kBreaker
                                      : DelaySource::kQueue;
  const MonotonicTime not_before =
      Later(NotBefore(now), first ? pacer_.NotBefore(now) : now);
  if (not_before >= limit || (open && when_open == WhenOpen::kFail)) {
    answer.verdict = Verdict::kRefuse;
    answer.until = not_before;
    answer.reason = open && (when_open == WhenOpen::kFail ||
                             pacer_.gate_until() < not_before)
                        ? StopReason::kCircuitOpen
                        : StopReason::kWaitExceedsDeadline;
    Leave(ticket, wakes);
    return answer;
  }
  if (!queue_.Add(ticket, waiter, limit, now)) {
    answer.verdict = Verdict::kRefuse;
    answer.reason = StopReason::kQueueFull;
    return answer;
  }
  answer.verdict = Verdict::kWait;
  return answer;
}

Endpoint::Answer Endpoint::SendOn(bool must_go, MonotonicTime now) {
  now = Forward(now);
  Answer answer;
  answer.until = Later(NotBefore(now), pacer_.NotBefore(now));
  if (queue_.empty() && !pacer_.confirming() && answer.until <= now &&
      out_ < max_out_ && breaker_.Acquire(now, &answer.permit.breaker)) {
    answer.permit.pacer = pacer_.OnSend(now);
    ++out_;
    return answer;
  }
  if (must_go) {
    answer.permit.pacer.sent = now;
    ++out_;
    return answer;
  }
  answer.verdict = Verdict::kRefuse;
  answer.reason = StopReason::kWaitExceedsDeadline;
  const bool open = breaker_.state() != CircuitBreaker::State::kClosed;
  answer.source = pacer_.IsGated(now) ? DelaySource::kGate
                  : open              ? DelaySource::kBreaker
                                      : DelaySource::kQueue;
  return answer;
}

void Endpoint::Leave(const Ticket& ticket, WakeList* wakes) {
  const bool was_head = queue_.IsFirst(ticket);
  if (queue_.Remove(ticket) && was_head) queue_.CollectHead(wakes);
}

bool Endpoint::Pace(const Permit& permit, const Outcome& outcome,
                    MonotonicTime now, WakeList* wakes) {
  if (IsSilent(outcome)) return pacer_.OnNeutral(permit.pacer);
  switch (outcome.kind) {
    case ErrorKind::kOk:
    case ErrorKind::kPermanent:
    case ErrorKind::kThrottled:
    case ErrorKind::kQuotaExhausted:
      // A throttled answer speaks for its quota; this server took the call.
      shed_run_ = 0;
      return pacer_.OnAdmitted(permit.pacer, Others(), now);
    case ErrorKind::kTransient:
      if (outcome.pushback.has_value() || IsShedding(outcome, now)) {
        if (pacer_.OnRefused(permit.pacer, outcome.pushback, now)) {
          queue_.CollectDoomed(pacer_.gate_until(), wakes);
        }
        // The gate may open before the lease of the caller that was refused.
        return true;
      }
      if (outcome.processed != Processed::kNo) {
        return pacer_.OnFault(permit.pacer);
      }
      break;
    case ErrorKind::kCancelled:
      break;
  }
  return pacer_.OnNeutral(permit.pacer);
}

bool Endpoint::IsShedding(const Outcome& outcome, MonotonicTime now) {
  if (!outcome.shed || !learns_ || now < faults_until_) return false;
  if (last_shed_ + kShedMemory < now) {
    shed_run_ = 0;
    sheds_ = false;
    shed_rate_ = 0;
  }
  last_shed_ = now;
  if (shed_run_++ == 0) shed_since_ = now;
  if (shed_run_ >= kShedRun && now - shed_since_ >= kShedTime && !sheds_) {
    sheds_ = true;
    sheds_since_ = now;
  }
  const bool faults = sheds_ && AreFaults();
  if (faults) faults_until_ = now + kShedMemory;
  if (faults || (sheds_ && now - sheds_since_ > kShedTrust)) {
    sheds_ = false;
    shed_run_ = 0;
    shed_rate_ = 0;
    pacer_.Forget();
  }
  return sheds_;
}

bool Endpoint::AreFaults() {
  const double rate = pacer_.limit().rate();
  shed_rate_ = std::max(shed_rate_, rate);
  return (pacer_.limit().known() && rate < kFaultsPart * shed_rate_) ||
         pacer_.limit().surprises() >= kShedSurprises;
}

void Endpoint::TellBreaker(const Permit& permit, CircuitBreaker::Result result,
                           MonotonicTime now, double random, WakeList* wakes) {
  if (!breaker_.Report(permit.breaker, result, now, random,
                       permit.pacer.sent)) {
    return;
  }
  if (breaker_.state() == CircuitBreaker::State::kOpen) {
    queue_.CollectDoomed(OpenUntil(), wakes);
  } else {
    // Closed again. Everybody waited for this moment: one after the other.
    pacer_.StartSlowly(Others(), now);
  }
}

void Endpoint::OnAnswerHead(Permit* permit, const Outcome& outcome,
                            MonotonicTime now, WakeList* wakes) {
  now = Forward(now);
  bool sooner = Pace(*permit, outcome, now, wakes);
  const CircuitBreaker::Result result = BreakerResultOf(outcome);
  // Whether it is a slow one shows at its end only.
  if (permit->breaker.probe != 0 && !breaker_.counts_slow() &&
      CircuitBreaker::IsAlive(result)) {
    permit->head_counted = true;
    TellBreaker(*permit, result, now, /*random=*/0, wakes);
    sooner = true;
  }
  if (sooner) queue_.CollectHead(wakes);
}

void Endpoint::OnAttemptDone(const Permit& permit, const Outcome& outcome,
                             bool head_seen, MonotonicTime now, double random,
                             WakeList* wakes) {
  now = Forward(now);
  --out_;
  bool sooner = !head_seen && Pace(permit, outcome, now, wakes);
  CircuitBreaker::Result result = BreakerResultOf(outcome);
  if (permit.head_counted && CircuitBreaker::IsAlive(result)) {
    result = CircuitBreaker::Result::kNeutral;
  }
  if (outcome.kind == ErrorKind::kOk) {
    budget_.OnSuccess();
  } else if (!permit.free && MayChange(outcome)) {
    budget_.OnFailure();
  }
  TellBreaker(permit, result, now, random, wakes);
  // A place became free, a probe came back, or the breaker moved: all of these
  // may let the head leave earlier than it was told.
  sooner = sooner || !queue_.empty();
  if (sooner) queue_.CollectHead(wakes);
}

void Endpoint::Return(const Permit& permit, MonotonicTime now,
                      WakeList* wakes) {
  pacer_.OnReturned(permit.pacer);
  Outcome none;
  none.kind = ErrorKind::kCancelled;
  none.processed = Processed::kNo;
  OnAttemptDone(permit, none, /*head_seen=*/true, now, /*random=*/0, wakes);
}

void Endpoint::ClearGate(WakeList* wakes) {
  pacer_.Clear();
  queue_.CollectHead(wakes);
}

void Endpoint::ForceBreaker(CircuitBreaker::Forced forced, MonotonicTime now,
                            WakeList* wakes) {
  now = Forward(now);
  if (!breaker_.Force(forced, now)) return;
  if (forced == CircuitBreaker::Forced::kOpen) {
    queue_.CollectDoomed(MonotonicTime::Infinite(), wakes);
    return;
  }
  if (!queue_.empty()) pacer_.StartSlowly(Others(), now);
  queue_.CollectHead(wakes);
}

void Endpoint::Reconfigure(const EndpointOptions& options, MonotonicTime now,
                           WakeList* wakes) {
  now = Forward(now);
  queue_.SetMaxWaiters(static_cast<size_t>(options.max_waiters));
  max_out_ = MostOut(options);
  hedge_budget_.Reconfigure(options.hedge_budget, now);
  pacing_ = options.pacing;
  learns_ = options.pacing_parts.learn;
  pacer_.SetPacing(pacing_, options.pacing_parts);
  pacer_.SetPeers(options.peers, place_);
  if (breaker_.Reconfigure(options.breaker, now))
    pacer_.StartSlowly(Others(), now);
  budget_.Reconfigure(options.budget);
  queue_.CollectHead(wakes);
}

Endpoint::Snapshot Endpoint::SnapshotAt(MonotonicTime now) const {
  Snapshot s;
  s.waiting = static_cast<int64_t>(queue_.size());
  s.out = out_;
  s.breaker = breaker_.state();
  s.forced = breaker_.forced();
  if (s.breaker == CircuitBreaker::State::kOpen &&
      !breaker_.open_until().is_infinite()) {
    s.open_until = breaker_.open_until();
  }
  s.calls = breaker_.window().total();
  s.failures = breaker_.window().failures();
  s.slow = breaker_.window().slow();
  s.run = breaker_.run();
  if (pacer_.IsGated(now)) s.gate = pacer_.gate_until();
  s.pace = pacer_.RateAt(now);
  s.budget = static_cast<double>(budget_.milli_level()) /
             static_cast<double>(budget_.milli_full());
  return s;
}

}  // namespace forbear
