#ifndef FORBEAR_TESTS_TESTING_OUTCOME_MATCHERS_H_
#define FORBEAR_TESTS_TESTING_OUTCOME_MATCHERS_H_

#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "gmock/gmock.h"

namespace forbear::testing {

// gMock matchers for what became of a call: for the CallRecord that libcurl's
// CallResult, gRPC's RecordOf() and the simulation's calls hold.
//
//   EXPECT_THAT(result.record, StoppedWith(StopReason::kSuccess));
//   EXPECT_THAT(result.record, HasAttempts(3));            // or Le(3), Gt(1), …
//   EXPECT_THAT(result.record, AttemptEndedWith(1, 429));  // HTTP
//   EXPECT_THAT(result.record, WaitedAtLeast(absl::Seconds(1)));
//   EXPECT_THAT(result.record, AttemptWaitedFor(2, DelaySource::kRetryAfter));
//
//   // gRPC: RecordOf() is an optional, statuses are codes.
//   EXPECT_THAT(RecordOf(context),
//               Optional(AttemptEndedWith(1, grpc::StatusCode::UNAVAILABLE)));
//
//   EXPECT_THAT(record, AllOf(StoppedWith(StopReason::kSuccess),
//                             HasAttempts(2)));            // all are gMock's
//
// A failure shows what was expected, the difference, and the call as
// FormatCallRecord() prints it, attempt by attempt.
//
// Whoever counts sends should ask the server (ArrivalLog): a record is what the
// client knows.
//
// Thread rule: pure functions; call from anywhere.

// The call ended for this reason.
MATCHER_P(StoppedWith, reason,
          absl::StrCat(negation ? "did not stop with " : "stopped with ",
                       StopReasonName(reason))) {
  *result_listener << "which stopped with " << StopReasonName(arg.stop_reason)
                   << ": " << StopReasonSentence(arg.stop_reason);
  return arg.stop_reason == reason;
}

// So many sends, the first included: a number, or a matcher for one.
MATCHER_P(HasAttempts, count,
          absl::StrCat(negation ? "has not a number of attempts that "
                                : "has a number of attempts that ",
                       ::testing::DescribeMatcher<int>(count))) {
  *result_listener << "which has " << arg.total_attempts;
  return ::testing::Matches(::testing::MatcherCast<const int&>(count))(
      arg.total_attempts);
}

namespace matchers_internal {

// What the call spent waiting, before all the attempts that the record keeps.
inline absl::Duration Waited(const CallRecord& record) {
  absl::Duration waited;
  for (const AttemptRecord& a : record.attempts) waited += a.waited;
  return waited;
}

// Null: the record has no attempt of this number (it keeps the last ones).
inline const AttemptRecord* FindAttempt(const CallRecord& record, int number) {
  for (const AttemptRecord& a : record.attempts) {
    if (a.number == number) return &a;
  }
  return nullptr;
}

}  // namespace matchers_internal

// The waits before its attempts come to at least, or at most, this. What a call
// spent in a wait that no attempt followed is not in it.
MATCHER_P(WaitedAtLeast, wait,
          absl::StrCat(negation ? "waited less than " : "waited at least ",
                       FormatShort(wait))) {
  const absl::Duration waited = matchers_internal::Waited(arg);
  *result_listener << "which waited " << FormatShort(waited);
  return waited >= wait;
}
MATCHER_P(WaitedAtMost, wait,
          absl::StrCat(negation ? "waited more than " : "waited at most ",
                       FormatShort(wait))) {
  const absl::Duration waited = matchers_internal::Waited(arg);
  *result_listener << "which waited " << FormatShort(waited);
  return waited <= wait;
}

// Attempt `number` (1 is the first) ended with this HTTP status or gRPC code; an
// HTTP attempt without an answer has 0.
MATCHER_P2(AttemptEndedWith, number, status,
           absl::StrCat("attempt ", number,
                        negation ? " did not end with " : " ended with ",
                        static_cast<int>(status))) {
  const AttemptRecord* attempt = matchers_internal::FindAttempt(arg, number);
  if (attempt == nullptr) {
    *result_listener << "which has no attempt " << number;
    return false;
  }
  *result_listener << "whose attempt " << number << " ended with "
                   << FormatStatus(arg.protocol, attempt->outcome);
  return attempt->outcome.status == static_cast<int>(status);
}

// What made the wait before attempt `number` as long as it was.
MATCHER_P2(AttemptWaitedFor, number, source,
           absl::StrCat("attempt ", number,
                        negation ? " did not wait for " : " waited for ",
                        DelaySourceName(source))) {
  const AttemptRecord* attempt = matchers_internal::FindAttempt(arg, number);
  if (attempt == nullptr) {
    *result_listener << "which has no attempt " << number;
    return false;
  }
  *result_listener << "whose attempt " << number << " waited "
                   << FormatShort(attempt->waited) << " for "
                   << DelaySourceName(attempt->wait_source);
  return attempt->wait_source == source;
}

}  // namespace forbear::testing

namespace forbear {

// How GoogleTest shows a record.
inline void PrintTo(const CallRecord& record, std::ostream* out) {
  *out << "\n" << FormatCallRecord(record);
}

}  // namespace forbear

#endif  // FORBEAR_TESTS_TESTING_OUTCOME_MATCHERS_H_
