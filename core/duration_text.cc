#include "core/duration_text.h"

#include "absl/strings/ascii.h"

namespace forbear {

std::optional<absl::Duration> ParseDurationText(absl::string_view text) {
  if (text == "inf") return absl::InfiniteDuration();
  // Abseil's grammar, without signs and blanks.
  if (text.empty() || !(absl::ascii_isdigit(text[0]) || text[0] == '.')) {
    return std::nullopt;
  }
  absl::Duration d;
  if (!absl::ParseDuration(text, &d)) return std::nullopt;
  if (d == absl::InfiniteDuration()) return std::nullopt;
  return d;
}

std::string FormatDurationText(absl::Duration d) {
  return absl::FormatDuration(d);
}

absl::string_view DurationGrammar() {
  return "a duration is written like 250ms, 2s or 1m30s";
}

}  // namespace forbear
