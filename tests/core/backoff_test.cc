#include "core/backoff.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

double Delay(const BackoffOptions& o, int64_t retry, double random) {
  return absl::ToDoubleSeconds(BackoffDelay(o, retry, random));
}

std::string Faults(const BackoffOptions& o) {
  std::vector<std::string> all;
  ValidateBackoff(o, "b", &all);
  return absl::StrJoin(all, "|");
}

TEST(BackoffTest, AwsTables) {
  // smithy-rs rust-runtime/aws-smithy-runtime retries and botocore
  // tests/unit/retries: the ceilings of retry 2.1 and 2.0, jitter at 1.
  BackoffOptions v21;
  v21.jitter = Jitter::kNone;
  const std::vector<double> table21 = {0.05, 0.1, 0.2,  0.4, 0.8, 1.6,
                                       3.2,  6.4, 12.8, 20,  20};
  for (size_t i = 0; i < table21.size(); ++i) {
    EXPECT_DOUBLE_EQ(Delay(v21, static_cast<int64_t>(i + 1), 0), table21[i]);
  }
  for (double initial : {1.0, 3.0, 0.03}) {
    BackoffOptions v20 = v21;
    v20.initial = absl::Seconds(initial);
    EXPECT_NEAR(Delay(v20, 1, 0), initial, 1e-9);
    EXPECT_NEAR(Delay(v20, 2, 0), 2 * initial, 1e-9);
    EXPECT_NEAR(Delay(v20, 3, 0), 4 * initial, 1e-9);
  }
  BackoffOptions big = v21;
  big.initial = absl::Seconds(10);
  EXPECT_DOUBLE_EQ(Delay(big, 100000, 0), 20);
}

TEST(BackoffTest, GrpcA6Table) {
  // gRPC A6 (2024): min(initial · multiplier^(n-1), max) · U(0.8, 1.2).
  BackoffOptions o;
  o.initial = absl::Milliseconds(100);
  o.max = absl::Seconds(1);
  o.jitter = Jitter::kPlusMinus;
  const double ceilings[] = {0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0};
  for (int n = 1; n <= 7; ++n) {
    EXPECT_NEAR(Delay(o, n, 0), 0.8 * ceilings[n - 1], 1e-9);
    EXPECT_NEAR(Delay(o, n, 0.5), ceilings[n - 1], 1e-9);
    EXPECT_NEAR(Delay(o, n, 1 - 1e-12), 1.2 * ceilings[n - 1], 1e-9);
  }
}

TEST(BackoffTest, AfterALoneFailure) {
  BackoffOptions o;
  o.jitter = Jitter::kNone;
  const auto delay = [&](int64_t retry) {
    return BackoffDelay(o, retry, 0, /*lone=*/true);
  };
  EXPECT_EQ(delay(1), absl::Milliseconds(5));
  // Who fails again, or has failed before, waits as always.
  EXPECT_EQ(delay(2), absl::Milliseconds(100));
  EXPECT_EQ(BackoffDelay(o, 1, 0), absl::Milliseconds(50));
  o.lone_part = 1;
  EXPECT_EQ(delay(1), absl::Milliseconds(50));
  o.lone_part = 0;
  EXPECT_EQ(delay(1), absl::ZeroDuration());
  EXPECT_EQ(Faults(o), "");
  o.lone_part = 1.1;
  EXPECT_NE(Faults(o).find("b.lone_part is 1.1; it must be 0 … 1"),
            std::string::npos)
      << Faults(o);
}

// Ceilings of other libraries' tests. Their attempt n is our retry n, but where
// `from` says otherwise.
//  | theirs | ours, and why |
//  | urllib3 test/test_retry.py: no wait before the first retry | the ceiling of
//    the first is the factor: a retry at once doubles the load of a server that
//    has just failed. From the second on the same |
//  | urllib3: jitter on top; openai-python tests/test_client.py: 0.75 … 1 of the
//    ceiling | full jitter, or ±20 %: less work for the server |
//  | tenacity tests/test_tenacity.py: a floor (min=20) | not there; a larger
//    initial does it |
TEST(BackoffTest, TablesOfOtherLibraries) {
  struct Row {
    const char* origin;
    double initial;
    double max;
    int64_t retry;
    double delay;
  };
  const Row kRows[] = {
      {"urllib3, factor 0.2", 0.2, 120, 2, 0.4},
      {"urllib3, factor 0.2", 0.2, 120, 3, 0.8},
      {"urllib3, factor 0.2", 0.2, 120, 4, 1.6},
      {"urllib3, factor 0.2, cap 1", 0.2, 1, 3, 0.8},
      {"urllib3, factor 0.2, cap 1", 0.2, 1, 4, 1},
      {"urllib3, factor 0.2, cap 1", 0.2, 1, 5, 1},
      // go-retryablehttp 0.7.1 client_test.go, attempts from 0. 63 and 128 must
      // not overflow.
      {"go-retryablehttp attempt 0", 1, 300, 1, 1},
      {"go-retryablehttp attempt 1", 1, 300, 2, 2},
      {"go-retryablehttp attempt 2", 1, 300, 3, 4},
      {"go-retryablehttp attempt 3", 1, 300, 4, 8},
      {"go-retryablehttp attempt 63", 1, 300, 64, 300},
      {"go-retryablehttp attempt 128", 1, 300, 129, 300},
      {"tenacity exponential, max 40", 1, 40, 1, 1},
      {"tenacity exponential, max 40", 1, 40, 5, 16},
      {"tenacity exponential, max 40", 1, 40, 6, 32},
      {"tenacity exponential, max 40", 1, 40, 7, 40},
      {"tenacity exponential, max 40", 1, 40, 50, 40},
      {"tenacity exponential, max 50", 1, 50, 6, 32},
      {"tenacity exponential, max 50", 1, 50, 7, 50},
      {"openai-python", 0.5, 8, 1, 0.5},
      {"openai-python", 0.5, 8, 4, 4},
      {"openai-python", 0.5, 8, 5, 8},
      {"openai-python: 1100 retries", 0.5, 8, 1100, 8},
  };
  for (const Row& row : kRows) {
    BackoffOptions o;
    o.initial = absl::Seconds(row.initial);
    o.max = absl::Seconds(row.max);
    o.jitter = Jitter::kNone;
    EXPECT_NEAR(Delay(o, row.retry, 0), row.delay, 1e-9)
        << row.origin << " retry " << row.retry;
    o.jitter = Jitter::kFull;
    EXPECT_LE(Delay(o, row.retry, 1 - 0x1.0p-53), row.delay) << row.origin;
  }
  // curl tests/data/test1269: a delay of 9223372036854776 s is no option.
  BackoffOptions o;
  o.initial = absl::Seconds(9223372036854776);
  EXPECT_NE(Faults(o).find("b.initial is "), std::string::npos);
}

TEST(BackoffTest, WithinItsBoundsForEveryRetryNumber) {
  for (Jitter jitter : {Jitter::kFull, Jitter::kPlusMinus, Jitter::kNone}) {
    for (double multiplier : {1.0, 1.6, 2.0, 100.0}) {
      for (absl::Duration initial : {absl::ZeroDuration(), absl::Nanoseconds(1),
                                     absl::Milliseconds(50), absl::Hours(1)}) {
        BackoffOptions o;
        o.initial = initial;
        o.multiplier = multiplier;
        o.max = std::max(initial, absl::Seconds(20));
        o.jitter = jitter;
        ASSERT_EQ(Faults(o), "");
        for (int64_t retry :
             {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
              int64_t{1}, int64_t{2}, int64_t{33}, int64_t{1000000},
              std::numeric_limits<int64_t>::max()}) {
          for (double random : {0.0, 0.3, 1.0 - 0x1.0p-53}) {
            const absl::Duration d = BackoffDelay(o, retry, random);
            EXPECT_GE(d, absl::ZeroDuration());
            EXPECT_LE(d, o.max * (jitter == Jitter::kPlusMinus ? 1.2 : 1.0));
            EXPECT_EQ(d, BackoffDelay(o, retry, random));
            if (retry < 1) {
              EXPECT_EQ(d, BackoffDelay(o, 1, random));
            }
          }
        }
      }
    }
  }
}

// Full jitter is uniform: 10,000 samples at the ceiling, 20 bins, each within
// 20 % (the smithy-rs test's tolerance).
TEST(BackoffTest, FullJitterIsUniform) {
  BackoffOptions o;
  std::vector<int> bins(20, 0);
  for (uint64_t i = 0; i < 10000; ++i) {
    ++bins[static_cast<size_t>(Delay(o, 50, UnitRandom(42, i)))];
  }
  for (int n : bins) {
    EXPECT_GE(n, 400);
    EXPECT_LE(n, 600);
  }
}

TEST(BackoffTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  EXPECT_EQ(Faults({}), "");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double m :
       {0.0, 0.99, -2.0, 100.1, nan, std::numeric_limits<double>::infinity()}) {
    BackoffOptions o;
    o.multiplier = m;
    EXPECT_EQ(Faults(o).find("b.multiplier is "), 0u) << m;
  }
  for (absl::Duration d :
       {-absl::Nanoseconds(1), absl::Hours(2), absl::InfiniteDuration(),
        -absl::InfiniteDuration(), absl::Seconds(nan)}) {
    BackoffOptions o;
    o.initial = d;
    EXPECT_NE(Faults(o).find("b.initial is "), std::string::npos) << d;
  }
  for (absl::Duration d : {absl::Milliseconds(49), -absl::Seconds(1),
                           absl::Hours(25), absl::InfiniteDuration()}) {
    BackoffOptions o;
    o.max = d;
    EXPECT_EQ(Faults(o).find("b.max is "), 0u) << d;
  }
}

// Zero stays zero: the growth of nothing is no number, and no maximum either.
TEST(BackoffTest, NoBackoffIsNoneForEveryRetry) {
  BackoffOptions o;
  o.initial = absl::ZeroDuration();
  for (const Jitter jitter :
       {Jitter::kFull, Jitter::kPlusMinus, Jitter::kNone}) {
    o.jitter = jitter;
    for (const int64_t retry : {1, 2, 64, 2000, 1000000}) {
      EXPECT_EQ(BackoffDelay(o, retry, 0.9), absl::ZeroDuration()) << retry;
    }
  }
}

}  // namespace
}  // namespace forbear
