// AttemptEnd: how an attempt ended, and what that means, by the table of
// interceptors/classify.h, the server's profile and the application's classifier.
// Private.
//
//   AttemptEnd end;
//   end.status = &status;
//   Outcome outcome = ReadEnd(end, policy, *found, retryable);
//   AskClassifier(policy.client->options().classify_rpc, end, call, &outcome);
//
// Thread rule: values and functions; call from anywhere. AskClassifier calls
// foreign code: hold no lock.
#ifndef FORBEAR_INTERCEPTORS_ATTEMPT_END_H_
#define FORBEAR_INTERCEPTORS_ATTEMPT_END_H_

#include <grpcpp/support/status.h>
#include <grpcpp/support/string_ref.h>

#include <cstdint>
#include <map>
#include <optional>

#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "interceptors/channel_policy.h"
#include "interceptors/classify.h"
#include "runtime/classifier.h"

namespace forbear::rpc {

// Metadata of an answer.
using ReceivedMetadata = std::multimap<grpc::string_ref, grpc::string_ref>;

// gRPC counts in milliseconds, and a server that knows the deadline may be the
// first to say that it has passed.
inline constexpr absl::Duration kTimerSlack = absl::Milliseconds(5);

struct AttemptEnd {
  const grpc::Status* status = nullptr;
  const ReceivedMetadata* trailers = nullptr;  // or null
  int64_t bytes_sent = 0;
  int64_t bytes_received = 0;  // 0: not known
  // As in RpcResult.
  bool timed_out = false;
  bool cancelled_by_caller = false;
};

// `found`: the policy of the call. `retryable`: the codes that it lists.
Outcome ReadEnd(const AttemptEnd& end, const ChannelPolicy& policy,
                const Policy& found, CodeSet retryable);

// Lets the application's classifier look at an end, if there is one and it is not
// OK. `call` is what the attempt is of (runtime/nesting.h).
void AskClassifier(const RpcClassifier& classifier, const AttemptEnd& end,
                   const void* call, Outcome* outcome);

// Where the limit of requests stands, as the metadata of a good answer tell it.
// Each may be null.
std::optional<LimitStand> StandIn(const ChannelPolicy& policy,
                                  const Policy& found,
                                  const ReceivedMetadata* initial,
                                  const ReceivedMetadata* trailing);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_ATTEMPT_END_H_
