// Never sooner than the server asked: a million waits, each made up in exact
// arithmetic, written down in one of the ways in which servers do, read by the code,
// and compared. What is read is never shorter than what was made up, and longer by no
// more than the way of writing makes it: nanoseconds, or the second of a Date field.
//
// Where an instant is written, the server's clock and ours differ by up to an hour
// if the answer has a Date field; without one nobody could know.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"
#include "signals/delay_text.h"
#include "signals/grpc_pushback.h"
#include "signals/header_field.h"
#include "signals/header_signals.h"
#include "signals/retry_info.h"
#include "tests/signals/exact_time.h"

namespace forbear {
namespace {

using testing::Exact;
using testing::Femtoseconds;
using testing::kFemtosPerNano;
using testing::kFemtosPerSecond;

// The longest wait that is not for ever (signals/delay_text.h).
constexpr Femtoseconds kForEver = (Femtoseconds{1} << 40) * kFemtosPerSecond;

// One made-up wait, and what came of it.
struct Trial {
  Femtoseconds truth = 0;
  std::optional<absl::Duration> read;
  Femtoseconds slack = 2 * kFemtosPerNano;  // that it may be longer
  std::string text;                         // for failures
};

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  uint64_t Next() { return MixRandom(seed_, counter_++); }
  uint64_t Below(uint64_t n) { return Next() % n; }
  // Of all sizes, up to `bits` bits.
  uint64_t Any(int bits) { return Next() >> (64 - bits + Below(bits)); }

 private:
  const uint64_t seed_;
  uint64_t counter_ = 0;
};

// A number with some decimals, its text and its exact value in units of 10^-15.
struct Decimal {
  std::string text;
  Femtoseconds value = 0;
};

Decimal AnyDecimal(Random* random, int bits, int most_decimals) {
  Decimal decimal;
  const uint64_t whole = random->Any(bits);
  decimal.text = absl::StrCat(random->Below(10) == 0 ? "00" : "", whole);
  decimal.value = whole * kFemtosPerSecond;
  const int decimals = static_cast<int>(random->Below(most_decimals + 1));
  if (decimals > 0) decimal.text += '.';
  Femtoseconds unit = kFemtosPerSecond;
  for (int i = 0; i < decimals; ++i) {
    const uint64_t digit = random->Below(10);
    decimal.text += static_cast<char>('0' + digit);
    unit /= 10;
    decimal.value += static_cast<int64_t>(digit) * unit;
  }
  return decimal;
}

// ---- from the answer on

Trial Delta(DelayFormat format, const std::string& text, Femtoseconds truth) {
  Trial trial;
  trial.truth = truth;
  trial.text = text;
  trial.read = ParseDelay(format, text, {});
  return trial;
}

Trial Seconds(Random* random) {
  const Decimal n = AnyDecimal(random, 50, 0);
  return Delta(DelayFormat::kSeconds, n.text, n.value);
}
Trial DecimalSeconds(Random* random) {
  const Decimal n = AnyDecimal(random, 50, 15);
  return Delta(DelayFormat::kDecimalSeconds, n.text, n.value);
}
Trial Milliseconds(Random* random) {
  const Decimal n = AnyDecimal(random, 55, 12);
  return Delta(DelayFormat::kMilliseconds, n.text, n.value / 1000);
}
Trial GuessedSeconds(Random* random) {
  const Decimal n = AnyDecimal(random, 16, 15);
  return Delta(DelayFormat::kGuess, n.text, n.value);
}
Trial ProtoDuration(Random* random) {
  const Decimal n = AnyDecimal(random, 50, 9);
  return Delta(DelayFormat::kProtoDuration, n.text + "s", n.value);
}
Trial GoDuration(Random* random) {
  // Units in femtoseconds, and how many decimals of theirs are whole ones.
  struct Unit {
    const char* name;
    Femtoseconds femtos;
    int decimals;
  };
  static constexpr Unit kUnits[] = {
      {"h", 3600 * kFemtosPerSecond, 15}, {"m", 60 * kFemtosPerSecond, 15},
      {"s", kFemtosPerSecond, 15},        {"ms", kFemtosPerSecond / 1000, 12},
      {"us", 1000 * kFemtosPerNano, 9},   {"\u00b5s", 1000 * kFemtosPerNano, 9},
      {"ns", kFemtosPerNano, 6},
  };
  std::string text;
  Femtoseconds truth = 0;
  const uint64_t parts = 1 + random->Below(4);
  for (uint64_t i = 0; i < parts; ++i) {
    const Unit& unit = kUnits[random->Below(std::size(kUnits))];
    const Decimal n = AnyDecimal(random, 40, unit.decimals);
    absl::StrAppend(&text, n.text, unit.name);
    // Exact: with that many decimals the product is a multiple of 10^15.
    truth += n.value / kFemtosPerSecond * unit.femtos +
             n.value % kFemtosPerSecond * unit.femtos / kFemtosPerSecond;
  }
  Trial trial = Delta(
      random->Below(4) == 0 ? DelayFormat::kGuess : DelayFormat::kGoDuration,
      text, truth);
  // Each part is rounded up.
  trial.slack = __int128{2} * static_cast<int64_t>(parts) * kFemtosPerNano;
  return trial;
}

// ---- until an instant, on the server's clock

// The server's clock when it answers, ours, and the instant that it names.
struct Clocks {
  Femtoseconds server = 0;
  absl::Time ours;
  std::optional<absl::Time> date;  // the server's, without its fraction
  Femtoseconds until = 0;

  Femtoseconds truth() const {
    return std::max<Femtoseconds>(0, until - server);
  }
  WallTimes times() const {
    WallTimes times;
    times.date = date;
    times.now = ours;
    return times;
  }
};

// `until` is a multiple of `unit`.
Clocks AnyClocks(Random* random, Femtoseconds unit) {
  Clocks clocks;
  // 2001 to 2069, to the nanosecond.
  const int64_t seconds =
      1'000'000'000 + static_cast<int64_t>(random->Below(2'130'000'000));
  const auto nanos = static_cast<int64_t>(random->Below(1'000'000'000));
  clocks.server = seconds * kFemtosPerSecond + nanos * kFemtosPerNano;
  clocks.ours = absl::FromUnixSeconds(seconds) + absl::Nanoseconds(nanos);
  if (random->Below(4) != 0) {
    clocks.date = absl::FromUnixSeconds(seconds);
    clocks.ours += absl::Nanoseconds(
        static_cast<int64_t>(random->Below(7'200'000'000'001)) -
        3'600'000'000'000);
  }
  Femtoseconds ahead = Femtoseconds{random->Any(31)} * kFemtosPerSecond / 64;
  if (random->Below(8) == 0) ahead = -ahead / 64;
  clocks.until = (clocks.server + ahead) / unit * unit;
  return clocks;
}

Trial Instant(DelayFormat format, const Clocks& clocks,
              const std::string& text) {
  Trial trial;
  trial.truth = clocks.truth();
  trial.text = text;
  trial.read = ParseDelay(format, text, clocks.times());
  trial.slack += kFemtosPerSecond;
  return trial;
}

std::string Whole(Femtoseconds value) {
  return absl::StrCat(static_cast<int64_t>(value));
}

// The digits of a fraction of a second of `digits` decimals.
std::string Fraction(Femtoseconds value, int digits) {
  std::string text;
  value %= kFemtosPerSecond;
  for (int i = 0; i < digits; ++i) {
    value *= 10;
    text += static_cast<char>('0' + static_cast<int>(value / kFemtosPerSecond));
    value %= kFemtosPerSecond;
  }
  return text;
}

Femtoseconds PowerOfTenth(int digits) {
  Femtoseconds unit = kFemtosPerSecond;
  for (int i = 0; i < digits; ++i) unit /= 10;
  return unit;
}

Trial EpochSeconds(Random* random) {
  const int digits = static_cast<int>(random->Below(16));
  const Clocks clocks = AnyClocks(random, PowerOfTenth(digits));
  std::string text = Whole(clocks.until / kFemtosPerSecond);
  if (digits > 0) text += "." + Fraction(clocks.until, digits);
  const bool guess =
      clocks.until >= 1'000'000'000 * kFemtosPerSecond && random->Below(4) == 0;
  return Instant(guess ? DelayFormat::kGuess : DelayFormat::kEpochSeconds,
                 clocks, text);
}

Trial EpochMilliseconds(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond / 1000);
  const bool guess =
      clocks.until >= 1'000'000'000 * kFemtosPerSecond && random->Below(4) == 0;
  return Instant(guess ? DelayFormat::kGuess : DelayFormat::kEpochMilliseconds,
                 clocks, Whole(clocks.until / (kFemtosPerSecond / 1000)));
}

absl::Time UntilTime(const Clocks& clocks) {
  return absl::FromUnixSeconds(
      static_cast<int64_t>(clocks.until / kFemtosPerSecond));
}

Trial Rfc3339(Random* random) {
  const uint64_t kind = random->Below(4);
  const int digits = kind == 0 ? static_cast<int>(random->Below(16)) : 0;
  const Clocks clocks = AnyClocks(
      random, kind == 1 ? 60 * kFemtosPerSecond : PowerOfTenth(digits));
  const int minutes = static_cast<int>(random->Below(2879)) - 1439;
  const absl::TimeZone zone = absl::FixedTimeZone(minutes * 60);
  std::string text =
      absl::FormatTime(kind == 1 ? "%Y-%m-%dT%H:%M" : "%Y-%m-%dT%H:%M:%S",
                       UntilTime(clocks), zone);
  if (digits > 0) text += "." + Fraction(clocks.until, digits);
  if (minutes == 0) {
    text += "Z";
  } else {
    const int size = std::abs(minutes);
    absl::StrAppendFormat(&text, "%c%02d:%02d", minutes < 0 ? '-' : '+',
                          size / 60, size % 60);
  }
  return Instant(
      random->Below(4) == 0 ? DelayFormat::kGuess : DelayFormat::kRfc3339,
      clocks, text);
}

std::string HttpDate(Random* random, absl::Time time) {
  static constexpr const char* kForms[] = {"%a, %d %b %Y %H:%M:%S GMT",
                                           "%A, %d-%b-%y %H:%M:%S GMT",
                                           "%a %b %e %H:%M:%S %Y"};
  return absl::FormatTime(kForms[random->Below(3)], time, absl::UTCTimeZone());
}

// ---- whole heads

Trial Head(const Clocks& clocks, Random* random,
           std::vector<std::pair<std::string, std::string>> lines,
           Femtoseconds truth, Femtoseconds slack) {
  if (clocks.date) lines.emplace_back("Date", HttpDate(random, *clocks.date));
  std::vector<HeaderField> fields;
  Trial trial;
  for (const auto& [name, value] : lines) {
    fields.push_back({name, value});
    absl::StrAppend(&trial.text, name, ": ", value, "\n");
  }
  trial.truth = truth;
  trial.read =
      ReadHeaderSignals(fields, WallTimesOf(fields, clocks.ours)).wait();
  trial.slack += slack;
  return trial;
}

Trial RetryAfterDate(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  return Head(clocks, random,
              {{"Retry-After", HttpDate(random, UntilTime(clocks))}},
              clocks.truth(), kFemtosPerSecond);
}
Trial RetryAfterSeconds(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  const Decimal n = AnyDecimal(random, 50, 0);
  return Head(clocks, random, {{"Retry-After", n.text}}, n.value, 0);
}
Trial RetryAfterMs(Random* random) {
  static constexpr const char* kNames[] = {
      "retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after"};
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  const Decimal n = AnyDecimal(random, 50, 12);
  return Head(clocks, random, {{kNames[random->Below(3)], n.text}},
              n.value / 1000, 0);
}
Trial SeveralFields(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  const Decimal seconds = AnyDecimal(random, 30, 0);
  const Decimal ms = AnyDecimal(random, 40, 12);
  const Decimal more = AnyDecimal(random, 30, 0);
  return Head(
      clocks, random,
      {{"Retry-After", seconds.text},
       {"retry-after-ms", ms.text},
       {"Retry-After", HttpDate(random, UntilTime(clocks))},
       {"X-RateLimit-Remaining", "0"},
       {"X-RateLimit-Reset", "1"},
       {"Retry-After", more.text}},
      std::max({seconds.value, ms.value / 1000, more.value, clocks.truth()}),
      kFemtosPerSecond);
}
Trial RateLimit(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  const Decimal longest = AnyDecimal(random, 40, 0);
  return Head(clocks, random,
              {{"RateLimit", absl::StrCat("\"a\";r=0;t=", longest.text,
                                          ", \"b\";r=1;t=999")}},
              longest.value, 0);
}
Trial RateLimitKeywords(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  const Decimal reset = AnyDecimal(random, 40, 0);
  return Head(
      clocks, random,
      {{"RateLimit", absl::StrCat("limit=9, remaining=0, reset=", reset.text)}},
      reset.value, 0);
}
Trial ThreeFields(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  const Decimal reset = AnyDecimal(random, 16, 9);
  const std::string x = random->Below(2) == 0 ? "" : "X-";
  return Head(
      clocks, random,
      {{x + "RateLimit-Remaining", "0"}, {x + "RateLimit-Reset", reset.text}},
      reset.value, 0);
}
Trial ResetInstant(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  std::string reset = Whole(clocks.until / kFemtosPerSecond);
  if (clocks.until < 1'000'000'000 * kFemtosPerSecond) reset = "1000000000";
  if (random->Below(2) == 0) reset += "000";
  return Head(
      clocks, random,
      {{"x-ratelimit-remaining-tokens", "0"},
       {"x-ratelimit-reset-tokens", reset}},
      clocks.until < 1'000'000'000 * kFemtosPerSecond ? 0 : clocks.truth(),
      kFemtosPerSecond);
}
Trial ResetGoDuration(Random* random) {
  const Clocks clocks = AnyClocks(random, kFemtosPerSecond);
  const uint64_t minutes = random->Below(60);
  const Decimal seconds = AnyDecimal(random, 6, 12);
  return Head(
      clocks, random,
      {{"x-ratelimit-remaining-requests", "0"},
       {"x-ratelimit-reset-requests",
        absl::StrCat(minutes, "m", seconds.text, "s")}},
      static_cast<__int128>(minutes) * 60 * kFemtosPerSecond + seconds.value,
      0);
}

// ---- gRPC

void AppendVarint(std::string* bytes, uint64_t value) {
  for (; value >= 0x80; value >>= 7) {
    *bytes += static_cast<char>(value | 0x80);
  }
  *bytes += static_cast<char>(value);
}
void AppendBytes(std::string* bytes, int field, const std::string& value) {
  AppendVarint(bytes, static_cast<uint64_t>(field << 3 | 2));
  AppendVarint(bytes, value.size());
  *bytes += value;
}

Trial RetryInfo(Random* random) {
  const uint64_t seconds = random->Any(38);
  const uint64_t nanos = random->Below(1'000'000'000);
  std::string duration;
  if (seconds > 0) {
    duration += '\x08';
    AppendVarint(&duration, seconds);
  }
  if (nanos > 0) {
    duration += '\x10';
    AppendVarint(&duration, nanos);
  }
  std::string info;
  AppendBytes(&info, 1, duration);
  std::string any;
  AppendBytes(&any, 1, "type.googleapis.com/google.rpc.RetryInfo");
  AppendBytes(&any, 2, info);
  std::string status;
  AppendBytes(&status, 3, any);
  Trial trial;
  trial.truth = seconds * kFemtosPerSecond + nanos * kFemtosPerNano;
  trial.text = absl::StrCat(seconds, " s ", nanos, " ns");
  trial.read = ReadErrorDetails(status).retry_delay;
  return trial;
}

Trial Pushback(Random* random) {
  const uint64_t ms = random->Any(31);
  Trial trial;
  trial.truth = ms * (kFemtosPerSecond / 1000);
  trial.text = absl::StrCat(ms);
  trial.read = ParseGrpcPushback(trial.text).wait;
  return trial;
}

// ---- all

struct Source {
  const char* name;
  Trial (*make)(Random* random);
};

constexpr Source kSources[] = {
    {"s", Seconds},
    {"float_s", DecimalSeconds},
    {"ms", Milliseconds},
    {"go_duration", GoDuration},
    {"proto_duration", ProtoDuration},
    {"rfc3339", Rfc3339},
    {"epoch_s", EpochSeconds},
    {"epoch_ms", EpochMilliseconds},
    {"guess", GuessedSeconds},
    {"Retry-After: seconds", RetryAfterSeconds},
    {"Retry-After: date", RetryAfterDate},
    {"retry-after-ms and its like", RetryAfterMs},
    {"several fields", SeveralFields},
    {"RateLimit: t", RateLimit},
    {"RateLimit: reset", RateLimitKeywords},
    {"(X-)RateLimit-Reset: delta", ThreeFields},
    {"X-RateLimit-Reset: instant", ResetInstant},
    {"X-RateLimit-Reset: Go duration", ResetGoDuration},
    {"RetryInfo", RetryInfo},
    {"grpc-retry-pushback-ms", Pushback},
};

constexpr int kTrialsPerSource = 50000;
static_assert(kTrialsPerSource * std::size(kSources) >= 1000000);

double InSeconds(Femtoseconds t) {
  return static_cast<double>(t) / static_cast<double>(kFemtosPerSecond);
}

TEST(NeverSoonerTest, AMillionWaits) {
  int all = 0;
  for (const Source& source : kSources) {
    int waits = 0;
    for (uint64_t seed = 0; seed < kTrialsPerSource; ++seed) {
      Random random(seed);
      const Trial trial = source.make(&random);
      const auto where = [&] {
        return absl::StrCat(source.name, ", seed ", seed, ", asked for ",
                            InSeconds(trial.truth), " s:\n", trial.text);
      };
      ASSERT_TRUE(trial.read.has_value()) << where();
      if (*trial.read == absl::InfiniteDuration()) {
        ASSERT_GE(trial.truth + trial.slack, kForEver) << where();
        continue;
      }
      const Femtoseconds read = Exact(*trial.read);
      ASSERT_GE(read, trial.truth) << where();
      ASSERT_LE(read, trial.truth + trial.slack) << where();
      if (trial.truth > 0) ++waits;
    }
    std::printf("%-32s %d waits, %d of them finite and not zero\n", source.name,
                kTrialsPerSource, waits);
    // Enough of them are about something.
    EXPECT_GT(waits, kTrialsPerSource / 2);
    all += kTrialsPerSource;
  }
  std::printf("%-32s %d waits\n", "all", all);
}

}  // namespace
}  // namespace forbear
