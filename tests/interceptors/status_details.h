// Details of a gRPC status, as a server puts them into grpc-status-details-bin, in
// bytes: several after one another are one google.rpc.Status.
//
//   GrpcReply::Error(code).WithDetails(RetryInfoBytes(absl::Seconds(3)) +
//                                      QuotaFailureBytes("RequestsPerDay"))
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_TESTS_INTERCEPTORS_STATUS_DETAILS_H_
#define FORBEAR_TESTS_INTERCEPTORS_STATUS_DETAILS_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace forbear::rpc {

inline std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) {
    bytes += static_cast<char>(0x80 | (value & 0x7F));
  }
  bytes += static_cast<char>(value);
  return bytes;
}

// A field that has a length.
inline std::string Field(uint64_t number, const std::string& bytes) {
  return absl::StrCat(Varint(number << 3 | 2), Varint(bytes.size()), bytes);
}

// google.rpc.Status.details, one more.
inline std::string DetailBytes(const std::string& type,
                               const std::string& bytes) {
  return Field(3,
               absl::StrCat(Field(1, "type.googleapis.com/google.rpc." + type),
                            Field(2, bytes)));
}

inline std::string RetryInfoBytes(absl::Duration wait) {
  absl::Duration rest;
  const int64_t seconds = absl::IDivDuration(wait, absl::Seconds(1), &rest);
  const std::string duration = absl::StrCat(
      Varint(1 << 3), Varint(static_cast<uint64_t>(seconds)), Varint(2 << 3),
      Varint(static_cast<uint64_t>(absl::ToInt64Nanoseconds(rest))));
  return DetailBytes("RetryInfo", Field(1, duration));
}

inline std::string QuotaFailureBytes(const std::string& quota_id) {
  return DetailBytes("QuotaFailure", Field(1, Field(5, quota_id)));
}

}  // namespace forbear::rpc

#endif  // FORBEAR_TESTS_INTERCEPTORS_STATUS_DETAILS_H_
