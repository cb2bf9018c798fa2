#include "signals/delay_text.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/time/civil_time.h"
#include "signals/header_field.h"
#include "signals/http_date.h"
#include "signals/retry_after.h"

namespace forbear {
namespace {

constexpr DelayFormat kFormats[] = {
    DelayFormat::kSeconds,        DelayFormat::kDecimalSeconds,
    DelayFormat::kMilliseconds,   DelayFormat::kGoDuration,
    DelayFormat::kProtoDuration,  DelayFormat::kRfc3339,
    DelayFormat::kEpochSeconds,   DelayFormat::kEpochMilliseconds,
    DelayFormat::kHttpRetryAfter, DelayFormat::kGuess,
};

constexpr int64_t kSecond = 1'000'000'000;  // in nanoseconds
constexpr int64_t kMillisecond = 1'000'000;

// What no clock can hold is for ever (as in signals/retry_after.h).
absl::Duration Saturated(absl::Duration d) {
  return d >= absl::Seconds(int64_t{1} << 40) ? absl::InfiniteDuration() : d;
}

// A decimal number, not yet multiplied by its unit.
struct Number {
  int64_t whole = 0;     // saturates
  int64_t fraction = 0;  // of 10^digits, rounded up; may be 10^digits
  int digits = 0;        // at most kMaxDigits are kept
  size_t decimals = 0;   // how many were written

  static constexpr int kMaxDigits = 15;

  // Rounded up to the next nanosecond.
  absl::Duration Times(int64_t unit_nanos) const {
    if (whole == std::numeric_limits<int64_t>::max()) {
      return absl::InfiniteDuration();
    }
    __int128 scale = 1;
    for (int i = 0; i < digits; ++i) scale *= 10;
    const __int128 nanos =
        (static_cast<__int128>(fraction) * unit_nanos + scale - 1) / scale;
    return Saturated(absl::Nanoseconds(unit_nanos) * whole +
                     absl::Nanoseconds(static_cast<int64_t>(nanos)));
  }
};

// Takes 1*DIGIT [ "." 1*DIGIT ] from the front of `rest`.
std::optional<Number> TakeNumber(absl::string_view* rest) {
  Number number;
  size_t used = 0;
  for (; used < rest->size() && absl::ascii_isdigit((*rest)[used]); ++used) {
    if (__builtin_mul_overflow(number.whole, 10, &number.whole) ||
        __builtin_add_overflow(number.whole, (*rest)[used] - '0',
                               &number.whole)) {
      number.whole = std::numeric_limits<int64_t>::max();
    }
  }
  if (used == 0) return std::nullopt;
  rest->remove_prefix(used);
  if (rest->empty() || rest->front() != '.') return number;
  rest->remove_prefix(1);
  bool cut_off = false;
  for (used = 0; used < rest->size() && absl::ascii_isdigit((*rest)[used]);
       ++used) {
    const int digit = (*rest)[used] - '0';
    if (number.digits < Number::kMaxDigits) {
      number.fraction = number.fraction * 10 + digit;
      ++number.digits;
    } else if (digit != 0) {
      cut_off = true;
    }
  }
  if (used == 0) return std::nullopt;
  number.decimals = used;
  if (cut_off) ++number.fraction;
  rest->remove_prefix(used);
  return number;
}

// The whole text is one number.
std::optional<Number> ReadNumber(absl::string_view text) {
  const std::optional<Number> number = TakeNumber(&text);
  if (!text.empty()) return std::nullopt;
  return number;
}

struct Unit {
  absl::string_view name;
  int64_t nanos = 0;
};

// Those whose name begins with another one's stand before it.
constexpr Unit kGoUnits[] = {
    {"ns", 1},
    {"us", 1'000},
    {"\u00b5s", 1'000},  // micro sign
    {"\u03bcs", 1'000},  // Greek mu
    {"ms", kMillisecond},
    {"s", kSecond},
    {"m", 60 * kSecond},
    {"h", 3600 * kSecond},
};

std::optional<absl::Duration> ReadGoDuration(absl::string_view text) {
  if (text.empty()) return std::nullopt;
  if (text == "0") return absl::ZeroDuration();
  absl::Duration sum;
  while (!text.empty()) {
    const std::optional<Number> number = TakeNumber(&text);
    if (!number) return std::nullopt;
    const auto* const unit = std::find_if(
        std::begin(kGoUnits), std::end(kGoUnits),
        [&](const Unit& u) { return text.substr(0, u.name.size()) == u.name; });
    if (unit == std::end(kGoUnits)) return std::nullopt;
    text.remove_prefix(unit->name.size());
    sum += number->Times(unit->nanos);
  }
  return Saturated(sum);
}

std::optional<absl::Duration> ReadProtoDuration(absl::string_view text) {
  if (text.empty() || text.back() != 's') return std::nullopt;
  text.remove_suffix(1);
  const std::optional<Number> number = ReadNumber(text);
  if (!number || number->decimals > 9) return std::nullopt;
  return number->Times(kSecond);
}

// Takes exactly `digits` digits, or leaves -1.
int TakeDigits(absl::string_view* rest, size_t digits) {
  if (rest->size() < digits) return -1;
  int value = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (!absl::ascii_isdigit((*rest)[i])) return -1;
    value = value * 10 + ((*rest)[i] - '0');
  }
  rest->remove_prefix(digits);
  return value;
}

// Takes one character, which must be `expected` in either case.
bool Take(absl::string_view* rest, char expected) {
  if (rest->empty() || absl::ascii_toupper(rest->front()) != expected) {
    return false;
  }
  rest->remove_prefix(1);
  return true;
}

// ("Z" / ("+" / "-") hh ":" mm): how far it is ahead of UTC.
std::optional<absl::Duration> TakeZone(absl::string_view* rest) {
  if (Take(rest, 'Z')) return absl::ZeroDuration();
  const bool behind = Take(rest, '-');
  if (!behind && !Take(rest, '+')) return std::nullopt;
  const int hours = TakeDigits(rest, 2);
  if (!Take(rest, ':')) return std::nullopt;
  const int minutes = TakeDigits(rest, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
    return std::nullopt;
  }
  const absl::Duration offset = absl::Hours(hours) + absl::Minutes(minutes);
  return behind ? -offset : offset;
}

// RFC 3339 §5.6, and without seconds.
std::optional<absl::Time> ReadRfc3339(absl::string_view text) {
  const int year = TakeDigits(&text, 4);
  if (!Take(&text, '-')) return std::nullopt;
  const int month = TakeDigits(&text, 2);
  if (!Take(&text, '-')) return std::nullopt;
  const int day = TakeDigits(&text, 2);
  if (!Take(&text, 'T')) return std::nullopt;
  const int hour = TakeDigits(&text, 2);
  if (!Take(&text, ':')) return std::nullopt;
  const int minute = TakeDigits(&text, 2);
  if (year < 0 || month < 0 || day < 0 || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59) {
    return std::nullopt;
  }
  absl::Duration seconds;
  if (Take(&text, ':')) {
    // Two digits before the point, and a zone after them. ":60" is a leap second,
    // the one after ":59".
    if (text.size() < 3 || !absl::ascii_isdigit(text[1]) ||
        absl::ascii_isdigit(text[2])) {
      return std::nullopt;
    }
    const std::optional<Number> number = TakeNumber(&text);
    if (!number || number->whole > 60) return std::nullopt;
    seconds = number->Times(kSecond);
  }
  const std::optional<absl::Duration> ahead = TakeZone(&text);
  if (!ahead || !text.empty()) return std::nullopt;
  const absl::CivilDay date(year, month, day);
  // CivilDay rolls "31 April" over; a date that does so is none.
  if (date.month() != month) return std::nullopt;
  return absl::UnixEpoch() +
         absl::Hours(24) * (date - absl::CivilDay(1970, 1, 1)) +
         absl::Hours(hour) + absl::Minutes(minute) + seconds - *ahead;
}

// From the answer on until `when`.
absl::Duration Until(absl::Time when, const WallTimes& times) {
  return Saturated(
      std::max(absl::ZeroDuration(), when - times.date.value_or(times.now)));
}

absl::Duration UntilEpoch(const Number& number, int64_t unit_nanos,
                          const WallTimes& times) {
  return Until(absl::UnixEpoch() + number.Times(unit_nanos), times);
}

// Of the two forms, a date and a number, either.
std::optional<absl::Duration> ReadRetryAfter(absl::string_view text,
                                             const WallTimes& times) {
  std::optional<int64_t> date;
  // Rounds down: a wait until a date is then longer.
  if (times.date) date = absl::ToUnixSeconds(*times.date);
  std::optional<absl::Duration> wait =
      ParseRetryAfter(text, date, absl::ToUnixSeconds(times.now));
  // Unless the server's clock is known better. (A date begins with a day's name.)
  if (wait && date && absl::ascii_isalpha(text[0])) {
    *wait -= *times.date - absl::FromUnixSeconds(*date);
    *wait = std::max(*wait, absl::ZeroDuration());
  }
  return wait;
}

std::optional<absl::Duration> Guess(absl::string_view text,
                                    const WallTimes& times) {
  if (const std::optional<Number> number = ReadNumber(text)) {
    if (number->whole >= 1'000'000'000'000) {
      return UntilEpoch(*number, kMillisecond, times);
    }
    if (number->whole >= 1'000'000'000) {
      return UntilEpoch(*number, kSecond, times);
    }
    const absl::Duration wait = number->Times(kSecond);
    if (wait > absl::Hours(24)) return std::nullopt;
    return wait;
  }
  if (const auto wait = ReadGoDuration(text)) return wait;
  if (const auto when = ReadRfc3339(text)) return Until(*when, times);
  return ReadRetryAfter(text, times);
}

}  // namespace

std::optional<absl::Duration> ParseDelay(DelayFormat format,
                                         absl::string_view text,
                                         const WallTimes& times) {
  text = TrimBlanks(text);
  switch (format) {
    case DelayFormat::kSeconds: {
      const std::optional<Number> number = ReadNumber(text);
      if (!number || number->decimals > 0) return std::nullopt;
      return number->Times(kSecond);
    }
    case DelayFormat::kDecimalSeconds:
    case DelayFormat::kMilliseconds: {
      const std::optional<Number> number = ReadNumber(text);
      if (!number) return std::nullopt;
      return number->Times(format == DelayFormat::kMilliseconds ? kMillisecond
                                                                : kSecond);
    }
    case DelayFormat::kGoDuration:
      return ReadGoDuration(text);
    case DelayFormat::kProtoDuration:
      return ReadProtoDuration(text);
    case DelayFormat::kRfc3339: {
      const std::optional<absl::Time> when = ReadRfc3339(text);
      if (!when) return std::nullopt;
      return Until(*when, times);
    }
    case DelayFormat::kEpochSeconds:
    case DelayFormat::kEpochMilliseconds: {
      const std::optional<Number> number = ReadNumber(text);
      if (!number) return std::nullopt;
      return UntilEpoch(
          *number,
          format == DelayFormat::kEpochMilliseconds ? kMillisecond : kSecond,
          times);
    }
    case DelayFormat::kHttpRetryAfter:
      return ReadRetryAfter(text, times);
    case DelayFormat::kGuess:
      return Guess(text, times);
  }
  return std::nullopt;
}

absl::string_view DelayFormatName(DelayFormat format) {
  switch (format) {
    case DelayFormat::kSeconds:
      return "s";
    case DelayFormat::kDecimalSeconds:
      return "float_s";
    case DelayFormat::kMilliseconds:
      return "ms";
    case DelayFormat::kGoDuration:
      return "go_duration";
    case DelayFormat::kProtoDuration:
      return "proto_duration";
    case DelayFormat::kRfc3339:
      return "rfc3339";
    case DelayFormat::kEpochSeconds:
      return "epoch_s";
    case DelayFormat::kEpochMilliseconds:
      return "epoch_ms";
    case DelayFormat::kHttpRetryAfter:
      return "http_retry_after";
    case DelayFormat::kGuess:
      return "guess";
  }
  return "?";
}

std::optional<DelayFormat> ParseDelayFormatName(absl::string_view name) {
  for (const DelayFormat format : kFormats) {
    if (DelayFormatName(format) == name) return format;
  }
  return std::nullopt;
}

}  // namespace forbear
