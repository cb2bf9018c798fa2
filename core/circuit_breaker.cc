#include "core/circuit_breaker.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateBreaker(const BreakerOptions& options, absl::string_view path,
                     std::vector<std::string>* faults) {
  CheckNumber(absl::StrCat(path, ".failure_ratio"), options.failure_ratio, 0.01,
              1.0, faults);
  CheckNumber(absl::StrCat(path, ".min_calls"), options.min_calls, 1, 1000000,
              faults);
  CheckDuration(absl::StrCat(path, ".window"), options.window, absl::Seconds(1),
                absl::Hours(1), faults);
  CheckNumber(absl::StrCat(path, ".run_failures"), options.run_failures, 0,
              1000000, faults);
  CheckDuration(absl::StrCat(path, ".run_time"), options.run_time,
                absl::ZeroDuration(), absl::Hours(1), faults);
  CheckNumber(absl::StrCat(path, ".consecutive_failures"),
              options.consecutive_failures, 0, 1000000, faults);
  CheckDuration(absl::StrCat(path, ".slow_call"), options.slow_call,
                absl::Milliseconds(1), absl::InfiniteDuration(), faults);
  CheckNumber(absl::StrCat(path, ".slow_ratio"), options.slow_ratio, 0.01, 1.0,
              faults);
  CheckNumber(absl::StrCat(path, ".first_failures"), options.first_failures, 1,
              1000000, faults);
  CheckDuration(absl::StrCat(path, ".min_open"), options.min_open,
                absl::Milliseconds(1), absl::Hours(1), faults);
  CheckDuration(absl::StrCat(path, ".max_open"), options.max_open,
                options.min_open, absl::Hours(24), faults);
  CheckNumber(absl::StrCat(path, ".successes_to_close"),
              options.successes_to_close, 1, 1000, faults);
  CheckDuration(absl::StrCat(path, ".probe_lease"), options.probe_lease,
                absl::Milliseconds(1), absl::Hours(1), faults);
}

CircuitBreaker::CircuitBreaker(const BreakerOptions& options, MonotonicTime now)
    : options_(options),
      counts_slow_(options.slow_call < absl::InfiniteDuration()),
      window_(options.window, now) {}

bool CircuitBreaker::Acquire(MonotonicTime now, Permit* permit,
                             Patience patience) {
  if (AdmitTime(now, patience) > now) return false;
  if (state_ == State::kOpen) Enter(State::kHalfOpen, now);
  permit->generation = generation_;
  permit->probe = 0;
  if (state_ == State::kHalfOpen) {
    permit->probe = probe_out_ = ++last_probe_;
    lease_until_ = now + options_.probe_lease;
  }
  return true;
}

MonotonicTime CircuitBreaker::AdmitTime(MonotonicTime now,
                                        Patience patience) const {
  switch (state_) {
    case State::kClosed:
      break;
    case State::kOpen:
      return Later(now, open_until(patience));
    case State::kHalfOpen:
      if (probe_out_ != 0) return Later(now, lease_until_);
      break;
  }
  return now;
}

bool CircuitBreaker::Report(const Permit& permit, Result result,
                            MonotonicTime now, double random,
                            MonotonicTime started) {
  if (!options_.enabled || permit.generation != generation_) return false;
  const bool alive = IsAlive(result);
  if (alive) has_answered_ = true;
  const bool counts = result == Result::kSuccess || result == Result::kFailure;
  const bool slow =
      counts_slow_ && counts && now - started >= options_.slow_call;
  const bool failure = result == Result::kFailure;

  if (state_ == State::kHalfOpen) {
    // A probe whose lease ran out while another one went may still bring news;
    // only the newest one holds the slot.
    if (permit.probe == probe_out_) probe_out_ = 0;
    if (failure || slow) {
      Open(now, random);
      return true;
    }
    if (!alive || ++probe_successes_ < options_.successes_to_close) {
      return false;
    }
    opened_in_a_row_ = 0;
    Enter(State::kClosed, now);
    return true;
  }

  // Closed; Open issues no permits of its own generation.
  if (alive) run_ = 0;
  if (!counts) return false;
  window_.Add(now, failure, slow);
  if (failure && run_++ == 0) run_since_ = now;
  // Only bad news opens it: a success may complete the minimum of calls, but to
  // open on good news would surprise everyone who reads the record.
  if (!(failure || slow) || forced_ == Forced::kClosed ||
      !IsTooMuch(failure, slow, now)) {
    return false;
  }
  Open(now, random);
  return true;
}

bool CircuitBreaker::IsTooMuch(bool failure, bool slow,
                               MonotonicTime now) const {
  const bool enough = window_.total() >= options_.min_calls;
  const auto total = static_cast<double>(window_.total());
  if (slow && enough &&
      static_cast<double>(window_.slow()) >= options_.slow_ratio * total) {
    return true;
  }
  if (!failure) return false;
  if (!has_answered_ && run_ >= options_.first_failures) return true;
  if (options_.consecutive_failures > 0) {
    return run_ >= options_.consecutive_failures;
  }
  if (enough && static_cast<double>(window_.failures()) >=
                    options_.failure_ratio * total) {
    return true;
  }
  return options_.run_failures > 0 && run_ >= options_.run_failures &&
         now - run_since_ >= options_.run_time;
}

bool CircuitBreaker::Force(Forced forced, MonotonicTime now) {
  if (forced == forced_) return false;
  const Forced before = forced_;
  forced_ = forced;
  opened_in_a_row_ = 0;
  if (forced == Forced::kOpen) {
    Enter(State::kOpen, now);
    open_until_ = probe_at_ = MonotonicTime::Infinite();
  } else if (forced == Forced::kAuto && before == Forced::kOpen &&
             options_.enabled) {
    // Nobody knows how it is: a probe may find out now.
    Enter(State::kOpen, now);
    open_until_ = now;
  } else {
    Enter(State::kClosed, now);
  }
  return true;
}

bool CircuitBreaker::Reconfigure(const BreakerOptions& options,
                                 MonotonicTime now) {
  if (options.window != options_.window) window_.Resize(options.window, now);
  options_ = options;
  counts_slow_ = options.slow_call < absl::InfiniteDuration();
  if (options.enabled || forced_ != Forced::kAuto || state_ == State::kClosed) {
    return false;
  }
  opened_in_a_row_ = 0;
  Enter(State::kClosed, now);
  return true;
}

void CircuitBreaker::Enter(State state, MonotonicTime now) {
  state_ = state;
  ++generation_;
  probe_out_ = 0;
  probe_successes_ = 0;
  run_ = 0;
  window_.Clear(now);
}

void CircuitBreaker::Open(MonotonicTime now, double random) {
  Enter(State::kOpen, now);
  const double doubled = std::min(absl::ToDoubleSeconds(options_.max_open),
                                  absl::ToDoubleSeconds(options_.min_open) *
                                      std::pow(2.0, opened_in_a_row_));
  opened_in_a_row_ = std::min(opened_in_a_row_ + 1, 64);
  const double spread = 1.0 + 0.2 * random;
  open_until_ = now + absl::Seconds(doubled * spread);
  probe_at_ = now + kLongestWithWaiters * spread;
}

absl::string_view BreakerStateName(CircuitBreaker::State state) {
  switch (state) {
    case CircuitBreaker::State::kClosed:
      return "closed";
    case CircuitBreaker::State::kOpen:
      return "open";
    case CircuitBreaker::State::kHalfOpen:
      return "half-open";
  }
  return "?";
}

absl::string_view ForcedName(CircuitBreaker::Forced forced) {
  switch (forced) {
    case CircuitBreaker::Forced::kAuto:
      return "auto";
    case CircuitBreaker::Forced::kOpen:
      return "open";
    case CircuitBreaker::Forced::kClosed:
      return "closed";
  }
  return "?";
}

}  // namespace forbear
