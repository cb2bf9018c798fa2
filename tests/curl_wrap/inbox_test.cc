// When the bell is rung, and that nothing is lost when it is not.
#include "curl_wrap/inbox.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace forbear::curl {
namespace {

Inbox::Item Cancel(uint64_t id) { return {Inbox::What::kCancel, id, nullptr}; }

TEST(InboxTest, TheBellIsRungOnceForAllThatComes) {
  int rings = 0;
  Inbox inbox([&] { ++rings; });
  std::vector<Inbox::Item> items;
  EXPECT_FALSE(inbox.TakeAll(&items));
  EXPECT_TRUE(inbox.Post(Cancel(1)));
  EXPECT_TRUE(inbox.Post(Cancel(2)));
  EXPECT_EQ(rings, 1);
  EXPECT_TRUE(inbox.TakeAll(&items));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].id, 1u);
  EXPECT_EQ(items[1].id, 2u);
  items.clear();
  EXPECT_TRUE(inbox.Post(Cancel(3)));
  EXPECT_EQ(rings, 2);
}

TEST(InboxTest, WhoIsAwakeLooksWithoutABell) {
  int rings = 0;
  Inbox inbox([&] { ++rings; });
  std::vector<Inbox::Item> items;
  inbox.StayAwake();
  EXPECT_TRUE(inbox.Post(Cancel(1)));
  EXPECT_TRUE(inbox.TakeAll(&items));
  items.clear();
  // There was something: he looks again.
  EXPECT_TRUE(inbox.Post(Cancel(2)));
  EXPECT_EQ(rings, 0);
  EXPECT_TRUE(inbox.TakeAll(&items));
  items.clear();
  EXPECT_FALSE(inbox.TakeAll(&items));
  // Now he sleeps.
  EXPECT_TRUE(inbox.Post(Cancel(3)));
  EXPECT_EQ(rings, 1);
}

TEST(InboxTest, OneThatIsClosedTakesNothing) {
  int rings = 0;
  Inbox inbox([&] { ++rings; });
  EXPECT_TRUE(inbox.Post(Cancel(1)));
  inbox.Close();
  Inbox::Item item = Cancel(2);
  EXPECT_FALSE(inbox.PostOrKeep(&item));
  EXPECT_EQ(item.id, 2u);
  EXPECT_EQ(rings, 1);
  std::vector<Inbox::Item> items;
  EXPECT_TRUE(inbox.TakeAll(&items));
  EXPECT_EQ(items.size(), 1u);
}

// A loop that sleeps when TakeAll finds nothing, until the bell, gets everything.
TEST(InboxTest, NothingIsSleptOver) {
  constexpr uint64_t kItems = 20000;
  std::mutex mutex;
  std::condition_variable rung;
  int rings = 0;
  Inbox inbox([&] {
    const std::lock_guard<std::mutex> lock(mutex);
    ++rings;
    rung.notify_one();
  });
  std::vector<std::thread> threads;
  threads.reserve(2);
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (uint64_t n = 0; n < kItems; ++n) inbox.Post(Cancel(n));
    });
  }
  uint64_t taken = 0;
  std::vector<Inbox::Item> items;
  while (taken < 2 * kItems) {
    while (inbox.TakeAll(&items)) {
      taken += items.size();
      items.clear();
    }
    if (taken == 2 * kItems) break;
    {
      std::unique_lock<std::mutex> lock(mutex);
      ASSERT_TRUE(rung.wait_for(lock, std::chrono::seconds(30), [&] {
        return rings > 0;
      })) << taken;
      rings = 0;
    }
    inbox.StayAwake();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 2 * kItems);
}

}  // namespace
}  // namespace forbear::curl
