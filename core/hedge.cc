#include "core/hedge.h"

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateHedge(const HedgeOptions& options, absl::string_view path,
                   std::vector<std::string>* faults) {
  CheckDuration(absl::StrCat(path, ".delay"), options.delay,
                absl::ZeroDuration(), absl::Hours(1), faults);
  CheckNumber(absl::StrCat(path, ".max_hedges"), options.max_hedges, 1, 4,
              faults);
}

bool MayHedge(const HedgeOptions& options, const HedgeFacts& facts) {
  return options.enabled && (facts.idempotent || options.repeat_consent) &&
         facts.replayable && (!facts.billable || options.billable_consent) &&
         !facts.yields && !facts.told && facts.in_flight > 0 &&
         facts.in_flight < facts.max_in_flight &&
         facts.hedges < options.max_hedges &&
         // All that are out may fail.
         facts.counted_failures < facts.max_attempts - facts.in_flight;
}

}  // namespace forbear
