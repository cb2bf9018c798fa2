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
// What nearly all calls do is inlined: it is less than calling it.
//
// Thread rule: as Execution. record() too counts as an event here.
#ifndef FORBEAR_CORE_LIGHT_EXECUTION_H_
#define FORBEAR_CORE_LIGHT_EXECUTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/attributes.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear {

class LightExecution {
 public:
  using Phase = Execution::Phase;
  using HeadDecision = Execution::HeadDecision;

  // What the real machine is made of, if it has to be made.
  class Source {
   public:
    // Asked once at most.
    virtual CallSpec Spec() const = 0;
    virtual std::shared_ptr<Waiter> waiter() const = 0;

   protected:
    Source() = default;
    Source(const Source&) = default;
    Source& operator=(const Source&) = default;
    ~Source() = default;
  };

  // Options that say nothing of how a call that is sent at once goes on: no hedge, no
  // time-out. Nearly all of them are so, and are looked at once for many calls.
  static bool ArePlain(const RetryOptions& options) {
    return !options.hedge.enabled &&
           options.call_timeout == absl::InfiniteDuration() &&
           options.attempt_timeout == absl::InfiniteDuration();
  }

  // `deadline` is the spec's; `plain` is ArePlain(*options). The others must outlive
  // it.
  LightExecution(const Source* source, MonotonicTime deadline,
                 const RetryOptions* options, bool plain, SharedState* shared)
      : plain_(plain),
        source_(source),
        options_(options),
        shared_(shared),
        deadline_(deadline) {}
  ~LightExecution() {
    if (is_out()) Unfold();
    for (const auto& waiter : wakes_) waiter->Wake();
  }
  LightExecution(const LightExecution&) = delete;
  LightExecution& operator=(const LightExecution&) = delete;

  // Events.
  ABSL_ATTRIBUTE_ALWAYS_INLINE void Begin(MonotonicTime now) {
    if (stage_ == Stage::kNew && (plain_ || Prepare(now)) && now < deadline_ &&
        shared_->TryDispatch(now, &permit_, &wakes_)) {
      stage_ = Stage::kSending;
      begin_ = now;
      return;
    }
    if (!is_out() && !is_over()) Whole()->Begin(now);
  }
  HeadDecision OnAnswerHead(int n, const Outcome& outcome, MonotonicTime now);
  HeadDecision PreviewHead(const Outcome& outcome, MonotonicTime now) const {
    return is_over() ? HeadDecision::kCommit
                     : Whole()->PreviewHead(outcome, now);
  }
  void OnLimitTold(int n, const LimitStand& stand, MonotonicTime now);
  ABSL_ATTRIBUTE_ALWAYS_INLINE void OnAttemptDone(int n, const Outcome& outcome,
                                                  MonotonicTime now) {
    if (stage_ == Stage::kSent && n == 1 && outcome.kind == ErrorKind::kOk &&
        shared_->TryGoodEnd(permit_, head_.has_value(), now, &wakes_)) {
      stage_ = Stage::kEnding;
      outcome_.emplace(outcome);
      ended_replayable_ = replayable_;
      end_ = now;
      return;
    }
    if (!is_over()) Whole()->OnAttemptDone(n, outcome, now);
  }
  void OnTimer(MonotonicTime now) {
    // Otherwise nothing waits.
    if (stage_ == Stage::kUnfolded) whole_->OnTimer(now);
  }
  void OnWake(MonotonicTime now) {
    if (stage_ == Stage::kUnfolded) whole_->OnWake(now);
  }
  void OnCancel(MonotonicTime now) {
    if (!is_over()) Whole()->OnCancel(now);
  }

  // Actions.
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool NextAction(Action* action) {
    switch (stage_) {
      case Stage::kSending:
        stage_ = Stage::kSent;
        *action = Action();
        action->type = Action::Type::kStartAttempt;
        action->attempt = 1;
        action->time = AttemptDeadline();
        return true;
      case Stage::kEnding:
        stage_ = Stage::kEnded;
        *action = Action();
        action->reason = StopReason::kSuccess;
        return true;
      case Stage::kUnfolded:
        return whole_->NextAction(action);
      default:
        return false;
    }
  }
  WakeList TakeWakes();
  // What TakeWakes will return as well.
  void AddWakes(WakeList wakes);
  // Whether TakeWakes has none for sure.
  bool no_wakes() const { return stage_ != Stage::kUnfolded && wakes_.empty(); }

  Phase phase() const {
    switch (stage_) {
      case Stage::kNew:
        return Phase::kNew;
      case Stage::kSending:
      case Stage::kSent:
        return Phase::kInFlight;
      case Stage::kEnding:
      case Stage::kEnded:
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
      replayable_ = false;
    }
  }

 private:
  enum class Stage : uint8_t {
    kNew,
    kSending,  // by the lanes; the action that says so is not taken yet
    kSent,     // and out
    kEnding,   // and answered well; likewise
    kEnded,
    kUnfolded,  // *whole_ is the call
  };

  bool is_out() const {
    return stage_ == Stage::kSending || stage_ == Stage::kSent;
  }
  bool is_over() const {
    return stage_ == Stage::kEnding || stage_ == Stage::kEnded;
  }
  Execution* Whole() const {
    if (stage_ != Stage::kUnfolded) Unfold();
    return &*whole_;
  }
  void Unfold() const;

  // Of options that are not plain: the call's deadline; false: it may hedge.
  bool Prepare(MonotonicTime now) {
    deadline_ = Earlier(deadline_, now + options_->call_timeout);
    return !options_->hedge.enabled;
  }
  MonotonicTime AttemptDeadline() const {
    if (plain_) return deadline_;
    return Earlier(deadline_, begin_ + options_->attempt_timeout);
  }

  // What is written down late is no change.
  mutable Stage stage_ = Stage::kNew;
  const bool plain_;
  bool replayable_ = true;
  bool ended_replayable_ = true;  // when the attempt ended
  const Source* const source_;
  const RetryOptions* const options_;
  SharedState* const shared_;
  // From Begin on no later than the call_timeout says.
  MonotonicTime deadline_;
  LanePermit permit_;
  MonotonicTime begin_;
  std::optional<MonotonicTime> head_;
  MonotonicTime end_;
  std::optional<Outcome> outcome_;  // of the end
  WakeList wakes_;
  mutable std::optional<Execution> whole_;
};

// A spec and a waiter that are there already.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final
class GivenSource final : public LightExecution::Source {
 public:
  GivenSource(CallSpec spec, std::shared_ptr<Waiter> waiter)
      : spec_(std::move(spec)), waiter_(std::move(waiter)) {}
  CallSpec Spec() const override { return spec_; }
  std::shared_ptr<Waiter> waiter() const override { return waiter_; }
  MonotonicTime deadline() const { return spec_.deadline; }

 private:
  const CallSpec spec_;
  const std::shared_ptr<Waiter> waiter_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_LIGHT_EXECUTION_H_
