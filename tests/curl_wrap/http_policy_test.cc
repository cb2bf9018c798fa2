// Which answers and failures other HTTP clients repeat, and for which requests: the
// table of curl_wrap/classify.h and the machine, together.
//
// Rows: urllib3 (test/test_retry.py), curl (tests/data), go-retryablehttp 0.7.1
// (client_test.go), openai-python (tests/test_client.py), AWS retry
// (aws-smithy-runtime), and googleapis/conformance-tests
// (storage/v1/retry_tests.json).
//
// Where we decide otherwise (docs/conformance.md):
//  | theirs | ours, and why |
//  | go-retryablehttp repeats 0 and 999 | 999 is permanent: nobody knows what it
//    means |
//  | go-retryablehttp and openai-python repeat every 5xx but 501; urllib3 what it is
//    told to | 500, 502, 503, 504, 522, 524, 529: a 505 or 507 stays what it is |
//  | openai-python repeats 409 | permanent: a conflict is the application's to
//    solve, unless a vendor's profile knows better |
//  | curl --retry repeats 408, 429, 500, 502, 503, 504 of a POST as well | only what
//    may be repeated, or was not acted on |
//  | curl --retry-all-errors repeats a 404 | permanent |
//  | AWS repeats any request | as above: its services are idempotent by token |
#include <curl/curl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/endpoint.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "curl_wrap/classify.h"
#include "gtest/gtest.h"
#include "signals/header_field.h"
#include "signals/http_classify.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"
#include "tests/core/scripted_calls.h"

namespace forbear::curl {
namespace {

// Of a server that nobody has described.
AnswerMeaning MeaningOf(int status, const char* retry_after = nullptr) {
  std::vector<HeaderField> fields;
  if (retry_after != nullptr) fields.push_back({"Retry-After", retry_after});
  AnswerFacts answer;
  answer.status = status;
  answer.headers = fields;
  const VendorProfile& generic = ProfileSet::BuiltIn()->generic();
  return ClassifyAnswer(answer, generic, generic);
}

Outcome Answer(int status, const char* retry_after = nullptr) {
  AttemptFacts facts;
  facts.status = status;
  facts.sent = true;
  facts.answer = MeaningOf(status, retry_after);
  return Classify(facts);
}

Outcome Broken(CURLcode code, bool sent = true, int status = 0) {
  AttemptFacts facts;
  facts.code = code;
  facts.sent = sent;
  facts.status = status;
  if (status != 0) facts.answer = MeaningOf(status);
  return Classify(facts);
}

// Requests of a call whose attempts end so.
ScriptedCalls::Result Play(const std::vector<Outcome>& script, bool idempotent,
                           int max_attempts = 3, bool replayable = true) {
  EndpointOptions endpoint;
  endpoint.breaker.enabled = false;
  ScriptedCalls calls(endpoint);
  RetryOptions options;
  options.max_attempts = max_attempts;
  CallSpec spec;
  spec.idempotent = idempotent;
  spec.replayable = replayable;
  return calls.Call(options, script, spec);
}

TEST(HttpPolicyTest, StatusesThatOthersRepeat) {
  struct Row {
    const char* origin;
    std::vector<int> statuses;
    bool theirs;
    std::vector<int> deviations;
  };
  const Row kRows[] = {
      {"go-retryablehttp: retry", {429, 500, 502, 503, 504, 999}, true, {999}},
      {"go-retryablehttp: no retry", {200, 400, 404, 501}, false, {}},
      {"openai-python",
       {408, 409, 429, 500, 502, 503, 504, 505, 507, 529, 599},
       true,
       {409, 505, 507, 599}},
      {"AWS", {500, 502, 503, 504}, true, {}},
      {"AWS: not retryable", {200, 400, 403, 404}, false, {}},
      {"curl --retry", {408, 429, 500, 502, 503, 504}, true, {}},
      {"curl -f --retry (tests/data: exit 22 after one)", {404}, false, {}},
      {"urllib3 RETRY_AFTER_STATUS_CODES", {413, 429, 503}, true, {413}},
      {"conformance-tests: non-retryable", {400, 401}, false, {}},
  };
  for (const Row& row : kRows) {
    for (const int status : row.statuses) {
      bool expected = row.theirs;
      for (const int deviation : row.deviations) {
        if (deviation == status) expected = !expected;
      }
      const ScriptedCalls::Result r =
          Play({Answer(status), Answer(200)}, /*idempotent=*/true);
      EXPECT_EQ(r.attempts() == 2, expected) << row.origin << ": " << status;
    }
  }
}

TEST(HttpPolicyTest, SequencesOfCurlsTests) {
  // --retry n: n retries. 503, then 200.
  EXPECT_EQ(Play({Answer(503), Answer(200)}, true, 1000).attempts(), 2);
  // -f --retry 2, three times 502.
  const ScriptedCalls::Result r = Play({Answer(502)}, true, 3);
  EXPECT_EQ(r.attempts(), 3);
  EXPECT_EQ(r.reason, StopReason::kAttemptsExhausted);
  // Cut off, then whole.
  EXPECT_EQ(Play({Broken(CURLE_PARTIAL_FILE, true, 200), Answer(200)}, true)
                .attempts(),
            2);
  // A file to send that is not there: no request, and no repetition.
  const ScriptedCalls::Result local =
      Play({Broken(CURLE_READ_ERROR, false), Answer(200)}, true, 6);
  EXPECT_EQ(local.attempts(), 1);
  EXPECT_EQ(local.reason, StopReason::kPermanentError);
}

// curl tests/data/test366: --retry-max-time 10 and "Retry-After: 200". One request,
// and no waiting. test3010: a wait of an earlier answer does not stick.
TEST(HttpPolicyTest, AWaitIsForItsOwnAnswerAndFitsOrEndsTheCall) {
  EndpointOptions endpoint;
  endpoint.breaker.enabled = false;
  RetryOptions options;
  options.max_elapsed = absl::Seconds(10);
  ScriptedCalls one(endpoint);
  const ScriptedCalls::Result r = one.Call(options, {Answer(503, "200")});
  EXPECT_EQ(r.attempts(), 1);
  EXPECT_EQ(r.reason, StopReason::kWaitExceedsDeadline);
  EXPECT_EQ(r.record.end, r.record.begin);

  options.max_elapsed = absl::Seconds(60);
  options.backoff.max = absl::Milliseconds(50);
  ScriptedCalls other(endpoint);
  const ScriptedCalls::Result s =
      other.Call(options, {Answer(503, "20"), Answer(500), Answer(200)});
  ASSERT_EQ(s.delays.size(), 2u);
  EXPECT_GE(s.delays[0], absl::Seconds(20));
  EXPECT_LE(s.delays[1], absl::Milliseconds(50));
}

// go-retryablehttp: certificates, redirects and schemes are not repeated.
TEST(HttpPolicyTest, WhatRepeatingDoesNotCure) {
  for (const CURLcode code :
       {CURLE_PEER_FAILED_VERIFICATION, CURLE_TOO_MANY_REDIRECTS,
        CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT,
        CURLE_SSL_CONNECT_ERROR}) {
    EXPECT_EQ(Play({Broken(code, false), Answer(200)}, true).attempts(), 1)
        << code;
  }
}

// conformance-tests, storage/v1/retry_tests.json: scenarios 1, 2, 3 and 6. What is
// "conditionally idempotent" is so when the caller says it.
TEST(HttpPolicyTest, IdempotencyConformance) {
  const Outcome busy = Answer(503);
  const Outcome reset = Broken(CURLE_RECV_ERROR);
  const std::vector<std::vector<Outcome>> kFaults = {
      {busy, busy, Answer(200)},
      {reset, reset, Answer(200)},
      {reset, busy, Answer(200)}};
  for (const std::vector<Outcome>& faults : kFaults) {
    const ScriptedCalls::Result may = Play(faults, true);
    EXPECT_EQ(may.reason, StopReason::kSuccess);
    EXPECT_EQ(may.attempts(), 3);
    // The first fault is returned, after exactly one request.
    const ScriptedCalls::Result may_not = Play(faults, false);
    EXPECT_EQ(may_not.reason, StopReason::kNotIdempotent);
    EXPECT_EQ(may_not.attempts(), 1);
  }
  for (const int status : {400, 401}) {
    EXPECT_EQ(Play({Answer(status)}, true).reason, StopReason::kPermanentError);
  }
}

// What a request may cost decides, whatever ended it: of every status and code, one
// that may not be repeated is sent again only if nothing was done.
TEST(HttpPolicyTest, AtMostOnceOnEveryEnd) {
  int repeated = 0;
  for (int status = 100; status < 1000; ++status) {
    const Outcome o = Answer(status);
    const int attempts = Play({o, Answer(200)}, false).attempts();
    const bool refused = status == 429 || status == 425;
    EXPECT_EQ(attempts, refused ? 2 : 1) << status;
  }
  for (int code = 1; code < CURL_LAST; ++code) {
    for (const bool sent : {false, true}) {
      const auto end = static_cast<CURLcode>(code);
      const int attempts =
          Play({Broken(end, sent), Answer(200)}, false).attempts();
      if (sent) {
        EXPECT_EQ(attempts, 1) << code;
      }
      if (attempts == 2) ++repeated;
      // A body that is gone is never sent again.
      EXPECT_EQ(
          Play({Broken(end, sent), Answer(200)}, true, 3, false).attempts(), 1)
          << code;
    }
  }
  // Names, connections, resets before the first byte.
  EXPECT_GE(repeated, 5);
}

// Made-up sequences of statuses: never more requests than max_attempts and one that
// was free, and the first answer that is no failure is the last.
TEST(HttpPolicyTest, MadeUpSequences) {
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    uint64_t n = 0;
    const auto unit = [&] { return UnitRandom(seed, n++); };
    const int kStatuses[] = {200, 204, 400, 404, 408, 425, 500, 501,
                             502, 503, 504, 505, 522, 529, 999};
    std::vector<Outcome> script;
    const int max_attempts = 1 + static_cast<int>(unit() * 5);
    size_t expected = 0;
    int counted = 0;
    bool free_used = false;
    bool over = false;
    for (int i = 0; i < 12; ++i) {
      const int status = kStatuses[static_cast<size_t>(unit() * 15)];
      script.push_back(Answer(status));
      if (over) continue;
      ++expected;
      bool failed = false;
      for (const int s : {408, 500, 502, 503, 504, 522, 529}) {
        failed = failed || s == status;
      }
      if (status == 425) {
        if (free_used) ++counted;
        free_used = true;
      } else if (failed) {
        ++counted;
      }
      over = (!failed && status != 425) || counted >= max_attempts;
    }
    script.push_back(Answer(200));
    const ScriptedCalls::Result r = Play(script, true, max_attempts);
    ASSERT_EQ(static_cast<size_t>(r.attempts()), expected + (over ? 0 : 1))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace forbear::curl
