// Handle: a libcurl easy handle whose Perform() gets through a rate-limited,
// flaky service: it retries what may be retried, waits as long as the server
// asks, and gives up with a reason.
//
//   #include "curl_wrap/handle.h"
//
//   forbear::curl::Handle curl = forbear::curl::Handle::Create();
//   curl.SetOpt(CURLOPT_URL, "https://api.example.com/v1/models");
//   curl.SetOpt(CURLOPT_WRITEFUNCTION, &Append);     // as with libcurl
//   curl.SetOpt(CURLOPT_WRITEDATA, &body);
//   forbear::curl::CallOptions options;
//   options.deadline = absl::Seconds(30);            // for all of it
//   forbear::curl::CallResult result = curl.Perform(options);
//   if (result.code != CURLE_OK) …no whole answer: result.stop_reason says why…
//   if (result.http_status == 429) …still refused, for result.retry_at…
//
// An existing program changes three things: curl_easy_init() into Create(),
// curl_easy_setopt(h, …) into h.SetOpt(…), curl_easy_perform(h) into
// h.Perform(). For curl_easy_getinfo() there is raw(); after Perform it speaks
// of the last attempt.
//
// A policy that names a header (core/policy.h: idempotency_header) makes a POST
// repeatable without a line of code: each call gets a key of its own, which all of its
// attempts carry.
//
// What is retried (signals/profiles/generic.json, curl_wrap/classify.h; what is
// known of a vendor goes before, docs/profiles.md):
//   429 and 425: always, for the request was not acted upon; but not what says that
//   a quota or a credit is used up. Behind a 301, 302 or 303 that was followed: if
//   repeating is harmless, for who gave that answer may have acted on the request.
//   Nothing was sent (refused, not resolved, connect timeout): always.
//   408 500 502 503 504 522 524 529, and answers that are empty, reset, cut off
//   or late: if repeating is harmless, as with GET, HEAD, PUT, DELETE, OPTIONS,
//   TRACE, any request with an Idempotency-Key, or by CallOptions::idempotent.
// How often and how long: RetryOptions (core/retry_policy.h). Never before the
// time that the server named. Only http and https: with any other URL, with
// CURLOPT_CONNECT_ONLY, and if the client, the target or the call is switched off,
// Perform is curl_easy_perform: one attempt, no deadline, no Cancel.
//
// What the application sees: one answer. Heads and bodies of failed attempts
// never reach its callbacks; those of the last attempt do, whole, in order,
// once, whatever its status; heads of redirects and of authentication's rounds come
// right before it. To decide, a refusal that may be retried is held
// back: at most CallOptions::max_held_bytes and max_hold_time. What is larger
// or slower is decided upon before its end, and its connection is dropped if
// another attempt follows. So is an error of which the profile says that its body
// may make a refusal of it, and with ClientOptions::classify_http every answer with
// a status of 400 or more; the function is asked once, at the decision. Everything
// else streams. Once a byte of an answer
// was given to the application, no other attempt follows
// (StopReason::kCommitted).
//
// Request bodies. POSTFIELDS, COPYPOSTFIELDS and MIME parts from memory or
// files are sent again by libcurl. For a READFUNCTION, your SEEKFUNCTION is
// called with (0, SEEK_SET); a FILE* is set back to where it stood when Perform
// was called. A body that can do neither, and of which a byte was read, is sent
// once (StopReason::kNotReplayable), unless CallOptions::max_buffered_body lets it be
// kept; so is one with trailers (TRAILERFUNCTION) where libcurl is older than 8.7 and
// would leave them out. As with libcurl, a new Perform needs a body that stands at its
// beginning.
//
// What an attempt leaves behind, for the next one and for later calls, is what a transfer
// leaves behind in libcurl: connections, names, TLS sessions, and, if there is a cookie
// engine, the cookies of all answers, failed attempts' and redirects' included; in the
// handle or in its CURLSH. Rounds of authentication and redirects are libcurl's, within
// an attempt, and no attempts of their own; each attempt begins at the URL.
//
// Redirects to other servers. What is said there is about that server, and read by the
// profile for it: its 429 shuts its gate, and not that of the one that was asked. The
// call waits for each that its redirects have met before it begins again at the URL. A
// server that may not be asked when a redirect leads to it is not: the attempt ends
// there, and is made again when all of them may be, or the call ends
// (CURLE_COULDNT_CONNECT, with retry_at). Only what must not begin again, because it may
// have been acted upon, or has used up its body, goes on.
//
// At most once. A call that may not be repeated is not repeated by libcurl
// either: plain libcurl silently sends a request again when a kept-alive
// connection turns out to be dead. Here the call ends with CURLE_GOT_NOTHING
// and StopReason::kNotIdempotent. So that this stays rare, such a call reuses a
// connection only within 2 s after its last use, and closes older ones of this
// handle; a new one costs a handshake. An Idempotency-Key, if the server knows
// it, costs nothing.
//
// Which calls share what. The breaker and the retry budget belong to
// "host:port"; gate, pace and queue to "host:port" and the credential (USERPWD,
// the URL's user, a bearer token, Authorization and API key lines of
// HTTPHEADER), or to "host:port#id" if CallOptions::quota_id names it. These
// are the keys of Client::ClearGate; the one with a credential cannot be
// written down, since a salted hash stands for it, so name what operators must
// reach. Credentials themselves are never kept. What a handle found for its last call
// it keeps until one of another kind, or for good: such states are not forgotten.
//
// libcurl's options keep their meaning (docs/curl-options.md has all of them), with
// these notes:
//   TIMEOUT(_MS), CONNECTTIMEOUT(_MS): per attempt.
//   FAILONERROR: emulated, so that connections survive it. After the last
//     attempt, a status of 400 or more gives its head to the application, and
//     CURLE_HTTP_RETURNED_ERROR, without the body.
//   ERRORBUFFER: speaks of the last attempt only.
//   NOSIGNAL: is on during Perform; SIGPIPE is blocked in the calling thread.
//   XFERINFOFUNCTION: starts anew with each attempt; nobody calls it between.
//   CURL_WRITEFUNC_PAUSE: works where an answer streams. For one that was held
//     back to its end it is CURLE_WRITE_ERROR.
//   DEBUGFUNCTION: sees everything, failed attempts included.
//   An unbounded HTTP/1.0 answer that is cut off looks whole, as to libcurl.
// A callback must not throw, nor leave by longjmp, nor call Perform on its
// handle.
//
// Borrowing. Borrow() wraps a handle that others made and will clean up.
// libcurl cannot be asked for the value of an option: what was set on the raw
// handle before, apart from the URL, is not known here. Set at least the
// callbacks, their data, the method and the request body through SetOpt. Where
// they are not set, WRITEFUNCTION, WRITEDATA, HEADERFUNCTION, HEADERDATA,
// HEADER, FAILONERROR and NOSIGNAL count as unset and are so after Perform; a
// call counts as not idempotent, and its body as not replayable. The handle
// must not belong to a multi handle.
//
// After fork() a child must not use handles of its parent. Signals do not end a
// Perform; Cancel() is not for signal handlers.
//
// Thread rule: one thread at a time; Cancel() from any thread.
#ifndef FORBEAR_CURL_WRAP_HANDLE_H_
#define FORBEAR_CURL_WRAP_HANDLE_H_

#include <curl/curl.h>

#include <memory>

#include "curl_wrap/call_options.h"
#include "curl_wrap/easy_options.h"
#include "runtime/client.h"

namespace forbear::curl {

struct CallMemory;

class Handle {
 public:
  // A handle of its own. If libcurl has no memory for it, raw() is null and all
  // else returns CURLE_FAILED_INIT.
  static Handle Create(std::shared_ptr<Client> client = Client::Default());

  // Wraps `easy`, which must outlive it. See "Borrowing" above.
  static Handle Borrow(CURL* easy,
                       std::shared_ptr<Client> client = Client::Default());

  // A moved-from handle may only be destroyed or assigned to.
  Handle(Handle&& other) noexcept;
  Handle& operator=(Handle&& other) noexcept;
  ~Handle();

  // As curl_easy_setopt. The value's type must be the option's: a number, a
  // pointer, or a function (of a lambda: +[]…); if not,
  // CURLE_BAD_FUNCTION_ARGUMENT. In a callback during Perform: as far as
  // libcurl lets it.
  template <typename T>
  CURLcode SetOpt(CURLoption option, T value);

  // As curl_easy_reset: all options have their defaults; connections, cookies and the
  // CURLSH stay.
  void Reset();

  // As curl_easy_duphandle: another handle of the same client with the same options,
  // also as far as Forbear knows them. Connections and the CURLSH are not taken along.
  // What options point to (callbacks' data, ERRORBUFFER, POSTFIELDS, lists, a CURLU) is
  // the same; strings, COPYPOSTFIELDS and a MIME body are copied. During a Perform, and
  // if libcurl has no memory for it, raw() is null, as with Create.
  Handle Duplicate() const;

  // Makes the call: returns when it is over. Blocks this thread only.
  CallResult Perform(const CallOptions& options = {});

  // Ends the Perform that runs now, within a millisecond or so, wherever it is:
  // it returns CURLE_ABORTED_BY_CALLBACK and kCancelled, and the handle can be
  // used again. If none runs, nothing happens: who may come before Perform has
  // begun must look at a flag of his own, or cancel again.
  void Cancel();

  // The libcurl handle, for curl_easy_getinfo. What is set on it directly,
  // Forbear does not know; a CURLOPT_CURLU, it may take away.
  CURL* raw() const;

 private:
  friend class HandleAccess;
  struct Impl;

  explicit Handle(std::unique_ptr<Impl> impl);
  CURLcode Set(CURLoption option, const OptionValue& value);

  std::unique_ptr<Impl> impl_;
};

// --- Only details below. ---

// How a loop runs the call of a handle (curl_wrap/transfer_set.h).
class HandleAccess {
 public:
  // A call begins. If not CURLE_OK, it must not: what Perform would have said.
  static CURLcode Begin(Handle* handle);
  // What runs is as plain libcurl would run it; or it has a line of ours in its
  // HTTPHEADER.
  static void SetRun(Handle* handle, bool plain, bool keyed);
  static void End(Handle* handle);

  static CURL* Easy(const Handle& handle);
  static const EasyOptions& Settings(const Handle& handle);
  // What one call leaves to the next (curl_wrap/call_setup.h), if both are this
  // client's; else null.
  static CallMemory* Memory(const Handle& handle, const Client* client);
};

template <typename T>
CURLcode Handle::SetOpt(CURLoption option, T value) {
  return Set(option, OptionValueOf(value));
}

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_HANDLE_H_
