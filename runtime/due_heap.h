// DueHeap: things that are to happen at a time, the earliest first. An indexed 4-ary
// heap: what changes its mind is moved, not left behind, so it holds each thing once.
//
//   struct Timer { DueHeap<Timer>::Place due; … };
//   DueHeap<Timer> heap;
//   heap.Set(&timer, now + absl::Seconds(1));   // or moves it
//   while (!heap.empty() && heap.earliest() <= now) {
//     Timer* timer = heap.Pop();
//     …
//   }
//
// Bounds: a pointer for each thing; O(log n) for everything but earliest().
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_RUNTIME_DUE_HEAP_H_
#define FORBEAR_RUNTIME_DUE_HEAP_H_

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "core/time.h"

namespace forbear {

// T has a member `DueHeap<T>::Place due`.
template <typename T>
class DueHeap {
 public:
  // Of a thing in the heap: when, and where in it.
  class Place {
   public:
    MonotonicTime time() const { return time_; }
    bool is_set() const { return index_ != kNowhere; }

   private:
    friend class DueHeap;
    MonotonicTime time_ = MonotonicTime::Infinite();
    size_t index_ = kNowhere;
  };

  bool empty() const { return heap_.empty(); }
  size_t size() const { return heap_.size(); }
  // Infinite: there is nothing.
  MonotonicTime earliest() const {
    return heap_.empty() ? MonotonicTime::Infinite() : heap_[0]->due.time_;
  }

  // `thing` must outlive its stay. An infinite time removes it.
  void Set(T* thing, MonotonicTime time) {
    if (time.is_infinite()) {
      Remove(thing);
      return;
    }
    Place& place = thing->due;
    const bool later = place.is_set() && time > place.time_;
    place.time_ = time;
    if (!place.is_set()) {
      place.index_ = heap_.size();
      heap_.push_back(thing);
    }
    if (later) {
      Sink(place.index_);
    } else {
      Rise(place.index_);
    }
  }

  // Nothing if it is not there.
  void Remove(T* thing) {
    Place& place = thing->due;
    if (!place.is_set()) return;
    const size_t hole = place.index_;
    place.index_ = kNowhere;
    place.time_ = MonotonicTime::Infinite();
    T* const last = heap_.back();
    heap_.pop_back();
    if (last == thing) return;
    Put(hole, last);
    Rise(hole);
    Sink(last->due.index_);
  }

  // The earliest. REQUIRES: not empty().
  T* Pop() {
    T* const first = heap_[0];
    Remove(first);
    return first;
  }

 private:
  static constexpr size_t kNowhere = std::numeric_limits<size_t>::max();
  static constexpr size_t kChildren = 4;

  void Put(size_t index, T* thing) {
    heap_[index] = thing;
    thing->due.index_ = index;
  }
  bool Before(size_t a, size_t b) const {
    return heap_[a]->due.time_ < heap_[b]->due.time_;
  }
  void Swap(size_t a, size_t b) {
    T* const at_a = heap_[a];
    Put(a, heap_[b]);
    Put(b, at_a);
  }
  void Rise(size_t index) {
    while (index > 0) {
      const size_t parent = (index - 1) / kChildren;
      if (!Before(index, parent)) return;
      Swap(index, parent);
      index = parent;
    }
  }
  void Sink(size_t index) {
    for (;;) {
      const size_t first = index * kChildren + 1;
      const size_t end = std::min(first + kChildren, heap_.size());
      size_t least = index;
      for (size_t child = first; child < end; ++child) {
        if (Before(child, least)) least = child;
      }
      if (least == index) return;
      Swap(index, least);
      index = least;
    }
  }

  std::vector<T*> heap_;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_DUE_HEAP_H_
