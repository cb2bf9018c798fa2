// Hedge: may a second attempt start while the first is still out?
//
// A hedge is an attempt that starts because another one takes long, not because
// it failed. The first good answer wins, and the others are cancelled. It buys
// the slowest few answers their speed with a few sends more (Dean and Barroso,
// "The Tail at Scale": 2 % more sends, a fifth of the 99.9th percentile), so it is
// off until somebody asks for it, and everything that could make it cost more
// stands against it:
//   - it has a budget of its own (core/hedge_budget.h);
//   - a call that is billed per send is hedged only with consent, and so is one
//     that may not be repeated;
//   - hedges count against max_attempts, and each one has a permit of its own; one
//     that would have to wait (gate, queue, breaker, limiter) is not sent, and not
//     made up for;
//   - a server that asks for less, in whatever way, gets no more hedges of this
//     call (gRPC A6: pushback stops them).
//
//   HedgeOptions options;
//   options.enabled = true;
//   options.delay = absl::Milliseconds(300);   // near the slowest answers, p95
//   if (MayHedge(options, facts)) …
//
// A failed attempt does not end the call while another one is out; it makes the
// next hedge leave at once (gRPC A6: non-fatal status codes).
//
// Thread rule: values and pure functions; call from anywhere.
#ifndef FORBEAR_CORE_HEDGE_H_
#define FORBEAR_CORE_HEDGE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

struct HedgeOptions {
  // Default false.
  bool enabled = false;

  // From the start of the last attempt to the next hedge. Default 1 s (our own;
  // gRPC's example 0.5 s, Polly 2 s): it should be what the slowest twentieth of
  // the service's answers take, which nobody but its user knows. 0 … 1 h; 0:
  // both at once.
  absl::Duration delay = absl::Seconds(1);

  // Hedges of one call, over all of it. Default 1 (Polly, failsafe-go). 1 … 4 (of
  // gRPC A6's five attempts).
  int max_hedges = 1;

  // Also calls that are billed per send (CallSpec::billable), and that may not
  // be repeated (CallSpec::idempotent is false). Both default to false: whoever
  // sets them agrees to pay for, or to have done, everything as often as it is
  // sent.
  bool billable_consent = false;
  bool repeat_consent = false;
};

// Appends a sentence for each fault, named `path`.field; nothing if valid.
void ValidateHedge(const HedgeOptions& options, absl::string_view path,
                   std::vector<std::string>* faults);

// What the decision needs to know of the call.
struct HedgeFacts {
  bool idempotent = false;  // repeating it is harmless
  bool replayable = true;   // its request can be sent a second time
  bool billable = false;    // each send costs money
  bool yields = false;      // a layer around it repeats it
  int max_in_flight = 1;    // what its driver can have out at a time
  int max_attempts = 3;

  int in_flight = 1;  // now
  int hedges = 0;     // tried so far, sent or not
  // Failures that count against max_attempts.
  int counted_failures = 0;
  // A server has asked for less, or forbidden a retry.
  bool told = false;
};

// Whether another attempt may start beside those that are in flight.
bool MayHedge(const HedgeOptions& options, const HedgeFacts& facts);

}  // namespace forbear

#endif  // FORBEAR_CORE_HEDGE_H_
