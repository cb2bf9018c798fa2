// LearnedLimit: lessons of exact buckets, and what each rule of it is for.

#include "core/learned_limit.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

using Lesson = LearnedLimit::Lesson;

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

// Empty at `start`, first sent to at `first`, empty again at `end`.
Lesson Of(double admitted, double start, double first, double end) {
  Lesson lesson;
  lesson.spell.start = At(start);
  lesson.spell.first = At(first);
  lesson.spell.admitted = static_cast<int64_t>(admitted);
  lesson.end = At(end);
  lesson.tracked = true;
  return lesson;
}

// A bucket of 20/s and 10 that was found out by two spells.
LearnedLimit Known() {
  LearnedLimit limit;
  limit.OnFirst(12, 0.1);
  EXPECT_FALSE(limit.known());
  Lesson lesson = Of(100, 0, 0.01, 5);
  lesson.tracked = false;
  limit.Learn(lesson);
  return limit;
}

TEST(LearnedLimitTest, TwoSpellsSuffice) {
  const LearnedLimit limit = Known();
  ASSERT_TRUE(limit.known());
  EXPECT_DOUBLE_EQ(limit.rate(), 20);
  EXPECT_DOUBLE_EQ(limit.burst(), 10);
  EXPECT_DOUBLE_EQ(limit.doubt(), 0.2);
  EXPECT_DOUBLE_EQ(limit.measured_over(), 5);
}

// In a silence of 2 s a bucket of 20/s and 10 is full after half a second: 80 + 10
// in the six seconds, and not 120.
TEST(LearnedLimitTest, WhatWasSpilledIsNotCounted) {
  LearnedLimit first;
  first.OnFirst(12, 0.1);
  Lesson lesson = Of(90, 0, 2, 6);
  lesson.tracked = false;
  first.Learn(lesson);
  EXPECT_NEAR(first.rate(), 20, 0.5);
  LearnedLimit known = Known();
  known.Learn(Of(90, 10, 12, 16));
  EXPECT_NEAR(known.rate(), 20, 0.1);
}

// 30 in 3 s, of which two thirds were silence: a bucket of 30, or one of more a second
// that was full before it was asked again.
TEST(LearnedLimitTest, AFirstLessonThatWasMostlySilenceIsInDoubt) {
  const auto doubt_if_first_sent_at = [](double first) {
    LearnedLimit limit;
    limit.OnFirst(30, 0.01);
    Lesson lesson = Of(30, 0, first, 3);
    lesson.tracked = false;
    limit.Learn(lesson);
    EXPECT_NEAR(limit.rate(), 10, 0.1);
    return limit.doubt();
  };
  EXPECT_NEAR(doubt_if_first_sent_at(2), 4, 0.1);
  EXPECT_NEAR(doubt_if_first_sent_at(0.01), 1.0 / 3, 0.01);
}

TEST(LearnedLimitTest, LessonsThatAgreeAreAveraged) {
  LearnedLimit limit = Known();
  const double doubt = limit.doubt();
  limit.Learn(Of(102, 10, 10.01, 15));
  EXPECT_GT(limit.rate(), 20);
  EXPECT_LT(limit.rate(), 20.4);
  EXPECT_LT(limit.doubt(), doubt + 0.21);
}

TEST(LearnedLimitTest, OneThatDoesNotAgreeReplaces) {
  LearnedLimit limit = Known();
  limit.Learn(Of(35, 10, 10.01, 15));  // the limit was lowered
  EXPECT_NEAR(limit.rate(), 7, 0.1);
  limit.Learn(Of(350, 15, 15.01, 22));  // and raised
  EXPECT_NEAR(limit.rate(), 50, 0.5);
}

TEST(LearnedLimitTest, CallersWhoLeftThePaceUnusedMeasureThemselves) {
  LearnedLimit limit = Known();
  Lesson lesson = Of(20, 10, 10.01, 15);
  lesson.spell.idle = absl::Seconds(2);
  limit.Learn(lesson);
  EXPECT_NEAR(limit.rate(), 17, 0.01);  // down by 15 % at most
  lesson = Of(500, 20, 20.01, 25);
  lesson.spell.idle = absl::Seconds(2);
  const double before = limit.rate();
  limit.Learn(lesson);
  EXPECT_LE(limit.rate(), before);  // and not up
}

// The last part of a search says more than the whole: before, the bucket spilled.
TEST(LearnedLimitTest, TheEndOfASearchCounts) {
  LearnedLimit limit;
  limit.OnFirst(12, 0.1);
  Lesson lesson = Of(120, 0, 1, 10);
  lesson.tracked = false;
  lesson.spell.NoteRate(5, 20, At(3));
  lesson.spell.NoteRate(10, 50, At(7.5));  // 70 in 2.5 s, 10 of them stored
  limit.Learn(lesson);
  EXPECT_NEAR(limit.rate(), 24, 0.6);
}

// So few may all have been stored.
TEST(LearnedLimitTest, AFewCallsAtTheEndOfASearchDoNot) {
  LearnedLimit limit;
  limit.OnFirst(12, 0.1);
  Lesson lesson = Of(120, 0, 1, 10);
  lesson.tracked = false;
  lesson.spell.NoteRate(5, 102, At(9.9));
  limit.Learn(lesson);
  EXPECT_LT(limit.rate(), 20);
}

TEST(LearnedLimitTest, RefusedAgainAndAgainAfterNextToNothing) {
  LearnedLimit limit = Known();
  double before = limit.rate();
  double t = 10;
  for (int i = 0; i < 8; ++i) {
    Lesson lesson = Of(1, t, t + 1.0, t + 1.05);
    lesson.pace = 20;
    limit.Learn(lesson);
    t += 1.05;
    EXPECT_LE(limit.rate(), before);
    before = limit.rate();
  }
  EXPECT_LT(limit.rate(), 3);
}

TEST(LearnedLimitTest, SurprisesAreCounted) {
  LearnedLimit limit = Known();
  for (int i = 1; i <= 3; ++i) {
    Lesson lesson = Of(60, 10 * i, 10 * i + 0.01, 10 * i + 3);
    lesson.level = 1.6;
    limit.Learn(lesson);
    EXPECT_EQ(limit.surprises(), i);
  }
  Lesson lesson = Of(60, 60, 60.01, 63);
  lesson.level = 1.5;
  limit.Learn(lesson);
  EXPECT_EQ(limit.surprises(), 0);
}

// What the server says of itself is a first guess, and no more.
TEST(LearnedLimitTest, AnAdoptedLimit) {
  LearnedLimit limit;
  limit.Adopt(0, 10);
  EXPECT_FALSE(limit.known());
  limit.Adopt(30, 0.5);
  EXPECT_EQ(limit.rate(), 30);
  EXPECT_EQ(limit.burst(), 1);
  EXPECT_EQ(limit.doubt(), 3);
  limit.Adopt(50, 10);
  EXPECT_EQ(limit.rate(), 30);
}

TEST(LearnedLimitTest, DoubtGrowsToHalf) {
  LearnedLimit limit = Known();
  limit.Doubt();
  EXPECT_NEAR(limit.doubt(), 0.3, 1e-9);
  for (int i = 0; i < 20; ++i) limit.Doubt();
  EXPECT_NEAR(limit.doubt(), 10, 1e-9);
  LearnedLimit unknown;
  unknown.Doubt();
  EXPECT_FALSE(unknown.known());
}

// Whatever comes: finite, positive, and never above what was admitted in the time
// that was measured.
TEST(LearnedLimitTest, InvariantsUnderRandomLessons) {
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    uint64_t drawn = 0;
    const auto unit = [&] { return UnitRandom(seed, drawn++); };
    LearnedLimit limit;
    limit.OnFirst(std::floor(1 + unit() * 200), unit() * 3);
    double t = 0;
    double ever = 0;
    for (int i = 0; i < 20; ++i) {
      const double silence = unit() < 0.5 ? 0.01 : unit() * 20;
      const double active = unit() < 0.3 ? unit() * 0.05 : unit() * 10;
      Lesson lesson = Of(std::floor(1 + unit() * 300), t, t + silence,
                         t + silence + active);
      if (unit() < 0.3)
        lesson.spell.idle = absl::Seconds(active * unit() * 1.5);
      if (unit() < 0.3) lesson.spell.away = absl::Seconds(silence * unit());
      if (unit() < 0.5) lesson.pace = unit() * 100;
      lesson.level = unit() * 4 - 1;
      lesson.tracked = i > 0 && unit() < 0.7;
      double at = t + silence;
      double sent = 0;
      double highest = 0;  // admitted in any part that may be measured
      const auto n = static_cast<double>(lesson.spell.admitted);
      for (int m = 0; m < 5 && unit() < 0.5; ++m) {
        at += (t + silence + active - at) * unit();
        sent += std::floor((n - sent) * unit());
        lesson.spell.NoteRate(std::exp2(m), sent, At(at));
        const double over = t + silence + active - at;
        if (over > 0.02) highest = std::max(highest, (n - sent) / over);
      }
      const double idle = absl::ToDoubleSeconds(lesson.spell.idle);
      highest = std::max(highest, n / std::max(active - idle, 1e-3));
      // Lessons may be pooled with earlier ones.
      ever = std::max(ever, highest);
      limit.Learn(lesson);
      ASSERT_TRUE(std::isfinite(limit.rate()) && limit.rate() > 0);
      ASSERT_TRUE(std::isfinite(limit.doubt()) && limit.doubt() > 0);
      ASSERT_GE(limit.burst(), 1);
      ASSERT_LE(limit.rate(), 1.0001 * ever) << i;
      t += silence + active;
    }
  }
}

}  // namespace
}  // namespace forbear
