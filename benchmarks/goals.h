// Goals: a table of what was measured beside what it must be, and one word.
//
//   Goals goals;
//   goals.AtMost("a call, by key", 2.05, "x", /*must=*/2.2, /*stretch=*/{});
//   goals.Print();
//   //  a call, by key       2.05 x    <= 2.2     pass
//
// pass: as good as it must be. stretch: as good as hoped. FAIL: neither. A number
// that is missing stands there as "not measured", with why.
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_BENCHMARKS_GOALS_H_
#define FORBEAR_BENCHMARKS_GOALS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace forbear::bench {

class Goals {
 public:
  void AtMost(absl::string_view name, const absl::StatusOr<double>& value,
              absl::string_view unit, std::optional<double> must,
              std::optional<double> stretch = std::nullopt,
              absl::string_view note = "");

  // What is not there to be measured yet: no hole.
  void NotRun(absl::string_view name, absl::string_view why);

  void Print() const;

  // Whether every number is there: speed is no test, but a hole is a fault.
  bool complete() const { return complete_; }

 private:
  std::vector<std::string> lines_;
  bool complete_ = true;
};

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_GOALS_H_
