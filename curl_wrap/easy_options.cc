#include "curl_wrap/easy_options.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "curl_wrap/target.h"
#include "signals/retry_marker.h"

namespace forbear::curl {
namespace {

// The ranges of curl.h's CURLOPTTYPE_*.
bool IsFunction(CURLoption option) {
  return option >= CURLOPTTYPE_FUNCTIONPOINT && option < CURLOPTTYPE_OFF_T;
}
bool IsObject(CURLoption option) {
  return (option >= CURLOPTTYPE_OBJECTPOINT &&
          option < CURLOPTTYPE_FUNCTIONPOINT) ||
         option >= CURLOPTTYPE_BLOB;
}

// Deprecated, but there; their names cannot be used without a warning.
constexpr auto kPut = static_cast<CURLoption>(CURLOPTTYPE_LONG + 54);
constexpr auto kHttpPost =
    static_cast<CURLoption>(CURLOPTTYPE_OBJECTPOINT + 24);

// An RFC 9110 token of reasonable length.
bool IsMethodName(absl::string_view text) {
  return !text.empty() && text.size() <= 32 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_';
         });
}

// The application's text, or nothing.
std::string TextOf(const OptionValue& value) {
  return value.pointer == nullptr ? ""
                                  : static_cast<const char*>(value.pointer);
}

// Whether a line of HTTPHEADER is about this field; the rest begins with ':', or with
// ';', which sends it without a value.
bool IsLineOf(absl::string_view name, const curl_slist& line,
              absl::string_view* rest) {
  if (line.data == nullptr || name.empty() ||
      absl::ascii_tolower(static_cast<unsigned char>(line.data[0])) !=
          absl::ascii_tolower(static_cast<unsigned char>(name[0]))) {
    return false;
  }
  *rest = line.data;
  if (!absl::StartsWithIgnoreCase(*rest, name)) return false;
  rest->remove_prefix(name.size());
  return absl::StartsWith(*rest, ":") || absl::StartsWith(*rest, ";");
}

// Of CURLAUTH_…: whether a request's body waits for the server's word.
bool IsNegotiated(int64_t methods) {
  constexpr auto kAtOnce = int64_t{CURLAUTH_BASIC} | int64_t{CURLAUTH_BEARER};
  const int64_t one = methods & ~int64_t{CURLAUTH_ONLY};
  return one != 0 && one != CURLAUTH_BASIC && (one & ~kAtOnce) != 0;
}

void* Object(const OptionValue& value) {
  return const_cast<void*>(value.pointer);
}

template <typename F>
F FunctionAs(const OptionValue& value) {
  return reinterpret_cast<F>(value.function);
}

}  // namespace

void InitLibcurl() {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)once;
}

bool HasTypeOf(CURLoption option, const OptionValue& value) {
  if (IsFunction(option)) return value.pointer == nullptr && value.number == 0;
  // NULL is a number in some compilers.
  if (IsObject(option)) return value.function == nullptr && value.number == 0;
  return value.function == nullptr && value.pointer == nullptr;
}

CURLcode Forward(CURL* easy, CURLoption option, const OptionValue& value) {
  if (!HasTypeOf(option, value)) return CURLE_BAD_FUNCTION_ARGUMENT;
  if (IsFunction(option)) return curl_easy_setopt(easy, option, value.function);
  if (IsObject(option)) return curl_easy_setopt(easy, option, value.pointer);
  if (option >= CURLOPTTYPE_OFF_T) {
    return curl_easy_setopt(easy, option, curl_off_t{value.number});
  }
  return curl_easy_setopt(easy, option, static_cast<long>(value.number));
}

bool EasyOptions::IsReplaced(CURLoption option) {
  switch (option) {
    case CURLOPT_WRITEFUNCTION:
    case CURLOPT_WRITEDATA:
    case CURLOPT_HEADERFUNCTION:
    case CURLOPT_HEADERDATA:
    case CURLOPT_READFUNCTION:
    case CURLOPT_READDATA:
    case CURLOPT_SEEKFUNCTION:
    case CURLOPT_SEEKDATA:
    case CURLOPT_PREREQFUNCTION:
    case CURLOPT_PREREQDATA:
    case CURLOPT_HEADER:
    case CURLOPT_FAILONERROR:
    case CURLOPT_NOSIGNAL:
    case CURLOPT_QUICK_EXIT:
    case CURLOPT_MAXAGE_CONN:
      return true;
    default:
      return false;
  }
}

void EasyOptions::Note(CURLoption option, const OptionValue& value) {
  const auto request = [this](Request r) {
    Change(&request_, r);
    Change(&request_known_, true);
  };
  switch (option) {
    case CURLOPT_WRITEFUNCTION:
      write_function = FunctionAs<curl_write_callback>(value);
      return;
    case CURLOPT_WRITEDATA:
      write_data = Object(value);
      return;
    case CURLOPT_HEADERFUNCTION:
      header_function = FunctionAs<curl_write_callback>(value);
      return;
    case CURLOPT_HEADERDATA:
      header_data = Object(value);
      return;
    case CURLOPT_READFUNCTION:
      read_function = FunctionAs<curl_read_callback>(value);
      read_known_ = true;
      return;
    case CURLOPT_READDATA:
      read_data = Object(value);
      read_known_ = true;
      return;
    case CURLOPT_SEEKFUNCTION:
      seek_function = FunctionAs<curl_seek_callback>(value);
      return;
    case CURLOPT_SEEKDATA:
      seek_data = Object(value);
      return;
    case CURLOPT_PREREQFUNCTION:
      prereq_function = FunctionAs<curl_prereq_callback>(value);
      return;
    case CURLOPT_PREREQDATA:
      prereq_data = Object(value);
      return;
    case CURLOPT_ERRORBUFFER:
      error_buffer = static_cast<char*>(Object(value));
      return;
    case CURLOPT_HTTPHEADER:
      headers = static_cast<const curl_slist*>(value.pointer);
      headers_known_ = true;
      return;
    case CURLOPT_HEADER:
      include_head = value.number != 0;
      return;
    case CURLOPT_FAILONERROR:
      fail_on_error = value.number != 0;
      return;
    case CURLOPT_RESUME_FROM:
    case CURLOPT_RESUME_FROM_LARGE:
      resumes = value.number != 0;
      return;
    case CURLOPT_TRAILERFUNCTION:
      has_trailers = value.function != nullptr;
      return;
    case CURLOPT_NOSIGNAL:
      no_signal = value.number != 0;
      return;
    case CURLOPT_QUICK_EXIT:
      quick_exit = value.number != 0;
      return;
    case CURLOPT_MAXAGE_CONN:
      max_age = static_cast<long>(value.number);
      return;
    case CURLOPT_PORT:
      Change(&port, static_cast<long>(value.number));
      return;
    case CURLOPT_URL:
      Change(&url, TextOf(value));
      return;
    case CURLOPT_CURLU:
      Change(&curlu, static_cast<const CURLU*>(value.pointer));
      return;
    case CURLOPT_DEFAULT_PROTOCOL:
      Change(&default_protocol, TextOf(value));
      return;
    case CURLOPT_HTTPAUTH:
      http_auth_ = IsNegotiated(value.number);
      return;
    case CURLOPT_PROXYAUTH:
      proxy_auth_ = IsNegotiated(value.number);
      return;
    case CURLOPT_CONNECT_ONLY:
#if LIBCURL_VERSION_NUM >= 0x075600
    case CURLOPT_WS_OPTIONS:
#endif
      Change(&connect_only_, value.number != 0);
      return;

    // Who decides the method: as Curl_vsetopt.
    case CURLOPT_HTTPGET:
      if (value.number != 0) {
        request(Request::kGet);
        Change(&no_body_, false);
      }
      return;
    case CURLOPT_NOBODY:
      Change(&no_body_, value.number != 0);
      if (no_body_) {
        request(Request::kHead);
      } else if (request_ == Request::kHead) {
        request(Request::kGet);
      }
      return;
    case CURLOPT_POST:
      request(value.number != 0 ? Request::kPost : Request::kGet);
      if (value.number != 0) Change(&no_body_, false);
      return;
    case CURLOPT_UPLOAD:
    case kPut:
      request(value.number != 0 ? Request::kPut : Request::kGet);
      if (value.number != 0) Change(&no_body_, false);
      return;
    case CURLOPT_POSTFIELDS:
    case CURLOPT_COPYPOSTFIELDS:
      has_fields_ = value.pointer != nullptr;
      request(Request::kPost);
      return;
    case CURLOPT_MIMEPOST:
    case kHttpPost:
      request(Request::kMime);
      Change(&no_body_, false);
      return;
    case CURLOPT_CUSTOMREQUEST:
      Change(&custom_request_, TextOf(value));
      return;

    case CURLOPT_USERPWD:
    case CURLOPT_USERNAME:
    case CURLOPT_PASSWORD:
    case CURLOPT_XOAUTH2_BEARER:
      Change(&credentials_[option], AddCredential(0, TextOf(value)));
      return;
    default:
      return;
  }
}

std::string EasyOptions::Method() const {
  if (!custom_request_.empty()) {
    return IsMethodName(custom_request_) ? custom_request_ : "CUSTOM";
  }
  if (!fresh_ && !request_known_) return "unknown";
  if (no_body_) return "HEAD";
  switch (request_) {
    case Request::kGet:
      return "GET";
    case Request::kHead:
      return "HEAD";
    case Request::kPost:
    case Request::kMime:
      return "POST";
    case Request::kPut:
      return "PUT";
  }
  return "unknown";
}

bool EasyOptions::MethodIsIdempotent() const {
  if (custom_request_.empty()) {
    return (fresh_ || request_known_) &&
           (no_body_ ||
            (request_ != Request::kPost && request_ != Request::kMime));
  }
  for (const absl::string_view idempotent :
       {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    if (custom_request_ == idempotent) return true;
  }
  return false;
}

bool EasyOptions::HasHeader(absl::string_view name) const {
  for (const curl_slist* line = headers; line != nullptr; line = line->next) {
    // Without a value, libcurl takes the line as an order to send none.
    absl::string_view rest;
    if (IsLineOf(name, *line, &rest) && absl::ConsumePrefix(&rest, ":") &&
        !absl::StripAsciiWhitespace(rest).empty()) {
      return true;
    }
  }
  return false;
}

bool EasyOptions::MentionsHeader(absl::string_view name) const {
  for (const curl_slist* line = headers; line != nullptr; line = line->next) {
    absl::string_view rest;
    if (IsLineOf(name, *line, &rest)) return true;
  }
  return false;
}

bool EasyOptions::IsRetryMarkerLine(const char* line) {
  if (!MayBeRetryMarker(line)) return false;
  const absl::string_view text = line;
  const size_t colon = text.find(':');
  return colon != absl::string_view::npos &&
         IsRetryMarker(text.substr(0, colon), text.substr(colon + 1));
}

bool EasyOptions::HasRetryMarker() const {
  for (const curl_slist* line = headers; line != nullptr; line = line->next) {
    if (line->data != nullptr && IsRetryMarkerLine(line->data)) return true;
  }
  return false;
}

EasyOptions::Body EasyOptions::body() const {
  if (!fresh_ && !request_known_) return Body::kUnknown;
  switch (request_) {
    case Request::kGet:
    case Request::kHead:
      return Body::kNone;
    case Request::kMime:
      return Body::kMime;
    case Request::kPost:
      if (has_fields_) return Body::kMemory;
      break;
    case Request::kPut:
      break;
  }
  return fresh_ || read_known_ ? Body::kStream : Body::kUnknown;
}

uint64_t EasyOptions::credential() const {
  uint64_t all = 0;
  for (const auto& [option, hash] : credentials_) {
    if (hash != 0) {
      all = AddCredential(
          all, absl::string_view(reinterpret_cast<const char*>(&hash),
                                 sizeof(hash)));
    }
  }
  return all;
}

}  // namespace forbear::curl
