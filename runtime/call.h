// Call: an execution with everything around it that is the same for every
// driver: the shared states of its keys, the real clock, the log.
//
//   Call call(client, request, waiter);
//   call.Begin();
//   Action action;
//   while (call.NextAction(&action)) …
//   call.TakeAftermath().Deliver();      // after each event, with no lock held
//
// A driver that gets events from several threads (gRPC) locks around the events
// and NextAction, carries the actions out without that lock, one thread at a
// time, and delivers the aftermath without it too. A blocking driver needs no
// lock (runtime/blocking_driver.h).
//
// Thread rule: not thread-safe; see above.
#ifndef FORBEAR_RUNTIME_CALL_H_
#define FORBEAR_RUNTIME_CALL_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/cost.h"
#include "core/execution.h"
#include "core/light_execution.h"
#include "core/outcome.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "runtime/client.h"
#include "runtime/state_mutex.h"

namespace forbear {

struct CallRequest {
  // Who shares the limit, and which server it is. Never put a secret in here.
  std::string quota_key;
  std::string endpoint_key;
  // For the record and the log: host:port; "POST" or "/pkg.Service/Method".
  std::string target;
  std::string method;
  Protocol protocol = Protocol::kNone;

  MonotonicTime deadline = MonotonicTime::Infinite();
  bool idempotent = false;
  bool replayable = true;
  // It carries the retry marker of a layer around it (signals/retry_marker.h).
  // That it is made within another call's attempt, Call sees by itself.
  bool nested = false;
  // What an attempt takes of our own limits (QuotaOptions::limits).
  Cost cost;
  // What Client::PolicyOf found. Empty: the client's top level, as it is now.
  PolicyRef policy;
  // Instead of the policy's. Must be valid (ValidateRetry).
  std::optional<RetryOptions> retry;
};

class Call {
 public:
  // What an event leaves behind for others: callers to wake, lines to log.
  class Aftermath {
   public:
    // Calls foreign code: hold no lock.
    void Deliver();

   private:
    friend class Call;
    WakeList wakes_;
    std::vector<std::string> lines_;
    std::shared_ptr<Client> client_;
  };

  // `waiter` must not be null; it is woken when OnWake may help.
  Call(std::shared_ptr<Client> client, const CallRequest& request,
       std::shared_ptr<Waiter> waiter);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Events: as in core/execution.h, with the time of now.
  void Begin();
  Execution::HeadDecision OnAnswerHead(int n, const Outcome& outcome);
  void OnAttemptDone(int n, const Outcome& outcome);
  void OnTimer();
  void OnWake();
  void OnCancel();
  void SetNotReplayable() { execution_.SetNotReplayable(); }

  // Takes the next action; false if there is none now.
  bool NextAction(Action* action);
  Aftermath TakeAftermath();

  bool finished() const {
    return execution_.phase() == Execution::Phase::kFinished;
  }
  const CallRecord& record() const { return execution_.record(); }
  WaitPlace::Where holder() const { return execution_.holder(); }

 private:
  void LogAttemptDone(int n);
  void LogAction(const Action& action);
  void Log(std::string text);

  const std::shared_ptr<Client> client_;
  const PolicyRef policy_;
  // From new options that this call brought to its states.
  WakeList early_wakes_;
  const RetryOptions retry_;
  const std::shared_ptr<SharedQuota> quota_;
  const std::shared_ptr<SharedEndpoint> endpoint_;
  BasicSharedState<StateMutex> shared_;
  LightExecution execution_;
  std::vector<std::string> lines_;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_CALL_H_
