// RetryBudget: how much a failing endpoint may be retried, over all calls.
//
// A bucket of tokens (AWS retry 2.1). A retry withdraws its cost before its
// wait (a throttled one when its turn in the queue has come: there may be more
// waiters than tokens, and they leave one by one); a call that succeeds after retries gives its last cost back; a call
// that succeeds at once deposits one token. So in an outage 500 / 14 = 35
// retries go out, and then about one per 14 clean successes: a client that
// keeps retrying cannot double the load of a service that is down.
//
//   RetryBudget budget(BudgetOptions{});
//   if (!budget.Withdraw(14)) …stop: kBudgetExhausted…
//   …the retry succeeded…
//   budget.Deposit(14);
//
// A throttled retry costs less than a transient one: the server lives and asks
// for time, not for mercy. A retry of what the server never saw costs nothing.
//
// Invariant: 0 ≤ level() ≤ capacity.
//
// Thread rule: not thread-safe; Endpoint owns it.
#ifndef FORBEAR_CORE_RETRY_BUDGET_H_
#define FORBEAR_CORE_RETRY_BUDGET_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace forbear {

struct BudgetOptions {
  // Off: every withdrawal is granted.
  bool enabled = true;
  // Tokens of a full bucket, which it starts as. Default 500. 1 … 1,000,000.
  int capacity = 500;
  // What a retry costs by the kind of its failure. Defaults 14 and 5 (AWS
  // retry 2.1). 0 … capacity.
  int transient_cost = 14;
  int throttled_cost = 5;
};

void ValidateBudget(const BudgetOptions& options, absl::string_view path,
                    std::vector<std::string>* faults);

class RetryBudget {
 public:
  // REQUIRES: options passed ValidateBudget.
  explicit RetryBudget(const BudgetOptions& options)
      : options_(options), level_(options.capacity) {}

  // False, and nothing withdrawn, when the level is below `cost`.
  bool Withdraw(int cost) {
    if (!options_.enabled) return true;
    if (level_ < cost) return false;
    level_ -= cost;
    return true;
  }

  // Gives tokens back; what would overflow is dropped.
  void Deposit(int tokens) {
    level_ = tokens < options_.capacity - level_ ? level_ + tokens
                                                 : options_.capacity;
  }

  int level() const { return level_; }
  const BudgetOptions& options() const { return options_; }

 private:
  const BudgetOptions options_;
  int level_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_RETRY_BUDGET_H_
