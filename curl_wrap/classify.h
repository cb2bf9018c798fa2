// Classify: what one HTTP attempt through libcurl ended as, in the words of the
// core. The one table of statuses and CURLcodes; nothing else in curl_wrap
// decides what an answer means.
//
//   AttemptFacts facts;
//   facts.code = CURLE_OK;
//   facts.status = 429;
//   facts.sent = true;
//   facts.retry_after = absl::Seconds(2);
//   Outcome outcome = Classify(facts);   // throttled, not processed, wait 2 s
//
// Statuses, of a complete head:
//   1xx … 3xx                           ok
//   429                                 throttled, not processed
//   425                                 transient, not processed (RFC 8470)
//   408 500 502 503 504 522 524 529     transient, perhaps processed
//   any other 4xx or 5xx                permanent: 401, 404, 501, 505, …
// A Retry-After of a transient or throttled answer is its pushback. A failure
// that comes after such a head (its body was cut off) does not change what the
// head said.
//
// CURLcodes, where no head says transient or throttled:
//   a refused or timed-out connection, a name that does not resolve
//                                       transient; not processed, unless a byte
//                                       left
//   an empty, reset, cut-off, undecodable or late answer
//                                       transient; perhaps processed if a byte
//                                       left. Also after a 200: half an answer
//                                       is none
//   an application callback aborted     cancelled; no word about the server
//   options, TLS and certificates, local files, too many redirects, the
//   application's own write error, and every code that is not known here
//                                       permanent
//
// A TLS handshake that fails (35) is permanent: mostly it is configuration, and
// repeating it hides the mistake.
//
// Thread rule: a pure function; call from anywhere.
#ifndef FORBEAR_CURL_WRAP_CLASSIFY_H_
#define FORBEAR_CURL_WRAP_CLASSIFY_H_

#include <curl/curl.h>

#include <optional>

#include "absl/time/time.h"
#include "core/outcome.h"

namespace forbear::curl {

// What is known of an attempt at its end, or at the head of its answer.
struct AttemptFacts {
  CURLcode code = CURLE_OK;

  // Of the last answer's head, if that was complete. 0: none.
  int status = 0;

  // A byte of the request may have left this machine (CURLINFO_REQUEST_SIZE or
  // CURLINFO_SIZE_UPLOAD_T is not 0).
  bool sent = false;

  // A time-out of ours ended it, whatever the code.
  bool timed_out = false;

  // Part of the answer was given to the application.
  bool delivered = false;

  // The longest wait that the answer's Retry-After lines ask for.
  std::optional<absl::Duration> retry_after;
};

Outcome Classify(const AttemptFacts& facts);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_CLASSIFY_H_
