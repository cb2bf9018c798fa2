// WaitQueue against a sorted list.

#include "core/wait_queue.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/random.h"
#include "core/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

class Named final : public Waiter {
 public:
  explicit Named(uint64_t id) : id(id) {}
  void Wake() override {}
  const uint64_t id;
};

std::multiset<uint64_t> Ids(const WakeList& wakes) {
  std::multiset<uint64_t> ids;
  for (const auto& w : wakes) ids.insert(static_cast<Named*>(w.get())->id);
  return ids;
}

TEST(WaitQueueTest, LikeASortedList) {
  struct Entry {
    MonotonicTime limit;
    MonotonicTime since;
  };
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE(seed);
    uint64_t n = 0;
    const auto below = [&](int k) {
      return static_cast<int>(UnitRandom(seed, n++) * k);
    };
    const auto max = static_cast<size_t>(below(20)) + 1;
    WaitQueue queue(max);
    std::map<std::pair<int64_t, uint64_t>, Entry> twin;
    for (int i = 0; i < 200; ++i) {
      // Few different times, so that many arrive in the same nanosecond.
      const Ticket ticket{MonotonicTime::FromNanos(below(5)),
                          static_cast<uint64_t>(below(8))};
      const std::pair<int64_t, uint64_t> key(ticket.arrived.nanos(),
                                             ticket.call_id);
      const MonotonicTime now = MonotonicTime::FromNanos(i);
      switch (below(3)) {
        case 0: {
          const MonotonicTime limit = MonotonicTime::FromNanos(below(10));
          const bool room = twin.count(key) != 0 || twin.size() < max;
          ASSERT_EQ(queue.Add(ticket,
                              std::make_shared<Named>(
                                  key.second * 100 +
                                  static_cast<uint64_t>(key.first)),
                              limit, now),
                    room);
          if (room) twin.emplace(key, Entry{limit, now});
          break;
        }
        case 1:
          ASSERT_EQ(queue.Remove(ticket), twin.erase(key) == 1);
          break;
        default:
          break;
      }
      ASSERT_EQ(queue.size(), twin.size());
      ASSERT_EQ(queue.empty(), twin.empty());
      ASSERT_EQ(queue.IsFirst(ticket),
                twin.empty() || twin.begin()->first >= key);
      const auto it = twin.find(key);
      ASSERT_EQ(queue.Since(ticket, now),
                it == twin.end() ? now : it->second.since);
      WakeList head;
      queue.CollectHead(&head);
      std::multiset<uint64_t> expected;
      const auto id = [](const std::pair<int64_t, uint64_t>& k) {
        return k.second * 100 + static_cast<uint64_t>(k.first);
      };
      if (!twin.empty()) expected.insert(id(twin.begin()->first));
      ASSERT_EQ(Ids(head), expected);
      const MonotonicTime earliest = MonotonicTime::FromNanos(below(10));
      WakeList doomed;
      queue.CollectDoomed(earliest, &doomed);
      expected.clear();
      for (const auto& [k, e] : twin) {
        if (e.limit <= earliest) expected.insert(id(k));
      }
      ASSERT_EQ(Ids(doomed), expected);
    }
  }
}

TEST(WaitQueueTest, OrderOfArrivalThenOfCallId) {
  const Ticket a{MonotonicTime::FromNanos(1), 9};
  const Ticket b{MonotonicTime::FromNanos(2), 1};
  const Ticket c{MonotonicTime::FromNanos(2), 2};
  EXPECT_TRUE(a < b);
  EXPECT_TRUE(b < c);
  EXPECT_FALSE(c < b);
  EXPECT_TRUE(b == b);
  EXPECT_FALSE(b == c);
}

}  // namespace
}  // namespace forbear
