// Lines of a head about rate limits: ReadRateLimitHeaders.

#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "signals/delay_text.h"
#include "signals/header_field.h"
#include "signals/rate_limit_headers.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/head_lines.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  WallTimes times;
  times.now = absl::FromUnixSeconds(1763800000);
  const std::vector<HeaderField> fields = HeadLines(input);
  const std::vector<AnnouncedLimit> limits =
      ReadRateLimitHeaders(fields, times);
  Require(limits.size() <= kMaxAnnouncedLimits, "bounded");
  const absl::Duration zero = absl::ZeroDuration();
  bool window_and_rest = false;
  for (const AnnouncedLimit& limit : limits) {
    Require(limit.limit.value_or(0) >= 0, "no limit is negative");
    Require(limit.remaining.value_or(0) >= 0, "nothing negative is left");
    Require(limit.reset.value_or(zero) >= zero, "no reset is negative");
    Require(limit.window.value_or(absl::Seconds(1)) > zero, "no empty window");
    Require(limit.name.size() <= 64 && limit.unit.size() <= 64 &&
                limit.partition_key.size() <= 256,
            "texts are short");
    window_and_rest |=
        limit.window && limit.remaining > 0 && limit.remaining != 50;
  }
  Require(WaitForExhausted(limits).value_or(zero) >= zero, "nor is a wait");
  return window_and_rest;
}

}  // namespace forbear::fuzz
