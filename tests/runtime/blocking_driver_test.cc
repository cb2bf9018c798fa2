// The blocking driver, with a scripted transport. It uses the real clock, so
// waits here are milliseconds, and bounds are generous: what must not be is a
// hang, a send too early, or a wait that a wake or a cancel does not end.

#include "runtime/blocking_driver.h"

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "gtest/gtest.h"
#include "runtime/call.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

using testing::OkOutcome;
using testing::ThrottledOutcome;
using testing::TransientOutcome;

// Ends attempt n with the n-th outcome.
class Script final : public BlockingTransport {
 public:
  explicit Script(std::vector<Outcome> outcomes)
      : outcomes_(outcomes.begin(), outcomes.end()) {}

  void Attempt(Call* call, int n, MonotonicTime deadline) override {
    sends.push_back(MonotonicNow());
    deadlines.push_back(deadline);
    if (during) during();
    if (cancelled && cancelled()) {
      call->OnCancel();
      return;
    }
    ASSERT_FALSE(outcomes_.empty());
    const Outcome o = outcomes_.front();
    outcomes_.pop_front();
    if (heads) call->OnAnswerHead(n, o);
    call->OnAttemptDone(n, o);
  }

  std::vector<MonotonicTime> sends;
  std::vector<MonotonicTime> deadlines;
  std::function<void()> during;
  std::function<bool()> cancelled;
  bool heads = false;

 private:
  std::deque<Outcome> outcomes_;
};

CallRequest Request(absl::Duration deadline = absl::Seconds(20)) {
  CallRequest r;
  r.quota_key = "q";
  r.endpoint_key = "e";
  r.target = "127.0.0.1:1";
  r.method = "POST";
  r.protocol = Protocol::kHttp;
  r.idempotent = true;
  r.deadline = MonotonicNow() + deadline;
  return r;
}

std::shared_ptr<Client> NewClient() {
  ClientOptions o;
  o.retry.backoff.initial = absl::Milliseconds(2);
  return *Client::Create(o);
}

TEST(BlockingDriverTest, RetriesWaitsAndSucceeds) {
  for (bool heads : {false, true}) {
    const auto parker = std::make_shared<Parker>();
    const std::shared_ptr<Client> client = NewClient();
    Call call(client.get(), Request(), parker);
    Script script({ThrottledOutcome(absl::Milliseconds(30)),
                   TransientOutcome(Processed::kUnknown), OkOutcome()});
    script.heads = heads;
    RunBlocking(&call, parker.get(), &script);
    EXPECT_TRUE(call.finished());
    EXPECT_EQ(call.record().stop_reason, StopReason::kSuccess);
    ASSERT_EQ(script.sends.size(), 3u);
    EXPECT_GE(script.sends[1] - script.sends[0], absl::Milliseconds(30));
    EXPECT_EQ(call.record().total_attempts, 3);
    EXPECT_EQ(call.record().wasted_sends(), 2);
  }
}

TEST(BlockingDriverTest, WaitBehindTheDeadlineEndsAtOnce) {
  const auto parker = std::make_shared<Parker>();
  const std::shared_ptr<Client> client = NewClient();
  Call call(client.get(), Request(absl::Seconds(5)), parker);
  Script script({ThrottledOutcome(absl::Seconds(60))});
  const MonotonicTime before = MonotonicNow();
  RunBlocking(&call, parker.get(), &script);
  EXPECT_LT(MonotonicNow() - before, absl::Seconds(4));
  EXPECT_EQ(call.record().stop_reason, StopReason::kWaitExceedsDeadline);
  ASSERT_TRUE(call.record().retry_at.has_value());
  EXPECT_GE(*call.record().retry_at - before, absl::Seconds(60));
}

TEST(BlockingDriverTest, CancelBeforeBegin) {
  const auto parker = std::make_shared<Parker>();
  parker->Cancel();
  const std::shared_ptr<Client> client = NewClient();
  Call call(client.get(), Request(), parker);
  Script script({});
  RunBlocking(&call, parker.get(), &script);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  EXPECT_TRUE(script.sends.empty());
}

TEST(BlockingDriverTest, CancelFromAnotherThreadEndsAWait) {
  const auto client = NewClient();
  const auto parker = std::make_shared<Parker>();
  Call call(client.get(), Request(absl::Hours(1)), parker);
  Script script({ThrottledOutcome(absl::Seconds(600))});
  std::thread canceller;
  script.during = [&] {
    canceller = std::thread([&] {
      // Not before it waits: the queue shows it.
      const auto quota = client->QuotaOf("q", MonotonicNow());
      while (true) {
        {
          if (!(*quota)->queue().empty()) break;
        }
        std::this_thread::yield();
      }
      parker->Cancel();
    });
  };
  RunBlocking(&call, parker.get(), &script);
  canceller.join();
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  const auto quota = client->QuotaOf("q", MonotonicNow());
  EXPECT_TRUE((*quota)->queue().empty());
}

TEST(BlockingDriverTest, CancelDuringAnAttempt) {
  const auto client = NewClient();
  const auto parker = std::make_shared<Parker>();
  Call call(client.get(), Request(), parker);
  Script script({});
  script.during = [&] { parker->Cancel(); };
  script.cancelled = [&] { return parker->cancelled(); };
  RunBlocking(&call, parker.get(), &script);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
  EXPECT_EQ(script.sends.size(), 1u);
  EXPECT_TRUE((*client->QuotaOf("q", MonotonicNow()))->IsIdle(MonotonicNow()));
  EXPECT_TRUE(
      (*client->EndpointOf("e", MonotonicNow()))->IsIdle(MonotonicNow()));
}

TEST(BlockingDriverTest, CancelThatOnlyTheWaitSees) {
  // The transport reports an outcome although the caller cancelled meanwhile.
  const auto parker = std::make_shared<Parker>();
  const std::shared_ptr<Client> client = NewClient();
  Call call(client.get(), Request(absl::Hours(1)), parker);
  Script script({ThrottledOutcome(absl::Seconds(600))});
  script.during = [&] { parker->Cancel(); };
  RunBlocking(&call, parker.get(), &script);
  EXPECT_EQ(call.record().stop_reason, StopReason::kCancelled);
}

TEST(BlockingDriverTest, OperatorsWakeThoseWhoWait) {
  const auto client = NewClient();
  const auto parker = std::make_shared<Parker>();
  Call call(client.get(), Request(absl::Hours(1)), parker);
  Script script({ThrottledOutcome(absl::Seconds(600)), OkOutcome()});
  std::thread operator_thread;
  script.during = [&] {
    if (operator_thread.joinable()) return;
    operator_thread = std::thread([&] {
      const auto quota = client->QuotaOf("q", MonotonicNow());
      while (true) {
        {
          if (!(*quota)->queue().empty()) break;
        }
        std::this_thread::yield();
      }
      client->ClearGate("q");
    });
  };
  RunBlocking(&call, parker.get(), &script);
  operator_thread.join();
  EXPECT_EQ(call.record().stop_reason, StopReason::kSuccess);
}

TEST(BlockingDriverTest, AttemptsEndByTheDeadlineOrTheirOwnTime) {
  const auto parker = std::make_shared<Parker>();
  CallRequest request = Request();
  request.retry = RetryOptions();
  request.retry->attempt_timeout = absl::Seconds(1);
  const std::shared_ptr<Client> client = NewClient();
  Call call(client.get(), request, parker);
  Script script({OkOutcome()});
  RunBlocking(&call, parker.get(), &script);
  ASSERT_EQ(script.deadlines.size(), 1u);
  EXPECT_LE(script.deadlines[0] - script.sends[0], absl::Seconds(1));
  request.retry.reset();
  Call second(client.get(), request, parker);
  Script other({OkOutcome()});
  RunBlocking(&second, parker.get(), &other);
  EXPECT_EQ(other.deadlines[0], request.deadline);
}

TEST(ParkerTest, WakesAndCancelsAreNotLost) {
  Parker p;
  const MonotonicTime past = MonotonicNow() - absl::Seconds(1);
  EXPECT_EQ(p.ParkUntil(past), Parker::Why::kTimer);
  p.Wake();
  p.Wake();
  EXPECT_EQ(p.ParkUntil(MonotonicTime::Infinite()), Parker::Why::kWoken);
  EXPECT_EQ(p.ParkUntil(past), Parker::Why::kTimer);  // one counts once
  EXPECT_FALSE(p.cancelled());
  p.Wake();
  p.Cancel();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(p.ParkUntil(MonotonicTime::Infinite()), Parker::Why::kCancelled);
  }
  EXPECT_TRUE(p.cancelled());
}

// A call within an attempt is a layer below: it leaves repeating to the call
// around it. After that, it is a call like any other.
TEST(BlockingDriverTest, ACallWithinAnAttemptYields) {
  const auto client = NewClient();
  std::vector<CallRecord> inner;
  const auto call_inner = [&] {
    const auto parker = std::make_shared<Parker>();
    Call call(client.get(), Request(), parker);
    Script script({TransientOutcome(Processed::kUnknown), OkOutcome()});
    RunBlocking(&call, parker.get(), &script);
    inner.push_back(call.record());
  };
  const auto parker = std::make_shared<Parker>();
  Call outer(client.get(), Request(), parker);
  Script script({TransientOutcome(Processed::kUnknown), OkOutcome()});
  script.during = call_inner;
  RunBlocking(&outer, parker.get(), &script);
  EXPECT_EQ(outer.record().total_attempts, 2);
  EXPECT_EQ(outer.record().stop_reason, StopReason::kSuccess);
  EXPECT_FALSE(outer.record().yields_to_outer);
  ASSERT_EQ(inner.size(), 2u);
  for (const CallRecord& record : inner) {
    EXPECT_EQ(record.total_attempts, 1);
    EXPECT_EQ(record.stop_reason, StopReason::kOuterLayer);
    EXPECT_TRUE(record.yields_to_outer);
  }
  call_inner();
  EXPECT_EQ(inner[2].total_attempts, 2);
  EXPECT_FALSE(inner[2].yields_to_outer);
}

// Threads on one key: everybody is answered, and nobody is left in a queue.
TEST(BlockingDriverTest, ManyThreadsOneThrottledKey) {
  const auto client = NewClient();
  class Server final : public BlockingTransport {
   public:
    void Attempt(Call* call, int n, MonotonicTime) override {
      const int i = sends.fetch_add(1);
      const Outcome o = i % 7 == 3 && i < 40
                            ? ThrottledOutcome(absl::Milliseconds(20))
                            : OkOutcome();
      call->OnAnswerHead(n, o);
      call->OnAttemptDone(n, o);
    }
    std::atomic<int> sends{0};
  };
  Server server;
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        const auto parker = std::make_shared<Parker>();
        Call call(client.get(), Request(), parker);
        RunBlocking(&call, parker.get(), &server);
        if (call.record().stop_reason == StopReason::kSuccess) ++answered;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(answered.load(), 40);
  const auto quota = client->QuotaOf("q", MonotonicNow());
  const auto endpoint = client->EndpointOf("e", MonotonicNow());
  EXPECT_TRUE((*quota)->queue().empty());
  EXPECT_TRUE((*endpoint)->queue().empty());
  EXPECT_TRUE((*quota)->IsIdle(MonotonicTime::Infinite()));
  EXPECT_TRUE((*endpoint)->IsIdle(MonotonicTime::Infinite()));
}

}  // namespace
}  // namespace forbear
