#include "signals/retry_after.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

constexpr double kIgnored = -1;

// What other libraries' tests say about a value; where we deviate, the reason.
//
// | origin | value | theirs | ours, and why |
// | --- | --- | --- | --- |
// | urllib3 test/test_retry.py | "Mon, 3 Jun 2019 12:00:00 UTC" | 3600 | ignored:
//   not one of the three forms of RFC 9110; own backoff applies |
// | urllib3 (6 h), curl test1596 (6 h), openai-python tests/test_client.py
//   (120 s) | longer waits | capped, or given up | the value itself: what is too
//   long to be believed is the call's policy, and nothing makes a wait shorter |
// | go-retryablehttp TestParseRetryAfterHeader | two lines "2", "3" | the first |
//   the longest: a proxy and a server may each have added one |
// | openai-python | a date that is over, "0" | own backoff | a wait of zero, which
//   does not shorten the own backoff: the same sends |
// | openai-python | retry-after-ms | preferred | not read yet |
struct Row {
  const char* origin;
  const char* value;
  int64_t now;
  double seconds;
};

const Row kRows[] = {
    {"urllib3 test/test_retry.py", "-1", 1559559600, kIgnored},
    {"urllib3 test/test_retry.py", "1.0", 1559559600, kIgnored},
    {"urllib3 test/test_retry.py", "0", 1559559600, 0},
    {"urllib3 test/test_retry.py", "\t42 ", 1559559600, 42},
    {"urllib3 test/test_retry.py; deviation", "Mon, 3 Jun 2019 12:00:00 UTC",
     1559559600, kIgnored},
    {"urllib3 test/test_retry.py", "Mon, 03 Jun 2019 11:30:12 GMT", 1559559600,
     1812},
    {"urllib3 test/test_retry.py", "Mon Jun  3 11:30:12 2019", 1559559600,
     1812},
    {"urllib3 test/test_retry.py; deviation", "21601", 1559559600, 21601},
    {"go-retryablehttp client_test.go", "Fri, 31 Dec 1999 23:59:59 GMT",
     946684797, 2},
    {"go-retryablehttp client_test.go", "", 946684797, kIgnored},
    {"go-retryablehttp client_test.go", "Fri, 32 Dec 1999 23:59:59 GMT",
     946684797, kIgnored},
    {"opensea-cli v2.4.2 (2^31 ms)", "4294968", 946684797, 4294968},
    {"opensea-cli v2.4.2", "1.5", 946684797, kIgnored},
    {"openai-python tests/test_client.py", "20", 1696004797, 20},
    {"openai-python tests/test_client.py", "61", 1696004797, 61},
    {"openai-python tests/test_client.py", "Fri, 29 Sep 2023 16:26:57 GMT",
     1696004797, 20},
    {"openai-python tests/test_client.py", "Fri, 29 Sep 2023 16:28:37 GMT",
     1696004797, 120},
    {"openai-python tests/test_client.py", "-10", 1696004797, kIgnored},
    {"openai-python tests/test_client.py; deviation",
     "Fri, 29 Sep 2023 16:26:27 GMT", 1696004797, 0},
    {"openai-python tests/test_client.py", "nan", 1696004797, kIgnored},
    {"openai-python tests/test_client.py", "Fri, 29 Sep 100000 16:26:57 GMT",
     1696004797, kIgnored},
    {"openai-python tests/test_client.py; deviation", "121", 1696004797, 121},
    {"curl tests/data/test1594", "22", 0, 22},
    {"curl tests/data/test366", "200", 0, 200},
    {"curl tests/data/test1596; deviation", "Wed, 31 Dec 2138 02:26:59 GMT",
     1763800000, 5333048819.0 - 1763800000},
    // RFC 9110 §10.2.3
    {"RFC 9110", "120", 0, 120},
    {"RFC 9110", "Sunday, 06-Nov-94 08:49:37 GMT", 784111700, 77},
    // Notes of our own on 1*DIGIT.
    {"RFC 9110 1*DIGIT", "+1", 0, kIgnored},
    {"RFC 9110 1*DIGIT", "1 2", 0, kIgnored},
    {"RFC 9110 1*DIGIT", "1,2", 0, kIgnored},
    {"RFC 9110 1*DIGIT", "²", 0, kIgnored},
    {"RFC 9110 1*DIGIT", "0x10", 0, kIgnored},
    {"RFC 9110 1*DIGIT", "007", 0, 7},
    {"RFC 9110 1*DIGIT", " ", 0, kIgnored},
};

TEST(RetryAfterTest, Table) {
  for (const Row& r : kRows) {
    const std::optional<absl::Duration> wait =
        ParseRetryAfter(r.value, std::nullopt, r.now);
    if (r.seconds == kIgnored) {
      EXPECT_FALSE(wait.has_value()) << r.origin << ": " << r.value;
    } else {
      ASSERT_TRUE(wait.has_value()) << r.origin << ": " << r.value;
      EXPECT_EQ(*wait, absl::Seconds(r.seconds)) << r.origin << ": " << r.value;
    }
  }
}

// go-retryablehttp pull request 297, and its like: a number that overflows some
// integer must not become a short wait, or none.
TEST(RetryAfterTest, OverflowIsNeverShorter) {
  for (const char* value :
       {"2147483647", "2147483648", "4294967296", "9223372036", "9223372037",
        "18446744073", "18446744074", "9223372036854775807",
        "9223372036854775808", "18446744073709551616",
        "99999999999999999999999999999999999"}) {
    const std::optional<absl::Duration> wait =
        ParseRetryAfter(value, std::nullopt, 0);
    ASSERT_TRUE(wait.has_value()) << value;
    EXPECT_GE(*wait, absl::Seconds(2147483647)) << value;
  }
  EXPECT_EQ(ParseRetryAfter("99999999999999999999", std::nullopt, 0),
            absl::InfiniteDuration());
  EXPECT_EQ(ParseRetryAfter(std::string(100000, '9'), std::nullopt, 0),
            absl::InfiniteDuration());
  EXPECT_EQ(ParseRetryAfter(std::string(100000, '0') + "5", std::nullopt, 0),
            absl::Seconds(5));
}

// Longer digits, longer wait: monotone through every overflow.
TEST(RetryAfterTest, MonotoneInItsNumber) {
  absl::Duration last;
  std::string digits = "1";
  for (int i = 0; i < 60; ++i) {
    const std::optional<absl::Duration> wait =
        ParseRetryAfter(digits, std::nullopt, 0);
    ASSERT_TRUE(wait.has_value());
    EXPECT_GE(*wait, last) << digits;
    last = *wait;
    digits += static_cast<char>('0' + i % 10);
  }
  for (uint64_t i = 0; i < 100000; ++i) {
    const uint64_t n = MixRandom(3, i) >> (24 + i % 40);
    EXPECT_EQ(
        ParseRetryAfter(absl::StrCat(n), std::nullopt, 0),
        n >= uint64_t{1} << 40 ? absl::InfiniteDuration() : absl::Seconds(n));
  }
}

TEST(RetryAfterTest, DateCountsFromTheAnswersOwnDate) {
  const char* until = "Sun, 06 Nov 1994 08:49:37 GMT";  // 784111777
  // Our clock is an hour fast, an hour slow, at zero: the server's counts.
  for (int64_t now : {784111777 + 3600, 784111777 - 3600, 0}) {
    EXPECT_EQ(ParseRetryAfter(until, 784111777 - 5, now), absl::Seconds(5));
    EXPECT_EQ(ParseRetryAfter(until, 784111777 + 5, now), absl::ZeroDuration());
  }
  // The century of the RFC 850 form as well.
  EXPECT_EQ(ParseRetryAfter("Sunday, 06-Nov-94 08:49:37 GMT", 784111770,
                            /*now=*/4102444800),
            absl::Seconds(7));
  // A number does not care about clocks.
  EXPECT_EQ(ParseRetryAfter("7", 784111777, 0), absl::Seconds(7));
}

TEST(RetryAfterTest, LongestOfSeveralLines) {
  const auto none = std::optional<absl::Duration>();
  const std::optional<absl::Duration> two = absl::Seconds(2);
  const std::optional<absl::Duration> three = absl::Seconds(3);
  EXPECT_EQ(LongestWait(two, three), three);
  EXPECT_EQ(LongestWait(three, two), three);
  EXPECT_EQ(LongestWait(none, two), two);
  EXPECT_EQ(LongestWait(two, none), two);
  EXPECT_EQ(LongestWait(none, none), none);
  EXPECT_EQ(LongestWait(two, absl::InfiniteDuration()),
            absl::InfiniteDuration());
}

// Whatever comes: never negative, never a crash, and nothing but the grammar.
TEST(RetryAfterTest, RandomText) {
  for (uint64_t i = 0; i < 200000; ++i) {
    uint64_t n = 0;
    std::string text;
    const uint64_t length = MixRandom(i, n++) % 12;
    for (uint64_t k = 0; k < length; ++k) {
      text += "0123456789 \t-+.,eGMT\0n"[MixRandom(i, n++) % 22];
    }
    const std::optional<absl::Duration> wait =
        ParseRetryAfter(text, std::nullopt, 1763800000);
    std::string trimmed = text;
    while (!trimmed.empty() && (trimmed[0] == ' ' || trimmed[0] == '\t')) {
      trimmed.erase(0, 1);
    }
    while (!trimmed.empty() &&
           (trimmed.back() == ' ' || trimmed.back() == '\t')) {
      trimmed.pop_back();
    }
    const bool digits =
        !trimmed.empty() &&
        trimmed.find_first_not_of("0123456789") == std::string::npos;
    ASSERT_EQ(wait.has_value(), digits)
        << "seed " << i << " \"" << text << "\"";
    if (wait) {
      ASSERT_EQ(*wait, absl::Seconds(std::stoll(trimmed)));
    }
  }
}

// 1*DIGIT: no other byte beside a digit makes a number.
TEST(RetryAfterTest, EveryOtherByteBesideADigit) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool digit = c >= '0' && c <= '9';
    const bool blank = c == ' ' || c == '\t';
    for (const std::string& value :
         {std::string{'7', c}, std::string{c, '7'}, std::string{'1', c, '1'}}) {
      const bool number = digit || (blank && value.size() == 2);
      EXPECT_EQ(ParseRetryAfter(value, std::nullopt, 0).has_value(), number)
          << byte;
    }
  }
}

}  // namespace
}  // namespace forbear
