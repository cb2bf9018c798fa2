// Pace: so many calls a second are begun, by all threads together, and a few at once.
//
//   if (!pace.Take()) …not now…
//
// Thread rule: thread-safe.
#ifndef FORBEAR_TESTS_SOAK_PACE_H_
#define FORBEAR_TESTS_SOAK_PACE_H_

#include <algorithm>
#include <chrono>
#include <mutex>

namespace forbear::soak {

class Pace {
 public:
  explicit Pace(double per_second) : per_second_(per_second) {}

  bool Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto now = Clock::now();
    const std::chrono::duration<double> since = now - last_;
    allowance_ = std::min(100.0, allowance_ + since.count() * per_second_);
    last_ = now;
    if (allowance_ < 1) return false;
    --allowance_;
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;

  const double per_second_;
  std::mutex mutex_;  // guards all below
  double allowance_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_PACE_H_
