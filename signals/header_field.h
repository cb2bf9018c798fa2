// One line of an answer's head, as the readers of heads here take it: its name in
// any case, its value with or without blanks around it.
//
//   std::vector<HeaderField> fields = {{"Retry-After", "2"}, {"Date", "…"}};
//   TrimBlanks(" 2\t");   // "2"
//
// Both point into memory of whoever read the head.
//
// Thread rule: a value and a pure function; use them anywhere.
#ifndef FORBEAR_SIGNALS_HEADER_FIELD_H_
#define FORBEAR_SIGNALS_HEADER_FIELD_H_

#include "absl/strings/string_view.h"

namespace forbear {

struct HeaderField {
  absl::string_view name;
  absl::string_view value;
};

// `text` without the spaces and tabs around it, which are no part of a value (RFC
// 9110 §5.6.3).
inline absl::string_view TrimBlanks(absl::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
    text.remove_prefix(1);
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_HEADER_FIELD_H_
