// LightExecution: an execution that costs next to nothing while nothing fails.
//
// Nearly every call is sent at once and answered well. Then the machine has
// nothing to decide, and all that is to be known of the call are a few numbers.
// This is the same machine to whoever drives it (the events, actions and records
// of core/execution.h), and makes the real one only when something else happens,
// or when somebody asks for the record:
//
//   Begin, sent at once ──► OnAttemptDone(ok) ──► finished, with success
//     │                       │                     │
//     │ must wait, is         │ any other           │ record()
//     │ refused, may hedge    │ event               ▼
//     └───────────────────────┴────────────────► Execution
//
// It decides nothing by itself: whether a call may be sent at once, and whether a
// good answer changes anything, say the shared states (SharedState::TryDispatch,
// TryGoodEnd). tests/core/light_execution_test.cc holds it against the real one.
//
// Thread rule: as Execution. record() too counts as an event here.
#ifndef FORBEAR_CORE_LIGHT_EXECUTION_H_
#define FORBEAR_CORE_LIGHT_EXECUTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "core/action.h"
#include "core/call_record.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear {

class LightExecution {
 public:
  using Phase = Execution::Phase;
  using HeadDecision = Execution::HeadDecision;

  // As Execution's.
  LightExecution(CallSpec spec, const RetryOptions* options,
                 SharedState* shared, std::shared_ptr<Waiter> waiter)
      : spec_(std::move(spec)),
        options_(options),
        shared_(shared),
        waiter_(std::move(waiter)) {}
  ~LightExecution() {
    if (stage_ == Stage::kSent) Unfold();
    for (const auto& waiter : wakes_) waiter->Wake();
  }
  LightExecution(const LightExecution&) = delete;
  LightExecution& operator=(const LightExecution&) = delete;

  // Events.
  void Begin(MonotonicTime now);
  HeadDecision OnAnswerHead(int n, const Outcome& outcome, MonotonicTime now);
  void OnAttemptDone(int n, const Outcome& outcome, MonotonicTime now);
  void OnTimer(MonotonicTime now) {
    // Otherwise nothing waits.
    if (stage_ == Stage::kUnfolded) whole_->OnTimer(now);
  }
  void OnWake(MonotonicTime now) {
    if (stage_ == Stage::kUnfolded) whole_->OnWake(now);
  }
  void OnCancel(MonotonicTime now) {
    if (stage_ != Stage::kDone) Whole()->OnCancel(now);
  }

  // Actions.
  bool NextAction(Action* action);
  WakeList TakeWakes();

  Phase phase() const {
    switch (stage_) {
      case Stage::kNew:
        return Phase::kNew;
      case Stage::kSent:
        return Phase::kInFlight;
      case Stage::kDone:
        return Phase::kFinished;
      case Stage::kUnfolded:
        break;
    }
    return whole_->phase();
  }
  const CallRecord& record() const { return Whole()->record(); }
  WaitPlace::Where holder() const {
    return stage_ == Stage::kUnfolded ? whole_->holder()
                                      : WaitPlace::Where::kNowhere;
  }
  MonotonicTime limit() const { return Whole()->limit(); }
  void SetNotReplayable() {
    if (stage_ == Stage::kUnfolded) {
      whole_->SetNotReplayable();
    } else {
      spec_.replayable = false;
    }
  }

 private:
  enum class Stage : uint8_t {
    kNew,
    kSent,      // by the lanes, and out
    kDone,      // and answered well
    kUnfolded,  // *whole_ is the call
  };

  Execution* Whole() const {
    if (stage_ != Stage::kUnfolded) Unfold();
    return &*whole_;
  }
  void Unfold() const;

  // What is written down late is no change.
  mutable Stage stage_ = Stage::kNew;
  bool undelivered_ = false;    // an action: kStartAttempt or kFinish
  bool had_replayable_ = true;  // when it ended
  mutable CallSpec spec_;       // until it is unfolded
  const RetryOptions* const options_;
  SharedState* const shared_;
  mutable std::shared_ptr<Waiter> waiter_;  // likewise
  LanePermit permit_;
  MonotonicTime begin_;
  MonotonicTime attempt_deadline_;
  std::optional<MonotonicTime> head_;
  MonotonicTime end_;
  Outcome outcome_;
  WakeList wakes_;
  mutable std::optional<Execution> whole_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_LIGHT_EXECUTION_H_
