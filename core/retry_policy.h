// RetryPolicy: may this failed attempt be followed by another one?
//
// One decision for both protocols, as a pure function. The order of its
// questions is the order of the answers a person wants: what happened, who has
// it, who forbade it, would it be safe, is there anything left to try with.
//
//   RetryOptions options;                       // 3 attempts, 60 s, …
//   RetryFacts facts;
//   facts.idempotent = true;
//   facts.counted_failures = 1;
//   if (WhyNotRetry(options, facts, outcome) == StopReason::kNone) …retry…
//
// What bounds a call: transient failures by their number (three tries on
// three replicas say that the service is down, not the replica), throttled
// ones by time (three tries never outlast a rate limit's window), failures
// that the server never saw are free, once (Bounds).
//
// Out of quota is throttled, if the server says when the quota is there again
// and the call can wait for that. Otherwise it is the end.
//
// What the server says: its "no" (retry_forbidden) always counts. Its "yes"
// (retry_wanted) makes a permanent error worth another attempt, under the same
// conditions as a transient one: it never has something sent twice that may
// have been acted on and may not be repeated.
//
// Thread rule: values and pure functions; call from anywhere.
#ifndef FORBEAR_CORE_RETRY_POLICY_H_
#define FORBEAR_CORE_RETRY_POLICY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/hedge.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"

namespace forbear {

// What a call does while its endpoint's circuit breaker is open.
enum class WhenOpen : uint8_t {
  kWait,  // wait until it admits, if that fits the deadline; else as kFail
  kFail,  // end at once with kCircuitOpen
};

struct RetryOptions {
  // False: one attempt per call, whatever it ends as. A kill switch; the one
  // attempt still waits for gates, queues and the breaker. Default true.
  bool enabled = true;

  // Attempts that may fail transiently, the first included. Default 3 (AWS,
  // SRE book ch. 21). 1 … 100; 1 means that transient failures are final.
  int max_attempts = 3;

  // How long a call that has no deadline may go on starting attempts and
  // waiting. Default 60 s. 0 … 24 h. It does not cut an attempt short.
  absl::Duration max_elapsed = absl::Seconds(60);

  // How long one attempt may take. Default: no limit, since nobody but the
  // application knows how slow a good answer may be. 1 ms … infinite.
  absl::Duration attempt_timeout = absl::InfiniteDuration();

  // How long a call may take, waits included, from its beginning: its deadline, if
  // it has none that is sooner. Default: no limit, deadlines are the
  // application's. 1 ms … infinite.
  absl::Duration call_timeout = absl::InfiniteDuration();

  // A longer wait than this, announced by a server, is garbage: own backoff
  // applies. A shorter one is honoured or the call is refused; it is never
  // clamped. Default 24 h. 1 s … 8760 h.
  absl::Duration max_believed_wait = absl::Hours(24);

  WhenOpen when_open = WhenOpen::kWait;

  // A call that is an attempt of another layer's loop (CallSpec::nested) is not
  // repeated here as well: it ends with kOuterLayer and the answer it got. Two
  // layers of three attempts would make nine sends. Default true.
  bool yield_to_outer = true;

  // Between transient failures.
  BackoffOptions backoff;

  // A second attempt while the first one takes long. Off by default.
  HedgeOptions hedge;
};

// Appends a sentence for each fault, named `path`.field; nothing if valid.
void ValidateRetry(const RetryOptions& options, absl::string_view path,
                   std::vector<std::string>* faults);

// What is made of a wait that a server announced: a negative one is none, and one
// above max_believed_wait is garbage, and goes. True: it was.
bool DropGarbage(const RetryOptions& options, Outcome* outcome);

// What bounds the retry after a failure.
enum class Bound : uint8_t {
  kFree,   // nothing: the server never saw it, and it is the first of these
  kCount,  // max_attempts
  kTime,   // the call's limit for waiting
};

// `free_used`: a failure of this call was kFree already.
// REQUIRES: MayChange(outcome).
Bound BoundOf(const Outcome& outcome, bool free_used);

// What the decision needs to know of the call besides the outcome.
struct RetryFacts {
  bool idempotent = false;   // repeating it is harmless
  bool replayable = true;    // its request can be sent a second time
  int counted_failures = 0;  // those of Bound::kCount so far, this one included
  bool nested = false;       // a layer around it repeats it
};

// kNone: a retry is allowed. Otherwise why the call ends with this outcome;
// kSuccess, kPermanentError, kCancelled and kQuotaExhausted for those kinds.
StopReason WhyNotRetry(const RetryOptions& options, const RetryFacts& facts,
                       const Outcome& outcome);

// When a retry that is allowed may go out.
struct WaitFacts {
  MonotonicTime now;
  // When the call gives up waiting. At this time nothing is sent any more.
  MonotonicTime limit;
  // Our own delay, counted from now.
  absl::Duration backoff;
  // Nothing goes out before this, as far as the shared states know, and whether
  // that is because the circuit breaker is open.
  MonotonicTime not_before;
  bool breaker_open = false;
};

// The earliest time that all of them allow.
MonotonicTime EarliestSend(const WaitFacts& facts, const Outcome& outcome);

// kNone: the call waits for it. Otherwise why it ends now, with EarliestSend as
// its retry_at: a wait is honoured or refused, never shortened.
StopReason WhyNotWait(const RetryOptions& options, const WaitFacts& facts,
                      const Outcome& outcome);

}  // namespace forbear

#endif  // FORBEAR_CORE_RETRY_POLICY_H_
