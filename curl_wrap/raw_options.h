// RawOptions: what an application wants for one call with a plain CURL*
// (curl_wrap/perform.h), beside CallOptions: what only it can know of a handle whose
// options libcurl does not tell.
//
//   RawOptions options;
//   options.deadline = absl::Seconds(30);
//   options.body_replays = true;                    // it is CURLOPT_POSTFIELDS
//
// CallOptions::max_held_bytes and max_hold_time do not apply: nothing is held.
//
// Thread rule: values. The functions are called on the thread that called Perform,
// between attempts, never from within libcurl.
#ifndef FORBEAR_CURL_WRAP_RAW_OPTIONS_H_
#define FORBEAR_CURL_WRAP_RAW_OPTIONS_H_

#include <functional>

#include "curl_wrap/call_options.h"

namespace forbear::curl {

struct RawOptions : CallOptions {
  // libcurl sends the request's body again by itself: it is POSTFIELDS,
  // COPYPOSTFIELDS, or MIMEPOST of memory or files. Default false: not known, so a
  // request of whose body anything may have been read is sent once
  // (StopReason::kNotReplayable), unless there is rewind_body.
  bool body_replays = false;

  // Sets what the read callback reads from (READFUNCTION, a FILE*) back to where it
  // stood when Perform was called. Called before an attempt if one before it may have
  // read of the body. False: it cannot be, the call ends (kNotReplayable). None for a
  // body with trailers (TRAILERFUNCTION), if libcurl is older than 8.7: on a handle's
  // second one it writes where it must not. Default none.
  std::function<bool()> rewind_body;

  // Takes back what the write callback was given of an answer that then broke off.
  // Called when that is all that stands against another attempt. True: it is
  // forgotten. Default none: an answer of which a byte was given away is the last one
  // (kCommitted).
  std::function<bool()> reset_sink;

  // The handle has CURLOPT_FAILONERROR set, and is to have it afterwards. Only
  // libcurl 8.7 and later need to be told. Default false.
  bool fail_on_error = false;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_RAW_OPTIONS_H_
