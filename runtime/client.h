// Client: what an application makes, once, and gives to its channels and
// handles. It holds the options and everything that calls share.
//
//   forbear::ClientOptions options;
//   options.retry.max_attempts = 4;
//   absl::StatusOr<std::shared_ptr<forbear::Client>> client =
//       forbear::Client::Create(options);
//   if (!client.ok()) …client.status() lists every fault of the options…
//
//   // Or, with the defaults, shared by the whole process:
//   std::shared_ptr<forbear::Client> client = forbear::Client::Default();
//
// Two states are shared, by key (docs/decisions/0002):
//   quota     who is limited together: gate, pace, queue
//   endpoint  which server it is: breaker, its gate, budget
//
// Environment, read at Create:
//   FORBEAR_OFF=1  drivers pass every call through untouched
//   FORBEAR_LOG=1  each decision goes to stderr, one line, with its reason and
//                  what can be done about it
//
// Thread rule: thread-safe. Keep it in a shared_ptr; calls hold one.
#ifndef FORBEAR_RUNTIME_CLIENT_H_
#define FORBEAR_RUNTIME_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/endpoint.h"
#include "core/policy.h"
#include "core/quota.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "runtime/classifier.h"
#include "runtime/registry.h"

namespace forbear {

// What a configuration file can say (core/policy.h: retry, quota, endpoint, …;
// proto/config_convert.h reads one), and what only a program can.
struct ClientOptions : Settings {
  ClientOptions() = default;
  explicit ClientOptions(Settings settings) : Settings(std::move(settings)) {}

  // Gets each decision as a line of text without a line break. Called by the
  // thread that made it, with no lock held, from several threads at once. Empty:
  // no log, unless FORBEAR_LOG=1, which logs to stderr.
  std::function<void(absl::string_view line)> log;

  // The application's own look at answers (runtime/classifier.h).
  HttpClassifier classify_http;
  RpcClassifier classify_rpc;
};

using SharedQuota = Guarded<Quota, std::mutex>;
using SharedEndpoint = Guarded<Endpoint, std::mutex>;

class Client {
 public:
  // INVALID_ARGUMENT with all faults of the options, each with its field, its
  // value and the range.
  static absl::StatusOr<std::shared_ptr<Client>> Create(
      ClientOptions options = {});

  // One client with default options for the whole process. Never destroyed.
  static std::shared_ptr<Client> Default();

  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // False: drivers must not touch calls.
  bool enabled() const { return enabled_; }
  const ClientOptions& options() const { return options_; }

  // For operators: lets the callers of a quota or endpoint key go now, whatever
  // a server said, and forgets the learned pace. False if the key is unknown.
  bool ClearGate(absl::string_view key);

  // --- For drivers. ---
  std::shared_ptr<SharedQuota> QuotaOf(absl::string_view key,
                                       MonotonicTime now);
  std::shared_ptr<SharedEndpoint> EndpointOf(absl::string_view key,
                                             MonotonicTime now);
  uint64_t NextCallId() { return next_call_id_.fetch_add(1) + 1; }
  uint64_t seed() const { return seed_; }
  bool logs() const { return static_cast<bool>(options_.log); }

 private:
  Client(ClientOptions options, bool enabled, uint64_t seed);

  const ClientOptions options_;
  const bool enabled_;
  const uint64_t seed_;
  std::atomic<uint64_t> next_call_id_{0};
  Registry<SharedQuota> quotas_;
  Registry<SharedEndpoint> endpoints_;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_CLIENT_H_
