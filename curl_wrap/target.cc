#include "curl_wrap/target.h"

#include <cstring>
#include <memory>
#include <random>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace forbear::curl {
namespace {

struct FreeCurlu {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Curlu = std::unique_ptr<CURLU, FreeCurlu>;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// A number without leading zeros, of up to five digits, that is at most `most`; -1: it
// is none.
int Number(absl::string_view text, int most) {
  if (text.empty() || text.size() > 5 || (text[0] == '0' && text.size() > 1)) {
    return -1;
  }
  int number = 0;
  for (const char c : text) {
    if (!IsDigit(c)) return -1;
    number = number * 10 + (c - '0');
  }
  return number <= most ? number : -1;
}

bool IsDottedQuad(absl::string_view text) {
  for (int dots = 0;; ++dots) {
    const size_t dot = text.find('.');
    if (Number(text.substr(0, dot), 255) < 0) return false;
    if (dot == absl::string_view::npos) return dots == 3;
    text.remove_prefix(dot + 1);
  }
}

// A host that libcurl takes as it stands: a name in lower case, or an address that
// cannot be written in another way ("127.1", "0x7f000001").
bool IsPlainHost(absl::string_view host) {
  constexpr size_t kLongestName = 253;
  if (host.empty() || host.size() > kLongestName) return false;
  for (const char c : host) {
    if (!(c >= 'a' && c <= 'z') && !IsDigit(c) && c != '.' && c != '-') {
      return false;
    }
  }
  if (IsDigit(host[0])) return IsDottedQuad(host);
  return host[0] != '.' && host[0] != '-' && host.back() != '.';
}

// What libcurl neither refuses nor rewrites, wherever it stands behind the host.
bool IsPlainRest(absl::string_view text) {
  bool plain = true;
  for (const char c : text) plain &= c > ' ' && c < '\x7f';
  return plain;
}

// Nearly all URLs say what they mean without a parser: "http(s)://name:port/…". False:
// this is not one of them, or not for sure. tests/curl_wrap/target_test.cc holds it
// against libcurl's.
bool ReadPlainUrl(absl::string_view url, long port, bool with_path,
                  Target* target) {
  constexpr absl::string_view kHttp = "http://";
  constexpr absl::string_view kHttps = "https://";
  absl::string_view rest = url;
  const bool tls = absl::StartsWith(rest, kHttps);
  if (!tls && !absl::StartsWith(rest, kHttp)) return false;
  rest.remove_prefix(tls ? kHttps.size() : kHttp.size());

  size_t end = 0;
  size_t colon = absl::string_view::npos;
  for (; end < rest.size(); ++end) {
    const char c = rest[end];
    if (c == '/' || c == '?' || c == '#') break;
    if (c != ':') continue;
    if (colon != absl::string_view::npos) return false;
    colon = end;
  }
  const bool has_port = colon != absl::string_view::npos;
  const absl::string_view host = rest.substr(0, has_port ? colon : end);
  absl::string_view number = tls ? "443" : "80";
  if (has_port) {
    number = rest.substr(colon + 1, end - colon - 1);
    if (Number(number, 65535) < 1) return false;
  }
  rest.remove_prefix(end);
  if (!IsPlainHost(host) || !IsPlainRest(rest)) return false;
  if (with_path) {
    const absl::string_view path = rest.substr(0, rest.find_first_of("?#"));
    // "/../", and how else that may be written.
    if (absl::StrContains(path, "/.") || absl::StrContains(path, '%')) {
      return false;
    }
    target->path = path.empty() ? "/" : std::string(path);
  }
  target->scheme = tls ? "https" : "http";
  target->host_port = port != 0 ? absl::StrCat(host, ":", port)
                                : absl::StrCat(host, ":", number);
  return true;
}

// A part of a URL; empty if it has none.
std::string PartOf(const CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(const_cast<CURLU*>(url), part, &text, flags) != CURLUE_OK) {
    return "";
  }
  std::string copy(text);
  curl_free(text);
  return copy;
}

// Whether it begins with `name`, in any case. Most lines do not, from their first
// character on.
bool BeginsWith(const char* line, absl::string_view name) {
  for (const char c : name) {
    if (absl::ascii_tolower(static_cast<unsigned char>(*line++)) != c) {
      return false;
    }
  }
  return true;
}

// Whether a line of HTTPHEADER says who asks.
bool IsCredential(const char* line) {
  constexpr char kToLower = 0x20;
  switch (line[0] | kToLower) {
    case 'a':
      switch (line[1] | kToLower) {
        case 'p':
          return BeginsWith(line, "api-key:") || BeginsWith(line, "apikey:");
        case 'u':
          // As nearly everybody writes it.
          return std::strncmp(line, "Authorization:", 14) == 0 ||
                 BeginsWith(line, "authorization:");
        default:
          return false;
      }
    case 'o':
      return BeginsWith(line, "ocp-apim-subscription-key:");
    case 'x':
      if (line[1] != '-') return false;
      switch (line[2] | kToLower) {
        case 'a':
          return BeginsWith(line, "x-api-key:") ||
                 BeginsWith(line, "x-auth-token:");
        case 'g':
          return BeginsWith(line, "x-goog-api-key:");
        default:
          return false;
      }
    default:
      return false;
  }
}

uint64_t Salt() {
  static const uint64_t salt = [] {
    std::random_device device;
    return (uint64_t{device()} << 32) | device();
  }();
  return salt;
}

}  // namespace

std::optional<Target> TargetOf(const CURLU* url, long port, bool with_path) {
  if (url == nullptr) return std::nullopt;
  Target target;
  target.scheme = absl::AsciiStrToLower(PartOf(url, CURLUPART_SCHEME));
  const std::string host = absl::AsciiStrToLower(PartOf(url, CURLUPART_HOST));
  if (target.scheme.empty()) return std::nullopt;
  if (host.empty() && target.is_http()) return std::nullopt;
  std::string number = PartOf(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (port != 0) number = absl::StrCat(port);
  target.host_port = absl::StrCat(host, ":", number);
  const std::string user = PartOf(url, CURLUPART_USER);
  const std::string password = PartOf(url, CURLUPART_PASSWORD);
  if (!user.empty() || !password.empty()) {
    target.credential = AddCredential(AddCredential(0, user), password);
  }
  if (with_path) target.path = PartOf(url, CURLUPART_PATH);
  return target;
}

std::optional<Target> TargetOf(absl::string_view url,
                               absl::string_view default_protocol, long port,
                               bool with_path) {
  Target plain;
  if (ReadPlainUrl(url, port, with_path, &plain)) return plain;
  return ParsedTargetOf(url, default_protocol, port, with_path);
}

std::optional<Target> ParsedTargetOf(absl::string_view url,
                                     absl::string_view default_protocol,
                                     long port, bool with_path) {
  const Curlu parsed(curl_url());
  if (parsed == nullptr) return std::nullopt;
  std::string text(url);
  if (!default_protocol.empty() && !absl::StrContains(url, "://")) {
    text = absl::StrCat(default_protocol, "://", url);
  }
  if (curl_url_set(parsed.get(), CURLUPART_URL, text.c_str(),
                   CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) !=
      CURLUE_OK) {
    return std::nullopt;
  }
  return TargetOf(parsed.get(), port, with_path);
}

uint64_t AddCredential(uint64_t hash, absl::string_view credential) {
  if (hash == 0 && credential.empty()) return 0;
  return absl::HashOf(Salt(), hash, credential);
}

uint64_t AddCredentialLine(uint64_t hash, const char* line) {
  return IsCredential(line) ? AddCredential(hash, line) : hash;
}

uint64_t CredentialOf(const curl_slist* headers) {
  uint64_t hash = 0;
  for (; headers != nullptr; headers = headers->next) {
    if (headers->data != nullptr) hash = AddCredentialLine(hash, headers->data);
  }
  return hash;
}

std::string QuotaKey(absl::string_view host_port, absl::string_view quota_id,
                     uint64_t credential) {
  if (!quota_id.empty()) return absl::StrCat(host_port, "#", quota_id);
  if (credential == 0) return std::string(host_port);
  return absl::StrCat(host_port, "~", absl::Hex(credential, absl::kZeroPad16));
}

}  // namespace forbear::curl
