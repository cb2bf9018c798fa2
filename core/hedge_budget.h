// HedgeBudget: how many hedges an endpoint gets, over all calls.
//
// A bucket of hedges. Each call that may hedge puts in a fraction of one, time
// puts in a little more, so that a client with few calls hedges at all; each hedge
// takes one out. So when everything becomes slow, and every call wants to hedge,
// the endpoint sees `ratio` more sends, not twice as many.
//
//   HedgeBudget budget(HedgeBudgetOptions{}, now);
//   budget.OnCall(now);                   // at the call's first send
//   if (budget.Withdraw(now)) …hedge…
//   budget.Return();                      // it was not sent after all
//
// In any stretch of time: hedges ≤ burst + ratio · calls + per_second · seconds.
//
// Invariant: 0 ≤ level() ≤ burst. Time that runs backward counts as standing
// still.
//
// Thread rule: not thread-safe; Endpoint owns it.
#ifndef FORBEAR_CORE_HEDGE_BUDGET_H_
#define FORBEAR_CORE_HEDGE_BUDGET_H_

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/time.h"

namespace forbear {

struct HedgeBudgetOptions {
  // Hedges per call. Default 0.05 (brpc's backup requests: 0.1; "The Tail at
  // Scale": about 0.02). 0 … 1.
  double ratio = 0.05;
  // And so many per second. Default 0.1 (our own). 0 … 1000.
  double per_second = 0.1;
  // The most that are left to use at a time, and at first. Default 10 (our own).
  // 1 … 1,000,000.
  int burst = 10;
};

void ValidateHedgeBudget(const HedgeBudgetOptions& options,
                         absl::string_view path,
                         std::vector<std::string>* faults);

class HedgeBudget {
 public:
  // REQUIRES: options passed ValidateHedgeBudget.
  HedgeBudget(const HedgeBudgetOptions& options, MonotonicTime now)
      : options_(options), level_(options.burst), now_(now) {}

  // A call that may hedge is sent.
  void OnCall(MonotonicTime now) {
    Refill(now);
    Put(options_.ratio);
  }

  // False, and nothing taken, if less than a whole hedge is left.
  bool Withdraw(MonotonicTime now) {
    Refill(now);
    // What fractions sum up to may lack a rounding error.
    if (level_ < 1.0 - 1e-9) return false;
    level_ = std::max(0.0, level_ - 1.0);
    return true;
  }

  void Return() { Put(1.0); }

  double level() const { return level_; }

 private:
  void Put(double hedges) {
    level_ = std::min<double>(options_.burst, level_ + hedges);
  }
  void Refill(MonotonicTime now) {
    if (now <= now_) return;
    // A full bucket needs less, at any rate that is not zero.
    constexpr double kLong = 1e10;
    Put(options_.per_second *
        std::min(kLong, absl::ToDoubleSeconds(now - now_)));
    now_ = now;
  }

  const HedgeBudgetOptions options_;
  double level_;
  MonotonicTime now_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_HEDGE_BUDGET_H_
