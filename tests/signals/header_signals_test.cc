#include "signals/header_signals.h"

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "gtest/gtest.h"
#include "signals/header_field.h"

namespace forbear {
namespace {

using Fields = std::vector<HeaderField>;

constexpr std::optional<absl::Duration> kNothing = std::nullopt;

HeaderSignals Read(const Fields& fields, double now = 0) {
  const absl::Time time = absl::UnixEpoch() + absl::Seconds(now);
  return ReadHeaderSignals(fields, WallTimesOf(fields, time));
}

TEST(HeaderSignalsTest, EachExplicitField) {
  for (const auto& [name, value, wait] :
       {std::tuple("Retry-After", "2", absl::Seconds(2)),
        {"retry-after-ms", "1500", absl::Milliseconds(1500)},
        {"X-MS-Retry-After-MS", "43", absl::Milliseconds(43)},
        {"x-amz-retry-after", "1500", absl::Milliseconds(1500)},
        {"RETRY-AFTER", " 0\t", absl::ZeroDuration()},
        {"retry-after-ms", "0.5", absl::Microseconds(500)}}) {
    const HeaderSignals signals = Read({{name, value}});
    EXPECT_EQ(signals.wait(), wait) << name;
    EXPECT_EQ(signals.wait_source(), DelaySource::kRetryAfter) << name;
    EXPECT_TRUE(absl::EqualsIgnoreCase(signals.explicit_field, name)) << name;
    EXPECT_EQ(signals.should_retry, std::nullopt);
  }
  for (const auto& [name, value] : {std::pair("Retry-After", "1.5"),
                                    {"Retry-After", "-1"},
                                    {"Retry-After", ""},
                                    {"retry-after-ms", "-5"},
                                    {"retry-after-ms", "5ms"},
                                    {"x-amz-retry-after", "soon"},
                                    {"Retry-After-Seconds", "5"},
                                    {"X-Retry-After", "5"},
                                    {"", "5"}}) {
    const HeaderSignals signals = Read({{name, value}});
    EXPECT_EQ(signals.wait(), kNothing) << name << ": " << value;
    EXPECT_EQ(signals.wait_source(), DelaySource::kNone);
    EXPECT_EQ(signals.explicit_field, "");
  }
}

TEST(HeaderSignalsTest, TheLongestExplicitWaitWins) {
  const HeaderSignals signals = Read({{"retry-after-ms", "1500"},
                                      {"Retry-After", "1"},
                                      {"x-amz-retry-after", "1700"},
                                      {"x-amz-retry-after", "1600"},
                                      {"Retry-After", "soon"}});
  EXPECT_EQ(signals.wait(), absl::Milliseconds(1700));
  EXPECT_EQ(signals.explicit_field, "x-amz-retry-after");
  EXPECT_EQ(Read({{"Retry-After", "1"}, {"Retry-After", "3"}}).wait(),
            absl::Seconds(3));
  EXPECT_EQ(
      Read({{"retry-after-ms", "2000"}, {"Retry-After", "2"}}).explicit_field,
      "retry-after");
}

TEST(HeaderSignalsTest, ResetsOnlyWithoutAnExplicitWait) {
  const Fields exhausted = {{"x-ratelimit-remaining-requests", "0"},
                            {"x-ratelimit-reset-requests", "6m0s"},
                            {"x-ratelimit-remaining-tokens", "0"},
                            {"x-ratelimit-reset-tokens", "1s"},
                            {"x-ratelimit-remaining-project-tokens", "5"},
                            {"x-ratelimit-reset-project-tokens", "1h"}};
  HeaderSignals signals = Read(exhausted);
  EXPECT_EQ(signals.wait(), absl::Minutes(6));
  EXPECT_EQ(signals.wait_source(), DelaySource::kRateLimit);
  EXPECT_EQ(signals.explicit_wait, kNothing);
  EXPECT_EQ(signals.limits.size(), 3);
  for (const char* explicit_wait : {"2", "0"}) {
    Fields both = exhausted;
    both.push_back({"Retry-After", explicit_wait});
    signals = Read(both);
    EXPECT_EQ(signals.wait(), *signals.explicit_wait);
    EXPECT_EQ(signals.wait_source(), DelaySource::kRetryAfter);
    EXPECT_EQ(signals.exhausted_wait, absl::Minutes(6));
  }
  // Discord documents a bucket with some left beside a far longer Retry-After.
  signals = Read({{"X-RateLimit-Remaining", "9"},
                  {"X-RateLimit-Reset-After", "64.57"},
                  {"Retry-After", "1337"}});
  EXPECT_EQ(signals.wait(), absl::Seconds(1337));
  // A success says when it is full again: no wait.
  EXPECT_EQ(Read({{"RateLimit", "\"default\";r=50;t=30"}}).wait(), kNothing);
  EXPECT_EQ(Read({{"RateLimit", "\"default\";r=0;t=30"}}).wait(),
            absl::Seconds(30));
}

TEST(HeaderSignalsTest, ShouldRetry) {
  const auto read = [](const Fields& fields) {
    return Read(fields).should_retry;
  };
  EXPECT_EQ(read({{"X-Should-Retry", "true"}}), true);
  EXPECT_EQ(read({{"x-should-retry", " false "}}), false);
  for (const char* value : {"", "TRUE", "1", "yes", "true, true", "falsey"}) {
    EXPECT_EQ(read({{"x-should-retry", value}}), std::nullopt) << value;
  }
  const HeaderField yes = {"x-should-retry", "true"};
  const HeaderField no = {"x-should-retry", "false"};
  EXPECT_EQ(read({yes, no}), false);
  EXPECT_EQ(read({no, yes}), false);
  EXPECT_EQ(read({{"x-should-retry", "maybe"}, yes}), true);
}

TEST(HeaderSignalsTest, DatesCountFromTheAnswersDate) {
  const HeaderField until = {"Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"};
  const HeaderField date = {"date", " Sun, 06 Nov 1994 08:49:30 GMT"};
  EXPECT_EQ(Read({until, date}, 5).wait(), absl::Seconds(7));
  EXPECT_EQ(Read({until}, 784111775).wait(), absl::Seconds(2));
  // A date that is none is as if it were absent.
  EXPECT_EQ(Read({until, {"Date", "today"}}, 784111775).wait(),
            absl::Seconds(2));
  // Of two the one that makes it longer, in any order.
  const HeaderField earlier = {"Date", "Sun, 06 Nov 1994 08:49:20 GMT"};
  EXPECT_EQ(Read({until, date, earlier}).wait(), absl::Seconds(17));
  EXPECT_EQ(Read({until, earlier, date}).wait(), absl::Seconds(17));
  // The resets as well.
  EXPECT_EQ(Read({{"X-RateLimit-Remaining", "0"},
                  {"X-RateLimit-Reset", "1994-11-06T08:49:37Z"},
                  date})
                .wait(),
            absl::Seconds(7));
}

// What other answers have shown of the server's clock (runtime/server_clock.h).
TEST(HeaderSignalsTest, DatesCountFromTheServersClock) {
  const absl::Time date = absl::FromUnixSeconds(784111777);
  const absl::Time now = date + absl::Hours(1);
  const auto wait = [&](const Fields& fields,
                        std::optional<absl::Time> server) {
    return ReadHeaderSignals(fields, WallTimesOf(fields, now, server)).wait();
  };
  const Fields fields = {{"Date", "Sun, 06 Nov 1994 08:49:37 GMT"},
                         {"Retry-After", "Sun, 06 Nov 1994 08:49:42 GMT"}};
  EXPECT_EQ(wait(fields, std::nullopt), absl::Seconds(5));
  EXPECT_EQ(wait(fields, date + absl::Milliseconds(300)),
            absl::Milliseconds(4700));
  // The answer's own Date contradicts it.
  EXPECT_EQ(wait(fields, date + absl::Seconds(1)), absl::Seconds(5));
  EXPECT_EQ(wait(fields, date - absl::Milliseconds(1)), absl::Seconds(5));
  // Without a Date it is better than our own clock.
  const Fields dateless = {fields[1]};
  EXPECT_EQ(wait(dateless, date + absl::Milliseconds(300)),
            absl::Milliseconds(4700));
  EXPECT_EQ(wait(dateless, std::nullopt), absl::ZeroDuration());
  // A number of seconds is none of a clock's, and what is over is over.
  EXPECT_EQ(
      wait({fields[0], {"Retry-After", "5"}}, date + absl::Milliseconds(300)),
      absl::Seconds(5));
  EXPECT_EQ(wait({fields[0], {"Retry-After", fields[0].value}},
                 date + absl::Milliseconds(300)),
            absl::ZeroDuration());
}

TEST(HeaderSignalsTest, Bounds) {
  Fields fields(999, {"X-Other", "1"});
  fields.push_back({"Retry-After", "1"});
  fields.push_back({"Retry-After", "2"});
  EXPECT_EQ(Read(fields).wait(), absl::Seconds(1));
  EXPECT_EQ(Read({}).wait(), kNothing);
}

}  // namespace
}  // namespace forbear
