// Inbox: what other threads tell the one that runs a TransferSet.
//
//   auto inbox = std::make_shared<Inbox>([] { …make the loop come round… });
//   inbox->Post({Inbox::What::kCancel, id, nullptr});  // from any thread
//   for (Inbox::Item& item : inbox->TakeAll()) …       // the loop
//
// Its bell is rung once for all that comes until TakeAll.
//
// Thread rule: thread-safe. Its lock is the innermost one; the bell is rung with it, and
// must not call the inbox, nor take another lock (a write to an eventfd does neither).
#ifndef FORBEAR_CURL_WRAP_INBOX_H_
#define FORBEAR_CURL_WRAP_INBOX_H_

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
  bool Post(Item item) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return false;
    const bool ring = items_.empty();
    items_.push_back(std::move(item));
    // With the lock: or whoever closes it could be gone before the bell.
    if (ring && bell_) bell_();
    return true;
  }

  std::vector<Item> TakeAll() {
    std::vector<Item> items;
    std::lock_guard<std::mutex> lock(mutex_);
    items.swap(items_);
    return items;
  }

  // From now on nothing comes in, and no bell is rung. What is in it stays.
  void Close() {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
  }

 private:
  std::mutex mutex_;
  const std::function<void()> bell_;
  bool closed_ = false;
  std::vector<Item> items_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_INBOX_H_
