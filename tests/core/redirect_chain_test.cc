// One call whose requests redirects lead from server to server: whose gate is shut, who
// is waited for, and that everything goes back.
#include "core/redirect_chain.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/circuit_breaker.h"
#include "core/endpoint.h"
#include "core/execution.h"
#include "core/outcome.h"
#include "core/quota.h"
#include "core/rate_limiter.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "core/shared_state.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

struct Woken final : public Waiter {
  void Wake() override { ++times; }
  int times = 0;
};

Outcome Of(ErrorKind kind,
           std::optional<absl::Duration> pushback = std::nullopt) {
  Outcome outcome;
  outcome.kind = kind;
  outcome.status = kind == ErrorKind::kTransient ? 503 : 429;
  outcome.processed =
      kind == ErrorKind::kThrottled ? Processed::kNo : Processed::kYes;
  outcome.pushback = pushback;
  return outcome;
}

// A server's two states.
struct Server {
  explicit Server(const EndpointOptions& options = {},
                  const QuotaOptions& quota_options = {})
      : quota(quota_options), endpoint(options, At(0)) {}

  int64_t out_at_quota() { return quota.alone().SnapshotAt(At(1e6)).out; }
  int64_t out() { return endpoint.alone().SnapshotAt(At(1e6)).out; }
  int64_t waiting() {
    return quota.alone().SnapshotAt(At(1e6)).waiting +
           endpoint.alone().SnapshotAt(At(1e6)).waiting;
  }
  MonotonicTime gate() { return quota.alone().pacer().gate_until(); }
  bool IsShut(double now) { return quota.alone().pacer().IsGated(At(now)); }

  Guarded<Quota, NoMutex> quota;
  Guarded<Endpoint, NoMutex> endpoint;
  BasicSharedState<NoMutex> state{&quota, &endpoint};
};

class RedirectChainTest : public ::testing::Test {
 protected:
  AttemptPermit Send(SharedState* to, double now) {
    const DispatchAnswer answer = Ask(to, now);
    EXPECT_EQ(answer.verdict, Verdict::kGo);
    return answer.permit;
  }
  DispatchAnswer Ask(SharedState* state, double now, double limit = 1000) {
    place_.ticket = {At(0), 1};
    return state->Dispatch(&place_, waiter_, At(now), At(limit),
                           WhenOpen::kWait, &wakes_);
  }
  // What somebody else is told.
  DispatchAnswer AskAsOther(Server* server, double now, uint64_t id = 50,
                            WhenOpen when_open = WhenOpen::kWait) {
    WaitPlace place;
    place.ticket = {At(now), id};
    return server->state.Dispatch(&place, waiter_, At(now), At(1000), when_open,
                                  &wakes_);
  }
  void EndAsOther(Server* server, const Outcome& outcome, double now) {
    DispatchAnswer answer = AskAsOther(server, now, 99);
    ASSERT_EQ(answer.verdict, Verdict::kGo);
    server->state.OnAttemptDone(&answer.permit, outcome, At(now), 0, &wakes_);
  }
  void Shut(Server* server, double now, absl::Duration wait) {
    EndAsOther(server, Of(ErrorKind::kThrottled, wait), now);
  }
  // The endpoint's gate instead of the quota's.
  void ShutEndpoint(Server* server, double now, absl::Duration wait) {
    EndAsOther(server, Of(ErrorKind::kTransient, wait), now);
  }
  bool Go(RedirectChain* chain, Server* to, double now, bool must_go = false) {
    return chain->GoTo(&to->state, must_go, At(now), &wakes_);
  }

  Server a_, b_, c_;
  std::shared_ptr<Woken> waiter_ = std::make_shared<Woken>();
  WaitPlace place_;
  WakeList wakes_;
};

TEST_F(RedirectChainTest, ARefusalIsThatOfTheServerThatSaidIt) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  EXPECT_EQ(b_.out(), 1);
  const Outcome refused = Of(ErrorKind::kThrottled, absl::Seconds(5));
  chain.OnAnswerHead(&permit, refused, At(0.2), &wakes_);
  EXPECT_FALSE(a_.IsShut(0.3));
  EXPECT_TRUE(b_.IsShut(0.3));
  const SharedState::NotBefore known =
      chain.OnAttemptDone(&permit, refused, At(0.4), 0, &wakes_);
  EXPECT_EQ(known.time, b_.gate());
  EXPECT_EQ(known.source, DelaySource::kGate);
  EXPECT_EQ(a_.endpoint.alone().breaker().window().total(), 1);
  for (Server* server : {&a_, &b_}) {
    EXPECT_EQ(server->out(), 0);
    EXPECT_EQ(server->out_at_quota(), 0);
  }
}

TEST_F(RedirectChainTest, WithoutAHeadToo) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kThrottled, absl::Seconds(5)),
                      At(0.4), 0, &wakes_);
  EXPECT_FALSE(a_.IsShut(0.5));
  EXPECT_TRUE(b_.IsShut(0.5));
}

TEST_F(RedirectChainTest, AnEndpointsFailureIsItsOwn) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  permit.endpoint.free = true;
  Outcome failed = Of(ErrorKind::kTransient, absl::Seconds(7));
  chain.OnAttemptDone(&permit, failed, At(0.4), 0, &wakes_);
  EXPECT_EQ(a_.endpoint.alone().breaker().run(), 0);
  EXPECT_EQ(b_.endpoint.alone().breaker().run(), 1);
  EXPECT_FALSE(a_.endpoint.alone().pacer().IsGated(At(1)));
  EXPECT_TRUE(b_.endpoint.alone().pacer().IsGated(At(1)));
}

// gRPC's transparent retries, of which no budget knows.
TEST_F(RedirectChainTest, WhatIsFreeIsFreeThere) {
  for (const bool free : {false, true}) {
    EndpointOptions options;
    options.budget.mode = BudgetMode::kThrottle;
    Server b(options);
    RedirectChain chain(&a_.state);
    AttemptPermit permit = Send(&a_.state, 0);
    ASSERT_TRUE(Go(&chain, &b, 0.1));
    permit.endpoint.free = free;
    chain.OnAttemptDone(&permit, Of(ErrorKind::kTransient), At(0.4), 0,
                        &wakes_);
    RetryBudget& budget = b.endpoint.alone().budget();
    EXPECT_EQ(budget.milli_level() == budget.milli_full(), free);
  }
}

TEST_F(RedirectChainTest, LimitsOfOurOwnHoldWhoIsSentOn) {
  QuotaOptions quota;
  RateLimitOptions limit;
  limit.name = "one";
  limit.amount = 1;
  limit.per = absl::Seconds(10);
  limit.burst = 1;
  quota.limits.push_back(limit);
  Server b({}, quota);
  RedirectChain first(&a_.state);
  Send(&a_.state, 0);
  EXPECT_TRUE(Go(&first, &b, 0.1));
  RedirectChain second(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0.2);
  EXPECT_FALSE(Go(&second, &b, 0.2));
  const SharedState::NotBefore known =
      second.OnAttemptDone(&permit, RedirectRefused(302), At(0.3), 0, &wakes_);
  EXPECT_EQ(known.source, DelaySource::kLimiter);
  EXPECT_GE(known.time, At(10));
}

TEST_F(RedirectChainTest, PlacesHoldWhoIsSentOn) {
  EndpointOptions options;
  options.max_concurrency = 1;
  Server b(options);
  RedirectChain first(&a_.state);
  Send(&a_.state, 0);
  EXPECT_TRUE(Go(&first, &b, 0.1));
  RedirectChain second(&a_.state);
  Send(&a_.state, 0.2);
  EXPECT_FALSE(Go(&second, &b, 0.2));
  EXPECT_EQ(b.out_at_quota(), 1) << "what the quota gave went back";
}

// Without pacing nobody confirms: there is nothing but the gate.
TEST_F(RedirectChainTest, AGateIsAGateWithoutPacing) {
  QuotaOptions quota;
  quota.pacing = false;
  EndpointOptions endpoint;
  endpoint.pacing = false;
  for (const ErrorKind kind : {ErrorKind::kThrottled, ErrorKind::kTransient}) {
    Server b(endpoint, quota);
    EndAsOther(&b, Of(kind, absl::Seconds(5)), 0);
    RedirectChain chain(&a_.state);
    AttemptPermit permit = Send(&a_.state, 1);
    EXPECT_FALSE(Go(&chain, &b, 1));
    const SharedState::NotBefore known =
        chain.OnAttemptDone(&permit, RedirectRefused(302), At(1), 0, &wakes_);
    EXPECT_GE(known.time, At(5));
    Send(&a_.state, 6);
    EXPECT_TRUE(Go(&chain, &b, 6));
  }
}

// Of a gate that has opened, one confirms first.
TEST_F(RedirectChainTest, WhileOneConfirmsNobodyIsSentOn) {
  Shut(&b_, 0, absl::Seconds(5));
  ASSERT_EQ(AskAsOther(&b_, 6).verdict, Verdict::kGo);
  RedirectChain chain(&a_.state);
  Send(&a_.state, 6);
  EXPECT_FALSE(Go(&chain, &b_, 6));
}

TEST_F(RedirectChainTest, SoItIsForAnEndpoint) {
  ShutEndpoint(&b_, 0, absl::Seconds(5));
  // Nothing waits; then one does.
  for (const bool waits : {false, true}) {
    if (waits) {
      ASSERT_EQ(AskAsOther(&b_, 1).verdict, Verdict::kWait);
      b_.endpoint->ClearGate(&wakes_);
    }
    RedirectChain chain(&a_.state);
    AttemptPermit permit = Send(&a_.state, 1);
    EXPECT_FALSE(Go(&chain, &b_, 1));
    chain.OnAttemptDone(&permit, RedirectRefused(302), At(1), 0, &wakes_);
    EXPECT_EQ(b_.out() + b_.out_at_quota(), 0);
  }
}

TEST_F(RedirectChainTest, AnEndpointThatConfirms) {
  ShutEndpoint(&b_, 0, absl::Seconds(5));
  ASSERT_EQ(AskAsOther(&b_, 6).verdict, Verdict::kGo);
  RedirectChain chain(&a_.state);
  Send(&a_.state, 6);
  EXPECT_FALSE(Go(&chain, &b_, 6));
}

// What goes into a shut gate and comes back well has shown that it is over.
TEST_F(RedirectChainTest, WhatMustGoAndIsAnsweredOpensTheGate) {
  Shut(&b_, 0, absl::Seconds(5));
  ShutEndpoint(&c_, 0, absl::Seconds(5));
  for (Server* server : {&b_, &c_}) {
    RedirectChain chain(&a_.state);
    AttemptPermit permit = Send(&a_.state, 1);
    ASSERT_TRUE(Go(&chain, server, 1.1, /*must_go=*/true));
    EXPECT_EQ(server->out(), 1);
    EXPECT_GT(server->state.GateUntil(), At(2));
    chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(1.2), 0, &wakes_);
    EXPECT_LE(server->state.GateUntil(), At(1.2));
    EXPECT_EQ(server->out() + server->out_at_quota(), 0);
  }
}

// Who asks one server, and is then held by another, has not been to the first: its turn
// there is the next one's.
TEST_F(RedirectChainTest, ATurnThatIsNotUsedIsTheNextOnes) {
  for (const bool of_link : {false, true}) {
    SCOPED_TRACE(of_link);
    Server tells;
    Server refuses;
    // It lets one call through each second.
    AttemptPermit permit = Send(&tells.state, 0);
    tells.state.OnAnswerHead(&permit, Outcome(), At(0.1), &wakes_);
    LimitStand stand;
    stand.limit = 10;
    stand.remaining = 0;
    stand.reset = absl::Seconds(10);
    tells.state.OnLimitTold(permit, stand, At(0.1), &wakes_);
    tells.state.OnAttemptDone(&permit, Outcome(), At(0.1), 0, &wakes_);

    RedirectChain chain(of_link ? &a_.state : &tells.state);
    permit = Send(&chain, 2);
    if (of_link) {
      ASSERT_TRUE(Go(&chain, &tells, 2));
    }
    ASSERT_TRUE(Go(&chain, &refuses, 2.1));
    chain.OnAttemptDone(&permit, Of(ErrorKind::kThrottled, absl::Seconds(60)),
                        At(2.2), 0, &wakes_);
    const DispatchAnswer held = Ask(&chain, 3.5);
    ASSERT_EQ(held.verdict, Verdict::kWait);
    EXPECT_GT(held.until, At(60));
    EXPECT_EQ(AskAsOther(&tells, 3.51).verdict, Verdict::kGo);
  }
}

TEST_F(RedirectChainTest, ItWaitsForEachAndHoldsNothing) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  ASSERT_TRUE(Go(&chain, &c_, 0.2));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(0.3), 0, &wakes_);
  Shut(&b_, 1, absl::Seconds(5));
  const DispatchAnswer at_b = Ask(&chain, 2);
  EXPECT_EQ(at_b.verdict, Verdict::kWait);
  EXPECT_GE(at_b.until, At(6));
  EXPECT_EQ(at_b.holder, WaitPlace::Where::kQuota);
  EXPECT_EQ(place_.where, WaitPlace::Where::kQuota);
  EXPECT_EQ(b_.waiting(), 1);
  EXPECT_EQ(a_.waiting() + c_.waiting(), 0);
  EXPECT_EQ(a_.out() + b_.out() + c_.out(), 0);
  EXPECT_EQ(a_.out_at_quota(), 0);

  // Then the first one has something to say: one queue at a time.
  Shut(&a_, 3, absl::Seconds(5));
  EXPECT_EQ(Ask(&chain, 4).verdict, Verdict::kWait);
  EXPECT_EQ(a_.waiting(), 1);
  EXPECT_EQ(b_.waiting(), 0);
  EXPECT_EQ(Ask(&chain, 8.5).verdict, Verdict::kGo);
  EXPECT_EQ(place_.where, WaitPlace::Where::kNowhere);
  EXPECT_EQ(a_.out() + b_.out() + c_.out(), 3);
  EXPECT_EQ(a_.waiting() + b_.waiting() + c_.waiting(), 0);
}

TEST_F(RedirectChainTest, ARefusalBeyondTheLimitHoldsNothing) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  ASSERT_TRUE(Go(&chain, &c_, 0.1));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(0.3), 0, &wakes_);
  Shut(&c_, 1, absl::Seconds(50));
  const DispatchAnswer answer = Ask(&chain, 2, /*limit=*/10);
  EXPECT_EQ(answer.verdict, Verdict::kRefuse);
  EXPECT_GE(answer.until, At(51));
  EXPECT_EQ(a_.out() + b_.out() + c_.out(), 0);
  EXPECT_EQ(a_.waiting() + b_.waiting() + c_.waiting(), 0);
}

TEST_F(RedirectChainTest, WhoGivesUpLeaves) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(0.3), 0, &wakes_);
  for (Server* server : {&a_, &b_}) {
    Shut(server, 1, absl::Seconds(5));
    ASSERT_EQ(Ask(&chain, 2).verdict, Verdict::kWait);
    EXPECT_EQ(a_.waiting() + b_.waiting(), 1);
    chain.Leave(&place_, &wakes_);
    EXPECT_EQ(a_.waiting() + b_.waiting(), 0);
    EXPECT_EQ(place_.where, WaitPlace::Where::kNowhere);
    a_.quota->ClearGate(&wakes_);
  }
}

TEST_F(RedirectChainTest, WhoIsShutIsNotGoneTo) {
  Shut(&b_, 0, absl::Seconds(5));
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 1);
  EXPECT_FALSE(Go(&chain, &b_, 1.1));
  EXPECT_EQ(b_.out() + b_.out_at_quota() + b_.waiting(), 0);
  const SharedState::NotBefore known =
      chain.OnAttemptDone(&permit, RedirectRefused(302), At(1.2), 0, &wakes_);
  EXPECT_EQ(known.time, b_.gate());
  EXPECT_EQ(known.source, DelaySource::kGate);
  EXPECT_FALSE(a_.IsShut(1.3)) << "it has answered";
  EXPECT_EQ(a_.out(), 0);
  // It is known now, and waited for.
  const DispatchAnswer answer = Ask(&chain, 1.3);
  EXPECT_EQ(answer.verdict, Verdict::kWait);
  EXPECT_EQ(answer.until, b_.gate());
  permit = Send(&chain, 5.5);
  EXPECT_EQ(b_.out(), 1);
  EXPECT_TRUE(Go(&chain, &b_, 5.6)) << "asked before";
  EXPECT_EQ(b_.out(), 1);
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(6), 0, &wakes_);
  EXPECT_FALSE(b_.quota.alone().pacer().confirming()) << "it has confirmed";
}

TEST_F(RedirectChainTest, WhatMustGoDoes) {
  Shut(&b_, 0, absl::Seconds(5));
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 1);
  ASSERT_TRUE(Go(&chain, &b_, 1.1, /*must_go=*/true));
  EXPECT_EQ(b_.out(), 1);
  EXPECT_EQ(b_.out_at_quota(), 1);
  // Refused once more: only longer.
  chain.OnAttemptDone(&permit, Of(ErrorKind::kThrottled, absl::Seconds(9)),
                      At(1.2), 0, &wakes_);
  EXPECT_GE(b_.gate(), At(10.2));
  EXPECT_EQ(b_.out() + b_.out_at_quota(), 0);
}

TEST_F(RedirectChainTest, AnOpenBreakerIsNotGoneTo) {
  for (uint64_t i = 0; i < 200; ++i) {
    if (b_.endpoint.alone().breaker().state() !=
        CircuitBreaker::State::kClosed) {
      break;
    }
    DispatchAnswer answer = AskAsOther(&b_, 0, 100 + i, WhenOpen::kFail);
    if (answer.verdict != Verdict::kGo) break;
    Outcome failed = Of(ErrorKind::kTransient);
    failed.status = 500;
    b_.state.OnAttemptDone(&answer.permit, failed, At(0), 0.5, &wakes_);
  }
  ASSERT_EQ(b_.endpoint.alone().breaker().state(),
            CircuitBreaker::State::kOpen);
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0.1);
  EXPECT_FALSE(Go(&chain, &b_, 0.1));
  EXPECT_EQ(b_.out_at_quota(), 0) << "what the quota gave went back";
  const SharedState::NotBefore known =
      chain.OnAttemptDone(&permit, RedirectRefused(302), At(0.1), 0, &wakes_);
  EXPECT_EQ(known.source, DelaySource::kBreaker);
  EXPECT_GT(known.time, At(0.1));
}

TEST_F(RedirectChainTest, SlowStartDoesNotTurnAnybodyBack) {
  std::deque<RedirectChain> chains;
  std::vector<AttemptPermit> permits;
  for (int i = 0; i < 20; ++i) {
    chains.emplace_back(&a_.state);
    ASSERT_TRUE(Go(&chains.back(), &b_, 0.1)) << i;
  }
  EXPECT_EQ(b_.out(), 20);
  chains.clear();
  EXPECT_EQ(b_.out(), 0);
  EXPECT_EQ(b_.out_at_quota(), 0);
}

TEST_F(RedirectChainTest, NobodyIsOvertaken) {
  Shut(&b_, 0, absl::Seconds(5));
  ASSERT_EQ(AskAsOther(&b_, 1).verdict, Verdict::kWait);
  b_.quota->ClearGate(&wakes_);
  RedirectChain chain(&a_.state);
  Send(&a_.state, 2);
  EXPECT_FALSE(Go(&chain, &b_, 2));
}

TEST_F(RedirectChainTest, WhoIsShutMeanwhileIsNotGoneTo) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(0.2), 0, &wakes_);
  permit = Send(&chain, 1);
  Shut(&b_, 1.1, absl::Seconds(3));
  EXPECT_FALSE(Go(&chain, &b_, 1.2));
  const SharedState::NotBefore known =
      chain.OnAttemptDone(&permit, RedirectRefused(302), At(1.3), 0, &wakes_);
  EXPECT_EQ(known.time, b_.gate());
  EXPECT_EQ(a_.out() + b_.out() + b_.out_at_quota(), 0);
}

TEST_F(RedirectChainTest, UnlessItMust) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(0.2), 0, &wakes_);
  Send(&chain, 1);
  Shut(&b_, 1.1, absl::Seconds(3));
  EXPECT_TRUE(Go(&chain, &b_, 1.2, /*must_go=*/true));
  EXPECT_EQ(b_.out(), 1);
}

TEST_F(RedirectChainTest, WhatWasNotComeToIsGivenBack) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(0.2), 0, &wakes_);
  permit = Send(&chain, 1);
  EXPECT_EQ(b_.out(), 1);
  const int64_t calls = b_.endpoint.alone().breaker().window().total();
  // This time the first one says no, by itself.
  chain.OnAttemptDone(&permit, Of(ErrorKind::kThrottled, absl::Seconds(3)),
                      At(1.1), 0, &wakes_);
  EXPECT_TRUE(a_.IsShut(2));
  EXPECT_FALSE(b_.IsShut(2));
  EXPECT_EQ(b_.out(), 0);
  EXPECT_EQ(b_.endpoint.alone().breaker().window().total(), calls);
}

TEST_F(RedirectChainTest, BackToTheFirst) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  ASSERT_TRUE(Go(&chain, &a_, 0.2));
  chain.OnAttemptDone(&permit, Of(ErrorKind::kThrottled, absl::Seconds(3)),
                      At(0.3), 0, &wakes_);
  EXPECT_TRUE(a_.IsShut(1));
  EXPECT_FALSE(b_.IsShut(1));
  EXPECT_EQ(b_.endpoint.alone().breaker().window().total(), 1);
}

TEST_F(RedirectChainTest, TheLimitThatIsToldIsTheLastOnes) {
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  ASSERT_TRUE(Go(&chain, &b_, 0.1));
  LimitStand stand;
  stand.limit = 10;
  stand.remaining = 3;
  stand.reset = absl::Seconds(5);
  chain.OnAnswerHead(&permit, Of(ErrorKind::kOk), At(0.2), &wakes_);
  chain.OnLimitTold(permit, stand, At(0.2), &wakes_);
  chain.OnAttemptDone(&permit, Of(ErrorKind::kOk), At(0.3), 0, &wakes_);
  EXPECT_FALSE(a_.quota.alone().pacer().told().known());
  EXPECT_TRUE(b_.quota.alone().pacer().told().known());
}

TEST_F(RedirectChainTest, ThereIsABound) {
  std::vector<std::unique_ptr<Server>> servers;
  RedirectChain chain(&a_.state);
  AttemptPermit permit = Send(&a_.state, 0);
  for (size_t i = 0; i < RedirectChain::kMaxStates + 2; ++i) {
    servers.push_back(std::make_unique<Server>());
    ASSERT_TRUE(Go(&chain, servers.back().get(), 0.1));
  }
  Server& last_known = *servers[RedirectChain::kMaxStates - 1];
  EXPECT_EQ(servers.back()->out(), 0);
  chain.OnAttemptDone(&permit, Of(ErrorKind::kThrottled, absl::Seconds(3)),
                      At(0.3), 0, &wakes_);
  EXPECT_TRUE(last_known.IsShut(1));
}

TEST_F(RedirectChainTest, NoHedges) {
  RedirectChain chain(&a_.state);
  Send(&a_.state, 0);
  EXPECT_EQ(chain.DispatchHedge(place_, At(0), &wakes_).verdict,
            Verdict::kRefuse);
}

// Calls whose every attempt is led a random way between four servers, which refuse now
// and then. What is said of a server is kept, by everybody; nothing is lost.
class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    for (int i = 0; i < 4; ++i) servers_.push_back(std::make_unique<Server>());
    for (uint64_t i = 0; i < 6; ++i) calls_.push_back(MakeCall(i));
  }

  void Run() {
    for (auto& call : calls_) {
      call->execution.Begin(now_);
      Drain(call.get());
    }
    for (int step = 0; step < 100000 && !IsOver(); ++step) {
      // The next thing that happens, of all calls.
      Call* next = nullptr;
      for (auto& call : calls_) {
        if (!call->over && (next == nullptr || call->due < next->due)) {
          next = call.get();
        }
      }
      ASSERT_FALSE(next->due.is_infinite()) << "a call that waits for nothing";
      now_ = Later(now_, next->due);
      Step(next);
    }
    ASSERT_TRUE(IsOver());
    calls_.clear();
    for (auto& server : servers_) {
      EXPECT_EQ(server->out(), 0);
      EXPECT_EQ(server->out_at_quota(), 0);
      EXPECT_EQ(server->waiting(), 0);
    }
  }
  int64_t sends() const { return sends_; }
  int64_t turned_back() const { return turned_back_; }

 private:
  struct Call {
    Call(const CallSpec& spec, SharedState* first, std::shared_ptr<Waiter> w)
        : chain(first), execution(spec, &options, first, std::move(w)) {}
    RetryOptions options;
    RedirectChain chain;
    Execution execution;
    bool chained = false;
    bool over = false;
    bool in_flight = false;
    int number = 0;
    size_t at = 0;  // the server
    bool visited[4] = {};
    bool forced = false;  // to that server
    MonotonicTime arrived;
    MonotonicTime due = MonotonicTime::Infinite();
  };
  struct Waker final : public Waiter {
    void Wake() override { woken = true; }
    bool woken = false;
  };

  std::unique_ptr<Call> MakeCall(uint64_t id) {
    CallSpec spec;
    spec.call_id = id + 1;
    spec.seed = random_();
    spec.idempotent = true;
    spec.deadline = At(60);
    wakers_.push_back(std::make_shared<Waker>());
    return std::make_unique<Call>(spec, &servers_[0]->state, wakers_.back());
  }

  bool IsOver() const {
    return std::all_of(calls_.begin(), calls_.end(),
                       [](const auto& call) { return call->over; });
  }

  // Whoever went all the same, and was answered, has shown that the wait is over.
  void Answered(Call* call) {
    if (call->forced && call->arrived > told_[call->at]) {
      not_before_[call->at] = MonotonicTime();
    }
  }

  // No server is sent to before what it has told has passed.
  void Arrive(Call* call, size_t server, bool must_go) {
    ++sends_;
    // An attempt that is there already goes on.
    if (!must_go && !call->visited[server]) {
      EXPECT_GE(now_, not_before_[server]) << "server " << server;
    }
    call->at = server;
    call->visited[server] = true;
    call->forced = must_go;
    call->arrived = now_;
  }

  void Step(Call* call) {
    if (!call->in_flight) {
      call->execution.OnTimer(now_);
      Drain(call);
      return;
    }
    if (random_() % 3 == 0) {
      const size_t to = random_() % servers_.size();
      if (!call->chained) {
        call->chained = true;
        call->execution.ShareWith(&call->chain);
      }
      const bool must_go = random_() % 8 == 0;
      WakeList wakes;
      const bool goes =
          call->chain.GoTo(&servers_[to]->state, must_go, now_, &wakes);
      call->execution.AddWakes(std::move(wakes));
      if (goes) {
        Answered(call);  // by another redirect
        Arrive(call, to, must_go);
        call->due = now_ + absl::Milliseconds(1 + random_() % 50);
      } else {
        ++turned_back_;
        End(call, RedirectRefused(302));
      }
      return;
    }
    Outcome outcome = Of(ErrorKind::kOk);
    switch (random_() % 4) {
      case 0: {
        const absl::Duration wait = absl::Milliseconds(random_() % 4000);
        outcome = Of(ErrorKind::kThrottled, wait);
        not_before_[call->at] = Later(not_before_[call->at], now_ + wait);
        told_[call->at] = now_;
        break;
      }
      case 1:
        outcome = Of(ErrorKind::kTransient);
        outcome.status = 500;
        break;
      default:
        Answered(call);
        break;
    }
    if (random_() % 2 == 0) {
      call->execution.OnAnswerHead(call->number, outcome, now_);
    }
    End(call, outcome);
  }

  void End(Call* call, const Outcome& outcome) {
    call->in_flight = false;
    call->execution.OnAttemptDone(call->number, outcome, now_);
    Drain(call);
  }

  void Drain(Call* call) {
    for (const auto& waiter : call->execution.TakeWakes()) waiter->Wake();
    Action action;
    while (call->execution.NextAction(&action)) {
      switch (action.type) {
        case Action::Type::kStartAttempt:
          call->in_flight = true;
          call->number = action.attempt;
          call->due = now_ + absl::Milliseconds(1 + random_() % 50);
          std::fill(std::begin(call->visited), std::end(call->visited), false);
          Arrive(call, 0, /*must_go=*/false);
          break;
        case Action::Type::kWaitUntil:
          call->due = action.time;
          break;
        case Action::Type::kCancelAttempt:
          break;
        case Action::Type::kFinish:
          call->over = true;
          call->due = MonotonicTime::Infinite();
          break;
      }
    }
    // Who was woken asks again.
    for (size_t i = 0; i < calls_.size(); ++i) {
      if (std::exchange(wakers_[i]->woken, false) && !calls_[i]->over &&
          !calls_[i]->in_flight) {
        calls_[i]->due = now_;
      }
    }
  }

  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::shared_ptr<Waker>> wakers_;
  std::vector<std::unique_ptr<Call>> calls_;
  MonotonicTime not_before_[4];
  MonotonicTime told_[4];  // when
  MonotonicTime now_ = At(0);
  int64_t sends_ = 0;
  int64_t turned_back_ = 0;
};

TEST(RedirectChainWorldTest, NothingIsLostAndNobodyIsTooEarly) {
  int64_t sends = 0;
  int64_t turned_back = 0;
  for (uint64_t seed = 1; seed <= 5000; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    world.Run();
    sends += world.sends();
    turned_back += world.turned_back();
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(turned_back, 1000);
  EXPECT_GT(sends, 80000);
}

}  // namespace
}  // namespace forbear
