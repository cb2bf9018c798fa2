// Redirects to another server: whose refusal shuts whose gate, and who waits for whom.
// Counted at the doors of both.
#include <curl/curl.h>

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/stop_reason.h"
#include "core/verdict.h"
#include "curl_wrap/engine.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "gtest/gtest.h"
#include "runtime/client.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_app.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/http_server.h"
#include "tests/testing/reply.h"

namespace forbear::curl {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);
constexpr absl::Duration kShort = absl::Seconds(2);

Reply Refusal(const std::string& seconds) {
  return Reply::Of(429, "slow down").With("Retry-After", seconds);
}

class RedirectTest : public ::testing::Test {
 protected:
  RedirectTest() {
    asked_->Script("/there", {Reply::Of(302).With("Location", there_->Url())});
    asked_->Script("/same", {Reply::Of(307).With("Location", there_->Url())});
    asked_->Script("/far",
                   {Reply::Of(302).With("Location", there_->Url("/on"))});
    there_->Script("/on", {Reply::Of(302).With("Location", far_->Url())});
  }

  // By a handle that follows.
  CallResult Get(const std::string& url, absl::Duration deadline = kLong) {
    App app(client_, url);
    app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
    CallResult result = app.Perform(deadline);
    body_ = app.sink.body;
    head_ = app.sink.head;
    error_ = app.error;
    return result;
  }
  CallResult Post(const std::string& url, absl::Duration deadline = kLong) {
    App app(client_, url);
    app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
    app.Post("pay=1");
    CallResult result = app.Perform(deadline);
    body_ = app.sink.body;
    return result;
  }
  // The gate of `there_` is shut by somebody who asked it.
  void ShutThere(const std::string& seconds) {
    there_->Script("/", {Refusal(seconds), Reply::Of(200, "good")});
    const CallResult result = Get(there_->Url(), absl::Milliseconds(900));
    ASSERT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline)
        << FormatCallRecord(result.record);
    ASSERT_EQ(there_->log().Count(), 1);
  }
  absl::Duration Between(const HttpServer& server, size_t first,
                         size_t second) {
    const std::vector<Arrival> all = server.log().Snapshot();
    return all.at(second).since_start - all.at(first).since_start;
  }

  const std::shared_ptr<Client> client_ = NewClient();
  const std::unique_ptr<HttpServer> asked_ = StartServer();
  const std::unique_ptr<HttpServer> there_ = StartServer();
  const std::unique_ptr<HttpServer> far_ = StartServer();
  std::string body_;
  std::string head_;
  std::string error_;
};

TEST_F(RedirectTest, TheGateIsThatOfTheServerThatRefused) {
  there_->Script("/", {Refusal("30")});
  const CallResult refused = Get(asked_->Url("/there"), kShort);
  EXPECT_EQ(refused.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(refused.http_status, 429);
  EXPECT_EQ(body_, "slow down");
  EXPECT_GT(refused.retry_at, absl::Seconds(25));
  EXPECT_EQ(asked_->log().Count(), 1);
  EXPECT_EQ(there_->log().Count(), 1);

  // Who was asked first has refused nobody.
  const CallResult other = Get(asked_->Url("/elsewhere"), kShort);
  EXPECT_EQ(other.stop_reason, StopReason::kSuccess);
  EXPECT_LT(other.record.attempts.at(0).waited, absl::Seconds(1));
  EXPECT_EQ(asked_->log().Count(), 2);

  // The other one has: nobody goes there.
  const CallResult direct = Get(there_->Url(), kShort);
  EXPECT_EQ(direct.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(there_->log().Count(), 1);
}

TEST_F(RedirectTest, TheCallWaitsForIt) {
  there_->Script("/", {Refusal("1"), Reply::Of(200, "good")});
  const CallResult result = Get(asked_->Url("/there"));
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(body_, "good");
  EXPECT_EQ(result.record.total_attempts, 2);
  EXPECT_EQ(asked_->log().Count(), 2);
  EXPECT_EQ(there_->log().Count(), 2);
  EXPECT_GE(Between(*there_, 0, 1), absl::Seconds(1));
  EXPECT_GE(Between(*asked_, 0, 1), absl::Milliseconds(900))
      << "it need not be asked before";
  EXPECT_EQ(result.record.attempts.at(1).wait_source, DelaySource::kRetryAfter);
}

TEST_F(RedirectTest, WhatAnEndpointSaysIsItsOwnToo) {
  there_->Script("/", {Reply::Of(503).With("Retry-After", "30")});
  EXPECT_EQ(Get(asked_->Url("/there"), kShort).stop_reason,
            StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(Get(asked_->Url("/elsewhere"), kShort).stop_reason,
            StopReason::kSuccess);
  EXPECT_EQ(Get(there_->Url("/x"), kShort).stop_reason,
            StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(there_->log().Count(), 1);
}

TEST_F(RedirectTest, OfAChainTheLast) {
  far_->Script("/", {Refusal("30")});
  EXPECT_EQ(Get(asked_->Url("/far"), kShort).http_status, 429);
  EXPECT_EQ(Get(asked_->Url("/x"), kShort).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Get(there_->Url("/x"), kShort).stop_reason, StopReason::kSuccess);
  EXPECT_EQ(Get(far_->Url("/x"), kShort).stop_reason,
            StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(far_->log().Count(), 1);
}

// Each of them refuses once: the call waits for every one.
TEST_F(RedirectTest, OfAChainEach) {
  asked_->Script("/far", {Reply::Of(302).With("Location", there_->Url("/on")),
                          Refusal("1"),
                          Reply::Of(302).With("Location", there_->Url("/on"))});
  far_->Script("/", {Refusal("1"), Reply::Of(200, "at last")});
  const CallResult result = Get(asked_->Url("/far"));
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
      << FormatCallRecord(result.record);
  EXPECT_EQ(body_, "at last");
  // far_ refuses 1, asked_ refuses 2, then it is through.
  EXPECT_EQ(asked_->log().Count(), 3);
  EXPECT_EQ(there_->log().Count(), 2);
  EXPECT_EQ(far_->log().Count(), 2);
}

TEST_F(RedirectTest, AServerWhoseGateIsShutIsNotAsked) {
  ShutThere("1");
  const CallResult result = Get(asked_->Url("/there"));
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
      << FormatCallRecord(result.record);
  EXPECT_EQ(body_, "good");
  EXPECT_EQ(asked_->log().Count(), 2) << "once to find out";
  EXPECT_EQ(there_->log().Count(), 2);
  EXPECT_GE(Between(*there_, 0, 1), absl::Seconds(1));
  ASSERT_EQ(result.record.total_attempts, 2);
  const AttemptRecord& first = result.record.attempts[0];
  EXPECT_EQ(first.outcome.kind, ErrorKind::kThrottled);
  EXPECT_EQ(first.outcome.status, 302);
  EXPECT_EQ(first.outcome.processed, Processed::kNo);
  EXPECT_EQ(first.not_before_source, DelaySource::kGate);
}

TEST_F(RedirectTest, NorIfItsWaitDoesNotFit) {
  ShutThere("30");
  const CallResult result = Get(asked_->Url("/there"), kShort);
  EXPECT_EQ(result.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(result.code, CURLE_COULDNT_CONNECT);
  EXPECT_TRUE(absl::StrContains(error_, "forbear: ")) << error_;
  EXPECT_GT(result.retry_at, absl::Seconds(20));
  EXPECT_EQ(asked_->log().Count(), 1);
  EXPECT_EQ(there_->log().Count(), 1);
  // As with a server that cannot be reached.
  EXPECT_TRUE(absl::StartsWith(head_, "HTTP/1.1 302 ")) << head_;
}

TEST_F(RedirectTest, WhatWasActedUponGoesOn) {
  ShutThere("30");
  // 302: the answer to the POST is to be seen there.
  const CallResult result = Post(asked_->Url("/there"), kShort);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
      << FormatCallRecord(result.record);
  EXPECT_EQ(body_, "good");
  EXPECT_EQ(asked_->log().Count(), 1);
  EXPECT_EQ(there_->log().Count(), 2);
}

TEST_F(RedirectTest, WhatWasNotActedUponWaits) {
  ShutThere("1");
  // 307: the POST is to be made there.
  const CallResult result = Post(asked_->Url("/same"));
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
      << FormatCallRecord(result.record);
  EXPECT_EQ(asked_->log().Count(), 2);
  ASSERT_EQ(there_->log().Count(), 2);
  const std::vector<Arrival> there = there_->log().Snapshot();
  EXPECT_EQ(there[1].method, "POST");
  EXPECT_EQ(there[1].body, "pay=1");
  EXPECT_GE(Between(*there_, 0, 1), absl::Seconds(1));
}

TEST_F(RedirectTest, ItsPolicysProfileReadsTheAnswer) {
  Settings settings;
  TargetPolicy target;
  target.name = "there";
  target.match.hosts = {absl::StrCat("127.0.0.1:", there_->port())};
  target.profile = "openai";
  settings.targets.push_back(target);
  ASSERT_TRUE(client_->Reload(settings).ok());
  const Reply no_credit = Reply::Of(
      429,
      R"({"error":{"type":"insufficient_quota","code":"insufficient_quota"}})");
  there_->Script("/", {no_credit.With("Content-Type", "application/json")});
  EXPECT_EQ(Get(asked_->Url("/there"), kShort).stop_reason,
            StopReason::kQuotaExhausted);
  EXPECT_EQ(there_->log().Count(), 1);
}

TEST_F(RedirectTest, ByTheEngine) {
  there_->Script("/", {Refusal("1"), Reply::Of(200, "good")});
  const std::unique_ptr<Engine> engine = *Engine::Create(client_);
  Request request(asked_->Url("/there"));
  request.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  CallOptions options = Within(kLong);
  options.quota_id = "batch";
  const Response response = engine->Send(std::move(request), options).get();
  EXPECT_EQ(response.stop_reason, StopReason::kSuccess);
  EXPECT_EQ(response.body, "good");
  EXPECT_EQ(asked_->log().Count(), 2);
  EXPECT_EQ(there_->log().Count(), 2);
  EXPECT_GE(Between(*there_, 0, 1), absl::Seconds(1));
  // "batch" is limited there, nobody else.
  there_->Script("/", {Refusal("30"), Reply::Of(200, "good")});
  Request again(asked_->Url("/there"));
  again.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  options.deadline = kShort;
  EXPECT_EQ(engine->Send(std::move(again), options).get().stop_reason,
            StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(Get(there_->Url(), kShort).stop_reason, StopReason::kSuccess);
  Request direct(there_->Url());
  EXPECT_EQ(engine->Send(std::move(direct), options).get().stop_reason,
            StopReason::kWaitExceedsDeadline);
}

// Calls of one attempt each, by a handle and by a plain one.
class RedirectFailsTest : public RedirectTest,
                          public ::testing::WithParamInterface<bool> {
 protected:
  static ClientOptions OneAttempt() {
    ClientOptions options;
    options.retry.max_attempts = 1;
    return options;
  }
  StopReason Call(const std::string& url,
                  absl::Duration deadline = absl::Milliseconds(500)) {
    if (GetParam()) {
      RawApp app(once_, url);
      app.Set(CURLOPT_FOLLOWLOCATION, 1L);
      RawOptions options;
      options.deadline = deadline;
      return app.Perform(options).stop_reason;
    }
    App app(once_, url);
    app.curl.SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
    return app.Perform(deadline).stop_reason;
  }

  const std::shared_ptr<Client> once_ = NewClient(OneAttempt());
};

TEST_P(RedirectFailsTest, WhoCannotBeReachedFailsForItself) {
  there_->Stop();
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(Call(asked_->Url("/there")), StopReason::kAttemptsExhausted) << i;
  }
  EXPECT_EQ(asked_->log().Count(), 12);
  EXPECT_EQ(Call(asked_->Url("/elsewhere")), StopReason::kSuccess)
      << "it has answered well twelve times";
  EXPECT_EQ(Call(there_->Url()), StopReason::kCircuitOpen);
}

TEST_P(RedirectFailsTest, OfAChainTheLast) {
  far_->Stop();
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(Call(asked_->Url("/far")), StopReason::kAttemptsExhausted) << i;
  }
  EXPECT_EQ(Call(asked_->Url("/x")), StopReason::kSuccess);
  EXPECT_EQ(Call(there_->Url("/x")), StopReason::kSuccess);
  EXPECT_EQ(Call(far_->Url()), StopReason::kCircuitOpen);
}

// libcurl reads it to its end before it goes on.
TEST_P(RedirectFailsTest, ARedirectThatBreaksOffIsItsOwnServers) {
  Reply broken = Reply::ResetMidBody("0123456789", 4);
  broken.status = 302;
  asked_->Script("/broken", {broken.With("Location", there_->Url())});
  for (int i = 0; i < 12; ++i) {
    EXPECT_NE(Call(asked_->Url("/broken")), StopReason::kSuccess) << i;
  }
  EXPECT_EQ(there_->log().Count(), 0);
  EXPECT_EQ(Call(there_->Url()), StopReason::kSuccess)
      << "nobody has asked it yet";
  EXPECT_EQ(Call(asked_->Url("/elsewhere")), StopReason::kCircuitOpen);
}

TEST_P(RedirectFailsTest, SoIsOneThatHangs) {
  asked_->Script("/hangs", {Reply::Of(302, "moved")
                                .With("Location", there_->Url())
                                .BodyAfter(absl::Seconds(20))});
  for (int i = 0; i < 12; ++i) {
    EXPECT_NE(Call(asked_->Url("/hangs"), absl::Milliseconds(50)),
              StopReason::kSuccess);
  }
  EXPECT_EQ(there_->log().Count(), 0);
  EXPECT_EQ(Call(there_->Url()), StopReason::kSuccess);
}

INSTANTIATE_TEST_SUITE_P(All, RedirectFailsTest, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& info) {
                           return info.param ? "PlainHandle" : "Handle";
                         });

// `there_` belongs to a target that is switched off.
class RedirectOffTest : public RedirectTest,
                        public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    Settings settings;
    TargetPolicy target;
    target.name = "there";
    target.match.hosts = {absl::StrCat("127.0.0.1:", there_->port())};
    target.enabled = false;
    settings.targets.push_back(target);
    ASSERT_TRUE(client_->Reload(settings).ok());
  }
  CallResult Call(const std::string& url, absl::Duration deadline) {
    if (!GetParam()) return Get(url, deadline);
    RawApp app(client_, url);
    app.Set(CURLOPT_FOLLOWLOCATION, 1L);
    RawOptions options;
    options.deadline = deadline;
    CallResult result = app.Perform(options);
    body_ = app.sink.body;
    return result;
  }
};

TEST_P(RedirectOffTest, WhatItSaysIsAboutNobody) {
  there_->Script({Refusal("30")});
  const CallResult refused = Call(asked_->Url("/there"), kShort);
  EXPECT_EQ(refused.http_status, 429);
  EXPECT_EQ(refused.stop_reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(Call(asked_->Url("/elsewhere"), kShort).stop_reason,
            StopReason::kSuccess);
  // Nor is anybody held who goes there.
  EXPECT_EQ(Call(asked_->Url("/there"), kShort).http_status, 429);
  EXPECT_EQ(there_->log().Count(), 2);
}

TEST_P(RedirectOffTest, TheCallItselfWaits) {
  there_->Script({Refusal("1"), Reply::Of(200, "good")});
  const CallResult result = Call(asked_->Url("/there"), kLong);
  EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
      << FormatCallRecord(result.record);
  EXPECT_EQ(body_, "good");
  EXPECT_EQ(there_->log().Count(), 2);
  EXPECT_GE(Between(*there_, 0, 1), absl::Seconds(1));
}

TEST_P(RedirectOffTest, AlsoIfItIsNotToldForHowLong) {
  there_->Script({Reply::Of(429)});
  EXPECT_NE(Call(asked_->Url("/there"), kShort).stop_reason,
            StopReason::kSuccess);
  EXPECT_LE(there_->log().Count(), 20);
}

TEST_P(RedirectOffTest, NorAreItsFailuresOrLimits) {
  there_->Script("/", {Reply::Of(500)});
  for (int i = 0; i < 2; ++i) Call(asked_->Url("/there"), kShort);
  there_->Script("/", {Reply::Of(200)
                           .With("x-ratelimit-limit", "10")
                           .With("x-ratelimit-remaining", "0")
                           .With("x-ratelimit-reset", "30")
                           .With("Date", "Wed, 21 Oct 2015 07:28:00 GMT")});
  EXPECT_EQ(Call(asked_->Url("/there"), kShort).stop_reason,
            StopReason::kSuccess);
  const Stopwatch watch;
  EXPECT_EQ(Call(asked_->Url("/elsewhere"), kShort).stop_reason,
            StopReason::kSuccess);
  EXPECT_LT(watch.Elapsed(), absl::Seconds(1));
}

INSTANTIATE_TEST_SUITE_P(All, RedirectOffTest, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& info) {
                           return info.param ? "PlainHandle" : "Handle";
                         });

// It is told of a request when that has gone: nothing is turned back. The rest holds.
TEST_F(RedirectTest, ByAPlainHandle) {
  there_->Script("/", {Refusal("1"), Reply::Of(200, "good"), Refusal("30")});
  {
    RawApp app(client_, asked_->Url("/there"));
    app.Set(CURLOPT_FOLLOWLOCATION, 1L);
    EXPECT_EQ(app.Perform().stop_reason, StopReason::kSuccess);
    EXPECT_EQ(app.sink.body, "good");
  }
  EXPECT_EQ(asked_->log().Count(), 2);
  EXPECT_GE(Between(*there_, 0, 1), absl::Seconds(1));
  RawOptions options;
  options.deadline = kShort;
  {
    RawApp app(client_, asked_->Url("/there"));
    app.Set(CURLOPT_FOLLOWLOCATION, 1L);
    EXPECT_EQ(app.Perform(options).stop_reason,
              StopReason::kWaitExceedsDeadline);
  }
  EXPECT_EQ(Get(asked_->Url("/x"), kShort).stop_reason, StopReason::kSuccess);
  RawApp direct(client_, there_->Url());
  EXPECT_EQ(direct.Perform(options).stop_reason,
            StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(there_->log().Count(), 3);
}

}  // namespace
}  // namespace forbear::curl
