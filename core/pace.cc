#include "core/pace.h"

#include <algorithm>
#include <cmath>

namespace forbear {
namespace {

// How much of the bucket is left in it, so that a burst of somebody else's does not
// empty it; what is above is used up over a few fillings.
constexpr double kCushion = 0.1;
constexpr double kFillings = 2.0;

// A timer is late by so much, in seconds.
constexpr double kTimer = 0.005;
// A caller that was late leaves its slot to the next one, up to so much.
constexpr double kCatchUp = 0.1;

// Refuted: more than half a bucket, or two seconds' worth, was admitted beyond what
// it could hold.
constexpr double kRefutedPart = 0.5;
constexpr double kRefutedSeconds = 2.0;
constexpr Pace::Growth kAfterRefuted = {24, 1.0};

}  // namespace

double Pace::Base(MonotonicTime time, const LearnedLimit& limit) const {
  const double x = SecondsBetween(start_, time) / plateau_ - 1;
  return std::min(limit.rate() + limit.doubt() * std::max(-1.0, x * x * x),
                  2 * limit.rate());
}

double Pace::LevelAt(MonotonicTime time, const LearnedLimit& limit) const {
  return std::min(limit.burst(),
                  level_ + SecondsBetween(level_at_, time) * limit.rate());
}

double Pace::RateAt(MonotonicTime time, const LearnedLimit& limit) const {
  if (mode_ == Mode::kSearch) return rate_;
  double rate = Base(time, limit);
  const double cushion = std::max(1.0, kCushion * limit.burst());
  const double level = LevelAt(time, limit);
  if (level > cushion) {
    rate += (level - cushion) /
            std::max(0.5, kFillings * limit.burst() / limit.rate());
  }
  return std::max(rate, 0.2 * limit.rate());
}

void Pace::Search(double rate, const Growth& growth, int64_t volley) {
  mode_ = Mode::kSearch;
  rate_ = rate;
  growth_ = growth;
  volley_ = volley;
}

void Pace::Track(MonotonicTime start, double plateau, double level,
                 MonotonicTime level_at) {
  mode_ = Mode::kTrack;
  volley_ = 0;
  start_ = start;
  plateau_ = plateau;
  level_ = level;
  level_at_ = level_at;
}

void Pace::OnGate() {
  next_ = MonotonicTime::InfinitePast();
  volley_ = 0;
}

void Pace::Resume(MonotonicTime first, MonotonicTime now,
                  const LearnedLimit& limit) {
  last_ = now;
  if (mode_ == Mode::kFree) return;
  next_ = Later(first, now - absl::Seconds(kCatchUp)) +
          absl::Seconds(1 / RateAt(now, limit));
  if (mode_ == Mode::kTrack) {
    level_ = LevelAt(now, limit) - 1;
    level_at_ = now;
  }
}

bool Pace::IsLate(double late, double interval) {
  return late > interval + kTimer;
}

void Pace::Turn(MonotonicTime now, MonotonicTime due, double interval) {
  next_ = Later(due, now - absl::Seconds(std::min(interval, kCatchUp))) +
          absl::Seconds(interval);
}

void Pace::OnSend(MonotonicTime now, MonotonicTime gate, double sent,
                  const LearnedLimit& limit, Spell* spell) {
  if (mode_ == Mode::kFree) return;
  if (volley_ > 0) {
    --volley_;
    next_ = now + absl::Seconds(1 / rate_);
    last_ = now;
    return;
  }
  // Never across a gate: what was not sent while it was shut is not made up for.
  const MonotonicTime due = Later(next_, gate);
  const double late = SecondsBetween(due, now);
  const double interval = 1 / RateAt(now, limit);
  const bool is_late = IsLate(late, interval);
  if (is_late) spell->idle += absl::Seconds(late);
  if (mode_ == Mode::kSearch) {
    if (!is_late && spell->mark_count > 0) {
      rate_ *= std::exp2(std::max(
          1 / growth_.sends,
          std::min(0.5, SecondsBetween(last_, now) / growth_.seconds)));
    }
    spell->NoteRate(rate_, sent + 1, now);
    Turn(now, due, interval);
    last_ = now;
    return;
  }
  if (is_late) start_ = start_ + absl::Seconds(late);
  level_ = LevelAt(now, limit) - 1;
  level_at_ = now;
  Turn(now, due, interval);
  const double most = std::max(2.0, std::min(kRefutedPart * limit.burst(),
                                             kRefutedSeconds * limit.rate()));
  if (level_ >= -most) return;
  spell->ClearMarks();
  Growth growth = kAfterRefuted;
  growth.sends = std::max(growth.sends, 2 * limit.burst());
  Search(std::max(Base(now, limit), limit.rate()), growth, 0);
  spell->NoteRate(rate_, sent + 1, now);
  last_ = now;
}

}  // namespace forbear
