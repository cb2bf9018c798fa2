// CountBytes: what went out and came in on the wire during one attempt, as far
// as libcurl counts it: heads and bodies of all its requests (redirects, rounds
// of authentication), without TLS and the framing of HTTP/2. For the record.
//
//   CountBytes(easy, settings, &outcome);   // bytes_sent, bytes_received
//
// Thread rule: as the handle.
#ifndef FORBEAR_CURL_WRAP_BYTE_COUNT_H_
#define FORBEAR_CURL_WRAP_BYTE_COUNT_H_

#include <curl/curl.h>

#include "core/outcome.h"
#include "curl_wrap/easy_options.h"

namespace forbear::curl {

void CountBytes(CURL* easy, const EasyOptions& settings, Outcome* outcome);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_BYTE_COUNT_H_
