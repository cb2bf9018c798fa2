// Request: all that a transfer of an engine needs (curl_wrap/engine.h), in one block of
// memory: so that thousands of them can wait without an easy handle each.
//
//   forbear::curl::Request request("https://api.example.com/v1/models");
//   request.AddHeader("Authorization: Bearer …");
//   request.SetBody(json);                       // a POST
//   request.SetOpt(CURLOPT_TIMEOUT_MS, 2000L);   // as with an easy handle
//   engine->Start(std::move(request), options, done);
//
// Everything that SetOpt is given is copied: texts, lists of headers, blobs, and the
// bytes of POSTFIELDS, which is COPYPOSTFIELDS here: as many as POSTFIELDSIZE(_LARGE)
// says at that time, else up to a NUL. A size that is set later cuts what was copied, or
// says with -1 that it ends at its first NUL. Not copied, and so to be kept until the
// transfer is over: what callbacks work on (…DATA), SHARE, ERRORBUFFER, STDERR. Refused
// with CURLE_BAD_FUNCTION_ARGUMENT, for they belong to one easy handle: MIMEPOST,
// HTTPPOST, CURLU, STREAM_DEPENDS(_E), CONNECT_ONLY, WS_OPTIONS; use a Handle for these.
// What libcurl itself refuses, it refuses when the transfer starts.
//
// What cannot be held as it was given is not sent in part. The transfer fails with
// CURLE_BAD_FUNCTION_ARGUMENT, and nothing goes out, if it has a body of 2 GB or more; a
// size that was set after POSTFIELDS and is larger than what was copied; or a line that
// AddHeader refuses. With CURLE_URL_MALFORMAT, if its URL has a NUL in it. Setting the
// option anew makes it good.
//
// A callback may be shared by transfers, and runs on the engine's thread.
//
// Bounds: about 10 bytes for each option beside its value; a body, and all lines of
// HTTPHEADER together, of less than 2 GB.
//
// Thread rule: a value.
#ifndef FORBEAR_CURL_WRAP_REQUEST_H_
#define FORBEAR_CURL_WRAP_REQUEST_H_

#include <curl/curl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "curl_wrap/easy_options.h"

namespace forbear::curl {

class HeaderPool;

class Request {
 public:
  Request() = default;
  explicit Request(absl::string_view url);

  // A second value replaces the first; but COOKIEFILE, COOKIELIST, ALTSVC and HSTS add
  // up, as libcurl's do. CURLE_BAD_FUNCTION_ARGUMENT: see above, or the value's type is
  // not the option's.
  template <typename T>
  CURLcode SetOpt(CURLoption option, T value) {
    return Set(option, OptionValueOf(value));
  }
  // A line of HTTPHEADER more, without its end. Refused (see above) if there is a CR, LF
  // or NUL in it: libcurl would send what comes after a CR LF as a line of its own, and
  // nothing of what comes after a NUL. Lines of SetOpt(CURLOPT_HTTPHEADER, …) are left to
  // libcurl as they are.
  void AddHeader(absl::string_view line);
  // POSTFIELDS and its size, which says nothing of later POSTFIELDS.
  void SetBody(absl::string_view body);

  // --- For drivers. ---

  // What libcurl refers to of a request that was put on an easy handle.
  using Lists = std::vector<curl_slist>;

  // Sets all options of `easy`, and notes them in `settings`; either may be null. `lists`
  // and this must live as long as they are used. If something was refused (see above),
  // says so after all else was set.
  CURLcode PutOn(CURL* easy, EasyOptions* settings, Lists* lists) const;
  // Whether all of its options are of those that curl_easy_reset undoes, and that leave
  // nothing else behind in an easy handle: no cookies, no credentials of libcurl's own,
  // nothing shared.
  bool IsPlain() const { return plain_; }
  // Which options it has, in their order, with their values, but for those that differ
  // from request to request: URL, body, lines of HTTPHEADER, time limits, data pointers.
  // Whoever sets all options of a request on an easy handle that had those of another one
  // of the same shape, has a handle as if it were a new one.
  std::string Shape() const;
  bool HasShape(absl::string_view shape) const;
  // Gives back what growing has reserved, and shares the lines of HTTPHEADER with
  // requests that have the same. Before anything of the shape is asked.
  void Pack(HeaderPool* pool);

 private:
  enum class Kind : uint8_t {
    kNumber,
    kPointer,
    kFunction,
    kText,   // with its NUL
    kLines,  // each with its NUL
    kBytes,  // a body of a size, and a NUL that is not of it
    kBlob,
    kRefused,  // the transfer fails with this CURLcode
  };
  struct Entry;

  CURLcode Set(CURLoption option, const OptionValue& value);
  // In place of what there is of the option.
  void Put(CURLoption option, Kind kind, absl::string_view value);
  void PutNumber(CURLoption option, int64_t number);
  CURLcode PutFields(const char* fields);
  CURLcode PutBody(absl::string_view body);
  // Returns the code.
  CURLcode Refuse(CURLoption option, CURLcode code);
  void Append(CURLoption option, Kind kind, absl::string_view value);
  template <typename Which>
  void RemoveIf(const Which& which);
  void Remove(CURLoption option);
  // Reads the entry at `*at` and goes on to the next one. False: there is none.
  bool Next(size_t* at, Entry* entry) const;
  bool Find(CURLoption option, Entry* entry) const;
  // Of an entry, as much as belongs to the shape.
  absl::string_view ShapeOf(const Entry& entry) const;

  // The nodes of a list, in `lists`.
  static const curl_slist* ListOf(absl::string_view lines, Lists* lists);

  std::string bytes_;
  // The lines of HTTPHEADER, each with its NUL, once they are packed; before, they are
  // in bytes_. Null: there are none.
  std::shared_ptr<const std::string> headers_;
  uint32_t lines_ = 0;  // of all lists
  bool plain_ = true;
};

// Lines of HTTPHEADER that were seen lately: most programs send the same ones with each
// request.
//
// Thread rule: thread-safe.
class HeaderPool {
 public:
  // A copy, or the same that somebody else has.
  std::shared_ptr<const std::string> Share(absl::string_view lines);

 private:
  static constexpr size_t kRemembered = 8;

  std::mutex mutex_;
  std::array<std::weak_ptr<const std::string>, kRemembered> seen_;
  size_t next_ = 0;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_REQUEST_H_
