// Call: what the log says, and what it cannot say.

#include "runtime/call.h"

#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

class Waker final : public Waiter {
 public:
  void Wake() override { ++woken; }
  int woken = 0;
};

class CallTest : public ::testing::Test {
 protected:
  CallTest() {
    ClientOptions o;
    o.log = [this](absl::string_view line) { lines_.emplace_back(line); };
    client_ = *Client::Create(o);
    request_.quota_key = "secret-key-hash";
    request_.endpoint_key = "secret-endpoint";
    request_.target = "api.example.com:443";
    request_.method = "POST";
    request_.protocol = Protocol::kHttp;
    request_.idempotent = true;
    request_.deadline = MonotonicNow() + absl::Seconds(30);
  }

  // Carries all actions out (nothing to do) and delivers.
  std::vector<Action> Drain(Call* call) {
    std::vector<Action> actions;
    Action a;
    while (call->NextAction(&a)) actions.push_back(a);
    call->TakeAftermath().Deliver();
    return actions;
  }

  std::string Log() const { return absl::StrJoin(lines_, "\n"); }

  std::vector<std::string> lines_;
  std::shared_ptr<Client> client_;
  CallRequest request_;
  std::shared_ptr<Waker> waker_ = std::make_shared<Waker>();
};

TEST_F(CallTest, EachDecisionIsALine) {
  Call call(client_.get(), request_, waker_);
  call.Begin();
  ASSERT_EQ(Drain(&call).size(), 1u);
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_TRUE(absl::StrContains(lines_[0], "POST api.example.com:443"));
  EXPECT_TRUE(absl::StrContains(lines_[0], "attempt 1 starts"));
  call.OnAttemptDone(1, testing::ThrottledOutcome(absl::Seconds(2)));
  Drain(&call);
  EXPECT_TRUE(absl::StrContains(Log(),
                                "HTTP 429, throttled, processed: no, the "
                                "server asks for 2s (retry-after)"))
      << Log();
  EXPECT_TRUE(absl::StrContains(Log(), "waits up to ")) << Log();
  EXPECT_TRUE(absl::StrContains(Log(), "(retry-after)")) << Log();
  call.OnCancel();
  Drain(&call);
  EXPECT_TRUE(absl::StrContains(Log(), "cancelled. The application cancelled"))
      << Log();
  for (const std::string& line : lines_) {
    EXPECT_FALSE(absl::StrContains(line, "\n")) << line;
    EXPECT_TRUE(absl::StrContains(
        line, absl::StrCat("call ", call.record().call_id, " ")))
        << line;
  }
}

TEST_F(CallTest, TheEndHasReasonAndRemedy) {
  Call call(client_.get(), request_, waker_);
  call.Begin();
  Drain(&call);
  call.OnAttemptDone(1, testing::ThrottledOutcome(absl::Seconds(600)));
  Drain(&call);
  ASSERT_TRUE(call.finished());
  const std::string& last = lines_.back();
  EXPECT_TRUE(absl::StrContains(last, "wait_exceeds_deadline")) << last;
  EXPECT_TRUE(absl::StrContains(
      last, StopReasonSentence(StopReason::kWaitExceedsDeadline)));
  EXPECT_TRUE(absl::StrContains(
      last, StopReasonRemedy(StopReason::kWaitExceedsDeadline)));
  EXPECT_TRUE(absl::StrContains(last, "retry_at is 10m")) << last;
}

TEST_F(CallTest, GarbageWaitsAreNamed) {
  Call call(client_.get(), request_, waker_);
  call.Begin();
  Drain(&call);
  call.OnAttemptDone(1, testing::ThrottledOutcome(absl::Hours(87600)));
  Drain(&call);
  EXPECT_TRUE(absl::StrContains(Log(), "unbelievable")) << Log();
}

// Keys are made of hosts, credentials' hashes and routes. They are no facts of a
// call: neither the log nor the record has a place for them, nor for a header or
// a body.
TEST_F(CallTest, NothingSecretLeaves) {
  Call call(client_.get(), request_, waker_);
  call.Begin();
  Drain(&call);
  for (int n = 1; !call.finished(); ++n) {
    call.OnAttemptDone(n, testing::TransientOutcome(Processed::kUnknown));
    Drain(&call);
    // Backoff is full jitter of 50 ms: ask until it is over.
    while (!call.finished()) {
      call.OnTimer();
      bool started = false;
      for (const Action& a : Drain(&call)) {
        started = started || a.type == Action::Type::kStartAttempt;
      }
      if (started) break;
    }
  }
  EXPECT_EQ(call.record().stop_reason, StopReason::kAttemptsExhausted);
  EXPECT_FALSE(absl::StrContains(Log(), "secret")) << Log();
  EXPECT_FALSE(absl::StrContains(FormatCallRecord(call.record()), "secret"));
  EXPECT_TRUE(absl::StrContains(Log(), "attempts_exhausted")) << Log();
}

TEST_F(CallTest, WithoutALogNothingIsKept) {
  const auto client = *Client::Create();
  Call call(client.get(), request_, waker_);
  call.Begin();
  Drain(&call);
  call.OnAttemptDone(1, testing::OkOutcome());
  Drain(&call);
  EXPECT_TRUE(call.finished());
  EXPECT_TRUE(lines_.empty());
}

TEST_F(CallTest, TheAftermathWakesOthers) {
  Call first(client_.get(), request_, waker_);
  first.Begin();
  Drain(&first);
  // It was throttled; two more queue up behind the gate.
  first.OnAnswerHead(1, testing::ThrottledOutcome(absl::Seconds(5)));
  Drain(&first);
  auto second_waker = std::make_shared<Waker>();
  auto third_waker = std::make_shared<Waker>();
  Call second(client_.get(), request_, second_waker);
  Call third(client_.get(), request_, third_waker);
  second.Begin();
  Drain(&second);
  third.Begin();
  Drain(&third);
  EXPECT_EQ(third_waker->woken, 0);
  second.OnCancel();
  EXPECT_EQ(third_waker->woken, 0);  // not before it is delivered
  Drain(&second);
  EXPECT_EQ(third_waker->woken, 1);
  third.OnCancel();
  first.OnCancel();
}

TEST_F(CallTest, SeedsAndIdsAreEachCallsOwn) {
  std::set<uint64_t> seeds;
  std::set<uint64_t> ids;
  for (int i = 0; i < 100; ++i) {
    const Call call(client_.get(), request_, waker_);
    seeds.insert(call.record().seed);
    ids.insert(call.record().call_id);
  }
  EXPECT_EQ(seeds.size(), 100u);
  EXPECT_EQ(ids.size(), 100u);
}

TEST_F(CallTest, ACancelledAttemptIsALine) {
  Call call(client_.get(), request_, waker_);
  call.Begin();
  Drain(&call);
  call.OnCancel();
  const std::vector<Action> actions = Drain(&call);
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[0].type, Action::Type::kCancelAttempt);
  EXPECT_TRUE(absl::StrContains(Log(), "attempt 1 is cancelled")) << Log();
}

TEST_F(CallTest, WhatCannotBeSentAgainIsNot) {
  Call call(client_.get(), request_, waker_);
  call.Begin();
  Drain(&call);
  call.SetNotReplayable();
  call.OnAttemptDone(1, testing::ThrottledOutcome(absl::Seconds(1)));
  Drain(&call);
  EXPECT_TRUE(call.finished());
  EXPECT_EQ(call.record().stop_reason, StopReason::kNotReplayable);
}

TEST_F(CallTest, SaysWhoHoldsIt) {
  Call call(client_.get(), request_, waker_);
  call.Begin();
  Drain(&call);
  EXPECT_EQ(call.holder(), Holder::kNowhere);
  call.OnAttemptDone(1, testing::ThrottledOutcome(absl::Seconds(1)));
  Drain(&call);
  EXPECT_EQ(call.holder(), Holder::kQuota);
}

// 50,000 calls that wait, each with its request and its place in a queue, are to fit
// into 80 MB: 1,600 bytes for each, and this is what we take of them whatever the call
// does. (The parts: tests/core/execution_allocation_test.cc.)
TEST(CallSizeTest, IsSmall) {
  std::printf("call: %zu bytes\n", sizeof(Call));
  EXPECT_LE(sizeof(Call), 704u);
}

TEST(ClockTest, WallClocksAgree) {
  const int64_t before = absl::ToUnixSeconds(WallNow());
  const int64_t seconds = WallSeconds();
  EXPECT_GE(seconds, before);
  EXPECT_LE(seconds, absl::ToUnixSeconds(WallNow()));
}

}  // namespace
}  // namespace forbear
