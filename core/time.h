// Time for the core: a value that the caller brings along, never a clock.
//
// MonotonicTime is a point on a clock that only moves forward (in production:
// CLOCK_MONOTONIC, read by runtime/clock.h; in tests: any number). Only
// differences mean something. Wall time appears in core/ once, as a
// fact that is handed through to the record, for people; nothing reads it.
//
//   MonotonicTime now = MonotonicTime::FromNanos(0);
//   MonotonicTime later = now + absl::Seconds(2);      // saturates at Infinite()
//   absl::Duration left = later - now;                 // 2 s
//
// Range: about 292 years around the clock's zero, one nanosecond apart.
// Arithmetic saturates: a ten-year wait added to anything is still a time, and
// nothing that a server says can make it wrap into the past.
//
// Thread rule: a value; copy it freely.
#ifndef FORBEAR_CORE_TIME_H_
#define FORBEAR_CORE_TIME_H_

#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace forbear {

class MonotonicTime {
 public:
  // The clock's zero.
  constexpr MonotonicTime() = default;

  static constexpr MonotonicTime FromNanos(int64_t nanos) {
    return MonotonicTime(nanos);
  }
  // Later than any other time. "No deadline" is written this way.
  static constexpr MonotonicTime Infinite() {
    return MonotonicTime(std::numeric_limits<int64_t>::max());
  }
  // Earlier than any other time.
  static constexpr MonotonicTime InfinitePast() {
    return MonotonicTime(std::numeric_limits<int64_t>::min());
  }

  constexpr int64_t nanos() const { return nanos_; }
  constexpr bool is_infinite() const {
    return nanos_ == std::numeric_limits<int64_t>::max();
  }

  friend constexpr bool operator==(MonotonicTime a, MonotonicTime b) {
    return a.nanos_ == b.nanos_;
  }
  friend constexpr bool operator!=(MonotonicTime a, MonotonicTime b) {
    return a.nanos_ != b.nanos_;
  }
  friend constexpr bool operator<(MonotonicTime a, MonotonicTime b) {
    return a.nanos_ < b.nanos_;
  }
  friend constexpr bool operator<=(MonotonicTime a, MonotonicTime b) {
    return a.nanos_ <= b.nanos_;
  }
  friend constexpr bool operator>(MonotonicTime a, MonotonicTime b) {
    return b < a;
  }
  friend constexpr bool operator>=(MonotonicTime a, MonotonicTime b) {
    return b <= a;
  }

  // Infinite() and InfinitePast() stay what they are, whatever is added.
  friend MonotonicTime operator+(MonotonicTime t, absl::Duration d) {
    // First what most options are that say "never".
    if (d == absl::InfiniteDuration()) {
      return t == InfinitePast() ? t : Infinite();
    }
    if (t.is_infinite() || t == InfinitePast()) return t;
    // Saturates, infinities included. What is longer than the clock's range is
    // for ever, also when added to a time far left of zero.
    const int64_t nanos = absl::ToInt64Nanoseconds(d);
    if (nanos == std::numeric_limits<int64_t>::max()) return Infinite();
    if (nanos == std::numeric_limits<int64_t>::min()) return InfinitePast();
    int64_t sum;
    if (__builtin_add_overflow(t.nanos_, nanos, &sum)) {
      return nanos > 0 ? Infinite() : InfinitePast();
    }
    return MonotonicTime(sum);
  }
  friend MonotonicTime operator-(MonotonicTime t, absl::Duration d) {
    return t + -d;
  }
  // Infinite() - x is InfiniteDuration(); Infinite() - Infinite() is zero.
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    if (a == b) return absl::ZeroDuration();
    if (a.is_infinite() || b == InfinitePast()) return absl::InfiniteDuration();
    if (b.is_infinite() || a == InfinitePast()) {
      return -absl::InfiniteDuration();
    }
    int64_t difference;
    if (__builtin_sub_overflow(a.nanos_, b.nanos_, &difference)) {
      return a > b ? absl::InfiniteDuration() : -absl::InfiniteDuration();
    }
    return absl::Nanoseconds(difference);
  }

 private:
  explicit constexpr MonotonicTime(int64_t nanos) : nanos_(nanos) {}

  int64_t nanos_ = 0;
};

// How long after `from` `to` is, in seconds; bounded to +-1e9 (30 years), so that sums
// and quotients of a few stay finite.
inline double SecondsBetween(MonotonicTime from, MonotonicTime to) {
  const double seconds = absl::ToDoubleSeconds(to - from);
  return seconds < -1e9 ? -1e9 : seconds > 1e9 ? 1e9 : seconds;
}

// The later (earlier) of two times.
constexpr MonotonicTime Later(MonotonicTime a, MonotonicTime b) {
  return a < b ? b : a;
}
constexpr MonotonicTime Earlier(MonotonicTime a, MonotonicTime b) {
  return a < b ? a : b;
}

}  // namespace forbear

#endif  // FORBEAR_CORE_TIME_H_
