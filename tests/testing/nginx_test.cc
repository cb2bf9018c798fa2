#include "tests/testing/nginx.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace forbear::testing {
namespace {

constexpr absl::Duration kLong = absl::Seconds(10);

size_t Append(char* data, size_t size, size_t n, void* to) {
  static_cast<std::string*>(to)->append(data, size * n);
  return size * n;
}

// A plain request on the handle, POST if there is a body; its status.
long Ask(CURL* easy, const std::string& url, const std::string& body = "",
         std::string* answer = nullptr) {
  std::string ignored;
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 10000L);
  if (body.empty()) {
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
  } else {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE,
                     static_cast<long>(body.size()));
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body.data());
  }
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Append);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &ignored);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Append);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &ignored);
  long status = 0;
  if (curl_easy_perform(easy) == CURLE_OK) {
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  }
  if (answer != nullptr) *answer = ignored;
  return status;
}

Nginx::Options LimitedAndRefused() {
  Nginx::Options options;
  options.http = "limit_req_zone $binary_remote_addr zone=z:1m rate=6r/m;";
  options.server = R"(
    location /limited {
      limit_req zone=z burst=2 nodelay;
      limit_req_status 429;
      proxy_pass http://ok;
    }
    location /refused {
      add_header Retry-After 1 always;
      return 429 "slow down";
    })";
  return options;
}

TEST(NginxTest, LimitsAndCounts) {
  absl::StatusOr<std::unique_ptr<Nginx>> nginx =
      Nginx::Start(LimitedAndRefused());
  ASSERT_TRUE(nginx.ok()) << nginx.status();
  EXPECT_EQ((*nginx)->Count(), 0);
  CURL* easy = curl_easy_init();
  std::string answer;
  EXPECT_EQ(Ask(easy, (*nginx)->Url("/limited"), "0123456789", &answer), 200);
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\nok"));
  EXPECT_EQ(Ask(easy, (*nginx)->Url("/limited?a=b")), 200);
  EXPECT_EQ(Ask(easy, (*nginx)->Url("/limited"), std::string(500000, 'x')),
            200);
  EXPECT_EQ(Ask(easy, (*nginx)->Url("/limited"), "x"), 429);
  EXPECT_EQ(Ask(easy, (*nginx)->Url("/refused"), "x", &answer), 429);
  EXPECT_TRUE(absl::StrContains(answer, "Retry-After: 1\r\n"));
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\nslow down"));
  curl_easy_cleanup(easy);

  ASSERT_TRUE((*nginx)->WaitForCount(5, kLong));
  EXPECT_EQ((*nginx)->Count(), 5);
  const std::vector<Arrival> arrivals = (*nginx)->Arrivals();
  ASSERT_EQ(arrivals.size(), 5u);
  EXPECT_EQ(arrivals[0].method, "POST");
  EXPECT_EQ(arrivals[0].path, "/limited");
  EXPECT_EQ(arrivals[0].status, 200);
  EXPECT_EQ(arrivals[0].body_bytes, 10u);
  EXPECT_EQ(arrivals[1].method, "GET");
  EXPECT_EQ(arrivals[1].path, "/limited?a=b");
  EXPECT_EQ(arrivals[1].body_bytes, 0u);
  EXPECT_EQ(arrivals[2].body_bytes, 500000u);
  EXPECT_EQ(arrivals[3].status, 429);
  EXPECT_EQ(arrivals[4].path, "/refused");
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(arrivals[i].index, i);
    EXPECT_EQ(arrivals[i].connection_id, arrivals[0].connection_id);
    EXPECT_EQ(arrivals[i].index_on_connection, i);
    EXPECT_LT(arrivals[i].since_start, absl::Seconds(60));
    if (i > 0) {
      EXPECT_GE(arrivals[i].since_start, arrivals[i - 1].since_start);
    }
  }
}

TEST(NginxTest, EndsItsProcessAndCleansUp) {
  pid_t pid = 0;
  int port = 0;
  {
    absl::StatusOr<std::unique_ptr<Nginx>> nginx =
        Nginx::Start(LimitedAndRefused());
    ASSERT_TRUE(nginx.ok()) << nginx.status();
    pid = (*nginx)->pid();
    port = (*nginx)->port();
    EXPECT_EQ(kill(pid, 0), 0);
  }
  EXPECT_NE(kill(pid, 0), 0);
  if (const char* directory = getenv("TEST_TMPDIR")) {
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      EXPECT_FALSE(absl::StartsWith(entry.path().filename().string(), "nginx"))
          << entry.path();
    }
  }
  // The port is free again.
  Nginx::Options options = LimitedAndRefused();
  options.port = port;
  absl::StatusOr<std::unique_ptr<Nginx>> again = Nginx::Start(options);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->port(), port);
}

TEST(NginxTest, SaysWhatIsWrong) {
  Nginx::Options options;
  options.server = "no_such_directive on;";
  absl::Status status = Nginx::Start(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), "no_such_directive"))
      << status;

  options.program = "/no/such/nginx";
  status = Nginx::Start(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(status.message(), "nginx-light")) << status;
}

}  // namespace
}  // namespace forbear::testing
