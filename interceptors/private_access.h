// The members of gRPC that Forbear needs and gRPC does not offer. All of them
// are here, and nowhere else. Private. docs/decisions/0003-private-member.md
// says why, and what is lost without them.
//
// How: an explicit instantiation may name a private member ([temp.spec]/6), so
// this is C++ as the standard has it. But it is no interface: another version
// of gRPC may rename a member, which fails to compile right here, or change
// what it means. Seen with gRPC 1.51. -DFORBEAR_GRPC_PRIVATE_ACCESS=0 leaves it
// out: then no call is sent twice (StopReason::kNotReplayable) but those that
// Forbear makes itself (RpcOptions::take_over), and streams are only observed;
// everything else works.
//
// Thread rule: as gRPC's own objects.
#ifndef FORBEAR_INTERCEPTORS_PRIVATE_ACCESS_H_
#define FORBEAR_INTERCEPTORS_PRIVATE_ACCESS_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/call.h>
#include <grpcpp/impl/channel_interface.h>
#include <grpcpp/impl/rpc_method.h>
#include <grpcpp/support/client_interceptor.h>

#include <cstdint>

#include "interceptors/message_type.h"

namespace forbear::rpc {

// Whether this build has it. What is below does nothing in one that has not.
bool HasPrivateAccess();

// A call whose batches end with callbacks (grpc::internal::CallbackWithSuccessTag).
grpc::internal::Call CreateCallbackCall(grpc::ChannelInterface* channel,
                                        const grpc::internal::RpcMethod& method,
                                        grpc::ClientContext* context);

// What a context carries besides what has a getter: wait_for_ready, authority,
// and, if it HasParent, that server call. (gRPC cancels what is made for a server call
// that is over.)
void CopyHiddenSettings(const grpc::ClientContext& from,
                        grpc::ClientContext* to);

// Whether it is made for a server call whose deadline or cancellation it inherits. gRPC
// keeps the memory of that one as long as there is a call that was made for it: the
// application's own.
bool HasParent(const grpc::ClientContext& context);
void CopyParent(const grpc::ClientContext& from, grpc::ClientContext* to);

// Unless the application has said so itself. Before the call's first batch.
void SetDefaultWaitForReady(bool wait, grpc::ClientContext* context);

void CopyDebugErrorString(const grpc::ClientContext& from,
                          grpc::ClientContext* to);

// The flags with which a context's initial metadata are sent: wait_for_ready.
uint32_t InitialMetadataFlags(const grpc::ClientContext& context);

// How the application wants the message of a batch on its way down to be sent, but
// for being the last one, which is a thing of the batch.
grpc::WriteOptions WriteOptionsOf(
    grpc::experimental::InterceptorBatchMethods* batch);

// Puts a message where gRPC looks for that of a hijacked batch, which asks for one,
// and takes it from `bytes`: gRPC parses it, whatever its type, and sees to what
// follows if it cannot. False, and nothing has happened: the batch is none that gRPC
// is known to make.
bool GiveMessage(grpc::experimental::InterceptorBatchMethods* batch,
                 grpc::ByteBuffer* bytes);

// Interceptors before ours find `message` as the response of a batch on its way up;
// null: none.
void SetReceivedMessage(grpc::experimental::InterceptorBatchMethods* batch,
                        void* message);

// The type of the response of a batch that is on its way down, if its status
// comes without a request in the same batch (reactors); kUnknown for others,
// which tell it on their way up.
MessageType TypeGoingDown(grpc::experimental::InterceptorBatchMethods* batch);

// The same for a batch on its way up. `going_down` is what was seen then.
// *got_message is what the sync API looks at to know whether there is a
// response; null: nobody looks.
MessageType TypeGoingUp(grpc::experimental::InterceptorBatchMethods* batch,
                        MessageType going_down, bool** got_message);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_PRIVATE_ACCESS_H_
