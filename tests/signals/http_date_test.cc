// ParseHttpDate against tables of RFC 9110 and curl, and against a twin: a
// formatter and a parser that were written apart from it, on random dates and on
// random damage to them.

#include "signals/http_date.h"

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

constexpr int64_t kNow = 1763800000;  // 2025-11-22 08:26:40

TEST(HttpDateTest, Rfc9110) {
  // RFC 9110 §5.6.7: three forms of one date.
  for (const char* text :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994"}) {
    EXPECT_EQ(ParseHttpDate(text, kNow), 784111777) << text;
  }
}

// curl tests/libtest/lib517.c. curl_getdate reads far more than RFC 9110 has:
// what is none of the three forms is refused here, also where curl guesses. (A
// wrong guess is a send before its time.)
TEST(HttpDateTest, CurlLib517) {
  struct Row {
    const char* text;
    int64_t epoch;
  };
  for (const Row& r : {Row{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
                       Row{"Sun Nov  6 08:49:37 1994", 784111777},
                       Row{"Wed, 25 Apr 2007 21:02:13 GMT", 1177534933},
                       Row{"Sun, 06 Nov 2044 08:49:37 GMT", 2362034977},
                       Row{"Sun, 06 Nov 1900 08:49:37 GMT", -2182259423},
                       Row{"Sun, 06 Nov 1968 08:49:37 GMT", -36342623}}) {
    EXPECT_EQ(ParseHttpDate(r.text, kNow), r.epoch) << r.text;
  }
  for (const char* text : {"Sun Nov  6 8:9:37 1994",
                           "Nov      Sun      6 8:9:7 1994",
                           "06-Nov-94 08:49:37 GMT",
                           "06 Nov 1994 08:49:37",
                           "1994 Nov 6 08:49:37",
                           "94 6 Nov 08:49:37",
                           "06-Nov-94",
                           "1994.Nov.6",
                           "Sun, 06 Nov 1994 08:49:37 CET",
                           "Sun, 06 Nov 1994 08:49:37 utc",
                           "06 Nov 1994 08:49:37 EST",
                           "Sun, 12 Sep 2004 15:05:58 -0700",
                           "20040912 15:05:58 -0700",
                           "Thu, 01-Jan-1970 00:59:59 GMT",
                           "Sat, 15-Apr-17 21:01:22 GMT",
                           "Fri, 1 Jan 2010 01:01:50 GMT",
                           ", 1-Jan-2003 00:00:00 GMT",
                           "1-Jan-2003 00:00:00 GMT",
                           "BillyWonka  , 18-Apr-07 22:50:12 GMT",
                           "Mon, 18-Apr-77 22:50:13 GMT",
                           "Partyday, 18- April-07 22:50:12",
                           "Wednes, 1-Januar-2003 00:00:00 GMT",
                           "Sat, 15-Apr-17 21:01:22 GMT-2",
                           "Sat, 15-Apr-17 21:01:22 GMT-0400",
                           "Sat, 15-Apr-17 21:01:22 DST",
                           "Sat, 15-Apr-17 21:01:22 (hello there)",
                           "Sat, 15-Apr-17 ::00 21:01:22",
                           "Sat, 15-Apr-17 91:22:33 21:01:22",
                           "22:50:12 Thu Apr 18 2007 GMT",
                           "Thu Apr 22:50:12 18 2007 GMT",
                           "Thu Apr 18 2007 22:50:12 GMT",
                           "\"Thu Apr 18 22:50:12 2007 GMT\"",
                           "15-Sat, Apr-17 21:01:22 GMT",
                           "15 17 Apr 21:01:22",
                           "Apr 15 21:01:22 17",
                           "15 April 2017 21:01:22",
                           "Thu, 012-Aug-2008 20:49:07 GMT",
                           "Thu, 12-Aug-2007 20:61:99999999999 GMT",
                           "Thu Apr 18 22:50 2007 GMT",
                           "20110023 12:34:56",
                           "20110623 56:34:56",
                           "20110623 12:34:79",
                           "Wed, 31 Dec 2008 23:59:61 GMT",
                           "Wed, 31 Dec 2008 23:60:59 GMT",
                           "20110623 1:3",
                           "20110623 01:99:30",
                           "Thu, 31-Dec-1969 23:59:58 GMT",
                           "Thu, 01-Jan-1583 00:00:00 GMT",
                           "01 Jan 2001 8:0:0",
                           "29 Feb 2023 12:00:00 GMT",
                           "30 Feb 2024 12:00:00 GMT",
                           "32 Jan 2024",
                           "Sun, 06 Nov 1994 08:49:37 +0545",
                           "06 Nov 1994 08:49:37 A",
                           "06 Nov 1994 08:49:37 Y",
                           "GMT-08:00",
                           "1994-11-06 08:49:37.123 GMT",
                           "19 Jan 2038 03:14:07 GMT",
                           "01 Jan 69 00:00:00 GMT",
                           "Sun, 06-Nov/1994 08:49:37",
                           "  Sun, 06 Nov 1994 08:49:37 GMT   ",
                           "Monday, 06 Nov 1994 08:49:37 GMT",
                           ""}) {
    EXPECT_FALSE(ParseHttpDate(text, kNow).has_value()) << text;
  }
}

TEST(HttpDateTest, DaysThatDoNotExist) {
  for (const char* text :
       {"Thu, 31 Apr 2026 00:00:00 GMT", "Sun, 29 Feb 2026 00:00:00 GMT",
        "Mon, 29 Feb 2100 00:00:00 GMT", "Thu, 00 Jan 2026 00:00:00 GMT",
        "Thu, 32 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 24:00:00 GMT",
        "Sunday, 29-Feb-26 00:00:00 GMT", "Sun Feb 30 00:00:00 2026"}) {
    EXPECT_FALSE(ParseHttpDate(text, kNow).has_value()) << text;
  }
  EXPECT_EQ(ParseHttpDate("Thu, 29 Feb 2024 00:00:00 GMT", kNow), 1709164800);
  EXPECT_EQ(ParseHttpDate("Tue, 29 Feb 2000 00:00:00 GMT", kNow), 951782400);
  // The name of the day is not checked against the date.
  EXPECT_EQ(ParseHttpDate("Mon, 29 Feb 2024 00:00:00 GMT", kNow), 1709164800);
  // A leap second is the second after.
  EXPECT_EQ(ParseHttpDate("Sat, 31 Dec 2016 23:59:60 GMT", kNow),
            ParseHttpDate("Sun, 01 Jan 2017 00:00:00 GMT", kNow));
}

// RFC 9110 §5.6.7: "that appears to be more than 50 years in the future" is the
// most recent year in the past with the same last two digits.
TEST(HttpDateTest, FiftyYears) {
  const int64_t now = *ParseHttpDate("Fri, 01 May 2026 12:00:00 GMT", 0);
  const auto same = [&](const char* rfc850, const char* fixdate) {
    EXPECT_EQ(ParseHttpDate(rfc850, now), ParseHttpDate(fixdate, now))
        << rfc850;
  };
  same("Friday, 01-May-76 12:00:00 GMT", "Fri, 01 May 2076 12:00:00 GMT");
  same("Friday, 01-May-76 12:00:01 GMT", "Fri, 01 May 1976 12:00:01 GMT");
  same("Friday, 31-Dec-75 23:59:59 GMT", "Fri, 31 Dec 2075 23:59:59 GMT");
  same("Friday, 01-Jan-77 00:00:00 GMT", "Fri, 01 Jan 1977 00:00:00 GMT");
  same("Friday, 01-May-26 12:00:00 GMT", "Fri, 01 May 2026 12:00:00 GMT");
  same("Friday, 31-Dec-99 00:00:00 GMT", "Fri, 31 Dec 1999 00:00:00 GMT");
  const int64_t late = *ParseHttpDate("Wed, 01 Jun 2089 00:00:00 GMT", 0);
  EXPECT_EQ(ParseHttpDate("Friday, 01-Jan-10 00:00:00 GMT", late),
            ParseHttpDate("Wed, 01 Jan 2110 00:00:00 GMT", late));
  EXPECT_EQ(ParseHttpDate("Friday, 01-Jan-40 00:00:00 GMT", late),
            ParseHttpDate("Wed, 01 Jan 2040 00:00:00 GMT", late));
}

// ---- The twin.

const char* const kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
const char* const kShort[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
const char* const kLong[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                             "Thursday", "Friday", "Saturday"};

bool Leap(int64_t y) { return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0); }
int DaysIn(int64_t year, int month) {
  const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return days[month] + (month == 1 && Leap(year) ? 1 : 0);
}

// Days since 1970 by counting, year by year.
int64_t Days(int64_t year, int month, int day) {
  int64_t n = 0;
  for (int64_t y = 1970; y < year; ++y) n += Leap(y) ? 366 : 365;
  for (int64_t y = year; y < 1970; ++y) n -= Leap(y) ? 366 : 365;
  for (int m = 0; m < month; ++m) n += DaysIn(year, m);
  return n + day - 1;
}

// By place: what is a digit, what a letter; the mask says which form.
std::optional<int64_t> TwinParse(const std::string& s, int64_t now) {
  const auto digit = [&](size_t i) { return s[i] >= '0' && s[i] <= '9'; };
  const auto number = [&](size_t i, size_t n, int* out) {
    *out = 0;
    for (size_t k = i; k < i + n; ++k) {
      if (!digit(k)) return false;
      *out = *out * 10 + (s[k] - '0');
    }
    return true;
  };
  const auto month = [&](size_t i, int* out) {
    for (*out = 0; *out < 12; ++*out) {
      if (s.compare(i, 3, kMonths[*out]) == 0) return true;
    }
    return false;
  };
  const auto clock = [&](size_t i, int* seconds) {
    int h, m, sec;
    if (s[i + 2] != ':' || s[i + 5] != ':') return false;
    if (!number(i, 2, &h) || !number(i + 3, 2, &m) || !number(i + 6, 2, &sec)) {
      return false;
    }
    *seconds = h * 3600 + m * 60 + sec;
    return h < 24 && m < 60 && sec <= 60;
  };
  int y, mon, d, sec;
  const auto done = [&](int64_t year) -> std::optional<int64_t> {
    if (d < 1 || d > DaysIn(year, mon)) return std::nullopt;
    return Days(year, mon, d) * 86400 + sec;
  };
  for (const char* day : kShort) {
    if (s.compare(0, 3, day) != 0) continue;
    if (s.size() == 29 && s[3] == ',' && s[4] == ' ' && s[7] == ' ' &&
        s[11] == ' ' && s[16] == ' ' && s.compare(25, 4, " GMT") == 0 &&
        number(5, 2, &d) && month(8, &mon) && number(12, 4, &y) &&
        clock(17, &sec)) {
      return done(y);
    }
    if (s.size() == 24 && s[3] == ' ' && s[7] == ' ' && s[10] == ' ' &&
        s[19] == ' ' && month(4, &mon) && number(20, 4, &y) &&
        clock(11, &sec)) {
      if (s[8] == ' ' ? !number(9, 1, &d) : !number(8, 2, &d)) {
        return std::nullopt;
      }
      return done(y);
    }
  }
  for (const std::string day : kLong) {
    if (s.compare(0, day.size(), day) != 0) continue;
    const size_t o = day.size();
    if (s.size() != o + 24 || s.compare(o, 2, ", ") != 0 || s[o + 4] != '-' ||
        s[o + 8] != '-' || s[o + 11] != ' ' ||
        s.compare(o + 20, 4, " GMT") != 0) {
      continue;
    }
    if (!number(o + 2, 2, &d) || !month(o + 5, &mon) || !number(o + 9, 2, &y) ||
        !clock(o + 12, &sec)) {
      continue;
    }
    // The year: from fifty years ahead backward, the first that fits.
    int64_t this_year = 1970;
    while (Days(this_year + 1, 0, 1) * 86400 <= now) ++this_year;
    for (int64_t year = this_year + 50; year > this_year - 60; --year) {
      if (year % 100 != y) continue;
      if (year == this_year + 50) {
        const int64_t so_far = now - Days(this_year, 0, 1) * 86400;
        // The same moment of that year, by month, day and second.
        int m = 0;
        int64_t rest = so_far;
        while (rest >= int64_t{DaysIn(this_year, m)} * 86400) {
          rest -= int64_t{DaysIn(this_year, m)} * 86400;
          ++m;
        }
        const int64_t horizon = (Days(year, m, 1) * 86400) + rest;
        if (Days(year, mon, d) * 86400 + sec > horizon) continue;
      }
      return done(year);
    }
  }
  return std::nullopt;
}

TEST(HttpDateTest, LikeTheTwinOnRandomDatesAndDamage) {
  int accepted = 0;
  constexpr uint64_t kRounds = 300000;
  for (uint64_t i = 0; i < kRounds; ++i) {
    uint64_t n = 0;
    const auto below = [&](uint64_t k) {
      return static_cast<int>(MixRandom(i, n++) % k);
    };
    const int64_t now =
        Days(1980 + below(140), below(12), 1 + below(28)) * 86400 +
        below(86400);
    const int year = below(3) == 0 ? below(10000) : 1950 + below(200);
    const int month = below(12);
    const int day = 1 + below(31);
    const int h = below(24);
    const int m = below(60);
    const int s = below(61);
    std::string text;
    switch (below(3)) {
      case 0:
        text = absl::StrFormat("%s, %02d %s %04d %02d:%02d:%02d GMT",
                               kShort[below(7)], day, kMonths[month], year, h,
                               m, s);
        break;
      case 1:
        text = absl::StrFormat("%s, %02d-%s-%02d %02d:%02d:%02d GMT",
                               kLong[below(7)], day, kMonths[month], year % 100,
                               h, m, s);
        break;
      default:
        text =
            absl::StrFormat("%s %s %2d %02d:%02d:%02d %04d", kShort[below(7)],
                            kMonths[month], day, h, m, s, year);
        break;
    }
    // Half of them are damaged: a character changed, lost, or doubled.
    if (below(2) == 0) {
      const auto at = static_cast<size_t>(below(text.size()));
      const char other = " ,-:0123456789GMTSunay\t\0x"[below(25)];
      switch (below(3)) {
        case 0:
          text[at] = other;
          break;
        case 1:
          text.erase(at, 1);
          break;
        default:
          text.insert(at, 1, other);
          break;
      }
    }
    const std::optional<int64_t> real = ParseHttpDate(text, now);
    const std::optional<int64_t> twin = TwinParse(text, now);
    ASSERT_EQ(real, twin) << "seed " << i << ": \"" << text << "\" at " << now
                          << " real " << real.value_or(-1) << " twin "
                          << twin.value_or(-1);
    if (real) ++accepted;
  }
  EXPECT_GT(accepted, static_cast<int>(kRounds) / 3);
  std::printf("%llu dates, %d accepted\n",
              static_cast<unsigned long long>(kRounds), accepted);
}

// What curl_getdate (lib517) reads, and we do not: other zones, a text around the
// date, days that no month has, parts in another order.
TEST(HttpDateTest, WhatOnlyLenientReadersTake) {
  for (char zone = 'A'; zone <= 'Z'; ++zone) {
    for (const char* begin :
         {"06 Nov 1994 08:49:37 ", "Sun, 06 Nov 1994 08:49:37 "}) {
      EXPECT_EQ(ParseHttpDate(std::string(begin) + zone, 0), std::nullopt);
    }
  }
  for (const char* month : {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
                            "Aug", "Sep", "Oct", "Nov", "Dec"}) {
    for (const char* day : {"00", "32"}) {
      EXPECT_EQ(
          ParseHttpDate(
              absl::StrFormat("Sun, %s %s 2024 08:49:37 GMT", day, month), 0),
          std::nullopt);
      EXPECT_EQ(ParseHttpDate(absl::StrFormat("%s %s 2024", day, month), 0),
                std::nullopt);
    }
  }
  for (const char* text :
       {"BillyWonka  ,  18-apr-07   22:50:12",
        "\"Thu Apr 18 22:50:12 2007 GMT\"", "*\"Thu 22:50:12 Apr 18 2007 GMT\"",
        ".\"Thu Apr 18 22:50:12 2007 GMT\"", "\"Thu Apr 18 2007 GMT 22:50:12\"",
        "15-Sat, Apr 21:01:22 GMT 2017", "20110623 12:12:3"}) {
    EXPECT_EQ(ParseHttpDate(text, 0), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace forbear
