#include "interceptors/private_access.h"

#include <grpcpp/impl/codegen/interceptor_common.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <memory>
#include <string>

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

#undef FORBEAR_PRIVATE_MEMBER

}  // namespace private_access

namespace {

grpc::internal::CallOpSetInterface* OpsOf(
    grpc::experimental::InterceptorBatchMethods* batch) {
  auto* impl =
      dynamic_cast<grpc::internal::InterceptorBatchMethodsImpl*>(batch);
  return impl == nullptr ? nullptr : impl->*Get(private_access::Ops());
}

}  // namespace

void CopyHiddenSettings(const grpc::ClientContext& from,
                        grpc::ClientContext* to) {
  namespace pa = private_access;
  to->*Get(pa::WaitForReady()) = from.*Get(pa::WaitForReady());
  to->*Get(pa::WaitForReadySet()) = from.*Get(pa::WaitForReadySet());
  to->*Get(pa::Authority()) = from.*Get(pa::Authority());
  to->*Get(pa::Parent()) = from.*Get(pa::Parent());
  to->*Get(pa::ParentOptions()) = from.*Get(pa::ParentOptions());
}

void SetDefaultWaitForReady(bool wait, grpc::ClientContext* context) {
  if (context->*Get(private_access::WaitForReadySet())) return;
  context->set_wait_for_ready(wait);
}

void CopyDebugErrorString(const grpc::ClientContext& from,
                          grpc::ClientContext* to) {
  to->*Get(private_access::DebugError()) = from.debug_error_string();
}

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
void SetDefaultWaitForReady(bool, grpc::ClientContext*) {}
void CopyDebugErrorString(const grpc::ClientContext&, grpc::ClientContext*) {}
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
