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
// Calls of a target of the configuration (core/policy.h) that has a quota or an
// endpoint of its own have "|name" at the end of these keys.
//
// Reload. What a configuration file can say may be replaced while calls run:
//
//   absl::StatusOr<forbear::Settings> settings = forbear::LoadConfig(path);
//   if (settings.ok()) status = client->Reload(*std::move(settings));
//
// All of it at once: a call follows one version of it, the one that it found at its
// beginning, to its end. Faulty settings change nothing. Shared states stay, with
// what they have learned, and get the new options: who waits for them goes on waiting
// under these, levels scale (Quota::Reconfigure, Endpoint::Reconfigure). Those of a
// target that is gone serve the calls that hold them, and are forgotten when they are
// idle.
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
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/call_match.h"
#include "core/endpoint.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "core/quota.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "runtime/classifier.h"
#include "runtime/registry.h"
#include "runtime/state_mutex.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"

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

  // What vendors' answers mean (signals/profile_set.h). Null: those that are built
  // in and those of Settings::profile_files. If it is given, profiles and
  // profile_files must be empty.
  std::shared_ptr<const ProfileSet> profile_set;

  // The application's own look at answers (runtime/classifier.h).
  HttpClassifier classify_http;
  RpcClassifier classify_rpc;
};

// A policy, and the version of the settings that it belongs to, which lives as long
// as this.
struct PolicyRef {
  std::shared_ptr<const PolicyTable> table;
  const TargetPolicy* policy = nullptr;  // in *table

  const TargetPolicy& operator*() const { return *policy; }
  const TargetPolicy* operator->() const { return policy; }
  explicit operator bool() const { return policy != nullptr; }
};

// By which profile an answer is read, and the set that it belongs to, which lives
// as long as this.
struct ProfileRef {
  std::shared_ptr<const ProfileSet> set;
  const VendorProfile* profile = nullptr;  // in *set; null: there is none such
};

// A state and its lock, and whose options it has.
template <typename State>
struct Shared : Guarded<State, StateMutex> {
  template <typename... Args>
  explicit Shared(Args&&... args)
      : Guarded<State, StateMutex>(std::forward<Args>(args)...) {}

  // The target whose calls share it; empty: it is its host's. Fixed before others see
  // it.
  std::string group;
  // Of the settings that its options are of. Changed with the lock held.
  std::atomic<uint64_t> version{0};
};

using SharedQuota = Shared<Quota>;
using SharedEndpoint = Shared<Endpoint>;

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

  // False: drivers must not touch calls. True: a call's own policy has the word.
  bool enabled() const {
    return !off_ && any_enabled_.load(std::memory_order_relaxed);
  }
  // As they were given to Create. Its settings are those of the beginning: what
  // holds for a call says PolicyOf.
  const ClientOptions& options() const { return options_; }

  // Replaces the settings, for calls that begin from now on. INVALID_ARGUMENT with
  // all faults, as Create; then nothing has changed.
  absl::Status Reload(Settings settings);

  // The settings as they are now.
  std::shared_ptr<const PolicyTable> policies() const {
    return std::atomic_load(&policies_);
  }

  // The vendors' profiles as they are now. Never null.
  std::shared_ptr<const ProfileSet> profiles() const {
    return std::atomic_load(&profiles_);
  }

  // For operators: lets the callers of a quota or endpoint key go now, whatever
  // a server said, and forgets the learned pace. False if the key is unknown.
  bool ClearGate(absl::string_view key);

  // --- For drivers. ---

  // The policy of a call that is about to begin.
  PolicyRef PolicyOf(const CallRoute& route) const {
    PolicyRef ref{policies(), nullptr};
    ref.policy = &ref.table->Find(route);
    return ref;
  }
  // Of a call that nothing is known of.
  PolicyRef TopPolicy() const {
    PolicyRef ref{policies(), nullptr};
    ref.policy = &ref.table->top();
    return ref;
  }

  // By which profile the answers to a call are read: the one that the call names,
  // or else its policy, or else the one for its host (with or without a port).
  ProfileRef ProfileOf(absl::string_view named, const Policy& policy,
                       absl::string_view host) const;

  // The states of a key; `policy` says whether it has some of its own, and their
  // options: one that has those of an older version gets them now, which may wake
  // others.
  std::shared_ptr<SharedQuota> QuotaOf(absl::string_view key,
                                       const PolicyRef& policy,
                                       MonotonicTime now, WakeList* wakes);
  std::shared_ptr<SharedEndpoint> EndpointOf(absl::string_view key,
                                             const PolicyRef& policy,
                                             MonotonicTime now,
                                             WakeList* wakes);
  // Those of the top level. Nobody is woken.
  std::shared_ptr<SharedQuota> QuotaOf(absl::string_view key,
                                       MonotonicTime now) {
    WakeList wakes;
    return QuotaOf(key, TopPolicy(), now, &wakes);
  }
  std::shared_ptr<SharedEndpoint> EndpointOf(absl::string_view key,
                                             MonotonicTime now) {
    WakeList wakes;
    return EndpointOf(key, TopPolicy(), now, &wakes);
  }
  uint64_t NextCallId() { return next_call_id_.fetch_add(1) + 1; }
  uint64_t seed() const { return seed_; }
  bool logs() const { return static_cast<bool>(options_.log); }

 private:
  Client(ClientOptions options, std::shared_ptr<const ProfileSet> profiles,
         bool off, uint64_t seed);

  const ClientOptions options_;
  const bool off_;  // FORBEAR_OFF
  const uint64_t seed_;
  std::mutex reload_mutex_;                      // one Reload at a time
  std::shared_ptr<const PolicyTable> policies_;  // by std::atomic_load, _store
  std::shared_ptr<const ProfileSet> profiles_;   // likewise
  std::atomic<bool> any_enabled_;
  std::atomic<uint64_t> next_call_id_{0};
  Registry<SharedQuota> quotas_;
  Registry<SharedEndpoint> endpoints_;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_CLIENT_H_
