// What a gRPC status means: from one attempt's end to an Outcome. The whole
// table, as one pure function.
//
//   status               means        sent again
//   OK                   ok           –
//   RESOURCE_EXHAUSTED   throttled    always: a refusal did no work (1), (2)
//   UNAVAILABLE          transient    if the method lists it
//   DEADLINE_EXCEEDED    transient    the call's own deadline: never;
//                                     our attempt_timeout: if the method lists
//                                     any code
//   CANCELLED            cancelled    by the caller: never; else as the others
//   any other            permanent    if the method lists it (transient then)
//
// (1) Unless gRPC itself made it, on either side, of a message or metadata over a size
// limit ("… larger than max …", "… metadata size exceeds …"; classify.cc has all that
// are known), or because its own memory was used up: that is permanent, listed or not,
// and no rate limit. The server may have done the work.
//
// (2) Unless it is HTTP/2's ENHANCE_YOUR_CALM, which ends a call wherever it is and
// leaves open what was done: throttled, and sent again if the method lists it.
//
// gRPC makes both known by the text of the status only. A server whose own refusal has
// such a text is not sent to again.
//
// Listing a code for a method is the consent to send the method again after it:
// gRPC cannot know whether the server acted. UNAVAILABLE without it counts
// against the endpoint, and ends the call with StopReason::kNotIdempotent.
//
// The trailer grpc-retry-pushback-ms (gRPC A6) is read for whatever is
// throttled or transient; one that is negative or no number forbids a retry.
//
// The status's details (grpc-status-details-bin: google.rpc.Status) are read by the
// profile of the server (signals/vendor_profile.h), as the body of an HTTP answer
// is. Its rules go before the table: a QuotaFailure of a quota per day makes
// RESOURCE_EXHAUSTED "out of quota". RetryInfo is a wait like the pushback; of both
// the longer one counts.
//
//   RpcResult result;
//   result.code = grpc::StatusCode::UNAVAILABLE;
//   result.pushback = "250";
//   Outcome outcome = Classify(result, {grpc::StatusCode::UNAVAILABLE});
//
// Thread rule: values and a pure function; call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_CLASSIFY_H_
#define FORBEAR_INTERCEPTORS_CLASSIFY_H_

#include <grpcpp/support/status_code_enum.h>

#include <cstdint>
#include <initializer_list>
#include <optional>

#include "absl/strings/string_view.h"
#include "core/outcome.h"
#include "signals/vendor_profile.h"

namespace forbear::rpc {

// A set of the sixteen status codes that are no OK.
class CodeSet {
 public:
  constexpr CodeSet() = default;
  constexpr CodeSet(std::initializer_list<grpc::StatusCode> codes) {
    for (const grpc::StatusCode code : codes) Add(code);
  }

  // OK, and what is no code, is not added.
  constexpr void Add(grpc::StatusCode code) {
    if (code > 0 && code <= 16) bits_ |= 1u << code;
  }
  constexpr bool Has(grpc::StatusCode code) const {
    return code > 0 && code <= 16 && (bits_ >> code & 1u) != 0;
  }
  constexpr bool empty() const { return bits_ == 0; }

 private:
  uint32_t bits_ = 0;
};

// How one attempt ended.
struct RpcResult {
  grpc::StatusCode code = grpc::StatusCode::OK;
  // The status message.
  absl::string_view message;
  // The bytes of grpc-status-details-bin; empty: there were none.
  absl::string_view details;
  // Who reads them; null: nobody. Both or neither.
  const VendorProfile* profile = nullptr;
  const VendorProfile* generic = nullptr;
  // The value of the trailer grpc-retry-pushback-ms; absent: there was none.
  std::optional<absl::string_view> pushback;
  // The attempt's time was over: our attempt_timeout or the call's deadline.
  // Means something with CANCELLED and DEADLINE_EXCEEDED only.
  bool timed_out = false;
  // The application called TryCancel. Means something with CANCELLED only.
  bool cancelled_by_caller = false;
};

// `retryable`: the codes that the method lists.
Outcome Classify(const RpcResult& result, CodeSet retryable);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_CLASSIFY_H_
