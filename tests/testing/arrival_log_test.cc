#include "tests/testing/arrival_log.h"

#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

Arrival OfPath(std::string path) {
  Arrival arrival;
  arrival.path = std::move(path);
  return arrival;
}

TEST(ArrivalLogTest, GivesIndexesAndTimesInTheSameOrder) {
  ArrivalLog log;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log] {
      for (int i = 0; i < 500; ++i) log.Add(OfPath("/"));
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(log.Count(), 2000);
  const std::vector<Arrival> arrivals = log.Snapshot();
  ASSERT_EQ(arrivals.size(), 2000u);
  for (size_t i = 0; i < arrivals.size(); ++i) {
    EXPECT_EQ(arrivals[i].index, static_cast<int64_t>(i));
    if (i > 0) {
      EXPECT_GE(arrivals[i].since_start, arrivals[i - 1].since_start);
    }
  }
  EXPECT_LE(arrivals.back().since_start, log.Now());
}

TEST(ArrivalLogTest, KeepsTheNewestAndCountsAll) {
  ArrivalLog::Options options;
  options.max_kept = 3;
  ArrivalLog log(options);
  for (int i = 0; i < 10; ++i) {
    log.Add(OfPath(std::to_string(i)));
    log.SetAnswer(i, 200, Fault::kNone);
  }
  log.SetCancelled(0);  // No longer kept.
  log.SetCancelled(9);

  EXPECT_EQ(log.Count(), 10);
  EXPECT_EQ(log.CountOfStatus(200), 10);
  EXPECT_EQ(log.CountOfStatus(500), 0);
  EXPECT_EQ(log.CountCancelled(), 2);
  const std::vector<Arrival> arrivals = log.Snapshot();
  ASSERT_EQ(arrivals.size(), 3u);
  EXPECT_EQ(arrivals[0].path, "7");
  EXPECT_EQ(arrivals[0].status, 200);
  EXPECT_FALSE(arrivals[0].cancelled);
  EXPECT_TRUE(arrivals[2].cancelled);
}

TEST(ArrivalLogTest, BoundsWhatOneArrivalHolds) {
  ArrivalLog::Options options;
  options.max_body_copy = 4;
  ArrivalLog log(options);
  Arrival arrival;
  arrival.body = "0123456789";
  for (int i = 0; i < 100; ++i) arrival.headers[std::to_string(i)] = "v";
  arrival.headers["0"] = std::string(1000, 'x');
  log.Add(arrival);

  const Arrival kept = log.Snapshot().front();
  EXPECT_EQ(kept.body, "0123");
  EXPECT_EQ(kept.headers.size(), 64u);
  EXPECT_EQ(kept.headers.at("0").size(), 256u);
}

TEST(ArrivalLogTest, FullestBinSlides) {
  ArrivalLog log;
  EXPECT_EQ(log.FullestBin(absl::Seconds(1)).count, 0);
  log.Add(OfPath("/"));
  const absl::Duration between = log.Now();
  while (log.Now() < between + absl::Milliseconds(20))
    std::this_thread::yield();
  log.Add(OfPath("/"));
  log.Add(OfPath("/"));

  EXPECT_EQ(log.FullestBin(absl::Minutes(1)).count, 3);
  EXPECT_EQ(log.FullestBin(absl::Minutes(1), between).count, 2);
  EXPECT_EQ(log.FullestBin(absl::Nanoseconds(1)).count, 1);
  EXPECT_EQ(log.FullestBin(absl::Minutes(1), log.Now()).count, 0);
  EXPECT_EQ(log.FullestBin(absl::ZeroDuration()).count, 0);
  const std::vector<Arrival> arrivals = log.Snapshot();
  const ArrivalLog::Bin pair = log.FullestBin(
      arrivals[2].since_start - arrivals[1].since_start + absl::Nanoseconds(1));
  EXPECT_EQ(pair.count, 2);
  EXPECT_EQ(pair.start, arrivals[1].since_start);
}

TEST(ArrivalLogTest, WaitsForCounts) {
  ArrivalLog log;
  EXPECT_FALSE(log.WaitForCount(1, absl::Milliseconds(1)));
  EXPECT_FALSE(log.WaitForCancelled(1, absl::Milliseconds(1)));
  // Arrived is not enough.
  log.Add(OfPath("/"));
  EXPECT_EQ(log.Count(), 1);
  EXPECT_FALSE(log.WaitForCount(1, absl::Milliseconds(1)));
  std::thread adder([&log] {
    log.Add(OfPath("/"));
    log.SetAnswer(0, Arrival::kNoStatus, Fault::kHang);
    log.SetCancelled(0);
  });
  EXPECT_TRUE(log.WaitForCount(1, absl::Seconds(10)));
  EXPECT_TRUE(log.WaitForCancelled(1, absl::Seconds(10)));
  adder.join();
}

TEST(ArrivalLogTest, HashesDiffer) {
  EXPECT_EQ(ArrivalLog::HashOf("abc"), ArrivalLog::HashOf(std::string("abc")));
  EXPECT_NE(ArrivalLog::HashOf("abc"), ArrivalLog::HashOf("abd"));
}

}  // namespace
}  // namespace forbear::testing
