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
// Without any option a unary call is sent again after RESOURCE_EXHAUSTED, which
// did no work, and after nothing else (interceptors/classify.h).
//
// Thread rule: values and a pure function; call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_RPC_OPTIONS_H_
#define FORBEAR_INTERCEPTORS_RPC_OPTIONS_H_

#include <grpcpp/support/status_code_enum.h>

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
  // RESOURCE_EXHAUSTED need not be listed.
  std::vector<grpc::StatusCode> retryable;

  // How long one attempt may take. Absent: as `retry`, or as the client says,
  // which is no limit by default. An attempt that it ends is made again if
  // `retryable` lists any code. 1 ms … infinite.
  std::optional<absl::Duration> attempt_timeout = std::nullopt;

  // Instead of the client's: of ClientOptions::retry, or a target's.
  std::optional<RetryOptions> retry = std::nullopt;
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
  // retries are off with GRPC_ARG_ENABLE_RETRIES. Empty: none.
  std::string service_config;

  TakeOver take_over = TakeOver::kNever;
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
