// MethodTable: from a method's name to what its rule says. Private.
//
//   MethodTable table(options);             // ValidateRpcOptions(options).ok()
//   const MethodPolicy* rule = table.Find("/pkg.Service/Method");
//
// The rule is the program's explicit word, and goes before the configuration's: its
// codes replace the target's, its options those of the policy. Without a rule, all
// is as the policy says.
//
// Thread rule: immutable; call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_METHOD_TABLE_H_
#define FORBEAR_INTERCEPTORS_METHOD_TABLE_H_

#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/policy.h"
#include "core/retry_policy.h"
#include "interceptors/call_options.h"
#include "interceptors/classify.h"
#include "interceptors/rpc_options.h"

namespace forbear::rpc {

struct MethodPolicy {
  CodeSet retryable;
  // Absent: the policy's.
  std::optional<RetryOptions> retry;
  // Goes before both.
  std::optional<absl::Duration> attempt_timeout;
};

class MethodTable {
 public:
  explicit MethodTable(const RpcOptions& options);

  // Null: there is no rule for it.
  const MethodPolicy* Find(absl::string_view method) const;

 private:
  std::optional<MethodPolicy> default_;
  // "/pkg.Service/Method", and "/pkg.Service/" for a whole service.
  absl::flat_hash_map<std::string, MethodPolicy> policies_;
};

// What holds for a call: its own options, over the rule, over the policy. The first
// two may be null.
CodeSet RetryableCodes(const CallOptions* own, const MethodPolicy* rule,
                       const TargetPolicy& policy);
// Absent: the policy's.
std::optional<RetryOptions> RetryOf(const CallOptions* own,
                                    const MethodPolicy* rule,
                                    const Policy& policy);

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_METHOD_TABLE_H_
