#include "signals/retry_after.h"

#include <algorithm>

#include "signals/header_field.h"
#include "signals/http_date.h"

namespace forbear {
namespace {

// 1*DIGIT, saturating.
std::optional<absl::Duration> ParseSeconds(absl::string_view text) {
  if (text.empty()) return std::nullopt;
  // Far above any wait that is believed, far below what overflows.
  constexpr int64_t kHuge = int64_t{1} << 40;
  int64_t seconds = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    seconds = std::min(kHuge, seconds * 10 + (c - '0'));
  }
  return seconds == kHuge ? absl::InfiniteDuration() : absl::Seconds(seconds);
}

}  // namespace

std::optional<absl::Duration> ParseRetryAfter(absl::string_view value,
                                              std::optional<int64_t> date,
                                              int64_t now) {
  const absl::string_view text = TrimBlanks(value);
  if (auto seconds = ParseSeconds(text)) return seconds;
  const std::optional<int64_t> until = ParseHttpDate(text, date.value_or(now));
  if (!until) return std::nullopt;
  return absl::Seconds(std::max<int64_t>(0, *until - date.value_or(now)));
}

std::optional<absl::Duration> LongestWait(std::optional<absl::Duration> a,
                                          std::optional<absl::Duration> b) {
  if (!a) return b;
  if (!b) return a;
  return std::max(*a, *b);
}

}  // namespace forbear
