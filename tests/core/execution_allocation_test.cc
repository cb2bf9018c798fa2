// What a call allocates: on the way that nearly every call goes, nothing.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_names.h"
#include "core/call_record.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/light_execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace {
int64_t allocations = 0;
}  // namespace

void* operator new(size_t size) {
  ++allocations;
  void* const p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) std::abort();
  return p;
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace forbear {
namespace {

class Deaf final : public Waiter {
 public:
  void Wake() override {}
};

// A call whose first attempts end as `failed`, up to its end or its first wait.
// What it has allocated then, with its record's copy if it has come to an end. Names
// are made once for many calls.
enum class Until : uint8_t { kWait, kEnd };
int64_t AllocationsOf(int failures, const Outcome& failed, Until until) {
  MonotonicTime now = MonotonicTime::FromNanos(1000);
  Guarded<Quota, NoMutex> quota(QuotaOptions{});
  Guarded<Endpoint, NoMutex> endpoint(EndpointOptions{}, now);
  BasicSharedState<NoMutex> shared(&quota, &endpoint);
  const RetryOptions options;
  const std::shared_ptr<Waiter> waiter = std::make_shared<Deaf>();

  const CallNames names("127.0.0.1:8080", "POST", "default");

  const int64_t before = allocations;
  {
    CallSpec spec;
    spec.names = names;
    spec.wall_start = absl::UnixEpoch();
    spec.idempotent = true;
    Execution call(spec, &options, &shared, waiter);
    call.Begin(now);
    Action action;
    while (call.NextAction(&action)) {
      if (action.type == Action::Type::kWaitUntil) {
        if (until == Until::kWait) return allocations - before;
        now = action.time;
        call.OnTimer(now);
      }
      if (action.type != Action::Type::kStartAttempt) continue;
      now = now + absl::Milliseconds(5);
      Outcome good;
      good.processed = Processed::kYes;
      const Outcome& outcome = action.attempt <= failures ? failed : good;
      call.OnAnswerHead(action.attempt, outcome, now);
      call.OnAttemptDone(action.attempt, outcome, now);
    }
    const CallRecord copy = call.record();
    EXPECT_EQ(copy.total_attempts, failures + 1);
  }
  return allocations - before;
}

Outcome Throttled() {
  Outcome outcome;
  outcome.kind = ErrorKind::kThrottled;
  outcome.processed = Processed::kNo;
  outcome.pushback = absl::Seconds(1);
  return outcome;
}

Outcome Broken() {
  Outcome outcome;
  outcome.kind = ErrorKind::kTransient;
  return outcome;
}

// What is to be known of an attempt while it is out: large, and so nothing of a call that
// waits. Most calls never come here (core/light_execution.h).
TEST(ExecutionAllocationTest, OneAttemptAllocatesItself) {
  EXPECT_EQ(AllocationsOf(0, Outcome(), Until::kEnd), 1);
}

TEST(ExecutionAllocationTest, TheFirstWaitAllocatesForTheAttemptAndTheQueue) {
  EXPECT_EQ(AllocationsOf(1, Broken(), Until::kWait), 1);
  // A node for the ticket and one for the limit.
  EXPECT_LE(AllocationsOf(1, Throttled(), Until::kWait), 3);
}

TEST(ExecutionAllocationTest, TwoAttemptsAllocateForTheQueueAndTheRecord) {
  const int64_t n = AllocationsOf(1, Throttled(), Until::kEnd);
  std::printf("two attempts: %lld allocations\n", static_cast<long long>(n));
  // As above, for two attempts, and once for the attempts and once for the dispatches, in the record
  // and in its copy: one of each that waits has room in the call itself.
  EXPECT_LE(n, 8);
}

// 50,000 calls that wait, each with its request and its place in a queue, are to fit
// into 80 MB: 1,600 bytes for each. Their driver needs a part of it, too
// (tests/runtime/call_test.cc has the size of what it holds).
TEST(ExecutionAllocationTest, IsSmall) {
  std::printf("record: %zu bytes, execution: %zu bytes\n", sizeof(CallRecord),
              sizeof(Execution));
  EXPECT_LE(sizeof(CallRecord), 400u);
  EXPECT_LE(sizeof(Execution), 632u);
  // Nothing but a byte of its own beside the machine.
  EXPECT_LE(sizeof(LightExecution), sizeof(Execution) + 8);
}

}  // namespace
}  // namespace forbear
