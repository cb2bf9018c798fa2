#include "benchmarks/arena/scenario.h"

#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/testing/provider.h"

namespace forbear::arena {
namespace {

Ideal IdealOf(const char* name) {
  const Scenario* const scenario = FindScenario(name);
  if (scenario == nullptr) {
    ADD_FAILURE() << "there is no " << name;
    return {};
  }
  return scenario->ideal;
}

// What a person would say that it takes.
TEST(ScenarioTest, IdealsOfTheMainOnes) {
  const auto ms = [](double n) { return absl::Milliseconds(n); };
  EXPECT_EQ(IdealOf("S1").wall, ms(20 + 1000 + 10 * 20));
  EXPECT_EQ(IdealOf("S1").wasted, 3);
  EXPECT_EQ(IdealOf("S1w").wall, ms(3000 + 10 * 20));
  for (const char* name : {"S2", "S2b", "S3", "S4", "S7"}) {
    EXPECT_EQ(IdealOf(name).wall, ms(390 * 50 + 20)) << name;
    EXPECT_EQ(IdealOf(name).wasted, 0) << name;
  }
  for (const char* name : {"S5", "S5w"}) {
    EXPECT_EQ(IdealOf(name).wall, ms(5000 + 290 * 20 + 20)) << name;
  }
  EXPECT_EQ(IdealOf("P4").wall, ms(230 * 50 + 20));
  // 7 % of 400, and of those again.
  EXPECT_GT(IdealOf("S6").wasted, 15);
  EXPECT_LT(IdealOf("S6").wasted, 50);
}

TEST(ScenarioTest, EachIsWhole) {
  std::set<std::string> names;
  std::map<std::string, int> groups;
  for (const Scenario& scenario : AllScenarios()) {
    EXPECT_TRUE(names.insert(scenario.name).second) << scenario.name;
    ++groups[scenario.group];
    // Its options are good, and it ends.
    EXPECT_GT(scenario.ideal.wall, absl::ZeroDuration()) << scenario.name;
    EXPECT_LE(scenario.ideal.wall, absl::Seconds(25)) << scenario.name;
    EXPECT_EQ(scenario.crowd.workers % scenario.processes, 0) << scenario.name;
    EXPECT_EQ(scenario.crowd.calls % scenario.processes, 0) << scenario.name;
    // A hang must end.
    if (scenario.provider.model.hang_fraction > 0) {
      EXPECT_LT(scenario.crowd.attempt_timeout, absl::InfiniteDuration())
          << scenario.name;
    }
    EXPECT_EQ(scenario.obeyable.empty(), scenario.group != "variants")
        << scenario.name;
    // They go into JSON and tables as they are.
    for (const char c : scenario.name + scenario.title + scenario.obeyable) {
      EXPECT_TRUE(c != '"' && c != '\\' &&
                  (static_cast<unsigned char>(c) >= ' '))
          << scenario.title;
    }
  }
  EXPECT_EQ(groups["main"], 11);
  EXPECT_EQ(groups["buckets"], 60);
  EXPECT_EQ(groups["variants"], 24);
  EXPECT_EQ(groups.size(), 3u);
  EXPECT_EQ(FindScenario("S9"), nullptr);
}

// One bucket is one schedule, however it announces; and has not changed since results
// were written down.
TEST(ScenarioTest, BucketsAreThoseOfTheSeed) {
  for (int number = 1; number <= 12; ++number) {
    const std::string name =
        (number < 10 ? "bucket-0" : "bucket-") + std::to_string(number);
    const Scenario* const first = FindScenario(name + "-none");
    ASSERT_NE(first, nullptr);
    EXPECT_GE(first->provider.model.rate, 2);
    EXPECT_LE(first->provider.model.rate, 200);
    EXPECT_GE(first->provider.model.burst, 1);
    EXPECT_LE(first->provider.model.burst, 100);
    EXPECT_GE(first->provider.model.latency, absl::Milliseconds(5));
    EXPECT_LE(first->provider.model.latency, absl::Milliseconds(500));
    for (const char* style : {"-int", "-date", "-ms", "-xrl"}) {
      const Scenario* const other = FindScenario(name + style);
      ASSERT_NE(other, nullptr);
      EXPECT_EQ(other->ideal.wall, first->ideal.wall);
      EXPECT_EQ(other->crowd.calls, first->crowd.calls);
      EXPECT_NE(other->title, first->title);
    }
  }
}

TEST(ScenarioTest, AsJson) {
  constexpr char kFirst[] =
      R"([{"name":"S1","group":"main",)"
      R"("title":"the first three sends get 429 and Retry-After: 1",)"
      R"("workers":10,"calls":100,"processes":1,"attempt_timeout_s":null,)"
      R"("grpc":false,"obeyable":"","answer_s":0.02,"rate":null,)"
      R"("outage_s":null,"ideal_s":1.22,"ideal_wasted":3})";
  const std::string json = ScenariosJson();
  EXPECT_EQ(json.substr(0, sizeof(kFirst) - 1), kFirst);
  for (const char* part :
       {R"("outage_s":[0,5],"ideal_s":10.82,"ideal_wasted":0})",
        R"("attempt_timeout_s":2,)", R"("processes":4,)", R"("grpc":true,)",
        R"("rate":20,)"}) {
    EXPECT_TRUE(absl::StrContains(json, part)) << part << "\n" << json;
  }
}

}  // namespace
}  // namespace forbear::arena
