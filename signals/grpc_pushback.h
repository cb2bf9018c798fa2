// grpc-retry-pushback-ms: what a gRPC server says about a retry (gRPC A6).
//
//   ParseGrpcPushback("250")    // wait 250 ms
//   ParseGrpcPushback("-1")     // do not retry
//   ParseGrpcPushback("soon")   // do not retry: A6 reads garbage as a refusal
//
// The value is a signed 32-bit integer in decimal without needless zeros. gRPC
// 1.51 itself also takes "+5", " 5" and "01"; A6 does not, and where the two
// differ the reading with fewer sends is used. Only what comes here can be read so:
// gRPC 1.51 parses the trailer and hands on "5" and "1" for these, to interceptors, too.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_GRPC_PUSHBACK_H_
#define FORBEAR_SIGNALS_GRPC_PUSHBACK_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

struct GrpcPushback {
  // The wait; absent: the server forbids a retry.
  std::optional<absl::Duration> wait;
};

GrpcPushback ParseGrpcPushback(absl::string_view value);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_GRPC_PUSHBACK_H_
