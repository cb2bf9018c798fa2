// Pace: at what intervals callers leave, once a refusal has shown that there is a
// limit.
//
//   kFree    no limit is known: callers are not spaced.
//   kSearch  from below: a few at once, and then faster and faster, until the server
//            refuses. Its rate is taken from what it admitted (learned_limit.h).
//   kTrack   at the learned rate. First a little below it, by as much as it is in
//            doubt; then at it for most of the time; then above, more and more, until
//            the next refusal: a limit that has been raised is found that way. (A
//            cubic of the time, as in RFC 9438: flat where the limit is believed to
//            be.) What the server's bucket holds is counted along; what should be in it
//            is used up.
//
// If it admits much more than it should be able to, the learned limit is refuted, and
// it searches again, upward from there.
//
// A caller that comes late leaves at once, and the next one may follow a little
// sooner (a slot, at most 100 ms); time in which nobody came is no credit, and does
// not make the pace grow.
//
// Bounds: constant space and time. Thread rule: not thread-safe; Pacer owns one.
#ifndef FORBEAR_CORE_PACE_H_
#define FORBEAR_CORE_PACE_H_

#include <cstdint>

#include "core/learned_limit.h"
#include "core/spell.h"
#include "core/time.h"

namespace forbear {

class Pace {
 public:
  enum class Mode : uint8_t { kFree, kSearch, kTrack };

  Mode mode() const { return mode_; }
  // Whether the next caller has to wait for its turn.
  bool spaced() const {
    return mode_ == Mode::kTrack || (mode_ == Mode::kSearch && volley_ == 0);
  }
  // When the next one may leave, if spaced().
  MonotonicTime next() const { return next_; }

  // Sends per second at that time. REQUIRES: mode() is not kFree.
  double RateAt(MonotonicTime time, const LearnedLimit& limit) const;
  // What the server's bucket holds then, as far as is known.
  double LevelAt(MonotonicTime time, const LearnedLimit& limit) const;

  void Free() { mode_ = Mode::kFree; }

  // How fast a search goes: the rate doubles after so many sends, and not sooner
  // than in so many seconds by sends that come slowly.
  struct Growth {
    double sends = 8;
    double seconds = 0.5;
  };
  // Starts with `rate`, and `volley` may leave at once before that.
  void Search(double rate, const Growth& growth, int64_t volley);
  // So many may leave at once, now that the bucket has filled up again.
  void AllowVolley(int64_t volley) { volley_ = volley; }

  // At the limit's rate. `plateau`: for so many seconds from `start` on it stays at
  // it or below. The bucket holds `level` at `level_at`.
  void Track(MonotonicTime start, double plateau, double level,
             MonotonicTime level_at);

  // The gate is shut: no volley, and nobody has a turn.
  void OnGate();
  // Callers begin to leave again; the first of them did so at `first`. That they had
  // to wait is not their idleness.
  void Resume(MonotonicTime first, MonotonicTime now,
              const LearnedLimit& limit);

  // One leaves. `gate`: since when it could; `sent`: of this spell, without it.
  void OnSend(MonotonicTime now, MonotonicTime gate, double sent,
              const LearnedLimit& limit, Spell* spell);

 private:
  // The rate that is believed in, without what the bucket holds.
  double Base(MonotonicTime time, const LearnedLimit& limit) const;
  // Moves the turn on.
  void Turn(MonotonicTime now, MonotonicTime due, double interval);
  // Whether the caller came later than its turn by more than a slot.
  static bool IsLate(double late, double interval);

  Mode mode_ = Mode::kFree;
  MonotonicTime next_ = MonotonicTime::InfinitePast();
  // kSearch:
  double rate_ = 0;
  Growth growth_;
  int64_t volley_ = 0;
  MonotonicTime last_;  // the last send
  // kTrack:
  MonotonicTime start_;  // of the cubic
  double plateau_ = 1;
  double level_ = 0;
  MonotonicTime level_at_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_PACE_H_
