#include "curl_wrap/classify.h"

#include <vector>

#include "gtest/gtest.h"

namespace forbear::curl {
namespace {

constexpr ErrorKind kOk = ErrorKind::kOk;
constexpr ErrorKind kTransient = ErrorKind::kTransient;
constexpr ErrorKind kThrottled = ErrorKind::kThrottled;
constexpr ErrorKind kPermanent = ErrorKind::kPermanent;
constexpr ErrorKind kCancelled = ErrorKind::kCancelled;

AttemptFacts OfStatus(int status) {
  AttemptFacts facts;
  facts.status = status;
  facts.sent = true;
  return facts;
}

TEST(ClassifyTest, EveryStatus) {
  for (int status = 100; status < 1000; ++status) {
    ErrorKind expected = status < 400 ? kOk : kPermanent;
    Processed processed = Processed::kYes;
    for (const int transient : {408, 425, 500, 502, 503, 504, 522, 524, 529}) {
      if (status != transient) continue;
      expected = kTransient;
      processed = status == 425 ? Processed::kNo : Processed::kUnknown;
    }
    if (status == 429) {
      expected = kThrottled;
      processed = Processed::kNo;
    }
    const Outcome outcome = Classify(OfStatus(status));
    EXPECT_EQ(outcome.kind, expected) << status;
    EXPECT_EQ(outcome.processed, processed) << status;
    EXPECT_EQ(outcome.status, status);
    EXPECT_FALSE(outcome.committed);
    EXPECT_FALSE(outcome.pushback.has_value());
  }
}

TEST(ClassifyTest, RetryAfterIsThePushbackOfRefusalsOnly) {
  for (const int status : {429, 503, 529, 500}) {
    AttemptFacts facts = OfStatus(status);
    facts.retry_after = absl::Seconds(7);
    const Outcome outcome = Classify(facts);
    EXPECT_EQ(outcome.pushback, absl::Seconds(7)) << status;
    EXPECT_EQ(outcome.pushback_source, DelaySource::kRetryAfter) << status;
  }
  for (const int status : {200, 201, 302, 403, 413}) {
    AttemptFacts facts = OfStatus(status);
    facts.retry_after = absl::Seconds(7);
    EXPECT_FALSE(Classify(facts).pushback.has_value()) << status;
  }
}

// Every CURLcode there is, without a head.
TEST(ClassifyTest, EveryCode) {
  const std::vector<CURLcode> transient = {CURLE_COULDNT_RESOLVE_PROXY,
                                           CURLE_COULDNT_RESOLVE_HOST,
                                           CURLE_COULDNT_CONNECT,
                                           CURLE_PROXY,
                                           CURLE_OPERATION_TIMEDOUT,
                                           CURLE_GOT_NOTHING,
                                           CURLE_SEND_ERROR,
                                           CURLE_RECV_ERROR,
                                           CURLE_PARTIAL_FILE,
                                           CURLE_HTTP2,
                                           CURLE_HTTP2_STREAM,
                                           CURLE_HTTP3,
                                           CURLE_BAD_CONTENT_ENCODING};
  for (int code = 1; code < CURL_LAST; ++code) {
    if (code == CURLE_HTTP_RETURNED_ERROR) continue;
    ErrorKind expected = kPermanent;
    for (const CURLcode c : transient) {
      if (c == code) expected = kTransient;
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) expected = kCancelled;
    for (const bool sent : {false, true}) {
      AttemptFacts facts;
      facts.code = static_cast<CURLcode>(code);
      facts.sent = sent;
      const Outcome outcome = Classify(facts);
      EXPECT_EQ(outcome.kind, expected) << code;
      EXPECT_EQ(outcome.processed, sent ? Processed::kUnknown : Processed::kNo)
          << code;
      EXPECT_EQ(outcome.transport_error, code);
      EXPECT_EQ(outcome.timed_out, code == CURLE_OPERATION_TIMEDOUT);
    }
  }
}

TEST(ClassifyTest, HalfAnAnswerIsNone) {
  for (const int status : {200, 206, 302, 404}) {
    for (const CURLcode code :
         {CURLE_PARTIAL_FILE, CURLE_RECV_ERROR, CURLE_OPERATION_TIMEDOUT}) {
      AttemptFacts facts = OfStatus(status);
      facts.code = code;
      EXPECT_EQ(Classify(facts).kind, kTransient) << status << " " << code;
      EXPECT_EQ(Classify(facts).processed, Processed::kUnknown);
      EXPECT_FALSE(Classify(facts).committed);
      facts.delivered = true;
      EXPECT_TRUE(Classify(facts).committed);
    }
  }
}

TEST(ClassifyTest, ARefusalStaysOneWhenItsBodyIsCutOff) {
  AttemptFacts facts = OfStatus(429);
  facts.code = CURLE_PARTIAL_FILE;
  facts.retry_after = absl::Seconds(3);
  Outcome outcome = Classify(facts);
  EXPECT_EQ(outcome.kind, kThrottled);
  EXPECT_EQ(outcome.processed, Processed::kNo);
  EXPECT_EQ(outcome.pushback, absl::Seconds(3));
  EXPECT_EQ(outcome.transport_error, CURLE_PARTIAL_FILE);

  facts.code = CURLE_OK;
  facts.timed_out = true;
  outcome = Classify(facts);
  EXPECT_EQ(outcome.kind, kThrottled);
  EXPECT_TRUE(outcome.timed_out);
}

TEST(ClassifyTest, OurOwnTimeOut) {
  AttemptFacts facts;
  facts.timed_out = true;
  Outcome outcome = Classify(facts);
  EXPECT_EQ(outcome.kind, kTransient);
  EXPECT_EQ(outcome.processed, Processed::kNo);
  EXPECT_EQ(outcome.transport_error, CURLE_OPERATION_TIMEDOUT);
  facts.sent = true;
  EXPECT_EQ(Classify(facts).processed, Processed::kUnknown);
}

TEST(ClassifyTest, TheApplicationsAbortEndsEverything) {
  AttemptFacts facts = OfStatus(503);
  facts.code = CURLE_WRITE_ERROR;
  facts.retry_after = absl::Seconds(1);
  EXPECT_EQ(Classify(facts).kind, kPermanent);
  EXPECT_FALSE(Classify(facts).pushback.has_value());
  facts.code = CURLE_ABORTED_BY_CALLBACK;
  EXPECT_EQ(Classify(facts).kind, kCancelled);
}

TEST(ClassifyTest, FailOnErrorIsReadByItsStatus) {
  AttemptFacts facts = OfStatus(503);
  facts.code = CURLE_HTTP_RETURNED_ERROR;
  EXPECT_EQ(Classify(facts).kind, kTransient);
  facts.status = 404;
  EXPECT_EQ(Classify(facts).kind, kPermanent);
}

TEST(ClassifyTest, ABodyWithoutAHeadIsAnAnswer) {
  EXPECT_EQ(Classify(AttemptFacts()).kind, kOk);
}

}  // namespace
}  // namespace forbear::curl
