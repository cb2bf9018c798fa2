// The heap against a list that is searched, over random changes of mind.
#include "runtime/due_heap.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

struct Thing {
  DueHeap<Thing>::Place due;
};

MonotonicTime At(int n) { return MonotonicTime() + absl::Milliseconds(n); }

TEST(DueHeapTest, Empty) {
  DueHeap<Thing> heap;
  Thing thing;
  EXPECT_TRUE(heap.empty());
  EXPECT_TRUE(heap.earliest().is_infinite());
  heap.Remove(&thing);
  EXPECT_FALSE(thing.due.is_set());
}

TEST(DueHeapTest, InfiniteIsNever) {
  DueHeap<Thing> heap;
  Thing thing;
  heap.Set(&thing, At(1));
  EXPECT_TRUE(thing.due.is_set());
  EXPECT_EQ(thing.due.time(), At(1));
  heap.Set(&thing, MonotonicTime::Infinite());
  EXPECT_FALSE(thing.due.is_set());
  EXPECT_TRUE(heap.empty());
}

TEST(DueHeapTest, EqualToAListThatIsSearched) {
  std::mt19937 random(7);
  const auto below = [&](int n) {
    return static_cast<int>(random() % static_cast<uint32_t>(n));
  };
  for (int run = 0; run < 200; ++run) {
    DueHeap<Thing> heap;
    std::vector<Thing> things(1 + below(60));
    // INT_MAX: it is not in the heap.
    constexpr int kOut = 1 << 30;
    std::vector<int> twin(things.size(), kOut);
    for (int step = 0; step < 500; ++step) {
      const int which = below(static_cast<int>(things.size()));
      const auto least = std::min_element(twin.begin(), twin.end());
      switch (below(4)) {
        case 0:
        case 1:
          twin[which] = below(50);
          heap.Set(&things[which], At(twin[which]));
          break;
        case 2:
          twin[which] = kOut;
          heap.Remove(&things[which]);
          break;
        case 3:
          if (*least == kOut) break;
          const Thing* const popped = heap.Pop();
          const auto at = popped - things.data();
          EXPECT_EQ(twin[at], *least);
          twin[at] = kOut;
          break;
      }
      const int earliest = *std::min_element(twin.begin(), twin.end());
      EXPECT_EQ(heap.earliest(),
                earliest == kOut ? MonotonicTime::Infinite() : At(earliest));
      EXPECT_EQ(heap.size(),
                twin.size() - std::count(twin.begin(), twin.end(), kOut));
      for (size_t i = 0; i < things.size(); ++i) {
        EXPECT_EQ(things[i].due.is_set(), twin[i] != kOut);
      }
    }
  }
}

}  // namespace
}  // namespace forbear
