// RpcOptions: what Forbear should know of the services behind a channel.
//
//   forbear::rpc::RpcOptions options;
//   options.quota_id = "billing-key-7";
//   options.methods = {
//       {"/shop.Catalog/*", {grpc::StatusCode::UNAVAILABLE}},
//       {"/shop.Catalog/Buy", {}},  // never sent again after bytes have left
//   };
//   absl::Status status = forbear::rpc::ValidateRpcOptions(options);
//
// Without any option a unary call is sent again after a server's RESOURCE_EXHAUSTED,
// which did no work, and after nothing else (interceptors/classify.h).
//
// Thread rule: values and a pure function; call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_RPC_OPTIONS_H_
#define FORBEAR_INTERCEPTORS_RPC_OPTIONS_H_

#include <grpcpp/support/status_code_enum.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/retry_policy.h"

namespace forbear::rpc {

struct MethodRule {
  // "/package.Service/Method", "/package.Service/*", or "*". The most specific
  // rule that fits is the method's only one: rules do not add up. What it says goes
  // before the client's configuration (core/policy.h), codes always, the rest if it
  // is given; of a method without a rule the service config (below) and the
  // configuration have all to say.
  std::string method;

  // After these codes it may be sent again, whether or not the server acted on
  // it: listing a code says that repeating the method is harmless. Not OK.
  // RESOURCE_EXHAUSTED need not be listed, but for what HTTP/2's ENHANCE_YOUR_CALM
  // ended, which leaves open what was done.
  std::vector<grpc::StatusCode> retryable;

  // How long one attempt may take; of a stream: until the server's answer begins.
  // Absent: as `retry`, or as the client says, which is no limit by default. An
  // attempt that it ends is made again if `retryable` lists any code. 1 ms …
  // infinite.
  std::optional<absl::Duration> attempt_timeout = std::nullopt;

  // Instead of the client's: of ClientOptions::retry, or a target's.
  std::optional<RetryOptions> retry = std::nullopt;
};

// What becomes of streams. Of methods for which nothing was said they pass through
// untouched, and cost what they cost without Forbear: a stream is Forbear's only if
// a rule of RpcOptions::methods, a retryPolicy or hedgingPolicy of the service config,
// or a target of the configuration fits its method, or its CallOptions list codes.
// Streams are not hedged.
enum class Streams {
  // As unary calls: they wait for gate and breaker, and are sent again until the
  // server has sent a head or a message, with what the application has sent so far.
  // From then on they go through: what ends them is the application's, and is
  // reported. Every message takes a way through Forbear, and what peer() and
  // auth_context() tell is not the attempt's.
  kRetry,
  // They go through at once, neither held nor refused nor repeated; but how they end
  // is told to breaker, gate and record. This is what kRetry means in builds that
  // may not touch gRPC's private members (-DFORBEAR_GRPC_PRIVATE_ACCESS=0).
  kObserve,
  // They pass through untouched.
  kOff,
};

// Who makes the first attempt. Meant for builds that may not touch gRPC's
// private members (-DFORBEAR_GRPC_PRIVATE_ACCESS=0): they cannot repeat a call
// that gRPC has sent, but they can make all of its attempts.
//
// It has a price: a call costs 40 % more instructions, peer() is what was
// dialled, and in such a build set_wait_for_ready, set_authority and
// FromServerContext have no effect on any attempt, as nothing tells of them.
// Calls of reactors, and of a completion queue with ReadInitialMetadata, come
// in two pieces and stay with gRPC.
enum class TakeOver {
  kNever,  // the application's own call is attempt 1
  // Forbear does, and fills in the response. It has to believe you about its
  // type: a wrong word here corrupts memory. Nothing but generated stubs (of
  // protobuf), or nothing but grpc::GenericStub, may use the channel.
  kGeneratedStubs,
  kGenericStubs,
};

struct RpcOptions {
  // Who is limited together: a name for the credential, never the credential.
  // Channels with the same name share gate, pace and queue. Default: `target`.
  std::string quota_id;

  // host:port, or whatever names the server: the key of the breaker, and a word
  // of records and logs. CreateChannel puts its own target here if it is empty;
  // MakeInterceptorFactory cannot know it, and demands it.
  std::string target;

  std::vector<MethodRule> methods;

  // A gRPC service config, in JSON: its retryPolicy and hedgingPolicy are rules of
  // the methods that it names (interceptors/service_config.h), and its timeout bounds
  // all of a call. A rule in `methods` goes before it: of a method that has one
  // nothing but the timeout counts. CreateChannel gives the rest of it to gRPC (load
  // balancing, health checking, …), and if this is empty takes the one that is in the
  // channel's arguments. Who makes the channel with MakeInterceptorFactory gives it
  // here, and to the channel. One that a name resolver brings is not seen; its
  // retries are off with GRPC_ARG_ENABLE_RETRIES. With FORBEAR_OFF all of it is gRPC's.
  // Empty: none.
  std::string service_config;

  TakeOver take_over = TakeOver::kNever;

  Streams streams = Streams::kRetry;

  // Bytes of messages that a stream keeps to send them again, each with the 5 that
  // gRPC puts before it; its first message is kept whatever its size. A stream that
  // sends more before it has an answer goes on, but cannot be repeated any more: if
  // it fails it ends with StopReason::kNotReplayable. Default 256 KiB. 0 … 1 GiB.
  int64_t max_stream_buffer = int64_t{256} << 10;
};

// "api.example.com:443" of "dns:///api.example.com:443" and of the other ways in
// which gRPC names a server; what is not one of these, as it is. For the hosts of a
// configuration.
absl::string_view ServerOf(absl::string_view target);

// INVALID_ARGUMENT with all faults, each with its field, its value and what
// would be right.
absl::Status ValidateRpcOptions(const RpcOptions& options);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_RPC_OPTIONS_H_
