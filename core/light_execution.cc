#include "core/light_execution.h"

#include <iterator>

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
  if (stage_ == Stage::kSent && n == 1 && !head_ &&
      outcome.kind == ErrorKind::kOk && shared_->TryGoodHead(permit_, now)) {
    head_ = now;
    return HeadDecision::kCommit;
  }
  if (is_over()) return HeadDecision::kCommit;
  return Whole()->OnAnswerHead(n, outcome, now);
}

void LightExecution::OnLimitTold(int n, const LimitStand& stand,
                                 MonotonicTime now) {
  if (stage_ == Stage::kUnfolded) {
    whole_->OnLimitTold(n, stand, now);
  } else if (stage_ == Stage::kSent && n == 1 && head_) {
    shared_->OnLimitTold(PermitOf(permit_), stand, now, &wakes_);
  }
}

void LightExecution::AddWakes(WakeList wakes) {
  std::move(wakes.begin(), wakes.end(), std::back_inserter(wakes_));
}

WakeList LightExecution::TakeWakes() {
  if (stage_ == Stage::kUnfolded) {
    WakeList more = whole_->TakeWakes();
    if (wakes_.empty()) return more;
    AddWakes(std::move(more));
  }
  return wakes_.empty() ? WakeList() : std::exchange(wakes_, {});
}

void LightExecution::Unfold() const {
  const Stage stage = std::exchange(stage_, Stage::kUnfolded);
  const bool done = stage == Stage::kEnding || stage == Stage::kEnded;
  CallSpec spec = source_->Spec();
  spec.replayable = spec.replayable && (done ? ended_replayable_ : replayable_);
  whole_.emplace(std::move(spec), options_, done ? Yes() : shared_,
                 source_->waiter());
  if (stage == Stage::kNew) return;
  AttemptPermit permit = PermitOf(permit_);
  if (head_) {
    permit.head_seen = true;
    permit.head_kind = ErrorKind::kOk;
  }
  whole_->BeginSent(begin_, permit, head_);
  Action delivered;
  if (stage != Stage::kSending) whole_->NextAction(&delivered);
  if (!done) return;
  whole_->OnAttemptDone(1, *outcome_, end_);
  if (stage == Stage::kEnded) whole_->NextAction(&delivered);
}

}  // namespace forbear
