// LightExecution against Execution: the same events in two worlds that are alike, one
// of which never goes by the lanes.

#include "core/light_execution.h"

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_names.h"
#include "core/call_record.h"
#include "core/circuit_breaker.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/random.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

class CountsWakes final : public Waiter {
 public:
  void Wake() override { ++count; }
  int count = 0;
};

struct Settings {
  RetryOptions retry;
  QuotaOptions quota;
  EndpointOptions endpoint;
};

// The states of one world, and its calls, of either machine.
template <typename Machine>
class World {
 public:
  World(const Settings& settings, MonotonicTime now)
      : options_(settings.retry),
        quota_(settings.quota),
        endpoint_(settings.endpoint, now) {}

  struct OneCall {
    std::shared_ptr<CountsWakes> waiter = std::make_shared<CountsWakes>();
    std::unique_ptr<GivenSource> source;  // LightExecution's
    std::unique_ptr<Machine> machine;
  };

  OneCall* Add(const CallSpec& spec) {
    calls_.push_back(std::make_unique<OneCall>());
    OneCall* const c = calls_.back().get();
    if constexpr (std::is_same_v<Machine, Execution>) {
      c->machine =
          std::make_unique<Machine>(spec, &options_, &shared_, c->waiter);
    } else {
      c->source = std::make_unique<GivenSource>(spec, c->waiter);
      c->machine = std::make_unique<Machine>(
          c->source.get(), c->source->waiter(), spec.deadline, spec.cost,
          &options_, Machine::ArePlain(options_), &shared_);
    }
    return c;
  }
  OneCall* call(size_t i) { return calls_[i].get(); }
  void Drop(size_t i) {
    calls_.erase(calls_.begin() + static_cast<ptrdiff_t>(i));
  }
  Guarded<Quota, NoMutex>& quota() { return quota_; }
  Guarded<Endpoint, NoMutex>& endpoint() { return endpoint_; }

 private:
  const RetryOptions options_;
  Guarded<Quota, NoMutex> quota_;
  Guarded<Endpoint, NoMutex> endpoint_;
  BasicSharedState<NoMutex> shared_{&quota_, &endpoint_};
  std::vector<std::unique_ptr<OneCall>> calls_;
};

std::string Say(const Action& a) {
  return absl::StrCat(static_cast<int>(a.type), " ", a.attempt, " ",
                      a.time.nanos(), " ", static_cast<int>(a.source), " ",
                      static_cast<int>(a.reason), " ",
                      a.retry_at ? a.retry_at->nanos() : -1);
}

std::string Say(const Quota::Snapshot& s) {
  return absl::StrCat("waiting ", s.waiting, " out ", s.out, " gate ",
                      s.gate ? s.gate->nanos() : -1, " pace ",
                      s.pace.value_or(-1));
}
std::string Say(const Endpoint::Snapshot& s) {
  return absl::StrCat("waiting ", s.waiting, " out ", s.out, " breaker ",
                      BreakerStateName(s.breaker), " calls ", s.calls, " of ",
                      s.failures, " slow ", s.slow, " run ", s.run, " gate ",
                      s.gate ? s.gate->nanos() : -1, " pace ",
                      s.pace.value_or(-1), " budget ", s.budget);
}

// A run of random events. Good answers are by far the most, as in life, and every
// run has its own part of others.
class Twins {
 public:
  explicit Twins(uint64_t seed) : seed_(seed) {
    settings_.retry.backoff.initial = absl::Milliseconds(20);
    settings_.retry.max_attempts = 3;
    if (Chance() < 0.3) settings_.retry.call_timeout = absl::Seconds(2);
    if (Chance() < 0.3)
      settings_.retry.attempt_timeout = absl::Milliseconds(90);
    if (Chance() < 0.2) settings_.retry.max_attempts = 1;
    if (Chance() < 0.1) settings_.retry.hedge.enabled = true;
    if (Chance() < 0.1) settings_.endpoint.pacing = false;
    if (Chance() < 0.1) settings_.endpoint.max_concurrency = 3;
    if (Chance() < 0.1) settings_.endpoint.breaker.enabled = false;
    if (Chance() < 0.1) {
      settings_.endpoint.breaker.slow_call = absl::Milliseconds(50);
    }
    if (Chance() < 0.1) settings_.endpoint.budget.mode = BudgetMode::kThrottle;
    if (Chance() < 0.1) {
      settings_.quota.limits = {
          {"rps", LimitUnit::kRequests, 50, absl::Seconds(1)}};
    }
    faulty_ = Chance() < 0.3 ? 0 : Chance() * Chance() * 0.5;
    // The head of a good answer counts at the endpoint when the answer ends; that
    // is seen in what the endpoint's own waits teach.
    heads_ = Chance() < 0.5;
  }

  // Whether both worlds are the same all along.
  ::testing::AssertionResult Go(int events) {
    World<Execution> heavy(settings_, now_);
    World<LightExecution> light(settings_, now_);
    size_t calls = 0;
    for (int i = 0; i < events; ++i) {
      const int kind = static_cast<int>(Pick(20));
      const auto at = static_cast<size_t>(Pick(calls == 0 ? 1 : calls));
      now_ = now_ + absl::Microseconds(Pick(Chance() < 0.02 ? 3000000 : 3000));
      std::string what;
      if (calls == 0 || (kind < 5 && calls < 6)) {
        what = "begin";
        CallSpec spec;
        spec.call_id = ++id_;
        spec.seed = MixRandom(seed_, id_);
        spec.names = CallNames("host:1", "GET", "default");
        spec.idempotent = Chance() < 0.7;
        spec.replayable = Chance() < 0.9;
        spec.nested = Chance() < 0.05;
        spec.max_in_flight = 2;
        if (Chance() < 0.3)
          spec.deadline = now_ + absl::Milliseconds(Pick(900));
        heavy.Add(spec)->machine->Begin(now_);
        light.Add(spec)->machine->Begin(now_);
        ++calls;
        if (Chance() < 0.02)
          Both(&heavy, &light, calls - 1, [&](auto* m) { m->Begin(now_); });
      } else if (kind < 10) {
        what = "head or end";
        const Outcome outcome = AnyOutcome();
        const int n = Chance() < 0.9 ? Last(heavy.call(at)->machine.get())
                                     : static_cast<int>(Pick(4));
        const bool head = heads_ && Chance() < 0.5;
        const bool preview = head && Chance() < 0.1;
        Both(&heavy, &light, at, [&](auto* m) {
          if (preview) {
            previews_.push_back(m->PreviewHead(outcome, now_));
          }
          if (head) {
            decisions_.push_back(m->OnAnswerHead(n, outcome, now_));
          } else {
            m->OnAttemptDone(n, outcome, now_);
          }
        });
        if (head) {
          if (decisions_[0] != decisions_[1]) return Bad(i, what, "decision");
          decisions_.clear();
          if (preview && previews_[0] != previews_[1]) {
            return Bad(i, what, "preview");
          }
          previews_.clear();
        }
      } else if (kind < 15) {
        what = "next action";
        Action a;
        Action b;
        const bool one = heavy.call(at)->machine->NextAction(&a);
        const bool other = light.call(at)->machine->NextAction(&b);
        if (one != other) return Bad(i, what, "one has none");
        if (one && Say(a) != Say(b))
          return Bad(i, what, Say(a) + " | " + Say(b));
      } else if (kind == 15) {
        what = "timer";
        Both(&heavy, &light, at, [&](auto* m) { m->OnTimer(now_); });
      } else if (kind == 16) {
        what = "wake";
        Both(&heavy, &light, at, [&](auto* m) { m->OnWake(now_); });
      } else if (kind == 17 && Chance() < 0.5) {
        what = "cancel";
        Both(&heavy, &light, at, [&](auto* m) { m->OnCancel(now_); });
      } else if (kind == 18) {
        what = "record";
        if (!(heavy.call(at)->machine->record() ==
              light.call(at)->machine->record())) {
          return Bad(i, what, "");
        }
        if (Chance() < 0.1)
          Both(&heavy, &light, at, [](auto* m) { m->SetNotReplayable(); });
      } else if (kind == 19) {
        what = "drop";
        const bool finished =
            heavy.call(at)->machine->phase() == Execution::Phase::kFinished;
        if (finished) {
          CallRecord taken;
          light.call(at)->machine->TakeRecord(&taken);
          const CallRecord& must = heavy.call(at)->machine->record();
          if (!(must == taken)) return Bad(i, what, "the record that is taken");
          if (!(must == light.call(at)->machine->record())) {
            return Bad(i, what, "record");
          }
        }
        if (finished || Chance() < 0.2) {
          heavy.Drop(at);
          light.Drop(at);
          --calls;
        }
      }
      for (size_t c = 0; c < calls; ++c) {
        auto* const a = heavy.call(c);
        auto* const b = light.call(c);
        for (const auto& w : a->machine->TakeWakes()) w->Wake();
        for (const auto& w : b->machine->TakeWakes()) w->Wake();
        if (a->waiter->count != b->waiter->count) return Bad(i, what, "wakes");
        if (a->machine->phase() != b->machine->phase()) {
          return Bad(i, what, "phase");
        }
        if (a->machine->holder() != b->machine->holder()) {
          return Bad(i, what, "holder");
        }
      }
      const std::string a =
          absl::StrCat(Say(heavy.quota()->SnapshotAt(now_)), "; ",
                       Say(heavy.endpoint()->SnapshotAt(now_)));
      // To look closes the lanes and opens them; most of the time, do not.
      if (i % 16 == 15) {
        const std::string b =
            absl::StrCat(Say(light.quota()->SnapshotAt(now_)), "; ",
                         Say(light.endpoint()->SnapshotAt(now_)));
        if (a != b) return Bad(i, what, absl::StrCat("\n", a, "\n", b));
      }
      if (light.quota().lane().is_open() && light.endpoint().lane().is_open()) {
        ++open_;
      }
    }
    return ::testing::AssertionSuccess();
  }

  int open() const { return open_; }

 private:
  template <typename F>
  static void Both(World<Execution>* heavy, World<LightExecution>* light,
                   size_t at, const F& event) {
    event(heavy->call(at)->machine.get());
    event(light->call(at)->machine.get());
  }

  static int Last(const Execution* e) { return e->record().total_attempts; }

  Outcome AnyOutcome() {
    Outcome o;
    o.status = 200;
    if (Chance() >= faulty_) {
      if (Chance() < 0.1) o.usage.units = 3;
      if (Chance() < 0.02) o.pushback = absl::Hours(Pick(48));
      return o;
    }
    constexpr ErrorKind kKinds[] = {
        ErrorKind::kTransient, ErrorKind::kTransient,
        ErrorKind::kThrottled, ErrorKind::kPermanent,
        ErrorKind::kCancelled, ErrorKind::kQuotaExhausted};
    o.kind = kKinds[Pick(6)];
    constexpr Processed kProcessed[] = {Processed::kNo, Processed::kUnknown,
                                        Processed::kYes};
    o.processed = kProcessed[Pick(3)];
    o.status = Chance() < 0.5 ? 0 : 500;
    o.committed = Chance() < 0.1;
    const bool may_wait = !heads_ || o.kind != ErrorKind::kTransient;
    if (may_wait && Chance() < 0.3) o.pushback = absl::Milliseconds(Pick(400));
    return o;
  }

  ::testing::AssertionResult Bad(int i, const std::string& what,
                                 const std::string& difference) const {
    return ::testing::AssertionFailure() << "seed " << seed_ << ", event " << i
                                         << " (" << what << "): " << difference;
  }

  double Chance() { return UnitRandom(seed_, ++counter_); }
  uint64_t Pick(uint64_t n) { return MixRandom(seed_, ++counter_) % n; }

  const uint64_t seed_;
  uint64_t counter_ = 1000000;
  uint64_t id_ = 0;
  Settings settings_;
  double faulty_ = 0;
  bool heads_ = false;
  int open_ = 0;
  MonotonicTime now_ = MonotonicTime::FromNanos(1000000);
  std::vector<Execution::HeadDecision> decisions_;
  std::vector<Execution::HeadDecision> previews_;
};

TEST(LightExecutionTest, IsTheSameMachine) {
  constexpr int kRuns = 4000;
  constexpr int kEvents = 600;
  int64_t open = 0;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    Twins run(seed);
    ASSERT_TRUE(run.Go(kEvents));
    open += run.open();
  }
  const double part = static_cast<double>(open) / kRuns / kEvents;
  std::printf("lanes open in %.0f %% of %d events\n", 100 * part,
              kRuns * kEvents);
  EXPECT_GT(part, 0.1);
  EXPECT_LT(part, 0.9);
}

// A call that went by the lanes, and has ended well.
class EndedLightly : public ::testing::Test {
 protected:
  EndedLightly() {
    for (uint64_t i = 0; i < 30; ++i) {
      LightExecution* const call = Start(i);
      call->OnAttemptDone(1, Outcome(), now_);
    }
    EXPECT_TRUE(world_.quota().lane().is_open());
    EXPECT_TRUE(world_.endpoint().lane().is_open());
  }
  LightExecution* Start(uint64_t id) {
    CallSpec spec;
    spec.call_id = id;
    spec.idempotent = true;
    LightExecution* const call = world_.Add(spec)->machine.get();
    call->Begin(now_);
    Action action;
    EXPECT_TRUE(call->NextAction(&action));
    return call;
  }

  MonotonicTime now_ = MonotonicTime::FromNanos(0);
  World<LightExecution> world_{Settings(), now_};
};

// The record says what held when the attempt ended.
TEST_F(EndedLightly, WhatComesAfterTheEndIsNotOfTheAttempt) {
  for (const bool before : {false, true}) {
    LightExecution* const call = Start(100);
    if (before) call->SetNotReplayable();
    call->OnAttemptDone(1, Outcome(), now_);
    if (!before) call->SetNotReplayable();
    ASSERT_EQ(call->record().attempts.size(), 1u);
    EXPECT_EQ(call->record().attempts[0].replayable, !before);
  }
}

// Those that came from elsewhere, and those of the machine that had to be made.
TEST_F(EndedLightly, AllWakesAreHandedOver) {
  LightExecution* const call = Start(100);
  Outcome refused;
  refused.kind = ErrorKind::kThrottled;
  refused.processed = Processed::kNo;
  refused.pushback = absl::Seconds(1);
  call->OnAttemptDone(1, refused, now_);
  ASSERT_EQ(call->phase(), Execution::Phase::kQueued);
  CallSpec spec;
  spec.call_id = 101;
  auto* const next = world_.Add(spec);
  next->machine->Begin(now_);
  ASSERT_EQ(next->machine->phase(), Execution::Phase::kQueued);
  const auto elsewhere = std::make_shared<CountsWakes>();
  call->TakeWakes();
  call->AddWakes({elsewhere});
  call->OnCancel(now_);  // the next one is the first now
  EXPECT_FALSE(call->no_wakes());
  for (const auto& waiter : call->TakeWakes()) waiter->Wake();
  EXPECT_EQ(elsewhere->count, 1);
  EXPECT_EQ(next->waiter->count, 1);
  EXPECT_TRUE(call->TakeWakes().empty());
}

// What passed while nobody looked is there when somebody does.
TEST(LightExecutionTest, WhatPassedIsCounted) {
  MonotonicTime now = MonotonicTime::FromNanos(0);
  const Settings settings;
  World<LightExecution> world(settings, now);
  CallSpec spec;
  for (int i = 0; i < 1000; ++i) {
    now = now + absl::Milliseconds(1);
    spec.call_id = static_cast<uint64_t>(i);
    LightExecution* const call = world.Add(spec)->machine.get();
    call->Begin(now);
    Action action;
    ASSERT_TRUE(call->NextAction(&action));
    ASSERT_EQ(action.type, Action::Type::kStartAttempt);
    if (i >= 990) continue;  // these stay out
    call->OnAttemptDone(1, Outcome(), now);
    ASSERT_EQ(call->phase(), Execution::Phase::kFinished);
  }
  EXPECT_TRUE(world.quota().lane().is_open());
  EXPECT_EQ(world.quota()->SnapshotAt(now).out, 10);
  EXPECT_EQ(world.endpoint()->SnapshotAt(now).out, 10);
  EXPECT_EQ(world.endpoint()->SnapshotAt(now).calls, 990);
  for (size_t i = 990; i < 1000; ++i) world.call(i)->machine->OnCancel(now);
  EXPECT_EQ(world.quota()->SnapshotAt(now).out, 0);
  EXPECT_EQ(world.endpoint()->SnapshotAt(now).out, 0);
}

}  // namespace
}  // namespace forbear
