#include "curl_wrap/target.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace forbear::curl {
namespace {

std::string HostPort(const char* url, const char* protocol = "",
                     long port = 0) {
  const std::optional<Target> target = TargetOf(url, protocol, port);
  return target ? target->scheme + "|" + target->host_port : "none";
}

TEST(TargetTest, HostAndPort) {
  EXPECT_EQ(HostPort("http://a.example/x?y#z"), "http|a.example:80");
  EXPECT_EQ(HostPort("HTTPS://A.Example"), "https|a.example:443");
  EXPECT_EQ(HostPort("https://a.example:444/"), "https|a.example:444");
  EXPECT_EQ(HostPort("http://[::1]:8080/"), "http|[::1]:8080");
  EXPECT_EQ(HostPort("http://user:pw@a.example/"), "http|a.example:80");
  EXPECT_EQ(HostPort("http://a.example/", "", 8080), "http|a.example:8080");
  EXPECT_EQ(HostPort("a.example/x"), "http|a.example:80");
  EXPECT_EQ(HostPort("ftp.example/x"), "ftp|ftp.example:21");
  EXPECT_EQ(HostPort("a.example", "https"), "https|a.example:443");
  EXPECT_EQ(HostPort(""), "none");
  EXPECT_EQ(HostPort("http://"), "none");
  EXPECT_FALSE(TargetOf("file:///etc/hosts", "", 0)->is_http());
}

// Most URLs are read without libcurl's parser: it says the same of all of them.
TEST(TargetTest, AsLibcurlReadsThem) {
  std::vector<std::string> pieces = absl::StrSplit(
      "http:// https:// HTTP:// ftp:// http:/ :// // / a z9 A a.example - _ . "
      ".. "
      "xn--bcher-kva.example a.example. /. /.. /./ /../ %2e %2E%2e/ %41 % v1 "
      "127.0.0.1 127.1 0x7f.1 0 00 1 255 256 1.2.3 1.2.3.4.5 01.2.3.4 [::1] [ "
      "] "
      ": :0 :1 :080 :80 :443 :65535 :65536 :99999999999 :8a @ u@ u:p@ ? ?q=1 # "
      "#f \t \r \n \x7f \xc3\xa9 \\ ; & = ~ ! * ' \" < { | ^ ` , + $ ( "
      "/v1/models",
      ' ');
  pieces.emplace_back(" ");
  const absl::string_view protocols[] = {"", "http", "https", "ftp"};
  std::mt19937 random(20261130);
  const auto pick = [&](size_t n) { return random() % n; };
  int plain = 0;
  for (int i = 0; i < 300000; ++i) {
    // Half of them begin as a URL does.
    std::string url = pick(2) == 0 ? pieces[pick(2)] : "";
    if (!url.empty() && pick(2) == 0) {
      absl::StrAppend(&url, pick(2) == 0 ? "a.example" : "10.0.0.1",
                      pick(2) == 0 ? ":8080" : "");
    }
    for (size_t n = pick(6); n > 0; --n) {
      absl::StrAppend(&url, pieces[pick(pieces.size())]);
    }
    const absl::string_view protocol = protocols[pick(4)];
    const long port = pick(4) == 0 ? static_cast<long>(pick(65536)) : 0;
    const std::optional<Target> is = TargetOf(url, protocol, port, true);
    const std::optional<Target> must =
        ParsedTargetOf(url, protocol, port, true);
    ASSERT_EQ(is.has_value(), must.has_value()) << url;
    if (!is) continue;
    ASSERT_EQ(is->scheme, must->scheme) << url;
    ASSERT_EQ(is->host_port, must->host_port) << url;
    ASSERT_EQ(is->credential, must->credential) << url;
    ASSERT_EQ(is->path, must->path) << url;
    const std::optional<Target> short_one = TargetOf(url, protocol, port);
    ASSERT_TRUE(short_one.has_value()) << url;
    ASSERT_EQ(short_one->host_port, must->host_port) << url;
    ASSERT_EQ(short_one->path, "") << url;
    ++plain;
  }
  EXPECT_GT(plain, 30000);
}

TEST(TargetTest, FromAParsedUrl) {
  CURLU* url = curl_url();
  curl_url_set(url, CURLUPART_URL, "https://u:p@a.example/x", 0);
  const std::optional<Target> target = TargetOf(url, 0);
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->host_port, "a.example:443");
  EXPECT_NE(target->credential, 0u);
  curl_url_cleanup(url);
  EXPECT_FALSE(TargetOf(static_cast<const CURLU*>(nullptr), 0).has_value());
}

TEST(TargetTest, CredentialsTellCallersApart) {
  const auto of = [](const char* line) {
    curl_slist* list = curl_slist_append(nullptr, "Accept: */*");
    list = curl_slist_append(list, line);
    const uint64_t hash = CredentialOf(list);
    curl_slist_free_all(list);
    return hash;
  };
  EXPECT_EQ(of("X-Other: 1"), 0u);
  for (const char* line : {"", "A", "Authorization", "authorization;", "x-ap",
                           "x-api-keys: a", "Accept: b", "o", "Origin: a"}) {
    EXPECT_EQ(of(line), 0u) << line;
  }
  for (const char* line :
       {"AUTHORIZATION: a", "ApiKey: a", "X-Goog-Api-Key: a", "X-AUTH-TOKEN: a",
        "Ocp-Apim-Subscription-Key: a", "x-api-key:"}) {
    EXPECT_NE(of(line), 0u) << line;
  }
  EXPECT_NE(of("Authorization: Bearer a"), 0u);
  EXPECT_EQ(of("Authorization: Bearer a"), of("Authorization: Bearer a"));
  EXPECT_NE(of("Authorization: Bearer a"), of("Authorization: Bearer b"));
  EXPECT_NE(of("x-api-key: a"), 0u);
  EXPECT_NE(of("api-key: a"), 0u);
  EXPECT_EQ(CredentialOf(nullptr), 0u);
  EXPECT_NE(TargetOf("http://a:b@x/", "", 0)->credential,
            TargetOf("http://a:c@x/", "", 0)->credential);
  EXPECT_EQ(TargetOf("http://x/", "", 0)->credential, 0u);
}

TEST(TargetTest, Keys) {
  EXPECT_EQ(QuotaKey("h:1", "", 0), "h:1");
  EXPECT_EQ(QuotaKey("h:1", "id", 7), "h:1#id");
  EXPECT_EQ(QuotaKey("h:1", "", 0xab), "h:1~00000000000000ab");
}

}  // namespace
}  // namespace forbear::curl
