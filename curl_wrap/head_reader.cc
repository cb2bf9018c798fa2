#include "curl_wrap/head_reader.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace forbear::curl {
namespace {

// "HTTP/1.1 429 Too Many Requests", "HTTP/2 429"; 0 if it is none.
int StatusOf(absl::string_view line) {
  const size_t space = line.find(' ');
  if (space == absl::string_view::npos) return 0;
  const absl::string_view digits =
      absl::StripLeadingAsciiWhitespace(line.substr(space)).substr(0, 3);
  if (digits.size() < 3) return 0;
  int status = 0;
  for (const char c : digits) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return 0;
    status = status * 10 + (c - '0');
  }
  return status;
}

absl::string_view WithoutEnd(absl::string_view line) {
  while (absl::ConsumeSuffix(&line, "\n") || absl::ConsumeSuffix(&line, "\r")) {
  }
  return line;
}

}  // namespace

void HeadReader::AddOther(absl::string_view line) {
  if (!in_head_) {
    // Between two heads, and after the last one, there may be trailers.
    if (!IsStatusLine(line)) return;
    *this = HeadReader();
    in_head_ = true;
    status_ = StatusOf(line);
    return;
  }
  if (!WithoutEnd(line).empty()) return;
  in_head_ = false;
  complete_ = true;
}

void AddField(absl::string_view line, HeaderFields* fields) {
  if (IsStatusLine(line)) {
    fields->clear();
    return;
  }
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return;
  fields->push_back({line.substr(0, colon),
                     absl::StripAsciiWhitespace(line.substr(colon + 1))});
}

}  // namespace forbear::curl
