#include "core/policy_table.h"

#include <optional>

#include "absl/strings/match.h"

namespace forbear {
namespace {

// Who matches this very method, else who matches any.
template <typename Choices>
const TargetPolicy* Choose(const Choices& choices, absl::string_view method) {
  const TargetPolicy* any = nullptr;
  for (const auto& choice : choices) {
    if (choice.method.empty()) {
      any = choice.policy;
    } else if (choice.method == method) {
      return choice.policy;
    }
  }
  return any;
}

template <typename Map>
const TargetPolicy* Look(const Map& map, absl::string_view key,
                         absl::string_view method) {
  if (map.empty()) return nullptr;
  const auto it = map.find(key);
  return it == map.end() ? nullptr : Choose(it->second, method);
}

}  // namespace

PolicyTable::PolicyTable(Settings settings, uint64_t version)
    : top_(static_cast<const Policy&>(settings)),
      targets_(std::move(settings.targets)),
      max_targets_(settings.max_targets),
      version_(version),
      any_enabled_(settings.enabled) {
  for (const TargetPolicy& target : targets_) {
    any_enabled_ = any_enabled_ || target.enabled;
    Add(target);
  }
}

void PolicyTable::Add(const TargetPolicy& policy) {
  if (policy.match.hosts.empty()) AddTo(&any_host_, policy);
  for (const std::string& host : policy.match.hosts) {
    const std::optional<HostPattern> pattern = ParseHostPattern(host);
    if (!pattern) continue;  // REQUIRES says that there is none
    ByHost& hosts = pattern->any_sub ? suffixes_ : exact_;
    AddTo(&hosts[HostKey{pattern->name, pattern->port}], policy);
  }
}

void PolicyTable::AddTo(Bucket* bucket, const TargetPolicy& policy) {
  const CallMatch& match = policy.match;
  const auto add = [&policy, &match](Choices* place) {
    for (const std::string& method : match.methods) {
      place->push_back({method, &policy});
    }
    if (match.methods.empty()) place->push_back({"", &policy});
  };
  // Without its star.
  const auto begin = [](const std::string& pattern) {
    return pattern.substr(0, pattern.size() - 1);
  };
  for (const std::string& path : match.paths) {
    add(absl::EndsWith(path, "/*") ? &bucket->beginnings[begin(path)]
                                   : &bucket->paths[path]);
  }
  for (const std::string& rpc : match.rpcs) {
    add(rpc == "*"                  ? &bucket->any_rpc
        : absl::EndsWith(rpc, "/*") ? &bucket->services[begin(rpc)]
                                    : &bucket->rpcs[rpc]);
  }
  if (match.paths.empty() && match.rpcs.empty()) add(&bucket->any);
}

const TargetPolicy& PolicyTable::FindAmong(const CallRoute& route) const {
  if (!route.host.empty()) {
    if (const auto* p = FindByHost(exact_, route.host, route)) return *p;
    // "b.c" and "c" of "a.b.c".
    for (size_t dot = route.host.find('.');
         !suffixes_.empty() && dot != absl::string_view::npos;
         dot = route.host.find('.', dot + 1)) {
      const absl::string_view suffix = route.host.substr(dot + 1);
      if (const auto* p = FindByHost(suffixes_, suffix, route)) return *p;
    }
  }
  const TargetPolicy* const policy = FindIn(any_host_, route);
  return policy == nullptr ? top_ : *policy;
}

const TargetPolicy* PolicyTable::FindByHost(const ByHost& hosts,
                                            absl::string_view name,
                                            const CallRoute& route) {
  if (hosts.empty() || name.size() > CallMatch::kMaxPatternBytes) {
    return nullptr;
  }
  for (const int port : {route.port, 0}) {
    const auto it = hosts.find(HostView{name, port});
    if (it == hosts.end()) continue;
    if (const auto* policy = FindIn(it->second, route)) return policy;
  }
  return nullptr;
}

const TargetPolicy* PolicyTable::FindIn(const Bucket& bucket,
                                        const CallRoute& route) {
  if (!route.rpc.empty()) {
    const absl::string_view service =
        route.rpc.substr(0, route.rpc.rfind('/') + 1);
    if (const auto* p = Look(bucket.rpcs, route.rpc, "")) return p;
    if (const auto* p = Look(bucket.services, service, "")) return p;
    if (const auto* p = Choose(bucket.any_rpc, "")) return p;
    return Choose(bucket.any, "");
  }
  if (const auto* p = Look(bucket.paths, route.path, route.method)) return p;
  if (!bucket.beginnings.empty()) {
    // "/a/b/", "/a/" and "/" of "/a/b/c": no pattern is longer than this.
    absl::string_view begin = route.path.substr(0, CallMatch::kMaxPatternBytes);
    while (!begin.empty()) {
      begin = begin.substr(0, begin.rfind('/') + 1);
      if (const auto* p = Look(bucket.beginnings, begin, route.method)) {
        return p;
      }
      if (begin.empty()) break;
      begin.remove_suffix(1);
    }
  }
  return Choose(bucket.any, route.method);
}

}  // namespace forbear
