// HTTP/2 without TLS, from a server that says what no usual one can be made to say: that
// it has not processed a stream (REFUSED_STREAM, GOAWAY), or that it may have.
//
// libcurl tells nobody which of them it was. What was certainly not processed it sends
// once more by itself, on a new connection: for a call that may be repeated that stands
// in the record; for one that must go at most once it is prevented, since nothing tells
// it from a connection that died.
#include <curl/curl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "tests/curl_wrap/app.h"
#include "tests/curl_wrap/raw_app.h"
#include "tests/interceptors/raw_http2_server.h"

namespace forbear::curl {
namespace {

using rpc::Act;
using rpc::RawHttp2Server;

constexpr absl::Duration kLong = absl::Seconds(20);

CallResult Call(const RawHttp2Server& server, bool post) {
  App app(NewClient(), absl::StrCat("http://", server.address(), "/"));
  app.curl.SetOpt(CURLOPT_HTTP_VERSION,
                  static_cast<long>(CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
  // libcurl 7.88.1 cannot use such a connection twice (curl_easy_perform neither).
  app.curl.SetOpt(CURLOPT_FORBID_REUSE, 1L);
  if (post) app.Post("pay=1");
  return app.Perform(kLong);
}

// Attempts, and what libcurl has sent by itself.
int SendsIn(const CallRecord& record) {
  int sends = record.total_attempts;
  for (const AttemptRecord& a : record.attempts) sends += a.outcome.resends;
  return sends;
}

TEST(Http2Test, WhatWasNotProcessedIsSentOnceMoreByLibcurl) {
  for (const Act act : {Act::kRefuse, Act::kGoAwayAndClose}) {
    SCOPED_TRACE(static_cast<int>(act));
    const RawHttp2Server server({act, Act::kAnswer});
    const CallResult result = Call(server, /*post=*/false);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
        << FormatCallRecord(result.record);
    EXPECT_EQ(server.sends(), 2);
    // By the one or the other: each send is in the record.
    EXPECT_EQ(SendsIn(result.record), 2) << FormatCallRecord(result.record);
  }
}

TEST(Http2Test, APostThatMustGoAtMostOnceDoes) {
  for (const Act act : {Act::kRefuse, Act::kGoAwayAndClose, Act::kReset,
                        Act::kGoAwayAfterAndClose, Act::kClose}) {
    SCOPED_TRACE(static_cast<int>(act));
    const RawHttp2Server server({act, Act::kAnswer});
    const CallResult result = Call(server, /*post=*/true);
    EXPECT_EQ(result.stop_reason, StopReason::kNotIdempotent)
        << FormatCallRecord(result.record);
    EXPECT_EQ(server.sends(), 1);
  }
}

TEST(Http2Test, WhatMayHaveBeenProcessedIsRepeatedIfThatIsHarmless) {
  for (const Act act : {Act::kReset, Act::kGoAwayAfterAndClose, Act::kClose}) {
    SCOPED_TRACE(static_cast<int>(act));
    const RawHttp2Server server({act, Act::kAnswer});
    const CallResult result = Call(server, /*post=*/false);
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
        << FormatCallRecord(result.record);
    EXPECT_EQ(result.record.attempts[0].outcome.processed, Processed::kUnknown);
    EXPECT_EQ(server.sends(), 2);
  }
}

// The same with a plain handle.
TEST(Http2Test, ByPerform) {
  for (const Act act : {Act::kRefuse, Act::kGoAwayAndClose, Act::kReset,
                        Act::kGoAwayAfterAndClose, Act::kClose}) {
    SCOPED_TRACE(static_cast<int>(act));
    const RawHttp2Server server({act, Act::kAnswer});
    RawApp app(NewClient(), absl::StrCat("http://", server.address(), "/"));
    app.Set(CURLOPT_HTTP_VERSION,
            static_cast<long>(CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
    app.Set(CURLOPT_FORBID_REUSE, 1L);
    const CallResult result = app.Perform();
    EXPECT_EQ(result.stop_reason, StopReason::kSuccess)
        << FormatCallRecord(result.record);
    EXPECT_EQ(server.sends(), 2);
    EXPECT_EQ(SendsIn(result.record), 2) << FormatCallRecord(result.record);
  }
}

}  // namespace
}  // namespace forbear::curl
