// Pacer: when may the next caller of a key leave? Not before the server said, and
// then at the rate that it has shown it can take.
//
// Obeying a wait is not enough. Fifty callers that were told to wait two seconds, and
// do, come back in the same instant, and most are refused again: of a bucket of B
// that gets R a second they have B calls in every wait, instead of R. And callers that
// each find out for themselves waste one send each. So a refusal speaks for everybody
// of the key, and what it teaches is kept.
//
//   nothing known ── refused ──► gate ──► one confirms ──► search ── refused ──►
//   (window)                                                 (faster and faster)
//                       gate ──► one confirms ──► track ── refused ──► gate …
//                                             (the learned rate)
//
// Its parts, each with a file of its own:
//   Gate          the server's wait. Nothing leaves before it is over.
//   SendWindow    how many may be out while nothing is known.
//   Spread        how those leave who waited for the end of a gate that taught
//                 nothing, or of an outage.
//   Spell         what was sent and admitted since the bucket was last empty.
//   LearnedLimit  the bucket's rate, as spells have taught it.
//   Pace          at what intervals callers leave: search, then track.
//   ToldLimit     the limit as good answers tell it: then nothing has to be learned.
// The pacer itself knows episodes: what happens from a refusal to the next success.
//
// An episode. The gate is shut; what was sent before is part of it, whenever it is
// refused: it may extend the gate, and teaches nothing twice. When the gate opens one
// caller goes, to confirm; the others wait for its answer, so that a wait which was
// announced too short costs one send. Its success settles the episode: the lesson is
// drawn then, when the stragglers are in.
// If the confirming ones are refused three times, it was no limit but an outage, and
// teaches nothing. Nor does an episode before which hardly anything was sent.
//
//   Pacer pacer;
//   if (pacer.Earliest(now, since, out) <= now) permit = pacer.OnSend(now);
//   …the answer: one of
//   pacer.OnRefused(permit, wait, now); pacer.OnAdmitted(permit, others, now); …
//
// Slow start. Of a key that has had kKnown successes and no refusal, nothing is held
// back any more but who waits already. Before that nobody is held for more than
// SendWindow::kLongest.
//
// Peers. Processes that share a limit know nothing of each other but how many they are,
// if somebody says so (SetPeers). Then each begins with its part of the first window,
// believes in its part of a limit that is told, and confirms at a place of its own
// after a gate, so that not all come in the instant in which it opens.
//
// Invariants: Earliest() is never before the gate. Rates are positive and finite.
// Nothing here is random: within a process the order of the queue spaces callers
// better than chance.
//
// Bounds: constant space, constant time. All waits: at most 24 h (the caller drops
// longer ones as garbage).
//
// Thread rule: not thread-safe; Quota and Endpoint own one each.
#ifndef FORBEAR_CORE_PACER_H_
#define FORBEAR_CORE_PACER_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "core/gate.h"
#include "core/learned_limit.h"
#include "core/outcome.h"
#include "core/pace.h"
#include "core/send_window.h"
#include "core/spell.h"
#include "core/spread.h"
#include "core/time.h"
#include "core/told_limit.h"

namespace forbear {

// Parts of the pacing that can be switched off.
struct PacingParts {
  // A key of which little is known gets few calls at first.
  bool slow_start = true;
  // Limits are learned from refusals. Without, those who waited leave spread out.
  bool learn = true;
  // What good answers tell of a limit is believed.
  bool told = true;
};

class Pacer {
 public:
  // One send, from OnSend to exactly one of OnReturned, OnRefused, OnAdmitted,
  // OnFault and OnNeutral. (OnRefused may follow one of these: the rest of an answer
  // may tell what its head did not.)
  struct Permit {
    uint64_t number = 0;  // 1, 2, … in the order of leaving; 0: none
    MonotonicTime sent;
  };

  // Who else is there.
  struct Others {
    int64_t out = 0;      // on their way
    int64_t waiting = 0;  // for their turn
  };

  // The earliest time for the next send; `now` if it may leave at once. `since`: when
  // the one who would leave began to wait; `out`: how many are on their way. While
  // one caller confirms, this is the end of its lease, and while the window is full
  // the end of the hold: answers may make it sooner.
  MonotonicTime Earliest(MonotonicTime now, MonotonicTime since,
                         int64_t out) const;

  // As Earliest, without what an answer that is awaited may make sooner: who cannot
  // wait so long can be refused now.
  MonotonicTime NotBefore(MonotonicTime now) const;

  // Whether one caller at a time may leave, until one is admitted.
  bool confirming() const { return confirming_; }

  // Whether the gate, rather than the order of leaving, is what holds callers.
  bool IsGated(MonotonicTime now) const { return gate_.IsShut(now); }
  MonotonicTime gate_until() const { return gate_.until(); }

  // One caller leaves. REQUIRES: Earliest(now, …) <= now.
  Permit OnSend(MonotonicTime now);

  // It did not leave after all.
  void OnReturned(const Permit& permit);

  // "Slow down", with the wait that the server announced, if it did. True if the
  // gate moved to later.
  bool OnRefused(const Permit& permit, std::optional<absl::Duration> wait,
                 MonotonicTime now);

  // An answer that passed the server's limiter. True if callers may leave earlier
  // than Earliest() said before.
  bool OnAdmitted(const Permit& permit, const Others& others,
                  MonotonicTime now);

  // What that answer tells of the limit.
  void OnTold(const Permit& permit, const LimitStand& stand, MonotonicTime now);

  // A failure behind the limiter (a 500, a reset after the request was read): it
  // used up what the limiter gives, and confirms nothing. True as above.
  bool OnFault(const Permit& permit);

  // Says nothing: cancelled, or never arrived. True as above.
  bool OnNeutral(const Permit& permit);

  // Whether Earliest() is now for everybody who comes now, and a send and its
  // OnAdmitted change nothing but two counts (core/open_lane.h).
  bool IsCalm(MonotonicTime now) const {
    return !opened_.is_infinite() && !lesson_due_ && barren_ == 0 &&
           !told_.known() && spread_.is_over() && sent_ > 0 &&
           !gate_.IsShut(now);
  }
  // Sends up to the number `last` have left, and so many more were admitted, all
  // while it was calm.
  void CountCalm(uint64_t last, int64_t admitted) {
    sent_ = last;
    spell_.admitted += admitted;
  }
  // The number of the last send.
  uint64_t last() const { return sent_; }

  // After an outage: as if little were known.
  void StartSlowly(const Others& others, MonotonicTime now);

  // False: gates are kept, and nothing else: when one opens, all may leave at once,
  // no rate is learned, what was learned is forgotten. True (the beginning): as
  // above, but for those `parts` that are off.
  void SetPacing(bool paces, const PacingParts& parts = {});

  // `peers` processes (>= 1) share the key, this one included. `place`, in [0, 1), is
  // this one's among them: the same each time, and different in each process.
  void SetPeers(int peers, double place);

  // Forgets what was learned and told; the gate stays.
  void Forget();

  // For operators: opens the gate now and forgets the rate.
  void Clear();

  // Sends per second at that time; absent while callers leave unspaced.
  std::optional<double> RateAt(MonotonicTime now) const;

  const LearnedLimit& limit() const { return limit_; }
  const ToldLimit& told() const { return told_; }

  // Slow start is over after so many successes …
  static constexpr int64_t kKnown = 20;
  // … and after a refusal that taught nothing, or an outage, after so many.
  static constexpr int64_t kKnownAgain = 200;
  // A pace above this, per second, is no pace.
  static constexpr double kFree = 10000.0;

 private:
  // To take a send back.
  struct Before {
    uint64_t number = 0;
    Spread spread;
    Pace pace;
    Spell spell;
    ToldLimit told;
  };

  // Whether the window may hold anybody.
  bool IsWindowed() const;
  // Nothing is known, but that it was refused, or out, for a while.
  void Restart(double window, double growth, MonotonicTime now);
  // The first window: this process's part.
  SendWindow FirstWindow() const {
    return SendWindow(std::max(1.0, SendWindow::kFirst / peers_));
  }
  absl::Duration GateFor(std::optional<absl::Duration> wait) const;
  void BeginEpisode(const Permit& permit, absl::Duration gate,
                    MonotonicTime now);
  // The first success after the gate.
  void Settle(const Others& others, MonotonicTime now);
  // What an episode was, and what follows from it.
  enum class Episode : uint8_t {
    kOutage,  // it took long, and more worked before than a limit would explain
    kBlip,    // teaches nothing: hardly anything was sent before
    kFirst,   // the first that shows a limit
    kLesson,  // one more
  };
  Episode Judge();
  void AfterBlip(const Others& others, MonotonicTime now);
  void AfterFirst();
  void AfterLesson();

  bool paces_ = true;
  PacingParts parts_;
  int peers_ = 1;
  double place_ = 0;
  Gate gate_;
  uint64_t sent_ = 0;  // sends so far

  // The episode: sends up to this number belong to the last one.
  uint64_t episode_ = 0;
  int barren_ = 0;       // refusals since the last success, one for each gate
  int most_barren_ = 0;  // of this episode
  int64_t refused_ = 0;  // sends, in it
  MonotonicTime first_refused_;  // when the send left whose refusal began it
  MonotonicTime last_refused_;   // … and the last one that was refused
  double announced_ = 0;         // the last wait, in seconds
  bool is_told_ = false;         // by the server, rather than our own
  double refused_pace_ = 0;      // at which the first refused one left
  double refused_level_ = 0;     // of the bucket then
  bool lesson_due_ = false;

  // Confirm: one caller at a time until one is admitted.
  bool confirming_ = false;
  int64_t confirms_out_ = 0;
  absl::Duration aside_;  // after the gate, for the sake of peers
  MonotonicTime last_confirm_;
  std::optional<MonotonicTime> first_confirm_;

  // Slow start.
  SendWindow window_;
  int64_t successes_ = 0;  // since it began
  int64_t known_at_ = kKnown;
  // Who came to wait before this is held by the window.
  MonotonicTime opened_ = MonotonicTime::Infinite();
  // Time before this is not counted as having been held by it.
  MonotonicTime window_since_ = MonotonicTime::InfinitePast();
  bool was_brief_ = false;  // a few were admitted and then one refused: once
  Spread spread_;

  Spell spell_;
  LearnedLimit limit_;
  Pace pace_;
  bool was_outage_ = false;  // the last episode was taken for one
  ToldLimit told_;

  Before before_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_PACER_H_
