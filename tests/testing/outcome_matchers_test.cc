#include "tests/testing/outcome_matchers.h"

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

using ::testing::AllOf;
using ::testing::DescribeMatcher;
using ::testing::ExplainMatchResult;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Matcher;
using ::testing::Not;
using ::testing::Optional;
using ::testing::PrintToString;
using ::testing::StringMatchResultListener;

// 429 with a wait of a second, then 200.
CallRecord Throttled() {
  CallRecord record;
  record.protocol = Protocol::kHttp;
  record.names = CallNames("127.0.0.1:80", "POST", "");
  record.stop_reason = StopReason::kSuccess;
  record.total_attempts = 2;
  AttemptRecord attempt;
  attempt.number = 1;
  attempt.outcome.kind = ErrorKind::kThrottled;
  attempt.outcome.status = 429;
  record.attempts.push_back(attempt);
  attempt.number = 2;
  attempt.start = attempt.end = record.begin + absl::Seconds(1);
  attempt.outcome.kind = ErrorKind::kOk;
  attempt.outcome.status = 200;
  attempt.waited = absl::Seconds(1);
  attempt.wait_source = DelaySource::kRetryAfter;
  record.attempts.push_back(attempt);
  record.end = attempt.end;
  return record;
}

std::string Explain(const Matcher<const CallRecord&>& matcher) {
  StringMatchResultListener listener;
  EXPECT_FALSE(ExplainMatchResult(matcher, Throttled(), &listener));
  return listener.str();
}

TEST(OutcomeMatchersTest, Match) {
  const CallRecord record = Throttled();
  EXPECT_THAT(record, StoppedWith(StopReason::kSuccess));
  EXPECT_THAT(record, Not(StoppedWith(StopReason::kCancelled)));
  EXPECT_THAT(record, HasAttempts(2));
  EXPECT_THAT(record, HasAttempts(Le(2)));
  EXPECT_THAT(record, Not(HasAttempts(3)));
  EXPECT_THAT(record, Not(HasAttempts(Gt(2))));
  EXPECT_THAT(record, WaitedAtLeast(absl::Seconds(1)));
  EXPECT_THAT(record, Not(WaitedAtLeast(absl::Milliseconds(1001))));
  EXPECT_THAT(record, WaitedAtMost(absl::Seconds(1)));
  EXPECT_THAT(record, Not(WaitedAtMost(absl::Milliseconds(999))));
  EXPECT_THAT(record, AttemptEndedWith(1, 429));
  EXPECT_THAT(record, AttemptEndedWith(2, 200));
  EXPECT_THAT(record, Not(AttemptEndedWith(1, 200)));
  EXPECT_THAT(record, Not(AttemptEndedWith(3, 200)));
  EXPECT_THAT(record, AttemptWaitedFor(2, DelaySource::kRetryAfter));
  EXPECT_THAT(record, Not(AttemptWaitedFor(2, DelaySource::kBackoff)));
  EXPECT_THAT(record, Not(AttemptWaitedFor(3, DelaySource::kNone)));
  EXPECT_THAT(std::optional<CallRecord>(record),
              Optional(AllOf(HasAttempts(2), AttemptEndedWith(2, 200))));
}

TEST(OutcomeMatchersTest, FailuresSayWhatWasAndWhatWasExpected) {
  EXPECT_THAT(Explain(StoppedWith(StopReason::kCancelled)),
              HasSubstr("stopped with success"));
  EXPECT_EQ(Explain(HasAttempts(3)), "which has 2");
  EXPECT_EQ(Explain(WaitedAtLeast(absl::Seconds(2))), "which waited 1s");
  EXPECT_EQ(Explain(AttemptEndedWith(1, 503)),
            "whose attempt 1 ended with HTTP 429");
  EXPECT_EQ(Explain(AttemptEndedWith(3, 503)), "which has no attempt 3");
  EXPECT_EQ(Explain(AttemptWaitedFor(2, DelaySource::kGate)),
            "whose attempt 2 waited 1s for retry-after");

  using M = Matcher<const CallRecord&>;
  EXPECT_EQ(DescribeMatcher<const CallRecord&>(
                M(StoppedWith(StopReason::kCircuitOpen))),
            "stopped with circuit_open");
  EXPECT_EQ(DescribeMatcher<const CallRecord&>(M(HasAttempts(3))),
            "has a number of attempts that is equal to 3");
  EXPECT_EQ(DescribeMatcher<const CallRecord&>(M(HasAttempts(Gt(1)))),
            "has a number of attempts that is > 1");
  EXPECT_EQ(DescribeMatcher<const CallRecord&>(
                M(WaitedAtLeast(absl::Milliseconds(250))), true),
            "waited less than 250ms");
  EXPECT_EQ(DescribeMatcher<const CallRecord&>(M(AttemptEndedWith(2, 503))),
            "attempt 2 ended with 503");

  // The record is shown as people read it.
  EXPECT_THAT(PrintToString(Throttled()), HasSubstr("429 throttled"));
}

}  // namespace
}  // namespace forbear::testing
