#include "core/random.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace forbear {
namespace {

// The stream of seed 1234567, as published with SplitMix64's reference code
// (Vigna, prng.di.unimi.it/splitmix64.c; Rosetta Code, "Pseudo-random
// numbers/Splitmix64"). Records carry seeds: another stream would replay them
// as other calls.
TEST(RandomTest, TheStreamIsSplitMix64) {
  const uint64_t kStream[] = {6457827717110365317u, 3203168211198807973u,
                              9817491932198370423u, 4593380528125082431u,
                              16408922859458223821u};
  for (uint64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(MixRandom(1234567, i), kStream[i]) << i;
    EXPECT_EQ(UnitRandom(1234567, i),
              static_cast<double>(kStream[i] >> 11) / 9007199254740992.0)
        << i;
  }
}

TEST(RandomTest, UnitIsUniformInItsRange) {
  int bins[10] = {};
  for (uint64_t i = 0; i < 100000; ++i) {
    const double u = UnitRandom(7, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++bins[static_cast<int>(u * 10)];
  }
  for (const int n : bins) {
    EXPECT_GT(n, 9600);
    EXPECT_LT(n, 10400);
  }
}

TEST(RandomTest, SeedsThatAreNeighboursHaveStreamsOfTheirOwn) {
  int same = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    for (uint64_t i = 0; i < 10; ++i) {
      if (MixRandom(seed, i) == MixRandom(seed + 1, i)) ++same;
    }
  }
  EXPECT_EQ(same, 0);
}

}  // namespace
}  // namespace forbear
