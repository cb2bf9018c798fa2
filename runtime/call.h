// Call: an execution with everything around it that is the same for every
// driver: the shared states of its keys, the real clock, the log.
//
//   Call call(client.get(), request, waiter);
//   call.Begin();
//   Action action;
//   while (call.NextAction(&action)) …
//   call.TakeAftermath().Deliver();      // after each event, with no lock held
//
// What calls of one kind have in common is looked up by its keys (Client::HandleOf),
// without a lock; a driver that makes many of them may keep the handle, and spare
// that. While nothing fails a call takes no lock at all, and allocates nothing
// (core/light_execution.h).
//
// A driver that gets events from several threads (gRPC) locks around the events
// and NextAction, carries the actions out without that lock, one thread at a
// time, and delivers the aftermath without it too. A blocking driver needs no
// lock (runtime/blocking_driver.h).
//
// Thread rule: not thread-safe; see above.
#ifndef FORBEAR_RUNTIME_CALL_H_
#define FORBEAR_RUNTIME_CALL_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/attributes.h"
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
#include "runtime/clock.h"
#include "runtime/server_clock.h"

namespace forbear {

// What is a call's own.
struct CallFlags {
  bool idempotent = false;
  bool replayable = true;
  // It carries the retry marker of a layer around it (signals/retry_marker.h).
  // That it is made within another call's attempt, Call sees by itself.
  bool nested = false;
  // Attempts that the driver can have out at a time (CallSpec::max_in_flight). Small,
  // for thousands of calls wait.
  int16_t max_in_flight = 1;
};
struct CallFacts : CallFlags {
  MonotonicTime deadline = MonotonicTime::Infinite();
  // What an attempt takes of our own limits (QuotaOptions::limits).
  Cost cost;
  // Instead of the policy's. Must be valid (ValidateRetry).
  std::optional<RetryOptions> retry;
};

// A call of a kind that is looked up.
struct CallRequest : CallFacts {
  // A name for its kind (Client::HandleOf). Empty: it has none.
  std::string kind_name;
  // As in CallKind.
  std::string quota_key;
  std::string endpoint_key;
  std::string target;
  std::string method;
  Protocol protocol = Protocol::kNone;
  // What Client::PolicyOf found. Empty: the client's top level, as it is now.
  PolicyRef policy;

  // As long as this lives.
  CallKind Kind() const {
    return {quota_key, endpoint_key, target, method, protocol};
  }
};

// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final
class Call final : private LightExecution::Source {
 public:
  // What an event leaves behind for others: callers to wake, lines to log.
  class Aftermath {
   public:
    // Calls foreign code: hold no lock.
    void Deliver() {
      if (what_ != nullptr) DeliverAll();
    }

   private:
    friend class Call;
    struct What {
      WakeList wakes;
      std::vector<std::string> lines;
      const Client* client = nullptr;
    };
    void DeliverAll();
    std::unique_ptr<What> what_;  // null: nothing
  };

  // It begins now, as far as its record is concerned. `waiter` must not be null; it
  // is woken when OnWake may help. The client must outlive the call and what it
  // leaves behind.
  Call(Client* client, const CallRequest& request,
       std::shared_ptr<Waiter> waiter)
      : Call(client, request, GivenWaiter{nullptr, std::move(waiter)},
             WakeList()) {}
  // `*waiter`, the pointer itself, must outlive the call; what is given so costs
  // nothing while the call does not wait.
  Call(Client* client, const CallRequest& request,
       const std::shared_ptr<Waiter>* waiter)
      : Call(client, request, GivenWaiter{waiter, nullptr}, WakeList()) {}
  // So must `handle`, of the same client.
  Call(Client* client, const CallHandle* handle, const CallFacts& facts,
       const std::shared_ptr<Waiter>* waiter);
  ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Events: as in core/execution.h, with the time of now (of Begin: of the making).
  void Begin() { execution_.Begin(begin_); }
  Execution::HeadDecision OnAnswerHead(int n, const Outcome& outcome);
  Execution::HeadDecision PreviewHead(const Outcome& outcome) const;
  void OnLimitTold(int n, const LimitStand& stand);
  void OnAttemptDone(int n, const Outcome& outcome) {
    execution_.OnAttemptDone(n, outcome, MonotonicNow());
    if (logs_) LogAttemptDone(n);
  }
  void OnTimer();
  void OnWake();
  void OnCancel();
  void SetNotReplayable() { execution_.SetNotReplayable(); }
  // A redirect leads the request of the attempt that is out to the servers of `to`, a
  // handle of the same client: what it comes to is theirs, and later attempts wait for
  // them, too (core/redirect_chain.h). False: it should not be sent there now; the
  // driver ends the attempt, with RedirectRefused(). Never false with `must_go`.
  // Null: to a server that is none of ours, since it is switched off, say. What it comes
  // to is a matter of this call alone, and never false.
  bool OnRedirect(HandleRef to, bool must_go);

  // Takes the next action; false if there is none now.
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool NextAction(Action* action) {
    if (!execution_.NextAction(action)) return false;
    if (logs_) LogAction(*action);
    return true;
  }
  Aftermath TakeAftermath() {
    Aftermath aftermath;
    if (!execution_.no_wakes() || lines_ != nullptr) TakeAll(&aftermath);
    return aftermath;
  }

  bool finished() const {
    return execution_.phase() == Execution::Phase::kFinished;
  }
  const CallRecord& record() const { return execution_.record(); }
  // At the end, instead, if nothing else is asked of it: costs less.
  void TakeRecord(CallRecord* record) const { execution_.TakeRecord(record); }
  // That of the call's server.
  ServerClock* server_clock() const { return &handle_->endpoint->clock; }
  WaitPlace::Where holder() const { return execution_.holder(); }

 private:
  using GivenWaiter = LightExecution::GivenWaiter;

  Call(Client* client, const CallRequest& request, GivenWaiter&& waiter,
       WakeList&& wakes);
  CallSpec Spec() const override;

  // Where redirects have led.
  struct Redirects;
  struct FreeRedirects {
    void operator()(Redirects* redirects) const;
  };

  void TakeAll(Aftermath* aftermath);
  void LogAttemptDone(int n);
  void LogAction(const Action& action);
  void Log(const std::string& text);

  Client* const client_;
  const MonotonicTime begin_;
  const HandleRef held_;  // null: the driver's is used
  const CallHandle* const handle_;
  const CallFlags flags_;
  const bool logs_;
  const std::unique_ptr<const RetryOptions> own_retry_;
  // Null: there were none. Outlives the execution, which asks it.
  std::unique_ptr<Redirects, FreeRedirects> redirects_;
  LightExecution execution_;
  std::unique_ptr<std::vector<std::string>> lines_;  // null: none
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_CALL_H_
