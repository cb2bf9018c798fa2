#include "curl_wrap/engine_options.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/option_check.h"

namespace forbear::curl {

absl::Status ValidateEngineOptions(const EngineOptions& options) {
  std::vector<std::string> faults;
  CheckNumber("max_in_flight", options.max_in_flight, 1, 65536, &faults);
  CheckNumber("max_per_host", options.max_per_host, 1, 65536, &faults);
  CheckNumber("max_transfers", options.max_transfers, 1, 10000000, &faults);
  CheckNumber("max_kept", options.max_kept, 0, 1000000, &faults);
  CheckNumber("max_body_bytes", static_cast<double>(options.max_body_bytes), 0,
              static_cast<double>(int64_t{1} << 40), &faults);
  if (faults.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("EngineOptions: ", absl::StrJoin(faults, "; ")));
}

}  // namespace forbear::curl
