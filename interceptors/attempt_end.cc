#include "interceptors/attempt_end.h"

#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "runtime/nesting.h"
#include "signals/header_field.h"
#include "signals/http_classify.h"

namespace forbear::rpc {
namespace {

constexpr char kPushback[] = "grpc-retry-pushback-ms";

std::optional<absl::string_view> PushbackIn(const ReceivedMetadata& trailers) {
  const auto it = trailers.find(kPushback);
  if (it == trailers.end()) return std::nullopt;
  return absl::string_view(it->second.data(), it->second.size());
}

}  // namespace

Outcome ReadEnd(const AttemptEnd& end, const ChannelPolicy& policy,
                const Policy& found, CodeSet retryable) {
  const grpc::Status& status = *end.status;
  // Not a temporary: error_message() returns a copy.
  const std::string message = status.error_message();
  RpcResult result;
  result.code = status.error_code();
  result.message = message;
  if (end.trailers != nullptr) result.pushback = PushbackIn(*end.trailers);
  result.timed_out = end.timed_out;
  result.cancelled_by_caller = end.cancelled_by_caller;
  std::string details;
  ProfileRef profile;
  if (!status.ok()) {
    details = status.error_details();
    profile = policy.client->ProfileOf("", found, policy.host);
    result.details = details;
    result.profile = profile.profile;
    result.generic = &profile.set->generic();
  }
  Outcome outcome = Classify(result, retryable);
  outcome.bytes_sent = end.bytes_sent;
  outcome.bytes_received = end.bytes_received;
  return outcome;
}

void AskClassifier(const RpcClassifier& classifier, const AttemptEnd& end,
                   const void* call, Outcome* outcome) {
  if (!classifier || end.status->ok()) return;
  const std::string message = end.status->error_message();
  const std::string details = end.status->error_details();
  std::vector<NameAndValue> trailers;
  if (end.trailers != nullptr) {
    trailers.reserve(end.trailers->size());
    for (const auto& [name, value] : *end.trailers) {
      trailers.emplace_back(absl::string_view(name.data(), name.size()),
                            absl::string_view(value.data(), value.size()));
    }
  }
  RpcAnswer answer;
  answer.code = end.status->error_code();
  answer.message = message;
  answer.details = details;
  answer.trailers = trailers;
  const InsideAttempt inside(call);
  Reclassify(classifier, answer, outcome);
}

std::optional<LimitStand> StandIn(const ChannelPolicy& policy,
                                  const Policy& found,
                                  const ReceivedMetadata* initial,
                                  const ReceivedMetadata* trailing) {
  absl::InlinedVector<HeaderField, 8> fields;
  for (const ReceivedMetadata* metadata : {initial, trailing}) {
    if (metadata == nullptr) continue;
    for (const auto& [name, value] : *metadata) {
      fields.push_back(
          {{name.data(), name.size()}, {value.data(), value.size()}});
    }
  }
  if (fields.empty()) return std::nullopt;
  AnswerFacts facts;
  facts.grpc_code = grpc::StatusCode::OK;
  facts.headers = fields;
  facts.now = WallNow();
  const ProfileRef profile = policy.client->ProfileOf("", found, policy.host);
  return ReadStand(facts, *profile.profile);
}

}  // namespace forbear::rpc
