#include "core/light_execution.h"

#include <iterator>
#include <memory>
#include <new>
#include <utility>

#include "core/retry_budget.h"
#include "core/stop_reason.h"

namespace forbear {
namespace {

// What the shared states have said to a call that is over: nothing but yes.
class SaidYes final : public SharedState {
 public:
  DispatchAnswer Dispatch(WaitPlace* /*place*/,
                          const std::shared_ptr<Waiter>& /*waiter*/,
                          MonotonicTime /*now*/, MonotonicTime /*limit*/,
                          WhenOpen /*when_open*/,
                          WakeList* /*wakes*/) override {
    return {};
  }
  void CountForHedges(MonotonicTime /*now*/) override {}
  DispatchAnswer DispatchHedge(const WaitPlace& /*of*/, MonotonicTime /*now*/,
                               WakeList* /*wakes*/) override {
    return {};
  }
  void ReturnHedge() override {}
  void Leave(WaitPlace* /*place*/, WakeList* /*wakes*/) override {}
  void OnAnswerHead(AttemptPermit* /*permit*/, const Outcome& /*outcome*/,
                    MonotonicTime /*now*/, WakeList* /*wakes*/) override {}
  NotBefore OnAttemptDone(AttemptPermit* /*permit*/, const Outcome& /*outcome*/,
                          MonotonicTime now, double /*random*/,
                          WakeList* /*wakes*/) override {
    return {now, DelaySource::kNone};
  }
  bool Withdraw(int /*cost*/) override { return true; }
  void Deposit(int /*tokens*/) override {}
  RetryCosts retry_costs() const override { return {}; }
};

SharedState* Yes() {
  static auto* const yes = new SaidYes;
  return yes;
}

}  // namespace

LightExecution::HeadDecision LightExecution::OnAnswerHead(
    int n, const Outcome& outcome, MonotonicTime now) {
  if (stage_ == Stage::kSent && n == 1 && !light_.head &&
      outcome.kind == ErrorKind::kOk &&
      light_.shared->TryGoodHead(light_.permit, now)) {
    light_.head = now;
    return HeadDecision::kCommit;
  }
  if (is_over()) return HeadDecision::kCommit;
  return Whole()->OnAnswerHead(n, outcome, now);
}

void LightExecution::OnLimitTold(int n, const LimitStand& stand,
                                 MonotonicTime now) {
  if (stage_ == Stage::kUnfolded) {
    whole_.OnLimitTold(n, stand, now);
  } else if (stage_ == Stage::kSent && n == 1 && light_.head) {
    light_.shared->OnLimitTold(PermitOf(light_.permit), stand, now,
                               &light_.wakes);
  }
}

void LightExecution::AddWakes(WakeList wakes) {
  if (stage_ == Stage::kUnfolded) {
    whole_.AddWakes(std::move(wakes));
  } else {
    std::move(wakes.begin(), wakes.end(), std::back_inserter(light_.wakes));
  }
}

WakeList LightExecution::TakeWakes() {
  if (stage_ == Stage::kUnfolded) return whole_.TakeWakes();
  return light_.wakes.empty() ? WakeList() : std::exchange(light_.wakes, {});
}

void LightExecution::TakeRecord(CallRecord* record) const {
  if (!is_over() || light_.outcome->pushback) {
    *record = Whole()->record();
    return;
  }
  // What the real machine would have written down, by hand: the test compares.
  CallSpec spec = light_.source->Spec();
  record->call_id = spec.call_id;
  record->seed = spec.seed;
  record->protocol = spec.protocol;
  record->names = std::move(spec.names);
  record->wall_start = spec.wall_start;
  record->begin = light_.begin;
  record->end = light_.end;
  record->deadline =
      Earlier(light_.deadline, light_.begin + light_.options->call_timeout);
  record->idempotent = spec.idempotent;
  record->cost = light_.cost;
  record->yields_to_outer = spec.nested && light_.options->yield_to_outer;
  record->stop_reason = StopReason::kSuccess;
  record->total_attempts = 1;
  AttemptRecord& attempt = record->attempts.emplace_back();
  attempt.number = 1;
  attempt.start = light_.begin;
  attempt.head = light_.head;
  attempt.end = light_.end;
  attempt.outcome = *light_.outcome;
  attempt.replayable = spec.replayable && ended_replayable_;
  DispatchRecord& go = record->dispatches.emplace_back();
  go.at = go.until = light_.begin;
}

void LightExecution::Unfold() const {
  const Stage stage = stage_;
  const bool done = stage == Stage::kEnding || stage == Stage::kEnded;
  CallSpec spec = light_.source->Spec();
  spec.deadline = light_.deadline;
  spec.cost = light_.cost;
  spec.replayable = spec.replayable && (done ? ended_replayable_ : replayable_);

  Light light = std::move(light_);
  light_.~Light();
  new (&whole_) Execution(std::move(spec), light.options,
                          done ? Yes() : light.shared, light.waiter.get());
  stage_ = Stage::kUnfolded;
  whole_.AddWakes(std::move(light.wakes));
  if (stage == Stage::kNew) return;
  AttemptPermit permit = PermitOf(light.permit);
  if (light.head) {
    permit.head_seen = true;
    permit.head_kind = ErrorKind::kOk;
  }
  whole_.BeginSent(light.begin, permit, light.head);
  Action delivered;
  if (stage != Stage::kSending) whole_.NextAction(&delivered);
  if (!done) return;
  whole_.OnAttemptDone(1, *light.outcome, light.end);
  if (stage == Stage::kEnded) whole_.NextAction(&delivered);
}

}  // namespace forbear
