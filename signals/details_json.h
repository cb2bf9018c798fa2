// The details of a gRPC status as the JSON that Google's HTTP answers carry, so that
// one rule of a profile (signals/vendor_profile.h) reads both:
//
//   DetailsAsJson(ReadErrorDetails(bytes))
//   // {"error":{"code":8,"message":"…","details":[
//   //   {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"},
//   //   {"@type":"type.googleapis.com/google.rpc.QuotaFailure",
//   //    "violations":[{"quotaId":"RequestsPerDay",…}]},
//   //   {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"…",…}]}}
//
// What is read of the status is written, fields that are empty are not. Bytes that
// are no printable ASCII become "?": such texts are for people, or damage.
//
// Thread rule: a pure function; call from anywhere.
#ifndef FORBEAR_SIGNALS_DETAILS_JSON_H_
#define FORBEAR_SIGNALS_DETAILS_JSON_H_

#include <string>

#include "signals/retry_info.h"

namespace forbear {

std::string DetailsAsJson(const ErrorDetails& details);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_DETAILS_JSON_H_
