// The real clocks. The only place, with the log, where time is read.
//
//   MonotonicTime now = MonotonicNow();   // CLOCK_MONOTONIC
//   int64_t epoch = WallSeconds();        // only to read a date in a header
//   absl::Time date = WallNow();          // only to write one down
//
// Thread rule: call from anywhere.
#ifndef FORBEAR_RUNTIME_CLOCK_H_
#define FORBEAR_RUNTIME_CLOCK_H_

#include <chrono>
#include <cstdint>

#include "absl/time/time.h"
#include "core/time.h"

namespace forbear {

inline MonotonicTime MonotonicNow() {
  return MonotonicTime::FromNanos(
      std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

// For condition variables and other things that wait for a time point.
inline std::chrono::steady_clock::time_point ToSteady(MonotonicTime t) {
  return std::chrono::steady_clock::time_point(
      std::chrono::nanoseconds(t.nanos()));
}

// For the record of a call.
inline absl::Time WallNow() {
  return absl::FromChrono(std::chrono::system_clock::now());
}

// Seconds since 1970-01-01 00:00:00 UTC.
inline int64_t WallSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_CLOCK_H_
