#include "signals/http_date.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/time/civil_time.h"

namespace forbear {
namespace {

constexpr absl::string_view kDays[] = {"Mon", "Tue", "Wed", "Thu",
                                       "Fri", "Sat", "Sun"};
constexpr absl::string_view kLongDays[] = {"Monday",   "Tuesday", "Wednesday",
                                           "Thursday", "Friday",  "Saturday",
                                           "Sunday"};
constexpr absl::string_view kMonths[] = {"Jan", "Feb", "Mar", "Apr",
                                         "May", "Jun", "Jul", "Aug",
                                         "Sep", "Oct", "Nov", "Dec"};

// Reads a text from the left; once something did not fit, all further reads
// fail, so that only the end has to be checked.
class Reader {
 public:
  explicit Reader(absl::string_view text) : rest_(text) {}

  void Literal(absl::string_view expected) {
    if (rest_.substr(0, expected.size()) == expected) {
      rest_.remove_prefix(expected.size());
    } else {
      ok_ = false;
    }
  }

  // Exactly `digits` digits.
  int Number(size_t digits) {
    if (rest_.size() < digits) return Fail();
    int value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = rest_[i];
      if (c < '0' || c > '9') return Fail();
      value = value * 10 + (c - '0');
    }
    rest_.remove_prefix(digits);
    return value;
  }

  // One of the names; its index.
  template <size_t N>
  int Name(const absl::string_view (&names)[N]) {
    for (size_t i = 0; i < N; ++i) {
      if (rest_.substr(0, names[i].size()) == names[i]) {
        rest_.remove_prefix(names[i].size());
        return static_cast<int>(i);
      }
    }
    return Fail();
  }

  // asctime's day: two digits, or a space and one.
  int PaddedDay() {
    if (!rest_.empty() && rest_[0] == ' ') {
      rest_.remove_prefix(1);
      return Number(1);
    }
    return Number(2);
  }

  bool AtEnd() const { return ok_ && rest_.empty(); }

 private:
  int Fail() {
    ok_ = false;
    return 0;
  }

  absl::string_view rest_;
  bool ok_ = true;
};

struct Fields {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
};

void ReadTime(Reader* r, Fields* f) {
  f->hour = r->Number(2);
  r->Literal(":");
  f->minute = r->Number(2);
  r->Literal(":");
  f->second = r->Number(2);
}

std::optional<int64_t> Epoch(const Fields& f) {
  if (f.hour > 23 || f.minute > 59 || f.second > 60) return std::nullopt;
  const absl::CivilDay day(f.year, f.month + 1, f.day);
  // CivilDay rolls "31 Apr" over; a date that does so is none.
  if (day.day() != f.day || day.month() != f.month + 1) return std::nullopt;
  return (day - absl::CivilDay(1970, 1, 1)) * int64_t{86400} +
         int64_t{f.hour} * 3600 + int64_t{f.minute} * 60 + f.second;
}

// Three letters as a number.
constexpr uint32_t Packed(const char* text) {
  return static_cast<uint32_t>(static_cast<unsigned char>(text[0])) << 16 |
         static_cast<uint32_t>(static_cast<unsigned char>(text[1])) << 8 |
         static_cast<uint32_t>(static_cast<unsigned char>(text[2]));
}

// Two digits; if they are none, not below 100.
constexpr unsigned TwoDigits(const char* text) {
  const auto tens = static_cast<unsigned char>(text[0] - '0');
  const auto ones = static_cast<unsigned char>(text[1] - '0');
  return tens > 9 || ones > 9 ? 100 : tens * 10U + ones;
}

// 0: January, … -1: none.
int MonthOf(const char* text) {
  switch (Packed(text)) {
    // clang-format off
    case Packed("Jan"): return 0;
    case Packed("Feb"): return 1;
    case Packed("Mar"): return 2;
    case Packed("Apr"): return 3;
    case Packed("May"): return 4;
    case Packed("Jun"): return 5;
    case Packed("Jul"): return 6;
    case Packed("Aug"): return 7;
    case Packed("Sep"): return 8;
    case Packed("Oct"): return 9;
    case Packed("Nov"): return 10;
    case Packed("Dec"): return 11;
    default: return -1;
      // clang-format on
  }
}

bool IsDay(const char* text) {
  switch (Packed(text)) {
    case Packed("Mon"):
    case Packed("Tue"):
    case Packed("Wed"):
    case Packed("Thu"):
    case Packed("Fri"):
    case Packed("Sat"):
    case Packed("Sun"):
      return true;
    default:
      return false;
  }
}

// Days from 1970-01-01 to the first of a month. Years that begin in March have their
// leap day at the end, and months of 31, 30, 31, 30, 31 days again and again.
int64_t DaysToMonth(unsigned year, unsigned month) {
  const unsigned y = month < 2 ? year + 399 : year + 400;  // above zero
  const unsigned m = month < 2 ? month + 10 : month - 2;   // 0: March
  constexpr int64_t kTo1970 =
      719468 + 146097;  // from 0000-03-01, and 400 years
  return int64_t{y} * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 -
         kTo1970;
}

unsigned DaysOfMonth(unsigned year, unsigned month) {
  constexpr unsigned char kDaysOf[] = {31, 28, 31, 30, 31, 30,
                                       31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return kDaysOf[month] + (month == 1 && leap ? 1U : 0U);
}

// "Sun, 06 Nov 1994 08:49:37 GMT": what each good answer carries, so without detours.
std::optional<int64_t> ParseImfFixdate(absl::string_view text) {
  if (text.size() != 29) return std::nullopt;
  const char* const t = text.data();
  const unsigned day = TwoDigits(t + 5);
  const int month = MonthOf(t + 8);
  const unsigned century = TwoDigits(t + 12);
  const unsigned year_of = TwoDigits(t + 14);
  const unsigned hour = TwoDigits(t + 17);
  const unsigned minute = TwoDigits(t + 20);
  const unsigned second = TwoDigits(t + 23);
  if (!IsDay(t) || std::memcmp(t + 3, ", ", 2) != 0 || t[7] != ' ' ||
      month < 0 || t[11] != ' ' || century > 99 || year_of > 99 ||
      t[16] != ' ' || hour > 23 || t[19] != ':' || minute > 59 ||
      t[22] != ':' || second > 60 || std::memcmp(t + 25, " GMT", 4) != 0) {
    return std::nullopt;
  }
  const unsigned year = century * 100 + year_of;
  const auto m = static_cast<unsigned>(month);
  if (day < 1 || day > DaysOfMonth(year, m)) return std::nullopt;
  return (DaysToMonth(year, m) + day - 1) * 86400 + int64_t{hour} * 3600 +
         int64_t{minute} * 60 + second;
}

// "Sunday, 06-Nov-94 08:49:37 GMT"
std::optional<int64_t> ParseRfc850(absl::string_view text, int64_t now) {
  Reader r(text);
  Fields f;
  r.Name(kLongDays);
  r.Literal(", ");
  f.day = r.Number(2);
  r.Literal("-");
  f.month = r.Name(kMonths);
  r.Literal("-");
  const int two_digits = r.Number(2);
  r.Literal(" ");
  ReadTime(&r, &f);
  r.Literal(" GMT");
  if (!r.AtEnd()) return std::nullopt;
  // "more than 50 years in the future" means the most recent past year with
  // the same last digits (RFC 9110 §5.6.7).
  const absl::CivilSecond today =
      absl::CivilSecond(1970, 1, 1) + static_cast<absl::civil_diff_t>(now);
  const absl::CivilSecond horizon(today.year() + 50, today.month(), today.day(),
                                  today.hour(), today.minute(), today.second());
  const int century = static_cast<int>(today.year() / 100 * 100);
  for (const int base : {century + 100, century, century - 100}) {
    f.year = base + two_digits;
    const absl::CivilSecond date(f.year, f.month + 1, f.day, f.hour, f.minute,
                                 f.second);
    if (date <= horizon) return Epoch(f);
  }
  return std::nullopt;
}

// "Sun Nov  6 08:49:37 1994"
std::optional<int64_t> ParseAsctime(absl::string_view text) {
  Reader r(text);
  Fields f;
  r.Name(kDays);
  r.Literal(" ");
  f.month = r.Name(kMonths);
  r.Literal(" ");
  f.day = r.PaddedDay();
  r.Literal(" ");
  ReadTime(&r, &f);
  r.Literal(" ");
  f.year = r.Number(4);
  if (!r.AtEnd()) return std::nullopt;
  return Epoch(f);
}

}  // namespace

std::optional<int64_t> ParseHttpDate(absl::string_view text, int64_t now) {
  if (auto epoch = ParseImfFixdate(text)) return epoch;
  if (auto epoch = ParseRfc850(text, now)) return epoch;
  return ParseAsctime(text);
}

}  // namespace forbear
