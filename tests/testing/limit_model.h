#ifndef FORBEAR_TESTS_TESTING_LIMIT_MODEL_H_
#define FORBEAR_TESTS_TESTING_LIMIT_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace forbear::testing {

// A server's rate limit as a pure state machine: who asks, and when, is admitted
// or told how long to wait.
//
//   LimitModel::Options options;
//   options.rate = 20;                         // a bucket of 10, 20/s
//   options.burst = 10;
//   LimitModel limit(options);                 // Check(options) is OK
//   const LimitModel::Answer answer = limit.Ask(absl::Milliseconds(350));
//
// All times count from the limit's beginning. Time that runs backwards stands
// still.
//
// 1. A wait is never short: who asks again exactly then, alone, is admitted.
// 2. Earliest() is what a clairvoyant knows, and changes nothing. It is exact:
//    Ask(Earliest(now)) admits.
//
// Thread rule: needs outside synchronisation.
class LimitModel {
 public:
  enum class Kind {
    kBucket,       // `burst` tokens, `rate` new ones a second; full at first
    kFixedWindow,  // `burst` requests in [k·window, (k+1)·window) − offset
    kSlidingWindow,  // `burst` requests in any stretch of `window`
  };

  // From `at` on, rate (kBucket) or burst (windows, rounded) are multiplied.
  struct Change {
    absl::Duration at;
    double factor = 1;
  };

  struct Options {
    Kind limit_kind = Kind::kBucket;

    // Tokens per second (infinity: no limit) and how many the bucket holds.
    // rate > 0, burst >= 1.
    double rate = 10;
    double burst = 5;

    // For windows; > 0. The first fixed window began `window_offset` before the
    // beginning, in [0, window).
    absl::Duration window = absl::Seconds(1);
    absl::Duration window_offset;

    // Buckets: refused requests take a token too, so that a client that hammers
    // stays refused. The bucket's debt is at most `burst`.
    bool penalise = false;

    // In the order of time. factor > 0.
    std::vector<Change> limit_changes;
  };

  struct Answer {
    bool admitted = false;

    // Not admitted: until one would be, if nobody else asks.
    absl::Duration wait;

    // For headers: how many fit at once, how many are left of them, and how long
    // until they are all there again (fixed windows: until the next one).
    int64_t limit = 0;
    int64_t remaining = 0;
    absl::Duration reset;
  };

  // kInvalidArgument names the option that is out of range.
  static absl::Status Check(const Options& options);

  // REQUIRES: Check(options).ok()
  explicit LimitModel(const Options& options);

  Answer Ask(absl::Duration now);

  // The first time from `now` on at which Ask() admits, if nobody asks before.
  absl::Duration Earliest(absl::Duration now) const;

 private:
  // Lets time pass: changes take effect, windows roll on.
  void Advance(absl::Duration now);
  // Until Ask() admits, from now_ on, if nothing changes; 0: it does.
  absl::Duration Wait() const;
  absl::Duration TokenTime() const;

  Kind kind_;
  double rate_;
  double burst_;
  absl::Duration window_;
  bool penalise_;
  std::vector<Change> changes_;
  size_t next_change_ = 0;

  absl::Duration now_;             // the newest time seen
  absl::Duration full_at_;         // kBucket: when it is full
  absl::Duration window_end_;      // kFixedWindow
  int64_t in_window_ = 0;          // kFixedWindow
  std::deque<absl::Duration> in_;  // kSlidingWindow: who was admitted, and when
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_LIMIT_MODEL_H_
