// The lines of README.md's "Adopt it", compiled and run. readme_test.py checks
// that they are the README's, to the letter.
#include <curl/curl.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "curl_wrap/handle.h"
#include "gtest/gtest.h"
#include "interceptors/interceptor.h"
#include "runtime/client.h"
#include "tests/testing/echo.grpc.pb.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"
#include "tests/testing/http_server.h"
#include "tests/testing/reply.h"

namespace {

TEST(AdoptionTest, AHandle) {
  auto server = forbear::testing::HttpServer::Create().value();
  server->Script(
      {forbear::testing::Reply::Of(503), forbear::testing::Reply::Of(200, "")});
  const std::string address = server->Url("/v1/items");
  const char* url = address.c_str();

  // README: libcurl
  forbear::curl::Handle curl =
      forbear::curl::Handle::Create();  // curl_easy_init()
  curl.SetOpt(CURLOPT_URL, url);        // curl_easy_setopt(curl, …)
  forbear::curl::CallResult result = curl.Perform();  // curl_easy_perform(curl)
  // README: end

  EXPECT_EQ(result.code, CURLE_OK);
  EXPECT_EQ(result.http_status, 200);
  EXPECT_EQ(server->log().Count(), 2);
}

TEST(AdoptionTest, AChannel) {
  auto server = forbear::testing::GrpcServer::Create().value();
  server->Script(
      {forbear::testing::GrpcReply::Error(grpc::StatusCode::RESOURCE_EXHAUSTED)
           .Pushback("10"),
       forbear::testing::GrpcReply::Ok("")});
  const std::string target = server->address();
  const auto credentials = grpc::InsecureChannelCredentials();

  // README: gRPC
  forbear::rpc::RpcOptions options;
  options.methods = {{"/shop.Catalog/*", {grpc::StatusCode::UNAVAILABLE}}};
  auto channel = forbear::rpc::CreateChannel(
      target, credentials, forbear::Client::Default(), options);
  // README: end

  auto stub = forbear::testing::Echo::NewStub(channel);
  grpc::ClientContext context;
  forbear::testing::EchoMessage request, response;
  EXPECT_TRUE(stub->Say(&context, request, &response).ok());
  EXPECT_EQ(server->log().Count(), 2);
  EXPECT_EQ(forbear::rpc::RecordOf(context)->total_attempts, 2);
}

}  // namespace
