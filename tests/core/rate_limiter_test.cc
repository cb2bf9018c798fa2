// RateLimiter against a twin that keeps the whole history and a plain bucket:
// every short sequence, long random ones; the GCRA tables of other projects;
// numbers as large as they may be.

#include "core/rate_limiter.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/cost.h"
#include "core/random.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

using Permit = RateLimiter::Permit;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

Cost Requests(int64_t n) {
  Cost cost;
  cost.requests = n;
  return cost;
}

Cost Tokens(int64_t input, int64_t output) {
  Cost cost;
  cost.input_tokens = input;
  cost.output_tokens = output;
  return cost;
}

RateLimitOptions Limit(LimitUnit unit, int64_t amount, absl::Duration per,
                       int64_t burst = 0) {
  return {std::string(LimitUnitName(unit)), unit, amount, per, burst};
}

// One limit once more: a bucket, exact (in units / per nanoseconds), worked out
// from the list of what was really used each time it is asked.
class Twin {
 public:
  Twin(int64_t amount, int64_t per_nanos, int64_t burst)
      : amount_(amount), per_(per_nanos), cap_(absl::int128(burst) * per_) {}

  absl::int128 LevelAt(int64_t now) const {
    absl::int128 level = cap_;
    int64_t last = 0;
    for (const auto& [time, units] : history_) {
      level = std::min(cap_, level + absl::int128(time - last) * amount_);
      level -= absl::int128(units) * per_;
      last = time;
    }
    return std::min(cap_, level + absl::int128(now - last) * amount_);
  }

  bool Holds(int64_t units, int64_t now) const {
    return units == 0 || LevelAt(now) >= absl::int128(units) * per_;
  }

  // The first nanosecond from `now` on that holds it; kMax: none.
  int64_t FirstThatHolds(int64_t units, int64_t now) const {
    if (units == 0) return now;
    const absl::int128 need = absl::int128(units) * per_;
    if (need > cap_) return kMax;
    const absl::int128 level = LevelAt(now);
    if (level >= need) return now;
    absl::int128 t = now + (need - level) / amount_;
    // By trying, so that the rounding of the division is not believed.
    while (level + (t - now) * amount_ >= need) t -= 1;
    while (level + (t - now) * amount_ < need) t += 1;
    return static_cast<int64_t>(t);
  }

  size_t Use(int64_t units, int64_t now) {
    history_.emplace_back(now, units);
    return history_.size() - 1;
  }
  void SetUsed(size_t which, int64_t units, int64_t now) {
    int64_t& used = history_[which].second;
    if (units > used) {
      history_.emplace_back(now, units - used);
    } else {
      used = units;
    }
  }

 private:
  const int64_t amount_;
  const int64_t per_;
  const absl::int128 cap_;
  std::vector<std::pair<int64_t, int64_t>> history_;
};

enum Letter {
  kOne,         // 1 unit
  kTwo,         // 2 units
  kOldNothing,  // the oldest took nothing after all
  kOldOneLess,
  kOldMore,     // the oldest took two more
  kNewNothing,  // the newest was never sent
  kTick,        // 1 ns
  kTicks,       // 5 ns
  kLetters,
};
constexpr const char* kNames[] = {"take-1",   "take-2",     "old-0", "old-less",
                                  "old-more", "new-return", "1ns",   "5ns"};

struct SmallLimit {
  int64_t amount;
  int64_t per;
  int64_t burst;
};

std::string RunBoth(const SmallLimit& small, const std::vector<int>& letters) {
  RateLimiter limiter({Limit(LimitUnit::kInputTokens, small.amount,
                             absl::Nanoseconds(small.per), small.burst)});
  Twin twin(small.amount, small.per, small.burst);
  int64_t now = 0;
  std::deque<std::pair<Permit, size_t>> out;
  const auto cost = [](int64_t units) {
    Cost c = Requests(0);
    c.input_tokens = units;
    return c;
  };
  const auto time = [&] { return MonotonicTime::FromNanos(now); };
  for (int letter : letters) {
    switch (letter) {
      case kOne:
      case kTwo: {
        const int64_t units = letter == kOne ? 1 : 2;
        Permit p;
        const bool admitted = limiter.Acquire(cost(units), time(), &p);
        if (admitted != twin.Holds(units, now)) return "acquire";
        if (admitted) out.emplace_back(p, twin.Use(units, now));
        break;
      }
      case kOldNothing:
      case kOldOneLess:
      case kOldMore: {
        if (out.empty()) break;
        const auto [p, used] = out.front();
        out.pop_front();
        const int64_t units = letter == kOldNothing   ? 0
                              : letter == kOldOneLess ? p.cost.input_tokens - 1
                                                      : p.cost.input_tokens + 2;
        Usage usage;
        usage.input_tokens = units;
        const MonotonicTime before =
            limiter.Earliest(cost(small.burst), time());
        const bool sooner = limiter.Settle(p, usage, time());
        twin.SetUsed(used, units, now);
        if (!sooner && limiter.Earliest(cost(small.burst), time()) < before) {
          return "did not say that it is sooner";
        }
        break;
      }
      case kNewNothing:
        if (out.empty()) break;
        limiter.Return(out.back().first, time());
        twin.SetUsed(out.back().second, 0, now);
        out.pop_back();
        break;
      case kTick:
        now += 1;
        break;
      case kTicks:
        now += 5;
        break;
      default:
        return "?";
    }
    for (int64_t units = 0; units <= small.burst + 1; ++units) {
      const MonotonicTime earliest = limiter.Earliest(cost(units), time());
      const int64_t expected = twin.FirstThatHolds(units, now);
      if (earliest.nanos() != expected) {
        return absl::StrCat("earliest for ", units, " is ", earliest.nanos(),
                            ", twin ", expected, " at ", now);
      }
    }
    const absl::int128 level = twin.LevelAt(now);
    absl::int128 whole = level / small.per;
    if (level < 0 && whole * small.per != level) whole -= 1;
    if (limiter.LevelOf(0, time()).left != static_cast<int64_t>(whole)) {
      return "level";
    }
  }
  return "";
}

TEST(RateLimiterTest, EveryShortSequenceLikeTheTwin) {
  int64_t sequences = 0;
  // A unit in 3 ns; in 1 2/3 ns; three units at once in 7 ns; one unit's bucket.
  for (const SmallLimit& small : {SmallLimit{1, 3, 3}, SmallLimit{3, 5, 2},
                                  SmallLimit{3, 7, 5}, SmallLimit{2, 7, 1}}) {
    // Who only counts lines (./dev coverage, not optimised) has no such time.
    const size_t length = std::getenv("COVERAGE_DIR") == nullptr ? 7 : 5;
    std::vector<int> letters(length, 0);
    bool more = true;
    while (more) {
      ++sequences;
      const std::string bad = RunBoth(small, letters);
      if (!bad.empty()) {
        std::vector<std::string> names;
        for (int l : letters) names.emplace_back(kNames[l]);
        FAIL() << bad << "\n  " << small.amount << "/" << small.per << " "
               << small.burst << ": " << absl::StrJoin(names, " ");
      }
      more = false;
      for (size_t i = length; i-- > 0;) {
        if (++letters[i] < kLetters) {
          more = true;
          break;
        }
        letters[i] = 0;
      }
    }
  }
  std::printf("%lld sequences\n", static_cast<long long>(sequences));
}

// Three limits, thousands of steps, settlements far out of order: never sooner
// than the twins allow, and as soon as they do unless marks had to be merged.
TEST(RateLimiterTest, LongRandomRunsNeverSoonerThanTheTwins) {
  int64_t asked = 0;
  int64_t exact = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    uint64_t n = 0;
    const auto random = [&](int64_t below) {
      return static_cast<int64_t>(UnitRandom(seed, n++) *
                                  static_cast<double>(below));
    };
    const int64_t second = 1000000000;
    const int64_t rpm = 1 + random(100);
    const int64_t tpm = 1 + random(100000);
    const int64_t opm = 1 + random(20000);
    const int64_t burst = 1 + random(2 * tpm);
    RateLimiter limiter(
        {Limit(LimitUnit::kRequests, rpm, absl::Minutes(1)),
         Limit(LimitUnit::kTokens, tpm, absl::Seconds(7), burst),
         Limit(LimitUnit::kOutputTokens, opm, absl::Seconds(60))});
    std::vector<Twin> twins = {Twin(rpm, 60 * second, rpm),
                               Twin(tpm, 7 * second, burst),
                               Twin(opm, 60 * second, opm)};
    struct Out {
      Permit permit;
      std::vector<size_t> used;
    };
    std::vector<Out> out;
    int64_t now = 0;
    for (int step = 0; step < 600; ++step) {
      // Mostly as fast as it can go, sometimes a pause.
      const Cost cost = Tokens(random(tpm / 20 + 2), random(opm / 20 + 2));
      const std::vector<int64_t> units = {
          1, cost.input_tokens + cost.output_tokens, cost.output_tokens};
      const MonotonicTime earliest =
          limiter.Earliest(cost, MonotonicTime::FromNanos(now));
      int64_t expected = now;
      for (size_t i = 0; i < twins.size(); ++i) {
        expected = std::max(expected, twins[i].FirstThatHolds(units[i], now));
      }
      ASSERT_GE(earliest.nanos(), expected) << "step " << step;
      ++asked;
      exact += earliest.nanos() == expected ? 1 : 0;
      if (!earliest.is_infinite()) {
        if (earliest.nanos() > now) {
          Permit p;
          ASSERT_FALSE(
              limiter.Acquire(cost, earliest - absl::Nanoseconds(1), &p));
        }
        now = earliest.nanos();
        Out o;
        ASSERT_TRUE(limiter.Acquire(cost, earliest, &o.permit));
        for (size_t i = 0; i < twins.size(); ++i) {
          o.used.push_back(twins[i].Use(units[i], now));
        }
        out.push_back(std::move(o));
      }
      now += random(4) == 0 ? random(40 * second) : random(second);
      while (!out.empty() &&
             random(100) < static_cast<int64_t>(3 * out.size())) {
        const auto which =
            static_cast<size_t>(random(static_cast<int64_t>(out.size())));
        const Out o = out[which];
        out.erase(out.begin() + static_cast<ptrdiff_t>(which));
        Cost used = o.permit.cost;
        if (random(10) == 0) {
          used = Requests(0);
          limiter.Return(o.permit, MonotonicTime::FromNanos(now));
        } else {
          used.input_tokens = random(2 * used.input_tokens + 2);
          used.output_tokens = random(2 * used.output_tokens + 2);
          Usage usage;
          usage.input_tokens = used.input_tokens;
          usage.output_tokens = used.output_tokens;
          limiter.Settle(o.permit, usage, MonotonicTime::FromNanos(now));
        }
        const std::vector<int64_t> now_used = {
            used.requests, used.input_tokens + used.output_tokens,
            used.output_tokens};
        for (size_t i = 0; i < twins.size(); ++i) {
          twins[i].SetUsed(o.used[i], now_used[i], now);
        }
      }
    }
  }
  std::printf("asked %lld times, %lld exact\n", static_cast<long long>(asked),
              static_cast<long long>(exact));
  EXPECT_GE(exact, asked * 95 / 100);
}

// What was given back may not be used twice: the bucket was full in between.
TEST(RateLimiterTest, WhatWouldHaveOverflowedDoesNotComeBack) {
  RateLimiter limiter({Limit(LimitUnit::kTokens, 1, absl::Seconds(1), 100)});
  Permit early;
  Permit late;
  ASSERT_TRUE(limiter.Acquire(Tokens(100, 0), At(0), &early));
  ASSERT_TRUE(limiter.Acquire(Tokens(50, 0), At(60), &late));
  EXPECT_EQ(limiter.LevelOf(0, At(60)).left, 10);
  Usage usage;
  usage.input_tokens = 10;
  // With the right estimate there would have been 100 at 60 s, and 50 now.
  EXPECT_TRUE(limiter.Settle(early, usage, At(60)));
  EXPECT_EQ(limiter.LevelOf(0, At(60)).left, 50);
}

// Of what the answer does not say the estimate stands.
TEST(RateLimiterTest, WhatIsNotSaidIsAsEstimated) {
  RateLimiter limiter({Limit(LimitUnit::kInputTokens, 100, absl::Minutes(1)),
                       Limit(LimitUnit::kOutputTokens, 100, absl::Minutes(1)),
                       Limit(LimitUnit::kUnits, 100, absl::Minutes(1))});
  const auto left = [&](size_t i) { return limiter.LevelOf(i, At(0)).left; };
  Cost cost = Tokens(10, 20);
  cost.units = 30;
  Permit p;
  ASSERT_TRUE(limiter.Acquire(cost, At(0), &p));
  EXPECT_FALSE(limiter.Settle(p, Usage(), At(0)));
  EXPECT_EQ(left(0), 90);
  EXPECT_EQ(left(1), 80);
  EXPECT_EQ(left(2), 70);
  Usage usage;
  usage.input_tokens = 0;
  EXPECT_TRUE(limiter.Settle(p, usage, At(0)));
  EXPECT_EQ(left(0), 100);
  EXPECT_EQ(left(1), 80);
  EXPECT_EQ(left(2), 70);
}

// A token a second. What comes back of the first take is no more than the least that
// was missing since: that is remembered through so many takes.
TEST(RateLimiterTest, EightMomentsOfLowWaterAreKept) {
  const auto take = [](RateLimiter* limiter, int64_t tokens, double now) {
    Permit p;
    EXPECT_TRUE(limiter->Acquire(Tokens(tokens, 0), At(now), &p));
    return p;
  };
  const auto left_after_return = [](RateLimiter* limiter, const Permit& p,
                                    double now) {
    EXPECT_TRUE(limiter->Return(p, At(now)));
    return limiter->LevelOf(0, At(now)).left;
  };
  const std::vector<RateLimitOptions> limits = {
      Limit(LimitUnit::kTokens, 1, absl::Seconds(1), 1000)};
  {
    // 5 are missing when the second leaves, then 15, 25 … 65; and 65 once more,
    // which is no new moment.
    RateLimiter limiter(limits);
    const Permit first = take(&limiter, 100, 0);
    for (int i = 0; i < 7; ++i) take(&limiter, 10, 95);
    take(&limiter, 10, 105);
    ASSERT_EQ(limiter.LevelOf(0, At(105)).left, 925);
    EXPECT_EQ(left_after_return(&limiter, first, 105), 930);
  }
  {
    // One too many: the closest two become one, not the first and the second.
    RateLimiter limiter(limits);
    const Permit first = take(&limiter, 100, 0);
    for (int i = 0; i < 8; ++i) take(&limiter, 1, 50);
    ASSERT_EQ(limiter.LevelOf(0, At(50)).left, 942);
    EXPECT_EQ(left_after_return(&limiter, first, 50), 992);
  }
}

TEST(RateLimiterTest, RefusedByOneTakesNothingOfTheOthers) {
  RateLimiter limiter({Limit(LimitUnit::kRequests, 10, absl::Minutes(1)),
                       Limit(LimitUnit::kInputTokens, 100, absl::Minutes(1)),
                       Limit(LimitUnit::kOutputTokens, 50, absl::Minutes(1))});
  Permit p;
  ASSERT_TRUE(limiter.Acquire(Tokens(60, 10), At(0), &p));
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(limiter.Acquire(Tokens(60, 10), At(0), &p));
    EXPECT_FALSE(limiter.Acquire(Tokens(0, 45), At(0), &p));
  }
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, 9);
  EXPECT_EQ(limiter.LevelOf(1, At(0)).left, 40);
  EXPECT_EQ(limiter.LevelOf(2, At(0)).left, 40);
  // The slowest of them says when: 20 input tokens take 12 s.
  EXPECT_EQ(limiter.Earliest(Tokens(60, 10), At(0)), At(12));
}

TEST(RateLimiterTest, AZeroNeedsNothingAlsoOfALimitThatIsOwed) {
  RateLimiter limiter({Limit(LimitUnit::kOutputTokens, 10, absl::Minutes(1))});
  Permit p;
  ASSERT_TRUE(limiter.Acquire(Tokens(0, 10), At(0), &p));
  Usage usage;
  usage.output_tokens = 30;
  EXPECT_FALSE(limiter.Settle(p, usage, At(0)));
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, -20);
  EXPECT_TRUE(limiter.Acquire(Tokens(1000, 0), At(0), &p));
  EXPECT_EQ(limiter.Earliest(Tokens(0, 1), At(0)), At(21 * 6));
}

TEST(RateLimiterTest, WhatTheBurstCannotHoldIsNamed) {
  RateLimiter limiter({Limit(LimitUnit::kRequests, 60, absl::Minutes(1), 1),
                       Limit(LimitUnit::kTokens, 100, absl::Minutes(1), 250)});
  EXPECT_EQ(limiter.TooLarge(Tokens(200, 50)), -1);
  EXPECT_EQ(limiter.TooLarge(Tokens(200, 51)), 1);
  EXPECT_EQ(limiter.TooLarge(Requests(2)), 0);
  Permit p;
  EXPECT_FALSE(limiter.Acquire(Tokens(200, 51), At(0), &p));
  EXPECT_TRUE(limiter.Earliest(Tokens(200, 51), At(0)).is_infinite());
  EXPECT_TRUE(limiter.Acquire(Tokens(200, 50), At(0), &p));
}

// Debt is paid off in an hour, or in the limit's own time.
TEST(RateLimiterTest, DebtIsBoundedWhateverIsClaimed) {
  for (int64_t claim : {int64_t{1000000000000}, kMax}) {
    RateLimiter limiter(
        {Limit(LimitUnit::kTokens, 100, absl::Minutes(1)),
         Limit(LimitUnit::kInputTokens, 1000, absl::Hours(24), 10)});
    Usage usage;
    usage.input_tokens = claim;
    usage.output_tokens = claim;
    for (int i = 0; i < 3; ++i) {
      Permit p;
      p.number = 1;
      p.cost = Tokens(0, 0);
      if (i == 0) {
        ASSERT_TRUE(limiter.Acquire(Tokens(1, 1), At(0), &p));
      }
      limiter.Settle(p, usage, At(0));
      EXPECT_EQ(limiter.LevelOf(0, At(0)).left, -6000);
      EXPECT_EQ(limiter.LevelOf(1, At(0)).left, -1000);
      EXPECT_EQ(limiter.Earliest(Tokens(1, 0), At(0)),
                At(0) + absl::Hours(24) + absl::Seconds(86.4));
    }
  }
}

TEST(RateLimiterTest, NumbersAsLargeAsTheyMayBe) {
  const absl::Duration ten_years = absl::Hours(87660);
  for (int64_t nanos : {int64_t{0}, int64_t{-9000000000000000000},
                        int64_t{9000000000000000000}, kMax - 1}) {
    const MonotonicTime now = MonotonicTime::FromNanos(nanos);
    RateLimiter slow(
        {Limit(LimitUnit::kRequests, 1, ten_years, 1000000000),
         Limit(LimitUnit::kUnits, 1000000000, ten_years, 1000000000)});
    Permit p;
    Cost all = Requests(1000000000);
    all.units = 1000000000;
    ASSERT_TRUE(slow.Acquire(all, now, &p));
    EXPECT_FALSE(slow.Acquire(Requests(1), now, &p));
    // Ten years for the next one, and for all of them more than there are.
    EXPECT_EQ(slow.Earliest(Requests(1), now), now + ten_years);
    EXPECT_TRUE(slow.Earliest(Requests(1000000000), now).is_infinite());
    EXPECT_TRUE(
        slow.EarliestBehind(Requests(kMax), Requests(1), now).is_infinite());
    Cost unit = Requests(0);
    unit.units = 1;
    // 315,576,000 s for 10^9: 315,576 us for one… exactly.
    EXPECT_EQ(slow.Earliest(unit, now), now + absl::Nanoseconds(315576000));
    Usage usage;
    usage.units = kMax;
    slow.Settle(p, usage, now);
    EXPECT_EQ(slow.LevelOf(1, now).left, -1000000000);
    RateLimiter fast({Limit(LimitUnit::kRequests, 1000000000,
                            absl::Milliseconds(1), 1000000000)});
    ASSERT_TRUE(fast.Acquire(Requests(1000000000), now, &p));
    EXPECT_EQ(fast.Earliest(Requests(1), now), now + absl::Nanoseconds(1));
    // A nanosecond holds a thousand of them.
    EXPECT_EQ(fast.Earliest(Requests(1000), now), now + absl::Nanoseconds(1));
    EXPECT_EQ(fast.Earliest(Requests(1001), now), now + absl::Nanoseconds(2));
  }
  EXPECT_EQ(UnitsOf(LimitUnit::kTokens, Tokens(kMax, kMax)), kMax);
  EXPECT_EQ(UnitsOf(LimitUnit::kTokens, Tokens(-5, 7)), 7);
  EXPECT_EQ(UnitsOf(LimitUnit::kRequests, Requests(-5)), 0);
}

TEST(RateLimiterTest, AClockThatStandsStillRefillsNothing) {
  RateLimiter limiter(
      {Limit(LimitUnit::kRequests, 1000000, absl::Seconds(1), 5)});
  Permit p;
  int admitted = 0;
  for (int i = 0; i < 1000; ++i) {
    admitted += limiter.Acquire(Requests(1), At(3), &p) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 5);
  // And one that goes back (Quota prevents it) does not give more.
  for (int i = 0; i < 1000; ++i) {
    admitted += limiter.Acquire(Requests(1), At(2), &p) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 5);
}

TEST(RateLimiterTest, NoLimitsAdmitEverything) {
  RateLimiter none({});
  EXPECT_TRUE(none.empty());
  Permit p;
  EXPECT_TRUE(none.Acquire(Tokens(kMax, kMax), At(0), &p));
  EXPECT_EQ(none.Earliest(Tokens(kMax, kMax), At(0)), At(0));
  EXPECT_EQ(none.TooLarge(Tokens(kMax, kMax)), -1);
  EXPECT_FALSE(none.Settle(Permit(), Usage(), At(0)));
}

// ---- Reconfigure.

TEST(RateLimiterTest, ReconfigureKeepsHowFullItIs) {
  const RateLimitOptions rpm =
      Limit(LimitUnit::kRequests, 60, absl::Minutes(1));
  const RateLimitOptions tpm = Limit(LimitUnit::kTokens, 900, absl::Minutes(1));
  RateLimiter limiter({rpm, tpm});
  Permit p;
  ASSERT_TRUE(limiter.Acquire(Tokens(300, 300), At(0), &p));
  RateLimitOptions wide = tpm;
  wide.amount = 30000;
  wide.burst = 9000;
  // A third of 900 is a third of 9000; what did not change is left alone.
  limiter.Reconfigure({wide, rpm}, At(0));
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, 3000);
  EXPECT_EQ(limiter.LevelOf(1, At(0)).left, 59);
  EXPECT_EQ(limiter.Earliest(Tokens(3500, 0), At(0)), At(1));
  // What was out of it is not given back; of the one that stayed, it is.
  limiter.Return(p, At(0));
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, 3000);
  EXPECT_EQ(limiter.LevelOf(1, At(0)).left, 60);
  // And back: rounding never gives.
  limiter.Reconfigure({tpm, rpm}, At(0));
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, 300);
  // A name that is new is a limit that is new: full. A name that is gone is no
  // limit any more.
  RateLimitOptions other = tpm;
  other.name = "other";
  limiter.Reconfigure({other}, At(0));
  EXPECT_EQ(limiter.size(), 1u);
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, 900);
}

TEST(RateLimiterTest, ReconfigureKeepsADebtsTime) {
  RateLimiter limiter({Limit(LimitUnit::kTokens, 60, absl::Minutes(1))});
  Permit p;
  ASSERT_TRUE(limiter.Acquire(Tokens(1, 0), At(0), &p));
  Usage usage;
  usage.input_tokens = 160;
  limiter.Settle(p, usage, At(0));
  EXPECT_EQ(limiter.Earliest(Tokens(1, 0), At(0)), At(101));
  limiter.Reconfigure({Limit(LimitUnit::kTokens, 600, absl::Minutes(1))},
                      At(0));
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, -1000);
  EXPECT_EQ(limiter.Earliest(Tokens(1, 0), At(0)), At(100.1));
}

// Any limits, any level: never fuller than before, and less full by no more
// than a 2^32nd part and a unit.
TEST(RateLimiterTest, ReconfigureNeverFills) {
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    uint64_t n = 0;
    const auto random = [&](int64_t below) {
      return 1 + static_cast<int64_t>(UnitRandom(seed, n++) *
                                      static_cast<double>(below - 1));
    };
    const auto limit = [&] {
      const int64_t most = seed % 2 == 0 ? 100 : 1000000000;
      return Limit(LimitUnit::kUnits, random(most),
                   absl::Milliseconds(seed % 3 == 0 ? random(1000)
                                                    : random(315576000000)),
                   random(most));
    };
    const RateLimitOptions before = limit();
    const RateLimitOptions after = limit();
    RateLimiter limiter({before});
    Permit p;
    Cost cost = Requests(0);
    cost.units = random(before.burst);
    const MonotonicTime now = MonotonicTime::FromNanos(random(kMax / 2));
    ASSERT_TRUE(limiter.Acquire(cost, now, &p));
    const auto burst = static_cast<double>(before.burst);
    const double fill =
        static_cast<double>(limiter.LevelOf(0, now).left) / burst;
    limiter.Reconfigure({after}, now);
    const double left = static_cast<double>(limiter.LevelOf(0, now).left);
    const auto size = static_cast<double>(after.burst);
    ASSERT_LE(left, fill * size + 1e-6 * size) << seed;
    ASSERT_GE(left, fill * size - 1.001 - size / 4e9) << seed;
  }
}

// ---- Tables of others.

// throttled/throttled rate_test.go and brandur/redis-cell src/cell/mod.rs, the
// same table: 1 a second, burst 4 beyond the first, which is 5 of ours.
TEST(RateLimiterTest, GcraTableOfThrottledAndRedisCell) {
  RateLimiter limiter({Limit(LimitUnit::kRequests, 1, absl::Seconds(1), 5)});
  struct Row {
    double t;
    int64_t cost;
    int64_t remaining;
    double reset_after;
    double retry_after;  // -1: none
    bool limited;
  };
  for (const Row& row :
       {Row{0, 6, 5, 0, -1, true}, Row{0, 1, 4, 1, -1, false},
        Row{0, 1, 3, 2, -1, false}, Row{0, 1, 2, 3, -1, false},
        Row{0, 1, 1, 4, -1, false}, Row{0, 1, 0, 5, -1, false},
        Row{0, 1, 0, 5, 1, true}, Row{3, 1, 2, 3, -1, false},
        Row{3.1, 1, 1, 3.9, -1, false}, Row{4, 1, 1, 4, -1, false},
        Row{8, 1, 4, 1, -1, false}, Row{9.5, 1, 4, 1, -1, false},
        Row{9.5, 0, 4, 1, -1, false}, Row{9.5, 2, 2, 3, -1, false},
        Row{9.5, 5, 2, 3, 3, true}}) {
    SCOPED_TRACE(absl::StrCat("t ", row.t, " cost ", row.cost));
    const MonotonicTime now = At(row.t);
    const MonotonicTime earliest = limiter.Earliest(Requests(row.cost), now);
    Permit p;
    EXPECT_EQ(limiter.Acquire(Requests(row.cost), now, &p), !row.limited);
    EXPECT_EQ(limiter.LevelOf(0, now).left, row.remaining);
    EXPECT_EQ(limiter.LevelOf(0, now).full_at, At(row.t + row.reset_after));
    if (row.limited && row.retry_after < 0) {
      EXPECT_TRUE(earliest.is_infinite());
    } else {
      EXPECT_EQ(earliest,
                row.limited ? now + absl::Seconds(row.retry_after) : now);
    }
  }
}

// redis-cell tests/e2e.rs: CL.THROTTLE key 0 1 2 1.
TEST(RateLimiterTest, RedisCellFromOutside) {
  RateLimiter limiter({Limit(LimitUnit::kRequests, 1, absl::Seconds(2))});
  Permit p;
  EXPECT_TRUE(limiter.Acquire(Requests(1), At(0), &p));
  EXPECT_EQ(limiter.LevelOf(0, At(0)).left, 0);
  EXPECT_EQ(limiter.LevelOf(0, At(0)).full_at, At(2));
  EXPECT_FALSE(limiter.Acquire(Requests(1), At(0), &p));
  EXPECT_EQ(limiter.Earliest(Requests(1), At(0)), At(2));
  EXPECT_TRUE(limiter.Acquire(Requests(1), At(2), &p));
}

// throttled: PerDay(24), PerHour(6), PerMin(6), PerDuration(6, 120 s),
// PerSec(5); and how far apart callers leave.
TEST(RateLimiterTest, RatesOfThrottled) {
  struct Row {
    int64_t amount;
    absl::Duration per;
    double apart;
  };
  for (const Row& row :
       {Row{24, absl::Hours(24), 3600}, Row{6, absl::Hours(1), 600},
        Row{6, absl::Minutes(1), 10}, Row{6, absl::Seconds(120), 20},
        Row{5, absl::Seconds(1), 0.2}}) {
    RateLimiter limiter({Limit(LimitUnit::kRequests, row.amount, row.per, 1)});
    Permit p;
    MonotonicTime now = At(0);
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(limiter.Acquire(Requests(1), now, &p));
      const MonotonicTime next = limiter.Earliest(Requests(1), now);
      EXPECT_EQ(next - now, absl::Seconds(row.apart));
      now = next;
    }
  }
}

// failsafe-go ratelimiter/ratelimiterstats_test.go, the smooth limiter: callers
// queue, each takes one permit (three at once are three callers), one each 500
// (200) ms. `wait`: until the last one has left; `next`: when one more would.
//
// | theirs | ours, and why |
// | --- | --- |
// | after a pause, permits lie on the grid of the first one: at 9.1 s the slot of
//   9.0 s is taken, and the next is at 9.5 s | an interval after the last
//   caller: 9.6 s. Two callers 0.4 s apart would break the limit. Rows marked *
//   are later by less than an interval |
// | the bursty limiter (fixed windows) | not offered: it admits twice its number
//   around the edge of a window |
// | permits are booked ahead | forecast, not booked: who leaves the queue costs
//   the others nothing |
TEST(RateLimiterTest, SmoothLimiterOfFailsafeGo) {
  struct Row {
    double t;
    int callers;
    double wait;
    double next;
    bool later;  // *
  };
  const auto run = [](absl::Duration interval, const std::vector<Row>& rows) {
    RateLimiter limiter({Limit(LimitUnit::kRequests, 1, interval)});
    int64_t queued = 0;
    MonotonicTime now = At(0);
    const auto let_out = [&](MonotonicTime until) {
      Permit p;
      while (queued > 0 && limiter.Earliest(Requests(1), now) <= until) {
        now = limiter.Earliest(Requests(1), now);
        ASSERT_TRUE(limiter.Acquire(Requests(1), now, &p));
        --queued;
      }
      now = until;
    };
    for (const Row& row : rows) {
      SCOPED_TRACE(row.t);
      let_out(At(row.t));
      queued += row.callers;
      const MonotonicTime last =
          limiter.EarliestBehind(Requests(queued - 1), Requests(1), now);
      const MonotonicTime next =
          limiter.EarliestBehind(Requests(queued), Requests(1), now);
      const absl::Duration off = last - now - absl::Seconds(row.wait);
      if (row.later) {
        EXPECT_GT(off, absl::ZeroDuration());
        EXPECT_LT(off, interval);
      } else {
        EXPECT_EQ(last, At(row.t + row.wait));
        EXPECT_EQ(next, At(row.next));
      }
    }
  };
  run(absl::Milliseconds(500), {{0, 7, 3.0, 3.5, false},
                                {0.8, 3, 3.7, 5.0, false},
                                {2.3, 1, 2.7, 5.5, false},
                                {3.5, 3, 3.0, 7.0, false},
                                {9.1, 3, 0.9, 10.5, true}});
  run(absl::Milliseconds(500), {{11.0, 1, 0, 11.5, false}});
  run(absl::Milliseconds(200), {{0, 3, 0.4, 0.6, false},
                                {0.55, 2, 0.25, 1.0, false},
                                {2.21, 2, 0.19, 2.6, true}});
}

// Their invariant: acquire(n) once waits as long as n times acquire(1).
TEST(RateLimiterTest, ManyAtOnceWaitAsLongAsOneByOne) {
  for (int64_t n = 1; n <= 10; ++n) {
    for (int64_t taken = 0; taken <= 10; ++taken) {
      const RateLimitOptions options =
          Limit(LimitUnit::kRequests, 3, absl::Seconds(1), 10);
      RateLimiter once({options});
      RateLimiter each({options});
      Permit p;
      ASSERT_TRUE(once.Acquire(Requests(taken), At(0), &p));
      ASSERT_TRUE(each.Acquire(Requests(taken), At(0), &p));
      MonotonicTime now = At(0);
      for (int64_t i = 0; i < n; ++i) {
        now = each.Earliest(Requests(1), now);
        ASSERT_TRUE(each.Acquire(Requests(1), now, &p));
      }
      EXPECT_EQ(once.Earliest(Requests(n), At(0)), now) << n << " " << taken;
    }
  }
}

// ---- Options.

TEST(RateLimiterTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  const auto faults = [](const std::vector<RateLimitOptions>& limits) {
    std::vector<std::string> all;
    ValidateRateLimits(limits, "quota.limits", &all);
    return absl::StrJoin(all, "|");
  };
  const RateLimitOptions good =
      Limit(LimitUnit::kRequests, 60, absl::Minutes(1));
  EXPECT_EQ(faults({}), "");
  EXPECT_EQ(faults({good}), "");
  // "0 per 0 s is a configuration error" (throttled, redis-cell).
  RateLimitOptions zero = good;
  zero.amount = 0;
  zero.per = absl::ZeroDuration();
  EXPECT_EQ(faults({zero}),
            "quota.limits[0].amount is 0; it must be 1 … 1000000000|"
            "quota.limits[0].per is 0; it must be 1ms … 87660h");
  for (int64_t v : {int64_t{-1}, int64_t{1000000001}, kMax}) {
    RateLimitOptions bad = good;
    bad.amount = v;
    EXPECT_EQ(faults({bad}).find("quota.limits[0].amount is "), 0u) << v;
    bad = good;
    bad.burst = v;
    EXPECT_EQ(faults({bad}).find("quota.limits[0].burst is "), 0u) << v;
  }
  for (absl::Duration v :
       {absl::Microseconds(999), absl::Hours(87661), absl::InfiniteDuration(),
        -absl::InfiniteDuration()}) {
    RateLimitOptions bad = good;
    bad.per = v;
    EXPECT_EQ(faults({bad}).find("quota.limits[0].per is "), 0u) << v;
  }
  RateLimitOptions unit = good;
  unit.unit = static_cast<LimitUnit>(99);
  EXPECT_EQ(faults({unit}),
            "quota.limits[0].unit is 99, which this version does not know");
  for (const char* name : {"", "a b", "tab\t"}) {
    RateLimitOptions bad = good;
    bad.name = name;
    EXPECT_EQ(faults({bad}).find("quota.limits[0].name has "), 0u) << name;
  }
  RateLimitOptions other = good;
  other.name = "other";
  EXPECT_EQ(faults({good, other}), "");
  EXPECT_EQ(faults({good, other, good}),
            "quota.limits[2].name is requests, as quota.limits[0].name; each "
            "needs one of its own");
  std::vector<RateLimitOptions> many;
  for (int i = 0; i < 9; ++i) {
    many.push_back(good);
    many.back().name = absl::StrCat("limit", i);
  }
  EXPECT_EQ(faults(many), "quota.limits has 9 entries; it may have at most 8");
}

TEST(RateLimiterTest, NamesAreStable) {
  EXPECT_EQ(LimitUnitName(LimitUnit::kRequests), "requests");
  EXPECT_EQ(LimitUnitName(LimitUnit::kInputTokens), "input-tokens");
  EXPECT_EQ(LimitUnitName(LimitUnit::kOutputTokens), "output-tokens");
  EXPECT_EQ(LimitUnitName(LimitUnit::kTokens), "tokens");
  EXPECT_EQ(LimitUnitName(LimitUnit::kUnits), "units");
  EXPECT_EQ(LimitUnitName(static_cast<LimitUnit>(99)), "?");
}

}  // namespace
}  // namespace forbear
