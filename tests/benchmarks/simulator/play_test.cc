// The pacing's figures, in virtual time: what ./dev arena measures for minutes is kept
// from growing worse here, over seeds that nobody chose.
#include "benchmarks/simulator/play.h"

#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "benchmarks/arena/scenario.h"
#include "benchmarks/simulator/sample.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear::simulator {
namespace {

using arena::Scenario;

// Each run is whole, and answers everything.
void Add(const Played& played, Sample* sample) {
  EXPECT_EQ(played.faults, "");
  EXPECT_EQ(played.answered, played.asked);
  sample->Add(played);
}

// Medians; `wasted` and `x_ideal` are the goals that docs/quota.md states.
TEST(PlayTest, TheMainScenariosReachTheirGoals) {
  struct Goal {
    const char* scenario;
    bool grpc;
    double wasted;
    double x_ideal;
  };
  for (const Goal& goal : std::vector<Goal>{{"S1", false, 3, 1.10},
                                            {"S1w", false, 4, 1.05},
                                            {"S2", false, 10, 1.10},
                                            {"S2", true, 10, 1.10},
                                            {"S2b", false, 10, 1.12},
                                            {"S2b", true, 10, 1.12},
                                            {"S3", false, 10, 1.03},
                                            {"S4", false, 10, 1.06},
                                            {"S5", false, 24, 1.12},
                                            {"S6", false, 29, 1.05},
                                            {"S7", false, 0, 1.02},
                                            {"P4", false, 60, 1.60}}) {
    SCOPED_TRACE(goal.scenario);
    const Scenario* const scenario = arena::FindScenario(goal.scenario);
    ASSERT_NE(scenario, nullptr);
    Sample sample;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
      Weather weather = Rough(seed);
      weather.grpc = goal.grpc;
      Add(Play(*scenario, scenario->ideal.wall, weather), &sample);
    }
    std::printf("%s%s: wasted %.0f, x %.3f\n", goal.scenario,
                goal.grpc ? " grpc" : "", Part(sample.wasted, 0.5),
                Part(sample.x_ideal, 0.5));
    EXPECT_LE(Part(sample.wasted, 0.5), goal.wasted);
    EXPECT_LE(Part(sample.x_ideal, 0.5), goal.x_ideal);
    // After a shared wait they come at the rate that was learned, as far as whole
    // sends can: three are more than two and a half.
    EXPECT_LE(Part(sample.crowding, 0.5), 1.1);
    EXPECT_LE(Part(sample.crowding, 0.9), 1.25);
    if (scenario->processes == 1) {
      EXPECT_EQ(Part(sample.waves, 0.5), 0);
    }
  }
}

// Every variant is answered, whatever the server says and does.
TEST(PlayTest, NoVariantLosesACall) {
  for (const Scenario& scenario : arena::AllScenarios()) {
    if (scenario.group != "variants") continue;
    SCOPED_TRACE(scenario.name);
    Sample sample;
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      Add(Play(scenario, scenario.ideal.wall, Rough(seed)), &sample);
    }
    EXPECT_LE(Part(sample.x_ideal, 1), 3);
  }
}

TEST(PlayTest, RandomBuckets) {
  Sample all;
  std::vector<double> binding;
  for (int n = 1; n <= 120; ++n) {
    absl::Duration ideal;
    for (const std::string& announcement : arena::Announcements()) {
      const Scenario bucket = arena::RandomBucket(7, n, announcement);
      if (ideal == absl::ZeroDuration()) ideal = arena::IdealOf(bucket).wall;
      Weather weather = Rough(MixRandom(7, static_cast<uint64_t>(n)));
      weather.patience = absl::Minutes(10);
      const Played played = Play(bucket, ideal, weather);
      SCOPED_TRACE(bucket.title);
      Add(played, &all);
      if (arena::Binds(bucket)) binding.push_back(played.x_ideal);
    }
  }
  std::printf(
      "x p50 %.3f, p90 %.3f; binding p50 %.3f; wasted p50 %.0f, p90 %.0f\n",
      Part(all.x_ideal, 0.5), Part(all.x_ideal, 0.9), Part(binding, 0.5),
      Part(all.wasted, 0.5), Part(all.wasted, 0.9));
  EXPECT_LE(Part(all.x_ideal, 0.5), 1.05);
  EXPECT_LE(Part(all.x_ideal, 0.9), 1.6);
  EXPECT_LE(Part(binding, 0.5), 1.12);
  EXPECT_LE(Part(all.wasted, 0.5), 9);
  // Of 1,500 buckets 23 and 31, by the seed; these are 120.
  EXPECT_LE(Part(all.wasted, 0.9), 40);
}

// A server that is well, and that nobody knows yet.
Scenario Healthy(int workers, int calls, absl::Duration answer) {
  Scenario scenario;
  scenario.provider.model.rate = std::numeric_limits<double>::infinity();
  scenario.provider.model.error_fraction = 0;
  scenario.provider.model.latency = answer;
  scenario.crowd = {workers, calls};
  return scenario;
}

TEST(PlayTest, SlowStartDoesNotHurtTheHealthy) {
  for (const int workers : {1, 10, 100}) {
    for (const double answer : {0.005, 0.02, 0.1, 0.3, 1.0, 5.0}) {
      const Scenario scenario = Healthy(
          workers, answer >= 1 ? workers : 20 * workers, absl::Seconds(answer));
      const absl::Duration plain = arena::IdealOf(scenario).wall;
      const Played played = Play(scenario, plain, Weather());
      std::printf(
          "%3d callers, answers take %5.3f s: %.3f of plain; held %.3f s\n",
          workers, answer, played.x_ideal, played.held);
      EXPECT_EQ(played.answered, played.asked);
      EXPECT_LE(played.held, 0.5 + 1e-6);
      // All of a caller's calls together.
      EXPECT_LE((played.x_ideal - 1) * absl::ToDoubleSeconds(plain), 0.75);
      if (workers == 1) {
        EXPECT_EQ(played.held, 0);
      }
      if (answer == 5.0) {
        EXPECT_LE(played.x_ideal, 1.15);
      }
    }
  }
}

TEST(PlayTest, ASeedIsTheWholeRun) {
  const Scenario* const s2 = arena::FindScenario("S2");
  const Played a = Play(*s2, s2->ideal.wall, Rough(5));
  const Played b = Play(*s2, s2->ideal.wall, Rough(5));
  const Played c = Play(*s2, s2->ideal.wall, Rough(6));
  EXPECT_EQ(a.x_ideal, b.x_ideal);
  EXPECT_EQ(a.sends, b.sends);
  EXPECT_NE(a.x_ideal, c.x_ideal);
}

}  // namespace
}  // namespace forbear::simulator
