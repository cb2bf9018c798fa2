#include "interceptors/classify.h"

#include "absl/strings/match.h"
#include "signals/grpc_pushback.h"

namespace forbear::rpc {
namespace {

ErrorKind KindOf(const RpcResult& result, CodeSet retryable) {
  switch (result.code) {
    case grpc::StatusCode::OK:
      return ErrorKind::kOk;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      // "Received message larger than max (8 vs. 4)", "Sent message larger …".
      return absl::StrContains(result.message, "message larger than max")
                 ? ErrorKind::kPermanent
                 : ErrorKind::kThrottled;
    case grpc::StatusCode::UNAVAILABLE:
      return ErrorKind::kTransient;
    case grpc::StatusCode::CANCELLED:
      if (result.cancelled_by_caller) return ErrorKind::kCancelled;
      break;
    default:
      break;
  }
  return retryable.Has(result.code) ? ErrorKind::kTransient
                                    : ErrorKind::kPermanent;
}

}  // namespace

Outcome Classify(const RpcResult& result, CodeSet retryable) {
  Outcome outcome;
  outcome.status = result.code;
  outcome.kind = KindOf(result, retryable);
  outcome.repeatable = retryable.Has(result.code);
  outcome.timed_out = result.timed_out &&
                      outcome.kind != ErrorKind::kCancelled &&
                      (result.code == grpc::StatusCode::CANCELLED ||
                       result.code == grpc::StatusCode::DEADLINE_EXCEEDED);
  if (outcome.timed_out) {
    outcome.status = grpc::StatusCode::DEADLINE_EXCEEDED;
    outcome.kind = ErrorKind::kTransient;
    outcome.repeatable = !retryable.empty();
  }
  switch (outcome.kind) {
    case ErrorKind::kOk:
      outcome.processed = Processed::kYes;
      return outcome;
    case ErrorKind::kPermanent:
    case ErrorKind::kCancelled:
      return outcome;
    case ErrorKind::kThrottled:
    case ErrorKind::kQuotaExhausted:
      outcome.processed = Processed::kNo;
      break;
    case ErrorKind::kTransient:
      break;
  }
  if (result.pushback) {
    const GrpcPushback pushback = ParseGrpcPushback(*result.pushback);
    outcome.pushback = pushback.wait;
    outcome.retry_forbidden = !pushback.wait;
    if (pushback.wait) outcome.pushback_source = DelaySource::kPushback;
  }
  return outcome;
}

}  // namespace forbear::rpc
