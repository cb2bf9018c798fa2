// WaitQueue: the callers that wait for one shared state, in order of arrival.
//
// A queue, not a book of reservations: nobody holds anything while waiting,
// only the head may ask for a time, and a waiter that is cancelled costs
// nothing. What a waiter needs to be told is Wake(): "ask again".
//
//   Ticket ticket{now, call_id};
//   if (!queue.Add(ticket, waiter, limit)) …kQueueFull…
//   if (queue.IsFirst(ticket)) …may go, or knows when…
//   queue.Remove(ticket);               // and wake the new head
//
// A waiter whose limit has come to lie before the earliest possible send, or on
// it, is doomed; CollectDoomed finds all of them without touching the others, so that
// they can end at once instead of at their deadline.
//
// Bounds: at most `max_waiters`; O(log n) each. About 150 bytes a waiter.
//
// Thread rule: not thread-safe; Quota and Endpoint own one each. Waiter::Wake
// must never be called while a shared state's lock is held: collect into a
// WakeList, unlock, then wake.
#ifndef FORBEAR_CORE_WAIT_QUEUE_H_
#define FORBEAR_CORE_WAIT_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/inlined_vector.h"
#include "core/time.h"

namespace forbear {

// Place in the order of arrival. A throttled retry keeps its ticket, and so
// goes before everybody who came later; a transient retry takes a new one.
struct Ticket {
  MonotonicTime arrived;
  uint64_t call_id = 0;  // tells apart who arrived in the same nanosecond

  friend bool operator<(const Ticket& a, const Ticket& b) {
    return std::tie(a.arrived, a.call_id) < std::tie(b.arrived, b.call_id);
  }
  friend bool operator==(const Ticket& a, const Ticket& b) {
    return a.arrived == b.arrived && a.call_id == b.call_id;
  }
};

// What a driver gives to be told that asking again may help.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // Called from any thread, with no lock of ours held except, possibly,
  // another call's own. Must be quick, must not call back into Forbear; typical:
  // notify a condition variable, cancel a timer. May come too often or too
  // late: it is a hint, not a grant.
  virtual void Wake() = 0;
};

// Waiters to wake after unlocking.
using WakeList = absl::InlinedVector<std::shared_ptr<Waiter>, 2>;

class WaitQueue {
 public:
  explicit WaitQueue(size_t max_waiters) : max_waiters_(max_waiters) {}

  // Adds the waiter, or does nothing if the ticket is in already. `limit`:
  // when the waiter gives up. False if full.
  bool Add(const Ticket& ticket, const std::shared_ptr<Waiter>& waiter,
           MonotonicTime limit, MonotonicTime now);

  // False if it was not in.
  bool Remove(const Ticket& ticket);

  // Whether nobody with an earlier ticket waits.
  bool IsFirst(const Ticket& ticket) const {
    return waiters_.empty() || !(waiters_.begin()->first < ticket);
  }

  // Who is in stays in.
  void SetMaxWaiters(size_t max_waiters) { max_waiters_ = max_waiters; }

  bool empty() const { return waiters_.empty(); }
  // Null if it is empty.
  const Ticket* first() const {
    return waiters_.empty() ? nullptr : &waiters_.begin()->first;
  }
  size_t size() const { return waiters_.size(); }

  // When this ticket was added; `now` if it is not in.
  MonotonicTime Since(const Ticket& ticket, MonotonicTime now) const;

  // Appends the head, if there is one.
  void CollectHead(WakeList* wakes) const;

  // Appends all whose limit is `earliest` or lies before it. They stay in until
  // they leave by themselves.
  void CollectDoomed(MonotonicTime earliest, WakeList* wakes) const;

 private:
  struct Entry {
    std::shared_ptr<Waiter> waiter;
    MonotonicTime limit;
    MonotonicTime since;
  };

  size_t max_waiters_;
  absl::btree_map<Ticket, Entry> waiters_;
  absl::btree_set<std::pair<MonotonicTime, Ticket>> by_limit_;
};

}  // namespace forbear

#endif  // FORBEAR_CORE_WAIT_QUEUE_H_
