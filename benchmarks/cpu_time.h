// The processor time of this process, user's and system's, in microseconds.
//
//   const double before = CpuMicros();
//   …
//   const double took = CpuMicros() - before;
//
// Thread rule: call from anywhere; it is of all threads.
#ifndef FORBEAR_BENCHMARKS_CPU_TIME_H_
#define FORBEAR_BENCHMARKS_CPU_TIME_H_

#include <sys/resource.h>

namespace forbear::bench {

inline double CpuMicros() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_CPU_TIME_H_
