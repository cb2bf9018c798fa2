// LearnedLimit: the server's bucket as far as its refusals have taught it: so many a
// second (rate), so many at once (burst).
//
// A refusal says that the bucket was empty when it came. From one such moment to the
// next (core/spell.h), a bucket of rate R and size B that got nothing for g seconds
// of the e in between has admitted
//     n = R·e,                    if it did not fill up in the silence (R·g < B);
//     n = B + R·(e − g),          if it did: the rest was spilled.
// The first spell began with a full bucket, so n₁ = B + R·t₁; the second has two
// unknowns less. Two refusals suffice; what follows measures again.
//
// How sure. A count is off by one at most, so a rate measured over e seconds is off
// by 1/e: `doubt`. Lessons that agree within their doubts are averaged by them, others
// replace what was known: a limit may have been changed. Lessons of several spells in
// a row are pooled, over at most some twenty seconds: what is older is forgotten
// slowly.
//
// Invariants. rate and doubt are positive and finite, burst at least 1. No lesson
// raises the rate above what was admitted in the time that it measured.
//
//   LearnedLimit limit;
//   limit.OnFirst(12, 0.4);          // 12 calls in 0.4 s, and then a refusal
//   limit.Learn(lesson);             // the next one
//   limit.rate();                    // per second; 0: not known yet
//
// Bounds: constant space and time. Thread rule: not thread-safe; Pacer owns one.
#ifndef FORBEAR_CORE_LEARNED_LIMIT_H_
#define FORBEAR_CORE_LEARNED_LIMIT_H_

#include <limits>
#include <optional>

#include "core/spell.h"
#include "core/time.h"

namespace forbear {

class LearnedLimit {
 public:
  // A spell that has ended, with what its end was like.
  struct Lesson {
    Spell spell;        // with start and first
    MonotonicTime end;  // when the bucket was empty again
    // The pace at which the refused send left; infinite: it was not spaced.
    double pace = std::numeric_limits<double>::infinity();
    // What the bucket held then, if the limit is what it was thought to be.
    double level = 0;
    // Callers left at the learned rate, rather than looking for it.
    bool tracked = false;
  };

  bool known() const { return rate_ > 0; }
  double rate() const { return rate_; }    // per second
  double doubt() const { return doubt_; }  // per second
  double burst() const { return burst_; }
  // Refusals in a row that came although the bucket should not have been empty.
  int surprises() const { return surprises_; }
  // Over how long the last lesson measured, in seconds.
  double measured_over() const { return measured_over_; }

  // The first spell: `admitted` (>= 1) in `seconds`.
  void OnFirst(double admitted, double seconds);
  double first_admitted() const { return first_admitted_; }

  // REQUIRES: OnFirst was called; the lesson's spell admitted at least one.
  void Learn(const Lesson& lesson);

  // What a server says of itself, when it is no longer believed (core/told_limit.h).
  void Adopt(double rate, double burst);

  // An outage, or a spell in which nothing was admitted: it teaches nothing, and
  // what comes next does not continue what was before.
  void Break() { pooled_from_.reset(); }
  void Doubt();

 private:
  struct Measure {
    double rate;
    double over;  // seconds
    double doubt;
  };
  // Whether two rates may be the same.
  static bool Agree(double a, double b, double doubts);

  // The part of a lesson in which nothing was spilled.
  Measure Measured(const Lesson& lesson, bool* spilled) const;
  void Pool(const Lesson& lesson, Measure* measure);
  void Merge(const Measure& measure, const Lesson& lesson);

  double rate_ = 0;
  double doubt_ = 0;
  double burst_ = std::numeric_limits<double>::infinity();
  double measured_over_ = 1;
  // The first spell: how many, in how long.
  double first_admitted_ = 0;
  double first_seconds_ = 0;
  // Spells that are one measurement: since when, and how many were admitted.
  std::optional<MonotonicTime> pooled_from_;
  double pooled_ = 0;
  // Refusals in a row although the bucket should not have been empty.
  int surprises_ = 0;
  // Spells in a row that were too short to measure.
  int short_runs_ = 0;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_LEARNED_LIMIT_H_
