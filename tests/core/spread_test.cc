// Spread: how many come at once, whatever their number.

#include "core/spread.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

// When each of so many leaves, if nothing else holds them.
std::vector<double> Leave(int64_t waiting, absl::Duration wait) {
  Spread spread;
  spread.Begin(waiting, wait, At(0));
  std::vector<double> times;
  MonotonicTime now = At(0);
  while (!spread.is_over()) {
    now = Later(now, spread.next());
    spread.OnSend(now);
    times.push_back(absl::ToDoubleSeconds(now - At(0)));
  }
  return times;
}

size_t Fullest(const std::vector<double>& times) {
  size_t most = 0;
  size_t first = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    while (times[i] - times[first] >= 0.1) ++first;
    most = std::max(most, i - first + 1);
  }
  return most;
}

TEST(SpreadTest, ATenthOfThemInEach100Milliseconds) {
  for (const int64_t n : {50, 70, 100}) {
    const std::vector<double> times = Leave(n, absl::Seconds(10));
    ASSERT_EQ(times.size(), static_cast<size_t>(n));
    EXPECT_LE(Fullest(times), static_cast<size_t>(n / 10)) << n;
    EXPECT_LE(times.back(), 1.06) << n;
  }
  EXPECT_LE(Fullest(Leave(200, absl::Seconds(10))), 11U);
  EXPECT_LE(Leave(100000, absl::Seconds(10)).back(), 3.01);
}

TEST(SpreadTest, FewAreHardlyHeld) {
  EXPECT_LE(Leave(1, absl::Seconds(10)).back(), 0.0005);
  EXPECT_LE(Leave(10, absl::Seconds(10)).back(), 0.046);
  EXPECT_LE(Leave(20, absl::Seconds(10)).back(), 0.19);
}

TEST(SpreadTest, NobodyPaysMoreThanHalfOfTheWaitAgain) {
  EXPECT_LE(Leave(100, absl::Milliseconds(100)).back(), 0.0501);
  EXPECT_EQ(Leave(100, absl::ZeroDuration()).back(), 0);
}

TEST(SpreadTest, IsOverWhenAllHaveLeftOrItIsEnded) {
  Spread spread;
  EXPECT_TRUE(spread.is_over());
  EXPECT_EQ(spread.next(), MonotonicTime::InfinitePast());
  spread.Begin(0, absl::Seconds(1), At(0));
  EXPECT_TRUE(spread.is_over());
  spread.Begin(-5, absl::Seconds(1), At(0));
  EXPECT_TRUE(spread.is_over());
  spread.Begin(2, absl::Seconds(1), At(0));
  EXPECT_GT(spread.next(), At(0));
  spread.OnSend(At(1));
  EXPECT_FALSE(spread.is_over());
  EXPECT_GT(spread.next(), At(1));
  spread.OnSend(At(2));
  EXPECT_TRUE(spread.is_over());
  spread.Begin(100, absl::Seconds(1), At(0));
  spread.End();
  EXPECT_TRUE(spread.is_over());
  EXPECT_EQ(spread.next(), MonotonicTime::InfinitePast());
}

// Nobody has left before them: the first may go now.
TEST(SpreadTest, TheFirstOfThoseWhoWaitedForAnOutageGoesAtOnce) {
  Spread spread;
  spread.Begin(100, absl::InfiniteDuration(), MonotonicTime::InfinitePast());
  EXPECT_LE(spread.next(), At(0));
}

}  // namespace
}  // namespace forbear
