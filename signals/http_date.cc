#include "signals/http_date.h"

#include <cstddef>

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

// "Sun, 06 Nov 1994 08:49:37 GMT"
std::optional<int64_t> ParseImfFixdate(absl::string_view text) {
  Reader r(text);
  Fields f;
  r.Name(kDays);
  r.Literal(", ");
  f.day = r.Number(2);
  r.Literal(" ");
  f.month = r.Name(kMonths);
  r.Literal(" ");
  f.year = r.Number(4);
  r.Literal(" ");
  ReadTime(&r, &f);
  r.Literal(" GMT");
  if (!r.AtEnd()) return std::nullopt;
  return Epoch(f);
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
