// A wait in any of the formats: ParseDelay. The first byte chooses the format.

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "signals/delay_text.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const auto format = static_cast<DelayFormat>(TakeChoice(&input, 10));
  WallTimes times;
  times.now = absl::FromUnixSeconds(1763800000);
  const std::optional<absl::Duration> wait = ParseDelay(format, input, times);
  Require(ParseDelay(format, absl::StrCat(" \t", input, " "), times) == wait,
          "blanks around are no part of it");
  times.date = times.now - absl::Seconds(100);
  const std::optional<absl::Duration> earlier =
      ParseDelay(format, input, times);
  Require(wait.has_value() == earlier.has_value(), "a clock decides nothing");
  if (!wait) return false;
  Require(*wait >= absl::ZeroDuration(), "a wait is not negative");
  Require(*earlier >= *wait, "an earlier Date makes no wait shorter");
  return format == DelayFormat::kGoDuration && *wait > absl::Hours(1000) &&
         *wait != absl::InfiniteDuration();
}

}  // namespace forbear::fuzz
