#include "core/policy.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidatePolicy(const Policy& policy, std::vector<std::string>* faults) {
  constexpr size_t kMaxName = 64;
  // Not echoed: whatever it is, it is not for printing.
  if (policy.name.empty() || policy.name.size() > kMaxName ||
      !std::all_of(policy.name.begin(), policy.name.end(), [](char c) {
        return absl::ascii_isgraph(static_cast<unsigned char>(c));
      })) {
    faults->push_back(absl::StrCat("name has ", policy.name.size(),
                                   " bytes; it must be 1 … ", kMaxName,
                                   " of printable ASCII without blanks"));
  }
  ValidateRetry(policy.retry, "retry", faults);
  ValidateQuota(policy.quota, "quota", faults);
  ValidateEndpoint(policy.endpoint, "endpoint", faults);
}

void ValidateSettings(const Settings& settings,
                      std::vector<std::string>* faults) {
  ValidatePolicy(settings, faults);
  CheckNumber("max_targets", settings.max_targets, 1, 10000000, faults);
}

}  // namespace forbear
