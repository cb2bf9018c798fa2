#include "curl_wrap/target.h"

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

uint64_t CredentialOf(const curl_slist* headers) {
  uint64_t hash = 0;
  for (; headers != nullptr; headers = headers->next) {
    if (headers->data == nullptr) continue;
    const absl::string_view line = headers->data;
    for (const absl::string_view name :
         {"authorization:", "api-key:", "apikey:", "x-api-key:",
          "x-goog-api-key:", "x-auth-token:", "ocp-apim-subscription-key:"}) {
      if (absl::StartsWithIgnoreCase(line, name)) {
        hash = AddCredential(hash, line);
        break;
      }
    }
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
