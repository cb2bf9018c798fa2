#include "core/preview.h"

#include <algorithm>
#include <memory>

#include "core/backoff.h"
#include "core/endpoint.h"
#include "core/quota.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear {
namespace {

class NobodyWaits final : public Waiter {
 public:
  void Wake() override {}
};

// The largest number below 1: where chance ends.
constexpr double kMost = 1.0 - 0x1.0p-53;

}  // namespace

Preview PreviewOf(const Policy& policy, const PreviewFacts& facts,
                  Outcome outcome) {
  const RetryOptions& options = policy.retry;
  const MonotonicTime begin;
  const MonotonicTime now = begin + facts.elapsed;
  Preview preview;
  preview.garbage = DropGarbage(options, &outcome);
  preview.breaker = BreakerResultOf(outcome);

  // One attempt on states that have seen nothing.
  Guarded<Quota, NoMutex> quota(policy.quota);
  Guarded<Endpoint, NoMutex> endpoint(policy.endpoint, now);
  BasicSharedState<NoMutex> shared(&quota, &endpoint);
  WaitPlace place;
  WakeList wakes;
  DispatchAnswer answer =
      shared.Dispatch(&place, std::make_shared<NobodyWaits>(), now,
                      MonotonicTime::Infinite(), options.when_open, &wakes);
  const SharedState::NotBefore known = shared.OnAttemptDone(
      &answer.permit, outcome, now, /*random=*/0.0, &wakes);
  const MonotonicTime quota_gate = quota.alone().pacer().gate_until();
  const MonotonicTime endpoint_gate = endpoint.alone().pacer().gate_until();
  if (Later(quota_gate, endpoint_gate) > now) {
    preview.gate = Later(quota_gate, endpoint_gate) - now;
    preview.gated =
        quota_gate < endpoint_gate ? Holder::kEndpoint : Holder::kQuota;
  }

  RetryFacts retry;
  retry.idempotent = facts.idempotent || outcome.repeatable;
  retry.replayable = facts.replayable;
  retry.nested = facts.nested;
  retry.counted_failures = std::max(1, facts.attempt);
  // Those before it counted, so that the free one is still there.
  const Bound bound = BoundOf(outcome, /*free_used=*/false);
  if (bound != Bound::kCount) --retry.counted_failures;
  preview.reason = WhyNotRetry(options, retry, outcome);
  if (preview.reason != StopReason::kNone) {
    if (preview.reason == StopReason::kQuotaExhausted ||
        preview.reason == StopReason::kOuterLayer) {
      if (known.time > now) preview.retry_at = known.time - now;
    }
    return preview;
  }

  WaitFacts wait;
  wait.now = now;
  wait.limit =
      begin + (facts.deadline == absl::InfiniteDuration() ? options.max_elapsed
                                                          : facts.deadline);
  wait.not_before = known.time;
  wait.breaker_open = known.source == DelaySource::kBreaker && known.time > now;
  const auto earliest = [&](double random) {
    if (bound != Bound::kTime) {
      wait.backoff = BackoffDelay(options.backoff,
                                  std::max(1, retry.counted_failures), random);
    }
    return EarliestSend(wait, outcome);
  };
  preview.wait_max = earliest(kMost) - now;
  preview.wait_min = earliest(0.0) - now;
  preview.reason = WhyNotWait(options, wait, outcome);
  if (preview.reason != StopReason::kNone) {
    preview.retry_at = preview.wait_min;
    preview.wait_min = preview.wait_max = absl::ZeroDuration();
    return preview;
  }
  preview.retry = true;
  if (known.time - now >= preview.wait_min && known.time > now) {
    preview.wait_source = outcome.pushback && known.source == DelaySource::kGate
                              ? outcome.pushback_source
                              : known.source;
  } else if (outcome.pushback && *outcome.pushback > absl::ZeroDuration() &&
             *outcome.pushback >= preview.wait_min) {
    preview.wait_source = outcome.pushback_source;
  } else {
    preview.wait_source = DelaySource::kBackoff;
  }
  const BudgetOptions& costs = policy.endpoint.budget;
  preview.budget_cost = !costs.enabled || bound == Bound::kFree ? 0
                        : bound == Bound::kTime ? costs.throttled_cost
                                                : costs.transient_cost;
  return preview;
}

}  // namespace forbear
