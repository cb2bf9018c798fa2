// Streams and their transport, in every API: a connection that ends under them, where
// what is said of it decides nothing, and the consent does
// (docs/decisions/0006-transparent-retries.md), or before they are sent; proxies' pages; and compression. Sends
// are counted at the server, which writes its frames by hand.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "runtime/client.h"
#include "tests/interceptors/all_streams.h"
#include "tests/interceptors/raw_http2_server.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/streams_given.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using Payloads = std::vector<std::string>;

struct Case {
  const char* name;
  Act act;
  int connections;  // of the stream before, this one and its repetition
};

// Not processed, as HTTP/2 has it: but nothing that gRPC hands out proves it.
constexpr Case kNotProcessed[] = {
    {"GOAWAY", Act::kGoAway, 2},
    {"GOAWAY, closed", Act::kGoAwayAndClose, 2},
    {"REFUSED_STREAM", Act::kRefuse, 1},
};
constexpr Case kPerhapsProcessed[] = {
    {"GOAWAY after it, closed", Act::kGoAwayAfterAndClose, 2},
    {"closed", Act::kClose, 2},
};

std::shared_ptr<grpc::Channel> Channel(const std::string& address,
                                       std::vector<StatusCode> retryable) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
  RpcOptions options;
  options.methods = {{"*", std::move(retryable)}};
  return CreateChannel(address, grpc::InsecureChannelCredentials(),
                       *Client::Create({}), options, arguments);
}

class StreamGoAwayTest : public ::testing::TestWithParam<StreamApi> {
 protected:
  // The second stream on a channel, so that its connection is there.
  static void Check(const Case& c, bool consent) {
    SCOPED_TRACE(std::string(c.name) + (consent ? ", consent" : ""));
    RawHttp2Server server({Act::kAnswer, c.act, Act::kAnswer});
    const auto channel =
        Channel(server.address(),
                consent ? std::vector<StatusCode>{StatusCode::UNAVAILABLE}
                        : std::vector<StatusCode>());
    StreamApp first(GetParam(), Shape::kPull, channel);
    first.SetDeadline(absl::Minutes(1));
    ASSERT_TRUE(first.Run().ok()) << first.Wait().error_message();
    StreamApp app(GetParam(), Shape::kPull, channel);
    app.SetDeadline(absl::Minutes(1));
    app.Run();
    const CallRecord record = app.record();
    if (consent) {
      EXPECT_TRUE(app.Wait().ok()) << app.Wait().error_message();
      EXPECT_EQ(app.received(), Payloads({""}));
      EXPECT_EQ(server.sends(), 3);
      EXPECT_EQ(server.connections(), c.connections);
      EXPECT_EQ(record.total_attempts, 2);
      EXPECT_EQ(record.stop_reason, StopReason::kSuccess);
    } else {
      EXPECT_EQ(app.Wait().error_code(), StatusCode::UNAVAILABLE);
      EXPECT_EQ(app.received(), Payloads());
      EXPECT_EQ(server.sends(), 2);
      EXPECT_EQ(record.total_attempts, 1);
      EXPECT_EQ(record.stop_reason, StopReason::kNotIdempotent);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(
    Apis, StreamGoAwayTest,
    ::testing::Values(StreamApi::kSync, StreamApi::kReactor, StreamApi::kQueue,
                      StreamApi::kGenericReactor, StreamApi::kGenericQueue),
    [](const auto& info) { return NameOf(info.param); });

TEST_P(StreamGoAwayTest, WithConsentItIsSentAgain) {
  for (const Case& c : kNotProcessed) Check(c, /*consent=*/true);
  for (const Case& c : kPerhapsProcessed) Check(c, /*consent=*/true);
}

TEST_P(StreamGoAwayTest, WithoutConsentItIsSentOnce) {
  for (const Case& c : kNotProcessed) Check(c, /*consent=*/false);
  for (const Case& c : kPerhapsProcessed) Check(c, /*consent=*/false);
}

// A stream that its transport has not opened when it goes, again and again: gRPC's own
// retries make it anew, unseen. Ours do with consent, and it counts.
class StreamNotSentTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {};

INSTANTIATE_TEST_SUITE_P(All, StreamNotSentTest, AllStreams(), kNameOfStream);

TEST_P(StreamNotSentTest, Table) {
  const auto [shape, api] = GetParam();
  struct Row {
    const char* name;
    int times;  // by how many connections it is turned away
    bool stock;
    bool consent;
    bool sent;
    std::optional<std::string> previous;
  };
  for (const Row& row :
       {Row{"stock", 4, true, false, true, std::nullopt},
        Row{"no consent", 1, false, false, false, std::nullopt},
        Row{"consent", 2, false, true, true, "2"},
        Row{"consent, too few", 3, false, true, false, std::nullopt}}) {
    SCOPED_TRACE(row.name);
    // In the other APIs gRPC 1.51 looks at a failed attempt when the application next
    // receives, and these wait for what they send before they do.
    if (row.stock && api != StreamApi::kReactor &&
        api != StreamApi::kGenericReactor) {
      continue;
    }
    RawHttp2Server server({Act::kAnswer}, row.times);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 300);
    StreamApp app(
        api, shape,
        row.stock
            ? grpc::CreateCustomChannel(server.address(),
                                        grpc::InsecureChannelCredentials(),
                                        arguments)
            : Channel(server.address(),
                      row.consent
                          ? std::vector<StatusCode>{StatusCode::UNAVAILABLE}
                          : std::vector<StatusCode>()));
    app.SetDeadline(absl::Minutes(1));
    const int before = StreamsGiven::Count();
    app.Start();
    for (int i = 1; i <= row.times; ++i) {
      ASSERT_TRUE(StreamsGiven::Await(before + i)) << i;
      server.TurnAway();
    }
    EXPECT_EQ(app.Wait().error_code(),
              row.sent ? StatusCode::OK : StatusCode::UNAVAILABLE)
        << app.Wait().error_message();
    EXPECT_EQ(server.sends(), row.sent ? 1 : 0);
    EXPECT_EQ(server.First("grpc-previous-rpc-attempts"), row.previous);
    if (!row.stock) {
      EXPECT_EQ(app.record().total_attempts, row.times + (row.sent ? 1 : 0));
    }
  }
}

// A proxy's page is no answer and commits nothing, but for one that says 200: that is a
// head. The status is that of a stock channel, by gRPC's table
// (doc/http-grpc-status-mapping.md of grpc/grpc).
class StreamProxyAnswerTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {};

INSTANTIATE_TEST_SUITE_P(All, StreamProxyAnswerTest, AllStreams(),
                         kNameOfStream);

TEST_P(StreamProxyAnswerTest, Table) {
  const auto [shape, api] = GetParam();
  struct Row {
    Act act;
    StatusCode code;
    bool commits;
  };
  for (const Row& row :
       {Row{Act::kHttp200, StatusCode::UNKNOWN, true},
        Row{Act::kHttp400, StatusCode::INTERNAL, false},
        Row{Act::kHttp401, StatusCode::UNAUTHENTICATED, false},
        Row{Act::kHttp403, StatusCode::PERMISSION_DENIED, false},
        Row{Act::kHttp404, StatusCode::UNIMPLEMENTED, false},
        Row{Act::kHttp408, StatusCode::UNKNOWN, false},
        Row{Act::kHttp429, StatusCode::UNAVAILABLE, false},
        Row{Act::kHttp500, StatusCode::UNKNOWN, false},
        Row{Act::kHttp502, StatusCode::UNAVAILABLE, false},
        Row{Act::kHttp503, StatusCode::UNAVAILABLE, false},
        Row{Act::kHttp503Empty, StatusCode::UNAVAILABLE, false},
        Row{Act::kHttp504, StatusCode::UNAVAILABLE, false},
        Row{Act::kHttp500Unavailable, StatusCode::UNAVAILABLE, false}}) {
    SCOPED_TRACE(static_cast<int>(row.act));
    grpc::Status stock;
    {
      RawHttp2Server server({row.act, Act::kAnswer});
      grpc::ChannelArguments arguments;
      // As in ProxyAnswerTest.
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
      StreamApp app(
          api, shape,
          grpc::CreateCustomChannel(
              server.address(), grpc::InsecureChannelCredentials(), arguments));
      app.SetDeadline(absl::Minutes(1));
      stock = app.Run();
      EXPECT_EQ(stock.error_code(), row.code) << stock.error_message();
    }
    for (const bool consent : {false, true}) {
      RawHttp2Server server({row.act, Act::kAnswer});
      StreamApp app(
          api, shape,
          Channel(server.address(), consent ? std::vector<StatusCode>{row.code}
                                            : std::vector<StatusCode>()));
      app.SetDeadline(absl::Minutes(1));
      app.Run();
      if (consent && !row.commits) {
        EXPECT_TRUE(app.Wait().ok()) << app.Wait().error_message();
        EXPECT_EQ(server.sends(), 2);
      } else {
        EXPECT_EQ(app.Wait().error_code(), row.code);
        EXPECT_EQ(app.Wait().error_message(), stock.error_message());
        EXPECT_EQ(server.sends(), 1);
      }
    }
  }
}

class StreamCompressionTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {};

INSTANTIATE_TEST_SUITE_P(All, StreamCompressionTest, AllStreams(),
                         kNameOfStream);

TEST_P(StreamCompressionTest, OnEachAttempt) {
  const auto [shape, api] = GetParam();
  const std::string payload(30000, 'a');
  for (const bool compressed : {true, false}) {
    RawHttp2Server server({Act::kUnavailable, Act::kAnswer});
    StreamApp app(api, shape,
                  Channel(server.address(), {StatusCode::UNAVAILABLE}));
    if (compressed) {
      app.context().set_compression_algorithm(GRPC_COMPRESS_GZIP);
    }
    app.SetPayloads({payload});
    app.SetDeadline(absl::Minutes(1));
    EXPECT_TRUE(app.Run().ok()) << app.Wait().error_message();
    EXPECT_EQ(server.sends(), 2);
    if (compressed) {
      EXPECT_GT(server.message_bytes(), 2 * 5);  // what stands before a message
      EXPECT_LT(server.message_bytes(), 3000);
    } else {
      EXPECT_GT(server.message_bytes(), 2 * 30000);
    }
  }
}

}  // namespace
}  // namespace forbear::rpc
