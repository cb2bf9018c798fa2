#include "curl_wrap/head_reader.h"

#include <initializer_list>

#include "gtest/gtest.h"

namespace forbear::curl {
namespace {

// 2026-10-21 07:28:00 UTC.
constexpr int64_t kNow = 1792567680;

HeadReader Read(std::initializer_list<const char*> lines) {
  HeadReader head;
  for (const char* line : lines) head.Add(line, kNow);
  return head;
}

TEST(HeadReaderTest, ReadsAHead) {
  HeadReader head = Read({"HTTP/1.1 429 Too Many Requests\r\n"});
  EXPECT_EQ(head.status(), 429);
  EXPECT_FALSE(head.complete());
  head.Add("rEtRy-AfTeR:  2 \r\n", kNow);
  EXPECT_FALSE(head.retry_after().has_value());
  head.Add("\r\n", kNow);
  EXPECT_TRUE(head.complete());
  EXPECT_EQ(head.retry_after(), absl::Seconds(2));
}

TEST(HeadReaderTest, StatusLines) {
  EXPECT_EQ(Read({"HTTP/2 503 \r\n"}).status(), 503);
  EXPECT_EQ(Read({"HTTP/1.0 200\r\n"}).status(), 200);
  EXPECT_EQ(Read({"HTTP/1.1  204 No\n"}).status(), 204);
  EXPECT_EQ(Read({"HTTP/1.1 2x4 No\r\n"}).status(), 0);
  EXPECT_EQ(Read({"HTTP/1.1\r\n"}).status(), 0);
  EXPECT_EQ(Read({""}).status(), 0);
}

TEST(HeadReaderTest, AStatusLineBeginsAnew) {
  const HeadReader head = Read({"HTTP/1.1 302 Found\r\n", "Retry-After: 9\r\n",
                                "\r\n", "HTTP/1.1 200 OK\r\n", "\r\n"});
  EXPECT_EQ(head.status(), 200);
  EXPECT_TRUE(head.complete());
  EXPECT_FALSE(head.retry_after().has_value());
}

TEST(HeadReaderTest, TrailersAreNotTheHead) {
  const HeadReader head = Read({"HTTP/1.1 503 Down\r\n", "Retry-After: 1\r\n",
                                "\r\n", "Retry-After: 9\r\n", "\r\n"});
  EXPECT_EQ(head.retry_after(), absl::Seconds(1));
}

TEST(HeadReaderTest, TheLongestWaitCounts) {
  EXPECT_EQ(Read({"HTTP/1.1 503 Down\r\n", "Retry-After: 1\r\n",
                  "Retry-After: x\r\n", "Retry-After: 7\r\n", "\r\n"})
                .retry_after(),
            absl::Seconds(7));
}

TEST(HeadReaderTest, TheDateMayComeAfter) {
  EXPECT_EQ(Read({"HTTP/1.1 503 Down\r\n",
                  "Retry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\n",
                  "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "\r\n"})
                .retry_after(),
            absl::Seconds(10));
  EXPECT_EQ(Read({"HTTP/1.1 503 Down\r\n",
                  "Retry-After: Wed, 21 Oct 2026 07:28:10 GMT\r\n", "\r\n"})
                .retry_after(),
            absl::Seconds(10));
}

TEST(HeadReaderTest, LinesThatAreNone) {
  const HeadReader head =
      Read({"HTTP/1.1 503 Down\r\n", "no colon\r\n", ":\r\n",
            " Retry-After: 5\r\n", "Retry-After : 5\r\n", "\r\n"});
  EXPECT_TRUE(head.complete());
  EXPECT_FALSE(head.retry_after().has_value());
}

}  // namespace
}  // namespace forbear::curl
