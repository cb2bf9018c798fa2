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

// `sends`: when each was heard, since the call was begun. The first
// `at_least.size()` of the waits between them are looked at.
//
// A send that is heard late makes what follows look early if the client did not wait
// for its answer (a time-out, a hedge). So none may come before the waits until then
// are over, counted from the begin of all.
inline void ExpectWaits(const std::vector<absl::Duration>& sends,
                        const std::vector<absl::Duration>& at_least) {
  ASSERT_GT(sends.size(), at_least.size());
  absl::Duration all;
  for (size_t i = 0; i < at_least.size(); ++i) {
    all += at_least[i];
    // gRPC counts in milliseconds.
    EXPECT_GE(sends[i + 1], all - absl::Milliseconds(1)) << "send " << i + 2;
    // A busy machine is late.
    EXPECT_LE(sends[i + 1] - sends[i], 2 * at_least[i] + absl::Seconds(10))
        << "send " << i + 2;
  }
}

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_EXPECT_WAITS_H_
