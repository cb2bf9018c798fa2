// Retry markers: what a request says of the layer that repeats it.
//
// Client libraries, proxies and service meshes count their attempts in a field
// of the request. A program that passes such a field on, or is called with it,
// is an attempt of somebody else's loop; if it repeats as well, the two
// multiply.
//
//   IsRetryMarker("X-Stainless-Retry-Count", "1")         // true
//   IsRetryMarker("x-envoy-attempt-count", "1")           // false: the first
//   IsRetryMarker("amz-sdk-request", "attempt=2; max=3")  // true
//
//  field                        | who writes it            | counts from
//  x-stainless-retry-count      | OpenAI's, Anthropic's SDKs | 0
//  grpc-previous-rpc-attempts   | gRPC (A6), Forbear       | 1, absent at first
//  x-retry-attempty             | go-grpc-middleware       | 1, absent at first
//  x-envoy-attempt-count        | Envoy                    | 1
//  amz-sdk-request: attempt=N   | AWS SDKs                 | 1
//
// A value that is no whole number marks nothing: what cannot be read must not
// keep a call from being repeated.
//
// Thread rule: a pure function; call from anywhere.
#ifndef FORBEAR_SIGNALS_RETRY_MARKER_H_
#define FORBEAR_SIGNALS_RETRY_MARKER_H_

#include "absl/strings/string_view.h"

namespace forbear {

// Whether a line that begins so may have such a field: a quick look, by a few
// characters, that most lines do not survive.
inline bool MayBeRetryMarker(const char* line) {
  constexpr char kToLower = 0x20;
  switch (line[0] | kToLower) {
    case 'a':
      return (line[1] | kToLower) == 'm';
    case 'g':
      return (line[1] | kToLower) == 'r';
    case 'x': {
      if (line[1] != '-') return false;
      const int third = line[2] | kToLower;
      return third == 's' || third == 'e' ||
             // As in "x-request-id".
             (third == 'r' && line[3] != '\0' && (line[4] | kToLower) == 't');
    }
    default:
      return false;
  }
}

// Whether the field says that this is not the first attempt. Names are compared
// without case, as in HTTP.
bool IsRetryMarker(absl::string_view name, absl::string_view value);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_RETRY_MARKER_H_
