#include "benchmarks/goals.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace forbear::bench {
namespace {

std::string Bound(std::optional<double> bound) {
  return bound ? absl::StrFormat("<= %g", *bound) : "";
}

}  // namespace

void Goals::AtMost(absl::string_view name, const absl::StatusOr<double>& value,
                   absl::string_view unit, std::optional<double> must,
                   std::optional<double> stretch, absl::string_view note) {
  std::string line = absl::StrFormat("%-44s", name);
  if (!value.ok()) {
    complete_ = false;
    absl::StrAppend(&line, " not measured: ", value.status().message());
    lines_.push_back(std::move(line));
    return;
  }
  const char* word = "";
  if (must) word = *value <= *must ? "pass" : "FAIL";
  if (stretch && *value <= *stretch) word = "stretch";
  absl::StrAppendFormat(&line, " %8.2f %-6s %-9s %-9s %-8s %s", *value, unit,
                        Bound(must), Bound(stretch), word, note);
  lines_.push_back(std::move(line));
}

void Goals::NotRun(absl::string_view name, absl::string_view why) {
  lines_.push_back(absl::StrFormat("%-44s not run: %s", name, why));
}

void Goals::Print() const {
  std::printf("%-44s %8s %-6s %-9s %-9s\n", "goal", "measured", "", "must",
              "stretch");
  for (const std::string& line : lines_) std::printf("%s\n", line.c_str());
}

}  // namespace forbear::bench
