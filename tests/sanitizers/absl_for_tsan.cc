// Tells thread sanitizer about the locks of an Abseil that is not instrumented.
//
// The system's libabsl synchronizes with atomic instructions and futexes that
// thread sanitizer does not see, so whatever an absl::Mutex guards would be
// reported as a race. This file takes the place of Abseil's own functions, for
// the program, for libabsl itself and for libgrpc (which locks with absl::Mutex
// too): each says what it does and then calls the one that it replaced.
//
// absl::Notification::HasBeenNotified is inline and stays unseen: data handed
// over that way alone is reported, although it is no race.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/base/options.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

// Of thread sanitizer, though not in its header. (Abseil's macros for them are
// empty: .bazelrc says why.)
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);

// Of the linker: where the program itself begins and ends.
extern "C" char __executable_start;  // NOLINT(bugprone-reserved-identifier)
extern "C" char etext;

namespace {

#define FORBEAR_STRING_OF(x) #x
#define FORBEAR_STRING(x) FORBEAR_STRING_OF(x)

// The next function of that name after ours; `name` as the compiler writes it
// after the namespace.
template <typename Function>
Function* Real(const char* name) {
#if ABSL_OPTION_USE_INLINE_NAMESPACE
  const std::string inner = FORBEAR_STRING(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string symbol =
      "4absl" + std::to_string(inner.size()) + inner + name;
#else
  const std::string symbol = std::string("4absl") + name;
#endif
  // A const member function has a K.
  void* found = dlsym(RTLD_NEXT, ("_ZN" + symbol).c_str());
  if (found == nullptr) found = dlsym(RTLD_NEXT, ("_ZNK" + symbol).c_str());
  if (found == nullptr) {
    std::fprintf(stderr, "absl_for_tsan.cc: no %s\n", symbol.c_str());
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

bool IsOurs(void* caller) {
  return caller >= &__executable_start && caller < &etext;
}

constexpr unsigned kExclusive = __tsan_mutex_not_static;
constexpr unsigned kShared = __tsan_mutex_not_static | __tsan_mutex_read_lock;

// Abseil calls functions of its own that are replaced here too; one report is
// enough, and two are wrong.
thread_local bool inside = false;

template <typename Body>
void Inside(const Body& body) {
  inside = true;
  body();
  inside = false;
}

// Between the two halves of a lock or an unlock, thread sanitizer looks away.
template <typename Body>
void Locking(void* mutex, unsigned how, const Body& body) {
  if (inside) return body();
  __tsan_mutex_pre_lock(mutex, how);
  Inside(body);
  __tsan_mutex_post_lock(mutex, how, 0);
}

template <typename Body>
void Unlocking(void* mutex, unsigned how, const Body& body) {
  if (inside) return body();
  __tsan_mutex_pre_unlock(mutex, how);
  Inside(body);
  __tsan_mutex_post_unlock(mutex, how);
}

template <typename Body>
bool TryLocking(void* mutex, unsigned how, const Body& body) {
  if (inside) return body();
  how |= __tsan_mutex_try_lock;
  __tsan_mutex_pre_lock(mutex, how);
  bool locked = false;
  Inside([&] { locked = body(); });
  __tsan_mutex_post_lock(
      mutex, how | (locked ? 0 : unsigned{__tsan_mutex_try_lock_failed}), 0);
  return locked;
}

// Whoever waits with a lock gives it back and takes it again.
template <typename Body>
void Waiting(void* mutex, const Body& body) {
  Unlocking(mutex, kExclusive, [] {});
  Locking(mutex, kExclusive, body);
}

}  // namespace

// NOLINTNEXTLINE(abseil-no-namespace): it takes the place of its functions
namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  static auto* const real = Real<void(Mutex*)>("5MutexD1Ev");
  // libgrpc counts references with instructions that nobody sees: its destroying
  // must not count as an access.
  const bool ours = IsOurs(__builtin_return_address(0));
  if (!ours) AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  __tsan_mutex_destroy(this, kExclusive);
  if (!ours) AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  real(this);
}

void Mutex::Lock() {
  static auto* const real = Real<void(Mutex*)>("5Mutex4LockEv");
  Locking(this, kExclusive, [this] { real(this); });
}

void Mutex::Unlock() {
  static auto* const real = Real<void(Mutex*)>("5Mutex6UnlockEv");
  Unlocking(this, kExclusive, [this] { real(this); });
}

bool Mutex::TryLock() {
  static auto* const real = Real<bool(Mutex*)>("5Mutex7TryLockEv");
  return TryLocking(this, kExclusive, [this] { return real(this); });
}

void Mutex::ReaderLock() {
  static auto* const real = Real<void(Mutex*)>("5Mutex10ReaderLockEv");
  Locking(this, kShared, [this] { real(this); });
}

void Mutex::ReaderUnlock() {
  static auto* const real = Real<void(Mutex*)>("5Mutex12ReaderUnlockEv");
  Unlocking(this, kShared, [this] { real(this); });
}

bool Mutex::ReaderTryLock() {
  static auto* const real = Real<bool(Mutex*)>("5Mutex13ReaderTryLockEv");
  return TryLocking(this, kShared, [this] { return real(this); });
}

void Mutex::LockWhen(const Condition& condition) {
  static auto* const real =
      Real<void(Mutex*, const Condition&)>("5Mutex8LockWhenERKNS0_9ConditionE");
  Locking(this, kExclusive, [&] { real(this, condition); });
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const real = Real<bool(Mutex*, const Condition&, Duration)>(
      "5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  bool met = false;
  Locking(this, kExclusive, [&] { met = real(this, condition, timeout); });
  return met;
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  static auto* const real = Real<bool(Mutex*, const Condition&, Time)>(
      "5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  bool met = false;
  Locking(this, kExclusive, [&] { met = real(this, condition, deadline); });
  return met;
}

void Mutex::Await(const Condition& condition) {
  static auto* const real =
      Real<void(Mutex*, const Condition&)>("5Mutex5AwaitERKNS0_9ConditionE");
  Waiting(this, [&] { real(this, condition); });
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const real = Real<bool(Mutex*, const Condition&, Duration)>(
      "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  bool met = false;
  Waiting(this, [&] { met = real(this, condition, timeout); });
  return met;
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static auto* const real = Real<bool(Mutex*, const Condition&, Time)>(
      "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  bool met = false;
  Waiting(this, [&] { met = real(this, condition, deadline); });
  return met;
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const real =
      Real<void(CondVar*, Mutex*)>("7CondVar4WaitEPNS0_5MutexE");
  Waiting(mutex, [&] { real(this, mutex); });
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const real = Real<bool(CondVar*, Mutex*, Duration)>(
      "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  bool late = false;
  Waiting(mutex, [&] { late = real(this, mutex, timeout); });
  return late;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const real = Real<bool(CondVar*, Mutex*, Time)>(
      "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  bool late = false;
  Waiting(mutex, [&] { late = real(this, mutex, deadline); });
  return late;
}

void Notification::Notify() {
  static auto* const real =
      Real<void(Notification*)>("12Notification6NotifyEv");
  __tsan_release(this);
  real(this);
}

void Notification::WaitForNotification() const {
  static auto* const real =
      Real<void(const Notification*)>("12Notification19WaitForNotificationEv");
  real(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const real = Real<bool(const Notification*, Duration)>(
      "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = real(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static auto* const real = Real<bool(const Notification*, Time)>(
      "12Notification31WaitForNotificationWithDeadlineENS0_4TimeE");
  const bool notified = real(this, deadline);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
