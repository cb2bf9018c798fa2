#include "signals/delay_text.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

using Format = DelayFormat;

constexpr std::optional<absl::Duration> kNothing = std::nullopt;

WallTimes At(double now) {
  WallTimes times;
  times.now = absl::UnixEpoch() + absl::Seconds(now);
  return times;
}

std::optional<absl::Duration> Parse(Format format, absl::string_view text,
                                    double now = 0) {
  return ParseDelay(format, text, At(now));
}

// What providers document or were seen to send.
TEST(DelayTextTest, Samples) {
  struct Row {
    const char* origin;
    Format format;
    const char* text;
    double now;
    absl::Duration wait;
  };
  for (const Row& r : {
           Row{"OpenAI rate-limit guide", Format::kGoDuration, "1s", 0,
               absl::Seconds(1)},
           Row{"OpenAI rate-limit guide", Format::kGoDuration, "6m0s", 0,
               absl::Minutes(6)},
           Row{"OpenAI, seen", Format::kGoDuration, "12ms", 0,
               absl::Milliseconds(12)},
           Row{"Groq rate-limit page", Format::kGoDuration, "2m59.56s", 0,
               absl::Milliseconds(179560)},
           Row{"Groq rate-limit page", Format::kGoDuration, "7.66s", 0,
               absl::Milliseconds(7660)},
           Row{"Azure OpenAI, retry-after-ms", Format::kMilliseconds, "2000", 0,
               absl::Seconds(2)},
           Row{"AWS, x-amz-retry-after", Format::kMilliseconds, "1500", 0,
               absl::Milliseconds(1500)},
           Row{"Azure OpenAI, reset-tokens", Format::kSeconds, "43", 0,
               absl::Seconds(43)},
           Row{"Anthropic", Format::kRfc3339, "2025-08-21T12:40:59Z",
               1755780000, absl::Seconds(59)},
           Row{"Atlassian", Format::kRfc3339, "2025-10-08T15:00:00Z",
               1759935540, absl::Minutes(1)},
           Row{"Atlassian, without seconds", Format::kRfc3339,
               "2025-10-08T15:00Z", 1759935540, absl::Minutes(1)},
           Row{"Gemini RetryInfo", Format::kProtoDuration, "26s", 0,
               absl::Seconds(26)},
           Row{"Gemini RetryInfo", Format::kProtoDuration, "0.847s", 0,
               absl::Milliseconds(847)},
           Row{"GitHub", Format::kEpochSeconds, "1691591363", 1691591300,
               absl::Seconds(63)},
           Row{"Discord, Reset", Format::kEpochSeconds, "1470173023.123",
               1470173022, absl::Milliseconds(1123)},
           Row{"Discord, Reset-After", Format::kDecimalSeconds, "64.57", 0,
               absl::Milliseconds(64570)},
           Row{"Shopify REST", Format::kDecimalSeconds, "2.0", 0,
               absl::Seconds(2)},
           Row{"OpenRouter", Format::kEpochMilliseconds, "1791331200000",
               1791331199, absl::Seconds(1)},
           Row{"RFC 9110", Format::kHttpRetryAfter, "120", 0,
               absl::Seconds(120)},
           Row{"RFC 9110", Format::kHttpRetryAfter,
               "Sun, 06 Nov 1994 08:49:37 GMT", 784111770, absl::Seconds(7)},
       }) {
    EXPECT_EQ(Parse(r.format, r.text, r.now), r.wait)
        << r.origin << ": " << r.text;
  }
}

TEST(DelayTextTest, WhatIsNotOfTheFormatIsNothing) {
  struct Row {
    Format format;
    std::string text;
  };
  for (const Row& r : {
           // Where a number is wanted.
           Row{Format::kSeconds, "1.5"},
           Row{Format::kSeconds, "1."},
           Row{Format::kSeconds, "0x10"},
           Row{Format::kDecimalSeconds, ".5"},
           Row{Format::kDecimalSeconds, "5."},
           Row{Format::kDecimalSeconds, "1.2.3"},
           Row{Format::kDecimalSeconds, "1e3"},
           Row{Format::kDecimalSeconds, "1,5"},
           Row{Format::kDecimalSeconds, "nan"},
           Row{Format::kDecimalSeconds, "inf"},
           Row{Format::kDecimalSeconds, "5s"},
           Row{Format::kMilliseconds, "5ms"},
           Row{Format::kEpochSeconds, "-1"},
           Row{Format::kEpochMilliseconds, "1.x"},
           // Go's ParseDuration takes the first three: nobody writes them.
           Row{Format::kGoDuration, "1.s"},
           Row{Format::kGoDuration, ".5s"},
           Row{Format::kGoDuration, "+1s"},
           Row{Format::kGoDuration, "1"},
           Row{Format::kGoDuration, "00"},
           Row{Format::kGoDuration, "s"},
           Row{Format::kGoDuration, "1S"},
           Row{Format::kGoDuration, "1d"},
           Row{Format::kGoDuration, "1m 2s"},
           Row{Format::kGoDuration, "1m2"},
           Row{Format::kGoDuration, "1\xc2s"},
           Row{Format::kProtoDuration, "26"},
           Row{Format::kProtoDuration, "s"},
           Row{Format::kProtoDuration, "1ms"},
           Row{Format::kProtoDuration, "1m"},
           Row{Format::kProtoDuration, "0.1234567890s"},
           Row{Format::kProtoDuration, "1.s"},
           Row{Format::kRfc3339, "2025-08-21T12:40:59"},
           Row{Format::kRfc3339, "2025-08-21 12:40:59Z"},
           Row{Format::kRfc3339, "2025-08-21T12:40:9Z"},
           Row{Format::kRfc3339, "2025-08-21T12:40:Z"},
           Row{Format::kRfc3339, "2025-08-21T12:40:059Z"},
           Row{Format::kRfc3339, "2025-08-21T12:40:59.Z"},
           Row{Format::kRfc3339, "2025-08-21T12:40:59+0100"},
           Row{Format::kRfc3339, "2025-08-21T12:40:59+01"},
           Row{Format::kRfc3339, "2025-08-21T12:40:59+24:00"},
           Row{Format::kRfc3339, "2025-08-21T12:40:59+01:60"},
           Row{Format::kRfc3339, "2025-08-21T12:40:59ZZ"},
           Row{Format::kRfc3339, "2025-08-21T12:40:61Z"},
           Row{Format::kRfc3339, "2025-08-21T24:00:00Z"},
           Row{Format::kRfc3339, "2025-08-21T12:60:00Z"},
           Row{Format::kRfc3339, "2025-02-29T12:00:00Z"},
           Row{Format::kRfc3339, "2025-13-01T12:00:00Z"},
           Row{Format::kRfc3339, "2025-00-01T12:00:00Z"},
           Row{Format::kRfc3339, "2025-01-00T12:00:00Z"},
           Row{Format::kRfc3339, "25-01-01T12:00:00Z"},
           Row{Format::kRfc3339, "2025-01-01"},
           Row{Format::kHttpRetryAfter, "1.5"},
           Row{Format::kGuess, "soon"},
       }) {
    EXPECT_EQ(Parse(r.format, r.text), kNothing)
        << DelayFormatName(r.format) << ": " << r.text;
  }
  for (int i = 0; i <= static_cast<int>(Format::kGuess); ++i) {
    for (const char* text :
         {"", " ", "-1", "+1", "- 1", "1 2", "1\n", "²", "1;", "null", "Z"}) {
      EXPECT_EQ(Parse(static_cast<Format>(i), text), kNothing)
          << DelayFormatName(static_cast<Format>(i)) << ": " << text;
    }
  }
}

TEST(DelayTextTest, BlanksAroundAreNoPartOfIt) {
  EXPECT_EQ(Parse(Format::kSeconds, "\t 7 "), absl::Seconds(7));
  EXPECT_EQ(Parse(Format::kGoDuration, " 7s\t"), absl::Seconds(7));
  EXPECT_EQ(Parse(Format::kRfc3339, " 1970-01-01T00:00:07Z "),
            absl::Seconds(7));
}

TEST(DelayTextTest, GoDurations) {
  EXPECT_EQ(Parse(Format::kGoDuration, "0"), absl::ZeroDuration());
  EXPECT_EQ(Parse(Format::kGoDuration, "0s"), absl::ZeroDuration());
  EXPECT_EQ(Parse(Format::kGoDuration, "1h2m3.5s"),
            absl::Hours(1) + absl::Minutes(2) + absl::Milliseconds(3500));
  for (const char* text : {"15us", "15\u00b5s", "15\u03bcs"}) {
    EXPECT_EQ(Parse(Format::kGoDuration, text), absl::Microseconds(15)) << text;
  }
  EXPECT_EQ(Parse(Format::kGoDuration, "9ns"), absl::Nanoseconds(9));
  EXPECT_EQ(Parse(Format::kGoDuration, "1s1m1s"), absl::Seconds(62));
}

TEST(DelayTextTest, RoundsUpToTheNanosecond) {
  const absl::Duration ns = absl::Nanoseconds(1);
  EXPECT_EQ(Parse(Format::kDecimalSeconds, "0.0000000001"), ns);
  EXPECT_EQ(Parse(Format::kDecimalSeconds, "0.0000000010"), ns);
  EXPECT_EQ(Parse(Format::kDecimalSeconds, "0.0000000011"), 2 * ns);
  EXPECT_EQ(
      Parse(Format::kDecimalSeconds, "0." + std::string(100000, '0') + "1"),
      ns);
  EXPECT_EQ(Parse(Format::kDecimalSeconds, "1." + std::string(100000, '0')),
            absl::Seconds(1));
  EXPECT_EQ(Parse(Format::kDecimalSeconds, "0.99999999999999"),
            absl::Seconds(1));
  EXPECT_EQ(Parse(Format::kMilliseconds, "0.0000001"), ns);
  EXPECT_EQ(Parse(Format::kGoDuration, "0.1ns"), ns);
  EXPECT_EQ(Parse(Format::kProtoDuration, "0.000000001s"), ns);
  EXPECT_EQ(Parse(Format::kRfc3339, "1970-01-01T00:00:00.0000000001Z"), ns);
  EXPECT_EQ(Parse(Format::kEpochMilliseconds, "5.0000001"),
            absl::Milliseconds(5) + ns);
}

TEST(DelayTextTest, WhatNoClockHoldsIsForEver) {
  const std::string nines(50, '9');
  for (const Format format :
       {Format::kSeconds, Format::kDecimalSeconds, Format::kMilliseconds,
        Format::kEpochSeconds, Format::kEpochMilliseconds, Format::kGuess,
        Format::kHttpRetryAfter}) {
    EXPECT_EQ(Parse(format, nines), absl::InfiniteDuration())
        << DelayFormatName(format);
  }
  EXPECT_EQ(Parse(Format::kProtoDuration, nines + "s"),
            absl::InfiniteDuration());
  for (const char* unit : {"h", "m", "s", "ms", "us", "ns"}) {
    EXPECT_EQ(Parse(Format::kGoDuration, nines + unit),
              absl::InfiniteDuration());
  }
  std::string hours;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&hours, "2562047788015h");
  EXPECT_EQ(Parse(Format::kGoDuration, hours), absl::InfiniteDuration());
  // Above what fits an integer of 64 bits in nanoseconds, and still a time.
  EXPECT_EQ(Parse(Format::kMilliseconds, "10000000000000"),
            absl::Seconds(10000000000));
}

TEST(DelayTextTest, DatesCountFromTheAnswersOwnDate) {
  struct Row {
    Format format;
    const char* text;  // the same instant, 784111777
  };
  for (const Row& r : {
           Row{Format::kRfc3339, "1994-11-06T08:49:37Z"},
           Row{Format::kRfc3339, "1994-11-06T08:49:37.000-00:00"},
           Row{Format::kRfc3339, "1994-11-06t10:19:37+01:30"},
           Row{Format::kRfc3339, "1994-11-05T23:49:37-09:00"},
           Row{Format::kEpochSeconds, "784111777"},
           Row{Format::kEpochMilliseconds, "784111777000"},
           Row{Format::kHttpRetryAfter, "Sun, 06 Nov 1994 08:49:37 GMT"},
           Row{Format::kGuess, "Sun, 06 Nov 1994 08:49:37 GMT"},
           Row{Format::kGuess, "1994-11-06T08:49:37Z"},
       }) {
    // Our clock is an hour fast, an hour slow, at zero: the server's counts.
    for (const double now : {784111777 + 3600.5, 784111777 - 3600.5, 0.0}) {
      WallTimes times = At(now);
      times.date = absl::FromUnixSeconds(784111777 - 5);
      EXPECT_EQ(ParseDelay(r.format, r.text, times), absl::Seconds(5))
          << r.text;
      times.date = absl::FromUnixSeconds(784111777 + 5);
      EXPECT_EQ(ParseDelay(r.format, r.text, times), absl::ZeroDuration())
          << r.text;
    }
    EXPECT_EQ(Parse(r.format, r.text, 784111777 - 5), absl::Seconds(5))
        << r.text;
    // Between two seconds: to the point, or later.
    const auto wait = Parse(r.format, r.text, 784111777 - 4.5);
    ASSERT_TRUE(wait.has_value());
    EXPECT_GE(*wait, absl::Milliseconds(4500));
    EXPECT_LE(*wait, absl::Seconds(5));
  }
  // A leap second is the second after.
  EXPECT_EQ(Parse(Format::kRfc3339, "1994-11-06T08:49:60Z", 784111799),
            absl::Seconds(1));
  // What is counted from the answer on does not care about clocks.
  WallTimes times = At(5);
  times.date = absl::FromUnixSeconds(784111777);
  for (const auto& [format, text] : {std::pair(Format::kSeconds, "7"),
                                     {Format::kDecimalSeconds, "7.0"},
                                     {Format::kMilliseconds, "7000"},
                                     {Format::kGoDuration, "7s"},
                                     {Format::kProtoDuration, "7s"},
                                     {Format::kHttpRetryAfter, "7"},
                                     {Format::kGuess, "7"}}) {
    EXPECT_EQ(ParseDelay(format, text, times), absl::Seconds(7));
  }
}

TEST(DelayTextTest, Guess) {
  EXPECT_EQ(Parse(Format::kGuess, "0"), absl::ZeroDuration());
  EXPECT_EQ(Parse(Format::kGuess, "2.5"), absl::Milliseconds(2500));
  EXPECT_EQ(Parse(Format::kGuess, "86400"), absl::Hours(24));
  EXPECT_EQ(Parse(Format::kGuess, "86400.1"), kNothing);
  EXPECT_EQ(Parse(Format::kGuess, "999999999"), kNothing);
  EXPECT_EQ(Parse(Format::kGuess, "1000000000", 999999997), absl::Seconds(3));
  EXPECT_EQ(Parse(Format::kGuess, "1691591363", 1691591300), absl::Seconds(63));
  EXPECT_EQ(Parse(Format::kGuess, "1000000000000", 999999997),
            absl::Seconds(3));
  EXPECT_EQ(Parse(Format::kGuess, "1791331200000", 1791331200),
            absl::ZeroDuration());
  EXPECT_EQ(Parse(Format::kGuess, "6m0s"), absl::Minutes(6));
}

TEST(DelayTextTest, Names) {
  for (int i = 0; i <= static_cast<int>(Format::kGuess); ++i) {
    const Format format = static_cast<Format>(i);
    EXPECT_NE(DelayFormatName(format), "?");
    EXPECT_EQ(ParseDelayFormatName(DelayFormatName(format)), format);
  }
  for (const char* name : {"", "S", "seconds", "?"}) {
    EXPECT_EQ(ParseDelayFormatName(name), std::nullopt) << name;
  }
  EXPECT_EQ(DelayFormatName(static_cast<Format>(99)), "?");
  EXPECT_EQ(ParseDelay(static_cast<Format>(99), "1", {}), kNothing);
}

}  // namespace
}  // namespace forbear
