// The value of a Retry-After line: ParseRetryAfter.

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "signals/retry_after.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  constexpr int64_t kNow = 1763800000;
  const std::optional<absl::Duration> wait =
      ParseRetryAfter(input, std::nullopt, kNow);
  const std::optional<absl::Duration> earlier =
      ParseRetryAfter(input, kNow - 100, kNow);
  Require(wait.has_value() == earlier.has_value(), "a clock decides nothing");
  if (!wait) return false;
  Require(*wait >= absl::ZeroDuration(), "a wait is not negative");
  Require(*earlier >= *wait, "an earlier Date makes no wait shorter");
  const bool is_date = *earlier != *wait;
  return is_date && *wait > absl::Hours(24 * 365 * 1000);
}

}  // namespace forbear::fuzz
