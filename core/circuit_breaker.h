// CircuitBreaker: stops sending to an endpoint that keeps failing, and finds
// out with single probes when it is well again. The open time grows with each probe
// that fails; but while somebody waits, which costs the one who waits more than a
// probe costs the endpoint, it is a second at most.
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
//            too many failures (below)
//   Closed ────────────────────────────────────────────────────────► Open
//     ▲                                                              │ open time
//     │ successes_to_close probes in a row        a probe failed     ▼
//     └──────────────────────────────── HalfOpen ◄──────────────► (probes)
//
// What counts: 5xx, UNAVAILABLE, resets and time-outs are failures. An answer
// of any other kind is a success, also a 404: the endpoint lives. A throttled
// answer is neither in Closed (a rate limit is no outage; the gate handles it)
// and proves life in HalfOpen. A cancelled attempt says nothing. An attempt counts
// when it has ended; a probe whose answer has begun well counts then (core/endpoint.h).
//
// What opens it, each on its own:
//   - the ratio: a part of the window's calls failed. The usual way; but with
//     hundreds of good answers in the window an outage has to fail as many
//     again before half of them is reached;
//   - a run of failures: so many one after the other, no other answer between,
//     over some time at least. It ends what the ratio is slow to see: an outage
//     in busy traffic. By chance it hardly ever happens: at independent failures
//     of a part p, a run of N comes once in 1 / ((1 - p) · p^N) calls. With N =
//     10, at 100 calls a second, that is once in 3.5 years at p = 10 %, in 34
//     hours at 20 %, in 40 minutes at 30 %, and costs a pause of a second. The time
//     is there because one event may fail many calls in an instant: a connection
//     that breaks under a hundred streams is no outage yet. (At 1,000 calls a
//     second it makes a run a hundred long.);
//   - the first few calls of an endpoint that never answered all failed;
//   - slow calls, if asked for: a part of the window's calls lasted too long;
//   - consecutive mode, if asked for: a few failures in a row, instead of ratio
//     and run. Short runs happen by chance: five in a row (pybreaker's default,
//     with its open time of 60 s) refuse two thirds of all calls if 20 % fail at
//     random, at 100 calls a second. For endpoints that either work or do not.
// Only bad news opens it: a success may complete the minimum of calls, and the
// next failure opens it.
//
// Forced. An operator may hold it open (nothing is sent, for maintenance) or
// closed (it counts and does not open). Back to kAuto, what was held open is
// probed first, and what was held closed starts with an empty window.
//
// Invariants:
//  1. A permit moves the state only while the state it was issued in lasts
//     (`generation`): an attempt that started before the breaker opened cannot
//     close or re-open it.
//  2. A probe that is never reported costs one lease, not the endpoint: after
//     `probe_lease` another probe may go.
//  3. Open never ends before the server's own wait, when it gave one (the
//     caller adds its gate; see core/endpoint.h).
//  4. An endpoint that is well again closes it, from every state, unless it is
//     forced open.
//
// Sources: the ratio mode of resilience4j and Polly (50 % of at least 10 calls
// in 30 s: paid APIs see few calls, so their minimum of 100 would never be
// met); slow calls as in resilience4j; consecutive mode as in gobreaker; growing
// open time as in brpc; leased probes and the run are our own.
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
  // Opens also after so many failures in a row … Default 10: twenty callers of
  // three attempts each are not to have used them up by then. 0: never.
  // 0 … 1,000,000.
  int run_failures = 10;
  // … the last of them at least so long after the first. Default 100 ms.
  // 0 … 1 h.
  absl::Duration run_time = absl::Milliseconds(100);
  // Consecutive mode: opens after so many failures in a row, and by neither
  // ratio nor run. Default 0: off. 0 … 1,000,000.
  int consecutive_failures = 0;
  // An attempt that lasts at least so long counts as slow, if it ends as a
  // success or a failure. Default infinite: none does. 1 ms … infinite.
  absl::Duration slow_call = absl::InfiniteDuration();
  // Opens when at least this part of the window's calls, of at least min_calls,
  // was slow. Default 0.5. 0.01 … 1. A slow probe counts as failed.
  double slow_ratio = 0.5;
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
  static bool IsAlive(Result result) {
    return result == Result::kSuccess || result == Result::kThrottled;
  }
  // What an operator wants.
  enum class Forced : uint8_t {
    kAuto,    // nothing: it decides by itself
    kOpen,    // nothing is sent
    kClosed,  // everything is sent
  };
  // Leave for one attempt. Given back exactly once, through Report.
  struct Permit {
    uint64_t generation = 0;
    uint64_t probe = 0;  // which probe; 0: not a probe
  };

  // REQUIRES: options passed ValidateBreaker.
  CircuitBreaker(const BreakerOptions& options, MonotonicTime now);

  // Whether somebody waits for the endpoint to be well again, or will be refused if
  // it may not send now. While somebody waits, it is probed every second at least.
  enum class Patience : uint8_t { kNone, kWaits };
  static constexpr absl::Duration kLongestWithWaiters = absl::Seconds(1);

  // True: one attempt may start, and *permit must be reported. False: nothing
  // may be sent before AdmitTime(now).
  bool Acquire(MonotonicTime now, Permit* permit,
               Patience patience = Patience::kNone);

  // The earliest time at which Acquire may succeed; `now` if it would now.
  // While a probe is out: the end of its lease (its report may come sooner).
  // Infinite() while it is forced open.
  MonotonicTime AdmitTime(MonotonicTime now,
                          Patience patience = Patience::kNone) const;

  // What became of the attempt, which was sent at `started` (only slow_call asks
  // for it). `random` in [0, 1) spreads the open time. Returns true if the state
  // changed.
  bool Report(const Permit& permit, Result result, MonotonicTime now,
              double random, MonotonicTime started = MonotonicTime::Infinite());

  // Whether a success now changes nothing but the window, and whatever ends
  // Acquire says yes (core/open_lane.h).
  bool IsCalm() const {
    return state_ == State::kClosed && run_ == 0 && !counts_slow_ &&
           (has_answered_ || !options_.enabled);
  }
  // So many successes, reported while it was calm and no later than
  // window().newest_end().
  void ReportCalm(int64_t successes) {
    if (options_.enabled) window_.AddGood(successes);
  }
  // Whether it matters how long an attempt takes.
  bool counts_slow() const { return counts_slow_; }
  // Of the permits that Acquire gives now.
  uint64_t generation() const { return generation_; }

  // For operators. Returns true if the state may have changed.
  bool Force(Forced forced, MonotonicTime now);

  // New options for the same state: an open time that has begun stays as long as
  // it is, the window keeps what is in it (SlidingWindow::Resize). One that is
  // not enabled any more closes, unless it is forced. Returns true if the state
  // changed.
  // REQUIRES: options passed ValidateBreaker.
  bool Reconfigure(const BreakerOptions& options, MonotonicTime now);

  State state() const { return state_; }
  Forced forced() const { return forced_; }
  // When it was opened until; meaningful in kOpen. Infinite() if forced.
  MonotonicTime open_until(Patience patience = Patience::kNone) const {
    return patience == Patience::kWaits ? Earlier(open_until_, probe_at_)
                                        : open_until_;
  }
  // False until the first answer of any kind but a failure.
  bool has_answered() const { return has_answered_; }
  const SlidingWindow& window() const { return window_; }
  // Failures since the last answer of another kind, while closed.
  int64_t run() const { return run_; }

 private:
  void Enter(State state, MonotonicTime now);
  void Open(MonotonicTime now, double random);
  bool IsTooMuch(bool failure, bool slow, MonotonicTime now) const;

  BreakerOptions options_;
  State state_ = State::kClosed;
  Forced forced_ = Forced::kAuto;
  bool has_answered_ = false;
  bool counts_slow_ = false;
  uint64_t generation_ = 1;
  int64_t run_ = 0;
  MonotonicTime run_since_;  // when the first of them ended
  SlidingWindow window_;
  int opened_in_a_row_ = 0;  // times it opened since it was last closed
  MonotonicTime open_until_;
  MonotonicTime probe_at_ = MonotonicTime::Infinite();  // if somebody waits
  uint64_t probe_out_ = 0;  // the probe whose report is awaited; 0: none
  uint64_t last_probe_ = 0;
  MonotonicTime lease_until_;
  int probe_successes_ = 0;
};

// "closed", "open", "half-open".
absl::string_view BreakerStateName(CircuitBreaker::State state);
// "auto", "open", "closed".
absl::string_view ForcedName(CircuitBreaker::Forced forced);

}  // namespace forbear

#endif  // FORBEAR_CORE_CIRCUIT_BREAKER_H_
