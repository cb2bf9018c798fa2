// Perform(CURL*): a plain libcurl handle, made and set up by a program that knows
// nothing of Forbear, gets through a rate-limited, flaky service. One line changes:
//
//   #include "curl_wrap/perform.h"
//
//   CURL* curl = curl_easy_init();
//   curl_easy_setopt(curl, CURLOPT_URL, "https://api.example.com/v1/models");
//   curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Append);
//   curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
//   forbear::curl::CallResult result =
//       forbear::curl::Perform(curl);                 // curl_easy_perform(curl)
//   if (result.code != CURLE_OK) …no whole answer: result.stop_reason says why…
//
// What is retried, how often, how long it waits and which calls share what is the same
// as with Handle (curl_wrap/handle.h). Handle can do more, for it sees options being
// set; what is different here, and what a program then has to say itself, is below.
// All of it stays safe when nothing is said: what is not known is not repeated.
//
// How. libcurl has no getter for an option, and callbacks are not replaced that cannot
// be put back. A debug function sees requests and heads; when the head of an answer
// says that another attempt is to follow, the transfer is stopped there, and its body
// reaches nobody. (curl_wrap/raw_transfer.h)
//
// What the application sees.
//   Body: of one answer, the last one, whole, whatever its status; it streams as it
//     comes. Bodies of failed attempts are hidden.
//   Heads: of all attempts, one after the other, as those of redirects. With
//     CURLOPT_HEADER they stand in the body, too.
//   An answer that breaks off after its first byte was given away is the last one
//     (StopReason::kCommitted), unless RawOptions::reset_sink takes that back.
//   An answer that was stopped for another attempt which then could not be made,
//     because others were told to wait meanwhile, say, is gone: CURLE_HTTP_RETURNED_ERROR
//     and its status.
//
// What may be repeated. The method of each request is seen when it is sent: GET, HEAD,
// PUT, DELETE, OPTIONS and TRACE may be, redirects included, and any request with an
// Idempotency-Key; RawOptions::idempotent goes before. Of a new handle the method is not
// known beforehand: a policy for a method (docs/config.md) does not apply, and log
// lines say "unknown". The record has it.
//
// Request bodies. Where a body comes from is not known. If anything of it may have been
// read, the request is sent once (StopReason::kNotReplayable), unless the application
// says what it is:
//   RawOptions::body_replays   POSTFIELDS, COPYPOSTFIELDS, MIMEPOST
//   RawOptions::rewind_body    a read function, or a FILE*
// A request that was never sent, or that asked with Expect: 100-continue and was
// refused, is repeated without.
//
// What it costs. The connection of a stopped answer that has a body, over HTTP/1; over
// HTTP/2, its stream. Some 20 µs per request, since libcurl shows all that it does to
// the debug function. Connections are kept per thread, not per handle, 32 of them;
// those that curl_easy_perform has left on the handle are closed.
//
// What it clears: DEBUGFUNCTION, DEBUGDATA and VERBOSE, as if they had never been set;
// QUICK_EXIT, if a time-out ended an attempt; FRESH_CONNECT, with
// RawOptions::idempotent = false. With libcurl 8.7 and later FAILONERROR is
// what RawOptions::fail_on_error says.
//
// What it cannot do, and Handle can:
//   Bodies of refusals are not read: an "out of credit" that only the body tells is
//     taken for "slow down". ClientOptions::classify_http gets no body.
//   Cancel().
//   At most once: libcurl itself repeats a request when a connection that was used
//     before turns out to be dead, POST included; the record says so
//     (Outcome::resends). With
//     RawOptions::idempotent = false each attempt makes a new connection, also if the
//     handle has a CURLSH with others, so that there is none to be dead; only after a
//     redirect or a round of authentication there may be.
//   Credentials: of those in the URL it is known that they differ, of others not. Gate,
//     pace and queue belong to "host:port" then; CallOptions::quota_id tells apart.
//   Pauses: before libcurl 8.7 an answer is stopped by a pause. An application that
//     calls curl_easy_pause(CURLPAUSE_CONT) from its progress function ends that one,
//     too, and gets the body of a failed attempt: it must do so only while its own write
//     function has paused. A reset_sink takes such a pause back.
//   A redirect to a server whose gate is shut is followed: that is told when the request
//     has gone. What it says is about it, and is waited for, as with Handle.
//   Where a redirect has led, and no URL was set since, the next call counts as one
//     to there.
//   Markers of other layers' retries are not seen; a policy's idempotency_header makes
//     no key.
//   ERRORBUFFER: is libcurl's. What Forbear ends leaves no text there.
//   libcurl 8.7 and later: where the retry budget or others' waits end a call after
//     its answer's head, that answer has no body: CURLE_HTTP_RETURNED_ERROR. So if the
//     classifier makes a refusal of what looked like a failure; and it cannot make a
//     failure of anything else.
//
// Refused, with nothing sent:
//   null                                           CURLE_BAD_FUNCTION_ARGUMENT
//   RawOptions out of bounds                       CURLE_BAD_FUNCTION_ARGUMENT
//   a handle whose Perform runs on this thread     CURLE_RECURSIVE_API_CALL
//   a handle that belongs to a multi handle, or
//   runs on another thread                         CURLE_FAILED_INIT (the log says so)
// Not to be used with CURLOPT_CONNECT_ONLY, which cannot be seen: the connection would
// be gone.
//
// With any URL that is not http or https, at the first use of a CURLOPT_CURLU, and if
// the client, the target or the call is switched off (FORBEAR_OFF=1), it is
// curl_easy_perform, and nothing is touched.
//
// TIMEOUT(_MS) and CONNECTTIMEOUT(_MS) are per attempt. Callbacks must not throw, and
// must not set the options that are cleared. After fork() a child has connections of its
// own; it must not use its parent's handles.
//
// Thread rule: any thread; one at a time per handle.
#ifndef FORBEAR_CURL_WRAP_PERFORM_H_
#define FORBEAR_CURL_WRAP_PERFORM_H_

#include <curl/curl.h>

#include <memory>

#include "curl_wrap/call_options.h"
#include "curl_wrap/raw_options.h"
#include "runtime/client.h"

namespace forbear::curl {

// Makes the call: returns when it is over. Blocks this thread only. curl_easy_getinfo
// then speaks of the last attempt.
CallResult Perform(CURL* easy, const RawOptions& options = {},
                   std::shared_ptr<Client> client = Client::Default());

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_PERFORM_H_
