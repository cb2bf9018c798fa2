#include "core/backoff.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {

void ValidateBackoff(const BackoffOptions& options, absl::string_view path,
                     std::vector<std::string>* faults) {
  CheckDuration(absl::StrCat(path, ".initial"), options.initial,
                absl::ZeroDuration(), absl::Hours(1), faults);
  CheckNumber(absl::StrCat(path, ".multiplier"), options.multiplier, 1.0, 100.0,
              faults);
  CheckDuration(absl::StrCat(path, ".max"), options.max, options.initial,
                absl::Hours(24), faults);
  CheckNumber(absl::StrCat(path, ".lone_part"), options.lone_part, 0.0, 1.0,
              faults);
}

absl::Duration BackoffDelay(const BackoffOptions& options, int64_t retry,
                            double random, bool lone) {
  if (options.initial <= absl::ZeroDuration()) return absl::ZeroDuration();
  // In doubles: pow() overflows to infinity, and min() brings that back.
  const double max = absl::ToDoubleSeconds(options.max);
  const double part = lone && retry <= 1 ? options.lone_part : 1.0;
  const double ceiling =
      part * std::min(max, absl::ToDoubleSeconds(options.initial) *
                               std::pow(options.multiplier,
                                        static_cast<double>(
                                            std::max<int64_t>(1, retry) - 1)));
  switch (options.jitter) {
    case Jitter::kFull:
      return absl::Seconds(ceiling * random);
    case Jitter::kPlusMinus:
      return absl::Seconds(ceiling * (0.8 + 0.4 * random));
    case Jitter::kNone:
      break;
  }
  return absl::Seconds(ceiling);
}

}  // namespace forbear
