// Nothing secret leaves through Forbear: whatever metadata, messages and the
// server's words hold, no record and no line of the log repeats it.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "interceptors/interceptor.h"
#include "proto/record_convert.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
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

constexpr char kCanary[] = "canary-7f3a";

std::string CanaryMessage() {
  testing::EchoMessage message;
  message.set_payload(kCanary);
  return message.SerializeAsString();
}

class CanaryTest : public ::testing::TestWithParam<Api> {};

INSTANTIATE_TEST_SUITE_P(Apis, CanaryTest, AllApis(), ApiName);

TEST_P(CanaryTest, NoSecretInRecordsAndLogs) {
  const auto refusal = [](StatusCode code) {
    return GrpcReply::Error(code, std::string(kCanary) + " in the message")
        .WithDetails(std::string(kCanary) + " in the details")
        .WithTrailing("x-secret", kCanary);
  };
  std::mutex mutex;
  std::vector<std::string> lines;
  ClientOptions client_options;
  client_options.log = [&](absl::string_view line) {
    const std::lock_guard<std::mutex> lock(mutex);
    lines.emplace_back(line);
  };
  const std::vector<std::vector<GrpcReply>> scripts = {
      // Success after a retry; retries used up; permanent; a wait that does not
      // fit; a garbled and a negative pushback.
      {refusal(StatusCode::UNAVAILABLE), GrpcReply::Ok(CanaryMessage())},
      {refusal(StatusCode::UNAVAILABLE)},
      {refusal(StatusCode::INVALID_ARGUMENT)},
      {refusal(StatusCode::RESOURCE_EXHAUSTED).Pushback("60000")},
      {refusal(StatusCode::UNAVAILABLE).Pushback(kCanary)},
      {refusal(StatusCode::UNAVAILABLE).Pushback("-1")},
      {GrpcReply::Hang()},
  };
  for (const std::vector<GrpcReply>& script : scripts) {
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
    server->SetHandler([&](const testing::GrpcRequest& request) {
      EXPECT_EQ(request.metadata.at("authorization"),
                std::string("Bearer ") + kCanary);
      return script[std::min<size_t>(request.index, script.size() - 1)];
    });
    RpcOptions options;
    options.methods = {{kSay, {StatusCode::UNAVAILABLE}}};
    EchoCall call(
        GetParam(),
        CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                      *Client::Create(client_options), options),
        kCanary);
    call.context().AddMetadata("authorization",
                               std::string("Bearer ") + kCanary);
    call.context().AddMetadata("x-api-key", kCanary);
    call.context().AddMetadata("x-raw-bin", kCanary);
    call.SetDeadline(script[0].hang ? absl::Milliseconds(200)
                                    : absl::Seconds(20));
    call.Run();
    EXPECT_GE(server->log().Count(), 1);
    const CallRecord record = call.record();
    EXPECT_THAT(FormatCallRecord(record), Not(HasSubstr(kCanary)));
    EXPECT_THAT(RecordToJson(record), Not(HasSubstr(kCanary)));
    // And what is looked for can be found: this is a record of the call.
    EXPECT_THAT(FormatCallRecord(record), HasSubstr(kSay));
    EXPECT_THAT(RecordToJson(record), HasSubstr("forbear.testing.Echo"));
  }
  const std::lock_guard<std::mutex> lock(mutex);
  EXPECT_GE(lines.size(), scripts.size() * 2);
  for (const std::string& line : lines) {
    EXPECT_THAT(line, Not(HasSubstr(kCanary)));
  }
}

}  // namespace
}  // namespace forbear::rpc
