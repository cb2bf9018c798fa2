// OpenLane by itself, for one thread: what Send and Done say, and what Close tells
// of them.

#include "core/open_lane.h"

#include <cstdint>

#include "absl/time/time.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

using Lane = OpenLane<PlainWord>;

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

TEST(OpenLaneTest, IsClosedAtFirst) {
  Lane lane;
  LanePassed passed;
  EXPECT_FALSE(lane.is_open());
  EXPECT_EQ(lane.Send(), 0u);
  EXPECT_FALSE(lane.Done());
  EXPECT_FALSE(lane.Done(0, At(0)));
  EXPECT_FALSE(lane.Close(&passed));
}

// From where the owner's own sends ended.
TEST(OpenLaneTest, NoNumberIsGivenTwice) {
  Lane lane;
  LanePassed passed;
  uint64_t last = 41;
  for (int round = 0; round < 3; ++round) {
    lane.Open({last, /*generation=*/7});
    for (int i = 0; i < 5; ++i) {
      uint64_t generation = 0;
      ASSERT_EQ(lane.Send(&generation), last + 1);
      EXPECT_EQ(generation, 7u);
      ++last;
    }
    ASSERT_TRUE(lane.Close(&passed));
    EXPECT_EQ(passed.last, last);
    EXPECT_EQ(passed.sent, 5);
    EXPECT_EQ(passed.done, 0);
    EXPECT_EQ(lane.Send(), 0u);
    ++last;  // one by the lock
  }
}

TEST(OpenLaneTest, AnswersOfAnotherGenerationGoByTheLock) {
  Lane lane;
  LanePassed passed;
  lane.Open({0, /*generation=*/2});
  for (const uint64_t other : {0, 1, 3}) {
    EXPECT_FALSE(lane.Done(other, At(0))) << other;
  }
  EXPECT_TRUE(lane.Done(2, At(0)));
  ASSERT_TRUE(lane.Close(&passed));
  EXPECT_EQ(passed.done, 1);
}

TEST(OpenLaneTest, FromItsEndOnAnswersGoByTheLock) {
  Lane lane;
  LanePassed passed;
  lane.Open({0, 0, At(5)});
  EXPECT_TRUE(lane.Done(0, At(-5)));
  EXPECT_TRUE(lane.Done(0, At(5) - absl::Nanoseconds(1)));
  EXPECT_FALSE(lane.Done(0, At(5)));
  EXPECT_FALSE(lane.Done(0, At(6)));
  // Sends have no such time.
  EXPECT_EQ(lane.Send(), 1u);
  ASSERT_TRUE(lane.Close(&passed));
  EXPECT_EQ(passed.sent, 1);
  EXPECT_EQ(passed.done, 2);
}

}  // namespace
}  // namespace forbear
