#include "core/wait_queue.h"

#include <utility>

namespace forbear {

bool WaitQueue::Add(const Ticket& ticket, const std::shared_ptr<Waiter>& waiter,
                    MonotonicTime limit, MonotonicTime now) {
  if (waiters_.contains(ticket)) return true;
  if (waiters_.size() >= max_waiters_) return false;
  waiters_.emplace(ticket, Entry{waiter, limit, now});
  by_limit_.emplace(limit, ticket);
  return true;
}

bool WaitQueue::Remove(const Ticket& ticket) {
  auto it = waiters_.find(ticket);
  if (it == waiters_.end()) return false;
  by_limit_.erase({it->second.limit, ticket});
  waiters_.erase(it);
  return true;
}

MonotonicTime WaitQueue::Since(const Ticket& ticket, MonotonicTime now) const {
  auto it = waiters_.find(ticket);
  return it == waiters_.end() ? now : it->second.since;
}

void WaitQueue::CollectHead(WakeList* wakes) const {
  if (!waiters_.empty()) wakes->push_back(waiters_.begin()->second.waiter);
}

void WaitQueue::CollectDoomed(MonotonicTime earliest, WakeList* wakes) const {
  for (const auto& [limit, ticket] : by_limit_) {
    if (limit > earliest) break;
    wakes->push_back(waiters_.find(ticket)->second.waiter);
  }
}

}  // namespace forbear
