// gRPC's times and ours. Private.
//
//   MonotonicTime deadline = FromGrpcTime(context->raw_deadline());
//   alarm.Set(ToGrpcTime(MonotonicNow() + absl::Seconds(1)), …);
//
// Only differences are carried over, so it does not matter whether the two
// monotonic clocks have the same zero. Infinite stays infinite. gRPC goes on to
// round up to a millisecond.
//
// Thread rule: call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_GRPC_TIME_H_
#define FORBEAR_INTERCEPTORS_GRPC_TIME_H_

#include <grpc/support/time.h>

#include <cstdint>

#include "absl/time/time.h"
#include "core/time.h"
#include "runtime/clock.h"

namespace forbear::rpc {

inline MonotonicTime FromGrpcTime(gpr_timespec t) {
  if (gpr_time_cmp(t, gpr_inf_future(t.clock_type)) == 0) {
    return MonotonicTime::Infinite();
  }
  if (gpr_time_cmp(t, gpr_inf_past(t.clock_type)) == 0) {
    return MonotonicTime::InfinitePast();
  }
  const gpr_timespec left =
      t.clock_type == GPR_TIMESPAN ? t : gpr_time_sub(t, gpr_now(t.clock_type));
  return MonotonicNow() + absl::Seconds(left.tv_sec) +
         absl::Nanoseconds(left.tv_nsec);
}

inline gpr_timespec ToGrpcTime(MonotonicTime t) {
  if (t.is_infinite()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  const int64_t left = absl::ToInt64Nanoseconds(t - MonotonicNow());
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(left, GPR_TIMESPAN));
}

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_GRPC_TIME_H_
