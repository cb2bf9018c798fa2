// Everything that the head of one HTTP answer says about coming back.
//
//   std::vector<HeaderField> fields = {{"Retry-After", "2"}, …};
//   const WallTimes times = WallTimesOf(fields, now);
//   const HeaderSignals signals = ReadHeaderSignals(fields, times);
//   signals.wait();          // 2 s
//   signals.wait_source();   // DelaySource::kRetryAfter
//   signals.should_retry;    // x-should-retry, if it is there
//
// Which wait counts:
//
// 1. Waits that the server spelled out: Retry-After, retry-after-ms,
//    x-ms-retry-after-ms, x-amz-retry-after (milliseconds, whatever its name says).
//    Of several, and of several lines, the longest: a proxy and a server may each
//    have added one, and both must be satisfied. A zero is an answer.
// 2. Only if there is none, of the limits of which nothing is left the longest
//    reset (signals/rate_limit_headers.h). A reset beside a spelled-out wait is of
//    another limit, or of the same and says less: what is left may be of another
//    bucket than the one that refused.
//
// What is malformed is as if it were absent. A profile of a vendor may know better
// (an order, another unit); this is for servers that nobody described.
//
// Bound: the first 1000 lines.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_HEADER_SIGNALS_H_
#define FORBEAR_SIGNALS_HEADER_SIGNALS_H_

#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/outcome.h"
#include "signals/delay_text.h"
#include "signals/header_field.h"
#include "signals/rate_limit_headers.h"

namespace forbear {

struct HeaderSignals {
  // The longest of the waits that were spelled out, and the name of its field in
  // lower case; waits that are as long: the first of the list above.
  std::optional<absl::Duration> explicit_wait;
  absl::string_view explicit_field;

  // What x-should-retry says: "true" or "false", and nothing else. Of several the
  // one with fewer sends.
  std::optional<bool> should_retry;

  // Limits, and the longest reset of those of which nothing is left.
  std::vector<AnnouncedLimit> limits;
  std::optional<absl::Duration> exhausted_wait;

  // The wait that counts, and where it comes from: kRetryAfter, kRateLimit, kNone.
  std::optional<absl::Duration> wait() const {
    return explicit_wait ? explicit_wait : exhausted_wait;
  }
  DelaySource wait_source() const {
    if (explicit_wait) return DelaySource::kRetryAfter;
    return exhausted_wait ? DelaySource::kRateLimit : DelaySource::kNone;
  }
};

// Of a field: if it is a valid Date and the earliest so far, `*date` becomes it.
void AddDate(const HeaderField& field, absl::Time now,
             std::optional<absl::Time>* date);

// `now`, and the answer's Date if it has a valid one; of several the earliest,
// which makes waits longer. `server`: what the server's clock shows at least
// (runtime/server_clock.h); it counts if the Date does not contradict it.
WallTimes WallTimesOf(absl::Span<const HeaderField> fields, absl::Time now,
                      std::optional<absl::Time> server = std::nullopt);

HeaderSignals ReadHeaderSignals(absl::Span<const HeaderField> fields,
                                const WallTimes& times);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_HEADER_SIGNALS_H_
