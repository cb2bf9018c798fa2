#include "benchmarks/arena/clairvoyant.h"

#include <cstdint>
#include <iterator>
#include <limits>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "tests/testing/limit_model.h"
#include "tests/testing/provider_model.h"

namespace forbear::arena {
namespace {

using testing::LimitModel;
using testing::ProviderModel;
using Outage = ProviderModel::Outage;

ProviderModel::Options Plain() {
  ProviderModel::Options options;
  options.rate = std::numeric_limits<double>::infinity();
  options.error_fraction = 0;
  options.latency = absl::Milliseconds(20);
  options.refusal_latency = absl::Milliseconds(20);
  return options;
}

TEST(PlayIdealTest, WorkersMakeTheirCallsOneAfterTheOther) {
  EXPECT_EQ(PlayIdeal(Plain(), {10, 100}).wall, absl::Milliseconds(200));
  EXPECT_EQ(PlayIdeal(Plain(), {10, 101}).wall, absl::Milliseconds(220));
  EXPECT_EQ(PlayIdeal(Plain(), {10, 3}).wall, absl::Milliseconds(20));
  EXPECT_EQ(PlayIdeal(Plain(), {10, 100}).wasted, 0);
}

TEST(PlayIdealTest, ABucketSetsThePace) {
  ProviderModel::Options options = Plain();
  options.rate = 20;
  options.burst = 10;
  const Ideal ideal = PlayIdeal(options, {10, 400});
  EXPECT_EQ(ideal.wall, absl::Milliseconds(390 * 50 + 20));
  EXPECT_EQ(ideal.wasted, 0);
}

TEST(PlayIdealTest, TheWaitOfTheFirstRefusalsIsObeyedByAll) {
  ProviderModel::Options options = Plain();
  options.refuse_first = 3;
  const Ideal ideal = PlayIdeal(options, {10, 100});
  // Seven are answered with the refusals; 93 are left for ten.
  EXPECT_EQ(ideal.wall, absl::Milliseconds(20 + 1000 + 10 * 20));
  EXPECT_EQ(ideal.wasted, 3);
  // One worker learns of it three times.
  EXPECT_EQ(PlayIdeal(options, {1, 1}).wall,
            3 * absl::Milliseconds(1020) + absl::Milliseconds(20));
}

TEST(PlayIdealTest, NothingIsSentIntoAnOutage) {
  ProviderModel::Options options = Plain();
  options.outages = {{absl::Milliseconds(30), absl::Seconds(3),
                      Outage::Kind::kHang, absl::ZeroDuration()}};
  // Two each before it, eight each after it.
  EXPECT_EQ(PlayIdeal(options, {10, 100}).wall,
            absl::Seconds(3) + absl::Milliseconds(160));
  EXPECT_EQ(PlayIdeal(options, {10, 100}).wasted, 0);
}

TEST(PlayIdealTest, FaultsAreSentAgainAtOnce) {
  ProviderModel::Options options = Plain();
  options.error_fraction = 0.2;
  options.lost_answer_fraction = 0.1;
  const Ideal ideal = PlayIdeal(options, {1, 100});
  EXPECT_GT(ideal.wasted, 20);
  EXPECT_LT(ideal.wasted, 70);
  EXPECT_EQ(ideal.wall, (100 + ideal.wasted) * absl::Milliseconds(20));

  options = Plain();
  options.hang_fraction = 0.2;
  const Ideal hung = PlayIdeal(options, {1, 100, absl::Seconds(2)});
  EXPECT_GT(hung.wasted, 5);
  EXPECT_EQ(hung.wall,
            100 * absl::Milliseconds(20) + hung.wasted * absl::Seconds(2));
}

TEST(PlayIdealTest, BadOptionsAreZero) {
  ProviderModel::Options options = Plain();
  options.rate = -1;
  EXPECT_EQ(PlayIdeal(options, {10, 100}).wall, absl::ZeroDuration());
  EXPECT_FALSE(Clairvoyant::Create(options).ok());
}

// Whatever the limit: sent at Earliest or later, it is served.
TEST(ClairvoyantTest, NothingThatItSendsIsRefused) {
  constexpr LimitModel::Kind kKinds[] = {LimitModel::Kind::kBucket,
                                         LimitModel::Kind::kFixedWindow,
                                         LimitModel::Kind::kSlidingWindow};
  for (uint64_t seed = 0; seed < 300; ++seed) {
    ProviderModel::Options options = Plain();
    options.limit_kind = kKinds[seed % std::size(kKinds)];
    options.rate = 1 + 100 * UnitRandom(seed, 0);
    options.burst = 1 + 20 * UnitRandom(seed, 1);
    options.penalise = options.limit_kind == LimitModel::Kind::kBucket &&
                       UnitRandom(seed, 2) < 0.5;
    options.limit_changes = {{absl::Seconds(2), 0.2 + 3 * UnitRandom(seed, 3)}};
    options.outages = {{absl::Seconds(1), absl::Seconds(1.5),
                        Outage::Kind::kRefuse, absl::ZeroDuration()}};
    absl::StatusOr<Clairvoyant> client = Clairvoyant::Create(options);
    ASSERT_TRUE(client.ok()) << client.status();
    absl::Duration now;
    for (uint64_t n = 4; now < absl::Seconds(4); ++n) {
      const absl::Duration earliest = client->Earliest(now);
      ASSERT_GE(earliest, now);
      now = earliest;
      // Late now and then, and not so late that it comes into the outage.
      if (UnitRandom(seed, n) < 0.3 && now > absl::Seconds(1.5)) {
        now += absl::Milliseconds(30 * UnitRandom(seed, n + 10000));
      }
      ASSERT_EQ(client->Send(now).verdict, ProviderModel::Verdict::kServe)
          << "seed " << seed << " at " << now;
    }
  }
}

}  // namespace
}  // namespace forbear::arena
