// HTTP dates: the three forms of RFC 9110 §5.6.7, and nothing else.
//
//   ParseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT", now)   // IMF-fixdate
//   ParseHttpDate("Sunday, 06-Nov-94 08:49:37 GMT", now)  // RFC 850
//   ParseHttpDate("Sun Nov  6 08:49:37 1994", now)        // asctime()
//   // all three: 784111777
//
// Strict on purpose: what a lenient parser makes of "31 Apr" or of a missing
// zone is a guess, and a wrong guess here is a send before its time. The name of
// the day must be one, but is not checked against the date (RFC 9110 does not
// ask for it, and servers get it wrong). A leap second (":60") is the second
// after ":59".
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_HTTP_DATE_H_
#define FORBEAR_SIGNALS_HTTP_DATE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace forbear {

// Seconds since 1970-01-01 00:00:00 UTC, or nothing if `text` is none of the
// three forms. `now` (same unit) decides the century of the RFC 850 form: a
// date more than 50 years ahead lies in the past.
std::optional<int64_t> ParseHttpDate(absl::string_view text, int64_t now);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_HTTP_DATE_H_
