#include "tests/testing/limit_model.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

using Kind = LimitModel::Kind;

absl::Duration Ms(int64_t ms) { return absl::Milliseconds(ms); }

LimitModel::Options Bucket(double rate, double burst) {
  LimitModel::Options options;
  options.rate = rate;
  options.burst = burst;
  return options;
}

LimitModel::Options Window(Kind kind, int burst, absl::Duration window,
                           absl::Duration offset = absl::ZeroDuration()) {
  LimitModel::Options options;
  options.limit_kind = kind;
  options.burst = burst;
  options.window = window;
  options.window_offset = offset;
  return options;
}

// The schedule of a bucket of 4/s that holds 3, by hand.
TEST(LimitModelTest, BucketByHand) {
  LimitModel limit(Bucket(4, 3));
  LimitModel::Answer answer = limit.Ask(Ms(0));
  EXPECT_TRUE(answer.admitted);
  EXPECT_EQ(answer.limit, 3);
  EXPECT_EQ(answer.remaining, 2);
  EXPECT_EQ(answer.reset, Ms(250));
  EXPECT_TRUE(limit.Ask(Ms(0)).admitted);
  answer = limit.Ask(Ms(100));  // 1.4 tokens
  EXPECT_TRUE(answer.admitted);
  EXPECT_EQ(answer.remaining, 0);
  EXPECT_EQ(answer.reset, Ms(650));
  answer = limit.Ask(Ms(100));  // 0.4
  EXPECT_FALSE(answer.admitted);
  EXPECT_EQ(answer.wait, Ms(150));
  EXPECT_EQ(answer.remaining, 0);
  EXPECT_EQ(limit.Earliest(Ms(100)), Ms(250));
  EXPECT_EQ(limit.Earliest(Ms(10000)), Ms(10000));
  EXPECT_TRUE(limit.Ask(Ms(250)).admitted);
}

TEST(LimitModelTest, FixedWindowByHand) {
  // Ends at 700 ms, 1700 ms, …
  LimitModel limit(Window(Kind::kFixedWindow, 2, Ms(1000), Ms(300)));
  EXPECT_EQ(limit.Ask(Ms(0)).remaining, 1);
  EXPECT_EQ(limit.Ask(Ms(600)).reset, Ms(100));
  LimitModel::Answer answer = limit.Ask(Ms(650));
  EXPECT_FALSE(answer.admitted);
  EXPECT_EQ(answer.wait, Ms(50));
  EXPECT_EQ(limit.Earliest(Ms(650)), Ms(700));
  // Two on each side of the border.
  EXPECT_TRUE(limit.Ask(Ms(700)).admitted);
  EXPECT_TRUE(limit.Ask(Ms(700)).admitted);
  EXPECT_EQ(limit.Ask(Ms(701)).wait, Ms(999));
  // Long after.
  answer = limit.Ask(Ms(10000));
  EXPECT_EQ(answer.remaining, 1);
  EXPECT_EQ(answer.reset, Ms(700));
}

TEST(LimitModelTest, SlidingWindowByHand) {
  LimitModel limit(Window(Kind::kSlidingWindow, 2, Ms(1000)));
  EXPECT_TRUE(limit.Ask(Ms(0)).admitted);
  EXPECT_EQ(limit.Ask(Ms(600)).reset, Ms(1000));
  LimitModel::Answer answer = limit.Ask(Ms(900));
  EXPECT_FALSE(answer.admitted);
  EXPECT_EQ(answer.wait, Ms(100));
  EXPECT_EQ(answer.reset, Ms(700));
  EXPECT_TRUE(limit.Ask(Ms(1000)).admitted);
  // The one of 600 ms is in it still.
  EXPECT_EQ(limit.Ask(Ms(1599)).wait, Ms(1));
  EXPECT_TRUE(limit.Ask(Ms(1600)).admitted);
}

TEST(LimitModelTest, ChangesByHand) {
  LimitModel::Options options = Bucket(10, 2);
  options.limit_changes = {{Ms(1000), 0.5}};
  LimitModel limit(options);
  EXPECT_TRUE(limit.Ask(Ms(950)).admitted);
  EXPECT_TRUE(limit.Ask(Ms(950)).admitted);
  // Half a token comes until 1000 ms, and half in the 100 ms after it.
  EXPECT_EQ(limit.Earliest(Ms(950)), Ms(1100));
  EXPECT_FALSE(limit.Ask(Ms(1099)).admitted);
  EXPECT_TRUE(limit.Ask(Ms(1100)).admitted);
  EXPECT_EQ(limit.Ask(Ms(1100)).wait, Ms(200));

  options = Window(Kind::kSlidingWindow, 4, Ms(1000));
  options.limit_changes = {{Ms(500), 0.5}};
  LimitModel sliding(options);
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(sliding.Ask(Ms(int64_t{100} * i)).admitted);
  }
  // Three of the four must leave: until 200 ms + 1 s.
  EXPECT_EQ(sliding.Earliest(Ms(600)), Ms(1200));
}

TEST(LimitModelTest, NoLimit) {
  LimitModel limit(Bucket(std::numeric_limits<double>::infinity(), 1));
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(limit.Ask(Ms(0)).admitted);
  EXPECT_EQ(limit.Earliest(Ms(7)), Ms(7));
}

// For each kind, with changes: the wait of a refusal and Earliest() are exact,
// and at no time is more admitted than the limit allows.
TEST(LimitModelTest, WaitsAreExactAndEarliestAdmits) {
  constexpr uint64_t kSeed = 20261;
  for (uint64_t run = 0; run < 400; ++run) {
    uint64_t drawn = 0;
    const auto chance = [&] {
      return UnitRandom(MixRandom(kSeed, run), drawn++);
    };
    LimitModel::Options options;
    options.limit_kind = static_cast<Kind>(run % 3);
    options.rate = std::exp2(8 * chance());
    options.burst = 1 + std::floor(20 * chance());
    options.window = Ms(50 + static_cast<int64_t>(2000 * chance()));
    options.window_offset = options.window * (0.99 * chance());
    options.penalise = run % 6 == 0;
    if (run % 2 == 0) {
      options.limit_changes = {{Ms(500), 0.3}, {Ms(1500), 4}};
    }
    ASSERT_TRUE(LimitModel::Check(options).ok());
    LimitModel limit(options);
    absl::Duration now;
    std::vector<absl::Duration> admitted;
    for (int i = 0; i < 300; ++i) {
      now += absl::Seconds(chance() < 0.3 ? chance() / options.rate : 0);
      if (chance() < 0.5) {
        const absl::Duration earliest = limit.Earliest(now);
        ASSERT_GE(earliest, now);
        LimitModel copy = limit;
        if (earliest > now) {
          ASSERT_FALSE(copy.Ask(earliest - absl::Nanoseconds(1)).admitted)
              << "seed " << kSeed << " run " << run << " ask " << i;
        }
        copy = limit;
        ASSERT_TRUE(copy.Ask(earliest).admitted)
            << "seed " << kSeed << " run " << run << " ask " << i;
      }
      const LimitModel::Answer answer = limit.Ask(now);
      if (answer.admitted) {
        admitted.push_back(now);
        continue;
      }
      ASSERT_GT(answer.wait, absl::ZeroDuration());
      if (!options.limit_changes.empty() && now < Ms(1500)) continue;
      LimitModel copy = limit;
      ASSERT_TRUE(copy.Ask(now + answer.wait).admitted)
          << "seed " << kSeed << " run " << run << " ask " << i;
    }
    if (options.limit_kind != Kind::kSlidingWindow ||
        !options.limit_changes.empty()) {
      continue;
    }
    const auto most = static_cast<size_t>(options.burst);
    for (size_t i = most; i < admitted.size(); ++i) {
      ASSERT_GE(admitted[i] - admitted[i - most], options.window);
    }
  }
}

TEST(LimitModelTest, RefusesOptionsOutOfRange) {
  const double nan = std::nan("");
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<LimitModel::Options> bad(15);
  bad[0].rate = 0;
  bad[1].rate = nan;
  bad[2].burst = 0.5;
  bad[3].burst = nan;
  bad[4].burst = infinity;
  bad[5].window = Ms(0);
  bad[6].window = absl::InfiniteDuration();
  bad[7].window_offset = Ms(-1);
  bad[8].window_offset = bad[8].window;
  bad[9] = Window(Kind::kFixedWindow, 3, Ms(100));
  bad[9].penalise = true;
  bad[10].limit_changes = {{Ms(1), 0}};
  bad[11].limit_changes = {{Ms(1), nan}};
  bad[12].limit_changes = {{Ms(1), infinity}};
  bad[13].limit_changes = {{Ms(-1), 1}};
  bad[14].limit_changes = {{Ms(2), 1}, {Ms(1), 1}};
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(LimitModel::Check(bad[i]).code(),
              absl::StatusCode::kInvalidArgument)
        << i;
  }
}

}  // namespace
}  // namespace forbear::testing
