// RedirectChain: the shared states of one call that redirects lead from server to
// server.
//
// A redirect makes one attempt several requests, to servers each of which has its own
// limit, gate and breaker. What the last of them says is about that one: its refusal
// shuts its own gate, and not that of the server that was asked first, which has
// answered well. And who comes once more has to pass all of them again.
//
//   RedirectChain chain(first);            // the states that the call began with
//   call.ShareWith(&chain);                // Execution; an attempt is out
//   …a redirect leads to another server:
//   if (!chain.GoTo(next, must_go, now, &wakes)) …
//   call.OnAnswerHead(…), OnAttemptDone(…) // of the server that was gone to last
//
// To the execution it is one shared state:
//   - Dispatch asks the states in the order in which they were met; the first one that
//     says no holds the call, and what those before it gave goes back. So a call waits
//     in one queue at a time, and holds nothing while it waits.
//   - The outcome of an attempt is that of the server that was gone to last. Those
//     before it have answered well. What the attempt did not come to was not sent.
//   - The next attempt is not before any of them allows it.
//   - Retry budget: that of the first.
//
// A server that is met for the first time has not been asked when the request is on its
// way to it already. GoTo asks (SharedState::SendOn): if its gate is shut, its breaker
// open, or others wait for it, it says no, and the driver should end the attempt there,
// with RedirectRefused(), before anything is sent to it: the call then waits for it
// as for the others. What must not start again from the beginning goes on (`must_go`).
//
// Each state has a limit of its own (its quota is no other's): whose limit is passed
// twice in one attempt would wait for itself.
//
// Bounds: kMaxStates; a server beyond that is taken for the one before it.
//
// No hedges: one attempt is out at a time.
//
// Thread rule: not thread-safe, as the execution that it belongs to; the states are as
// thread-safe as they are.
#ifndef FORBEAR_CORE_REDIRECT_CHAIN_H_
#define FORBEAR_CORE_REDIRECT_CHAIN_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "core/outcome.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"

namespace forbear {

// What an attempt has come to that was not sent on: it took nothing of any limit there,
// and may be made again. `status`: of the redirect.
Outcome RedirectRefused(int status);

class RedirectChain final : public SharedState {
 public:
  static constexpr size_t kMaxStates = 8;  // beside the first

  // `first`, and all that it is led to, must outlive it. An attempt may be out, whose
  // permit is of `first`.
  explicit RedirectChain(SharedState* first) : first_(first) {}
  // Gives back what it holds.
  ~RedirectChain() override;
  RedirectChain(const RedirectChain&) = delete;
  RedirectChain& operator=(const RedirectChain&) = delete;

  // REQUIRES: an attempt is out. The server that it was at has answered well, with a
  // redirect to this one. False: it should not be sent on; never with `must_go`.
  bool GoTo(SharedState* next, bool must_go, MonotonicTime now,
            WakeList* wakes);

  // --- SharedState, of all of them. A permit that is given is the first one's. ---

  DispatchAnswer Dispatch(WaitPlace* place,
                          const std::shared_ptr<Waiter>& waiter,
                          MonotonicTime now, MonotonicTime limit,
                          WhenOpen when_open, WakeList* wakes) override;
  void Leave(WaitPlace* place, WakeList* wakes) override;
  void OnAnswerHead(AttemptPermit* permit, const Outcome& outcome,
                    MonotonicTime now, WakeList* wakes) override;
  void OnLimitTold(const AttemptPermit& permit, const LimitStand& stand,
                   MonotonicTime now, WakeList* wakes) override;
  NotBefore OnAttemptDone(AttemptPermit* permit, const Outcome& outcome,
                          MonotonicTime now, double random,
                          WakeList* wakes) override;

  void CountForHedges(MonotonicTime /*now*/) override {}
  DispatchAnswer DispatchHedge(const WaitPlace& of, MonotonicTime now,
                               WakeList* wakes) override;
  void ReturnHedge() override {}

  bool Withdraw(int cost) override { return first_->Withdraw(cost); }
  void Deposit(int tokens) override { first_->Deposit(tokens); }
  RetryCosts retry_costs() const override { return first_->retry_costs(); }

 private:
  static constexpr size_t kFirst = ~size_t{0};
  static constexpr size_t kNowhere = kFirst - 1;

  struct Link {
    SharedState* state = nullptr;
    bool has_permit = false;
    bool visited = false;  // by the attempt that is out
    AttemptPermit permit;
    WaitPlace::Where where = WaitPlace::Where::kNowhere;
  };

  // Of links_; kFirst: it is none of them.
  size_t Find(const SharedState* state) const;
  // The attempt is not let go on, until then.
  bool TurnBack(MonotonicTime until, DelaySource source);
  // The permit of a link is over.
  NotBefore End(Link* link, const Outcome& outcome, MonotonicTime now,
                double random, WakeList* wakes);
  // The permits of the links before this one go back, and nobody waits beyond it.
  void GiveBack(size_t before, MonotonicTime now, WakeList* wakes);
  void LeaveFrom(size_t link, const WaitPlace& place, WakeList* wakes);

  SharedState* const first_;
  WaitPlace::Where first_where_ = WaitPlace::Where::kNowhere;
  std::vector<Link> links_;  // in the order in which they were met
  // Where the attempt is that is out: an index of links_, or one of those above.
  size_t at_ = kFirst;
  // kNowhere: as TurnBack was told.
  NotBefore refused_until_;
  MonotonicTime now_ = MonotonicTime::InfinitePast();
};

}  // namespace forbear

#endif  // FORBEAR_CORE_REDIRECT_CHAIN_H_
