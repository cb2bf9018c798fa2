#include "signals/json_reader.h"

#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/charconv.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace forbear {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsNumberByte(char c) {
  return IsDigit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// --- Is it JSON? Each function reads on from `p` and says how that went. ---

enum class Step : uint8_t { kOk, kCut, kBad };

// One character of more than one byte, in UTF-8 (RFC 3629 §4).
Step CheckUtf8(const char** p, const char* end) {
  const auto byte = [&](int i) { return static_cast<uint8_t>((*p)[i]); };
  const uint8_t first = byte(0);
  int more = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    more = 1;
  } else if (first >= 0xE0 && first <= 0xEF) {
    more = 2;
    if (first == 0xE0) low = 0xA0;   // nothing overlong
    if (first == 0xED) high = 0x9F;  // no surrogates
  } else if (first >= 0xF0 && first <= 0xF4) {
    more = 3;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;  // nothing above U+10FFFF
  } else {
    return Step::kBad;
  }
  for (int i = 1; i <= more; ++i) {
    if (*p + i == end) {
      *p = end;
      return Step::kCut;
    }
    if (byte(i) < low || byte(i) > high) {
      *p += i;
      return Step::kBad;
    }
    low = 0x80;
    high = 0xBF;
  }
  *p += more + 1;
  return Step::kOk;
}

// What comes after a backslash.
Step CheckEscape(const char** p, const char* end) {
  if (*p == end) return Step::kCut;
  const char c = **p;
  if (c != 'u') {
    if (!absl::StrContains("\"\\/bfnrt", c)) return Step::kBad;
    ++*p;
    return Step::kOk;
  }
  ++*p;
  for (int i = 0; i < 4; ++i, ++*p) {
    if (*p == end) return Step::kCut;
    if (HexDigit(**p) < 0) return Step::kBad;
  }
  return Step::kOk;
}

// A string, from behind its first quote.
Step CheckString(const char** p, const char* end) {
  while (*p != end) {
    const char c = **p;
    Step step = Step::kOk;
    if (c == '"') {
      ++*p;
      return Step::kOk;
    }
    if (static_cast<uint8_t>(c) < 0x20) return Step::kBad;
    if (c == '\\') {
      ++*p;
      step = CheckEscape(p, end);
    } else if (static_cast<uint8_t>(c) >= 0x80) {
      step = CheckUtf8(p, end);
    } else {
      ++*p;
    }
    if (step != Step::kOk) return step;
  }
  return Step::kCut;
}

// 1*DIGIT.
Step CheckDigits(const char** p, const char* end) {
  if (*p == end) return Step::kCut;
  if (!IsDigit(**p)) return Step::kBad;
  while (*p != end && IsDigit(**p)) ++*p;
  return Step::kOk;
}

Step CheckNumber(const char** p, const char* end) {
  if (**p == '-') ++*p;
  Step step = Step::kOk;
  if (*p != end && **p == '0') {
    ++*p;
  } else {
    step = CheckDigits(p, end);
  }
  if (step == Step::kOk && *p != end && **p == '.') {
    ++*p;
    step = CheckDigits(p, end);
  }
  if (step == Step::kOk && *p != end && (**p == 'e' || **p == 'E')) {
    ++*p;
    if (*p != end && (**p == '+' || **p == '-')) ++*p;
    step = CheckDigits(p, end);
  }
  return step;
}

Step CheckWord(absl::string_view word, const char** p, const char* end) {
  for (const char c : word) {
    if (*p == end) return Step::kCut;
    if (**p != c) return Step::kBad;
    ++*p;
  }
  return Step::kOk;
}

Step CheckScalar(const char** p, const char* end) {
  switch (**p) {
    case '"':
      ++*p;
      return CheckString(p, end);
    case 't':
      return CheckWord("true", p, end);
    case 'f':
      return CheckWord("false", p, end);
    case 'n':
      return CheckWord("null", p, end);
    default:
      return CheckNumber(p, end);
  }
}

// --- Walking through what was found to be JSON, or the beginning of it. ---

const char* SkipSpace(const char* p, const char* end) {
  while (p != end && IsSpace(*p)) ++p;
  return p;
}

// Behind the value that begins at `p`; null if its end is not there. `cut`: the
// text may go on after `end`.
const char* SkipValue(const char* p, const char* end, bool cut) {
  if (p == end) return nullptr;
  int depth = 0;
  while (p != end) {
    const char c = *p;
    if (c == '"') {
      for (++p; p != end && *p != '"'; ++p) {
        if (*p == '\\' && ++p == end) return nullptr;
      }
      if (p == end) return nullptr;
      ++p;
    } else if (c == '{' || c == '[') {
      ++depth;
      ++p;
      continue;
    } else if (c == '}' || c == ']') {
      --depth;
      ++p;
    } else if (IsDigit(c) || c == '-') {
      while (p != end && IsNumberByte(*p)) ++p;
      if (p == end && cut) return nullptr;
    } else if (c == 't' || c == 'n' || c == 'f') {
      const ptrdiff_t size = c == 'f' ? 5 : 4;
      if (end - p < size) return nullptr;
      p += size;
    } else {
      ++p;  // white space, comma, colon
      continue;
    }
    if (depth == 0) return p;
  }
  return nullptr;
}

// The bytes that a string means, one after the other.
class Bytes {
 public:
  // `raw`: between the quotes.
  explicit Bytes(absl::string_view raw) : rest_(raw) {}

  bool Next(char* c) {
    if (given_ < size_) {
      *c = decoded_[given_++];
      return true;
    }
    if (rest_.empty()) return false;
    if (rest_[0] != '\\') {
      *c = rest_[0];
      rest_.remove_prefix(1);
      return true;
    }
    Decode();
    *c = decoded_[given_++];
    return true;
  }

 private:
  uint32_t TakeUnit() {
    uint32_t unit = 0;
    for (int i = 2; i < 6; ++i) {
      unit = unit * 16 + static_cast<uint32_t>(HexDigit(rest_[i]));
    }
    rest_.remove_prefix(6);
    return unit;
  }

  // The escape at the front.
  void Decode() {
    given_ = size_ = 0;
    const char c = rest_[1];
    if (c != 'u') {
      rest_.remove_prefix(2);
      switch (c) {
        case 'b':
          return Put('\b');
        case 'f':
          return Put('\f');
        case 'n':
          return Put('\n');
        case 'r':
          return Put('\r');
        case 't':
          return Put('\t');
        default:
          return Put(static_cast<uint8_t>(c));
      }
    }
    uint32_t code = TakeUnit();
    if (code >= 0xD800 && code <= 0xDBFF && rest_.size() >= 6 &&
        rest_[0] == '\\' && rest_[1] == 'u') {
      const absl::string_view before = rest_;
      const uint32_t low = TakeUnit();
      if (low >= 0xDC00 && low <= 0xDFFF) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      } else {
        rest_ = before;
      }
    }
    if (code >= 0xD800 && code <= 0xDFFF) code = 0xFFFD;
    if (code < 0x80) {
      Put(code);
    } else if (code < 0x800) {
      Put(0xC0 | code >> 6);
      Put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      Put(0xE0 | code >> 12);
      Put(0x80 | (code >> 6 & 0x3F));
      Put(0x80 | (code & 0x3F));
    } else {
      Put(0xF0 | code >> 18);
      Put(0x80 | (code >> 12 & 0x3F));
      Put(0x80 | (code >> 6 & 0x3F));
      Put(0x80 | (code & 0x3F));
    }
  }

  void Put(uint32_t byte) { decoded_[size_++] = static_cast<char>(byte); }

  absl::string_view rest_;
  char decoded_[4] = {};
  int size_ = 0;
  int given_ = 0;
};

absl::string_view Unquoted(absl::string_view raw) {
  return raw.substr(1, raw.size() - 2);
}

bool HasEscape(absl::string_view raw) { return absl::StrContains(raw, '\\'); }

bool BeginsWith(Bytes bytes, absl::string_view text, bool and_ends) {
  char c = '\0';
  for (const char wanted : text) {
    if (!bytes.Next(&c) || c != wanted) return false;
  }
  return !and_ends || !bytes.Next(&c);
}

}  // namespace

// --- Paths. ---

std::optional<JsonPath> JsonPath::Of(absl::string_view text) {
  JsonPath path;
  path.text_ = std::string(text);
  if (text.size() > kMaxBytes) return std::nullopt;
  // Reads up to one of `ends`, decoding; in [] a slash is a slash.
  const auto take = [&text](absl::string_view ends, std::string* out) -> bool {
    while (!text.empty() && !absl::StrContains(ends, text[0])) {
      char c = text[0];
      if (c == '~') {
        if (text.size() >= 2 && (text[1] == '0' || text[1] == '1')) {
          c = text[1] == '0' ? '~' : '/';
          text.remove_prefix(1);
        } else {
          return false;
        }
      }
      out->push_back(c);
      text.remove_prefix(1);
    }
    return true;
  };
  while (!text.empty()) {
    if (!absl::ConsumePrefix(&text, "/")) return std::nullopt;
    if (path.steps_.size() == kMaxSteps) return std::nullopt;
    Step step;
    if (absl::ConsumePrefix(&text, "[")) {
      step.kind = Step::Kind::kSelect;
      if (!take("=]", &step.name) || step.name.empty() ||
          !absl::ConsumePrefix(&text, "=") || !take("]", &step.value) ||
          !absl::ConsumePrefix(&text, "]")) {
        return std::nullopt;
      }
    } else {
      if (!take("/", &step.name) || step.name.empty()) return std::nullopt;
      if (step.name == "*") step.kind = Step::Kind::kEach;
    }
    path.steps_.push_back(std::move(step));
  }
  return path;
}

absl::string_view JsonPath::last_name() const {
  if (steps_.empty() || steps_.back().kind != Step::Kind::kName) return "";
  return steps_.back().name;
}

// --- Values. ---

JsonValue::Type JsonValue::type() const {
  switch (raw_[0]) {
    case '{':
      return Type::kObject;
    case '[':
      return Type::kList;
    case '"':
      return Type::kString;
    case 't':
    case 'f':
      return Type::kBool;
    case 'n':
      return Type::kNull;
    default:
      return Type::kNumber;
  }
}

bool JsonValue::Is(absl::string_view text) const {
  return type() == Type::kString &&
         BeginsWith(Bytes(Unquoted(raw_)), text, /*and_ends=*/true);
}

bool JsonValue::StartsWith(absl::string_view text) const {
  return type() == Type::kString &&
         BeginsWith(Bytes(Unquoted(raw_)), text, /*and_ends=*/false);
}

bool JsonValue::Contains(absl::string_view text) const {
  if (type() != Type::kString) return false;
  const absl::string_view raw = Unquoted(raw_);
  if (!HasEscape(raw)) return absl::StrContains(raw, text);
  Bytes from(raw);
  char c = '\0';
  do {
    if (BeginsWith(from, text, /*and_ends=*/false)) return true;
  } while (from.Next(&c));
  return false;
}

absl::string_view JsonValue::Text(absl::Span<char> buffer) const {
  switch (type()) {
    case Type::kList:
    case Type::kObject:
      return "";
    case Type::kString:
      break;
    default:
      return raw_;
  }
  const absl::string_view raw = Unquoted(raw_);
  if (!HasEscape(raw)) return raw;
  Bytes bytes(raw);
  size_t size = 0;
  while (size < buffer.size() && bytes.Next(&buffer[size])) ++size;
  return absl::string_view(buffer.data(), size);
}

std::string JsonValue::Text() const {
  std::string buffer(raw_.size(), '\0');  // an escape is longer than its bytes
  return std::string(Text(absl::MakeSpan(buffer)));
}

std::optional<double> JsonValue::Number() const {
  if (type() != Type::kNumber) return std::nullopt;
  double number = 0;
  const auto result =
      absl::from_chars(raw_.data(), raw_.data() + raw_.size(), number);
  if (result.ec == std::errc::result_out_of_range && std::abs(number) > 1) {
    number = raw_[0] == '-' ? -std::numeric_limits<double>::infinity()
                            : std::numeric_limits<double>::infinity();
  }
  return number;
}

std::optional<bool> JsonValue::Bool() const {
  if (type() != Type::kBool) return std::nullopt;
  return raw_[0] == 't';
}

void JsonValue::ForEachMember(
    absl::FunctionRef<bool(const JsonValue& name, const JsonValue& value)>
        visit) const {
  if (type() != Type::kObject) return;
  const char* const end = raw_.data() + raw_.size();
  const char* p = SkipSpace(raw_.data() + 1, end);
  while (*p != '}') {
    const char* const name = p;
    p = SkipValue(p, end, /*cut=*/false);
    const JsonValue key(absl::string_view(name, p - name));
    p = SkipSpace(SkipSpace(p, end) + 1, end);  // ':'
    const char* const begin = p;
    p = SkipValue(p, end, /*cut=*/false);
    if (!visit(key, JsonValue(absl::string_view(begin, p - begin)))) return;
    p = SkipSpace(p, end);
    if (*p == ',') p = SkipSpace(p + 1, end);
  }
}

void JsonValue::ForEachElement(
    absl::FunctionRef<bool(const JsonValue& value)> visit) const {
  if (type() != Type::kList) return;
  const char* const end = raw_.data() + raw_.size();
  const char* p = SkipSpace(raw_.data() + 1, end);
  while (*p != ']') {
    const char* const begin = p;
    p = SkipValue(p, end, /*cut=*/false);
    if (!visit(JsonValue(absl::string_view(begin, p - begin)))) return;
    p = SkipSpace(p, end);
    if (*p == ',') p = SkipSpace(p + 1, end);
  }
}

// --- Along a path. ---

class JsonWalk {
 public:
  JsonWalk(const JsonPath& path, const char* end, bool cut,
           absl::FunctionRef<bool(const JsonValue& value)> visit)
      : path_(path), end_(end), cut_(cut), visit_(visit) {}

  // Visits what is at the path's steps from `depth` on, below the value that
  // begins at `p`. Returns where the value ends; null: not in this text, or the
  // walk is over.
  const char* Walk(const char* p, size_t depth) {
    if (p == end_) return nullptr;
    if (depth == path_.steps_.size()) {
      const char* const after = SkipValue(p, end_, cut_);
      if (after == nullptr) return nullptr;
      return visit_(JsonValue(absl::string_view(p, after - p))) ? after
                                                                : nullptr;
    }
    const JsonPath::Step& step = path_.steps_[depth];
    const bool by_name = step.kind == JsonPath::Step::Kind::kName;
    if (*p == '{' && by_name) return WalkObject(p, step.name, depth);
    if (*p == '[' && !by_name) return WalkList(p, step, depth);
    return SkipValue(p, end_, cut_);
  }

 private:
  const char* WalkObject(const char* p, absl::string_view name, size_t depth) {
    p = SkipSpace(p + 1, end_);
    while (p != end_ && *p != '}') {
      const char* const key = p;
      p = ToValueOfMember(p);
      if (p == nullptr) return nullptr;
      p = NameIs(key, name) ? Walk(p, depth + 1) : SkipValue(p, end_, cut_);
      p = ToNext(p);
      if (p == nullptr) return nullptr;
    }
    return p == end_ ? nullptr : p + 1;
  }

  const char* WalkList(const char* p, const JsonPath::Step& step,
                       size_t depth) {
    p = SkipSpace(p + 1, end_);
    while (p != end_ && *p != ']') {
      const bool chosen = step.kind == JsonPath::Step::Kind::kEach ||
                          HasMember(p, step.name, step.value);
      p = chosen ? Walk(p, depth + 1) : SkipValue(p, end_, cut_);
      p = ToNext(p);
      if (p == nullptr) return nullptr;
    }
    return p == end_ ? nullptr : p + 1;
  }

  // Whether an object begins at `p` in which `name` is the string `value`.
  bool HasMember(const char* p, absl::string_view name,
                 absl::string_view value) const {
    if (*p != '{') return false;
    p = SkipSpace(p + 1, end_);
    while (p != nullptr && p != end_ && *p != '}') {
      const char* const key = p;
      p = ToValueOfMember(p);
      if (p == nullptr) return false;
      const char* const after = SkipValue(p, end_, cut_);
      if (after == nullptr) return false;
      if (NameIs(key, name) &&
          JsonValue(absl::string_view(p, after - p)).Is(value)) {
        return true;
      }
      p = ToNext(after);
    }
    return false;
  }

  // From a name to what it names; null if that is not there.
  const char* ToValueOfMember(const char* p) const {
    p = SkipValue(p, end_, cut_);
    if (p == nullptr) return nullptr;
    p = SkipSpace(p, end_);
    if (p == end_) return nullptr;
    p = SkipSpace(p + 1, end_);
    return p == end_ ? nullptr : p;
  }

  // From the end of a member or element to the next one, or to the bracket.
  const char* ToNext(const char* p) const {
    if (p == nullptr) return nullptr;
    p = SkipSpace(p, end_);
    return p != end_ && *p == ',' ? SkipSpace(p + 1, end_) : p;
  }

  bool NameIs(const char* key, absl::string_view name) const {
    const char* const after = SkipValue(key, end_, cut_);
    return JsonValue(absl::string_view(key, after - key)).Is(name);
  }

  const JsonPath& path_;
  const char* const end_;
  const bool cut_;
  const absl::FunctionRef<bool(const JsonValue& value)> visit_;
};

// --- Texts. ---

JsonText::JsonText(absl::string_view text) { Check(text); }

void JsonText::Check(absl::string_view text) {
  const char* const start = text.data();
  const char* const end = start + text.size();
  const char* p = start;
  for (const char c : absl::string_view("\xEF\xBB\xBF")) {  // the mark
    if (p == end || (p == start && *p != c)) break;
    if (*p != c) {
      bad_at_ = static_cast<size_t>(p - start);
      return;
    }
    ++p;
  }
  p = SkipSpace(p, end);
  text_ = absl::string_view(p, end - p);

  // What may come next; whether the container at each depth is an object.
  enum class Next : uint8_t {
    kValue,
    kValueOrEnd,
    kName,
    kNameOrEnd,
    kColon,
    kCommaOrEnd,
    kNothing,
  };
  Next next = Next::kValue;
  int depth = 0;
  uint64_t objects = 0;
  static_assert(kMaxDepth <= 64, "a bit for each");
  const auto in_object = [&] { return (objects >> (depth - 1) & 1) != 0; };
  const auto after_value = [&] {
    return depth == 0 ? Next::kNothing : Next::kCommaOrEnd;
  };
  const auto bad = [&](const char* at) {
    state_ = JsonState::kBad;
    bad_at_ = static_cast<size_t>(at - start);
  };

  for (;; p = SkipSpace(p, end)) {
    if (p == end) {
      state_ = next == Next::kNothing ? JsonState::kWhole : JsonState::kCut;
      return;
    }
    const char c = *p;
    switch (next) {
      case Next::kNothing:
        return bad(p);
      case Next::kColon:
        if (c != ':') return bad(p);
        ++p;
        next = Next::kValue;
        continue;
      case Next::kCommaOrEnd:
        if (c == ',') {
          ++p;
          next = in_object() ? Next::kName : Next::kValue;
          continue;
        }
        if (c != (in_object() ? '}' : ']')) return bad(p);
        ++p;
        --depth;
        next = after_value();
        continue;
      case Next::kNameOrEnd:
      case Next::kName: {
        if (c == '}' && next == Next::kNameOrEnd) {
          ++p;
          --depth;
          next = after_value();
          continue;
        }
        if (c != '"') return bad(p);
        ++p;
        const Step step = CheckString(&p, end);
        if (step == Step::kBad) return bad(p);
        if (step == Step::kCut) {
          p = end;
          continue;
        }
        next = Next::kColon;
        continue;
      }
      case Next::kValueOrEnd:
        if (c == ']') {
          ++p;
          --depth;
          next = after_value();
          continue;
        }
        break;
      case Next::kValue:
        break;
    }
    if (c == '{' || c == '[') {
      if (depth == kMaxDepth) return bad(p);
      const uint64_t bit = uint64_t{1} << depth;
      objects = c == '{' ? objects | bit : objects & ~bit;
      ++depth;
      ++p;
      next = c == '{' ? Next::kNameOrEnd : Next::kValueOrEnd;
      continue;
    }
    const Step step = CheckScalar(&p, end);
    if (step == Step::kBad) return bad(p);
    if (step == Step::kCut) {
      p = end;
      next = Next::kValue;
      continue;
    }
    next = after_value();
  }
}

std::optional<JsonValue> JsonText::root() const {
  if (state_ != JsonState::kWhole) return std::nullopt;
  const char* const end = text_.data() + text_.size();
  const char* const after = SkipValue(text_.data(), end, /*cut=*/false);
  return JsonValue(absl::string_view(text_.data(), after - text_.data()));
}

void JsonText::Find(
    const JsonPath& path,
    absl::FunctionRef<bool(const JsonValue& value)> visit) const {
  if (state_ == JsonState::kBad) return;
  const char* const end = text_.data() + text_.size();
  JsonWalk(path, end, state_ == JsonState::kCut, visit).Walk(text_.data(), 0);
}

}  // namespace forbear
