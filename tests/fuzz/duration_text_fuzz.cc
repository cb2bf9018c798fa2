// A duration as people write it: ParseDurationText.

#include <optional>

#include "absl/time/time.h"
#include "core/duration_text.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const std::optional<absl::Duration> d = ParseDurationText(input);
  if (!d) return false;
  Require(*d >= absl::ZeroDuration(), "a duration is not negative");
  Require(ParseDurationText(FormatDurationText(*d)) == *d, "it reads back");
  return *d != absl::InfiniteDuration() && *d > absl::Hours(10);
}

}  // namespace forbear::fuzz
