#include "interceptors/stream_attempt.h"

#include <grpcpp/support/client_callback.h>

#include <cassert>
#include <utility>

#include "interceptors/private_access.h"

namespace forbear::rpc {
namespace {

// What gRPC offers to its reactors alone.
class HeadOfReactor final : public grpc::internal::ClientReactor {
 public:
  static bool IsMissing(const grpc_call* call) {
    static const HeadOfReactor reactor;
    return reactor.InternalTrailersOnly(call);
  }

 private:
  void OnDone(const grpc::Status& /*status*/) override {}
};

}  // namespace

void StreamAttempt::Create(grpc::ChannelInterface* channel,
                           const grpc::internal::RpcMethod& method,
                           SentMetadata metadata) {
  metadata_ = std::move(metadata);
  call_ = CreateCallbackCall(channel, method, &context_);
  grpc_call* const call = call_.call();
  head_tag_.Set(
      call,
      [this](bool ok) {
        OnHead(ok && !HeadOfReactor::IsMissing(call_.call()));
      },
      &head_ops_, /*can_inline=*/false);
  head_ops_.set_core_cq_tag(&head_tag_);
  status_tag_.Set(
      call, [this](bool /*ok*/) { OnStatus(); }, &status_ops_,
      /*can_inline=*/false);
  status_ops_.set_core_cq_tag(&status_tag_);
  send_tag_.Set(
      call, [this](bool ok) { OnSent(ok); }, &send_ops_, /*can_inline=*/false);
  send_ops_.set_core_cq_tag(&send_tag_);
  read_tag_.Set(
      call, [this](bool ok) { OnRead(ok); }, &read_ops_, /*can_inline=*/false);
  read_ops_.set_core_cq_tag(&read_tag_);
}

void StreamAttempt::Start() {
  head_ops_.RecvInitialMetadata(&context_);
  call_.PerformOps(&head_ops_);
  status_ops_.ClientRecvStatus(&context_, &status_);
  call_.PerformOps(&status_ops_);
}

void StreamAttempt::Send(const grpc::ByteBuffer* bytes,
                         grpc::WriteOptions options, bool close) {
  if (!std::exchange(opened_, true)) {
    send_ops_.SendInitialMetadata(&metadata_, InitialMetadataFlags(context_));
  }
  if (bytes != nullptr) {
    // Bytes are serialized already: it cannot fail.
    const grpc::Status status = send_ops_.SendMessagePtr(bytes, options);
    assert(status.ok());
    (void)status;
  }
  if (close) send_ops_.ClientSendClose();
  call_.PerformOps(&send_ops_);
}

void StreamAttempt::Read() {
  message.Clear();
  read_ops_.RecvMessage(&message);
  call_.PerformOps(&read_ops_);
}

}  // namespace forbear::rpc
