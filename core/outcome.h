// Outcome: what became of one attempt, in words that know no protocol.
//
// A driver reads a status line, trailers or a CURLcode and says what it means;
// from here on HTTP and gRPC are the same. `curl_wrap/classify.h` and
// `interceptors/classify.h` hold the two tables.
//
//   Outcome refused;                       // HTTP 429 with Retry-After: 2
//   refused.kind = ErrorKind::kThrottled;
//   refused.processed = Processed::kNo;    // a refusal did no work
//   refused.pushback = absl::Seconds(2);
//   refused.pushback_source = DelaySource::kRetryAfter;
//   refused.status = 429;
//
// Thread rule: a value; copy it freely.
#ifndef FORBEAR_CORE_OUTCOME_H_
#define FORBEAR_CORE_OUTCOME_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/cost.h"

namespace forbear {

// What an attempt ended as.
enum class ErrorKind : uint8_t {
  kOk,         // an answer that the application asked for
  kTransient,  // may go away by itself: 5xx, UNAVAILABLE, a reset, a time-out
  kThrottled,  // "slow down": 429, RESOURCE_EXHAUSTED. The server lives
  kPermanent,  // an answer that sending again does not change: 404, 401, …
  kCancelled,  // the caller took it back; says nothing about the server
  // "no more until …": a day's or a month's quota, a credit that is used up.
  // Coming back soon does not help; `pushback` is the time to its reset.
  kQuotaExhausted,
};

// Did the server act on the attempt?
enum class Processed : uint8_t {
  kNo,       // proven: refused, or no byte left this machine
  kUnknown,  // bytes may have reached it
  kYes,      // it says so
};

// Where the length of a wait comes from.
enum class DelaySource : uint8_t {
  kNone,
  kBackoff,     // our own computed delay
  kRetryAfter,  // the HTTP field (RFC 9110 §10.2.3)
  kPushback,    // grpc-retry-pushback-ms (gRPC A6)
  kGate,        // another call was told to wait, and this one shares its key
  kBreaker,     // the circuit breaker is open, or a probe is out
  kQueue,       // others arrived earlier, or callers leave spaced
  kLimiter,     // our own rate limiter
  kRetryInfo,   // google.rpc.RetryInfo, in trailers or in a body
  kRateLimit,   // the reset of a limit that the answer says is used up
  kBody,        // another field of the answer's body
  kHedge,       // the delay of a hedge, while an attempt is out
};

// Where a limit stands, as an answer tells it: `remaining` of `limit` requests are
// left, and all of them are there again in `reset`.
struct LimitStand {
  int64_t limit = 0;
  int64_t remaining = 0;
  absl::Duration reset;
};

struct Outcome {
  ErrorKind kind = ErrorKind::kOk;
  Processed processed = Processed::kUnknown;

  // Part of the answer has reached the application: nothing may be sent again.
  bool committed = false;

  // The server said that coming back is useless (a negative or unreadable
  // grpc-retry-pushback-ms, gRPC A6).
  bool retry_forbidden = false;

  // The server said that coming back helps (x-should-retry: true). It turns a
  // kPermanent answer into one that may be followed by another attempt; no more:
  // what may have been acted on and may not be repeated stays so. Next to
  // retry_forbidden it counts for nothing.
  bool retry_wanted = false;

  // The server says that it cannot now (503, UNAVAILABLE), rather than that
  // something broke: it may be asking for less.
  bool shed = false;

  // The attempt ended because its own time was over.
  bool timed_out = false;

  // Whoever made the call agrees that it is sent again after an outcome like
  // this one: a gRPC method lists the codes for which it is. Beside
  // CallSpec::idempotent, which agrees for all outcomes.
  bool repeatable = false;

  // How long the server wants us to stay away, counted from the moment its
  // answer's head arrived. Never negative. Absent: it did not say.
  std::optional<absl::Duration> pushback;
  DelaySource pushback_source = DelaySource::kNone;

  // A fact for the record: requests that the transport has sent once more by itself
  // within the attempt, without a word from the server in between (libcurl, when a
  // connection that was used before is dead). The server may have seen as many more.
  uint8_t resends = 0;

  // What it took of the limits, as far as its answer says (core/rate_limiter.h).
  Usage usage;

  // Facts for the record; no decision reads them, but whether there was a
  // status at all (IsSilent).
  int status = 0;           // HTTP status or gRPC code; 0: none arrived
  int transport_error = 0;  // CURLcode; 0: none
  // Of the request and of the answer, as the driver counts them; 0: not counted.
  // gRPC: of the messages, serialized and not compressed; the response of an
  // attempt that is the application's own call (the first) is not counted.
  int64_t bytes_sent = 0;
  int64_t bytes_received = 0;
};

// Whether it says nothing about the server: the caller took it back, or it failed
// on this side, before anything was sent or heard: a bad option, a certificate
// that is not trusted, a file that cannot be read. No breaker, pace or slow start
// may take it for an answer.
inline bool IsSilent(const Outcome& outcome) {
  return outcome.kind == ErrorKind::kCancelled ||
         (outcome.kind == ErrorKind::kPermanent &&
          outcome.processed == Processed::kNo && outcome.status == 0);
}

// Whether it is of a kind that another attempt may change. Whether there is one
// is up to core/retry_policy.h.
inline bool MayChange(const Outcome& outcome) {
  switch (outcome.kind) {
    case ErrorKind::kTransient:
    case ErrorKind::kThrottled:
    case ErrorKind::kQuotaExhausted:
      return true;
    case ErrorKind::kPermanent:
      return outcome.retry_wanted && !outcome.retry_forbidden;
    case ErrorKind::kOk:
    case ErrorKind::kCancelled:
      break;
  }
  return false;
}

bool operator==(const Outcome& a, const Outcome& b);
inline bool operator!=(const Outcome& a, const Outcome& b) { return !(a == b); }

// "ok", "transient", … For logs and records.
absl::string_view ErrorKindName(ErrorKind kind);
// "no", "unknown", "yes".
absl::string_view ProcessedName(Processed processed);
// "backoff", "retry-after", …
absl::string_view DelaySourceName(DelaySource source);

}  // namespace forbear

#endif  // FORBEAR_CORE_OUTCOME_H_
