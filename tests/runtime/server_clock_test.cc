// ServerClock against a server's clock that is known: never ahead of it, and soon near.
#include "runtime/server_clock.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/header_field.h"
#include "signals/header_signals.h"

namespace forbear {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1790000000);

absl::Time DateOf(absl::Time server) {
  return absl::FromUnixSeconds(absl::ToUnixSeconds(server));
}

TEST(ServerClockTest, KnowsNothingBeforeTheFirstDate) {
  ServerClock clock;
  EXPECT_EQ(clock.AtLeast(kStart), std::nullopt);
  clock.OnDate(kStart, kStart + absl::Milliseconds(300));
  EXPECT_EQ(clock.AtLeast(kStart + absl::Milliseconds(300)), kStart);
}

// Twenty answers a second, from servers whose clocks are off by up to a day.
TEST(ServerClockTest, IsNeverAheadAndSoonNear) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    uint64_t n = 0;
    const auto chance = [&] { return UnitRandom(seed, n++); };
    const absl::Duration ahead = absl::Hours(48) * (chance() - 0.5);
    ServerClock clock;
    absl::Time now = kStart + absl::Seconds(chance());
    absl::Duration off;
    for (int i = 0; i < 40; ++i) {
      now += absl::Milliseconds(50);
      const absl::Duration travels = absl::Milliseconds(10) * chance();
      clock.OnDate(DateOf(now - travels + ahead), now);
      const std::optional<absl::Time> least = clock.AtLeast(now);
      ASSERT_TRUE(least.has_value());
      ASSERT_LE(*least, now + ahead) << "seed " << seed;
      off = now + ahead - *least;
      ASSERT_LT(off, absl::Seconds(1) + absl::Milliseconds(12));
    }
    EXPECT_LT(off, absl::Milliseconds(63)) << "seed " << seed;
  }
}

std::string HttpDate(absl::Time time) {
  return absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT", time,
                          absl::UTCTimeZone());
}

// What is read of a Retry-After that is a date, after up to ten answers, with clocks
// that are up to an hour apart: never sooner, and at most Date's second later.
TEST(ServerClockTest, AWaitForADateIsNeverTooShort) {
  absl::Duration all;
  constexpr int kTrials = 50000;
  for (uint64_t seed = 1; seed <= kTrials; ++seed) {
    uint64_t n = 0;
    const auto chance = [&] { return UnitRandom(seed, n++); };
    const absl::Duration ahead = absl::Hours(2) * (chance() - 0.5);
    ServerClock clock;
    absl::Time now = kStart + absl::Seconds(chance());
    const int answers = static_cast<int>(11 * chance());
    for (int i = 0; i < answers; ++i) {
      now += absl::Seconds(chance());
      clock.OnDate(DateOf(now - absl::Milliseconds(20) * chance() + ahead),
                   now);
    }
    const absl::Duration travels = absl::Milliseconds(20) * chance();
    const absl::Time until =
        DateOf(now + ahead + absl::Seconds(2 + 30 * chance()));
    const std::string date = HttpDate(now - travels + ahead);
    const std::string retry_after = HttpDate(until);
    const HeaderField fields[] = {{"Date", date}, {"Retry-After", retry_after}};
    clock.OnDate(DateOf(now - travels + ahead), now);
    const std::optional<absl::Duration> wait =
        ReadHeaderSignals(fields, WallTimesOf(fields, now, clock.AtLeast(now)))
            .wait();
    const absl::Duration truth = until - (now + ahead);
    ASSERT_TRUE(wait.has_value());
    ASSERT_GE(*wait, truth) << "seed " << seed;
    ASSERT_LE(*wait, truth + absl::Milliseconds(1020)) << "seed " << seed;
    all += *wait - truth;
  }
  std::printf("%d waits, %.0f ms too long on average\n", kTrials,
              absl::ToDoubleMilliseconds(all / kTrials));
  // From Date alone it would be half a second.
  EXPECT_LE(all / kTrials, absl::Milliseconds(250));
}

// Somebody sets one of the clocks.
TEST(ServerClockTest, FollowsAClockThatIsSet) {
  for (const absl::Duration step :
       {absl::Hours(1), -absl::Hours(1), absl::Seconds(3), -absl::Seconds(3)}) {
    ServerClock clock;
    clock.OnDate(kStart, kStart);
    const absl::Time now = kStart + absl::Seconds(10);
    clock.OnDate(DateOf(now + step), now);
    EXPECT_LE(*clock.AtLeast(now), now + step);
    EXPECT_GE(*clock.AtLeast(now), now + step - absl::Seconds(1));
  }
}

// What was seen long ago may have drifted away.
TEST(ServerClockTest, BelievesOldDatesLess) {
  ServerClock clock;
  clock.OnDate(kStart, kStart);
  const absl::Time later = kStart + absl::Minutes(5);
  EXPECT_EQ(*clock.AtLeast(later), later - absl::Milliseconds(300));
}

TEST(ServerClockTest, AbsurdDatesAreNone) {
  ServerClock clock;
  for (const absl::Time date :
       {absl::UnixEpoch() - absl::Hours(24 * 365 * 1000),
        kStart + absl::Hours(24 * 365 * 9000), absl::InfiniteFuture(),
        absl::InfinitePast()}) {
    clock.OnDate(date, kStart);
    EXPECT_EQ(clock.AtLeast(kStart), std::nullopt);
  }
}

}  // namespace
}  // namespace forbear
