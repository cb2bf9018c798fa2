// How the options of the `forbear` program are written, for all its commands.
//
//   std::string wrong = ReadFileFor("--body-file", path, &body);
//   if (!wrong.empty()) …print it, exit with 2…
//
// Each function that returns a text says in it what is wrong, with the option,
// its value and what would be right; an empty text: nothing is.
//
// Thread rule: pure functions, and one that reads a file.
#ifndef FORBEAR_TOOLS_OPTION_TEXT_H_
#define FORBEAR_TOOLS_OPTION_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear::tools {

// Whether `text` is a whole number from `low` to `high`; then *value is it.
bool ParseNumber(absl::string_view text, int low, int high, int* value);

// A duration (core/duration_text.h) of `low` at least.
std::string ParseAtLeast(absl::string_view option, absl::Duration low,
                         absl::string_view text, absl::Duration* value);

// RFC 9110's token: what a method or a field name may consist of.
bool IsToken(absl::string_view text);

// "/pkg.Service/Method"
bool IsRpc(absl::string_view text);

// "Name: value", the value on one line, into its two parts.
std::string ParseField(absl::string_view option, absl::string_view text,
                       std::string* name, std::string* value);

// "--body-file x cannot be read: …".
std::string ReadFileFor(absl::string_view option, const std::string& path,
                        std::string* text);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_OPTION_TEXT_H_
