// Pacer: when may the next caller of a key leave? The gate while it is shut;
// after that one caller first, and then all of them spaced, at the rate that
// the server has shown it can take.
//
// Obeying a wait is not enough. Fifty callers that were told to wait two
// seconds, and do, come back in the same instant, and most are refused again.
// So a refusal does three things here:
//   1. It shuts the gate, for everybody of the key.
//   2. When the gate opens, one caller goes ("confirm"); the others wait for
//      its answer, so a wait that was announced too short costs one send.
//   3. Then they leave one by one, at a pace: at first slow and doubling every
//      kDoubling, until the next refusal teaches the rate.
//
// The lesson. From one refusal (the server's bucket was empty) to the next, a
// bucket of rate R and size B that was silent for g seconds and then active for
// a seconds has admitted n calls, so n = min(B, R·g) + R·a, that is
//     R = max( n / (g + a),  (n − B) / a ).
// Both terms are lower bounds: the learned rate never exceeds what was
// measured. B is bounded by the first spell, which began with a full bucket:
// B ≤ n₁. Two refusals suffice; what follows re-measures. A spell in which the
// callers left the pace unused measures them, not the server: it teaches only
// that the pace was too high.
//
//   Pacer pacer;
//   if (pacer.Earliest(now) <= now) permit = pacer.OnSend(now);
//   …the answer: one of
//   pacer.OnRefused(permit, wait, now); pacer.OnAdmitted(permit, now); …
//
// An answer to something that was sent before the gate was shut belongs to the
// same episode: it may extend the gate, and teaches nothing twice.
//
// Invariants: Earliest() is never before the gate. The rate is positive and
// finite. Nothing here is random: within a process the order of the queue
// spaces callers better than chance.
//
// Bounds: constant space, constant time. All waits: at most 24 h (the caller
// drops longer ones as garbage).
//
// Thread rule: not thread-safe; Quota and Endpoint own one each.
#ifndef FORBEAR_CORE_PACER_H_
#define FORBEAR_CORE_PACER_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "core/gate.h"
#include "core/time.h"

namespace forbear {

class Pacer {
 public:
  // One send, from OnSend to exactly one of OnReturned, OnRefused, OnAdmitted,
  // OnFault and OnNeutral.
  struct Permit {
    uint64_t number = 0;  // 1, 2, … in the order of leaving; 0: none
    MonotonicTime sent;
    // To undo the send.
    MonotonicTime next_before;
    double rate_before = 0;  // 0: there was no pace
    absl::Duration idle_before;
  };

  // The earliest time for the next send; `now` if it may leave at once. While
  // one caller confirms, this is the end of its lease: its answer may make it
  // sooner.
  MonotonicTime Earliest(MonotonicTime now) const;

  // As Earliest, without what an answer that is awaited may make sooner: who
  // cannot wait so long can be refused now.
  MonotonicTime NotBefore(MonotonicTime now) const;

  // Whether the gate, rather than the order of leaving, is what holds callers.
  bool IsGated(MonotonicTime now) const { return gate_.IsShut(now); }
  MonotonicTime gate_until() const { return gate_.until(); }

  // One caller leaves. REQUIRES: Earliest(now) <= now.
  Permit OnSend(MonotonicTime now);

  // It did not leave after all.
  void OnReturned(const Permit& permit);

  // "Slow down", with the wait that the server announced, if it did. True if
  // the gate moved to later.
  bool OnRefused(const Permit& permit, std::optional<absl::Duration> wait,
                 MonotonicTime now);

  // An answer that passed the server's limiter. True if callers may leave
  // earlier than Earliest() said before.
  bool OnAdmitted(const Permit& permit, MonotonicTime now);

  // A failure behind the limiter (a 500, a reset after the request was read):
  // it used up what the limiter gives, and confirms nothing. True as above.
  bool OnFault(const Permit& permit);

  // Says nothing: cancelled, or never arrived. True as above.
  bool OnNeutral(const Permit& permit);

  // Whether Earliest() is now, and a send and its OnAdmitted change nothing but
  // two counts (core/open_lane.h).
  bool IsCalm(MonotonicTime now) const {
    return mode_ == Mode::kFree && !confirming_ && !lesson_due_ && !paced_ &&
           barren_ == 0 && sent_ > 0 && !gate_.IsShut(now);
  }
  // Sends up to the number `last` have left, and so many more were admitted, all
  // while it was calm.
  void CountCalm(uint64_t last, int64_t admitted) {
    sent_ = last;
    admitted_ += admitted;
  }
  // The number of the last send.
  uint64_t last() const { return sent_; }

  // Lets callers leave spaced from now on, slowly at first: after an outage.
  void StartRamp();

  // False: gates are kept, and nothing else: when one opens, all may leave at once,
  // no rate is learned, what was learned is forgotten. True (the beginning): as
  // above.
  void SetPacing(bool paces);

  // For operators: opens the gate now and forgets the rate.
  void Clear();

  // Sends per second; absent while callers leave unspaced.
  std::optional<double> rate() const;

  // The pace starts at this rate at least, and doubles in this time.
  static constexpr double kFirstRate = 10.0;
  static constexpr absl::Duration kDoubling = absl::Milliseconds(1500);
  // A pace above this is no pace.
  static constexpr double kFree = 1000.0;

 private:
  enum class Mode : uint8_t {
    kFree,   // no limit known
    kRamp,   // spaced; looking for the limit from below
    kTrack,  // spaced; at the learned rate, creeping upward
  };

  // No rate, and nobody to confirm.
  void Unlearn();
  void Learn(MonotonicTime confirmed_sent, MonotonicTime now);

  bool paces_ = true;
  Gate gate_;
  uint64_t sent_ = 0;     // sends so far
  uint64_t episode_ = 0;  // sends up to this number belong to the last episode
  int barren_ = 0;        // episodes since the last admitted send

  // Confirm: one caller at a time until one is admitted.
  bool confirming_ = false;
  int64_t confirms_out_ = 0;
  MonotonicTime last_confirm_;

  Mode mode_ = Mode::kFree;
  double rate_ = kFirstRate;
  MonotonicTime next_ = MonotonicTime::InfinitePast();

  // The spell: from one moment of an empty bucket to the next.
  bool lesson_due_ = false;
  double bucket_ = 0;           // upper bound of B, from the first spell
  int64_t admitted_ = 0;        // n
  MonotonicTime spell_start_;   // when the bucket was last empty
  MonotonicTime first_send_;    // the spell's first send after the silence
  MonotonicTime refused_sent_;  // when the refused send left
  bool paced_ = false;          // whether callers were spaced all along it
  absl::Duration idle_;         // how long the pace was left unused in it
};

}  // namespace forbear

#endif  // FORBEAR_CORE_PACER_H_
