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
    : options_(options), window_(options.window, now) {}

bool CircuitBreaker::Acquire(MonotonicTime now, Permit* permit) {
  if (AdmitTime(now) > now) return false;
  if (state_ == State::kOpen) Enter(State::kHalfOpen, now);
  permit->generation = generation_;
  permit->probe = 0;
  if (state_ == State::kHalfOpen) {
    permit->probe = probe_out_ = ++last_probe_;
    lease_until_ = now + options_.probe_lease;
  }
  return true;
}

MonotonicTime CircuitBreaker::AdmitTime(MonotonicTime now) const {
  switch (state_) {
    case State::kClosed:
      break;
    case State::kOpen:
      return Later(now, open_until_);
    case State::kHalfOpen:
      if (probe_out_ != 0) return Later(now, lease_until_);
      break;
  }
  return now;
}

bool CircuitBreaker::Report(const Permit& permit, Result result,
                            MonotonicTime now, double random) {
  if (!options_.enabled || permit.generation != generation_) return false;
  if (result == Result::kSuccess || result == Result::kThrottled) {
    has_answered_ = true;
  }

  if (state_ == State::kHalfOpen) {
    // A probe whose lease ran out while another one went may still bring news;
    // only the newest one holds the slot.
    if (permit.probe == probe_out_) probe_out_ = 0;
    switch (result) {
      case Result::kSuccess:
      case Result::kThrottled:
        if (++probe_successes_ < options_.successes_to_close) return false;
        opened_in_a_row_ = 0;
        Enter(State::kClosed, now);
        return true;
      case Result::kFailure:
        Open(now, random);
        return true;
      case Result::kNeutral:
        return false;
    }
  }

  // Closed; Open issues no permits of its own generation.
  if (result != Result::kSuccess && result != Result::kFailure) return false;
  const bool failure = result == Result::kFailure;
  window_.Add(now, failure);
  if (!has_answered_) ++failures_in_a_row_;
  const bool never_answered =
      !has_answered_ && failures_in_a_row_ >= options_.first_failures;
  const bool ratio_reached =
      window_.total() >= options_.min_calls &&
      static_cast<double>(window_.failures()) >=
          options_.failure_ratio * static_cast<double>(window_.total());
  // Only a failure opens it: a success may complete the minimum of calls, but
  // to open on good news would surprise everyone who reads the record.
  if (!failure || !(never_answered || ratio_reached)) return false;
  Open(now, random);
  return true;
}

void CircuitBreaker::Enter(State state, MonotonicTime now) {
  state_ = state;
  ++generation_;
  probe_out_ = 0;
  probe_successes_ = 0;
  failures_in_a_row_ = 0;
  window_.Clear(now);
}

void CircuitBreaker::Open(MonotonicTime now, double random) {
  Enter(State::kOpen, now);
  const double doubled = std::min(absl::ToDoubleSeconds(options_.max_open),
                                  absl::ToDoubleSeconds(options_.min_open) *
                                      std::pow(2.0, opened_in_a_row_));
  opened_in_a_row_ = std::min(opened_in_a_row_ + 1, 64);
  open_until_ = now + absl::Seconds(doubled * (1.0 + 0.2 * random));
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

}  // namespace forbear
