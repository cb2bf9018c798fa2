// The switches of a configuration that turn one mechanism off and leave the others:
// counted in sends, in virtual time. Those that let calls pass through untouched
// are counted at servers: tests/curl_wrap:targets_test, tests/interceptors:targets_test,
// tests/curl_wrap:handle_test, tests/interceptors:unary_test (FORBEAR_OFF).

#include <cstdint>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/rate_limiter.h"
#include "core/retry_policy.h"
#include "gtest/gtest.h"
#include "proto/config_convert.h"
#include "tests/testing/simulation.h"

namespace forbear::testing {
namespace {

struct Weather {
  SimServer server;
  int calls = 1;
  absl::Duration every = absl::Milliseconds(10);
  absl::Duration deadline = absl::InfiniteDuration();
};

int64_t Sends(const Settings& settings, const Weather& weather,
              absl::Duration from = absl::ZeroDuration(),
              absl::Duration to = absl::Hours(1)) {
  SimOptions options;
  options.quota = settings.quota;
  options.endpoint = settings.endpoint;
  Simulation sim(options);
  sim.SetServer(weather.server);
  for (int i = 0; i < weather.calls; ++i) {
    SimCallOptions call;
    call.start = weather.every * i;
    call.deadline = weather.deadline;
    call.retry = settings.retry;
    sim.AddCall(call);
  }
  sim.Run();
  EXPECT_EQ(sim.Faults(), "");
  return sim.SendsBetween(from, to);
}

SimServer Always(const Outcome& outcome) {
  SimReply reply;
  reply.outcome = outcome;
  reply.head = absl::Milliseconds(1);
  return [reply](const SimSend&) { return reply; };
}

// The first send meets `first`, all others succeed.
SimServer Once(const Outcome& first) {
  bool is_first = true;
  return [is_first, first](const SimSend&) mutable {
    SimReply reply;
    reply.outcome = is_first ? first : OkOutcome();
    reply.head = absl::Milliseconds(1);
    is_first = false;
    return reply;
  };
}

struct Switch {
  std::string field;  // as docs/config.md has it
  std::string text;   // turns it off
  int64_t on, off;    // sends
  std::function<int64_t(Settings)> sends;
};

// NOLINTBEGIN(clang-analyzer-cplusplus.NewDeleteLeaks): of std::function
std::vector<Switch> Switches() {
  const auto failing = [](Settings s) {
    s.endpoint.breaker.enabled = false;
    return Sends(s, {Always(TransientOutcome(Processed::kUnknown))});
  };
  const auto outage = [](Settings s) {
    s.retry.max_attempts = 1;
    s.retry.when_open = WhenOpen::kFail;
    s.endpoint.breaker.min_open = absl::Minutes(1);
    s.endpoint.breaker.max_open = absl::Minutes(1);
    return Sends(s, {Always(TransientOutcome(Processed::kUnknown)), 10});
  };
  const auto little_budget = [](Settings s) {
    s.endpoint.breaker.enabled = false;
    s.endpoint.budget.capacity = 14;
    return Sends(s, {Always(TransientOutcome(Processed::kUnknown)), 4,
                     absl::Seconds(10)});
  };
  const auto our_limit = [](Settings s) {
    RateLimitOptions limit;
    limit.name = "few";
    limit.amount = 2;
    limit.per = absl::Hours(1);
    s.quota.limits = {limit};
    return Sends(
        s, {Always(OkOutcome()), 5, absl::Milliseconds(10), absl::Seconds(1)});
  };
  // Sixty wait for the second that the server asked for; how many leave within a
  // tenth of a second after it?
  const auto crowd = [](Settings s, const Outcome& refusal) {
    return Sends(s, {Once(refusal), 61, absl::Milliseconds(1)},
                 absl::Milliseconds(1000), absl::Milliseconds(1110));
  };
  const auto after_429 = [crowd](Settings s) {
    s.endpoint.pacing = false;
    // Before the answer came, these had left.
    return crowd(std::move(s), ThrottledOutcome(absl::Seconds(1)));
  };
  const auto after_503 = [crowd](Settings s) {
    return crowd(std::move(s),
                 TransientOutcome(Processed::kNo, absl::Seconds(1)));
  };
  return {
      {"retry.enabled", "retry { enabled: false }", 3, 1, failing},
      {"endpoint.breaker.enabled", "endpoint { breaker { enabled: false } }", 3,
       10, outage},
      {"endpoint.budget.enabled", "endpoint { budget { enabled: false } }", 5,
       12, little_budget},
      {"quota.limits_enabled", "quota { limits_enabled: false }", 2, 5,
       our_limit},
      {"quota.pacing", "quota { pacing: false }", 13, 60, after_429},
      {"endpoint.pacing", "endpoint { pacing: false }", 13, 60, after_503},
  };
}
// NOLINTEND(clang-analyzer-cplusplus.NewDeleteLeaks)

TEST(SwitchesTest, EachTurnsOffWhatItSays) {
  for (const Switch& s : Switches()) {
    SCOPED_TRACE(s.field);
    const absl::StatusOr<Settings> off =
        ParseConfig(s.text, ConfigFormat::kTextproto);
    ASSERT_TRUE(off.ok()) << off.status();
    EXPECT_EQ(s.sends(Settings()), s.on);
    EXPECT_EQ(s.sends(*off), s.off);
  }
}

TEST(SwitchesTest, TheGuideHasThem) {
  std::ifstream file("docs/config.md");
  std::stringstream all;
  all << file.rdbuf();
  const std::string text = all.str();
  const size_t at = text.find("## Switches");
  ASSERT_NE(at, std::string::npos);
  const std::string part = text.substr(at, text.find("\n## ", at + 1) - at);
  for (const Switch& s : Switches()) {
    EXPECT_TRUE(absl::StrContains(part, absl::StrCat("`", s.field))) << s.field;
  }
}

}  // namespace
}  // namespace forbear::testing
