#include "signals/vendor_profile.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/builtin_profiles.h"
#include "signals/delay_text.h"

namespace forbear {
namespace {

// A valid profile with everything in it; `more` goes before its end.
std::string With(absl::string_view more) {
  return absl::StrCat(R"({"id":"shop","date":"2026-11-25",
      "sources":[{"tag":"D","what":"docs"}])",
                      more, "}");
}

std::string FaultsOf(absl::string_view json) {
  const absl::StatusOr<VendorProfile> profile = ParseVendorProfile(json);
  if (profile.ok()) return "";
  EXPECT_TRUE(absl::IsInvalidArgument(profile.status()));
  return std::string(profile.status().message());
}

TEST(VendorProfileTest, EveryField) {
  const absl::StatusOr<VendorProfile> parsed = ParseVendorProfile(With(R"(,
    "hosts": ["api.shop.example", "*.shop.example"],
    "error_name": {"header": "x-error", "path": "/__type", "strip_after": ":", "strip_before": "#"},
    "override_header": "x-should-retry",
    "idempotency_header": "idempotency-key",
    "max_hint_ms": 60000,
    "delays": [
      {"header": "x-wait", "format": "ms", "precise": true},
      {"headers": ["a", "b"], "if_zero": ["c", "d"], "format": "epoch_s", "add_ms": 500, "fallback": true},
      {"path": "/wait", "format": "proto_duration"},
      {"path": "/error/message", "after": "in ", "format": "go_duration", "prose": true},
      {"path": "/reset", "format": "epoch_ms", "source": "rate-limit"},
      {"ratelimit": true, "fallback": true}
    ],
    "rules": [
      {"id": "a", "status": [429, 503], "grpc": ["RESOURCE_EXHAUSTED"], "names": ["SlowDown"],
       "all": [{"header": "x", "contains": ["y"]}, {"header": "z", "present": false}],
       "any": [{"path": "/code", "in": ["17", "true"]}, {"path": "/text", "starts": ["No"]}],
       "class": "ramp_limited", "retry": "backoff", "processed": "unknown", "floor_ms": 250},
      {"id": "b", "status": [402], "class": "billing", "retry": "never"}
    ],
    "limits": [
      {"id": "rpm", "counts": "requests", "window_ms": 60000, "limit": "l", "remaining": "r", "reset": "t", "format": "go_duration"},
      {"id": "used", "counts": "points", "used_of_limit": "u"}
    ])"));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const VendorProfile& p = *parsed;
  EXPECT_EQ(p.id, "shop");
  EXPECT_EQ(p.date, "2026-11-25");
  EXPECT_EQ(p.sources[0].tag, "D");
  EXPECT_EQ(p.sources[0].what, "docs");
  EXPECT_EQ(p.hosts[1], "*.shop.example");
  ASSERT_TRUE(p.error_name.has_value());
  EXPECT_EQ(p.error_name->header, "x-error");
  EXPECT_EQ(p.error_name->path->text(), "/__type");
  EXPECT_EQ(p.error_name->strip_after, ":");
  EXPECT_EQ(p.error_name->strip_before, "#");
  EXPECT_EQ(p.override_header, "x-should-retry");
  EXPECT_EQ(p.idempotency_header, "idempotency-key");
  EXPECT_EQ(p.max_hint, absl::Minutes(1));

  ASSERT_EQ(p.delays.size(), 6u);
  EXPECT_EQ(p.delays[0].headers, std::vector<std::string>{"x-wait"});
  EXPECT_EQ(p.delays[0].format, DelayFormat::kMilliseconds);
  EXPECT_EQ(p.delays[0].source, DelaySource::kRetryAfter);
  EXPECT_FALSE(p.delays[0].fallback);
  EXPECT_TRUE(p.delays[0].precise);
  EXPECT_FALSE(p.delays[1].precise);
  EXPECT_EQ(p.delays[1].headers.size(), 2u);
  EXPECT_EQ(p.delays[1].if_zero[1], "d");
  EXPECT_EQ(p.delays[1].add, absl::Milliseconds(500));
  EXPECT_EQ(p.delays[1].source, DelaySource::kRateLimit);
  EXPECT_EQ(p.delays[2].source, DelaySource::kRetryInfo);
  EXPECT_EQ(p.delays[3].source, DelaySource::kBody);
  EXPECT_EQ(p.delays[3].after, "in ");
  EXPECT_EQ(p.delays[4].source, DelaySource::kRateLimit);
  EXPECT_TRUE(p.delays[5].ratelimit_fields);

  ASSERT_EQ(p.rules.size(), 2u);
  const AnswerRule& rule = p.rules[0];
  EXPECT_EQ(rule.id, "a");
  EXPECT_EQ(rule.statuses, (std::vector<int>{429, 503}));
  EXPECT_EQ(rule.codes, std::vector<int>{8});
  EXPECT_EQ(rule.names, std::vector<std::string>{"SlowDown"});
  EXPECT_EQ(rule.all[0].test, AnswerCondition::Test::kContains);
  EXPECT_EQ(rule.all[1].test, AnswerCondition::Test::kAbsent);
  EXPECT_EQ(rule.any[0].texts, (std::vector<std::string>{"17", "true"}));
  EXPECT_EQ(rule.any[1].test, AnswerCondition::Test::kStarts);
  EXPECT_EQ(rule.answer_class, AnswerClass::kRampLimited);
  EXPECT_EQ(rule.retry, RetryAdvice::kBackoff);
  EXPECT_EQ(rule.processed, Processed::kUnknown);
  EXPECT_EQ(rule.floor, absl::Milliseconds(250));
  EXPECT_TRUE(rule.ReadsBody());
  EXPECT_FALSE(p.rules[1].ReadsBody());

  ASSERT_EQ(p.limits.size(), 2u);
  EXPECT_EQ(p.limits[0].window, absl::Minutes(1));
  EXPECT_EQ(p.limits[0].format, DelayFormat::kGoDuration);
  EXPECT_EQ(p.limits[1].used_of_limit, "u");
  EXPECT_EQ(p.limits[1].counts, LimitCounts::kPoints);

  // The second rule reads no body; the first does, and a name may stand in one.
  EXPECT_TRUE(p.ReadsBodyOf(429));
  EXPECT_FALSE(p.ReadsBodyOf(402));
  EXPECT_FALSE(p.ReadsBodyOf(404));
}

TEST(VendorProfileTest, WhichAnswersARuleIsAskedAbout) {
  AnswerRule any;
  EXPECT_TRUE(any.MatchesStatus(400));
  EXPECT_FALSE(any.MatchesStatus(200));
  EXPECT_TRUE(any.MatchesCode(8));
  EXPECT_FALSE(any.MatchesCode(0));
  AnswerRule http;
  http.statuses = {200};
  EXPECT_TRUE(http.MatchesStatus(200));
  EXPECT_FALSE(http.MatchesStatus(500));
  EXPECT_FALSE(http.MatchesCode(8));
  AnswerRule grpc;
  grpc.codes = {8};
  EXPECT_TRUE(grpc.MatchesCode(8));
  EXPECT_FALSE(grpc.MatchesCode(14));
  EXPECT_FALSE(grpc.MatchesStatus(500));
}

TEST(VendorProfileTest, Faults) {
  const struct {
    const char* more;
    const char* fault;
  } kRows[] = {
      {R"(,"colour":"red")", "/colour is not known; there are id, date"},
      {R"(,"id":"shop2")", "/id stands there twice"},
      {R"(,"hosts":[])", "/hosts has 0 elements; there must be 1 … 32"},
      {R"(,"hosts":"x")", "/hosts is \"x\"; it must be a list"},
      {R"(,"hosts":["a.*.b.*"])", "/hosts/0 is \"a.*.b.*\"; it must be a host"},
      {R"(,"hosts":["*"])", "/hosts/0"},
      {R"(,"hosts":["API.example"])", "/hosts/0"},
      {R"(,"hosts":["https://x"])", "/hosts/0"},
      {R"(,"hosts":[""])", "/hosts/0 has 0 bytes; it must be 1 … 256"},
      {R"(,"hosts":["a\u0007"])", "/hosts/0 has control characters"},
      {R"(,"max_hint_ms":999)",
       "/max_hint_ms is 999; it must be a whole number, 1000 …"},
      {R"(,"max_hint_ms":1e300)", "/max_hint_ms is 1e300"},
      {R"(,"max_hint_ms":1000.5)", "/max_hint_ms is 1000.5"},
      {R"(,"override_header":"X-A")",
       "/override_header is \"X-A\"; a header's name has a-z"},
      {R"(,"error_name":{})", "/error_name needs a header or a path"},
      {R"(,"rules":[{}])", "/rules/0/id is missing"},
      {R"(,"rules":[{}])", "/rules/0/class is missing"},
      {R"(,"rules":[7])", "/rules/0 is 7; it must be an object"},
      {R"(,"rules":[{"id":"A","status":[429],"class":"auth","retry":"never"}])",
       "/rules/0/id is \"A\"; it must be 1 … 64 of a-z"},
      {R"(,"rules":[{"id":"a","status":[199],"class":"auth","retry":"never"}])",
       "/rules/0/status/0 is 199; it must be a whole number, 200 … 599"},
      {R"(,"rules":[{"id":"a","grpc":["OK"],"class":"auth","retry":"never"}])",
       "/rules/0/grpc/0 is \"OK\"; it must be one of CANCELLED"},
      {R"(,"rules":[{"id":"a","status":[429],"class":"bad","retry":"never"}])",
       "/rules/0/class is \"bad\"; it must be one of rate_limited"},
      {R"(,"rules":[{"id":"a","status":[429],"class":"auth","retry":"now"}])",
       "/rules/0/retry is \"now\"; it must be one of never"},
      {R"(,"rules":[{"id":"a","class":"auth","retry":"never"}])",
       "/rules/0 asks nothing"},
      {R"(,"rules":[{"id":"a","status":[403],"class":"auth","retry":"backoff"}])",
       "/rules/0/retry is \"backoff\"; for class \"auth\" it must be never"},
      {R"(,"rules":[{"id":"a","status":[429],"class":"quota_exhausted","retry":"backoff"}])",
       "it must be never or at_reset"},
      {R"(,"rules":[{"id":"a","status":[429],"class":"rate_limited","retry":"at_reset"}])",
       "it must be never, backoff or hint_or_backoff"},
      {R"(,"rules":[{"id":"a","status":[429],"class":"rate_limited","retry":"never","floor_ms":1}])",
       "/rules/0/floor_ms goes with retry backoff"},
      {R"(,"rules":[{"id":"a","names":["X"],"class":"auth","retry":"never"}])",
       "/rules/0/names needs error_name"},
      {R"(,"rules":[{"id":"a","status":[1],"class":"auth","retry":"never"},{"id":"a","status":[403],"class":"auth","retry":"never"}])",
       "/rules/1/id is \"a\", as that of /rules/0"},
      {R"(,"rules":[{"id":"a","any":[{"path":"/x"}],"class":"auth","retry":"never"}])",
       "/rules/0/any/0 needs one of in, contains, starts and present"},
      {R"(,"rules":[{"id":"a","any":[{"in":["x"]}],"class":"auth","retry":"never"}])",
       "/rules/0/any/0 needs one of header and path"},
      {R"(,"rules":[{"id":"a","any":[{"path":"x","in":["x"]}],"class":"auth","retry":"never"}])",
       "/rules/0/any/0/path is \"x\"; it must be a path like"},
      {R"(,"rules":[{"id":"a","any":[{"path":"/x","in":[3]}],"class":"auth","retry":"never"}])",
       "/rules/0/any/0/in/0 is 3; it must be a text"},
      {R"(,"rules":[{"id":"a","any":[{"path":"/error/message","in":["x"]}],"class":"auth","retry":"never"}])",
       "/rules/0/any/0 reads a text that is meant for people"},
      {R"(,"rules":[{"id":"a","any":[{"path":"/x","in":["x"],"prose":false}],"class":"auth","retry":"never"}])",
       "/rules/0/any/0/prose is false; it must be true, or be left out"},
      {R"(,"delays":[{"header":"a"}])", "/delays/0 needs a format"},
      {R"(,"delays":[{"format":"ms"}])",
       "/delays/0 needs one of header, headers"},
      {R"(,"delays":[{"header":"a","path":"/b","format":"ms"}])",
       "/delays/0 needs one of header, headers"},
      {R"(,"delays":[{"header":"a","format":"minutes"}])",
       "/delays/0/format is \"minutes\"; it must be one of s, float_s"},
      {R"(,"delays":[{"ratelimit":true,"format":"s"}])",
       "/delays/0 has a format, which"},
      {R"(,"delays":[{"header":"a","format":"s","if_zero":["b","c"]}])",
       "/delays/0/if_zero has 2 elements for 1 headers"},
      {R"(,"delays":[{"header":"a","format":"s","precise":true,"fallback":true}])",
       "/delays/0/precise does not go with fallback"},
      {R"(,"delays":[{"header":"a","format":"s","after":"b"}])",
       "/delays/0/after goes with path only"},
      {R"(,"delays":[{"path":"/message","format":"s","after":"b"}])",
       "/delays/0 reads a text that is meant for people"},
      {R"(,"limits":[{"id":"a","counts":"requests"}])",
       "/limits/0 needs one of limit, remaining"},
      {R"(,"limits":[{"id":"a","counts":"apples","limit":"l"}])",
       "/limits/0/counts is"},
      {R"(,"limits":[{"id":"a","counts":"requests","limit":"l","reset":"r"}])",
       "/limits/0 needs both reset and format"},
      {R"(,"limits":[{"id":"a","counts":"requests","limit":"l","format":"s"}])",
       "/limits/0 needs both reset and format"},
  };
  for (const auto& row : kRows) {
    const std::string faults = FaultsOf(With(row.more));
    EXPECT_TRUE(absl::StrContains(faults, row.fault))
        << row.more << "\n  " << faults;
  }
  // All at once.
  const std::string faults = FaultsOf(R"({"id":"A b","date":"yesterday",
      "sources":[{"tag":"U","what":"hearsay"}],"x":1})");
  for (const char* fault :
       {"/id is", "/date is", "/sources/0/tag is", "/x is"}) {
    EXPECT_TRUE(absl::StrContains(faults, fault)) << faults;
  }
  EXPECT_TRUE(
      absl::StrContains(FaultsOf("{}"), "/id is missing; /date is missing"));
}

TEST(VendorProfileTest, WhatIsNoJsonSaysWhere) {
  EXPECT_EQ(FaultsOf("{\"id\":\n  nil}"),
            "it is no JSON (RFC 8259): line 2, byte 4");
  EXPECT_EQ(FaultsOf("{\"id\":"),
            "it is no JSON (RFC 8259): line 1, byte 7: it ends too early");
  EXPECT_EQ(FaultsOf("[]"), "/ is []; it must be an object");
}

TEST(VendorProfileTest, Bounds) {
  std::string rules;
  const auto many = [&](size_t n) {
    rules.clear();
    for (size_t i = 0; i < n; ++i) {
      absl::StrAppend(
          &rules, i == 0 ? "" : ",", R"({"id":"r)", i,
          R"(","status":[429],"class":"rate_limited","retry":"backoff"})");
    }
    return With(absl::StrCat(",\"rules\":[", rules, "]"));
  };
  EXPECT_EQ(FaultsOf(many(VendorProfile::kMaxRules)), "");
  EXPECT_TRUE(absl::StrContains(FaultsOf(many(VendorProfile::kMaxRules + 1)),
                                "/rules has 65 elements"));
  const std::string blanks(VendorProfile::kMaxFileBytes, ' ');
  EXPECT_TRUE(absl::StrContains(FaultsOf(With("") + blanks), "the most is"));
  EXPECT_TRUE(absl::StrContains(
      FaultsOf(With(absl::StrCat(R"(,"hosts":")", std::string(59, 'a'),
                                 "\xC3\xA9", R"(")"))),
      absl::StrCat("is \"", std::string(59, 'a'), "…; it must be a list")));
  // A thousand faults are told of in a bounded text.
  std::string keys;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&keys, ",\"k", i, "\":1");
  const std::string faults = FaultsOf(With(keys));
  EXPECT_TRUE(absl::StrContains(faults, "and 950 more")) << faults.size();
}

TEST(VendorProfileTest, Hosts) {
  EXPECT_EQ(MatchHost("api.a.com", "api.a.com"), 10u);
  EXPECT_EQ(MatchHost("api.a.com", "xapi.a.com"), 0u);
  EXPECT_EQ(MatchHost("*.a.com", "api.a.com"), 6u);
  EXPECT_EQ(MatchHost("*.a.com", "a.com"), 0u);
  EXPECT_EQ(MatchHost("*.a.com", ".a.com"), 0u);
  EXPECT_EQ(MatchHost("x-*.a.com", "x-1.a.com"), 8u);
  EXPECT_EQ(MatchHost("x-*-x", "x-x"), 0u);  // the ends may not overlap
  EXPECT_EQ(MatchHost("api.a.com", ""), 0u);
}

TEST(VendorProfileTest, Names) {
  EXPECT_EQ(AnswerClassName(AnswerClass::kConcurrencyLimited),
            "concurrency_limited");
  EXPECT_EQ(RetryAdviceName(RetryAdvice::kAtReset), "at_reset");
  EXPECT_EQ(LimitCountsName(LimitCounts::kInputTokens), "input_tokens");
  EXPECT_EQ(AnswerClassName(static_cast<AnswerClass>(99)), "?");
  EXPECT_EQ(GrpcCodeOf("UNAVAILABLE"), 14);
  EXPECT_FALSE(GrpcCodeOf("OK").has_value());
}

// Damaged files are refused or read; nothing else happens.
TEST(VendorProfileTest, DamagedFiles) {
  int refused = 0;
  int read = 0;
  for (const BuiltinProfile& file : BuiltinProfiles()) {
    for (uint64_t seed = 0; seed < 300; ++seed) {
      std::string text(file.text);
      uint64_t counter = 0;
      const auto pick = [&](uint64_t n) {
        return MixRandom(seed, counter++) % n;
      };
      for (uint64_t i = 1 + pick(3); i > 0; --i) {
        const size_t at = pick(text.size());
        switch (pick(3)) {
          case 0:
            text.erase(at, 1 + pick(4));
            break;
          case 1:
            text.insert(at, 1, "{}[],:\"0a"[pick(9)]);
            break;
          default:
            text[at] = static_cast<char>(pick(256));
        }
      }
      const absl::StatusOr<VendorProfile> profile = ParseVendorProfile(text);
      if (profile.ok()) {
        ++read;
      } else {
        ++refused;
        EXPECT_LT(profile.status().message().size(), 20000u);
      }
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(read, 100);
}

}  // namespace
}  // namespace forbear
