// Spread: those who waited for the same moment leave one after the other, when that
// moment has come and nothing is known about what whoever answers can take.
//
// What matters is how many come at once, not by which part of the wait they differ:
// fifty callers leave within a good second, a tenth of them in each 100 ms; so do a
// hundred; more at a hundred a second, within three seconds. Few need not be spread so
// far, ten leave within 45 ms: n callers within n² · 0.45 ms. Nobody pays more than
// half of the wait again for having waited.
//
//   Spread spread;
//   spread.Begin(waiting, wait, /*last=*/now);
//   if (spread.next() <= now) { …one leaves…; spread.OnSend(now); }
//
// Thread rule: not thread-safe; Pacer owns one.
#ifndef FORBEAR_CORE_SPREAD_H_
#define FORBEAR_CORE_SPREAD_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "core/time.h"

namespace forbear {

class Spread {
 public:
  // `waiting` callers waited for the same, for `wait`; the last that left before them
  // did so at `last`.
  void Begin(int64_t waiting, absl::Duration wait, MonotonicTime last) {
    left_ = std::clamp<int64_t>(waiting, 0, kMost);
    if (left_ == 0) return;
    interval_ = Over(left_, wait) / left_;
    next_ = last + interval_;
  }

  // Within how long n callers leave that waited for `wait`.
  static absl::Duration Over(int64_t n, absl::Duration wait) {
    n = std::min(n, kMost);
    const absl::Duration most = std::clamp(
        n * absl::Milliseconds(10), absl::Milliseconds(1050), absl::Seconds(3));
    return std::min({most, wait / 2, n * n * absl::Microseconds(450)});
  }
  void End() { left_ = 0; }

  bool is_over() const { return left_ == 0; }
  // Not before this one more may leave.
  MonotonicTime next() const {
    return left_ == 0 ? MonotonicTime::InfinitePast() : next_;
  }
  void OnSend(MonotonicTime now) {
    if (left_ == 0) return;
    --left_;
    next_ = now + interval_;
  }

 private:
  static constexpr int64_t kMost = 10000000;

  int64_t left_ = 0;
  absl::Duration interval_;
  MonotonicTime next_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_SPREAD_H_
