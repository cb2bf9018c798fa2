// Gate: every short sequence, against what was asked of it.

#include "core/gate.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(int64_t n) { return MonotonicTime::FromNanos(n); }

TEST(GateTest, OpenAtFirst) {
  Gate gate;
  EXPECT_FALSE(gate.IsShut(MonotonicTime::InfinitePast()));
  EXPECT_FALSE(gate.IsShut(At(0)));
}

TEST(GateTest, LongestWaitWins) {
  Gate gate;
  gate.Shut(At(20), At(0));
  gate.Shut(At(10), At(1));
  EXPECT_EQ(gate.until(), At(20));
  EXPECT_TRUE(gate.IsShut(At(19)));
  EXPECT_FALSE(gate.IsShut(At(20)));
  gate.Shut(At(30), At(2));
  EXPECT_EQ(gate.until(), At(30));
}

// Two threads bring their times in the wrong order: the later refusal counts.
TEST(GateTest, TimesThatGoBack) {
  Gate gate;
  gate.Shut(At(20), At(5));
  gate.Shut(At(20), At(3));
  EXPECT_FALSE(gate.OnSuccess(At(5), At(7)));
  EXPECT_EQ(gate.until(), At(20));
  EXPECT_TRUE(gate.OnSuccess(At(6), At(7)));
}

// Four letters: shut by 5, shut by 2, a success that started n ago, clear; one
// tick between them.
TEST(GateTest, EveryShortSequence) {
  constexpr int kLetters = 7;
  constexpr int kLength = 6;
  int64_t all = 1;
  for (int i = 0; i < kLength; ++i) all *= kLetters;
  for (int64_t code = 0; code < all; ++code) {
    Gate gate;
    MonotonicTime until = MonotonicTime::InfinitePast();
    MonotonicTime last_shut = MonotonicTime::InfinitePast();
    int64_t rest = code;
    for (int64_t now = 10; now < 10 + kLength; ++now) {
      const int letter = static_cast<int>(rest % kLetters);
      rest /= kLetters;
      switch (letter) {
        case 0:
        case 1: {
          const MonotonicTime t = At(now + (letter == 0 ? 5 : 2));
          gate.Shut(t, At(now));
          until = Later(until, t);
          last_shut = At(now);
          break;
        }
        case 2:
          gate.Clear();
          until = MonotonicTime::InfinitePast();
          break;
        case 3:
          break;
        default: {
          const MonotonicTime started = At(now - (letter - 4));
          const bool opens = until > At(now) && started > last_shut;
          ASSERT_EQ(gate.OnSuccess(started, At(now)), opens) << code;
          if (opens) until = At(now);
          break;
        }
      }
      ASSERT_EQ(gate.until(), until) << code;
      ASSERT_EQ(gate.IsShut(At(now)), At(now) < until) << code;
    }
  }
}

}  // namespace
}  // namespace forbear
