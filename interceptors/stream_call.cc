#include "interceptors/stream_call.h"

#include <grpcpp/impl/rpc_method.h>

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "core/stop_reason.h"
#include "interceptors/grpc_time.h"
#include "interceptors/private_access.h"
#include "interceptors/stream_attempt.h"
#include "runtime/classifier.h"
#include "runtime/clock.h"

namespace forbear::rpc {
namespace {

using Hook = grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;

bool Has(InterceptorBatchMethods* batch, Hook hook) {
  return batch->QueryInterceptionHookPoint(hook);
}
bool Sends(InterceptorBatchMethods* batch) {
  return Has(batch, Hook::PRE_SEND_MESSAGE) ||
         Has(batch, Hook::PRE_SEND_INITIAL_METADATA) ||
         Has(batch, Hook::PRE_SEND_CLOSE);
}
bool Receives(InterceptorBatchMethods* batch) {
  return Has(batch, Hook::PRE_RECV_MESSAGE) ||
         Has(batch, Hook::PRE_RECV_INITIAL_METADATA) ||
         Has(batch, Hook::PRE_RECV_STATUS);
}
bool HasReceived(InterceptorBatchMethods* batch) {
  return Has(batch, Hook::POST_RECV_MESSAGE) ||
         Has(batch, Hook::POST_RECV_INITIAL_METADATA) ||
         Has(batch, Hook::POST_RECV_STATUS) ||
         Has(batch, Hook::POST_SEND_MESSAGE);
}

}  // namespace

// What is below `call` is guarded by the call's lock.
class StreamCall::Attempt final : public StreamAttempt {
 public:
  Attempt(std::shared_ptr<StreamCall> call_of, int number_of)
      : call(std::move(call_of)), number(number_of) {}

  // Is told, and so must not go away, before all has ended.
  std::shared_ptr<StreamCall> call;
  const int number;

  std::shared_ptr<Attempt> self;  // until all has ended
  int out = 2;                    // what has not: head and status
  bool started = false;
  bool ended = false;  // the status is there: nothing more may be begun
  bool timed_out = false;
  bool head = false;
  bool opened = false;  // something was sent
  bool sending = false;
  bool sending_message = false;
  bool closed = false;
  bool broken = false;  // nothing more can be sent
  uint64_t next = 0;    // the message to be sent
  bool reading = false;
  bool exhausted = false;    // there is nothing more to be read
  bool has_message = false;  // that was read, for the application
  int64_t bytes_sent = 0;
  int64_t bytes_received = 0;

 private:
  // The call's work may end with the last of both.
  void OnHead(bool real) override {
    const std::shared_ptr<StreamCall> owner = call;
    owner->OnHead(this, real);
  }
  void OnStatus() override {
    const std::shared_ptr<StreamCall> owner = call;
    owner->OnStatus(this);
  }
  void OnSent(bool ok) override {
    const std::shared_ptr<StreamCall> owner = call;
    owner->OnSent(this, ok);
  }
  void OnRead(bool ok) override {
    const std::shared_ptr<StreamCall> owner = call;
    owner->OnRead(this, ok);
  }
};

// What is to be done without the lock. An attempt of which something is to be done
// counts it as out already, and cannot go away.
struct StreamCall::Effects {
  Attempt* sender = nullptr;
  const Message* message = nullptr;  // null: none
  bool close = false;
  Attempt* reader = nullptr;
  absl::InlinedVector<Batch*, 4> batches;

  void Do() {
    if (sender != nullptr) {
      sender->Send(message == nullptr ? nullptr : &message->bytes,
                   message == nullptr ? grpc::WriteOptions() : message->options,
                   close);
    }
    if (reader != nullptr) reader->Read();
    for (Batch* batch : batches) batch->Proceed();
  }
};

StreamCall::StreamCall(std::shared_ptr<const ChannelPolicy> policy,
                       std::shared_ptr<const KnownMethod> known,
                       grpc::experimental::ClientRpcInfo* info)
    : policy_(std::move(policy)),
      context_(info->client_context()),
      known_(std::move(known)),
      suffix_for_stats_(info->suffix_for_stats()),
      type_(info->type()),
      raw_deadline_(context_->raw_deadline()),
      deadline_(FromGrpcTime(raw_deadline_)),
      timer_(std::make_shared<AlarmTimer>()),
      waiter_(timer_) {}

StreamCall::~StreamCall() = default;

void StreamCall::Intercept(Batch* batch) {
  if (Has(batch, Hook::PRE_SEND_CANCEL)) {
    OnCallerCancel();
    return;
  }
  if (HasReceived(batch)) {
    batch->Proceed();
    return;
  }
  std::optional<Message> message;
  if (Has(batch, Hook::PRE_SEND_MESSAGE)) {
    // A reference to its bytes, not a copy of them.
    message.emplace(
        Message{*batch->GetSerializedSendMessage(), WriteOptionsOf(batch), 0});
    message->size = message->bytes.Length();
  }
  Lock lock(mutex_);
  if (!hijacked_) {
    OnFirst(batch, std::move(message), std::move(lock));
  } else if (hijacking_ == batch) {
    hijacking_ = nullptr;
    if (Receives(batch)) {
      receivers_.push_back(batch);
    } else {
      first_ = batch;
    }
  } else if (hijacking_ != nullptr) {
    early_.push_back(batch);
  } else if (Receives(batch)) {
    receivers_.push_back(batch);
    Advance(std::move(lock));
  } else if (Sends(batch)) {
    OnSending(batch, std::move(message), std::move(lock));
  } else {
    lock.unlock();
    batch->Proceed();
  }
}

void StreamCall::OnFirst(Batch* batch, std::optional<Message> message,
                         Lock lock) {
  hijacked_ = true;
  hijacking_ = batch;
  channel_ = batch->GetInterceptedChannel();
  Take(batch, std::move(message));
  first_needs_ = messages_end();
  std::shared_ptr<AlarmTimer> timer;
  if (!opened_ && !deadline_.is_infinite()) {
    timer = opening_timer_ = std::make_shared<AlarmTimer>();
  }
  lock.unlock();
  // The batch is not back: the context is there, and Detach to come.
  if (timer != nullptr) {
    timer->Arm(deadline_, [self = shared_from_this()] {
      self->OnDeadlineBeforeOpening();
    });
  }
  batch->Hijack();  // comes back
  lock.lock();
  const auto early = std::move(early_);
  early_.clear();
  Advance(std::move(lock));
  for (Batch* next : early) Intercept(next);
}

void StreamCall::OnSending(Batch* batch, std::optional<Message> message,
                           Lock lock) {
  const bool has_message = message.has_value();
  if (has_message && (over_ || detached_)) {
    batch->FailHijackedSendMessage();
    lock.unlock();
    batch->Proceed();
    return;
  }
  Take(batch, std::move(message));
  if (has_message) {
    sender_ = batch;
    sender_needs_ = messages_end();
  }
  Advance(std::move(lock));
  if (!has_message) batch->Proceed();
}

void StreamCall::Take(Batch* batch, std::optional<Message> message) {
  if (over_ || detached_) return;
  if (message) {
    kept_bytes_ += KeptSize(*message);
    messages_.push_back(*std::move(message));
    // The first one is kept whatever its size, as a unary call's is.
    if (!committed_ && !over_buffer_ && messages_end() > 1 &&
        kept_bytes_ > static_cast<size_t>(policy_->max_stream_buffer)) {
      over_buffer_ = true;
      if (call_) call_->SetNotReplayable();
    }
  }
  if (Has(batch, Hook::PRE_SEND_CLOSE)) closed_ = true;
  // gRPC shows those of a hijacked batch again each time that the batch is used.
  if (Has(batch, Hook::PRE_SEND_INITIAL_METADATA) && !opened_) {
    opened_ = true;
    metadata_ = *batch->GetSendInitialMetadata();
    Create();
    // Act sees to it if it has been cancelled already.
    if (!cancelled_) call_->Begin();
  }
}

void StreamCall::Create() {
  CallFacts facts;
  facts.deadline = deadline_;
  facts.retry = known_->retry;
  facts.nested = HasRetryMarker(&metadata_);
  call_.emplace(policy_->client.get(), known_->handle.get(), facts, &waiter_);
  call_end_ =
      Earlier(deadline_, MonotonicNow() + known_->retry_options().call_timeout);
}

void StreamCall::OnCallerCancel() {
  std::shared_ptr<Attempt> attempt;
  {
    const Lock lock(mutex_);
    cancelled_ = true;
    if (!hijacked_) return;  // Take will see it
    if (in_flight_ > 0) attempt = attempt_;
  }
  // Not here: the lock of the application's context is held.
  RunSoon([self = shared_from_this(), attempt = std::move(attempt)] {
    if (attempt != nullptr) attempt->context().TryCancel();
    self->Advance(Lock(self->mutex_));
  });
}

void StreamCall::OnTimer() {
  Lock lock(mutex_);
  if (over_ || detached_) return;
  call_->OnTimer();
  Advance(std::move(lock));
}

void StreamCall::OnParentEnd(grpc::StatusCode code) {
  Lock lock(mutex_);
  if (over_ || detached_ || cancelled_) return;
  cancelled_ = true;
  parent_end_ = code;
  Advance(std::move(lock));  // an attempt gRPC ends
}

void StreamCall::OnDeadlineBeforeOpening() {
  Lock lock(mutex_);
  if (opened_ || over_ || detached_) return;
  if (MonotonicNow() < deadline_) {
    // gRPC's clock is another one.
    opening_timer_->Arm(
        deadline_ + absl::Milliseconds(1),
        [self = shared_from_this()] { self->OnDeadlineBeforeOpening(); });
    return;
  }
  Create();
  call_->Begin();  // ends it: its deadline has passed
  Advance(std::move(lock));
}

void StreamCall::OnAttemptTimeout(int number) {
  std::shared_ptr<Attempt> attempt;
  {
    const Lock lock(mutex_);
    if (in_flight_ != number || committed_ || attempt_->ended) return;
    attempt_->timed_out = true;
    attempt = attempt_;
  }
  // On a timer thread: this reference may be the last one.
  attempt->context().TryCancel();
}

void StreamCall::OnHead(Attempt* attempt, bool real) {
  Lock lock(mutex_);
  if (attempt == attempt_.get() && real) {
    attempt->head = true;
    Commit(attempt);
    if (const auto stand =
            StandIn(*policy_, *known_->policy,
                    &attempt->context().GetServerInitialMetadata(), nullptr)) {
      call_->OnLimitTold(attempt->number, *stand);
    }
  }
  Settle(attempt, std::move(lock));
}

void StreamCall::OnStatus(Attempt* attempt) {
  Lock lock(mutex_);
  attempt->ended = true;
  Settle(attempt, std::move(lock));
}

void StreamCall::OnSent(Attempt* attempt, bool ok) {
  Lock lock(mutex_);
  attempt->sending = false;
  if (!ok) {
    attempt->broken = true;
  } else if (attempt->sending_message && attempt == attempt_.get()) {
    attempt->bytes_sent +=
        static_cast<int64_t>(messages_[attempt->next - first_kept_].size);
    ++attempt->next;
    sent_ = std::max(sent_, attempt->next);
    DropSent(*attempt);
  }
  Settle(attempt, std::move(lock));
}

void StreamCall::OnRead(Attempt* attempt, bool ok) {
  Lock lock(mutex_);
  attempt->reading = false;
  if (!ok) {
    attempt->exhausted = true;
  } else if (attempt == attempt_.get()) {
    attempt->has_message = true;
    attempt->bytes_received += static_cast<int64_t>(attempt->message.Length());
    Commit(attempt);
  }
  Settle(attempt, std::move(lock));
}

void StreamCall::Commit(Attempt* attempt) {
  if (committed_) return;
  committed_ = true;
  Outcome good;
  good.processed = Processed::kYes;
  call_->OnAnswerHead(attempt->number, good);
  DropSent(*attempt);
}

void StreamCall::DropSent(const Attempt& attempt) {
  if (!committed_ && !over_buffer_) return;
  while (first_kept_ < attempt.next) {
    kept_bytes_ -= KeptSize(messages_.front());
    messages_.pop_front();
    ++first_kept_;
  }
}

void StreamCall::Settle(Attempt* attempt, Lock lock) {
  if (--attempt->out == 0) {
    OnEnd(attempt, std::move(lock));
  } else {
    Advance(std::move(lock));
  }
}

void StreamCall::OnEnd(Attempt* attempt, Lock lock) {
  std::shared_ptr<Attempt> self = std::move(attempt->self);
  attempt->call.reset();  // the caller has it
  if (self == attempt_) {
    AttemptEnd end;
    end.status = &attempt->status();
    end.trailers = &attempt->context().GetServerTrailingMetadata();
    end.bytes_sent = attempt->bytes_sent;
    end.bytes_received = attempt->bytes_received;
    end.timed_out =
        attempt->timed_out || MonotonicNow() + kTimerSlack >= call_end_;
    end.cancelled_by_caller = cancelled_;
    Outcome outcome =
        ReadEnd(end, *policy_, *known_->policy, known_->retryable);
    outcome.committed = committed_;
    const RpcClassifier& classifier = policy_->client->options().classify_rpc;
    if (classifier && !attempt->status().ok()) {
      // in_flight_ stays: nobody ends the call meanwhile.
      lock.unlock();
      AskClassifier(classifier, end, this, &outcome);
      lock.lock();
    }
    if (self == attempt_) {
      if (attempt->status().ok()) {
        if (const auto stand =
                StandIn(*policy_, *known_->policy, nullptr, end.trailers)) {
          Commit(attempt);
          call_->OnLimitTold(attempt->number, *stand);
        }
      }
      self.reset();  // attempt_ has it; nobody may hold it beyond the end
      in_flight_ = 0;
      waiting_ = false;
      const std::shared_ptr<AlarmTimer> timer = std::move(attempt_timer_);
      attempt_timer_ = nullptr;
      call_->OnAttemptDone(attempt->number, outcome);
      Advance(std::move(lock));
      if (timer != nullptr) timer->Disarm();
      return;
    }
  }
  // The application's context is gone, and this may be the channel's last reference:
  // not on a callback thread.
  lock.unlock();
  RunSoon([self = std::move(self)] {});
}

void StreamCall::Advance(Lock lock) {
  Act(&lock);
  Effects effects;
  Collect(&effects);
  Call::Aftermath aftermath;
  if (call_) aftermath = call_->TakeAftermath();
  lock.unlock();
  aftermath.Deliver();
  effects.Do();
}

void StreamCall::Act(Lock* lock) {
  if (acting_ || detached_) return;  // whoever does it comes round again
  acting_ = true;
  for (;;) {
    // While an attempt is out gRPC ends it, and its end is the news.
    if (cancelled_ && in_flight_ == 0 && !over_) {
      if (!call_) Create();
      if (!call_->finished()) call_->OnCancel();
    }
    Action action;
    if (!call_ || !call_->NextAction(&action)) break;
    switch (action.type) {
      case Action::Type::kStartAttempt:
        StartAttempt(action, lock);
        break;
      case Action::Type::kWaitUntil:
        Wait(action, lock);
        break;
      case Action::Type::kCancelAttempt:
        break;  // of a call that is detached: that cancels it
      case Action::Type::kFinish: {
        Finish(action);
        if (!waited_) break;
        ParentWatch* const parent = std::exchange(parent_, nullptr);
        lock->unlock();
        timer_->Disarm();
        if (parent != nullptr) parent->Stop();
        lock->lock();
        break;
      }
    }
  }
  acting_ = false;
}

void StreamCall::Wait(const Action& action, Lock* lock) {
  waiting_ = waited_ = true;
  const bool watches = parent_ == nullptr;
  // Between two attempts the application's context may go away, the last one's not.
  std::shared_ptr<Attempt> last = attempt_;
  Call::Aftermath aftermath = call_->TakeAftermath();
  lock->unlock();
  aftermath.Deliver();
  ParentWatch* parent = nullptr;
  if (watches) {
    parent = ParentWatch::Start(
        channel_.get(), known_->name,
        last == nullptr ? *context_ : last->context(),
        [self = shared_from_this()](auto code) { self->OnParentEnd(code); });
  }
  timer_->Arm(action.time, [self = shared_from_this()] { self->OnTimer(); });
  lock->lock();
  if (!detached_) {
    if (watches) parent_ = parent;
    return;
  }
  lock->unlock();
  timer_->Disarm();
  if (parent != nullptr) parent->Stop();
  RunSoon([last = std::move(last)] {});
  lock->lock();
}

void StreamCall::StartAttempt(const Action& action, Lock* lock) {
  waiting_ = false;
  in_flight_ = action.attempt;
  auto attempt = std::make_shared<Attempt>(shared_from_this(), action.attempt);
  attempt->self = attempt;
  std::shared_ptr<Attempt> before = std::exchange(attempt_, attempt);
  // To the first sign of an answer. gRPC itself watches the call's deadline.
  const bool limited =
      known_->retry_options().attempt_timeout < absl::InfiniteDuration() &&
      action.time < call_end_;
  if (limited) attempt_timer_ = std::make_shared<AlarmTimer>();
  const std::shared_ptr<AlarmTimer> timer = attempt_timer_;
  Call::Aftermath aftermath = call_->TakeAftermath();
  lock->unlock();
  aftermath.Deliver();
  FillAttemptContext(
      before == nullptr ? *context_ : before->context(),
      call_end_ < deadline_ ? ToGrpcTime(call_end_) : raw_deadline_,
      &attempt->context());
  {
    const StartingAttempt starting(&attempt->context());
    attempt->Create(channel_.get(),
                    grpc::internal::RpcMethod(
                        known_->name.c_str(), suffix_for_stats_,
                        static_cast<grpc::internal::RpcMethod::RpcType>(type_)),
                    MetadataOfAttempt(metadata_, action.attempt));
  }
  if (limited) {
    timer->Arm(action.time,
               [self = shared_from_this(), number = action.attempt] {
                 self->OnAttemptTimeout(number);
               });
  }
  attempt->Start();
  if (before != nullptr) RunSoon([before = std::move(before)] {});
  lock->lock();
  attempt->started = true;
  if (attempt == attempt_) return;
  // Detached meanwhile.
  lock->unlock();
  RunSoon([attempt = std::move(attempt)] { attempt->context().TryCancel(); });
  lock->lock();
}

void StreamCall::Finish(const Action& finish) {
  over_ = true;
  stop_ = StopStatus(finish, call_->holder());
  if (finish.reason == StopReason::kCancelled) {
    stop_.EndedByParent(parent_end_);
  }
  const Attempt* const last = attempt_.get();
  const auto code =
      last == nullptr ? grpc::StatusCode::OK : last->status().error_code();
  // No server's word: what happened after it, or instead.
  if (last == nullptr ||
      (finish.reason == StopReason::kCancelled &&
       (waiting_ || last->timed_out || code != grpc::StatusCode::CANCELLED)) ||
      (finish.reason == StopReason::kDeadlineExceeded && waiting_)) {
    status_ = stop_.status();
    adds_trailers_ = true;
  } else if (last->timed_out && code == grpc::StatusCode::CANCELLED) {
    status_ = finish.reason == StopReason::kDeadlineExceeded
                  ? stop_.status()
                  : AttemptTimeoutStatus();
    adds_trailers_ = true;
  } else {
    status_ = last->status();
    from_server_ = true;
    adds_trailers_ = finish.retry_at.has_value();
  }
  messages_.clear();
  first_kept_ = sent_;
  kept_bytes_ = 0;
}

void StreamCall::Collect(Effects* effects) {
  if (detached_) return;
  Attempt* const attempt = attempt_.get();
  if (attempt != nullptr && attempt->started && !attempt->ended && !over_) {
    if (!attempt->sending && !attempt->broken && !attempt->closed) {
      const bool message = attempt->next < messages_end();
      const bool close =
          closed_ && attempt->next + (message ? 1 : 0) == messages_end();
      if (message || close || !attempt->opened) {
        attempt->opened = true;
        attempt->sending = true;
        attempt->sending_message = message;
        attempt->closed = close;
        ++attempt->out;
        effects->sender = attempt;
        effects->close = close;
        if (message) {
          effects->message = &messages_[attempt->next - first_kept_];
        }
      }
    }
    const bool wanted = std::any_of(
        receivers_.begin(), receivers_.end(),
        [](Batch* batch) { return Has(batch, Hook::PRE_RECV_MESSAGE); });
    if (wanted && !attempt->reading && !attempt->has_message &&
        !attempt->exhausted) {
      attempt->reading = true;
      ++attempt->out;
      effects->reader = attempt;
    }
  }
  // No attempt will send what this one cannot; and its end may have to wait until
  // the application, which does not read while it writes, has read what there is.
  const bool broken = committed_ && attempt != nullptr && attempt->broken;
  if (first_ != nullptr &&
      (over_ || broken ||
       (attempt != nullptr && attempt->started && sent_ >= first_needs_))) {
    effects->batches.push_back(std::exchange(first_, nullptr));
  }
  if (sender_ != nullptr && (over_ || broken || sent_ >= sender_needs_)) {
    if (sent_ < sender_needs_) sender_->FailHijackedSendMessage();
    effects->batches.push_back(std::exchange(sender_, nullptr));
  }
  for (auto it = receivers_.begin(); it != receivers_.end();) {
    if (!IsReady(*it)) {
      ++it;
      continue;
    }
    Fill(*it);
    effects->batches.push_back(*it);
    it = receivers_.erase(it);
  }
}

bool StreamCall::IsReady(Batch* batch) const {
  if (over_) return true;
  if (attempt_ == nullptr || Has(batch, Hook::PRE_RECV_STATUS)) return false;
  return (!Has(batch, Hook::PRE_RECV_INITIAL_METADATA) || attempt_->head) &&
         (!Has(batch, Hook::PRE_RECV_MESSAGE) || attempt_->has_message);
}

void StreamCall::Fill(Batch* batch) {
  if (Has(batch, Hook::PRE_RECV_INITIAL_METADATA) && attempt_ != nullptr &&
      attempt_->head) {
    *batch->GetRecvInitialMetadata() =
        attempt_->context().GetServerInitialMetadata();
  }
  if (Has(batch, Hook::PRE_RECV_MESSAGE) && !Give(batch)) {
    batch->FailHijackedRecvMessage();
  }
  if (!Has(batch, Hook::PRE_RECV_STATUS)) return;
  *batch->GetRecvStatus() = status_;
  if (from_server_) {
    *batch->GetRecvTrailingMetadata() =
        attempt_->context().GetServerTrailingMetadata();
    CopyDebugErrorString(attempt_->context(), context_);
  }
  if (adds_trailers_) stop_.AddTrailers(batch->GetRecvTrailingMetadata());
}

bool StreamCall::Give(Batch* batch) {
  if (attempt_ == nullptr || !std::exchange(attempt_->has_message, false)) {
    return false;
  }
  return GiveMessage(batch, &attempt_->message);
}

std::shared_ptr<void> StreamCall::Detach() {
  Lock lock(mutex_);
  // A context that goes away before its call has ended: nobody is left to tell.
  if (call_ && !call_->finished()) call_->OnCancel();
  detached_ = true;
  first_ = sender_ = nullptr;
  receivers_.clear();
  const bool in_flight = std::exchange(in_flight_, 0) > 0;
  std::shared_ptr<Attempt> attempt = std::move(attempt_);
  attempt_ = nullptr;
  const std::shared_ptr<AlarmTimer> timer = attempt_timer_;
  const std::shared_ptr<AlarmTimer> opening_timer = opening_timer_;
  const bool waited = waited_;
  ParentWatch* const parent = std::exchange(parent_, nullptr);
  Call::Aftermath aftermath;
  if (call_) aftermath = call_->TakeAftermath();
  lock.unlock();
  aftermath.Deliver();
  if (waited) timer_->Disarm();
  if (parent != nullptr) parent->Stop();
  if (timer != nullptr) timer->Disarm();
  if (opening_timer != nullptr) opening_timer->Disarm();
  if (in_flight && attempt != nullptr) attempt->context().TryCancel();
  return attempt;
}

CallRecord StreamCall::record() const {
  const Lock lock(mutex_);
  return call_ ? call_->record() : CallRecord();
}

}  // namespace forbear::rpc
