#include "runtime/call.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/call_names.h"
#include "core/endpoint.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/redirect_chain.h"
#include "core/stop_reason.h"
#include "runtime/clock.h"
#include "runtime/nesting.h"

namespace forbear {
namespace {

CallFlags FlagsOf(const CallFlags& own) {
  CallFlags flags = own;
  if (InsideAttempt::Any()) flags.nested = true;
  return flags;
}

std::unique_ptr<const RetryOptions> OwnRetry(const CallFacts& facts) {
  if (!facts.retry) return nullptr;
  return std::make_unique<const RetryOptions>(*facts.retry);
}

// What a call alone has of servers that are none of ours: it keeps away from them for as
// long as they say, and nobody else hears of that.
struct Nobody {
  explicit Nobody(MonotonicTime now)
      : quota(QuotaOptions()),
        endpoint(WithoutBreaker(), now),
        shared(&quota, &endpoint) {}

  static EndpointOptions WithoutBreaker() {
    EndpointOptions options;
    options.breaker.enabled = false;
    return options;
  }

  Guarded<Quota, NoMutex> quota;
  Guarded<Endpoint, NoMutex> endpoint;
  BasicSharedState<NoMutex> shared;
};

}  // namespace

struct Call::Redirects {
  explicit Redirects(SharedState* first) : chain(first) {}

  // In the chain; they outlive it.
  std::vector<HandleRef> met;
  std::unique_ptr<Nobody> nobody;
  RedirectChain chain;
};

void Call::FreeRedirects::operator()(Redirects* redirects) const {
  delete redirects;
}

void Call::Aftermath::DeliverAll() {
  const std::unique_ptr<What> what = std::move(what_);
  for (const std::string& line : what->lines) what->client->options().log(line);
  for (const std::shared_ptr<Waiter>& waiter : what->wakes) waiter->Wake();
}

// New options that this call brings to its states may wake others.
Call::Call(Client* client, const CallRequest& request, GivenWaiter&& waiter,
           WakeList&& wakes)
    : client_(client),
      begin_(MonotonicNow()),
      held_(client->HandleOf(request.kind_name, request.policy, begin_, &wakes,
                             [&] { return request.Kind(); })),
      handle_(held_.get()),
      flags_(FlagsOf(request)),
      logs_(client->logs()),
      own_retry_(OwnRetry(request)),
      execution_(
          this, std::move(waiter), request.deadline, request.cost,
          own_retry_ ? own_retry_.get() : &handle_->policy->retry,
          own_retry_ ? LightExecution::ArePlain(*own_retry_) : handle_->plain,
          handle_->shared()) {
  if (!wakes.empty()) execution_.AddWakes(std::move(wakes));
}

Call::Call(Client* client, const CallHandle* handle, const CallFacts& facts,
           const std::shared_ptr<Waiter>* waiter)
    : client_(client),
      begin_(MonotonicNow()),
      handle_(handle),
      flags_(FlagsOf(facts)),
      logs_(client->logs()),
      own_retry_(OwnRetry(facts)),
      execution_(
          this, GivenWaiter{waiter, nullptr}, facts.deadline, facts.cost,
          own_retry_ ? own_retry_.get() : &handle_->policy->retry,
          own_retry_ ? LightExecution::ArePlain(*own_retry_) : handle_->plain,
          handle_->shared()) {}

CallSpec Call::Spec() const {
  CallSpec spec;
  spec.call_id = client_->NextCallId();
  spec.seed = MixRandom(client_->seed(), spec.call_id);
  spec.idempotent = flags_.idempotent;
  spec.replayable = flags_.replayable;
  spec.nested = flags_.nested;
  spec.max_in_flight = flags_.max_in_flight;
  spec.protocol = handle_->protocol;
  spec.names = handle_->names;
  spec.wall_start = client_->WallAt(begin_);
  return spec;
}

void Call::OnLimitTold(int n, const LimitStand& stand) {
  execution_.OnLimitTold(n, stand, MonotonicNow());
}

Execution::HeadDecision Call::OnAnswerHead(int n, const Outcome& outcome) {
  return execution_.OnAnswerHead(n, outcome, MonotonicNow());
}

Execution::HeadDecision Call::PreviewHead(const Outcome& outcome) const {
  return execution_.PreviewHead(outcome, MonotonicNow());
}

bool Call::OnRedirect(HandleRef to, bool must_go) {
  if (execution_.phase() != Execution::Phase::kInFlight) return true;
  // Whose limit or server is one that was met is taken for that one.
  const auto is_same = [&to](const CallHandle& known) {
    return known.quota.get() == to->quota.get() ||
           known.endpoint.get() == to->endpoint.get();
  };
  const bool first = to != nullptr && is_same(*handle_);
  if (redirects_ == nullptr) {
    if (first) return true;
    redirects_.reset(new Redirects(handle_->shared()));
    execution_.ShareWith(&redirects_->chain);
  }
  const MonotonicTime now = MonotonicNow();
  const CallHandle* place = nullptr;
  if (first) {
    place = handle_;
  } else if (to == nullptr) {
    std::unique_ptr<Nobody>& nobody = redirects_->nobody;
    if (nobody == nullptr) nobody = std::make_unique<Nobody>(now);
    must_go = true;
  } else {
    std::vector<HandleRef>& met = redirects_->met;
    const auto it =
        std::find_if(met.begin(), met.end(),
                     [&](const HandleRef& known) { return is_same(*known); });
    if (it != met.end()) {
      place = it->get();
    } else {
      place = to.get();
      if (met.size() < RedirectChain::kMaxStates) met.push_back(std::move(to));
    }
  }
  WakeList wakes;
  SharedState* const shared =
      place != nullptr ? place->shared() : &redirects_->nobody->shared;
  const bool goes = redirects_->chain.GoTo(shared, must_go, now, &wakes);
  execution_.AddWakes(std::move(wakes));
  if (logs_) {
    Log(absl::StrCat("attempt ", record().total_attempts, " is redirected to ",
                     place != nullptr ? place->names.target()
                                      : "a server that is none of ours",
                     goes ? "" : ", which may not be asked now"));
  }
  return goes;
}

void Call::OnTimer() { execution_.OnTimer(MonotonicNow()); }
void Call::OnWake() { execution_.OnWake(MonotonicNow()); }
void Call::OnCancel() { execution_.OnCancel(MonotonicNow()); }

void Call::TakeAll(Aftermath* aftermath) {
  WakeList wakes = execution_.TakeWakes();
  if (wakes.empty() && lines_ == nullptr) return;
  auto what = std::make_unique<Aftermath::What>();
  what->wakes = std::move(wakes);
  if (lines_ != nullptr) what->lines = std::move(*lines_);
  lines_.reset();
  what->client = client_;
  aftermath->what_ = std::move(what);
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
    Log(text);
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
  Log(text);
}

void Call::Log(const std::string& text) {
  if (lines_ == nullptr) lines_ = std::make_unique<std::vector<std::string>>();
  lines_->push_back(absl::StrCat("call ", record().call_id, " ",
                                 record().names.method(), " ",
                                 record().names.target(), ": ", text));
}

}  // namespace forbear
