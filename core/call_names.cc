#include "core/call_names.h"

#include <tuple>

namespace forbear {

std::string NameForRecord(absl::string_view name) {
  if (name.find_first_of("@?#") != absl::string_view::npos) return "(hidden)";
  return std::string(name);
}

CallNames::CallNames(absl::string_view target, absl::string_view method,
                     absl::string_view policy)
    : CallNames(Texts{NameForRecord(target), NameForRecord(method),
                      std::string(policy)}) {}

CallNames CallNames::AsWritten(absl::string_view target,
                               absl::string_view method,
                               absl::string_view policy) {
  return CallNames(
      Texts{std::string(target), std::string(method), std::string(policy)});
}

const CallNames::Texts& CallNames::None() {
  static const auto* const none = new Texts;
  return *none;
}

bool operator==(const CallNames& a, const CallNames& b) {
  return std::tie(a.target(), a.method(), a.policy()) ==
         std::tie(b.target(), b.method(), b.policy());
}

}  // namespace forbear
