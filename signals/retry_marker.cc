#include "signals/retry_marker.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace forbear {
namespace {

// Whether `text` begins with a whole number above `first`, which a blank, a ';'
// or the end follows. Of any length: only its size relative to 0 and 1 counts.
bool IsAbove(absl::string_view text, int first) {
  text = absl::StripAsciiWhitespace(text);
  size_t digits = 0;
  int value = 0;
  for (; digits < text.size() &&
         absl::ascii_isdigit(static_cast<unsigned char>(text[digits]));
       ++digits) {
    value = value > 1 ? value : value * 10 + (text[digits] - '0');
  }
  if (digits == 0) return false;
  const absl::string_view rest = text.substr(digits);
  return (rest.empty() || rest[0] == ' ' || rest[0] == ';') && value > first;
}

}  // namespace

bool IsRetryMarker(absl::string_view name, absl::string_view value) {
  struct Marker {
    absl::string_view name;
    absl::string_view prefix;
    int first = 0;  // what the first attempt says
  };
  constexpr Marker kMarkers[] = {
      {"x-stainless-retry-count", "", 0}, {"grpc-previous-rpc-attempts", "", 0},
      {"x-retry-attempty", "", 0},        {"x-envoy-attempt-count", "", 1},
      {"amz-sdk-request", "attempt=", 1},
  };
  for (const Marker& marker : kMarkers) {
    if (name.size() != marker.name.size() ||
        !absl::EqualsIgnoreCase(name, marker.name)) {
      continue;
    }
    const size_t at = value.find(marker.prefix);
    return at != absl::string_view::npos &&
           IsAbove(value.substr(at + marker.prefix.size()), marker.first);
  }
  return false;
}

}  // namespace forbear
