// Profiles that users write: ParseVendorProfile.

#include "absl/status/statusor.h"
#include "signals/vendor_profile.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const absl::StatusOr<VendorProfile> profile = ParseVendorProfile(input);
  if (!profile.ok()) {
    Require(!profile.status().message().empty(), "a refusal says why");
    Require(profile.status().message().size() < 100000, "and not too much");
    return false;
  }
  Require(!profile->id.empty() && profile->id.size() <= 64, "an id");
  Require(!profile->sources.empty(), "sources");
  Require(profile->rules.size() <= VendorProfile::kMaxRules, "rules");
  for (const AnswerRule& rule : profile->rules) {
    Require(!rule.id.empty(), "a rule has an id");
    Require(rule.answer_class == AnswerClass::kQuotaExhausted ||
                rule.retry != RetryAdvice::kAtReset,
            "only a quota has a reset");
  }
  for (const DelayRule& delay : profile->delays) {
    Require(
        delay.if_zero.empty() || delay.if_zero.size() == delay.headers.size(),
        "a counter for each");
  }
  return profile->id.size() == 1 && profile->id != "a" && profile->id != "b";
}

}  // namespace forbear::fuzz
