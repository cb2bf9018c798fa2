// MayHedge on all combinations of its inputs, and the budget of hedges against
// exact fractions.

#include "core/hedge.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/hedge_budget.h"
#include "core/random.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

TEST(HedgeTest, AllCombinations) {
  int combinations = 0;
  int allowed = 0;
  for (int bits = 0; bits < 256; ++bits) {
    for (int max_in_flight : {1, 2, 3}) {
      for (int in_flight : {0, 1, 2, 3}) {
        for (int max_hedges : {1, 4}) {
          for (int hedges : {0, 1, 3, 4, 1000000}) {
            for (int max_attempts : {1, 2, 3, 100}) {
              for (int failures : {0, 1, 2, 99, 1000000}) {
                HedgeOptions o;
                o.enabled = (bits & 1) != 0;
                o.billable_consent = (bits & 2) != 0;
                o.repeat_consent = (bits & 4) != 0;
                o.max_hedges = max_hedges;
                HedgeFacts f;
                f.idempotent = (bits & 8) != 0;
                f.replayable = (bits & 16) != 0;
                f.billable = (bits & 32) != 0;
                f.yields = (bits & 64) != 0;
                f.told = (bits & 128) != 0;
                f.max_in_flight = max_in_flight;
                f.in_flight = in_flight;
                f.hedges = hedges;
                f.max_attempts = max_attempts;
                f.counted_failures = failures;
                // Each reason by itself; docs/design.md §3.
                const bool forbidden[] = {
                    !o.enabled,
                    !f.idempotent && !o.repeat_consent,
                    f.billable && !o.billable_consent,
                    !f.replayable,
                    f.yields,
                    f.told,
                    in_flight == 0,  // that would be a retry
                    in_flight >= max_in_flight,
                    hedges >= max_hedges,
                    failures + in_flight >= max_attempts,
                };
                bool any = false;
                for (const bool reason : forbidden) any = any || reason;
                ASSERT_EQ(MayHedge(o, f), !any) << bits;
                ++combinations;
                if (!any) ++allowed;
              }
            }
          }
        }
      }
    }
  }
  EXPECT_GT(allowed, 100);
  std::printf("%d combinations, %d allowed\n", combinations, allowed);
}

TEST(HedgeTest, OffByDefault) {
  HedgeFacts f;
  f.idempotent = true;
  f.max_in_flight = 100;
  EXPECT_FALSE(MayHedge({}, f));
}

std::string FaultsOf(const HedgeOptions& o) {
  std::vector<std::string> all;
  ValidateHedge(o, "h", &all);
  return absl::StrJoin(all, "|");
}
std::string FaultsOf(const HedgeBudgetOptions& o) {
  std::vector<std::string> all;
  ValidateHedgeBudget(o, "b", &all);
  return absl::StrJoin(all, "|");
}

TEST(HedgeTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  EXPECT_EQ(FaultsOf(HedgeOptions()), "");
  HedgeOptions h;
  h.delay = -absl::Nanoseconds(1);
  h.max_hedges = 5;
  EXPECT_EQ(FaultsOf(h),
            "h.delay is -1ns; it must be 0 … 1h|h.max_hedges is 5; it must be "
            "1 … 4");
  h.delay = absl::InfiniteDuration();
  h.max_hedges = 0;
  EXPECT_EQ(FaultsOf(h),
            "h.delay is inf; it must be 0 … 1h|h.max_hedges is 0; it must be "
            "1 … 4");
  EXPECT_EQ(FaultsOf(HedgeBudgetOptions()), "");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {nan, -0.1, 1000.1}) {
    HedgeBudgetOptions b;
    b.ratio = bad;
    EXPECT_EQ(FaultsOf(b).find("b.ratio is "), 0u) << bad;
    b = HedgeBudgetOptions();
    b.per_second = bad;
    EXPECT_EQ(FaultsOf(b).find("b.per_second is "), 0u) << bad;
  }
  for (const int bad : {0, -1, 1000001}) {
    HedgeBudgetOptions b;
    b.burst = bad;
    EXPECT_EQ(FaultsOf(b).find("b.burst is "), 0u) << bad;
  }
}

// In fractions of a billionth of a hedge, exactly.
class ExactBudget {
 public:
  ExactBudget(int64_t per_call, int64_t per_nano, int64_t burst,
              MonotonicTime now)
      : per_call_(per_call),
        per_nano_(per_nano),
        full_(burst * kOne),
        level_(full_),
        now_(now) {}
  void OnCall(MonotonicTime now) {
    Pass(now);
    Put(per_call_);
  }
  bool Withdraw(MonotonicTime now) {
    Pass(now);
    if (level_ < kOne) return false;
    level_ -= kOne;
    return true;
  }
  void Return() { Put(kOne); }
  double level() const { return static_cast<double>(level_) / kOne; }
  static constexpr int64_t kOne = 1000000000;

 private:
  void Put(__int128 more) {
    const __int128 sum = more + level_;
    level_ = sum > full_ ? full_ : static_cast<int64_t>(sum);
  }
  void Pass(MonotonicTime now) {
    if (now <= now_) return;
    Put(static_cast<__int128>(per_nano_) * (now.nanos() - now_.nanos()));
    now_ = now;
  }
  const int64_t per_call_;
  const int64_t per_nano_;
  const int64_t full_;
  int64_t level_;
  MonotonicTime now_;
};

TEST(HedgeBudgetTest, AgainstExactFractions) {
  const char* const text = std::getenv("FORBEAR_SEED");
  const uint64_t first = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  int64_t steps = 0;
  int64_t ties = 0;
  for (uint64_t seed = first; seed < first + 200; ++seed) {
    uint64_t n = 0;
    const auto below = [&](int64_t limit) {
      return static_cast<int64_t>(UnitRandom(seed, n++) *
                                  static_cast<double>(limit));
    };
    HedgeBudgetOptions o;
    // Whole numbers of the exact one's units.
    const int64_t per_call = below(100) * (ExactBudget::kOne / 100);
    const int64_t per_nano = below(5);
    o.ratio = static_cast<double>(per_call) / ExactBudget::kOne;
    o.per_second = static_cast<double>(per_nano);
    o.burst = 1 + static_cast<int>(below(20));
    MonotonicTime now = MonotonicTime::FromNanos(below(1000000000));
    HedgeBudget budget(o, now);
    ExactBudget exact(per_call, per_nano, o.burst, now);
    for (int i = 0; i < 5000; ++i, ++steps) {
      if (below(2) == 0) {
        now = now + absl::Nanoseconds(below(400000000) - 100000000);
      }
      switch (below(4)) {
        case 0:
        case 1:
          budget.OnCall(now);
          exact.OnCall(now);
          break;
        case 2: {
          const double before = exact.level();
          const bool a = budget.Withdraw(now);
          const bool b = exact.Withdraw(now);
          // Within the last digits of a whole hedge either is right.
          if (a != b) {
            ++ties;
            ASSERT_NEAR(before, 1.0, 1e-6) << "FORBEAR_SEED=" << seed;
            if (a) budget.Return();
            if (b) exact.Return();
          }
          break;
        }
        case 3:
          if (below(10) == 0) {
            budget.Return();
            exact.Return();
          }
          break;
      }
      ASSERT_NEAR(budget.level(), exact.level(), 1e-6)
          << "FORBEAR_SEED=" << seed << " step " << i;
      ASSERT_GE(budget.level(), 0);
      ASSERT_LE(budget.level(), o.burst);
    }
  }
  std::printf("%lld steps, %lld ties\n", static_cast<long long>(steps),
              static_cast<long long>(ties));
}

TEST(HedgeBudgetTest, TwentyCallsMakeAHedge) {
  const MonotonicTime now = MonotonicTime::FromNanos(5);
  HedgeBudgetOptions o;
  o.per_second = 0;
  o.burst = 1;
  HedgeBudget budget(o, now);
  EXPECT_TRUE(budget.Withdraw(now));
  for (int hedge = 0; hedge < 100; ++hedge) {
    for (int call = 0; call < 20; ++call) {
      EXPECT_FALSE(budget.Withdraw(now)) << hedge << " " << call;
      budget.OnCall(now);
    }
    EXPECT_TRUE(budget.Withdraw(now)) << hedge;
  }
}

TEST(HedgeBudgetTest, NewOptionsKeepHowFullItIs) {
  const MonotonicTime now = MonotonicTime::FromNanos(5);
  HedgeBudgetOptions o;
  o.burst = 10;
  o.per_second = 1;
  HedgeBudget budget(o, now);
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(budget.Withdraw(now));
  HedgeBudgetOptions wider = o;
  wider.burst = 100;
  wider.ratio = 1;
  // What time has brought by now is of the old options.
  budget.Reconfigure(wider, now + absl::Seconds(1));
  EXPECT_DOUBLE_EQ(budget.level(), 50);
  budget.OnCall(now + absl::Seconds(1));
  EXPECT_DOUBLE_EQ(budget.level(), 51);
  budget.Reconfigure(o, now + absl::Seconds(1));
  EXPECT_DOUBLE_EQ(budget.level(), 5.1);
}

TEST(HedgeBudgetTest, OddTimes) {
  HedgeBudgetOptions o;
  o.ratio = 0;
  o.burst = 3;
  const auto drained = [&](MonotonicTime now) {
    HedgeBudget budget(o, now);
    while (budget.Withdraw(now)) {
    }
    return budget;
  };
  const MonotonicTime start = MonotonicTime::FromNanos(1000);
  // A clock that stands still, or runs backward.
  HedgeBudget budget = drained(start);
  for (int i = 0; i < 1000000; ++i) budget.OnCall(start);
  EXPECT_FALSE(budget.Withdraw(start));
  EXPECT_FALSE(budget.Withdraw(MonotonicTime::InfinitePast()));
  EXPECT_FALSE(budget.Withdraw(start));
  // Ten seconds make one, ten years three.
  EXPECT_TRUE(budget.Withdraw(start + absl::Seconds(10)));
  EXPECT_FALSE(budget.Withdraw(start + absl::Seconds(10)));
  budget.OnCall(start + absl::Hours(87600));
  EXPECT_EQ(budget.level(), 3);
  for (const MonotonicTime now :
       {MonotonicTime::Infinite(), MonotonicTime::InfinitePast()}) {
    o.per_second = now.is_infinite() ? 0 : 1000;
    HedgeBudget odd = drained(MonotonicTime::InfinitePast());
    odd.OnCall(now);
    odd.OnCall(MonotonicTime::Infinite());
    // For ever, at nothing per second, makes none.
    EXPECT_EQ(odd.level(), now.is_infinite() ? 0 : 3);
  }
}

}  // namespace
}  // namespace forbear
