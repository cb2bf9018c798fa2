// ParseDelay against a twin that was written from the manual of signals/delay_text.h,
// with another way of reading and exact arithmetic: on texts that a grammar made and
// on random damage to them, both must see the same format and the same wait.

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/delay_text.h"
#include "signals/retry_after.h"
#include "tests/signals/exact_time.h"

namespace forbear {
namespace {

using Format = DelayFormat;
using testing::Exact;
using testing::Femtoseconds;
using testing::kFemtosPerSecond;

constexpr int64_t kNow = 1763800000;

// ---- the twin

// A wait, exact but for what is below a femtosecond and left out; or so long that
// nobody cares.
struct Wait {
  bool huge = false;
  Femtoseconds exact = 0;
};

bool Digits(const std::string& text) {
  return !text.empty() &&
         text.find_first_not_of("0123456789") == std::string::npos;
}

// Cuts `text` in two at the first `c`; nothing if there is none.
std::optional<std::array<std::string, 2>> Cut(const std::string& text, char c) {
  const size_t at = text.find(c);
  if (at == std::string::npos) return std::nullopt;
  return std::array<std::string, 2>{text.substr(0, at), text.substr(at + 1)};
}

// 1*DIGIT [ "." 1*DIGIT ] times a unit.
std::optional<Wait> Decimal(const std::string& text, Femtoseconds unit) {
  std::string whole = text;
  std::string decimals;
  if (const auto parts = Cut(text, '.')) {
    whole = (*parts)[0];
    decimals = (*parts)[1];
    if (!Digits(decimals)) return std::nullopt;
  }
  if (!Digits(whole)) return std::nullopt;
  whole.erase(0, whole.find_first_not_of('0'));
  if (whole.size() > 18) return Wait{true, 0};
  Wait wait;
  for (const char c : whole) wait.exact = wait.exact * 10 + (c - '0');
  wait.exact *= unit;
  for (const char c : decimals) {
    unit /= 10;
    wait.exact += (c - '0') * unit;
  }
  if (wait.exact >= kFemtosPerSecond * (int64_t{1} << 40)) wait.huge = true;
  return wait;
}

std::optional<Wait> Go(std::string text) {
  static const std::map<std::string, Femtoseconds> kUnits = {
      {"h", 3600 * kFemtosPerSecond},
      {"m", 60 * kFemtosPerSecond},
      {"s", kFemtosPerSecond},
      {"ms", kFemtosPerSecond / 1000},
      {"us", kFemtosPerSecond / 1000000},
      {"\xc2\xb5s", kFemtosPerSecond / 1000000},
      {"\xce\xbcs", kFemtosPerSecond / 1000000},
      {"ns", kFemtosPerSecond / 1000000000}};
  if (text == "0") return Wait();
  Wait sum;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const size_t unit = text.find_first_not_of("0123456789.");
    if (unit == std::string::npos) return std::nullopt;
    size_t end = text.find_first_of("0123456789.", unit);
    if (end == std::string::npos) end = text.size();
    const auto known = kUnits.find(text.substr(unit, end - unit));
    if (known == kUnits.end()) return std::nullopt;
    const auto part = Decimal(text.substr(0, unit), known->second);
    if (!part) return std::nullopt;
    sum.huge |= part->huge;
    if (!sum.huge) sum.exact += part->exact;
    text.erase(0, end);
  }
  if (sum.exact >= kFemtosPerSecond * (int64_t{1} << 40)) sum.huge = true;
  return sum;
}

std::optional<Wait> Proto(const std::string& text) {
  if (text.empty() || text.back() != 's') return std::nullopt;
  const std::string number = text.substr(0, text.size() - 1);
  const auto parts = Cut(number, '.');
  if (parts && (*parts)[1].size() > 9) return std::nullopt;
  return Decimal(number, kFemtosPerSecond);
}

bool IsLeap(int year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

// Days from 1970 on, counted one year and one month after the other.
int DaysTo(int year, int month, int day) {
  static constexpr int kLengths[] = {31, 28, 31, 30, 31, 30,
                                     31, 31, 30, 31, 30, 31};
  int days = 0;
  for (int y = 1970; y < year; ++y) days += IsLeap(y) ? 366 : 365;
  for (int y = year; y < 1970; ++y) days -= IsLeap(y) ? 366 : 365;
  for (int m = 1; m < month; ++m) {
    days += kLengths[m - 1] + (m == 2 && IsLeap(year) ? 1 : 0);
  }
  return days + day - 1;
}

int LastDay(int year, int month) {
  if (month == 12) return 31;
  return DaysTo(year, month + 1, 1) - DaysTo(year, month, 1);
}

// The wait until an instant.
Wait Until(bool huge, Femtoseconds instant) {
  Wait wait;
  wait.huge = huge;
  wait.exact = instant - kNow * kFemtosPerSecond;
  if (wait.exact < 0) wait.exact = 0;
  return wait;
}

// Of "####-##-##T##:##" and the like: whether `text` has a digit where the pattern
// has #, and else the same character, in either case.
bool Fits(const std::string& text, const std::string& pattern) {
  if (text.size() != pattern.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (pattern[i] == '#' ? !Digits(text.substr(i, 1))
                          : absl::ascii_toupper(text[i]) != pattern[i]) {
      return false;
    }
  }
  return true;
}

std::optional<Wait> Rfc3339(std::string text) {
  // The zone, from the right.
  int ahead = 0;
  if (!text.empty() && (text.back() == 'Z' || text.back() == 'z')) {
    text.pop_back();
  } else if (text.size() >= 6) {
    const std::string zone = text.substr(text.size() - 6);
    if (!Fits(zone, "+##:##") && !Fits(zone, "-##:##")) return std::nullopt;
    const int hours = std::stoi(zone.substr(1, 2));
    const int minutes = std::stoi(zone.substr(4, 2));
    if (hours > 23 || minutes > 59) return std::nullopt;
    ahead = (hours * 60 + minutes) * (zone[0] == '-' ? -60 : 60);
    text.resize(text.size() - 6);
  } else {
    return std::nullopt;
  }
  std::string fraction = "0";
  if (const auto parts = Cut(text, '.')) {
    text = (*parts)[0];
    fraction = (*parts)[1];
    if (text.size() != 19) return std::nullopt;
  }
  if (Fits(text, "####-##-##T##:##")) text += ":00";
  if (!Fits(text, "####-##-##T##:##:##")) return std::nullopt;
  const auto number = [&](size_t at, size_t size) {
    return std::stoi(text.substr(at, size));
  };
  const int year = number(0, 4);
  const int month = number(5, 2);
  const int day = number(8, 2);
  if (month < 1 || month > 12 || day < 1 || day > LastDay(year, month) ||
      number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 60) {
    return std::nullopt;
  }
  const auto part = Decimal("0." + fraction, kFemtosPerSecond);
  if (!part) return std::nullopt;
  const int64_t seconds = int64_t{86400} * DaysTo(year, month, day) +
                          int64_t{number(11, 2)} * 3600 +
                          int64_t{number(14, 2)} * 60 + number(17, 2) - ahead;
  return Until(false, seconds * kFemtosPerSecond + part->exact);
}

std::optional<Wait> Epoch(const std::string& text, Femtoseconds unit) {
  const auto instant = Decimal(text, unit);
  if (!instant) return std::nullopt;
  return Until(instant->huge, instant->exact);
}

// This one has a test of its own.
std::optional<Wait> RetryAfter(const std::string& text) {
  const auto wait = ParseRetryAfter(text, std::nullopt, kNow);
  if (!wait) return std::nullopt;
  if (*wait == absl::InfiniteDuration()) return Wait{true, 0};
  return Wait{false, Exact(*wait)};
}

std::optional<Wait> Guess(const std::string& text) {
  if (const auto seconds = Decimal(text, kFemtosPerSecond)) {
    if (!seconds->huge && seconds->exact < 1'000'000'000 * kFemtosPerSecond) {
      if (seconds->exact > 86400 * kFemtosPerSecond) return std::nullopt;
      return seconds;
    }
    const bool ms =
        seconds->huge || seconds->exact >= 1'000'000'000'000 * kFemtosPerSecond;
    return Epoch(text, ms ? kFemtosPerSecond / 1000 : kFemtosPerSecond);
  }
  if (const auto wait = Go(text)) return wait;
  if (const auto wait = Rfc3339(text)) return wait;
  return RetryAfter(text);
}

std::optional<Wait> Twin(Format format, std::string text) {
  text.erase(0, text.find_first_not_of(" \t"));
  text.resize(text.find_last_not_of(" \t") + 1);
  switch (format) {
    case Format::kSeconds:
      if (!Digits(text)) return std::nullopt;
      return Decimal(text, kFemtosPerSecond);
    case Format::kDecimalSeconds:
      return Decimal(text, kFemtosPerSecond);
    case Format::kMilliseconds:
      return Decimal(text, kFemtosPerSecond / 1000);
    case Format::kGoDuration:
      return Go(text);
    case Format::kProtoDuration:
      return Proto(text);
    case Format::kRfc3339:
      return Rfc3339(text);
    case Format::kEpochSeconds:
      return Epoch(text, kFemtosPerSecond);
    case Format::kEpochMilliseconds:
      return Epoch(text, kFemtosPerSecond / 1000);
    case Format::kHttpRetryAfter:
      return RetryAfter(text);
    case Format::kGuess:
      return Guess(text);
  }
  return std::nullopt;
}

// ---- texts

class Generator {
 public:
  explicit Generator(uint64_t seed) : seed_(seed) {}

  uint64_t Below(uint64_t n) { return MixRandom(seed_, counter_++) % n; }

  std::string Text(Format format) {
    switch (format) {
      case Format::kSeconds:
        return Digits(22);
      case Format::kDecimalSeconds:
      case Format::kMilliseconds:
        return Number(22);
      case Format::kGoDuration: {
        static constexpr const char* kUnits[] = {
            "h", "m", "s", "ms", "us", "\xc2\xb5s", "\xce\xbcs", "ns"};
        std::string text;
        for (uint64_t n = 1 + Below(4); n > 0; --n) {
          absl::StrAppend(&text, Number(Below(8) == 0 ? 22 : 5),
                          kUnits[Below(8)]);
        }
        return text;
      }
      case Format::kProtoDuration: {
        std::string text = Digits(13);
        if (Below(2) == 0) text += "." + Digits(11);
        return text + "s";
      }
      case Format::kRfc3339:
        return Date();
      case Format::kEpochSeconds:
        return absl::StrCat(kNow - 50 + Below(1000), Fraction());
      case Format::kEpochMilliseconds:
        return absl::StrCat(kNow * 1000 - 50 + Below(100000), Fraction());
      case Format::kHttpRetryAfter:
        return Below(2) == 0 ? Digits(15) : "Sat, 22 Nov 2025 08:27:40 GMT";
      case Format::kGuess:
        return Text(static_cast<Format>(Below(9)));
    }
    return "";
  }

  std::string Damage(std::string text) {
    static constexpr char kLetters[] = "0123456789.:-+TZtzshmunp \t,e\xc2\xb5x";
    for (uint64_t n = 1 + Below(2); n > 0; --n) {
      const char c = kLetters[Below(sizeof(kLetters))];  // with its final '\0'
      const size_t at = Below(text.size() + 1);
      switch (Below(3)) {
        case 0:
          text.insert(at, 1, c);
          break;
        case 1:
          if (at < text.size()) text.erase(at, 1);
          break;
        default:
          if (at < text.size()) text[at] = c;
      }
    }
    return text;
  }

 private:
  std::string Digits(uint64_t most) {
    std::string text;
    for (uint64_t n = 1 + Below(1 + Below(most)); n > 0; --n) {
      text += static_cast<char>('0' + Below(10));
    }
    return text;
  }
  // At most six: what a nanosecond of is still whole femtoseconds.
  std::string Fraction() { return Below(2) == 0 ? "" : "." + Digits(6); }
  std::string Number(uint64_t most) { return Digits(most) + Fraction(); }
  std::string Date() {
    const auto two = [&](uint64_t least, uint64_t most) {
      const uint64_t n = least + Below(most - least + 1);
      return absl::StrCat(n < 10 ? "0" : "", n);
    };
    std::string text =
        absl::StrCat(Below(4) == 0 ? absl::StrCat(1000 + Below(9000)) : "2025",
                     "-", two(1, 12), "-", two(1, 31),
                     Below(8) == 0 ? "t" : "T", two(0, 23), ":", two(0, 59));
    if (Below(4) != 0) text += ":" + two(0, 60);
    if (Below(4) == 0) text += "." + Digits(12);
    switch (Below(4)) {
      case 0:
        return text + "+" + two(0, 23) + ":" + two(0, 59);
      case 1:
        return text + "-" + two(0, 23) + ":" + two(0, 59);
      case 2:
        return text + "z";
      default:
        return text + "Z";
    }
  }

  const uint64_t seed_;
  uint64_t counter_ = 0;
};

TEST(DelayGrammarTest, AgreesWithTheTwin) {
  int right = 0;
  int wrong = 0;
  WallTimes times;
  times.now = absl::FromUnixSeconds(kNow);
  for (uint64_t seed = 0; seed < 1000000; ++seed) {
    Generator random(seed);
    const Format format = static_cast<Format>(random.Below(10));
    // Now and then another format's text.
    std::string text =
        random.Text(random.Below(10) == 0 ? Format::kGuess : format);
    if (random.Below(2) == 0) text = random.Damage(text);
    const auto where = [&] {
      return absl::StrCat("seed ", seed, ", ", DelayFormatName(format), ": \"",
                          absl::CHexEscape(text), "\"");
    };
    const std::optional<Wait> expected = Twin(format, text);
    const std::optional<absl::Duration> wait = ParseDelay(format, text, times);
    ASSERT_EQ(wait.has_value(), expected.has_value()) << where();
    ++(expected ? right : wrong);
    if (!expected) continue;
    if (expected->huge) {
      // For ever, or (many digits of a small unit) years.
      ASSERT_GE(*wait, absl::Hours(24 * 365)) << where();
    } else {
      ASSERT_NE(*wait, absl::InfiniteDuration()) << where();
      ASSERT_GE(Exact(*wait), expected->exact) << where();
      // A nanosecond for each part of a Go duration.
      ASSERT_LE(Exact(*wait), expected->exact + 6 * testing::kFemtosPerNano)
          << where();
    }
  }
  // Enough of both.
  EXPECT_GT(right, 400000);
  EXPECT_GT(wrong, 300000);
}

}  // namespace
}  // namespace forbear
