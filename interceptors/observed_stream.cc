#include "interceptors/observed_stream.h"

#include <utility>

#include "core/action.h"
#include "core/outcome.h"
#include "interceptors/attempt_end.h"
#include "interceptors/grpc_time.h"
#include "runtime/clock.h"

namespace forbear::rpc {
namespace {

using Hook = grpc::experimental::InterceptionHookPoints;

// One attempt, whatever becomes of it.
CallFacts FactsOf(const KnownMethod& known, MonotonicTime deadline) {
  CallFacts facts;
  facts.deadline = deadline;
  facts.retry = known.retry_options();
  facts.retry->enabled = false;
  facts.retry->hedge.enabled = false;
  return facts;
}

}  // namespace

ObservedStream::ObservedStream(std::shared_ptr<const ChannelPolicy> policy,
                               std::shared_ptr<const KnownMethod> known,
                               grpc::experimental::ClientRpcInfo* info)
    : policy_(std::move(policy)),
      known_(std::move(known)),
      deadline_(FromGrpcTime(info->client_context()->raw_deadline())),
      waiter_(std::make_shared<NoWaiter>()),
      call_(policy_->client.get(), known_->handle.get(),
            FactsOf(*known_, deadline_), &waiter_) {}

void ObservedStream::Intercept(Batch* batch) {
  if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_CANCEL)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    return;
  }
  if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
    Begin();
  }
  if (batch->QueryInterceptionHookPoint(Hook::POST_RECV_MESSAGE) &&
      batch->GetRecvMessage() != nullptr) {
    OnMessage();
  }
  if (batch->QueryInterceptionHookPoint(Hook::POST_RECV_STATUS)) {
    OnStatus(batch);
  }
  batch->Proceed();
}

void ObservedStream::Begin() {
  Call::Aftermath aftermath;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::exchange(begun_, true)) return;
    call_.Begin();
    call_end_ = Earlier(deadline_,
                        MonotonicNow() + known_->retry_options().call_timeout);
    Action action;
    out_ =
        call_.NextAction(&action) && action.type == Action::Type::kStartAttempt;
    if (!out_) call_.OnCancel();
    aftermath = call_.TakeAftermath();
  }
  aftermath.Deliver();
}

void ObservedStream::OnMessage() {
  if (answered_.exchange(true)) return;
  Call::Aftermath aftermath;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!out_) return;
    Outcome good;
    good.processed = Processed::kYes;
    call_.OnAnswerHead(1, good);
    aftermath = call_.TakeAftermath();
  }
  aftermath.Deliver();
}

void ObservedStream::OnStatus(Batch* batch) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!std::exchange(out_, false)) return;
  }
  AttemptEnd end;
  end.status = batch->GetRecvStatus();
  end.trailers = batch->GetRecvTrailingMetadata();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Nobody but gRPC, by the service config's timeout, ends it before its deadline.
    const MonotonicTime end_of_time =
        end.status->error_code() == grpc::StatusCode::DEADLINE_EXCEEDED
            ? call_end_
            : deadline_;
    end.timed_out = MonotonicNow() + kTimerSlack >= end_of_time;
    end.cancelled_by_caller = cancelled_;
  }
  Outcome outcome = ReadEnd(end, *policy_, *known_->policy, known_->retryable);
  AskClassifier(policy_->client->options().classify_rpc, end, this, &outcome);
  Call::Aftermath aftermath;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call_.OnAttemptDone(1, outcome);
    Action action;
    while (call_.NextAction(&action)) {
    }
    aftermath = call_.TakeAftermath();
  }
  aftermath.Deliver();
}

std::shared_ptr<void> ObservedStream::Detach() {
  Call::Aftermath aftermath;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (begun_ && !call_.finished()) call_.OnCancel();
    aftermath = call_.TakeAftermath();
  }
  aftermath.Deliver();
  return nullptr;
}

CallRecord ObservedStream::record() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return call_.record();
}

}  // namespace forbear::rpc
