// Nothing secret leaves through Forbear: whatever metadata, messages, credentials and
// the server's words hold, no record, no line of the log and no word of Forbear's own
// repeats it. Unary calls, hedged ones, and streams.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "proto/record_convert.h"
#include "runtime/client.h"
#include "tests/interceptors/all_streams.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/stream_app.h"
#include "tests/interceptors/stream_server.h"
#include "tests/testing/certificate.h"
#include "tests/testing/echo.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::GrpcReply;
using testing::GrpcServer;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kCanary[] = "canary-7f3a";

std::string Bearer() { return std::string("Bearer ") + kCanary; }

std::string CanaryMessage() {
  testing::EchoMessage message;
  message.set_payload(kCanary);
  return message.SerializeAsString();
}

GrpcReply Refusal(StatusCode code) {
  return GrpcReply::Error(code, std::string(kCanary) + " in the message")
      .WithDetails(std::string(kCanary) + " in the details")
      .WithTrailing("x-secret", kCanary);
}

// Secrets in all that a call carries, but for its message and `authorization`.
void AddSecrets(grpc::ClientContext* context) {
  context->AddMetadata("x-api-key", kCanary);
  context->AddMetadata("x-raw-bin", kCanary);
}

void ExpectClean(const CallRecord& record, const std::string& method) {
  EXPECT_THAT(FormatCallRecord(record), Not(HasSubstr(kCanary)));
  EXPECT_THAT(RecordToJson(record), Not(HasSubstr(kCanary)));
  // And what is looked for can be found: this is a record of the call.
  EXPECT_THAT(FormatCallRecord(record), HasSubstr(method));
  EXPECT_THAT(RecordToJson(record), HasSubstr("forbear.testing.Echo"));
}

// What a server said is the application's; what Forbear says is looked at.
template <typename Call>
void ExpectRefusedCleanly(Call* call) {
  EXPECT_EQ(call->Wait().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(call->Wait().error_message(), StartsWith("forbear: "));
  EXPECT_THAT(call->Wait().error_message(), Not(HasSubstr(kCanary)));
  EXPECT_THAT(call->Wait().error_details(), Not(HasSubstr(kCanary)));
  EXPECT_EQ(call->record().total_attempts, 0);
  const auto& trailers = call->context().GetServerTrailingMetadata();
  EXPECT_EQ(trailers.count("forbear-stop-reason"), 1u);
  for (const auto& [name, value] : trailers) {
    EXPECT_THAT(std::string(name.data(), name.size()), Not(HasSubstr(kCanary)));
    EXPECT_THAT(std::string(value.data(), value.size()),
                Not(HasSubstr(kCanary)));
  }
}

// A client's log.
class Lines {
 public:
  ClientOptions Options() {
    ClientOptions options;
    options.log = [this](absl::string_view line) {
      const std::lock_guard<std::mutex> lock(mutex_);
      lines_.emplace_back(line);
    };
    return options;
  }
  void ExpectClean(size_t at_least) {
    const std::lock_guard<std::mutex> lock(mutex_);
    EXPECT_GE(lines_.size(), at_least);
    for (const std::string& line : lines_) {
      EXPECT_THAT(line, Not(HasSubstr(kCanary)));
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

class CanaryTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, CanaryTest, AllApis(), ApiName);

TEST_P(CanaryTest, NoSecretInRecordsAndLogs) {
  Lines lines;
  const std::vector<std::vector<GrpcReply>> scripts = {
      // Success after a retry; retries used up; permanent; a wait that does not
      // fit; a garbled and a negative pushback.
      {Refusal(StatusCode::UNAVAILABLE), GrpcReply::Ok(CanaryMessage())},
      {Refusal(StatusCode::UNAVAILABLE)},
      {Refusal(StatusCode::INVALID_ARGUMENT)},
      {Refusal(StatusCode::RESOURCE_EXHAUSTED).Pushback("60000")},
      {Refusal(StatusCode::UNAVAILABLE).Pushback(kCanary)},
      {Refusal(StatusCode::UNAVAILABLE).Pushback("-1")},
      {GrpcReply::Hang()},
  };
  for (const std::vector<GrpcReply>& script : scripts) {
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    server->SetHandler([&](const testing::GrpcRequest& request) {
      EXPECT_EQ(request.metadata.at("authorization"), Bearer());
      return script[std::min<size_t>(request.index, script.size() - 1)];
    });
    RpcOptions options;
    options.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
    const auto channel =
        CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create(lines.Options()), options);
    EchoCall call(GetParam(), channel, kCanary);
    call.context().AddMetadata("authorization", Bearer());
    AddSecrets(&call.context());
    call.SetDeadline(script[0].hang ? absl::Milliseconds(200)
                                    : absl::Seconds(20));
    call.Run();
    EXPECT_GE(server->log().Count(), 1);
    ExpectClean(call.record(), kSay);
    if (script[0].code != StatusCode::RESOURCE_EXHAUSTED) continue;
    // Another one is refused by Forbear, with its own words.
    EchoCall refused(GetParam(), channel, kCanary);
    AddSecrets(&refused.context());
    refused.SetDeadline(absl::Seconds(20));
    refused.Start();
    ExpectRefusedCleanly(&refused);
    ExpectClean(refused.record(), kSay);
    EXPECT_EQ(server->log().Count(), 1);
  }
  lines.ExpectClean(scripts.size() * 2);
}

class HedgedCanaryTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, HedgedCanaryTest, ApisOfOneBatch(), ApiName);

// A hedge that wins, and two that fail.
TEST_P(HedgedCanaryTest, NoSecretInRecordsAndLogs) {
  Lines lines;
  for (const bool wins : {true, false}) {
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    server->SetHandler([wins](const testing::GrpcRequest& request) {
      EXPECT_EQ(request.metadata.at("authorization"), Bearer());
      if (!wins) {
        return Refusal(StatusCode::UNAVAILABLE).After(absl::Milliseconds(300));
      }
      return request.metadata.count("grpc-previous-rpc-attempts") == 0
                 ? GrpcReply::Hang()
                 : GrpcReply::Ok(CanaryMessage());
    });
    RpcOptions options;
    options.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
    options.methods[0].retry.emplace();
    options.methods[0].retry->max_attempts = 2;
    options.methods[0].retry->hedge.enabled = true;
    options.methods[0].retry->hedge.delay = absl::ZeroDuration();
    EchoCall call(
        GetParam(),
        CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create(lines.Options()), options),
        kCanary);
    call.context().AddMetadata("authorization", Bearer());
    AddSecrets(&call.context());
    call.SetDeadline(absl::Minutes(1));
    EXPECT_EQ(call.Run().ok(), wins) << call.status().error_message();
    EXPECT_EQ(server->log().Count(), 2);
    const CallRecord record = call.record();
    ASSERT_EQ(record.attempts.size(), 2u);
    EXPECT_TRUE(record.attempts[1].hedge);
    ExpectClean(record, kSay);
  }
  lines.ExpectClean(4);
}

class StreamCanaryTest
    : public ::testing::TestWithParam<std::tuple<Shape, StreamApi>> {};

INSTANTIATE_TEST_SUITE_P(All, StreamCanaryTest, AllStreams(), kNameOfStream);

// Over TLS, for the call credentials.
TEST_P(StreamCanaryTest, NoSecretInRecordsAndLogs) {
  const auto [shape, api] = GetParam();
  grpc::SslServerCredentialsOptions server_options;
  server_options.pem_key_cert_pairs.push_back(
      {testing::kCertificateKey, testing::kCertificate});
  StreamServer server(grpc::SslServerCredentials(server_options));
  grpc::SslCredentialsOptions client_options;
  client_options.pem_root_certs = testing::kCertificate;
  Lines lines;
  const auto fails = [](StatusCode code, int after = 0) {
    StreamPlay play = StreamPlay::Fails(code, after);
    play.message = std::string(kCanary) + " in the message";
    play.details = std::string(kCanary) + " in the details";
    return play;
  };
  const std::vector<std::vector<StreamPlay>> scripts = {
      // Success after a retry; cut in the middle; retries used up; permanent; a
      // wait that does not fit; a negative pushback.
      {fails(StatusCode::UNAVAILABLE), StreamPlay::Good()},
      {fails(StatusCode::UNAVAILABLE, 2).WithHead()},
      {fails(StatusCode::UNAVAILABLE)},
      {fails(StatusCode::INVALID_ARGUMENT)},
      {fails(StatusCode::RESOURCE_EXHAUSTED).Pushback("60000")},
      {fails(StatusCode::UNAVAILABLE).Pushback("-1")},
      {StreamPlay::Hangs()},
  };
  for (const std::vector<StreamPlay>& script : scripts) {
    server.Script(script);
    const int before = server.Count();
    RpcOptions options;
    options.methods = {{"*", {StatusCode::UNAVAILABLE}}};
    const auto channel =
        CreateChannel(server.address(), grpc::SslCredentials(client_options),
                      *Client::Create(lines.Options()), options);
    const auto make = [&, shape = shape, api = api] {
      auto app = std::make_unique<StreamApp>(api, shape, channel);
      app->SetPayloads({kCanary, kCanary, kCanary});
      app->context().set_credentials(grpc::AccessTokenCredentials(kCanary));
      AddSecrets(&app->context());
      app->SetDeadline(script[0].hang ? absl::Milliseconds(500)
                                      : absl::Seconds(20));
      return app;
    };
    const auto app = make();
    app->Run();
    const std::vector<SeenStream> seen = server.Seen();
    // A machine may be too busy to connect within the deadline of what hangs.
    EXPECT_TRUE(script[0].hang || seen.size() > static_cast<size_t>(before));
    for (size_t i = static_cast<size_t>(before); i < seen.size(); ++i) {
      EXPECT_EQ(seen[i].metadata.at("authorization"), Bearer());
    }
    ExpectClean(app->record(), MethodOf(shape));
    if (script[0].code != StatusCode::RESOURCE_EXHAUSTED) continue;
    const auto refused = make();
    refused->Start();
    ExpectRefusedCleanly(refused.get());
    ExpectClean(refused->record(), MethodOf(shape));
    EXPECT_EQ(server.Count(), before + 1);
  }
  lines.ExpectClean(scripts.size() * 2);
}

}  // namespace
}  // namespace forbear::rpc
