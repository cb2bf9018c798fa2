// ToldLimit: buckets and windows that tell of themselves, and some that lie.

#include "core/told_limit.h"

#include <cmath>
#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

LimitStand Stand(int64_t limit, int64_t remaining, double reset) {
  LimitStand stand;
  stand.limit = limit;
  stand.remaining = remaining;
  stand.reset = absl::Seconds(reset);
  return stand;
}

// One caller who sends as soon as it may, to an exact bucket.
struct Bucket {
  double rate = 20, size = 10, level = 10, at = 0;
  bool whole_seconds = false;
  int refused = 0;

  void Fill(double now) {
    level = std::min(size, level + rate * (now - at));
    at = now;
  }
  bool Take(double now) {
    Fill(now);
    if (level < 1) return ++refused, false;
    level -= 1;
    return true;
  }
  LimitStand Tell() const {
    const double reset = (size - level) / rate;
    return Stand(static_cast<int64_t>(size), static_cast<int64_t>(level),
                 whole_seconds ? std::ceil(reset) : reset);
  }
};

TEST(ToldLimitTest, ABucketIsBelievedAndNeverOverrun) {
  for (const double rate : {2.0, 20.0, 150.0}) {
    SCOPED_TRACE(rate);
    Bucket bucket;
    bucket.rate = rate;
    ToldLimit told;
    uint64_t sent = 0;
    MonotonicTime now = At(0);
    for (int i = 0; i < 500; ++i) {
      if (told.known()) now = Later(now, told.Earliest(now, sent));
      now = now + absl::Microseconds(200);
      if (told.known())
        told.OnSend(now, ++sent);
      else
        ++sent;
      ASSERT_TRUE(bucket.Take(absl::ToDoubleSeconds(now - At(0)))) << i;
      told.OnTold(bucket.Tell(), sent, now, sent, now);
    }
    ASSERT_TRUE(told.known());
    EXPECT_LE(told.rate(), 1.001 * rate);
    EXPECT_GE(told.rate(), 0.9 * rate);
    EXPECT_LE(absl::ToDoubleSeconds(now - At(0)), 1.1 * 490 / rate + 0.2);
  }
}

TEST(ToldLimitTest, NotBeforeItsAnswersAgreeWellEnough) {
  ToldLimit loose;
  loose.OnTold(Stand(10, 8, 0.1), 1, At(0), 1, At(0));
  EXPECT_FALSE(loose.known());  // 10 … 20 a second
  ToldLimit told;
  told.OnTold(Stand(10, 9, 0.05), 1, At(0), 1, At(0));
  EXPECT_FALSE(told.known());  // 0 … 20 a second
  told.OnTold(Stand(10, 6, 0.2), 2, At(0), 2, At(0));
  EXPECT_TRUE(told.known());  // 15 … 20
  EXPECT_NEAR(told.rate(), 15, 0.01);
  // The next says something else altogether.
  told.OnTold(Stand(10, 6, 20), 3, At(1), 3, At(1));
  EXPECT_TRUE(told.known());
  EXPECT_NEAR(told.rate(), 0.15, 0.01);
}

// "remaining: 3 of 10, reset in 30 s", and then "2, in 29 s": a window.
TEST(ToldLimitTest, OfAWindowOnlyWhatRemainsCounts) {
  ToldLimit told;
  uint64_t sent = 0;
  for (int i = 1; i <= 4; ++i) {
    ++sent;
    told.OnTold(Stand(10, 10 - i, 30 - i), sent, At(i), sent, At(i));
  }
  ASSERT_TRUE(told.known());
  MonotonicTime now = At(5);
  int left = 0;
  while (told.Earliest(now, sent) == now) {
    told.OnSend(now, ++sent);
    ASSERT_LE(++left, 10);
  }
  EXPECT_EQ(left, 6);
  now = told.Earliest(now, sent);
  EXPECT_GE(now, At(30));
  EXPECT_LE(now, At(30.1));
  // A new window, of which nothing was told yet.
  left = 0;
  while (told.Earliest(now, sent) == now) {
    told.OnSend(now, ++sent);
    ASSERT_LE(++left, 11);
  }
  EXPECT_GE(left, 9);
}

TEST(ToldLimitTest, WhatIsNoSenseSaysNothing) {
  for (const LimitStand& stand :
       {Stand(0, 0, 1), Stand(-5, 2, 1), Stand(10, -1, 1), Stand(10, 10, 1),
        Stand(10, 20, 1), Stand(10, 3, 0), Stand(10, 3, -7)}) {
    ToldLimit told;
    for (uint64_t i = 1; i <= 5; ++i) {
      told.OnTold(stand, i, At(0), i, At(0));
    }
    EXPECT_FALSE(told.known());
  }
  ToldLimit told;
  LimitStand forever = Stand(10, 3, 1);
  forever.reset = absl::InfiniteDuration();
  told.OnTold(forever, 1, At(0), 1, At(0));
  EXPECT_FALSE(told.known());
}

ToldLimit Known() {
  ToldLimit told;
  told.OnTold(Stand(10, 5, 0.25), 1, At(0), 1, At(0));
  told.OnTold(Stand(10, 2, 0.4), 2, At(0), 2, At(0));
  EXPECT_TRUE(told.known());
  return told;
}

// Somebody else uses it, too.
TEST(ToldLimitTest, ARefusalMakesOurShareSmallerAndTheThirdEndsIt) {
  ToldLimit told = Known();
  EXPECT_TRUE(told.OnRefused(2, At(0)));
  const MonotonicTime next = told.Earliest(At(0), 2);
  EXPECT_GT(next, At(1.25 / 20 / 0.75));
  EXPECT_TRUE(told.OnRefused(3, At(1)));
  EXPECT_FALSE(told.OnRefused(4, At(2)));
  EXPECT_FALSE(told.known());
  EXPECT_GT(told.rate(), 0);  // a first guess
  // Not believed for a minute.
  for (uint64_t i = 5; i < 10; ++i) {
    told.OnTold(Stand(10, 5, 0.25), i, At(3), i, At(3));
  }
  EXPECT_FALSE(told.known());
  for (uint64_t i = 10; i < 15; ++i) {
    told.OnTold(Stand(10, 5, 0.25), i, At(63), i, At(63));
  }
  EXPECT_TRUE(told.known());
}

TEST(ToldLimitTest, StrikesAreForgottenWithGoodAnswers) {
  ToldLimit told = Known();
  uint64_t number = 2;
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(told.OnRefused(number, At(i))) << i;
    for (int k = 0; k < 20; ++k) {
      ++number;
      told.OnAdmitted(number);
    }
  }
}

// An answer that was overtaken tells of the past.
TEST(ToldLimitTest, AnOlderAnswerChangesNothing) {
  ToldLimit told = Known();
  const MonotonicTime before = told.Earliest(At(0), 2);
  told.OnTold(Stand(10, 0, 0.5), 1, At(0), 2, At(0));
  EXPECT_EQ(told.Earliest(At(0), 2), before);
}

TEST(ToldLimitTest, WhatHasLeftSinceIsCounted) {
  ToldLimit told = Known();  // two are left
  EXPECT_EQ(told.Earliest(At(0), 2), At(0));
  told.OnSend(At(0), 3);
  EXPECT_GT(told.Earliest(At(0), 3), At(0));
  told.OnSend(At(0), 4);
  EXPECT_GT(told.Earliest(At(0), 4), At(0.05));
}

// A full bucket says nothing about its rate.
TEST(ToldLimitTest, AFullBucketUnlearnsNothing) {
  ToldLimit told = Known();
  const double rate = told.rate();
  told.OnTold(Stand(10, 10, 1), 3, At(1), 3, At(1));
  EXPECT_TRUE(told.known());
  EXPECT_EQ(told.rate(), rate);
}

TEST(ToldLimitTest, OthersAreKnownToShareIt) {
  const auto second = [](double share) {
    ToldLimit told;
    told.SetMostShare(share);
    told.Forget();  // that stays
    told.OnTold(Stand(10, 0, 0.5), 2, At(1), 2, At(1));
    for (uint64_t n = 3; n < 60; ++n) told.OnAdmitted(n);
    return told.Earliest(At(1), 2) - At(1);
  };
  EXPECT_NEAR(absl::FDivDuration(second(0.25), second(1)), 4, 0.01);
}

TEST(ToldLimitTest, Forgets) {
  ToldLimit told = Known();
  told.Forget();
  EXPECT_FALSE(told.known());
  EXPECT_EQ(told.rate(), 0);
}

}  // namespace
}  // namespace forbear
