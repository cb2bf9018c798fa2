// CallOptions: what an application wants for one call over libcurl, and CallResult:
// what became of it. The same for Handle (curl_wrap/handle.h), Engine (curl_wrap/
// engine.h) and programs with a loop of their own (curl_wrap/multi.h).
//
//   CallOptions options;
//   options.deadline = absl::Seconds(30);
//
// Thread rule: values.
#ifndef FORBEAR_CURL_WRAP_CALL_OPTIONS_H_
#define FORBEAR_CURL_WRAP_CALL_OPTIONS_H_

#include <curl/curl.h>

#include <cstddef>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/cost.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"

namespace forbear::curl {

struct CallOptions {
  // For the whole call, attempts and waits, from now. Any value; zero or less
  // is over at once. Infinite (default): no limit, but waits and new attempts
  // end after RetryOptions::max_elapsed.
  absl::Duration deadline = absl::InfiniteDuration();

  // For each attempt. Absent: as the client's RetryOptions say. 1 ms …
  // infinite. An attempt that it ends is a failure of the server's, and retried
  // if that is harmless.
  std::optional<absl::Duration> attempt_timeout;

  // False: this call passes through untouched: Perform is curl_easy_perform. True
  // does not switch on what is switched off elsewhere.
  bool enabled = true;

  // Repeating the request is harmless, or is not. Absent: by its method and its
  // Idempotency-Key.
  std::optional<bool> idempotent;

  // What each attempt takes of our own limits (QuotaOptions::limits), as far as is
  // known before it is sent. Default: one request.
  Cost cost;

  // Names who is limited together, instead of the credential. No secret.
  std::string quota_id;

  // The id of the profile that says what the server's answers mean (docs/
  // profiles.md). Empty: as the client's settings say, else by the URL's host. One
  // that the client does not know is CURLE_BAD_FUNCTION_ARGUMENT.
  std::string profile;

  // Instead of the client's. attempt_timeout above goes before.
  std::optional<RetryOptions> retry;

  // A request's body that can be read only once (a READFUNCTION without a SEEKFUNCTION,
  // a pipe) is kept in memory while it is sent, up to this many bytes, so that it can be
  // sent again. A larger one is sent once (StopReason::kNotReplayable). Default 0: none
  // is kept.
  size_t max_buffered_body = 0;

  // Of a refusal that may be retried: the bytes that are kept, heads included.
  size_t max_held_bytes = size_t{64} << 10;
  // How long after the head of such a refusal a decision may wait for the rest
  // of it. Zero or more.
  absl::Duration max_hold_time = absl::Seconds(1);
};

struct CallResult {
  // What curl_easy_perform would have returned for the last attempt. CURLE_OK:
  // the application has a whole answer, whatever its status. Also:
  //   CURLE_ABORTED_BY_CALLBACK    Cancel()
  //   CURLE_OPERATION_TIMEDOUT     the deadline or attempt timeout ended it
  //   CURLE_COULDNT_CONNECT        also: nothing was sent, for the breaker or a
  //                                gate refused; http_status is 0
  //   CURLE_BAD_FUNCTION_ARGUMENT  CallOptions out of bounds; nothing was sent
  //   CURLE_RECURSIVE_API_CALL     Perform within Perform
  CURLcode code = CURLE_OK;

  // Of the last attempt; 0 if it brought none, or there was none.
  long http_status = 0;

  StopReason stop_reason = StopReason::kNone;

  // If the call ended because the next send lies too far ahead: how far,
  // counted from Perform's return. Never negative. As a time: record.retry_at.
  std::optional<absl::Duration> retry_at;

  CallRecord record;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_CALL_OPTIONS_H_
