#include "benchmarks/ratios.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <map>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "benchmark/benchmark.h"

namespace forbear::bench {
namespace {

void TwoClocksAndOneMutex(benchmark::State& state) {
  absl::Mutex mutex;
  // NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): as its manual says
  for (auto _ : state) {
    benchmark::DoNotOptimize(std::chrono::steady_clock::now());
    mutex.Lock();
    benchmark::ClobberMemory();
    mutex.Unlock();
    benchmark::DoNotOptimize(std::chrono::steady_clock::now());
  }
}
BENCHMARK(TwoClocksAndOneMutex)->Name("baseline");
BENCHMARK(TwoClocksAndOneMutex)->Name("control");

// Takes every measurement down.
class Reporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override {
    PrintBasicContext(&std::cerr, context);
    return true;
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred) {
        std::fprintf(stderr, "%s: %s\n", run.run_name.function_name.c_str(),
                     run.error_message.c_str());
        failed_ = true;
      } else if (run.run_type == Run::RT_Iteration) {
        const std::string& name = run.run_name.function_name;
        const bool ours = name == "baseline" || name == "control";
        Case& c = cases_[{!ours, run.family_index}];
        c.name = name;
        c.nanos.push_back(run.GetAdjustedCPUTime());
      }
    }
  }

  // False if there is nothing to compare with.
  bool Take(Ratios* ratios) {
    double unit = 0;
    for (auto& [index, c] : cases_) {
      std::sort(c.nanos.begin(), c.nanos.end());
      if (c.name == "baseline") unit = Median(c);
    }
    if (unit == 0) {
      std::fprintf(stderr, "no ratios: the filter must let baseline through\n");
      return false;
    }
    for (const auto& [index, c] : cases_) {
      ratios->push_back({c.name, Median(c), Median(c) / unit,
                         c.nanos.front() / unit, c.nanos.back() / unit});
    }
    return true;
  }

  bool failed() const { return failed_; }

 private:
  struct Case {
    std::string name;
    std::vector<double> nanos;
  };
  static double Median(const Case& c) { return c.nanos[c.nanos.size() / 2]; }

  // The two of this file, then the others as they were registered.
  std::map<std::pair<bool, int64_t>, Case> cases_;
  bool failed_ = false;
};

}  // namespace

const Ratio* FindRatio(const Ratios& ratios, const std::string& name) {
  for (const Ratio& r : ratios) {
    if (r.name == name) return &r;
  }
  return nullptr;
}

bool RunRatios(int argc, char** argv, Ratios* ratios) {
  // Before the arguments: the last one wins.
  std::string defaults[] = {"--benchmark_repetitions=11",
                            "--benchmark_min_time=0.05",
                            "--benchmark_enable_random_interleaving=true"};
  std::vector<char*> args = {argv[0]};
  for (std::string& arg : defaults) args.push_back(arg.data());
  args.insert(args.end(), argv + 1, argv + argc);
  int count = static_cast<int>(args.size());
  args.push_back(nullptr);
  benchmark::Initialize(&count, args.data());
  if (benchmark::ReportUnrecognizedArguments(count, args.data())) return false;

  const SecondThread second;
  Reporter reporter;
  return benchmark::RunSpecifiedBenchmarks(&reporter) > 0 &&
         reporter.Take(ratios) && !reporter.failed();
}

void PrintRatios(const Ratios& ratios) {
  std::printf("%-40s %9s %7s   %s\n", "case", "ns", "ratio", "min … max");
  for (const Ratio& r : ratios) {
    std::printf("%-40s %9.1f %7.2f   %.2f … %.2f\n", r.name.c_str(), r.nanos,
                r.ratio, r.min, r.max);
  }
}

SecondThread::~SecondThread() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SecondThread::Wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return over_; });
}

}  // namespace forbear::bench
