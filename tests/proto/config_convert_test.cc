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

// Only of it.
std::vector<std::string> FieldsOfATarget() {
  return FieldsOf(*v1::Target::descriptor(), {"retry", "quota", "endpoint"});
}

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

Settings RandomSettings(uint64_t seed);

TEST(ConfigConvertTest, ATargetInheritsWhatItDoesNotSet) {
  const Settings text = ParseConfig(R"(
      name: "top"
      retry { max_attempts: 4 backoff { initial: "1s" } }
      quota { max_waiters: 7 }
      targets {
        name: "chat"
        match { hosts: "a" methods: ["GET", "PUT"] paths: "/v1/*" }
        enabled: false
        retry { backoff { multiplier: 3 } }
        endpoint {}
      }
      targets {
        name: "rpc" match { rpcs: "*" } quota { max_waiters: 8 }
        retryable_codes: [UNAVAILABLE, ABORTED]
      })",
                                    kText)
                            .value();
  const Settings json = ParseConfig(R"({
      "name": "top",
      "retry": {"max_attempts": 4, "backoff": {"initial": "1s"}},
      "quota": {"max_waiters": 7},
      "targets": [
        {"name": "chat",
         "match": {"hosts": ["a"], "methods": ["GET", "PUT"],
                   "paths": ["/v1/*"]},
         "enabled": false, "retry": {"backoff": {"multiplier": 3}},
         "endpoint": {}},
        {"name": "rpc", "match": {"rpcs": ["*"]},
         "quota": {"maxWaiters": 8},
         "retryableCodes": ["UNAVAILABLE", 10]}]})",
                                    kJson)
                            .value();
  EXPECT_EQ(Text(text), Text(json));
  ASSERT_EQ(text.targets.size(), 2u);
  const TargetPolicy& chat = text.targets[0];
  EXPECT_EQ(chat.name, "chat");
  EXPECT_EQ(chat.match.hosts, std::vector<std::string>{"a"});
  EXPECT_EQ(chat.match.methods, (std::vector<std::string>{"GET", "PUT"}));
  EXPECT_EQ(chat.match.paths, std::vector<std::string>{"/v1/*"});
  EXPECT_FALSE(chat.enabled);
  EXPECT_EQ(chat.retry.max_attempts, 4);
  EXPECT_EQ(chat.retry.backoff.initial, absl::Seconds(1));
  EXPECT_EQ(chat.retry.backoff.multiplier, 3);
  EXPECT_EQ(chat.quota.max_waiters, 7);
  EXPECT_FALSE(chat.own_quota);
  EXPECT_TRUE(chat.own_endpoint);
  EXPECT_TRUE(chat.retryable_codes.empty());
  const TargetPolicy& rpc = text.targets[1];
  EXPECT_TRUE(rpc.enabled);
  EXPECT_TRUE(rpc.own_quota);
  EXPECT_FALSE(rpc.own_endpoint);
  EXPECT_EQ(rpc.quota.max_waiters, 8);
  EXPECT_EQ(rpc.retryable_codes, (std::vector<int>{14, 10}));
}

// Whatever a policy has, a target can set, for itself alone.
TEST(ConfigConvertTest, ATargetMaySetEveryFieldOfAPolicy) {
  for (uint64_t seed = 1; seed < 20; ++seed) {
    const v1::Config other = ConfigToProto(RandomSettings(seed));
    v1::Config config;
    v1::Target* const target = config.add_targets();
    target->set_name("t");
    target->mutable_match()->add_hosts("h");
    target->set_enabled(other.enabled());
    target->set_profile(other.profile());
    target->set_idempotency_header(other.idempotency_header());
    *target->mutable_retry() = other.retry();
    *target->mutable_quota() = other.quota();
    *target->mutable_endpoint() = other.endpoint();
    const Settings settings = ConfigFromProto(config).value();
    EXPECT_EQ(TargetToProto(settings.targets[0]).DebugString(),
              target->DebugString());
    v1::Config top = ConfigToProto(settings);
    top.clear_targets();
    EXPECT_EQ(top.DebugString(), Text(Settings()));
    // And as the top level of a target that sets nothing.
    config = other;
    config.clear_targets();
    config.add_targets()->set_name("t");
    config.mutable_targets(0)->mutable_match()->add_hosts("h");
    const TargetPolicy heir = ConfigFromProto(config)->targets[0];
    EXPECT_FALSE(heir.own_quota || heir.own_endpoint);
    TargetPolicy own = heir;
    own.own_quota = own.own_endpoint = true;
    EXPECT_EQ(TargetToProto(own).retry().DebugString(),
              other.retry().DebugString());
    EXPECT_EQ(TargetToProto(own).quota().DebugString(),
              other.quota().DebugString());
    EXPECT_EQ(TargetToProto(own).endpoint().DebugString(),
              other.endpoint().DebugString());
    EXPECT_EQ(own.enabled, other.enabled());
    EXPECT_EQ(own.profile, other.profile());
    EXPECT_EQ(own.idempotency_header, other.idempotency_header());
  }
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
  if (unit() < 0.5) s.profile = absl::StrCat("p-", number(0, 9));
  if (unit() < 0.5) s.idempotency_header = absl::StrCat("X-", number(0, 9));
  for (int i = number(0, 3); i > 0; --i) {
    s.profiles.push_back(absl::StrCat("q", i));
    s.profile_files.push_back(absl::StrCat("/a b/", i, ".json"));
  }
  s.retry.enabled = unit() < 0.5;
  s.retry.yield_to_outer = unit() < 0.5;
  s.retry.hedge.enabled = unit() < 0.5;
  s.retry.hedge.delay = duration(absl::ZeroDuration(), absl::Hours(1));
  s.retry.hedge.max_hedges = number(1, 4);
  s.retry.hedge.billable_consent = unit() < 0.5;
  s.retry.hedge.repeat_consent = unit() < 0.5;
  s.retry.max_attempts = number(1, 100);
  s.retry.max_elapsed = duration(absl::ZeroDuration(), absl::Hours(24));
  if (unit() < 0.5) {
    s.retry.attempt_timeout =
        duration(absl::Milliseconds(1), absl::Hours(9999));
  }
  if (unit() < 0.5) {
    s.retry.call_timeout = duration(absl::Milliseconds(1), absl::Hours(9999));
  }
  s.retry.max_believed_wait = duration(absl::Seconds(1), absl::Hours(8760));
  s.retry.when_open = static_cast<WhenOpen>(number(0, 2));
  s.retry.backoff.initial = duration(absl::ZeroDuration(), absl::Hours(1));
  s.retry.backoff.multiplier = 1 + unit() * 99;
  s.retry.backoff.max = duration(absl::Hours(1), absl::Hours(24));
  s.retry.backoff.jitter = static_cast<Jitter>(number(0, 3));
  s.retry.backoff.lone_part = unit();
  s.quota.max_waiters = number(1, 10000000);
  s.quota.limits_enabled = unit() < 0.5;
  s.quota.pacing = unit() < 0.5;
  s.quota.peers = number(1, 1000000);
  s.quota.pacing_parts = {unit() < 0.5, unit() < 0.5, unit() < 0.5};
  EndpointOptions& e = s.endpoint;
  e.max_waiters = number(1, 10000000);
  e.pacing = unit() < 0.5;
  e.peers = number(1, 1000000);
  // Nothing is told of an endpoint.
  e.pacing_parts = {unit() < 0.5, unit() < 0.5, /*told=*/true};
  e.breaker.enabled = unit() < 0.5;
  e.breaker.failure_ratio = 0.01 + unit() * 0.99;
  e.breaker.min_calls = number(1, 1000000);
  e.breaker.window = duration(absl::Seconds(1), absl::Hours(1));
  e.breaker.first_failures = number(1, 1000000);
  e.breaker.min_open = duration(absl::Milliseconds(1), absl::Hours(1));
  e.breaker.max_open = duration(absl::Hours(1), absl::Hours(24));
  e.breaker.successes_to_close = number(1, 1000);
  e.breaker.probe_lease = duration(absl::Milliseconds(1), absl::Hours(1));
  e.hedge_budget.ratio = unit();
  e.hedge_budget.per_second = unit() * 1000;
  e.hedge_budget.burst = number(1, 1000000);
  e.budget.enabled = unit() < 0.5;
  e.budget.capacity = number(1000, 1000000);
  e.budget.transient_cost = number(0, 1000);
  e.budget.throttled_cost = number(0, 1000);
  for (int i = number(0, 4); i > 0; --i) {
    TargetPolicy target(s);
    target.name = absl::StrCat("t-", i);
    target.match.hosts = {absl::StrCat("h", i), "*.x.org:80"};
    if (unit() < 0.5) {
      target.match.rpcs = {absl::StrCat("/p.S", i, "/*")};
      target.retryable_codes = {14, number(1, 17)};
      if (unit() < 0.5) target.wait_for_ready = unit() < 0.5;
    } else {
      target.match.methods = {"GET", "PUT"};
      target.match.paths = {absl::StrCat("/p", i), absl::StrCat("/p", i, "/*")};
    }
    target.enabled = unit() < 0.5;
    if (unit() < 0.5) target.profile = "p";
    if (unit() < 0.5) target.idempotency_header = "Idempotency-Key";
    target.own_quota = unit() < 0.5;
    target.own_endpoint = unit() < 0.5;
    target.retry.max_attempts = number(1, 100);
    if (target.own_quota) target.quota.max_waiters = number(1, 10000000);
    if (target.own_endpoint) target.endpoint.max_waiters = number(1, 10000000);
    s.targets.push_back(target);
  }
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

TEST(ConfigConvertTest, AllFaultsOfTargets) {
  EXPECT_EQ(
      Refusal(R"(retry { max_attempts: 0 }
targets { match { hosts: "*" } retry { max_elapsed: "5" } }
targets {
  name: "a"
  match { rpcs: "*" }
  retryable_codes: [OK, BUSY]
  retry { max_attempts: 0 backoff { jitter: 9 } }
  quota { max_waiters: 0 }
}
targets { name: "a" match { rpcs: "*" } retry { max_attempts: -1 } }
)",
              kText),
      "9 faults: line 6, column 25: Unknown enumeration value of \"BUSY\" for "
      "field \"retryable_codes\".; "
      "targets[0].retry.max_elapsed is \"5\"; a duration is written like "
      "250ms, 2s or 1m30s; "
      "targets[1].retry.backoff.jitter is 9, which this version does not know; "
      "retry.max_attempts is 0; it must be 1 … 100; "
      "targets[0].name is \"\"; it must be 1 … 64 letters, digits and ._-; "
      "targets[0].match.hosts[0] is \"*\"; it must be \"host\" or "
      "\"*.suffix\", also with \":port\"; "
      "targets[1].quota.max_waiters is 0; it must be 1 … 10000000; "
      "targets[2].name is \"a\"; so is the name of targets[1]; "
      "targets[2].retry.max_attempts is -1; it must be 1 … 100");
  EXPECT_EQ(
      Refusal(R"({"targets": [
        7,
        {"name": "a", "match": {"rpcs": ["*"]}, "speed": 1},
        {"name": 3, "match": {"hosts": ["h", 1]},
         "retry": {"max_attempts": "x", "backoff": []},
         "retryable_codes": ["BUSY"]},
        {"name": "b", "match": {"hosts": ["h"]}, "retryable_codes": ["OK"]}
      ], "retry": [{}]})",
              kJson),
      "13 faults: retry is [{}]; it must be an object, { … }; "
      "targets[0] is 7; it must be an object, { … }; "
      "targets[1].speed: there is no such field; "
      "targets[2].match.hosts is [\"h\",1]; it must be a list, [ … ], of which "
      "each is a text in quotes; "
      "targets[2].name is 3; it must be a text in quotes; "
      "targets[2].retry.backoff is []; it must be an object, { … }; "
      "targets[2].retry.max_attempts is \"x\"; it must be a whole number of 32 "
      "bits; "
      "targets[2].retryable_codes is [\"BUSY\"]; it must be a list, [ … ], of "
      "which each is \"OK\" or \"CANCELLED\" or \"UNKNOWN\" or "
      "\"INVALID_ARGUMENT\" or \"DEADLINE_EXCEEDED\" or \"NOT_FOUND\" or "
      "\"ALREADY_EXISTS\" or \"PERMISSION_DENIED\" or \"RESOURCE_EXHAUSTED\" "
      "or \"FAILED_PRECONDITION\" or \"ABORTED\" or \"OUT_OF_RANGE\" or "
      "\"UNIMPLEMENTED\" or \"INTERNAL\" or \"UNAVAILABLE\" or \"DATA_LOSS\" "
      "or \"UNAUTHENTICATED\"; "
      "targets[0].name is \"\"; it must be 1 … 64 letters, digits and ._-; "
      "targets[0].match is empty; it must have hosts, methods, paths or rpcs; "
      "targets[2].name is \"\"; it must be 1 … 64 letters, digits and ._-; "
      "targets[2].match is empty; it must have hosts, methods, paths or rpcs; "
      "targets[3].retryable_codes[0] is 0; it must be 1 … 16");
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
  // A field within brackets can be left out.
  EXPECT_EQ(
      Refusal("max_targets: 0\nretry { max_attempts: x }\nenabled: 7\n", kText),
      "3 faults: line 2, column 23: Expected integer, got: x; "
      "line 3, column 10: Integer out of range (7); "
      "max_targets is 0; it must be 1 … 10000000");
  // A bracket that is one too many ends the reading.
  EXPECT_EQ(Refusal("max_targets: 0\nretry { ] }\nenabled: 7\n", kText),
            "3 faults: line 2, column 9: Expected identifier, got: ]; "
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
  for (const std::string& path : FieldsOfATarget()) {
    const std::string row = absl::StrCat("| `targets.", path, "` | ");
    EXPECT_TRUE(absl::StrContains(text.str(), row))
        << "docs/config.md lacks " << row;
  }
}

// The other way round: nothing is explained that is not there.
TEST(ConfigConvertTest, TheGuideHasNoOtherField) {
  std::ifstream file("docs/config.md");
  std::string line;
  int fields = 0;
  bool in_a_table = false;
  while (std::getline(file, line)) {
    if (absl::StartsWith(line, "| field |")) in_a_table = true;
    if (!absl::StartsWith(line, "|")) in_a_table = false;
    if (!in_a_table || !absl::StartsWith(line, "| `")) continue;
    const std::string path = line.substr(3, line.find('`', 3) - 3);
    EXPECT_NE(FieldAt(*v1::Config::descriptor(), path), nullptr) << path;
    ++fields;
  }
  EXPECT_GT(fields, 30);
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
