// ScriptedCalls: calls on one quota and one endpoint, one after the other in virtual
// time, whose attempts end as a script says. What a table of another project's
// tests needs: the machine, the shared states and the budget as they are, with
// nothing replaced.
//
//   ScriptedCalls calls(endpoint_options);
//   ScriptedCalls::Result r = calls.Call(retry, {Failed(), Failed(), Ok()});
//   r.delays;   // before attempt 2, 3, …
//   r.levels;   // of the budget, when the next attempt left or the call ended
//
// Thread rule: not thread-safe; a value of one test.
#ifndef FORBEAR_TESTS_CORE_SCRIPTED_CALLS_H_
#define FORBEAR_TESTS_CORE_SCRIPTED_CALLS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear {

class ScriptedCalls {
 public:
  struct Result {
    StopReason reason = StopReason::kNone;
    std::vector<absl::Duration> delays;
    std::vector<int> levels;
    CallRecord record;
    int attempts() const { return record.total_attempts; }
  };

  explicit ScriptedCalls(const EndpointOptions& endpoint,
                         const QuotaOptions& quota = {})
      : quota_(quota), endpoint_(endpoint, now_) {}

  // Attempt n ends as script[n - 1], the last one again and again, `takes` after
  // it has started. A time-out: when its own time is over.
  Result Call(const RetryOptions& retry, const std::vector<Outcome>& script,
              CallSpec spec = Idempotent(),
              absl::Duration takes = absl::ZeroDuration()) {
    Result result;
    spec.call_id = ++calls_;
    if (spec.seed == 0) spec.seed = calls_;
    Execution call(std::move(spec), &retry, &shared_, std::make_shared<Deaf>());
    call.Begin(now_);
    MonotonicTime ended = now_;
    Action action;
    while (call.NextAction(&action)) {
      switch (action.type) {
        case Action::Type::kStartAttempt: {
          if (action.attempt > 1) {
            result.delays.push_back(now_ - ended);
            result.levels.push_back(level());
          }
          const auto n = static_cast<size_t>(action.attempt);
          const Outcome& outcome =
              script[n <= script.size() ? n - 1 : script.size() - 1];
          now_ = outcome.timed_out ? action.time : now_ + takes;
          ended = now_;
          call.OnAttemptDone(action.attempt, outcome, now_);
          break;
        }
        case Action::Type::kWaitUntil:
          now_ = Later(now_, action.time);
          call.OnTimer(now_);
          break;
        case Action::Type::kCancelAttempt:
          break;
        case Action::Type::kFinish:
          result.levels.push_back(level());
          result.reason = action.reason;
          break;
      }
    }
    result.record = call.record();
    return result;
  }

  static CallSpec Idempotent() {
    CallSpec spec;
    spec.idempotent = true;
    return spec;
  }

  int level() { return endpoint_.alone().budget().level(); }
  Quota& quota() { return quota_.alone(); }
  Endpoint& endpoint() { return endpoint_.alone(); }
  MonotonicTime now() const { return now_; }
  void Advance(absl::Duration d) { now_ = now_ + d; }

 private:
  class Deaf final : public Waiter {
   public:
    void Wake() override {}
  };

  MonotonicTime now_ = MonotonicTime::FromNanos(1000000000);
  uint64_t calls_ = 0;
  Guarded<Quota, NoMutex> quota_;
  Guarded<Endpoint, NoMutex> endpoint_;
  BasicSharedState<NoMutex> shared_{&quota_, &endpoint_};
};

}  // namespace forbear

#endif  // FORBEAR_TESTS_CORE_SCRIPTED_CALLS_H_
