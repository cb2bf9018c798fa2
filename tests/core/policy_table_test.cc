// Which policy a call follows: examples, and random tables against a naive twin
// that was written from the headers' words.

#include "core/policy_table.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/call_match.h"
#include "core/policy.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

TargetPolicy Named(const std::string& name, const CallMatch& match) {
  TargetPolicy target;
  target.name = name;
  target.match = match;
  return target;
}

CallMatch Match(std::vector<std::string> hosts,
                std::vector<std::string> methods = {},
                std::vector<std::string> paths = {},
                std::vector<std::string> rpcs = {}) {
  return {std::move(hosts), std::move(methods), std::move(paths),
          std::move(rpcs)};
}

std::vector<std::string> FaultsOf(const Settings& settings) {
  std::vector<std::string> faults;
  ValidateSettings(settings, &faults);
  return faults;
}

std::string Http(const PolicyTable& table, absl::string_view host,
                 absl::string_view method, absl::string_view path) {
  const HostAndPort split = SplitHostPort(host);
  return table.Find({split.host, split.port, method, path, ""}).name;
}

std::string Rpc(const PolicyTable& table, absl::string_view host,
                absl::string_view rpc) {
  const HostAndPort split = SplitHostPort(host);
  return table.Find({split.host, split.port, "", "", rpc}).name;
}

TEST(PolicyTableTest, WithoutTargetsEverythingIsTheTop) {
  Settings settings;
  settings.name = "top";
  const PolicyTable table(settings);
  EXPECT_EQ(&table.Find({}), &table.top());
  EXPECT_EQ(Http(table, "a.b:1", "GET", "/"), "top");
  EXPECT_TRUE(table.top().match.hosts.empty());
  EXPECT_FALSE(table.top().own_quota);
}

TEST(PolicyTableTest, Hosts) {
  Settings settings;
  settings.targets = {
      Named("exact", Match({"api.example.com"})),
      Named("port", Match({"api.example.com:8443"})),
      Named("sub", Match({"*.example.com"})),
      Named("sub-port", Match({"*.example.com:8443"})),
      Named("longer", Match({"*.eu.example.com"})),
      Named("v6", Match({"[::1]:80", "[::2]"})),
      Named("v4", Match({"127.0.0.1"})),
  };
  ASSERT_EQ(FaultsOf(settings), std::vector<std::string>());
  const PolicyTable table(settings);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"api.example.com:443", "exact"},
      {"api.example.com", "exact"},
      {"api.example.com:8443", "port"},
      {"example.com:443", "default"},
      {"b.example.com:443", "sub"},
      {"b.example.com:8443", "sub-port"},
      {"a.b.example.com:443", "sub"},
      {"x.eu.example.com:443", "longer"},
      // The longer suffix goes before the port.
      {"x.eu.example.com:8443", "longer"},
      {"eu.example.com:443", "sub"},
      {"notexample.com:443", "default"},
      {"[::1]:80", "v6"},
      {"[::1]:81", "default"},
      {"[::2]:81", "v6"},
      {"127.0.0.1:81", "v4"},
      {"", "default"},
      {".example.com", "sub"},
  };
  for (const auto& [host, name] : cases) {
    EXPECT_EQ(Http(table, host, "GET", "/"), name) << host;
    EXPECT_EQ(Rpc(table, host, "/p.S/M"), name) << host;
  }
}

TEST(PolicyTableTest, PathsAndMethods) {
  Settings settings;
  settings.targets = {
      Named("all-get", Match({}, {"GET", "HEAD"})),
      Named("v1", Match({}, {}, {"/v1/*"})),
      Named("chat", Match({}, {}, {"/v1/chat/*"})),
      Named("chat-post", Match({}, {"POST"}, {"/v1/chat/*"})),
      Named("exact", Match({}, {}, {"/v1/chat/"})),
      Named("models", Match({}, {"GET"}, {"/v1/models"})),
      Named("host", Match({"h"})),
  };
  ASSERT_EQ(FaultsOf(settings), std::vector<std::string>());
  const PolicyTable table(settings);
  EXPECT_EQ(Http(table, "x", "GET", "/"), "all-get");
  EXPECT_EQ(Http(table, "x", "get", "/"), "default");
  EXPECT_EQ(Http(table, "x", "POST", "/"), "default");
  EXPECT_EQ(Http(table, "x", "POST", "/v1"), "default");
  EXPECT_EQ(Http(table, "x", "GET", "/v1/"), "v1");
  EXPECT_EQ(Http(table, "x", "GET", "/V1/"), "all-get");
  EXPECT_EQ(Http(table, "x", "GET", "/v1/chat"), "v1");
  EXPECT_EQ(Http(table, "x", "GET", "/v1/chat/a/b"), "chat");
  EXPECT_EQ(Http(table, "x", "POST", "/v1/chat/a/b"), "chat-post");
  EXPECT_EQ(Http(table, "x", "GET", "/v1/chat/"), "exact");
  // The path goes before the method.
  EXPECT_EQ(Http(table, "x", "POST", "/v1/chat/"), "exact");
  EXPECT_EQ(Http(table, "x", "GET", "/v1/models"), "models");
  // Whose method does not fit is no candidate.
  EXPECT_EQ(Http(table, "x", "POST", "/v1/models"), "v1");
  // The host goes before everything.
  EXPECT_EQ(Http(table, "h", "GET", "/v1/models"), "host");
  // Nothing of this is about rpcs.
  EXPECT_EQ(Rpc(table, "x", "/v1/models"), "default");
  EXPECT_EQ(Http(table, "x", "", ""), "default");
}

TEST(PolicyTableTest, Rpcs) {
  Settings settings;
  settings.targets = {
      Named("any", Match({}, {}, {}, {"*"})),
      Named("service", Match({}, {}, {}, {"/p.S/*"})),
      Named("exact", Match({}, {}, {}, {"/p.S/M", "/p.T/N"})),
      Named("host-any", Match({"h"}, {}, {}, {"*"})),
      Named("host", Match({"h", "i"})),
  };
  ASSERT_EQ(FaultsOf(settings), std::vector<std::string>());
  const PolicyTable table(settings);
  EXPECT_EQ(Rpc(table, "x", "/q.S/M"), "any");
  EXPECT_EQ(Rpc(table, "x", "/p.S/O"), "service");
  EXPECT_EQ(Rpc(table, "x", "/p.S/M"), "exact");
  EXPECT_EQ(Rpc(table, "x", "/p.T/N"), "exact");
  EXPECT_EQ(Rpc(table, "x", "/p.T/M"), "any");
  EXPECT_EQ(Rpc(table, "h", "/p.S/M"), "host-any");
  EXPECT_EQ(Rpc(table, "i", "/p.S/M"), "host");
  EXPECT_EQ(Http(table, "x", "POST", "/p.S/M"), "default");
  EXPECT_EQ(Http(table, "h", "POST", "/p.S/M"), "host");
  EXPECT_EQ(Rpc(table, "x", "nonsense"), "any");
}

TEST(PolicyTableTest, SomethingIsEnabled) {
  Settings settings;
  EXPECT_TRUE(PolicyTable(settings).any_enabled());
  settings.enabled = false;
  EXPECT_FALSE(PolicyTable(settings).any_enabled());
  settings.targets = {Named("on", Match({"h"}))};
  EXPECT_TRUE(PolicyTable(settings).any_enabled());
  settings.targets[0].enabled = false;
  EXPECT_FALSE(PolicyTable(settings).any_enabled());
}

// ---- Faults.

TEST(PolicyTableTest, EveryFaultOfTheTargetsIsTold) {
  Settings settings;
  settings.retry.max_attempts = 0;
  TargetPolicy heir(static_cast<const Policy&>(settings));
  heir.name = "heir";
  heir.match.rpcs = {"*", "/p.S/*", "/p.S", "p.S/M", "/p.S/M*", "/p./S/M", ""};
  heir.match.hosts = {"a",    "*",        "*.",       "a b",     "*.*.c",
                      "a.*",  "http://a", "a:0",      "a:65536", "*.[::1]",
                      "[::1", "a:",       "A.b:65535"};
  TargetPolicy bad;
  bad.name = "a|b";
  bad.retry.backoff.multiplier = 0;
  bad.quota.max_waiters = 0;
  bad.match.methods = {"GET", "", "a b"};
  bad.match.paths = {"/a", "a", "/a*", "/*/b", "/a?b", "/a#", "/ä", "/*"};
  bad.match.rpcs = {"*"};
  bad.retryable_codes = {14, 0, 17};
  TargetPolicy empty;
  empty.name = "heir";
  TargetPolicy many;
  many.name = "";
  many.match.hosts.assign(101, "h");
  many.match.paths = {absl::StrCat("/", std::string(256, 'x'))};
  settings.targets = {heir, bad, empty, many};
  const std::string host =
      "it must be \"host\" or \"*.suffix\", also with \":port\"";
  const std::string path =
      "it must be \"/exact/path\" or \"/begin/*\", without a query";
  const std::string rpc =
      "it must be \"/package.Service/Method\", \"/package.Service/*\" or \"*\"";
  std::vector<std::string> expected = {
      "retry.max_attempts is 0; it must be 1 … 100"};
  const auto add = [&](const std::string& text) { expected.push_back(text); };
  int i = 0;
  for (const std::string& h : heir.match.hosts) {
    if (i > 0 && i < 12) {
      add(absl::StrCat("targets[0].match.hosts[", i, "] is \"", h, "\"; ",
                       host));
    }
    ++i;
  }
  for (i = 2; i < 7; ++i) {
    add(absl::StrCat("targets[0].match.rpcs[", i, "] is \"",
                     heir.match.rpcs[static_cast<size_t>(i)], "\"; ", rpc));
  }
  add("targets[1].name is \"a|b\"; it must be 1 … 64 letters, digits and ._-");
  add("targets[1].retry.backoff.multiplier is 0; it must be 1 … 100");
  add("targets[1].quota.max_waiters is 0; it must be 1 … 10000000");
  add("targets[1].match.methods[1] is \"\"; it must be a method like \"GET\"");
  add("targets[1].match.methods[2] is \"a b\"; it must be a method like "
      "\"GET\"");
  for (i = 1; i < 7; ++i) {
    add(absl::StrCat(
        "targets[1].match.paths[", i, "] is \"",
        i == 6 ? "/\\303\\244" : bad.match.paths[static_cast<size_t>(i)],
        "\"; ", path));
  }
  add("targets[1].match has rpcs and also methods or paths, which no call "
      "fits; "
      "it must be two targets");
  add("targets[1].retryable_codes[1] is 0; it must be 1 … 16");
  add("targets[1].retryable_codes[2] is 17; it must be 1 … 16");
  add("targets[2].name is \"heir\"; so is the name of targets[0]");
  add("targets[2].match is empty; it must have hosts, methods, paths or rpcs");
  add("targets[3].name is \"\"; it must be 1 … 64 letters, digits and ._-");
  add("targets[3].match.hosts has 101 entries; it must have at most 100");
  add("targets[3].match.paths[0] has 257 bytes; it must have at most 256");
  const std::vector<std::string> faults = FaultsOf(settings);
  EXPECT_EQ(absl::StrJoin(faults, "\n"), absl::StrJoin(expected, "\n"));
}

TEST(PolicyTableTest, TiesAreTold) {
  Settings settings;
  settings.targets = {
      Named("a", Match({"h", "*.i"}, {"GET", "PUT"}, {"/a", "/b/*"})),
      Named("b", Match({"x", "H"}, {"PUT"}, {"/a"})),
      Named("c", Match({"h"}, {}, {"/a"})),
      Named("d", Match({"j", "J"})),
      Named("e", Match({"*.i"}, {}, {}, {"*"})),
      Named("f", Match({"*.i"}, {}, {}, {"*", "/p.S/M"})),
  };
  EXPECT_EQ(
      FaultsOf(settings),
      (std::vector<std::string>{
          "targets[1].match ties with targets[0].match, for both have: host h "
          "path /a method PUT; one of them must be more specific",
          "targets[3].match has twice: host j",
          "targets[5].match ties with targets[4].match, for both have: host "
          "*.i rpc *; one of them must be more specific"}));
}

TEST(PolicyTableTest, TooManyTargetsOrCombinations) {
  Settings settings;
  for (int i = 0; i < 1000; ++i) {
    settings.targets.push_back(
        Named(absl::StrCat("t", i), Match({absl::StrCat("h", i)})));
  }
  EXPECT_EQ(FaultsOf(settings), std::vector<std::string>());
  settings.targets.push_back(Named("more", Match({"more"})));
  EXPECT_EQ(
      FaultsOf(settings),
      std::vector<std::string>{"targets' number is 1001; it must be 0 … 1000"});
  settings.targets.resize(1);
  CallMatch& match = settings.targets[0].match;
  match.hosts.clear();
  for (int i = 0; i < 100; ++i) {
    match.hosts.push_back(absl::StrCat("h", i));
    match.methods.push_back(absl::StrCat("m", i));
    if (i < 11) match.paths.push_back(absl::StrCat("/p", i));
  }
  EXPECT_EQ(FaultsOf(settings),
            std::vector<std::string>{
                "targets have 110000 combinations of a host, a path and a "
                "method; they must have at most 100000"});
  match.paths.pop_back();
  EXPECT_EQ(FaultsOf(settings), std::vector<std::string>());
}

TEST(CallMatchTest, HostAndPort) {
  const std::vector<std::tuple<std::string, std::string, int>> cases = {
      {"", "", 0},
      {"a", "a", 0},
      {"a:1", "a", 1},
      {"a:65535", "a", 65535},
      {"a:65536", "a:65536", 0},
      {"a:0", "a:0", 0},
      {"a:", "a:", 0},
      {":1", ":1", 0},
      {"a:-1", "a:-1", 0},
      {"a:+1", "a:+1", 0},
      {"a: 1", "a: 1", 0},
      {"[::1]:2", "[::1]", 2},
      {"[::1]", "[::1]", 0},
      {"::1", "::1", 0},
      {"a:0000001", "a:0000001", 0},
  };
  for (const auto& [text, host, port] : cases) {
    EXPECT_EQ(SplitHostPort(text).host, host) << text;
    EXPECT_EQ(SplitHostPort(text).port, port) << text;
  }
}

// ---- The twin: every target, every combination, the greatest rank.

struct Case {  // a call, in plain texts
  std::string host;
  int port = 0;
  std::string method, path, rpc;
};

// How specifically `pattern` fits; -1: not at all.
std::array<int, 3> HostRank(const std::string& pattern, const Case& c) {
  std::string name = absl::AsciiStrToLower(pattern);
  int port = 0;
  const size_t colon = name.find(':');
  if (colon != std::string::npos) {
    port = std::stoi(name.substr(colon + 1));
    name.resize(colon);
  }
  if (port != 0 && port != c.port) return {-1, 0, 0};
  if (absl::StartsWith(name, "*.")) {
    if (!absl::EndsWith(c.host, name.substr(1))) return {-1, 0, 0};
    return {1, static_cast<int>(name.size()), port == 0 ? 0 : 1};
  }
  if (name != c.host) return {-1, 0, 0};
  return {2, 0, port == 0 ? 0 : 1};
}

std::array<int, 2> PathRank(const std::string& pattern, const Case& c) {
  if (!c.rpc.empty()) return {-1, 0};
  if (absl::EndsWith(pattern, "/*")) {
    const std::string begin = pattern.substr(0, pattern.size() - 1);
    if (!absl::StartsWith(c.path, begin)) return {-1, 0};
    return {static_cast<int>(begin.size()), 1};
  }
  if (pattern != c.path) return {-1, 0};
  return {static_cast<int>(pattern.size()), 2};
}

std::array<int, 2> RpcRank(const std::string& pattern, const Case& c) {
  if (c.rpc.empty()) return {-1, 0};
  if (pattern == "*") return {1, 0};
  if (absl::EndsWith(pattern, "/*")) {
    if (!absl::StartsWith(c.rpc, pattern.substr(0, pattern.size() - 1))) {
      return {-1, 0};
    }
    return {2, 0};
  }
  if (pattern != c.rpc) return {-1, 0};
  return {3, 0};
}

// "top" if none fits; "TIE" if two fit best.
std::string Twin(const std::vector<TargetPolicy>& targets, const Case& c) {
  std::string best = "top";
  std::tuple<std::array<int, 3>, std::array<int, 2>, int> best_rank{
      {-1, 0, 0}, {-1, 0}, -1};
  for (const TargetPolicy& target : targets) {
    std::vector<std::array<int, 3>> hosts;
    if (target.match.hosts.empty()) hosts.push_back({0, 0, 0});
    for (const std::string& h : target.match.hosts) {
      hosts.push_back(HostRank(h, c));
    }
    std::vector<std::array<int, 2>> whats;
    if (target.match.paths.empty() && target.match.rpcs.empty()) {
      whats.push_back({0, 0});
    }
    for (const std::string& p : target.match.paths) {
      whats.push_back(PathRank(p, c));
    }
    for (const std::string& r : target.match.rpcs) {
      whats.push_back(RpcRank(r, c));
    }
    std::vector<int> methods;
    if (target.match.methods.empty()) methods.push_back(0);
    for (const std::string& m : target.match.methods) {
      methods.push_back(c.rpc.empty() && m == c.method ? 1 : -1);
    }
    for (const auto& host : hosts) {
      for (const auto& what : whats) {
        for (const int method : methods) {
          if (host[0] < 0 || what[0] < 0 || method < 0) continue;
          const auto rank = std::make_tuple(host, what, method);
          if (rank == best_rank) best = "TIE";
          if (rank > best_rank) {
            best = target.name;
            best_rank = rank;
          }
        }
      }
    }
  }
  return best;
}

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  int Below(int n) { return static_cast<int>(UnitRandom(seed_, n_++) * n); }
  const std::string& Of(const std::vector<std::string>& list) {
    return list[static_cast<size_t>(Below(static_cast<int>(list.size())))];
  }
  std::vector<std::string> Some(const std::vector<std::string>& list) {
    std::vector<std::string> some;
    for (int n = Below(5) - 2; n > 0; --n) some.push_back(Of(list));
    return some;
  }

 private:
  const uint64_t seed_;
  uint64_t n_ = 0;
};

// Few words, so that patterns meet.
const std::vector<std::string> kHostPatterns = {
    "c",   "b.c",   "a.b.c", "*.c",     "*.b.c",   "*.a.b.c", "B.C",
    "c:1", "b.c:1", "*.c:1", "*.b.c:2", "a.b.c:2", "d",
};
const std::vector<std::string> kHosts = {"c",       "b.c", "a.b.c", "x.b.c",
                                         "x.a.b.c", "d",   "e",     ""};
const std::vector<std::string> kPathPatterns = {
    "/*", "/", "/v", "/v/*", "/v/w", "/v/w/*", "/v/w/", "/v//*", "/vv/*"};
const std::vector<std::string> kPaths = {
    "/", "/v", "/v/", "/v/w", "/v/w/", "/v/w/x", "/vv", "/vv/x", "/v//x", ""};
const std::vector<std::string> kMethods = {"GET", "PUT", "get"};
const std::vector<std::string> kRpcPatterns = {"*",      "/p.S/*", "/p.S/M",
                                               "/p.S/N", "/q.S/*", "/q.S/M"};
const std::vector<std::string> kRpcs = {"/p.S/M", "/p.S/N", "/p.S/O", "/q.S/M",
                                        "/r.S/M"};

TEST(PolicyTableTest, ATwinAgrees) {
  const char* const text = std::getenv("FORBEAR_SEED");
  const uint64_t first = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  const uint64_t count = text == nullptr ? 20000 : 1;
  int valid = 0, found = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    Dice dice(seed);
    Settings settings;
    settings.name = "top";
    for (int n = dice.Below(7); n >= 0; --n) {
      CallMatch match;
      match.hosts = dice.Some(kHostPatterns);
      if (dice.Below(3) == 0) {
        match.rpcs = dice.Some(kRpcPatterns);
      } else {
        match.methods = dice.Some(kMethods);
        match.paths = dice.Some(kPathPatterns);
      }
      settings.targets.push_back(
          Named(absl::StrCat("t", settings.targets.size()), match));
      // Keep what does not spoil it.
      if (!FaultsOf(settings).empty()) settings.targets.pop_back();
    }
    if (settings.targets.empty()) continue;
    ++valid;
    const PolicyTable table(settings);
    for (int n = 0; n < 40; ++n) {
      Case c;
      c.host = dice.Of(kHosts);
      c.port = dice.Below(3);
      if (dice.Below(3) == 0) {
        c.rpc = dice.Of(kRpcs);
      } else {
        c.method = dice.Of(kMethods);
        c.path = dice.Of(kPaths);
      }
      const std::string expected = Twin(settings.targets, c);
      found += expected != "top" ? 1 : 0;
      ASSERT_EQ(table.Find({c.host, c.port, c.method, c.path, c.rpc}).name,
                expected)
          << "FORBEAR_SEED=" << seed << " " << c.host << ":" << c.port << " "
          << c.method << " " << c.path << c.rpc;
    }
  }
  if (text == nullptr) {
    EXPECT_GT(valid, 15000);
    EXPECT_GT(found, 100000);
  }
}

// The order of the file does not matter.
TEST(PolicyTableTest, AnyOrderIsTheSame) {
  std::vector<TargetPolicy> targets = {
      Named("a", Match({"*.c"}, {}, {"/v/*"})),
      Named("b", Match({"b.c"}, {"GET"})),
      Named("c", Match({"b.c"}, {}, {"/v/w"})),
      Named("d", Match({}, {"GET"}, {"/v/*"})),
  };
  const auto by_name = [](const TargetPolicy& x, const TargetPolicy& y) {
    return x.name < y.name;
  };
  const Case c = {"b.c", 0, "GET", "/v/w", ""};
  do {
    Settings settings;
    settings.targets = targets;
    const PolicyTable table(settings);
    EXPECT_EQ(table.Find({c.host, c.port, c.method, c.path, c.rpc}).name, "c");
    EXPECT_EQ(table.Find({c.host, c.port, c.method, "/x", c.rpc}).name, "b");
    EXPECT_EQ(table.Find({c.host, c.port, "PUT", "/v/x", c.rpc}).name, "a");
  } while (std::next_permutation(targets.begin(), targets.end(), by_name));
}

TEST(PolicyTableTest, LongPathsCostNoMoreThanLongPatterns) {
  Settings settings;
  settings.targets = {Named("t", Match({}, {}, {"/a/*"}))};
  const PolicyTable table(settings);
  const std::string slashes = absl::StrCat("/a", std::string(8 << 20, '/'));
  EXPECT_EQ(Http(table, "h", "GET", slashes), "t");
}

}  // namespace
}  // namespace forbear::testing
