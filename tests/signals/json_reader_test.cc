#include "signals/json_reader.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

std::vector<std::string> FindAll(absl::string_view text,
                                 absl::string_view path) {
  std::vector<std::string> found;
  const std::optional<JsonPath> parsed = JsonPath::Of(path);
  EXPECT_TRUE(parsed.has_value()) << path;
  if (!parsed) return found;
  JsonText(text).Find(*parsed, [&](const JsonValue& value) {
    found.push_back(value.type() == JsonValue::Type::kString
                        ? value.Text()
                        : std::string(value.raw()));
    return true;
  });
  return found;
}

std::string Find(absl::string_view text, absl::string_view path) {
  return absl::StrJoin(FindAll(text, path), "|");
}

JsonState StateOf(absl::string_view text) { return JsonText(text).state(); }

// --- By kind, from RFC 8259. ---

struct Kind {
  const char* what;
  const char* text;
  JsonState state;
};
constexpr JsonState kWhole = JsonState::kWhole;
constexpr JsonState kCut = JsonState::kCut;
constexpr JsonState kBad = JsonState::kBad;

const Kind kKinds[] = {
    // §2, §3
    {"any value is a text", "null", kWhole},
    {"any value is a text", "true", kWhole},
    {"any value is a text", "\"x\"", kWhole},
    {"any value is a text", "-0", kWhole},
    {"white space around", " \t\r\n[ ]\n", kWhole},
    {"no other white space", "\f1", kBad},
    {"no other white space", "[1,\v2]", kBad},
    {"two values", "1 2", kBad},
    {"two values", "{}{}", kBad},
    {"words are lower case", "True", kBad},
    {"words are lower case", "NULL", kBad},
    {"no other words", "nil", kBad},
    {"no other words", "undefined", kBad},
    {"a word and more", "nulll", kBad},
    {"the beginning of a word", "tru", kCut},
    {"no comments", "/* */ 1", kBad},
    {"no comments", "1 // one", kBad},
    {"nothing at all", "", kCut},
    {"nothing but white space", "  \n", kCut},
    // §4
    {"an object", R"({"a":1,"b":{"c":[]}})", kWhole},
    {"an empty object", "{ }", kWhole},
    {"an empty name", R"({"":1})", kWhole},
    {"a name twice", R"({"a":1,"a":2})", kWhole},
    {"a name that is no string", "{a:1}", kBad},
    {"a name that is no string", "{1:1}", kBad},
    {"single quotes", "{'a':1}", kBad},
    {"a comma too many", R"({"a":1,})", kBad},
    {"a comma too many", R"({,"a":1})", kBad},
    {"a comma missing", R"({"a":1 "b":2})", kBad},
    {"a colon missing", R"({"a" 1})", kBad},
    {"a value missing", R"({"a":})", kBad},
    {"a value missing", R"({"a"})", kBad},
    {"another bracket", R"({"a":1])", kBad},
    {"not closed", R"({"a":1)", kCut},
    {"not closed", R"({"a":)", kCut},
    {"not closed", R"({"a)", kCut},
    // §5
    {"a list", R"([1,"a",null,[],{}])", kWhole},
    {"a comma too many", "[1,]", kBad},
    {"a comma too many", "[,1]", kBad},
    {"a comma too many", "[1,,2]", kBad},
    {"a comma missing", "[1 2]", kBad},
    {"another bracket", "[1}", kBad},
    {"a closing bracket", "]", kBad},
    {"not closed", "[1,", kCut},
    {"not closed", "[[[", kCut},
    // §6
    {"a number", "0", kWhole},
    {"a number", "-12.50e+03", kWhole},
    {"a number", "1E400", kWhole},
    {"a zero before", "01", kBad},
    {"a zero before", "-01", kBad},
    {"a plus before", "+1", kBad},
    {"no digit before the point", ".5", kBad},
    {"no digit before the point", "-.5", kBad},
    {"no digit after the point", "1.", kCut},
    {"no digit after the point", "[1.]", kBad},
    {"no digit in the exponent", "1e", kCut},
    {"no digit in the exponent", "[1e+]", kBad},
    {"only a minus", "-", kCut},
    {"only a minus", "[-]", kBad},
    {"hexadecimal", "0x10", kBad},
    {"no number", "NaN", kBad},
    {"no number", "Infinity", kBad},
    {"no number", "-Infinity", kBad},
    {"digits of another script", "\xD9\xA1", kBad},
    // §7
    {"escapes", R"("\"\\\/\b\f\n\r\t\u00e9")", kWhole},
    {"no other escapes", R"("\a")", kBad},
    {"no other escapes", R"("\'")", kBad},
    {"no other escapes", R"("\x41")", kBad},
    {"an escaped line break", "\"\\\n\"", kBad},
    {"four hexadecimal digits", R"("\u12G4")", kBad},
    {"four hexadecimal digits", R"("\u12")", kBad},
    {"four hexadecimal digits", R"("\u12)", kCut},
    {"half a pair", R"("\ud800")", kWhole},
    {"control characters", "\"\n\"", kBad},
    {"control characters", "\"\t\"", kBad},
    {"control characters", "\"\x1F\"", kBad},
    {"DEL is none", "\"\x7F\"", kWhole},
    {"not closed", "\"x", kCut},
    {"not closed", "\"x\\", kCut},
    // §8.1
    {"a byte order mark", "\xEF\xBB\xBF{}", kWhole},
    {"half a mark", "\xEF\xBB", kCut},
    {"a mark later on", "[\xEF\xBB\xBF]", kBad},
    {"UTF-8", "\"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\"", kWhole},
    {"UTF-8, not closed", "\"\xE2\x82", kCut},
    {"Latin 1", "\"caf\xE9\"", kBad},
    {"overlong", "\"\xC0\xAF\"", kBad},
    {"overlong", "\"\xE0\x80\xAF\"", kBad},
    {"overlong", "\"\xF0\x80\x80\xAF\"", kBad},
    {"a surrogate", "\"\xED\xA0\x80\"", kBad},
    {"above U+10FFFF", "\"\xF4\x90\x80\x80\"", kBad},
    {"a lone continuation", "\"\x80\"", kBad},
    {"not in UTF-8", "\"\xFF\"", kBad},
    // Not JSON at all.
    {"HTML", "<html><body>503</body></html>", kBad},
    {"prose", "upstream connect error", kBad},
    {"an event stream", "data: {\"a\":1}", kBad},
};

TEST(JsonReaderTest, Kinds) {
  for (const Kind& kind : kKinds) {
    EXPECT_EQ(StateOf(kind.text), kind.state) << kind.what << ": " << kind.text;
  }
  EXPECT_EQ(StateOf(absl::string_view("\"\0\"", 3)), kBad);
  EXPECT_EQ(StateOf(absl::string_view("[1]\0", 4)), kBad);
}

TEST(JsonReaderTest, NothingIsFoundInWhatIsBad) {
  EXPECT_EQ(Find(R"({"a":1,"b":2})", "/a"), "1");
  EXPECT_EQ(Find(R"({"a":1,"b":2,})", "/a"), "");
  EXPECT_FALSE(JsonText(R"({"a":1,})").root().has_value());
  EXPECT_FALSE(JsonText(R"({"a":1)").root().has_value());
}

TEST(JsonReaderTest, DepthIsBounded) {
  for (const char* bracket : {"[", "{\"a\":"}) {
    std::string text;
    for (int i = 0; i < JsonText::kMaxDepth; ++i) text += bracket;
    EXPECT_EQ(StateOf(text), kCut);
    text += bracket;
    JsonText deep(text);
    EXPECT_EQ(deep.state(), kBad);
    EXPECT_EQ(deep.bad_at(), text.rfind(bracket));
  }
  const int depth = JsonText::kMaxDepth;
  EXPECT_EQ(StateOf(std::string(depth, '[') + std::string(depth, ']')), kWhole);
}

// --- Look-ups. ---

// What Gemini answers (RooCode issue 3883).
constexpr char kGoogle[] =
    R"({"error":{"code":429,"status":"RESOURCE_EXHAUSTED",
  "message":"… Please retry in 26.4s.","details":[
  {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[
    {"quotaId":"InputTokensPerModelPerMinute-FreeTier","quotaValue":"250000"},
    {"quotaId":"RequestsPerDay"}]},
  {"@type":"type.googleapis.com/google.rpc.Help","links":[]},
  {"retryDelay":"26s","@type":"type.googleapis.com/google.rpc.RetryInfo"}]}})";

TEST(JsonReaderTest, Paths) {
  EXPECT_EQ(Find(kGoogle, "/error/code"), "429");
  EXPECT_EQ(Find(kGoogle, "/error/status"), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(Find(kGoogle,
                 "/error/details/[@type=type.googleapis.com/"
                 "google.rpc.RetryInfo]/retryDelay"),
            "26s");
  EXPECT_EQ(Find(kGoogle, "/error/details/*/violations/*/quotaId"),
            "InputTokensPerModelPerMinute-FreeTier|RequestsPerDay");
  EXPECT_EQ(Find(kGoogle, "/error/details/[@type=other]/retryDelay"), "");
  EXPECT_EQ(Find(kGoogle, "/code"), "");
  EXPECT_EQ(Find(kGoogle, "/error/code/x"), "");
  EXPECT_EQ(Find(kGoogle, "/error/*"), "");      // no list
  EXPECT_EQ(Find(kGoogle, "/error/[a=b]"), "");  // no list
  EXPECT_EQ(Find("[[1,2],[3],4]", "/*/*"), "1|2|3");
  EXPECT_EQ(Find("[[1,2],[3],4]", "/*"), "[1,2]|[3]|4");
  EXPECT_EQ(Find(" 17 ", ""), "17");
  EXPECT_EQ(Find(R"({"a/b":1,"~":2,"*":3,"a":{"b":4}})", "/a~1b"), "1");
  EXPECT_EQ(Find(R"({"a/b":1,"~":2})", "/~0"), "2");
  EXPECT_EQ(Find(R"([{"k":"]","v":1},{"k":"x]","v":2}])", "/[k=x]/v"), "");
  EXPECT_EQ(Find(R"({"a":1,"\u0061":2})", "/a"), "1|2");
  // Only a string can be selected by.
  EXPECT_EQ(Find(R"([{"k":1,"v":1},{"k":"1","v":2}])", "/[k=1]/v"), "2");
}

TEST(JsonReaderTest, VisitsEnd) {
  int calls = 0;
  JsonText("[[1,2],[3]]").Find(*JsonPath::Of("/*/*"), [&](const JsonValue&) {
    return ++calls < 2;
  });
  EXPECT_EQ(calls, 2);
}

TEST(JsonReaderTest, WhatIsNoPath) {
  for (const char* text : {"a", "/", "/a/", "//a", "/a~", "/a~2", "/[a", "/[a]",
                           "/[=b]", "/[a=b", "/[a=b]c", "/a/b/c/d/e/f/g/h/i"}) {
    EXPECT_FALSE(JsonPath::Of(text).has_value()) << text;
  }
  EXPECT_FALSE(JsonPath::Of("/" + std::string(JsonPath::kMaxBytes, 'a')));
  EXPECT_TRUE(JsonPath::Of("/" + std::string(JsonPath::kMaxBytes - 1, 'a')));
  EXPECT_TRUE(JsonPath::Of("/a/b/c/d/e/f/g/h").has_value());
  EXPECT_TRUE(JsonPath::Of("/[a=]").has_value());
  EXPECT_EQ(JsonPath::Of("/error/message")->last_name(), "message");
  EXPECT_EQ(JsonPath::Of("/error/*")->last_name(), "");
  EXPECT_EQ(JsonPath::Of("")->last_name(), "");
}

TEST(JsonReaderTest, CutAnywhere) {
  const absl::string_view whole = kGoogle;
  const std::string retry =
      "/error/details/[@type=type.googleapis.com/google.rpc.RetryInfo]/"
      "retryDelay";
  const size_t first = whole.find("FreeTier\"") + 9;
  const size_t second = whole.find("PerDay\"") + 7;
  for (size_t size = 0; size < whole.size(); ++size) {
    const absl::string_view text = whole.substr(0, size);
    ASSERT_EQ(StateOf(text), kCut) << text;
    EXPECT_EQ(Find(text, "/error/code"),
              size > whole.find("429") + 3 ? "429" : "");
    EXPECT_EQ(FindAll(text, "/error/details/*/violations/*/quotaId").size(),
              (size >= first ? 1u : 0u) + (size >= second ? 1u : 0u));
    EXPECT_EQ(Find(text, retry),
              size >= whole.rfind("RetryInfo\"") + 10 ? "26s" : "");
  }
}

TEST(JsonReaderTest, Comparisons) {
  JsonText text(R"(["insufficient_quota","insufficient\u005fquota",
      "\ud83d\ude00","\ud83d","\ud83d\u0041","a\n\"b\\","",null,429,true])");
  std::vector<JsonValue> all;
  text.root()->ForEachElement([&](const JsonValue& value) {
    all.push_back(value);
    return true;
  });
  ASSERT_EQ(all.size(), 10u);
  for (int i : {0, 1}) {
    EXPECT_TRUE(all[i].Is("insufficient_quota"));
    EXPECT_FALSE(all[i].Is("insufficient_quot"));
    EXPECT_FALSE(all[i].Is("insufficient_quota2"));
    EXPECT_TRUE(all[i].Contains("_quo"));
    EXPECT_TRUE(all[i].Contains(""));
    EXPECT_TRUE(all[i].Contains("insufficient_quota"));
    EXPECT_TRUE(all[i].Contains("quota"));
    EXPECT_FALSE(all[i].Contains("quotas"));
    EXPECT_TRUE(all[i].StartsWith("insufficient_"));
    EXPECT_FALSE(all[i].StartsWith("nsufficient"));
    EXPECT_EQ(all[i].Text(), "insufficient_quota");
  }
  EXPECT_TRUE(all[2].Is("\xF0\x9F\x98\x80"));
  EXPECT_TRUE(all[3].Is("\xEF\xBF\xBD"));
  EXPECT_TRUE(
      all[4].Is("\xEF\xBF\xBD"
                "A"));
  EXPECT_EQ(all[5].Text(), "a\n\"b\\");
  EXPECT_TRUE(all[5].Contains("\"b\\"));
  EXPECT_TRUE(all[6].Is(""));
  EXPECT_FALSE(all[7].Is("null"));
  EXPECT_FALSE(all[8].Is("429"));
  EXPECT_FALSE(all[8].Contains("4"));
  EXPECT_EQ(all[8].Text(), "429");
  EXPECT_EQ(all[8].Number(), 429);
  EXPECT_EQ(all[9].Bool(), true);
  EXPECT_FALSE(all[9].Number().has_value());
  EXPECT_FALSE(all[8].Bool().has_value());

  // No more than the buffer holds; nothing copied if nothing is to decode.
  char buffer[4];
  EXPECT_EQ(all[1].Text(absl::MakeSpan(buffer)), "insu");
  EXPECT_EQ(all[0].Text(absl::MakeSpan(buffer)), "insufficient_quota");
  EXPECT_EQ(JsonText("[1]").root()->Text(), "");
}

TEST(JsonReaderTest, Numbers) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(JsonText("-12.5e1").root()->Number(), -125);
  EXPECT_EQ(JsonText("1e400").root()->Number(), infinity);
  EXPECT_EQ(JsonText("-1e400").root()->Number(), -infinity);
  EXPECT_NEAR(*JsonText("1e-400").root()->Number(), 0, 1e-300);
  EXPECT_EQ(JsonText("1791331200000").root()->Number(), 1791331200000.0);
}

TEST(JsonReaderTest, MembersAndElements) {
  std::string seen;
  JsonText(R"( { "a" : [ 1 , { } ] , "b" : "}" } )")
      .root()
      ->ForEachMember([&](const JsonValue& name, const JsonValue& value) {
        absl::StrAppend(&seen, name.Text(), "=", value.raw(), ";");
        return true;
      });
  EXPECT_EQ(seen, R"(a=[ 1 , { } ];b="}";)");
  int calls = 0;
  const auto stop = [&](const JsonValue&) { return ++calls < 2; };
  JsonText("[1,2,3]").root()->ForEachElement(stop);
  EXPECT_EQ(calls, 2);
  JsonText(R"({"a":1})").root()->ForEachElement(stop);
  EXPECT_EQ(calls, 2);
}

// --- A twin: slow, recursive, a tree; written from RFC 8259. ---

struct Node {
  char type = '?';   // 'n' 'b' '0' '"' '[' '{'
  std::string text;  // a string's meaning, another scalar as it stands
  std::string raw;
  bool whole = false;
  std::vector<std::pair<std::string, Node>> children;
};

class Twin {
 public:
  explicit Twin(std::string text) : text_(std::move(text)) {
    const std::string mark = "\xEF\xBB\xBF";
    if (text_.substr(0, 3) == mark) at_ = 3;
    if (text_.size() < 3 && mark.substr(0, text_.size()) == text_) {
      at_ = text_.size();
    }
    Spaces();
    if (Value(&root_, 0)) {
      Spaces();
      if (at_ != text_.size()) state_ = JsonState::kBad;
    }
  }

  JsonState state() const { return state_; }

  std::vector<std::string> Find(const std::vector<std::string>& steps) const {
    std::vector<std::string> found;
    if (state_ != JsonState::kBad) Find(root_, steps, 0, &found);
    return found;
  }

 private:
  bool Fail(JsonState state) {
    state_ = state;
    return false;
  }
  bool Over() const { return at_ == text_.size(); }
  void Spaces() {
    while (!Over() && absl::StrContains(" \t\r\n", text_[at_])) {
      ++at_;
    }
  }
  // The byte here, and on; false at the end or if it is another.
  bool Eat(char c) {
    if (Over()) return Fail(JsonState::kCut);
    if (text_[at_] != c) return Fail(JsonState::kBad);
    ++at_;
    return true;
  }

  bool Value(Node* node, int depth) {
    if (Over()) return Fail(JsonState::kCut);
    const size_t begin = at_;
    node->type = text_[at_];
    bool ok = false;
    switch (node->type) {
      case '{':
      case '[':
        ok = depth < JsonText::kMaxDepth ? Children(node, depth)
                                         : Fail(JsonState::kBad);
        break;
      case '"':
        ok = String(&node->text);
        break;
      case 't':
        node->type = 'b';
        ok = Word("true");
        break;
      case 'f':
        node->type = 'b';
        ok = Word("false");
        break;
      case 'n':
        ok = Word("null");
        break;
      default:
        node->type = '0';
        ok = Number();
    }
    node->raw = text_.substr(begin, at_ - begin);
    if (node->type != '"') node->text = node->raw;
    // A number that the text ends with may go on.
    node->whole = ok && (node->type != '0' || depth == 0 || !Over());
    return ok;
  }

  bool Children(Node* node, int depth) {
    const bool object = node->type == '{';
    const char close = object ? '}' : ']';
    ++at_;
    Spaces();
    if (!Over() && text_[at_] == close) {
      ++at_;
      return true;
    }
    while (true) {
      node->children.emplace_back();
      auto& [name, child] = node->children.back();
      Spaces();
      if (object) {
        if (!String(&name)) {
          node->children.pop_back();
          return false;
        }
        Spaces();
        if (!Eat(':')) {
          node->children.pop_back();
          return false;
        }
        Spaces();
      }
      if (!Value(&child, depth + 1)) return false;
      Spaces();
      if (Over()) return Fail(JsonState::kCut);
      if (text_[at_] == close) {
        ++at_;
        return true;
      }
      if (!Eat(',')) return false;
      Spaces();
    }
  }

  bool Word(const std::string& word) {
    for (const char c : word) {
      if (!Eat(c)) return false;
    }
    return true;
  }

  bool Digits() {
    if (Over()) return Fail(JsonState::kCut);
    if (!isdigit(static_cast<unsigned char>(text_[at_]))) {
      return Fail(JsonState::kBad);
    }
    while (!Over() && isdigit(static_cast<unsigned char>(text_[at_]))) ++at_;
    return true;
  }

  bool Number() {
    if (text_[at_] == '-') ++at_;
    if (!Over() && text_[at_] == '0') {
      ++at_;
    } else if (!Digits()) {
      return false;
    }
    if (!Over() && text_[at_] == '.') {
      ++at_;
      if (!Digits()) return false;
    }
    if (!Over() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      if (!Over() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      return Digits();
    }
    return true;
  }

  static void AppendUtf8(uint32_t c, std::string* out) {
    if (c < 0x80) {
      *out += static_cast<char>(c);
    } else if (c < 0x800) {
      *out += static_cast<char>(0xC0 + c / 64);
      *out += static_cast<char>(0x80 + c % 64);
    } else if (c < 0x10000) {
      *out += static_cast<char>(0xE0 + c / 4096);
      *out += static_cast<char>(0x80 + c / 64 % 64);
      *out += static_cast<char>(0x80 + c % 64);
    } else {
      *out += static_cast<char>(0xF0 + c / 262144);
      *out += static_cast<char>(0x80 + c / 4096 % 64);
      *out += static_cast<char>(0x80 + c / 64 % 64);
      *out += static_cast<char>(0x80 + c % 64);
    }
  }

  bool Hex4(uint32_t* unit) {
    *unit = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      if (Over()) return Fail(JsonState::kCut);
      if (!isxdigit(static_cast<unsigned char>(text_[at_]))) {
        return Fail(JsonState::kBad);
      }
      *unit = *unit * 16 + static_cast<uint32_t>(strtol(
                               text_.substr(at_, 1).c_str(), nullptr, 16));
    }
    return true;
  }

  // By arithmetic: could the bytes here still become a character of `size`
  // bytes, with the smallest or the largest continuation?
  bool Utf8(std::string* out) {
    const auto first = static_cast<uint8_t>(text_[at_]);
    size_t size = 0;
    if (first >= 0xC0 && first < 0xE0) size = 2;
    if (first >= 0xE0 && first < 0xF0) size = 3;
    if (first >= 0xF0 && first < 0xF8) size = 4;
    if (size == 0) return Fail(JsonState::kBad);
    uint32_t low = first & (0xFFu >> (size + 1));
    uint32_t high = low;
    bool cut = false;
    for (size_t i = 1; i < size; ++i) {
      uint32_t low_bits = 0;
      uint32_t high_bits = 63;
      if (at_ + i < text_.size()) {
        const auto byte = static_cast<uint8_t>(text_[at_ + i]);
        if ((byte & 0xC0) != 0x80) return Fail(JsonState::kBad);
        low_bits = high_bits = byte & 63;
      } else {
        cut = true;
      }
      low = low * 64 + low_bits;
      high = high * 64 + high_bits;
    }
    const uint32_t least = size == 2 ? 0x80 : size == 3 ? 0x800 : 0x10000;
    const auto allowed = [&](uint32_t c) {
      return c >= least && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
    };
    bool possible = false;
    for (uint32_t c = low; c <= high && !possible; ++c) possible = allowed(c);
    if (!possible) return Fail(JsonState::kBad);
    if (cut) return Fail(JsonState::kCut);
    *out += text_.substr(at_, size);
    at_ += size;
    return true;
  }

  bool String(std::string* out) {
    if (!Eat('"')) return false;
    std::vector<uint32_t> units;  // of \u escapes that follow each other
    const auto flush = [&] {
      for (size_t i = 0; i < units.size(); ++i) {
        uint32_t c = units[i];
        if (c / 1024 == 54 && i + 1 < units.size() &&
            units[i + 1] / 1024 == 55) {
          c = 65536 + (c - 0xD800) * 1024 + (units[++i] - 0xDC00);
        } else if (c / 2048 == 27) {
          c = 0xFFFD;
        }
        AppendUtf8(c, out);
      }
      units.clear();
    };
    while (true) {
      if (Over()) return Fail(JsonState::kCut);
      const char c = text_[at_];
      if (c == '\\' && at_ + 1 < text_.size() && text_[at_ + 1] == 'u') {
        at_ += 2;
        uint32_t unit = 0;
        if (!Hex4(&unit)) return false;
        units.push_back(unit);
        continue;
      }
      flush();
      if (c == '"') {
        ++at_;
        return true;
      }
      if (static_cast<uint8_t>(c) < 32) return Fail(JsonState::kBad);
      if (static_cast<uint8_t>(c) >= 128) {
        if (!Utf8(out)) return false;
        continue;
      }
      ++at_;
      if (c != '\\') {
        *out += c;
        continue;
      }
      if (Over()) return Fail(JsonState::kCut);
      const std::string from = "\"\\/bfnrt";
      const size_t which = from.find(text_[at_]);
      if (which == std::string::npos) return Fail(JsonState::kBad);
      *out += "\"\\/\b\f\n\r\t"[which];
      ++at_;
    }
  }

  static void Find(const Node& node, const std::vector<std::string>& steps,
                   size_t depth, std::vector<std::string>* found) {
    if (depth == steps.size()) {
      if (node.whole) found->push_back(node.text);
      return;
    }
    const std::string& step = steps[depth];
    const bool list_step = step == "*" || step[0] == '[';
    if (node.type != (list_step ? '[' : '{')) return;
    for (const auto& [name, child] : node.children) {
      bool chosen = step == "*" || name == step;
      if (step[0] == '[') {
        const size_t equals = step.find('=');
        chosen = false;
        if (child.type == '{') {
          for (const auto& [key, value] : child.children) {
            chosen |=
                value.whole && value.type == '"' &&
                key == step.substr(1, equals - 1) &&
                value.text == step.substr(equals + 1, step.size() - equals - 2);
          }
        }
      }
      if (chosen) Find(child, steps, depth + 1, found);
    }
  }

  std::string text_;
  size_t at_ = 0;
  JsonState state_ = JsonState::kWhole;
  Node root_;
};

// --- Generated and damaged texts. ---

class Generator {
 public:
  explicit Generator(uint64_t seed) : seed_(seed) {}

  uint64_t Pick(uint64_t n) { return MixRandom(seed_, counter_++) % n; }

  std::string Text() {
    std::string text = Spaces() + Value(0) + Spaces();
    if (Pick(50) == 0) text = "\xEF\xBB\xBF" + text;
    for (uint64_t i = Pick(4); i > 1; --i) Damage(&text);
    return text;
  }

  std::vector<std::string> Path() {
    std::vector<std::string> steps;
    for (uint64_t i = Pick(4); i > 0; --i) {
      static const char* const kSteps[] = {"a", "b",     "*",     "*",
                                           "é", "[a=b]", "[b=x]", "[a=]"};
      steps.emplace_back(kSteps[Pick(8)]);
    }
    return steps;
  }

 private:
  std::string Spaces() {
    static const char* const kSpaces[] = {"", "", "", " ", "\n", "\t\r "};
    return kSpaces[Pick(6)];
  }

  std::string Name() {
    static const char* const kNames[] = {
        "\"a\"", "\"b\"", "\"\\u0061\"", "\"\xC3\xA9\"", "\"\"", "\"\\u00e9\""};
    return kNames[Pick(6)];
  }

  std::string String() {
    static const char* const kParts[] = {"a",
                                         "b",
                                         "x",
                                         "\\\\",
                                         "\\\"",
                                         "\\n",
                                         "\\u0041",
                                         "\\ud83d",
                                         "\\ude00",
                                         "\xC3\xA9",
                                         "\xE2\x82\xAC",
                                         "\\/",
                                         "{",
                                         "]",
                                         "\xF0\x9F\x98\x80",
                                         ","};
    std::string text = "\"";
    for (uint64_t i = Pick(4); i > 0; --i) text += kParts[Pick(16)];
    return text + "\"";
  }

  std::string Value(int depth) {
    switch (Pick(depth < 4 ? 10 : 6)) {
      case 0:
        return String();
      case 1: {
        static const char* const kNumbers[] = {"0",  "-1",   "12.5", "1e9",
                                               "-0", "1E-3", "429"};
        return kNumbers[Pick(7)];
      }
      case 2: {
        static const char* const kWords[] = {"true", "false", "null"};
        return kWords[Pick(3)];
      }
      case 3:
        return "\"b\"";
      case 4:
        return "\"x\"";
      case 5:
        return Pick(2) == 0 ? "[]" : "{ }";
      case 6:
      case 7: {
        std::string text = "[";
        const uint64_t size = Pick(4);
        for (uint64_t i = 0; i < size; ++i) {
          absl::StrAppend(&text, i == 0 ? "" : ",", Spaces(), Value(depth + 1),
                          Spaces());
        }
        return text + "]";
      }
      default: {
        std::string text = "{";
        const uint64_t size = Pick(4);
        for (uint64_t i = 0; i < size; ++i) {
          absl::StrAppend(&text, i == 0 ? "" : ",", Spaces(), Name(), Spaces(),
                          ":", Spaces(), Value(depth + 1), Spaces());
        }
        return text + "}";
      }
    }
  }

  void Damage(std::string* text) {
    static constexpr char kText[] =
        "{}[]\",:\\u0019.-+eE tfn\n\x01\x7F\x80\xBF\xC3\xE0\xED\xF0\xF4\xFF\0";
    static const std::string kBytes(kText, sizeof(kText) - 1);
    if (text->empty()) return;
    const size_t at = Pick(text->size());
    switch (Pick(5)) {
      case 0:
        text->resize(at);
        break;
      case 1:
        text->erase(at, 1);
        break;
      case 2:
        text->insert(at, 1, kBytes[Pick(kBytes.size())]);
        break;
      case 3:
        (*text)[at] = kBytes[Pick(kBytes.size())];
        break;
      default:
        text->insert(at, text->substr(Pick(text->size()), Pick(6)));
    }
  }

  const uint64_t seed_;
  uint64_t counter_ = 0;
};

TEST(JsonReaderTest, AsTheTwinOnAMillionTexts) {
  const char* const given = std::getenv("FORBEAR_SEED");
  const uint64_t first = given != nullptr ? strtoull(given, nullptr, 10) : 1;
  const uint64_t runs = given != nullptr ? 1 : 1000000;
  uint64_t counts[3] = {};
  uint64_t finds = 0;
  for (uint64_t seed = first; seed < first + runs; ++seed) {
    Generator generator(seed);
    const std::string text = generator.Text();
    const Twin twin(text);
    const JsonText json(text);
    const std::string where =
        absl::StrCat("FORBEAR_SEED=", seed, " text: ", absl::CHexEscape(text));
    ASSERT_EQ(static_cast<int>(json.state()), static_cast<int>(twin.state()))
        << where;
    ++counts[static_cast<int>(json.state())];
    if (json.state() == JsonState::kBad) {
      // It says where: up to there it could have become a text.
      const absl::string_view view = text;
      ASSERT_LT(json.bad_at(), text.size()) << where;
      ASSERT_NE(StateOf(view.substr(0, json.bad_at())), kBad) << where;
      ASSERT_EQ(StateOf(view.substr(0, json.bad_at() + 1)), kBad) << where;
    }
    for (int i = 0; i < 3; ++i) {
      const std::vector<std::string> steps = generator.Path();
      const std::string path =
          steps.empty() ? "" : absl::StrCat("/", absl::StrJoin(steps, "/"));
      const std::vector<std::string> found = FindAll(text, path);
      ASSERT_EQ(found, twin.Find(steps)) << where << " path: " << path;
      finds += found.empty() ? 0 : 1;
    }
  }
  std::printf(
      "texts: %llu whole, %llu cut, %llu bad; %llu look-ups found "
      "something\n",
      static_cast<unsigned long long>(counts[0]),
      static_cast<unsigned long long>(counts[1]),
      static_cast<unsigned long long>(counts[2]),
      static_cast<unsigned long long>(finds));
  if (given != nullptr) return;
  for (const uint64_t count : counts) EXPECT_GT(count, runs / 50);
  EXPECT_GT(finds, runs / 10);
}

}  // namespace
}  // namespace forbear
