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

void LightExecution::Begin(MonotonicTime now) {
  if (stage_ == Stage::kNew && !options_->hedge.enabled) {
    const MonotonicTime deadline =
        Earlier(spec_.deadline, now + options_->call_timeout);
    if (now < deadline && shared_->TryDispatch(now, &permit_, &wakes_)) {
      stage_ = Stage::kSent;
      begin_ = now;
      attempt_deadline_ = Earlier(deadline, now + options_->attempt_timeout);
      undelivered_ = true;
      return;
    }
  }
  if (stage_ == Stage::kNew || stage_ == Stage::kUnfolded) Whole()->Begin(now);
}

LightExecution::HeadDecision LightExecution::OnAnswerHead(
    int n, const Outcome& outcome, MonotonicTime now) {
  if (stage_ == Stage::kSent && n == 1 && !head_ && !undelivered_ &&
      outcome.kind == ErrorKind::kOk && shared_->TryGoodHead(permit_, now)) {
    head_ = now;
    return HeadDecision::kCommit;
  }
  if (stage_ == Stage::kDone) return HeadDecision::kCommit;
  return Whole()->OnAnswerHead(n, outcome, now);
}

void LightExecution::OnAttemptDone(int n, const Outcome& outcome,
                                   MonotonicTime now) {
  if (stage_ == Stage::kSent && n == 1 && !undelivered_ &&
      outcome.kind == ErrorKind::kOk && !outcome.pushback &&
      shared_->TryGoodEnd(permit_, head_.has_value(), now, &wakes_)) {
    stage_ = Stage::kDone;
    outcome_ = outcome;
    had_replayable_ = spec_.replayable;
    end_ = now;
    undelivered_ = true;
    return;
  }
  if (stage_ != Stage::kDone) Whole()->OnAttemptDone(n, outcome, now);
}

bool LightExecution::NextAction(Action* action) {
  if (stage_ == Stage::kUnfolded) return whole_->NextAction(action);
  if (!undelivered_) return false;
  undelivered_ = false;
  *action = Action();
  if (stage_ == Stage::kSent) {
    action->type = Action::Type::kStartAttempt;
    action->attempt = 1;
    action->time = attempt_deadline_;
  } else {
    action->reason = StopReason::kSuccess;
  }
  return true;
}

WakeList LightExecution::TakeWakes() {
  if (stage_ == Stage::kUnfolded) {
    WakeList more = whole_->TakeWakes();
    if (wakes_.empty()) return more;
    std::move(more.begin(), more.end(), std::back_inserter(wakes_));
  }
  return wakes_.empty() ? WakeList() : std::exchange(wakes_, {});
}

void LightExecution::Unfold() const {
  const Stage stage = std::exchange(stage_, Stage::kUnfolded);
  const bool done = stage == Stage::kDone;
  if (done) spec_.replayable = had_replayable_;
  whole_.emplace(std::move(spec_), options_, done ? Yes() : shared_,
                 std::move(waiter_));
  if (stage == Stage::kNew) return;
  AttemptPermit permit = PermitOf(permit_);
  if (head_) {
    permit.head_seen = true;
    permit.head_kind = ErrorKind::kOk;
  }
  whole_->BeginSent(begin_, permit, head_);
  Action delivered;
  if (done || !undelivered_) whole_->NextAction(&delivered);
  if (!done) return;
  whole_->OnAttemptDone(1, outcome_, end_);
  if (!undelivered_) whole_->NextAction(&delivered);
}

}  // namespace forbear
