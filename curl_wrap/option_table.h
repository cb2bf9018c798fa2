// What becomes of each of libcurl's easy options on a Handle: the one table, from which
// docs/curl-options.md is made.
//
//   const OptionFact* fact = FindOption("TIMEOUT_MS");   // without "CURLOPT_"
//   fact->role;   // OptionRole::kPerAttempt
//   fact->note;   // "of each attempt; CallOptions::deadline is for all of them"
//
// Names rather than numbers: the table is the same whatever libcurl it is compiled
// with. tests/curl_wrap/option_table_test.cc walks the options of the installed one
// (curl_easy_option_next) and fails on any that nobody has classified.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_CURL_WRAP_OPTION_TABLE_H_
#define FORBEAR_CURL_WRAP_OPTION_TABLE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace forbear::curl {

enum class OptionRole : uint8_t {
  // While a call runs, Forbear's own value stands in its place, and the
  // application's keeps its meaning (EasyOptions::IsReplaced).
  kReplaced,
  // libcurl has it, and Forbear reads it for its decisions.
  kNoted,
  // libcurl's alone, and means each attempt rather than the call.
  kPerAttempt,
  // libcurl's alone.
  kForwarded,
  // Not of http and https: with any other scheme Perform is curl_easy_perform.
  kOtherProtocol,
};

struct OptionFact {
  absl::string_view name;  // without "CURLOPT_"
  OptionRole role = OptionRole::kForwarded;
  // What a user is to know; may be empty.
  absl::string_view note;
};

// All of them, by role.
absl::Span<const OptionFact> AllOptions();

// Null: nobody has classified it.
const OptionFact* FindOption(absl::string_view name);

// docs/curl-options.md.
std::string OptionsGuide();

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_OPTION_TABLE_H_
