#include "curl_wrap/target.h"

#include <string>

#include "absl/strings/match.h"
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
