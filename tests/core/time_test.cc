#include "core/time.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

const std::vector<int64_t>& Nanos() {
  static const auto* const all = new std::vector<int64_t>{
      kMin, kMin + 1, -(int64_t{1} << 62), -1000000000,      -1,       0,
      1,    1000,     1000000000,          int64_t{1} << 62, kMax - 1, kMax};
  return *all;
}

const std::vector<absl::Duration>& Durations() {
  static const auto* const all = new std::vector<absl::Duration>{
      -absl::InfiniteDuration(), -absl::Hours(10000000),
      -absl::Hours(87600),       -absl::Seconds(1),
      -absl::Nanoseconds(1),     -absl::Nanoseconds(1) / 4,
      absl::ZeroDuration(),      absl::Nanoseconds(1) / 4,
      absl::Nanoseconds(1),      absl::Seconds(1),
      absl::Hours(87600),        absl::Nanoseconds(kMax),
      absl::Hours(10000000),     absl::InfiniteDuration()};
  return *all;
}

// In 128 bits nothing overflows.
MonotonicTime Exact(int64_t nanos, absl::Duration d) {
  const __int128 whole =
      static_cast<__int128>(absl::IDivDuration(d, absl::Seconds(1), &d));
  const __int128 sum = static_cast<__int128>(nanos) + whole * 1000000000 +
                       absl::ToInt64Nanoseconds(d);
  if (sum >= kMax) return MonotonicTime::Infinite();
  if (sum <= kMin) return MonotonicTime::InfinitePast();
  return MonotonicTime::FromNanos(static_cast<int64_t>(sum));
}

TEST(MonotonicTimeTest, AdditionSaturates) {
  for (int64_t nanos : Nanos()) {
    const MonotonicTime t = MonotonicTime::FromNanos(nanos);
    for (absl::Duration d : Durations()) {
      const MonotonicTime sum = t + d;
      if (nanos == kMax || nanos == kMin) {
        EXPECT_EQ(sum, t) << d;
      } else if (d == absl::InfiniteDuration()) {
        EXPECT_EQ(sum, MonotonicTime::Infinite()) << nanos;
      } else if (d == -absl::InfiniteDuration()) {
        EXPECT_EQ(sum, MonotonicTime::InfinitePast()) << nanos;
      } else if (absl::AbsDuration(d) < absl::Nanoseconds(kMax)) {
        EXPECT_EQ(sum, Exact(nanos, d)) << nanos << " " << d;
      } else {
        // More than the clock's range: far away is enough.
        EXPECT_EQ(sum, d > absl::ZeroDuration() ? MonotonicTime::Infinite()
                                                : MonotonicTime::InfinitePast())
            << nanos << " " << d;
      }
      // Never backward, never into the past.
      if (d >= absl::ZeroDuration()) {
        EXPECT_GE(sum, t);
      } else {
        EXPECT_LE(sum, t);
      }
      EXPECT_EQ(t - d, t + -d);
    }
  }
}

TEST(MonotonicTimeTest, DifferenceSaturates) {
  for (int64_t a : Nanos()) {
    for (int64_t b : Nanos()) {
      const absl::Duration d =
          MonotonicTime::FromNanos(a) - MonotonicTime::FromNanos(b);
      EXPECT_EQ(d > absl::ZeroDuration(), a > b) << a << " " << b;
      EXPECT_EQ(d == absl::ZeroDuration(), a == b) << a << " " << b;
      const __int128 exact = static_cast<__int128>(a) - b;
      if (a != kMax && a != kMin && b != kMax && b != kMin && exact <= kMax &&
          exact >= kMin) {
        EXPECT_EQ(absl::ToInt64Nanoseconds(d), static_cast<int64_t>(exact));
      } else if (a != b) {
        EXPECT_EQ(absl::AbsDuration(d), absl::InfiniteDuration());
      }
    }
  }
}

TEST(MonotonicTimeTest, OrderAndEnds) {
  for (int64_t a : Nanos()) {
    for (int64_t b : Nanos()) {
      const MonotonicTime x = MonotonicTime::FromNanos(a);
      const MonotonicTime y = MonotonicTime::FromNanos(b);
      EXPECT_EQ(x < y, a < b);
      EXPECT_EQ(x > y, a > b);
      EXPECT_EQ(x <= y, a <= b);
      EXPECT_EQ(x >= y, a >= b);
      EXPECT_EQ(x == y, a == b);
      EXPECT_EQ(x != y, a != b);
      EXPECT_EQ(Later(x, y).nanos(), a > b ? a : b);
      EXPECT_EQ(Earlier(x, y).nanos(), a < b ? a : b);
    }
  }
  EXPECT_TRUE(MonotonicTime::Infinite().is_infinite());
  EXPECT_FALSE(MonotonicTime::InfinitePast().is_infinite());
  EXPECT_EQ(MonotonicTime().nanos(), 0);
}

// A wait of ten years, once more and once more, is still a time.
TEST(MonotonicTimeTest, TenYearsAHundredTimes) {
  MonotonicTime t = MonotonicTime::FromNanos(1);
  for (int i = 0; i < 100; ++i) {
    const MonotonicTime later = t + absl::Hours(87600);
    ASSERT_TRUE(later > t || later.is_infinite());
    t = later;
  }
  EXPECT_TRUE(t.is_infinite());
}

}  // namespace
}  // namespace forbear
