#include "interceptors/parent_watch.h"

#include <grpcpp/impl/rpc_method.h>

#include <memory>
#include <utility>

#include "interceptors/alarm_timer.h"
#include "interceptors/attempt_context.h"
#include "interceptors/private_access.h"

namespace forbear::rpc {

ParentWatch* ParentWatch::Start(grpc::ChannelInterface* channel,
                                const std::string& method,
                                const grpc::ClientContext& from, Ended ended) {
  if (!HasParent(from)) return nullptr;
  auto* const watch = new ParentWatch(method, std::move(ended));
  CopyParent(from, &watch->context_);
  const StartingAttempt starting(&watch->context_);
  watch->call_ = CreateCallbackCall(
      channel,
      grpc::internal::RpcMethod(watch->method_.c_str(),
                                grpc::internal::RpcMethod::BIDI_STREAMING),
      &watch->context_);
  watch->tag_.Set(
      watch->call_.call(), [watch](bool /*ok*/) { watch->OnStatus(); },
      &watch->ops_, /*can_inline=*/false);
  watch->ops_.set_core_cq_tag(&watch->tag_);
  watch->ops_.ClientRecvStatus(&watch->context_, &watch->status_);
  watch->call_.PerformOps(&watch->ops_);
  return watch;
}

ParentWatch::ParentWatch(const std::string& method, Ended ended)
    : method_(method), ended_(std::move(ended)) {}

void ParentWatch::Stop() {
  stopped_ = true;
  context_.TryCancel();
  OnePartLess();
}

void ParentWatch::OnStatus() {
  const grpc::StatusCode code = status_.error_code();
  // Any other code is the channel's: it makes no calls, and nothing can be seen.
  if (!stopped_ && (code == grpc::StatusCode::CANCELLED ||
                    code == grpc::StatusCode::DEADLINE_EXCEEDED)) {
    ended_(code);
  }
  OnePartLess();
}

void ParentWatch::OnePartLess() {
  if (--parts_ > 0) return;
  RunSoon([self = std::shared_ptr<ParentWatch>(this)] {});
}

}  // namespace forbear::rpc
