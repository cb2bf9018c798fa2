#include "core/duration_text.h"

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

TEST(DurationTextTest, WhatPeopleWrite) {
  const struct {
    absl::string_view text;
    absl::Duration duration;
  } cases[] = {
      {"250ms", absl::Milliseconds(250)}, {"2s", absl::Seconds(2)},
      {"1m30s", absl::Seconds(90)},       {"90s", absl::Seconds(90)},
      {"1.5s", absl::Milliseconds(1500)}, {".5s", absl::Milliseconds(500)},
      {"24h", absl::Hours(24)},           {"100us", absl::Microseconds(100)},
      {"7ns", absl::Nanoseconds(7)},      {"0", absl::ZeroDuration()},
      {"0s", absl::ZeroDuration()},       {"inf", absl::InfiniteDuration()},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ParseDurationText(c.text), std::make_optional(c.duration))
        << c.text;
  }
}

TEST(DurationTextTest, WhatIsNone) {
  for (absl::string_view text : {"",
                                 "5",
                                 "250",
                                 "s",
                                 "ms",
                                 "-1s",
                                 "+1s",
                                 "-0",
                                 "-inf",
                                 "+inf",
                                 "Inf",
                                 "infinity",
                                 "nan",
                                 "1 s",
                                 " 1s",
                                 "1s ",
                                 "1m 30s",
                                 "1e3s",
                                 "0x1s",
                                 "1S",
                                 "1d",
                                 "1min",
                                 "1,5s",
                                 "1s,",
                                 "1..5s",
                                 ".s",
                                 "ten",
                                 "1s-1ms",
                                 "99999999999999999999h",
                                 "9999999999999999h9999999999999999h"}) {
    EXPECT_EQ(ParseDurationText(text), std::nullopt) << text;
  }
}

TEST(DurationTextTest, RoundTrip) {
  for (uint64_t i = 0; i < 100000; ++i) {
    // All sizes, from nanoseconds to centuries.
    const auto nanos =
        static_cast<int64_t>(MixRandom(1, i) >> (1 + MixRandom(2, i) % 63));
    const absl::Duration d = absl::Nanoseconds(nanos);
    EXPECT_EQ(ParseDurationText(FormatDurationText(d)), std::make_optional(d))
        << nanos;
  }
  EXPECT_EQ(FormatDurationText(absl::Seconds(90)), "1m30s");
  EXPECT_EQ(FormatDurationText(absl::Milliseconds(250)), "250ms");
  EXPECT_EQ(FormatDurationText(absl::InfiniteDuration()), "inf");
}

TEST(DurationTextTest, TheGrammarsExamplesAreOfIt) {
  EXPECT_EQ(DurationGrammar(), "a duration is written like 250ms, 2s or 1m30s");
  for (const char* example : {"250ms", "2s", "1m30s"}) {
    EXPECT_NE(ParseDurationText(example), std::nullopt) << example;
  }
}

}  // namespace
}  // namespace forbear
