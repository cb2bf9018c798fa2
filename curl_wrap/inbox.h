// Inbox: what other threads tell the one that runs a TransferSet.
//
//   auto inbox = std::make_shared<Inbox>([] { …make the loop come round… });
//   inbox->Post({Inbox::What::kCancel, id, nullptr});  // from any thread
//   std::vector<Inbox::Item> items;
//   inbox->TakeAll(&items);                            // the loop
//
// Its bell is rung once for all that comes until TakeAll. A loop that is awake and will
// look before it sleeps may say so (StayAwake): most of what an engine's own thread posts
// comes then, and needs no bell.
//
// Thread rule: thread-safe. Its lock is the innermost one; the bell is rung with it, and
// must not call the inbox, nor take another lock (a write to an eventfd does neither).
#ifndef FORBEAR_CURL_WRAP_INBOX_H_
#define FORBEAR_CURL_WRAP_INBOX_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace forbear::curl {

class Transfer;

class Inbox {
 public:
  enum class What : uint8_t { kStart, kCancel, kWake };
  struct Item {
    What what = What::kWake;
    uint64_t id = 0;
    std::shared_ptr<Transfer> transfer;  // kStart
  };

  explicit Inbox(std::function<void()> bell) : bell_(std::move(bell)) {}

  // False: it is closed.
  bool Post(Item item) { return PostOrKeep(&item); }
  // Then `item` is as it was.
  bool PostOrKeep(Item* item) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return false;
    const bool ring = items_.empty() && !awake_.load(std::memory_order_relaxed);
    items_.push_back(std::move(*item));
    // With the lock: or whoever closes it could be gone before the bell.
    if (ring && bell_) bell_();
    return true;
  }

  // `items` must be empty; its memory is used on. False: there is nothing.
  bool TakeAll(std::vector<Item>* items) {
    std::lock_guard<std::mutex> lock(mutex_);
    items->swap(items_);
    if (items->empty()) awake_.store(false, std::memory_order_relaxed);
    return !items->empty();
  }
  // No bell is rung until TakeAll has found nothing. Of the loop.
  void StayAwake() { awake_.store(true, std::memory_order_relaxed); }

  // From now on nothing comes in, and no bell is rung. What is in it stays.
  void Close() {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }

 private:
  std::mutex mutex_;
  const std::function<void()> bell_;
  bool closed_ = false;
  std::atomic<bool> awake_{false};  // becomes false with the lock
  std::vector<Item> items_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_INBOX_H_
