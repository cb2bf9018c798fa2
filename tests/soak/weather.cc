#include "tests/soak/weather.h"

#include <fcntl.h>

#include "core/rate_limiter.h"

namespace forbear::soak {

RetryOptions RandomRetry(Dice* dice, absl::Duration longest) {
  RetryOptions retry;
  retry.max_attempts = static_cast<int>(dice->Between(1, 5));
  retry.max_elapsed = dice->Millis(20, 2000);
  retry.call_timeout = longest;
  retry.when_open = dice->One(4) ? WhenOpen::kFail : WhenOpen::kWait;
  retry.backoff.initial = dice->Millis(1, 5);
  retry.backoff.max = absl::Milliseconds(20);
  return retry;
}

void RandomShared(Dice* dice, Policy* policy) {
  policy->endpoint.breaker.min_open = dice->Millis(2, 10);
  policy->endpoint.breaker.max_open = absl::Milliseconds(50);
  policy->endpoint.breaker.probe_lease = absl::Milliseconds(500);
  policy->endpoint.pacing = policy->quota.pacing = dice->One(2);
  policy->endpoint.budget.enabled = !dice->One(3);
  policy->endpoint.hedge_budget.burst = dice->One(2) ? 10 : 100000;
  policy->endpoint.max_concurrency = dice->One(4) ? 16 : 0;
  policy->endpoint.max_waiters = policy->quota.max_waiters =
      dice->One(8) ? 20 : 1000;
  policy->quota.limits.clear();
  if (dice->One(4)) {
    RateLimitOptions limit;
    limit.name = "rps";
    limit.amount = 1000;
    limit.per = absl::Seconds(1);
    limit.burst = 50;
    policy->quota.limits.push_back(limit);
  }
}

size_t RandomSize(Dice* dice, uint64_t rare) {
  if (dice->One(rare)) return dice->Below(200000);
  if (dice->One(4)) return dice->Below(20000);
  return dice->Below(500);
}

void Weather::ChangeNowAndThen(Client* client) {
  if (dice_.One(6)) {
    Settings settings = client->options();
    RandomShared(&dice_, &settings);
    const absl::Status status = client->Reload(std::move(settings));
    if (!status.ok()) ledger_->Fault(status.ToString());
  }
  if (plant_ == "fd" && dice_.One(5)) {
    (void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
}

}  // namespace forbear::soak
