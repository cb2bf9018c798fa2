// The bytes of a google.rpc.Status: ReadErrorDetails.

#include <functional>
#include <optional>

#include "absl/time/time.h"
#include "signals/retry_info.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const ErrorDetails details = ReadErrorDetails(input);
  const auto inside = [&](absl::string_view text) {
    Require(
        text.empty() || (std::greater_equal<>()(text.data(), input.data()) &&
                         std::less_equal<>()(text.data() + text.size(),
                                             input.data() + input.size())),
        "texts point into the input");
  };
  inside(details.message);
  Require(details.retry_delay.value_or(absl::ZeroDuration()) >=
              absl::ZeroDuration(),
          "a delay is not negative");
  Require(details.violations.size() <= 16, "16 violations");
  for (const QuotaViolation& v : details.violations) {
    for (const absl::string_view text :
         {v.subject, v.description, v.api_service, v.quota_metric,
          v.quota_id}) {
      inside(text);
    }
  }
  Require(details.infos.size() <= 4, "4 infos");
  for (const ErrorInfo& info : details.infos) {
    inside(info.reason);
    inside(info.domain);
    Require(info.metadata.size() <= 32, "32 entries");
    for (const auto& [key, value] : info.metadata) {
      inside(key);
      inside(value);
    }
  }
  return details.retry_delay && *details.retry_delay > absl::Hours(24);
}

}  // namespace forbear::fuzz
