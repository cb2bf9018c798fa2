// What an answer's head says about rate limits: how many, how many are left, until
// when. Servers say it in four ways, and all are read:
//
//   RateLimit: "default";r=50;t=30                     (IETF draft 08 to 11)
//   RateLimit-Policy: "default";q=100;w=60
//   RateLimit: limit=100, remaining=50, reset=30       (draft 07)
//   RateLimit-Policy: 100;w=60
//   RateLimit-Limit: 100, 100;w=60                     (draft 00 to 06)
//   RateLimit-Remaining: 50
//   RateLimit-Reset: 30
//   X-RateLimit-Remaining-Tokens: 0                    (everybody else)
//   X-RateLimit-Reset-Tokens: 6m0s
//
//   for (const AnnouncedLimit& limit : ReadRateLimitHeaders(fields, times)) …
//   WaitForExhausted(limits);   // 6 min: nothing is left of one of them
//
// 1. What is malformed is as if it were absent: of RateLimit and RateLimit-Policy
//    the whole field (all its lines together), of the others that line alone. So are
//    values that stand for "none" (-1).
// 2. When one field comes twice the smaller number and the longer wait count.
// 3. An answer out of a cache (Age above 0) says nothing about now.
// 4. The numbers are hints: nothing is promised by what is left, and no rate follows
//    from remaining / reset.
// 5. At most kMaxAnnouncedLimits are read, from at most 16 lines of each of the two
//    structured fields; names are at most 64 characters long.
//
// How X-RateLimit-Reset is written depends on who writes it (signals/delay_text.h);
// `reset_format` is for those who know. RateLimit-Reset is seconds, and GitLab
// sends a date under that name, so it is read the same way.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_RATE_LIMIT_HEADERS_H_
#define FORBEAR_SIGNALS_RATE_LIMIT_HEADERS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/outcome.h"
#include "signals/delay_text.h"
#include "signals/header_field.h"

namespace forbear {

inline constexpr size_t kMaxAnnouncedLimits = 32;

// One limit, with what was said about it.
struct AnnouncedLimit {
  // The policy's name, or what follows "limit-", "remaining-" and "reset-" in the
  // names of fields, in lower case ("requests", "project-tokens"); may be empty.
  std::string name;
  // What is counted, when it says so ("requests", "content-bytes", …).
  std::string unit;
  // Whose it is; any bytes.
  std::string partition_key;

  // How many there are in a window, and how many are left. Never negative.
  std::optional<int64_t> limit;
  std::optional<int64_t> remaining;
  // From the answer on, until more is left.
  std::optional<absl::Duration> reset;
  std::optional<absl::Duration> window;

  bool exhausted() const { return remaining == 0; }
};

std::vector<AnnouncedLimit> ReadRateLimitHeaders(
    absl::Span<const HeaderField> fields, const WallTimes& times,
    DelayFormat reset_format = DelayFormat::kGuess);

// The longest reset of those of which nothing is left; nothing if there is none.
std::optional<absl::Duration> WaitForExhausted(
    absl::Span<const AnnouncedLimit> limits);

// Whether a header of this name may tell of a limit: a quick look, before all of them
// are read.
bool MayTellOfLimit(absl::string_view name);

// Of the limits of requests that say how many there are, how many are left and until
// when, the one of which least is left; nothing if there is none.
std::optional<LimitStand> StandOfRequests(
    absl::Span<const AnnouncedLimit> limits);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_RATE_LIMIT_HEADERS_H_
