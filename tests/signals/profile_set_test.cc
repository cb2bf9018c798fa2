#include "signals/profile_set.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/vendor_profile.h"

namespace forbear {
namespace {

std::string File(absl::string_view id, absl::string_view hosts,
                 absl::string_view date = "2026-11-25") {
  return absl::StrCat(R"({"id":")", id, R"(","date":")", date,
                      R"(","sources":[{"tag":"D","what":"x"}],"hosts":[)",
                      hosts, "]}");
}

TEST(ProfileSetTest, ByHost) {
  const std::shared_ptr<const ProfileSet> set = ProfileSet::BuiltIn();
  EXPECT_EQ(set->ForHost("api.openai.com").id, "openai");
  EXPECT_EQ(set->ForHost("API.OpenAI.com:443").id, "openai");
  EXPECT_EQ(set->ForHost("api.openai.com.evil.example").id, "generic");
  EXPECT_EQ(set->ForHost("127.0.0.1:8080").id, "generic");
  EXPECT_EQ(set->ForHost("[::1]:8080").id, "generic");
  EXPECT_EQ(set->ForHost("::1").id, "generic");
  EXPECT_EQ(set->ForHost("").id, "generic");
  // The more exact pattern.
  EXPECT_EQ(set->ForHost("generativelanguage.googleapis.com").id, "gemini");
  EXPECT_EQ(set->ForHost("us-central1-aiplatform.googleapis.com").id, "gemini");
  EXPECT_EQ(set->ForHost("storage.googleapis.com").id, "google-apis");
  EXPECT_EQ(set->ForHost("bedrock-runtime.us-east-1.amazonaws.com").id,
            "bedrock");
  EXPECT_EQ(set->ForHost("dynamodb.us-east-1.amazonaws.com").id, "aws");
  EXPECT_EQ(&set->ForHost("nobody.example"), &set->generic());
}

TEST(ProfileSetTest, FilesOfOnesOwnComeFirst) {
  const absl::StatusOr<std::shared_ptr<const ProfileSet>> set =
      ProfileSet::Create(
          {{"a.json", File("shop", "\"api.openai.com\",\"*.shop.example\"")},
           {"b.json", File("github", "\"git.example\"", "2020-01-01")}});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ((*set)->ForHost("api.openai.com").id, "shop");
  EXPECT_EQ((*set)->ForHost("x.shop.example").id, "shop");
  EXPECT_EQ((*set)->ForHost("api.github.com").id, "generic");
  EXPECT_EQ((*set)->Find("github")->date, "2020-01-01");
  EXPECT_EQ((*set)->Find("openai")->id, "openai");  // by its name still
  EXPECT_EQ((*set)->entries().size(),
            ProfileSet::BuiltIn()->entries().size() + 1);
  size_t own = 0;
  for (const ProfileSet::Entry& entry : (*set)->entries()) {
    own += entry.built_in ? 0 : 1;
    EXPECT_TRUE(ParseVendorProfile(entry.text).ok());
  }
  EXPECT_EQ(own, 2u);
}

// ForHost looks names up: it finds what asking each pattern of each profile finds.
TEST(ProfileSetTest, TheMostExactOfAllPatterns) {
  const std::vector<std::string> names = {"a.x", "b.a.x", "c.b.a.x", "x",
                                          "y.x"};
  const std::vector<std::string> patterns = {
      "a.x", "b.a.x", "*.x", "*.a.x", "b.*.x", "*", "c.*", "*.b.a.x", "y.x"};
  int tried = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    uint64_t random = MixRandom(seed, 1);
    const auto pick = [&random](size_t n) {
      random = MixRandom(random, 2);
      return random % n;
    };
    std::vector<ProfileText> own;
    for (size_t i = 0; i < 5; ++i) {
      std::string hosts;
      for (size_t n = 1 + pick(3); n > 0; --n) {
        absl::StrAppend(&hosts, hosts.empty() ? "" : ",", "\"",
                        patterns[pick(patterns.size())], "\"");
      }
      own.push_back({absl::StrCat(i), File(absl::StrCat("p", i), hosts)});
    }
    const absl::StatusOr<std::shared_ptr<const ProfileSet>> set =
        ProfileSet::Create(own);
    if (!set.ok()) continue;  // one of them twice in a file
    ++tried;
    for (const std::string& name : names) {
      std::string best = "generic";
      size_t best_match = 0;
      for (const ProfileSet::Entry& entry : (*set)->entries()) {
        for (const std::string& pattern : entry.profile.hosts) {
          const size_t match = MatchHost(pattern, name);
          if (match <= best_match) continue;
          best = entry.profile.id;
          best_match = match;
        }
      }
      EXPECT_EQ((*set)->ForHost(name).id, best) << name;
    }
  }
  EXPECT_GT(tried, 100);
}

TEST(ProfileSetTest, OnlySome) {
  const absl::StatusOr<std::shared_ptr<const ProfileSet>> set =
      ProfileSet::Create({}, {"openai", "aws"});
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ((*set)->ForHost("api.openai.com").id, "openai");
  EXPECT_EQ((*set)->ForHost("api.github.com").id, "generic");
  EXPECT_EQ((*set)->ForHost("bedrock-runtime.us-east-1.amazonaws.com").id,
            "aws");
  EXPECT_NE((*set)->Find("github"), nullptr);
}

TEST(ProfileSetTest, AnotherGeneric) {
  const absl::StatusOr<std::shared_ptr<const ProfileSet>> set =
      ProfileSet::Create({{"g.json", File("generic", "\"a.example\"")}});
  ASSERT_TRUE(set.ok());
  EXPECT_TRUE((*set)->generic().rules.empty());
  EXPECT_FALSE(ProfileSet::BuiltIn()->generic().rules.empty());
}

TEST(ProfileSetTest, AllFaultsOfAllFiles) {
  const absl::Status status =
      ProfileSet::Create({{"a.json", "{}"},
                          {"b.json", File("shop", "\"X\"")},
                          {"c.json", File("shop", "\"x\"")},
                          {"d.json", File("shop", "\"x\"")}},
                         {"nobody"})
          .status();
  ASSERT_TRUE(absl::IsInvalidArgument(status));
  for (const char* text :
       {"a.json: /id is missing", "b.json: /hosts/0 is \"X\"",
        "d.json: /id is \"shop\", as in c.json",
        "there is no profile \"nobody\"; there are anthropic, "}) {
    EXPECT_TRUE(absl::StrContains(status.message(), text)) << status;
  }
  EXPECT_FALSE(absl::StrContains(status.message(), "c.json: "));
  std::vector<ProfileText> many(ProfileSet::kMaxOwn + 1);
  EXPECT_TRUE(absl::StrContains(ProfileSet::Create(many).status().message(),
                                "the most is 256"));
}

}  // namespace
}  // namespace forbear
