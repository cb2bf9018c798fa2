// OpenLane: the way past a shared state that has nothing to decide.
//
// Nearly all calls find their states so: no gate, no pace, no limit, nobody
// waits, the breaker closed, the budget full. Then a send and its good answer
// move two numbers, and to take a lock for that is most of what they cost. While
// the lane is open these numbers live in one word, which callers change without
// the lock. Whoever has something to decide takes the lock and closes the lane,
// which tells what went through it meanwhile; the state counts that, decides, and
// the lane is opened again if nothing is to be decided then.
//
//   Without the lock:  if (uint64_t number = lane.Send(&generation)) …sent…
//                      if (lane.Done(generation, now)) …a good answer, counted…
//   With it:           LanePassed passed;
//                      if (lane.Close(&passed)) …count it…
//                      if (…nothing to decide…) lane.Open(terms);
//
// Guarded (core/shared_state.h) does the latter whenever somebody has the lock.
//
// Nothing is lost: Send and Done succeed on an open word only, and Close swaps it
// for a closed one, so each of them lies before a Close, which counts it, or
// fails. Sends are never counted down, so no number is given twice. What two
// numbers cannot say (a refusal, a failure, a wait, a return) goes by the lock,
// also for what was sent here: permits are the same.
//
// A generation names what the owner decided last. Done refuses permits of another
// one. (Where an owner decides twice with no send and no answer between, both may
// still take the generation before for the present one. It is an operator who does
// that, and a stale permit that moves nothing, or one good answer too many.)
//
// Word: a number. PlainWord below for one thread; who has several brings one that
// is atomic (runtime/state_mutex.h), so there is none in here.
//
// Thread rule: Send, Done and is_open may be called by anybody, Close and Open with
// the owner's lock held.
#ifndef FORBEAR_CORE_OPEN_LANE_H_
#define FORBEAR_CORE_OPEN_LANE_H_

#include <cstdint>
#include <utility>

#include "core/time.h"

namespace forbear {

// For one thread.
class PlainWord {
 public:
  explicit PlainWord(uint64_t value) : value_(value) {}
  uint64_t Load() const { return value_; }
  void Store(uint64_t value) { value_ = value; }
  uint64_t Exchange(uint64_t value) { return std::exchange(value_, value); }
  // Puts `to` where `*from` is; otherwise false, and *from is what is there.
  bool Replace(uint64_t* from, uint64_t to) {
    if (value_ != *from) {
      *from = value_;
      return false;
    }
    value_ = to;
    return true;
  }

 private:
  uint64_t value_;
};

// What went through since it was opened.
struct LanePassed {
  uint64_t last = 0;  // the number of the last send ever
  int64_t sent = 0;
  int64_t done = 0;  // good answers
};

// What holds while it is open.
struct LaneTerms {
  uint64_t last = 0;  // the number of the last send ever
  uint64_t generation = 0;
  // From then on, answers go by the lock.
  MonotonicTime until = MonotonicTime::Infinite();
};

template <typename Word>
class OpenLane {
 public:
  // One more send: its number and generation. 0: the lane is closed.
  uint64_t Send(uint64_t* generation) {
    uint64_t word = word_.Load();
    *generation = generation_.Load();
    while (word < kLastSend) {
      if (word_.Replace(&word, word + kSend)) return (word >> kDoneBits) + 1;
      *generation = generation_.Load();
    }
    return 0;
  }

  uint64_t Send() {
    uint64_t word = word_.Load();
    while (word < kLastSend) {
      if (word_.Replace(&word, word + kSend)) return (word >> kDoneBits) + 1;
    }
    return 0;
  }

  // A good answer at `now` to one that is out. False: not counted here.
  bool Done(uint64_t generation, MonotonicTime now) {
    uint64_t word = word_.Load();
    while (word < kClosed && (word & kDoneMask) != kDoneMask &&
           generation == generation_.Load() &&
           now.nanos() < static_cast<int64_t>(until_.Load())) {
      if (word_.Replace(&word, word + 1)) return true;
    }
    return false;
  }

  // Of a lane with one generation and no `until`.
  bool Done() {
    uint64_t word = word_.Load();
    while (word < kClosed && (word & kDoneMask) != kDoneMask) {
      if (word_.Replace(&word, word + 1)) return true;
    }
    return false;
  }

  bool is_open() const { return word_.Load() < kClosed; }

  // REQUIRES: it is closed.
  void Open(const LaneTerms& terms) {
    if (terms.last >= kMostSent) return;
    generation_.Store(terms.generation);
    until_.Store(static_cast<uint64_t>(terms.until.nanos()));
    opened_with_ = terms.last;
    word_.Store(terms.last << kDoneBits);
  }

  // False: it was closed, and nothing has passed.
  bool Close(LanePassed* passed) {
    if (word_.Load() >= kClosed) return false;
    const uint64_t word = word_.Exchange(kClosed);
    passed->last = word >> kDoneBits;
    passed->sent = static_cast<int64_t>(passed->last - opened_with_);
    passed->done = static_cast<int64_t>(word & kDoneMask);
    return true;
  }

 private:
  // One bit: closed. 43 for sends: 100 days at a million a second; from then on
  // all go by the lock. 20 for answers: of a million one goes by the lock.
  static constexpr int kDoneBits = 20;
  static constexpr uint64_t kSend = uint64_t{1} << kDoneBits;
  static constexpr uint64_t kDoneMask = kSend - 1;
  static constexpr uint64_t kClosed = uint64_t{1} << 63;
  static constexpr uint64_t kMostSent = (kClosed >> kDoneBits) - 1;
  static constexpr uint64_t kLastSend = kMostSent << kDoneBits;

  Word word_{kClosed};
  // Written while it is closed only.
  Word generation_{0};
  Word until_{0};
  uint64_t opened_with_ = 0;  // by the owner's lock
};

}  // namespace forbear

#endif  // FORBEAR_CORE_OPEN_LANE_H_
