// Every shape of stream, through every API, against everything that can become of
// it. What the server saw is counted at the server; upper bounds of time are
// generous, lower ones exact.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;

// Where the caller cancels.
enum class Cancel { kNever, kBeforeStart, kInAttempt, kInBackoff };

struct Scenario {
  const char* name;
  std::vector<StreamPlay> plays;
  StatusCode code;
  StopReason reason;
  int sends;
  // Zero: none.
  absl::Duration attempt_timeout;
  absl::Duration deadline;
  Cancel cancel = Cancel::kNever;
  absl::Duration at_least = absl::ZeroDuration();  // how long it takes
};

std::ostream& operator<<(std::ostream& out, const Scenario& scenario) {
  return out << scenario.name;
}

std::vector<Scenario> Scenarios() {
  const StreamPlay good = StreamPlay::Good();
  const StreamPlay down = StreamPlay::Fails(StatusCode::UNAVAILABLE);
  const StreamPlay busy = StreamPlay::Fails(StatusCode::RESOURCE_EXHAUSTED);
  const absl::Duration none;
  return {
      {"Ok", {good}, StatusCode::OK, StopReason::kSuccess, 1, none, none},
      {"UnavailableTwice",
       {down, down, good},
       StatusCode::OK,
       StopReason::kSuccess,
       3,
       none,
       none},
      {"UnavailableAlways",
       {down},
       StatusCode::UNAVAILABLE,
       StopReason::kAttemptsExhausted,
       3,
       none,
       none},
      {"Pushback",
       {busy.Pushback("500"), good},
       StatusCode::OK,
       StopReason::kSuccess,
       2,
       none,
       none,
       Cancel::kNever,
       absl::Milliseconds(500)},
      {"ServerSaysNo",
       {down.Pushback("-1"), good},
       StatusCode::UNAVAILABLE,
       StopReason::kServerSaidNo,
       1,
       none,
       none},
      {"NotListed",
       {StreamPlay::Fails(StatusCode::INTERNAL), good},
       StatusCode::INTERNAL,
       StopReason::kPermanentError,
       1,
       none,
       none},
      {"FailsAfterItsHead",
       {down.WithHead(), good},
       StatusCode::UNAVAILABLE,
       StopReason::kCommitted,
       1,
       none,
       none},
      {"HangsUntilItsAttemptTimeout",
       {StreamPlay::Hangs(), good},
       StatusCode::OK,
       StopReason::kSuccess,
       2,
       absl::Milliseconds(300),
       none,
       Cancel::kNever,
       absl::Milliseconds(300)},
      {"HangsAlways",
       {StreamPlay::Hangs()},
       StatusCode::DEADLINE_EXCEEDED,
       StopReason::kAttemptsExhausted,
       3,
       absl::Milliseconds(200),
       none,
       Cancel::kNever,
       absl::Milliseconds(600)},
      {"HangsUntilTheDeadline",
       {down, StreamPlay::Hangs()},
       StatusCode::DEADLINE_EXCEEDED,
       StopReason::kDeadlineExceeded,
       2,
       none,
       absl::Milliseconds(1200),
       Cancel::kNever,
       absl::Milliseconds(1195)},
      {"HangsAfterItsHeadUntilTheDeadline",
       {StreamPlay::Hangs().WithHead()},
       StatusCode::DEADLINE_EXCEEDED,
       StopReason::kCommitted,
       1,
       absl::Milliseconds(700),
       absl::Milliseconds(1400),
       Cancel::kNever,
       absl::Milliseconds(1395)},
      // A wait that does not fit is not begun.
      {"DeadlineBeforeTheEndOfABackoff",
       {busy.Pushback("60000")},
       StatusCode::RESOURCE_EXHAUSTED,
       StopReason::kWaitExceedsDeadline,
       1,
       none,
       absl::Seconds(20)},
      {"CancelBeforeStart",
       {good},
       StatusCode::CANCELLED,
       StopReason::kCancelled,
       0,
       none,
       none,
       Cancel::kBeforeStart},
      {"CancelInAttempt",
       {down, StreamPlay::Hangs()},
       StatusCode::CANCELLED,
       StopReason::kCancelled,
       2,
       none,
       none,
       Cancel::kInAttempt},
      {"CancelAfterTheHead",
       {StreamPlay::Hangs().WithHead()},
       StatusCode::CANCELLED,
       StopReason::kCancelled,
       1,
       none,
       none,
       Cancel::kInAttempt},
      {"CancelInBackoff",
       {busy.Pushback("30000")},
       StatusCode::CANCELLED,
       StopReason::kCancelled,
       1,
       none,
       none,
       Cancel::kInBackoff},
  };
}

class StreamMatrixTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi, Scenario>> {
};

INSTANTIATE_TEST_SUITE_P(
    All, StreamMatrixTest,
    ::testing::Combine(
        ::testing::Values(Shape::kPull, Shape::kPush, Shape::kChat),
        ::testing::Values(StreamApi::kSync, StreamApi::kReactor,
                          StreamApi::kQueue, StreamApi::kGenericReactor,
                          StreamApi::kGenericQueue),
        ::testing::ValuesIn(Scenarios())),
    [](const auto& info) {
      return NameOf(std::get<0>(info.param)) + "_" +
             NameOf(std::get<1>(info.param)) + "_" +
             std::get<2>(info.param).name;
    });

std::vector<std::string> Answers(Shape shape) {
  switch (shape) {
    case Shape::kPull:
      return {"a#0", "a#1", "a#2"};
    case Shape::kPush:
      return {"abc"};
    case Shape::kChat:
      break;
  }
  return {"a", "b", "c"};
}

TEST_P(StreamMatrixTest, EndsAsItShould) {
  const auto& [shape, api, scenario] = GetParam();
  StreamServer server;
  server.Script(scenario.plays);
  RpcOptions options;
  options.methods = {{MethodOf(shape), {StatusCode::UNAVAILABLE}}};
  if (scenario.attempt_timeout > absl::ZeroDuration()) {
    options.methods[0].attempt_timeout = scenario.attempt_timeout;
  }
  StreamApp app(
      api, shape,
      CreateChannel(server.address(), grpc::InsecureChannelCredentials(),
                    *Client::Create({}), options));
  if (scenario.deadline > absl::ZeroDuration()) {
    app.SetDeadline(scenario.deadline);
  }
  if (scenario.cancel == Cancel::kBeforeStart) app.Cancel();
  app.Start();
  if (scenario.cancel == Cancel::kInAttempt) {
    ASSERT_TRUE(server.WaitForCount(scenario.sends));
    app.Cancel();
  } else if (scenario.cancel == Cancel::kInBackoff) {
    while (app.record().attempts.empty() ||
           app.record().attempts.back().outcome.kind == ErrorKind::kOk) {
      std::this_thread::yield();
    }
    app.Cancel();
  }
  EXPECT_EQ(app.Wait().error_code(), scenario.code)
      << app.Wait().error_message();
  EXPECT_GE(app.took(), scenario.at_least);
  EXPECT_LT(app.took(), absl::Seconds(15));
  EXPECT_EQ(server.Count(), scenario.sends);
  const CallRecord record = app.record();
  EXPECT_EQ(record.stop_reason, scenario.reason);
  EXPECT_EQ(record.total_attempts, scenario.sends);
  EXPECT_EQ(record.names.method(), MethodOf(shape));
  if (scenario.code == StatusCode::OK) {
    EXPECT_EQ(app.received(), Answers(shape));
    const std::string number = std::to_string(scenario.sends);
    EXPECT_EQ(app.Initial("x-stream"), number);
    EXPECT_EQ(app.Trailing("x-stream"), number);
  } else {
    EXPECT_TRUE(app.received().empty());
  }
  const auto seen = server.Seen();
  for (size_t i = 0; i < seen.size(); ++i) {
    const auto it = seen[i].metadata.find("grpc-previous-rpc-attempts");
    EXPECT_EQ(it == seen[i].metadata.end() ? "0" : it->second,
              std::to_string(i));
  }
  // Nobody is left working for a caller who has gone.
  if (scenario.plays.back().hang) {
    EXPECT_TRUE(server.WaitFor([](const std::vector<SeenStream>& all) {
      return all.back().cancelled;
    }));
  }
}

}  // namespace
}  // namespace forbear::rpc
