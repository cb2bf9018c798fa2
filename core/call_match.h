// CallMatch: which calls a target of the configuration is about, and CallRoute:
// what a driver knows of one call before it is sent. Words that fit every
// protocol: the host that is called; the method, a verb like GET; the path of
// what it is done to; or instead of these two the rpc, a remote procedure's name.
//
//   CallMatch match;
//   match.hosts = {"api.example.com", "*.eu.example.com"};
//   match.methods = {"POST"};
//   match.paths = {"/v1/chat/completions", "/v1/batches/*"};
//
// A call matches if each list that is not empty has a pattern that fits. No
// regular expressions; the only wildcards are
//   hosts   "name" or "*.suffix", each also with ":port". "*.example.com" fits
//           a.example.com and a.b.example.com, and not example.com. In any case.
//   paths   "/exact/path", or "/begin/*": what begins with "/begin/". As sent:
//           in its case, its escapes, without a query.
//   rpcs    "/pkg.Service/Method", "/pkg.Service/*", or "*": any.
//   methods exact.
// A list of methods or paths never fits a remote procedure, one of rpcs nothing
// else; a match that has both kinds is a fault, and so is an empty one.
//
// Thread rule: values and pure functions.
#ifndef FORBEAR_CORE_CALL_MATCH_H_
#define FORBEAR_CORE_CALL_MATCH_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace forbear {

struct CallMatch {
  // Each list: 0 … 100 patterns of 1 … 256 bytes.
  std::vector<std::string> hosts;
  std::vector<std::string> methods;
  std::vector<std::string> paths;
  std::vector<std::string> rpcs;

  static constexpr int kMaxPatterns = 100;
  static constexpr int kMaxPatternBytes = 256;
};

// Views: they live as long as what they were taken from.
struct CallRoute {
  absl::string_view host;    // in lower case, without port; "[::1]" for IPv6
  int port = 0;              // 0: unknown
  absl::string_view method;  // "GET"; empty for an rpc
  absl::string_view path;    // "/v1/models"; empty for an rpc
  absl::string_view rpc;     // "/pkg.Service/Method"; empty for others
};

// One pattern of CallMatch::hosts, taken apart.
struct HostPattern {
  std::string name;      // in lower case; of "*.suffix": "suffix"
  bool any_sub = false;  // it was "*.suffix"
  int port = 0;          // 0: any
};

// Absent: it is no pattern for hosts.
std::optional<HostPattern> ParseHostPattern(absl::string_view text);

// "host", "host:port" or "[v6]:port" taken apart, in views of `text`. A text with
// no port that can be read is all host.
struct HostAndPort {
  absl::string_view host;
  int port = 0;
};
HostAndPort SplitHostPort(absl::string_view text);

// Appends a sentence for each fault, named `path`.field; nothing if valid.
void ValidateCallMatch(const CallMatch& match, absl::string_view path,
                       std::vector<std::string>* faults);

// A match stands for each combination of one of its hosts, one of its paths or
// rpcs, and one of its methods (none of a list counts as one: any). Appends a
// sentence for each combination that occurs twice, in one match or in two: of
// these, neither is more specific. Named `path`[i]. Also if there are more than
// kMaxCombinations; then nothing is looked for.
constexpr int kMaxCombinations = 100000;
void FindTies(const std::vector<const CallMatch*>& matches,
              absl::string_view path, std::vector<std::string>* faults);

}  // namespace forbear

#endif  // FORBEAR_CORE_CALL_MATCH_H_
