// Gate: the time before which nothing goes out, because the server said so.
//
//   Gate gate;
//   gate.Shut(now + absl::Seconds(2), now);   // 429 with Retry-After: 2
//   gate.Shut(now + absl::Seconds(1), now);   // a shorter one changes nothing
//   if (now < gate.until()) …wait…
//
// Invariant: until() moves back only by Clear(), or by a success of an attempt
// that started after the gate was last shut: that attempt is proof that the
// server takes calls again, an older one is not.
//
// Thread rule: not thread-safe; its owner (Quota, Endpoint) is locked as one.
#ifndef FORBEAR_CORE_GATE_H_
#define FORBEAR_CORE_GATE_H_

#include "core/time.h"

namespace forbear {

class Gate {
 public:
  // Keeps the later of the present end and `until`.
  void Shut(MonotonicTime until, MonotonicTime now) {
    until_ = Later(until_, until);
    shut_at_ = Later(shut_at_, now);
  }

  // A success of an attempt that started at `started`. True if it opened.
  bool OnSuccess(MonotonicTime started, MonotonicTime now) {
    if (started <= shut_at_ || until_ <= now) return false;
    until_ = now;
    return true;
  }

  // For operators: open now, whatever the server said.
  void Clear() { until_ = MonotonicTime::InfinitePast(); }

  // Nothing goes out before this time.
  MonotonicTime until() const { return until_; }
  bool IsShut(MonotonicTime now) const { return now < until_; }

 private:
  MonotonicTime until_ = MonotonicTime::InfinitePast();
  MonotonicTime shut_at_ = MonotonicTime::InfinitePast();
};

}  // namespace forbear

#endif  // FORBEAR_CORE_GATE_H_
