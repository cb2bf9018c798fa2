// The lines of heads as libcurl hands them over: curl::HeadReader.

#include <optional>

#include "absl/time/time.h"
#include "curl_wrap/head_reader.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  curl::HeadReader head;
  bool waited = false;
  while (!input.empty()) {
    // With its end, as libcurl does.
    const size_t end = input.find('\n');
    const size_t size = end == absl::string_view::npos ? input.size() : end + 1;
    head.Add(input.substr(0, size), 1763800000);
    input.remove_prefix(size);
    Require(head.status() >= 0 && head.status() <= 999, "three digits");
    Require(head.retry_after().value_or(absl::ZeroDuration()) >=
                absl::ZeroDuration(),
            "a wait is not negative");
    Require(head.complete() || !head.retry_after(), "nothing before the end");
    waited |= head.status() != 429 && head.status() != 503 &&
              head.retry_after().has_value();
  }
  return waited;
}

}  // namespace forbear::fuzz
