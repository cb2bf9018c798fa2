// MethodTable: from a method's name to what its rule says. Private.
//
//   MethodTable table(options);             // ValidateRpcOptions(options).ok()
//   const MethodPolicy& policy = table.Find("/pkg.Service/Method");
//
// Thread rule: immutable; call from anywhere.
#ifndef FORBEAR_INTERCEPTORS_METHOD_TABLE_H_
#define FORBEAR_INTERCEPTORS_METHOD_TABLE_H_

#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/retry_policy.h"
#include "interceptors/classify.h"
#include "interceptors/rpc_options.h"

namespace forbear::rpc {

struct MethodPolicy {
  CodeSet retryable;
  // Absent: the client's.
  std::optional<RetryOptions> retry;
};

class MethodTable {
 public:
  // `retry` is the client's.
  MethodTable(const RpcOptions& options, const RetryOptions& retry);

  const MethodPolicy& Find(absl::string_view method) const;

 private:
  MethodPolicy default_;
  // "/pkg.Service/Method", and "/pkg.Service/" for a whole service.
  absl::flat_hash_map<std::string, MethodPolicy> policies_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_METHOD_TABLE_H_
