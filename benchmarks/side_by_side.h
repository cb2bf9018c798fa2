// Nanoseconds per operation of one or more threads that run at the same time.
//
//   absl::StatusOr<double> nanos = SideBySide({loop_a, loop_b});
//
// Threads do their operations in batches of some ten microseconds. A batch counts
// only if its thread was not interrupted in it, and the others ran all along:
// on a busy machine one often waits in the run queue, and then there is nobody to
// compete with.
//
// Thread rule: one at a time.
#ifndef FORBEAR_BENCHMARKS_SIDE_BY_SIDE_H_
#define FORBEAR_BENCHMARKS_SIDE_BY_SIDE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"

namespace forbear::bench {

using Loop = std::function<void(int64_t)>;

// Median of the batches that count, of wall time per operation of a thread.
// UNAVAILABLE: there were too few in some seconds.
absl::StatusOr<double> SideBySide(const std::vector<Loop>& loops);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_SIDE_BY_SIDE_H_
