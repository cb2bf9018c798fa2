// SlidingWindow: how many calls in the last stretch of time, and how many of them
// failed or were slow.
//
// A ring of partial sums, each for a tenth of the window. Totals are kept, and
// a bucket's share is subtracted when it falls out, so asking costs nothing and
// moving on costs at most one turn of the ring, however long nobody called.
//
//   SlidingWindow w(absl::Seconds(30), now);
//   w.Add(now, /*failure=*/true, /*slow=*/false);
//   w.total(), w.failures(), w.slow();      // as of the last Add or Advance
//
// The window is at least nine tenths of its length and at most all of it.
//
// Thread rule: not thread-safe; CircuitBreaker owns it.
#ifndef FORBEAR_CORE_SLIDING_WINDOW_H_
#define FORBEAR_CORE_SLIDING_WINDOW_H_

#include <array>
#include <cstdint>

#include "absl/time/time.h"
#include "core/time.h"

namespace forbear {

class SlidingWindow {
 public:
  // `length` is cut into kBuckets parts of at least one nanosecond.
  SlidingWindow(absl::Duration length, MonotonicTime now);

  // Drops what has become too old. A time before the newest one seen counts as
  // the newest one.
  void Advance(MonotonicTime now) {
    if (now >= newest_end_) MoveTo(now);
  }

  // Advances, then counts one call.
  void Add(MonotonicTime now, bool failure, bool slow = false);

  // Counts `calls` that neither failed nor were slow, at the newest time seen.
  void AddGood(int64_t calls);

  // Before this time, Add counts at the newest time seen.
  MonotonicTime newest_end() const { return newest_end_; }

  // Forgets everything.
  void Clear(MonotonicTime now);

  // Another length, with what is in it. Each part counts as if all of it had
  // happened at its end, or just now.
  void Resize(absl::Duration length, MonotonicTime now);

  int64_t total() const { return total_; }
  int64_t failures() const { return failures_; }
  int64_t slow() const { return slow_; }

  static constexpr int kBuckets = 10;

 private:
  struct Bucket {
    int64_t total = 0;
    int64_t failures = 0;
    int64_t slow = 0;
  };

  // Rounded down, also left of zero, so that every slot is equally long.
  int64_t Slot(MonotonicTime t) const {
    const int64_t slot = t.nanos() / bucket_nanos_;
    return t.nanos() % bucket_nanos_ < 0 ? slot - 1 : slot;
  }

  void MoveTo(MonotonicTime now);
  void SetNewest(int64_t slot);
  // The last nanosecond of a slot, and one more.
  MonotonicTime EndOf(int64_t slot) const;

  int64_t bucket_nanos_;
  int64_t newest_;  // the slot number that the ring's newest bucket stands for
  MonotonicTime newest_end_;
  int64_t total_ = 0;
  int64_t failures_ = 0;
  int64_t slow_ = 0;
  std::array<Bucket, kBuckets> ring_{};
};

}  // namespace forbear

#endif  // FORBEAR_CORE_SLIDING_WINDOW_H_
