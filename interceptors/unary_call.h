// UnaryCall: drives one unary call of an application. Private.
//
// Passive. The application's own call is attempt 1: its batch goes down, and
// when its status comes up and is the last word, it goes on up. That is all of
// a call that succeeds. Otherwise
//
//   refused      the first batch is kept from the start (or was held until now)
//                and hijacked: the call ends without having been sent
//   must wait    the first batch is held; an alarm lets it go, or refuses it
//   is repeated  the batch with the status is held; further attempts are calls
//                of our own on the channel below this interceptor, waits are
//                alarms; then the last attempt's answer is put into the held
//                batch, and that goes on up
//   is hedged    further attempts start while attempt 1 is still down. If one of
//                them ends the call, attempt 1 is cancelled, and its batch, when it
//                comes, is the one that gets the answer. If attempt 1 does, the
//                others are cancelled and let go when they are back
//
// With RpcOptions::take_over the first batch is hijacked when it may go, and held;
// then attempt 1 is a call of our own, too.
//
// gRPC ops come in batches: the sync API, the callback API and a completion
// queue's Finish make one; a reactor makes two (start; message and status), and
// both are held, or go. Those that make two are not hedged: what answer they want is
// not known when the first one goes.
//
// Who calls what. Events come from several threads at once: the application's
// (Intercept), gRPC's callback threads (attempt ends) and its timer threads
// (alarms). Each takes `mutex_`, feeds the machine, and leaves. Actions are
// carried out by one thread at a time, the drainer (Drain), without the lock:
// Proceed and Hijack come back into Intercept, TryCancel comes back into
// OnCallerCancel, and the last Proceed may destroy the context and, with it,
// the interceptor. As all of these are the drainer's, none meets a context that
// another one has let go.
//
// That is so while a batch is held, or the one with the status is on its way: without
// it the application cannot be told of an end. One that asks for the head alone
// (ReadInitialMetadata of a completion queue) has nothing pending when that is there,
// and may drop the call and its context without a word, at any time. Only the time-out
// of attempt 1 acts then, and not on the context: it cancels gRPC's call, to which
// there is a reference of ours for that (first_call_). Other interceptors, which
// TryCancel would tell, are going away with the context, too.
//
// PRE_SEND_CANCEL comes with the lock of the application's context held, at any
// time: it only notes the fact and wakes the timer.
//
// A batch that comes between our decision to hijack the call and gRPC's knowing of it
// would go on to a call that is never sent. It is held until Hijack has returned.
//
// Whose memory. A ClientContext owns a reference to its channel, and gRPC 1.51
// crashes if a channel's last one is dropped on a callback thread. So attempts
// are dropped while the application's own context, which has one too, is alive;
// the one whose metadata the application reads is moved to whoever destroys that
// context (Detach); and those that come back after the call's end are dropped on a
// timer's thread (RunSoon).
//
// Thread rule: thread-safe.
#ifndef FORBEAR_INTERCEPTORS_UNARY_CALL_H_
#define FORBEAR_INTERCEPTORS_UNARY_CALL_H_

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "interceptors/alarm_timer.h"
#include "interceptors/attempt_context.h"
#include "interceptors/attempt_end.h"
#include "interceptors/channel_policy.h"
#include "interceptors/intercepted_call.h"
#include "interceptors/kept_bytes.h"
#include "interceptors/known_methods.h"
#include "interceptors/message_type.h"
#include "interceptors/parent_watch.h"
#include "interceptors/stop_status.h"
#include "runtime/call.h"
#include "runtime/client.h"

namespace forbear::rpc {

class UnaryCall final : public InterceptedCall,
                        public std::enable_shared_from_this<UnaryCall> {
 public:
  // An attempt that is a call of our own.
  struct Attempt {
    grpc::ClientContext context;
    grpc::ByteBuffer request;  // read when interceptors below let it go
    grpc::ByteBuffer response;
    grpc::Status status;
    MonotonicTime end_by;
  };

  // `known`: what is known of its method, with the call's own options.
  UnaryCall(std::shared_ptr<const ChannelPolicy> policy,
            std::shared_ptr<const KnownMethod> known,
            grpc::experimental::ClientRpcInfo* info);

  void Intercept(Batch* batch) override;
  std::shared_ptr<void> Detach() override;
  CallRecord record() const override;

 private:
  using Lock = std::unique_lock<std::mutex>;

  // An attempt that is out: told to start, and its end is not reported.
  struct Out {
    int number = 0;
    std::shared_ptr<Attempt> attempt;  // null: the application's own call
    bool lost = false;     // another one won, and it was told to end
    bool reading = false;  // it has ended, and Read looks at how
  };

  struct Unref {
    void operator()(grpc_call* call) const { grpc_call_unref(call); }
  };
  using CallRef = std::unique_ptr<grpc_call, Unref>;

  enum class Phase {
    kNew,      // no batch yet
    kHolding,  // the first batches are held
    kTaking,   // the first and only batch is being hijacked, to be answered
    kSent,     // they went down, or the one that was taken is held
    kRefused,  // they were hijacked
    kOver,     // the status is with the application, or nobody waits for it
  };

  // Batches, by the way they go.
  void OnGoingDown(Batch* batch);
  void OnStatus(Batch* batch);
  void OnCallerCancel();

  void OnTimer();
  void OnParentEnd(grpc::StatusCode code);
  void OnAttemptTimeout();
  void OnAttemptDone(std::shared_ptr<Attempt> attempt, grpc::Status status);

  // Carries actions out until there are none.
  void Drain(Lock lock);
  // The arms of Drain. Each gets the lock and gives it back before it calls
  // anything.
  void Wait(const Action& action, Lock* lock);
  void SendFirst(const Action& action, Lock* lock);
  void Take(const Action& action, Lock* lock);
  // `taken`: to be hijacked before; or null.
  void SendAgain(const Action& action, Batch* taken, Lock* lock);
  void CancelFirst(Lock* lock);
  void Cancel(int number, Lock* lock);
  void Finish(const Action& action, Lock lock);

  void Remember(Batch* batch);
  // Whether this is all of the call.
  bool IsWhole(Batch* batch) const;
  // How many attempts of it can be out at a time. Makes that possible.
  int PrepareHedges(Batch* batch);
  void StartCall(const std::shared_ptr<Attempt>& attempt, int number);
  // What an end means. The application's classifier may look at it, for which the
  // lock is given back and taken again: whatever is not the attempt's may have
  // changed. Without hedges nobody ends the call meanwhile, but its context may go
  // away. `attempt`: one that is out.
  Outcome Read(const Attempt* attempt, AttemptEnd end, Lock* lock);
  // It is not out any more. Its answer is the call's for now, unless the call is over.
  // Returns the attempt whose answer is none: for LetGo, without the lock.
  std::shared_ptr<Attempt> Report(std::shared_ptr<Attempt> attempt,
                                  const Outcome& outcome);
  // A good answer's: tells the call of the limits in it.
  void TellLimits(int number, const Outcome& outcome,
                  const ReceivedMetadata* initial,
                  const ReceivedMetadata* trailing);
  // Null: it is not out. Null means the application's own call.
  Out* FindOut(const Attempt* attempt);
  using Attempts = absl::InlinedVector<std::shared_ptr<Attempt>, 1>;
  // Without the application's own call.
  Attempts AttemptsOut() const;
  // Drops it, soon: the application's context may be gone, and this be the channel's
  // last reference, which must not be dropped on a callback thread.
  static void LetGo(std::shared_ptr<Attempt> attempt);
  // Puts the end of the call into the batch that waits for it.
  void FillAnswer(const Action& finish, Batch* answer);
  // With what attempt_ brought. *filled: there is a response.
  grpc::Status FillResponse(Batch* answer, bool* filled);
  void FillRefusal(Batch* batch) const;

  const std::shared_ptr<const ChannelPolicy> policy_;
  grpc::ClientContext* const context_;
  const std::shared_ptr<const KnownMethod> known_;
  const char* const suffix_for_stats_;
  const MonotonicTime deadline_;
  const std::shared_ptr<AlarmTimer> timer_;
  const std::shared_ptr<Waiter> waiter_;  // the same

  mutable std::mutex mutex_;  // guards all below
  std::optional<Call> call_;  // from the first batch on
  Phase phase_ = Phase::kNew;
  bool draining_ = false;
  bool cancelled_ = false;  // by the application
  bool waiting_ = false;    // the last action was a wait
  bool waited_ = false;     // one was
  // If it is made for a server call, from the first wait on.
  ParentWatch* parent_ = nullptr;
  grpc::StatusCode parent_end_ = grpc::StatusCode::OK;  // none yet
  absl::InlinedVector<Out, 1> out_;
  // kFinish, while the batch that gets the answer is not back.
  std::optional<Action> finish_;

  // Of the batches on their way down.
  absl::InlinedVector<Batch*, 2> held_;
  Batch* refusing_ = nullptr;  // the first one, on its way through Hijack
  bool asks_status_ = false;   // the one with the status has been here
  SentMetadata* metadata_ = nullptr;
  KeptBytes request_;
  void* response_ = nullptr;
  MessageType response_type_ = MessageType::kUnknown;
  bool takes_ = false;  // the call, for all of its attempts

  // Attempt 1.
  std::shared_ptr<AlarmTimer> attempt_timer_;
  MonotonicTime first_end_by_;  // its Action::time
  CallRef first_call_;  // if it may have to be cancelled without its context
  bool cancel_first_ = false;  // its time is over, and it is to be told so
  bool timed_out_first_ = false;

  // The batch with the status, held after attempt 1, or hijacked before it.
  Batch* answer_ = nullptr;
  bool* got_message_ = nullptr;
  std::unique_ptr<grpc::ChannelInterface> channel_;  // below this interceptor
  // The attempt whose end was reported last; null: attempt 1's, or none.
  std::shared_ptr<Attempt> attempt_;

  // What a refused call gets, and what trailers refer to.
  StopStatus stop_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_UNARY_CALL_H_
