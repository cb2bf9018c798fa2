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
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_match.h"
#include "core/call_names.h"
#include "core/call_record.h"
#include "core/endpoint.h"
#include "core/light_execution.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "runtime/classifier.h"
#include "runtime/registry.h"
#include "runtime/server_clock.h"
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

// Of the settings that a state's options are of. Changed with the state's lock held.
struct SharedVersion {
  std::atomic<uint64_t> version;
};

// A state and its lock, and whose options it has. The version and the lock stand in
// front, where the registry's look-up has been already.
template <typename State>
struct Shared : SharedVersion, Guarded<State, StateMutex> {
  template <typename... Args>
  Shared(std::string group_of, uint64_t version_of, Args&&... args)
      : SharedVersion{{version_of}},
        Guarded<State, StateMutex>(std::forward<Args>(args)...),
        group(std::move(group_of)) {}

  // Whether it may be forgotten (runtime/registry.h).
  bool IsIdle(MonotonicTime now) { return (*this)->IsIdle(now); }

  // The target whose calls share it; empty: it is its host's. Never changes.
  std::string group;
};

using SharedQuota = Shared<Quota>;
struct SharedEndpoint final : Shared<Endpoint> {
  using Shared::Shared;
  // The server's.
  ServerClock clock;
};
// Held while there is one. Not beyond the client.
using QuotaRef = Registry<SharedQuota>::Ref;
using EndpointRef = Registry<SharedEndpoint>::Ref;

// What tells calls of one kind from those of another.
struct CallKind {
  // Who shares the limit, and which server it is. Never put a secret in here.
  absl::string_view quota_key;
  absl::string_view endpoint_key;
  // For the record and the log: host:port; "POST" or "/pkg.Service/Method".
  absl::string_view target;
  absl::string_view method;
  Protocol protocol = Protocol::kNone;
};

// What the calls of one kind have in common, looked up once for all of them
// (Client::HandleOf). Never changes; belongs to one version of the settings.
class CallHandle {
 public:
  CallHandle(const CallKind& kind, PolicyRef policy_of, QuotaRef quota_of,
             EndpointRef endpoint_of)
      : policy(std::move(policy_of)),
        quota(std::move(quota_of)),
        endpoint(std::move(endpoint_of)),
        names(kind.target, kind.method, policy->name),
        protocol(kind.protocol),
        plain(LightExecution::ArePlain(policy->retry)),
        shared_(quota.get(), endpoint.get()) {}

  const PolicyRef policy;
  const QuotaRef quota;
  const EndpointRef endpoint;
  const CallNames names;
  const Protocol protocol;
  const bool plain;  // whether its options are (core/light_execution.h)

  // Both states, for an execution.
  SharedState* shared() const { return &shared_; }
  // Nobody misses one that is not held (runtime/registry.h).
  static bool IsIdle(MonotonicTime /*now*/) { return true; }

 private:
  mutable BasicSharedState<StateMutex> shared_;
};
using HandleRef = Registry<CallHandle>::Ref;

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
  // Whether FORBEAR_OFF was set when it was made: nothing is in force, for good.
  bool off() const { return off_; }
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

  // The handle of a kind of calls, of this policy; if that is empty, of the top
  // level as it is now. May be kept as long as IsCurrent. One that is made now may
  // bring new options to its states, which may wake others.
  HandleRef HandleOf(const CallKind& kind, const PolicyRef& policy,
                     MonotonicTime now, WakeList* wakes);
  // Of a kind that has a name, of up to 48 bytes, which is cheaper to look up than
  // all of its texts. One name is never for two kinds. `kind()` returns the
  // CallKind, and is called if that is not known yet. A name that is empty or longer
  // is none.
  template <typename Kind>
  HandleRef HandleOf(absl::string_view name, const PolicyRef& policy,
                     MonotonicTime now, WakeList* wakes, const Kind& kind) {
    if (name.size() - 1 >= kMaxKindName) {  // none, or too long
      return HandleOf(kind(), policy, now, wakes);
    }
    char key[kMaxKindName + sizeof(uint64_t)];
    CopyName(name, key);
    const uint64_t which = Which(policy);
    std::memcpy(key + name.size(), &which, sizeof(which));
    return handles_.Get({key, name.size() + sizeof(which)}, now,
                        [&] { return MakeHandle(kind(), policy, now, wakes); });
  }
  // Whether no Reload has come since.
  bool IsCurrent(const CallHandle& handle) const {
    return IsCurrent(handle.policy);
  }
  bool IsCurrent(const PolicyRef& policy) const {
    return policy.table->version() == version_.load(std::memory_order_acquire);
  }

  // The states of a key; `policy` says whether it has some of its own, and their
  // options: one that has those of an older version gets them now, which may wake
  // others.
  QuotaRef QuotaOf(absl::string_view key, const PolicyRef& policy,
                   MonotonicTime now, WakeList* wakes);
  EndpointRef EndpointOf(absl::string_view key, const PolicyRef& policy,
                         MonotonicTime now, WakeList* wakes);
  // Those of the top level. Nobody is woken.
  QuotaRef QuotaOf(absl::string_view key, MonotonicTime now) {
    WakeList wakes;
    return QuotaOf(key, TopPolicy(), now, &wakes);
  }
  EndpointRef EndpointOf(absl::string_view key, MonotonicTime now) {
    WakeList wakes;
    return EndpointOf(key, TopPolicy(), now, &wakes);
  }
  // Different each time. Threads do not meet here.
  uint64_t NextCallId() {
    IdBlock& block = id_block_;
    if (block.client != serial_ || block.next == block.end) TakeIds(&block);
    return block.next++;
  }
  // What the clock on the wall shows at `now`, as of a second ago at most: whoever
  // sets it is seen that much later.
  absl::Time WallAt(MonotonicTime now) {
    if (now.nanos() >= wall_until_.load(std::memory_order_acquire)) {
      LookAtWall(now);
    }
    return absl::FromUnixNanos(wall_ahead_.load(std::memory_order_relaxed) +
                               now.nanos());
  }
  uint64_t seed() const { return seed_; }
  // This process's place among its peers (QuotaOptions::peers).
  double Place() const { return UnitRandom(seed_, 0); }
  bool logs() const { return static_cast<bool>(options_.log); }

 private:
  // Ids that a thread has for itself; no client is 0.
  struct IdBlock {
    uint64_t client;
    uint64_t next;
    uint64_t end;
  };
  static constexpr uint64_t kIdsPerBlock = 256;
  static inline thread_local IdBlock id_block_;

  static constexpr size_t kMaxKindName = 48;

  // As memcpy, which is no call when the compiler knows the size.
  static void CopyName(absl::string_view name, char* to) {
    const char* const from = name.data();
    const size_t n = name.size();
    if (n < 16) {
      std::memcpy(to, from, n);
      return;
    }
    const size_t second = n < 32 ? n - 16 : 16;
    std::memcpy(to, from, 16);
    std::memcpy(to + second, from + second, 16);
    std::memcpy(to + n - 16, from + n - 16, 16);
  }

  // A number for a policy of a version; a policy stays where it is while there is a
  // handle of it, and no version is as high as an address.
  uint64_t Which(const PolicyRef& policy) const {
    return policy ? reinterpret_cast<uintptr_t>(policy.policy)
                  : version_.load(std::memory_order_acquire);
  }
  CallHandle MakeHandle(const CallKind& kind, const PolicyRef& policy,
                        MonotonicTime now, WakeList* wakes);
  void TakeIds(IdBlock* block);
  void LookAtWall(MonotonicTime now);

  Client(ClientOptions options, std::shared_ptr<const ProfileSet> profiles,
         bool off, uint64_t seed);

  const ClientOptions options_;
  const bool off_;  // FORBEAR_OFF
  const uint64_t seed_;
  const uint64_t serial_;    // which client of this process it is: 1, 2, …
  std::mutex reload_mutex_;  // one Reload at a time
  std::shared_ptr<const PolicyTable> policies_;  // by std::atomic_load, _store
  std::shared_ptr<const ProfileSet> profiles_;   // likewise
  std::atomic<bool> any_enabled_;
  std::atomic<uint64_t> version_{1};  // of policies_, or the one before
  std::atomic<uint64_t> next_call_id_{1};
  std::atomic<int64_t> wall_ahead_{0};  // of the monotonic clock
  std::atomic<int64_t> wall_until_{std::numeric_limits<int64_t>::min()};
  Registry<SharedQuota> quotas_;
  Registry<SharedEndpoint> endpoints_;
  // As many as there may be states: one that nobody holds is forgotten before it
  // could keep the last state from being so.
  Registry<CallHandle> handles_;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_CLIENT_H_
