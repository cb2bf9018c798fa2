// MethodTable: from a method's name to what its rule says. Private.
//
//   MethodTable table(options, {});         // ValidateRpcOptions(options).ok()
//   const MethodWords words = table.Find("/pkg.Service/Method");
//
// The rule is the program's explicit word, and goes before the configuration's: its
// codes replace the target's, its options those of the policy. A method without a
// rule has that of the channel's service config, if there is one, which changes the
// policy's options here and there. Without either, all is as the policy says.
//
// Thread rule: immutable; call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_METHOD_TABLE_H_
#define FORBEAR_INTERCEPTORS_METHOD_TABLE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/policy.h"
#include "core/retry_policy.h"
#include "interceptors/call_options.h"
#include "interceptors/classify.h"
#include "interceptors/rpc_options.h"
#include "interceptors/service_config.h"

namespace forbear::rpc {

struct MethodPolicy {
  CodeSet retryable;
  // Absent: the policy's.
  std::optional<RetryOptions> retry;
  // Goes before both.
  std::optional<absl::Duration> attempt_timeout;
};

// All that is said of a method. Null: there is no such rule.
struct MethodWords {
  const MethodPolicy* rule = nullptr;
  // Of its rule nothing counts but the call_timeout, if there is one of ours.
  const ServiceRule* service = nullptr;
};

class MethodTable {
 public:
  MethodTable(const RpcOptions& options,
              const std::vector<ServiceRule>& service_rules);

  MethodWords Find(absl::string_view method) const;

 private:
  // By "/pkg.Service/Method", by "/pkg.Service/" for a whole service, by "" for all.
  template <typename Rule>
  using ByMethod = absl::flat_hash_map<std::string, Rule>;

  template <typename Rule>
  static const Rule* FindIn(const ByMethod<Rule>& rules,
                            absl::string_view method);

  ByMethod<MethodPolicy> policies_;
  ByMethod<ServiceRule> service_;
};

// What holds for a call: its own options, which may be null, over the rule, over the
// policy.
CodeSet RetryableCodes(const CallOptions* own, const MethodWords& words,
                       const TargetPolicy& policy);
// Absent: the policy's. `codes`: RetryableCodes of the same; if there are any the
// method may be repeated, and so be hedged without HedgeOptions::repeat_consent.
std::optional<RetryOptions> RetryOf(const CallOptions* own,
                                    const MethodWords& words, CodeSet codes,
                                    const Policy& policy);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_METHOD_TABLE_H_
