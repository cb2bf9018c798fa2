// Forbear for a gRPC channel: calls of every API (sync, callback, reactor,
// completion queue, generic stub) are paced, retried and guarded by a circuit
// breaker, without a change to the code that makes them and without a blocked
// thread.
//
//   forbear::rpc::RpcOptions options;  // which methods may be sent again
//   options.methods = {{"/shop.Catalog/*", {grpc::StatusCode::UNAVAILABLE}}};
//   auto channel = forbear::rpc::CreateChannel(
//       "api.example.com:443", grpc::SslCredentials({}),
//       forbear::Client::Default(), options);
//   auto stub = shop::Catalog::NewStub(channel);
//
// What happens to a call by default (interceptors/classify.h has the table):
//   - RESOURCE_EXHAUSTED: the call, and all others of the same quota_id, wait
//     as long as the server says (grpc-retry-pushback-ms; else 0.25 s, growing),
//     and then leave spaced. Bounded by the call's deadline, or, without one,
//     60 s, and by the endpoint's retry budget (core/retry_budget.h). What gRPC
//     itself refuses with that code, because it is too large, ends the call, and
//     holds nobody.
//   - UNAVAILABLE and other codes: sent again only if the method lists them
//     (RpcOptions::methods), up to 3 attempts in all. Listing is the consent:
//     gRPC cannot know whether the server acted.
//   - An endpoint that keeps failing is left alone for a while: calls wait for
//     it as long as their deadline allows.
//   - A wait that does not fit the deadline ends the call at once.
//   - Hedging (core/hedge.h) is off. Where RetryOptions::hedge or a service config's
//     hedgingPolicy turns it on, for a method that may be repeated (it lists codes, or
//     HedgeOptions::repeat_consent), another attempt starts while the first one takes
//     long, on the same channel; the first good answer wins, and the others are
//     cancelled. Not for calls of reactors, and of a completion queue with
//     ReadInitialMetadata, nor without gRPC's private members, unless taken over.
//   - ClientOptions::classify_rpc, if there is one, looks at each attempt that
//     ended with another code than OK, and may change what is made of it
//     (runtime/classifier.h).
// What one call wants otherwise: WithCallOptions (interceptors/call_options.h).
//
// Streams, of all three shapes, are treated so if something was said of their method
// (RpcOptions::streams); the others pass through untouched. A stream is sent again
// until the server has answered, with a head or a message: what the application has
// sent so far is kept for that, up to RpcOptions::max_stream_buffer. After that, what
// ends it is the application's (StopReason::kCommitted), and is told to the breaker.
// Its attempt_timeout is the time until that answer. While it waits, the sync API's
// constructors and writes wait; asynchronous ones do not end yet.
//
// What the application sees:
//   - the last attempt's response, status, message, details, initial and
//     trailing metadata, as if it had been the only one (of hedges: the one that
//     won, or failed last). peer() and auth_context() are those of the first attempt;
//     of a stream peer() is what was dialled, and there is no auth_context(). Who has
//     asked for a unary call's initial metadata before its end (reactors always; a
//     completion queue with ReadInitialMetadata) has got the first attempt's, and the
//     context keeps them, also when a later attempt brings others. A stream's reactor
//     is told that it has some (OnReadInitialMetadataDone(true), and none are there)
//     also when the call ended without.
//   - If the call ended because of Forbear, without a server's answer to this
//     call: UNAVAILABLE (the endpoint is in the way: breaker, its own wait),
//     RESOURCE_EXHAUSTED (the quota is), DEADLINE_EXCEEDED or CANCELLED, with a
//     message that begins with "forbear: ".
//   - In every case of the item above, and after a server's answer if it is known when
//     a later call may succeed, the trailing metadata hold
//       forbear-stop-reason  StopReasonName(): "circuit_open", …
//     and, if that time is known,
//       forbear-retry-at-ms  milliseconds from now until the next allowed send
//   - RecordOf(context): every attempt, wait and reason.
//
// What the server sees: each attempt with the call's metadata, credentials,
// authority, compression, wait_for_ready and what is left of its deadline;
// later ones with grpc-previous-rpc-attempts: 1, 2, … (gRPC A6). Call
// credentials are asked anew for each attempt.
//
// A call made for a server call (ClientContext::FromServerContext) ends with that one's
// deadline and cancellation, in an attempt and in a wait: CANCELLED, or
// DEADLINE_EXCEEDED. That needs gRPC's private members. A deadline that is also said here
// is seen before a wait, and not only at its end:
//   context->set_deadline(server_context.raw_deadline());   // before the call
//
// A unary call is repeated and hedged if its messages are those of a generated stub of
// protobuf, or bytes (grpc::GenericStub). Others (grpc::TemplatedGenericStub with types,
// flatbuffers) are sent once: StopReason::kNotReplayable.
// Code that gRPC calls on threads of its own (callbacks, those of grpc::Alarm too, and
// interceptors after ours) must not wait for a call of such a channel, by a sync call,
// say. Retries, hedges and all of a stream come back on gRPC's callback threads, half
// as many as processors and at least two; waits end on its timer threads, of which
// there may be one. If all of them wait so, nothing ever comes back, deadline or not.
// Sync unary calls without Forbear may be made there.
// Register the factory as the channel's last one: what interceptors after it add to
// the metadata of the first attempt, they would add again. And whatever the type of a
// call's messages, they find those of later attempts (and of streams) as bytes: what
// GetSendMessage and GetRecvMessage give them is a grpc::ByteBuffer. gRPC's global
// interceptor comes after all others.
//
// Thread rule: call from anywhere. Factories are thread-safe.
#ifndef FORBEAR_INTERCEPTORS_INTERCEPTOR_H_
#define FORBEAR_INTERCEPTORS_INTERCEPTOR_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <optional>
#include <string>

#include "core/call_record.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"

namespace forbear::rpc {

// A channel to `target` whose calls are `client`'s. `arguments` are kept,
// but GRPC_ARG_ENABLE_RETRIES is set to 0, so that gRPC's own retries do not
// multiply ours, and of a service config (RpcOptions::service_config) the policies of
// retries become ours. Not if FORBEAR_OFF was set when `client` was made: then gRPC's
// retries are what the arguments and the service config say. A client that is only
// switched off (Settings::enabled) may be switched on while the channel lives; until
// then nobody retries. An empty options.target becomes `target`. With options that
// ValidateRpcOptions refuses, every call, streams included, ends with INVALID_ARGUMENT
// and their faults.
std::shared_ptr<grpc::Channel> CreateChannel(
    const std::string& target,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    std::shared_ptr<Client> client, RpcOptions options = {},
    const grpc::ChannelArguments& arguments = grpc::ChannelArguments());

// The same for a channel that you create yourself, with
// grpc::experimental::CreateCustomChannelWithInterceptors; set
// GRPC_ARG_ENABLE_RETRIES to 0 on it. options.target must be given.
std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>
MakeInterceptorFactory(std::shared_ptr<Client> client, RpcOptions options);

// What became of the call that was made with `context`: from its end until the
// context is destroyed. Before that: what has happened so far. Absent: the
// context had no call that Forbear saw (another channel, a stream that passed
// through, FORBEAR_OFF), or one that faulty options ended (RpcOptions, CallOptions).
std::optional<CallRecord> RecordOf(const grpc::ClientContext& context);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_INTERCEPTOR_H_
