// Response: what became of a transfer of an engine, or of a loop of one's own.
//
// Thread rule: a value.
#ifndef FORBEAR_CURL_WRAP_RESPONSE_H_
#define FORBEAR_CURL_WRAP_RESPONSE_H_

#include <curl/curl.h>

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "curl_wrap/call_options.h"

namespace forbear::curl {

struct Response : CallResult {
  // The last answer, and its heads (redirects' before it, as libcurl gives them), of a
  // Request that has no WRITEFUNCTION (HEADERFUNCTION) or data for one.
  std::string head;
  std::string body;

  // The last answer was a refusal that came before a wait, and more transfers waited
  // than EngineOptions::max_kept: it was let go. `code` is CURLE_PARTIAL_FILE then, or
  // says what ended the wait; http_status and the record are as always.
  bool answer_dropped = false;

  // How long it waited for a place (EngineOptions::max_in_flight, max_per_host) before
  // the call began.
  absl::Duration queued;

  // For curl_easy_getinfo, which speaks of the last attempt. Only while Done runs;
  // null: there is no handle (nothing was sent, or it was let go). That of a Request goes
  // to others afterwards: options that are set on it are lost, but cookies, HSTS, Alt-Svc
  // and a CURLSH would go along.
  CURL* easy = nullptr;
};

// Called once for each transfer, when it is over, by the thread that runs it.
using Done = std::function<void(Response response)>;

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_RESPONSE_H_
