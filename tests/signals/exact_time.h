// Exact arithmetic for tests of waits: whole femtoseconds in 128 bits, which hold a
// second's fifteenth decimal and 5 * 10^15 years, and no rounding anywhere.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_TESTS_SIGNALS_EXACT_TIME_H_
#define FORBEAR_TESTS_SIGNALS_EXACT_TIME_H_

#include <cstdint>

#include "absl/time/time.h"

namespace forbear::testing {

using Femtoseconds = __int128;

inline constexpr Femtoseconds kFemtosPerNano = 1'000'000;
inline constexpr Femtoseconds kFemtosPerSecond = 1'000'000'000'000'000;

// REQUIRES: `d` is finite. absl::Duration counts quarters of nanoseconds.
inline Femtoseconds Exact(absl::Duration d) {
  const int64_t seconds = absl::IDivDuration(d, absl::Seconds(1), &d);
  const int64_t quarters = absl::IDivDuration(d, absl::Nanoseconds(1) / 4, &d);
  return seconds * kFemtosPerSecond + quarters * (kFemtosPerNano / 4);
}

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_SIGNALS_EXACT_TIME_H_
