#include "core/call_record.h"

#include <string>

#include "absl/time/time.h"
#include "core/call_names.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

MonotonicTime At(double seconds) {
  return MonotonicTime() + absl::Seconds(seconds);
}

CallRecord Example() {
  CallRecord r;
  r.protocol = Protocol::kHttp;
  r.names = CallNames("127.0.0.1:8080", "POST", "");
  r.begin = At(10);
  r.end = At(11.02);
  r.stop_reason = StopReason::kSuccess;
  r.total_attempts = 2;
  AttemptRecord a;
  a.number = 1;
  a.start = At(10);
  a.end = At(10.002);
  a.outcome.kind = ErrorKind::kThrottled;
  a.outcome.status = 429;
  a.outcome.pushback = absl::Seconds(1);
  r.attempts.push_back(a);
  a = AttemptRecord();
  a.number = 2;
  a.start = At(11.007);
  a.end = At(11.02);
  a.waited = absl::Milliseconds(1005);
  a.wait_source = DelaySource::kRetryAfter;
  a.outcome.status = 200;
  r.attempts.push_back(a);
  return r;
}

TEST(CallRecordTest, ReadsAsAPersonWouldWantIt) {
  EXPECT_EQ(
      FormatCallRecord(Example()),
      "POST 127.0.0.1:8080: success after 2 attempts, 1.02s\n"
      "   1  at +0        after waiting 0        (none)  HTTP 429 throttled in "
      "2ms, server asked for 1s\n"
      "   2  at +1s       after waiting 1s       (retry-after)  HTTP 200 ok in "
      "13ms\n");
}

TEST(CallRecordTest, SaysWhatIsNotKeptAndWhenToComeBack) {
  CallRecord r = Example();
  r.total_attempts = 20;
  r.stop_reason = StopReason::kWaitExceedsDeadline;
  r.retry_at = r.end + absl::Seconds(90);
  r.attempts[0].outcome.pushback.reset();
  r.attempts[0].garbage_pushback = true;
  const std::string text = FormatCallRecord(r);
  EXPECT_NE(text.find("wait_exceeds_deadline after 20 attempts"),
            std::string::npos);
  EXPECT_NE(text.find("retry_at +1m30s"), std::string::npos);
  EXPECT_NE(text.find("(18 earlier attempts not kept)"), std::string::npos);
  EXPECT_NE(text.find("an unbelievable wait"), std::string::npos);
  r = CallRecord();
  r.total_attempts = 1;
  EXPECT_NE(FormatCallRecord(r).find("after 1 attempt,"), std::string::npos);
}

TEST(CallRecordTest, Status) {
  Outcome o;
  EXPECT_EQ(FormatStatus(Protocol::kHttp, o), "no answer");
  EXPECT_EQ(FormatStatus(Protocol::kNone, o), "-");
  EXPECT_EQ(FormatStatus(Protocol::kGrpc, o), "gRPC 0");
  o.status = 503;
  EXPECT_EQ(FormatStatus(Protocol::kHttp, o), "HTTP 503");
  EXPECT_EQ(FormatStatus(Protocol::kNone, o), "503");
  o.transport_error = 7;
  EXPECT_EQ(FormatStatus(Protocol::kHttp, o), "curl error 7");
}

TEST(CallRecordTest, ShortDurations) {
  EXPECT_EQ(FormatShort(absl::ZeroDuration()), "0");
  EXPECT_EQ(FormatShort(absl::Nanoseconds(1)), "1ns");
  EXPECT_EQ(FormatShort(absl::Nanoseconds(1234)), "1us");
  EXPECT_EQ(FormatShort(absl::Microseconds(1234)), "1.2ms");
  EXPECT_EQ(FormatShort(absl::Milliseconds(250)), "250ms");
  EXPECT_EQ(FormatShort(absl::Milliseconds(1026)), "1.02s");
  EXPECT_EQ(FormatShort(absl::Milliseconds(12345)), "12.3s");
  EXPECT_EQ(FormatShort(absl::Hours(24)), "24h");
  EXPECT_EQ(FormatShort(-absl::Milliseconds(1026)), "-1.02s");
  EXPECT_EQ(FormatShort(absl::InfiniteDuration()), "inf");
  EXPECT_EQ(FormatShort(-absl::InfiniteDuration()), "-inf");
}

TEST(CallRecordTest, WastedSends) {
  for (int i = 0; i < kStopReasonCount; ++i) {
    CallRecord r;
    r.total_attempts = 3;
    r.stop_reason = static_cast<StopReason>(i);
    const bool answered = r.stop_reason == StopReason::kSuccess ||
                          r.stop_reason == StopReason::kPermanentError;
    EXPECT_EQ(r.wasted_sends(), answered ? 2 : 3);
  }
}

TEST(CallRecordTest, EqualIfEveryFieldIs) {
  const CallRecord r = Example();
  EXPECT_TRUE(r == Example());
  EXPECT_FALSE(r != Example());
  const auto differs = [&r](const auto& change) {
    CallRecord other = r;
    change(&other);
    return r != other;
  };
  EXPECT_TRUE(differs([](CallRecord* o) { ++o->seed; }));
  EXPECT_TRUE(differs([](CallRecord* o) { o->retry_at = At(1); }));
  EXPECT_TRUE(differs([](CallRecord* o) { ++o->dropped_dispatches; }));
  EXPECT_TRUE(differs([](CallRecord* o) { o->attempts.pop_back(); }));
  EXPECT_TRUE(differs([](CallRecord* o) { o->attempts[1].head = At(11); }));
  EXPECT_TRUE(differs([](CallRecord* o) { ++o->attempts[0].budget_cost; }));
  EXPECT_TRUE(
      differs([](CallRecord* o) { ++o->attempts[0].outcome.bytes_received; }));
  EXPECT_TRUE(differs([](CallRecord* o) { ++o->attempts[0].outcome.resends; }));
  EXPECT_TRUE(differs([](CallRecord* o) { o->dispatches.emplace_back(); }));
  DispatchRecord asked;
  asked.at = At(10);
  DispatchRecord refused = asked;
  refused.verdict = Verdict::kRefuse;
  EXPECT_TRUE(asked == asked);
  EXPECT_FALSE(asked == refused);
  EXPECT_TRUE(differs([](CallRecord* o) { o->events.emplace_back(); }));
  const EventRecord sent = {EventRecord::What::kSent, 1, At(10)};
  EXPECT_TRUE(sent == sent);
  EXPECT_FALSE(sent == (EventRecord{EventRecord::What::kEnd, 1, At(10)}));
  EXPECT_FALSE(sent == (EventRecord{EventRecord::What::kSent, 2, At(10)}));
  EXPECT_FALSE(sent == (EventRecord{EventRecord::What::kSent, 1, At(11)}));
}

TEST(CallRecordTest, NamesAreStable) {
  EXPECT_EQ(ProtocolName(Protocol::kNone), "none");
  EXPECT_EQ(ProtocolName(Protocol::kHttp), "http");
  EXPECT_EQ(ProtocolName(Protocol::kGrpc), "grpc");
  EXPECT_EQ(BudgetAnswerName(BudgetAnswer::kNotAsked), "not-asked");
  EXPECT_EQ(BudgetAnswerName(BudgetAnswer::kPaid), "paid");
  EXPECT_EQ(BudgetAnswerName(BudgetAnswer::kRefused), "refused");
  EXPECT_EQ(VerdictName(Verdict::kGo), "go");
  EXPECT_EQ(VerdictName(Verdict::kWait), "wait");
  EXPECT_EQ(VerdictName(Verdict::kRefuse), "refuse");
  EXPECT_EQ(HolderName(Holder::kNowhere), "nowhere");
  EXPECT_EQ(HolderName(Holder::kQuota), "quota");
  EXPECT_EQ(HolderName(Holder::kEndpoint), "endpoint");
  // A number from elsewhere does no harm.
  EXPECT_EQ(ProtocolName(static_cast<Protocol>(99)), "?");
  EXPECT_EQ(BudgetAnswerName(static_cast<BudgetAnswer>(99)), "?");
  EXPECT_EQ(VerdictName(static_cast<Verdict>(99)), "?");
  EXPECT_EQ(HolderName(static_cast<Holder>(99)), "?");
}

// A name with one of these in it may carry a password or a query.
TEST(CallRecordTest, NamesThatMayHoldSecretsAreHidden) {
  for (const char* name : {"127.0.0.1:8080", "[::1]:443", "POST",
                           "/pkg.Service/Method", "api.example.com:443", ""}) {
    EXPECT_EQ(NameForRecord(name), name);
  }
  for (const char* name :
       {"user:secret@example.com:443", "example.com/?key=secret",
        "example.com#token=secret", "@", "?", "#"}) {
    EXPECT_EQ(NameForRecord(name), "(hidden)");
  }
  // Whichever of the two it stands in.
  const CallNames names("a@b", "GET /?key=secret", "default");
  EXPECT_EQ(names.target(), "(hidden)");
  EXPECT_EQ(names.method(), "(hidden)");
  EXPECT_EQ(names.policy(), "default");
}

TEST(CallNamesTest, EqualByAllOfTheirTexts) {
  const CallNames names("a", "b", "c");
  EXPECT_TRUE(names == CallNames("a", "b", "c"));
  EXPECT_TRUE(names != CallNames("x", "b", "c"));
  EXPECT_TRUE(names != CallNames("a", "x", "c"));
  EXPECT_TRUE(names != CallNames("a", "b", "x"));
  EXPECT_TRUE(names != CallNames());
  EXPECT_TRUE(CallNames() == CallNames("", "", ""));
}

}  // namespace
}  // namespace forbear
