#include "runtime/call.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/call_names.h"
#include "core/policy.h"
#include "core/random.h"
#include "core/stop_reason.h"
#include "runtime/clock.h"
#include "runtime/nesting.h"

namespace forbear {
namespace {

CallSpec SpecOf(const CallRequest& request, const Policy& policy,
                Client* client) {
  CallSpec spec;
  spec.call_id = client->NextCallId();
  spec.seed = MixRandom(client->seed(), spec.call_id);
  spec.deadline = request.deadline;
  spec.idempotent = request.idempotent;
  spec.replayable = request.replayable;
  spec.cost = request.cost;
  spec.nested = request.nested || InsideAttempt::Any();
  spec.protocol = request.protocol;
  spec.names = CallNames(request.target, request.method, policy.name);
  spec.wall_start = WallNow();
  return spec;
}

}  // namespace

void Call::Aftermath::Deliver() {
  for (const std::string& line : lines_) client_->options().log(line);
  for (const std::shared_ptr<Waiter>& waiter : wakes_) waiter->Wake();
  lines_.clear();
  wakes_.clear();
}

Call::Call(std::shared_ptr<Client> client, const CallRequest& request,
           std::shared_ptr<Waiter> waiter)
    : client_(std::move(client)),
      policy_(request.policy ? request.policy : client_->TopPolicy()),
      retry_(request.retry.value_or(policy_->retry)),
      quota_(client_->QuotaOf(request.quota_key, policy_, MonotonicNow(),
                              &early_wakes_)),
      endpoint_(client_->EndpointOf(request.endpoint_key, policy_,
                                    MonotonicNow(), &early_wakes_)),
      shared_(quota_.get(), endpoint_.get()),
      execution_(SpecOf(request, *policy_, client_.get()), &retry_, &shared_,
                 std::move(waiter)) {}

void Call::Begin() { execution_.Begin(MonotonicNow()); }

Execution::HeadDecision Call::OnAnswerHead(int n, const Outcome& outcome) {
  return execution_.OnAnswerHead(n, outcome, MonotonicNow());
}

void Call::OnAttemptDone(int n, const Outcome& outcome) {
  execution_.OnAttemptDone(n, outcome, MonotonicNow());
  if (client_->logs()) LogAttemptDone(n);
}

void Call::OnTimer() { execution_.OnTimer(MonotonicNow()); }
void Call::OnWake() { execution_.OnWake(MonotonicNow()); }
void Call::OnCancel() { execution_.OnCancel(MonotonicNow()); }

bool Call::NextAction(Action* action) {
  if (!execution_.NextAction(action)) return false;
  if (client_->logs()) LogAction(*action);
  return true;
}

Call::Aftermath Call::TakeAftermath() {
  Aftermath aftermath;
  aftermath.wakes_ = execution_.TakeWakes();
  for (auto& waiter : early_wakes_) {
    aftermath.wakes_.push_back(std::move(waiter));
  }
  early_wakes_.clear();
  if (!lines_.empty()) {
    aftermath.lines_ = std::exchange(lines_, {});
    aftermath.client_ = client_;
  }
  return aftermath;
}

void Call::LogAttemptDone(int n) {
  for (const AttemptRecord& a : record().attempts) {
    if (a.number != n) continue;
    std::string text = absl::StrCat(
        "attempt ", n, " ended after ", FormatShort(a.end - a.start), ": ",
        FormatStatus(record().protocol, a.outcome), ", ",
        ErrorKindName(a.outcome.kind),
        ", processed: ", ProcessedName(a.outcome.processed));
    if (a.outcome.pushback) {
      absl::StrAppend(&text, ", the server asks for ",
                      FormatShort(*a.outcome.pushback), " (",
                      DelaySourceName(a.outcome.pushback_source), ")");
    }
    if (a.garbage_pushback) {
      text += ", the server asks for an unbelievable wait, which is ignored";
    }
    Log(std::move(text));
  }
}

void Call::LogAction(const Action& action) {
  switch (action.type) {
    case Action::Type::kStartAttempt:
      Log(absl::StrCat("attempt ", action.attempt, " starts"));
      return;
    case Action::Type::kWaitUntil:
      Log(absl::StrCat("waits up to ",
                       FormatShort(action.time - MonotonicNow()), " (",
                       DelaySourceName(action.source), ")"));
      return;
    case Action::Type::kCancelAttempt:
      Log(absl::StrCat("attempt ", action.attempt, " is cancelled"));
      return;
    case Action::Type::kFinish:
      break;
  }
  std::string text = absl::StrCat(
      "ends after ", record().total_attempts, " attempts, ",
      FormatShort(record().end - record().begin), ": ",
      StopReasonName(action.reason), ". ", StopReasonSentence(action.reason));
  if (action.retry_at) {
    absl::StrAppend(&text, " retry_at is ",
                    FormatShort(*action.retry_at - record().end), " from now.");
  }
  const absl::string_view remedy = StopReasonRemedy(action.reason);
  if (!remedy.empty()) absl::StrAppend(&text, " ", remedy);
  Log(std::move(text));
}

void Call::Log(std::string text) {
  lines_.push_back(absl::StrCat("call ", record().call_id, " ",
                                record().names.method(), " ",
                                record().names.target(), ": ", text));
}

}  // namespace forbear
