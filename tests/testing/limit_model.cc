#include "tests/testing/limit_model.h"

#include <algorithm>
#include <cmath>

namespace forbear::testing {

absl::Status LimitModel::Check(const Options& options) {
  const auto bad = [](const char* what) {
    return absl::InvalidArgumentError(what);
  };
  // Written so that NaN fails.
  if (!(options.rate > 0)) return bad("rate must be > 0");
  if (!(options.burst >= 1) || std::isinf(options.burst)) {
    return bad("burst must be finite and >= 1");
  }
  if (options.window <= absl::ZeroDuration() ||
      options.window == absl::InfiniteDuration()) {
    return bad("window must be finite and > 0");
  }
  if (options.window_offset < absl::ZeroDuration() ||
      options.window_offset >= options.window) {
    return bad("window_offset must be in [0, window)");
  }
  if (options.penalise && options.limit_kind != Kind::kBucket) {
    return bad("penalise is for buckets");
  }
  absl::Duration last;
  for (const Change& change : options.limit_changes) {
    if (change.at < last || !(change.factor > 0) || std::isinf(change.factor)) {
      return bad(
          "limit_changes must be in the order of time, from 0 on, with finite "
          "factors > 0");
    }
    last = change.at;
  }
  return absl::OkStatus();
}

LimitModel::LimitModel(const Options& options)
    : kind_(options.limit_kind),
      rate_(options.rate),
      burst_(options.limit_kind == Kind::kBucket ? options.burst
                                                 : std::floor(options.burst)),
      window_(options.window),
      penalise_(options.penalise),
      changes_(options.limit_changes),
      window_end_(options.window - options.window_offset) {}

absl::Duration LimitModel::TokenTime() const {
  return absl::Seconds(1 / rate_);
}

void LimitModel::Advance(absl::Duration now) {
  now = std::max(now_, now);
  while (next_change_ < changes_.size() && changes_[next_change_].at <= now) {
    const Change& change = changes_[next_change_++];
    now_ = std::max(now_, change.at);
    if (kind_ == Kind::kBucket) {
      const absl::Duration old = TokenTime();
      rate_ *= change.factor;
      // What was missing then is missing still, and comes at the new pace.
      if (full_at_ > now_) {
        full_at_ =
            now_ + (full_at_ - now_) * absl::FDivDuration(TokenTime(), old);
      }
    } else {
      burst_ = std::max(1.0, std::round(burst_ * change.factor));
    }
  }
  now_ = now;
  if (kind_ == Kind::kFixedWindow && now_ >= window_end_) {
    const int64_t whole = (now_ - window_end_) / window_;
    window_end_ += (whole + 1) * window_;
    in_window_ = 0;
  }
  if (kind_ == Kind::kSlidingWindow) {
    while (!in_.empty() && in_.front() <= now_ - window_) in_.pop_front();
  }
}

absl::Duration LimitModel::Wait() const {
  switch (kind_) {
    case Kind::kBucket: {
      if (std::isinf(rate_)) return absl::ZeroDuration();
      // In times, not in tokens: exact, so that who comes back after the wait
      // finds its token.
      const absl::Duration wait =
          std::max(full_at_, now_) + TokenTime() - burst_ * TokenTime() - now_;
      return std::max(wait, absl::ZeroDuration());
    }
    case Kind::kFixedWindow:
      return in_window_ < static_cast<int64_t>(burst_) ? absl::ZeroDuration()
                                                       : window_end_ - now_;
    case Kind::kSlidingWindow: {
      const auto most = static_cast<size_t>(burst_);
      // After a change downwards more than one must leave.
      return in_.size() < most ? absl::ZeroDuration()
                               : in_[in_.size() - most] + window_ - now_;
    }
  }
  return absl::ZeroDuration();
}

LimitModel::Answer LimitModel::Ask(absl::Duration now) {
  Advance(now);
  Answer answer;
  answer.wait = Wait();
  answer.admitted = answer.wait <= absl::ZeroDuration();
  double left = 0;
  switch (kind_) {
    case Kind::kBucket:
      if (std::isinf(rate_)) break;
      if (answer.admitted) {
        full_at_ = std::max(full_at_, now_) + TokenTime();
      } else if (penalise_) {
        full_at_ = std::min(std::max(full_at_, now_) + TokenTime(),
                            now_ + 2 * burst_ * TokenTime());
        answer.wait = Wait();
      }
      answer.reset = std::max(full_at_ - now_, absl::ZeroDuration());
      left = burst_ - absl::FDivDuration(answer.reset, TokenTime());
      break;
    case Kind::kFixedWindow:
      if (answer.admitted) ++in_window_;
      answer.reset = window_end_ - now_;
      left = burst_ - static_cast<double>(in_window_);
      break;
    case Kind::kSlidingWindow:
      if (answer.admitted) in_.push_back(now_);
      answer.reset = in_.back() + window_ - now_;
      left = burst_ - static_cast<double>(in_.size());
      break;
  }
  answer.limit = static_cast<int64_t>(burst_);
  // A token that is there but for rounding is there.
  answer.remaining = static_cast<int64_t>(std::max(0.0, left + 1e-6));
  return answer;
}

absl::Duration LimitModel::Earliest(absl::Duration now) const {
  LimitModel copy = *this;
  copy.Advance(now);
  for (;;) {
    const absl::Duration earliest = copy.now_ + copy.Wait();
    if (copy.next_change_ == copy.changes_.size() ||
        copy.changes_[copy.next_change_].at > earliest) {
      return earliest;
    }
    copy.Advance(copy.changes_[copy.next_change_].at);
  }
}

}  // namespace forbear::testing
