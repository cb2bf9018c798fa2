#include "tests/proto/fields.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/text_format.h"

namespace forbear::testing {
namespace {

namespace pb = google::protobuf;

bool IsInner(const pb::FieldDescriptor& field) {
  return field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE &&
         !absl::StartsWith(field.message_type()->full_name(),
                           "google.protobuf.");
}

void Collect(const pb::Descriptor& type, const std::string& prefix,
             const std::set<std::string>& without,
             std::vector<std::string>* paths) {
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor& field = *type.field(i);
    if (without.count(prefix + field.name()) > 0) continue;
    if (IsInner(field)) {
      Collect(*field.message_type(), prefix + field.name() + ".", without,
              paths);
    } else {
      paths->push_back(prefix + field.name());
    }
  }
}

void CollectIn(const pb::Message& message, const std::string& prefix,
               std::set<std::string>* paths) {
  const pb::Reflection& r = *message.GetReflection();
  std::vector<const pb::FieldDescriptor*> fields;
  r.ListFields(message, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    const std::string path = prefix + field->name();
    if (!IsInner(*field)) {
      paths->insert(path);
    } else if (field->is_repeated()) {
      for (int i = 0; i < r.FieldSize(message, field); ++i) {
        CollectIn(r.GetRepeatedMessage(message, field, i), path + ".", paths);
      }
    } else {
      CollectIn(r.GetMessage(message, field), path + ".", paths);
    }
  }
}

}  // namespace

std::vector<std::string> FieldsOf(const pb::Descriptor& type,
                                  const std::set<std::string>& without) {
  std::vector<std::string> paths;
  Collect(type, "", without, &paths);
  return paths;
}

const pb::FieldDescriptor* FieldAt(const pb::Descriptor& type,
                                   const std::string& path) {
  const pb::Descriptor* at = &type;
  const pb::FieldDescriptor* field = nullptr;
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  for (const std::string& name : names) {
    field = at == nullptr ? nullptr : at->FindFieldByName(name);
    if (field == nullptr) return nullptr;
    at = field->message_type();
  }
  return field;
}

void AddFieldsIn(const pb::Message& message, std::set<std::string>* paths) {
  CollectIn(message, "", paths);
}

std::string ValueAt(const pb::Message& message, const std::string& path) {
  const pb::Message* at = &message;
  const pb::FieldDescriptor* field = nullptr;
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  for (const std::string& name : names) {
    if (field != nullptr) at = &at->GetReflection()->GetMessage(*at, field);
    field = at->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) return "";
  }
  if (field == nullptr) return "";
  std::string text;
  if (field->is_repeated()) {
    std::vector<std::string> values;
    for (int i = 0; i < at->GetReflection()->FieldSize(*at, field); ++i) {
      pb::TextFormat::PrintFieldValueToString(*at, field, i, &text);
      values.push_back(text);
    }
    return absl::StrCat("[", absl::StrJoin(values, ", "), "]");
  }
  if (!at->GetReflection()->HasField(*at, field)) return "";
  pb::TextFormat::PrintFieldValueToString(*at, field, -1, &text);
  return text;
}

}  // namespace forbear::testing
