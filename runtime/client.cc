#include "runtime/client.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace forbear {
namespace {

bool IsSet(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && absl::string_view(value) != "" &&
         absl::string_view(value) != "0";
}

// stderr is unbuffered: one call is one write, and the lines of two threads do
// not mix.
void LogToStderr(absl::string_view line) {
  const std::string text = absl::StrCat("forbear: ", line, "\n");
  std::fwrite(text.data(), 1, text.size(), stderr);
}

absl::Status Validate(const Settings& settings, absl::string_view what) {
  std::vector<std::string> faults;
  ValidateSettings(settings, &faults);
  if (faults.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, absl::StrJoin(faults, "; ")));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Client>> Client::Create(ClientOptions options) {
  const absl::Status valid = Validate(options, "forbear::ClientOptions: ");
  if (!valid.ok()) return valid;
  if (!options.log && IsSet("FORBEAR_LOG")) options.log = LogToStderr;
  const bool off = IsSet("FORBEAR_OFF");
  std::random_device device;
  const uint64_t seed = (uint64_t{device()} << 32) | device();
  return std::shared_ptr<Client>(new Client(std::move(options), off, seed));
}

std::shared_ptr<Client> Client::Default() {
  // Leaked on purpose: calls may outlive static destructors.
  static const auto* const client = new std::shared_ptr<Client>(*Create());
  return *client;
}

Client::Client(ClientOptions options, bool off, uint64_t seed)
    : options_(std::move(options)),
      off_(off),
      seed_(seed),
      policies_(std::make_shared<const PolicyTable>(options_, /*version=*/1)),
      any_enabled_(policies_->any_enabled()),
      quotas_(static_cast<size_t>(options_.max_targets)),
      endpoints_(static_cast<size_t>(options_.max_targets)) {}

absl::Status Client::Reload(Settings settings) {
  const absl::Status valid = Validate(settings, "forbear::Settings: ");
  if (!valid.ok()) return valid;
  const std::lock_guard<std::mutex> lock(reload_mutex_);
  const auto table = std::make_shared<const PolicyTable>(
      std::move(settings), policies()->version() + 1);
  std::atomic_store(&policies_, table);
  any_enabled_.store(table->any_enabled(), std::memory_order_relaxed);
  quotas_.SetMaxEntries(static_cast<size_t>(table->max_targets()));
  endpoints_.SetMaxEntries(static_cast<size_t>(table->max_targets()));
  return absl::OkStatus();
}

std::shared_ptr<SharedQuota> Client::QuotaOf(absl::string_view key,
                                             const TargetPolicy& policy,
                                             MonotonicTime now) {
  const auto make = [&policy] {
    return std::make_shared<SharedQuota>(policy.quota);
  };
  if (!policy.own_quota) return quotas_.Get(key, now, make);
  return quotas_.Get(absl::StrCat(key, "|", policy.name), now, make);
}

std::shared_ptr<SharedEndpoint> Client::EndpointOf(absl::string_view key,
                                                   const TargetPolicy& policy,
                                                   MonotonicTime now) {
  const auto make = [&policy, now] {
    return std::make_shared<SharedEndpoint>(policy.endpoint, now);
  };
  if (!policy.own_endpoint) return endpoints_.Get(key, now, make);
  return endpoints_.Get(absl::StrCat(key, "|", policy.name), now, make);
}

bool Client::ClearGate(absl::string_view key) {
  WakeList wakes;
  const std::shared_ptr<SharedQuota> quota = quotas_.Find(key);
  if (quota != nullptr) {
    const std::lock_guard<std::mutex> lock(quota->mutex);
    quota->value.ClearGate(&wakes);
  }
  const std::shared_ptr<SharedEndpoint> endpoint = endpoints_.Find(key);
  if (endpoint != nullptr) {
    const std::lock_guard<std::mutex> lock(endpoint->mutex);
    endpoint->value.ClearGate(&wakes);
  }
  for (const auto& waiter : wakes) waiter->Wake();
  return quota != nullptr || endpoint != nullptr;
}

}  // namespace forbear
