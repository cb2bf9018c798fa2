// CallRecord: what happened in one call, as values. The log line, the answer to
// "which attempt failed, and why", and the input of a replay.
//
//   for (const AttemptRecord& a : result.record.attempts) …
//   std::cerr << FormatCallRecord(result.record);
//
// It holds no header, no query, no body and no credential: nothing secret can
// leave through it. Bounded: the last kMaxAttempts attempts and kMaxDispatches
// answers are kept, and all are counted.
//
// It also holds every answer of the shared states that a decision used, so a
// record that is complete is a test: core/replay.h makes the same call again
// from it. proto/record_convert.h writes it down.
//
// Thread rule: a value.
#ifndef FORBEAR_CORE_CALL_RECORD_H_
#define FORBEAR_CORE_CALL_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_names.h"
#include "core/cost.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"

namespace forbear {

enum class Protocol : uint8_t { kNone, kHttp, kGrpc };

// What the retry budget said to the retry after an attempt.
enum class BudgetAnswer : uint8_t {
  kNotAsked,  // it did not come to that
  kPaid,      // the cost was withdrawn
  kRefused,   // too little was left
};

// Its members, and those of the structs below, stand so that there are no holes
// between them: each call that waits holds some of these.
struct AttemptRecord {
  int number = 0;  // 1 is the first
  // What the budget was asked for, if it was (`budget`).
  int budget_cost = 0;
  MonotonicTime start;
  // When the answer's head arrived; absent: it did not, or nobody looked.
  std::optional<MonotonicTime> head;
  // When it ended; equal to start until then.
  MonotonicTime end;
  Outcome outcome;
  // The wait that ended with this attempt, since the last attempt's end (the
  // call's begin for the first), and what made it as long as it was.
  absl::Duration waited;
  DelaySource wait_source = DelaySource::kNone;
  // It started while another one was out (core/hedge.h); `waited` counts from the
  // start of the attempt before it then.
  bool hedge = false;
  // Another attempt's answer came first, and this one was cancelled. Its outcome
  // is what came nevertheless.
  bool lost = false;
  // Whether a wait that the server announced was too long to be believed.
  bool garbage_pushback = false;
  // Whether the request could have been sent again when it ended.
  bool replayable = true;

  // The shared states' answers, if it came to the question whether another
  // attempt may follow. What the budget said; whether it was a lone failure, as they
  // said (core/backoff.h); and nothing will be sent before `not_before`, as far as
  // they knew, because of its source.
  BudgetAnswer budget = BudgetAnswer::kNotAsked;
  bool lone = false;
  DelaySource not_before_source = DelaySource::kNone;
  std::optional<MonotonicTime> not_before;
};

// One answer to "may an attempt start now?".
struct DispatchRecord {
  MonotonicTime at;  // when it was asked
  // kWait: ask again then (infinite: when woken). kRefuse: not before then.
  // kGo: the same as `at`.
  MonotonicTime until;
  Verdict verdict = Verdict::kGo;
  // kWait, kRefuse: because of this, says this state.
  DelaySource source = DelaySource::kNone;
  Holder holder = Holder::kNowhere;
  StopReason reason = StopReason::kNone;  // kRefuse
  // It was about a hedge: kRefuse only means that none was sent.
  bool hedge = false;
};

// What happened, in the order in which it did. Kept for calls that may hedge
// only: with one attempt at a time the rest of the record says as much.
struct EventRecord {
  enum class What : uint8_t {
    kSent,        // `attempt` left: its driver took the order to start it
    kHeadGood,    // the head of `attempt`'s answer: the application's
    kHeadFailed,  // … of a failure
    kHeadTold,    // … of one that asks for less
    kEnd,         // `attempt` ended
    kAsk,         // a new entry in `dispatches`
    kTimeUp,      // the call's limit has come while it waited
    kCancel,      // the application took the call back
  };
  What what = What::kSent;
  int attempt = 0;
  MonotonicTime at;
};

struct CallRecord {
  uint64_t call_id = 0;
  uint64_t seed = 0;
  CallNames names;
  // For people, who think in dates: nothing is computed from it. InfinitePast:
  // not known.
  absl::Time wall_start = absl::InfinitePast();
  MonotonicTime begin;
  MonotonicTime end;
  MonotonicTime deadline = MonotonicTime::Infinite();
  // What each attempt takes of our limits, as it was estimated.
  Cost cost;
  Protocol protocol = Protocol::kNone;
  bool idempotent = false;
  // It was an attempt of another layer's loop, and left repeating to that.
  bool yields_to_outer = false;
  StopReason stop_reason = StopReason::kNone;
  // Attempts that could be out at a time; above 1, it could hedge.
  int max_in_flight = 1;
  int total_attempts = 0;
  int dropped_dispatches = 0;
  // When the next send would have been allowed, if the call ended because of it.
  std::optional<MonotonicTime> retry_at;
  // Room for one, which is all that nearly every call has, and one that waits for
  // its first retry.
  absl::InlinedVector<AttemptRecord, 1> attempts;
  // In order. An answer that only repeats the one before it is not written down;
  // `dropped_dispatches` counts those that did not fit, the earliest. Room for a
  // send, and the wait after it.
  absl::InlinedVector<DispatchRecord, 2> dispatches;
  // The first kMaxEvents.
  std::vector<EventRecord> events;

  CallRecord() = default;
  CallRecord(const CallRecord&) = default;
  CallRecord(CallRecord&&) = default;
  CallRecord& operator=(const CallRecord&) = default;
  // Not inlined: g++ 12 warns of the empty InlinedVectors in `r = CallRecord()`.
  CallRecord& operator=(CallRecord&&) noexcept;
  ~CallRecord() = default;

  static constexpr int kMaxAttempts = 16;
  static constexpr int kMaxDispatches = 64;
  static constexpr int kMaxEvents = 128;

  // Sends that brought no usable answer, as far as this side can see: attempts
  // less one if the call ended with an answer (ok or permanent).
  int wasted_sends() const {
    const bool answered = stop_reason == StopReason::kSuccess ||
                          stop_reason == StopReason::kPermanentError;
    return total_attempts - (answered ? 1 : 0);
  }
};

// Every field.
bool operator==(const AttemptRecord& a, const AttemptRecord& b);
bool operator==(const DispatchRecord& a, const DispatchRecord& b);
bool operator==(const EventRecord& a, const EventRecord& b);
bool operator==(const CallRecord& a, const CallRecord& b);
inline bool operator!=(const CallRecord& a, const CallRecord& b) {
  return !(a == b);
}

// "none", "http", "grpc".
absl::string_view ProtocolName(Protocol protocol);
// "not-asked", "paid", "refused".
absl::string_view BudgetAnswerName(BudgetAnswer answer);
// "head-good", "head-failed", …
absl::string_view EventName(EventRecord::What what);

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
