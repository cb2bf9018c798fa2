#include "interceptors/classify.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "signals/profile_set.h"
#include "tests/interceptors/status_details.h"

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
  for (const char* text : {
           // gRPC core.
           "Received message larger than max (8388617 vs. 4194304)",
           "Sent message larger than max (8388617 vs. 100)",
           "received initial metadata size exceeds limit",
           "received trailing metadata size exceeds limit",
           "to-be-sent initial metadata size exceeds peer limit",
           "received metadata size exceeds hard limit (value length 9 vs. 8)",
           "Buffers full",
           // grpc-go.
           "grpc: received message larger than max (9 vs. 8)",
           "grpc: trying to send message larger than max (9 vs. 8)",
           "grpc: received message after decompression larger than max 8",
           "grpc: message after decompression larger than max (9 vs. 8)",
           "grpc: message too large (4294967296 bytes)",
           // grpc-java.
           "gRPC message exceeds maximum size 4194304: 8388617",
           "Decompressed gRPC message exceeds maximum size 4194304",
           "message too large 9 > 8",
           // grpc-dotnet.
           "Received message exceeds the maximum configured message size.",
           "Sending message exceeds the maximum configured message size.",
           // grpc-node.
           "Received message larger than max (9 vs 8)",
           "Attempted to send message with a size larger than 8",
           "Received message that decompresses to a size larger than 8",
           // grpc-swift.
           "Message has exceeded the configured maximum payload size (max: 1, "
           "actual: 42)",
           // As a server passes it on.
           "backend: grpc: received message larger than max (9 vs. 8)",
       }) {
    result.message = text;
    for (const CodeSet codes : {CodeSet(), CodeSet({result.code})}) {
      EXPECT_EQ(Classify(result, codes).kind, ErrorKind::kPermanent) << text;
      EXPECT_EQ(Classify(result, codes).processed, Processed::kUnknown) << text;
    }
    // Of other codes it means nothing.
    RpcResult other = result;
    other.code = StatusCode::UNAVAILABLE;
    EXPECT_EQ(Classify(other, {}).kind, ErrorKind::kTransient) << text;
  }
  for (const char* text :
       {"", "more than 10 messages a second", "message rate exceeds maximum",
        "Server Threadpool Exhausted", "quota exceeds limit", "buffers full",
        "All Buffers full", "max messages"}) {
    result.message = text;
    EXPECT_EQ(Classify(result, {}).kind, ErrorKind::kThrottled) << text;
    EXPECT_EQ(Classify(result, {}).processed, Processed::kNo) << text;
  }
}

TEST(ClassifyTest, AStreamThatWasResetMayHaveBeenActedOn) {
  RpcResult result = Of(StatusCode::RESOURCE_EXHAUSTED);
  for (const char* text : {
           "Received RST_STREAM with error code 11",
           // grpc-go, grpc-java, grpc-node.
           "stream terminated by RST_STREAM with error code: ENHANCE_YOUR_CALM",
           "HTTP/2 error code: ENHANCE_YOUR_CALM\nReceived Goaway",
           "Received RST_STREAM with code 11 (Bandwidth exhausted)",
       }) {
    result.message = text;
    const Outcome unlisted = Classify(result, {});
    EXPECT_EQ(unlisted.kind, ErrorKind::kThrottled) << text;
    EXPECT_EQ(unlisted.processed, Processed::kUnknown) << text;
    EXPECT_FALSE(unlisted.repeatable) << text;
    EXPECT_TRUE(Classify(result, {result.code}).repeatable) << text;
  }
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

// --- Details. ---

std::string Wait(int seconds) { return RetryInfoBytes(absl::Seconds(seconds)); }

class DetailsTest : public ::testing::Test {
 protected:
  Outcome Read(StatusCode code, const std::string& details,
               CodeSet retryable = {}) {
    RpcResult result = Of(code);
    result.details = details;
    result.pushback = pushback_;
    result.message = message_;
    result.profile = ProfileSet::BuiltIn()->Find(profile_);
    result.generic = &ProfileSet::BuiltIn()->generic();
    return Classify(result, retryable);
  }
  std::string profile_ = "generic";
  std::optional<absl::string_view> pushback_;
  std::string message_;
};

TEST_F(DetailsTest, RetryInfoIsAWait) {
  Outcome outcome = Read(StatusCode::RESOURCE_EXHAUSTED, Wait(3));
  EXPECT_EQ(outcome.kind, ErrorKind::kThrottled);
  EXPECT_EQ(outcome.processed, Processed::kNo);
  EXPECT_EQ(outcome.pushback, absl::Seconds(3));
  EXPECT_EQ(outcome.pushback_source, DelaySource::kRetryInfo);
  outcome = Read(StatusCode::UNAVAILABLE, Wait(3));
  EXPECT_EQ(outcome.kind, ErrorKind::kTransient);
  EXPECT_EQ(outcome.pushback, absl::Seconds(3));
  // Nothing of what is permanent, or damaged.
  EXPECT_FALSE(Read(StatusCode::NOT_FOUND, Wait(3)).pushback.has_value());
  EXPECT_EQ(
      Read(StatusCode::NOT_FOUND, Wait(3), {StatusCode::NOT_FOUND}).pushback,
      absl::Seconds(3));
  EXPECT_FALSE(
      Read(StatusCode::UNAVAILABLE, "\xFF garbage").pushback.has_value());
  EXPECT_FALSE(Read(StatusCode::UNAVAILABLE, "").pushback.has_value());
}

TEST_F(DetailsTest, OfTwoWaitsTheLonger) {
  pushback_ = "2000";
  Outcome outcome = Read(StatusCode::RESOURCE_EXHAUSTED, Wait(3));
  EXPECT_EQ(outcome.pushback, absl::Seconds(3));
  EXPECT_EQ(outcome.pushback_source, DelaySource::kRetryInfo);
  pushback_ = "3000";
  outcome = Read(StatusCode::RESOURCE_EXHAUSTED, Wait(3));
  EXPECT_EQ(outcome.pushback_source, DelaySource::kPushback);
  pushback_ = "4000";
  EXPECT_EQ(Read(StatusCode::UNAVAILABLE, Wait(3)).pushback, absl::Seconds(4));
  pushback_ = "-1";
  outcome = Read(StatusCode::UNAVAILABLE, Wait(3));
  EXPECT_TRUE(outcome.retry_forbidden);
}

TEST_F(DetailsTest, AQuotaOfADay) {
  const Outcome outcome =
      Read(StatusCode::RESOURCE_EXHAUSTED,
           QuotaFailureBytes("GenerateRequestsPerDayPerProject") + Wait(3));
  EXPECT_EQ(outcome.kind, ErrorKind::kQuotaExhausted);
  EXPECT_FALSE(outcome.pushback.has_value());
  EXPECT_EQ(Read(StatusCode::RESOURCE_EXHAUSTED,
                 QuotaFailureBytes("GenerateRequestsPerMinute") + Wait(3))
                .kind,
            ErrorKind::kThrottled);
  // The rule is about this code.
  EXPECT_EQ(
      Read(StatusCode::UNAVAILABLE, QuotaFailureBytes("RequestsPerDay")).kind,
      ErrorKind::kTransient);
  // Of what gRPC itself says no profile is asked.
  message_ = "Received message larger than max (8 vs. 4)";
  EXPECT_EQ(
      Read(StatusCode::RESOURCE_EXHAUSTED, QuotaFailureBytes("RequestsPerDay"))
          .kind,
      ErrorKind::kPermanent);
}

TEST_F(DetailsTest, AnotherProfile) {
  profile_ = "otlp";
  EXPECT_EQ(Read(StatusCode::RESOURCE_EXHAUSTED, "").kind,
            ErrorKind::kQuotaExhausted);
  const Outcome outcome = Read(StatusCode::RESOURCE_EXHAUSTED, Wait(3));
  EXPECT_EQ(outcome.kind, ErrorKind::kThrottled);
  EXPECT_EQ(outcome.pushback, absl::Seconds(3));
}

// A profile has a word about what a server said, and cannot know what it did.
TEST_F(DetailsTest, OfAStreamThatWasReset) {
  message_ = "Received RST_STREAM with error code 11";
  for (const char* profile : {"generic", "otlp"}) {
    profile_ = profile;
    const Outcome outcome = Read(StatusCode::RESOURCE_EXHAUSTED, Wait(3));
    EXPECT_EQ(outcome.kind, ErrorKind::kThrottled);
    EXPECT_EQ(outcome.processed, Processed::kUnknown);
    EXPECT_EQ(outcome.pushback, absl::Seconds(3));
  }
}

}  // namespace
}  // namespace forbear::rpc
