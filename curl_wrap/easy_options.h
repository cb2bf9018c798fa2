// EasyOptions: what must be known of the options of an easy handle. libcurl has
// no getter: whoever wants to know an option's value has to see it being set.
//
//   EasyOptions settings(/*fresh=*/true);
//   settings.Note(CURLOPT_POSTFIELDS, OptionValue::Of(body));
//   settings.Method()        // "POST"
//   settings.body()          // EasyOptions::Body::kMemory
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_CURL_WRAP_EASY_OPTIONS_H_
#define FORBEAR_CURL_WRAP_EASY_OPTIONS_H_

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/string_view.h"

namespace forbear::curl {

// Makes libcurl ready for use, once. Never undone: it may be the application's as well.
void InitLibcurl();

// The value of an option, of whatever type.
struct OptionValue {
  using Function = void (*)();

  int64_t number = 0;
  const void* pointer = nullptr;
  Function function = nullptr;

  static OptionValue Of(int64_t n) { return {n, nullptr, nullptr}; }
  static OptionValue Of(const void* p) { return {0, p, nullptr}; }
  static OptionValue Of(Function f) { return {0, nullptr, f}; }
};

// What the application gives to SetOpt: a number, a pointer, a function, or nullptr.
template <typename T>
OptionValue OptionValueOf(T value) {
  if constexpr (std::is_same_v<T, std::nullptr_t>) {
    return OptionValue();
  } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    return OptionValue::Of(static_cast<int64_t>(value));
  } else {
    static_assert(
        std::is_pointer_v<T>,
        "the value of an option is a number, a pointer or a function");
    if constexpr (std::is_function_v<std::remove_pointer_t<T>>) {
      return OptionValue::Of(reinterpret_cast<OptionValue::Function>(value));
    } else {
      return OptionValue::Of(static_cast<const void*>(value));
    }
  }
}

// Whether a value is of the type that the option's number says (curl.h:
// CURLOPTTYPE_…).
bool HasTypeOf(CURLoption option, const OptionValue& value);

// Sets an option of the type that its number says. BAD_FUNCTION_ARGUMENT if the
// value is not of that type.
CURLcode Forward(CURL* easy, CURLoption option, const OptionValue& value);

class EasyOptions {
 public:
  // Where a request's body comes from.
  enum class Body : uint8_t {
    kNone,
    kMemory,   // POSTFIELDS, COPYPOSTFIELDS: libcurl sends it again by itself
    kMime,     // MIMEPOST, HTTPPOST: likewise, if its callbacks can seek
    kStream,   // a read callback or a FILE*
    kUnknown,  // a borrowed handle that was set up by others
  };

  // `fresh`: all options have their defaults. Otherwise they are unknown.
  explicit EasyOptions(bool fresh) : fresh_(fresh) {}

  bool fresh() const { return fresh_; }

  // An option was set to a value. REQUIRES: libcurl accepted it, or would.
  void Note(CURLoption option, const OptionValue& value);

  // Whether Forbear puts a value of its own in place of this option's while a
  // call runs.
  static bool IsReplaced(CURLoption option);

  // The method as it will stand in the request line; "unknown" if it is not
  // known. What is no method name is "CUSTOM".
  std::string Method() const;
  bool MethodIsIdempotent() const;
  // HTTPHEADER has a field of this name (in any case), with a value.
  bool HasHeader(absl::string_view name) const;
  // HTTPHEADER has a line for this field, be it one that takes it away ("Name:").
  bool MentionsHeader(absl::string_view name) const;
  // HTTPHEADER is all that was said of it.
  bool KnowsHeaders() const { return fresh_ || headers_known_; }
  // HTTPHEADER has a marker of another layer's retry (signals/retry_marker.h).
  bool HasRetryMarker() const;
  // Whether a line of it is one.
  static bool IsRetryMarkerLine(const char* line);
  Body body() const;

  // Credentials by other ways than HTTPHEADER and the URL: a salted hash.
  uint64_t credential() const;

  // Counts the changes of the URL, the method, these credentials and whatever else says
  // of which kind a call is; but not of lists and objects, in which a program may change
  // something without saying so.
  uint64_t revision() const { return revision_; }

  // Neither retried nor looked at: the application wants the connection.
  bool ConnectOnly() const { return connect_only_; }

  // libcurl may begin with a request that only asks how to authenticate (HTTPAUTH or
  // PROXYAUTH names more than Basic).
  bool negotiates() const { return http_auth_ || proxy_auth_; }

  // The values of the options, with libcurl's defaults.
  curl_write_callback write_function = nullptr;
  void* write_data = stdout;
  curl_write_callback header_function = nullptr;
  void* header_data = nullptr;
  curl_read_callback read_function = nullptr;
  void* read_data = stdin;
  curl_seek_callback seek_function = nullptr;
  void* seek_data = nullptr;
  curl_prereq_callback prereq_function = nullptr;
  void* prereq_data = nullptr;
  char* error_buffer = nullptr;
  const curl_slist* headers = nullptr;
  bool include_head = false;  // HEADER: heads go to the write function, too
  bool fail_on_error = false;
  bool resumes = false;       // RESUME_FROM: a 416 is no error for FAILONERROR
  bool has_trailers = false;  // TRAILERFUNCTION
  bool no_signal = false;
  bool quick_exit = false;
  long max_age = 118;  // MAXAGE_CONN
  long port = 0;
  std::string url;
  const CURLU* curlu = nullptr;
  std::string default_protocol;

 private:
  enum class Request : uint8_t {
    kGet,
    kHead,
    kPost,
    kMime,
    kPut,
  };

  template <typename T>
  void Change(T* what, T value) {
    if (*what == value) return;
    *what = std::move(value);
    ++revision_;
  }

  bool fresh_;
  uint64_t revision_ = 0;
  Request request_ = Request::kGet;
  bool request_known_ = false;
  bool read_known_ = false;
  bool headers_known_ = false;
  bool http_auth_ = false;
  bool proxy_auth_ = false;
  bool no_body_ = false;
  bool has_fields_ = false;
  bool connect_only_ = false;
  std::string custom_request_;
  std::map<CURLoption, uint64_t> credentials_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_EASY_OPTIONS_H_
