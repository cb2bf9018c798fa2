// Refusals that come out of each other: each is reported once, in order, and not within
// another one; and what never ends does.
#include "curl_wrap/refuse.h"

#include <curl/curl.h>

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace forbear::curl {
namespace {

TEST(RefuseTest, SaysWhy) {
  std::vector<Response> reports;
  const auto report = [&](const Response& r) { reports.push_back(r); };
  EXPECT_TRUE(Refuse(report, StopReason::kQueueFull));
  EXPECT_TRUE(Refuse(report, StopReason::kCancelled));
  EXPECT_TRUE(Refuse(Done(), StopReason::kCancelled));
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].code, CURLE_COULDNT_CONNECT);
  EXPECT_EQ(reports[0].stop_reason, StopReason::kQueueFull);
  EXPECT_EQ(reports[0].record.stop_reason, StopReason::kQueueFull);
  EXPECT_EQ(reports[1].code, CURLE_ABORTED_BY_CALLBACK);
  EXPECT_EQ(reports[1].stop_reason, StopReason::kCancelled);
}

TEST(RefuseTest, OneAfterTheOther) {
  std::vector<int> order;
  EXPECT_TRUE(Refuse(
      [&](const Response&) {
        for (const int i : {2, 3}) {
          EXPECT_TRUE(Refuse(
              [&order, i](const Response&) {
                order.push_back(i);
                EXPECT_TRUE(Refuse(
                    [&order, i](const Response&) { order.push_back(10 * i); },
                    StopReason::kCancelled));
              },
              StopReason::kQueueFull));
        }
        order.push_back(1);
        // Others have rows of their own.
        std::thread([&] {
          EXPECT_TRUE(Refuse([&](const Response&) { order.push_back(0); },
                             StopReason::kCancelled));
        }).join();
      },
      StopReason::kCancelled));
  EXPECT_EQ(order, (std::vector<int>{1, 0, 2, 3, 20, 30}));
}

TEST(RefuseTest, ARowEnds) {
  for (const int branches : {1, 2}) {
    size_t reported = 0;
    size_t taken = 1;
    std::function<void(Response)> again = [&](const Response&) {
      ++reported;
      for (int i = 0; i < branches; ++i) {
        if (Refuse(again, StopReason::kCancelled)) ++taken;
      }
    };
    // Each has its own.
    for (size_t rows = 1; rows <= 2; ++rows) {
      EXPECT_TRUE(Refuse(again, StopReason::kCancelled));
      EXPECT_EQ(reported, rows * kMaxInARow);
      EXPECT_EQ(taken, reported);
      ++taken;
    }
  }
}

}  // namespace
}  // namespace forbear::curl
