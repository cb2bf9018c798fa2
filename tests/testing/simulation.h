// Simulation: many calls on shared states, in virtual time, against a model of
// a server. No thread, no clock, no sleeping: an hour takes milliseconds, and a
// seed is the whole run.
//
//   SimOptions options;
//   options.seed = 7;
//   Simulation sim(options);
//   sim.SetServer(TokenBucket());            // or any function of a SimSend
//   for (int i = 0; i < 50; ++i) sim.AddCall({});
//   sim.Run();
//   EXPECT_EQ(sim.Faults(), "");             // see "What it checks"
//   EXPECT_EQ(sim.calls()[0].record().stop_reason, StopReason::kSuccess);
//
// It is a driver like the others: the real LightExecution, the real Quota and
// Endpoint, BasicSharedState over a mutex that is none. Timers and wakes may be
// late by a random bit, and other calls may run in between two locks
// (`preempt`), which is what threads do to each other.
//
// What it checks by itself, on every run; Faults() lists what was broken:
//   - no send before a wait is over that a server announced (kept by the model
//     of the server, from the moment the answer's head was delivered; the
//     library is not asked);
//   - nobody waits while nothing blocks: when an instant has come to rest, the
//     head of each queue has a timer no later than what asking again would say;
//   - nobody waits for nothing: whose limit lies before a gate or the end of an
//     open time has been woken, to end at once;
//   - callers of one quota and endpoint leave in the order of their tickets
//     (not with `preempt`, where "order" has no meaning within an instant);
//   - every permit goes back exactly once; a call's waits end by its limit; no
//     attempt starts at or after the deadline; no more of them are out at a time
//     than the call may have; kFinish comes once and last;
//   - at the end: every call has finished, the queues are empty, nothing is out.
//
// Thread rule: not thread-safe; a value of one test.
#ifndef FORBEAR_TESTS_TESTING_SIMULATION_H_
#define FORBEAR_TESTS_TESTING_SIMULATION_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/action.h"
#include "core/cost.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/light_execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/wait_queue.h"

namespace forbear::testing {

// One send, as the model of the server sees it.
struct SimSend {
  MonotonicTime time;
  size_t call = 0;
  int attempt = 0;
  size_t quota = 0;
  size_t endpoint = 0;
};

// What the model does with it.
struct SimReply {
  Outcome outcome;
  // From the send to the answer's head; infinite: there is never an answer.
  absl::Duration head = absl::Milliseconds(10);
  // From the head to the end.
  absl::Duration body = absl::ZeroDuration();
  // Without a head: a reset, a refused connection.
  bool headless = false;
  // What a good answer's head tells of the limit.
  std::optional<LimitStand> stand;
};

using SimServer = std::function<SimReply(const SimSend&)>;

// Outcomes as servers make them.
Outcome OkOutcome();
Outcome ThrottledOutcome(std::optional<absl::Duration> wait);
Outcome ExhaustedOutcome(std::optional<absl::Duration> reset);
Outcome TransientOutcome(Processed processed,
                         std::optional<absl::Duration> wait = std::nullopt);

// A bucket of `burst` tokens, refilled with `rate` per second, exact. Refuses
// with 429 and the wait until a token is there: in whole seconds, rounded up,
// if `whole_seconds`; none if `announce` is false.
struct TokenBucket {
  double rate = 10;
  double burst = 10;
  bool announce = true;
  bool whole_seconds = false;
  absl::Duration latency = absl::Milliseconds(10);

  SimReply operator()(const SimSend& send);

  double level = -1;  // full at first
  MonotonicTime filled;
  int64_t refused = 0;
  int64_t admitted = 0;
};

struct SimOptions {
  uint64_t seed = 1;
  QuotaOptions quota;
  EndpointOptions endpoint;
  // Of several with peers, each has a place of its own.
  size_t quotas = 1;
  size_t endpoints = 1;
  // Timers and wakes are up to this late.
  absl::Duration late = absl::ZeroDuration();
  // Sends arrive up to this late, and so in another order.
  absl::Duration transit = absl::ZeroDuration();
  // The chance that, when a state is unlocked, another call's event runs first.
  double preempt = 0;
  // The chance that an attempt that lost to another one answers all the same,
  // because its cancellation comes too late.
  double late_losers = 0.5;
  MonotonicTime start = MonotonicTime::FromNanos(1000000000);
  // More events than this are no progress.
  int64_t max_events = 20000000;
};

struct SimCallOptions {
  absl::Duration start = absl::ZeroDuration();         // after the simulation's
  absl::Duration deadline = absl::InfiniteDuration();  // after the call's
  absl::Duration cancel = absl::InfiniteDuration();    // after the call's
  RetryOptions retry;
  bool idempotent = true;
  bool nested = false;  // an attempt of somebody else's loop
  bool billable = false;
  Cost cost;
  // Above 1, with RetryOptions::hedge: it may hedge.
  int max_in_flight = 1;
  size_t quota = 0;
  size_t endpoint = 0;
};

class Simulation {
 public:
  class Call;

  explicit Simulation(const SimOptions& options);
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  void SetServer(SimServer server) { server_ = std::move(server); }
  // Returns its number.
  size_t AddCall(const SimCallOptions& options);
  // New options for all states, as after a reload.
  void Reconfigure(const QuotaOptions& quota, const EndpointOptions& endpoint);
  // Forgets the states that nobody holds and that are idle, as runtime/registry.h
  // does: whoever begins after that gets new ones. How many.
  int Forget();
  // What follows when a call has finished: in the same instant, after it.
  void SetOnFinish(std::function<void(const Call&)> on_finish) {
    on_finish_ = std::move(on_finish);
  }
  // Something of the test's own.
  void At(absl::Duration after_start, std::function<void()> what);

  // Until nothing is left to happen, or `until` (after the start) has come.
  void Run(absl::Duration until = absl::InfiniteDuration());

  MonotonicTime now() const { return now_; }
  MonotonicTime start() const { return options_.start; }
  const std::deque<Call>& calls() const { return calls_; }
  // In the order in which they left.
  const std::vector<SimSend>& sends() const { return sends_; }
  Quota& quota(size_t i = 0) { return quotas_[i]->alone(); }
  Endpoint& endpoint(size_t i = 0) { return endpoints_[i]->alone(); }
  int64_t wakes() const { return wakes_; }
  // Sends in [from, to) after the start.
  int64_t SendsBetween(absl::Duration from, absl::Duration to) const;
  // The fullest bin of this width, from this time on.
  int64_t FullestBin(absl::Duration width, absl::Duration from) const;
  // When the last call that has ended did so, after the start.
  absl::Duration LastEnd() const;
  // How many calls ended so.
  int64_t Ended(StopReason reason) const;

  // What was broken, a line each, with the seed; empty: nothing.
  std::string Faults() const;

 private:
  struct Mutex {
    using Word = PlainWord;
    Simulation* simulation = nullptr;
    void lock() {}
    void unlock() {
      if (simulation != nullptr) simulation->Unlocked();
    }
  };
  class CallWaiter;
  class Counted;

  struct Event {
    size_t call;
    std::function<void()> what;
  };
  static constexpr size_t kNoCall = ~size_t{0};

  void Schedule(MonotonicTime time, size_t call, std::function<void()> what);
  void RunOne(std::multimap<MonotonicTime, Event>::iterator it);
  void Unlocked();
  void Feed(Call* call, const std::function<void(LightExecution*)>& event);
  void Drain(Call* call);
  void Send(Call* call, const Action& action);
  // It has come to the server, which answers.
  void Arrive(Call* call, const SimSend& send, MonotonicTime deadline);
  void Told(const Call& call, const Outcome& outcome);
  void CheckRest();
  void CheckHead(const char* which, const WaitQueue& queue,
                 MonotonicTime earliest);
  void CheckDoomed(const char* which, const WaitQueue& queue,
                   MonotonicTime not_before);
  void CheckEnd();
  void Broken(const std::string& what);
  double Chance();
  absl::Duration Late();

  const SimOptions options_;
  SimServer server_;
  std::function<void(const Call&)> on_finish_;
  MonotonicTime now_;
  uint64_t chances_ = 0;
  std::multimap<MonotonicTime, Event> events_;
  std::shared_ptr<Guarded<Quota, Mutex>> NewQuota(size_t i);
  std::shared_ptr<Guarded<Endpoint, Mutex>> NewEndpoint(size_t i);

  // A call holds its states from its begin to its last attempt's end.
  std::vector<std::shared_ptr<Guarded<Quota, Mutex>>> quotas_;
  std::vector<std::shared_ptr<Guarded<Endpoint, Mutex>>> endpoints_;
  QuotaOptions quota_options_;  // as they are now
  EndpointOptions endpoint_options_;
  // What the servers announced: from when, until when.
  struct Wall {
    MonotonicTime since;
    MonotonicTime until = MonotonicTime::InfinitePast();
  };
  std::vector<Wall> quota_walls_;
  std::vector<Wall> endpoint_walls_;
  std::set<size_t> queued_;   // calls
  std::vector<int64_t> out_;  // by endpoint
  std::deque<Call> calls_;
  std::vector<SimSend> sends_;
  int64_t wakes_ = 0;
  int depth_ = 0;
  int64_t events_run_ = 0;
  std::vector<std::string> faults_;
  int64_t broken_ = 0;
};

// A call, and what its driver knows of it.
class Simulation::Call {
 public:
  Call(Simulation* simulation, size_t number, const SimCallOptions& options);
  ~Call();

  const CallRecord& record() const { return execution_->record(); }
  const SimCallOptions& options() const { return options_; }
  bool finished() const { return finished_; }
  MonotonicTime finished_at() const { return finished_at_; }

 private:
  friend class Simulation;

  SimCallOptions options_;
  size_t number_;
  std::shared_ptr<CallWaiter> waiter_;
  std::unique_ptr<Counted> shared_;
  std::unique_ptr<GivenSource> source_;
  std::unique_ptr<LightExecution> execution_;
  MonotonicTime ticket_;
  MonotonicTime timer_ = MonotonicTime::Infinite();
  uint64_t timer_epoch_ = 0;
  bool wake_pending_ = false;
  bool busy_ = false;        // in an event
  bool taken_back_ = false;  // by the application
  std::set<int> live_;       // attempts that are out, and not cancelled
  // Attempts of which the server will be heard, and whether their end will come.
  std::map<int, bool> open_;
  int sent_ = 0;
  bool finished_ = false;
  MonotonicTime finished_at_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_SIMULATION_H_
