// ExpectWaits: that sends came as far apart as a policy says: none too early, and none
// much too late.
//
// Thread rule: one thread.
#ifndef FORBEAR_TESTS_INTERCEPTORS_EXPECT_WAITS_H_
#define FORBEAR_TESTS_INTERCEPTORS_EXPECT_WAITS_H_

#include <cstddef>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace forbear::rpc {

// The first `at_least.size()` of the waits between sends.
inline void ExpectWaits(const std::vector<absl::Duration>& waits,
                        const std::vector<absl::Duration>& at_least) {
  ASSERT_GE(waits.size(), at_least.size());
  for (size_t i = 0; i < at_least.size(); ++i) {
    // gRPC counts in milliseconds.
    EXPECT_GE(waits[i], at_least[i] - absl::Milliseconds(1))
        << "before send " << i + 2;
    // A busy machine is late.
    EXPECT_LE(waits[i], 2 * at_least[i] + absl::Seconds(10));
  }
}

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_EXPECT_WAITS_H_
