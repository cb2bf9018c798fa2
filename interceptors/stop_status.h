// StopStatus: what the application gets of a call that Forbear ended. Private.
//
//   StopStatus stop(action, call.holder());      // a kFinish
//   *batch->GetRecvStatus() = stop.status();     // no server's word
//   stop.AddTrailers(batch->GetRecvTrailingMetadata());
//
// The codes and the trailers are in interceptors/interceptor.h.
//
// Thread rule: a value. What AddTrailers added refers to it.
#ifndef FORBEAR_INTERCEPTORS_STOP_STATUS_H_
#define FORBEAR_INTERCEPTORS_STOP_STATUS_H_

#include <grpcpp/support/status.h>
#include <grpcpp/support/string_ref.h>

#include <map>
#include <string>

#include "core/action.h"
#include "core/shared_state.h"

namespace forbear::rpc {

class StopStatus {
 public:
  StopStatus() = default;
  // `holder`: which of the shared states is in the way.
  StopStatus(const Action& finish, WaitPlace::Where holder);

  // The call was cancelled because the server call that it is made for has ended, with
  // this code.
  void EndedByParent(grpc::StatusCode code) { parent_ = code; }

  grpc::Status status() const;
  void AddTrailers(
      std::multimap<grpc::string_ref, grpc::string_ref>* trailers) const;

 private:
  Action finish_;
  WaitPlace::Where holder_ = WaitPlace::Where::kNowhere;
  grpc::StatusCode parent_ = grpc::StatusCode::OK;
  std::string reason_;
  std::string retry_at_ms_;
};

// Of an attempt that its attempt_timeout ended, when there is no other.
grpc::Status AttemptTimeoutStatus();

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_STOP_STATUS_H_
