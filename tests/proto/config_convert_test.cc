#include "proto/config_convert.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/duration_text.h"
#include "core/policy.h"
#include "core/random.h"
#include "core/retry_policy.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "tests/proto/fields.h"

namespace forbear::testing {
namespace {

// Without targets, which have the same again, and fields of their own.
std::vector<std::string> FieldsOfTheTop() {
  return FieldsOf(*v1::Config::descriptor(), {"targets"});
}

constexpr ConfigFormat kText = ConfigFormat::kTextproto;
constexpr ConfigFormat kJson = ConfigFormat::kJson;

std::string Text(const Settings& settings) {
  return ConfigToProto(settings).DebugString();
}

std::string Refusal(absl::string_view text, ConfigFormat format) {
  const absl::StatusOr<Settings> settings = ParseConfig(text, format);
  EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument)
      << text;
  return std::string(settings.status().message());
}

TEST(ConfigConvertTest, NothingIsTheDefault) {
  const std::string defaults = Text(Settings());
  EXPECT_EQ(Text(ParseConfig("", kText).value()), defaults);
  EXPECT_EQ(Text(ParseConfig("# nothing\n", kText).value()), defaults);
  EXPECT_EQ(Text(ParseConfig("{}", kJson).value()), defaults);
  EXPECT_EQ(
      Text(ParseConfig(R"({"retry": {"backoff": {}}, "name": null})", kJson)
               .value()),
      defaults);
  EXPECT_EQ(Text(ConfigFromProto(v1::Config()).value()), defaults);
}

TEST(ConfigConvertTest, BothFormatsSayTheSame) {
  const Settings text = ParseConfig(R"(
      # Why not.
      name: "patient"
      enabled: false
      retry {
        max_attempts: 5
        max_elapsed: "1m30s"
        when_open: FAIL
        backoff { initial: "250ms", multiplier: 1.5; jitter: PLUS_MINUS }
      }
      quota: { max_waiters: 10 }
      endpoint <
        budget { enabled: false }
        breaker { min_open: "1s500ms" }
      >)",
                                    kText)
                            .value();
  const Settings json = ParseConfig(R"({
      "name": "patient", "enabled": false,
      "retry": {"max_attempts": 5, "maxElapsed": "1m30s", "when_open": "FAIL",
                "backoff": {"initial": "250ms", "multiplier": 1.5,
                            "jitter": "PLUS_MINUS"}},
      "quota": {"maxWaiters": 10},
      "endpoint": {"budget": {"enabled": false},
                   "breaker": {"min_open": "1s500ms"}}})",
                                    kJson)
                            .value();
  EXPECT_EQ(Text(text), Text(json));
  EXPECT_EQ(text.name, "patient");
  EXPECT_FALSE(text.enabled);
  EXPECT_EQ(text.retry.max_attempts, 5);
  EXPECT_EQ(text.retry.max_elapsed, absl::Seconds(90));
  EXPECT_EQ(text.retry.when_open, WhenOpen::kFail);
  EXPECT_EQ(text.retry.backoff.initial, absl::Milliseconds(250));
  EXPECT_EQ(text.retry.backoff.multiplier, 1.5);
  EXPECT_EQ(text.retry.backoff.jitter, Jitter::kPlusMinus);
  EXPECT_EQ(text.quota.max_waiters, 10);
  EXPECT_FALSE(text.endpoint.budget.enabled);
  EXPECT_EQ(text.endpoint.breaker.min_open, absl::Milliseconds(1500));
}

Settings RandomSettings(uint64_t seed) {
  uint64_t n = 0;
  const auto unit = [&] { return UnitRandom(seed, n++); };
  const auto number = [&](int low, int high) {
    return low + static_cast<int>(unit() * (high - low));
  };
  const auto duration = [&](absl::Duration low, absl::Duration high) {
    return absl::Floor(low + (high - low) * unit(), absl::Nanoseconds(1));
  };
  Settings s;
  s.name = absl::StrCat("n", seed);
  s.enabled = unit() < 0.5;
  s.max_targets = number(1, 10000000);
  s.retry.enabled = unit() < 0.5;
  s.retry.yield_to_outer = unit() < 0.5;
  s.retry.max_attempts = number(1, 100);
  s.retry.max_elapsed = duration(absl::ZeroDuration(), absl::Hours(24));
  if (unit() < 0.5) {
    s.retry.attempt_timeout =
        duration(absl::Milliseconds(1), absl::Hours(9999));
  }
  s.retry.max_believed_wait = duration(absl::Seconds(1), absl::Hours(8760));
  s.retry.when_open = static_cast<WhenOpen>(number(0, 2));
  s.retry.backoff.initial = duration(absl::ZeroDuration(), absl::Hours(1));
  s.retry.backoff.multiplier = 1 + unit() * 99;
  s.retry.backoff.max = duration(absl::Hours(1), absl::Hours(24));
  s.retry.backoff.jitter = static_cast<Jitter>(number(0, 3));
  s.quota.max_waiters = number(1, 10000000);
  EndpointOptions& e = s.endpoint;
  e.max_waiters = number(1, 10000000);
  e.breaker.enabled = unit() < 0.5;
  e.breaker.failure_ratio = 0.01 + unit() * 0.99;
  e.breaker.min_calls = number(1, 1000000);
  e.breaker.window = duration(absl::Seconds(1), absl::Hours(1));
  e.breaker.first_failures = number(1, 1000000);
  e.breaker.min_open = duration(absl::Milliseconds(1), absl::Hours(1));
  e.breaker.max_open = duration(absl::Hours(1), absl::Hours(24));
  e.breaker.successes_to_close = number(1, 1000);
  e.breaker.probe_lease = duration(absl::Milliseconds(1), absl::Hours(1));
  e.budget.enabled = unit() < 0.5;
  e.budget.capacity = number(1000, 1000000);
  e.budget.transient_cost = number(0, 1000);
  e.budget.throttled_cost = number(0, 1000);
  return s;
}

TEST(ConfigConvertTest, RoundTrip) {
  const char* const text = std::getenv("FORBEAR_SEED");
  const uint64_t first = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  const std::string defaults = Text(Settings());
  for (uint64_t seed = first; seed < first + 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("FORBEAR_SEED=", seed));
    const v1::Config proto = ConfigToProto(RandomSettings(seed));
    for (const std::string& path : FieldsOfTheTop()) {
      ASSERT_NE(ValueAt(proto, path), "") << path << " is not written";
    }
    std::string written;
    ASSERT_TRUE(google::protobuf::TextFormat::PrintToString(proto, &written));
    ASSERT_EQ(Text(ParseConfig(written, kText).value()), proto.DebugString());
    written.clear();
    ASSERT_TRUE(
        google::protobuf::util::MessageToJsonString(proto, &written).ok());
    ASSERT_EQ(Text(ParseConfig(written, kJson).value()), proto.DebugString());
    ASSERT_EQ(Text(ConfigFromProto(proto).value()), proto.DebugString());
  }
}

// ---- Faults.

TEST(ConfigConvertTest, AllFaultsOfAText) {
  EXPECT_EQ(Refusal(R"(retry {
  max_attemps: 5
  max_attempts: "many"
  max_elapsed: "5"
  when_open: MAYBE
  backoff {
    multiplier: nan
    jitter: 1.5
    initial: "-1s"
  }
}
colour: "blue"
quota { max_waiters: 0 }
endpoint { breaker { min_open: "20s" failure_ratio: 2 } }
)",
                    kText),
            "11 faults: "
            "line 2, column 14: Message type \"forbear.v1.Retry\" has no field "
            "named \"max_attemps\".; "
            "line 3, column 17: Expected integer, got: \"many\"; "
            "line 5, column 14: Unknown enumeration value of \"MAYBE\" for "
            "field \"when_open\".; "
            "line 8, column 13: Expected integer or identifier, got: 1.5; "
            "line 12, column 7: Message type \"forbear.v1.Config\" has no "
            "field named \"colour\".; "
            "retry.max_elapsed is \"5\"; a duration is written like 250ms, 2s "
            "or 1m30s; "
            "retry.backoff.initial is \"-1s\"; a duration is written like "
            "250ms, 2s or 1m30s; "
            "retry.backoff.multiplier is nan; it must be 1 … 100; "
            "quota.max_waiters is 0; it must be 1 … 10000000; "
            "endpoint.breaker.failure_ratio is 2; it must be 0.01 … 1; "
            "endpoint.breaker.max_open is 10s; it must be 20s … 24h");
}

TEST(ConfigConvertTest, AllFaultsOfAJson) {
  EXPECT_EQ(
      Refusal(R"({
  "retry": {
    "max_attemps": 5,
    "max_attempts": "many",
    "max_elapsed": 5,
    "when_open": "MAYBE",
    "attempt_timeout": "0",
    "backoff": {"multiplier": "NaN", "initial": "-1s", "max": {"x": 1}}
  },
  "colour": "blue",
  "name": "a b",
  "quota": [1],
  "endpoint": {"max_waiters": 2147483648, "budget": {"capacity": 1.5}}
})",
              kJson),
      "13 faults: colour: there is no such field; "
      "endpoint.budget.capacity is 1.5; it must be a whole number of 32 bits; "
      "endpoint.max_waiters is 2147483648; it must be a whole number of 32 "
      "bits; "
      "quota is [1]; it must be an object, { … }; "
      "retry.backoff.max is {\"x\":1}; it must be a text in quotes; "
      "retry.max_attemps: there is no such field; "
      "retry.max_attempts is \"many\"; it must be a whole number of 32 bits; "
      "retry.max_elapsed is 5; it must be a text in quotes; "
      "retry.when_open is \"MAYBE\"; it must be \"WAIT\" or \"FAIL\"; "
      "retry.backoff.initial is \"-1s\"; a duration is written like 250ms, 2s "
      "or 1m30s; "
      "name has 3 bytes; it must be 1 … 64 of printable ASCII without blanks; "
      "retry.attempt_timeout is 0; it must be 1ms … inf; "
      "retry.backoff.multiplier is nan; it must be 1 … 100");
}

TEST(ConfigConvertTest, WhatIsNoConfiguration) {
  for (const char* text : {"retry {", "}", "retry: 1", "retry", "{}", "\"",
                           "retry { backoff { initial: \"1s\" }",
                           "max_targets: 1 max_targets: 2"}) {
    (void)Refusal(text, kText);
  }
  for (const char* text : {"", "[]", "null", "{", "{} {}", "{\"retry\": 1}",
                           "{\"retry\": []}", "{'retry': }", "retry { }"}) {
    (void)Refusal(text, kJson);
  }
  // One that cannot be left out ends the reading.
  EXPECT_EQ(
      Refusal("max_targets: 0\nretry { max_attempts: x }\nenabled: 7\n", kText),
      "3 faults: line 2, column 23: Expected integer, got: x; "
      "what follows was not read; "
      "max_targets is 0; it must be 1 … 10000000");
}

TEST(ConfigConvertTest, EnumNumbersNobodyKnows) {
  v1::Config proto;
  proto.mutable_retry()->set_when_open(static_cast<v1::Retry::WhenOpen>(7));
  proto.mutable_retry()->mutable_backoff()->set_jitter(
      static_cast<v1::Backoff::Jitter>(8));
  EXPECT_EQ(ConfigFromProto(proto).status().message(),
            "2 faults: retry.when_open is 7, which this version does not know; "
            "retry.backoff.jitter is 8, which this version does not know");
}

TEST(ConfigConvertTest, Files) {
  EXPECT_EQ(ConfigFormatOf("a.textproto").value(), kText);
  EXPECT_EQ(ConfigFormatOf("/x/a.txtpb").value(), kText);
  EXPECT_EQ(ConfigFormatOf("a.json").value(), kJson);
  for (const char* path : {"", "a", "json", "a.yaml", "a.json.bak"}) {
    EXPECT_EQ(ConfigFormatOf(path).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  const std::string folder = ::testing::TempDir();
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder + name, std::ios::binary) << text;
    return folder + name;
  };
  EXPECT_EQ(LoadConfig(write("a.textproto", "max_targets: 7"))->max_targets, 7);
  EXPECT_EQ(LoadConfig(write("a.json", "{\"max_targets\": 7}"))->max_targets,
            7);
  EXPECT_EQ(LoadConfig(write("b.textproto", ""))->max_targets, 4096);
  const std::string bad = write("c.json", "{\"max_targets\": 0}");
  EXPECT_EQ(LoadConfig(bad).status().message(),
            absl::StrCat(bad,
                         ": 1 fault: max_targets is 0; it must be 1 … "
                         "10000000"));
  EXPECT_EQ(LoadConfig(folder + "none.json").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(
      LoadConfig(write("big.textproto", std::string(kMaxConfigBytes + 1, ' ')))
          .status()
          .code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(
      LoadConfig(write("full.textproto", std::string(kMaxConfigBytes, ' ')))
          .ok());
}

// ---- The guide.

TEST(ConfigConvertTest, TheGuideHasEveryFieldAndItsDefault) {
  std::ifstream file("docs/config.md");
  std::stringstream text;
  text << file.rdbuf();
  const v1::Config defaults = ConfigToProto(Settings());
  for (const std::string& path : FieldsOfTheTop()) {
    const std::string row =
        absl::StrCat("| `", path, "` | `", ValueAt(defaults, path), "` |");
    EXPECT_TRUE(absl::StrContains(text.str(), row))
        << "docs/config.md lacks " << row;
  }
}

// Its first example, too.
TEST(ConfigConvertTest, TheExamplesOfTheGuideAreValid) {
  std::ifstream file("docs/config.md");
  std::stringstream all;
  all << file.rdbuf();
  const std::string text = all.str();
  int examples = 0;
  for (const auto& [mark, format] : {std::make_pair("```textproto\n", kText),
                                     std::make_pair("```json\n", kJson)}) {
    for (size_t at = text.find(mark); at != std::string::npos;
         at = text.find(mark, at + 1)) {
      const size_t begin = text.find('\n', at) + 1;
      const std::string example =
          text.substr(begin, text.find("```", begin) - begin);
      EXPECT_TRUE(ParseConfig(example, format).ok())
          << ParseConfig(example, format).status() << "\n"
          << example;
      ++examples;
    }
  }
  EXPECT_GE(examples, 2);
}

}  // namespace
}  // namespace forbear::testing
