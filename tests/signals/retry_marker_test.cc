// Retry markers: each field, as its writer writes it, and what is none.

#include "signals/retry_marker.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

// Origins: openai-python _base_client.py (x-stainless-retry-count), gRPC A6
// (grpc-previous-rpc-attempts: absent on the first, 1 on the second),
// go-grpc-middleware retry.go (its spelling), Envoy's router (1 is the first),
// AWS retry 2.1 (amz-sdk-request: attempt=1; max=3).
TEST(RetryMarkerTest, AsTheirWritersWriteThem) {
  struct Row {
    const char* name;
    const char* value;
    bool repeat;
  };
  for (const Row& r : {
           Row{"x-stainless-retry-count", "0", false},
           Row{"x-stainless-retry-count", "1", true},
           Row{"X-Stainless-Retry-Count", "10", true},
           Row{"x-stainless-retry-count", " 2 ", true},
           Row{"grpc-previous-rpc-attempts", "0", false},
           Row{"grpc-previous-rpc-attempts", "1", true},
           Row{"x-retry-attempty", "1", true},
           Row{"x-envoy-attempt-count", "1", false},
           Row{"x-envoy-attempt-count", "2", true},
           Row{"x-envoy-attempt-count", "11", true},
           Row{"amz-sdk-request", "attempt=1; max=3", false},
           Row{"amz-sdk-request", "attempt=1", false},
           Row{"amz-sdk-request", "attempt=2; max=3", true},
           Row{"amz-sdk-request", "ttl=20; attempt=3; max=3", true},
           Row{"amz-sdk-request", "attempt=10;max=10", true},
       }) {
    EXPECT_EQ(IsRetryMarker(r.name, r.value), r.repeat)
        << r.name << ": " << r.value;
    EXPECT_TRUE(MayBeRetryMarker(r.name)) << r.name;
    EXPECT_TRUE(MayBeRetryMarker(absl::AsciiStrToUpper(r.name).c_str()))
        << r.name;
  }
}

TEST(RetryMarkerTest, ALineMayEndAnywhere) {
  for (const char* line :
       {"", "x", "x-", "x-r", "x-re", "a", "g", "Accept: x-r", "\xff"}) {
    EXPECT_FALSE(MayBeRetryMarker(line)) << line;
  }
}

TEST(RetryMarkerTest, WhatCannotBeReadMarksNothing) {
  for (const char* name :
       {"x-stainless-retry-count", "grpc-previous-rpc-attempts",
        "x-retry-attempty", "x-envoy-attempt-count", "amz-sdk-request"}) {
    const std::string prefix =
        name == std::string("amz-sdk-request") ? "attempt=" : "";
    for (const char* value :
         {"", " ", "-2", "+2", "2x", "0x2", "2.5", "two", "\xff", "２"}) {
      EXPECT_FALSE(IsRetryMarker(name, absl::StrCat(prefix, value)))
          << name << ": " << value;
    }
    // Any length is read; leading zeros are no news.
    EXPECT_TRUE(IsRetryMarker(name, prefix + std::string(10000, '9')));
    EXPECT_TRUE(
        IsRetryMarker(name, absl::StrCat(prefix, std::string(500, '0'), "2")));
    EXPECT_FALSE(IsRetryMarker(name, prefix + std::string(500, '0')));
  }
  EXPECT_FALSE(IsRetryMarker("", ""));
  EXPECT_FALSE(IsRetryMarker("retry-count", "5"));
  EXPECT_FALSE(IsRetryMarker("x-stainless-retry-count-x", "5"));
  EXPECT_FALSE(IsRetryMarker("amz-sdk-request", "5"));
}

}  // namespace
}  // namespace forbear
