#include "curl_wrap/head_reader.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "signals/http_date.h"
#include "signals/retry_after.h"

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

}  // namespace

void HeadReader::Add(absl::string_view line, int64_t now) {
  while (absl::ConsumeSuffix(&line, "\n") || absl::ConsumeSuffix(&line, "\r")) {
  }
  if (!in_head_) {
    // Between two heads, and after the last one, there may be trailers.
    if (!absl::StartsWithIgnoreCase(line, "HTTP/")) return;
    *this = HeadReader();
    in_head_ = true;
    status_ = StatusOf(line);
    return;
  }
  if (line.empty()) {
    in_head_ = false;
    complete_ = true;
    for (const std::string& value : retry_afters_) {
      retry_after_ =
          LongestWait(retry_after_, ParseRetryAfter(value, date_, now));
    }
    return;
  }
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return;
  const absl::string_view name = line.substr(0, colon);
  const absl::string_view value =
      absl::StripAsciiWhitespace(line.substr(colon + 1));
  if (absl::EqualsIgnoreCase(name, "retry-after")) {
    if (retry_afters_.size() < kMaxRetryAfters) {
      retry_afters_.emplace_back(value);
    }
  } else if (absl::EqualsIgnoreCase(name, "date") && !date_) {
    date_ = ParseHttpDate(value, now);
  }
}

}  // namespace forbear::curl
