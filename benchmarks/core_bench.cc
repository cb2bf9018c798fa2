// What one call costs that succeeds at once: made, begun, its only attempt
// reported, its end taken, destroyed. No transport, so all of it is ours.
//
//   core, no lock, no clock   the decisions and the record alone
//   core, std::mutex         the same with the locks of two shared states
//   runtime::Call             what a driver uses: keys looked up, clock read
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/time/time.h"
#include "benchmark/benchmark.h"
#include "core/action.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "runtime/call.h"
#include "runtime/client.h"

namespace forbear {
namespace {

class NeverWoken final : public Waiter {
 public:
  void Wake() override {}
};

// A call that took another path would be a measurement of something else.
bool Is(const Action& action, Action::Type type) { return action.type == type; }

template <typename Mutex>
void CoreCall(benchmark::State& state) {
  MonotonicTime now = MonotonicTime::FromNanos(0);
  Guarded<Quota, Mutex> quota(QuotaOptions{});
  Guarded<Endpoint, Mutex> endpoint(EndpointOptions{}, now);
  BasicSharedState<Mutex> shared(&quota, &endpoint);
  const RetryOptions options;
  const auto waiter = std::make_shared<NeverWoken>();
  CallSpec spec;
  spec.target = "api.test:443";
  spec.method = "GET";
  for (auto _ : state) {
    ++spec.call_id;
    Execution call(spec, &options, &shared, waiter);
    Action start;
    Action finish;
    call.Begin(now);
    call.NextAction(&start);
    now = now + absl::Nanoseconds(100);
    call.OnAttemptDone(start.attempt, Outcome{}, now);
    call.NextAction(&finish);
    if (!Is(start, Action::Type::kStartAttempt) ||
        !Is(finish, Action::Type::kFinish) ||
        finish.reason != StopReason::kSuccess) {
      state.SkipWithError("the call did not succeed at once");
      break;
    }
  }
}
BENCHMARK(CoreCall<NoMutex>)->Name("core, no lock, no clock");
BENCHMARK(CoreCall<std::mutex>)->Name("core, std::mutex, no clock");

void RuntimeCall(benchmark::State& state) {
  ClientOptions client_options;
  const auto client = Client::Create(client_options).value();
  const auto waiter = std::make_shared<NeverWoken>();
  CallRequest request;
  request.quota_key = "api.test";
  request.endpoint_key = "api.test:443";
  request.target = "api.test:443";
  request.method = "GET";
  for (auto _ : state) {
    Call call(client, request, waiter);
    Action start;
    Action finish;
    call.Begin();
    call.NextAction(&start);
    call.OnAttemptDone(start.attempt, Outcome{});
    call.NextAction(&finish);
    call.TakeAftermath().Deliver();
    if (!Is(start, Action::Type::kStartAttempt) ||
        !Is(finish, Action::Type::kFinish) ||
        finish.reason != StopReason::kSuccess) {
      state.SkipWithError("the call did not succeed at once");
      break;
    }
  }
}
BENCHMARK(RuntimeCall)->Name("runtime::Call");

}  // namespace
}  // namespace forbear
