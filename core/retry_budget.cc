#include "core/retry_budget.h"

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateBudget(const BudgetOptions& options, absl::string_view path,
                    std::vector<std::string>* faults) {
  CheckNumber(absl::StrCat(path, ".capacity"), options.capacity, 1, 1000000,
              faults);
  CheckNumber(absl::StrCat(path, ".transient_cost"), options.transient_cost, 0,
              options.capacity, faults);
  CheckNumber(absl::StrCat(path, ".throttled_cost"), options.throttled_cost, 0,
              options.capacity, faults);
}

}  // namespace forbear
