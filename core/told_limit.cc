#include "core/told_limit.h"

#include <algorithm>
#include <cmath>

namespace forbear {
namespace {

// An interval of rates that is narrower than this is believed; one that has become
// wider than the second is not any more.
constexpr double kTight = 1.7;
constexpr double kLoose = 2.5;
// Contradicted by more than this.
constexpr double kTolerance = 0.02;
// A token, and so much of the next: sends arrive unevenly.
constexpr double kNeeded = 1.25;
// What remains of a window comes back when it is over, on the server's clock.
constexpr absl::Duration kWindowMargin = absl::Milliseconds(2);
constexpr int kMaxStrikes = 3;
constexpr absl::Duration kDistrust = absl::Seconds(60);

// Whole seconds are probably rounded.
double CoarsenessOf(double reset) {
  return reset >= 1 && std::fabs(reset - std::round(reset)) < 1e-9 ? 1.0
                                                                   : 0.001;
}

}  // namespace

double ToldLimit::rate() const {
  if (slowest_ > 0) return slowest_;
  return std::isinf(fastest_) ? 0 : 0.5 * fastest_;
}

double ToldLimit::LevelAt(MonotonicTime t) const {
  return std::min(limit_,
                  level_ + rate() * share_ * SecondsBetween(level_at_, t));
}

MonotonicTime ToldLimit::Earliest(MonotonicTime t, uint64_t sent) const {
  if (window_) {
    const double left = remaining_ - static_cast<double>(sent - number_);
    return t < reset_at_ && left < 1 + (1 - share_) * remaining_
               ? reset_at_ + kWindowMargin
               : t;
  }
  const double refill = rate() * share_;
  if (refill <= 0 || limit_ < kNeeded) return t;
  // Whenever it is asked: or a timer would be off by rounding.
  return Later(t, level_at_ + absl::Seconds((kNeeded - level_) / refill) +
                      absl::Microseconds(1));
}

void ToldLimit::OnSend(MonotonicTime now, uint64_t number) {
  if (!window_) {
    level_ = LevelAt(now) - 1;
    level_at_ = now;
  } else if (now >= reset_at_) {
    // A new window, of which no answer has told yet.
    remaining_ = limit_;
    number_ = number - 1;
    reset_at_ = now + absl::Seconds(std::max(length_, 0.5));
  }
}

void ToldLimit::JudgeWindow(double limit, double debt, double reset,
                            double coarse, MonotonicTime reset_at) {
  if (limit != limit_ || debt <= debt_ || reset <= 0) return;
  // By how much a bucket's reset would have moved on.
  const double moves = (debt - debt_) * reset / debt;
  if (moves <= std::max(2 * coarse, 0.02)) return;
  const bool stays = SecondsBetween(reset_at_, reset_at) < 0.3 * moves;
  window_score_ = std::clamp(window_score_ + (stays ? 1 : -1), -4, 4);
  window_ = window_score_ >= 2;
}

void ToldLimit::Narrow(double debt, double reset, double coarse) {
  const double slowest = (debt - 1) / reset;
  const double fastest = debt / std::max(reset - coarse, 1e-3);
  if (slowest > fastest_ * (1 + kTolerance) ||
      fastest < slowest_ * (1 - kTolerance)) {
    slowest_ = slowest;
    fastest_ = fastest;
  } else {
    slowest_ = std::max(slowest_, slowest);
    fastest_ = std::min(fastest_, fastest);
  }
}

void ToldLimit::OnAdmitted(uint64_t number) {
  share_ = std::min(most_share_, share_ + 0.02);
  if (strikes_ > 0 && number % 16 == 0) --strikes_;
}

void ToldLimit::OnTold(const LimitStand& stand, uint64_t number,
                       MonotonicTime left, uint64_t sent, MonotonicTime now) {
  // An answer that was overtaken tells of the past.
  if (now < distrusted_until_ || number < number_) return;
  const auto limit = static_cast<double>(stand.limit);
  const auto remaining = static_cast<double>(stand.remaining);
  const double debt = limit - remaining;
  const double reset = absl::ToDoubleSeconds(stand.reset);
  if (limit < 1 || remaining < 0 || debt < 1 || !(reset > 0) ||
      std::isinf(reset)) {
    return;
  }
  const double coarse = CoarsenessOf(reset);
  const MonotonicTime reset_at = now + stand.reset;
  JudgeWindow(limit, debt, reset, coarse, reset_at);
  Narrow(debt, reset, coarse);
  const double since = static_cast<double>(sent - number);
  if (!known_) {
    known_ = window_ || fastest_ <= kTight * slowest_;
    level_ = remaining - since;
    level_at_ = now;
  } else if (!window_) {
    known_ = fastest_ <= kLoose * slowest_;
  }
  length_ = std::max(0.9 * length_, reset);
  limit_ = limit;
  debt_ = debt;
  remaining_ = remaining;
  number_ = number;
  reset_at_ = reset_at;
  if (!known_) return;
  // What it says of then, and what left since; but not much above what was counted
  // along, which others may have used.
  const double now_there =
      remaining + rate() * SecondsBetween(left, now) - since;
  level_ = std::min({limit, now_there, LevelAt(now) + 0.5});
  level_at_ = now;
}

bool ToldLimit::OnRefused(uint64_t sent, MonotonicTime now) {
  if (++strikes_ >= kMaxStrikes) {
    known_ = false;
    distrusted_until_ = now + kDistrust;
    return false;
  }
  share_ = std::max(0.1 * most_share_, 0.7 * share_);
  remaining_ = 0;
  number_ = sent;
  level_ = std::min(level_, 0.0);
  level_at_ = now;
  return true;
}

}  // namespace forbear
