#include "core/quota.h"

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateQuota(const QuotaOptions& options, absl::string_view path,
                   std::vector<std::string>* faults) {
  CheckNumber(absl::StrCat(path, ".max_waiters"), options.max_waiters, 1,
              10000000, faults);
}

Quota::Answer Quota::Ask(const Ticket& ticket,
                         const std::shared_ptr<Waiter>& waiter,
                         MonotonicTime now, MonotonicTime limit,
                         WakeList* wakes) {
  now = Forward(now);
  Answer answer;
  const bool first = queue_.IsFirst(ticket);
  if (first && pacer_.Earliest(now) <= now) {
    Leave(ticket, wakes);
    answer.permit = pacer_.OnSend(now);
    ++out_;
    return answer;
  }
  answer.source =
      pacer_.IsGated(now) ? DelaySource::kGate : DelaySource::kQueue;
  // Who is not first cannot know its time, but it is not before the gate.
  answer.until = first ? pacer_.NotBefore(now) : pacer_.gate_until();
  if (answer.until >= limit) {
    answer.verdict = Verdict::kRefuse;
    answer.reason = StopReason::kWaitExceedsDeadline;
    Leave(ticket, wakes);
    return answer;
  }
  if (!queue_.Add(ticket, waiter, limit, now)) {
    answer.verdict = Verdict::kRefuse;
    answer.reason = StopReason::kQueueFull;
    return answer;
  }
  answer.verdict = Verdict::kWait;
  // Only the head has a time; the others are woken when they become the head.
  answer.until = first ? pacer_.Earliest(now) : MonotonicTime::Infinite();
  return answer;
}

void Quota::Leave(const Ticket& ticket, WakeList* wakes) {
  const bool was_head = queue_.IsFirst(ticket);
  if (queue_.Remove(ticket) && was_head) queue_.CollectHead(wakes);
}

void Quota::Return(const Pacer::Permit& permit, WakeList* wakes) {
  --out_;
  pacer_.OnReturned(permit);
  queue_.CollectHead(wakes);
}

void Quota::OnAnswer(const Pacer::Permit& permit, const Outcome& outcome,
                     MonotonicTime now, WakeList* wakes) {
  now = Forward(now);
  --out_;
  bool sooner = false;
  switch (outcome.kind) {
    case ErrorKind::kOk:
    case ErrorKind::kPermanent:
      sooner = IsSilent(outcome) ? pacer_.OnNeutral(permit)
                                 : pacer_.OnAdmitted(permit, now);
      break;
    case ErrorKind::kThrottled:
    case ErrorKind::kQuotaExhausted:
      sooner = OnRefused(permit, outcome, now, wakes);
      break;
    case ErrorKind::kTransient:
      sooner = outcome.processed == Processed::kNo ? pacer_.OnNeutral(permit)
                                                   : pacer_.OnFault(permit);
      break;
    case ErrorKind::kCancelled:
      sooner = pacer_.OnNeutral(permit);
      break;
  }
  if (sooner) queue_.CollectHead(wakes);
}

bool Quota::OnRefused(const Pacer::Permit& permit, const Outcome& outcome,
                      MonotonicTime now, WakeList* wakes) {
  const MonotonicTime before = pacer_.Earliest(now);
  if (pacer_.OnRefused(permit, outcome.pushback, now)) {
    queue_.CollectDoomed(pacer_.gate_until(), wakes);
  }
  // The gate may open before the lease of the caller that was refused.
  return pacer_.Earliest(now) < before;
}

void Quota::OnRefusedLater(const Pacer::Permit& permit, const Outcome& outcome,
                           MonotonicTime now, WakeList* wakes) {
  if (OnRefused(permit, outcome, Forward(now), wakes)) {
    queue_.CollectHead(wakes);
  }
}

void Quota::ClearGate(WakeList* wakes) {
  pacer_.Clear();
  queue_.CollectHead(wakes);
}

}  // namespace forbear
