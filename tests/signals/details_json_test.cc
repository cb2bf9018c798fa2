#include "signals/details_json.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/delay_text.h"
#include "signals/http_classify.h"
#include "signals/json_reader.h"
#include "signals/profile_set.h"
#include "signals/retry_info.h"

namespace forbear {
namespace {

TEST(DetailsJsonTest, AsGoogleWritesThem) {
  ErrorDetails details;
  details.code = 8;
  details.message = "no \"more\"";
  details.retry_delay = absl::Milliseconds(26500);
  details.violations.push_back(
      {"project:1", "", "compute.googleapis.com", "m", "RequestsPerDay"});
  details.violations.push_back({});
  details.infos.push_back({"RATE_LIMIT_EXCEEDED",
                           "googleapis.com",
                           {{"service", "x"}, {"a\n", "\xFF"}}});
  details.infos.push_back({});
  const std::string json = DetailsAsJson(details);
  EXPECT_EQ(
      json,
      R"({"error":{"code":8,"message":"no \"more\"","details":[)"
      R"({"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26.500000000s"},)"
      R"({"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[)"
      R"({"subject":"project:1","apiService":"compute.googleapis.com","quotaMetric":"m","quotaId":"RequestsPerDay"},{}]},)"
      R"({"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","domain":"googleapis.com","metadata":{"service":"x","a?":"?"}},)"
      R"({"@type":"type.googleapis.com/google.rpc.ErrorInfo","metadata":{}}]}})");
  EXPECT_EQ(JsonText(json).state(), JsonState::kWhole);
  EXPECT_EQ(DetailsAsJson({}),
            R"({"error":{"code":0,"message":"","details":[]}})");
}

TEST(DetailsJsonTest, DelaysComeThrough) {
  const VendorProfile& generic = ProfileSet::BuiltIn()->generic();
  for (const absl::Duration delay :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Seconds(26),
        absl::Milliseconds(847), absl::Hours(24 * 365 * 1000),
        absl::InfiniteDuration()}) {
    ErrorDetails details;
    details.retry_delay = delay;
    const std::string body = DetailsAsJson(details);
    AnswerFacts facts;
    facts.status = 429;
    facts.body = body;
    facts.has_body = true;
    const AnswerMeaning meaning = ClassifyAnswer(facts, generic, generic);
    EXPECT_EQ(meaning.pushback, delay) << body;
    EXPECT_EQ(meaning.pushback_source, DelaySource::kRetryInfo);
  }
}

// Whatever bytes a server sends, JSON comes out.
TEST(DetailsJsonTest, AlwaysJson) {
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    uint64_t counter = 0;
    const auto pick = [&](uint64_t n) {
      return MixRandom(seed, counter++) % n;
    };
    std::vector<std::string> texts(8);
    for (std::string& text : texts) {
      for (uint64_t i = pick(6); i > 0; --i) {
        text += static_cast<char>(pick(256));
      }
    }
    ErrorDetails details;
    details.code = static_cast<int32_t>(pick(1u << 31));
    details.message = texts[0];
    if (pick(2) == 0) details.retry_delay = absl::Nanoseconds(pick(1u << 31));
    for (uint64_t i = pick(3); i > 0; --i) {
      details.violations.push_back(
          {texts[1], texts[2], texts[3], texts[4], texts[5]});
    }
    for (uint64_t i = pick(3); i > 0; --i) {
      details.infos.push_back({texts[6], texts[7], {{texts[1], texts[0]}}});
    }
    const std::string json = DetailsAsJson(details);
    ASSERT_EQ(JsonText(json).state(), JsonState::kWhole)
        << "seed " << seed << " " << json;
  }
}

}  // namespace
}  // namespace forbear
