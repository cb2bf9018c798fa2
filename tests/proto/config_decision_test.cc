// Every field of the configuration changes a decision.
//
// For each there is an experiment: something that the library does, in virtual
// time, described as a text. With the field changed and nothing else, the text
// must differ. A field without an experiment fails the test: an option that is
// parsed and never read is a lie.

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/call_match.h"
#include "core/call_record.h"
#include "core/circuit_breaker.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "core/rate_limiter.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "proto/config_convert.h"
#include "runtime/blocking_driver.h"
#include "runtime/call.h"
#include "runtime/client.h"
#include "signals/http_classify.h"
#include "signals/profile_set.h"
#include "tests/proto/fields.h"
#include "tests/testing/simulation.h"

namespace forbear::testing {
namespace {

// Without targets, which have the same again, and fields of their own.
std::vector<std::string> FieldsOfTheTop() {
  return FieldsOf(*v1::Config::descriptor(), {"targets"});
}

// ---- Experiments.

using Experiment = std::function<std::string(Settings)>;

std::string Describe(const Simulation& sim) {
  std::string text;
  for (const Simulation::Call& call : sim.calls()) {
    absl::StrAppend(&text, call.record().total_attempts, " attempts, ",
                    StopReasonName(call.record().stop_reason), " at +",
                    absl::FormatDuration(call.finished_at() - sim.start()),
                    "\n");
  }
  for (const SimSend& send : sim.sends()) {
    absl::StrAppend(&text, "sent at +",
                    absl::FormatDuration(send.time - sim.start()), "\n");
  }
  EXPECT_EQ(sim.Faults(), "");
  return text;
}

SimServer Always(const Outcome& outcome,
                 absl::Duration head = absl::Milliseconds(1)) {
  SimReply reply;
  reply.outcome = outcome;
  reply.head = head;
  return [reply](const SimSend&) { return reply; };
}

// `calls` calls, one each `every`, of a server; with the policy's deadline or
// none.
struct Calls {
  int count = 1;
  absl::Duration every = absl::Milliseconds(10);
  absl::Duration deadline = absl::InfiniteDuration();
  bool nested = false;
  bool billable = false;
  bool idempotent = true;
  int max_in_flight = 1;
};

std::string Run(const Settings& settings, const SimServer& server,
                const Calls& calls) {
  SimOptions options;
  options.quota = settings.quota;
  options.endpoint = settings.endpoint;
  Simulation sim(options);
  sim.SetServer(server);
  for (int i = 0; i < calls.count; ++i) {
    SimCallOptions call;
    call.start = calls.every * i;
    call.deadline = calls.deadline;
    call.retry = settings.retry;
    call.nested = calls.nested;
    call.billable = calls.billable;
    call.idempotent = calls.idempotent;
    call.max_in_flight = calls.max_in_flight;
    sim.AddCall(call);
  }
  sim.Run();
  return Describe(sim);
}

// Calls by a driver that can hedge; every answer takes 5 s.
std::string Slow(const Settings& settings, Calls calls) {
  calls.max_in_flight = 5;
  return Run(settings, Always(OkOutcome(), absl::Seconds(5)), calls);
}
std::string SlowlyAnswered(Settings settings) { return Slow(settings, {}); }
std::string Hedged(Settings settings) {
  settings.retry.hedge.enabled = true;
  return Slow(settings, {});
}
std::string HedgedForMoney(Settings settings) {
  settings.retry.hedge.enabled = true;
  Calls calls;
  calls.billable = true;
  return Slow(settings, calls);
}
std::string HedgedWithoutConsent(Settings settings) {
  settings.retry.hedge.enabled = true;
  Calls calls;
  calls.idempotent = false;
  return Slow(settings, calls);
}
std::string ManyHedged(Settings settings) {
  settings.retry.hedge.enabled = true;
  Calls calls;
  calls.count = 60;
  calls.every = absl::Seconds(1);
  return Slow(settings, calls);
}

// A call whose attempts all fail; the breaker stays out of it.
std::string Failing(Settings settings) {
  settings.endpoint.breaker.enabled = false;
  // Enough retries for the growth of the backoff to show.
  if (settings.retry.max_attempts == 3) settings.retry.max_attempts = 6;
  return Run(settings, Always(TransientOutcome(Processed::kUnknown)), {});
}

// Its first answer is good, and each call's first attempt fails after that.
std::string FailingNowAndThen(Settings settings) {
  Calls calls;
  calls.count = 3;
  calls.every = absl::Seconds(1);
  return Run(
      settings,
      [](const SimSend& send) {
        SimReply reply;
        reply.outcome = send.call > 0 && send.attempt == 1
                            ? TransientOutcome(Processed::kUnknown)
                            : OkOutcome();
        return reply;
      },
      calls);
}

std::string FailingThreeTimes(Settings settings) {
  settings.endpoint.breaker.enabled = false;
  return Run(settings, Always(TransientOutcome(Processed::kUnknown)), {});
}

std::string AttemptsOfSomebodyElse(Settings settings) {
  Calls calls;
  calls.nested = true;
  return Run(settings, Always(TransientOutcome(Processed::kUnknown)), calls);
}

std::string AlwaysThrottled(Settings settings) {
  return Run(settings, Always(ThrottledOutcome(absl::Milliseconds(300))), {});
}

std::string NeverAnswering(Settings settings) {
  Calls calls;
  calls.deadline = absl::Seconds(5);
  return Run(settings, Always(OkOutcome(), absl::InfiniteDuration()), calls);
}

std::string ToldToWaitTwoHours(Settings settings) {
  bool first = true;
  return Run(settings,
             [first](const SimSend&) mutable {
               SimReply reply;
               reply.outcome =
                   first ? ThrottledOutcome(absl::Hours(2)) : OkOutcome();
               first = false;
               return reply;
             },
             {});
}

// The first calls open the breaker of an endpoint that never answered; later ones
// meet it open.
std::string MeetingTheOpenBreaker(Settings settings) {
  Calls calls;
  calls.count = 6;
  return Run(settings, Always(TransientOutcome(Processed::kUnknown)), calls);
}

// One is throttled, and the others wait for the gate.
std::string WaitingForTheQuota(Settings settings) {
  Calls calls;
  calls.count = 5;
  return Run(settings, Always(ThrottledOutcome(absl::Seconds(1))), calls);
}

// Ten at once, for a key, or a server, that nobody knows.
std::string TenAtOnce(Settings settings, bool quota) {
  (quota ? settings.endpoint.pacing : settings.quota.pacing) = false;
  Calls calls;
  calls.count = 10;
  calls.every = absl::ZeroDuration();
  return Run(settings, Always(OkOutcome(), absl::Milliseconds(100)), calls);
}

// A bucket that refuses; what it says of itself, and as what it refuses.
std::string Limited(Settings settings, bool tells, bool sheds) {
  Calls calls;
  calls.count = 40;
  calls.every = absl::Milliseconds(20);
  TokenBucket bucket;
  bucket.burst = 5;
  bucket.announce = !sheds;
  if (sheds) {
    // Three in a row, over a tenth of a second.
    bucket.rate = 3;
    settings.endpoint.breaker.enabled = false;
    settings.retry.max_attempts = 20;
  }
  const SimServer server = [bucket, tells, sheds](const SimSend& send) mutable {
    SimReply reply = bucket(send);
    if (reply.outcome.kind == ErrorKind::kOk) {
      if (!tells) return reply;
      reply.stand.emplace();
      reply.stand->limit = 5;
      reply.stand->remaining = static_cast<int64_t>(bucket.level);
      reply.stand->reset = absl::Seconds((5 - bucket.level) / bucket.rate);
    } else if (sheds) {
      reply.outcome = TransientOutcome(Processed::kNo);
      reply.outcome.shed = true;
    }
    return reply;
  };
  return Run(settings, server, calls);
}

// A limit of our own that lets one in a second.
std::string WaitingForOurOwnLimit(Settings settings) {
  RateLimitOptions limit;
  limit.name = "slow";
  limit.amount = 1;
  limit.per = absl::Seconds(1);
  settings.quota.limits = {limit};
  Calls calls;
  calls.count = 3;
  return Run(settings, Always(OkOutcome()), calls);
}

// One is told that the server is away, and the others wait for it.
std::string WaitingForTheEndpoint(Settings settings) {
  Calls calls;
  calls.count = 5;
  return Run(settings,
             Always(TransientOutcome(Processed::kNo, absl::Seconds(1))), calls);
}

// So many retries that the budget runs out.
std::string ManyFailing(Settings settings) {
  settings.endpoint.breaker.enabled = false;
  Calls calls;
  calls.count = 60;
  calls.every = absl::Seconds(1);
  return Run(settings, Always(TransientOutcome(Processed::kUnknown)), calls);
}

std::string ManyThrottled(Settings settings) {
  settings.retry.max_elapsed = absl::Minutes(5);
  Calls calls;
  calls.count = 20;
  calls.every = absl::Seconds(1);
  return Run(settings, Always(ThrottledOutcome(absl::Milliseconds(100))),
             calls);
}

// A breaker's life, step by step.
std::string BreakersLife(Settings settings) {
  using Result = CircuitBreaker::Result;
  const BreakerOptions& options = settings.endpoint.breaker;
  MonotonicTime now = MonotonicTime::FromNanos(0);
  std::string text;
  const auto step = [&](CircuitBreaker* breaker, Result result) {
    CircuitBreaker::Permit permit;
    now = breaker->AdmitTime(now);
    if (breaker->Acquire(now, &permit)) {
      breaker->Report(permit, result, now, 0.5);
    }
    absl::StrAppend(&text, BreakerStateName(breaker->state()), " ",
                    absl::FormatDuration(breaker->AdmitTime(now) - now), "\n");
  };
  // An endpoint that never answers.
  CircuitBreaker first(options, now);
  for (int i = 0; i < 12; ++i) step(&first, Result::kFailure);
  // One that answers half of the time, once in a second.
  CircuitBreaker breaker(options, now);
  for (int i = 0; i < 40; ++i) {
    step(&breaker, i % 2 == 0 ? Result::kSuccess : Result::kFailure);
    now = now + absl::Seconds(1);
    if (breaker.state() != CircuitBreaker::State::kClosed) break;
  }
  // A probe that is lost, probes that fail, probes that succeed.
  CircuitBreaker::Permit lost;
  now = breaker.AdmitTime(now);
  if (breaker.Acquire(now, &lost)) {
    absl::StrAppend(&text, "lost ",
                    absl::FormatDuration(breaker.AdmitTime(now) - now), "\n");
  }
  for (int i = 0; i < 10; ++i) step(&breaker, Result::kFailure);
  for (int i = 0; i < 5; ++i) step(&breaker, Result::kSuccess);
  return text;
}

std::shared_ptr<Client> ClientOf(const Settings& settings) {
  return Client::Create(ClientOptions(settings)).value();
}

std::string NameInTheRecord(Settings settings) {
  CallRequest request;
  const std::shared_ptr<Client> client = ClientOf(settings);
  Call call(client.get(), request, std::make_shared<Parker>());
  return call.record().names.policy();
}

std::string DriversMayTouchCalls(Settings settings) {
  return ClientOf(settings)->enabled() ? "yes" : "no";
}

std::string TwoKeysAreRemembered(Settings settings) {
  const std::shared_ptr<Client> client = ClientOf(settings);
  const MonotonicTime now;
  const auto a = client->QuotaOf("a", now);
  const auto b = client->QuotaOf("b", now);
  const auto x = client->EndpointOf("a", now);
  const auto y = client->EndpointOf("b", now);
  return absl::StrCat(
      a == client->QuotaOf("a", now), b == client->QuotaOf("b", now),
      x == client->EndpointOf("a", now), y == client->EndpointOf("b", now));
}

TEST(ConfigDecisionTest, ACallsRecordNamesItsPolicyAndItsDate) {
  Settings settings;
  settings.name = "batch";
  CallRequest request;
  request.retry = RetryOptions();
  const std::shared_ptr<Client> plain_client = ClientOf(settings);
  Call plain(plain_client.get(), request, std::make_shared<Parker>());
  EXPECT_EQ(plain.record().names.policy(), "batch");
  TargetPolicy urgent(settings);
  urgent.name = "urgent";
  urgent.match.hosts = {"a"};
  settings.targets = {urgent};
  const std::shared_ptr<Client> client = ClientOf(settings);
  CallRoute route;
  route.host = "a";
  request.policy = client->PolicyOf(route);
  const absl::Time before = absl::Now();
  Call other(client.get(), request, std::make_shared<Parker>());
  EXPECT_EQ(other.record().names.policy(), "urgent");
  EXPECT_LT(absl::AbsDuration(other.record().wall_start - before),
            absl::Hours(1));
}

// What a refusal means, of two hosts.
std::string WhatRefusalsMean(const Settings& settings) {
  const std::shared_ptr<Client> client = ClientOf(settings);
  std::string text;
  for (const char* host : {"api.openai.com", "api.github.com"}) {
    const ProfileRef ref = client->ProfileOf("", *client->TopPolicy(), host);
    AnswerFacts facts;
    facts.status = 429;
    facts.body = R"x({"error":{"code":"slow_down","message":"(RPD)"}})x";
    facts.has_body = true;
    absl::StrAppend(
        &text, host, ": ",
        DescribeRule(ClassifyAnswer(facts, *ref.profile, ref.set->generic())),
        "\n");
  }
  return text;
}

// Where tests/curl_wrap/idempotency_test.cc looks from.
std::string HeaderOfKeys(const Settings& settings) {
  return ClientOf(settings)->TopPolicy()->idempotency_header;
}

// ---- The table: field, another value, what shows it.

struct Change {
  std::string path;
  std::string value;  // as both formats write it
  Experiment experiment;
};

std::vector<Change> Changes() {
  return {
      {"name", "\"other\"", NameInTheRecord},
      {"enabled", "false", DriversMayTouchCalls},
      {"max_targets", "1", TwoKeysAreRemembered},
      {"profile", "\"groq\"", WhatRefusalsMean},
      {"profiles", "[\"github\"]", WhatRefusalsMean},
      {"profile_files", "[\"tests/proto/profile.json\"]", WhatRefusalsMean},
      {"idempotency_header", "\"Idempotency-Key\"", HeaderOfKeys},
      {"retry.enabled", "false", AlwaysThrottled},
      {"retry.yield_to_outer", "false", AttemptsOfSomebodyElse},
      {"retry.hedge.enabled", "true", SlowlyAnswered},
      {"retry.hedge.delay", "\"50ms\"", Hedged},
      {"retry.hedge.max_hedges", "2", Hedged},
      {"retry.hedge.billable_consent", "true", HedgedForMoney},
      {"retry.hedge.repeat_consent", "true", HedgedWithoutConsent},
      {"retry.max_attempts", "5", FailingThreeTimes},
      {"retry.max_elapsed", "\"10s\"", AlwaysThrottled},
      {"retry.attempt_timeout", "\"100ms\"", NeverAnswering},
      {"retry.call_timeout", "\"100ms\"", NeverAnswering},
      {"retry.max_believed_wait", "\"1h\"", ToldToWaitTwoHours},
      {"retry.when_open", "\"FAIL\"", MeetingTheOpenBreaker},
      {"retry.backoff.initial", "\"1s\"", Failing},
      {"retry.backoff.multiplier", "3.5", Failing},
      {"retry.backoff.max", "\"60ms\"", Failing},
      {"retry.backoff.jitter", "\"NONE\"", Failing},
      {"retry.backoff.lone_part", "1", FailingNowAndThen},
      {"quota.max_waiters", "1", WaitingForTheQuota},
      {"quota.limits_enabled", "false", WaitingForOurOwnLimit},
      {"quota.pacing", "false", WaitingForTheQuota},
      {"quota.peers", "50", WaitingForTheQuota},
      {"quota.slow_start", "false",
       [](Settings s) { return TenAtOnce(std::move(s), /*quota=*/true); }},
      {"quota.learn_limits", "false",
       [](Settings s) {
         return Limited(std::move(s), /*tells=*/false, /*sheds=*/false);
       }},
      {"quota.told_limits", "false",
       [](Settings s) {
         return Limited(std::move(s), /*tells=*/true, /*sheds=*/false);
       }},
      {"endpoint.max_waiters", "1", WaitingForTheEndpoint},
      {"endpoint.pacing", "false", WaitingForTheEndpoint},
      {"endpoint.peers", "50", WaitingForTheEndpoint},
      {"endpoint.slow_start", "false",
       [](Settings s) { return TenAtOnce(std::move(s), /*quota=*/false); }},
      {"endpoint.learn_limits", "false",
       [](Settings s) {
         return Limited(std::move(s), /*tells=*/false, /*sheds=*/true);
       }},
      {"endpoint.breaker.enabled", "false", BreakersLife},
      {"endpoint.breaker.failure_ratio", "0.9", BreakersLife},
      {"endpoint.breaker.min_calls", "5", BreakersLife},
      {"endpoint.breaker.window", "\"3s\"", BreakersLife},
      {"endpoint.breaker.first_failures", "5", BreakersLife},
      {"endpoint.breaker.min_open", "\"1s\"", BreakersLife},
      {"endpoint.breaker.max_open", "\"2s\"", BreakersLife},
      {"endpoint.breaker.successes_to_close", "4", BreakersLife},
      {"endpoint.breaker.probe_lease", "\"1s\"", BreakersLife},
      {"endpoint.hedge_budget.ratio", "0.5", ManyHedged},
      {"endpoint.hedge_budget.per_second", "10", ManyHedged},
      {"endpoint.hedge_budget.burst", "30", ManyHedged},
      {"endpoint.budget.enabled", "false", ManyFailing},
      {"endpoint.budget.capacity", "100", ManyFailing},
      {"endpoint.budget.transient_cost", "50", ManyFailing},
      {"endpoint.budget.throttled_cost", "50", ManyThrottled},
  };
}

// "a.b.c" and a value as text format, and as JSON.
std::string TextOf(const Change& change) {
  const google::protobuf::FieldDescriptor* const field =
      FieldAt(*v1::Config::descriptor(), change.path);
  std::string value = change.value;
  if (field != nullptr &&
      field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_ENUM) {
    value = value.substr(1, value.size() - 2);  // text format has no quotes
  }
  const std::vector<std::string> names = absl::StrSplit(change.path, '.');
  std::string text = absl::StrCat(names.back(), ": ", value);
  for (size_t i = names.size() - 1; i-- > 0;) {
    text = absl::StrCat(names[i], " { ", text, " }");
  }
  return text;
}

std::string JsonOf(const Change& change) {
  const std::vector<std::string> names = absl::StrSplit(change.path, '.');
  std::string text = change.value;
  for (size_t i = names.size(); i-- > 0;) {
    text = absl::StrCat("{\"", names[i], "\": ", text, "}");
  }
  return text;
}

// Every field of the schema that no entry is about.
std::set<std::string> Missing(const std::vector<Change>& changes) {
  std::set<std::string> missing;
  for (const std::string& path : FieldsOfTheTop()) {
    missing.insert(path);
  }
  for (const Change& change : changes) missing.erase(change.path);
  return missing;
}

TEST(ConfigDecisionTest, EveryFieldHasAnExperiment) {
  for (const std::string& path : Missing(Changes())) {
    ADD_FAILURE() << path << " has no experiment in Changes()";
  }
  // And this would show it.
  std::vector<Change> fewer = Changes();
  fewer.pop_back();
  EXPECT_EQ(Missing(fewer),
            std::set<std::string>{"endpoint.budget.throttled_cost"});
}

TEST(ConfigDecisionTest, EveryFieldChangesADecision) {
  const v1::Config defaults = ConfigToProto(Settings());
  for (const Change& change : Changes()) {
    SCOPED_TRACE(change.path);
    ASSERT_NE(FieldAt(*v1::Config::descriptor(), change.path), nullptr);
    const absl::StatusOr<Settings> text =
        ParseConfig(TextOf(change), ConfigFormat::kTextproto);
    ASSERT_TRUE(text.ok()) << text.status();
    const absl::StatusOr<Settings> json =
        ParseConfig(JsonOf(change), ConfigFormat::kJson);
    ASSERT_TRUE(json.ok()) << json.status();
    const v1::Config changed = ConfigToProto(*text);
    EXPECT_EQ(changed.DebugString(), ConfigToProto(*json).DebugString());
    // It and nothing else.
    for (const std::string& path : FieldsOfTheTop()) {
      EXPECT_EQ(ValueAt(changed, path) == ValueAt(defaults, path),
                path != change.path)
          << path;
    }
    const std::string before = change.experiment(Settings());
    EXPECT_EQ(change.experiment(Settings()), before);  // not by chance
    EXPECT_NE(change.experiment(*text), before);
    EXPECT_EQ(change.experiment(*json), change.experiment(*text));
  }
}

// ---- Targets: which policy some calls get. The options of one are the fields
// above, and inherited or set: config_convert_test.

std::string PoliciesOf(const Settings& settings) {
  const PolicyTable table(settings);
  std::string text;
  for (const char* host : {"h", "other"}) {
    for (const char* method : {"GET", "PUT"}) {
      for (const char* path : {"/v1/a", "/v2"}) {
        absl::StrAppend(&text, table.Find({host, 0, method, path, ""}).name,
                        "\n");
      }
    }
    for (const char* rpc : {"/p.S/M", "/q.S/M"}) {
      const TargetPolicy& policy = table.Find({host, 0, "", "", rpc});
      absl::StrAppend(&text, policy.name, " ", policy.enabled ? "on" : "off",
                      " ", absl::StrJoin(policy.retryable_codes, ","), " ",
                      policy.profile, " ", policy.idempotency_header,
                      policy.wait_for_ready.value_or(false) ? " waits" : "",
                      "\n");
    }
  }
  return text;
}

TEST(ConfigDecisionTest, EveryFieldOfATargetChangesADecision) {
  const std::string name = "name: \"t\" ";
  const std::string any_rpc = "match { rpcs: \"*\" } ";
  const std::map<std::string, std::pair<std::string, std::string>> changes = {
      {"name", {name + any_rpc, "name: \"u\" " + any_rpc}},
      {"match.hosts",
       {name + any_rpc, name + "match { rpcs: \"*\" hosts: \"h\" }"}},
      {"match.methods",
       {name + "match { paths: \"/v2\" }",
        name + "match { paths: \"/v2\" methods: \"PUT\" }"}},
      {"match.paths",
       {name + "match { hosts: \"h\" }",
        name + "match { hosts: \"h\" paths: \"/v1/*\" }"}},
      {"match.rpcs",
       {name + "match { hosts: \"h\" }",
        name + "match { hosts: \"h\" rpcs: \"/p.S/*\" }"}},
      {"enabled", {name + any_rpc, name + any_rpc + "enabled: false"}},
      {"profile", {name + any_rpc, name + any_rpc + "profile: \"groq\""}},
      {"idempotency_header",
       {name + any_rpc, name + any_rpc + "idempotency_header: \"Key\""}},
      {"wait_for_ready",
       {name + any_rpc, name + any_rpc + "wait_for_ready: true"}},
      {"retryable_codes",
       {name + any_rpc, name + any_rpc + "retryable_codes: DATA_LOSS"}},
  };
  for (const std::string& path :
       FieldsOf(*v1::Target::descriptor(), {"retry", "quota", "endpoint"})) {
    EXPECT_EQ(changes.count(path), 1u) << path << " has no experiment";
  }
  for (const auto& [path, texts] : changes) {
    SCOPED_TRACE(path);
    std::string policies[2];
    for (int i = 0; i < 2; ++i) {
      const std::string& target = i == 0 ? texts.first : texts.second;
      const absl::StatusOr<Settings> settings = ParseConfig(
          absl::StrCat("targets { ", target, " }"), ConfigFormat::kTextproto);
      ASSERT_TRUE(settings.ok()) << settings.status();
      policies[i] = PoliciesOf(*settings);
    }
    EXPECT_NE(policies[0], policies[1]);
  }
}

}  // namespace
}  // namespace forbear::testing
