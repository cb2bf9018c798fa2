// A kept message is the same as often as it is wanted, of one slice, of many and of
// none.

#include "interceptors/kept_bytes.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

namespace forbear::rpc {
namespace {

grpc::ByteBuffer Buffer(const std::vector<std::string>& parts) {
  std::vector<grpc::Slice> slices(parts.begin(), parts.end());
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::string Text(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

TEST(KeptBytesTest, TheSameAgainAndAgain) {
  const std::string large(100000, 'x');
  for (const std::vector<std::string>& parts :
       std::vector<std::vector<std::string>>{
           {""}, {"short"}, {large}, {"two", "parts"}, {large, "", large}}) {
    std::string whole;
    for (const std::string& part : parts) whole += part;
    KeptBytes kept;
    EXPECT_FALSE(kept.Valid());
    {
      const grpc::ByteBuffer bytes = Buffer(parts);
      kept.Keep(bytes);
    }
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(kept.Valid());
      EXPECT_EQ(kept.Length(), whole.size());
      EXPECT_EQ(Text(kept.Get()), whole);
    }
    kept.Clear();
    EXPECT_FALSE(kept.Valid());
    kept.Keep(Buffer({"another"}));
    EXPECT_EQ(Text(kept.Get()), "another");
  }
}

TEST(KeptBytesTest, WhatIsNoMessageIsNone) {
  KeptBytes kept;
  kept.Keep(grpc::ByteBuffer());
  EXPECT_FALSE(kept.Valid());
}

// It holds the bytes themselves, and lets them go.
TEST(KeptBytesTest, HoldsAReference) {
  static int freed = 0;
  static char bytes[1000];
  freed = 0;
  KeptBytes kept;
  {
    const grpc::Slice slice(bytes, sizeof(bytes), [](void*) { ++freed; });
    kept.Keep(grpc::ByteBuffer(&slice, 1));
  }
  EXPECT_EQ(freed, 0);
  kept.Clear();
  EXPECT_EQ(freed, 1);
}

}  // namespace
}  // namespace forbear::rpc
