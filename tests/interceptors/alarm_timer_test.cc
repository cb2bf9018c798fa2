#include "interceptors/alarm_timer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>

namespace forbear::rpc {
namespace {

// A channel's last reference, say, which must not be dropped on a callback thread:
// RunSoon is what takes it elsewhere.
TEST(AlarmTimerTest, WhatSoonRunsIsLetGoOnTheTimersThread) {
  const std::thread::id here = std::this_thread::get_id();
  std::atomic<int> gone = 0;
  std::atomic<int> gone_here = 0;
  for (int i = 1; i <= 20000; ++i) {
    std::shared_ptr<void> last(nullptr, [&](void*) {
      if (std::this_thread::get_id() == here) ++gone_here;
      ++gone;
    });
    RunSoon([last = std::move(last)] {});
    // Not too many at a time.
    while (gone < i - 100) std::this_thread::yield();
  }
  while (gone < 20000) std::this_thread::yield();
  EXPECT_EQ(gone_here, 0);
}

}  // namespace
}  // namespace forbear::rpc
