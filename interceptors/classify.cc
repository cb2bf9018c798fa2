#include "interceptors/classify.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "signals/details_json.h"
#include "signals/grpc_pushback.h"
#include "signals/http_classify.h"
#include "signals/retry_after.h"
#include "signals/retry_info.h"

namespace forbear::rpc {
namespace {

// Of implementations of gRPC, on this side or the other, about something that is too
// large. Each is a part that their versions have in common, and no other text is known
// to have. Whoever else says it means the same.
constexpr absl::string_view kTooLarge[] = {
    // gRPC core, grpc-go, grpc-node: "Received message larger than max (8 vs. 4)",
    // "Sent message larger …", "grpc: trying to send message larger …".
    "message larger than max",
    // gRPC core: "received initial metadata size exceeds limit", which it says of
    // trailing ones, too; others: "… exceeds peer limit", "… exceeds soft limit (…".
    "metadata size exceeds",
    // grpc-go.
    "message after decompression larger than max",
    // grpc-java, also with "Decompressed" and "Compressed".
    "gRPC message exceeds maximum size",
    // grpc-java: "message too large 9 > 8"; grpc-go: "grpc: message too large (…".
    "message too large",
    // grpc-dotnet.
    "message exceeds the maximum configured message size",
    // grpc-node.
    "message with a size larger than",
    "message that decompresses to a size larger than",
    // grpc-swift.
    "exceeded the configured maximum payload size",
};

// gRPC's own word, and no limit of a rate: something is too large, or, in gRPC core, a
// stream was given up because this side's ResourceQuota was used up ("Buffers full";
// the other side's arrives as a reset).
bool MadeHere(const RpcResult& result) {
  if (result.code != grpc::StatusCode::RESOURCE_EXHAUSTED) return false;
  if (result.message == "Buffers full") return true;
  return std::any_of(std::begin(kTooLarge), std::end(kTooLarge),
                     [&result](absl::string_view part) {
                       return absl::StrContains(result.message, part);
                     });
}

// HTTP/2's ENHANCE_YOUR_CALM, as gRPC core ("Received RST_STREAM with error code 11")
// and others say it, of this stream or, passed on, of a backend's. What the server had
// done until then nobody knows.
bool WasReset(const RpcResult& result) {
  return result.code == grpc::StatusCode::RESOURCE_EXHAUSTED &&
         (absl::StrContains(result.message, "RST_STREAM") ||
          absl::StrContains(result.message, "ENHANCE_YOUR_CALM"));
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
  if (WasReset(result) && outcome.processed == Processed::kNo) {
    outcome.processed = Processed::kUnknown;
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
