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
// The end comes in two steps: Close, after which nothing is started, but what has been
// started gets its news, and CloseForGood.
//
// Thread rule: thread-safe. Its lock is the innermost one. The bell may be the
// application's code: it is rung without the lock, by the thread that posts, and may do
// anything but CloseForGood, which waits for it.
#ifndef FORBEAR_CURL_WRAP_INBOX_H_
#define FORBEAR_CURL_WRAP_INBOX_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
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
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_for_good_ || (closed_ && item->what == What::kStart)) {
        return false;
      }
      const bool ring =
          items_.empty() && !awake_.load(std::memory_order_relaxed);
      items_.push_back(std::move(*item));
      if (!ring || !bell_) return true;
      ++ringing_;
    }
    bell_();
    std::lock_guard<std::mutex> lock(mutex_);
    if (--ringing_ == 0 && closed_for_good_) quiet_.notify_all();
    return true;
  }

  // `items` must be empty; its memory is used on. False: there is nothing.
  bool TakeAll(std::vector<Item>* items) {
    std::lock_guard<std::mutex> lock(mutex_);
    items->swap(items_);
    if (items->empty()) awake_.store(false, std::memory_order_relaxed);
    return !items->empty();
  }
  // No bell is rung until TakeAll has found nothing, or FallAsleep. Of the loop.
  void StayAwake() { awake_.store(true, std::memory_order_relaxed); }
  // From now on the bell is rung. For what is in it none is: look whether it is empty.
  void FallAsleep() {
    std::lock_guard<std::mutex> lock(mutex_);
    awake_.store(false, std::memory_order_relaxed);
  }
  bool empty() {
    std::lock_guard<std::mutex> lock(mutex_);
    return items_.empty();
  }

  // From now on no kStart comes in.
  void Close() {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }
  // From now on nothing comes in. What is in it stays. When it returns no bell is being
  // rung, and none will be: what the bell needs may go away.
  void CloseForGood() {
    std::unique_lock<std::mutex> lock(mutex_);
    closed_for_good_ = true;
    quiet_.wait(lock, [this] { return ringing_ == 0; });
  }

 private:
  std::mutex mutex_;
  const std::function<void()> bell_;
  std::condition_variable quiet_;  // ringing_ is 0
  size_t ringing_ = 0;             // threads that are at the bell
  bool closed_ = false;
  bool closed_for_good_ = false;
  std::atomic<bool> awake_{false};  // becomes false with the lock
  std::vector<Item> items_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_INBOX_H_
