// Pacer: its invariants under any order of events, and what it learns from an
// exact model of a server's bucket, in a closed loop of callers.

#include "core/pacer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/time.h"
#include "gtest/gtest.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

// Callers that send as soon as the pacer lets them, at most `width` at a time,
// to a bucket.
struct Loop {
  Pacer pacer;
  testing::TokenBucket bucket;
  int width = 50;
  double jitter = 0;  // of the latency
  uint64_t seed = 1;
  MonotonicTime now = At(1);

  std::vector<double> lessons;  // rates that were learned
  std::vector<int64_t> waves;   // refusals within 200 ms of each other
  std::vector<MonotonicTime> sends;
  int64_t admitted = 0;

  // Until `end`; `demand`: at most so many sends in all.
  void Run(MonotonicTime end, int64_t demand = int64_t{1} << 40) {
    while (now < end) {
      while (demand > 0 && static_cast<int>(pending_.size()) < width &&
             pacer.Earliest(now) <= now) {
        --demand;
        const Pacer::Permit permit = pacer.OnSend(now);
        sends.push_back(now);
        testing::SimSend send;
        send.time = now;
        const testing::SimReply r = bucket(send);
        const double u = UnitRandom(seed, chances_++);
        pending_.emplace(now + r.head * (1 + jitter * (2 * u - 1)),
                         Pending{permit, r.outcome});
      }
      MonotonicTime next = pending_.empty() ? end : pending_.begin()->first;
      if (demand > 0 && static_cast<int>(pending_.size()) < width) {
        next = Earlier(next, pacer.Earliest(now));
      }
      now = Earlier(end, Later(next, now));
      while (!pending_.empty() && pending_.begin()->first <= now) {
        const Pending p = pending_.begin()->second;
        pending_.erase(pending_.begin());
        Hear(p);
      }
    }
  }

 private:
  struct Pending {
    Pacer::Permit permit;
    Outcome outcome;
  };

  void Hear(const Pending& p) {
    if (p.outcome.kind == ErrorKind::kThrottled) {
      if (waves.empty() || now - last_refusal_ > absl::Milliseconds(200)) {
        waves.push_back(0);
      }
      ++waves.back();
      last_refusal_ = now;
      pacer.OnRefused(p.permit, p.outcome.pushback, now);
      return;
    }
    ++admitted;
    const std::optional<double> before = pacer.rate();
    pacer.OnAdmitted(p.permit, now);
    const std::optional<double> after = pacer.rate();
    if (after && after != before) lessons.push_back(*after);
  }

  std::multimap<MonotonicTime, Pending> pending_;
  MonotonicTime last_refusal_;
  uint64_t chances_ = 0;
};

int64_t Fullest(const std::vector<MonotonicTime>& sends, MonotonicTime from,
                absl::Duration width) {
  int64_t most = 0;
  size_t first = 0;
  for (size_t i = 0; i < sends.size(); ++i) {
    while (first < i &&
           (sends[first] < from || sends[i] - sends[first] >= width)) {
      ++first;
    }
    if (sends[i] >= from) {
      most = std::max(most, static_cast<int64_t>(i - first + 1));
    }
  }
  return most;
}

TEST(PacerTest, LetsEverybodyGoUntilSomebodyIsRefused) {
  Pacer p;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(p.Earliest(At(1)), At(1));
    const Pacer::Permit m = p.OnSend(At(1));
    EXPECT_FALSE(p.OnAdmitted(m, At(1.1)));
  }
  EXPECT_FALSE(p.rate().has_value());
}

TEST(PacerTest, OneRefusalShutsConfirmsAndThenSpaces) {
  Pacer p;
  std::vector<Pacer::Permit> m;
  for (int i = 0; i < 3; ++i) m.push_back(p.OnSend(At(0)));
  EXPECT_TRUE(p.OnRefused(m[0], absl::Seconds(2), At(0.1)));
  EXPECT_GE(p.Earliest(At(0.1)), At(2.1));
  EXPECT_LE(p.Earliest(At(0.1)), At(2.12));  // 0.2 % and 3 ms
  // A straggler with a longer wait extends it; one with a shorter changes nothing.
  EXPECT_TRUE(p.OnRefused(m[1], absl::Seconds(3), At(0.2)));
  EXPECT_FALSE(p.OnRefused(m[2], absl::Seconds(1), At(0.2)));
  const MonotonicTime open = p.gate_until();
  EXPECT_GE(open, At(3.2));
  // One goes; the others wait for it, a second at the most.
  const Pacer::Permit confirm = p.OnSend(open);
  EXPECT_EQ(p.Earliest(open), open + absl::Seconds(1));
  EXPECT_EQ(p.NotBefore(open), open);  // its answer may make it sooner
  EXPECT_TRUE(p.OnAdmitted(confirm, open + absl::Milliseconds(20)));
  // Now spaced.
  ASSERT_TRUE(p.rate().has_value());
  MonotonicTime now = open + absl::Milliseconds(20);
  for (int i = 0; i < 20; ++i) {
    now = Later(now, p.Earliest(now));
    p.OnSend(now);
    EXPECT_GT(p.Earliest(now), now);
  }
}

TEST(PacerTest, WithoutAnAnnouncedWaitItsOwnGrows) {
  Pacer p;
  MonotonicTime now = At(0);
  for (double expected : {0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0}) {
    now = Later(now, p.Earliest(now));
    const Pacer::Permit m = p.OnSend(now);
    p.OnRefused(m, std::nullopt, now);
    EXPECT_NEAR(absl::ToDoubleSeconds(p.gate_until() - now), expected, 1e-9);
  }
}

TEST(PacerTest, TooShortWaitsAreHonouredAndLengthened) {
  Pacer p;
  MonotonicTime now = At(0);
  for (double expected : {0.004002, 0.004002, 0.5, 1.0, 2.0, 2.0}) {
    now = Later(now, p.Earliest(now));
    const Pacer::Permit m = p.OnSend(now);
    p.OnRefused(m, absl::Milliseconds(1), now);
    EXPECT_NEAR(absl::ToDoubleSeconds(p.gate_until() - now), expected, 1e-9);
  }
}

// "Retry-After: 0", or a date that is over.
TEST(PacerTest, AWaitOfNothingIsNoLeaveToComeAtOnce) {
  Pacer p;
  MonotonicTime now = At(0);
  for (double expected : {0.25, 0.5, 1.0}) {
    now = Later(now, p.Earliest(now));
    p.OnRefused(p.OnSend(now), absl::ZeroDuration(), now);
    EXPECT_NEAR(absl::ToDoubleSeconds(p.gate_until() - now), expected, 1e-9);
  }
}

TEST(PacerTest, LostConfirmingCallerCostsALease) {
  Pacer p;
  p.OnRefused(p.OnSend(At(0)), absl::Seconds(1), At(0));
  MonotonicTime now = p.Earliest(At(0));
  MonotonicTime last = now;
  for (int i = 1; i <= 5; ++i) {
    p.OnSend(now);  // and is never heard of again
    const MonotonicTime next = p.Earliest(now);
    EXPECT_GT(next, now);
    EXPECT_LE(next - now, absl::Seconds(i));
    last = now;
    now = next;
  }
  EXPECT_GT(now, last);
  // One that says nothing gives its place back at once.
  const Pacer::Permit m = p.OnSend(now);
  const MonotonicTime lease = p.Earliest(now);
  EXPECT_TRUE(p.OnNeutral(m));
  EXPECT_LT(p.Earliest(now), lease);
}

TEST(PacerTest, GateOpensOnlyForASuccessThatStartedAfterIt) {
  Pacer p;
  const Pacer::Permit old = p.OnSend(At(0));
  const Pacer::Permit refused = p.OnSend(At(0));
  p.OnRefused(refused, absl::Seconds(10), At(1));
  EXPECT_FALSE(p.OnAdmitted(old, At(2)));
  EXPECT_GE(p.Earliest(At(2)), At(11));
}

TEST(PacerTest, WhatWasReturnedLeavesNoTrace) {
  // A pace of 10 per second, then a thousand callers who find the endpoint
  // shut: each asks, and gives its turn back.
  Pacer p;
  p.OnRefused(p.OnSend(At(0)), absl::Seconds(1), At(0));
  MonotonicTime now = p.Earliest(At(0));
  p.OnAdmitted(p.OnSend(now), now);
  now = now + absl::Seconds(1);
  ASSERT_TRUE(p.rate().has_value());
  const double rate = *p.rate();
  const MonotonicTime earliest = p.Earliest(now);
  for (int i = 0; i < 1000; ++i) p.OnReturned(p.OnSend(now));
  ASSERT_TRUE(p.rate().has_value());
  EXPECT_EQ(*p.rate(), rate);
  EXPECT_EQ(p.Earliest(now), earliest);
}

TEST(PacerTest, ClearLetsEverybodyGoNow) {
  Pacer p;
  p.OnRefused(p.OnSend(At(0)), absl::Hours(10), At(0));
  EXPECT_GE(p.Earliest(At(1)), At(36000));
  p.Clear();
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(p.Earliest(At(1)), At(1));
    p.OnSend(At(1));
  }
}

// Whatever happens in whatever order, also what cannot: heads that come twice,
// of permits that were returned, long after. The seed is the number of the
// round.
TEST(PacerTest, InvariantsUnderRandomEvents) {
  int64_t events = 0;
  for (uint64_t seed = 1; seed <= 4000; ++seed) {
    uint64_t n = 0;
    const auto unit = [&] { return UnitRandom(seed, n++); };
    Pacer p;
    MonotonicTime now = At(unit() * 10 - 5);
    std::vector<Pacer::Permit> out;
    MonotonicTime wall = MonotonicTime::InfinitePast();  // what servers asked
    MonotonicTime wall_set = MonotonicTime::InfinitePast();
    for (int i = 0; i < 300; ++i) {
      ++events;
      SCOPED_TRACE(seed);
      const double move = unit();
      if (move < 0.5) {
        now = now + absl::Milliseconds(50) * unit();
      } else if (move < 0.55) {
        now = Later(now, p.Earliest(now));
      } else if (move < 0.56) {
        now = now + absl::Hours(10) * unit();
      }  // else it stands still
      const MonotonicTime earliest = p.Earliest(now);
      ASSERT_GE(earliest, p.gate_until());
      ASSERT_GE(earliest, now);
      ASSERT_GE(earliest, wall);
      ASSERT_LE(p.NotBefore(now), earliest);
      ASSERT_FALSE(earliest.is_infinite());
      if (p.rate()) {
        ASSERT_TRUE(std::isfinite(*p.rate()));
        ASSERT_GT(*p.rate(), 0);
        ASSERT_LE(*p.rate(), Pacer::kFree);
      }
      const double what = unit();
      if (what < 0.45) {
        if (earliest <= now) out.push_back(p.OnSend(now));
        continue;
      }
      if (out.empty()) continue;
      const auto which =
          static_cast<size_t>(unit() * static_cast<double>(out.size()));
      const Pacer::Permit m = out[which];
      if (unit() < 0.9) out.erase(out.begin() + static_cast<ptrdiff_t>(which));
      const MonotonicTime gate = p.gate_until();
      if (what < 0.65) {
        p.OnAdmitted(m, now);
        if (m.sent > wall_set) wall = MonotonicTime::InfinitePast();
        if (m.sent <= wall_set) {
          ASSERT_GE(p.gate_until(), gate);
        }
      } else if (what < 0.85) {
        std::optional<absl::Duration> wait;
        if (unit() < 0.7) wait = absl::Seconds(3) * unit();
        if (unit() < 0.1) wait = absl::ZeroDuration();
        if (unit() < 0.02) wait = absl::Hours(24);
        p.OnRefused(m, wait, now);
        ASSERT_GE(p.gate_until(), gate);
        if (wait && now + *wait > wall) {
          wall = now + *wait;
          wall_set = now;
        }
      } else if (what < 0.9) {
        p.OnFault(m);
        ASSERT_EQ(p.gate_until(), gate);
      } else if (what < 0.95) {
        p.OnNeutral(m);
        ASSERT_EQ(p.gate_until(), gate);
      } else if (what < 0.98) {
        p.OnReturned(m);
        ASSERT_EQ(p.gate_until(), gate);
      } else {
        p.StartRamp();
      }
    }
  }
  std::printf("%lld events\n", static_cast<long long>(events));
}

// The lesson from two refusals, on exact buckets. Stated tolerance: a bucket
// that is not emptied within one answer's time (R · latency ≤ B) and holds at
// least 5 teaches from its second refusal at least half of R, from its fourth
// at least 0.75 R; and no lesson is above what was measured, which in a short
// spell one or two tokens may put at 1.25 R.
TEST(PacerTest, LearnsTheRateOfAnExactBucket) {
  int buckets = 0;
  for (double rate : {0.5, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0}) {
    for (double burst : {1.0, 2.0, 5.0, 10.0, 30.0, 100.0}) {
      for (double latency : {0.005, 0.05, 0.1}) {
        for (double jitter : {0.0, 0.5}) {
          SCOPED_TRACE(absl::StrCat("R ", rate, " B ", burst, " latency ",
                                    latency, " jitter ", jitter));
          ++buckets;
          Loop loop;
          loop.bucket.rate = rate;
          loop.bucket.burst = burst;
          loop.bucket.latency = absl::Seconds(latency);
          loop.jitter = jitter;
          const double seconds = std::max(40.0, 20 / rate);
          loop.Run(At(1 + seconds));
          // The first lesson only says where to start looking from.
          for (size_t i = 1; i < loop.lessons.size(); ++i) {
            EXPECT_LE(loop.lessons[i], 1.25 * rate) << "lesson " << i;
          }
          const double share =
              static_cast<double>(loop.admitted) / (burst + rate * seconds);
          EXPECT_LE(share, 1.0001);
          EXPECT_GE(share, 0.35);
          if (rate * latency > burst || burst < 5) continue;
          if (loop.lessons.size() > 1) {
            EXPECT_GE(loop.lessons[1], 0.5 * rate);
          }
          for (size_t i = 3; i < loop.lessons.size(); ++i) {
            EXPECT_GE(loop.lessons[i], 0.75 * rate) << "lesson " << i;
          }
          EXPECT_GE(share, 0.7);
        }
      }
    }
  }
  std::printf("%d buckets\n", buckets);
}

// After the first, no wave of refusals: the pace has at most what one answer's
// time lets out beyond the limit.
TEST(PacerTest, NoWaveOfRefusalsAfterTheFirst) {
  for (double rate : {5.0, 10.0, 20.0}) {
    for (double burst : {5.0, 10.0, 20.0}) {
      for (uint64_t seed = 1; seed <= 5; ++seed) {
        Loop loop;
        loop.bucket.rate = rate;
        loop.bucket.burst = burst;
        loop.jitter = 0.5;
        loop.seed = seed;
        loop.Run(At(60));
        for (size_t i = 1; i < loop.waves.size(); ++i) {
          EXPECT_LT(loop.waves[i], 5)
              << "R " << rate << " B " << burst << " seed " << seed;
        }
      }
    }
  }
}

TEST(PacerTest, AHourOfSilenceIsNoLesson) {
  for (double idle : {60.0, 3600.0, 86400.0}) {
    for (int when : {0, 1, 2}) {
      SCOPED_TRACE(absl::StrCat("idle ", idle, " when ", when));
      Loop loop;
      loop.bucket.rate = 10;
      loop.bucket.burst = 20;
      // A long first spell, so that nothing is known about the bucket's size:
      // slow callers (8 a second), then a burst that is refused.
      loop.width = 1;
      loop.bucket.latency = absl::Milliseconds(125);
      loop.Run(At(101));
      loop.bucket.latency = absl::Milliseconds(10);
      loop.width = 50;
      // The silence begins with the gate shut (0), with the pace found (1), or
      // tracked for a while (2).
      loop.Run(At(when == 0 ? 101.05 : when == 1 ? 104 : 130));
      ASSERT_FALSE(loop.waves.empty());
      const MonotonicTime back = loop.now + absl::Seconds(idle);
      loop.Run(back, /*demand=*/0);
      const int64_t before = loop.admitted;
      loop.Run(back + absl::Seconds(20));
      // Ideal: 20 + 200.
      EXPECT_GE(loop.admitted - before, 130);
      if (loop.pacer.rate()) {
        EXPECT_GE(*loop.pacer.rate(), 5);
      }
    }
  }
}

TEST(PacerTest, FiftyCallersAfterAWaitOfTwoSeconds) {
  // One answer says: two seconds. Fifty callers wait for it; the server could
  // take them all.
  Pacer p;
  const Pacer::Permit m = p.OnSend(At(0));
  p.OnRefused(m, absl::Seconds(2), At(0.01));
  std::vector<MonotonicTime> sends;
  MonotonicTime now = At(0.01);
  std::multimap<MonotonicTime, Pacer::Permit> pending;
  while (sends.size() < 50) {
    const MonotonicTime earliest = p.Earliest(now);
    if (!pending.empty() && pending.begin()->first < earliest) {
      now = pending.begin()->first;
      p.OnAdmitted(pending.begin()->second, now);
      pending.erase(pending.begin());
      continue;
    }
    now = Later(now, earliest);
    pending.emplace(now + absl::Milliseconds(10), p.OnSend(now));
    sends.push_back(now);
  }
  EXPECT_GE(sends.front(), At(2.01));
  EXPECT_LE(Fullest(sends, At(0), absl::Milliseconds(100)), 5);
  EXPECT_LE(sends.back() - sends.front(), absl::Seconds(3.5));
}

// Left before the gate was shut: its end is nobody's who confirms.
TEST(PacerTest, AnEndFromBeforeTheEpisodeFreesNoSlot) {
  Pacer p;
  const Pacer::Permit a = p.OnSend(At(0));
  const Pacer::Permit b = p.OnSend(At(0));
  p.OnRefused(a, absl::Seconds(1), At(0.1));
  const MonotonicTime now = p.Earliest(At(0.1));
  const Pacer::Permit confirm = p.OnSend(now);
  const MonotonicTime lease = p.Earliest(now);
  ASSERT_GT(lease, now);
  EXPECT_FALSE(p.OnNeutral(b));
  EXPECT_EQ(p.Earliest(now), lease);
  EXPECT_TRUE(p.OnNeutral(confirm));
  EXPECT_EQ(p.Earliest(now), now);
}

// To give a turn back when others have left since would let two leave at once.
TEST(PacerTest, ATurnIsGivenBackOnlyWhileItIsTheLast) {
  for (const bool others : {false, true}) {
    Pacer p;
    p.StartRamp();
    const Pacer::Permit a = p.OnSend(At(0));
    MonotonicTime now = At(0);
    if (others) {
      now = p.Earliest(now);
      p.OnSend(now);
    }
    const MonotonicTime next = p.Earliest(now);
    ASSERT_GT(next, now);
    p.OnReturned(a);
    EXPECT_EQ(p.Earliest(now), others ? next : now);
  }
}

// A pace of about one send in a quarter of an hour, from two refusals that
// asked for so much.
Pacer Slow(MonotonicTime* now) {
  Pacer p;
  *now = At(0);
  for (int i = 0; i < 2; ++i) {
    *now = p.Earliest(*now);
    p.OnRefused(p.OnSend(*now), absl::Seconds(1000), *now);
    *now = p.Earliest(*now);
    p.OnAdmitted(p.OnSend(*now), *now);
  }
  EXPECT_LT(p.rate().value_or(1), 0.002);
  return p;
}

TEST(PacerTest, ASlowPaceDoublesAtMostWithASend) {
  MonotonicTime now;
  Pacer p = Slow(&now);
  const double before = p.rate().value_or(0);
  now = p.Earliest(now);
  p.OnSend(now);
  ASSERT_TRUE(p.rate().has_value());
  EXPECT_GT(*p.rate(), before);
  EXPECT_LE(*p.rate(), 2.001 * before);
}

TEST(PacerTest, ARampDoesNotQuickenAPaceThatWasLearned) {
  MonotonicTime now;
  Pacer p = Slow(&now);
  const std::optional<double> before = p.rate();
  p.StartRamp();
  EXPECT_EQ(p.rate(), before);
}

TEST(PacerTest, APaceThatNobodyRefusesEnds) {
  Pacer p;
  p.StartRamp();
  MonotonicTime now = At(0);
  int sends = 0;
  for (; p.rate() && sends < 20000; ++sends) {
    now = p.Earliest(now);
    p.OnAdmitted(p.OnSend(now), now);
  }
  EXPECT_FALSE(p.rate().has_value());
  EXPECT_GT(sends, 1000);
  EXPECT_LT(sends, 5000);
}

TEST(PacerTest, ClearingForgetsEverything) {
  MonotonicTime now;
  Pacer p = Slow(&now);
  for (int i = 0; i < 4; ++i) {
    now = p.Earliest(now);
    p.OnRefused(p.OnSend(now), std::nullopt, now);
  }
  EXPECT_GT(p.gate_until() - now, absl::Seconds(1));
  p.Clear();
  EXPECT_FALSE(p.rate().has_value());
  EXPECT_EQ(p.Earliest(now), now);
  p.OnSend(now);
  EXPECT_EQ(p.Earliest(now), now);
  // The first refusal is a first one again.
  p.OnRefused(p.OnSend(now), std::nullopt, now);
  EXPECT_EQ(p.gate_until() - now, absl::Milliseconds(250));
}

}  // namespace
}  // namespace forbear
