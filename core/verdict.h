// Verdict: what a shared state says to a caller that wants to send, and Holder:
// which of the two states said it.
//
// Thread rule: values.
#ifndef FORBEAR_CORE_VERDICT_H_
#define FORBEAR_CORE_VERDICT_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace forbear {

enum class Verdict : uint8_t {
  kGo,      // now
  kWait,    // queued: ask again at the given time, or when woken
  kRefuse,  // not before the caller's limit, or no room
};

enum class Holder : uint8_t { kNowhere, kQuota, kEndpoint };

// "go", "wait", "refuse".
constexpr absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGo:
      return "go";
    case Verdict::kWait:
      return "wait";
    case Verdict::kRefuse:
      return "refuse";
  }
  return "?";
}

// "nowhere", "quota", "endpoint".
constexpr absl::string_view HolderName(Holder holder) {
  switch (holder) {
    case Holder::kNowhere:
      return "nowhere";
    case Holder::kQuota:
      return "quota";
    case Holder::kEndpoint:
      return "endpoint";
  }
  return "?";
}

}  // namespace forbear

#endif  // FORBEAR_CORE_VERDICT_H_
