// JSON (RFC 8259), to look values up in a body that may have been cut off.
//
//   JsonText json(R"({"error":{"code":429,"details":[
//       {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"26s"}]}})");
//   std::optional<JsonPath> path = JsonPath::Of(
//       "/error/details/[@type=type.googleapis.com/google.rpc.RetryInfo]/retryDelay");
//   json.Find(*path, [](const JsonValue& value) {
//     …value.Is("26s")…
//     return true;                   // and the next one, please
//   });
//
// Strict: what RFC 8259 does not allow (a comma too many, a bare word, a control
// character or broken UTF-8 within a string), and what is nested deeper than
// kMaxDepth, makes the whole text kBad, and nothing is found in it. One byte order
// mark at the beginning is passed over (RFC 8259 §8.1 leaves that open).
//
// Cut off: a text that merely ends too early is kCut. What stands in it whole is
// found: a value is, if its last byte is there and it is sure that it is the last
// one. In `{"a":"x","b":12` that is "x" and not 12, which may have been 123.
//
// A name that comes twice in one object is found twice (RFC 8259 §4 leaves open
// which counts; a server that does that gets the reading with fewer sends from
// those who ask).
//
// Costs: two passes over the text at most per path selector, no allocation, no
// recursion deeper than the path.
//
// docs/decisions/0012 says why this is no library.
//
// Thread rule: values that point into a text, which must outlive them.
#ifndef FORBEAR_SIGNALS_JSON_READER_H_
#define FORBEAR_SIGNALS_JSON_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace forbear {

enum class JsonState : uint8_t {
  kWhole,  // a JSON text
  kCut,    // the beginning of one
  kBad,    // neither
};

// Where values stand: names and selectors, each after a slash.
//
//   /error/code                  the member of the member
//   /errors/*/type               of each element of a list
//   /details/[@type=a.b/C]/x     of each element that is an object in which the
//                                member "@type" is the string "a.b/C"
//   ""                           the text's one value
// In names and selectors "~1" is a slash and "~0" a tilde, as in RFC 6901; within
// [] both may also stand for themselves. "*" and "[…]" never mean members of
// an object.
class JsonPath {
 public:
  // Steps of a path.
  static constexpr size_t kMaxSteps = 8;
  // Bytes of a path.
  static constexpr size_t kMaxBytes = 256;

  // Nothing if `text` is no path.
  static std::optional<JsonPath> Of(absl::string_view text);

  // As it was given.
  const std::string& text() const { return text_; }
  // The name at its end; empty after a selector.
  absl::string_view last_name() const;

 private:
  friend class JsonText;
  friend class JsonWalk;
  struct Step {
    enum class Kind : uint8_t { kName, kEach, kSelect } kind = Kind::kName;
    std::string name;   // kName, kSelect
    std::string value;  // kSelect
  };
  std::string text_;
  std::vector<Step> steps_;
};

// One value, whole. Comparisons are of what a string means, escapes decoded. A
// lone half of a surrogate pair ("\ud800") means U+FFFD.
class JsonValue {
 public:
  enum class Type : uint8_t { kNull, kBool, kNumber, kString, kList, kObject };

  Type type() const;
  // As it stands in the text, quotes and brackets included.
  absl::string_view raw() const { return raw_; }

  // A string that is `text`, that contains it, that begins with it. False of
  // what is no string.
  bool Is(absl::string_view text) const;
  bool Contains(absl::string_view text) const;
  bool StartsWith(absl::string_view text) const;

  // A string's bytes, another scalar as it stands, nothing of the others. Points
  // into the text if there is nothing to decode, else into `buffer`, and then no
  // more of it than fits.
  absl::string_view Text(absl::Span<char> buffer) const;
  std::string Text() const;

  // Of a number. Too large for a double: infinite.
  std::optional<double> Number() const;
  // Of a bool.
  std::optional<bool> Bool() const;

  // Calls `visit` for each member or element in their order, until it returns
  // false. Nothing of scalars.
  void ForEachMember(
      absl::FunctionRef<bool(const JsonValue& name, const JsonValue& value)>
          visit) const;
  void ForEachElement(
      absl::FunctionRef<bool(const JsonValue& value)> visit) const;

 private:
  friend class JsonText;
  friend class JsonWalk;
  explicit JsonValue(absl::string_view raw) : raw_(raw) {}
  absl::string_view raw_;  // not empty
};

class JsonText {
 public:
  // Containers within containers.
  static constexpr int kMaxDepth = 64;

  explicit JsonText(absl::string_view text);

  JsonState state() const { return state_; }
  // kBad: the offset of the first byte that no JSON text can have there.
  size_t bad_at() const { return bad_at_; }

  // The value; nothing unless kWhole.
  std::optional<JsonValue> root() const;

  // Calls `visit` for each value at `path`, in their order, until it returns
  // false.
  void Find(const JsonPath& path,
            absl::FunctionRef<bool(const JsonValue& value)> visit) const;

 private:
  void Check(absl::string_view text);

  absl::string_view text_;  // without mark and white space before the value
  JsonState state_ = JsonState::kBad;
  size_t bad_at_ = 0;
};

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_JSON_READER_H_
