// Registry: from a key to the state that its callers share.
//
//   Registry<SharedQuota> quotas(4096);
//   const auto quota = quotas.Get("api.example.com", now, [&] {
//     return SharedQuota("", version, options);   // made in its place
//   });
//   (*quota)->SnapshotAt(now);
//
// What Get and Find return is a Ref: it holds the state, and gives it back when it
// is destroyed, on whatever thread. A Ref must not outlive the registry.
//
// A known key costs no lock, no fence and no atomic addition, and threads that look
// one up write nothing that others do: neither threads with different keys nor those
// with the same meet here. (The 32 threads that came first; runtime/thread_slot.h.
// Each further one adds to a number of the key's.) A new key, one that is just being
// forgotten, and Find of an unknown one take the registry's lock.
//
// Bounded: above `max_entries` the least recently used ones that may be
// forgotten go, a tenth at a time; times less than a seventh of a second apart may
// count as the same. An entry that somebody holds, or whose state is not idle (a
// shut gate, an open breaker, waiters, permits out), is never forgotten. If none may
// be, the new key gets a state of its own that is not remembered: its callers are
// served, but do not share. It goes with its last Ref. Room is kept for as many
// entries as there ever were at a time, and used again: beside the state some 500
// bytes for each.
//
// T: a class with `bool IsIdle(MonotonicTime)`, which may take a lock. Not
// movable is fine. A look-up reads what stands before T: what is touched next, its
// lock, best comes first in it.
//
// How it works without a lock:
//   1. A state lives in a node. Nodes that were ever in the table stay nodes until
//      the registry dies. So whatever a slot of the table says, and however old it
//      is, its node may be pinned, and asked whether it is gone.
//   2. A reader pins first and then looks whether the node is gone. If so, it takes
//      the pin back and looks no further. Else the node stays as it is until it is
//      unpinned, key and state: whoever makes it gone says so first, then looks for
//      pins, and takes it back if there are any.
//   3. Pinned, the key is compared: the node may be another key's by now. There is
//      one node at most that is not gone and has this key, so it is the right one.
//   4. Nothing else is relied on. A reader that finds nothing, for what reason ever
//      (slots are moved under its feet, the table is an old one), asks again with
//      the lock, under which all changes are made.
//
// Why nobody's node is taken away. Each thread counts its pins and unpins of a node
// in a place of its own; who wants to forget it sets `gone`, calls
// ThreadSlot::FenceAll, sums up the unpins (acquire), then the pins, and goes on
// only if they are equal. What is unpinned was pinned, so the pins summed up include
// those of all unpins: equal sums are the same set. A Ref of a look-up that found
// the node not gone has its pin in it, by the fence; so its unpin as well: it is
// over. A copy was pinned before that of which it is a copy was unpinned, and that
// unpin is in the set: so the copy's pin is, so its unpin. By induction none is left.
//
// Why what they see is whole. Unpinning releases and the sum of unpins acquires: all
// that holders did comes before the state is destroyed. `word` becoming not gone
// releases (later changes of it are read-modify-writes, and continue that), and the
// look whether it is gone acquires: who sees that it is not sees that key and state.
// A new node is published by its slot, and slots by the table (release, acquire).
//
// Thread rule: thread-safe. Get may take a state's lock inside the registry's,
// never the other way round. A Ref belongs to one thread at a time; another copy of
// it may be another's.
#ifndef FORBEAR_RUNTIME_REGISTRY_H_
#define FORBEAR_RUNTIME_REGISTRY_H_

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/string_view.h"
#include "core/time.h"
#include "runtime/key_hash.h"
#include "runtime/stored_key.h"
#include "runtime/thread_slot.h"

namespace forbear {

// Hash: tests have others.
template <typename T, typename Hash = KeyHash>
class Registry {
  struct Node;

 public:
  // A state, held: while there is a Ref to it, it is neither forgotten nor moved.
  // Or nothing. A copy holds it as well.
  class Ref {
   public:
    Ref() = default;
    Ref(const Ref& other) : node_(other.node_) {
      if (node_ != nullptr) PinAgain(node_);
    }
    Ref(Ref&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
      std::swap(node_, other.node_);
      return *this;
    }
    ~Ref() {
      if (node_ != nullptr) Unpin(node_);
    }

    T* get() const { return node_ == nullptr ? nullptr : &node_->state; }
    T& operator*() const { return node_->state; }
    // The analyzer cannot count Refs.
    // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDelete)
    T* operator->() const { return &node_->state; }
    explicit operator bool() const { return node_ != nullptr; }

    // Whether it is the same state.
    friend bool operator==(const Ref& a, const Ref& b) {
      return a.node_ == b.node_;
    }
    friend bool operator!=(const Ref& a, const Ref& b) { return !(a == b); }
    friend bool operator==(const Ref& a, std::nullptr_t) { return !a; }
    friend bool operator!=(const Ref& a, std::nullptr_t) { return !!a; }

   private:
    friend class Registry;
    explicit Ref(Node* pinned) : node_(pinned) {}

    Node* node_ = nullptr;
  };

  explicit Registry(size_t max_entries) : max_entries_(max_entries) {
    UseTable(std::make_unique<Table>(kMinSlots));
  }
  // No Ref is left.
  ~Registry() {
    assert(std::none_of(nodes_.begin(), nodes_.end(),
                        [](const auto& node) { return IsPinned(*node); }));
  }
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // The state of a key. If the key is not known it is what `make` returns, a T; make
  // is called at most once, maybe with the registry's lock held.
  template <typename Make>
  ABSL_ATTRIBUTE_ALWAYS_INLINE Ref Get(absl::string_view key, MonotonicTime now,
                                       const Make& make) {
    const uint64_t hash = hash_(key);
    Node* const node = FindWithoutLock(key, hash);
    if (ABSL_PREDICT_FALSE(node == nullptr)) {
      return GetWithLock(key, hash, now, make);
    }
    Use(node, now);
    return Ref(node);
  }

  // The state of a key that is known; null if it is not.
  Ref Find(absl::string_view key) const {
    const uint64_t hash = hash_(key);
    Node* node = FindWithoutLock(key, hash);
    if (node == nullptr) {
      const std::lock_guard<std::mutex> lock(mutex_);
      node = FindWithLock(key, hash);
    }
    return Ref(node);
  }

  // Calls visit(T*) for each state that is remembered now, without the registry's
  // lock.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    std::vector<Ref> states;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      states.reserve(size_);
      const Table& table = *tables_.back();
      for (size_t i = 0; i <= table.mask; ++i) {
        Node* const node = table.slots[i].node.load(std::memory_order_relaxed);
        if (node == nullptr) continue;
        PinAgain(node);
        states.push_back(Ref(node));
      }
    }
    for (const Ref& state : states) visit(state.get());
  }

  // Of more entries than this, those that may be forgotten go as new ones come.
  void SetMaxEntries(size_t max_entries) {
    const std::lock_guard<std::mutex> lock(mutex_);
    max_entries_ = max_entries;
  }

  // Forgets all that may be forgotten, however few they are.
  void ForgetIdle(MonotonicTime now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ForgetSome(size_, now);
  }

  size_t size() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return size_;
  }

 private:
  static constexpr size_t kCacheLine = 64;
  static constexpr size_t kMinSlots = 16;
  // A reader goes no further: neither after slots that are moved while it looks, nor
  // among keys that all hash alike. At half full, hardly a key is as far off.
  static constexpr int kMaxProbes = 64;

  // When a key was used is known in units of 2^27 ns, a seventh of a second, modulo
  // 18 years. In that time the first look-up writes it, and no other.
  static uint32_t UsedAt(MonotonicTime time) {
    return static_cast<uint32_t>(static_cast<uint64_t>(time.nanos()) >> 27);
  }

  // In Node::word: it has no state, or one that may be about to be destroyed.
  static constexpr uint64_t kGone = uint64_t{1} << 63;
  static bool IsGone(uint64_t word) { return static_cast<int64_t>(word) < 0; }

  // By one thread. Modulo 2^32, of which there are fewer at a time.
  struct Counts {
    std::atomic<uint32_t> pins{0};
    std::atomic<uint32_t> unpins{0};
  };

  // Counts of some nodes: what belongs to a slot fills a cache line.
  static constexpr size_t kBlock = kCacheLine / sizeof(Counts);
  struct alignas(kCacheLine) Block {
    Counts counts[ThreadSlot::kCount][kBlock];
  };

  // A look-up reads the first cache line of it only, if the key has 40 bytes or less.
  // A state's version and lock, if it begins with them, are in the second one.
  struct alignas(kCacheLine) Node {
    explicit Node(Counts* slots) : counts(slots), word(kGone) {}
    ~Node() {
      if (!IsGone(word.load(std::memory_order_relaxed))) state.~T();
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    // Those of slot 0; null: it was never in a table, is counted in `word`, and goes
    // with its last Ref.
    Counts* const counts;
    // Whether it is gone, and pins by threads without a slot.
    std::atomic<uint64_t> word;
    std::atomic<uint32_t> used{0};
    // The key and the state: constant while it is not gone, or pinned; else of who
    // has the registry's lock.
    StoredKey key;
    union {
      T state;  // is there unless `word` says gone
    };
    std::atomic<uint32_t> unpins{0};  // by threads without a slot
  };

  struct Slot {
    std::atomic<uint64_t> hash{0};
    std::atomic<Node*> node{nullptr};  // null: empty

    void Set(uint64_t h, Node* n) {
      hash.store(h, std::memory_order_relaxed);
      node.store(n, std::memory_order_release);
    }
  };

  // Open addressing: a key is in the slot of its hash, or in the next ones up to the
  // first empty one. At most half full.
  struct Table {
    explicit Table(size_t size)
        : mask(size - 1), slots(std::make_unique<Slot[]>(size)) {}

    void Insert(uint64_t hash, Node* node) {
      size_t at = hash & mask;
      while (slots[at].node.load(std::memory_order_relaxed) != nullptr) {
        at = (at + 1) & mask;
      }
      slots[at].Set(hash, node);
    }

    // Closes the gap with those behind it that may stand there. Each is in its new
    // place before it leaves the old one.
    void Erase(uint64_t hash, const Node* node) {
      size_t gap = hash & mask;
      while (slots[gap].node.load(std::memory_order_relaxed) != node) {
        gap = (gap + 1) & mask;
      }
      for (size_t at = (gap + 1) & mask;; at = (at + 1) & mask) {
        Node* const next = slots[at].node.load(std::memory_order_relaxed);
        if (next == nullptr) break;
        const uint64_t h = slots[at].hash.load(std::memory_order_relaxed);
        if (((at - h) & mask) < ((at - gap) & mask)) continue;
        slots[gap].Set(h, next);
        gap = at;
      }
      slots[gap].node.store(nullptr, std::memory_order_release);
    }

    const size_t mask;
    const std::unique_ptr<Slot[]> slots;
  };

  // Returns `word`. It is pinned also if that is gone, and is to be unpinned then.
  static uint64_t Pin(Node* node) {
    const uint32_t slot = ThreadSlot::Mine();
    if (ABSL_PREDICT_FALSE(slot >= ThreadSlot::kCount)) {
      return node->word.fetch_add(1, std::memory_order_acquire);
    }
    std::atomic<uint32_t>& pins = node->counts[slot * kBlock].pins;
    pins.store(pins.load(std::memory_order_relaxed) + 1,
               std::memory_order_relaxed);
    // The other half of this fence is ThreadSlot::FenceAll.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return node->word.load(std::memory_order_acquire);
  }

  // Of one that is pinned, or that cannot become gone because mutex_ is held.
  static void PinAgain(Node* node) {
    if (ABSL_PREDICT_FALSE(node->counts == nullptr)) {
      node->word.fetch_add(1, std::memory_order_relaxed);
    } else {
      (void)Pin(node);
    }
  }

  static void Unpin(Node* node) {
    const uint32_t slot = ThreadSlot::Mine();
    if (ABSL_PREDICT_FALSE(node->counts == nullptr ||
                           slot >= ThreadSlot::kCount)) {
      return UnpinWithoutSlot(node);
    }
    std::atomic<uint32_t>& unpins = node->counts[slot * kBlock].unpins;
    unpins.store(unpins.load(std::memory_order_relaxed) + 1,
                 std::memory_order_release);
  }
  ABSL_ATTRIBUTE_NOINLINE static void UnpinWithoutSlot(Node* node) {
    if (node->counts != nullptr) {
      node->unpins.fetch_add(1, std::memory_order_release);
    } else if (node->word.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete node;
    }
  }
  ABSL_ATTRIBUTE_NOINLINE static void UnpinOther(Node* node) { Unpin(node); }

  // Whether it may be. For sure only after FenceAll, and if it is gone.
  static bool IsPinned(const Node& node) {
    // Threads may get a slot while this counts: what is read first may be too few.
    uint32_t unpins = node.unpins.load(std::memory_order_acquire);
    for (uint32_t i = 0; i < ThreadSlot::Used(); ++i) {
      unpins += node.counts[i * kBlock].unpins.load(std::memory_order_acquire);
    }
    auto pins =
        static_cast<uint32_t>(node.word.load(std::memory_order_relaxed));
    for (uint32_t i = 0; i < ThreadSlot::Used(); ++i) {
      pins += node.counts[i * kBlock].pins.load(std::memory_order_relaxed);
    }
    return pins != unpins;
  }

  static void Use(Node* node, MonotonicTime now) {
    const uint32_t at = UsedAt(now);
    if (ABSL_PREDICT_FALSE(node->used.load(std::memory_order_relaxed) != at)) {
      node->used.store(at, std::memory_order_relaxed);
    }
  }

  // Pinned; or null, which says nothing.
  Node* FindWithoutLock(absl::string_view key, uint64_t hash) const {
    const Table& table = *table_.load(std::memory_order_acquire);
    size_t at = hash & table.mask;
    for (int n = 0; n < kMaxProbes; ++n, at = (at + 1) & table.mask) {
      const Slot& slot = table.slots[at];
      Node* const node = slot.node.load(std::memory_order_acquire);
      if (node == nullptr) return nullptr;
      if (slot.hash.load(std::memory_order_relaxed) != hash) continue;
      if (ABSL_PREDICT_TRUE(!IsGone(Pin(node)) && node->key.Is(key))) {
        return node;
      }
      UnpinOther(node);
    }
    return nullptr;
  }

  // The same, and null if the key is unknown. With mutex_ held.
  Node* FindWithLock(absl::string_view key, uint64_t hash) const {
    const Table& table = *tables_.back();
    for (size_t at = hash & table.mask;; at = (at + 1) & table.mask) {
      const Slot& slot = table.slots[at];
      Node* const node = slot.node.load(std::memory_order_relaxed);
      if (node == nullptr) return nullptr;
      if (slot.hash.load(std::memory_order_relaxed) != hash) continue;
      if (!node->key.Is(key)) continue;
      PinAgain(node);
      return node;
    }
  }

  template <typename Make>
  ABSL_ATTRIBUTE_NOINLINE Ref GetWithLock(absl::string_view key, uint64_t hash,
                                          MonotonicTime now, const Make& make) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      Node* node = FindWithLock(key, hash);
      if (node != nullptr) {
        Use(node, now);
        return Ref(node);
      }
      if (size_ >= max_entries_) Forget(now);
      if (size_ < max_entries_) {
        node = Unused();
        node->key.Set(key);
        new (&node->state) T(make());
        Use(node, now);
        (void)Pin(node);
        node->word.fetch_and(~kGone, std::memory_order_release);
        Remember(hash, node);
        return Ref(node);
      }
    }
    auto alone = std::make_unique<Node>(/*slots=*/nullptr);
    new (&alone->state) T(make());
    alone->word.store(1, std::memory_order_relaxed);
    return Ref(alone.release());
  }

  // The rest with mutex_ held.

  Node* Unused() {
    if (unused_.empty()) {
      const size_t i = nodes_.size() % kBlock;
      if (i == 0) blocks_.push_back(std::make_unique<Block>());
      nodes_.push_back(std::make_unique<Node>(&blocks_.back()->counts[0][i]));
      return nodes_.back().get();
    }
    Node* const node = unused_.back();
    unused_.pop_back();
    return node;
  }

  void Remember(uint64_t hash, Node* node) {
    ++size_;
    const Table& old = *tables_.back();
    const size_t slots = old.mask + 1;
    if (size_ * 2 <= slots) {
      tables_.back()->Insert(hash, node);
      return;
    }
    auto table = std::make_unique<Table>(slots * 2);
    for (size_t i = 0; i < slots; ++i) {
      Node* const n = old.slots[i].node.load(std::memory_order_relaxed);
      if (n == nullptr) continue;
      table->Insert(old.slots[i].hash.load(std::memory_order_relaxed), n);
    }
    table->Insert(hash, node);
    UseTable(std::move(table));
  }

  // The old ones stay: somebody may be reading them.
  void UseTable(std::unique_ptr<Table> table) {
    tables_.push_back(std::move(table));
    table_.store(tables_.back().get(), std::memory_order_release);
  }

  // Under mutex_ no state goes, whether it is held or not.
  static bool IsIdle(Node* node, MonotonicTime now) {
    return node->state.IsIdle(now);
  }

  struct Idle {
    int32_t age;
    uint64_t hash;
    Node* node;
  };

  // As many as are too many, after a smaller bound was set, and a tenth.
  void Forget(MonotonicTime now) {
    ForgetSome(size_ - max_entries_ + max_entries_ / 10 + 1, now);
  }

  // `n` of those that may be forgotten, or all of them, the least recently used
  // first.
  void ForgetSome(size_t n, MonotonicTime now) {
    std::vector<Idle> idle;
    const Table& table = *tables_.back();
    for (size_t i = 0; i <= table.mask; ++i) {
      Node* const node = table.slots[i].node.load(std::memory_order_relaxed);
      if (node == nullptr || IsPinned(*node) || !IsIdle(node, now)) continue;
      // Below zero if another thread has brought a later time.
      const uint32_t used = node->used.load(std::memory_order_relaxed);
      idle.push_back({static_cast<int32_t>(UsedAt(now) - used),
                      table.slots[i].hash.load(std::memory_order_relaxed),
                      node});
    }
    std::sort(idle.begin(), idle.end(),
              [](const Idle& a, const Idle& b) { return a.age < b.age; });
    // Others take the place of those that somebody has come for meanwhile.
    while (n > 0 && !idle.empty()) {
      const size_t rest = idle.size() - std::min(n, idle.size());
      n -= ForgetUnheld(idle.data() + rest, idle.data() + idle.size(), now);
      idle.resize(rest);
    }
  }

  // How many it was.
  size_t ForgetUnheld(const Idle* begin, const Idle* end, MonotonicTime now) {
    size_t n = 0;
    for (const Idle* i = begin; i < end; ++i) {
      i->node->word.fetch_or(kGone, std::memory_order_acq_rel);
    }
    const bool fenced = ThreadSlot::FenceAll();
    for (const Idle* i = begin; i < end; ++i) {
      Node* const node = i->node;
      // Somebody may have held it since it was looked at.
      if (!fenced || IsPinned(*node) || !IsIdle(node, now)) {
        node->word.fetch_and(~kGone, std::memory_order_release);
        continue;
      }
      tables_.back()->Erase(i->hash, node);
      node->state.~T();
      node->key.Clear();
      unused_.push_back(node);
      --size_;
      ++n;
    }
    return n;
  }

  // Of those who only read; nobody's look-up shall wait for a writer's line.
  alignas(kCacheLine) std::atomic<const Table*> table_{nullptr};
  const Hash hash_ = Hash::Random();
  alignas(kCacheLine) mutable std::mutex mutex_;
  // By mutex_:
  size_t max_entries_;
  size_t size_ = 0;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<std::unique_ptr<Node>> nodes_;    // all that were ever in a table
  std::vector<Node*> unused_;                   // of these
  std::vector<std::unique_ptr<Table>> tables_;  // the last one is table_
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_REGISTRY_H_
