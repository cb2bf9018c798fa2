#include "proto/status_name.h"

#include <cstddef>

namespace forbear {

absl::string_view GrpcCodeName(int code) {
  static constexpr absl::string_view kNames[] = {
      "OK",
      "CANCELLED",
      "UNKNOWN",
      "INVALID_ARGUMENT",
      "DEADLINE_EXCEEDED",
      "NOT_FOUND",
      "ALREADY_EXISTS",
      "PERMISSION_DENIED",
      "RESOURCE_EXHAUSTED",
      "FAILED_PRECONDITION",
      "ABORTED",
      "OUT_OF_RANGE",
      "UNIMPLEMENTED",
      "INTERNAL",
      "UNAVAILABLE",
      "DATA_LOSS",
      "UNAUTHENTICATED",
  };
  constexpr int kCount = sizeof(kNames) / sizeof(kNames[0]);
  return code >= 0 && code < kCount ? kNames[code] : absl::string_view();
}

absl::string_view CurlCodeName(int code) {
  switch (code) {
#define CODE(number, name) \
  case number:             \
    return "CURLE_" #name;
#include "proto/curl_code.inc"
#undef CODE
    // Newer than Debian 12's first libcurl.
    case 99:
      return "CURLE_UNRECOVERABLE_POLL";
    case 100:
      return "CURLE_TOO_LARGE";
    case 101:
      return "CURLE_ECH_REQUIRED";
    default:
      return "";
  }
}

}  // namespace forbear
