// The lines of heads as libcurl hands them over: curl::HeadReader, curl::AddField.

#include "absl/strings/match.h"
#include "curl_wrap/head_reader.h"
#include "signals/header_field.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  curl::HeadReader head;
  curl::HeaderFields fields;
  bool planted = false;
  while (!input.empty()) {
    // With its end, as libcurl does.
    const size_t end = input.find('\n');
    const size_t size = end == absl::string_view::npos ? input.size() : end + 1;
    head.Add(input.substr(0, size));
    curl::AddField(input.substr(0, size), &fields);
    input.remove_prefix(size);
    Require(head.status() >= 0 && head.status() <= 999, "three digits");
    for (const HeaderField& field : fields) {
      Require(!absl::StrContains(field.name, ':'), "a name ends");
      Require(field.value == TrimBlanks(field.value), "a value has no blanks");
    }
    planted |= head.status() == 599 && head.complete() && fields.size() == 1;
  }
  return planted;
}

}  // namespace forbear::fuzz
