#include "tests/testing/provider_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

using Verdict = ProviderModel::Verdict;
using Outage = ProviderModel::Outage;

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

ProviderModel::Options WithoutFaults() {
  ProviderModel::Options options;
  options.error_fraction = 0;
  return options;
}

ProviderModel Make(const ProviderModel::Options& options) {
  absl::StatusOr<ProviderModel> model = ProviderModel::Create(options);
  if (!model.ok()) abort();
  return *std::move(model);
}

TEST(ProviderModelTest, BucketAdmitsBurstThenRate) {
  ProviderModel::Options options = WithoutFaults();
  options.rate = 4;  // A token every 250 ms: exact in binary.
  options.burst = 3;
  ProviderModel model = Make(options);
  const auto decide = [&](int ms) {
    return model.Decide(absl::Milliseconds(ms), {});
  };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(decide(0).verdict, Verdict::kServe);
  EXPECT_EQ(decide(0).verdict, Verdict::kRefuse);
  EXPECT_EQ(decide(0).wait, absl::Milliseconds(250));
  EXPECT_EQ(decide(125).wait, absl::Milliseconds(125));
  EXPECT_EQ(decide(250).verdict, Verdict::kServe);
  EXPECT_EQ(decide(250).wait, absl::Milliseconds(250));
  // Time does not run backwards.
  EXPECT_EQ(decide(0).wait, absl::Milliseconds(250));
  // It fills up to the burst and no further.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(decide(60000).verdict, Verdict::kServe);
  EXPECT_EQ(decide(60000).verdict, Verdict::kRefuse);

  EXPECT_EQ(model.stats().sends, 13);
  EXPECT_EQ(model.stats().answered, 7);
  EXPECT_EQ(model.stats().refused, 6);
}

// Who asks exactly when it was told to is admitted: the wait is never short.
TEST(ProviderModelTest, WhoWaitsIsAdmitted) {
  for (double rate : {0.1, 3.0, 7.0, 10.0, 33.3, 1000.0}) {
    ProviderModel::Options options = WithoutFaults();
    options.rate = rate;
    options.burst = 1;
    ProviderModel model = Make(options);
    absl::Duration now;
    for (int i = 0; i < 2000; ++i) {
      const ProviderModel::Decision decision = model.Decide(now, {});
      if (decision.verdict == Verdict::kRefuse) {
        EXPECT_GT(decision.wait, absl::ZeroDuration());
        now += decision.wait;
        EXPECT_EQ(model.Decide(now, {}).verdict, Verdict::kServe)
            << rate << " " << i;
      }
    }
    // And at no more than the rate.
    EXPECT_NEAR(absl::ToDoubleSeconds(now) * rate, 1999, 0.01) << rate;
  }
}

TEST(ProviderModelTest, PenaltyKeepsAHammeringClientOut) {
  ProviderModel::Options options = WithoutFaults();
  options.rate = 10;
  options.burst = 5;
  options.penalise = true;
  ProviderModel model = Make(options);
  absl::Duration now;
  for (int i = 0; i < 1000; ++i) {
    model.Decide(now, {});
    now += absl::Milliseconds(50);  // Twice the rate.
  }
  EXPECT_LE(model.stats().answered, 12);
  // The debt is bounded: it is paid after (burst + 1) / rate.
  now += absl::Milliseconds(601);
  EXPECT_EQ(model.Decide(now, {}).verdict, Verdict::kServe);
}

TEST(ProviderModelTest, WithoutALimitNothingIsRefused) {
  ProviderModel::Options options = WithoutFaults();
  options.rate = kNoLimit;
  ProviderModel model = Make(options);
  for (int i = 0; i < 1000; ++i) model.Decide(absl::ZeroDuration(), {});
  EXPECT_EQ(model.stats().answered, 1000);
}

std::vector<int> FaultsOf(uint64_t seed, double fraction, int lost) {
  ProviderModel::Options options;
  options.rate = kNoLimit;
  options.seed = seed;
  options.error_fraction = fraction;
  options.lost_answers = lost;
  ProviderModel model = Make(options);
  std::vector<int> faults;
  for (int i = 0; i < 10000; ++i) {
    faults.push_back(
        static_cast<int>(model.Decide(absl::ZeroDuration(), {}).verdict));
  }
  EXPECT_EQ(model.stats().lost_answers, lost);
  EXPECT_EQ(model.stats().errors + model.stats().answered, 10000 - lost);
  return faults;
}

TEST(ProviderModelTest, FaultsComeFromTheSeed) {
  EXPECT_EQ(FaultsOf(1, 0.05, 3), FaultsOf(1, 0.05, 3));
  EXPECT_NE(FaultsOf(1, 0.05, 3), FaultsOf(2, 0.05, 3));
  for (uint64_t seed = 0; seed < 20; ++seed) {
    int errors = 0;
    const std::vector<int> faults = FaultsOf(seed, 0.05, 3);
    for (size_t i = 0; i < faults.size(); ++i) {
      errors += faults[i] == static_cast<int>(Verdict::kError);
      if (faults[i] == static_cast<int>(Verdict::kLoseAnswer)) {
        EXPECT_LT(i, 100u);
      }
    }
    EXPECT_NEAR(errors, 500, 110) << seed;  // 5 sigma
  }
  FaultsOf(7, 0, 0);
  FaultsOf(7, 0.05, 100);
  for (int fault : FaultsOf(7, 1, 0)) {
    EXPECT_EQ(fault, static_cast<int>(Verdict::kError));
  }
}

// Refusals move no fault: a client that is refused often meets as many.
TEST(ProviderModelTest, FaultsCountAdmittedRequests) {
  ProviderModel::Options options;
  options.error_fraction = 0.3;
  options.rate = 10;
  options.burst = 1;
  ProviderModel patient = Make(options);
  ProviderModel hammered = Make(options);
  std::vector<Verdict> a, b;
  for (int i = 0; i < 500; ++i) {
    a.push_back(patient.Decide(absl::Milliseconds(200) * i, {}).verdict);
  }
  for (int i = 0; b.size() < a.size(); ++i) {
    const Verdict verdict =
        hammered.Decide(absl::Milliseconds(7) * i, {}).verdict;
    if (verdict != Verdict::kRefuse) b.push_back(verdict);
  }
  EXPECT_EQ(a, b);
  EXPECT_GT(hammered.stats().refused, 0);
}

TEST(ProviderModelTest, NoCallMeetsMoreThanItsFaults) {
  for (int max : {0, 1, 2, 5}) {
    ProviderModel::Options options;
    options.rate = kNoLimit;
    options.error_fraction = 0.9;
    options.lost_answers = 50;
    options.max_faults_per_call = max;
    ProviderModel model = Make(options);
    int most = 0;
    for (int call = 0; call < 200; ++call) {
      int faults = 0;
      while (model.Decide(absl::ZeroDuration(), {absl::StrCat(call), true})
                 .verdict != Verdict::kServe) {
        ++faults;
      }
      most = std::max(most, faults);
    }
    EXPECT_EQ(most, max);
  }
}

TEST(ProviderModelTest, LedgerTellsReplaysFromDuplicates) {
  ProviderModel::Options options;
  options.rate = kNoLimit;
  options.error_fraction = 0;
  options.lost_answers = 1;
  options.lost_answers_within = 1;
  {
    ProviderModel model = Make(options);
    EXPECT_EQ(model.Decide(absl::ZeroDuration(), {"a", true}).verdict,
              Verdict::kLoseAnswer);
    EXPECT_EQ(model.Decide(absl::ZeroDuration(), {"a", true}).verdict,
              Verdict::kServe);
    model.Decide(absl::ZeroDuration(), {"b", true});
    EXPECT_EQ(model.stats().replays, 1);
    EXPECT_EQ(model.stats().duplicates_executed, 0);
  }
  {
    ProviderModel model = Make(options);
    model.Decide(absl::ZeroDuration(), {"a", false});
    model.Decide(absl::ZeroDuration(), {"a", false});
    model.Decide(absl::ZeroDuration(), {"b", false});
    // Unknown calls are all different.
    model.Decide(absl::ZeroDuration(), {});
    model.Decide(absl::ZeroDuration(), {});
    EXPECT_EQ(model.stats().replays, 0);
    EXPECT_EQ(model.stats().duplicates_executed, 1);
  }
}

TEST(ProviderModelTest, AnErrorIsBeforeTheWork) {
  ProviderModel::Options options;
  options.rate = kNoLimit;
  options.error_fraction = 1;
  options.max_faults_per_call = 1;
  options.latency = absl::Milliseconds(3);
  ProviderModel model = Make(options);
  const ProviderModel::Decision decision =
      model.Decide(absl::ZeroDuration(), {"a", false});
  EXPECT_EQ(decision.verdict, Verdict::kError);
  EXPECT_EQ(decision.latency, absl::Milliseconds(3));
  EXPECT_EQ(model.Decide(absl::ZeroDuration(), {"a", false}).verdict,
            Verdict::kServe);
  EXPECT_EQ(model.stats().duplicates_executed, 0);
}

TEST(ProviderModelTest, Outages) {
  ProviderModel::Options options = WithoutFaults();
  options.burst = 1;
  const auto at = [](int s) { return absl::Seconds(s); };
  options.outages = {
      Outage{at(1), at(2), Outage::Kind::kError, absl::Seconds(7)},
      Outage{at(2), at(3), Outage::Kind::kReset, {}},
      Outage{at(3), at(4), Outage::Kind::kHang, {}},
      Outage{at(4), at(5), Outage::Kind::kClosedPort, {}}};
  ProviderModel model = Make(options);
  EXPECT_EQ(model.Decide(at(0), {}).verdict, Verdict::kServe);
  const ProviderModel::Decision error = model.Decide(at(1), {});
  EXPECT_EQ(error.verdict, Verdict::kOutageError);
  EXPECT_EQ(error.wait, absl::Seconds(7));
  EXPECT_EQ(model.Decide(at(2) - absl::Nanoseconds(1), {}).verdict,
            Verdict::kOutageError);
  EXPECT_EQ(model.Decide(at(2), {}).verdict, Verdict::kOutageReset);
  EXPECT_EQ(model.Decide(at(3), {}).verdict, Verdict::kOutageHang);
  EXPECT_EQ(model.Decide(at(4), {}).verdict, Verdict::kOutageReset);
  EXPECT_EQ(model.Decide(at(5), {}).verdict, Verdict::kServe);
  EXPECT_EQ(model.stats().sends, 7);
  EXPECT_EQ(model.stats().answered, 2);
}

TEST(ProviderModelTest, TheFirstAreRefused) {
  ProviderModel::Options options = WithoutFaults();
  options.rate = kNoLimit;
  options.refuse_first = 2;
  options.refuse_first_wait = absl::Seconds(3);
  options.refusal_latency = absl::Milliseconds(20);
  ProviderModel model = Make(options);
  EXPECT_EQ(model.Earliest(absl::ZeroDuration()), absl::InfiniteDuration());
  for (int i = 0; i < 2; ++i) {
    const ProviderModel::Decision decision =
        model.Decide(absl::Seconds(100 * i), {});
    EXPECT_EQ(decision.verdict, Verdict::kRefuse);
    EXPECT_EQ(decision.wait, absl::Seconds(3));
    EXPECT_EQ(decision.latency, absl::Milliseconds(20));
  }
  EXPECT_EQ(model.Earliest(absl::Seconds(7)), absl::Seconds(7));
  EXPECT_EQ(model.Decide(absl::ZeroDuration(), {}).verdict, Verdict::kServe);
}

TEST(ProviderModelTest, AnOutageMayTellTheTruth) {
  ProviderModel::Options options = WithoutFaults();
  options.outages = {Outage{absl::Seconds(1), absl::Seconds(3),
                            Outage::Kind::kRefuse, absl::InfiniteDuration()}};
  ProviderModel model = Make(options);
  const ProviderModel::Decision decision =
      model.Decide(absl::Milliseconds(1200), {});
  EXPECT_EQ(decision.verdict, Verdict::kOutageRefuse);
  EXPECT_EQ(decision.wait, absl::Milliseconds(1800));
  EXPECT_EQ(model.Earliest(absl::Milliseconds(999)), absl::Milliseconds(999));
  EXPECT_EQ(model.Earliest(absl::Seconds(1)), absl::Seconds(3));
}

// What the clairvoyant plans is served, whatever stands in the way.
TEST(ProviderModelTest, EarliestIsServed) {
  ProviderModel::Options options = WithoutFaults();
  options.rate = 5;
  options.burst = 2;
  options.limit_changes = {{absl::Seconds(2), 0.5}, {absl::Seconds(6), 8}};
  options.outages = {
      Outage{absl::Seconds(3), absl::Seconds(5), Outage::Kind::kHang, {}},
      Outage{absl::Seconds(4), absl::Seconds(5), Outage::Kind::kError, {}},
      Outage{absl::Seconds(5), absl::Seconds(6), Outage::Kind::kReset, {}}};
  ProviderModel model = Make(options);
  absl::Duration now;
  for (int i = 0; i < 100; ++i) {
    now = model.Earliest(now);
    ASSERT_EQ(model.Decide(now, {}).verdict, Verdict::kServe) << i << now;
  }
  // 2 at once, 10 until 2 s, 2.5 until 3 s (none is lost: it was two and a half
  // at 3 s, and the bucket holds two), from 6 s on 20/s.
  EXPECT_GT(now, absl::Seconds(10));
  EXPECT_LT(now, absl::Milliseconds(10500));
}

TEST(ProviderModelTest, FaultsOfThreeKinds) {
  ProviderModel::Options options;
  options.rate = kNoLimit;
  options.error_fraction = 0.05;
  ProviderModel one = Make(options);
  options.lost_answer_fraction = 0.03;
  options.hang_fraction = 0.02;
  ProviderModel three = Make(options);
  for (int i = 0; i < 10000; ++i) {
    const Verdict verdict = one.Decide(absl::ZeroDuration(), {}).verdict;
    const Verdict other = three.Decide(absl::ZeroDuration(), {}).verdict;
    // The same errors, and others beside them.
    EXPECT_EQ(verdict == Verdict::kError, other == Verdict::kError);
  }
  EXPECT_NEAR(three.stats().lost_answers, 300, 85);  // 5 sigma
  EXPECT_NEAR(three.stats().hangs, 200, 70);
  EXPECT_EQ(three.stats().answered + three.stats().errors +
                three.stats().lost_answers + three.stats().hangs,
            10000);
}

TEST(ProviderModelTest, SaysWhatIsLeft) {
  ProviderModel::Options options = WithoutFaults();
  options.limit_kind = LimitModel::Kind::kFixedWindow;
  options.burst = 3;
  options.window = absl::Seconds(5);
  ProviderModel model = Make(options);
  const ProviderModel::Decision decision =
      model.Decide(absl::Milliseconds(500), {});
  EXPECT_EQ(decision.limit.limit, 3);
  EXPECT_EQ(decision.limit.remaining, 2);
  EXPECT_EQ(decision.limit.reset, absl::Milliseconds(4500));
}

TEST(ProviderModelTest, MemoryIsBounded) {
  ProviderModel::Options options = WithoutFaults();
  options.rate = kNoLimit;
  ProviderModel model = Make(options);
  for (int i = 0; i < 150000; ++i) {
    model.Decide(absl::ZeroDuration(), {absl::StrCat(i), false});
  }
  model.Decide(absl::ZeroDuration(), {"149999", false});
  EXPECT_EQ(model.stats().duplicates_executed, 1);
  model.Decide(absl::ZeroDuration(), {"0", false});  // Forgotten.
  EXPECT_EQ(model.stats().duplicates_executed, 1);
}

TEST(ProviderModelTest, RefusesOptionsOutOfRange) {
  const double nan = std::nan("");
  std::vector<ProviderModel::Options> bad(20);
  bad[0].rate = 0;
  bad[1].rate = nan;
  bad[2].burst = 0.5;
  bad[3].burst = nan;
  bad[4].burst = kNoLimit;
  bad[5].error_fraction = -0.1;
  bad[6].error_fraction = 1.1;
  bad[7].error_fraction = nan;
  bad[8].lost_answers = -1;
  bad[9].lost_answers = 101;
  bad[10].max_faults_per_call = -1;
  bad[11].latency = absl::Milliseconds(-1);
  bad[12].outages = {
      Outage{absl::Seconds(2), absl::Seconds(1), Outage::Kind::kError, {}}};
  bad[13].outages = {
      Outage{absl::Seconds(-2), absl::Seconds(1), Outage::Kind::kError, {}}};
  bad[14].refuse_first = -1;
  bad[15].refuse_first_wait = absl::Seconds(-1);
  bad[16].lost_answer_fraction = nan;
  bad[17].hang_fraction = 0.96;  // with 5 % errors
  bad[18].refusal_latency = absl::Milliseconds(-1);
  bad[19].window = absl::ZeroDuration();
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(ProviderModel::Create(bad[i]).status().code(),
              absl::StatusCode::kInvalidArgument)
        << i;
  }
}

}  // namespace
}  // namespace forbear::testing
