#include "core/retry_budget.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateBudget(const BudgetOptions& options, absl::string_view path,
                    std::vector<std::string>* faults) {
  if (BudgetModeName(options.mode) == "?") {
    faults->push_back(absl::StrCat(path, ".mode is ",
                                   static_cast<int>(options.mode),
                                   ", which this version does not know"));
  }
  CheckNumber(absl::StrCat(path, ".capacity"), options.capacity, 1, 1000000,
              faults);
  CheckNumber(absl::StrCat(path, ".transient_cost"), options.transient_cost, 0,
              options.capacity, faults);
  CheckNumber(absl::StrCat(path, ".throttled_cost"), options.throttled_cost, 0,
              options.capacity, faults);
  CheckNumber(absl::StrCat(path, ".max_tokens"), options.max_tokens, 1, 1000,
              faults);
  CheckNumber(absl::StrCat(path, ".token_ratio"), options.token_ratio, 0.001,
              1000, faults);
}

void RetryBudget::Prepare() {
  throttles_ = options_.mode == BudgetMode::kThrottle;
  full_ = Full(options_);
  // 0.29 · 1000 is 289.99…: what is a thousandth as written is one.
  ratio_ = static_cast<int64_t>(
      std::floor(options_.token_ratio * static_cast<double>(kMilli) + 1e-6));
}

void RetryBudget::Reconfigure(const BudgetOptions& options) {
  const int64_t level = options_.enabled ? level_ : full_;
  const int64_t before = full_;
  options_ = options;
  Prepare();
  // At most 10^9 · 10^9.
  level_ = level * full_ / before;
}

absl::string_view BudgetModeName(BudgetMode mode) {
  switch (mode) {
    case BudgetMode::kCost:
      return "cost";
    case BudgetMode::kThrottle:
      return "throttle";
  }
  return "?";
}

}  // namespace forbear
