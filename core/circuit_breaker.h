// CircuitBreaker: stops sending to an endpoint that keeps failing, and finds
// out with single probes when it is well again.
//
//   CircuitBreaker breaker(BreakerOptions{}, now);
//   CircuitBreaker::Permit permit;
//   if (breaker.Acquire(now, &permit)) {
//     …one attempt…
//     breaker.Report(permit, CircuitBreaker::Result::kFailure, now, random);
//   } else {
//     …nothing may be sent before breaker.AdmitTime(now)…
//   }
//
//            ratio of failures reached, or the first few calls all failed
//   Closed ────────────────────────────────────────────────────────► Open
//     ▲                                                              │ open time
//     │ successes_to_close probes in a row        a probe failed     ▼
//     └──────────────────────────────── HalfOpen ◄──────────────► (probes)
//
// What counts: 5xx, UNAVAILABLE, resets and time-outs are failures. An answer
// of any other kind is a success, also a 404: the endpoint lives. A throttled
// answer is neither in Closed (a rate limit is no outage; the gate handles it)
// and proves life in HalfOpen. A cancelled attempt says nothing.
//
// Invariants:
//  1. A permit moves the state only while the state it was issued in lasts
//     (`generation`): an attempt that started before the breaker opened cannot
//     close or re-open it.
//  2. A probe that is never reported costs one lease, not the endpoint: after
//     `probe_lease` another probe may go.
//  3. Open never ends before the server's own wait, when it gave one (the
//     caller adds its gate; see core/endpoint.h).
//
// Sources: the ratio mode of resilience4j and Polly (50 % of at least 10 calls
// in 30 s: paid APIs see few calls, so their minimum of 100 would never be
// met); growing open time as in brpc; leased probes are our own.
//
// Thread rule: not thread-safe; Endpoint owns it.
#ifndef FORBEAR_CORE_CIRCUIT_BREAKER_H_
#define FORBEAR_CORE_CIRCUIT_BREAKER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/sliding_window.h"
#include "core/time.h"

namespace forbear {

struct BreakerOptions {
  // Off: always closed.
  bool enabled = true;
  // Opens when at least this part of the window's calls failed. Default 0.5.
  // 0.01 … 1.
  double failure_ratio = 0.5;
  // … of at least so many calls. Default 10. 1 … 1,000,000.
  int min_calls = 10;
  // … in so much time. Default 30 s. 1 s … 1 h.
  absl::Duration window = absl::Seconds(30);
  // An endpoint that has never answered opens after so many failures in a row.
  // Default 3. 1 … 1,000,000.
  int first_failures = 3;
  // The first open time, doubled each time a probe fails, to at most max_open.
  // A random part of up to a fifth is added, so that processes do not probe in
  // step. Defaults 0.25 s and 10 s. 1 ms … 1 h; min_open … 24 h.
  absl::Duration min_open = absl::Milliseconds(250);
  absl::Duration max_open = absl::Seconds(10);
  // Probes that have to succeed, one after the other, before it closes.
  // Default 2. 1 … 1000.
  int successes_to_close = 2;
  // How long a probe may be out before another one may go. Default 10 s.
  // 1 ms … 1 h.
  absl::Duration probe_lease = absl::Seconds(10);
};

void ValidateBreaker(const BreakerOptions& options, absl::string_view path,
                     std::vector<std::string>* faults);

class CircuitBreaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kHalfOpen };
  enum class Result : uint8_t {
    kSuccess,    // the endpoint answered
    kFailure,    // it did not, or with a failure of its own
    kThrottled,  // it asked for less: alive, but no proof of health
    kNeutral,    // says nothing: cancelled, or never sent
  };
  // Leave for one attempt. Given back exactly once, through Report.
  struct Permit {
    uint64_t generation = 0;
    uint64_t probe = 0;  // which probe; 0: not a probe
  };

  // REQUIRES: options passed ValidateBreaker.
  CircuitBreaker(const BreakerOptions& options, MonotonicTime now);

  // True: one attempt may start, and *permit must be reported. False: nothing
  // may be sent before AdmitTime(now).
  bool Acquire(MonotonicTime now, Permit* permit);

  // The earliest time at which Acquire may succeed; `now` if it would now.
  // While a probe is out: the end of its lease (its report may come sooner).
  MonotonicTime AdmitTime(MonotonicTime now) const;

  // What became of the attempt. `random` in [0, 1) spreads the open time.
  // Returns true if the state changed.
  bool Report(const Permit& permit, Result result, MonotonicTime now,
              double random);

  State state() const { return state_; }
  // When it was opened until; meaningful in kOpen.
  MonotonicTime open_until() const { return open_until_; }
  // False until the first answer of any kind but a failure.
  bool has_answered() const { return has_answered_; }
  const SlidingWindow& window() const { return window_; }

 private:
  void Enter(State state, MonotonicTime now);
  void Open(MonotonicTime now, double random);

  const BreakerOptions options_;
  State state_ = State::kClosed;
  uint64_t generation_ = 1;
  bool has_answered_ = false;
  int64_t failures_in_a_row_ = 0;  // only until has_answered_
  SlidingWindow window_;
  int opened_in_a_row_ = 0;  // times it opened since it was last closed
  MonotonicTime open_until_;
  uint64_t probe_out_ = 0;  // the probe whose report is awaited; 0: none
  uint64_t last_probe_ = 0;
  MonotonicTime lease_until_;
  int probe_successes_ = 0;
};

// "closed", "open", "half-open".
absl::string_view BreakerStateName(CircuitBreaker::State state);

}  // namespace forbear

#endif  // FORBEAR_CORE_CIRCUIT_BREAKER_H_
