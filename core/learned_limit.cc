#include "core/learned_limit.h"

#include <algorithm>
#include <cmath>

namespace forbear {
namespace {

// Less than this is no time to measure in: a timer's error is a part of it.
constexpr double kShortest = 0.02;
// A lesson is never sure to more than a hundredth.
constexpr double kLeastDoubt = 0.01;
// A count over an active part that began with a full bucket is less sure: B is.
constexpr double kSpillDoubt = 1.5;
// A bucket that nobody asked for a while may have been full sooner than a first lesson
// knows: the rate may be higher, by this part of the silence.
constexpr double kSilentDoubt = 0.6;
// What is pooled is halved when it is older than this.
constexpr double kForget = 20.0;
// A bucket that should hold more than so much, and refuses, is a surprise.
constexpr double kSurprise = 1.5;

// The times of a lesson, in seconds.
struct Times {
  explicit Times(const LearnedLimit::Lesson& x)
      : whole(std::max(SecondsBetween(*x.spell.start, x.end), 1e-3)),
        idle(std::min(absl::ToDoubleSeconds(x.spell.idle), 1e9)),
        away(std::min(absl::ToDoubleSeconds(x.spell.away), 1e9)),
        silent(std::max(0.0, SecondsBetween(*x.spell.start, *x.spell.first)) +
               idle),
        active(std::max(whole - silent, 1e-3)) {}
  double whole;
  double idle;
  double away;
  double silent;
  double active;
};

}  // namespace

void LearnedLimit::OnFirst(double admitted, double seconds) {
  first_admitted_ = admitted;
  first_seconds_ = std::max(seconds, 1e-3);
}

void LearnedLimit::Adopt(double rate, double burst) {
  if (known() || rate <= 0) return;
  rate_ = rate;
  doubt_ = 0.1 * rate;
  burst_ = std::max(1.0, burst);
}

void LearnedLimit::Doubt() {
  if (known()) doubt_ = std::min(0.5 * rate_, 1.5 * doubt_);
}

bool LearnedLimit::Agree(double a, double b, double doubts) {
  return std::fabs(a - b) <= 1.5 * doubts;
}

LearnedLimit::Measure LearnedLimit::Measured(const Lesson& lesson,
                                             bool* spilled) const {
  const Times t(lesson);
  const auto n = static_cast<double>(lesson.spell.admitted);
  const double whole_rate = n / t.whole;
  Measure m{whole_rate, t.whole, 1 / t.whole};
  bool overflowed = false;
  if (!known()) {
    const double burst =
        std::max(1.0, first_admitted_ - m.rate * first_seconds_);
    const double over = t.whole - t.silent - first_seconds_;
    if (m.rate * t.silent > burst && over > kShortest && n > first_admitted_) {
      m = {std::max(m.rate, (n - first_admitted_) / over), over,
           kSpillDoubt / over};
    } else {
      m.doubt = std::max(m.doubt, kSilentDoubt * m.rate * t.silent / t.whole);
    }
  } else if ((surprises_ < 2 ? rate_ : m.rate) * t.silent > burst_ &&
             t.whole - t.silent > 1e-3) {
    overflowed = true;
    const double active_rate = (n - burst_) / t.active;
    if (surprises_ < 2 || active_rate > m.rate) {
      m = {std::max(m.rate, active_rate), t.active, kSpillDoubt / t.active};
    }
  }

  // The end of a search, where the pace was near the limit: before, the bucket
  // spilled, and the whole spell says too little.
  const double burst =
      known() ? burst_
              : std::max(1.0, first_admitted_ - m.rate * first_seconds_);
  bool marked = false;
  double marked_rate = 0;  // what was admitted in that part
  for (size_t i = 0; i < lesson.spell.mark_count; ++i) {
    const Spell::Mark& mark = lesson.spell.marks[i];
    const double since = n - mark.sent;
    const double over = SecondsBetween(mark.time, lesson.end);
    if (since < 2 * burst + 3 || over <= kShortest) continue;
    const double rate = (since - burst) / over;
    if (rate <= m.rate) continue;
    m = {rate, over, kSpillDoubt / over};
    marked = true;
    marked_rate = since / over;
  }

  // Never above what was measured.
  m.rate = std::min(m.rate, std::max(lesson.pace, whole_rate));
  m.rate = std::min(m.rate, std::max(n / t.active, marked_rate));
  *spilled = marked || overflowed || m.rate * t.silent > 0.8 * burst_;
  return m;
}

void LearnedLimit::Pool(const Lesson& lesson, Measure* measure) {
  const double over =
      pooled_from_.has_value() ? SecondsBetween(*pooled_from_, lesson.end) : 0;
  if (over <= kShortest) {
    pooled_from_ = lesson.end;
    pooled_ = 0;
    return;
  }
  pooled_ += static_cast<double>(lesson.spell.admitted);
  const double rate = pooled_ / over;
  const double doubt = 1 / over;
  if (!Agree(rate, measure->rate, doubt + measure->doubt)) {
    pooled_from_ = lesson.spell.start;
    pooled_ = static_cast<double>(lesson.spell.admitted);
  } else {
    *measure = {rate, std::max(measure->over, std::min(over, 10.0)), doubt};
    // It holds what is known already: not to be weighed against it.
    if (Agree(rate, rate_, doubt + doubt_)) {
      rate_ = rate;
      doubt_ = std::max(doubt_, doubt);
    }
    if (over > kForget) {
      pooled_from_ = *pooled_from_ + absl::Seconds(over / 2);
      pooled_ /= 2;
    }
  }
}

void LearnedLimit::Merge(const Measure& measure, const Lesson& lesson) {
  const Times t(lesson);
  const double rate = measure.rate;
  const double doubt = std::min(measure.doubt, 0.6 * rate);
  const bool agrees = Agree(rate, rate_, measure.doubt + doubt_);
  if (!known()) {
    rate_ = rate;
    doubt_ = doubt;
    burst_ = std::max(
        {1.0, 0.3 * first_admitted_, first_admitted_ - rate * first_seconds_});
  } else if (!lesson.tracked) {
    // A search ends where the limit is, or above it.
    if (rate > rate_ || !agrees) {
      rate_ = rate;
      doubt_ = doubt;
    }
  } else if (t.idle + t.away > 0.25 * t.whole) {
    // It measured the callers rather than the server.
    if (rate < rate_) rate_ = std::max(rate, 0.85 * rate_);
    doubt_ = std::max(doubt_, 0.05 * rate_);
  } else if (agrees) {
    const double old_weight = 1 / (doubt_ * doubt_);
    const double new_weight = 1 / (measure.doubt * measure.doubt);
    rate_ =
        (rate_ * old_weight + rate * new_weight) / (old_weight + new_weight);
    doubt_ = 1 / std::sqrt(old_weight + new_weight);
  } else {
    rate_ = rate;
    doubt_ = doubt;
  }
}

void LearnedLimit::Learn(const Lesson& lesson) {
  const bool surprise = known() && lesson.tracked && lesson.level > kSurprise;
  surprises_ = surprise ? surprises_ + 1 : 0;
  bool spilled = false;
  Measure measure = Measured(lesson, &spilled);
  if (spilled) {
    pooled_from_ = lesson.end;
    pooled_ = 0;
  } else {
    Pool(lesson, &measure);
  }
  Merge(measure, lesson);

  const Times t(lesson);
  const auto n = static_cast<double>(lesson.spell.admitted);
  const double active = t.whole - t.silent;
  // Refused again and again after next to nothing: whatever was learned is too
  // much.
  if ((n < std::min(burst_, 20.0) + 5 && active < 1) || active < 0.3) {
    if (++short_runs_ >= 2) {
      rate_ = std::max(n / t.whole, 0.7 * rate_);
      doubt_ = std::max(doubt_, 0.3 * rate_);
      pooled_from_.reset();
    }
  } else {
    short_runs_ = 0;
  }
  if (surprises_ == 1) doubt_ = std::min(1.5 * doubt_, 0.5 * rate_);
  doubt_ = std::max(doubt_, kLeastDoubt * rate_);
  measured_over_ = measure.over;
}

}  // namespace forbear
