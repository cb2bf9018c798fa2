#include "tools/option_text.h"

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/duration_text.h"

namespace forbear::tools {

bool ParseNumber(absl::string_view text, int low, int high, int* value) {
  return absl::SimpleAtoi(text, value) && *value >= low && *value <= high;
}

std::string ParseAtLeast(absl::string_view option, absl::Duration low,
                         absl::string_view text, absl::Duration* value) {
  const std::optional<absl::Duration> d = ParseDurationText(text);
  if (!d) {
    return absl::StrCat(option, " is '", text, "'; ", DurationGrammar());
  }
  if (*d < low) {
    return absl::StrCat(option, " is ", text, "; it must be at least ",
                        FormatDurationText(low));
  }
  *value = *d;
  return "";
}

bool IsToken(absl::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        !absl::StrContains("!#$%&'*+-.^_`|~", c)) {
      return false;
    }
  }
  return !text.empty();
}

bool IsRpc(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "/")) return false;
  const size_t slash = text.find('/');
  if (slash == 0 || slash == absl::string_view::npos ||
      slash + 1 == text.size() ||
      text.find('/', slash + 1) != absl::string_view::npos) {
    return false;
  }
  for (const char c : text) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

std::string ParseField(absl::string_view option, absl::string_view text,
                       std::string* name, std::string* value) {
  const std::string shown =
      absl::StrCat(option, " '", absl::CEscape(text), "'");
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) {
    return absl::StrCat(shown, " has no colon; it must be 'Name: value'");
  }
  *name = std::string(text.substr(0, colon));
  *value = std::string(absl::StripAsciiWhitespace(text.substr(colon + 1)));
  if (!IsToken(*name)) {
    return absl::StrCat(shown,
                        " has no proper name; it must be 'Name: value', and a "
                        "name has letters, digits and -._ only");
  }
  for (const char c : *value) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\t') {
      return absl::StrCat(shown,
                          " has a control character; a value is one line");
    }
  }
  return "";
}

std::string ReadFileFor(absl::string_view option, const std::string& path,
                        std::string* text) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  int error = file == nullptr ? errno : 0;
  std::string bytes;
  if (file != nullptr) {
    char buffer[1 << 16];
    size_t n;
    while ((n = std::fread(buffer, 1, sizeof(buffer), file)) > 0) {
      bytes.append(buffer, n);
    }
    if (std::ferror(file) != 0) error = errno;  // a directory, for example
    std::fclose(file);
  }
  if (error != 0) {
    return absl::StrCat(option, " ", path,
                        " cannot be read: ", std::strerror(error));
  }
  *text = std::move(bytes);
  return "";
}

}  // namespace forbear::tools
