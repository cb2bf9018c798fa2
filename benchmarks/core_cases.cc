#include "benchmarks/core_cases.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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
#include "core/verdict.h"
#include "core/wait_queue.h"
#include "runtime/call.h"
#include "runtime/clock.h"
#include "runtime/registry.h"

namespace forbear::bench {
namespace {

class NeverWoken final : public Waiter {
 public:
  void Wake() override {}
};

void Check(bool usual) {
  if (usual) return;
  std::fputs("a call took another way than the usual one\n", stderr);
  std::abort();
}

void CheckActions(bool took_start, const Action& start, bool took_finish,
                  const Action& finish) {
  Check(took_start && start.type == Action::Type::kStartAttempt &&
        took_finish && finish.type == Action::Type::kFinish &&
        finish.reason == StopReason::kSuccess);
}

// Of an endpoint that has answered less often, slow start decides.
constexpr int kWarm = 100;

class NoCall final : public CoreCase {
 public:
  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) benchmark::DoNotOptimize(i);
  }
};

class CallByKey final : public CoreCase {
 public:
  CallByKey(const std::shared_ptr<Client>& client, int target)
      : client_(client), waiter_(std::make_shared<NeverWoken>()) {
    request_.endpoint_key =
        absl::StrFormat("api-%04d.eu-west.example.com:443", target);
    request_.quota_key = request_.endpoint_key + "#0123456";
    request_.target = request_.endpoint_key;
    request_.method = "POST";
    request_.protocol = Protocol::kHttp;
    Run(kWarm);
  }

  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) {
      Call call(client_, request_, waiter_);
      Action start;
      Action finish;
      call.Begin();
      const bool started = call.NextAction(&start);
      call.OnAttemptDone(start.attempt, Outcome{});
      const bool finished = call.NextAction(&finish);
      call.TakeAftermath().Deliver();
      benchmark::DoNotOptimize(&call.record());
      CheckActions(started, start, finished, finish);
    }
  }

 private:
  const std::shared_ptr<Client> client_;
  const std::shared_ptr<Waiter> waiter_;
  CallRequest request_;
};

// Two states with no lock.
struct Unlocked {
  Unlocked() : quota(QuotaOptions{}), endpoint(EndpointOptions{}, now) {}

  MonotonicTime Tick() { return now = now + absl::Nanoseconds(100); }

  MonotonicTime now = MonotonicTime::FromNanos(1);
  Guarded<Quota, NoMutex> quota;
  Guarded<Endpoint, NoMutex> endpoint;
  BasicSharedState<NoMutex> shared{&quota, &endpoint};
  const RetryOptions options;
  const std::shared_ptr<Waiter> waiter = std::make_shared<NeverWoken>();
  uint64_t id = 0;
};

class Decisions final : public CoreCase {
 public:
  Decisions() { Run(kWarm); }

  void Run(int64_t n) override {
    SharedState* shared = &s_.shared;
    for (int64_t i = 0; i < n; ++i) {
      WakeList wakes;
      WaitPlace place;
      const MonotonicTime begin = s_.Tick();
      place.ticket = {begin, ++s_.id};
      DispatchAnswer answer =
          shared->Dispatch(&place, s_.waiter, begin, MonotonicTime::Infinite(),
                           s_.options.when_open, &wakes);
      const Outcome outcome;
      const SharedState::NotBefore known = shared->OnAttemptDone(
          &answer.permit, outcome, s_.Tick(), /*random=*/0.5, &wakes);
      const StopReason why = WhyNotRetry(s_.options, RetryFacts{}, outcome);
      shared->Deposit(1);
      benchmark::DoNotOptimize(known);
      Check(answer.verdict == Verdict::kGo && why == StopReason::kSuccess &&
            wakes.empty());
    }
  }

 private:
  Unlocked s_;
};

class ExecutionAlone final : public CoreCase {
 public:
  ExecutionAlone() {
    spec_.names = CallNames("api.example.com:443", "POST", "default");
    Run(kWarm);
  }

  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) {
      spec_.call_id = ++s_.id;
      Execution call(spec_, &s_.options, &s_.shared, s_.waiter);
      Action start;
      Action finish;
      call.Begin(s_.Tick());
      const bool started = call.NextAction(&start);
      call.OnAttemptDone(start.attempt, Outcome{}, s_.Tick());
      const bool finished = call.NextAction(&finish);
      benchmark::DoNotOptimize(&call.record());
      CheckActions(started, start, finished, finish);
    }
  }

 private:
  Unlocked s_;
  CallSpec spec_;
};

class RegistryLookup final : public CoreCase {
 public:
  RegistryLookup() {
    for (size_t i = 0; i < kKeys; ++i) {
      keys_.push_back(
          absl::StrFormat("api-%04d.eu-west.example.com:443#0123456", i));
      registry_.Get(keys_.back(), now_, Make);
    }
  }

  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) {
      // Not one after the other: nobody asks for keys in the order of memory.
      next_ = (next_ + 389) % kKeys;
      benchmark::DoNotOptimize(registry_.Get(keys_[next_], now_, Make));
    }
  }

 private:
  static constexpr size_t kKeys = 1024;
  static std::shared_ptr<SharedQuota> Make() {
    return std::make_shared<SharedQuota>(QuotaOptions{});
  }

  const MonotonicTime now_ = MonotonicNow();
  Registry<SharedQuota> registry_{4096};
  std::vector<std::string> keys_;
  size_t next_ = 0;
};

}  // namespace

const std::vector<std::string>& CaseNames() {
  static const auto* const names = new std::vector<std::string>{
      "no call", "call by key", "decisions", "execution", "registry lookup"};
  return *names;
}

std::unique_ptr<CoreCase> MakeCase(const std::string& name,
                                   const std::shared_ptr<Client>& client,
                                   int target) {
  if (name == "no call") return std::make_unique<NoCall>();
  if (name == "call by key") return std::make_unique<CallByKey>(client, target);
  if (name == "decisions") return std::make_unique<Decisions>();
  if (name == "execution") return std::make_unique<ExecutionAlone>();
  if (name == "registry lookup") return std::make_unique<RegistryLookup>();
  return nullptr;
}

}  // namespace forbear::bench
