#include "interceptors/attempt_context.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "interceptors/private_access.h"
#include "signals/retry_marker.h"

namespace forbear::rpc {
namespace {

constexpr char kPreviousAttempts[] = "grpc-previous-rpc-attempts";

thread_local const grpc::ClientContext* starting = nullptr;

}  // namespace

bool HasRetryMarker(const SentMetadata* metadata) {
  return metadata != nullptr &&
         std::any_of(metadata->begin(), metadata->end(), [](const auto& entry) {
           return IsRetryMarker(entry.first, entry.second);
         });
}

void FillAttemptContext(grpc::ClientContext& from, gpr_timespec deadline,
                        grpc::ClientContext* to) {
  to->set_deadline(deadline);
  if (auto credentials = from.credentials()) to->set_credentials(credentials);
  if (from.census_context() != nullptr) {
    to->set_census_context(from.census_context());
  }
  CopyHiddenSettings(from, to);
}

SentMetadata MetadataOfAttempt(const SentMetadata& metadata, int number) {
  SentMetadata all = metadata;
  if (number > 1) all.emplace(kPreviousAttempts, absl::StrCat(number - 1));
  return all;
}

StartingAttempt::StartingAttempt(const grpc::ClientContext* context)
    : before_(std::exchange(starting, context)) {}

StartingAttempt::~StartingAttempt() { starting = before_; }

bool StartingAttempt::Is(const grpc::ClientContext* context) {
  return context == starting;
}

}  // namespace forbear::rpc
