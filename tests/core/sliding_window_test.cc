// SlidingWindow against a list of everything that was ever counted.

#include "core/sliding_window.h"

#include <algorithm>
#include <cstdint>
#include <deque>
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
  void Add(int64_t now, bool failure) {
    Advance(now);
    all_.emplace_back(newest_, failure);
  }
  void Clear(int64_t now) {
    Advance(now);
    all_.clear();
  }
  std::pair<int64_t, int64_t> Count() const {
    int64_t total = 0;
    int64_t failures = 0;
    for (const auto& [time, failure] : all_) {
      if (Slot(newest_) - Slot(time) >= SlidingWindow::kBuckets) continue;
      ++total;
      failures += failure ? 1 : 0;
    }
    return {total, failures};
  }

 private:
  // The tenth that a time lies in, also left of zero.
  int64_t Slot(int64_t t) const {
    int64_t slot = t / bucket_;
    if (t % bucket_ < 0) --slot;
    return slot;
  }

  const int64_t bucket_;
  int64_t newest_;
  std::deque<std::pair<int64_t, bool>> all_;
};

TEST(SlidingWindowTest, LikeTheTwin) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE(seed);
    uint64_t n = 0;
    const auto unit = [&] { return UnitRandom(seed, n++); };
    const int64_t bucket = 1 + static_cast<int64_t>(unit() * 50);
    // The clock's zero may lie ahead.
    int64_t now = static_cast<int64_t>(unit() * 4000) - 2000;
    SlidingWindow w(absl::Nanoseconds(bucket * 10),
                    MonotonicTime::FromNanos(now));
    Twin twin(bucket, now);
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
      const double what = unit();
      if (what < 0.8) {
        const bool failure = unit() < 0.5;
        w.Add(t, failure);
        twin.Add(now, failure);
      } else if (what < 0.98) {
        w.Advance(t);
        twin.Advance(now);
      } else {
        w.Clear(t);
        twin.Clear(now);
      }
      ASSERT_EQ(std::make_pair(w.total(), w.failures()), twin.Count())
          << "now " << now << " bucket " << bucket;
    }
  }
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
