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

}  // namespace

absl::StatusOr<std::shared_ptr<Client>> Client::Create(ClientOptions options) {
  std::vector<std::string> faults;
  ValidateSettings(options, &faults);
  if (!faults.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("forbear::ClientOptions: ", absl::StrJoin(faults, "; ")));
  }
  if (!options.log && IsSet("FORBEAR_LOG")) options.log = LogToStderr;
  const bool enabled = options.enabled && !IsSet("FORBEAR_OFF");
  std::random_device device;
  const uint64_t seed = (uint64_t{device()} << 32) | device();
  return std::shared_ptr<Client>(new Client(std::move(options), enabled, seed));
}

std::shared_ptr<Client> Client::Default() {
  // Leaked on purpose: calls may outlive static destructors.
  static const auto* const client = new std::shared_ptr<Client>(*Create());
  return *client;
}

Client::Client(ClientOptions options, bool enabled, uint64_t seed)
    : options_(std::move(options)),
      enabled_(enabled),
      seed_(seed),
      quotas_(static_cast<size_t>(options_.max_targets)),
      endpoints_(static_cast<size_t>(options_.max_targets)) {}

std::shared_ptr<SharedQuota> Client::QuotaOf(absl::string_view key,
                                             MonotonicTime now) {
  return quotas_.Get(key, now, [this] {
    return std::make_shared<SharedQuota>(options_.quota);
  });
}

std::shared_ptr<SharedEndpoint> Client::EndpointOf(absl::string_view key,
                                                   MonotonicTime now) {
  return endpoints_.Get(key, now, [this, now] {
    return std::make_shared<SharedEndpoint>(options_.endpoint, now);
  });
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
