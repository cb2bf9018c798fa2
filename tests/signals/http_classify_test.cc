#include "signals/http_classify.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/header_field.h"
#include "signals/header_signals.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"

namespace forbear {
namespace {

using Headers = std::vector<HeaderField>;

const VendorProfile& Generic() { return ProfileSet::BuiltIn()->generic(); }

VendorProfile Profile(absl::string_view more) {
  absl::StatusOr<VendorProfile> profile =
      ParseVendorProfile(absl::StrCat(R"({"id":"shop","date":"2026-11-25",
          "sources":[{"tag":"D","what":"x"}],)",
                                      more, "}"));
  EXPECT_TRUE(profile.ok()) << profile.status();
  return profile.ok() ? *std::move(profile) : VendorProfile();
}

AnswerMeaning Read(int status, const Headers& headers,
                   std::optional<absl::string_view> body = std::nullopt,
                   const VendorProfile& profile = Generic()) {
  AnswerFacts facts;
  facts.status = status;
  facts.headers = headers;
  facts.has_body = body.has_value();
  facts.body = body.value_or("");
  facts.now = absl::FromUnixSeconds(1795348800);
  return ClassifyAnswer(facts, profile, Generic());
}

// The one table of statuses, all of it.
TEST(HttpClassifyTest, EveryStatus) {
  for (int status = 100; status < 1000; ++status) {
    ErrorKind kind = status < 400 ? ErrorKind::kOk : ErrorKind::kPermanent;
    Processed processed = Processed::kYes;
    for (const int transient : {408, 425, 500, 502, 503, 504, 522, 524, 529}) {
      if (status != transient) continue;
      kind = ErrorKind::kTransient;
      processed = status == 425 ? Processed::kNo : Processed::kUnknown;
    }
    if (status == 429) {
      kind = ErrorKind::kThrottled;
      processed = Processed::kNo;
    }
    const AnswerMeaning meaning = Read(status, {});
    EXPECT_EQ(meaning.kind, kind) << status;
    EXPECT_EQ(meaning.processed, processed) << status;
    EXPECT_FALSE(meaning.pushback.has_value()) << status;
    EXPECT_FALSE(meaning.retry_forbidden) << status;
  }
}

TEST(HttpClassifyTest, WhatEachClassMeans) {
  const struct {
    const char* name;
    const char* retry;
    ErrorKind kind;
    Processed processed;
    ErrorKind with_429;
  } kRows[] = {
      {"rate_limited", "backoff", ErrorKind::kThrottled, Processed::kNo,
       ErrorKind::kThrottled},
      {"concurrency_limited", "backoff", ErrorKind::kThrottled, Processed::kNo,
       ErrorKind::kThrottled},
      {"ramp_limited", "backoff", ErrorKind::kThrottled, Processed::kNo,
       ErrorKind::kThrottled},
      {"overloaded", "backoff", ErrorKind::kTransient, Processed::kUnknown,
       ErrorKind::kThrottled},
      {"not_ready", "backoff", ErrorKind::kTransient, Processed::kNo,
       ErrorKind::kThrottled},
      {"quota_exhausted", "never", ErrorKind::kQuotaExhausted, Processed::kNo,
       ErrorKind::kQuotaExhausted},
      {"billing", "never", ErrorKind::kQuotaExhausted, Processed::kNo,
       ErrorKind::kQuotaExhausted},
      {"transient", "backoff", ErrorKind::kTransient, Processed::kUnknown,
       ErrorKind::kTransient},
      {"conflict", "backoff", ErrorKind::kTransient, Processed::kUnknown,
       ErrorKind::kTransient},
      {"auth", "never", ErrorKind::kPermanent, Processed::kYes,
       ErrorKind::kPermanent},
      {"permanent", "never", ErrorKind::kPermanent, Processed::kYes,
       ErrorKind::kPermanent},
  };
  for (const auto& row : kRows) {
    const VendorProfile profile = Profile(
        absl::StrCat(R"("rules":[{"id":"a","status":[200,418,429],"class":")",
                     row.name, R"(","retry":")", row.retry, R"("}])"));
    EXPECT_EQ(Read(418, {}, std::nullopt, profile).kind, row.kind) << row.name;
    EXPECT_EQ(Read(418, {}, std::nullopt, profile).processed, row.processed)
        << row.name;
    EXPECT_EQ(Read(429, {}, std::nullopt, profile).kind, row.with_429)
        << row.name;
    EXPECT_EQ(Read(200, {}, std::nullopt, profile).kind, row.kind) << row.name;
    EXPECT_EQ(Read(418, {}, std::nullopt, profile).rule, "a");
    EXPECT_EQ(Read(418, {}, std::nullopt, profile).profile, "shop");
  }
}

// Whether the server acted on it, a rule may know better than its class.
TEST(HttpClassifyTest, WhatARuleSaysOfProcessing) {
  const std::pair<const char*, Processed> kRows[] = {
      {"no", Processed::kNo},
      {"unknown", Processed::kUnknown},
      {"yes", Processed::kYes}};
  for (const char* answer_class : {"transient", "rate_limited", "permanent"}) {
    for (const auto& [name, processed] : kRows) {
      const VendorProfile profile = Profile(absl::StrCat(
          R"("rules":[{"id":"a","status":[500],"class":")", answer_class,
          R"(","retry":")", answer_class[0] == 'p' ? "never" : "backoff",
          R"(","processed":")", name, R"("}])"));
      EXPECT_EQ(Read(500, {}, std::nullopt, profile).processed, processed)
          << answer_class << " " << name;
    }
  }
}

TEST(HttpClassifyTest, RulesInTheirOrderThenTheGenericOnes) {
  const VendorProfile profile = Profile(R"("rules":[
      {"id":"one","status":[429],"all":[{"header":"x","in":["1"]}],"class":"overloaded","retry":"backoff"},
      {"id":"two","status":[429],"any":[{"path":"/a","in":["b"]},{"header":"y","present":true}],"class":"billing","retry":"never"}])");
  EXPECT_EQ(Read(429, {{"X", " 1 "}, {"Y", ""}}, R"({"a":"b"})", profile).rule,
            "one");
  EXPECT_EQ(Read(429, {{"y", ""}}, std::nullopt, profile).rule, "two");
  EXPECT_EQ(Read(429, {}, R"({"a":"b"})", profile).rule, "two");
  EXPECT_EQ(Read(429, {}, R"({"a":"c"})", profile).rule, "too-many-requests");
  EXPECT_EQ(Read(429, {}, R"({"a":"c"})", profile).profile, "generic");
  // At the head, what asks about the body does not fit, "present": false either.
  EXPECT_EQ(Read(429, {}, std::nullopt, profile).rule, "too-many-requests");
  const VendorProfile absent = Profile(R"("rules":[
      {"id":"a","status":[429],"all":[{"path":"/a","present":false}],"class":"billing","retry":"never"},
      {"id":"b","status":[500],"all":[{"header":"x","present":false}],"class":"billing","retry":"never"}])");
  EXPECT_EQ(Read(429, {}, std::nullopt, absent).rule, "too-many-requests");
  EXPECT_EQ(Read(429, {}, "{}", absent).rule, "a");
  EXPECT_EQ(Read(429, {}, R"({"a":null})", absent).rule, "too-many-requests");
  EXPECT_EQ(Read(500, {}, std::nullopt, absent).rule, "b");
  EXPECT_EQ(Read(500, {{"x", ""}}, std::nullopt, absent).rule, "server-error");
  EXPECT_EQ(DescribeRule(Read(429, {}, "{}", absent)),
            "shop/a: billing, never");
  EXPECT_EQ(DescribeRule(Read(404, {})), "no rule");
}

TEST(HttpClassifyTest, TextsOfConditions) {
  const auto fits = [](absl::string_view test, absl::string_view body) {
    const VendorProfile profile = Profile(absl::StrCat(
        R"("rules":[{"id":"a","status":[429],"any":[{"path":"/v",)", test,
        R"(}],"class":"billing","retry":"never"}])"));
    return Read(429, {}, body, profile).rule == "a";
  };
  EXPECT_TRUE(fits(R"("in":["x","y"])", R"({"v":"y"})"));
  EXPECT_FALSE(fits(R"("in":["x","y"])", R"({"v":"yy"})"));
  EXPECT_TRUE(fits(R"("in":["3505"])", R"({"v":3505})"));
  EXPECT_FALSE(fits(R"("in":["3505"])", R"({"v":3505.0})"));
  EXPECT_TRUE(fits(R"("in":["false"])", R"({"v":false})"));
  EXPECT_TRUE(fits(R"("contains":["b"])", R"({"v":"abc"})"));
  EXPECT_FALSE(fits(R"("contains":["3"])", R"({"v":3505})"));
  EXPECT_TRUE(fits(R"("starts":["ab"])", R"({"v":"abc"})"));
  EXPECT_FALSE(fits(R"("starts":["bc"])", R"({"v":"abc"})"));
  EXPECT_TRUE(fits(R"("present":true)", R"({"v":null})"));
  EXPECT_FALSE(fits(R"("present":true)", R"({"w":null})"));
  // The second of two counts as well.
  EXPECT_TRUE(fits(R"("in":["x"])", R"({"v":"y","v":"x"})"));
}

TEST(HttpClassifyTest, ErrorNames) {
  const VendorProfile profile = Profile(R"(
      "error_name":{"header":"x-err","path":"/__type","strip_after":":","strip_before":"#"},
      "rules":[{"id":"a","names":["Slow"],"class":"rate_limited","retry":"backoff"}])");
  const auto fits = [&](const Headers& headers, absl::string_view body) {
    return Read(400, headers, body, profile).rule == "a";
  };
  EXPECT_TRUE(fits({{"X-Err", "Slow"}}, ""));
  EXPECT_TRUE(fits({{"X-Err", "Slow:http://x#y"}}, ""));
  EXPECT_TRUE(fits({}, R"({"__type":"a.b#Slow"})"));
  EXPECT_TRUE(fits({{"X-Err", "Other"}}, R"({"__type":"Slow"})"));
  EXPECT_FALSE(fits({{"X-Err", "Slower"}}, "{}"));
  EXPECT_FALSE(fits({}, R"({"__type":"Slow#Other"})"));
  EXPECT_FALSE(fits({}, "Slow"));
  EXPECT_TRUE(profile.ReadsBodyOf(400));
  EXPECT_FALSE(profile.ReadsBodyOf(200));
}

TEST(HttpClassifyTest, WhichWaitCounts) {
  const auto wait = [](const Headers& headers) {
    const AnswerMeaning meaning = Read(429, headers);
    return meaning.pushback.value_or(absl::Seconds(-1));
  };
  EXPECT_EQ(wait({{"Retry-After", "3"}}), absl::Seconds(3));
  EXPECT_EQ(wait({{"Retry-After", "3"}, {"Retry-After", "9"}}),
            absl::Seconds(9));
  EXPECT_EQ(wait({{"Retry-After", "3"}, {"Retry-After-Ms", "2001"}}),
            absl::Seconds(3));
  EXPECT_EQ(wait({{"Retry-After", "3"}, {"Retry-After-Ms", "3001"}}),
            absl::Milliseconds(3001));
  EXPECT_EQ(wait({{"Retry-After", "0"}, {"Retry-After-Ms", "0"}}),
            absl::ZeroDuration());
  // What is no wait is as if it were absent.
  EXPECT_EQ(wait({{"Retry-After", "soon"}, {"Retry-After-Ms", "-1"}}),
            absl::Seconds(-1));
  EXPECT_EQ(wait({{"Retry-After", "99999999999999999999"}}),
            absl::InfiniteDuration());
  // No more than so many lines are looked at.
  Headers many(1001, {"retry-after", "1"});
  many.back().value = "100";
  EXPECT_EQ(wait(many), absl::Seconds(1));
}

// Where the vendor says the same twice, once rounded up to whole seconds.
TEST(HttpClassifyTest, ThePreciseWait) {
  const VendorProfile profile = Profile(R"("delays":[
      {"header":"retry-after-ms","format":"ms","precise":true}])");
  const auto wait = [&](const Headers& headers) {
    return Read(429, headers, std::nullopt, profile)
        .pushback.value_or(absl::Seconds(-1));
  };
  EXPECT_EQ(wait({{"Retry-After", "3"}, {"Retry-After-Ms", "2001"}}),
            absl::Milliseconds(2001));
  EXPECT_EQ(wait({{"Retry-After", "3"}, {"Retry-After-Ms", "2000"}}),
            absl::Seconds(3));
  EXPECT_EQ(wait({{"Retry-After", "3"}, {"Retry-After-Ms", "3001"}}),
            absl::Milliseconds(3001));
  EXPECT_EQ(wait({{"Retry-After", "1"}, {"Retry-After-Ms", "0"}}),
            absl::Seconds(1));
  EXPECT_EQ(wait({{"Retry-After", "1"}}), absl::Seconds(1));
  EXPECT_EQ(wait({{"Retry-After-Ms", "1"}}), absl::Milliseconds(1));
}

TEST(HttpClassifyTest, FallbacksInTheirOrder) {
  const VendorProfile profile = Profile(R"(
      "delays":[{"header":"hint","format":"s","fallback":true},{"header":"hint2","format":"s","fallback":true}],
      "rules":[{"id":"a","status":[429],"class":"rate_limited","retry":"hint_or_backoff","floor_ms":7000},
               {"id":"b","status":[503],"class":"overloaded","retry":"backoff","floor_ms":7000}])");
  const HeaderField used_up = {"RateLimit", "\"a\";r=0;t=30"};
  const auto ms = [&](int status, const Headers& headers) {
    const AnswerMeaning m = Read(status, headers, std::nullopt, profile);
    return absl::StrCat(absl::ToInt64Milliseconds(*m.pushback), " ",
                        DelaySourceName(m.pushback_source));
  };
  EXPECT_EQ(ms(429, {{"hint", "5"}, {"hint2", "6"}, used_up}),
            "6000 rate-limit");
  EXPECT_EQ(ms(429, {{"hint", "5"}, {"retry-after", "1"}}), "1000 retry-after");
  EXPECT_EQ(ms(429, {used_up}), "30000 rate-limit");
  EXPECT_EQ(ms(429, {}), "7000 rate-limit");
  EXPECT_EQ(ms(503, {{"hint", "5"}, used_up}), "7000 rate-limit");
  EXPECT_EQ(ms(503, {{"retry-after", "1"}}), "1000 retry-after");
}

TEST(HttpClassifyTest, CountersOfZero) {
  const VendorProfile profile = Profile(R"("delays":[
      {"headers":["t1","t2"],"if_zero":["r1","r2"],"format":"s","fallback":true,"add_ms":500}])");
  const auto wait = [&](const Headers& headers) {
    return Read(429, headers, std::nullopt, profile)
        .pushback.value_or(absl::Seconds(-1));
  };
  EXPECT_EQ(wait({{"t1", "5"}, {"r1", "0"}}), absl::Milliseconds(5500));
  EXPECT_EQ(wait({{"t1", "5"}, {"r1", "0.0"}}), absl::Milliseconds(5500));
  for (const char* left : {"1", "", "00.1", "-0", "0x0", ".", "0.0.0"}) {
    EXPECT_EQ(wait({{"t1", "5"}, {"r1", left}}), absl::Seconds(-1)) << left;
  }
  EXPECT_EQ(wait({{"t1", "5"}, {"r2", "0"}}), absl::Seconds(-1));
  EXPECT_EQ(wait({{"t1", "5"}}), absl::Seconds(-1));
  EXPECT_EQ(wait({{"t1", "5"}, {"r1", "0"}, {"t2", "9"}, {"r2", "0"}}),
            absl::Milliseconds(9500));
}

TEST(HttpClassifyTest, AWaitWithinASentence) {
  const VendorProfile profile = Profile(R"("delays":[
      {"path":"/message","after":"again in ","prose":true,"format":"go_duration","fallback":true}])");
  const auto wait = [&](absl::string_view message) {
    return Read(429, {}, absl::StrCat(R"({"message":")", message, R"("})"),
                profile)
        .pushback.value_or(absl::Seconds(-1));
  };
  EXPECT_EQ(wait("Try again in 5.289s. Visit x."), absl::Milliseconds(5289));
  EXPECT_EQ(wait("Try again in 6m0s"), absl::Minutes(6));
  EXPECT_EQ(wait("Try again in 20ms.\\nSee x"), absl::Milliseconds(20));
  EXPECT_EQ(wait("Try\\u0020again in 20ms, please"), absl::Milliseconds(20));
  EXPECT_EQ(wait("Try again in a while"), absl::Seconds(-1));
  EXPECT_EQ(wait("Try again in "), absl::Seconds(-1));
  EXPECT_EQ(wait("5s"), absl::Seconds(-1));
}

TEST(HttpClassifyTest, OutOfQuota) {
  const VendorProfile profile = Profile(R"("max_hint_ms":60000,"rules":[
      {"id":"a","status":[402],"class":"quota_exhausted","retry":"never"},
      {"id":"b","status":[403],"class":"quota_exhausted","retry":"at_reset"}])");
  const Headers told = {{"retry-after", "100"}};
  EXPECT_EQ(Read(402, told, std::nullopt, profile).pushback, std::nullopt);
  EXPECT_EQ(Read(403, told, std::nullopt, profile).pushback,
            absl::Seconds(100));
  // Too long for a rate limit; an outage may take as long as it says.
  const AnswerMeaning meaning = Read(429, told, std::nullopt, profile);
  EXPECT_EQ(meaning.kind, ErrorKind::kQuotaExhausted);
  EXPECT_EQ(meaning.pushback, absl::Seconds(100));
  EXPECT_EQ(meaning.retry, RetryAdvice::kAtReset);
  EXPECT_EQ(Read(429, {{"retry-after", "60"}}, std::nullopt, profile).kind,
            ErrorKind::kThrottled);
  EXPECT_EQ(Read(503, told, std::nullopt, profile).kind, ErrorKind::kTransient);
}

TEST(HttpClassifyTest, TheServersOwnWord) {
  EXPECT_TRUE(Read(429, {{"X-Should-Retry", "FALSE"}}).retry_forbidden);
  EXPECT_TRUE(
      Read(503, {{"X-Should-Retry", "false"}, {"x-should-retry", "true"}})
          .retry_forbidden);
  EXPECT_FALSE(Read(503, {{"X-Should-Retry", "no"}}).retry_forbidden);
  EXPECT_TRUE(Read(409, {{"x-should-retry", "true"}}).retry_wanted);
  EXPECT_FALSE(Read(409, {{"x-should-retry", "1"}}).retry_wanted);
  EXPECT_FALSE(
      Read(409, {{"x-should-retry", "false"}, {"x-should-retry", "true"}})
          .retry_wanted);
  EXPECT_EQ(
      Read(409, {{"x-should-retry", "true"}, {"retry-after", "5"}}).pushback,
      absl::Seconds(5));
  EXPECT_FALSE(Read(409, {{"retry-after", "5"}}).pushback.has_value());
  EXPECT_EQ(Read(200, {{"x-should-retry", "true"}}).kind, ErrorKind::kOk);
  // Another name, instead.
  const VendorProfile own = Profile(R"("override_header":"retry-me","rules":[
      {"id":"a","status":[503],"class":"transient","retry":"never"}])");
  EXPECT_TRUE(
      Read(409, {{"retry-me", "true"}}, std::nullopt, own).retry_wanted);
  EXPECT_FALSE(
      Read(409, {{"x-should-retry", "true"}}, std::nullopt, own).retry_wanted);
  EXPECT_TRUE(Read(503, {}, std::nullopt, own).retry_forbidden);
  EXPECT_FALSE(
      Read(503, {{"retry-me", "true"}}, std::nullopt, own).retry_forbidden);
}

// The generic profile reads heads as header_signals does, which is code.
TEST(HttpClassifyTest, AsHeaderSignals) {
  constexpr uint64_t kRuns = 200000;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    uint64_t counter = 0;
    const auto pick = [&](uint64_t n) {
      return MixRandom(seed, counter++) % n;
    };
    std::vector<std::pair<std::string, std::string>> texts;
    for (uint64_t i = pick(6); i > 0; --i) {
      static const char* const kNames[] = {"Retry-After",
                                           "retry-after-ms",
                                           "X-Ms-Retry-After-Ms",
                                           "x-amz-retry-after",
                                           "RateLimit",
                                           "X-RateLimit-Remaining",
                                           "X-RateLimit-Reset",
                                           "X-RateLimit-Remaining-Tokens",
                                           "X-RateLimit-Reset-Tokens",
                                           "Date",
                                           "X-Should-Retry",
                                           "Age"};
      const auto number = static_cast<int64_t>(pick(pick(2) == 0 ? 3 : 3000));
      std::string value;
      switch (pick(8)) {
        case 0:
          value = absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT",
                                   absl::FromUnixSeconds(1795348800 + number),
                                   absl::UTCTimeZone());
          break;
        case 1:
          value = absl::StrCat("\"a\";r=", pick(2), ";t=", number);
          break;
        case 2:
          value = absl::StrCat(number, ".5");
          break;
        case 3:
          value = absl::StrCat(number, "s");
          break;
        case 4:
          value = pick(2) == 0 ? "true" : "false";
          break;
        default:
          value = absl::StrCat(number);
      }
      texts.emplace_back(kNames[pick(12)], value);
    }
    Headers headers;
    for (const auto& [name, value] : texts) headers.push_back({name, value});
    const HeaderSignals signals = ReadHeaderSignals(
        headers, WallTimesOf(headers, absl::FromUnixSeconds(1795348800)));
    const AnswerMeaning limited = Read(429, headers);
    ASSERT_EQ(limited.pushback, signals.wait()) << "seed " << seed;
    ASSERT_EQ(limited.pushback_source, signals.wait_source());
    ASSERT_EQ(limited.retry_forbidden, signals.should_retry == false);
    ASSERT_EQ(Read(503, headers).pushback, signals.explicit_wait);
    ASSERT_EQ(Read(409, headers).retry_wanted, signals.should_retry == true);
  }
}

TEST(HttpClassifyTest, OverloadedAndNotReadyMayBeShedding) {
  EXPECT_TRUE(Read(503, {}).shed);
  EXPECT_TRUE(Read(529, {}).shed);
  for (const int status : {200, 400, 404, 408, 429, 500, 502, 504}) {
    EXPECT_FALSE(Read(status, {}).shed) << status;
  }
}

TEST(HttpClassifyTest, WhereTheLimitOfRequestsStands) {
  const auto stand = [](const char* profile_id, const Headers& headers) {
    AnswerFacts facts;
    facts.status = 200;
    facts.headers = headers;
    facts.now = absl::FromUnixSeconds(1795348800);
    const VendorProfile* profile = &ProfileSet::BuiltIn()->generic();
    for (const auto& entry : ProfileSet::BuiltIn()->entries()) {
      if (entry.profile.id == profile_id) profile = &entry.profile;
    }
    return ReadStand(facts, *profile);
  };
  EXPECT_FALSE(stand("generic", {}).has_value());
  EXPECT_FALSE(stand("generic", {{"content-type", "text/plain"}}).has_value());
  const Headers plain = {{"X-RateLimit-Limit", "10"},
                         {"X-RateLimit-Remaining", "4"},
                         {"X-RateLimit-Reset", "2"}};
  const std::optional<LimitStand> generic = stand("generic", plain);
  ASSERT_TRUE(generic.has_value());
  EXPECT_EQ(generic->remaining, 4);
  EXPECT_EQ(generic->reset, absl::Seconds(2));
  const std::optional<LimitStand> openai =
      stand("openai", {{"x-ratelimit-limit-requests", "60"},
                       {"x-ratelimit-remaining-requests", "59"},
                       {"x-ratelimit-reset-requests", "1s"},
                       {"x-ratelimit-limit-tokens", "150000"},
                       {"x-ratelimit-remaining-tokens", "0"},
                       {"x-ratelimit-reset-tokens", "6m0s"}});
  ASSERT_TRUE(openai.has_value());
  EXPECT_EQ(openai->limit, 60);
  EXPECT_EQ(openai->reset, absl::Seconds(1));
}

}  // namespace
}  // namespace forbear
