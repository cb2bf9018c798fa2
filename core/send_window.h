// SendWindow: how many attempts may be out at a time while nothing is known of
// whoever answers them. Of what is not known to be there, or to take so much, one
// asks little first: if the answer is "no", it was "no" to few.
//
//   SendWindow window;                        // 3, and a quarter more per answer
//   if (out < window.size()) …one more may leave…
//   window.OnSuccess(out);                    // out: without the one that came back
//
// Nobody waits for it for long: whoever finds it full leaves anyway when Hold() is
// over, which is never more than half a second. So a server that answers slowly, and
// has no limit, is found out by time.
//
// The first window is 3, because a server that refuses the first few calls cannot
// be told from one that refuses all: more would be wasted on the second, fewer would
// find out one after the other. A quarter per success: what is out when the first
// refusal is heard is refused too, and a window that doubles has more out by then.
//
// Thread rule: not thread-safe; Pacer and Endpoint own one each.
#ifndef FORBEAR_CORE_SEND_WINDOW_H_
#define FORBEAR_CORE_SEND_WINDOW_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/time/time.h"

namespace forbear {

class SendWindow {
 public:
  static constexpr double kFirst = 3;
  static constexpr double kGrowth = 0.25;

  explicit SendWindow(double size = kFirst, double growth = kGrowth)
      : size_(size), growth_(growth) {}

  double size() const { return size_; }

  // A good answer; `out` others are out. One that was not used up says nothing
  // about what more would do.
  void OnSuccess(int64_t out) {
    if (static_cast<double>(out + 1) < size_ / 2) return;
    size_ = std::min(kMost, size_ + growth_);
  }

  // How long it may hold somebody who finds `out` on their way. Longer for those
  // further back, so that a server that is merely slow gets them spread out.
  absl::Duration Hold(int64_t out) const {
    const double times = static_cast<double>(out + 1) / size_;
    return absl::Seconds(
        std::clamp(0.3 + 0.04 * std::log2(times), 0.3, kLongest));
  }

  static constexpr double kLongest = 0.5;  // seconds

 private:
  static constexpr double kMost = 1e6;

  double size_;
  double growth_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_SEND_WINDOW_H_
