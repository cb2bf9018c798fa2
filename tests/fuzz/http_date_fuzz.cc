// A date as HTTP writes it: ParseHttpDate.

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "signals/http_date.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  constexpr int64_t kNow = 1763800000;
  const std::optional<int64_t> epoch = ParseHttpDate(input, kNow);
  if (!epoch) return false;
  Require(*epoch >= -62'167'219'200 && *epoch <= 253'402'300'800,
          "a date lies in the years 0 to 9999");
  if (*epoch < 253'402'300'800 && *epoch >= -62'135'596'800) {
    const std::string again =
        absl::FormatTime("%a, %d %b %E4Y %H:%M:%S GMT",
                         absl::FromUnixSeconds(*epoch), absl::UTCTimeZone());
    Require(ParseHttpDate(again, kNow) == epoch, "a date reads back");
  }
  return *epoch > 95'617'584'000;  // the year 5000
}

}  // namespace forbear::fuzz
