// What a gRPC server adds to a status: google.rpc.Status in the trailer
// grpc-status-details-bin, with RetryInfo, QuotaFailure and ErrorInfo in it.
//
//   ErrorDetails details = ReadErrorDetails(bytes);
//   details.retry_delay;                 // 26 s: RetryInfo
//   details.violations[0].quota_id;      // "RequestsPerDay…": QuotaFailure
//   details.infos[0].reason;             // "RATE_LIMIT_EXCEEDED": ErrorInfo
//
// The bytes are read by hand, because a program that has googleapis' messages
// linked in does not start when somebody else brings the same names along.
//
// 1. Strict: nothing of a detail that is malformed counts; details before a place
//    where the status itself is malformed do. Groups, which nothing has used since
//    protobuf's second version, are malformed here. That text is UTF-8 is not
//    checked: it is only compared.
// 2. As protobuf has it: of a field that comes twice the last counts, a message that
//    comes twice is merged, unknown fields and wrong wire types are passed over.
// 3. A negative delay, or one whose nanos are not below a second, is none. One above
//    what a Duration may hold (10,000 years) is for ever. Of several the longest
//    counts. Zero is a delay: the server has spoken.
// 4. Bounds: 64 KiB, 16 violations, 4 ErrorInfos with 32 entries each; what is
//    beyond these counts is passed over, and longer bytes are not read at all.
//
// What is returned points into `bytes`: they must outlive it.
//
// Thread rule: a pure function; call from anywhere.
#ifndef FORBEAR_SIGNALS_RETRY_INFO_H_
#define FORBEAR_SIGNALS_RETRY_INFO_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

// google.rpc.QuotaFailure.Violation, without its dimensions and values.
struct QuotaViolation {
  absl::string_view subject;       // "project:123"
  absl::string_view description;   // for people
  absl::string_view api_service;   // "compute.googleapis.com"
  absl::string_view quota_metric;  // "compute.googleapis.com/cpus"
  absl::string_view quota_id;      // "CPUS-per-project-region"
};

// google.rpc.ErrorInfo.
struct ErrorInfo {
  absl::string_view reason;  // "RATE_LIMIT_EXCEEDED"
  absl::string_view domain;  // "googleapis.com"
  std::vector<std::pair<absl::string_view, absl::string_view>> metadata;
};

// google.rpc.Status, and what of its details is known here.
struct ErrorDetails {
  int32_t code = 0;
  absl::string_view message;
  std::optional<absl::Duration> retry_delay;
  std::vector<QuotaViolation> violations;
  std::vector<ErrorInfo> infos;
};

ErrorDetails ReadErrorDetails(absl::string_view bytes);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_RETRY_INFO_H_
