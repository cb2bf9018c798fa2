// The members of gRPC that Forbear needs and gRPC does not offer. All of them
// are here, and nowhere else. Private. docs/decisions/0003-private-member.md
// says why, and what is lost without them.
//
// How: an explicit instantiation may name a private member ([temp.spec]/6), so
// this is C++ as the standard has it. But it is no interface: another version
// of gRPC may rename a member, which fails to compile right here, or change
// what it means. Seen with gRPC 1.51. -DFORBEAR_GRPC_PRIVATE_ACCESS=0 leaves it
// out: then no call is sent twice (StopReason::kNotReplayable) but those that
// Forbear makes itself (RpcOptions::take_over); everything else works. Include it in one .cc: a program may hold such an instantiation only
// once.
//
// Thread rule: as gRPC's own objects.
#ifndef FORBEAR_INTERCEPTORS_PRIVATE_ACCESS_H_
#define FORBEAR_INTERCEPTORS_PRIVATE_ACCESS_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/interceptor_common.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <memory>
#include <string>

#include "interceptors/message_type.h"

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

inline grpc::internal::CallOpSetInterface* OpsOf(
    grpc::experimental::InterceptorBatchMethods* batch) {
  auto* impl =
      dynamic_cast<grpc::internal::InterceptorBatchMethodsImpl*>(batch);
  return impl == nullptr ? nullptr : impl->*Get(Ops());
}

}  // namespace private_access

// What a context carries besides what has a getter: wait_for_ready, authority,
// and the server call that it is made for, whose deadline and cancellation it
// inherits. (gRPC keeps the memory of that server call as long as the first
// attempt's call lives, and a child of one that is over starts cancelled.)
inline void CopyHiddenSettings(const grpc::ClientContext& from,
                               grpc::ClientContext* to) {
  namespace pa = private_access;
  to->*Get(pa::WaitForReady()) = from.*Get(pa::WaitForReady());
  to->*Get(pa::WaitForReadySet()) = from.*Get(pa::WaitForReadySet());
  to->*Get(pa::Authority()) = from.*Get(pa::Authority());
  to->*Get(pa::Parent()) = from.*Get(pa::Parent());
  to->*Get(pa::ParentOptions()) = from.*Get(pa::ParentOptions());
}

// Unless the application has said so itself. Before the call's first batch.
inline void SetDefaultWaitForReady(bool wait, grpc::ClientContext* context) {
  if (context->*Get(private_access::WaitForReadySet())) return;
  context->set_wait_for_ready(wait);
}

inline void CopyDebugErrorString(const grpc::ClientContext& from,
                                 grpc::ClientContext* to) {
  to->*Get(private_access::DebugError()) = from.debug_error_string();
}

// The type of the response of a batch that is on its way down, if its status
// comes without a request in the same batch (reactors); kUnknown for others,
// which tell it on their way up.
inline MessageType TypeGoingDown(
    grpc::experimental::InterceptorBatchMethods* batch) {
  namespace internal = grpc::internal;
  auto* op = dynamic_cast<internal::CallOpGenericRecvMessage*>(
      private_access::OpsOf(batch));
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

// The same for a batch on its way up. `going_down` is what was seen then.
// *got_message is what the sync API looks at to know whether there is a
// response; null: nobody looks.
inline MessageType TypeGoingUp(
    grpc::experimental::InterceptorBatchMethods* batch, MessageType going_down,
    bool** got_message) {
  namespace internal = grpc::internal;
  auto* ops = private_access::OpsOf(batch);
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

inline void CopyHiddenSettings(const grpc::ClientContext&,
                               grpc::ClientContext*) {}
inline void SetDefaultWaitForReady(bool, grpc::ClientContext*) {}
inline void CopyDebugErrorString(const grpc::ClientContext&,
                                 grpc::ClientContext*) {}
inline MessageType TypeGoingDown(grpc::experimental::InterceptorBatchMethods*) {
  return MessageType::kUnknown;
}
inline MessageType TypeGoingUp(grpc::experimental::InterceptorBatchMethods*,
                               MessageType, bool** got_message) {
  *got_message = nullptr;
  return MessageType::kUnknown;
}

#endif  // FORBEAR_GRPC_PRIVATE_ACCESS

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_PRIVATE_ACCESS_H_
