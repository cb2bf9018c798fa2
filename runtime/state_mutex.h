// StateMutex: what the states that calls share are locked with (core/shared_state.h),
// and AtomicWord, which they go by without it (core/open_lane.h).
//
// Thread rule: thread-safe, of course.
#ifndef FORBEAR_RUNTIME_STATE_MUTEX_H_
#define FORBEAR_RUNTIME_STATE_MUTEX_H_

#include <atomic>
#include <cstdint>
#include <mutex>

namespace forbear {

// What one thread wrote before it put a word in is seen by whoever reads that word.
class AtomicWord {
 public:
  explicit AtomicWord(uint64_t value) : value_(value) {}
  uint64_t Load() const { return value_.load(std::memory_order_acquire); }
  void Store(uint64_t value) { value_.store(value, std::memory_order_release); }
  uint64_t Exchange(uint64_t value) {
    return value_.exchange(value, std::memory_order_acq_rel);
  }
  bool Replace(uint64_t* from, uint64_t to) {
    return value_.compare_exchange_weak(*from, to, std::memory_order_acq_rel,
                                        std::memory_order_acquire);
  }

 private:
  std::atomic<uint64_t> value_;
};

class StateMutex {
 public:
  using Word = AtomicWord;
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_STATE_MUTEX_H_
