// The key by which a server knows that a request is one that it has seen.
//
//   std::string line = NewIdempotencyLine("Idempotency-Key");
//   // Idempotency-Key: "0d9c8f3e-7b1a-4c66-9f0e-2a5b8c1d4e6f"
//
// A version 4 UUID (RFC 9562 §5.4), from the kernel's random numbers: two processes,
// and a process and its fork, never make the same one. In "Idempotency-Key" it stands
// in quotation marks, for that header's value is a string of RFC 9651 (draft-ietf-
// httpapi-idempotency-key-header-06 §2.1); in any other it stands bare, for those are
// vendors', who ask for a UUID (Azure's Repeatability-Request-ID) or take anything.
//
// Thread rule: a pure function; call from anywhere.
#ifndef FORBEAR_CURL_WRAP_IDEMPOTENCY_KEY_H_
#define FORBEAR_CURL_WRAP_IDEMPOTENCY_KEY_H_

#include <string>

#include "absl/strings/string_view.h"

namespace forbear::curl {

// A line for CURLOPT_HTTPHEADER. Empty: the kernel has no random numbers.
std::string NewIdempotencyLine(absl::string_view header);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_IDEMPOTENCY_KEY_H_
