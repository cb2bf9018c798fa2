// Action: what the execution wants its driver to do. Every action that is about
// an attempt names it.
//
//   switch (action.type) {
//     case Action::Type::kStartAttempt:  …send attempt `attempt`, end it by `time`…
//     case Action::Type::kWaitUntil:     …OnTimer at `time`; OnWake if woken…
//     case Action::Type::kCancelAttempt: …stop attempt `attempt`…
//     case Action::Type::kFinish:        …the call is over…
//   }
//
// Thread rule: a value.
#ifndef FORBEAR_CORE_ACTION_H_
#define FORBEAR_CORE_ACTION_H_

#include <cstdint>
#include <optional>

#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"

namespace forbear {

struct Action {
  enum class Type : uint8_t {
    // Send attempt `attempt`; it must end by `time` (infinite: whenever).
    kStartAttempt,
    // Nothing to do before `time`, which is never beyond the call's limit.
    // Replaces an earlier kWaitUntil. `source` says what is waited for.
    kWaitUntil,
    // Stop attempt `attempt`; its end may still be reported, or not.
    kCancelAttempt,
    // The call is over, because of `reason`. With `retry_at` if a later send
    // would have been allowed. The last action of a call.
    kFinish,
  };

  Type type = Type::kFinish;
  DelaySource source = DelaySource::kNone;
  StopReason reason = StopReason::kNone;
  int attempt = 0;
  MonotonicTime time;
  std::optional<MonotonicTime> retry_at;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_ACTION_H_
