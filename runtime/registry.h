// Registry: from a key to the state that its callers share.
//
//   Registry<Guarded<Quota, std::mutex>> quotas(4096);
//   auto state = quotas.Get("api.example.com", now,
//                           [&] { return std::make_shared<…>(options); });
//
// Bounded: above `max_entries` the least recently used ones that may be
// forgotten go, a tenth at a time. An entry that somebody holds, or whose state
// is not idle (a shut gate, an open breaker, waiters, permits out), is never
// forgotten. If none may be, the new key gets a state of its own that is not
// remembered: its callers are served, but do not share.
//
// T: a Guarded<State, M> whose State has `bool IsIdle(MonotonicTime) const`.
//
// Thread rule: thread-safe. Get may take a state's lock inside the registry's,
// never the other way round.
#ifndef FORBEAR_RUNTIME_REGISTRY_H_
#define FORBEAR_RUNTIME_REGISTRY_H_

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/time.h"

namespace forbear {

template <typename T>
class Registry {
 public:
  explicit Registry(size_t max_entries) : max_entries_(max_entries) {}

  template <typename Make>
  std::shared_ptr<T> Get(absl::string_view key, MonotonicTime now,
                         const Make& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto it = entries_.find(key);
    if (it != entries_.end()) {
      it->second.used = now;
      return it->second.state;
    }
    if (entries_.size() >= max_entries_) Forget(now);
    std::shared_ptr<T> state = make();
    if (entries_.size() < max_entries_) {
      entries_.emplace(key, Entry{state, now});
    }
    return state;
  }

  // The state of a key that is known; null if it is not.
  std::shared_ptr<T> Find(absl::string_view key) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto it = entries_.find(key);
    return it == entries_.end() ? nullptr : it->second.state;
  }

  // Calls visit(T*) for each state that is remembered now, without the registry's
  // lock.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    std::vector<std::shared_ptr<T>> states;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      states.reserve(entries_.size());
      for (const auto& [key, entry] : entries_) states.push_back(entry.state);
    }
    for (const std::shared_ptr<T>& state : states) visit(state.get());
  }

  // Of more entries than this, those that may be forgotten go as new ones come.
  void SetMaxEntries(size_t max_entries) {
    const std::lock_guard<std::mutex> lock(mutex_);
    max_entries_ = max_entries;
  }

  size_t size() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return entries_.size();
  }

 private:
  struct Entry {
    std::shared_ptr<T> state;
    MonotonicTime used;
  };

  void Forget(MonotonicTime now) {  // with mutex_ held
    std::vector<std::pair<MonotonicTime, std::string>> idle;
    for (const auto& [key, entry] : entries_) {
      if (entry.state.use_count() > 1) continue;
      if ((*entry.state)->IsIdle(now)) idle.emplace_back(entry.used, key);
    }
    // As many as are too many, after a smaller bound was set, and a tenth.
    const size_t n = std::min(
        idle.size(), entries_.size() - max_entries_ + max_entries_ / 10 + 1);
    std::partial_sort(idle.begin(), idle.begin() + static_cast<ptrdiff_t>(n),
                      idle.end());
    for (size_t i = 0; i < n; ++i) entries_.erase(idle[i].second);
  }

  mutable std::mutex mutex_;
  size_t max_entries_;                               // by mutex_
  absl::flat_hash_map<std::string, Entry> entries_;  // by mutex_
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_REGISTRY_H_
