// Request: all that a transfer of an engine needs (curl_wrap/engine.h), in one block of
// memory: so that thousands of them can wait without an easy handle each.
//
//   forbear::curl::Request request("https://api.example.com/v1/models");
//   request.AddHeader("Authorization: Bearer …");
//   request.SetBody(json);                       // a POST
//   request.SetOpt(CURLOPT_TIMEOUT_MS, 2000L);   // as with an easy handle
//   engine->Start(std::move(request), options, done);
//
// Everything that SetOpt is given is copied: texts, lists of headers, and the bytes of
// POSTFIELDS (as many as POSTFIELDSIZE(_LARGE), which must be set before, says; else up
// to a NUL). Not copied, and so to be kept until the transfer is over: what callbacks
// work on (…DATA), SHARE, ERRORBUFFER. Refused with CURLE_BAD_FUNCTION_ARGUMENT, for
// they belong to one easy handle: MIMEPOST, HTTPPOST, CURLU, STREAM_DEPENDS(_E),
// CONNECT_ONLY, WS_OPTIONS; use a Handle for these. What libcurl itself refuses, it
// refuses when the transfer starts.
//
// A callback may be shared by transfers, and runs on the engine's thread.
//
// Bounds: about 10 bytes for each option beside its value; a body of up to 2 GB.
//
// Thread rule: a value.
#ifndef FORBEAR_CURL_WRAP_REQUEST_H_
#define FORBEAR_CURL_WRAP_REQUEST_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "curl_wrap/easy_options.h"

namespace forbear::curl {

class Request {
 public:
  Request() = default;
  explicit Request(absl::string_view url);

  // A second value replaces the first. CURLE_BAD_FUNCTION_ARGUMENT: see above, or the
  // value's type is not the option's.
  template <typename T>
  CURLcode SetOpt(CURLoption option, T value) {
    return Set(option, OptionValueOf(value));
  }
  // A line of HTTPHEADER more.
  void AddHeader(absl::string_view line);
  // POSTFIELDS and its size.
  void SetBody(absl::string_view body);

  // --- For drivers. ---

  // What libcurl refers to of a request that was put on an easy handle.
  using Lists = std::vector<curl_slist>;

  // Sets all options, and notes them; with no `easy`, notes them only. `lists` and this must live as long as the handle
  // is used.
  CURLcode PutOn(CURL* easy, EasyOptions* settings, Lists* lists) const;
  // Gives back what growing has reserved.
  void ShrinkToFit() { bytes_.shrink_to_fit(); }
  // Whether an option is set that leaves something on an easy handle which
  // curl_easy_reset does not take away.
  bool leaves_traces() const { return leaves_traces_; }

 private:
  enum class Kind : uint8_t {
    kNumber,
    kPointer,
    kFunction,
    kText,   // with its NUL
    kLines,  // each with its NUL
    kBytes,  // a body
    kBlob,
  };
  struct Entry;

  CURLcode Set(CURLoption option, const OptionValue& value);
  void Put(CURLoption option, Kind kind, absl::string_view value);
  void PutNumber(CURLoption option, int64_t number);
  CURLcode PutBody(const char* body);
  void Remove(CURLoption option);
  // Reads the entry at `*at` and goes on to the next one. False: there is none.
  bool Next(size_t* at, Entry* entry) const;
  bool Find(CURLoption option, Entry* entry) const;

  std::string bytes_;
  size_t lines_ = 0;
  bool leaves_traces_ = false;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_REQUEST_H_
