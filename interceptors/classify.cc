#include "interceptors/classify.h"

#include <string>

#include "absl/strings/match.h"
#include "signals/details_json.h"
#include "signals/grpc_pushback.h"
#include "signals/http_classify.h"
#include "signals/retry_after.h"
#include "signals/retry_info.h"

namespace forbear::rpc {
namespace {

// "Received message larger than max (8 vs. 4)", "Sent message larger …": gRPC's own
// word, on this side or the other, and no limit of a rate.
bool MadeHere(const RpcResult& result) {
  return result.code == grpc::StatusCode::RESOURCE_EXHAUSTED &&
         absl::StrContains(result.message, "message larger than max");
}

ErrorKind KindOf(const RpcResult& result, CodeSet retryable) {
  switch (result.code) {
    case grpc::StatusCode::OK:
      return ErrorKind::kOk;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return MadeHere(result) ? ErrorKind::kPermanent : ErrorKind::kThrottled;
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

// What the server's profile makes of it, by the code and its details. False: it has
// nothing to say.
bool Read(const RpcResult& result, const ErrorDetails& details,
          AnswerMeaning* meaning) {
  if (result.profile == nullptr || result.code == grpc::StatusCode::OK) {
    return false;
  }
  const std::string body = DetailsAsJson(details);
  AnswerFacts facts;
  facts.grpc_code = result.code;
  facts.body = body;
  facts.has_body = true;
  *meaning = ClassifyAnswer(facts, *result.profile, *result.generic);
  return !meaning->rule.empty();
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
  outcome.processed = outcome.kind == ErrorKind::kOk ? Processed::kYes
                      : outcome.kind == ErrorKind::kThrottled
                          ? Processed::kNo
                          : Processed::kUnknown;
  outcome.shed = outcome.kind == ErrorKind::kTransient &&
                 result.code == grpc::StatusCode::UNAVAILABLE;
  // What this side made of it, or the caller ended, is nothing of the server's.
  const bool servers_own = !outcome.timed_out && !MadeHere(result) &&
                           outcome.kind != ErrorKind::kCancelled;
  ErrorDetails details;
  if (servers_own) details = ReadErrorDetails(result.details);
  AnswerMeaning meaning;
  if (servers_own && Read(result, details, &meaning)) {
    outcome.kind = meaning.kind;
    outcome.processed = meaning.processed;
    outcome.retry_forbidden = meaning.retry_forbidden;
    outcome.pushback = meaning.pushback;
    outcome.pushback_source = meaning.pushback_source;
  }
  if (outcome.kind != ErrorKind::kThrottled &&
      outcome.kind != ErrorKind::kTransient) {
    return outcome;
  }
  if (details.retry_delay &&
      LongestWait(outcome.pushback, details.retry_delay) != outcome.pushback) {
    outcome.pushback = details.retry_delay;
    outcome.pushback_source = DelaySource::kRetryInfo;
  }
  if (result.pushback) {
    const GrpcPushback pushback = ParseGrpcPushback(*result.pushback);
    outcome.retry_forbidden = outcome.retry_forbidden || !pushback.wait;
    // Of two that are as long, gRPC's own.
    if (pushback.wait &&
        LongestWait(outcome.pushback, pushback.wait) == pushback.wait) {
      outcome.pushback = pushback.wait;
      outcome.pushback_source = DelaySource::kPushback;
    }
  }
  return outcome;
}

}  // namespace forbear::rpc
