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
#include "core/cost.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/light_execution.h"
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

// Calls of one kind, looked up by its keys each time, or kept in hand.
class RealCall final : public CoreCase {
 public:
  enum class By { kTexts, kKey, kHandle };

  RealCall(const std::shared_ptr<Client>& client, int target, By by,
           bool with_record)
      : client_(client),
        by_(by),
        with_record_(with_record),
        waiter_(std::make_shared<NeverWoken>()) {
    request_.endpoint_key =
        absl::StrFormat("api-%04d.eu-west.example.com:443", target);
    request_.quota_key = request_.endpoint_key + "#0123456";
    if (by != By::kTexts) request_.kind_name = request_.quota_key;  // 40 bytes
    request_.target = request_.endpoint_key;
    request_.method = "POST";
    request_.protocol = Protocol::kHttp;
    WakeList wakes;
    handle_ = client->HandleOf(request_.Kind(), client->TopPolicy(),
                               MonotonicNow(), &wakes);
    Run(kWarm);
  }

  void Run(int64_t n) override {
    if (by_ != By::kHandle) {
      for (int64_t i = 0; i < n; ++i) {
        Call call(client_.get(), request_, &waiter_);
        Drive(&call);
      }
    } else {
      for (int64_t i = 0; i < n; ++i) {
        Check(client_->IsCurrent(*handle_));
        Call call(client_.get(), handle_.get(), facts_, &waiter_);
        Drive(&call);
      }
    }
  }

 private:
  void Drive(Call* call) const {
    Action action;
    call->Begin();
    Check(call->NextAction(&action) &&
          action.type == Action::Type::kStartAttempt);
    call->OnAttemptDone(action.attempt, Outcome{});
    Check(call->NextAction(&action) && action.type == Action::Type::kFinish &&
          action.reason == StopReason::kSuccess);
    call->TakeAftermath().Deliver();
    if (with_record_) benchmark::DoNotOptimize(&call->record());
    benchmark::DoNotOptimize(call);
  }

  const std::shared_ptr<Client> client_;
  const By by_;
  const bool with_record_;
  const std::shared_ptr<Waiter> waiter_;
  CallRequest request_;
  CallFacts facts_;
  HandleRef handle_;
};

// Two states with no lock.
struct Unlocked {
  Unlocked() : quota(QuotaOptions{}), endpoint(EndpointOptions{}, now) {}

  MonotonicTime Tick() {
    return now = MonotonicTime::FromNanos(now.nanos() + 100);
  }

  MonotonicTime now = MonotonicTime::FromNanos(1);
  Guarded<Quota, NoMutex> quota;
  Guarded<Endpoint, NoMutex> endpoint;
  BasicSharedState<NoMutex> shared{&quota, &endpoint};
  const RetryOptions options;
  const std::shared_ptr<Waiter> waiter = std::make_shared<NeverWoken>();
  uint64_t id = 0;
};

// One send and its good answer, decided within the states, which is what they cost
// when they do not go by the lanes.
class DecisionsWithin final : public CoreCase {
 public:
  DecisionsWithin() { Run(kWarm); }

  void Run(int64_t n) override { Decide(&s_, n); }

  static void Decide(Unlocked* s, int64_t n) {
    SharedState* const shared = &s->shared;
    for (int64_t i = 0; i < n; ++i) {
      WakeList wakes;
      WaitPlace place;
      const MonotonicTime begin = s->Tick();
      place.ticket = {begin, ++s->id};
      s->quota.alone();  // closes its lane
      s->endpoint.alone();
      DispatchAnswer answer =
          shared->Dispatch(&place, s->waiter, begin, MonotonicTime::Infinite(),
                           s->options.when_open, &wakes);
      const Outcome outcome;
      s->quota.alone();  // closes its lane
      s->endpoint.alone();
      const SharedState::NotBefore known = shared->OnAttemptDone(
          &answer.permit, outcome, s->Tick(), /*random=*/0.5, &wakes);
      const StopReason why = WhyNotRetry(s->options, RetryFacts{}, outcome);
      shared->Deposit(1);
      benchmark::DoNotOptimize(known);
      Check(answer.verdict == Verdict::kGo && why == StopReason::kSuccess &&
            wakes.empty());
    }
  }

 private:
  Unlocked s_;
};

// The same by the lanes.
class Decisions final : public CoreCase {
 public:
  Decisions() {
    DecisionsWithin::Decide(&s_, kWarm);
    Run(kWarm);
  }

  void Run(int64_t n) override {
    SharedState* shared = &s_.shared;
    for (int64_t i = 0; i < n; ++i) {
      WakeList wakes;
      LanePermit permit;
      const bool sent = shared->TryDispatch(s_.Tick(), &permit, &wakes);
      if (!shared->TryGoodEnd(permit, /*head_seen=*/false, s_.Tick(), &wakes)) {
        // One of a million is counted within.
        AttemptPermit whole = PermitOf(permit);
        shared->OnAttemptDone(&whole, Outcome(), s_.now, /*random=*/0.5,
                              &wakes);
      }
      benchmark::DoNotOptimize(permit);
      Check(sent && wakes.empty());
    }
  }

 private:
  Unlocked s_;
};

class ExecutionAlone final : public CoreCase {
 public:
  ExecutionAlone() {
    DecisionsWithin::Decide(&s_, kWarm);
    Run(kWarm);
  }

  void Run(int64_t n) override {
    for (int64_t i = 0; i < n; ++i) {
      LightExecution call(&source_, source_.waiter(), MonotonicTime::Infinite(),
                          Cost(), &s_.options,
                          /*plain=*/true, &s_.shared);
      Action start;
      Action finish;
      call.Begin(s_.Tick());
      const bool started = call.NextAction(&start);
      call.OnAttemptDone(start.attempt, Outcome{}, s_.Tick());
      const bool finished = call.NextAction(&finish);
      benchmark::DoNotOptimize(&call);
      CheckActions(started, start, finished, finish);
    }
  }

 private:
  Unlocked s_;
  const GivenSource source_{CallSpec(), s_.waiter};
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
  static SharedQuota Make() {
    return SharedQuota(/*group_of=*/"", /*version_of=*/1, QuotaOptions{});
  }

  const MonotonicTime now_ = MonotonicNow();
  Registry<SharedQuota> registry_{4096};
  std::vector<std::string> keys_;
  size_t next_ = 0;
};

}  // namespace

const std::vector<std::string>& CaseNames() {
  static const auto* const names = new std::vector<std::string>{
      "no call",          "call by handle",  "call by key",
      "call by texts",    "call and record", "decisions",
      "decisions within", "execution",       "registry lookup"};
  return *names;
}

std::unique_ptr<CoreCase> MakeCase(const std::string& name,
                                   const std::shared_ptr<Client>& client,
                                   int target) {
  if (name == "no call") return std::make_unique<NoCall>();
  using By = RealCall::By;
  if (name == "call by handle") {
    return std::make_unique<RealCall>(client, target, By::kHandle, false);
  }
  if (name == "call by texts") {
    return std::make_unique<RealCall>(client, target, By::kTexts, false);
  }
  if (name == "call by key") {
    return std::make_unique<RealCall>(client, target, By::kKey, false);
  }
  if (name == "call and record") {
    return std::make_unique<RealCall>(client, target, By::kHandle, true);
  }
  if (name == "decisions") return std::make_unique<Decisions>();
  if (name == "decisions within") return std::make_unique<DecisionsWithin>();
  if (name == "execution") return std::make_unique<ExecutionAlone>();
  if (name == "registry lookup") return std::make_unique<RegistryLookup>();
  return nullptr;
}

}  // namespace forbear::bench
