#include "core/hedge_budget.h"

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateHedgeBudget(const HedgeBudgetOptions& options,
                         absl::string_view path,
                         std::vector<std::string>* faults) {
  CheckNumber(absl::StrCat(path, ".ratio"), options.ratio, 0, 1, faults);
  CheckNumber(absl::StrCat(path, ".per_second"), options.per_second, 0, 1000,
              faults);
  CheckNumber(absl::StrCat(path, ".burst"), options.burst, 1, 1000000, faults);
}

}  // namespace forbear
