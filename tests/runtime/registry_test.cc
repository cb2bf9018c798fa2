#include "runtime/registry.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/endpoint.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "runtime/thread_slot.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

SharedQuota MakeQuota() {
  return SharedQuota(/*group_of=*/"", /*version_of=*/1, QuotaOptions{});
}

class Silent final : public Waiter {
 public:
  void Wake() override {}
};

TEST(RegistryTest, OneStatePerKey) {
  Registry<SharedQuota> r(10);
  const auto a = r.Get("a", At(0), MakeQuota);
  EXPECT_EQ(r.Get("a", At(1), MakeQuota), a);
  EXPECT_NE(r.Get("b", At(1), MakeQuota), a);
  EXPECT_EQ(r.Find("a"), a);
  EXPECT_EQ(r.Find("c"), nullptr);
  EXPECT_EQ(r.size(), 2u);
}

TEST(RegistryTest, BoundedAndForgetsTheLeastRecentlyUsed) {
  Registry<SharedQuota> r(20);
  for (int i = 0; i < 10000; ++i) {
    r.Get(absl::StrCat("key", i), At(i), MakeQuota);
    ASSERT_LE(r.size(), 20u);
    r.Get("used all the time", At(i), MakeQuota);
  }
  EXPECT_NE(r.Find("used all the time"), nullptr);
  EXPECT_NE(r.Find("key9999"), nullptr);
  EXPECT_EQ(r.Find("key0"), nullptr);
}

// Held by somebody, a permit out, somebody waiting, gate shut: never forgotten.
TEST(RegistryTest, NeverForgetsWhatIsBusy) {
  Registry<SharedQuota> r(4);
  const auto held = r.Get("held", At(0), MakeQuota);
  WakeList wakes;
  {
    const auto out = r.Get("out", At(0), MakeQuota);
    (*out)->Ask({At(0), 1}, std::make_shared<Silent>(), At(0), At(10), &wakes);
  }
  {
    const auto gated = r.Get("gated", At(0), MakeQuota);
    const Quota::Answer a = (*gated)->Ask(
        {At(0), 1}, std::make_shared<Silent>(), At(0), At(10), &wakes);
    (*gated)->OnAnswer(a.permit, testing::ThrottledOutcome(absl::Hours(1)),
                       At(0), &wakes);
  }
  for (int i = 0; i < 100; ++i) r.Get(absl::StrCat("k", i), At(i), MakeQuota);
  EXPECT_EQ(r.Find("held"), held);
  EXPECT_NE(r.Find("out"), nullptr);
  EXPECT_NE(r.Find("gated"), nullptr);
  EXPECT_LE(r.size(), 4u);
  // When the gate has opened it may go.
  for (int i = 0; i < 100; ++i) {
    r.Get(absl::StrCat("late", i), At(4000 + i), MakeQuota);
  }
  EXPECT_EQ(r.Find("gated"), nullptr);
  EXPECT_EQ(r.Find("held"), held);
}

TEST(RegistryTest, ABusyRegistryServesNewKeysWithoutRememberingThem) {
  Registry<SharedQuota> r(2);
  const auto a = r.Get("a", At(0), MakeQuota);
  const auto b = r.Get("b", At(0), MakeQuota);
  const auto c = r.Get("c", At(0), MakeQuota);
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(r.Find("c"), nullptr);
  EXPECT_EQ(r.size(), 2u);
}

TEST(RegistryTest, KeepsAnEndpointWhoseBreakerIsOpen) {
  Registry<SharedEndpoint> r(2);
  const auto make = [] {
    return SharedEndpoint(/*group_of=*/"", /*version_of=*/1, EndpointOptions{},
                          At(0));
  };
  {
    const auto e = r.Get("broken", At(0), make);
    WakeList wakes;
    for (uint64_t i = 0; i < 3; ++i) {
      const Endpoint::Answer a =
          (*e)->Ask({At(0), i}, std::make_shared<Silent>(), At(0), At(10),
                    WhenOpen::kWait, &wakes);
      (*e)->OnAttemptDone(a.permit,
                          testing::TransientOutcome(Processed::kUnknown), false,
                          At(0), 0, &wakes);
    }
    ASSERT_EQ((*e)->breaker().state(), CircuitBreaker::State::kOpen);
  }
  for (int i = 0; i < 50; ++i) r.Get(absl::StrCat("k", i), At(i * 0.001), make);
  EXPECT_NE(r.Find("broken"), nullptr);
}

TEST(RegistryTest, ManyThreadsOneState) {
  Registry<SharedQuota> r(8);
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  std::vector<std::set<SharedQuota*>> seen(4);
  // Keys that stay in use have one state for all threads.
  std::vector<QuotaRef> keep;
  keep.reserve(4);
  for (int k = 0; k < 4; ++k) {
    keep.push_back(r.Get(absl::StrCat("keep", k), At(0), MakeQuota));
  }
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5000; ++i) {
        seen[t].insert(
            r.Get(absl::StrCat("keep", i % 4), At(i), MakeQuota).get());
        r.Get(absl::StrCat("t", t, "-", i), At(i), [&] {
          made.fetch_add(1);
          return MakeQuota();
        });
      }
    });
  }
  for (std::thread& t : threads) t.join();
  for (const auto& s : seen) EXPECT_EQ(s.size(), 4u);
  EXPECT_EQ(made.load(), 20000);
  EXPECT_LE(r.size(), 8u);
}

// ---- A state that knows whose it is.

struct Keyed {
  Keyed(absl::string_view its_key, int its_id, std::atomic<int>* its_live)
      : key(its_key), id(its_id), live(its_live) {
    live->fetch_add(1);
  }
  ~Keyed() {
    key = "destroyed";
    live->fetch_sub(1);
  }
  Keyed(const Keyed&) = delete;
  Keyed& operator=(const Keyed&) = delete;

  bool IsIdle(MonotonicTime) const { return !busy; }

  std::string key;
  int id;
  std::atomic<int>* live;
  bool busy = false;  // by the mutex
};
template <typename Value>
struct Locked {
  template <typename... Args>
  explicit Locked(Args&&... args) : value(std::forward<Args>(args)...) {}
  bool IsIdle(MonotonicTime now) {
    const std::lock_guard<std::mutex> lock(mutex);
    return value.IsIdle(now);
  }

  std::mutex mutex;
  Value value;
};
using State = Locked<Keyed>;
using States = Registry<State>;

// Of lengths at which something changes in runtime/stored_key.h, and a long one.
std::string KeyOf(int i) {
  std::string key = absl::StrCat("key ", i, " ");
  const size_t lengths[] = {0, 15, 16, 17, 40, 48, 49, 56, 57, 300};
  const size_t length = lengths[static_cast<size_t>(i) % 10];
  if (key.size() < length) key.append(length - key.size(), '.');
  return key;
}

class KeyedTest : public ::testing::Test {
 public:
  ~KeyedTest() override { EXPECT_EQ(live_.load(), 0); }

 protected:
  States::Ref Get(States* r, absl::string_view key, MonotonicTime now) {
    return r->Get(key, now,
                  [&] { return State(key, made_.fetch_add(1), &live_); });
  }

  std::atomic<int> live_{0};
  std::atomic<int> made_{0};
};

TEST_F(KeyedTest, ARefHoldsItsState) {
  States r(1);
  States::Ref none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(none.get(), nullptr);
  States::Ref a = Get(&r, "a", At(0));
  EXPECT_TRUE(a);
  EXPECT_NE(a, nullptr);
  EXPECT_NE(a, none);
  EXPECT_EQ(a->value.key, "a");
  EXPECT_EQ(&*a, a.get());
  const auto forgotten = [&] {
    (void)Get(&r, "other", At(1));
    return r.Find("a") == nullptr;
  };
  EXPECT_FALSE(forgotten());
  States::Ref copy = a;
  EXPECT_EQ(copy, a);
  States::Ref moved = std::move(a);
  EXPECT_EQ(a, nullptr);  // NOLINT(bugprone-use-after-move): what it promises
  EXPECT_EQ(copy, moved);
  moved = States::Ref();
  EXPECT_FALSE(forgotten());  // for the copy
  States::Ref& same = copy;
  copy = same;
  EXPECT_FALSE(forgotten());
  moved = copy;
  copy = none;
  EXPECT_FALSE(forgotten());
  EXPECT_EQ(moved->value.key, "a");
  none = std::move(moved);
  EXPECT_FALSE(forgotten());
  none = States::Ref();
  EXPECT_TRUE(forgotten());
}

TEST_F(KeyedTest, WhatIsNotRememberedGoesWithItsLastRef) {
  States r(1);
  const States::Ref a = Get(&r, "a", At(0));
  States::Ref b = Get(&r, "b", At(0));
  EXPECT_EQ(b->value.key, "b");
  EXPECT_NE(Get(&r, "b", At(0)), b);
  EXPECT_EQ(live_.load(), 2);
  States::Ref copy = b;
  b = States::Ref();
  EXPECT_EQ(copy->value.key, "b");
  std::thread([last = std::move(copy)]() mutable {
    last = States::Ref();
  }).join();
  EXPECT_EQ(live_.load(), 1);
  EXPECT_EQ(r.size(), 1u);
}

TEST_F(KeyedTest, NoRoomAtAll) {
  States r(0);
  const States::Ref a = Get(&r, "a", At(0));
  EXPECT_EQ(a->value.key, "a");
  EXPECT_NE(Get(&r, "a", At(0)), a);
  EXPECT_EQ(r.Find("a"), nullptr);
  EXPECT_EQ(r.size(), 0u);
}

TEST_F(KeyedTest, TablesGrow) {
  constexpr int kKeys = 10000;
  States r(kKeys);
  std::vector<States::Ref> refs;
  for (int i = 0; i < kKeys; ++i) {
    refs.push_back(Get(&r, KeyOf(i), At(i)));
    // Powers of two and what is around them are where it may break.
    for (int back : {1, i / 2, i}) {
      if (back > i) continue;
      const auto at = static_cast<size_t>(i - back);
      ASSERT_EQ(r.Find(KeyOf(i - back)), refs[at]) << i;
    }
  }
  for (int i = 0; i < kKeys; ++i) {
    EXPECT_EQ(Get(&r, KeyOf(i), At(i)), refs[static_cast<size_t>(i)]);
    EXPECT_EQ(r.Find(KeyOf(kKeys + i)), nullptr);
  }
  EXPECT_EQ(made_.load(), kKeys);
  EXPECT_EQ(r.size(), size_t{kKeys});
  std::set<State*> seen;
  r.ForEach([&](State* state) { seen.insert(state); });
  EXPECT_EQ(seen.size(), size_t{kKeys});
}

// Keys with zeros, beginnings of each other, and none.
TEST_F(KeyedTest, OddKeys) {
  States r(1000);
  const std::string zeros(100, '\0');
  std::vector<States::Ref> refs;
  for (size_t n = 0; n <= zeros.size(); ++n) {
    refs.push_back(Get(&r, absl::string_view(zeros).substr(0, n), At(0)));
  }
  for (size_t n = 0; n <= zeros.size(); ++n) {
    EXPECT_EQ(r.Find(absl::string_view(zeros).substr(0, n)), refs[n]);
    EXPECT_EQ(refs[n]->value.key.size(), n);
  }
  EXPECT_EQ(r.Find(absl::string_view()), refs[0]);
}

// By the time that calls bring along, however they bring it.
TEST_F(KeyedTest, ForgetsByTheLatestUse) {
  States r(10);
  for (int i = 0; i < 10; ++i) (void)Get(&r, KeyOf(i), At(100 + i));
  // The oldest one is used once more, by somebody whose time is a hair behind.
  (void)Get(&r, KeyOf(0), At(200));
  (void)Get(&r, KeyOf(20), At(199.8));
  EXPECT_NE(r.Find(KeyOf(0)), nullptr);
  EXPECT_EQ(r.Find(KeyOf(1)), nullptr);
  EXPECT_EQ(r.Find(KeyOf(2)), nullptr);
  EXPECT_NE(r.Find(KeyOf(3)), nullptr);
  EXPECT_EQ(r.size(), 9u);
}

// Only a key says whose state it is: here all hash alike, and most are further away
// than a reader goes without the lock.
struct SameHash {
  static SameHash Random() { return {}; }
  uint64_t operator()(absl::string_view) const { return 12345; }
};

TEST_F(KeyedTest, HashesThatAreTheSame) {
  constexpr int kKeys = 200;
  Registry<State, SameHash> r(kKeys);
  const auto get = [&](int i) {
    return r.Get(KeyOf(i), At(i),
                 [&] { return State(KeyOf(i), made_.fetch_add(1), &live_); });
  };
  for (int i = 0; i < kKeys; ++i) EXPECT_EQ(get(i)->value.id, i);
  for (int i = 0; i < kKeys; ++i) {
    EXPECT_EQ(get(i)->value.key, KeyOf(i));
    EXPECT_EQ(r.Find(KeyOf(i))->value.id, i);
    EXPECT_EQ(r.Find(KeyOf(kKeys + i)), nullptr);
  }
  for (int i = kKeys; i < 3 * kKeys; ++i) EXPECT_EQ(get(i)->value.id, i);
  int found = 0;
  for (int i = 0; i < 3 * kKeys; ++i) {
    const auto ref = r.Find(KeyOf(i));
    if (!ref) continue;
    EXPECT_EQ(ref->value.id, i);
    ++found;
  }
  EXPECT_EQ(found, static_cast<int>(r.size()));
  // Whoever gave up a pin that was another key's: nothing is held any more.
  r.SetMaxEntries(1);
  (void)get(3 * kKeys);
  EXPECT_EQ(r.size(), 1u);
}

// ---- A slow twin.

class Twin {
 public:
  struct Entry {
    int id = 0;
    int64_t used = 0;
    int held = 0;
    bool busy = false;
  };

  // Whose state it is, and whether that is remembered.
  std::pair<int, bool> Get(const std::string& key, int64_t now, int next_id) {
    if (entries.count(key) == 0) {
      if (entries.size() >= max) Forget();
      if (entries.size() >= max) return {next_id, false};
      entries[key].id = next_id;
    }
    entries[key].used = now;
    return {entries[key].id, true};
  }

  size_t max = 0;
  std::map<std::string, Entry> entries;

 private:
  void Forget() {
    std::vector<std::pair<int64_t, std::string>> idle;
    for (const auto& [key, e] : entries) {
      if (e.held == 0 && !e.busy) idle.emplace_back(e.used, key);
    }
    std::sort(idle.begin(), idle.end());
    const size_t most = entries.size() - max + max / 10 + 1;
    if (idle.size() > most) idle.resize(most);
    for (const auto& one : idle) entries.erase(one.second);
  }
};

struct Shape {
  size_t max;
  int keys;
  int steps;
};

class TwinRun : public KeyedTest {
 protected:
  void Run(uint64_t seed, const Shape& shape) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    made_ = 0;
    States r(shape.max);
    Twin twin;
    twin.max = shape.max;
    std::vector<std::pair<std::string, States::Ref>> held;
    std::vector<States::Ref> alone;
    std::set<State*> places;
    size_t most = shape.max;
    for (int step = 0; step < shape.steps; ++step) {
      const uint64_t dice = MixRandom(seed, static_cast<uint64_t>(step));
      const auto pick = [&](int shift, uint64_t n) {
        return (dice >> shift) % n;
      };
      const std::string key =
          KeyOf(static_cast<int>(pick(8, static_cast<uint64_t>(shape.keys))));
      const auto known = twin.entries.find(key);
      switch (pick(0, 16)) {
        case 0:
          twin.max = pick(24, shape.max * 2 + 1);
          most = std::max(most, twin.max);
          r.SetMaxEntries(twin.max);
          break;
        case 1:
        case 2:
          if (held.empty()) break;
          --twin.entries[held.back().first].held;
          held.pop_back();
          break;
        case 3:
          if (!alone.empty()) alone.pop_back();
          break;
        case 4: {
          if (known == twin.entries.end()) break;
          const States::Ref ref = r.Find(key);
          ASSERT_NE(ref, nullptr);
          const std::lock_guard<std::mutex> lock(ref->mutex);
          known->second.busy = ref->value.busy = !ref->value.busy;
          break;
        }
        case 5: {
          std::set<int> ids;
          r.ForEach([&](State* state) { ids.insert(state->value.id); });
          std::set<int> expected;
          for (const auto& [k, e] : twin.entries) expected.insert(e.id);
          ASSERT_EQ(ids, expected);
          break;
        }
        default: {
          const int next_id = made_.load();
          const MonotonicTime now = At(step);
          const auto [id, remembered] = twin.Get(key, now.nanos(), next_id);
          const States::Ref ref = Get(&r, key, now);
          ASSERT_EQ(ref->value.id, id);
          ASSERT_EQ(ref->value.key, key);
          ASSERT_EQ(r.Find(key) == ref, remembered);
          if (remembered) places.insert(ref.get());
          if (pick(32, 4) != 0) break;
          if (remembered) {
            ++twin.entries[key].held;
            held.emplace_back(key, ref);
          } else {
            alone.push_back(ref);
          }
        }
      }
      ASSERT_EQ(r.size(), twin.entries.size());
      ASSERT_EQ(live_.load(), static_cast<int>(r.size() + alone.size()));
      ASSERT_LE(places.size(), most);
      for (const auto& [k, ref] : held) ASSERT_EQ(ref->value.key, k);
      const States::Ref found = r.Find(key);
      ASSERT_EQ(found != nullptr, twin.entries.count(key) == 1);
      if (found) {
        ASSERT_EQ(found->value.id, twin.entries[key].id);
      }
    }
  }
};

TEST_F(TwinRun, Small) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Run(seed, {1 + seed % 5, 2 + static_cast<int>(seed % 7), 100});
    if (HasFatalFailure()) return;
  }
}

TEST_F(TwinRun, Large) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Run(seed, {50 * seed, static_cast<int>(75 * seed), 5000});
    if (HasFatalFailure()) return;
  }
}

// ---- Between two steps.

// What happens while the registry asks whether a state is idle. It asks twice: whom
// it might forget; and when it has said that the state is gone and found no Ref.
struct Asked {
  explicit Asked(std::function<bool()>* its_answer) : answer(its_answer) {}
  ~Asked() { answer = nullptr; }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  bool IsIdle(MonotonicTime) const { return (*answer)(); }

  std::function<bool()>* answer;
};
using AskedStates = Registry<Locked<Asked>>;

class AskedTest : public ::testing::Test {
 protected:
  // "a" is the only state; then there is "b", and whether it took the place of "a".
  bool Forgets() {
    const auto make = [&] { return Locked<Asked>(&answer_); };
    (void)r_.Get("a", At(0), make);
    (void)r_.Get("b", At(1), make);
    return r_.Find("b") != nullptr;
  }

  int asked_ = 0;
  std::function<bool()> answer_;
  AskedStates r_{1};
};

TEST_F(AskedTest, Twice) {
  answer_ = [&] { return ++asked_ > 0; };
  EXPECT_TRUE(Forgets());
  EXPECT_EQ(asked_, 2);
}

TEST_F(AskedTest, SomebodyHoldsItMeanwhile) {
  AskedStates::Ref ref;
  answer_ = [&] {
    // It needs no lock, as long as it is not gone.
    if (++asked_ == 1) ref = r_.Find("a");
    return true;
  };
  EXPECT_FALSE(Forgets());
  EXPECT_EQ(asked_, 1);
  ASSERT_NE(ref, nullptr);
  EXPECT_EQ(ref->value.answer, &answer_);
  EXPECT_EQ(r_.Find("a"), ref);
}

TEST_F(AskedTest, SomebodyHeldItMeanwhileAndMadeItBusy) {
  answer_ = [&] { return ++asked_ == 1; };
  EXPECT_FALSE(Forgets());
  EXPECT_EQ(asked_, 2);
  const AskedStates::Ref ref = r_.Find("a");
  ASSERT_NE(ref, nullptr);
  EXPECT_EQ(ref->value.answer, &answer_);
}

// It may come back or not: who looks it up waits for that.
TEST_F(AskedTest, NobodyGetsWhatIsGone) {
  for (const bool idle : {false, true}) {
    std::thread reader;
    std::atomic<bool> asks{false};
    std::atomic<bool> found{false};
    asked_ = 0;
    answer_ = [&] {
      if (++asked_ == 1) return true;
      reader = std::thread([&] {
        asks = true;
        found = r_.Find("a") != nullptr;
      });
      // It asks now, and has time enough to be told.
      while (!asks) std::this_thread::yield();
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
      EXPECT_FALSE(found.load());
      return idle;
    };
    EXPECT_EQ(Forgets(), idle);
    reader.join();
    EXPECT_EQ(found.load(), !idle);
  }
}

// A reader has found the slot of a key, and then its node becomes another key's. That
// is between two instructions; here for as long as it takes.
TEST_F(KeyedTest, ANodeThatBecomesAnotherKeysUnderItsReader) {
  States r(1);
  std::atomic<bool> stop{false};
  std::atomic<int> found{0};
  std::thread reader([&] {
    for (int i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      const std::string key = KeyOf(i % 2);
      const States::Ref ref = r.Find(key);
      if (!ref) continue;
      for (int n = 0; n < 3; ++n) ASSERT_EQ(ref->value.key, key);
      ++found;
    }
  });
  for (int i = 0; i < 100000 || found.load() < 1000; ++i) {
    ASSERT_EQ(Get(&r, KeyOf(i % 2), At(i))->value.key, KeyOf(i % 2));
  }
  stop = true;
  reader.join();
}

// ---- Threads.

// Everything at once: look-ups, keys that are forgotten and whose nodes go to
// others, Refs that go from thread to thread, states that get busy. Who holds a Ref
// has the state of the key that it asked for.
TEST_F(KeyedTest, WhoHoldsARefHasWhatItAskedFor) {
  constexpr int kThreads = 4;
  constexpr int kSteps = 20000;
  constexpr uint64_t kKeys = 60;
  constexpr size_t kMax = 24;
  States r(kMax);
  std::mutex mutex;
  std::vector<std::pair<std::string, States::Ref>> mail;  // by mutex
  std::set<State*> places;                                // by mutex
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::pair<std::string, States::Ref>> held(4);
      for (int i = 0; i < kSteps; ++i) {
        const uint64_t dice = MixRandom(t, static_cast<uint64_t>(i));
        const std::string key = KeyOf(static_cast<int>(dice % kKeys));
        States::Ref ref = Get(&r, key, At(i));
        ASSERT_EQ(ref->value.key, key);
        auto& mine = held[(dice >> 8) % held.size()];
        switch ((dice >> 16) % 8) {
          case 0: {
            const std::lock_guard<std::mutex> lock(ref->mutex);
            ref->value.busy = (dice >> 24) % 4 == 0;
            break;
          }
          case 1:
            if (r.Find(key) == ref) {
              const std::lock_guard<std::mutex> lock(mutex);
              places.insert(ref.get());
            }
            break;
          case 2: {
            const std::lock_guard<std::mutex> lock(mutex);
            mail.emplace_back(key, ref);
            if (mail.size() > 4) {
              mine = std::move(mail[(dice >> 24) % mail.size()]);
              mail.erase(mail.begin() +
                         static_cast<ptrdiff_t>((dice >> 24) % mail.size()));
            }
            break;
          }
          case 3:
            mine = {key, std::move(ref)};
            break;
          case 4:
            mine = {};
            break;
          default:
            break;
        }
        for (const auto& [k, one] : held) {
          if (one) {
            ASSERT_EQ(one->value.key, k);
          }
        }
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < kSteps / 100; ++i) {
      r.ForEach([](State* state) {
        const std::lock_guard<std::mutex> lock(state->mutex);
        state->value.busy = false;
      });
      r.SetMaxEntries(kMax - static_cast<size_t>(i % 12));
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  for (const auto& [k, one] : mail) EXPECT_EQ(one->value.key, k);
  mail.clear();
  EXPECT_LE(places.size(), kMax);
  EXPECT_EQ(live_.load(), static_cast<int>(r.size()));
  // Nobody holds one any more, so all of them may go.
  r.ForEach([](State* state) { state->value.busy = false; });
  r.SetMaxEntries(1);
  (void)Get(&r, "last", At(kSteps));
  EXPECT_EQ(r.size(), 1u);
}

// Readers of tables that grow under them find each key that was there before.
TEST_F(KeyedTest, LooksUpWhileTheTableGrows) {
  constexpr int kKeys = 3000;
  States r(kKeys);
  std::atomic<int> there{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; there.load() < kKeys; ++i) {
        const int n = there.load();
        if (n == 0) continue;
        const int k =
            static_cast<int>(MixRandom(t, i) % static_cast<uint64_t>(n));
        const States::Ref ref = r.Find(KeyOf(k));
        ASSERT_NE(ref, nullptr);
        ASSERT_EQ(ref->value.id, k);
      }
    });
  }
  for (int i = 0; i < kKeys; ++i) {
    (void)Get(&r, KeyOf(i), At(i));
    there.store(i + 1);
  }
  for (std::thread& thread : threads) thread.join();
}

// More threads than slots, at once and one after the other; Refs of some are given
// back by others.
TEST_F(KeyedTest, ThreadsWithAndWithoutASlot) {
  constexpr uint64_t kThreads = ThreadSlot::kCount + 8;
  States r(8);
  std::mutex mutex;
  std::vector<States::Ref> mail;  // by mutex
  std::atomic<uint64_t> started{0};
  std::atomic<int> without{0};
  for (int round = 0; round < 3; ++round) {
    started = 0;
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, round] {
        States::Ref kept = Get(&r, KeyOf(0), At(round));
        if (ThreadSlot::Mine() >= ThreadSlot::kCount) ++without;
        ++started;
        while (started < kThreads) std::this_thread::yield();
        for (int i = 0; i < 300; ++i) {
          const uint64_t dice = MixRandom(t, static_cast<uint64_t>(i));
          const std::string key = KeyOf(static_cast<int>(dice % 20));
          States::Ref ref = Get(&r, key, At(i));
          ASSERT_EQ(ref->value.key, key);
          if ((dice >> 8) % 4 != 0) continue;
          const std::lock_guard<std::mutex> lock(mutex);
          mail.push_back(std::move(ref));
          std::swap(mail.back(), mail[(dice >> 16) % mail.size()]);
          if (mail.size() > 3) mail.pop_back();
        }
        ASSERT_EQ(kept->value.key, KeyOf(0));
      });
    }
    for (std::thread& thread : threads) thread.join();
    mail.clear();
    EXPECT_EQ(live_.load(), static_cast<int>(r.size()));
    // What all of them had is free now, by whoever it was given back.
    r.SetMaxEntries(1);
    (void)Get(&r, absl::StrCat("last ", round), At(1000));
    EXPECT_EQ(r.size(), 1u);
    EXPECT_EQ(live_.load(), 1);
    r.SetMaxEntries(8);
  }
  EXPECT_GE(without.load(), 3 * 8);
}

}  // namespace
}  // namespace forbear
