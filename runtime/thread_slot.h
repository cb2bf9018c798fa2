// ThreadSlot: a number that belongs to one thread while that lives, so that a
// thread may count in a place of its own; and the fence that lets another one read
// what all have counted.
//
//   const uint32_t slot = ThreadSlot::Mine();
//   if (slot < ThreadSlot::kCount) {          // counts[ThreadSlot::kCount]
//     auto& mine = counts[slot];              // nobody else writes it
//     mine.store(mine.load(relaxed) + 1, relaxed);
//     std::atomic_signal_fence(std::memory_order_seq_cst);
//     if (!closed.load(acquire)) …
//   } else {
//     … an atomic addition to what such threads share, and then `closed` …
//   }
//
// Two threads that each write one thing and then read the other's need a fence in
// between, or both may see the old. Here the one that comes by rarely pays for both:
//
//   closed.store(true, seq_cst);
//   if (ThreadSlot::FenceAll()) …sum up counts: who is not in there sees `closed`…
//
// A fence costs as much as an atomic addition (6 ns), and FenceAll some
// microseconds: Linux's membarrier(2). Where there is none, no thread gets a slot.
//
// Bounds: kCount slots for the whole process. Threads beyond have none until they
// end; nor has one that is already destroying its thread_locals. The next owner of a
// slot goes on from what the last one left there, and sees all that it did.
//
// Thread rule: thread-safe. Not for signal handlers.
#ifndef FORBEAR_RUNTIME_THREAD_SLOT_H_
#define FORBEAR_RUNTIME_THREAD_SLOT_H_

#include <atomic>
#include <cstdint>

#include "absl/base/optimization.h"

namespace forbear {

class ThreadSlot {
 public:
  static constexpr uint32_t kCount = 32;

  // The slot of this thread; kCount or more: it has none.
  static uint32_t Mine() {
    const uint32_t slot = mine_;
    return ABSL_PREDICT_TRUE(slot < kCount) ? slot : Ask();
  }

  // Slots below this have had an owner. Who reads what the owners wrote reads this
  // anew each time: it may have become more.
  static uint32_t Used() { return used_.load(std::memory_order_acquire); }

  // When it is back, each thread that has a slot has been at a point where all that
  // it had written was visible to this thread, and from which on it sees all that
  // this one had written. False: the system refuses; nothing is known.
  static bool FenceAll();

 private:
  struct Owner;
  static constexpr uint32_t kUnasked = kCount;
  static constexpr uint32_t kNone = kCount + 1;

  static uint32_t Ask();

  static inline thread_local uint32_t mine_ = kUnasked;
  static inline std::atomic<uint32_t> used_{0};
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_THREAD_SLOT_H_
