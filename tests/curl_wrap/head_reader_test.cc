#include "curl_wrap/head_reader.h"

#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "signals/header_field.h"

namespace forbear::curl {
namespace {

HeadReader Read(std::initializer_list<const char*> lines) {
  HeadReader head;
  for (const char* line : lines) head.Add(line);
  return head;
}

// "name=value;…"
std::string Fields(std::initializer_list<const char*> lines) {
  HeaderFields fields;
  for (const char* line : lines) AddField(line, &fields);
  std::string text;
  for (const HeaderField& field : fields) {
    absl::StrAppend(&text, field.name, "=", field.value, ";");
  }
  return text;
}

TEST(HeadReaderTest, ReadsAHead) {
  HeadReader head = Read({"HTTP/1.1 429 Too Many Requests\r\n"});
  EXPECT_EQ(head.status(), 429);
  EXPECT_FALSE(head.complete());
  head.Add("rEtRy-AfTeR:  2 \r\n");
  EXPECT_FALSE(head.complete());
  head.Add("\r\n");
  EXPECT_TRUE(head.complete());
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
                                "\r\n", "HTTP/1.1 200 OK\r\n"});
  EXPECT_EQ(head.status(), 200);
  EXPECT_FALSE(head.complete());
}

TEST(HeadReaderTest, TrailersAreNotTheHead) {
  const HeadReader head =
      Read({"HTTP/1.1 503 Down\r\n", "\r\n", "X: 9\r\n", "\r\n"});
  EXPECT_TRUE(head.complete());
  EXPECT_EQ(head.status(), 503);
}

TEST(HeadReaderTest, FieldsOfTheLatestHead) {
  EXPECT_EQ(Fields({"HTTP/1.1 302 Found\r\n", "Retry-After: 9\r\n", "\r\n",
                    "HTTP/1.1 429 Slow\r\n", "rEtRy-AfTeR:  2 \r\n",
                    "Date:\tnow\n", "Date: a:b\r\n", "\r\n"}),
            "rEtRy-AfTeR=2;Date=now;Date=a:b;");
}

// A name with blanks is another name, and no line is the continuation of one.
TEST(HeadReaderTest, LinesThatAreNone) {
  EXPECT_EQ(Fields({"HTTP/1.1 503 Down\r\n", "no colon\r\n", ":\r\n",
                    " Retry-After: 5\r\n", "Retry-After : 5\r\n", "\r\n"}),
            "=; Retry-After=5;Retry-After =5;");
}

}  // namespace
}  // namespace forbear::curl
