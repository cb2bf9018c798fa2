// The lines of a structured field: ParseStructuredList, ParseStructuredDictionary.

#include <optional>
#include <string>
#include <vector>

#include "signals/structured_field.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {
namespace {

void Look(const StructuredItem& item) {
  Require(item.Decoded().size() <= item.text.size(), "nothing grows");
  if (item.is(StructuredItem::Type::kInteger)) {
    Require(item.number <= 999'999'999'999'999 &&
                item.number >= -999'999'999'999'999,
            "an integer has 15 digits");
  }
}

void Look(const StructuredParameters& parameters) {
  Require(parameters.size() <= 256, "256 parameters");
  for (const StructuredParameter& p : parameters) Look(p.value);
}

void Look(const StructuredList& list) {
  Require(list.size() <= 1024, "1024 members");
  for (const StructuredMember& member : list) {
    Look(member.value);
    Look(member.parameters);
    Require(member.items.size() <= 256, "256 inner items");
    for (const StructuredInnerItem& item : member.items) {
      Look(item.value);
      Look(item.parameters);
    }
  }
}

}  // namespace

bool Fuzz(absl::string_view input) {
  const std::vector<absl::string_view> lines = Lines(input, 2000);
  const auto list = ParseStructuredList(lines);
  const auto dictionary = ParseStructuredDictionary(lines);
  if (list) Look(*list);
  if (dictionary) Look(*dictionary);
  // An inner list whose first parameter is an integer.
  return list && !list->empty() && list->front().is_inner_list &&
         !list->front().parameters.empty() &&
         list->front().parameters[0].value.is(StructuredItem::Type::kInteger);
}

}  // namespace forbear::fuzz
