// Classify: what one HTTP attempt through libcurl ended as, in the words of the
// core. Statuses, headers and bodies mean what signals/http_classify.h says; this
// is the one table of CURLcodes, and how the two go together.
//
//   AttemptFacts facts;
//   facts.code = CURLE_OK;
//   facts.status = 429;
//   facts.answer = ClassifyAnswer(…);    // throttled, wait 2 s
//   facts.sent = true;
//   Outcome outcome = Classify(facts);   // throttled, not processed, wait 2 s
//
// A failure that comes after a head that is a refusal (its body was cut off) does
// not change what the answer said.
//
// CURLcodes, where no answer is transient, throttled or out of quota:
//   a refused or timed-out connection, a name that does not resolve
//                                       transient; not processed, unless a byte
//                                       left
//   an empty, reset, cut-off, undecodable or late answer
//                                       transient; perhaps processed if a byte
//                                       left. Also after a 200: half an answer
//                                       is none. (18 before anything was sent is
//                                       no answer but an upload that RESUME_FROM
//                                       says is complete: permanent)
//   an application callback aborted     cancelled; no word about the server
//   options, TLS and certificates, local files, too many redirects, the
//   application's own write error, and every code that is not known here
//                                       permanent
//
// A refusal behind a redirect that makes another request of it (POST, 303, GET, 429)
// says that this one was not acted upon; the first one may have been.
//
// A TLS handshake that fails (35) is permanent: mostly it is configuration, and
// repeating it hides the mistake.
//
// Thread rule: a pure function; call from anywhere.
#ifndef FORBEAR_CURL_WRAP_CLASSIFY_H_
#define FORBEAR_CURL_WRAP_CLASSIFY_H_

#include <curl/curl.h>

#include "core/outcome.h"
#include "signals/http_classify.h"

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

  // An answer before this one may say that the request was acted upon
  // (MayHaveActed): this one speaks of the request that libcurl made of it.
  bool acted = false;

  // What the answer means, if there is a status.
  AnswerMeaning answer;
};

Outcome Classify(const AttemptFacts& facts);

// Of an attempt of which nothing left this machine, because of something on this side
// that `code` names: for the server it is as if no connection had been made.
Outcome NothingLeft(CURLcode code);

// The same of what nearly every attempt is: a whole answer, or its head, with a status
// below 400. (0: HTTP/0.9, which has no head.)
inline Outcome GoodAnswer(int status) {
  Outcome outcome;
  outcome.processed = Processed::kYes;
  outcome.status = status;
  return outcome;
}

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_CLASSIFY_H_
