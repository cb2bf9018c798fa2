// Replay: makes a call again from its record, and shows what is decided now.
//
// A call is a pure function of its options, its seed, the events with their
// times, and what the shared states answered. The record has all of these but
// the options, so a record from the field is a test:
//
//   absl::StatusOr<CallRecord> again = Replay(record, options);
//   EXPECT_EQ(*again, record);          // the same decisions, at the same times
//
// The shared states are not there: their answers are read from the record. With
// other options than the call had, or after a change of the machine, the replay
// goes the recorded way as long as the decisions are the same. Where it asks
// something else, or at another time, the recorded answers say nothing any more,
// and it ends with an error that says where.
//
// What is not replayed: what to do with a body while it arrives
// (Execution::OnAnswerHead's answer), since the head's own outcome is not kept.
// Of a call that may hedge, enough of it is.
//
// Thread rule: a pure function; call from anywhere.
#ifndef FORBEAR_CORE_REPLAY_H_
#define FORBEAR_CORE_REPLAY_H_

#include "absl/status/statusor.h"
#include "core/call_record.h"
#include "core/retry_policy.h"

namespace forbear {

// FAILED_PRECONDITION: the record is not complete (the call has not ended, or
// had so many attempts, answers or events that some were dropped), or it was not made by
// an Execution. ABORTED: the decisions part from the record. REQUIRES: options
// passed ValidateRetry.
absl::StatusOr<CallRecord> Replay(const CallRecord& record,
                                  const RetryOptions& options);

}  // namespace forbear

#endif  // FORBEAR_CORE_REPLAY_H_
