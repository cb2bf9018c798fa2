#include "curl_wrap/idempotency_key.h"

#include <unistd.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace forbear::curl {

std::string NewIdempotencyLine(absl::string_view header) {
  char bytes[16];
  if (getentropy(bytes, sizeof(bytes)) != 0) return "";
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);  // version 4
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);  // variant 10
  const std::string hex =
      absl::BytesToHexString(absl::string_view(bytes, sizeof(bytes)));
  const absl::string_view text = hex;
  const char* const quote =
      absl::EqualsIgnoreCase(header, "idempotency-key") ? "\"" : "";
  return absl::StrCat(header, ": ", quote, text.substr(0, 8), "-",
                      text.substr(8, 4), "-", text.substr(12, 4), "-",
                      text.substr(16, 4), "-", text.substr(20), quote);
}

}  // namespace forbear::curl
