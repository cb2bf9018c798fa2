// The trailer grpc-retry-pushback-ms: ParseGrpcPushback.

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "signals/grpc_pushback.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const std::optional<absl::Duration> wait = ParseGrpcPushback(input).wait;
  if (!wait) return false;
  Require(absl::StrCat(absl::ToInt64Milliseconds(*wait)) == input,
          "a wait is what was written");
  Require(*wait <= absl::Milliseconds(2147483647), "it has 31 bits");
  return *wait > absl::Milliseconds(1'000'000'000);
}

}  // namespace forbear::fuzz
