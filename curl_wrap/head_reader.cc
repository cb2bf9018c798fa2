#include "curl_wrap/head_reader.h"

#include <cstddef>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace forbear::curl {
namespace {

// "HTTP/1.1 429 Too Many Requests", "HTTP/2 429"; 0 if it is none.
int StatusOf(absl::string_view line) {
  size_t space = 0;
  while (space < line.size() && line[space] != ' ') ++space;
  line.remove_prefix(space);
  while (!line.empty() &&
         absl::ascii_isspace(static_cast<unsigned char>(line[0]))) {
    line.remove_prefix(1);
  }
  const absl::string_view digits = line.substr(0, 3);
  if (digits.size() < 3) return 0;
  int status = 0;
  for (const char c : digits) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return 0;
    status = status * 10 + (c - '0');
  }
  return status;
}

// absl's takes a function for each character.
absl::string_view Strip(absl::string_view text) {
  while (!text.empty() &&
         absl::ascii_isspace(static_cast<unsigned char>(text.front()))) {
    text.remove_prefix(1);
  }
  while (!text.empty() &&
         absl::ascii_isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
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
  if (line != "\r\n" && !WithoutEnd(line).empty()) return;
  in_head_ = false;
  complete_ = true;
}

bool ReadField(absl::string_view line, HeaderField* field) {
  const void* const colon =
      line.empty() ? nullptr : std::memchr(line.data(), ':', line.size());
  if (colon == nullptr) return false;
  const auto size =
      static_cast<size_t>(static_cast<const char*>(colon) - line.data());
  field->name = line.substr(0, size);
  field->value = Strip(line.substr(size + 1));
  return true;
}

void AddField(absl::string_view line, HeaderFields* fields) {
  if (IsStatusLine(line)) {
    fields->clear();
    return;
  }
  HeaderField field;
  if (ReadField(line, &field)) fields->push_back(field);
}

}  // namespace forbear::curl
