// EffectivePolicy: what a configuration says of one call, each value with the place
// that it comes from.
//
//   const EffectivePolicy policy = EffectivePolicyOf(reading, route);
//   std::fputs(policy.Text().c_str(), stdout);     // textproto with comments
//
// Thread rule: a value.
#ifndef FORBEAR_TOOLS_EFFECTIVE_POLICY_H_
#define FORBEAR_TOOLS_EFFECTIVE_POLICY_H_

#include <map>
#include <optional>
#include <string>

#include "core/call_match.h"
#include "proto/config.pb.h"
#include "proto/config_convert.h"

namespace forbear::tools {

struct EffectivePolicy {
  // All fields, as if the target had set each of them. Without a match if no target
  // is the call's.
  v1::Target policy;
  // Which target is the call's; absent: none, the top level.
  std::optional<int> index;
  bool own_quota = false;
  bool own_endpoint = false;
  // By path ("retry.backoff.initial"): "target", or "file": the top level. What is not
  // here is a default.
  std::map<std::string, std::string> origins;

  // The policy in text format, a field a line, with "# file" or "# target" behind
  // what is no default.
  std::string Text() const;
  // {"target": …, "index": …, "own_quota": …, "own_endpoint": …, "policy": {…},
  //  "from": {path: origin}}, on one line.
  std::string Json() const;
};

// REQUIRES: reading.faults is empty.
EffectivePolicy EffectivePolicyOf(const ConfigReading& reading,
                                  const CallRoute& route);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_EFFECTIVE_POLICY_H_
