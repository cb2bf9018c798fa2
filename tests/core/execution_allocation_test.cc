// What a call allocates: on the way that nearly every call goes, nothing.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/endpoint.h"
#include "core/execution.h"
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

// What a call with these ends of its attempts allocates, the copy of its record
// included. Names are made once for many calls.
int64_t AllocationsOf(int throttled) {
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
    Execution call(spec, &options, &shared, waiter);
    call.Begin(now);
    Action action;
    while (call.NextAction(&action)) {
      if (action.type == Action::Type::kWaitUntil) {
        now = action.time;
        call.OnTimer(now);
      }
      if (action.type != Action::Type::kStartAttempt) continue;
      now = now + absl::Milliseconds(5);
      Outcome outcome;
      outcome.processed = Processed::kYes;
      if (action.attempt <= throttled) {
        outcome.kind = ErrorKind::kThrottled;
        outcome.processed = Processed::kNo;
        outcome.pushback = absl::Seconds(1);
      }
      call.OnAnswerHead(action.attempt, outcome, now);
      call.OnAttemptDone(action.attempt, outcome, now);
    }
    const CallRecord copy = call.record();
    EXPECT_EQ(copy.total_attempts, throttled + 1);
  }
  return allocations - before;
}

TEST(ExecutionAllocationTest, OneAttemptAllocatesNothing) {
  std::printf("record: %zu bytes, execution: %zu bytes\n", sizeof(CallRecord),
              sizeof(Execution));
  EXPECT_EQ(AllocationsOf(0), 0);
}

TEST(ExecutionAllocationTest, TwoAttemptsAllocateForTheQueueOnly) {
  const int64_t n = AllocationsOf(1);
  std::printf("two attempts: %lld allocations\n", static_cast<long long>(n));
  // A node for the ticket and one for the limit.
  EXPECT_LE(n, 2);
}

}  // namespace
}  // namespace forbear
