#include "core/call_match.h"

#include <algorithm>
#include <cstddef>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace forbear {
namespace {

bool IsGraph(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
}

bool IsHostName(absl::string_view name) {
  if (name.empty()) return false;
  const bool v6 = name.front() == '[';
  if (v6 && (name.size() < 4 || name.back() != ']')) return false;
  if (v6) name = name.substr(1, name.size() - 2);
  return std::all_of(name.begin(), name.end(), [v6](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
           c == '-' || c == '_' || (v6 && (c == ':' || c == '%'));
  });
}

bool IsMethod(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::StrContains("!#$%&'*+-.^_`|~", c);
  });
}

bool IsPath(absl::string_view text) {
  if (!absl::StartsWith(text, "/") || !IsGraph(text)) return false;
  if (absl::EndsWith(text, "/*")) text.remove_suffix(1);
  return text.find_first_of("?#*") == absl::string_view::npos;
}

bool IsRpc(absl::string_view text) {
  if (text == "*") return true;
  if (!absl::ConsumePrefix(&text, "/") || !IsGraph(text)) return false;
  const size_t slash = text.find('/');
  if (slash == absl::string_view::npos || slash == 0) return false;
  const absl::string_view service = text.substr(0, slash);
  const absl::string_view name = text.substr(slash + 1);
  return !name.empty() && !absl::StrContains(service, "*") &&
         !absl::StrContains(name, "/") &&
         (name == "*" || !absl::StrContains(name, "*"));
}

template <typename IsOne>
void Check(const std::vector<std::string>& patterns, absl::string_view path,
           absl::string_view what, const IsOne& is_one,
           std::vector<std::string>* faults) {
  if (patterns.size() > CallMatch::kMaxPatterns) {
    faults->push_back(absl::StrCat(path, " has ", patterns.size(),
                                   " entries; it must have at most ",
                                   CallMatch::kMaxPatterns));
  }
  for (size_t i = 0; i < patterns.size(); ++i) {
    const std::string& pattern = patterns[i];
    if (pattern.size() > CallMatch::kMaxPatternBytes) {
      faults->push_back(absl::StrCat(path, "[", i, "] has ", pattern.size(),
                                     " bytes; it must have at most ",
                                     CallMatch::kMaxPatternBytes));
    } else if (pattern.empty() || !is_one(pattern)) {
      faults->push_back(absl::StrCat(path, "[", i, "] is \"",
                                     absl::CEscape(pattern), "\"; it must be ",
                                     what));
    }
  }
}

}  // namespace

HostAndPort SplitHostPort(absl::string_view text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  // In "::1" the last colon is no port's.
  const bool bare_v6 = !absl::StartsWith(text, "[") && text.find(':') != colon;
  if (colon == absl::string_view::npos || colon == 0 || bare_v6 ||
      colon + 1 == text.size() || text.size() - colon > 6 ||
      !absl::ascii_isdigit(static_cast<unsigned char>(text[colon + 1])) ||
      !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 1 ||
      port > 65535) {
    return {text, 0};
  }
  return {text.substr(0, colon), port};
}

std::optional<HostPattern> ParseHostPattern(absl::string_view text) {
  const HostAndPort split = SplitHostPort(text);
  absl::string_view name = split.host;
  HostPattern pattern;
  pattern.any_sub = absl::ConsumePrefix(&name, "*.");
  pattern.port = split.port;
  pattern.name = absl::AsciiStrToLower(name);
  if (!IsHostName(name) || (pattern.any_sub && name.front() == '[')) {
    return std::nullopt;
  }
  return pattern;
}

void ValidateCallMatch(const CallMatch& match, absl::string_view path,
                       std::vector<std::string>* faults) {
  Check(
      match.hosts, absl::StrCat(path, ".hosts"),
      "\"host\" or \"*.suffix\", also with \":port\"",
      [](const std::string& p) { return ParseHostPattern(p).has_value(); },
      faults);
  Check(match.methods, absl::StrCat(path, ".methods"), "a method like \"GET\"",
        IsMethod, faults);
  Check(match.paths, absl::StrCat(path, ".paths"),
        "\"/exact/path\" or \"/begin/*\", without a query", IsPath, faults);
  Check(match.rpcs, absl::StrCat(path, ".rpcs"),
        "\"/package.Service/Method\", \"/package.Service/*\" or \"*\"", IsRpc,
        faults);
  if (match.hosts.empty() && match.methods.empty() && match.paths.empty() &&
      match.rpcs.empty()) {
    faults->push_back(absl::StrCat(
        path, " is empty; it must have hosts, methods, paths or rpcs"));
  }
  if (!match.rpcs.empty() && !(match.methods.empty() && match.paths.empty())) {
    faults->push_back(absl::StrCat(
        path,
        " has rpcs and also methods or paths, which no call fits; it must be "
        "two targets"));
  }
}

void FindTies(const std::vector<const CallMatch*>& matches,
              absl::string_view path, std::vector<std::string>* faults) {
  const std::vector<std::string> none = {""};
  const auto or_none = [&none](const std::vector<std::string>& list)
      -> const std::vector<std::string>& { return list.empty() ? none : list; };
  // At most 100 · 100 · 100 · matches: no overflow.
  size_t combinations = 0;
  for (const CallMatch* match : matches) {
    combinations += or_none(match->hosts).size() *
                    (match->rpcs.empty() ? or_none(match->paths).size()
                                         : match->rpcs.size()) *
                    or_none(match->methods).size();
  }
  if (combinations > kMaxCombinations) {
    faults->push_back(absl::StrCat(path, " have ", combinations,
                                   " combinations of a host, a path and a "
                                   "method; they must have at most ",
                                   kMaxCombinations));
    return;
  }
  absl::flat_hash_map<std::string, size_t> seen;
  for (size_t i = 0; i < matches.size(); ++i) {
    const CallMatch& match = *matches[i];
    for (const std::string& host : or_none(match.hosts)) {
      const std::string name = absl::AsciiStrToLower(host);
      for (const std::string& what :
           match.rpcs.empty() ? or_none(match.paths) : match.rpcs) {
        for (const std::string& method : or_none(match.methods)) {
          std::string shown;
          if (!name.empty()) absl::StrAppend(&shown, " host ", name);
          if (!what.empty()) {
            absl::StrAppend(&shown, match.rpcs.empty() ? " path " : " rpc ",
                            what);
          }
          if (!method.empty()) absl::StrAppend(&shown, " method ", method);
          const auto [it, added] = seen.emplace(shown, i);
          if (added) continue;
          const std::string here = absl::StrCat(path, "[", i, "].match");
          faults->push_back(
              it->second == i
                  ? absl::StrCat(here, " has twice:", shown)
                  : absl::StrCat(here, " ties with ", path, "[", it->second,
                                 "].match, for both have:", shown,
                                 "; one of them must be more specific"));
        }
      }
    }
  }
}

}  // namespace forbear
