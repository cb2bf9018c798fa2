// StreamCall: drives one stream of an application, of any of the three shapes.
// Private.
//
// The application's own call is hijacked at once and never sent; every attempt is a
// call of ours, of bytes (interceptors/stream_attempt.h). What the application sends
// is kept until the call is committed, so that the next attempt can send it again;
// what it waits for is held until an attempt has it.
//
// Committed: the server has sent a head (not trailers alone, with which a server
// refuses) or a message. Then nothing is sent again, what was sent is let go, and
// the attempt's end is the call's. When more than RpcOptions::max_stream_buffer is
// kept, it is let go as well: the call goes on, but cannot be repeated
// (StopReason::kNotReplayable).
//
// Batches. Each comes three times: with what it sends (PRE_SEND_…), with what it
// receives (PRE_RECV_…, or nothing), with what it has received (POST_…). Held are
//   - one with a message, the first time: until an attempt has sent the message, for
//     there it can be failed if none does. The first one of all is hijacked then, so
//     it is held the second time and cannot;
//   - one that receives, the second time: until all is there that it asks for;
//   - the first one of all: until the first attempt has started, which makes use of
//     the application's context.
// A message goes into its batch as bytes, and gRPC parses it. Not in a build without
// gRPC's private members.
//
// Until gRPC knows that the call is hijacked, which it does when the first batch comes
// the second time, another one would go on to a call that is never sent: it waits for
// that (early_).
//
// The metadata of a corked stream come with its first message. Until then there is no
// call of ours, and gRPC does not look at the deadline of one that it has not started:
// a timer does (opening_timer_).
//
// Who calls what. Events come from several threads at once: the application's
// (Intercept), gRPC's callback threads (attempts) and its timer threads (alarms).
// Each takes `mutex_`, notes what happened, and sees in Advance to what follows of
// it: the machine's actions, by one thread at a time; then, without the lock, what
// is to be sent and read, and batches that need not be held any more. Nothing else
// is called with the lock held, but what looks into a batch.
//
// PRE_SEND_CANCEL comes with the lock of the application's context held, at any
// time: it only notes the fact, and lets a timer thread see to it.
//
// Whose memory. An application's stream may be given up between two batches, and
// its context destroyed: nothing of that is used but in a batch that is held. An
// attempt lives until all has ended that it was told to do (Attempt::self). gRPC
// 1.51 crashes if a channel's last reference is dropped on a callback thread, and
// each attempt has one: the one that the application has its metadata from is
// destroyed with its context (Detach), the others on timer threads (RunSoon). An
// attempt is kept until the next one has started, which needs the channel, and the
// server call that both are made for.
//
// Thread rule: thread-safe.
#ifndef FORBEAR_INTERCEPTORS_STREAM_CALL_H_
#define FORBEAR_INTERCEPTORS_STREAM_CALL_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

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
#include "interceptors/known_methods.h"
#include "interceptors/parent_watch.h"
#include "interceptors/stop_status.h"
#include "runtime/call.h"

namespace forbear::rpc {

class StreamCall final : public InterceptedCall,
                         public std::enable_shared_from_this<StreamCall> {
 public:
  // `known`: what is known of its method, with the call's own options.
  StreamCall(std::shared_ptr<const ChannelPolicy> policy,
             std::shared_ptr<const KnownMethod> known,
             grpc::experimental::ClientRpcInfo* info);
  ~StreamCall() override;

  void Intercept(Batch* batch) override;
  std::shared_ptr<void> Detach() override;
  CallRecord record() const override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  class Attempt;
  struct Effects;
  struct Message {
    grpc::ByteBuffer bytes;
    grpc::WriteOptions options;
    size_t size;
  };
  // With what gRPC puts before each: one without bytes takes memory, too.
  static size_t KeptSize(const Message& message) { return message.size + 5; }

  // Batches, by the way they go.
  void OnFirst(Batch* batch, std::optional<Message> message, Lock lock);
  void OnSending(Batch* batch, std::optional<Message> message, Lock lock);
  void Take(Batch* batch, std::optional<Message> message);
  void OnCallerCancel();

  void OnTimer();
  void OnParentEnd(grpc::StatusCode code);
  void OnDeadlineBeforeOpening();
  void OnAttemptTimeout(int number);

  // What an attempt reports.
  void OnHead(Attempt* attempt, bool real);
  void OnStatus(Attempt* attempt);
  void OnSent(Attempt* attempt, bool ok);
  void OnRead(Attempt* attempt, bool ok);
  // One thing less that it was told to do.
  void Settle(Attempt* attempt, Lock lock);
  void OnEnd(Attempt* attempt, Lock lock);

  // Sees to whatever can be done now.
  void Advance(Lock lock);
  // The machine's actions. The lock is given back now and then.
  void Act(Lock* lock);
  void Create();
  void Wait(const Action& action, Lock* lock);
  void StartAttempt(const Action& action, Lock* lock);
  void Finish(const Action& finish);
  void Commit(Attempt* attempt);
  void DropSent(const Attempt& attempt);

  // What can be sent, read and let go.
  void Collect(Effects* effects);
  bool IsReady(Batch* batch) const;
  void Fill(Batch* batch);
  bool Give(Batch* batch);
  uint64_t messages_end() const { return first_kept_ + messages_.size(); }

  const std::shared_ptr<const ChannelPolicy> policy_;
  grpc::ClientContext* const context_;
  const std::shared_ptr<const KnownMethod> known_;
  const char* const suffix_for_stats_;
  const grpc::experimental::ClientRpcInfo::Type type_;
  const gpr_timespec raw_deadline_;
  const MonotonicTime deadline_;
  const std::shared_ptr<AlarmTimer> timer_;
  const std::shared_ptr<Waiter> waiter_;  // the same

  mutable std::mutex mutex_;  // guards all below
  std::optional<Call> call_;  // from the metadata on, or an end without
  MonotonicTime call_end_;    // with call_timeout
  bool cancelled_ = false;    // by the application
  bool acting_ = false;       // a thread is in Act
  bool waiting_ = false;      // the last action was a wait
  bool waited_ = false;       // one was
  // If it is made for a server call, from the first wait on.
  ParentWatch* parent_ = nullptr;
  grpc::StatusCode parent_end_ = grpc::StatusCode::OK;  // none yet
  int in_flight_ = 0;         // the number of the attempt that is out; 0: none
  bool committed_ = false;    // head or message came
  bool over_buffer_ = false;  // more than may be kept was sent
  bool over_ = false;         // the end is known: `status_`
  bool detached_ = false;     // nobody waits for it

  // Batches.
  bool hijacked_ = false;
  Batch* hijacking_ = nullptr;  // the first one, on its way to its second time
  absl::InlinedVector<Batch*, 1> early_;  // that came before that
  Batch* first_ = nullptr;  // held; the attempt must have sent, before it goes:
  uint64_t first_needs_ = 0;  // this many messages
  Batch* sender_ = nullptr;
  uint64_t sender_needs_ = 0;
  absl::InlinedVector<Batch*, 3> receivers_;

  // What the application sends.
  std::unique_ptr<grpc::ChannelInterface> channel_;  // below this interceptor
  bool opened_ = false;                              // the metadata are there
  std::shared_ptr<AlarmTimer> opening_timer_;  // if they were not at first
  SentMetadata metadata_;
  std::deque<Message> messages_;
  uint64_t first_kept_ = 0;  // the number of the first of them
  size_t kept_bytes_ = 0;
  uint64_t sent_ = 0;  // messages that an attempt has sent
  bool closed_ = false;

  std::shared_ptr<Attempt> attempt_;  // the last one
  std::shared_ptr<AlarmTimer> attempt_timer_;

  // The end.
  grpc::Status status_;
  bool from_server_ = false;    // with the attempt's trailers
  bool adds_trailers_ = false;  // of stop_
  StopStatus stop_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_STREAM_CALL_H_
