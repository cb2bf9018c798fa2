#include "core/redirect_chain.h"

#include <algorithm>

#include "core/stop_reason.h"

namespace forbear {
namespace {

// It has sent the call on.
Outcome Redirected() {
  Outcome outcome;
  outcome.processed = Processed::kYes;
  return outcome;
}

// It took nothing of any limit.
Outcome NeverSent() {
  Outcome outcome;
  outcome.kind = ErrorKind::kCancelled;
  outcome.processed = Processed::kNo;
  return outcome;
}

}  // namespace

Outcome RedirectRefused(int status) {
  Outcome outcome;
  outcome.kind = ErrorKind::kThrottled;
  outcome.processed = Processed::kNo;
  outcome.status = status;
  return outcome;
}

RedirectChain::~RedirectChain() {
  WakeList wakes;
  for (Link& link : links_) {
    if (link.has_permit) End(&link, NeverSent(), now_, 0, &wakes);
  }
  for (const std::shared_ptr<Waiter>& waiter : wakes) waiter->Wake();
}

size_t RedirectChain::Find(const SharedState* state) const {
  const auto it =
      std::find_if(links_.begin(), links_.end(),
                   [state](const Link& link) { return link.state == state; });
  return it == links_.end() ? kFirst : static_cast<size_t>(it - links_.begin());
}

bool RedirectChain::GoTo(SharedState* next, bool must_go, MonotonicTime now,
                         WakeList* wakes) {
  now_ = now;
  if (next == first_) {
    at_ = kFirst;
    return true;
  }
  size_t i = Find(next);
  if (i == kFirst) {
    if (links_.size() == kMaxStates) return true;
    i = links_.size();
    links_.emplace_back().state = next;
  }
  Link& link = links_[i];
  if (!link.has_permit) {
    const DispatchAnswer answer = next->SendOn(must_go, now, wakes);
    if (answer.verdict != Verdict::kGo) {
      return TurnBack(answer.until, answer.source);
    }
    link.permit = answer.permit;
    link.has_permit = true;
  } else if (!link.visited && !must_go) {
    // Asked when the attempt began; meanwhile others may have been refused.
    const MonotonicTime gate = next->GateUntil();
    if (gate > now) return TurnBack(gate, DelaySource::kGate);
  }
  link.visited = true;
  at_ = i;
  return true;
}

bool RedirectChain::TurnBack(MonotonicTime until, DelaySource source) {
  at_ = kNowhere;
  refused_until_.time = until;
  refused_until_.source = source;
  return false;
}

DispatchAnswer RedirectChain::Dispatch(WaitPlace* place,
                                       const std::shared_ptr<Waiter>& waiter,
                                       MonotonicTime now, MonotonicTime limit,
                                       WhenOpen when_open, WakeList* wakes) {
  now_ = now;
  at_ = kFirst;
  WaitPlace at{place->ticket, first_where_, place->cost};
  DispatchAnswer answer =
      first_->Dispatch(&at, waiter, now, limit, when_open, wakes);
  first_where_ = at.where;
  place->where = at.where;
  if (answer.verdict != Verdict::kGo) {
    LeaveFrom(0, *place, wakes);
    return answer;
  }
  for (size_t i = 0; i < links_.size(); ++i) {
    Link& link = links_[i];
    link.visited = false;
    at = {place->ticket, link.where, place->cost};
    DispatchAnswer of_link =
        link.state->Dispatch(&at, waiter, now, limit, when_open, wakes);
    link.where = place->where = at.where;
    if (of_link.verdict != Verdict::kGo) {
      first_->Return(answer.permit, now, wakes);
      GiveBack(i, now, wakes);
      LeaveFrom(i + 1, *place, wakes);
      return of_link;
    }
    link.permit = of_link.permit;
    link.has_permit = true;
  }
  return answer;
}

void RedirectChain::GiveBack(size_t before, MonotonicTime now,
                             WakeList* wakes) {
  for (size_t i = 0; i < before; ++i) {
    links_[i].has_permit = false;
    links_[i].state->Return(links_[i].permit, now, wakes);
  }
}

void RedirectChain::LeaveFrom(size_t link, const WaitPlace& place,
                              WakeList* wakes) {
  for (size_t i = link; i < links_.size(); ++i) {
    WaitPlace at{place.ticket, links_[i].where, place.cost};
    links_[i].state->Leave(&at, wakes);
    links_[i].where = at.where;
  }
}

void RedirectChain::Leave(WaitPlace* place, WakeList* wakes) {
  WaitPlace at{place->ticket, first_where_, place->cost};
  first_->Leave(&at, wakes);
  first_where_ = at.where;
  LeaveFrom(0, *place, wakes);
  place->where = WaitPlace::Where::kNowhere;
}

void RedirectChain::OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                                 MonotonicTime now, WakeList* wakes) {
  now_ = now;
  first_->OnAnswerHead(permit, at_ == kFirst ? outcome : Redirected(), now,
                       wakes);
  if (at_ < links_.size()) {
    Link& link = links_[at_];
    link.state->OnAnswerHead(&link.permit, outcome, now, wakes);
  }
}

void RedirectChain::OnLimitTold(const AttemptPermit& permit,
                                const LimitStand& stand, MonotonicTime now,
                                WakeList* wakes) {
  now_ = now;
  if (at_ < links_.size()) {
    links_[at_].state->OnLimitTold(links_[at_].permit, stand, now, wakes);
  } else {
    first_->OnLimitTold(permit, stand, now, wakes);
  }
}

SharedState::NotBefore RedirectChain::End(Link* link, const Outcome& outcome,
                                          MonotonicTime now, double random,
                                          WakeList* wakes) {
  link->has_permit = false;
  return link->state->OnAttemptDone(&link->permit, outcome, now, random, wakes);
}

SharedState::NotBefore RedirectChain::OnAttemptDone(AttemptPermit* permit,
                                                    const Outcome& outcome,
                                                    MonotonicTime now,
                                                    double random,
                                                    WakeList* wakes) {
  now_ = now;
  NotBefore result = first_->OnAttemptDone(
      permit, at_ == kFirst ? outcome : Redirected(), now, random, wakes);
  for (size_t i = 0; i < links_.size(); ++i) {
    Link& link = links_[i];
    if (!link.has_permit) continue;
    const bool owns = i == at_;
    link.permit.endpoint.free = permit->endpoint.free;
    const NotBefore known = End(&link,
                                owns           ? outcome
                                : link.visited ? Redirected()
                                               : NeverSent(),
                                now, random, wakes);
    if (known.time > result.time) {
      result.time = known.time;
      result.source = known.source;
    }
    if (owns) result.lone = known.lone;
  }
  if (at_ == kNowhere && refused_until_.time > result.time) {
    result.time = refused_until_.time;
    result.source = refused_until_.source;
  }
  at_ = kFirst;
  return result;
}

DispatchAnswer RedirectChain::DispatchHedge(const WaitPlace& /*of*/,
                                            MonotonicTime now,
                                            WakeList* /*wakes*/) {
  DispatchAnswer answer;
  answer.verdict = Verdict::kRefuse;
  answer.until = now;
  answer.reason = StopReason::kBudgetExhausted;
  return answer;
}

}  // namespace forbear
