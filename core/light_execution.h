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
// The few numbers and the real machine are never needed at once, and take the same
// place: a call that waits is no larger for having been light.
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
#include "core/cost.h"
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
    // Asked once at most. Without deadline and cost, which LightExecution has.
    virtual CallSpec Spec() const = 0;

   protected:
    Source() = default;
    Source(const Source&) = default;
    Source& operator=(const Source&) = default;
    ~Source() = default;
  };

  // Who is woken. `*lent`, the pointer itself, must outlive the call, and costs
  // nothing while the call does not wait; null: it is `owned`.
  struct GivenWaiter {
    const std::shared_ptr<Waiter>* lent = nullptr;
    std::shared_ptr<Waiter> owned;

    const std::shared_ptr<Waiter>& get() const {
      return lent == nullptr ? owned : *lent;
    }
  };

  // Options that say nothing of how a call that is sent at once goes on: no hedge, no
  // time-out. Nearly all of them are so, and are looked at once for many calls.
  static bool ArePlain(const RetryOptions& options) {
    return !options.hedge.enabled &&
           options.call_timeout == absl::InfiniteDuration() &&
           options.attempt_timeout == absl::InfiniteDuration();
  }

  // `deadline` and `cost` are the spec's; `plain` is ArePlain(*options). The others
  // must outlive it.
  LightExecution(const Source* source, GivenWaiter&& waiter,
                 MonotonicTime deadline, const Cost& cost,
                 const RetryOptions* options, bool plain, SharedState* shared)
      : plain_(plain),
        light_(source, std::move(waiter), deadline, cost, options, shared) {}
  ~LightExecution() {
    if (is_out()) Unfold();
    if (stage_ == Stage::kUnfolded) {
      whole_.~Execution();
      return;
    }
    for (const auto& waiter : light_.wakes) waiter->Wake();
    light_.~Light();
  }
  LightExecution(const LightExecution&) = delete;
  LightExecution& operator=(const LightExecution&) = delete;

  // Events.
  ABSL_ATTRIBUTE_ALWAYS_INLINE void Begin(MonotonicTime now) {
    if (stage_ == Stage::kNew && (plain_ || Prepare(now)) &&
        now < light_.deadline &&
        light_.shared->TryDispatch(now, &light_.permit, &light_.wakes)) {
      stage_ = Stage::kSending;
      light_.begin = now;
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
        light_.shared->TryGoodEnd(light_.permit, light_.head.has_value(), now,
                                  &light_.wakes)) {
      stage_ = Stage::kEnding;
      light_.outcome.emplace(outcome);
      ended_replayable_ = replayable_;
      light_.end = now;
      return;
    }
    if (!is_over()) Whole()->OnAttemptDone(n, outcome, now);
  }
  void OnTimer(MonotonicTime now) {
    // Otherwise nothing waits.
    if (stage_ == Stage::kUnfolded) whole_.OnTimer(now);
  }
  void OnWake(MonotonicTime now) {
    if (stage_ == Stage::kUnfolded) whole_.OnWake(now);
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
        return whole_.NextAction(action);
      default:
        return false;
    }
  }
  WakeList TakeWakes();
  // What TakeWakes will return as well.
  void AddWakes(WakeList wakes);
  // Whether TakeWakes has none for sure.
  bool no_wakes() const {
    return stage_ != Stage::kUnfolded && light_.wakes.empty();
  }

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
    return whole_.phase();
  }
  const CallRecord& record() const { return Whole()->record(); }
  // The same, into a new record, for who has asked for nothing yet and will not ask
  // again. REQUIRES: it is finished, and only destroyed from then on.
  void TakeRecord(CallRecord* record) const;
  WaitPlace::Where holder() const {
    return stage_ == Stage::kUnfolded ? whole_.holder()
                                      : WaitPlace::Where::kNowhere;
  }
  void ShareWith(SharedState* shared) { Whole()->ShareWith(shared); }
  MonotonicTime limit() const { return Whole()->limit(); }
  void SetNotReplayable() {
    if (stage_ == Stage::kUnfolded) {
      whole_.SetNotReplayable();
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
    kUnfolded,  // whole_ is the call, and light_ is gone
  };

  struct Light {
    Light(const Source* source_of, GivenWaiter&& waiter_of,
          MonotonicTime deadline_of, const Cost& cost_of,
          const RetryOptions* options_of, SharedState* shared_of)
        : source(source_of),
          waiter(std::move(waiter_of)),
          options(options_of),
          shared(shared_of),
          deadline(deadline_of),
          cost(cost_of) {}

    const Source* const source;
    GivenWaiter waiter;
    const RetryOptions* const options;
    SharedState* const shared;
    // From Begin on no later than the call_timeout says.
    MonotonicTime deadline;
    const Cost cost;
    LanePermit permit;
    MonotonicTime begin;
    std::optional<MonotonicTime> head;
    MonotonicTime end;
    std::optional<Outcome> outcome;  // of the end
    WakeList wakes;
  };

  bool is_out() const {
    return stage_ == Stage::kSending || stage_ == Stage::kSent;
  }
  bool is_over() const {
    return stage_ == Stage::kEnding || stage_ == Stage::kEnded;
  }
  Execution* Whole() const {
    if (stage_ != Stage::kUnfolded) Unfold();
    return &whole_;
  }
  void Unfold() const;

  // Of options that are not plain: the call's deadline; false: it may hedge.
  bool Prepare(MonotonicTime now) {
    light_.deadline =
        Earlier(light_.deadline, now + light_.options->call_timeout);
    return !light_.options->hedge.enabled;
  }
  MonotonicTime AttemptDeadline() const {
    if (plain_) return light_.deadline;
    return Earlier(light_.deadline,
                   light_.begin + light_.options->attempt_timeout);
  }

  // What is written down late is no change.
  mutable Stage stage_ = Stage::kNew;
  const bool plain_;
  bool replayable_ = true;
  bool ended_replayable_ = true;  // when the attempt ended
  // Which of the two it is says stage_.
  union {
    mutable Light light_;
    mutable Execution whole_;
  };
};

// A spec and a waiter that are there already.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final
class GivenSource final : public LightExecution::Source {
 public:
  GivenSource(CallSpec spec, std::shared_ptr<Waiter> waiter)
      : spec_(std::move(spec)), waiter_(std::move(waiter)) {}
  CallSpec Spec() const override { return spec_; }
  LightExecution::GivenWaiter waiter() const { return {&waiter_, nullptr}; }
  MonotonicTime deadline() const { return spec_.deadline; }

 private:
  const CallSpec spec_;
  const std::shared_ptr<Waiter> waiter_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_LIGHT_EXECUTION_H_
