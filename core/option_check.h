// Checks that options share, so that every refusal reads the same: the field,
// its value, and what would be right.
//
//   CheckNumber("retry.backoff.multiplier", 0.5, 1, 100, &faults);
//   // faults: "retry.backoff.multiplier is 0.5; it must be 1 … 100"
//
// Thread rule: pure functions on the caller's vector.
#ifndef FORBEAR_CORE_OPTION_CHECK_H_
#define FORBEAR_CORE_OPTION_CHECK_H_

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

inline void CheckDuration(absl::string_view field, absl::Duration value,
                          absl::Duration low, absl::Duration high,
                          std::vector<std::string>* faults) {
  if (value >= low && value <= high) return;
  faults->push_back(absl::StrCat(field, " is ", absl::FormatDuration(value),
                                 "; it must be ", absl::FormatDuration(low),
                                 " … ", absl::FormatDuration(high)));
}

// A number as people write it: 10000000, not 1e+07.
inline std::string PlainNumber(double value) {
  return absl::StrFormat("%.10g", value);
}

// NaN is outside of every range.
inline void CheckNumber(absl::string_view field, double value, double low,
                        double high, std::vector<std::string>* faults) {
  if (value >= low && value <= high) return;
  faults->push_back(absl::StrCat(field, " is ", PlainNumber(value),
                                 "; it must be ", PlainNumber(low), " … ",
                                 PlainNumber(high)));
}

}  // namespace forbear

#endif  // FORBEAR_CORE_OPTION_CHECK_H_
