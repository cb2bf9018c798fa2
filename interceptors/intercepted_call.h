// InterceptedCall: what an interceptor drives, whatever the shape of the call.
// Private.
//
// Thread rule: thread-safe.
#ifndef FORBEAR_INTERCEPTORS_INTERCEPTED_CALL_H_
#define FORBEAR_INTERCEPTORS_INTERCEPTED_CALL_H_

#include <grpcpp/support/client_interceptor.h>

#include <memory>

#include "core/call_record.h"

namespace forbear::rpc {

class InterceptedCall {
 public:
  using Batch = grpc::experimental::InterceptorBatchMethods;

  InterceptedCall() = default;
  virtual ~InterceptedCall() = default;
  InterceptedCall(const InterceptedCall&) = delete;
  InterceptedCall& operator=(const InterceptedCall&) = delete;

  virtual void Intercept(Batch* batch) = 0;

  // The application's context goes away. The caller destroys what it gets.
  virtual std::shared_ptr<void> Detach() = 0;

  virtual CallRecord record() const = 0;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_INTERCEPTED_CALL_H_
