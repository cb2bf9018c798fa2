#include "curl_wrap/classify.h"

#include <vector>

#include "absl/time/time.h"
#include "core/outcome.h"
#include "gtest/gtest.h"
#include "signals/header_field.h"
#include "signals/http_classify.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"

namespace forbear::curl {
namespace {

constexpr ErrorKind kOk = ErrorKind::kOk;
constexpr ErrorKind kTransient = ErrorKind::kTransient;
constexpr ErrorKind kThrottled = ErrorKind::kThrottled;
constexpr ErrorKind kPermanent = ErrorKind::kPermanent;
constexpr ErrorKind kCancelled = ErrorKind::kCancelled;

// Of an answer as its server would mean it that has no profile.
AttemptFacts OfStatus(int status, const char* retry_after = nullptr) {
  std::vector<HeaderField> fields;
  if (retry_after != nullptr) fields.push_back({"Retry-After", retry_after});
  AnswerFacts answer;
  answer.status = status;
  answer.headers = fields;
  AttemptFacts facts;
  facts.status = status;
  facts.sent = true;
  const VendorProfile& generic = ProfileSet::BuiltIn()->generic();
  facts.answer = ClassifyAnswer(answer, generic, generic);
  return facts;
}

TEST(ClassifyTest, AnAnswerIsWhatItMeans) {
  AttemptFacts facts = OfStatus(429, "7");
  Outcome outcome = Classify(facts);
  EXPECT_EQ(outcome.kind, kThrottled);
  EXPECT_EQ(outcome.processed, Processed::kNo);
  EXPECT_EQ(outcome.pushback, absl::Seconds(7));
  EXPECT_EQ(outcome.pushback_source, DelaySource::kRetryAfter);
  EXPECT_EQ(outcome.status, 429);
  EXPECT_FALSE(outcome.committed);
  EXPECT_FALSE(outcome.retry_forbidden);
  EXPECT_FALSE(outcome.retry_wanted);

  facts.answer.kind = ErrorKind::kQuotaExhausted;
  facts.answer.retry_forbidden = true;
  outcome = Classify(facts);
  EXPECT_EQ(outcome.kind, ErrorKind::kQuotaExhausted);
  EXPECT_TRUE(outcome.retry_forbidden);

  facts = OfStatus(409);
  EXPECT_EQ(Classify(facts).kind, kPermanent);
  facts.answer.retry_wanted = true;
  EXPECT_TRUE(Classify(facts).retry_wanted);
  EXPECT_FALSE(Classify(facts).shed);
  facts.answer.shed = true;
  EXPECT_TRUE(Classify(facts).shed);
  EXPECT_EQ(Classify(OfStatus(204)).kind, kOk);
  EXPECT_EQ(Classify(OfStatus(204)).processed, Processed::kYes);
}

// It speaks of another request than the one that may have been acted upon.
TEST(ClassifyTest, ARefusalBehindARedirect) {
  AttemptFacts facts = OfStatus(429, "7");
  facts.acted = true;
  const Outcome outcome = Classify(facts);
  EXPECT_EQ(outcome.kind, kThrottled);
  EXPECT_EQ(outcome.processed, Processed::kUnknown);
  EXPECT_EQ(outcome.pushback, absl::Seconds(7));
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
      // An upload that RESUME_FROM says is complete.
      const bool complete = code == CURLE_PARTIAL_FILE && !sent;
      EXPECT_EQ(outcome.kind, complete ? kPermanent : expected) << code;
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
      // Who answers was reached.
      facts.sent = false;
      EXPECT_EQ(Classify(facts).kind, kTransient) << status << " " << code;
      EXPECT_EQ(Classify(facts).processed, Processed::kUnknown);
      EXPECT_FALSE(Classify(facts).committed);
      facts.delivered = true;
      EXPECT_TRUE(Classify(facts).committed);
    }
  }
}

TEST(ClassifyTest, ARefusalStaysOneWhenItsBodyIsCutOff) {
  AttemptFacts facts = OfStatus(429, "3");
  facts.code = CURLE_PARTIAL_FILE;
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

  facts.answer.kind = ErrorKind::kQuotaExhausted;
  EXPECT_EQ(Classify(facts).kind, ErrorKind::kQuotaExhausted);
  // A permanent error that the server wants to see again is a refusal, too.
  facts = OfStatus(409);
  facts.code = CURLE_PARTIAL_FILE;
  EXPECT_EQ(Classify(facts).kind, kTransient);
  facts.answer.retry_wanted = true;
  EXPECT_EQ(Classify(facts).kind, kPermanent);
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
  AttemptFacts facts = OfStatus(503, "1");
  facts.code = CURLE_WRITE_ERROR;
  EXPECT_EQ(Classify(facts).kind, kPermanent);
  EXPECT_FALSE(Classify(facts).pushback.has_value());
  facts.code = CURLE_ABORTED_BY_CALLBACK;
  EXPECT_EQ(Classify(facts).kind, kCancelled);
}

TEST(ClassifyTest, FailOnErrorIsReadByItsStatus) {
  AttemptFacts facts = OfStatus(503);
  facts.code = CURLE_HTTP_RETURNED_ERROR;
  EXPECT_EQ(Classify(facts).kind, kTransient);
  facts = OfStatus(404);
  facts.code = CURLE_HTTP_RETURNED_ERROR;
  EXPECT_EQ(Classify(facts).kind, kPermanent);
  EXPECT_EQ(Classify(facts).processed, Classify(OfStatus(404)).processed);
}

TEST(ClassifyTest, ABodyWithoutAHeadIsAnAnswer) {
  EXPECT_EQ(Classify(AttemptFacts()).kind, kOk);
}

TEST(ClassifyTest, AGoodAnswerInShort) {
  for (const int status : {0, 200, 204, 304, 399}) {
    AttemptFacts facts;
    facts.status = status;
    for (const bool b : {false, true}) {
      facts.sent = facts.delivered = b;
      EXPECT_EQ(Classify(facts), GoodAnswer(status)) << status;
    }
  }
}

}  // namespace
}  // namespace forbear::curl
