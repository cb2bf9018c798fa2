// CallHandle: what calls of one kind have in common, and what tells kinds apart.

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/action.h"
#include "core/call_names.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "core/quota.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "gtest/gtest.h"
#include "runtime/call.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "tests/testing/simulation.h"

namespace forbear {
namespace {

class NeverWoken final : public Waiter {
 public:
  void Wake() override {}
};

CallRequest Request(std::string quota, std::string endpoint) {
  CallRequest request;
  request.quota_key = std::move(quota);
  request.endpoint_key = std::move(endpoint);
  request.target = "api.example.com:443";
  request.method = "POST";
  request.protocol = Protocol::kHttp;
  return request;
}

class HandleTest : public ::testing::Test {
 protected:
  HandleRef Get(const CallRequest& request) {
    WakeList wakes;
    return client_->HandleOf(request.kind_name, request.policy, MonotonicNow(),
                             &wakes, [&] { return request.Kind(); });
  }

  std::shared_ptr<Client> client_ = Client::Create().value();
};

TEST_F(HandleTest, OneForOneKind) {
  const CallRequest request = Request("q", "e");
  const HandleRef handle = Get(request);
  EXPECT_EQ(Get(request), handle);
  EXPECT_EQ(handle->quota, client_->QuotaOf("q", MonotonicNow()));
  EXPECT_EQ(handle->endpoint, client_->EndpointOf("e", MonotonicNow()));
  EXPECT_EQ(handle->names, CallNames("api.example.com:443", "POST", "default"));
  EXPECT_EQ(handle->protocol, Protocol::kHttp);
}

// Also where all texts together are the same.
TEST_F(HandleTest, AnotherForEachOtherKind) {
  std::vector<CallRequest> requests = {Request("ab", "c"), Request("a", "bc"),
                                       Request("abc", ""), Request("", "abc")};
  CallRequest other = Request("ab", "c");
  other.target = "api.example.com:44";
  other.method = "3POST";
  requests.push_back(other);
  other = Request("ab", "c");
  other.method = "GET";
  requests.push_back(other);
  other = Request("ab", "c");
  other.protocol = Protocol::kGrpc;
  requests.push_back(other);
  for (const auto& [quota, endpoint, target, method] :
       std::vector<std::array<const char*, 4>>{{"ab", "c", "d", "e"},
                                               {"abc", "d", "e", ""}}) {
    other = Request(quota, endpoint);
    other.target = target;
    other.method = method;
    requests.push_back(other);
  }
  requests.push_back(Request(std::string(1000, 'q'), "c"));
  requests.push_back(Request(std::string(1001, 'q'), "c"));
  std::set<const CallHandle*> seen;
  std::vector<HandleRef> held;
  for (const CallRequest& request : requests) {
    held.push_back(Get(request));
    EXPECT_TRUE(seen.insert(held.back().get()).second);
    EXPECT_EQ(held.back()->names.method(), request.method);
    EXPECT_EQ(held.back()->names.target(), request.target);
    EXPECT_EQ(held.back()->quota,
              client_->QuotaOf(request.quota_key, MonotonicNow()));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(Get(requests[i]), held[i]);
  }
}

TEST_F(HandleTest, ByNamesOfAllLengths) {
  std::set<const CallHandle*> seen;
  std::vector<HandleRef> held;
  // From 49 on a name is none, and the texts are what counts.
  for (size_t n = 1; n <= 48; ++n) {
    CallRequest request = Request(absl::StrCat("q", n), "e");
    request.kind_name = std::string(n, 'k');
    held.push_back(Get(request));
    EXPECT_TRUE(seen.insert(held.back().get()).second) << n;
    EXPECT_EQ(Get(request), held.back()) << n;
    // Each byte counts.
    for (size_t at = 0; at < n; ++at) {
      CallRequest other = request;
      other.kind_name[at] = 'x';
      EXPECT_NE(Get(other), held.back()) << n << " " << at;
    }
  }
  CallRequest request = Request("q49", "e");
  request.kind_name = std::string(49, 'k');
  const HandleRef handle = Get(request);
  request.kind_name.clear();
  EXPECT_EQ(Get(request), handle);
}

TEST_F(HandleTest, OfItsPolicyAndVersion) {
  Settings settings;
  settings.targets.emplace_back(settings);
  settings.targets[0].name = "own";
  settings.targets[0].match.hosts = {"own.example.com"};
  settings.targets[0].own_quota = true;
  ASSERT_TRUE(client_->Reload(settings).ok());
  CallRequest top = Request("q", "e");
  CallRequest own = top;
  own.policy = client_->PolicyOf({"own.example.com", 443, "POST", "/", ""});
  for (const char* name : {"", "kind"}) {
    top.kind_name = own.kind_name = name;
    const HandleRef of_top = Get(top);
    const HandleRef of_own = Get(own);
    EXPECT_NE(of_top, of_own);
    EXPECT_NE(of_top->quota, of_own->quota);
    EXPECT_EQ(of_top->endpoint, of_own->endpoint);
    EXPECT_EQ(of_own->names.policy(), "own");
    EXPECT_TRUE(client_->IsCurrent(*of_own));
    settings.retry.max_attempts = name[0] == '\0' ? 5 : 6;
    ASSERT_TRUE(client_->Reload(settings).ok());
    EXPECT_FALSE(client_->IsCurrent(*of_top));
    const HandleRef newer = Get(top);
    EXPECT_NE(newer, of_top);
    EXPECT_EQ(newer->quota, of_top->quota);
    EXPECT_EQ(newer->policy->retry.max_attempts, settings.retry.max_attempts);
    EXPECT_NE(of_top->policy->retry.max_attempts, settings.retry.max_attempts);
    own.policy = client_->PolicyOf({"own.example.com", 443, "POST", "/", ""});
  }
}

// Handles that nobody holds keep neither old settings nor states.
TEST_F(HandleTest, AReloadForgetsThoseOfBefore) {
  std::weak_ptr<const PolicyTable> old;
  {
    const HandleRef handle = Get(Request("q", "e"));
    old = handle->policy.table;
  }
  EXPECT_FALSE(old.expired());
  ASSERT_TRUE(client_->Reload(Settings()).ok());
  EXPECT_TRUE(old.expired());
}

TEST_F(HandleTest, ManyKindsDoNotKeepNewStatesFromBeingShared) {
  Settings few;
  few.max_targets = 4;
  ASSERT_TRUE(client_->Reload(few).ok());
  for (int i = 0; i < 100; ++i) {
    const CallRequest request =
        Request(absl::StrCat("q", i), absl::StrCat("e", i));
    const HandleRef handle = Get(request);
    EXPECT_EQ(client_->QuotaOf(request.quota_key, MonotonicNow()),
              handle->quota)
        << i;
    EXPECT_EQ(client_->EndpointOf(request.endpoint_key, MonotonicNow()),
              handle->endpoint)
        << i;
  }
}

TEST_F(HandleTest, ACallByHandleIsTheCall) {
  const CallRequest request = Request("q", "e");
  const HandleRef handle = Get(request);
  const std::shared_ptr<Waiter> waiter = std::make_shared<NeverWoken>();
  CallFacts facts;
  facts.idempotent = true;
  facts.deadline = MonotonicNow() + absl::Hours(1);
  Call call(client_.get(), handle.get(), facts, &waiter);
  call.Begin();
  Action action;
  ASSERT_TRUE(call.NextAction(&action));
  ASSERT_EQ(action.type, Action::Type::kStartAttempt);
  EXPECT_EQ(action.time, facts.deadline);
  EXPECT_EQ((*handle->quota)->SnapshotAt(MonotonicNow()).out, 1);
  call.OnAttemptDone(1, testing::TransientOutcome(Processed::kUnknown));
  EXPECT_EQ((*handle->quota)->SnapshotAt(MonotonicNow()).out, 0);
  ASSERT_TRUE(call.NextAction(&action));
  EXPECT_EQ(action.type, Action::Type::kWaitUntil);
  call.OnCancel();
  EXPECT_TRUE(call.finished());
  const CallRecord& record = call.record();
  EXPECT_EQ(record.stop_reason, StopReason::kCancelled);
  EXPECT_EQ(record.names, handle->names);
  EXPECT_EQ(record.deadline, facts.deadline);
  EXPECT_TRUE(record.idempotent);
  EXPECT_LT(absl::AbsDuration(record.wall_start - absl::Now()),
            absl::Minutes(1));
}

TEST_F(HandleTest, IdsAreDifferentInAllThreads) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 1000;  // some blocks of them
  const std::shared_ptr<Client> other = Client::Create().value();
  std::vector<std::vector<uint64_t>> ids(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (auto& mine : ids) {
    threads.emplace_back([&] {
      for (int i = 0; i < kCalls; ++i) {
        mine.push_back(client_->NextCallId());
        // Some use two clients, which makes them begin new blocks.
        if (&mine < &ids[2] && i % 100 == 0) (void)other->NextCallId();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint64_t> all;
  for (const auto& mine : ids) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), size_t{kThreads} * kCalls);
  EXPECT_EQ(all.count(0), 0u);
}

}  // namespace
}  // namespace forbear
