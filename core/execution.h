// Execution: one logical call, as a state machine. What happened goes in as
// events with their times; what to do comes out as actions. It has no clock, no
// thread and no I/O: the blocking curl call, the gRPC interceptor and the
// simulator are small drivers of this one machine.
//
//   Execution call(spec, &options, &shared, waiter);
//   call.Begin(now);
//   Action action;
//   while (call.NextAction(&action)) …do it; feed what happens as events…
//   for (auto& w : call.TakeWakes()) w->Wake();   // with no lock held
//
//  phase \ event | Begin    | OnAnswerHead  | OnAttemptDone        | OnTimer, OnWake  | OnCancel
//  New           | dispatch | –             | –                    | –                | finish
//  Queued        | –        | late          | late                 | dispatch or wait | leave, finish
//  InFlight      | –        | gates; hold   | last one: retry or   | hedge, or wait   | cancel, finish
//                |          | back or commit| finish. Others are   | for it; else     |
//                |          |               | out and it failed:   | nothing          |
//                |          |               | stay, maybe hedge    |                  |
//  Backoff       | –        | late          | late                 | dispatch or wait | finish
//  Finished      | –        | late          | late                 | –                | –
//  (–: ignored. A driver that races with itself does no harm. late: news of an
//  attempt that lost to another one: feeds the shared states and the record.)
//
// Hedges (core/hedge.h): more than one attempt is in flight only if the policy
// says so, and the driver can do it (CallSpec::max_in_flight); a driver that
// cannot sees nothing of it. The first good answer wins. When its head comes, or
// it ends, the others are cancelled; they keep their permits until their ends are
// reported, or the execution is destroyed. What fails while others are out is
// held back until the last one has failed, too.
//
// A call is a pure function of its spec, its options, the events with their
// times, and what the shared state answered. A call keeps its options; shared
// state may change under it.
//
// Invariants:
//  1. Every kWaitUntil is at most the call's limit: its deadline, or, without
//     one, begin + max_elapsed.
//  2. kFinish comes exactly once and last.
//  3. Every permit goes back exactly once; every withdrawn token is spent on a
//     send, or goes back.
//  4. No attempt starts at or after the deadline, before a gate, or while the
//     breaker does not admit it.
//
// Thread rule: not thread-safe; its driver feeds one event at a time.
#ifndef FORBEAR_CORE_EXECUTION_H_
#define FORBEAR_CORE_EXECUTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_names.h"
#include "core/call_record.h"
#include "core/cost.h"
#include "core/hedge.h"
#include "core/outcome.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear {

// What a call is, apart from its policy.
struct CallSpec {
  // Unique among the calls that share a state; breaks ties in the queue.
  uint64_t call_id = 0;
  // All chance of this call comes from it (core/random.h).
  uint64_t seed = 0;
  // When the caller gives up. Infinite: max_elapsed bounds the waits.
  MonotonicTime deadline = MonotonicTime::Infinite();
  // Sending it twice is harmless.
  bool idempotent = false;
  // Its request can be sent a second time.
  bool replayable = true;
  // It is an attempt of a layer around it that repeats it: the request carries
  // that layer's retry marker (signals/retry_marker.h), or the call is made
  // within an attempt of ours (runtime/nesting.h).
  bool nested = false;
  // What each attempt takes of our own limits (QuotaOptions::limits), as far as
  // is known before it is sent.
  Cost cost;
  // Each send costs money: no hedges without consent.
  bool billable = false;
  // Attempts that the driver can have out at a time. Above 1, it reports the end
  // of every attempt that it was told to start, also of cancelled ones.
  int max_in_flight = 1;
  // For the record.
  Protocol protocol = Protocol::kNone;
  CallNames names;
  absl::Time wall_start = absl::InfinitePast();
};

class Execution {
 public:
  enum class Phase : uint8_t { kNew, kQueued, kInFlight, kBackoff, kFinished };

  // What to do with the body of an answer whose head has arrived.
  enum class HeadDecision : uint8_t {
    kCommit,  // the application's: no retry is coming
    kHold,    // keep it: a retry is likely, or another attempt is out, and the
              // application must not see it
  };

  // `options` and `shared` must outlive it. `waiter` is woken when OnWake may
  // help; it must not be null.
  Execution(CallSpec spec, const RetryOptions* options, SharedState* shared,
            std::shared_ptr<Waiter> waiter);
  // Gives back what it holds, if the driver dropped it before kFinish.
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  // --- Events. `now` never runs backward within one call. ---

  // The call starts. REQUIRES: first event.
  void Begin(MonotonicTime now);

  // Instead: the call has started at `now`, and its first attempt with it, which
  // `permit` is of; the head of its answer came at `head`, if it did
  // (core/light_execution.h).
  void BeginSent(MonotonicTime now, const AttemptPermit& permit,
                 std::optional<MonotonicTime> head);

  // The head of attempt n's answer is there: status line and headers. Optional,
  // at most once per attempt, before its OnAttemptDone.
  HeadDecision OnAnswerHead(int n, Outcome outcome, MonotonicTime now);
  // What it would say, of an attempt that is alone: nothing changes, and it may be
  // asked at any time, of any outcome. For a driver that has to know before all of a
  // head is there, or whether it is worth the while to make another attempt possible.
  HeadDecision PreviewHead(Outcome outcome, MonotonicTime now) const;
  // Where the limit of requests stands, as a good answer's head tells it: after
  // OnAnswerHead.
  void OnLimitTold(int n, const LimitStand& stand, MonotonicTime now);

  // Attempt n has ended, or its driver has seen enough of it.
  void OnAttemptDone(int n, const Outcome& outcome, MonotonicTime now);

  // The time of the last kWaitUntil has come. Too early does no harm: while the
  // call waits, the answer is an action, at the least another kWaitUntil.
  void OnTimer(MonotonicTime now);

  // The waiter was woken. Harmless at any time; as OnTimer.
  void OnWake(MonotonicTime now);

  // The application takes the call back.
  void OnCancel(MonotonicTime now);

  // --- Actions. ---

  // Takes the next action; false if there is none now.
  bool NextAction(Action* action);

  // Other calls to wake, after every event, with no lock held.
  WakeList TakeWakes() {
    return wakes_.empty() ? WakeList() : std::exchange(wakes_, {});
  }
  // What TakeWakes will return as well.
  void AddWakes(WakeList wakes);

  Phase phase() const { return phase_; }
  // Complete once kFinish was taken, but for attempts that end later.
  const CallRecord& record() const { return record_; }
  // The shared state that holds the call or has refused it, for a driver that
  // has to tell its caller whether a limit or the server is in the way.
  WaitPlace::Where holder() const { return holder_; }
  // The call's own limit for waiting.
  MonotonicTime limit() const { return limit_; }

  // From now on the call shares these states, which know of those that it had: a
  // core/redirect_chain.h of them. Must outlive it.
  void ShareWith(SharedState* shared) { shared_ = shared; }

  // The driver found out that the request cannot be sent again.
  void SetNotReplayable() { replayable_ = false; }

 private:
  struct InFlight {
    int number = 0;
    int cost = 0;  // what was withdrawn for it
    AttemptPermit permit;
    bool hedge = false;
    bool lost = false;  // another one won; it is cancelled, and not yet back
  };

  void SetLimit(MonotonicTime now);
  // Where it waits, for the shared states.
  WaitPlace Place() const { return {ticket_, where_, record_.cost}; }
  void Dispatch(MonotonicTime now);
  void Leave();  // it is over
  void Go(const DispatchAnswer& answer, MonotonicTime now);
  void Record(const DispatchAnswer& answer, MonotonicTime now, bool hedge);
  // Withdraws what a throttled retry owes. False: too little is left.
  bool PayDue();
  // `attempt` is the last of in_flight_, and has no number yet.
  void StartAttempt(InFlight* attempt, MonotonicTime now);
  void OnAttemptDone(InFlight* attempt, AttemptRecord* r,
                     const Outcome& reported, MonotonicTime now);
  void Wait(MonotonicTime until, DelaySource source);
  void Finish(StopReason reason, std::optional<MonotonicTime> retry_at,
              MonotonicTime now);
  void FinishAtLimit(MonotonicTime now);

  // Hedges. Not reached by calls that do not hedge.
  HedgeFacts FactsForHedges() const;
  bool MayHedgeNow() const;
  void ArmHedge(MonotonicTime now);
  void Hedge(MonotonicTime now);
  void OnHedgeTimer(MonotonicTime now);
  HeadDecision OnHeadAmongHedges(int n, const Outcome& outcome,
                                 HeadDecision alone, MonotonicTime now);
  void OnFailedAmongOthers(const Outcome& outcome, MonotonicTime now);
  void NoteEvent(EventRecord::What what, int attempt, MonotonicTime now);

  // Attempts that are out and have not lost.
  int Live() const;
  // All others that are out lose to attempt n (0: all that are out).
  void LoseOthers(int n, MonotonicTime now);
  // It was never sent: as if it had not been.
  void TakeBack(InFlight* attempt, MonotonicTime now);
  // It is not out any more.
  void Drop(InFlight* attempt);
  InFlight* Find(int n);
  bool IsUndelivered(int n) const;
  AttemptRecord* FindRecord(int n);
  RetryFacts FactsFor(const Outcome& outcome) const;
  // Of an attempt that is alone.
  HeadDecision DecideHead(const Outcome& outcome, MonotonicTime now) const;
  void DropWait();
  void Push(const Action& action);
  double Chance();

  // What the spec says is in the record, if it has a place there. There may be very
  // many calls that wait: nothing is held twice, and what is small stands together.
  const RetryOptions& options_;
  SharedState* shared_;
  const std::shared_ptr<Waiter> waiter_;

  MonotonicTime limit_ = MonotonicTime::Infinite();
  Ticket ticket_;  // its place, while it waits
  MonotonicTime backoff_until_;
  // When the present wait began.
  MonotonicTime waiting_since_;
  MonotonicTime waits_until_ = MonotonicTime::InfinitePast();
  MonotonicTime hedge_at_ = MonotonicTime::Infinite();

  // Of the spec.
  bool replayable_;
  const bool nested_;
  const bool billable_;

  Phase phase_ = Phase::kNew;
  WaitPlace::Where where_ = WaitPlace::Where::kNowhere;
  WaitPlace::Where holder_ = WaitPlace::Where::kNowhere;
  // Why the present wait is as long as it is.
  DelaySource wait_source_ = DelaySource::kNone;
  // How this call itself was told to wait, if it was: a gate that it shut is
  // recorded under the name of the header that shut it.
  DelaySource told_by_ = DelaySource::kNone;
  bool has_failed_ = false;  // an attempt
  bool free_retry_used_ = false;
  bool hedges_ = false;  // this call may
  bool told_ = false;    // a server asked for less

  int hedges_tried_ = 0;
  int counted_failures_ = 0;
  int weighed_ = 0;       // the attempt whose end led to the present wait
  int due_cost_ = 0;      // to be withdrawn when the next send leaves
  int pending_cost_ = 0;  // withdrawn for a send that has not happened yet
  int last_cost_ = 0;     // of the last retry that was sent
  uint32_t chances_ = 0;  // so far: a few for each attempt

  // Room for what a call that does not hedge needs, unless it is cancelled.
  std::vector<InFlight> in_flight_;  // large, and nothing while the call waits
  absl::InlinedVector<Action, 1> actions_;
  WakeList wakes_;
  CallRecord record_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_EXECUTION_H_
