#include "interceptors/rpc_options.h"

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "core/option_check.h"
#include "interceptors/service_config.h"

namespace forbear::rpc {
namespace {

// "*", "/package.Service/*" or "/package.Service/Method".
bool IsPattern(absl::string_view method) {
  if (method == "*") return true;
  if (!absl::ConsumePrefix(&method, "/")) return false;
  const size_t slash = method.find('/');
  if (slash == absl::string_view::npos || slash == 0) return false;
  const absl::string_view service = method.substr(0, slash);
  const absl::string_view name = method.substr(slash + 1);
  return !name.empty() && !absl::StrContains(service, "*") &&
         !absl::StrContains(name, "/") &&
         (name == "*" || !absl::StrContains(name, "*"));
}

}  // namespace

absl::string_view ServerOf(absl::string_view target) {
  // scheme://authority/endpoint, and scheme:endpoint.
  for (const absl::string_view scheme : {"dns:", "ipv4:", "ipv6:", "xds:"}) {
    if (!absl::StartsWithIgnoreCase(target, scheme)) continue;
    absl::string_view rest = target.substr(scheme.size());
    if (!absl::ConsumePrefix(&rest, "//")) return rest;
    const size_t slash = rest.find('/');
    return slash == absl::string_view::npos ? target : rest.substr(slash + 1);
  }
  return target;
}

absl::Status ValidateRpcOptions(const RpcOptions& options) {
  std::vector<std::string> faults;
  if (options.target.empty()) {
    faults.emplace_back("target is empty; it must name the server: host:port");
  }
  absl::flat_hash_set<absl::string_view> seen;
  for (size_t i = 0; i < options.methods.size(); ++i) {
    const MethodRule& rule = options.methods[i];
    const std::string path = absl::StrCat("methods[", i, "]");
    if (!IsPattern(rule.method)) {
      faults.push_back(absl::StrCat(
          path, ".method is \"", rule.method,
          "\"; it must be \"/package.Service/Method\", \"/package.Service/*\" "
          "or \"*\""));
    } else if (!seen.insert(rule.method).second) {
      faults.push_back(absl::StrCat(path, ".method is \"", rule.method,
                                    "\"; there is a rule for it already"));
    }
    for (const grpc::StatusCode code : rule.retryable) {
      if (code >= 1 && code <= 16) continue;
      faults.push_back(absl::StrCat(path, ".retryable holds ",
                                    static_cast<int>(code),
                                    "; it must hold codes 1 … 16"));
    }
    if (rule.attempt_timeout) {
      CheckDuration(absl::StrCat(path, ".attempt_timeout"),
                    *rule.attempt_timeout, absl::Milliseconds(1),
                    absl::InfiniteDuration(), &faults);
    }
    if (rule.retry) {
      ValidateRetry(*rule.retry, absl::StrCat(path, ".retry"), &faults);
    }
  }
  CheckNumber("max_stream_buffer",
              static_cast<double>(options.max_stream_buffer), 0, 1 << 30,
              &faults);
  if (!options.service_config.empty()) {
    const absl::StatusOr<ServiceConfig> config =
        ReadServiceConfig(options.service_config);
    if (!config.ok()) {
      faults.push_back(
          absl::StrCat("service_config: ", config.status().message()));
    }
  }
  if (faults.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("forbear::rpc::RpcOptions: ", absl::StrJoin(faults, "; ")));
}

}  // namespace forbear::rpc
