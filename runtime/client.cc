#include "runtime/client.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <ios>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/clock.h"

namespace forbear {
namespace {

bool IsSet(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' && absl::string_view(value) != "0";
}

// stderr is unbuffered: one call is one write, and the lines of two threads do
// not mix.
void LogToStderr(absl::string_view line) {
  const std::string text = absl::StrCat("forbear: ", line, "\n");
  std::fwrite(text.data(), 1, text.size(), stderr);
}

// The text of a file, but for what is too long for a profile anyway.
bool ReadProfileFile(const std::string& path, std::string* text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  text->resize(VendorProfile::kMaxFileBytes + 1);
  file.read(text->data(), static_cast<std::streamsize>(text->size()));
  text->resize(static_cast<size_t>(file.gcount()));
  return !file.bad();
}

// The profiles that the settings ask for, and faults of those they name.
std::shared_ptr<const ProfileSet> LoadProfiles(
    const Settings& settings, std::shared_ptr<const ProfileSet> given,
    std::vector<std::string>* faults) {
  std::shared_ptr<const ProfileSet> set = std::move(given);
  if (set != nullptr) {
    if (!settings.profiles.empty() || !settings.profile_files.empty()) {
      faults->push_back(
          "profiles and profile_files must be empty beside a profile_set");
    }
  } else {
    std::vector<ProfileText> own;
    for (const std::string& path : settings.profile_files) {
      own.push_back({path, ""});
      if (!ReadProfileFile(path, &own.back().text)) {
        faults->push_back(
            absl::StrCat("profile_files: ", path, " cannot be read"));
        own.pop_back();
      }
    }
    absl::StatusOr<std::shared_ptr<const ProfileSet>> made =
        ProfileSet::Create(own, settings.profiles);
    if (!made.ok()) {
      faults->push_back(absl::StrCat("profiles: ", made.status().message()));
      return nullptr;
    }
    set = *std::move(made);
  }
  const auto check = [&](const std::string& prefix, const Policy& policy) {
    if (policy.profile.empty() || set->Find(policy.profile) != nullptr) return;
    faults->push_back(absl::StrCat(prefix, "profile is \"", policy.profile,
                                   "\", which no profile has as its id"));
  };
  check("", settings);
  for (size_t i = 0; i < settings.targets.size(); ++i) {
    if (settings.targets[i].profile == settings.profile) continue;  // inherited
    check(absl::StrCat("targets[", i, "]."), settings.targets[i]);
  }
  return set;
}

// Checks them; then *profiles are theirs.
absl::Status Validate(const Settings& settings,
                      std::shared_ptr<const ProfileSet> given,
                      absl::string_view what,
                      std::shared_ptr<const ProfileSet>* profiles) {
  std::vector<std::string> faults;
  ValidateSettings(settings, &faults);
  if (faults.empty()) {
    *profiles = LoadProfiles(settings, std::move(given), &faults);
  }
  if (faults.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, absl::StrJoin(faults, "; ")));
}

// The policy whose options a group's states have; null: there is none any more.
const TargetPolicy* GroupIn(const PolicyTable& table,
                            const std::string& group) {
  if (group.empty()) return &table.top();
  for (const TargetPolicy& target : table.targets()) {
    if (target.name == group) return &target;
  }
  return nullptr;
}

// Gives `state` the options of this version, unless it has them, or later ones.
template <typename State, typename Options>
void Update(State* state, const Options& options, uint64_t version,
            MonotonicTime now, WakeList* wakes) {
  if (state->version.load(std::memory_order_relaxed) >= version) return;
  const typename State::Turn turn(state);
  if (state->version.load(std::memory_order_relaxed) >= version) return;
  turn->Reconfigure(options, now, wakes);
  state->version.store(version, std::memory_order_relaxed);
}

uint64_t NextSerial() {
  static std::atomic<uint64_t> serial{0};
  return ++serial;
}

// The key of a handle whose kind has no name: the policy and all of the kind, with the
// lengths of its texts, so that none runs into the next. On the stack, if it is not
// very long. (Where a kind has a name, the key begins with that, which is text; here
// with numbers that have bytes of zero.)
class HandleKey {
 public:
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): short_ is room
  HandleKey(uint64_t which, const CallKind& kind)
      : size_(sizeof(Fixed) + kind.quota_key.size() + kind.endpoint_key.size() +
              kind.target.size() + kind.method.size()) {
    char* at = short_;
    if (size_ > sizeof(short_)) {
      long_.resize(size_);
      at = &long_[0];
    }
    begin_ = at;
    Fixed fixed = {};
    fixed.which = which;
    fixed.protocol = static_cast<uint64_t>(kind.protocol);
    fixed.quota = kind.quota_key.size();
    fixed.endpoint = kind.endpoint_key.size();
    fixed.target = kind.target.size();
    at = Put(&fixed, sizeof(fixed), at);
    at = Put(kind.quota_key.data(), kind.quota_key.size(), at);
    at = Put(kind.endpoint_key.data(), kind.endpoint_key.size(), at);
    at = Put(kind.target.data(), kind.target.size(), at);
    Put(kind.method.data(), kind.method.size(), at);
  }
  HandleKey(const HandleKey&) = delete;
  HandleKey& operator=(const HandleKey&) = delete;

  absl::string_view text() const { return {begin_, size_}; }

 private:
  struct Fixed {
    uint64_t which;
    uint64_t protocol;
    uint64_t quota;
    uint64_t endpoint;
    uint64_t target;
  };

  static char* Put(const void* from, size_t size, char* to) {
    if (size > 0) std::memcpy(to, from, size);
    return to + size;
  }

  const size_t size_;
  const char* begin_;
  char short_[512];
  std::string long_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<Client>> Client::Create(ClientOptions options) {
  std::shared_ptr<const ProfileSet> profiles;
  absl::Status valid = Validate(options, options.profile_set,
                                "forbear::ClientOptions: ", &profiles);
  if (!valid.ok()) return valid;
  if (!options.log && IsSet("FORBEAR_LOG")) options.log = LogToStderr;
  const bool off = IsSet("FORBEAR_OFF");
  std::random_device device;
  const uint64_t seed = (uint64_t{device()} << 32) | device();
  return std::shared_ptr<Client>(
      new Client(std::move(options), std::move(profiles), off, seed));
}

std::shared_ptr<Client> Client::Default() {
  // Leaked on purpose: calls may outlive static destructors.
  static const auto* const client = new std::shared_ptr<Client>(*Create());
  return *client;
}

Client::Client(ClientOptions options,
               std::shared_ptr<const ProfileSet> profiles, bool off,
               uint64_t seed)
    : options_(std::move(options)),
      off_(off),
      seed_(seed),
      serial_(NextSerial()),
      policies_(std::make_shared<const PolicyTable>(options_, /*version=*/1)),
      profiles_(std::move(profiles)),
      any_enabled_(policies_->any_enabled()),
      quotas_(static_cast<size_t>(options_.max_targets)),
      endpoints_(static_cast<size_t>(options_.max_targets)),
      handles_(static_cast<size_t>(options_.max_targets)) {}

void Client::TakeIds(IdBlock* block) {
  block->client = serial_;
  block->next =
      next_call_id_.fetch_add(kIdsPerBlock, std::memory_order_relaxed);
  block->end = block->next + kIdsPerBlock;
}

void Client::LookAtWall(MonotonicTime now) {
  // Several threads may do so at once: all of them find the same.
  const int64_t wall = absl::ToUnixNanos(WallNow());
  wall_ahead_.store(wall - MonotonicNow().nanos(), std::memory_order_relaxed);
  wall_until_.store((now + absl::Seconds(1)).nanos(),
                    std::memory_order_release);
}

absl::Status Client::Reload(Settings settings) {
  std::shared_ptr<const ProfileSet> profiles;
  absl::Status valid = Validate(settings, options_.profile_set,
                                "forbear::Settings: ", &profiles);
  if (!valid.ok()) return valid;
  WakeList wakes;
  {
    const std::lock_guard<std::mutex> lock(reload_mutex_);
    const auto table = std::make_shared<const PolicyTable>(
        std::move(settings), policies()->version() + 1);
    // First these: a policy must not name one that is not there yet.
    std::atomic_store(&profiles_, profiles);
    std::atomic_store(&policies_, table);
    version_.store(table->version(), std::memory_order_release);
    any_enabled_.store(table->any_enabled(), std::memory_order_relaxed);
    quotas_.SetMaxEntries(static_cast<size_t>(table->max_targets()));
    endpoints_.SetMaxEntries(static_cast<size_t>(table->max_targets()));
    handles_.SetMaxEntries(static_cast<size_t>(table->max_targets()));
    // Nobody asks for those of the old table again, and they keep it, and its states.
    handles_.ForgetIdle(MonotonicNow());
    // A state that is made from the old table right now gets the new options from the
    // first call that comes with the new one.
    const MonotonicTime now = MonotonicNow();
    quotas_.ForEach([&](SharedQuota* state) {
      const TargetPolicy* const p = GroupIn(*table, state->group);
      if (p == nullptr || p->own_quota == state->group.empty()) return;
      Update(state, p->quota, table->version(), now, &wakes);
    });
    endpoints_.ForEach([&](SharedEndpoint* state) {
      const TargetPolicy* const p = GroupIn(*table, state->group);
      if (p == nullptr || p->own_endpoint == state->group.empty()) return;
      Update(state, p->endpoint, table->version(), now, &wakes);
    });
  }
  for (const auto& waiter : wakes) waiter->Wake();
  return absl::OkStatus();
}

ProfileRef Client::ProfileOf(absl::string_view named, const Policy& policy,
                             absl::string_view host) const {
  ProfileRef ref;
  ref.set = profiles();
  if (!named.empty()) {
    ref.profile = ref.set->Find(named);
    return ref;
  }
  if (!policy.profile.empty()) ref.profile = ref.set->Find(policy.profile);
  // Null only if it has gone with a reload.
  if (ref.profile == nullptr) ref.profile = &ref.set->ForHost(host);
  return ref;
}

HandleRef Client::HandleOf(const CallKind& kind, const PolicyRef& policy,
                           MonotonicTime now, WakeList* wakes) {
  const HandleKey key(Which(policy), kind);
  return handles_.Get(key.text(), now,
                      [&] { return MakeHandle(kind, policy, now, wakes); });
}

CallHandle Client::MakeHandle(const CallKind& kind, const PolicyRef& policy,
                              MonotonicTime now, WakeList* wakes) {
  // Maybe of a newer version than its key, which then is asked for a last time.
  const PolicyRef found = policy ? policy : TopPolicy();
  return CallHandle(kind, found, QuotaOf(kind.quota_key, found, now, wakes),
                    EndpointOf(kind.endpoint_key, found, now, wakes));
}

QuotaRef Client::QuotaOf(absl::string_view key, const PolicyRef& policy,
                         MonotonicTime now, WakeList* wakes) {
  const uint64_t version = policy.table->version();
  const bool own = policy->own_quota;
  std::string own_key;
  if (own) key = own_key = absl::StrCat(key, "|", policy->name);
  const auto make = [&] {
    return SharedQuota(own ? policy->name : "", version, policy->quota,
                       Place());
  };
  QuotaRef state = quotas_.Get(key, now, make);
  Update(state.get(), policy->quota, version, now, wakes);
  return state;
}

EndpointRef Client::EndpointOf(absl::string_view key, const PolicyRef& policy,
                               MonotonicTime now, WakeList* wakes) {
  const uint64_t version = policy.table->version();
  const bool own = policy->own_endpoint;
  std::string own_key;
  if (own) key = own_key = absl::StrCat(key, "|", policy->name);
  const auto make = [&] {
    return SharedEndpoint(own ? policy->name : "", version, policy->endpoint,
                          now, Place());
  };
  EndpointRef state = endpoints_.Get(key, now, make);
  Update(state.get(), policy->endpoint, version, now, wakes);
  return state;
}

bool Client::ClearGate(absl::string_view key) {
  WakeList wakes;
  const QuotaRef quota = quotas_.Find(key);
  if (quota != nullptr) (*quota)->ClearGate(&wakes);
  const EndpointRef endpoint = endpoints_.Find(key);
  if (endpoint != nullptr) (*endpoint)->ClearGate(&wakes);
  for (const auto& waiter : wakes) waiter->Wake();
  return quota != nullptr || endpoint != nullptr;
}

}  // namespace forbear
