// Structured fields (RFC 8941): the syntax of RateLimit and RateLimit-Policy.
//
//   std::optional<StructuredList> list =
//       ParseStructuredList({"\"default\";r=50;t=30, \"daily\";r=0;t=3600"});
//   for (const StructuredMember& member : *list) {
//     member.value;                          // the string default, daily
//     const StructuredItem* r = member.Find("r");
//     if (r != nullptr && r->is(StructuredItem::Type::kInteger)) r->number; // 50
//   }
//
// Lists of items and inner lists, with parameters, and dictionaries. Strict, as the
// RFC wants it: a field that is wrong anywhere is wrong altogether, and nothing is
// left of it. The types that RFC 9651 has added (dates, display strings) are not
// read.
//
// Bounds: 32 KiB of text in all lines together, 1024 members, 256 items in an
// inner list, 256 parameters of one item, and 2048 of all these together; numbers
// have the RFC's 15 digits. What is larger is refused. The first four are no less
// than the RFC demands of a parser.
//
// What is returned points into the text that was parsed: it must outlive it.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_STRUCTURED_FIELD_H_
#define FORBEAR_SIGNALS_STRUCTURED_FIELD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace forbear {

// A bare item.
struct StructuredItem {
  enum class Type : uint8_t {
    kInteger,  // number
    kDecimal,  // number, in thousandths
    kBoolean,  // number: 0 or 1. The value of a key without one is kBoolean, 1
    kString,   // text: between the quotes, still with its backslashes
    kToken,    // text
    kBytes,    // text: base64, between the colons
  };
  Type type = Type::kBoolean;
  int64_t number = 0;
  absl::string_view text;

  bool is(Type t) const { return type == t; }

  // kString without its backslashes, kBytes decoded (padding may be missing, and
  // its bits need not be zero: draft-ietf-httpapi-ratelimit-headers-11 has an
  // example with such), kToken as it is; else empty.
  std::string Decoded() const;
};

struct StructuredParameter {
  absl::string_view key;
  StructuredItem value;
};

// Of a key that occurs twice, the last value counts, in the place of the first.
using StructuredParameters = std::vector<StructuredParameter>;

struct StructuredInnerItem {
  StructuredItem value;
  StructuredParameters parameters;
};

// A member of a list or of a dictionary.
struct StructuredMember {
  absl::string_view key;  // dictionaries only
  bool is_inner_list = false;
  StructuredItem value;                    // unless it is an inner list
  std::vector<StructuredInnerItem> items;  // of the inner list
  StructuredParameters parameters;

  // The parameter of that name; nullptr: there is none.
  const StructuredItem* Find(absl::string_view name) const;
};

using StructuredList = std::vector<StructuredMember>;

// `lines`: the values of all lines of the field, in their order. A string cannot
// go on in the next line. An empty field is an empty list; an empty line beside
// others is an error.
std::optional<StructuredList> ParseStructuredList(
    absl::Span<const absl::string_view> lines);

// The same for a dictionary; members have keys, each once (the last value counts,
// in the place of the first).
std::optional<StructuredList> ParseStructuredDictionary(
    absl::Span<const absl::string_view> lines);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_STRUCTURED_FIELD_H_
