#include "proto/status_name.h"

#include <curl/curl.h>
#include <grpcpp/grpcpp.h>

#include <string>

#include "gtest/gtest.h"

namespace forbear {
namespace {

// Against the headers themselves.
#define CODE(number, name) \
  static_assert(CURLE_##name == (number), "the CURLcode of " #name);
#include "proto/curl_code.inc"
#undef CODE

TEST(StatusNameTest, EveryCurlCodeHasAName) {
  const std::string unknown =
      curl_easy_strerror(static_cast<CURLcode>(CURL_LAST));
  for (int code = 0; code < CURL_LAST; ++code) {
    // libcurl says the same of codes that it no longer uses.
    if (curl_easy_strerror(static_cast<CURLcode>(code)) == unknown) continue;
    EXPECT_NE(CurlCodeName(code), "") << code;
  }
  EXPECT_EQ(CurlCodeName(0), "CURLE_OK");
  EXPECT_EQ(CurlCodeName(7), "CURLE_COULDNT_CONNECT");
  EXPECT_EQ(CurlCodeName(28), "CURLE_OPERATION_TIMEDOUT");
  EXPECT_EQ(CurlCodeName(-1), "");
  EXPECT_EQ(CurlCodeName(20), "");
  EXPECT_EQ(CurlCodeName(10000), "");
}

TEST(StatusNameTest, EveryGrpcCodeHasItsName) {
#define CHECK_CODE(name) EXPECT_EQ(GrpcCodeName(grpc::StatusCode::name), #name)
  CHECK_CODE(OK);
  CHECK_CODE(CANCELLED);
  CHECK_CODE(UNKNOWN);
  CHECK_CODE(INVALID_ARGUMENT);
  CHECK_CODE(DEADLINE_EXCEEDED);
  CHECK_CODE(NOT_FOUND);
  CHECK_CODE(ALREADY_EXISTS);
  CHECK_CODE(PERMISSION_DENIED);
  CHECK_CODE(RESOURCE_EXHAUSTED);
  CHECK_CODE(FAILED_PRECONDITION);
  CHECK_CODE(ABORTED);
  CHECK_CODE(OUT_OF_RANGE);
  CHECK_CODE(UNIMPLEMENTED);
  CHECK_CODE(INTERNAL);
  CHECK_CODE(UNAVAILABLE);
  CHECK_CODE(DATA_LOSS);
  CHECK_CODE(UNAUTHENTICATED);
#undef CHECK_CODE
  EXPECT_EQ(GrpcCodeName(-1), "");
  EXPECT_EQ(GrpcCodeName(17), "");
}

}  // namespace
}  // namespace forbear
