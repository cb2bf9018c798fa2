// Instructions and allocations per operation, counted by Valgrind's callgrind: the
// same on a machine that is busy. The program runs itself under it.
//
//   int main(int argc, char** argv) {
//     if (IsCounted(argc, argv)) return RunCounted(argv, run);  // the inner one
//     …
//     double n = *Instructions("call by key");
//   }
//
// What the outer one has started, a server say, runs outside of Valgrind.
//
// Valgrind has no vDSO: reading a clock is a system call for it, whose few
// instructions on this side are counted, and those of the kernel are not.
//
// Thread rule: once at a time.
#ifndef FORBEAR_BENCHMARKS_CALLGRIND_H_
#define FORBEAR_BENCHMARKS_CALLGRIND_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace forbear::bench {

enum class CountedThreads {
  // The one that does the operations.
  kOne,
  // All of them: from two runs, of which one does three times as many operations.
  kAll,
};

struct Counts {
  double instructions = 0;
  // Calls of malloc, calloc, realloc and aligned_alloc, by whatever library and
  // thread.
  double allocations = 0;
};

// Per operation of the case, over so many. UNAVAILABLE: valgrind is not there, or
// did not do it.
absl::StatusOr<Counts> CountsOf(const std::string& name,
                                int64_t operations = 10000,
                                CountedThreads threads = CountedThreads::kOne);
absl::StatusOr<double> Instructions(
    const std::string& name, int64_t operations = 10000,
    CountedThreads threads = CountedThreads::kOne);

// Makes the case and returns what does its operation n times.
using MakeLoop =
    std::function<std::function<void(int64_t)>(const std::string&)>;

bool IsCounted(int argc, char** argv);
int RunCounted(char** argv, const MakeLoop& make);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_CALLGRIND_H_
