// RetryBudget: how much a failing endpoint may be retried, over all calls. Two
// modes; both keep a client that keeps retrying from doubling the load of a
// service that is down.
//
// kCost, the default (AWS retry 2.1): a bucket of tokens. A retry withdraws its
// cost before its wait (a throttled one when its turn in the queue has come: there
// may be more waiters than tokens, and they leave one by one); a call that succeeds
// after retries gives its last cost back; a call that succeeds at once deposits one
// token. So in an outage 500 / 14 = 35 retries go out, and then about one per 14
// clean successes. A throttled retry costs less than a transient one: the server
// lives and asks for time, not for mercy.
//
//   RetryBudget budget(BudgetOptions{});
//   if (!budget.Withdraw(budget.costs().transient)) …stop: kBudgetExhausted…
//   …the retry succeeded…
//   budget.Deposit(14);
//
// kThrottle (gRPC A6, retryThrottling): each failure that may be retried takes one
// token, whether it is retried or not, each success gives token_ratio back, and a
// retry may go only while more than half of max_tokens is left. Retries cost
// nothing themselves: Withdraw asks, and takes nothing; Deposit does nothing.
//
//   budget.OnFailure();                 // of any attempt; a success: OnSuccess()
//   if (!budget.Withdraw(1)) …
//
// In both, a retry of what the server never saw is free: Withdraw(0) is granted.
//
// Reconfigure keeps how full it is, in proportion (gRPC's rule: level / max ·
// new max), so that a reload does not forget an outage.
//
// Invariant: 0 ≤ level ≤ capacity (max_tokens). Exact: thousandths of a token.
//
// Thread rule: not thread-safe; Endpoint owns it.
#ifndef FORBEAR_CORE_RETRY_BUDGET_H_
#define FORBEAR_CORE_RETRY_BUDGET_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace forbear {

enum class BudgetMode : uint8_t {
  kCost,      // AWS retry 2.1
  kThrottle,  // gRPC A6
};

struct BudgetOptions {
  // Off: every withdrawal is granted.
  bool enabled = true;
  // Default kCost.
  BudgetMode mode = BudgetMode::kCost;

  // kCost. Tokens of a full bucket, which it starts as. Default 500. 1 …
  // 1,000,000.
  int capacity = 500;
  // kCost. What a retry costs by the kind of its failure. Defaults 14 and 5 (AWS
  // retry 2.1). 0 … capacity.
  int transient_cost = 14;
  int throttled_cost = 5;

  // kThrottle. Tokens of a full bucket, which it starts as. Default 10 (the
  // example of gRPC A6, which has no default). 1 … 1000.
  int max_tokens = 10;
  // kThrottle. What a success gives back. Default 0.1 (likewise). 0.001 … 1000;
  // digits beyond the third after the point are dropped, as in gRPC A6.
  double token_ratio = 0.1;
};

void ValidateBudget(const BudgetOptions& options, absl::string_view path,
                    std::vector<std::string>* faults);

// What a retry costs by the kind of its failure, for Withdraw.
struct RetryCosts {
  int transient = 0;
  int throttled = 0;
};

class RetryBudget {
 public:
  // REQUIRES: options passed ValidateBudget.
  explicit RetryBudget(const BudgetOptions& options)
      : options_(options), level_(Full(options)) {
    Prepare();
  }

  // False, and nothing withdrawn, when too little is left for a retry that costs
  // so much. 0 is always granted.
  bool Withdraw(int cost) {
    if (!options_.enabled || cost == 0) return true;
    if (throttles_) return level_ > full_ / 2;
    const int64_t needed = cost * kMilli;
    if (level_ < needed) return false;
    level_ -= needed;
    return true;
  }

  // Gives tokens back; what would overflow is dropped. kThrottle: nothing.
  void Deposit(int tokens) {
    if (throttles_) return;
    level_ = std::min(full_, level_ + tokens * kMilli);
  }

  // An attempt ended with a failure that may be retried, or with a success.
  // kCost: nothing.
  void OnFailure() {
    if (throttles_) level_ = std::max<int64_t>(0, level_ - kMilli);
  }
  void OnSuccess() {
    if (throttles_) level_ = std::min(full_, level_ + ratio_);
  }

  RetryCosts costs() const {
    if (throttles_) return {1, 1};
    return {options_.transient_cost, options_.throttled_cost};
  }

  // New options, also another mode: as full as before, rounded down. One that
  // was off before is full.
  // REQUIRES: options passed ValidateBudget.
  void Reconfigure(const BudgetOptions& options);

  // Whether Deposit and OnSuccess change nothing.
  bool IsFull() const { return level_ >= full_; }
  // Whole tokens that are left.
  int level() const { return static_cast<int>(level_ / kMilli); }
  // In thousandths.
  int64_t milli_level() const { return level_; }
  int64_t milli_full() const { return full_; }
  const BudgetOptions& options() const { return options_; }

 private:
  static constexpr int64_t kMilli = 1000;

  static int64_t Full(const BudgetOptions& options) {
    return kMilli * (options.mode == BudgetMode::kThrottle ? options.max_tokens
                                                           : options.capacity);
  }
  void Prepare();

  BudgetOptions options_;
  bool throttles_ = false;
  int64_t level_;  // thousandths of a token, as the two below
  int64_t full_ = 0;
  int64_t ratio_ = 0;
};

// "cost", "throttle".
absl::string_view BudgetModeName(BudgetMode mode);

}  // namespace forbear

#endif  // FORBEAR_CORE_RETRY_BUDGET_H_
