// Pace: how a search goes, how the learned rate is kept to, and what is made up for.

#include "core/pace.h"

#include <cmath>
#include <cstdint>

#include "absl/time/time.h"
#include "core/learned_limit.h"
#include "core/spell.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}
double Seconds(MonotonicTime t) { return absl::ToDoubleSeconds(t - At(0)); }

// 20/s and 10, known to 2/s.
LearnedLimit Limit() {
  LearnedLimit limit;
  limit.Adopt(20, 10);
  return limit;
}

struct Driven {
  Pace pace;
  LearnedLimit limit = Limit();
  Spell spell;
  MonotonicTime now = At(0);
  double sent = 0;

  // Leaves `late` after its turn.
  void Send(double late = 0, MonotonicTime gate = At(0)) {
    if (pace.spaced()) now = Later(Later(now, pace.next()), gate);
    now = now + absl::Seconds(late);
    pace.OnSend(now, gate, sent++, limit, &spell);
  }
};

TEST(PaceTest, NothingIsSpacedAtFirst) {
  const Pace pace;
  EXPECT_EQ(pace.mode(), Pace::Mode::kFree);
  EXPECT_FALSE(pace.spaced());
}

TEST(PaceTest, ASearchBeginsWithAVolleyAndDoublesWithItsSends) {
  Driven run;
  run.limit = LearnedLimit();
  run.pace.Search(10, {8, 100}, 5);
  for (int i = 0; i < 5; ++i) {
    ASSERT_FALSE(run.pace.spaced());
    run.Send();
  }
  ASSERT_TRUE(run.pace.spaced());
  EXPECT_NEAR(Seconds(run.pace.next()), 0.1, 1e-9);
  run.Send();  // the first mark
  EXPECT_EQ(run.spell.mark_count, 1U);
  for (int i = 0; i < 8; ++i) run.Send();
  EXPECT_NEAR(run.pace.RateAt(run.now, run.limit), 20, 0.1);
  for (int i = 0; i < 8; ++i) run.Send();
  EXPECT_NEAR(run.pace.RateAt(run.now, run.limit), 40, 0.2);
}

// Slow sends quicken it more each, and by no more than a half of a doubling.
TEST(PaceTest, ASlowSearchGoesByTime) {
  Driven run;
  run.pace.Search(2, {1000, 2.0}, 0);
  run.Send();
  run.Send();  // half a second later: a quarter of a doubling
  EXPECT_NEAR(run.pace.RateAt(run.now, run.limit), 2 * std::exp2(0.25), 1e-6);
  Driven slow;
  slow.pace.Search(0.01, {1000, 2.0}, 0);
  slow.Send();
  slow.Send();
  EXPECT_NEAR(slow.pace.RateAt(slow.now, slow.limit), 0.01 * std::exp2(0.5),
              1e-6);
}

TEST(PaceTest, TimeInWhichNobodyCameIsNoCredit) {
  Driven run;
  run.pace.Search(10, {8, 0.5}, 0);
  run.Send();
  run.Send();
  const double rate = run.pace.RateAt(run.now, run.limit);
  run.Send(/*late=*/5);
  EXPECT_EQ(run.pace.RateAt(run.now, run.limit), rate);
  EXPECT_NEAR(absl::ToDoubleSeconds(run.spell.idle), 5, 1e-6);
  // One slot is made up for, and no more.
  const MonotonicTime now = run.now;
  EXPECT_LE(run.pace.next(), now);
  run.Send();
  EXPECT_EQ(run.now, now);
  EXPECT_GT(run.pace.next(), now);
}

TEST(PaceTest, NothingIsMadeUpForAcrossAGate) {
  Driven run;
  run.pace.Track(At(0), 4, 0, At(0));
  run.Send();
  const MonotonicTime gate = At(10);
  run.Send(0, gate);
  EXPECT_EQ(run.now, gate);
  EXPECT_GE(run.pace.next(), gate + absl::Milliseconds(20));
  EXPECT_EQ(run.spell.idle, absl::ZeroDuration());
}

// Below the limit by the doubt, at it, above it by the doubt, and on.
TEST(PaceTest, TracksBelowAtAndAbove) {
  Pace pace;
  const LearnedLimit limit = Limit();
  pace.Track(At(0), 4, -1000, At(0));
  EXPECT_NEAR(pace.RateAt(At(0), limit), 18, 1e-9);
  EXPECT_NEAR(pace.RateAt(At(3), limit), 20 - 2.0 / 64, 1e-9);
  EXPECT_NEAR(pace.RateAt(At(4), limit), 20, 1e-9);
  EXPECT_NEAR(pace.RateAt(At(8), limit), 22, 1e-9);
  EXPECT_NEAR(pace.RateAt(At(40), limit), 40, 1e-9);  // twice, and no more
  double before = 0;
  for (int i = 0; i < 100; ++i) {
    EXPECT_GE(pace.RateAt(At(0.1 * i), limit), before);
    before = pace.RateAt(At(0.1 * i), limit);
  }
}

TEST(PaceTest, WhatTheBucketHoldsIsUsedUp) {
  Pace pace;
  const LearnedLimit limit = Limit();
  pace.Track(At(0), 4, 10, At(4));
  EXPECT_EQ(pace.LevelAt(At(100), limit), 10);
  // 9 above the cushion, over two fillings of half a second.
  EXPECT_NEAR(pace.RateAt(At(4), limit), 20 + 9 / 1.0, 1e-9);
}

TEST(PaceTest, ALimitThatAdmitsMuchMoreIsRefuted) {
  Driven run;
  run.pace.Track(At(0), 0.1, 0, At(0));
  int sends = 0;
  while (run.pace.mode() == Pace::Mode::kTrack) {
    run.Send();
    ASSERT_LT(++sends, 100);
  }
  EXPECT_EQ(run.pace.mode(), Pace::Mode::kSearch);
  EXPECT_TRUE(run.pace.spaced());
  EXPECT_GE(run.pace.RateAt(run.now, run.limit), 20);
  EXPECT_EQ(run.spell.mark_count, 1U);
}

TEST(PaceTest, AGateTakesTurnsAndVolleyAway) {
  Pace pace;
  pace.Search(0.1, {}, 50);
  EXPECT_FALSE(pace.spaced());
  const LearnedLimit limit;
  Spell spell;
  pace.OnSend(At(1), At(0), 0, limit, &spell);
  EXPECT_GE(pace.next(), At(10));
  pace.OnGate();
  EXPECT_TRUE(pace.spaced());
  EXPECT_EQ(pace.next(), MonotonicTime::InfinitePast());
  pace.AllowVolley(3);
  EXPECT_FALSE(pace.spaced());
}

TEST(PaceTest, ResumesWithOneWhoHasLeft) {
  Pace pace;
  const LearnedLimit limit = Limit();
  pace.Track(At(0), 4, 5, At(0));
  pace.Resume(At(0), At(0), limit);
  EXPECT_NEAR(Seconds(pace.next()), 1 / pace.RateAt(At(0), limit), 0.01);
  EXPECT_NEAR(pace.LevelAt(At(0), limit), 4, 1e-9);
}

}  // namespace
}  // namespace forbear
