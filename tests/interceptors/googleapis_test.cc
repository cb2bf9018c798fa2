// A program that links googleapis' own google.rpc: protobuf ends a process in which two
// files say what google.rpc.Status is, so Forbear brings none. What the real classes
// write is read.

#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <memory>

#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/interceptors/echo_call.h"
#include "tests/interceptors/googleapis_rpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::rpc {
namespace {

using grpc::StatusCode;
using testing::GrpcReply;
using testing::GrpcServer;

TEST(GoogleapisTest, TheirMessagesAreTheOnlyOnes) {
  const google::protobuf::Descriptor* const found =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
          "google.rpc.RetryInfo");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->file()->name(), "tests/interceptors/googleapis_rpc.proto");
}

TEST(GoogleapisTest, AWaitThatTheyWriteIsHonoured) {
  google::rpc::QuotaFailure failure;
  failure.add_violations()->set_subject("clientip:127.0.0.1");
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_nanos(600'000'000);
  google::rpc::Status status;
  status.set_code(StatusCode::RESOURCE_EXHAUSTED);
  status.set_message("slow down");
  status.add_details()->PackFrom(failure);
  status.add_details()->PackFrom(info);

  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED, "slow down")
                      .WithDetails(status.SerializeAsString()),
                  GrpcReply::Ok("")});
  EchoCall call(
      Api::kCallback,
      CreateChannel(server->address(), grpc::InsecureChannelCredentials(),
                    *Client::Create({})));
  call.SetDeadline(absl::Minutes(1));
  EXPECT_TRUE(call.Run().ok()) << call.status().error_message();
  EXPECT_EQ(server->log().Count(), 2);
  const CallRecord record = call.record();
  ASSERT_EQ(record.attempts.size(), 2u);
  EXPECT_EQ(record.attempts[1].wait_source, DelaySource::kRetryInfo);
  EXPECT_GE(record.attempts[1].start - record.attempts[0].end,
            absl::Milliseconds(600));
}

// And what the application has of it, it reads with its own classes.
TEST(GoogleapisTest, TheApplicationReadsTheDetails) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(600);
  google::rpc::Status status;
  status.add_details()->PackFrom(info);
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Create();
  server->Script({GrpcReply::Error(StatusCode::RESOURCE_EXHAUSTED)
                      .WithDetails(status.SerializeAsString())});
  EchoCall call(Api::kSync, CreateChannel(server->address(),
                                          grpc::InsecureChannelCredentials(),
                                          *Client::Create({})));
  call.SetDeadline(absl::Minutes(1));
  EXPECT_EQ(call.Run().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(call.Trailing("forbear-stop-reason"), "wait_exceeds_deadline");
  EXPECT_EQ(server->log().Count(), 1);
  google::rpc::Status read;
  ASSERT_TRUE(read.ParseFromString(call.status().error_details()));
  google::rpc::RetryInfo wait;
  ASSERT_EQ(read.details_size(), 1);
  ASSERT_TRUE(read.details(0).UnpackTo(&wait));
  EXPECT_EQ(wait.retry_delay().seconds(), 600);
}

}  // namespace
}  // namespace forbear::rpc
