// proto/config.proto is a manual: every field's comment says what it does, in which
// unit and range, its default, and where that comes from. The binary's descriptors
// have no comments, so the text is read; which fields there must be, and what their
// defaults are, the descriptors and the code say.

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "core/policy.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "proto/config_convert.h"
#include "tests/proto/fields.h"

namespace forbear::testing {
namespace {

namespace pb = google::protobuf;

// From "forbear.v1.Retry.max_attempts" to its comment, on one line.
std::map<std::string, std::string> CommentsIn(const std::string& text) {
  std::map<std::string, std::string> comments;
  std::vector<std::string> scopes = {"forbear", "v1"};
  std::string comment;
  for (const absl::string_view untrimmed : absl::StrSplit(text, '\n')) {
    absl::string_view line = absl::StripAsciiWhitespace(untrimmed);
    if (absl::ConsumePrefix(&line, "//")) {
      absl::StrAppend(&comment, absl::StripAsciiWhitespace(line), " ");
      continue;
    }
    const std::vector<std::string> words =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() >= 3 && words[2] == "{") {
      scopes.push_back(words[1]);  // message X {, enum X {
    } else if (line == "}") {
      scopes.pop_back();
    } else {
      // optional T name = 1;   repeated T name = 1;   T name = 1;
      for (size_t i = 1; i + 1 < words.size(); ++i) {
        if (words[i + 1] == "=" && words.size() > 3) {
          std::string path;
          for (const std::string& scope : scopes) {
            absl::StrAppend(&path, scope, ".");
          }
          comments[path + words[i]] = comment;
          break;
        }
      }
    }
    comment.clear();
  }
  return comments;
}

std::string SchemaText() {
  std::ifstream file("proto/config.proto");
  std::string text, line;
  while (std::getline(file, line)) absl::StrAppend(&text, line, "\n");
  return text;
}

// What the comment of a field lacks; empty: nothing. `value`: the default as text
// format writes it; empty: it has none.
std::string Lack(const pb::FieldDescriptor& field, const std::string& comment,
                 const std::string& value) {
  if (comment.empty()) return "a comment";
  if (absl::StrContains(comment, "Must be given")) return "";
  const size_t at = comment.find("Default");
  if (at == std::string::npos) return "its default (\"Default …\")";
  const std::string rest = comment.substr(at);
  if (!value.empty() && !absl::StartsWith(rest, "Default " + value)) {
    return absl::StrCat("its default, which is ", value);
  }
  // A number and a duration have a range and a unit; what says which: "1 … 100",
  // "0s … 24h".
  const bool counts =
      !field.is_repeated() &&
      (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_INT32 ||
       field.cpp_type() == pb::FieldDescriptor::CPPTYPE_DOUBLE ||
       (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING &&
        field.name() != "name"));
  if (counts && !absl::StrContains(comment, " … "))
    return "a range (\"… … …\")";
  // An on-off switch needs no source.
  const bool is_switch =
      field.cpp_type() == pb::FieldDescriptor::CPPTYPE_BOOL ||
      field.name() == "name";
  if (!is_switch && !absl::StrContains(rest, "(")) {
    return "the source of its default (\"Default … (source)\")";
  }
  return "";
}

// All scalar fields below `type`, each with its descriptor.
void Collect(const pb::Descriptor& type,
             std::map<std::string, const pb::FieldDescriptor*>* fields) {
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor* const field = type.field(i);
    if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      Collect(*field->message_type(), fields);
      if (!field->is_repeated()) continue;
    }
    (*fields)[field->full_name()] = field;
  }
}

std::map<std::string, std::string> Defaults() {
  const v1::Config defaults = ConfigToProto(Settings());
  std::map<std::string, std::string> values;
  for (const std::string& path :
       FieldsOf(*v1::Config::descriptor(), {"targets"})) {
    const pb::FieldDescriptor* const field =
        FieldAt(*v1::Config::descriptor(), path);
    values[field->full_name()] = ValueAt(defaults, path);
  }
  return values;
}

TEST(ConfigSchemaTest, EveryFieldIsExplained) {
  const std::map<std::string, std::string> comments = CommentsIn(SchemaText());
  const std::map<std::string, std::string> defaults = Defaults();
  std::map<std::string, const pb::FieldDescriptor*> fields;
  Collect(*v1::Config::descriptor(), &fields);
  EXPECT_GT(fields.size(), 30u);
  for (const auto& [name, field] : fields) {
    const auto comment = comments.find(name);
    ASSERT_NE(comment, comments.end()) << name;
    const auto value = defaults.find(name);
    EXPECT_EQ(Lack(*field, comment->second,
                   value == defaults.end() ? "" : value->second),
              "")
        << name << " lacks it: " << comment->second;
  }
}

// This would be seen.
TEST(ConfigSchemaTest, WhatIsMissingIsFound) {
  const pb::FieldDescriptor* const number =
      FieldAt(*v1::Config::descriptor(), "retry.max_attempts");
  const auto lack = [&](const std::string& comment) {
    return Lack(*number, comment, "3");
  };
  EXPECT_EQ(lack(""), "a comment");
  EXPECT_EQ(lack("Attempts. 1 … 100."), "its default (\"Default …\")");
  EXPECT_EQ(lack("Attempts. 1 … 100. Default 4 (AWS)."),
            "its default, which is 3");
  EXPECT_EQ(lack("Attempts. Default 3 (AWS)."), "a range (\"… … …\")");
  EXPECT_EQ(lack("Attempts. 1 … 100. Default 3."),
            "the source of its default (\"Default … (source)\")");
  EXPECT_EQ(lack("Attempts. 1 … 100. Default 3 (AWS)."), "");
}

}  // namespace
}  // namespace forbear::testing
