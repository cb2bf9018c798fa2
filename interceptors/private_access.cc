#include "interceptors/private_access.h"

#include <grpcpp/impl/codegen/interceptor_common.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <typeinfo>

#ifndef FORBEAR_GRPC_PRIVATE_ACCESS
#define FORBEAR_GRPC_PRIVATE_ACCESS 1
#endif

namespace forbear::rpc {

#if FORBEAR_GRPC_PRIVATE_ACCESS

namespace private_access {

// Naming Member<Tag> makes Get(Tag) the pointer to a private member.
template <typename Tag, typename Tag::Type pointer>
struct Member {
  friend typename Tag::Type Get(Tag) { return pointer; }
};

#define FORBEAR_PRIVATE_MEMBER(Tag, Class, member, ...) \
  struct Tag {                                          \
    using Type = __VA_ARGS__ Class::*;                  \
    friend Type Get(Tag);                               \
  };                                                    \
  template struct Member<Tag, &Class::member>

FORBEAR_PRIVATE_MEMBER(WaitForReady, grpc::ClientContext, wait_for_ready_,
                       bool);
FORBEAR_PRIVATE_MEMBER(WaitForReadySet, grpc::ClientContext,
                       wait_for_ready_explicitly_set_, bool);
FORBEAR_PRIVATE_MEMBER(Authority, grpc::ClientContext, authority_, std::string);
FORBEAR_PRIVATE_MEMBER(Parent, grpc::ClientContext, propagate_from_call_,
                       grpc_call*);
FORBEAR_PRIVATE_MEMBER(ParentOptions, grpc::ClientContext, propagation_options_,
                       grpc::PropagationOptions);
FORBEAR_PRIVATE_MEMBER(DebugError, grpc::ClientContext, debug_error_string_,
                       std::string);
FORBEAR_PRIVATE_MEMBER(Ops, grpc::internal::InterceptorBatchMethodsImpl, ops_,
                       grpc::internal::CallOpSetInterface*);
FORBEAR_PRIVATE_MEMBER(Deserializer, grpc::internal::CallOpGenericRecvMessage,
                       deserialize_,
                       std::unique_ptr<grpc::internal::DeserializeFunc>);

FORBEAR_PRIVATE_MEMBER(SendOptions, grpc::internal::CallOpSendMessage,
                       write_options_, grpc::WriteOptions);

// How gRPC's own factories make a call, and whose completions are callbacks.
using CreateCallFunction =
    grpc::internal::Call(const grpc::internal::RpcMethod&, grpc::ClientContext*,
                         grpc::CompletionQueue*);
FORBEAR_PRIVATE_MEMBER(ChannelCreateCall, grpc::ChannelInterface, CreateCall,
                       CreateCallFunction);
using CallbackQueueFunction = grpc::CompletionQueue*();
FORBEAR_PRIVATE_MEMBER(ChannelCallbackQueue, grpc::ChannelInterface, CallbackCQ,
                       CallbackQueueFunction);

// Where a message is received: of batches that know its type when they run …
FORBEAR_PRIVATE_MEMBER(LateBytes, grpc::internal::CallOpGenericRecvMessage,
                       recv_buf_, grpc::ByteBuffer);
// … and of those that are made for one type.
using Receiver = grpc::internal::CallOpRecvMessage<grpc::protobuf::MessageLite>;
FORBEAR_PRIVATE_MEMBER(ReceiverBytes, Receiver, recv_buf_, grpc::ByteBuffer);
FORBEAR_PRIVATE_MEMBER(ReceiverMessage, Receiver, message_,
                       grpc::protobuf::MessageLite*);
FORBEAR_PRIVATE_MEMBER(ReceiverFailed, Receiver, hijacked_recv_message_failed_,
                       bool);
FORBEAR_PRIVATE_MEMBER(BatchFailed, grpc::internal::InterceptorBatchMethodsImpl,
                       hijacked_recv_message_failed_, bool*);

#undef FORBEAR_PRIVATE_MEMBER

}  // namespace private_access

namespace {

grpc::internal::CallOpSetInterface* OpsOf(
    grpc::experimental::InterceptorBatchMethods* batch) {
  auto* impl =
      dynamic_cast<grpc::internal::InterceptorBatchMethodsImpl*>(batch);
  return impl == nullptr ? nullptr : impl->*Get(private_access::Ops());
}

// The parts of a CallOpRecvMessage<R>, as distances from the one that a batch tells
// of. They are the same for all R, of which there is a pointer in it and no more.
struct ReceiverLayout {
  ReceiverLayout() {
    namespace pa = private_access;
    pa::Receiver probe;
    const auto distance = [&probe](const void* part) {
      return static_cast<const char*>(part) -
             reinterpret_cast<const char*>(&(probe.*Get(pa::ReceiverFailed())));
    };
    bytes = distance(&(probe.*Get(pa::ReceiverBytes())));
    message = distance(&(probe.*Get(pa::ReceiverMessage())));
  }
  ptrdiff_t bytes;
  ptrdiff_t message;
};

static_assert(sizeof(private_access::Receiver) ==
                  sizeof(grpc::internal::CallOpRecvMessage<grpc::ByteBuffer>),
              "CallOpRecvMessage<R> depends on R");

}  // namespace

bool HasParent(const grpc::ClientContext& context) {
  namespace pa = private_access;
  return context.*Get(pa::Parent()) != nullptr &&
         ((context.*Get(pa::ParentOptions())).c_bitmask() &
          (GRPC_PROPAGATE_DEADLINE | GRPC_PROPAGATE_CANCELLATION)) != 0;
}

void CopyParent(const grpc::ClientContext& from, grpc::ClientContext* to) {
  namespace pa = private_access;
  to->*Get(pa::Parent()) = from.*Get(pa::Parent());
  to->*Get(pa::ParentOptions()) = from.*Get(pa::ParentOptions());
}

void CopyHiddenSettings(const grpc::ClientContext& from,
                        grpc::ClientContext* to) {
  namespace pa = private_access;
  to->*Get(pa::WaitForReady()) = from.*Get(pa::WaitForReady());
  to->*Get(pa::WaitForReadySet()) = from.*Get(pa::WaitForReadySet());
  to->*Get(pa::Authority()) = from.*Get(pa::Authority());
  if (HasParent(from)) CopyParent(from, to);
}

void SetDefaultWaitForReady(bool wait, grpc::ClientContext* context) {
  if (context->*Get(private_access::WaitForReadySet())) return;
  context->set_wait_for_ready(wait);
}

void CopyDebugErrorString(const grpc::ClientContext& from,
                          grpc::ClientContext* to) {
  to->*Get(private_access::DebugError()) = from.debug_error_string();
}

grpc::internal::Call CreateCallbackCall(grpc::ChannelInterface* channel,
                                        const grpc::internal::RpcMethod& method,
                                        grpc::ClientContext* context) {
  namespace pa = private_access;
  return (channel->*Get(pa::ChannelCreateCall()))(
      method, context, (channel->*Get(pa::ChannelCallbackQueue()))());
}

uint32_t InitialMetadataFlags(const grpc::ClientContext& context) {
  namespace pa = private_access;
  return (context.*Get(pa::WaitForReady())
              ? GRPC_INITIAL_METADATA_WAIT_FOR_READY
              : 0) |
         (context.*Get(pa::WaitForReadySet())
              ? GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET
              : 0);
}

grpc::WriteOptions WriteOptionsOf(
    grpc::experimental::InterceptorBatchMethods* batch) {
  auto* op = dynamic_cast<grpc::internal::CallOpSendMessage*>(OpsOf(batch));
  if (op == nullptr) return {};
  grpc::WriteOptions options = op->*Get(private_access::SendOptions());
  options.clear_last_message();
  return options;
}

bool GiveMessage(grpc::experimental::InterceptorBatchMethods* batch,
                 grpc::ByteBuffer* bytes) {
  namespace pa = private_access;
  auto* impl =
      dynamic_cast<grpc::internal::InterceptorBatchMethodsImpl*>(batch);
  if (impl == nullptr) return false;
  grpc::internal::CallOpSetInterface* const ops = impl->*Get(pa::Ops());
  const std::type_info& type = typeid(*ops);
  // The one name that no other part of such a type's name can have.
  if (std::strstr(type.name(), "17CallOpRecvMessageI") == nullptr) {
    auto* late = dynamic_cast<grpc::internal::CallOpGenericRecvMessage*>(ops);
    if (late == nullptr) return false;
    (late->*Get(pa::LateBytes())).Swap(bytes);
    return true;
  }
  static const ReceiverLayout layout;
  auto* const part = reinterpret_cast<char*>(impl->*Get(pa::BatchFailed()));
  void* message;
  std::memcpy(&message, part + layout.message, sizeof message);
  if (message != batch->GetRecvMessage()) return false;
  reinterpret_cast<grpc::ByteBuffer*>(part + layout.bytes)->Swap(bytes);
  return true;
}

void SetReceivedMessage(grpc::experimental::InterceptorBatchMethods* batch,
                        void* message) {
  auto* impl =
      dynamic_cast<grpc::internal::InterceptorBatchMethodsImpl*>(batch);
  // Nothing can fail it any more.
  if (impl != nullptr) impl->SetRecvMessage(message, nullptr);
}

bool HasPrivateAccess() { return true; }

MessageType TypeGoingDown(grpc::experimental::InterceptorBatchMethods* batch) {
  namespace internal = grpc::internal;
  auto* op = dynamic_cast<internal::CallOpGenericRecvMessage*>(OpsOf(batch));
  if (op == nullptr) return MessageType::kUnknown;
  internal::DeserializeFunc* function =
      (op->*Get(private_access::Deserializer())).get();
  if (dynamic_cast<internal::DeserializeFuncType<grpc::protobuf::MessageLite>*>(
          function) != nullptr) {
    return MessageType::kProtobuf;
  }
  if (dynamic_cast<internal::DeserializeFuncType<grpc::ByteBuffer>*>(
          function) != nullptr) {
    return MessageType::kBytes;
  }
  return MessageType::kUnknown;
}

MessageType TypeGoingUp(grpc::experimental::InterceptorBatchMethods* batch,
                        MessageType going_down, bool** got_message) {
  namespace internal = grpc::internal;
  auto* ops = OpsOf(batch);
  if (auto* op = dynamic_cast<
          internal::CallOpRecvMessage<grpc::protobuf::MessageLite>*>(ops)) {
    *got_message = &op->got_message;
    return MessageType::kProtobuf;
  }
  if (auto* op =
          dynamic_cast<internal::CallOpRecvMessage<grpc::ByteBuffer>*>(ops)) {
    *got_message = &op->got_message;
    return MessageType::kBytes;
  }
  *got_message = nullptr;
  return going_down;
}

#else  // !FORBEAR_GRPC_PRIVATE_ACCESS

void CopyHiddenSettings(const grpc::ClientContext&, grpc::ClientContext*) {}
bool HasParent(const grpc::ClientContext&) { return false; }
void CopyParent(const grpc::ClientContext&, grpc::ClientContext*) {}
void SetDefaultWaitForReady(bool, grpc::ClientContext*) {}
void CopyDebugErrorString(const grpc::ClientContext&, grpc::ClientContext*) {}
grpc::internal::Call CreateCallbackCall(grpc::ChannelInterface*,
                                        const grpc::internal::RpcMethod&,
                                        grpc::ClientContext*) {
  return {};
}
uint32_t InitialMetadataFlags(const grpc::ClientContext&) { return 0; }
grpc::WriteOptions WriteOptionsOf(
    grpc::experimental::InterceptorBatchMethods*) {
  return {};
}
bool GiveMessage(grpc::experimental::InterceptorBatchMethods*,
                 grpc::ByteBuffer*) {
  return false;
}
void SetReceivedMessage(grpc::experimental::InterceptorBatchMethods*, void*) {}
bool HasPrivateAccess() { return false; }
MessageType TypeGoingDown(grpc::experimental::InterceptorBatchMethods*) {
  return MessageType::kUnknown;
}
MessageType TypeGoingUp(grpc::experimental::InterceptorBatchMethods*,
                        MessageType, bool** got_message) {
  *got_message = nullptr;
  return MessageType::kUnknown;
}

#endif  // FORBEAR_GRPC_PRIVATE_ACCESS

}  // namespace forbear::rpc
