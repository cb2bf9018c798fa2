// How servers write down a wait: one function per format would be ten, so it is
// one function with the format as a name, which profile files can carry.
//
//   WallTimes times;
//   times.now = …;                       // this machine's wall clock
//   times.date = …;                      // the answer's Date field, if it has one
//   ParseDelay(DelayFormat::kGoDuration, "2m59.56s", times);     // 179.56 s
//   ParseDelay(DelayFormat::kMilliseconds, "1500", times);       // 1.5 s
//   ParseDelay(DelayFormat::kEpochSeconds, "1791331200", times); // until then
//
// A name does not settle the unit (x-ratelimit-reset is seconds, a date, an epoch
// or "6m0s", depending on whom you ask), so the format is an argument. kGuess is
// for a server that nobody described.
//
// 1. Never sooner: whatever is cut off is rounded up, to the nanosecond. A value
//    that no clock can hold is absl::InfiniteDuration(); the caller decides what is
//    too long to be believed.
// 2. Dates and epochs are counted from the answer's own Date if it has one, because
//    only the server knows which clock it meant; else from `now`. One that is over
//    is a wait of zero.
// 3. Spaces and tabs around the text are no part of it. Anything else that is not
//    of the format is nothing at all: signs, blanks inside, exponents, "nan", a
//    missing unit, an empty text. Text of any length is read once, and nothing is
//    allocated.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_DELAY_TEXT_H_
#define FORBEAR_SIGNALS_DELAY_TEXT_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

// The formats. A number is 1*DIGIT [ "." 1*DIGIT ] except where it says "whole".
enum class DelayFormat : uint8_t {
  kSeconds,            // "30": whole seconds from the answer on
  kDecimalSeconds,     // "64.57" (Discord), "2.0" (Shopify): seconds
  kMilliseconds,       // "1500" (retry-after-ms): milliseconds
  kGoDuration,         // "6m0s", "12ms", "2m59.56s", "1h": 1*(number unit) with
                       // h, m, s, ms, us, µs, ns, in any order (Go's
                       // ParseDuration); or "0"
  kProtoDuration,      // "26s", "0.847s": seconds with at most nine decimals
                       // (JSON form of google.protobuf.Duration)
  kRfc3339,            // "2025-08-21T12:40:59Z", "…T12:40:59.25+02:00", and
                       // without seconds (Atlassian). The zone must be there
  kEpochSeconds,       // "1691591363" (GitHub), "1470173023.123" (Discord)
  kEpochMilliseconds,  // "1791331200000" (OpenRouter)
  kHttpRetryAfter,  // RFC 9110: "120" or an HTTP date (signals/retry_after.h)
  kGuess,           // by its looks: a number below 10^9 is seconds from now on,
                    // and above one day nothing; below 10^12 it is epoch
                    // seconds, else epoch milliseconds; or kGoDuration,
                    // kRfc3339, an HTTP date
};

// When an answer came, on wall clocks.
struct WallTimes {
  // The server's clock then, if it is known: the answer's Date field, or what lies
  // less than a second after it (runtime/server_clock.h).
  std::optional<absl::Time> date;
  // This machine's clock when the answer arrived.
  absl::Time now = absl::UnixEpoch();
};

// How long to stay away from the moment on in which the answer arrived; or nothing
// if `text` is not of the format. Never negative.
std::optional<absl::Duration> ParseDelay(DelayFormat format,
                                         absl::string_view text,
                                         const WallTimes& times);

// "s", "float_s", "ms", "go_duration", "proto_duration", "rfc3339", "epoch_s",
// "epoch_ms", "http_retry_after", "guess": as profile files write them.
absl::string_view DelayFormatName(DelayFormat format);
std::optional<DelayFormat> ParseDelayFormatName(absl::string_view name);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_DELAY_TEXT_H_
