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
             Turn() <= now) {
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
        next = Earlier(next, Turn());
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

  // The callers stand in a row, and have done so since one of them came back.
  MonotonicTime Turn() const {
    return pacer.Earliest(now, since_, static_cast<int64_t>(pending_.size()));
  }

  void Hear(const Pending& p) {
    since_ = now;
    const auto out = static_cast<int64_t>(pending_.size());
    const Pacer::Others others = {out, width - out};
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
    const double before = pacer.limit().rate();
    pacer.OnAdmitted(p.permit, others, now);
    const double after = pacer.limit().rate();
    if (after != before) lessons.push_back(after);
  }

  std::multimap<MonotonicTime, Pending> pending_;
  MonotonicTime since_;
  MonotonicTime last_refusal_;
  uint64_t chances_ = 0;
};

// Of somebody who has just come and finds nobody else.
MonotonicTime Alone(const Pacer& pacer, MonotonicTime now) {
  return pacer.Earliest(now, now, 0);
}
bool Admit(Pacer* pacer, const Pacer::Permit& permit, MonotonicTime now,
           Pacer::Others others = {}) {
  return pacer->OnAdmitted(permit, others, now);
}

// Past slow start.
Pacer Known(MonotonicTime now) {
  Pacer p;
  for (int64_t i = 0; i < Pacer::kKnown; ++i) Admit(&p, p.OnSend(now), now);
  return p;
}

// A limit that was learned: two spells of `n` sends, `gap` apart, on a server that
// asks for a second.
Pacer Taught(MonotonicTime* now, int n, absl::Duration gap) {
  Pacer p;
  *now = At(0);
  for (int spell = 0; spell < 2; ++spell) {
    for (int i = 0; i < n; ++i) {
      *now = Later(*now + gap, Alone(p, *now));
      Admit(&p, p.OnSend(*now), *now);
    }
    *now = Later(*now + gap, Alone(p, *now));
    p.OnRefused(p.OnSend(*now), absl::Seconds(1), *now);
    *now = Alone(p, *now);
    Admit(&p, p.OnSend(*now), *now);
  }
  EXPECT_TRUE(p.limit().known());
  return p;
}

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

TEST(PacerTest, AKeyThatIsKnownHoldsNobody) {
  Pacer p = Known(At(0));
  EXPECT_TRUE(p.IsCalm(At(1)));
  for (int64_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(p.Earliest(At(1), At(1), i), At(1));
    p.OnSend(At(1));
  }
  EXPECT_FALSE(p.RateAt(At(1)).has_value());
}

TEST(PacerTest, SlowStartHoldsForHalfASecondAtMost) {
  Pacer p;
  for (int64_t out = 0; out < 1000; ++out) {
    const MonotonicTime t = p.Earliest(At(1), At(1), out);
    if (out < 3) {
      ASSERT_EQ(t, At(1)) << out;
    } else {
      ASSERT_GE(t, At(1.3)) << out;
      ASSERT_LE(t, At(1.5)) << out;
    }
    EXPECT_EQ(p.NotBefore(At(1)), At(1));
    // Who has waited so long goes.
    ASSERT_EQ(p.Earliest(At(2), At(1.4), out), At(2));
    p.OnSend(At(1));
  }
}

TEST(PacerTest, SlowStartEndsForThoseWhoComeAfterIt) {
  Pacer p;
  EXPECT_FALSE(p.IsCalm(At(0)));
  for (int64_t i = 1; i <= Pacer::kKnown; ++i) {
    const MonotonicTime now = At(static_cast<double>(i));
    EXPECT_GT(p.Earliest(now, now, 50), now);
    Admit(&p, p.OnSend(now), now);
  }
  const auto end = At(static_cast<double>(Pacer::kKnown));
  EXPECT_TRUE(p.IsCalm(end));
  EXPECT_EQ(p.Earliest(At(21), At(20), 50), At(21));
  // Who came before is held as before: all at once would be a wave.
  EXPECT_GT(p.Earliest(At(20.1), At(19.99), 50), At(20.1));
}

TEST(PacerTest, OneRefusalShutsConfirmsAndLearns) {
  Pacer p = Known(At(-1));
  std::vector<Pacer::Permit> m;
  for (int i = 0; i < 3; ++i) m.push_back(p.OnSend(At(0)));
  EXPECT_TRUE(p.OnRefused(m[0], absl::Seconds(2), At(0.1)));
  EXPECT_GE(Alone(p, At(0.1)), At(2.1));
  EXPECT_LE(Alone(p, At(0.1)), At(2.12));  // 0.2 % and 3 ms
  // A straggler with a longer wait extends it; one with a shorter changes nothing.
  EXPECT_TRUE(p.OnRefused(m[1], absl::Seconds(3), At(0.2)));
  EXPECT_FALSE(p.OnRefused(m[2], absl::Seconds(1), At(0.2)));
  const MonotonicTime open = p.gate_until();
  EXPECT_GE(open, At(3.2));
  // One goes; the others wait for it, a second at the most.
  const Pacer::Permit confirm = p.OnSend(open);
  EXPECT_TRUE(p.confirming());
  EXPECT_EQ(p.Earliest(open, At(0), 1), open + absl::Seconds(1));
  EXPECT_EQ(p.NotBefore(open), open);  // its answer may make it sooner
  EXPECT_TRUE(Admit(&p, confirm, open + absl::Milliseconds(20)));
  EXPECT_FALSE(p.confirming());
  // The spell admitted 20: half of that at once, and then spaced.
  MonotonicTime now = open + absl::Milliseconds(20);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(Alone(p, now), now) << i;
    Admit(&p, p.OnSend(now), now);
  }
  ASSERT_TRUE(p.RateAt(now).has_value());
  for (int i = 0; i < 20; ++i) {
    EXPECT_GT(Alone(p, now), now);
    now = Alone(p, now);
    Admit(&p, p.OnSend(now), now);
  }
}

// 0.25 s, 0.5 s, 1 s, 1 s …: the end of an outage is found within a second. What
// goes on for long is asked less often.
TEST(PacerTest, WithoutAnAnnouncedWaitItsOwnGrows) {
  Pacer p;
  MonotonicTime now = At(0);
  for (int n = 1; n <= 20; ++n) {
    const double expected = n == 1    ? 0.25
                            : n == 2  ? 0.5
                            : n <= 8  ? 1
                            : n <= 16 ? 2
                                      : 4;
    now = Alone(p, now);
    p.OnRefused(p.OnSend(now), std::nullopt, now);
    EXPECT_NEAR(absl::ToDoubleSeconds(p.gate_until() - now), expected, 1e-9)
        << n;
  }
}

TEST(PacerTest, TooShortWaitsAreHonouredAndLengthened) {
  Pacer p;
  MonotonicTime now = At(0);
  for (double expected : {0.004002, 0.004002, 0.5, 0.5, 0.5}) {
    now = Alone(p, now);
    p.OnRefused(p.OnSend(now), absl::Milliseconds(1), now);
    EXPECT_NEAR(absl::ToDoubleSeconds(p.gate_until() - now), expected, 1e-9);
  }
}

// "Retry-After: 0", or a date that is over.
TEST(PacerTest, AWaitOfNothingIsNoLeaveToComeAtOnce) {
  Pacer p;
  MonotonicTime now = At(0);
  for (double expected : {0.25, 0.5, 1.0}) {
    now = Alone(p, now);
    p.OnRefused(p.OnSend(now), absl::ZeroDuration(), now);
    EXPECT_NEAR(absl::ToDoubleSeconds(p.gate_until() - now), expected, 1e-9);
  }
}

TEST(PacerTest, LostConfirmingCallerCostsALease) {
  Pacer p;
  p.OnRefused(p.OnSend(At(0)), absl::Seconds(1), At(0));
  MonotonicTime now = Alone(p, At(0));
  MonotonicTime last = now;
  for (int i = 1; i <= 5; ++i) {
    p.OnSend(now);  // and is never heard of again
    const MonotonicTime next = Alone(p, now);
    EXPECT_GT(next, now);
    EXPECT_LE(next - now, absl::Seconds(i));
    last = now;
    now = next;
  }
  EXPECT_GT(now, last);
  // One that says nothing gives its place back at once.
  const Pacer::Permit m = p.OnSend(now);
  const MonotonicTime lease = Alone(p, now);
  EXPECT_TRUE(p.OnNeutral(m));
  EXPECT_LT(Alone(p, now), lease);
}

TEST(PacerTest, GateOpensOnlyForASuccessThatStartedAfterIt) {
  Pacer p = Known(At(0));
  const Pacer::Permit old = p.OnSend(At(0));
  const Pacer::Permit refused = p.OnSend(At(0));
  p.OnRefused(refused, absl::Seconds(10), At(1));
  Admit(&p, old, At(2));
  EXPECT_TRUE(p.confirming());
  EXPECT_GE(Alone(p, At(2)), At(11));
}

// A thousand callers who find the endpoint shut: each asks, and gives its turn
// back.
TEST(PacerTest, WhatWasReturnedLeavesNoTrace) {
  MonotonicTime now;
  Pacer p = Taught(&now, 30, absl::Milliseconds(30));
  now = now + absl::Seconds(3);
  ASSERT_TRUE(p.RateAt(now).has_value());
  const std::optional<double> rate = p.RateAt(now);
  const MonotonicTime earliest = Alone(p, now);
  for (int i = 0; i < 1000; ++i) p.OnReturned(p.OnSend(now));
  EXPECT_EQ(p.RateAt(now), rate);
  EXPECT_EQ(Alone(p, now), earliest);
}

TEST(PacerTest, ClearLetsEverybodyGoNow) {
  Pacer p;
  p.OnRefused(p.OnSend(At(0)), absl::Hours(10), At(0));
  EXPECT_GE(Alone(p, At(1)), At(36000));
  p.Clear();
  for (int64_t i = 0; i < 10; ++i) {
    ASSERT_EQ(p.Earliest(At(1), At(0), i), At(1));
    p.OnSend(At(1));
  }
}

TEST(PacerTest, WithoutPacingOnlyGatesAreKept) {
  Pacer p;
  p.SetPacing(false);
  EXPECT_TRUE(Alone(p, At(0)) == At(0));
  const Pacer::Permit a = p.OnSend(At(0));
  EXPECT_EQ(p.Earliest(At(0), At(0), 100), At(0));
  p.OnRefused(a, absl::Seconds(1), At(0));
  const MonotonicTime open = Alone(p, At(0));
  EXPECT_GE(open, At(1));
  for (int64_t i = 0; i < 10; ++i) {
    ASSERT_EQ(p.Earliest(open, At(0), i), open);
    Admit(&p, p.OnSend(open), open);
  }
  EXPECT_FALSE(p.limit().known());
}

// Good answers tell all: nothing has to be refused.
TEST(PacerTest, ATellingServerIsNotAskedForMoreThanItHas) {
  Pacer p;
  testing::TokenBucket bucket;
  bucket.rate = 20;
  bucket.burst = 10;
  MonotonicTime now = At(0);
  for (int i = 0; i < 400; ++i) {
    now = Later(now + absl::Milliseconds(1), Alone(p, now));
    const Pacer::Permit m = p.OnSend(now);
    testing::SimSend send;
    send.time = now;
    ASSERT_EQ(bucket(send).outcome.kind, ErrorKind::kOk) << i;
    LimitStand stand;
    stand.limit = 10;
    stand.remaining = static_cast<int64_t>(bucket.level);
    stand.reset = absl::Seconds((10 - bucket.level) / 20);
    p.OnAdmitted(m, {}, now);
    p.OnTold(m, stand, now);
  }
  EXPECT_TRUE(p.told().known());
  EXPECT_NEAR(p.told().rate(), 20, 1.5);
  EXPECT_LT(now, At(1.06 * 390 / 20));
}

TEST(PacerTest, PartsAreSwitchedOffByThemselves) {
  {
    Pacer p;
    PacingParts parts;
    parts.slow_start = false;
    p.SetPacing(true, parts);
    for (int i = 0; i < 100; ++i) {
      ASSERT_LE(p.Earliest(At(1), At(1), i), At(1));
      p.OnSend(At(1));
    }
  }
  {
    PacingParts parts;
    parts.learn = false;
    Loop loop;
    loop.bucket.rate = 20;
    loop.pacer.SetPacing(true, parts);
    loop.Run(At(20));
    EXPECT_FALSE(loop.pacer.limit().known());
    EXPECT_EQ(loop.pacer.RateAt(loop.now), std::nullopt);
    // What was learned goes when it is switched off.
    Loop learns;
    learns.bucket.rate = 20;
    learns.Run(At(20));
    EXPECT_TRUE(learns.pacer.limit().known());
    learns.pacer.SetPacing(true, parts);
    EXPECT_FALSE(learns.pacer.limit().known());
  }
  {
    PacingParts parts;
    parts.told = false;
    Pacer p;
    LimitStand stand;
    stand.limit = 10;
    stand.reset = absl::Milliseconds(500);
    for (const bool on : {false, true, false}) {
      parts.told = on;
      p.SetPacing(true, parts);
      const Pacer::Permit m = p.OnSend(At(1));
      p.OnAdmitted(m, {}, At(1));
      p.OnTold(m, stand, At(1));
      EXPECT_EQ(p.told().known(), on);
    }
  }
}

// Fifty processes were told the same.
TEST(PacerTest, PeersComeOneAfterTheOther) {
  std::vector<MonotonicTime> comes;
  for (int i = 0; i < 50; ++i) {
    Pacer p;
    p.SetPeers(50, i / 50.0);
    const Pacer::Permit m = p.OnSend(At(0));
    p.OnRefused(m, absl::Seconds(2), At(0.01));
    const MonotonicTime earliest = p.Earliest(At(0.01), At(0.01), 0);
    EXPECT_EQ(p.NotBefore(At(0.01)), earliest);
    comes.push_back(earliest);
    // Once somebody of this process has been admitted, nobody steps aside.
    const Pacer::Permit again = p.OnSend(earliest);
    p.OnAdmitted(again, {}, earliest + absl::Milliseconds(10));
    EXPECT_LE(p.NotBefore(earliest + absl::Milliseconds(10)),
              earliest + absl::Milliseconds(10));
  }
  for (size_t i = 1; i < comes.size(); ++i) {
    EXPECT_GE(comes[i] - comes[i - 1], absl::Milliseconds(15));
  }
  EXPECT_GE(comes.front(), At(2.01));
  EXPECT_LE(comes.back(), At(3.2));
}

TEST(PacerTest, PeersBeginWithTheirPart) {
  for (const auto& [peers, first] :
       std::map<int, int>{{1, 3}, {2, 2}, {9, 1}}) {
    Pacer p;
    p.SetPeers(peers, 0);
    int out = 0;
    while (p.Earliest(At(0), At(0), out) <= At(0)) {
      p.OnSend(At(0));
      ++out;
    }
    EXPECT_EQ(out, first) << peers;
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
        now = Later(now, Alone(p, now));
      } else if (move < 0.56) {
        now = now + absl::Hours(10) * unit();
      }  // else it stands still
      const MonotonicTime since = now - absl::Seconds(1) * unit();
      const MonotonicTime earliest =
          p.Earliest(now, since, static_cast<int64_t>(out.size()));
      ASSERT_GE(earliest, p.gate_until());
      ASSERT_GE(earliest, now);
      ASSERT_GE(earliest, wall);
      ASSERT_LE(p.NotBefore(now), earliest);
      ASSERT_FALSE(earliest.is_infinite());
      if (const std::optional<double> rate = p.RateAt(now)) {
        ASSERT_TRUE(std::isfinite(*rate));
        ASSERT_GT(*rate, 0);
      }
      if (p.limit().known()) {
        ASSERT_TRUE(std::isfinite(p.limit().rate()));
        ASSERT_TRUE(std::isfinite(p.limit().doubt()));
        ASSERT_GT(p.limit().doubt(), 0);
        ASSERT_GE(p.limit().burst(), 1);
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
        std::optional<LimitStand> stand;
        if (unit() < 0.2) {
          stand.emplace();
          stand->limit = static_cast<int64_t>(unit() * 100) - 3;
          stand->remaining = static_cast<int64_t>(unit() * 110) - 5;
          stand->reset = absl::Seconds(unit() * 5 - 0.1);
        }
        p.OnAdmitted(m, {static_cast<int64_t>(out.size()), 3}, now);
        if (stand) p.OnTold(m, *stand, now);
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
        p.StartSlowly({}, now);
      }
    }
  }
  std::printf("%lld events\n", static_cast<long long>(events));
}

// On exact buckets, with waits to the next token. A lesson says at most 1.6 R, or, if
// answers overtake each other for long, 2.4 R, and two or three calls more; but for the
// first ones, which may take a bucket for full that was not. A bucket
// that is not emptied within one answer's time (R · latency <= B) and holds at least 3
// is used to six tenths at least, all others to a seventh.
TEST(PacerTest, LearnsTheRateOfAnExactBucket) {
  int buckets = 0;
  for (double rate : {0.5, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0}) {
    for (double burst : {1.0, 3.0, 5.0, 10.0, 30.0, 100.0}) {
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
          const double seconds = std::max(40.0, 40 / rate);
          loop.Run(At(1 + seconds));
          for (size_t i = 0; i < loop.lessons.size(); ++i) {
            if (i < 3) continue;
            const double most = 1.6 + 16 * latency * jitter;
            EXPECT_LE(loop.lessons[i], most * rate + 3) << "lesson " << i;
          }
          const double share =
              static_cast<double>(loop.admitted) / (burst + rate * seconds);
          EXPECT_LE(share, 1.0001);
          EXPECT_GE(share, 0.15);
          if (rate * latency > burst || burst < 3) continue;
          EXPECT_GE(share, 0.6);
          if (loop.lessons.size() < 2) continue;
          EXPECT_NEAR(loop.lessons.back(), rate, 0.35 * rate);
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
    const auto out = static_cast<int64_t>(pending.size());
    const MonotonicTime earliest = p.Earliest(now, At(0.01), out);
    if (!pending.empty() && pending.begin()->first < earliest) {
      now = pending.begin()->first;
      const auto waiting = static_cast<int64_t>(50 - sends.size());
      Admit(&p, pending.begin()->second, now, {out - 1, waiting});
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
  const MonotonicTime now = Alone(p, At(0.1));
  const Pacer::Permit confirm = p.OnSend(now);
  const MonotonicTime lease = Alone(p, now);
  ASSERT_GT(lease, now);
  EXPECT_FALSE(p.OnNeutral(b));
  EXPECT_EQ(Alone(p, now), lease);
  EXPECT_TRUE(p.OnNeutral(confirm));
  EXPECT_EQ(Alone(p, now), now);
}

// To give a turn back when others have left since would let two leave at once.
TEST(PacerTest, ATurnIsGivenBackOnlyWhileItIsTheLast) {
  for (const bool others : {false, true}) {
    MonotonicTime now;
    Pacer p = Taught(&now, 30, absl::Milliseconds(30));
    now = Alone(p, now);
    const Pacer::Permit a = p.OnSend(now);
    if (others) {
      now = Alone(p, now);
      p.OnSend(now);
    }
    const MonotonicTime next = Alone(p, now);
    ASSERT_GT(next, now);
    p.OnReturned(a);
    EXPECT_EQ(Alone(p, now), others ? next : now);
  }
}

TEST(PacerTest, AnOutageOfWhatIsKnownTeachesNothing) {
  MonotonicTime now;
  Pacer p = Taught(&now, 30, absl::Milliseconds(30));
  const double rate = p.limit().rate();
  for (int i = 0; i < 200; ++i) {
    now = Alone(p, now);
    Admit(&p, p.OnSend(now), now);
  }
  for (int i = 0; i < 6; ++i) {
    now = Alone(p, now);
    p.OnRefused(p.OnSend(now), std::nullopt, now);
  }
  now = Alone(p, now);
  Admit(&p, p.OnSend(now), now);
  EXPECT_EQ(p.limit().rate(), rate);
}

TEST(PacerTest, AfterAnOutageFewLeaveAtFirst) {
  Pacer p = Known(At(0));
  p.StartSlowly({}, At(10));
  EXPECT_FALSE(p.IsCalm(At(10)));
  EXPECT_EQ(p.Earliest(At(10), At(1), 0), At(10));
  EXPECT_GT(p.Earliest(At(10), At(1), 1), At(10.2));
  int successes = 0;
  for (; !p.IsCalm(At(10)); ++successes) {
    ASSERT_LT(successes, 1000);
    Admit(&p, p.OnSend(At(10)), At(10));
  }
  EXPECT_EQ(successes, Pacer::kKnownAgain);
}

TEST(PacerTest, WhatLeftBeforeItBeganToHealCountsForNothing) {
  Pacer p = Known(At(0));
  std::vector<Pacer::Permit> out;
  for (int64_t i = 0; i < Pacer::kKnownAgain; ++i)
    out.push_back(p.OnSend(At(9)));
  p.StartSlowly({}, At(10));
  for (const Pacer::Permit& permit : out) Admit(&p, permit, At(11));
  EXPECT_FALSE(p.IsCalm(At(11)));
  EXPECT_GT(p.Earliest(At(11), At(11), 1), At(11));
}

// A few calls, and then a refusal: once, that is no limit.
TEST(PacerTest, ABlipIsNoLimit) {
  Pacer p;
  MonotonicTime now = At(0);
  for (const bool first : {true, false}) {
    for (int i = 0; i < 4; ++i) {
      now = Later(now + absl::Milliseconds(10), Alone(p, now));
      Admit(&p, p.OnSend(now), now);
    }
    p.OnRefused(p.OnSend(now), absl::Seconds(1), now);
    now = Alone(p, now);
    Admit(&p, p.OnSend(now), now);
    EXPECT_EQ(p.limit().first_admitted() == 0, first);
  }
}

// 200 in two seconds: half of them would be more than came in the half second that
// the server asks for.
// Ten calls, so far apart, and then a refusal.
std::optional<double> FirstPace(std::optional<absl::Duration> wait,
                                double apart = 0.01) {
  Pacer p;
  std::vector<Pacer::Permit> permits;
  for (int i = 0; i <= 10; ++i) permits.push_back(p.OnSend(At(apart * i)));
  const MonotonicTime end = At(11 * apart);
  for (int i = 0; i < 10; ++i) p.OnAdmitted(permits[i], {}, end);
  p.OnRefused(permits[10], wait, end);
  const MonotonicTime confirms = p.Earliest(end, end, 0);
  const Pacer::Permit m = p.OnSend(confirms);
  p.OnAdmitted(m, {}, confirms + absl::Milliseconds(10));
  return p.RateAt(confirms + absl::Milliseconds(10));
}

TEST(PacerTest, APreciseWaitIsThatForTheNextToken) {
  // Twice that rate; the wait counts from the refused send.
  EXPECT_NEAR(*FirstPace(absl::Milliseconds(30)), 2 / 0.043, 0.2);
  // Never faster than it admitted those before, or, if that took long, so many in a
  // second.
  EXPECT_NEAR(*FirstPace(std::nullopt, 0.2), 10, 0.1);
  // Of the server's rate our own wait says nothing.
  EXPECT_GT(*FirstPace(std::nullopt), 30);
  EXPECT_GT(*FirstPace(absl::ZeroDuration()), 30);
}

// One that knows its rate to a hundredth stays with it; another, to whom nobody else
// has come for a while, looks again after a second.
TEST(PacerTest, WhoKnowsLittleLooksAgainSoon) {
  const auto pace_after = [](int refused) {
    Pacer p;
    MonotonicTime now = At(1);
    std::vector<Pacer::Permit> out;
    const auto send = [&](double after) {
      now = Later(now + absl::Seconds(after), p.Earliest(now, now, 0));
      out.push_back(p.OnSend(now));
    };
    const auto admit = [&] {
      p.OnAdmitted(out.back(), {}, now + absl::Milliseconds(5));
      out.pop_back();
    };
    const auto refuse = [&](int times) {
      for (int i = 1; i < times; ++i) out.push_back(p.OnSend(now));
      for (const Pacer::Permit& m : out) {
        p.OnRefused(m, absl::Seconds(1), now + absl::Milliseconds(5));
      }
      out.clear();
    };
    // Two lessons of a few calls each.
    for (int lesson = 0; lesson < 3; ++lesson) {
      for (int i = 0; i < 6; ++i) {
        send(0.1);
        admit();
      }
      send(0.1);
      refuse(refused);
    }
    send(0);
    admit();
    const double learned = p.limit().rate();
    EXPECT_GT(learned, 0);
    EXPECT_GT(p.limit().doubt(), 0.05 * learned);
    // Callers use the pace for six seconds.
    const MonotonicTime end = now + absl::Seconds(6);
    while (now < end) {
      send(0);
      admit();
    }
    return *p.RateAt(now) / learned;
  };
  EXPECT_GT(pace_after(1), 1.5);
  // Each look costs as many sends as the last one did.
  EXPECT_LT(pace_after(6), 1.3);
}

TEST(PacerTest, NoMoreLeaveAtOnceThanCameInSuchATime) {
  Pacer p = Known(At(0));
  MonotonicTime now = At(0);
  for (int i = 0; i < 200; ++i) {
    now = now + absl::Milliseconds(10);
    Admit(&p, p.OnSend(now), now);
  }
  p.OnRefused(p.OnSend(now), absl::Milliseconds(520), now);
  now = Alone(p, now);
  Admit(&p, p.OnSend(now), now);
  int volley = 0;
  while (Alone(p, now) == now) {
    Admit(&p, p.OnSend(now), now);
    ASSERT_LT(++volley, 60);
  }
  EXPECT_GE(volley, 20);
}

TEST(PacerTest, SlowStartDoesNotQuickenAPaceThatWasLearned) {
  MonotonicTime now;
  Pacer p = Taught(&now, 30, absl::Milliseconds(30));
  const std::optional<double> before = p.RateAt(now);
  ASSERT_TRUE(before.has_value());
  p.StartSlowly({}, now);
  EXPECT_EQ(p.RateAt(now), before);
}

// A search that nobody refuses has found out that there is no limit.
TEST(PacerTest, APaceThatNobodyRefusesEnds) {
  Pacer p = Known(At(0));
  p.OnRefused(p.OnSend(At(0)), absl::Milliseconds(100), At(0));
  MonotonicTime now = Alone(p, At(0));
  int sends = 0;
  do {
    now = Alone(p, now);
    Admit(&p, p.OnSend(now), now);
    ASSERT_LT(++sends, 5000);
  } while (!p.IsCalm(now));
  EXPECT_GT(sends, 20);
}

TEST(PacerTest, ClearingForgetsEverything) {
  MonotonicTime now;
  Pacer p = Taught(&now, 30, absl::Milliseconds(30));
  for (int i = 0; i < 4; ++i) {
    now = Alone(p, now);
    p.OnRefused(p.OnSend(now), std::nullopt, now);
  }
  EXPECT_GE(p.gate_until() - now, absl::Seconds(1));
  p.Clear();
  EXPECT_FALSE(p.RateAt(now).has_value());
  EXPECT_FALSE(p.limit().known());
  EXPECT_EQ(Alone(p, now), now);
  p.OnSend(now);
  EXPECT_EQ(Alone(p, now), now);
  // The first refusal is a first one again.
  p.OnRefused(p.OnSend(now), std::nullopt, now);
  EXPECT_EQ(p.gate_until() - now, absl::Milliseconds(250));
}

}  // namespace
}  // namespace forbear
