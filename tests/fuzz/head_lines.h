// An input as the lines of a head: "Retry-After: 2\nDate: …".
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_TESTS_FUZZ_HEAD_LINES_H_
#define FORBEAR_TESTS_FUZZ_HEAD_LINES_H_

#include <vector>

#include "absl/strings/string_view.h"
#include "signals/header_field.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

// A line without a colon is a name without a value. Points into `input`.
inline std::vector<HeaderField> HeadLines(absl::string_view input) {
  std::vector<HeaderField> fields;
  for (const absl::string_view line : Lines(input, 2000)) {
    const size_t colon = line.find(':');
    fields.push_back({line.substr(0, colon), colon == absl::string_view::npos
                                                 ? absl::string_view()
                                                 : line.substr(colon + 1)});
  }
  return fields;
}

}  // namespace forbear::fuzz

#endif  // FORBEAR_TESTS_FUZZ_HEAD_LINES_H_
