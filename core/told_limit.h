// ToldLimit: the server's limit, as its good answers tell it (x-ratelimit-*,
// RateLimit): so many, so many of them left, all of them there again in so long.
// Who reads that need not be refused to learn it.
//
// A bucket or a window. Of a bucket that refills steadily, "limit 10, remaining 4,
// reset 0.3 s" says R = 6 / 0.3 s, up to a token, because what remains is rounded
// down, and up to the coarseness of the reset. Several answers narrow the interval;
// it is believed when its ends are near enough (`kTight`), and dropped when answers
// contradict it. Of a window, the time of the reset stays where it is while less and
// less remains: then only what remains counts, until that time.
//
// Others may share the limit. Every refusal makes our share of it smaller (to 0.7),
// every good answer a little larger; after three refusals in a short time the server
// is not believed for a minute.
//
//   told.OnAdmitted(number);
//   told.OnTold(stand, number, …);         // limit 10, remaining 4, reset 0.3 s
//   if (told.known()) t = told.Earliest(t);
//   told.OnSend(now, number);
//
// Bounds: constant space and time. Thread rule: not thread-safe; Pacer owns one.
#ifndef FORBEAR_CORE_TOLD_LIMIT_H_
#define FORBEAR_CORE_TOLD_LIMIT_H_

#include <cstdint>
#include <limits>

#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/time.h"

namespace forbear {

class ToldLimit {
 public:
  // Whether it is believed: then it alone says when the next one leaves.
  bool known() const { return known_; }

  // Earliest time for the next send, from `t` on. `sent`: the number of the last.
  MonotonicTime Earliest(MonotonicTime t, uint64_t sent) const;

  // The send `number` leaves. REQUIRES: known().
  void OnSend(MonotonicTime now, uint64_t number);

  // A good answer to the send `number`.
  void OnAdmitted(uint64_t number);

  // What the answer to the send `number`, which left at `left`, tells; `sent`: the
  // last one.
  void OnTold(const LimitStand& stand, uint64_t number, MonotonicTime left,
              uint64_t sent, MonotonicTime now);

  // A refusal that begins an episode. REQUIRES: known(). False: it is no longer
  // believed; rate() and limit() may serve as a first guess.
  bool OnRefused(uint64_t sent, MonotonicTime now);

  void Forget() {
    const double most = most_share_;
    *this = ToldLimit();
    SetMostShare(most);
  }

  // Others are known to share it: no more than this part of it is ours, in (0, 1].
  void SetMostShare(double share) { share_ = most_share_ = share; }

  // Per second; 0: a window, or not known.
  double rate() const;
  double limit() const { return limit_; }

 private:
  void Narrow(double debt, double reset, double coarse);
  void JudgeWindow(double limit, double debt, double reset, double coarse,
                   MonotonicTime reset_at);
  double LevelAt(MonotonicTime t) const;

  bool known_ = false;
  bool window_ = false;
  int window_score_ = 0;  // -4 … 4: whether the reset stays where it is
  double slowest_ = 0;    // the rate's interval
  double fastest_ = std::numeric_limits<double>::infinity();
  double share_ = 1;
  double most_share_ = 1;
  int strikes_ = 0;
  MonotonicTime distrusted_until_ = MonotonicTime::InfinitePast();
  // The newest answer's.
  uint64_t number_ = 0;
  double limit_ = 0;
  double debt_ = 0;
  double remaining_ = 0;
  MonotonicTime reset_at_ = MonotonicTime::InfinitePast();
  double length_ = 0;  // of the window, in seconds
  // A bucket: what it holds.
  double level_ = 0;
  MonotonicTime level_at_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_TOLD_LIMIT_H_
