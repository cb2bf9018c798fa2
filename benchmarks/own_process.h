// NumbersOfOwnProcess: what this program prints when it is run again with these
// arguments: for what must be measured in a process whose memory and threads are
// nothing else's.
//
//   // main() prints three numbers if argv[1] is "--waiting"
//   auto numbers = NumbersOfOwnProcess({"--waiting", "500"}, 3);
//
// No argument may hold a quote. INTERNAL: it did not end well, or printed something
// else.
//
// Thread rule: call from anywhere.
#ifndef FORBEAR_BENCHMARKS_OWN_PROCESS_H_
#define FORBEAR_BENCHMARKS_OWN_PROCESS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace forbear::bench {

absl::StatusOr<std::vector<double>> NumbersOfOwnProcess(
    const std::vector<std::string>& args, size_t count);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_OWN_PROCESS_H_
