#include "runtime/thread_slot.h"

#include <mutex>

#ifdef __linux__
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace forbear {
namespace {

#if defined(__linux__) && defined(SYS_membarrier)
bool Register() {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0,
                 0) == 0;
}
bool Fence() {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}
#else
bool Register() { return false; }
bool Fence() { return false; }
#endif

bool Works() {
  static const bool works = Register() && Fence();
  return works;
}

// Destroyed by nobody: threads may end after static destructors.
std::mutex mutex;
uint32_t taken = 0;  // a bit for each slot; by mutex
static_assert(ThreadSlot::kCount == 32, "as many as `taken` has bits");

}  // namespace

// Gives the slot back when the thread ends.
struct ThreadSlot::Owner {
  ~Owner() {
    const uint32_t slot = mine_;
    mine_ = kNone;
    const std::lock_guard<std::mutex> lock(mutex);
    taken &= ~(uint32_t{1} << slot);
  }
};

uint32_t ThreadSlot::Ask() {
  if (mine_ == kNone) return kNone;
  mine_ = kNone;
  if (!Works()) return kNone;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (taken == ~uint32_t{0}) return kNone;
    // The lowest that is free: what others sum up stays short.
    const auto free = static_cast<uint32_t>(__builtin_ctz(~taken));
    taken |= uint32_t{1} << free;
    if (free >= used_.load(std::memory_order_relaxed)) {
      used_.store(free + 1, std::memory_order_release);
    }
    mine_ = free;
  }
  static thread_local const Owner owner;
  (void)owner;
  return mine_;
}

bool ThreadSlot::FenceAll() {
  if (!Works()) return true;  // nobody has a slot
  // A child of fork() may have to register by itself.
  return Fence() || (Register() && Fence());
}

}  // namespace forbear
