// Target: which server a URL means, and who shares its limits.
//
//   TargetOf("https://user:pw@API.example.com/v1?key=1", "", 0)
//   // scheme "https", host_port "api.example.com:443"
//
// What can be a secret (userinfo, path, query) is never in it, but for the path where
// it is asked for: to find the call's policy, and not to be kept.
//
// The credential: callers with different keys are limited apart, so their quota
// differs. What stands in its key is a 64-bit hash of the credential under a
// random salt of this process: the same key in two processes, and a guess at a
// key, cannot be compared with it.
//
// Thread rule: pure functions but for the salt, drawn once; call from anywhere.
#ifndef FORBEAR_CURL_WRAP_TARGET_H_
#define FORBEAR_CURL_WRAP_TARGET_H_

#include <curl/curl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace forbear::curl {

struct Target {
  std::string scheme;     // "https"
  std::string host_port;  // "api.example.com:443", "[::1]:8080"
  // Salted hash of the URL's user and password; 0 without.
  uint64_t credential = 0;
  // "/v1/models", as libcurl sends it; if it was asked for.
  std::string path;

  bool is_http() const { return scheme == "http" || scheme == "https"; }
};

// Nothing if it is no URL. `default_protocol`: CURLOPT_DEFAULT_PROTOCOL, or
// empty: guessed from the name as libcurl does. `port`: CURLOPT_PORT, or 0.
std::optional<Target> TargetOf(absl::string_view url,
                               absl::string_view default_protocol, long port,
                               bool with_path = false);
// The same, always by libcurl's parser.
std::optional<Target> ParsedTargetOf(absl::string_view url,
                                     absl::string_view default_protocol,
                                     long port, bool with_path = false);
// The same of CURLOPT_CURLU.
std::optional<Target> TargetOf(const CURLU* url, long port,
                               bool with_path = false);

// Adds to a salted hash; 0 is the hash of nothing.
uint64_t AddCredential(uint64_t hash, absl::string_view credential);

// Adds a line of CURLOPT_HTTPHEADER, if it is an Authorization or API key.
uint64_t AddCredentialLine(uint64_t hash, const char* line);

// Those of a CURLOPT_HTTPHEADER list.
uint64_t CredentialOf(const curl_slist* headers);

// host_port, and what tells its callers apart: the id that they gave, else the
// hash of their credential, else nothing.
//   "api.example.com:443#batch"   "api.example.com:443~5f1e…"
std::string QuotaKey(absl::string_view host_port, absl::string_view quota_id,
                     uint64_t credential);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_TARGET_H_
