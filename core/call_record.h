// CallRecord: what happened in one call, as values. The log line, the answer to
// "which attempt failed, and why", and the input of a replay.
//
//   for (const AttemptRecord& a : result.record.attempts) …
//   std::cerr << FormatCallRecord(result.record);
//
// It holds no header, no query, no body and no credential: nothing secret can
// leave through it. Bounded: the last kMaxAttempts attempts are kept, and all
// are counted.
//
// Thread rule: a value.
#ifndef FORBEAR_CORE_CALL_RECORD_H_
#define FORBEAR_CORE_CALL_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"

namespace forbear {

enum class Protocol : uint8_t { kNone, kHttp, kGrpc };

struct AttemptRecord {
  int number = 0;  // 1 is the first
  MonotonicTime start;
  // When it ended; equal to start until then.
  MonotonicTime end;
  Outcome outcome;
  // The wait that ended with this attempt, since the last attempt's end (the
  // call's begin for the first), and what made it as long as it was.
  absl::Duration waited;
  DelaySource wait_source = DelaySource::kNone;
  // Whether a wait that the server announced was too long to be believed.
  bool garbage_pushback = false;
};

struct CallRecord {
  uint64_t call_id = 0;
  uint64_t seed = 0;
  Protocol protocol = Protocol::kNone;
  std::string target;  // host:port
  std::string method;  // "POST", "/pkg.Service/Method"
  MonotonicTime begin;
  MonotonicTime end;
  StopReason stop_reason = StopReason::kNone;
  // When the next send would have been allowed, if the call ended because of it.
  std::optional<MonotonicTime> retry_at;
  int total_attempts = 0;
  absl::InlinedVector<AttemptRecord, 2> attempts;

  static constexpr int kMaxAttempts = 16;

  // Sends that brought no usable answer, as far as this side can see: attempts
  // less one if the call ended with an answer (ok or permanent).
  int wasted_sends() const {
    const bool answered = stop_reason == StopReason::kSuccess ||
                          stop_reason == StopReason::kPermanentError;
    return total_attempts - (answered ? 1 : 0);
  }
};

// One line for the call and one for each attempt, for a person:
//   POST 127.0.0.1:8080: success after 2 attempts, 1.02s
//     1  +0s      waited 0s (none)          429 throttled  2ms, server asked 1s
//     2  +1.005s  waited 1.003s (retry-after)  200 ok  9ms
std::string FormatCallRecord(const CallRecord& record);

// "429", "UNAVAILABLE"-like names are the drivers'; this is the bare number,
// or the transport error, or "-" when nothing came.
std::string FormatStatus(Protocol protocol, const Outcome& outcome);

// A duration as people read it: three significant places, "1.02s", "250ms".
std::string FormatShort(absl::Duration d);

}  // namespace forbear

#endif  // FORBEAR_CORE_CALL_RECORD_H_
