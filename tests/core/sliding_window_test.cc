// SlidingWindow against a list of everything that was ever counted.

#include "core/sliding_window.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <tuple>
#include <utility>

#include "absl/time/time.h"
#include "core/random.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

class Twin {
 public:
  Twin(int64_t bucket, int64_t now) : bucket_(bucket), newest_(now) {}
  void Advance(int64_t now) { newest_ = std::max(newest_, now); }
  void Add(int64_t now, bool failure, bool slow) {
    Advance(now);
    all_.push_back({newest_, failure, slow});
  }
  void Clear(int64_t now) {
    Advance(now);
    all_.clear();
  }
  std::tuple<int64_t, int64_t, int64_t> Count() const {
    int64_t total = 0;
    int64_t failures = 0;
    int64_t slow = 0;
    for (const One& one : all_) {
      if (Slot(newest_) - Slot(one.time) >= SlidingWindow::kBuckets) continue;
      ++total;
      failures += one.failure ? 1 : 0;
      slow += one.slow ? 1 : 0;
    }
    return {total, failures, slow};
  }
  // What is out of the old window is gone; what is in it moves to the end of its
  // old part.
  void Resize(int64_t bucket, int64_t now) {
    Advance(now);
    std::deque<One> kept;
    for (One one : all_) {
      if (Slot(newest_) - Slot(one.time) >= SlidingWindow::kBuckets) continue;
      one.time = std::min(newest_, (Slot(one.time) + 1) * bucket_ - 1);
      kept.push_back(one);
    }
    all_ = std::move(kept);
    bucket_ = bucket;
  }

 private:
  // The tenth that a time lies in, also left of zero.
  int64_t Slot(int64_t t) const {
    int64_t slot = t / bucket_;
    if (t % bucket_ < 0) --slot;
    return slot;
  }

  struct One {
    int64_t time;
    bool failure;
    bool slow;
  };

  int64_t bucket_;
  int64_t newest_;
  std::deque<One> all_;
};

TEST(SlidingWindowTest, LikeTheTwin) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE(seed);
    uint64_t n = 0;
    const auto unit = [&] { return UnitRandom(seed, n++); };
    int64_t bucket = 1 + static_cast<int64_t>(unit() * 50);
    // The clock's zero may lie ahead.
    int64_t now = static_cast<int64_t>(unit() * 4000) - 2000;
    SlidingWindow w(absl::Nanoseconds(bucket * 10),
                    MonotonicTime::FromNanos(now));
    Twin twin(bucket, now);
    int64_t newest = now;
    for (int i = 0; i < 200; ++i) {
      const double move = unit();
      if (move < 0.6) {
        now += static_cast<int64_t>(unit() * 30);
      } else if (move < 0.65) {
        now += static_cast<int64_t>(unit() * 100000);  // long idle
      } else if (move < 0.7) {
        now -= static_cast<int64_t>(unit() * 100);  // backward
      }
      const MonotonicTime t = MonotonicTime::FromNanos(now);
      newest = std::max(newest, now);
      const double what = unit();
      if (what < 0.8) {
        const bool failure = unit() < 0.5;
        const bool slow = unit() < 0.3;
        w.Add(t, failure, slow);
        twin.Add(now, failure, slow);
      } else if (what < 0.82 && seed % 2 == 0) {
        bucket = 1 + static_cast<int64_t>(unit() * 50);
        // Backward is as now.
        now = std::max(now, newest);
        w.Resize(absl::Nanoseconds(bucket * 10), MonotonicTime::FromNanos(now));
        twin.Resize(bucket, now);
      } else if (what < 0.98) {
        w.Advance(t);
        twin.Advance(now);
      } else {
        w.Clear(t);
        twin.Clear(now);
      }
      ASSERT_EQ(std::make_tuple(w.total(), w.failures(), w.slow()),
                twin.Count())
          << "now " << now << " bucket " << bucket;
    }
  }
}

// Half of a window's failures are not lost because it became longer, nor kept
// for longer than it says because it became shorter.
TEST(SlidingWindowTest, ResizeKeepsWhatIsInBothWindows) {
  SlidingWindow w(absl::Seconds(10), MonotonicTime());
  for (int i = 0; i < 10; ++i) {
    w.Add(MonotonicTime() + absl::Seconds(i + 0.5), i % 2 == 0, i == 9);
  }
  const MonotonicTime now = MonotonicTime() + absl::Seconds(9.9);
  w.Resize(absl::Seconds(60), now);
  EXPECT_EQ(w.total(), 10);
  EXPECT_EQ(w.failures(), 5);
  EXPECT_EQ(w.slow(), 1);
  w.Resize(absl::Seconds(2), now);
  EXPECT_EQ(w.total(), 4);  // parts of six seconds: the older one is out
  SlidingWindow v(absl::Seconds(10), MonotonicTime());
  for (int i = 0; i < 10; ++i) {
    v.Add(MonotonicTime() + absl::Seconds(i + 0.5), true);
  }
  v.Resize(absl::Seconds(2), now);
  EXPECT_EQ(v.total(), 2);
  v.Advance(MonotonicTime() + absl::Seconds(12));
  EXPECT_EQ(v.total(), 0);
}

// The window is at least nine tenths of its length and at most all of it.
TEST(SlidingWindowTest, HoldsWhatItSays) {
  for (int64_t start : {-5000, -1000, -37, 0, 41, 1000}) {
    for (int64_t age = 0; age <= 120; ++age) {
      SlidingWindow w(absl::Nanoseconds(100), MonotonicTime::FromNanos(start));
      w.Add(MonotonicTime::FromNanos(start), true);
      w.Advance(MonotonicTime::FromNanos(start + age));
      if (age <= 90) {
        EXPECT_EQ(w.total(), 1) << start << " " << age;
      }
      if (age >= 100) {
        EXPECT_EQ(w.total(), 0) << start << " " << age;
      }
    }
  }
}

// Good calls that are counted later, at the newest time, leave with it.
TEST(SlidingWindowTest, GoodCallsOfBeforeFallOutAsWell) {
  SlidingWindow w(absl::Seconds(10), MonotonicTime());
  w.Add(MonotonicTime() + absl::Seconds(3), true);
  w.AddGood(5);
  EXPECT_EQ(w.total(), 6);
  EXPECT_EQ(w.failures(), 1);
  for (int s = 4; s < 13; ++s) {
    w.Advance(MonotonicTime() + absl::Seconds(s));
    w.AddGood(1);
  }
  EXPECT_EQ(w.total(), 15);
  w.Advance(MonotonicTime() + absl::Seconds(13));
  EXPECT_EQ(w.total(), 9);
  EXPECT_EQ(w.failures(), 0);
}

TEST(SlidingWindowTest, CenturiesOfIdlenessCostNothing) {
  SlidingWindow w(absl::Seconds(1),
                  MonotonicTime::FromNanos(-(int64_t{1} << 62)));
  for (int i = 0; i < 100000; ++i) {
    w.Add(MonotonicTime::FromNanos(-(int64_t{1} << 62)), true);
    w.Add(MonotonicTime::FromNanos(int64_t{1} << 62), false);
  }
  EXPECT_EQ(w.total(), 100000 + 99999);
}

// SlidingTimeWindowMetricsTest of resilience4j: 5 s. Its parts are of 1 s, ours
// of half a second; its table comes out the same.
TEST(SlidingWindowTest, Resilience4j) {
  struct Row {
    double t;
    bool failed;
    int64_t total;
    int64_t failures;
  };
  SlidingWindow w(absl::Seconds(5), MonotonicTime());
  for (const Row& r :
       {Row{0, true, 1, 1}, Row{0.1, false, 2, 1}, Row{0.2, false, 3, 1},
        Row{1.2, false, 4, 1}, Row{2.2, false, 5, 1}, Row{3.2, true, 6, 2},
        Row{4.2, false, 7, 2}, Row{5.2, false, 5, 1}, Row{6.2, false, 5, 1},
        Row{11.2, false, 1, 0}}) {
    w.Add(MonotonicTime() + absl::Seconds(r.t), r.failed);
    EXPECT_EQ(w.total(), r.total) << r.t;
    EXPECT_EQ(w.failures(), r.failures) << r.t;
  }
}

TEST(SlidingWindowTest, AWindowShorterThanItsParts) {
  SlidingWindow w(absl::Nanoseconds(5), MonotonicTime());
  w.Add(MonotonicTime(), true);
  EXPECT_EQ(w.failures(), 1);
  w.Advance(MonotonicTime::FromNanos(9));
  EXPECT_EQ(w.failures(), 1);
  w.Advance(MonotonicTime::FromNanos(10));
  EXPECT_EQ(w.failures(), 0);
}

}  // namespace
}  // namespace forbear
