// Retry-After (RFC 9110 §10.2.3): how long a server wants us to stay away.
//
//   ParseRetryAfter("120", std::nullopt, now)                     // 2 min
//   ParseRetryAfter("Wed, 21 Oct 2026 07:28:00 GMT", date, now)   // until then
//   ParseRetryAfter("1.5", …), ("-1", …), ("soon", …), ("", …)    // nothing
//
// Two forms: a whole number of seconds, digits only, and an HTTP date. A date
// is counted from the answer's own `Date`, when it has one: only the server
// knows which clock it meant, and ours may be an hour off. A date that is over,
// and "0", are a wait of zero: an answer, but not leave to skip our own backoff.
// Anything else is as if it were absent.
//
// A number too large for any clock is absl::InfiniteDuration(). The caller
// decides what is too long to be believed; nothing here makes a wait shorter.
//
// Of several Retry-After lines the longest wait counts (LongestWait): a proxy
// and a server may each have added one, and both must be satisfied.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_RETRY_AFTER_H_
#define FORBEAR_SIGNALS_RETRY_AFTER_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

// `value`: the field's value, with or without spaces and tabs around it.
// `date`: the answer's Date field in epoch seconds, if it had a valid one.
// `now`: this machine's wall clock in epoch seconds.
std::optional<absl::Duration> ParseRetryAfter(absl::string_view value,
                                              std::optional<int64_t> date,
                                              int64_t now);

// The longer of two waits, either of which may be absent.
std::optional<absl::Duration> LongestWait(std::optional<absl::Duration> a,
                                          std::optional<absl::Duration> b);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_RETRY_AFTER_H_
