#include "curl_wrap/easy_options.h"

#include <initializer_list>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/testing/http_server.h"

namespace forbear::curl {
namespace {

using Body = EasyOptions::Body;

void Set(EasyOptions* settings, CURLoption option, int64_t number) {
  settings->Note(option, OptionValue::Of(number));
}
void SetText(EasyOptions* settings, CURLoption option, const char* text) {
  settings->Note(option, OptionValue::Of(static_cast<const void*>(text)));
}

size_t NoBytes(char*, size_t, size_t, void*) { return 0; }
size_t Ignore(char*, size_t size, size_t n, void*) { return size * n; }

// All sequences of three of the options that decide the method.
TEST(EasyOptionsTest, TheMethodIsLibcurls) {
  struct Step {
    CURLoption option;
    long number;
    const char* text;
  };
  const Step steps[] = {
      {CURLOPT_HTTPGET, 1, nullptr},       {CURLOPT_POST, 1, nullptr},
      {CURLOPT_POST, 0, nullptr},          {CURLOPT_NOBODY, 1, nullptr},
      {CURLOPT_NOBODY, 0, nullptr},        {CURLOPT_UPLOAD, 1, nullptr},
      {CURLOPT_UPLOAD, 0, nullptr},        {CURLOPT_POSTFIELDS, 0, "x"},
      {CURLOPT_COPYPOSTFIELDS, 0, "x"},    {CURLOPT_POSTFIELDS, 0, nullptr},
      {CURLOPT_CUSTOMREQUEST, 0, "PATCH"}, {CURLOPT_CUSTOMREQUEST, 0, nullptr},
  };
  auto server = testing::HttpServer::Create();
  ASSERT_TRUE(server.ok());
  for (const Step& a : steps) {
    for (const Step& b : steps) {
      for (const Step& c : steps) {
        CURL* easy = curl_easy_init();
        EasyOptions settings(/*fresh=*/true);
        for (const Step* step : {&a, &b, &c}) {
          const bool is_text = step->option >= CURLOPTTYPE_OBJECTPOINT;
          const OptionValue value =
              is_text ? OptionValue::Of(static_cast<const void*>(step->text))
                      : OptionValue::Of(int64_t{step->number});
          ASSERT_EQ(Forward(easy, step->option, value), CURLE_OK);
          settings.Note(step->option, value);
        }
        curl_easy_setopt(easy, CURLOPT_URL, (*server)->Url().c_str());
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, &NoBytes);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Ignore);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT, 20L);
        ASSERT_EQ(curl_easy_perform(easy), CURLE_OK);
        EXPECT_EQ(settings.Method(), (*server)->log().Snapshot().back().method)
            << a.option << "=" << a.number << " " << b.option << "=" << b.number
            << " " << c.option << "=" << c.number;
        curl_easy_cleanup(easy);
      }
    }
  }
}

TEST(EasyOptionsTest, Idempotency) {
  EasyOptions settings(true);
  EXPECT_TRUE(settings.MethodIsIdempotent());
  Set(&settings, CURLOPT_POST, 1);
  EXPECT_FALSE(settings.MethodIsIdempotent());
  for (const char* method :
       {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    SetText(&settings, CURLOPT_CUSTOMREQUEST, method);
    EXPECT_TRUE(settings.MethodIsIdempotent());
    EXPECT_EQ(settings.Method(), method);
  }
  for (const char* method : {"POST", "PATCH", "get", "PROPFIND", "CONNECT"}) {
    SetText(&settings, CURLOPT_CUSTOMREQUEST, method);
    EXPECT_FALSE(settings.MethodIsIdempotent());
  }
  // No way for a secret into a record.
  SetText(&settings, CURLOPT_CUSTOMREQUEST, "GET /secret?k=v HTTP/1.1");
  EXPECT_EQ(settings.Method(), "CUSTOM");
  EXPECT_FALSE(settings.MethodIsIdempotent());
}

TEST(EasyOptionsTest, IdempotencyKey) {
  for (const auto& [line, has] :
       std::initializer_list<std::pair<const char*, bool>>{
           {"Idempotency-Key: 1", true},
           {"IDEMPOTENCY-KEY:1", true},
           {"Idempotency-Key:", false},
           {"Idempotency-Key: \t", false},
           {"Idempotency-Key;", false},
           {"X-Idempotency-Key: 1", false}}) {
    curl_slist* list = curl_slist_append(nullptr, line);
    EasyOptions settings(true);
    EXPECT_FALSE(settings.HasHeader("idempotency-key"));
    settings.Note(CURLOPT_HTTPHEADER,
                  OptionValue::Of(static_cast<const void*>(list)));
    EXPECT_EQ(settings.HasHeader("idempotency-key"), has) << line;
    curl_slist_free_all(list);
  }
}

TEST(EasyOptionsTest, BodiesOfAFreshHandle) {
  EasyOptions settings(true);
  EXPECT_EQ(settings.body(), Body::kNone);
  Set(&settings, CURLOPT_POST, 1);
  EXPECT_EQ(settings.body(), Body::kStream);
  SetText(&settings, CURLOPT_POSTFIELDS, "x");
  EXPECT_EQ(settings.body(), Body::kMemory);
  SetText(&settings, CURLOPT_POSTFIELDS, nullptr);
  EXPECT_EQ(settings.body(), Body::kStream);
  Set(&settings, CURLOPT_UPLOAD, 1);
  EXPECT_EQ(settings.body(), Body::kStream);
  Set(&settings, CURLOPT_NOBODY, 1);
  EXPECT_EQ(settings.body(), Body::kNone);
}

TEST(EasyOptionsTest, BodiesOfABorrowedHandle) {
  EasyOptions settings(false);
  EXPECT_EQ(settings.body(), Body::kUnknown);
  EXPECT_EQ(settings.Method(), "unknown");
  EXPECT_FALSE(settings.MethodIsIdempotent());
  Set(&settings, CURLOPT_UPLOAD, 1);
  EXPECT_EQ(settings.body(), Body::kUnknown);  // from where?
  settings.Note(CURLOPT_READDATA, OptionValue());
  EXPECT_EQ(settings.body(), Body::kStream);
  Set(&settings, CURLOPT_HTTPGET, 1);
  EXPECT_EQ(settings.body(), Body::kNone);
  EXPECT_TRUE(settings.MethodIsIdempotent());
}

TEST(EasyOptionsTest, CredentialsAreHashed) {
  EasyOptions settings(true);
  EXPECT_EQ(settings.credential(), 0u);
  SetText(&settings, CURLOPT_USERPWD, "a:b");
  const uint64_t first = settings.credential();
  EXPECT_NE(first, 0u);
  SetText(&settings, CURLOPT_USERPWD, "a:c");
  EXPECT_NE(settings.credential(), first);
  SetText(&settings, CURLOPT_USERPWD, nullptr);
  EXPECT_EQ(settings.credential(), 0u);
}

TEST(EasyOptionsTest, WhenLibcurlMayAskFirst) {
  EasyOptions settings(/*fresh=*/true);
  EXPECT_FALSE(settings.negotiates());
  const auto by = [&](CURLoption option, int64_t methods) {
    settings.Note(option, OptionValue::Of(methods));
    return settings.negotiates();
  };
  EXPECT_FALSE(by(CURLOPT_HTTPAUTH, CURLAUTH_BASIC));
  EXPECT_FALSE(by(CURLOPT_HTTPAUTH, CURLAUTH_BEARER));
  EXPECT_TRUE(by(CURLOPT_HTTPAUTH, CURLAUTH_DIGEST));
  EXPECT_TRUE(by(CURLOPT_HTTPAUTH, static_cast<int64_t>(CURLAUTH_ANY)));
  EXPECT_FALSE(by(CURLOPT_HTTPAUTH, CURLAUTH_NONE));
  EXPECT_TRUE(by(CURLOPT_PROXYAUTH, CURLAUTH_NTLM));
  EXPECT_FALSE(by(CURLOPT_PROXYAUTH, CURLAUTH_BASIC));
}

}  // namespace
}  // namespace forbear::curl
