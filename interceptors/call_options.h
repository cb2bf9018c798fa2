// CallOptions: what an application wants for one call, instead of what its channel
// and the configuration say. A ClientContext has no place for it; so it is said
// around the line that makes the call:
//
//   grpc::ClientContext context;
//   forbear::rpc::CallOptions options;
//   options.retry = forbear::RetryOptions();
//   options.retry->max_attempts = 1;
//   {
//     const forbear::rpc::WithCallOptions with(&context, &options);
//     status = stub->Buy(&context, request, &response);
//   }
//
// It counts for the call that is made with this context, on this thread, while `with`
// exists. An asynchronous call is made by the stub's function (async()->Buy(…),
// AsyncBuy, PrepareAsyncBuy), not by StartCall(): a scope around that is not seen. Scopes
// may be nested; of two for one context the inner one counts.
//
// Thread rule: one thread per scope.
#ifndef FORBEAR_INTERCEPTORS_CALL_OPTIONS_H_
#define FORBEAR_INTERCEPTORS_CALL_OPTIONS_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status_code_enum.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/retry_policy.h"

namespace forbear::rpc {

struct CallOptions {
  // False: the call passes through untouched. True does not switch on what is
  // switched off elsewhere.
  bool enabled = true;

  // After these codes it may be sent again; an empty list: after none. Absent: as the
  // method's rule or the configuration says. Codes 1 … 16.
  std::optional<std::vector<grpc::StatusCode>> retryable;

  // Instead of the method's and the configuration's.
  std::optional<RetryOptions> retry;

  // How long one attempt may take; goes before `retry`. 1 ms … infinite.
  std::optional<absl::Duration> attempt_timeout;

  // Who is limited together, instead of RpcOptions::quota_id. Empty: as that says.
  std::string quota_id;
};

// INVALID_ARGUMENT with all faults. A call with faulty options ends with it.
absl::Status ValidateCallOptions(const CallOptions& options);

class WithCallOptions {
 public:
  // Both must outlive it.
  WithCallOptions(const grpc::ClientContext* context,
                  const CallOptions* options);
  ~WithCallOptions();
  WithCallOptions(const WithCallOptions&) = delete;
  WithCallOptions& operator=(const WithCallOptions&) = delete;

  // For the interceptor: null: there are none for `context` on this thread.
  static const CallOptions* Of(const grpc::ClientContext* context);

 private:
  const grpc::ClientContext* const context_;
  const CallOptions* const options_;
  const WithCallOptions* const outer_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_CALL_OPTIONS_H_
