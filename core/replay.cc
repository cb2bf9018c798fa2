#include "core/replay.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/retry_budget.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"

namespace forbear {
namespace {

class Deaf final : public Waiter {
 public:
  void Wake() override {}
};

// Answers what the record says was answered.
class Playback final : public SharedState {
 public:
  explicit Playback(const CallRecord* record) : record_(*record) {}

  // The attempt whose end comes next.
  void SetAttempt(const AttemptRecord* attempt) {
    attempt_ = attempt;
    costs_.transient = costs_.throttled = attempt->budget_cost;
  }

  // When the next question was asked; null: there was none.
  const DispatchRecord* Next() const {
    return next_ < record_.dispatches.size() ? &record_.dispatches[next_]
                                             : nullptr;
  }

  size_t asked() const { return next_; }

  DispatchAnswer Dispatch(WaitPlace*, const std::shared_ptr<Waiter>&,
                          MonotonicTime now, MonotonicTime, WhenOpen,
                          WakeList*) override {
    return Answer(now, /*hedge=*/false);
  }

  void CountForHedges(MonotonicTime) override {}
  DispatchAnswer DispatchHedge(const WaitPlace&, MonotonicTime now,
                               WakeList*) override {
    return Answer(now, /*hedge=*/true);
  }
  void ReturnHedge() override {}

  DispatchAnswer Answer(MonotonicTime now, bool hedge) {
    DispatchAnswer answer;
    const DispatchRecord* const r = Next();
    if (r == nullptr || r->at != now || r->hedge != hedge) {
      Part(now, "it asks for an attempt");
      // Something that ends it.
      answer.verdict = Verdict::kRefuse;
      return answer;
    }
    ++next_;
    answer.verdict = r->verdict;
    answer.until = r->until;
    answer.source = r->source;
    answer.reason = r->reason;
    answer.holder = r->holder;
    return answer;
  }

  void Leave(WaitPlace*, WakeList*) override {}
  void OnAnswerHead(AttemptPermit* permit, const Outcome&, MonotonicTime,
                    WakeList*) override {
    permit->head_seen = true;
  }

  NotBefore OnAttemptDone(AttemptPermit*, const Outcome&, MonotonicTime now,
                          double, WakeList*) override {
    NotBefore answer;
    answer.time = now;
    if (attempt_ != nullptr && attempt_->not_before) {
      answer.time = *attempt_->not_before;
      answer.source = attempt_->not_before_source;
      answer.lone = attempt_->lone;
    }
    return answer;
  }

  bool Withdraw(int) override {
    if (attempt_ == nullptr || attempt_->budget == BudgetAnswer::kNotAsked) {
      Part(attempt_ == nullptr ? record_.begin : attempt_->end,
           "it asks the budget for a retry");
      return false;
    }
    return attempt_->budget == BudgetAnswer::kPaid;
  }
  void Deposit(int) override {}
  RetryCosts retry_costs() const override { return costs_; }

  // Where the decisions parted from the record; empty: nowhere.
  const std::string& parted() const { return parted_; }
  void Part(MonotonicTime now, absl::string_view what) {
    if (!parted_.empty()) return;
    parted_ = absl::StrCat("at +", FormatShort(now - record_.begin), ": ", what,
                           ", and the record has no such thing there");
  }

 private:
  const CallRecord& record_;
  const AttemptRecord* attempt_ = nullptr;
  size_t next_ = 0;
  RetryCosts costs_;
  std::string parted_;
};

const AttemptRecord* Find(const CallRecord& record, int number) {
  for (const AttemptRecord& a : record.attempts) {
    if (a.number == number) return &a;
  }
  return nullptr;
}

Outcome OutcomeOf(const AttemptRecord& attempt) {
  Outcome outcome = attempt.outcome;
  // As it was told, if not as long: the record does not keep garbage.
  if (attempt.garbage_pushback) outcome.pushback = absl::InfiniteDuration();
  return outcome;
}

// One event of a call that may hedge.
void PlayEvent(const CallRecord& record, const EventRecord& event,
               size_t answers_before, Execution* call, Playback* shared) {
  using What = EventRecord::What;
  const AttemptRecord* const attempt = Find(record, event.attempt);
  switch (event.what) {
    case What::kSent: {
      Action action;
      while (call->NextAction(&action)) {
        if (action.type == Action::Type::kStartAttempt &&
            action.attempt == event.attempt) {
          return;
        }
      }
      shared->Part(event.at, "it starts no attempt");
      return;
    }
    case What::kHeadGood:
    case What::kHeadFailed:
    case What::kHeadTold: {
      // The head's own outcome, as far as a decision looked at it.
      Outcome head;
      head.kind = event.what == What::kHeadGood     ? ErrorKind::kOk
                  : event.what == What::kHeadFailed ? ErrorKind::kTransient
                                                    : ErrorKind::kThrottled;
      call->OnAnswerHead(event.attempt, head, event.at);
      return;
    }
    case What::kEnd:
      if (attempt == nullptr) {
        shared->Part(event.at, "an attempt that it never started ends");
        return;
      }
      // What the states said to the end of one that had lost, nobody asked.
      if (!attempt->lost) shared->SetAttempt(attempt);
      if (!attempt->replayable) call->SetNotReplayable();
      call->OnAttemptDone(event.attempt, OutcomeOf(*attempt), event.at);
      return;
    case What::kAsk:
      // Asked already, in the event before?
      if (shared->asked() <= answers_before) call->OnTimer(event.at);
      return;
    case What::kTimeUp:
      call->OnTimer(event.at);
      return;
    case What::kCancel:
      call->OnCancel(event.at);
      return;
  }
}

void PlayEvents(const CallRecord& record, Execution* call, Playback* shared) {
  size_t answers = 0;
  for (const EventRecord& event : record.events) {
    PlayEvent(record, event, answers, call, shared);
    if (event.what == EventRecord::What::kAsk) ++answers;
    if (!shared->parted().empty()) return;
  }
  if (call->phase() != Execution::Phase::kFinished) {
    shared->Part(call->record().end, "it does not end");
  }
}

// What becomes of attempt `number`, from its start to its end.
void PlayAttempt(const CallRecord& record, int number, Execution* call,
                 Playback* shared) {
  const AttemptRecord* const attempt = Find(record, number);
  if (attempt == nullptr) {
    // Taken back before its driver had even seen that it should start it.
    if (record.stop_reason == StopReason::kCancelled) {
      call->OnCancel(record.end);
    } else {
      shared->Part(call->record().attempts.back().start,
                   "it starts an attempt");
    }
    return;
  }
  Action action;
  while (call->NextAction(&action)) {
  }
  shared->SetAttempt(attempt);
  const Outcome outcome = OutcomeOf(*attempt);
  if (!attempt->replayable) call->SetNotReplayable();
  if (attempt->head) call->OnAnswerHead(number, outcome, *attempt->head);
  call->OnAttemptDone(number, outcome, attempt->end);
}

}  // namespace

absl::StatusOr<CallRecord> Replay(const CallRecord& record,
                                  const RetryOptions& options) {
  if (record.stop_reason == StopReason::kNone) {
    return absl::FailedPreconditionError("the recorded call has not ended");
  }
  if (record.dropped_dispatches > 0 ||
      record.total_attempts != static_cast<int>(record.attempts.size()) ||
      record.events.size() >= CallRecord::kMaxEvents) {
    return absl::FailedPreconditionError(
        "the record is not complete: it was too long to be kept whole");
  }
  if (record.total_attempts > 0 && record.dispatches.empty()) {
    return absl::FailedPreconditionError(
        "nothing was decided in this call: it was passed through");
  }

  CallSpec spec;
  spec.call_id = record.call_id;
  spec.seed = record.seed;
  spec.deadline = record.deadline;
  spec.idempotent = record.idempotent;
  spec.nested = record.yields_to_outer;
  spec.cost = record.cost;
  spec.max_in_flight = record.max_in_flight;
  spec.protocol = record.protocol;
  spec.names = record.names;
  spec.wall_start = record.wall_start;
  Playback shared(&record);
  Execution call(spec, &options, &shared, std::make_shared<Deaf>());

  const bool cancelled = record.stop_reason == StopReason::kCancelled;
  if (cancelled && record.dispatches.empty()) {
    call.OnCancel(record.end);  // before it began
  } else {
    call.Begin(record.begin);
  }
  if (!record.events.empty()) PlayEvents(record, &call, &shared);
  while (record.events.empty() && call.phase() != Execution::Phase::kFinished &&
         shared.parted().empty()) {
    const Execution::Phase phase = call.phase();
    const DispatchRecord* const next = shared.Next();
    if (phase == Execution::Phase::kInFlight) {
      PlayAttempt(record, call.record().attempts.back().number, &call, &shared);
    } else if (next != nullptr) {
      call.OnTimer(next->at);
      if (shared.Next() == next && shared.parted().empty()) {
        shared.Part(next->at, "it waits on");
      }
    } else if (cancelled) {
      call.OnCancel(record.end);
    } else {
      call.OnTimer(record.end);
      if (call.phase() != Execution::Phase::kFinished) {
        shared.Part(record.end, "it waits on");
      }
    }
  }
  if (shared.parted().empty() && shared.Next() != nullptr) {
    shared.Part(call.record().end, "it ends");
  }
  if (!shared.parted().empty()) return absl::AbortedError(shared.parted());
  return call.record();
}

}  // namespace forbear
