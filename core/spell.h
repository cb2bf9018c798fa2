// Spell: what happened from one moment at which the server's bucket was empty to
// the next. It is what a lesson is drawn from (core/learned_limit.h).
//
//   start          first send                               refused
//     │  silence       │  a c t i v e  (with idle times)       │
//     ├────────────────┼────────────────────────────────────────┤ next spell
//   bucket empty                                            bucket empty
//
// Marks are moments of the active time at which the pace had grown by a fifth, with
// the number of sends up to then: the last part of a search, in which the pace was
// near the limit, says more than the whole.
//
// Thread rule: a value.
#ifndef FORBEAR_CORE_SPELL_H_
#define FORBEAR_CORE_SPELL_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "core/time.h"

namespace forbear {

struct Spell {
  struct Mark {
    MonotonicTime time;
    double sent = 0;  // in this spell, up to then
  };
  static constexpr size_t kMaxMarks = 8;

  // When the bucket was empty; of a spell that begins with a full one, its first
  // send. Absent: nothing was sent yet.
  std::optional<MonotonicTime> start;
  std::optional<MonotonicTime> first;  // the first send
  int64_t admitted = 0;                // n
  // For how long callers left the pace unused; and for how long nobody came at all
  // when the gate had opened (a part of the silence).
  absl::Duration idle;
  absl::Duration away;
  std::array<Mark, kMaxMarks> marks;  // the oldest first
  size_t mark_count = 0;
  double marked_rate = 0;  // the pace at the last mark

  void OnSend(MonotonicTime now) {
    if (first.has_value()) return;
    first = now;
    if (!start.has_value()) start = now;
  }

  // The pace is `rate` now, and `sent` have been sent. The oldest mark goes if there
  // are too many.
  void NoteRate(double rate, double sent, MonotonicTime now) {
    if (rate < marked_rate * 1.2) return;
    marked_rate = rate;
    if (mark_count == kMaxMarks) {
      std::rotate(marks.begin(), marks.begin() + 1, marks.end());
      --mark_count;
    }
    marks[mark_count++] = {now, sent};
  }

  void ClearMarks() {
    mark_count = 0;
    marked_rate = 0;
  }
};

}  // namespace forbear

#endif  // FORBEAR_CORE_SPELL_H_
