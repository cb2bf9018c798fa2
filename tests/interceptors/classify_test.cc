#include "interceptors/classify.h"

#include <gtest/gtest.h>

namespace forbear::rpc {
namespace {

using grpc::StatusCode;

RpcResult Of(StatusCode code) {
  RpcResult result;
  result.code = code;
  return result;
}

TEST(ClassifyTest, EveryCodeUnlistedAndListed) {
  for (int i = 0; i <= 16; ++i) {
    const auto code = static_cast<StatusCode>(i);
    const Outcome unlisted = Classify(Of(code), {});
    const Outcome listed = Classify(Of(code), {code});
    EXPECT_EQ(unlisted.status, i);
    EXPECT_FALSE(unlisted.repeatable) << i;
    EXPECT_FALSE(unlisted.retry_forbidden) << i;
    EXPECT_FALSE(unlisted.timed_out) << i;
    switch (code) {
      case StatusCode::OK:
        EXPECT_EQ(unlisted.kind, ErrorKind::kOk);
        EXPECT_EQ(unlisted.processed, Processed::kYes);
        EXPECT_EQ(listed.kind, ErrorKind::kOk);
        break;
      case StatusCode::RESOURCE_EXHAUSTED:
        EXPECT_EQ(unlisted.kind, ErrorKind::kThrottled);
        EXPECT_EQ(unlisted.processed, Processed::kNo);
        EXPECT_EQ(listed.kind, ErrorKind::kThrottled);
        EXPECT_EQ(listed.processed, Processed::kNo);
        break;
      case StatusCode::UNAVAILABLE:
        EXPECT_EQ(unlisted.kind, ErrorKind::kTransient);
        EXPECT_EQ(unlisted.processed, Processed::kUnknown);
        EXPECT_EQ(listed.kind, ErrorKind::kTransient);
        EXPECT_TRUE(listed.repeatable);
        break;
      default:
        EXPECT_EQ(unlisted.kind, ErrorKind::kPermanent) << i;
        EXPECT_EQ(listed.kind, ErrorKind::kTransient) << i;
        EXPECT_EQ(listed.processed, Processed::kUnknown) << i;
        EXPECT_TRUE(listed.repeatable) << i;
    }
  }
}

TEST(ClassifyTest, AListSaysNothingOfOtherCodes) {
  const Outcome outcome =
      Classify(Of(StatusCode::UNAVAILABLE), {StatusCode::ABORTED});
  EXPECT_EQ(outcome.kind, ErrorKind::kTransient);
  EXPECT_FALSE(outcome.repeatable);
}

TEST(ClassifyTest, Pushback) {
  RpcResult result = Of(StatusCode::RESOURCE_EXHAUSTED);
  result.pushback = "1500";
  Outcome outcome = Classify(result, {});
  EXPECT_EQ(outcome.pushback, absl::Milliseconds(1500));
  EXPECT_EQ(outcome.pushback_source, DelaySource::kPushback);
  EXPECT_FALSE(outcome.retry_forbidden);

  // Zero is a wait: none.
  result.pushback = "0";
  outcome = Classify(result, {});
  EXPECT_EQ(outcome.pushback, absl::ZeroDuration());
  EXPECT_FALSE(outcome.retry_forbidden);

  // The longest that the trailer can say; max_believed_wait is the core's.
  result.pushback = "2147483647";
  EXPECT_EQ(Classify(result, {}).pushback, absl::Milliseconds(2147483647));

  for (const char* text : {"-1", "", "soon", "1.5", "99999999999999999999",
                           "-9223372036854775808"}) {
    result.pushback = text;
    outcome = Classify(result, {});
    EXPECT_EQ(outcome.kind, ErrorKind::kThrottled);
    EXPECT_TRUE(outcome.retry_forbidden) << text;
    EXPECT_EQ(outcome.pushback, std::nullopt) << text;
    EXPECT_EQ(outcome.pushback_source, DelaySource::kNone) << text;
  }
}

TEST(ClassifyTest, PushbackIsReadForWhatCouldBeSentAgainOnly) {
  RpcResult result = Of(StatusCode::UNAVAILABLE);
  result.pushback = "700";
  EXPECT_EQ(Classify(result, {}).pushback, absl::Milliseconds(700));
  result.code = StatusCode::NOT_FOUND;
  EXPECT_EQ(Classify(result, {}).pushback, std::nullopt);
  result.pushback = "-1";
  EXPECT_FALSE(Classify(result, {}).retry_forbidden);
  EXPECT_TRUE(Classify(result, {StatusCode::NOT_FOUND}).retry_forbidden);
  result.code = StatusCode::OK;
  EXPECT_FALSE(Classify(result, {}).retry_forbidden);
}

TEST(ClassifyTest, CancelledByTheCallerIsNobodysFault) {
  RpcResult result = Of(StatusCode::CANCELLED);
  result.cancelled_by_caller = true;
  const Outcome outcome = Classify(result, {StatusCode::CANCELLED});
  EXPECT_EQ(outcome.kind, ErrorKind::kCancelled);
  // An answer that was faster than the cancel is an answer.
  result.code = StatusCode::OK;
  EXPECT_EQ(Classify(result, {}).kind, ErrorKind::kOk);
}

TEST(ClassifyTest, AnAttemptThatTookTooLong) {
  // gRPC calls it CANCELLED if we cancelled it, DEADLINE_EXCEEDED otherwise.
  for (const StatusCode code :
       {StatusCode::CANCELLED, StatusCode::DEADLINE_EXCEEDED}) {
    RpcResult result = Of(code);
    result.timed_out = true;
    Outcome outcome = Classify(result, {});
    EXPECT_EQ(outcome.kind, ErrorKind::kTransient);
    EXPECT_TRUE(outcome.timed_out);
    EXPECT_FALSE(outcome.repeatable);
    EXPECT_EQ(outcome.status, StatusCode::DEADLINE_EXCEEDED);
    EXPECT_TRUE(Classify(result, {StatusCode::UNAVAILABLE}).repeatable);
  }
  // An answer that came at the last moment is an answer.
  RpcResult result = Of(StatusCode::NOT_FOUND);
  result.timed_out = true;
  EXPECT_EQ(Classify(result, {}).kind, ErrorKind::kPermanent);
  EXPECT_FALSE(Classify(result, {}).timed_out);
  // The caller's cancel comes before our timeout.
  result = Of(StatusCode::CANCELLED);
  result.timed_out = result.cancelled_by_caller = true;
  EXPECT_EQ(Classify(result, {}).kind, ErrorKind::kCancelled);
}

TEST(ClassifyTest, AMessageOverASizeLimitIsNoRateLimit) {
  RpcResult result = Of(StatusCode::RESOURCE_EXHAUSTED);
  for (const char* text :
       {"Received message larger than max (8388617 vs. 4194304)",
        "Sent message larger than max (8388617 vs. 100)"}) {
    result.message = text;
    EXPECT_EQ(Classify(result, {}).kind, ErrorKind::kPermanent);
  }
  result.message = "more than 10 messages a second";
  EXPECT_EQ(Classify(result, {}).kind, ErrorKind::kThrottled);
}

TEST(CodeSetTest, HoldsCodesAndNothingElse) {
  constexpr CodeSet set = {StatusCode::CANCELLED, StatusCode::UNAUTHENTICATED,
                           StatusCode::OK};
  EXPECT_TRUE(set.Has(StatusCode::CANCELLED));
  EXPECT_TRUE(set.Has(StatusCode::UNAUTHENTICATED));
  EXPECT_FALSE(set.Has(StatusCode::OK));
  EXPECT_FALSE(set.Has(StatusCode::UNAVAILABLE));
  EXPECT_FALSE(set.Has(static_cast<StatusCode>(33)));
  EXPECT_FALSE(set.Has(static_cast<StatusCode>(-1)));
  EXPECT_TRUE(CodeSet().empty());
  EXPECT_TRUE(CodeSet({StatusCode::OK}).empty());
}

}  // namespace
}  // namespace forbear::rpc
