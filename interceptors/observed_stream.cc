#include "interceptors/observed_stream.h"

#include <string>
#include <utility>

#include "core/action.h"
#include "core/outcome.h"
#include "core/retry_policy.h"
#include "interceptors/attempt_end.h"
#include "interceptors/grpc_time.h"
#include "interceptors/method_table.h"
#include "runtime/clock.h"

namespace forbear::rpc {
namespace {

using Hook = grpc::experimental::InterceptionHookPoints;

CallRequest RequestOf(const ChannelPolicy& policy, const PolicyRef& found,
                      const CallOptions* own, const std::string& method,
                      MonotonicTime deadline) {
  CallRequest request;
  request.quota_key =
      own == nullptr || own->quota_id.empty() ? policy.quota_id : own->quota_id;
  request.endpoint_key = policy.target;
  request.target = policy.target;
  request.method = method;
  request.protocol = Protocol::kGrpc;
  request.deadline = deadline;
  request.policy = found;
  request.retry = RetryOf(own, policy.methods.Find(method), CodeSet(), *found);
  if (!request.retry) request.retry = found->retry;
  request.retry->enabled = false;
  request.retry->hedge.enabled = false;
  return request;
}

}  // namespace

ObservedStream::ObservedStream(std::shared_ptr<const ChannelPolicy> policy,
                               PolicyRef found, const CallOptions* own,
                               grpc::experimental::ClientRpcInfo* info)
    : policy_(std::move(policy)),
      found_(std::move(found)),
      retryable_(
          RetryableCodes(own, policy_->methods.Find(info->method()), *found_)),
      deadline_(FromGrpcTime(info->client_context()->raw_deadline())),
      call_(policy_->client.get(),
            RequestOf(*policy_, found_, own, info->method(), deadline_),
            std::make_shared<NoWaiter>()) {}

void ObservedStream::Intercept(Batch* batch) {
  if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_CANCEL)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    return;
  }
  if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
    Begin();
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
    Action action;
    out_ =
        call_.NextAction(&action) && action.type == Action::Type::kStartAttempt;
    if (!out_) call_.OnCancel();
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
  end.timed_out = MonotonicNow() + kTimerSlack >= deadline_;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end.cancelled_by_caller = cancelled_;
  }
  Outcome outcome = ReadEnd(end, *policy_, *found_, retryable_);
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
