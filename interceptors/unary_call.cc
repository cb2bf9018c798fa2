#include "interceptors/unary_call.h"

#include <grpcpp/impl/codegen/client_callback.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/rpc_method.h>

#include <cstdint>
#include <utility>

#include "core/call_record.h"
#include "core/hedge.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "interceptors/grpc_time.h"
#include "interceptors/method_table.h"
#include "interceptors/private_access.h"
#include "interceptors/rpc_options.h"
#include "runtime/classifier.h"
#include "runtime/clock.h"

namespace forbear::rpc {
namespace {

using Hook = grpc::experimental::InterceptionHookPoints;

// The call whose first attempt this thread is cancelling.
thread_local const UnaryCall* cancelling = nullptr;

template <typename T>
class Scoped {
 public:
  Scoped(T* variable, T value) : variable_(variable), before_(*variable) {
    *variable = value;
  }
  ~Scoped() { *variable_ = before_; }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;

 private:
  T* const variable_;
  const T before_;
};

}  // namespace

UnaryCall::UnaryCall(std::shared_ptr<const ChannelPolicy> policy,
                     std::shared_ptr<const KnownMethod> known,
                     grpc::experimental::ClientRpcInfo* info)
    : policy_(std::move(policy)),
      context_(info->client_context()),
      known_(std::move(known)),
      suffix_for_stats_(info->suffix_for_stats()),
      deadline_(FromGrpcTime(context_->raw_deadline())),
      timer_(std::make_shared<AlarmTimer>()),
      waiter_(timer_) {}

void UnaryCall::Intercept(Batch* batch) {
  if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_CANCEL)) {
    OnCallerCancel();
  } else if (batch->QueryInterceptionHookPoint(Hook::POST_RECV_STATUS)) {
    OnStatus(batch);
  } else if (batch->QueryInterceptionHookPoint(Hook::POST_SEND_MESSAGE) ||
             batch->QueryInterceptionHookPoint(
                 Hook::POST_RECV_INITIAL_METADATA)) {
    batch->Proceed();
  } else {
    OnGoingDown(batch);
  }
}

void UnaryCall::OnGoingDown(Batch* batch) {
  Lock lock(mutex_);
  switch (phase_) {
    case Phase::kNew:
      phase_ = Phase::kHolding;
      Remember(batch);
      takes_ = policy_->take_over != TakeOver::kNever && IsWhole(batch);
      held_.push_back(batch);
      {
        CallFacts facts;
        facts.max_in_flight = static_cast<int16_t>(PrepareHedges(batch));
        facts.deadline = deadline_;
        facts.retry = known_->retry;
        facts.nested = HasRetryMarker(metadata_);
        call_.emplace(policy_->client.get(), known_->handle.get(), facts,
                      &waiter_);
      }
      // Drain sees to it if it has been cancelled already.
      if (!cancelled_) call_->Begin();
      break;
    case Phase::kHolding:
      Remember(batch);
      held_.push_back(batch);
      break;
    case Phase::kTaking:
      // Hijacked: it waits for the answer.
      phase_ = Phase::kSent;
      answer_ = batch;
      return;
    case Phase::kSent:
    case Phase::kOver:
      Remember(batch);
      lock.unlock();
      batch->Proceed();
      return;
    case Phase::kRefused:
      if (refusing_ == batch) {
        refusing_ = nullptr;  // gRPC knows now
      } else if (refusing_ != nullptr) {
        held_.push_back(batch);
        return;
      }
      // On its first way down, or hijacked and to be filled.
      FillRefusal(batch);
      lock.unlock();
      batch->Proceed();
      return;
  }
  Drain(std::move(lock));
}

void UnaryCall::Remember(Batch* batch) {
  if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
    metadata_ = batch->GetSendInitialMetadata();
  }
  const bool sends = batch->QueryInterceptionHookPoint(Hook::PRE_SEND_MESSAGE);
  if (sends) request_.Keep(*batch->GetSerializedSendMessage());
  if (batch->GetRecvStatus() != nullptr) asks_status_ = true;
  // There before the message is: no hook says so, but the pointer is set.
  if (void* response = batch->GetRecvMessage()) {
    response_ = response;
    if (!sends) response_type_ = TypeGoingDown(batch);
  }
}

bool UnaryCall::IsWhole(Batch* batch) const {
  return metadata_ != nullptr &&
         batch->QueryInterceptionHookPoint(Hook::PRE_SEND_MESSAGE) &&
         batch->GetRecvMessage() != nullptr &&
         batch->GetRecvStatus() != nullptr;
}

int UnaryCall::PrepareHedges(Batch* batch) {
  const HedgeOptions& hedge = known_->retry_options().hedge;
  if (!hedge.enabled || !IsWhole(batch) || !request_.Valid()) return 1;
  if (!takes_) {
    // Into what the answer of a hedge goes. Also to be known if attempt 1 is not back
    // before it.
    response_type_ = TypeGoingUp(batch, MessageType::kUnknown, &got_message_);
    if (response_type_ == MessageType::kUnknown) return 1;
    channel_ = batch->GetInterceptedChannel();
    if (channel_ == nullptr) return 1;
  }
  return 1 + hedge.max_hedges;
}

void UnaryCall::OnStatus(Batch* batch) {
  Lock lock(mutex_);
  Out* const out = FindOut(nullptr);
  if (phase_ != Phase::kSent || out == nullptr) {
    lock.unlock();
    batch->Proceed();
    return;
  }
  const grpc::Status& status = *batch->GetRecvStatus();
  // Its response is the application's message already, without its length.
  AttemptEnd end;
  end.status = &status;
  end.cancelled_by_caller = out->lost;
  if (!status.ok()) {
    response_type_ = TypeGoingUp(batch, response_type_, &got_message_);
    if (channel_ == nullptr) channel_ = batch->GetInterceptedChannel();
    if (response_type_ == MessageType::kUnknown || response_ == nullptr ||
        metadata_ == nullptr || !request_.Valid() || channel_ == nullptr) {
      call_->SetNotReplayable();
    }
    end.trailers = batch->GetRecvTrailingMetadata();
    end.timed_out =
        timed_out_first_ || MonotonicNow() + kTimerSlack >= first_end_by_;
  }
  const Outcome outcome = Read(nullptr, end, &lock);
  if (phase_ != Phase::kSent) return;  // detached meanwhile
  // Not sooner: who finishes the call must not find it while it is read.
  answer_ = batch;
  if (status.ok()) {
    const bool has_initial =
        batch->QueryInterceptionHookPoint(Hook::POST_RECV_INITIAL_METADATA);
    TellLimits(/*number=*/1, outcome,
               has_initial ? batch->GetRecvInitialMetadata() : nullptr,
               batch->GetRecvTrailingMetadata());
  }
  std::shared_ptr<Attempt> gone = Report(nullptr, outcome);
  Drain(std::move(lock));
  LetGo(std::move(gone));
}

Outcome UnaryCall::Read(const Attempt* attempt, AttemptEnd end, Lock* lock) {
  const bool lost = end.cancelled_by_caller;
  end.cancelled_by_caller = lost || cancelled_;
  end.bytes_sent =
      request_.Valid() ? static_cast<int64_t>(request_.Length()) : 0;
  Outcome outcome = ReadEnd(end, *policy_, *known_->policy, known_->retryable);
  const RpcClassifier& classifier = policy_->client->options().classify_rpc;
  if (!classifier || end.status->ok()) return outcome;
  // No answer, but our own doing.
  if (lost && outcome.kind == ErrorKind::kCancelled) return outcome;
  // It stays in out_ until the report: attempt 1's batch goes nowhere meanwhile, and
  // what the function is given stays where it is.
  FindOut(attempt)->reading = true;
  lock->unlock();
  AskClassifier(classifier, end, this, &outcome);
  lock->lock();
  return outcome;
}

UnaryCall::Out* UnaryCall::FindOut(const Attempt* attempt) {
  for (Out& out : out_) {
    if (out.attempt.get() == attempt) return &out;
  }
  return nullptr;
}

void UnaryCall::LetGo(std::shared_ptr<Attempt> attempt) {
  if (attempt != nullptr) RunSoon([attempt = std::move(attempt)] {});
}

std::shared_ptr<UnaryCall::Attempt> UnaryCall::Report(
    std::shared_ptr<Attempt> attempt, const Outcome& outcome) {
  Out* const out = FindOut(attempt.get());
  const int number = out->number;
  out_.erase(out_.begin() + (out - out_.data()));
  // Finish reads both without the lock.
  if (!call_->finished()) {
    waiting_ = false;
    attempt_.swap(attempt);
  }
  call_->OnAttemptDone(number, outcome);
  return attempt;
}

void UnaryCall::TellLimits(int number, const Outcome& outcome,
                           const ReceivedMetadata* initial,
                           const ReceivedMetadata* trailing) {
  const auto stand = StandIn(*policy_, *known_->policy, initial, trailing);
  if (!stand) return;
  call_->OnAnswerHead(number, outcome);
  call_->OnLimitTold(number, *stand);
}

void UnaryCall::OnCallerCancel() {
  // Our own, of an attempt that takes too long, or has lost.
  if (cancelling == this) return;
  Attempts attempts;
  {
    const Lock lock(mutex_);
    cancelled_ = true;
    attempts = AttemptsOut();
  }
  for (std::shared_ptr<Attempt>& attempt : attempts) {
    // Not here: the lock of the application's context is held. Nor is what may
    // be the last reference dropped here.
    RunSoon([attempt = std::move(attempt)] { attempt->context.TryCancel(); });
  }
  timer_->Wake();
}

UnaryCall::Attempts UnaryCall::AttemptsOut() const {
  Attempts attempts;
  for (const Out& out : out_) {
    if (out.attempt != nullptr) attempts.push_back(out.attempt);
  }
  return attempts;
}

void UnaryCall::OnTimer() {
  Lock lock(mutex_);
  if (phase_ == Phase::kOver || phase_ == Phase::kRefused) return;
  call_->OnTimer();
  Drain(std::move(lock));
}

void UnaryCall::OnParentEnd(grpc::StatusCode code) {
  Lock lock(mutex_);
  if (phase_ == Phase::kOver || phase_ == Phase::kRefused || cancelled_) return;
  cancelled_ = true;
  parent_end_ = code;
  Drain(std::move(lock));  // attempts gRPC ends
}

void UnaryCall::OnAttemptTimeout() {
  Lock lock(mutex_);
  const Out* const out = FindOut(nullptr);
  if (phase_ != Phase::kSent || out == nullptr || out->reading) return;
  cancel_first_ = true;
  Drain(std::move(lock));
}

void UnaryCall::OnAttemptDone(std::shared_ptr<Attempt> attempt,
                              grpc::Status status) {
  Lock lock(mutex_);
  // Its parts, and not a copy that holds the attempt until this returns.
  const Out* const out = FindOut(attempt.get());
  const int number = out->number;
  const bool lost = out->lost;
  attempt->status = std::move(status);
  attempt->request.Clear();
  AttemptEnd end;
  end.status = &attempt->status;
  end.timed_out = MonotonicNow() + kTimerSlack >= attempt->end_by;
  end.cancelled_by_caller = lost;
  if (attempt->response.Valid()) {
    end.bytes_received = static_cast<int64_t>(attempt->response.Length());
  }
  if (!attempt->status.ok()) {
    end.trailers = &attempt->context.GetServerTrailingMetadata();
  }
  const Outcome outcome = Read(attempt.get(), end, &lock);
  const bool late = call_->finished();
  if (attempt->status.ok() && !late) {
    TellLimits(number, outcome, &attempt->context.GetServerInitialMetadata(),
               &attempt->context.GetServerTrailingMetadata());
  }
  // Either this one, or the one whose answer was the call's until now.
  std::shared_ptr<Attempt> gone = Report(std::move(attempt), outcome);
  if (late) {
    Call::Aftermath aftermath = call_->TakeAftermath();
    lock.unlock();
    aftermath.Deliver();
  } else {
    Drain(std::move(lock));
  }
  LetGo(std::move(gone));
}

void UnaryCall::Drain(Lock lock) {
  if (draining_) return;  // whoever does it comes round again
  draining_ = true;
  for (;;) {
    // While an attempt is out gRPC ends it, and its end is the news.
    if (cancelled_ && out_.empty() && !call_->finished()) {
      call_->OnCancel();
    }
    const Out* const first = FindOut(nullptr);
    if (cancel_first_ && first != nullptr && !first->reading) {
      timed_out_first_ = true;
      CancelFirst(&lock);
      continue;
    }
    if (finish_ && first == nullptr) {
      Finish(*finish_, std::move(lock));
      return;
    }
    Action action;
    if (!call_->NextAction(&action)) break;
    switch (action.type) {
      case Action::Type::kStartAttempt:
        waiting_ = false;
        if (action.attempt > 1) {
          SendAgain(action, /*taken=*/nullptr, &lock);
        } else if (takes_) {
          Take(action, &lock);
        } else {
          SendFirst(action, &lock);
        }
        break;
      case Action::Type::kWaitUntil:
        Wait(action, &lock);
        break;
      case Action::Type::kCancelAttempt:
        Cancel(action.attempt, &lock);
        break;
      case Action::Type::kFinish:
        finish_ = action;
        break;
    }
  }
  draining_ = false;
  Call::Aftermath aftermath = call_->TakeAftermath();
  lock.unlock();
  aftermath.Deliver();
}

void UnaryCall::Wait(const Action& action, Lock* lock) {
  waiting_ = waited_ = true;
  // An attempt that is out is ended by gRPC.
  const bool watches =
      parent_ == nullptr && out_.empty() && HasParent(*context_);
  if (watches && channel_ == nullptr) {
    channel_ = held_[0]->GetInterceptedChannel();
  }
  Call::Aftermath aftermath = call_->TakeAftermath();
  lock->unlock();
  aftermath.Deliver();
  ParentWatch* parent = nullptr;
  if (watches) {
    parent = ParentWatch::Start(
        channel_.get(), known_->name, *context_,
        [self = shared_from_this()](auto code) { self->OnParentEnd(code); });
  }
  timer_->Arm(action.time, [self = shared_from_this()] { self->OnTimer(); });
  lock->lock();
  // Its batch is held: the call is not over.
  if (watches) parent_ = parent;
}

void UnaryCall::SendFirst(const Action& action, Lock* lock) {
  phase_ = Phase::kSent;
  out_.push_back({/*number=*/1, nullptr});
  first_end_by_ = action.time;
  const absl::InlinedVector<Batch*, 2> batches = std::move(held_);
  held_.clear();
  // gRPC itself watches the call's deadline.
  const bool limited = action.time < deadline_;
  if (limited) {
    attempt_timer_ = std::make_shared<AlarmTimer>();
    if (!asks_status_) {
      first_call_.reset(context_->c_call());
      grpc_call_ref(first_call_.get());
    }
  }
  const std::shared_ptr<AlarmTimer> timer = attempt_timer_;
  Call::Aftermath aftermath = call_->TakeAftermath();
  lock->unlock();
  aftermath.Deliver();
  if (limited) {
    timer->Arm(action.time,
               [self = shared_from_this()] { self->OnAttemptTimeout(); });
  }
  for (Batch* batch : batches) batch->Proceed();
  lock->lock();
}

void UnaryCall::Take(const Action& action, Lock* lock) {
  Batch* const batch = held_[0];
  held_.clear();
  phase_ = Phase::kTaking;
  response_type_ = policy_->take_over == TakeOver::kGenericStubs
                       ? MessageType::kBytes
                       : MessageType::kProtobuf;
  channel_ = batch->GetInterceptedChannel();
  SendAgain(action, batch, lock);
}

void UnaryCall::CancelFirst(Lock* lock) {
  cancel_first_ = false;
  if (phase_ == Phase::kOver) return;
  if (asks_status_) {
    // The status comes up to the drainer: the context lives until this returns.
    lock->unlock();
    {
      const Scoped<const UnaryCall*> scope(&cancelling, this);
      context_->TryCancel();
    }
  } else {
    const CallRef call = std::move(first_call_);
    lock->unlock();
    grpc_call_cancel(call.get(), nullptr);
  }
  lock->lock();
}

void UnaryCall::Cancel(int number, Lock* lock) {
  const auto out =
      std::find_if(out_.begin(), out_.end(),
                   [number](const Out& o) { return o.number == number; });
  // It may have come back by now, or be on its way through Read.
  if (phase_ == Phase::kOver || out == out_.end() || out->reading) return;
  out->lost = true;
  std::shared_ptr<Attempt> attempt = out->attempt;
  if (attempt == nullptr) {
    CancelFirst(lock);
    return;
  }
  lock->unlock();
  attempt->context.TryCancel();
  attempt.reset();  // the application's context lives until kFinish
  lock->lock();
}

void UnaryCall::SendAgain(const Action& action, Batch* taken, Lock* lock) {
  auto attempt = std::make_shared<Attempt>();
  attempt->end_by = action.time;
  out_.push_back({action.attempt, attempt});
  std::shared_ptr<Attempt> before = std::exchange(attempt_, nullptr);
  // A hedge of a call whose other attempts are not back yet from a cancel, which knew
  // nothing of this one. A context that is cancelled before its call sends nothing.
  const bool cancelled = cancelled_;
  Call::Aftermath aftermath = call_->TakeAftermath();
  lock->unlock();
  aftermath.Deliver();
  if (cancelled) attempt->context.TryCancel();
  before.reset();
  if (taken != nullptr) taken->Hijack();  // comes back into OnGoingDown
  StartCall(attempt, action.attempt);
  attempt.reset();
  lock->lock();
}

void UnaryCall::StartCall(const std::shared_ptr<Attempt>& attempt, int number) {
  grpc::ClientContext* const context = &attempt->context;
  FillAttemptContext(*context_,
                     attempt->end_by < deadline_ ? ToGrpcTime(attempt->end_by)
                                                 : context_->raw_deadline(),
                     context);
  for (const auto& [name, value] : MetadataOfAttempt(*metadata_, number)) {
    context->AddMetadata(name, value);
  }
  attempt->request = request_.Get();
  const StartingAttempt starting(context);
  grpc::internal::CallbackUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel_.get(),
      grpc::internal::RpcMethod(known_->name.c_str(), suffix_for_stats_,
                                grpc::internal::RpcMethod::NORMAL_RPC),
      context, &attempt->request, &attempt->response,
      // `attempt = attempt`, or it would be a const member, and std::move a copy
      // that dies with this lambda: on a callback thread, perhaps as the last.
      [self = shared_from_this(),
       attempt = attempt](grpc::Status status) mutable {
        self->OnAttemptDone(std::move(attempt), std::move(status));
      });
}

void UnaryCall::Finish(const Action& action, Lock lock) {
  // From here on nothing but the record is left of this call; `draining_` stays
  // set.
  if (action.reason != StopReason::kSuccess || action.retry_at) {
    stop_ = StopStatus(action, call_->holder());
    if (action.reason == StopReason::kCancelled) {
      stop_.EndedByParent(parent_end_);
    }
  }
  absl::InlinedVector<Batch*, 2> batches;
  Batch* answer = nullptr;
  if (phase_ == Phase::kHolding) {
    phase_ = Phase::kRefused;
    batches.swap(held_);
    refusing_ = batches[0];
  } else if (phase_ == Phase::kSent) {
    phase_ = Phase::kOver;
    answer = std::exchange(answer_, nullptr);
  }
  request_.Clear();
  ParentWatch* const parent = std::exchange(parent_, nullptr);
  Call::Aftermath aftermath = call_->TakeAftermath();
  lock.unlock();
  aftermath.Deliver();
  if (waited_) timer_->Disarm();
  if (parent != nullptr) parent->Stop();
  if (attempt_timer_ != nullptr) attempt_timer_->Disarm();
  if (answer != nullptr) {
    FillAnswer(action, answer);
    answer->Proceed();
  } else if (!batches.empty()) {
    // The first one makes the call a hijacked one; for the others, and those that
    // have come meanwhile, Proceed is enough then. Each comes back into OnGoingDown to
    // be filled.
    batches[0]->Hijack();
    lock.lock();
    batches.insert(batches.end(), held_.begin(), held_.end());
    held_.clear();
    lock.unlock();
    for (size_t i = 1; i < batches.size(); ++i) batches[i]->Proceed();
  }
}

void UnaryCall::FillAnswer(const Action& finish, Batch* answer) {
  if (finish.reason == StopReason::kSuccess && attempt_ == nullptr) return;
  bool fails = true;
  bool adds_trailers = finish.retry_at.has_value();
  grpc::Status* const status = answer->GetRecvStatus();
  const grpc::Status& last = attempt_ == nullptr ? *status : attempt_->status;
  const bool timed_out = attempt_ == nullptr && timed_out_first_;
  // No server's word: what happened after it.
  if ((finish.reason == StopReason::kCancelled &&
       (waiting_ || timed_out ||
        last.error_code() != grpc::StatusCode::CANCELLED)) ||
      (finish.reason == StopReason::kDeadlineExceeded && waiting_)) {
    *status = stop_.status();
    answer->GetRecvTrailingMetadata()->clear();
    adds_trailers = true;
  } else if (attempt_ != nullptr) {
    // Also beside an error, as gRPC does.
    bool filled = false;
    const grpc::Status parsed = FillResponse(answer, &filled);
    fails = !filled;
    *status = last.ok() ? parsed : last;
    *answer->GetRecvTrailingMetadata() =
        attempt_->context.GetServerTrailingMetadata();
    // A reactor has had the first attempt's already.
    if (answer->QueryInterceptionHookPoint(Hook::POST_RECV_INITIAL_METADATA) ||
        answer->QueryInterceptionHookPoint(Hook::PRE_RECV_INITIAL_METADATA)) {
      *answer->GetRecvInitialMetadata() =
          attempt_->context.GetServerInitialMetadata();
    }
    CopyDebugErrorString(attempt_->context, context_);
  } else if (timed_out && last.error_code() == grpc::StatusCode::CANCELLED) {
    *status = finish.reason == StopReason::kDeadlineExceeded
                  ? stop_.status()
                  : AttemptTimeoutStatus();
    adds_trailers = true;
  }
  // Of a batch that was taken.
  if (fails && answer->QueryInterceptionHookPoint(Hook::PRE_RECV_MESSAGE)) {
    answer->FailHijackedRecvMessage();
  }
  if (adds_trailers) stop_.AddTrailers(answer->GetRecvTrailingMetadata());
}

grpc::Status UnaryCall::FillResponse(Batch* answer, bool* filled) {
  auto* const bytes = response_type_ == MessageType::kBytes
                          ? static_cast<grpc::ByteBuffer*>(response_)
                          : nullptr;
  auto* const message =
      bytes == nullptr ? static_cast<grpc::protobuf::MessageLite*>(response_)
                       : nullptr;
  grpc::Status status;
  *filled = attempt_->response.Valid();
  if (*filled && bytes != nullptr) {
    bytes->Swap(&attempt_->response);
  } else if (*filled) {
    *filled =
        grpc::SerializationTraits<grpc::protobuf::MessageLite>::Deserialize(
            &attempt_->response, message)
            .ok();
    if (!*filled) {
      status = grpc::Status(grpc::StatusCode::INTERNAL,
                            "forbear: The response could not be parsed.");
    }
  }
  // Of a batch that was taken gRPC sees to the rest.
  if (takes_) return status;
  if (!*filled && answer->GetRecvMessage() != nullptr) {
    // Attempt 1 had one. Without any the sync API says UNIMPLEMENTED.
    if (bytes != nullptr) {
      bytes->Clear();
    } else if (message != nullptr) {
      message->Clear();
    }
  }
  if (got_message_ != nullptr) *got_message_ = *filled;
  SetReceivedMessage(answer, *filled ? response_ : nullptr);
  return status;
}

void UnaryCall::FillRefusal(Batch* batch) const {
  if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_MESSAGE)) {
    batch->FailHijackedRecvMessage();
  }
  if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_STATUS)) {
    *batch->GetRecvStatus() = stop_.status();
    stop_.AddTrailers(batch->GetRecvTrailingMetadata());
  }
}

std::shared_ptr<void> UnaryCall::Detach() {
  Lock lock(mutex_);
  // A context that goes away before its call has ended: nobody is left to tell.
  if (call_ && !call_->finished()) call_->OnCancel();
  phase_ = Phase::kOver;
  held_.clear();
  answer_ = nullptr;
  const CallRef first_call = std::move(first_call_);
  // Nobody will come back with attempt 1; the others report.
  const Attempts attempts = AttemptsOut();
  std::shared_ptr<Attempt> attempt = std::exchange(attempt_, nullptr);
  ParentWatch* const parent = std::exchange(parent_, nullptr);
  Call::Aftermath aftermath;
  if (call_) aftermath = call_->TakeAftermath();
  lock.unlock();
  aftermath.Deliver();
  if (waited_) timer_->Disarm();
  if (parent != nullptr) parent->Stop();
  if (attempt_timer_ != nullptr) attempt_timer_->Disarm();
  for (const std::shared_ptr<Attempt>& out : attempts) {
    out->context.TryCancel();
  }
  return attempt;
}

CallRecord UnaryCall::record() const {
  const Lock lock(mutex_);
  return call_ ? call_->record() : CallRecord();
}

}  // namespace forbear::rpc
