// A configuration file: ParseConfig. The first byte chooses textproto or JSON.

#include "absl/status/statusor.h"
#include "core/policy.h"
#include "proto/config_convert.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const ConfigFormat format = TakeChoice(&input, 2) == 0
                                  ? ConfigFormat::kTextproto
                                  : ConfigFormat::kJson;
  const absl::StatusOr<Settings> settings = ParseConfig(input, format);
  if (!settings.ok()) {
    Require(!settings.status().message().empty(), "a fault has words");
    return false;
  }
  Require(ConfigFromProto(ConfigToProto(*settings)).ok(),
          "what was taken can be written and read again");
  const int attempts = settings->retry.max_attempts;
  return attempts < 3 || attempts > 5;
}

}  // namespace forbear::fuzz
