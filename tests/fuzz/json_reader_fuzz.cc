// Bodies: JsonText, and what is found in one.

#include <optional>
#include <string>

#include "signals/json_reader.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const JsonText json(input);
  if (json.state() == JsonState::kBad) {
    Require(json.bad_at() < input.size(), "some byte is the first bad one");
    Require(JsonText(input.substr(0, json.bad_at())).state() != JsonState::kBad,
            "nothing before it is bad");
  }
  Require(json.root().has_value() == (json.state() == JsonState::kWhole),
          "what is whole has a value");
  bool planted = false;
  for (const char* text : {"", "/error/code", "/*", "/*/*/a", "/[a=b]/c",
                           "/error/details/[@type=x]/y"}) {
    json.Find(*JsonPath::Of(text), [&](const JsonValue& value) {
      Require(JsonText(value.raw()).state() == JsonState::kWhole,
              "a value is a text");
      Require(value.raw().data() >= input.data() &&
                  value.raw().data() + value.raw().size() <=
                      input.data() + input.size(),
              "a value lies in its text");
      const std::string meaning = value.Text();
      if (value.type() == JsonValue::Type::kString) {
        Require(value.Is(meaning) && value.Contains(meaning) &&
                    value.StartsWith(meaning),
                "a text is what it means");
      }
      value.ForEachMember([&](const JsonValue& name, const JsonValue&) {
        Require(name.type() == JsonValue::Type::kString, "a name is a text");
        return true;
      });
      value.ForEachElement([](const JsonValue&) { return true; });
      planted |= meaning == "Q";
      return true;
    });
  }
  return planted;
}

}  // namespace forbear::fuzz
