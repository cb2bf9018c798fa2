// KnownMethods: what the calls of one method of a channel have in common, looked up
// once for all of them. Private.
//
//   std::shared_ptr<const KnownMethod> known = methods.Find(info->method());
//   if (known == nullptr) {                       // new, or of an older version
//     known = …PolicyOf, HandleOf, the method's rule…;
//     methods.Keep(known);
//   }
//
// Bounded: kMethods of a channel. If there are more, one goes for another, and is
// looked up again when it is called again. What is kept holds its shared states, which
// are not forgotten meanwhile (runtime/registry.h).
//
// Thread rule: thread-safe. Its locks are innermost ones, and nothing is called while
// they are held.
#ifndef FORBEAR_INTERCEPTORS_KNOWN_METHODS_H_
#define FORBEAR_INTERCEPTORS_KNOWN_METHODS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "core/retry_policy.h"
#include "interceptors/classify.h"
#include "runtime/client.h"
#include "runtime/key_hash.h"

namespace forbear::rpc {

struct KnownMethod {
  std::string name;    // "/pkg.Service/Method"
  bool named = false;  // something was said of it, and not of all calls
  PolicyRef policy;
  CodeSet retryable;
  std::optional<RetryOptions> retry;  // absent: the policy's
  const RetryOptions& retry_options() const {
    return retry ? *retry : policy->retry;
  }
  // Nothing if the policy is not enabled. Not beyond the client.
  HandleRef handle;
};

class KnownMethods {
 public:
  static constexpr size_t kMethods = 64;

  // `client` must outlive it.
  explicit KnownMethods(const Client* client) : client_(*client) {}
  KnownMethods(const KnownMethods&) = delete;
  KnownMethods& operator=(const KnownMethods&) = delete;

  // Null: not known, or not as it is now.
  std::shared_ptr<const KnownMethod> Find(absl::string_view name) {
    Group& group = GroupOf(name);
    const std::lock_guard<std::mutex> lock(group.mutex);
    for (const auto& known : group.methods) {
      if (known == nullptr || known->name != name) continue;
      return client_.IsCurrent(known->policy) ? known : nullptr;
    }
    return nullptr;
  }

  void Keep(std::shared_ptr<const KnownMethod> known) {
    Group& group = GroupOf(known->name);
    const std::lock_guard<std::mutex> lock(group.mutex);
    for (auto& other : group.methods) {
      if (other == nullptr || other->name == known->name) {
        other.swap(known);  // the old one dies without the lock
        return;
      }
    }
    group.methods[group.next++ % group.methods.size()].swap(known);
  }

 private:
  struct Group {
    std::mutex mutex;  // guards all below
    std::array<std::shared_ptr<const KnownMethod>, 4> methods;
    size_t next = 0;  // who goes for another one
  };

  Group& GroupOf(absl::string_view name) {
    return groups_[hash_(name) % groups_.size()];
  }

  const Client& client_;
  const KeyHash hash_ = KeyHash::Random();
  std::array<Group, kMethods / 4> groups_;
};

}  // namespace forbear::rpc

#endif  // FORBEAR_INTERCEPTORS_KNOWN_METHODS_H_
