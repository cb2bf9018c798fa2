// What a call costs when nothing fails, beside what it must cost.
//
// See core_cases.h for the operations; docs/benchmarks.md says how far the numbers
// reach. Exit status 0 unless something did not run: speed is no test.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "benchmarks/callgrind.h"
#include "benchmarks/core_cases.h"
#include "benchmarks/goals.h"
#include "benchmarks/ratios.h"
#include "benchmarks/side_by_side.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "runtime/client.h"

namespace {
thread_local int64_t allocations = 0;
}  // namespace

void* operator new(size_t size) {
  ++allocations;
  void* const p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) std::abort();
  return p;
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace forbear::bench {
namespace {

std::shared_ptr<Client> NewClient() { return Client::Create().value(); }

Loop LoopOf(std::shared_ptr<CoreCase> one) {
  return [one = std::move(one)](int64_t n) { one->Run(n); };
}

Loop MakeLoopOf(const std::string& name) {
  std::shared_ptr<CoreCase> one = MakeCase(name, NewClient(), 0);
  return one == nullptr ? Loop() : LoopOf(std::move(one));
}

void Timed(benchmark::State& state, const std::string& name) {
  const std::unique_ptr<CoreCase> one = MakeCase(name, NewClient(), 0);
  constexpr int64_t kBatch = 100;
  while (state.KeepRunningBatch(kBatch)) one->Run(kBatch);
}

double AllocationsOf(const std::string& name) {
  constexpr int64_t kOperations = 1000;
  const std::unique_ptr<CoreCase> one = MakeCase(name, NewClient(), 0);
  const int64_t before = allocations;
  one->Run(kOperations);
  return static_cast<double>(allocations - before) / kOperations;
}

// Calls to many targets, with 4 MiB of other memory touched between any two.
struct Cold {
  double p50 = 0;
  double p99 = 0;
};
Cold ColdNanos(const std::string& name) {
  constexpr int kTargets = 64;
  constexpr size_t kSweep = size_t{4} << 20;
  constexpr int kCalls = 5000;
  const auto client = NewClient();
  std::vector<std::unique_ptr<CoreCase>> cases;
  for (int i = 0; i < kTargets; ++i) {
    cases.push_back(MakeCase(name, client, i));
  }
  std::vector<unsigned char> other(kSweep, 1);
  std::vector<double> nanos;
  for (uint64_t i = 0; i < kCalls; ++i) {
    for (size_t at = 0; at < kSweep; at += 64) ++other[at];
    benchmark::DoNotOptimize(other.data());
    const size_t target = MixRandom(1, i) % kTargets;
    const auto start = std::chrono::steady_clock::now();
    cases[target]->Run(1);
    const auto end = std::chrono::steady_clock::now();
    nanos.push_back(
        std::chrono::duration<double, std::nano>(end - start).count());
  }
  std::sort(nanos.begin(), nanos.end());
  return {nanos[kCalls / 2], nanos[size_t{kCalls} / 100 * 99]};
}

class NeverWoken final : public Waiter {
 public:
  void Wake() override {}
};

// Of one of 100,000 callers that wait for a shut gate, each with a deadline of
// its own: its place in the queue, its limit's, and the smallest possible waiter.
double WaiterBytes() {
  constexpr uint64_t kWaiters = 100000;
  const auto now = MonotonicTime::FromNanos(1);
  Quota quota{QuotaOptions{}};
  WakeList wakes;
  const auto asks = [&](uint64_t id) {
    const MonotonicTime at = now + absl::Nanoseconds(id);
    return quota.Ask(
        {at, id}, std::make_shared<NeverWoken>(), at,
        at + absl::Hours(2) + absl::Microseconds(MixRandom(2, id) % 1000000),
        &wakes);
  };
  const Quota::Answer first = asks(0);
  Outcome refused;
  refused.kind = ErrorKind::kThrottled;
  refused.processed = Processed::kNo;
  refused.pushback = absl::Hours(1);
  quota.OnAnswer(first.permit, refused, now, &wakes);
  const size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (uint64_t id = 1; id <= kWaiters; ++id) asks(id);
  const size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
  if (quota.queue().size() != kWaiters) std::abort();
  return static_cast<double>(after - before) / kWaiters;
}

absl::StatusOr<double> Number(const Ratio* r, double Ratio::*field) {
  if (r == nullptr) return absl::UnavailableError("left out by the filter");
  return r->*field;
}

std::string Spread(const Ratio* r) {
  if (r == nullptr) return "";
  return absl::StrFormat("%.1f ns, %.2f … %.2f", r->nanos, r->min, r->max);
}

struct CallGoals {
  const char* name;
  double ratio, ratio_stretch, instructions, instructions_stretch;
};

int Main(int argc, char** argv) {
  for (const std::string& name : CaseNames()) {
    benchmark::RegisterBenchmark(
        name.c_str(), [name](benchmark::State& s) { Timed(s, name); });
  }
  Ratios ratios;
  if (!RunRatios(argc, argv, &ratios)) return 1;
  PrintRatios(ratios);
  std::printf("\n");

  const SecondThread second;
  Goals goals;
  goals.AtMost("control: the baseline once more",
               Number(FindRatio(ratios, "control"), &Ratio::ratio), "x", {}, {},
               Spread(FindRatio(ratios, "control")));
  goals.AtMost("control: instructions of no call", Instructions("no call"), "",
               {});
  const CallGoals calls[] = {{"call by handle", 1.9, 1.5, 450, 350},
                             {"call by key", 2.2, 1.75, 620, 520}};
  for (const CallGoals& c : calls) {
    const Ratio* const r = FindRatio(ratios, c.name);
    goals.AtMost(c.name, Number(r, &Ratio::ratio), "x", c.ratio,
                 c.ratio_stretch, Spread(r));
    goals.AtMost(absl::StrCat(c.name, ": instructions"), Instructions(c.name),
                 "", c.instructions, c.instructions_stretch);
    goals.AtMost(absl::StrCat(c.name, ": heap allocations"),
                 AllocationsOf(c.name), "", 0);
  }
  const Ratio* const texts = FindRatio(ratios, "call by texts");
  goals.AtMost("call by texts", Number(texts, &Ratio::ratio), "x", {}, {},
               Spread(texts));
  goals.AtMost("call by texts: instructions", Instructions("call by texts"), "",
               {});
  // The record is kept as the few numbers that it is made of; this is to read it.
  goals.AtMost("call by handle and its record: instructions",
               Instructions("call and record"), "", {});
  goals.AtMost("decisions alone: instructions", Instructions("decisions"), "",
               200, 150);
  goals.AtMost("decisions within: instructions",
               Instructions("decisions within"), "", {});
  goals.AtMost("execution alone: instructions", Instructions("execution"), "",
               {});
  const Ratio* const lookup = FindRatio(ratios, "registry lookup");
  goals.AtMost("registry lookup", Number(lookup, &Ratio::nanos), "ns", 15, {},
               Spread(lookup));
  // The goals in ns are of a machine where the baseline took 57.5 ns.
  goals.AtMost("registry lookup, to the baseline",
               Number(lookup, &Ratio::ratio), "x", 15 / 57.5, {});

  const std::string fast = "call by handle";
  const auto client = NewClient();
  const auto loop = [&](int target) {
    return LoopOf(MakeCase(fast, client, target));
  };
  const absl::StatusOr<double> one = SideBySide({loop(0)});
  absl::StatusOr<double> separate = SideBySide({loop(1), loop(2)});
  if (one.ok() && separate.ok()) separate = *separate / *one;
  goals.AtMost("one thread", one, "ns", {});
  goals.AtMost("two threads, two targets, to one", separate, "x", 1.15);
  goals.AtMost("two threads, one target", SideBySide({loop(3), loop(3)}), "ns",
               450, 300);

  const Cold cold = ColdNanos(fast);
  goals.AtMost("cold caches, 64 targets, median", cold.p50, "ns", 600, 400);
  goals.AtMost("cold caches, 64 targets, 99 %", cold.p99, "ns", {});
  goals.AtMost("a waiter among 100,000", WaiterBytes(), "bytes", 256);
  goals.Print();
  return goals.complete() ? 0 : 1;
}

}  // namespace
}  // namespace forbear::bench

int main(int argc, char** argv) {
  using forbear::bench::IsCounted;
  using forbear::bench::RunCounted;
  if (IsCounted(argc, argv)) {
    const forbear::bench::SecondThread second;
    return RunCounted(argv, forbear::bench::MakeLoopOf);
  }
  return forbear::bench::Main(argc, argv);
}
