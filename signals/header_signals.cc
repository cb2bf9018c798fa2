#include "signals/header_signals.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/strings/match.h"
#include "signals/http_date.h"

namespace forbear {
namespace {

constexpr size_t kMaxLines = 1000;

struct ExplicitField {
  absl::string_view name;
  DelayFormat format = DelayFormat::kHttpRetryAfter;
};

constexpr ExplicitField kExplicitFields[] = {
    {"retry-after", DelayFormat::kHttpRetryAfter},
    {"retry-after-ms", DelayFormat::kMilliseconds},
    {"x-ms-retry-after-ms", DelayFormat::kMilliseconds},
    {"x-amz-retry-after", DelayFormat::kMilliseconds},
};

}  // namespace

void AddDate(const HeaderField& field, absl::Time now,
             std::optional<absl::Time>* date) {
  constexpr absl::string_view kName = "date";
  if (field.name.size() != kName.size() ||
      !absl::EqualsIgnoreCase(field.name, kName)) {
    return;
  }
  const std::optional<int64_t> seconds =
      ParseHttpDate(TrimBlanks(field.value), absl::ToUnixSeconds(now));
  if (!seconds) return;
  const absl::Time time = absl::FromUnixSeconds(*seconds);
  if (!*date || time < **date) *date = time;
}

WallTimes WallTimesOf(absl::Span<const HeaderField> fields, absl::Time now,
                      std::optional<absl::Time> server) {
  WallTimes times;
  times.now = now;
  for (const HeaderField& field : fields.subspan(0, kMaxLines)) {
    AddDate(field, now, &times.date);
  }
  if (server && (!times.date || (*server > *times.date &&
                                 *server < *times.date + absl::Seconds(1)))) {
    times.date = server;
  }
  return times;
}

HeaderSignals ReadHeaderSignals(absl::Span<const HeaderField> fields,
                                const WallTimes& times) {
  HeaderSignals signals;
  fields = fields.subspan(0, kMaxLines);
  for (const ExplicitField& known : kExplicitFields) {
    for (const HeaderField& field : fields) {
      if (!absl::EqualsIgnoreCase(field.name, known.name)) continue;
      const std::optional<absl::Duration> wait =
          ParseDelay(known.format, field.value, times);
      if (wait && (!signals.explicit_wait || *wait > *signals.explicit_wait)) {
        signals.explicit_wait = wait;
        signals.explicit_field = known.name;
      }
    }
  }
  for (const HeaderField& field : fields) {
    if (!absl::EqualsIgnoreCase(field.name, "x-should-retry")) continue;
    const absl::string_view value = TrimBlanks(field.value);
    if (value == "false") {
      signals.should_retry = false;
    } else if (value == "true" && !signals.should_retry) {
      signals.should_retry = true;
    }
  }
  signals.limits = ReadRateLimitHeaders(fields, times);
  signals.exhausted_wait = WaitForExhausted(signals.limits);
  return signals;
}

}  // namespace forbear
