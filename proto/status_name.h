// Names of the numbers that transports use, without linking the transports.
//
//   GrpcCodeName(14);   // "UNAVAILABLE"
//   CurlCodeName(7);    // "CURLE_COULDNT_CONNECT"
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_PROTO_STATUS_NAME_H_
#define FORBEAR_PROTO_STATUS_NAME_H_

#include "absl/strings/string_view.h"

namespace forbear {

// The 17 codes of gRPC, OK (0) to UNAUTHENTICATED (16). Empty for others.
absl::string_view GrpcCodeName(int code);

// CURLE_OK (0) and so on. Empty for numbers that have none.
absl::string_view CurlCodeName(int code);

}  // namespace forbear

#endif  // FORBEAR_PROTO_STATUS_NAME_H_
