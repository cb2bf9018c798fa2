// Preview: what would be decided about one outcome, without a call.
//
//   PreviewFacts facts;
//   facts.idempotent = true;
//   Preview p = PreviewOf(policy, facts, outcome);
//   if (p.retry) …it would go out again after p.wait_min … p.wait_max…
//   else         …the call would end: p.reason…
//
// It asks the functions that the execution asks, in the same order, with shared
// states of its own that have seen nothing but this one attempt. So it is about a
// call that shares its limit and its server with nobody: what other calls were
// told, waiters and an open breaker come on top. The execution's random part of a
// backoff is a range here. tests/core/preview_test.cc holds the two together.
//
// `forbear explain` prints it.
//
// Thread rule: values and a pure function; call from anywhere.
#ifndef FORBEAR_CORE_PREVIEW_H_
#define FORBEAR_CORE_PREVIEW_H_

#include <optional>

#include "absl/time/time.h"
#include "core/circuit_breaker.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/stop_reason.h"
#include "core/verdict.h"

namespace forbear {

// Where the call stands.
struct PreviewFacts {
  bool idempotent = false;
  bool replayable = true;
  // It carries the retry marker of another layer, or runs within another call.
  bool nested = false;
  // Which attempt this was. 1 …; those before it failed transiently, and count.
  int attempt = 1;
  // Since the call's begin.
  absl::Duration elapsed;
  // Of the call, since its begin. Infinite: max_elapsed bounds its waits.
  absl::Duration deadline = absl::InfiniteDuration();
};

struct Preview {
  // Whether another attempt would follow; otherwise why not.
  bool retry = false;
  StopReason reason = StopReason::kNone;
  // The wait before it, what makes it so long. Zero without a retry.
  absl::Duration wait_min;
  absl::Duration wait_max;
  DelaySource wait_source = DelaySource::kNone;
  // With a reason that has to do with time: when the next send would have been
  // allowed, from now.
  std::optional<absl::Duration> retry_at;

  // What the others would notice: for how long nothing goes out, and from whom;
  // what the breaker counts; what the retry costs.
  absl::Duration gate;
  Holder gated = Holder::kNowhere;
  CircuitBreaker::Result breaker = CircuitBreaker::Result::kNeutral;
  int budget_cost = 0;

  // The wait that the server announced was too long to be believed.
  bool garbage = false;
};

// REQUIRES: policy passed ValidatePolicy.
Preview PreviewOf(const Policy& policy, const PreviewFacts& facts,
                  Outcome outcome);

}  // namespace forbear

#endif  // FORBEAR_CORE_PREVIEW_H_
