// ServerClock: by how much a server's clock is ahead of ours, as the Date fields of
// its answers show it. "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT" is meant by the
// server's clock, and Date says what that is only to the second: who counts from Date
// waits up to a second too long.
//
// Date is the server's time, rounded down, when the answer left. So that time is at
// least Date when the answer arrives, and each answer gives a least difference between
// the two clocks; the best of many is off by as much as the answer that came soonest
// after the server's second began: twenty answers a second make a wait exact to some
// 50 ms, and never too short.
//
//   ServerClock clock;                                 // one per server
//   clock.OnDate(date, now);                           // of each answer
//   facts.server = clock.AtLeast(now);                 // signals/http_classify.h
//
// A difference that a later answer contradicts is dropped for that answer's; and
// each is believed a thousandth of its age less, for clocks drift. Several servers
// behind one name whose clocks differ by less than a second are taken for one whose
// clock is that of the one furthest ahead.
//
// Thread rule: any thread may call anything; there is no lock.
#ifndef FORBEAR_RUNTIME_SERVER_CLOCK_H_
#define FORBEAR_RUNTIME_SERVER_CLOCK_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>

#include "absl/time/time.h"

namespace forbear {

class ServerClock {
 public:
  // An answer with this Date arrived at `now`, of this machine's wall clock.
  void OnDate(absl::Time date, absl::Time now) {
    const int64_t at = absl::ToUnixNanos(now);
    int64_t ahead = 0;
    if (__builtin_sub_overflow(absl::ToUnixNanos(date), at, &ahead) ||
        ahead > kOff || ahead < -kOff) {
      return;
    }
    const int64_t seen = ahead + Age(at);
    int64_t best = ahead_.load(std::memory_order_relaxed);
    // By its Date, the server's time was before this.
    while (
        (seen > best || best - seen >= kSecond) &&
        !ahead_.compare_exchange_weak(best, seen, std::memory_order_relaxed)) {
    }
  }

  // What the server's clock shows at `now`, or a little less; absent: it has not
  // shown any Date yet.
  std::optional<absl::Time> AtLeast(absl::Time now) const {
    const int64_t best = ahead_.load(std::memory_order_relaxed);
    if (best == kUnknown) return std::nullopt;
    return now + absl::Nanoseconds(best - Age(absl::ToUnixNanos(now)));
  }

 private:
  static constexpr int64_t kUnknown = std::numeric_limits<int64_t>::min();
  static constexpr int64_t kSecond = 1000000000;
  // A clock that is wrong by more is none, and would not fit.
  static constexpr int64_t kOff = int64_t{50} * 365 * 24 * 3600 * kSecond;

  // A thousandth of a time that is as good as any other to count from.
  static int64_t Age(int64_t unix_nanos) { return unix_nanos / 1000; }

  // The least difference, in ns, as if it had been seen at the epoch.
  std::atomic<int64_t> ahead_{kUnknown};
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_SERVER_CLOCK_H_
