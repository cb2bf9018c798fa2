// The files of signals/profiles, as they were when this was built. A rule in BUILD
// writes the other half of this header.
//
// Thread rule: constants; call from anywhere.
#ifndef FORBEAR_SIGNALS_BUILTIN_PROFILES_H_
#define FORBEAR_SIGNALS_BUILTIN_PROFILES_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace forbear {

struct BuiltinProfile {
  absl::string_view name;  // "openai.json"
  absl::string_view text;
};

absl::Span<const BuiltinProfile> BuiltinProfiles();

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_BUILTIN_PROFILES_H_
