// SendWindow: how fast it grows, and for how long it holds.

#include "core/send_window.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

TEST(SendWindowTest, GrowsByAPartOfOneForEachSuccess) {
  SendWindow window;
  EXPECT_EQ(window.size(), 3);
  for (int i = 1; i <= 40; ++i) {
    window.OnSuccess(100);
    EXPECT_DOUBLE_EQ(window.size(), 3 + 0.25 * i);
  }
  SendWindow other(1, 0.5);
  other.OnSuccess(0);
  EXPECT_EQ(other.size(), 1.5);
}

// With fewer out than half of it, nobody has seen what it lets through.
TEST(SendWindowTest, DoesNotGrowUnused) {
  SendWindow window(8, 1);
  window.OnSuccess(2);
  EXPECT_EQ(window.size(), 8);
  window.OnSuccess(3);
  EXPECT_EQ(window.size(), 9);
}

TEST(SendWindowTest, StaysFinite) {
  SendWindow window(1, 1000);
  for (int i = 0; i < 10000; ++i) window.OnSuccess(10000000);
  EXPECT_EQ(window.size(), 1e6);
}

TEST(SendWindowTest, HoldsForHalfASecondAtMost) {
  const SendWindow window(4);
  EXPECT_EQ(window.Hold(0), absl::Milliseconds(300));
  EXPECT_EQ(window.Hold(3), absl::Milliseconds(300));
  EXPECT_EQ(window.Hold(7), absl::Milliseconds(340));
  EXPECT_EQ(window.Hold(31), absl::Milliseconds(420));
  EXPECT_EQ(window.Hold(1000000), absl::Milliseconds(500));
  for (int64_t out = 0; out < 1000; ++out) {
    EXPECT_LE(window.Hold(out), window.Hold(out + 1));
  }
}

}  // namespace
}  // namespace forbear
