// RunRatios: runs what is registered with Google Benchmark, the cases mixed and
// several times each, and compares them with a baseline of the same run.
// Nanoseconds depend on the machine and on its other work; a ratio much less.
//
//   baseline   two readings of steady_clock and one free absl::Mutex taken and
//              given back: what a call costs that is timed and counted at all
//   control    the same once more. What it differs from 1.00 by, is noise
//
// Each number is the median of the repetitions, of CPU time. All the usual flags
// of Google Benchmark are there; --benchmark_out=FILE keeps every measurement.
//
//   Ratios ratios;
//   if (!RunRatios(argc, argv, &ratios)) return 1;
//   PrintRatios(ratios);
//
// Thread rule: once, from main().
#ifndef FORBEAR_BENCHMARKS_RATIOS_H_
#define FORBEAR_BENCHMARKS_RATIOS_H_

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace forbear::bench {

struct Ratio {
  std::string name;
  double nanos = 0;  // median
  double ratio = 0;  // to the baseline's median
  double min = 0;    // of the repetitions, as ratios
  double max = 0;
};

// The baseline and the control, then the others as they were registered.
using Ratios = std::vector<Ratio>;

// Null if the filter of the flags has left it out.
const Ratio* FindRatio(const Ratios& ratios, const std::string& name);

// False, and said on stderr: a wrong flag, a case that failed, or no baseline.
bool RunRatios(int argc, char** argv, Ratios* ratios);

void PrintRatios(const Ratios& ratios);

// glibc counts references without atomic instructions while a process has one
// thread. A program that calls services has more: keep one of these.
class SecondThread {
 public:
  SecondThread() : thread_([this] { Wait(); }) {}
  ~SecondThread();
  SecondThread(const SecondThread&) = delete;
  SecondThread& operator=(const SecondThread&) = delete;

 private:
  void Wait();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_RATIOS_H_
