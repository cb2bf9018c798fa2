#include "runtime/thread_slot.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace forbear {
namespace {

// The slots of `n` threads that are alive at the same time.
std::multiset<uint32_t> SlotsOf(uint32_t n) {
  std::vector<uint32_t> slots(n);
  std::vector<std::thread> threads;
  threads.reserve(n);
  std::atomic<uint32_t> asked{0};
  for (uint32_t& slot : slots) {
    threads.emplace_back([&] {
      slot = ThreadSlot::Mine();
      EXPECT_EQ(ThreadSlot::Mine(), slot);
      ++asked;
      while (asked < n) std::this_thread::yield();
      EXPECT_EQ(ThreadSlot::Mine(), slot);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint32_t& slot : slots) slot = std::min(slot, ThreadSlot::kCount);
  return {slots.begin(), slots.end()};
}

TEST(ThreadSlotTest, OneOwnerAtATimeAndThenTheNext) {
  if (SlotsOf(1).count(ThreadSlot::kCount) != 0) {
    // Where there is no membarrier(2), nobody has one.
    EXPECT_EQ(SlotsOf(10).count(ThreadSlot::kCount), 10u);
    EXPECT_EQ(ThreadSlot::Used(), 0u);
    return;
  }
  for (int round = 0; round < 20; ++round) {
    const auto slots = SlotsOf(10);
    for (uint32_t slot = 0; slot < 10; ++slot) EXPECT_EQ(slots.count(slot), 1u);
  }
  EXPECT_EQ(ThreadSlot::Used(), 10u);
}

TEST(ThreadSlotTest, NoMoreThanThereAre) {
  for (int round = 0; round < 3; ++round) {
    const auto slots = SlotsOf(ThreadSlot::kCount + 5);
    for (uint32_t slot = 0; slot < ThreadSlot::kCount; ++slot) {
      EXPECT_LE(slots.count(slot), 1u);
    }
    EXPECT_GE(slots.count(ThreadSlot::kCount), 5u);
  }
  EXPECT_LE(ThreadSlot::Used(), ThreadSlot::kCount);
}

// Threads on two processors, where there are two: on one, neither could miss what
// the other one wrote.
void RunOn(int nth) {
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof(all), &all) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all) || nth-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
    return;
  }
}

// One thread writes x and reads y, the other one y and x: one of them sees what the
// other one wrote. The rare one pays the fence for both. Without it, 1 of 30 cells
// goes wrong.
TEST(ThreadSlotTest, TheFenceOfOneIsEnough) {
  constexpr int kRounds = 20;
  constexpr size_t kCells = 256;
  struct alignas(64) Cell {
    std::atomic<int> value{0};
  };
  std::vector<Cell> x(kCells);
  std::vector<Cell> y(kCells);
  std::vector<int> seen_of_x(kCells);
  std::vector<int> seen_of_y(kCells);
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  std::thread often([&] {
    RunOn(1);
    const bool fast = ThreadSlot::Mine() < ThreadSlot::kCount;
    for (int round = 1; round <= kRounds; ++round) {
      while (begun.load() != round) std::this_thread::yield();
      for (size_t i = 0; i < kCells; ++i) {
        if (fast) {
          y[i].value.store(round, std::memory_order_relaxed);
          std::atomic_signal_fence(std::memory_order_seq_cst);
        } else {
          y[i].value.exchange(round);
        }
        seen_of_x[i] = x[i].value.load(std::memory_order_acquire);
        // As long as the other one takes: they are to meet at many cells.
        while (fast && i + 8 < kCells && x[i].value.load() != round) {
        }
      }
      ended.store(round);
    }
  });
  int neither = 0;
  std::thread rarely([&] {
    RunOn(0);
    for (int round = 1; round <= kRounds; ++round) {
      begun.store(round);
      for (size_t i = 0; i < kCells; ++i) {
        x[i].value.exchange(round);
        EXPECT_TRUE(ThreadSlot::FenceAll());
        seen_of_y[i] = y[i].value.load();
      }
      while (ended.load() != round) std::this_thread::yield();
      for (size_t i = 0; i < kCells; ++i) {
        if (seen_of_x[i] != round && seen_of_y[i] != round) ++neither;
      }
    }
  });
  often.join();
  rarely.join();
  EXPECT_EQ(neither, 0);
}

}  // namespace
}  // namespace forbear
