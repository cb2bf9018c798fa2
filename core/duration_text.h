// How durations are written by people: "250ms", "2s", "1m30s". The one grammar
// of configuration files and command lines.
//
//   std::optional<absl::Duration> d = ParseDurationText("1m30s");   // 90 s
//   if (!d) …error: DurationGrammar() says what is right…
//   FormatDurationText(absl::Milliseconds(1500));                   // "1.5s"
//
// One or more of: a decimal number, then h, m, s, ms, us or ns; or "0"; or
// "inf", which only some options take (their range says so). No sign, no blank.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_CORE_DURATION_TEXT_H_
#define FORBEAR_CORE_DURATION_TEXT_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

// Absent: that is no duration. Never negative. Infinite only for "inf": a
// number that is too large for a duration is none.
std::optional<absl::Duration> ParseDurationText(absl::string_view text);

// The shortest text that ParseDurationText reads back as `d`.
// REQUIRES: d >= 0.
std::string FormatDurationText(absl::Duration d);

// "a duration is written like 250ms, 2s or 1m30s", for errors.
absl::string_view DurationGrammar();

}  // namespace forbear

#endif  // FORBEAR_CORE_DURATION_TEXT_H_
