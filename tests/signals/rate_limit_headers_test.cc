#include "signals/rate_limit_headers.h"

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/delay_text.h"
#include "signals/header_field.h"

namespace forbear {
namespace {

using Fields = std::vector<HeaderField>;

WallTimes At(int64_t now) {
  WallTimes times;
  times.now = absl::FromUnixSeconds(now);
  return times;
}

std::vector<AnnouncedLimit> Read(const Fields& fields, int64_t now = 0) {
  return ReadRateLimitHeaders(fields, At(now));
}

// "name: 50 of 100 left for 30s, window 1m, unit u, key k"; what is absent is "-".
std::string Show(const std::vector<AnnouncedLimit>& limits) {
  const auto count = [](std::optional<int64_t> n) {
    return n ? absl::StrCat(*n) : "-";
  };
  const auto time = [](std::optional<absl::Duration> d) {
    return d ? absl::FormatDuration(*d) : "-";
  };
  std::vector<std::string> shown;
  for (const AnnouncedLimit& l : limits) {
    std::string text =
        absl::StrCat(l.name, ": ", count(l.remaining), " of ", count(l.limit),
                     " left for ", time(l.reset), ", window ", time(l.window));
    if (!l.unit.empty()) absl::StrAppend(&text, ", unit ", l.unit);
    if (!l.partition_key.empty()) {
      absl::StrAppend(&text, ", key ", absl::CHexEscape(l.partition_key));
    }
    shown.push_back(text);
  }
  return absl::StrJoin(shown, "; ");
}

struct Row {
  const char* origin;
  Fields fields;
  int64_t now;
  std::string shown;
};

void Check(const std::vector<Row>& rows) {
  for (const Row& r : rows) {
    std::string text;
    for (const HeaderField& f : r.fields) {
      absl::StrAppend(&text, f.name, ": ", f.value, "\n");
    }
    EXPECT_EQ(Show(Read(r.fields, r.now)), r.shown) << r.origin << "\n" << text;
  }
}

// draft-ietf-httpapi-ratelimit-headers-11, and what follows from it.
TEST(RateLimitHeadersTest, Draft11) {
  Check({
      {"§3",
       {{"RateLimit-Policy", "\"burst\";q=100;w=60,\"daily\";q=1000;w=86400"}},
       0,
       "burst: - of 100 left for -, window 1m; daily: - of 1000 left for -, "
       "window 24h"},
      // The pad bits of the draft's own base64 are not zero.
      {"§3.2",
       {{"RateLimit-Policy", "\"peruser\";q=100;w=60;pk=:cHsdsRa894==:"}},
       0,
       "peruser: - of 100 left for -, window 1m, key "
       "p{\\x1d\\xb1\\x16\\xbc\\xf7"},
      {"§3.2",
       {{"RateLimit-Policy",
         "\"peruser\";q=65535;qu=\"content-bytes\";w=10;pk=:sdfjLJUOUH==:"}},
       0,
       "peruser: - of 65535 left for -, window 10s, unit content-bytes, key "
       "\\xb1\\xd7\\xe3,\\x95\\x0eP"},
      {"§4",
       {{"RateLimit", "\"default\";r=50;t=30"}},
       0,
       "default: 50 of - left for 30s, window -"},
      {"§4.2",
       {{"RateLimit", "\"default\";r=999;pk=:dHJpYWwxMjEzMjM=:"}},
       0,
       "default: 999 of - left for -, window -, key trial121323"},
      {"§4.2",
       {{"RateLimit", "\"default\";r=300000000;t=60;pk=:QXBwLTk5OQ==:"}},
       0,
       "default: 300000000 of - left for 1m, window -, key App-999"},
      // No rate of 1000 per second follows from it.
      {"§8.5",
       {{"RateLimit-Policy", "\"somepolicy\";q=10000;w=1000"},
        {"RateLimit", "\"somepolicy\";r=10000;t=10"}},
       0,
       "somepolicy: 10000 of 10000 left for 10s, window 16m40s"},
      {"§8.5.1",
       {{"RateLimit", "\"default\";r=999999999999999;t=1"}},
       0,
       "default: 999999999999999 of - left for 1s, window -"},
      {"§7.3, out of a cache",
       {{"RateLimit", "\"default\";r=0;t=60"},
        {"X-RateLimit-Remaining", "0"},
        {"Age", "5"}},
       0,
       ""},
      {"not out of a cache",
       {{"RateLimit", "\"a\";r=0;t=60"}, {"age", "0"}},
       0,
       "a: 0 of - left for 1m, window -"},
      {"other parameters",
       {{"RateLimit", "\"a\";acme-burst=1.5;r=1;t=2"}},
       0,
       "a: 1 of - left for 2s, window -"},
      {"the last of two values",
       {{"RateLimit", "\"a\";r=1;r=2;t=1"}},
       0,
       "a: 2 of - left for 1s, window -"},
      {"two lines",
       {{"ratelimit", "\"a\";r=1;t=1"}, {"RATELIMIT", "\"b\";r=0;t=9"}},
       0,
       "a: 1 of - left for 1s, window -; b: 0 of - left for 9s, window -"},
      {"one policy, two partitions",
       {{"RateLimit", "\"a\";r=1;pk=:AQ==:, \"a\";r=0;pk=:Ag==:"},
        {"RateLimit-Policy", "\"a\";q=5;w=1;pk=:AQ==:, \"b\";q=6"}},
       0,
       "a: 1 of 5 left for -, window 1s, key \\x01; a: 0 of - left for -, "
       "window "
       "-, key \\x02; b: - of 6 left for -, window -"},
      {"Cloudflare",
       {{"Ratelimit", "\"default\";r=50;t=30"},
        {"Ratelimit-Policy", "\"default\";q=100;w=60"}},
       0,
       "default: 50 of 100 left for 30s, window 1m"},
      // "fixed window";"api" is no structured field: the policy goes, the limit stays.
      {"Hugging Face",
       {{"RateLimit", "\"api\";r=499;t=295"},
        {"RateLimit-Policy", "\"fixed window\";\"api\";q=500;w=300"}},
       0,
       "api: 499 of - left for 4m55s, window -"},
      {"drafts 08 and 09: a token",
       {{"RateLimit", "default;r=50;t=30"}},
       0,
       "default: 50 of - left for 30s, window -"},
  });
}

TEST(RateLimitHeadersTest, WhatIsMalformedIsIgnored) {
  for (const char* value : {"",
                            "\"a\";t=30",
                            "\"a\";r=1.5;t=3",
                            "\"a\";r=-1;t=3",
                            "\"a\";r=\"1\"",
                            "\"a\";r=1;t=-1",
                            "\"a\";r=1;t=1.0",
                            "\"a\";r=1;t",
                            "\"a\";r;t=1",
                            "\"a\";r=50;t=30,",
                            "\"a\";r=1;pk=\"x\"",
                            "1;r=1",
                            "(\"a\");r=1",
                            "?1;r=1",
                            ":YQ==:;r=1",
                            "\"a\" ;r=1",
                            "\"a\";R=1",
                            "r=1",
                            "limit",
                            "limit=1.5",
                            "limit=(1)",
                            "limit=1, remaining=-1",
                            "limit=1, reset=x",
                            "limit=1, remaining",
                            "\"a\";r=1, \"b\"",
                            "\"a\";r=1234567890123456"}) {
    EXPECT_EQ(Show(Read({{"RateLimit", value}})), "") << value;
    // Alone.
    EXPECT_EQ(Show(Read({{"RateLimit", value}, {"X-RateLimit-Limit", "7"}})),
              ": - of 7 left for -, window -")
        << value;
  }
  for (const char* value :
       {"", "\"a\"", "\"a\";q=1.5", "\"a\";q=-1", "\"a\";q=1;w=0",
        "\"a\";q=1;w=-1", "\"a\";q=1;w=1.5", "\"a\";q=1;qu=bytes",
        "\"a\";q=1;pk=\"x\"", "-1;w=60", "100;w=0", "\"a\";q=1, \"b\""}) {
    EXPECT_EQ(Show(Read({{"RateLimit-Policy", value}})), "") << value;
  }
  // Both, of two lines.
  EXPECT_EQ(Show(Read({{"RateLimit", "\"a\";r=1"}, {"RateLimit", "x=y"}})), "");
  const std::string name(64, 'n');
  EXPECT_EQ(Read({{"RateLimit", "\"" + name + "\";r=1"}}).size(), 1);
  EXPECT_EQ(Read({{"RateLimit", "\"" + name + "n\";r=1"}}).size(), 0);
}

TEST(RateLimitHeadersTest, OlderDrafts) {
  Check({
      {"draft 07",
       {{"RateLimit", "limit=100, remaining=50, reset=30"},
        {"RateLimit-Policy", "100;w=60, 10000;w=86400"}},
       0,
       ": 50 of 100 left for 30s, window 1m; : - of 10000 left for -, window "
       "24h"},
      {"draft 07",
       {{"RateLimit", "limit=10, remaining=0;x=1, reset=7"}},
       0,
       ": 0 of 10 left for 7s, window -"},
      {"draft 07, others ignored",
       {{"RateLimit", "remaining=0, x=(1 2)"}},
       0,
       ": 0 of - left for -, window -"},
      {"drafts 03 to 05",
       {{"RateLimit-Limit", "10, 100;w=60"},
        {"RateLimit-Remaining", "9"},
        {"RateLimit-Reset", "50"}},
       0,
       ": 9 of 10 left for 50s, window -"},
      {"drafts 03 to 05",
       {{"RateLimit-Limit", "100, 10;w=1, 100;w=60;comment=\"slow\""}},
       0,
       ": - of 100 left for -, window 1m"},
      {"draft 06",
       {{"RateLimit-Limit", "100"},
        {"RateLimit-Policy", "100;w=10"},
        {"RateLimit-Reset", "5"}},
       0,
       ": - of 100 left for 5s, window 10s"},
      {"Kong",
       {{"RateLimit-Reset", "36"},
        {"RateLimit-Remaining", "0"},
        {"X-RateLimit-Remaining-Minute", "0"},
        {"X-RateLimit-Limit-Minute", "20"}},
       0,
       ": 0 of - left for 36s, window -; minute: 0 of 20 left for -, window "
       "1m"},
      {"GitLab, a date under the IETF's name",
       {{"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "1691591363"}},
       1691591300,
       ": 0 of - left for 1m3s, window -"},
      {"Envoy",
       {{"x-ratelimit-limit", "10, 10;w=1;name=\"per second\", 1000;w=3600"},
        {"x-ratelimit-remaining", "9"},
        {"x-ratelimit-reset", "1"}},
       0,
       ": 9 of 10 left for 1s, window 1s"},
      {"Docker Hub",
       {{"ratelimit-limit", "100;w=21600"},
        {"ratelimit-remaining", "76;w=21600"}},
       0,
       ": 76 of 100 left for -, window 6h"},
  });
}

TEST(RateLimitHeadersTest, EverybodyElse) {
  Check({
      {"OpenAI",
       {{"x-ratelimit-limit-requests", "60"},
        {"x-ratelimit-limit-tokens", "150000"},
        {"x-ratelimit-remaining-requests", "59"},
        {"x-ratelimit-remaining-tokens", "149984"},
        {"x-ratelimit-reset-requests", "1s"},
        {"x-ratelimit-reset-tokens", "6m0s"},
        {"x-ratelimit-limit-project-tokens", "60000"},
        {"x-ratelimit-remaining-project-tokens", "57000"},
        {"x-ratelimit-reset-project-tokens", "3s"}},
       0,
       "requests: 59 of 60 left for 1s, window -; tokens: 149984 of 150000 "
       "left "
       "for 6m, window -; project-tokens: 57000 of 60000 left for 3s, window "
       "-"},
      {"Groq",
       {{"x-ratelimit-remaining-requests", "14370"},
        {"x-ratelimit-reset-requests", "2m59.56s"},
        {"x-ratelimit-reset-tokens", "7.66s"}},
       0,
       "requests: 14370 of - left for 2m59.56s, window -; tokens: - of - left "
       "for 7.66s, window -"},
      {"Azure OpenAI: -1 is none",
       {{"x-ratelimit-limit-tokens", "-1"},
        {"x-ratelimit-remaining-tokens", "-1"},
        {"x-ratelimit-reset-tokens", "0"}},
       0,
       "tokens: - of - left for 0, window -"},
      {"Azure OpenAI", {{"x-ratelimit-remaining-requests", "-1"}}, 0, ""},
      {"GitHub",
       {{"x-ratelimit-limit", "60"},
        {"x-ratelimit-remaining", "0"},
        {"x-ratelimit-used", "60"},
        {"x-ratelimit-resource", "core"},
        {"x-ratelimit-reset", "1691591363"}},
       1691591303,
       ": 0 of 60 left for 1m, window -"},
      {"Discord",
       {{"X-RateLimit-Limit", "5"},
        {"X-RateLimit-Remaining", "0"},
        {"X-RateLimit-Reset", "1470173023.123"},
        {"X-RateLimit-Reset-After", "1.5"},
        {"X-RateLimit-Bucket", "abcd1234"}},
       1470173022,
       ": 0 of 5 left for 1.5s, window -"},
      {"OpenRouter",
       {{"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1791331200000"}},
       1791331190,
       ": 0 of - left for 10s, window -"},
      {"Atlassian",
       {{"X-RateLimit-Reset", "2025-10-08T15:00:00Z"}},
       1759935540,
       ": - of - left for 1m, window -"},
      {"Together",
       {{"x-ratelimit-reset", "1"}, {"x-ratelimit-limit-dynamic", "20"}},
       0,
       ": - of - left for 1s, window -; dynamic: - of 20 left for -, window -"},
      {"Twitter",
       {{"x-rate-limit-remaining", "0"}, {"x-rate-limit-reset", "1700000007"}},
       1700000000,
       ": 0 of - left for 7s, window -"},
      {"a day or more in seconds is no wait",
       {{"X-RateLimit-Reset", "90000"}},
       0,
       ""},
      {"garbage alone",
       {{"X-RateLimit-Limit", "many"},
        {"X-RateLimit-Limit", "1 2"},
        {"X-RateLimit-Limit", ""},
        {"X-RateLimit-Limit", "?1"},
        {"X-RateLimit-Limit", "\"5\""},
        {"X-RateLimit-Limit", "(5)"},
        {"X-RateLimit-Limit", "18446744073709551615"},
        {"X-RateLimit-Reset", "soon"},
        {"X-RateLimit-Remaining", " 2.9\t"}},
       0,
       ": 2 of - left for -, window -"},
      {"twice: the smaller number, the longer wait",
       {{"X-RateLimit-Remaining", "1"},
        {"X-RateLimit-Remaining", "0"},
        {"X-RateLimit-Remaining", "2"},
        {"X-RateLimit-Reset", "3"},
        {"X-RateLimit-Reset", "9"},
        {"X-RateLimit-Reset", "4"}},
       0,
       ": 0 of - left for 9s, window -"},
      {"not of these",
       {{"X-RateLimit", "5"},
        {"X-RateLimit-", "5"},
        {"X-RateLimit-Limits", "5"},
        {"X-RateLimit-Limit-", "5"},
        {"Y-RateLimit-Limit", "5"},
        {"RateLimitLimit", "5"},
        {"", "5"}},
       0,
       ""},
  });
}

TEST(RateLimitHeadersTest, FormatAsAnArgument) {
  EXPECT_EQ(Show(ReadRateLimitHeaders({{"X-RateLimit-Reset", "90000"}}, At(0),
                                      DelayFormat::kSeconds)),
            ": - of - left for 25h, window -");
  // Who sends an instant may also send the seconds until then.
  EXPECT_EQ(
      Show(ReadRateLimitHeaders({{"X-RateLimit-Reset-After", "1.5"}},
                                At(1700000000), DelayFormat::kEpochSeconds)),
      ": - of - left for 1.5s, window -");
  EXPECT_EQ(Show(Read({{"X-RateLimit-Reset-After", "90000"}})),
            ": - of - left for 25h, window -");
}

TEST(RateLimitHeadersTest, WaitForExhausted) {
  const auto wait = [](const Fields& fields) {
    return WaitForExhausted(Read(fields));
  };
  EXPECT_EQ(wait({}), std::nullopt);
  EXPECT_EQ(wait({{"RateLimit", "\"a\";r=1;t=9"}}), std::nullopt);
  EXPECT_EQ(wait({{"RateLimit", "\"a\";r=0"}}), std::nullopt);
  EXPECT_EQ(wait({{"RateLimit", "\"a\";r=0;t=0"}}), absl::ZeroDuration());
  EXPECT_EQ(wait({{"RateLimit", "\"a\";r=0;t=2, \"b\";r=0;t=3, \"c\";r=5;t=9"},
                  {"X-RateLimit-Remaining", "0"},
                  {"X-RateLimit-Reset", "1"}}),
            absl::Seconds(3));
}

TEST(RateLimitHeadersTest, Bounds) {
  std::string many;
  for (int i = 0; i < 500; ++i) {
    absl::StrAppend(&many, i == 0 ? "" : ",", "\"p", i, "\";r=1;q=1");
  }
  EXPECT_EQ(Read({{"RateLimit", many}}).size(), kMaxAnnouncedLimits);
  EXPECT_EQ(Read({{"RateLimit-Policy", many}}).size(), kMaxAnnouncedLimits);
  std::vector<std::string> names;
  for (int i = 0; i < 1000; ++i) {
    names.push_back(absl::StrCat("X-RateLimit-Limit-", i));
  }
  Fields fields;
  for (const std::string& name : names) fields.push_back({name, "1"});
  EXPECT_EQ(Read(fields).size(), kMaxAnnouncedLimits);
  // One more than there may be, of both kinds.
  fields.resize(kMaxAnnouncedLimits);
  EXPECT_EQ(Read(fields).size(), kMaxAnnouncedLimits);
  fields.push_back({"RateLimit", "\"a\";r=1"});
  EXPECT_EQ(Read(fields).size(), kMaxAnnouncedLimits);
  fields.back().value = many;
  EXPECT_EQ(Read(fields).size(), kMaxAnnouncedLimits);
  EXPECT_EQ(Read(Fields(16, {"RateLimit", "\"a\";r=1"})).size(), 16);
  EXPECT_EQ(Read(Fields(17, {"RateLimit", "\"a\";r=1"})).size(), 0);
  const std::string name = "X-RateLimit-Limit-" + std::string(100, 'x');
  EXPECT_EQ(Read({{absl::string_view(name).substr(0, 64), "1"}}).size(), 1);
  EXPECT_EQ(Read({{absl::string_view(name).substr(0, 65), "1"}}).size(), 0);
}

// Limits made up and written down in each of the four ways, with other lines between
// them: what is read is what was written.
TEST(RateLimitHeadersTest, WhatWasWritten) {
  for (uint64_t seed = 0; seed < 200000; ++seed) {
    uint64_t n = 0;
    const auto below = [&](uint64_t m) { return MixRandom(seed, n++) % m; };
    const uint64_t way = below(4);
    std::vector<AnnouncedLimit> written(way == 0 || way == 3 ? 1 + below(3)
                                                             : 1);
    // Name and value of each line.
    std::vector<std::pair<std::string, std::string>> lines;
    std::string list;
    std::string policies;
    for (size_t i = 0; i < written.size(); ++i) {
      AnnouncedLimit& limit = written[i];
      limit.limit = static_cast<int64_t>(below(1000000000000000));
      limit.remaining = static_cast<int64_t>(below(4) == 0 ? 0 : below(1000));
      limit.reset = absl::Seconds(below(86400));
      const std::string count = absl::StrCat(*limit.limit);
      const std::string left = absl::StrCat(*limit.remaining);
      const std::string reset =
          absl::StrCat(absl::ToInt64Seconds(*limit.reset));
      const uint64_t window = 1 + below(100000);
      switch (way) {
        case 0: {
          limit.name = absl::StrCat("p", i);
          limit.window = absl::Seconds(window);
          const std::string between = i == 0 ? "" : below(2) == 0 ? "," : " , ";
          absl::StrAppend(&list, between, "\"", limit.name, "\";r=", left,
                          ";t=", reset);
          absl::StrAppend(&policies, between, "\"", limit.name, "\";q=", count,
                          ";w=", window);
          if (below(2) == 0) {
            limit.unit = "content-bytes";
            policies += ";qu=\"content-bytes\"";
          }
          break;
        }
        case 1:
          limit.window = absl::Seconds(window);
          list = absl::StrCat("limit=", count, ", remaining=", left,
                              ", reset=", reset);
          policies = absl::StrCat(count, ";w=", window);
          break;
        case 2:
          limit.window = absl::Seconds(window);
          lines.emplace_back("RateLimit-Limit",
                             absl::StrCat(count, ", ", count, ";w=", window));
          lines.emplace_back("RateLimit-Remaining", left);
          lines.emplace_back("RateLimit-Reset", reset);
          break;
        default: {
          limit.name = i == 0 ? "" : absl::StrCat("tokens", i);
          const std::string end = i == 0 ? "" : "-" + limit.name;
          lines.emplace_back("X-RateLimit-Limit" + end, count);
          lines.emplace_back("x-ratelimit-remaining" + end, left);
          lines.emplace_back("X-RATELIMIT-RESET" + end,
                             below(2) == 0 ? reset : reset + "s");
        }
      }
    }
    if (!list.empty()) {
      lines.emplace_back("RateLimit", list);
      lines.emplace_back("RateLimit-Policy", policies);
    }
    Fields fields;
    for (const auto& [name, value] : lines) {
      if (below(2) == 0) fields.push_back({"X-Other", "1"});
      fields.push_back({name, value});
    }
    ASSERT_EQ(Show(Read(fields)), Show(written)) << "seed " << seed;
  }
}

// Whatever comes: bounded, nothing negative.
TEST(RateLimitHeadersTest, RandomFields) {
  static constexpr const char* kPieces[] = {
      "RateLimit", "-Policy",    "X-",
      "-Limit",    "-Remaining", "-Reset",
      "-tokens",   "\"a\"",      ";",
      "r",         "=",          "0",
      "t",         "q",          "w",
      ",",         " ",          "17",
      "limit",     "remaining",  "reset",
      "-1",        "pk",         ":AA==:",
      "6m0s",      "(",          ")",
      "\\",        "\x80",       "1e9",
      "age",       "2025-",      "99999999999999"};
  for (uint64_t seed = 0; seed < 100000; ++seed) {
    uint64_t n = 0;
    const auto text = [&](uint64_t length) {
      std::string result;
      for (uint64_t i = 1 + MixRandom(seed, n++) % length; i > 0; --i) {
        result += kPieces[MixRandom(seed, n++) % std::size(kPieces)];
      }
      return result;
    };
    std::vector<std::string> texts;
    for (int i = 0; i < 8; ++i) texts.push_back(text(i % 2 == 0 ? 3 : 12));
    texts[2] = "RateLimit";
    texts[4] = "X-RateLimit-Reset";
    Fields fields;
    for (int i = 0; i < 8; i += 2) fields.push_back({texts[i], texts[i + 1]});
    for (const AnnouncedLimit& limit : Read(fields)) {
      ASSERT_GE(limit.limit.value_or(0), 0) << "seed " << seed;
      ASSERT_GE(limit.remaining.value_or(0), 0) << "seed " << seed;
      ASSERT_GE(limit.reset.value_or(absl::ZeroDuration()),
                absl::ZeroDuration())
          << "seed " << seed;
      ASSERT_GT(limit.window.value_or(absl::Seconds(1)), absl::ZeroDuration())
          << "seed " << seed;
    }
  }
}

// A proxy's limit and the server's own, under two families of names: two limits.
TEST(RateLimitHeadersTest, FamiliesAreLimitsOfTheirOwn) {
  EXPECT_EQ(Show(Read({{"RateLimit-Remaining", "5"},
                       {"X-RateLimit-Remaining", "0"},
                       {"X-RateLimit-Reset", "7"}})),
            ": 5 of - left for -, window -; : 0 of - left for 7s, window -");
}

std::optional<LimitStand> StandOf(const Fields& fields) {
  return StandOfRequests(Read(fields));
}

TEST(StandOfRequestsTest, TheOneWithLeastLeft) {
  const std::optional<LimitStand> stand =
      StandOf({{"x-ratelimit-limit-requests", "100"},
               {"x-ratelimit-remaining-requests", "30"},
               {"x-ratelimit-reset-requests", "7s"},
               {"x-ratelimit-limit-tokens", "1000"},
               {"x-ratelimit-remaining-tokens", "3"},
               {"x-ratelimit-reset-tokens", "1s"},
               {"ratelimit-limit", "50"},
               {"ratelimit-remaining", "20"},
               {"ratelimit-reset", "3"}});
  ASSERT_TRUE(stand.has_value());
  EXPECT_EQ(stand->limit, 50);
  EXPECT_EQ(stand->remaining, 20);
  EXPECT_EQ(stand->reset, absl::Seconds(3));
}

TEST(StandOfRequestsTest, AllOfItMustBeThere) {
  const Fields all = {{"x-ratelimit-limit", "10"},
                      {"x-ratelimit-remaining", "4"},
                      {"x-ratelimit-reset", "2"}};
  EXPECT_TRUE(StandOf(all).has_value());
  for (size_t i = 0; i < all.size(); ++i) {
    Fields less = all;
    less.erase(less.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_FALSE(StandOf(less).has_value()) << i;
  }
  EXPECT_FALSE(StandOf({}).has_value());
}

TEST(StandOfRequestsTest, TokensAreNotRequests) {
  EXPECT_FALSE(StandOf({{"x-ratelimit-limit-tokens", "1000"},
                        {"x-ratelimit-remaining-tokens", "3"},
                        {"x-ratelimit-reset-tokens", "1s"}})
                   .has_value());
  AnnouncedLimit limit;
  limit.limit = limit.remaining = 5;
  limit.reset = absl::Seconds(1);
  limit.unit = "content-bytes";
  EXPECT_FALSE(StandOfRequests({limit}).has_value());
  limit.unit = "requests";
  EXPECT_TRUE(StandOfRequests({limit}).has_value());
}

TEST(StandOfRequestsTest, WhichNamesMayTell) {
  for (const char* name : {"ratelimit", "RateLimit-Policy", "X-RateLimit-Reset",
                           "anthropic-ratelimit-requests-limit"}) {
    EXPECT_TRUE(MayTellOfLimit(name)) << name;
  }
  for (const char* name : {"", "rate-limit", "retry-after", "ratelimi"}) {
    EXPECT_FALSE(MayTellOfLimit(name)) << name;
  }
  // The same as to look for the word in lower case.
  constexpr absl::string_view kWord = "RaTelimit";
  for (uint64_t seed = 0; seed < 200000; ++seed) {
    uint64_t random = MixRandom(seed, 1);
    const auto pick = [&random](size_t n) {
      random = MixRandom(random, 2);
      return random % n;
    };
    std::string name;
    for (size_t i = pick(6); i > 0; --i) {
      const size_t at = pick(kWord.size());
      absl::StrAppend(&name,
                      pick(3) == 0 ? kWord : kWord.substr(at, 1 + pick(9)));
      if (pick(4) == 0) name += 'x';
    }
    EXPECT_EQ(MayTellOfLimit(name),
              absl::StrContains(absl::AsciiStrToLower(name), "ratelimit"))
        << name;
  }
}

}  // namespace
}  // namespace forbear
