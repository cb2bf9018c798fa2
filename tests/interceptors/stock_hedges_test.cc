// Hedging, as gRPC's proposal A6 has it (grpc/proposal A6-client-retries.md,
// 2024-08-29; facts only), and as the interceptor does it with the same hedgingPolicy.
// gRPC 1.51 reads a hedgingPolicy no further than a stranger's (StockTest shows it), so
// there is no channel to compare with: a row has what A6 says, and is compared with
// that. hedge_test.cc has the rest of hedging.
//
// Where we decide otherwise, the row has both, and why (docs/conformance.md). A row
// with a reason whose two sides are the same fails as well: it is no deviation then.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/expect_waits.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/echo.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::Arrival;
using testing::EchoMessage;
using testing::GrpcReply;
using testing::GrpcRequest;
using testing::GrpcServer;

std::string HedgingConfig(int max_attempts, const char* delay) {
  return absl::StrCat(
      R"({"methodConfig": [{"name": [{"service": "forbear.testing.Echo"}],)",
      R"("hedgingPolicy": {"maxAttempts": )", max_attempts,
      R"(, "hedgingDelay": ")", delay,
      R"(", "nonFatalStatusCodes": ["ABORTED"]}}]})");
}

GrpcReply Good(const std::string& payload) {
  EchoMessage message;
  message.set_payload(payload);
  return GrpcReply::Ok(message.SerializeAsString());
}

// What became of a call.
struct Seen {
  StatusCode code = StatusCode::OK;
  std::string answer;                 // the payload, or the message
  std::vector<std::string> previous;  // grpc-previous-rpc-attempts of the sends
  int hedges = 0;                     // sends that did not wait for a backoff
  int cancelled = 0;                  // sends that were called back

  friend bool operator==(const Seen& a, const Seen& b) {
    return a.code == b.code && a.answer == b.answer &&
           a.previous == b.previous && a.hedges == b.hedges &&
           a.cancelled == b.cancelled;
  }
  friend std::ostream& operator<<(std::ostream& out, const Seen& seen) {
    return out << seen.code << " \"" << seen.answer << "\" after "
               << seen.previous.size() << " sends ["
               << absl::StrJoin(seen.previous, ",") << "], " << seen.hedges
               << " of them hedges, " << seen.cancelled << " cancelled";
  }
};

// `sends` of which all but the first are hedges.
Seen Hedged(StatusCode code, std::string answer, int sends, int cancelled) {
  Seen seen;
  seen.code = code;
  seen.answer = std::move(answer);
  for (int i = 0; i < sends; ++i) {
    seen.previous.push_back(i == 0 ? "" : absl::StrCat(i));
  }
  seen.hedges = sends - 1;
  seen.cancelled = cancelled;
  return seen;
}

struct Row {
  const char* name = nullptr;
  int max_attempts = 2;
  const char* delay = "0.2s";
  // Of the call's first attempt, its second, …; the last one repeats.
  std::vector<GrpcReply> replies;
  Seen a6;
  // From one send to the next one, at least; of fewer than there are sends.
  std::vector<absl::Duration> waits;
  // A deviation: why, and what we do. Null: there is none.
  const char* why = nullptr;
  Seen ours;
};

std::vector<Row> Rows() {
  const auto ms = [](int n) { return absl::Milliseconds(n); };
  const GrpcReply aborted = GrpcReply::Error(StatusCode::ABORTED, "xyz");
  const GrpcReply hang = GrpcReply::Hang();
  std::vector<Row> all;
  const auto add = [&](const char* name, int max_attempts, const char* delay,
                       std::vector<GrpcReply> replies, Seen a6) -> Row& {
    Row& row = all.emplace_back();
    row.name = name;
    row.max_attempts = max_attempts;
    row.delay = delay;
    row.replies = std::move(replies);
    row.a6 = std::move(a6);
    return row;
  };

  add("answered_within_the_delay", 4, "10s", {Good("1")},
      Hedged(StatusCode::OK, "1", 1, 0));
  add("one_after_each_delay", 4, "0.2s", {hang, hang, Good("3")},
      Hedged(StatusCode::OK, "3", 3, 2))
      .waits = {ms(200), ms(200)};
  add("no_delay_all_at_once", 4, "0s", {hang, hang, hang, Good("4")},
      Hedged(StatusCode::OK, "4", 4, 3));
  add("max_attempts_above_5", 7, "0.05s",
      {hang, hang, hang, hang, Good("5").After(ms(500))},
      Hedged(StatusCode::OK, "5", 5, 4));
  add("non_fatal_sends_the_next_at_once", 3, "1s", {hang, aborted, Good("3")},
      Hedged(StatusCode::OK, "3", 3, 1))
      .waits = {ms(1000)};
  add("fatal_ends_all", 4, "0.2s",
      {hang, GrpcReply::Error(StatusCode::INVALID_ARGUMENT, "xyz")},
      Hedged(StatusCode::INVALID_ARGUMENT, "xyz", 2, 1));
  add("all_fail", 3, "0.05s", {aborted.After(ms(1000))},
      Hedged(StatusCode::ABORTED, "xyz", 3, 0));
  for (const char* value : {"-1", "abc"}) {
    add("pushback_that_forbids_sends_no_other_copy", 5, "0.1s",
        {Good("1").After(ms(800)), aborted.Pushback(value)},
        Hedged(StatusCode::OK, "1", 2, 0));
  }
  {
    Row& row =
        add("pushback_delays_the_next_copy", 3, "0.1s",
            {Good("1").After(ms(2000)), aborted.Pushback("300"), Good("3")},
            Hedged(StatusCode::OK, "3", 3, 1));
    row.waits = {ms(100)};
    row.why = "any pushback stops hedging: who asks for less gets less";
    row.ours = Hedged(StatusCode::OK, "1", 2, 0);
  }
  {
    Row& row = add("non_fatal_of_the_only_copy_out", 2, "5s",
                   {aborted, Good("2")}, Hedged(StatusCode::OK, "2", 2, 0));
    row.why =
        "a retry, after its backoff: haste does not help a server that "
        "has just failed";
    row.ours = row.a6;
    row.ours.hedges = 0;
  }
  {
    Row& row = add("unavailable_is_not_listed", 2, "0.2s",
                   {Good("1").After(ms(1000)),
                    GrpcReply::Error(StatusCode::UNAVAILABLE, "xyz")},
                   Hedged(StatusCode::UNAVAILABLE, "xyz", 2, 1));
    row.why = "never fatal to what is out: it has been sent anyway";
    row.ours = Hedged(StatusCode::OK, "1", 2, 0);
  }
  return all;
}

// A call's replies by the attempt's number, whichever comes first.
void Script(GrpcServer* server, std::vector<GrpcReply> replies) {
  server->SetHandler([replies = std::move(replies)](const GrpcRequest& r) {
    const auto it = r.metadata.find("grpc-previous-rpc-attempts");
    const size_t n = it == r.metadata.end() ? 0 : std::stoul(it->second);
    return replies[std::min(n, replies.size() - 1)];
  });
}

std::vector<std::string> PreviousOf(const std::vector<Arrival>& arrivals) {
  std::vector<std::string> previous;
  for (const Arrival& arrival : arrivals) {
    const auto it = arrival.headers.find("grpc-previous-rpc-attempts");
    previous.push_back(it == arrival.headers.end() ? "" : it->second);
  }
  // Those that leave at once may overtake one another.
  std::sort(previous.begin(), previous.end());
  return previous;
}

class StockHedgesTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, StockHedgesTest,
                         ::testing::Values(Api::kSync, Api::kCallback),
                         ApiName);

TEST_P(StockHedgesTest, Rows) {
  // Nothing but the rows' own rules holds a copy back.
  ClientOptions client;
  client.quota.pacing = false;
  client.endpoint.pacing = false;
  for (const Row& row : Rows()) {
    SCOPED_TRACE(row.name);
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    Script(server.get(), row.replies);
    RpcOptions options;
    options.service_config = HedgingConfig(row.max_attempts, row.delay);
    const auto channel =
        CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create(client), options);
    // Copies that wait for a connection would leave together.
    ASSERT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() +
                                          std::chrono::seconds(20)));
    EchoCall call(GetParam(), channel);
    call.SetDeadline(absl::Seconds(30));
    const absl::Duration begin = server->log().Now();
    Seen seen;
    seen.code = call.Run().error_code();
    seen.answer =
        call.status().ok() ? call.payload() : call.status().error_message();
    const Seen& expected = row.why == nullptr ? row.a6 : row.ours;
    // The server hears of a cancel when it does.
    EXPECT_TRUE(
        server->log().WaitForCancelled(expected.cancelled, absl::Seconds(20)));
    const std::vector<Arrival> arrivals = server->log().Snapshot();
    seen.previous = PreviousOf(arrivals);
    seen.cancelled = static_cast<int>(server->log().CountCancelled());
    const CallRecord record = call.record();
    for (const AttemptRecord& attempt : record.attempts) {
      if (attempt.hedge) ++seen.hedges;
    }
    EXPECT_EQ(record.total_attempts, static_cast<int>(arrivals.size()));
    EXPECT_EQ(seen, expected);
    if (row.why != nullptr) {
      EXPECT_FALSE(seen == row.a6) << "no deviation: " << row.why;
    }
    std::vector<absl::Duration> sends;
    for (const Arrival& arrival : arrivals) {
      sends.push_back(arrival.since_start - begin);
    }
    ExpectWaits(sends, row.waits);
  }
}

// The argument makes gRPC 1.51 read perAttemptRecvTimeout, and no hedgingPolicy.
TEST(StockTest, DoesNotHedge) {
  for (const int experiment : {0, 1}) {
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    Script(server.get(), {Good("1").After(absl::Seconds(1)), Good("2")});
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_EXPERIMENTAL_ENABLE_HEDGING, experiment);
    arguments.SetServiceConfigJSON(HedgingConfig(4, "0.1s"));
    EchoCall call(
        Api::kSync,
        grpc::CreateCustomChannel(
            server->address(), grpc::InsecureChannelCredentials(), arguments));
    EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
    EXPECT_EQ(call.payload(), "1");
    EXPECT_EQ(server->log().Count(), 1);
  }
}

}  // namespace
}  // namespace forbear::rpc
