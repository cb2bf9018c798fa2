// PolicyTable: which policy a call follows.
//
//   PolicyTable table(settings);              // valid ones
//   CallRoute route;
//   route.host = "api.example.com";
//   route.method = "POST";
//   route.path = "/v1/chat/completions";
//   const TargetPolicy& policy = table.Find(route);
//
// Of all targets that match (core/call_match.h), the most specific one is the
// call's only policy: targets do not add up. What is more specific, in this order:
//   1. the host:   exact, over "*.longer.suffix", over "*.suffix", over no hosts;
//                  of two that are equal, with a port over without
//   2. what of it: a longer path over a shorter one; an rpc over "/Service/*", over
//                  "*"; any of them over no paths and no rpcs. Of one length, a
//                  path over a beginning
//   3. the method: in the list of methods, over no methods
// So a target with nothing but the exact host goes before one for all hosts with
// an exact path. The order in the file never matters. Each combination of one host,
// one path or rpc, and one method may occur once: that two targets with the same
// one would tie is a fault of the settings (core/call_match.h: FindTies).
//
// A call that no target matches follows the top level, which is a TargetPolicy
// that matches all.
//
// Cost: without targets, nothing. Else a hash look-up per label of the host, and in
// each entry that it finds one per segment of the path. Nothing is allocated.
//
// Thread rule: immutable; call from anywhere.
#ifndef FORBEAR_CORE_POLICY_TABLE_H_
#define FORBEAR_CORE_POLICY_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "core/call_match.h"
#include "core/policy.h"

namespace forbear {

class PolicyTable {
 public:
  // REQUIRES: settings passed ValidateSettings. `version` tells tables of one owner
  // apart: later ones have greater numbers.
  explicit PolicyTable(Settings settings, uint64_t version = 0);
  PolicyTable(const PolicyTable&) = delete;
  PolicyTable& operator=(const PolicyTable&) = delete;

  // Lives as long as the table.
  const TargetPolicy& Find(const CallRoute& route) const {
    return targets_.empty() ? top_ : FindAmong(route);
  }

  bool has_targets() const { return !targets_.empty(); }

  // What no target matches.
  const TargetPolicy& top() const { return top_; }
  // In the order of the settings.
  const std::vector<TargetPolicy>& targets() const { return targets_; }
  int max_targets() const { return max_targets_; }
  uint64_t version() const { return version_; }
  // False: every policy is switched off.
  bool any_enabled() const { return any_enabled_; }

 private:
  // One who matches a path, or an rpc, and maybe a method.
  struct Choice {
    std::string method;  // empty: any
    const TargetPolicy* policy;
  };
  using Choices = std::vector<Choice>;
  using ByText = absl::flat_hash_map<std::string, Choices>;

  // All that share a host pattern.
  struct Bucket {
    ByText paths;       // exact
    ByText beginnings;  // "/v1/"
    ByText rpcs;        // exact
    ByText services;    // "/pkg.Service/"
    Choices any_rpc;
    Choices any;
  };

  struct HostKey {
    std::string name;
    int port;
  };
  struct HostView {
    absl::string_view name;
    int port;
  };
  static HostView View(const HostKey& k) { return {k.name, k.port}; }
  static HostView View(const HostView& v) { return v; }
  struct Hash {
    using is_transparent = void;  // NOLINT(readability-identifier-naming)
    template <typename K>
    size_t operator()(const K& key) const {
      return absl::HashOf(View(key).name, View(key).port);
    }
  };
  struct Equal {
    using is_transparent = void;  // NOLINT(readability-identifier-naming)
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return View(a).port == View(b).port && View(a).name == View(b).name;
    }
  };
  using ByHost = absl::flat_hash_map<HostKey, Bucket, Hash, Equal>;

  const TargetPolicy& FindAmong(const CallRoute& route) const;
  static const TargetPolicy* FindIn(const Bucket& bucket,
                                    const CallRoute& route);
  static const TargetPolicy* FindByHost(const ByHost& hosts,
                                        absl::string_view name,
                                        const CallRoute& route);
  void Add(const TargetPolicy& policy);
  void AddTo(Bucket* bucket, const TargetPolicy& policy);

  TargetPolicy top_;
  std::vector<TargetPolicy> targets_;
  int max_targets_;
  uint64_t version_;
  bool any_enabled_;
  ByHost exact_;
  ByHost suffixes_;
  Bucket any_host_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_POLICY_TABLE_H_
