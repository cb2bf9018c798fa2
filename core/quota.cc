#include "core/quota.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

namespace {

// So that sums of very many fit; above every burst.
Cost Bounded(const Cost& cost) {
  constexpr int64_t kMost = 1000000000;
  Cost bounded;
  bounded.requests = std::clamp<int64_t>(cost.requests, 0, kMost);
  bounded.input_tokens = std::clamp<int64_t>(cost.input_tokens, 0, kMost);
  bounded.output_tokens = std::clamp<int64_t>(cost.output_tokens, 0, kMost);
  bounded.units = std::clamp<int64_t>(cost.units, 0, kMost);
  return bounded;
}

Cost Less(const Cost& a, const Cost& b) {
  Cost rest;
  rest.requests = a.requests - b.requests;
  rest.input_tokens = a.input_tokens - b.input_tokens;
  rest.output_tokens = a.output_tokens - b.output_tokens;
  rest.units = a.units - b.units;
  return rest;
}

const std::vector<RateLimitOptions>& LimitsOf(const QuotaOptions& options) {
  static const auto* const none = new std::vector<RateLimitOptions>;
  return options.limits_enabled ? options.limits : *none;
}

// Whether no limiter of the server can have counted it.
bool WasNeverSent(const Outcome& outcome) {
  return outcome.processed == Processed::kNo && outcome.status == 0 &&
         (outcome.kind == ErrorKind::kTransient || IsSilent(outcome));
}

}  // namespace

void ValidateQuota(const QuotaOptions& options, absl::string_view path,
                   std::vector<std::string>* faults) {
  CheckNumber(absl::StrCat(path, ".max_waiters"), options.max_waiters, 1,
              10000000, faults);
  CheckNumber(absl::StrCat(path, ".peers"), options.peers, 1, 1000000, faults);
  ValidateRateLimits(options.limits, absl::StrCat(path, ".limits"), faults);
}

Quota::Quota(const QuotaOptions& options, double place)
    : place_(place), queue_(static_cast<size_t>(options.max_waiters)) {
  pacer_.SetPacing(options.pacing, options.pacing_parts);
  pacer_.SetPeers(options.peers, place_);
  if (!LimitsOf(options).empty()) {
    limits_ = std::make_unique<Limits>(LimitsOf(options));
  }
}

Quota::Answer Quota::Ask(const Ticket& ticket,
                         const std::shared_ptr<Waiter>& waiter,
                         const Cost& cost, MonotonicTime now,
                         MonotonicTime limit, WakeList* wakes) {
  now = Forward(now);
  Answer answer;
  const bool first = queue_.IsFirst(ticket);
  const MonotonicTime turn =
      first ? TurnOf(ticket, now) : MonotonicTime::Infinite();
  if (first && turn <= now &&
      (limits_ == nullptr ||
       limits_->limiter.Acquire(cost, now, &answer.permit.limiter))) {
    Leave(ticket, wakes);
    answer.permit.pacer = pacer_.OnSend(now);
    ++out_;
    return answer;
  }
  answer.source =
      pacer_.IsGated(now) ? DelaySource::kGate : DelaySource::kQueue;
  // Who is not first cannot know its time, but it is not before the gate.
  answer.until = first ? pacer_.NotBefore(now) : pacer_.gate_until();
  MonotonicTime ask_at = turn;
  if (limits_ != nullptr) {
    const MonotonicTime limited = LimitedUntil(ticket, cost, first, now);
    if (limited > Later(now, first ? ask_at : answer.until)) {
      answer.source = DelaySource::kLimiter;
    }
    answer.until = Later(answer.until, limited);
    ask_at = Later(ask_at, limited);
  }
  if (answer.until >= limit) {
    answer.verdict = Verdict::kRefuse;
    answer.reason = limits_ != nullptr && limits_->limiter.TooLarge(cost) >= 0
                        ? StopReason::kCostTooLarge
                        : StopReason::kWaitExceedsDeadline;
    Leave(ticket, wakes);
    return answer;
  }
  if (!queue_.Add(ticket, waiter, limit, now)) {
    answer.verdict = Verdict::kRefuse;
    answer.reason = StopReason::kQueueFull;
    return answer;
  }
  if (limits_ != nullptr) {
    const Cost bounded = Bounded(cost);
    if (limits_->queued.emplace(ticket, bounded).second) {
      limits_->sum = limits_->sum + bounded;
      if (limits_->last < ticket) limits_->last = ticket;
    }
  }
  answer.verdict = Verdict::kWait;
  // Only the head has a time; the others are woken when they become the head.
  answer.until = ask_at;
  return answer;
}

Quota::Answer Quota::SendOn(bool must_go, MonotonicTime now) {
  now = Forward(now);
  Answer answer;
  const Cost cost;
  answer.until = pacer_.NotBefore(now);
  const bool free =
      queue_.empty() && !pacer_.confirming() && answer.until <= now;
  if (free && (limits_ == nullptr ||
               limits_->limiter.Acquire(cost, now, &answer.permit.limiter))) {
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
  answer.source =
      pacer_.IsGated(now) ? DelaySource::kGate : DelaySource::kQueue;
  const MonotonicTime limited =
      limits_ == nullptr ? now : limits_->limiter.Earliest(cost, now);
  if (limited > answer.until) {
    answer.until = limited;
    answer.source = DelaySource::kLimiter;
  }
  return answer;
}

MonotonicTime Quota::TurnOf(const Ticket& head, MonotonicTime now) const {
  return pacer_.Earliest(now, queue_.Since(head, now), out_);
}

MonotonicTime Quota::LimitedUntil(const Ticket& ticket, const Cost& cost,
                                  bool first, MonotonicTime now) const {
  const RateLimiter& limiter = limits_->limiter;
  // Of one that comes back, how much lies before it is not known.
  if (first || ticket < limits_->last || ticket == limits_->last) {
    return limiter.Earliest(cost, now);
  }
  return limiter.EarliestBehind(limits_->sum, cost, now);
}

void Quota::Leave(const Ticket& ticket, WakeList* wakes) {
  const bool was_head = queue_.IsFirst(ticket);
  if (!queue_.Remove(ticket)) return;
  if (limits_ != nullptr) {
    const auto it = limits_->queued.find(ticket);
    // Who came before there were limits is not in.
    if (it != limits_->queued.end()) {
      limits_->sum = Less(limits_->sum, it->second);
      limits_->queued.erase(it);
    }
  }
  if (was_head) queue_.CollectHead(wakes);
}

void Quota::Return(const Permit& permit, WakeList* wakes) {
  --out_;
  if (limits_ != nullptr) limits_->limiter.Return(permit.limiter, now_);
  pacer_.OnReturned(permit.pacer);
  queue_.CollectHead(wakes);
}

void Quota::OnAnswer(const Permit& permit, const Outcome& outcome,
                     MonotonicTime now, WakeList* wakes) {
  now = Forward(now);
  --out_;
  bool sooner = false;
  switch (outcome.kind) {
    case ErrorKind::kOk:
    case ErrorKind::kPermanent:
      sooner = IsSilent(outcome)
                   ? pacer_.OnNeutral(permit.pacer)
                   : pacer_.OnAdmitted(permit.pacer, Others(), now);
      break;
    case ErrorKind::kThrottled:
    case ErrorKind::kQuotaExhausted:
      OnRefused(permit, outcome, now, wakes);
      // The gate may open before the lease of the caller that was refused, or
      // before its place in the window would have been free.
      sooner = true;
      break;
    case ErrorKind::kTransient:
      sooner = outcome.processed == Processed::kNo
                   ? pacer_.OnNeutral(permit.pacer)
                   : pacer_.OnFault(permit.pacer);
      break;
    case ErrorKind::kCancelled:
      sooner = pacer_.OnNeutral(permit.pacer);
      break;
  }
  if (limits_ != nullptr && WasNeverSent(outcome)) {
    sooner = limits_->limiter.Return(permit.limiter, now) || sooner;
  }
  if (sooner) queue_.CollectHead(wakes);
}

void Quota::OnTold(const Permit& permit, const LimitStand& stand,
                   MonotonicTime now, WakeList* wakes) {
  pacer_.OnTold(permit.pacer, stand, Forward(now));
  queue_.CollectHead(wakes);
}

void Quota::Settle(const Permit& permit, const Usage& usage, MonotonicTime now,
                   WakeList* wakes) {
  if (limits_ == nullptr) return;
  now = Forward(now);
  if (limits_->limiter.Settle(permit.limiter, usage, now)) {
    queue_.CollectHead(wakes);
  }
  // If much is owed, some cannot wait for it.
  const Cost least{1, 1, 1, 1};
  queue_.CollectDoomed(limits_->limiter.Earliest(least, now), wakes);
}

MonotonicTime Quota::NotBefore(const Cost& cost, MonotonicTime now,
                               DelaySource* source) const {
  MonotonicTime t = Later(now, pacer_.gate_until());
  if (t > now) *source = DelaySource::kGate;
  if (limits_ != nullptr) {
    const MonotonicTime limited = limits_->limiter.Earliest(cost, now);
    if (limited > t) {
      t = limited;
      *source = DelaySource::kLimiter;
    }
  }
  return t;
}

void Quota::OnRefused(const Permit& permit, const Outcome& outcome,
                      MonotonicTime now, WakeList* wakes) {
  if (pacer_.OnRefused(permit.pacer, outcome.pushback, now)) {
    queue_.CollectDoomed(pacer_.gate_until(), wakes);
  }
}

void Quota::OnRefusedLater(const Permit& permit, const Outcome& outcome,
                           MonotonicTime now, WakeList* wakes) {
  OnRefused(permit, outcome, Forward(now), wakes);
  queue_.CollectHead(wakes);
}

void Quota::ClearGate(WakeList* wakes) {
  pacer_.Clear();
  queue_.CollectHead(wakes);
}

void Quota::Reconfigure(const QuotaOptions& options, MonotonicTime now,
                        WakeList* wakes) {
  now = Forward(now);
  queue_.SetMaxWaiters(static_cast<size_t>(options.max_waiters));
  pacer_.SetPacing(options.pacing, options.pacing_parts);
  pacer_.SetPeers(options.peers, place_);
  if (limits_ != nullptr) {
    // Kept also without limits: it knows which permits are from before.
    limits_->limiter.Reconfigure(LimitsOf(options), now);
  } else if (!LimitsOf(options).empty()) {
    limits_ = std::make_unique<Limits>(LimitsOf(options));
  }
  queue_.CollectHead(wakes);
}

bool Quota::IsIdle(MonotonicTime now) const {
  if (!queue_.empty() || out_ != 0 || pacer_.IsGated(now)) return false;
  if (limits_ == nullptr) return true;
  for (size_t i = 0; i < limits_->limiter.size(); ++i) {
    if (limits_->limiter.LevelOf(i, now).full_at > now) return false;
  }
  return true;
}

Quota::Snapshot Quota::SnapshotAt(MonotonicTime now) const {
  Snapshot s;
  s.waiting = static_cast<int64_t>(queue_.size());
  s.out = out_;
  if (pacer_.IsGated(now)) s.gate = pacer_.gate_until();
  s.pace = pacer_.RateAt(now);
  if (limits_ != nullptr) {
    const RateLimiter& limiter = limits_->limiter;
    for (size_t i = 0; i < limiter.size(); ++i) {
      s.limits.push_back({limiter.options(i).name, limiter.options(i).unit,
                          limiter.LevelOf(i, now)});
    }
  }
  return s;
}

}  // namespace forbear
