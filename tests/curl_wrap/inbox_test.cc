// When the bell is rung, and that nothing is lost when it is not.
#include "curl_wrap/inbox.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <future>
#include <memory>
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

// … or without having looked.
TEST(InboxTest, WhoFallsAsleepLooksWhetherThereIsSomething) {
  int rings = 0;
  Inbox inbox([&] { ++rings; });
  inbox.StayAwake();
  EXPECT_TRUE(inbox.Post(Cancel(1)));
  EXPECT_FALSE(inbox.empty());
  inbox.FallAsleep();
  EXPECT_FALSE(inbox.empty());
  EXPECT_TRUE(inbox.Post(Cancel(2)));
  EXPECT_EQ(rings, 0);
  std::vector<Inbox::Item> items;
  EXPECT_TRUE(inbox.TakeAll(&items));
  EXPECT_TRUE(inbox.empty());
  EXPECT_EQ(items.size(), 2u);
  inbox.StayAwake();
  inbox.FallAsleep();
  EXPECT_TRUE(inbox.Post(Cancel(3)));
  EXPECT_EQ(rings, 1);
}

// What has been started must be woken, or it would wait until it is given up; and who
// started it may have changed his mind.
TEST(InboxTest, OneThatIsClosedStartsNothing) {
  int rings = 0;
  Inbox inbox([&] { ++rings; });
  inbox.Close();
  Inbox::Item start{Inbox::What::kStart, 1, nullptr};
  EXPECT_FALSE(inbox.PostOrKeep(&start));
  EXPECT_EQ(start.id, 1u);
  EXPECT_EQ(rings, 0);
  EXPECT_TRUE(inbox.Post(Cancel(2)));
  EXPECT_TRUE(inbox.Post({Inbox::What::kWake, 3, nullptr}));
  EXPECT_EQ(rings, 1);
  std::vector<Inbox::Item> items;
  EXPECT_TRUE(inbox.TakeAll(&items));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].id, 2u);
  EXPECT_EQ(items[1].id, 3u);
}

TEST(InboxTest, OneThatIsClosedForGoodTakesNothing) {
  int rings = 0;
  Inbox inbox([&] { ++rings; });
  EXPECT_TRUE(inbox.Post(Cancel(1)));
  inbox.CloseForGood();
  for (const Inbox::What what :
       {Inbox::What::kStart, Inbox::What::kCancel, Inbox::What::kWake}) {
    Inbox::Item item{what, 2, nullptr};
    EXPECT_FALSE(inbox.PostOrKeep(&item));
    EXPECT_EQ(item.id, 2u);
  }
  EXPECT_EQ(rings, 1);
  std::vector<Inbox::Item> items;
  EXPECT_TRUE(inbox.TakeAll(&items));
  EXPECT_EQ(items.size(), 1u);
}

// The bell is the application's: while it is rung others may post, and the loop take.
TEST(InboxTest, TheBellIsRungWithoutTheLock) {
  std::thread other;
  std::promise<void> posted;
  bool waits = true;
  Inbox* of = nullptr;
  Inbox inbox([&] {
    other = std::thread([&] {
      of->Post(Cancel(2));
      posted.set_value();
    });
    waits = posted.get_future().wait_for(std::chrono::seconds(5)) ==
            std::future_status::timeout;
  });
  of = &inbox;
  inbox.Post(Cancel(1));
  other.join();
  EXPECT_FALSE(waits);
}

// What a bell needs goes away with whoever closes the inbox.
TEST(InboxTest, CloseForGoodWaitsForTheBell) {
  for (int i = 0; i < 200; ++i) {
    std::promise<void> at_the_bell;
    std::atomic<bool> closing{false};
    auto needed = std::make_unique<int>(0);
    Inbox inbox([&] {
      at_the_bell.set_value();
      while (!closing) std::this_thread::yield();
      for (int n = 0; n < 20; ++n) std::this_thread::yield();
      ++*needed;
    });
    std::thread other([&] { inbox.Post(Cancel(1)); });
    at_the_bell.get_future().wait();
    closing = true;
    inbox.CloseForGood();
    EXPECT_EQ(*needed, 1);
    needed.reset();
    other.join();
  }
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
