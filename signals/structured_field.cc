#include "signals/structured_field.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace forbear {
namespace {

using Type = StructuredItem::Type;

constexpr size_t kMaxBytes = size_t{32} * 1024;
constexpr size_t kMaxMembers = 1024;
constexpr size_t kMaxInner = 256;
constexpr size_t kMaxParameters = 256;
constexpr size_t kMaxNodes = 2048;

bool IsKeyStart(char c) { return absl::ascii_islower(c) || c == '*'; }
bool IsKey(char c) {
  return IsKeyStart(c) || absl::ascii_isdigit(c) || c == '_' || c == '-' ||
         c == '.';
}
bool IsTokenStart(char c) { return absl::ascii_isalpha(c) || c == '*'; }
bool IsToken(char c) {
  // tchar (RFC 9110 §5.6.2), ":" and "/".
  return absl::ascii_isalnum(c) ||
         (c != '\0' && absl::StrContains("!#$%&'*+-.^_`|~:/", c));
}

// Which six bits a character of base64 stands for; -1: none.
int Base64Value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

bool IsBase64(absl::string_view text) {
  const size_t digits = std::min(text.find('='), text.size());
  const size_t padding = text.size() - digits;
  if (padding == 0 ? digits % 4 == 1 : padding > 2 || text.size() % 4 != 0) {
    return false;
  }
  const auto is_digit = [](char c) { return Base64Value(c) >= 0; };
  return std::all_of(text.begin(), text.begin() + digits, is_digit) &&
         std::all_of(text.begin() + digits, text.end(),
                     [](char c) { return c == '='; });
}

std::string DecodeBase64(absl::string_view text) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(Base64Value(c));
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xff);
    }
  }
  return bytes;
}

// Appends, or overwrites what has the same key.
template <typename Keyed>
void Put(std::vector<Keyed>* all, Keyed added) {
  const auto old = std::find_if(all->begin(), all->end(), [&](const Keyed& x) {
    return x.key == added.key;
  });
  if (old == all->end()) {
    all->push_back(std::move(added));
  } else {
    *old = std::move(added);
  }
}

// RFC 8941 §4.2, one method per algorithm there. Each takes from the front of
// `rest_`, and returns whether it could.
class Parser {
 public:
  // All lines of a list or dictionary into `members`.
  bool Parse(absl::Span<const absl::string_view> lines, bool dictionary,
             StructuredList* members) {
    size_t bytes = 0;
    for (const absl::string_view line : lines) bytes += line.size();
    if (bytes > kMaxBytes) return false;
    for (size_t i = 0; i < lines.size(); ++i) {
      rest_ = lines[i];
      // At the start of a field only spaces; between its lines a comma would stand.
      if (i == 0) {
        SkipSpaces();
      } else {
        SkipBlanks();
      }
      if (rest_.empty()) return lines.size() == 1;
      if (!Members(dictionary, members)) return false;
    }
    return true;
  }

 private:
  bool Members(bool dictionary, StructuredList* members) {
    while (true) {
      StructuredMember member;
      if (!(dictionary ? KeyedMember(&member) : Member(&member))) return false;
      if (dictionary) {
        Put(members, std::move(member));
      } else {
        members->push_back(std::move(member));
      }
      if (members->size() > kMaxMembers) return false;
      SkipBlanks();
      if (rest_.empty()) return true;
      if (!Take(',')) return false;
      SkipBlanks();  // what follows is a member: a trailing comma is an error
    }
  }

  bool KeyedMember(StructuredMember* member) {
    if (!Key(&member->key)) return false;
    if (Take('=')) return Member(member);
    member->value.number = 1;
    return Node() && Parameters(&member->parameters);
  }

  bool Member(StructuredMember* member) {
    if (!Node()) return false;
    if (Take('(')) {
      member->is_inner_list = true;
      if (!InnerItems(&member->items)) return false;
    } else if (!BareItem(&member->value)) {
      return false;
    }
    return Parameters(&member->parameters);
  }

  // After "(", up to and with ")".
  bool InnerItems(std::vector<StructuredInnerItem>* items) {
    while (true) {
      SkipSpaces();
      if (Take(')')) return true;
      StructuredInnerItem item;
      if (items->size() == kMaxInner || !Node() || !BareItem(&item.value) ||
          !Parameters(&item.parameters)) {
        return false;
      }
      items->push_back(std::move(item));
      if (!Next(' ') && !Next(')')) return false;
    }
  }

  bool Parameters(StructuredParameters* parameters) {
    while (Take(';')) {
      SkipSpaces();
      StructuredParameter parameter;
      if (!Node() || !Key(&parameter.key)) return false;
      if (!Take('=')) {
        parameter.value.number = 1;
      } else if (!BareItem(&parameter.value)) {
        return false;
      }
      Put(parameters, parameter);
      if (parameters->size() > kMaxParameters) return false;
    }
    return true;
  }

  bool Key(absl::string_view* key) {
    if (rest_.empty() || !IsKeyStart(rest_.front())) return false;
    *key = TakeWhile(IsKey);
    return true;
  }

  bool BareItem(StructuredItem* item) {
    if (rest_.empty()) return false;
    const char c = rest_.front();
    if (c == '-' || absl::ascii_isdigit(c)) return Number(item);
    if (c == '"') return String(item);
    if (c == ':') return Bytes(item);
    if (c == '?') return Boolean(item);
    if (!IsTokenStart(c)) return false;
    item->type = Type::kToken;
    item->text = TakeWhile(IsToken);
    return true;
  }

  bool Number(StructuredItem* item) {
    const bool negative = Take('-');
    const absl::string_view whole = TakeWhile(absl::ascii_isdigit);
    absl::string_view decimals;
    item->type = Type::kInteger;
    if (whole.empty() || whole.size() > 15) return false;
    if (Take('.')) {
      item->type = Type::kDecimal;
      decimals = TakeWhile(absl::ascii_isdigit);
      if (whole.size() > 12 || decimals.empty() || decimals.size() > 3) {
        return false;
      }
    }
    int64_t number = 0;
    for (const char c : whole) number = number * 10 + (c - '0');
    if (item->type == Type::kDecimal) {
      for (size_t i = 0; i < 3; ++i) {
        number = number * 10 + (i < decimals.size() ? decimals[i] - '0' : 0);
      }
    }
    item->number = negative ? -number : number;
    return true;
  }

  bool String(StructuredItem* item) {
    item->type = Type::kString;
    for (size_t i = 1; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '"') {
        item->text = rest_.substr(1, i - 1);
        rest_.remove_prefix(i + 1);
        return true;
      }
      if (!absl::ascii_isprint(c)) return false;
      if (c == '\\') {
        ++i;
        if (i == rest_.size() || (rest_[i] != '"' && rest_[i] != '\\')) {
          return false;
        }
      }
    }
    return false;
  }

  bool Bytes(StructuredItem* item) {
    item->type = Type::kBytes;
    const size_t end = rest_.find(':', 1);
    if (end == absl::string_view::npos) return false;
    item->text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return IsBase64(item->text);
  }

  bool Boolean(StructuredItem* item) {
    item->type = Type::kBoolean;
    if (rest_.size() < 2 || (rest_[1] != '0' && rest_[1] != '1')) return false;
    item->number = rest_[1] - '0';
    rest_.remove_prefix(2);
    return true;
  }

  // One more member, item or parameter.
  bool Node() { return ++nodes_ <= kMaxNodes; }

  bool Next(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool Take(char c) {
    if (!Next(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  template <typename Is>
  absl::string_view TakeWhile(Is is) {
    size_t n = 0;
    while (n < rest_.size() && is(rest_[n])) ++n;
    const absl::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  void SkipSpaces() {
    TakeWhile([](char c) { return c == ' '; });
  }
  void SkipBlanks() {
    TakeWhile([](char c) { return c == ' ' || c == '\t'; });
  }

  absl::string_view rest_;
  size_t nodes_ = 0;
};

std::optional<StructuredList> Parse(absl::Span<const absl::string_view> lines,
                                    bool dictionary) {
  StructuredList members;
  if (!Parser().Parse(lines, dictionary, &members)) return std::nullopt;
  return members;
}

}  // namespace

std::string StructuredItem::Decoded() const {
  if (type == Type::kBytes) return DecodeBase64(text);
  if (type != Type::kString) return std::string(text);
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') ++i;
    plain += text[i];
  }
  return plain;
}

const StructuredItem* StructuredMember::Find(absl::string_view name) const {
  for (const StructuredParameter& parameter : parameters) {
    if (parameter.key == name) return &parameter.value;
  }
  return nullptr;
}

std::optional<StructuredList> ParseStructuredList(
    absl::Span<const absl::string_view> lines) {
  return Parse(lines, /*dictionary=*/false);
}

std::optional<StructuredList> ParseStructuredDictionary(
    absl::Span<const absl::string_view> lines) {
  return Parse(lines, /*dictionary=*/true);
}

}  // namespace forbear
