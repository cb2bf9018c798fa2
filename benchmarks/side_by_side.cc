#include "benchmarks/side_by_side.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <ctime>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace forbear::bench {
namespace {

constexpr int64_t kOperations = 200;  // of a batch
constexpr size_t kEnough = 1000;      // batches
constexpr double kRoundNanos = 3e8;
constexpr int kRounds = 20;

double Nanos(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

struct Batch {
  double start = 0;
  double end = 0;
  bool whole = false;  // the thread ran from its start to its end
};

std::vector<Batch> Batches(const Loop& loop, double until) {
  std::vector<Batch> batches;
  batches.reserve(static_cast<size_t>(kRoundNanos / kOperations / 10));
  Batch b;
  do {
    const double cpu = Nanos(CLOCK_THREAD_CPUTIME_ID);
    b.start = Nanos(CLOCK_MONOTONIC);
    loop(kOperations);
    b.end = Nanos(CLOCK_MONOTONIC);
    const double ran = Nanos(CLOCK_THREAD_CPUTIME_ID) - cpu;
    b.whole = ran >= b.end - b.start;
    batches.push_back(b);
  } while (b.end < until);
  return batches;
}

// Whether these cover the time without a gap. `*next` moves on with it.
bool RanAllAlong(const std::vector<Batch>& batches, double from, double to,
                 size_t* next) {
  constexpr double kGap = 3000;
  while (*next < batches.size() && batches[*next].end < from) ++*next;
  for (size_t i = *next; i < batches.size(); ++i) {
    if (!batches[i].whole || batches[i].start > from) return false;
    if (batches[i].end >= to) return true;
    from = batches[i].end + kGap;
  }
  return false;
}

void Round(const std::vector<Loop>& loops, std::vector<double>* nanos) {
  std::vector<std::vector<Batch>> all(loops.size());
  std::vector<std::thread> threads;
  const double until = Nanos(CLOCK_MONOTONIC) + kRoundNanos;
  for (size_t i = 0; i < loops.size(); ++i) {
    threads.emplace_back([&, i] { all[i] = Batches(loops[i], until); });
  }
  for (std::thread& t : threads) t.join();
  for (size_t i = 0; i < all.size(); ++i) {
    std::vector<size_t> next(all.size(), 0);
    for (const Batch& b : all[i]) {
      bool counts = b.whole;
      for (size_t other = 0; other < all.size() && counts; ++other) {
        counts =
            other == i || RanAllAlong(all[other], b.start, b.end, &next[other]);
      }
      if (counts) nanos->push_back((b.end - b.start) / kOperations);
    }
  }
}

}  // namespace

absl::StatusOr<double> SideBySide(const std::vector<Loop>& loops) {
  std::vector<double> nanos;
  for (int i = 0; i < kRounds && nanos.size() < kEnough * loops.size(); ++i) {
    Round(loops, &nanos);
  }
  if (nanos.size() < kEnough / 10) {
    return absl::UnavailableError("other programs keep the processors busy");
  }
  std::sort(nanos.begin(), nanos.end());
  return nanos[nanos.size() / 2];
}

}  // namespace forbear::bench
