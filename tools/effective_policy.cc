#include "tools/effective_policy.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"

namespace forbear::tools {
namespace {

namespace pb = google::protobuf;

bool IsMessage(const pb::FieldDescriptor& field) {
  return field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE;
}

bool IsSet(const pb::Message& message, const pb::FieldDescriptor& field) {
  const pb::Reflection& r = *message.GetReflection();
  return field.is_repeated() ? r.FieldSize(message, &field) > 0
                             : r.HasField(message, &field);
}

// The field of the same name, or null.
const pb::FieldDescriptor* SameIn(const pb::Message& message,
                                  const pb::FieldDescriptor& field) {
  return message.GetDescriptor()->FindFieldByName(field.name());
}

// Notes for each field of `message` that `written` sets too where that one has it
// from: `origin`. Messages are gone into, one that is repeated is one value.
void Trace(const pb::Message& message, const pb::Message& written,
           absl::string_view origin, const std::string& prefix,
           std::map<std::string, std::string>* origins) {
  const pb::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor& field = *type.field(i);
    const pb::FieldDescriptor* const same = SameIn(written, field);
    if (same == nullptr || !IsSet(written, *same)) continue;
    const std::string path = prefix + field.name();
    if (IsMessage(field) && !field.is_repeated()) {
      Trace(message.GetReflection()->GetMessage(message, &field),
            written.GetReflection()->GetMessage(written, same), origin,
            path + ".", origins);
    } else {
      (*origins)[path] = std::string(origin);
    }
  }
}

// "retry {", a line for each field, "}".
void Print(const pb::Message& message, const std::string& prefix,
           const EffectivePolicy& policy, int depth, std::string* text) {
  const std::string indent(static_cast<size_t>(depth) * 2, ' ');
  const pb::Reflection& r = *message.GetReflection();
  std::vector<const pb::FieldDescriptor*> fields;
  r.ListFields(message, &fields);
  const auto origin = [&](const std::string& path) -> std::string {
    const auto it = policy.origins.find(path);
    return it == policy.origins.end() ? "" : "  # " + it->second;
  };
  for (const pb::FieldDescriptor* field : fields) {
    const std::string path = prefix + field->name();
    if (!IsMessage(*field)) {
      const int n = field->is_repeated() ? r.FieldSize(message, field) : 1;
      for (int i = 0; i < n; ++i) {
        std::string value;
        pb::TextFormat::PrintFieldValueToString(
            message, field, field->is_repeated() ? i : -1, &value);
        absl::StrAppend(text, indent, field->name(), ": ", value, origin(path),
                        "\n");
      }
      continue;
    }
    const int n = field->is_repeated() ? r.FieldSize(message, field) : 1;
    for (int i = 0; i < n; ++i) {
      std::string share;
      if (depth == 0 && policy.index) {
        if (field->name() == "quota") {
          share = policy.own_quota ? "  # its own" : "  # shared with its host";
        } else if (field->name() == "endpoint") {
          share =
              policy.own_endpoint ? "  # its own" : "  # shared with its host";
        }
      }
      absl::StrAppend(text, indent, field->name(), " {",
                      field->is_repeated() ? origin(path) : share, "\n");
      Print(field->is_repeated() ? r.GetRepeatedMessage(message, field, i)
                                 : r.GetMessage(message, field),
            path + ".", policy, depth + 1, text);
      absl::StrAppend(text, indent, "}\n");
    }
  }
}

std::string JsonOf(const pb::Message& message) {
  std::string text;
  pb::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  (void)pb::util::MessageToJsonString(message, &text, options);
  return text;
}

}  // namespace

EffectivePolicy EffectivePolicyOf(const ConfigReading& reading,
                                  const CallRoute& route) {
  const PolicyTable table(reading.settings);
  const TargetPolicy& found = table.Find(route);
  EffectivePolicy effective;
  effective.own_quota = found.own_quota;
  effective.own_endpoint = found.own_endpoint;
  TargetPolicy all = found;
  all.own_quota = all.own_endpoint = true;
  effective.policy = TargetToProto(all);
  if (found.match.hosts.empty() && found.match.methods.empty() &&
      found.match.paths.empty() && found.match.rpcs.empty()) {
    effective.policy.clear_match();
  }
  Trace(effective.policy, reading.proto, "file", "", &effective.origins);
  for (int i = 0; i < reading.proto.targets_size(); ++i) {
    if (&found != &table.top() &&
        reading.proto.targets(i).name() == found.name) {
      effective.index = i;
      Trace(effective.policy, reading.proto.targets(i), "target", "",
            &effective.origins);
    }
  }
  return effective;
}

std::string EffectivePolicy::Text() const {
  std::string text =
      index ? absl::StrCat("# targets[", *index, "], \"", policy.name(), "\"\n")
            : "# The top level: no target matches.\n";
  Print(policy, "", *this, 0, &text);
  return text;
}

std::string EffectivePolicy::Json() const {
  pb::Struct from;
  for (const auto& [path, origin] : origins) {
    (*from.mutable_fields())[path].set_string_value(origin);
  }
  const auto boolean = [](bool b) { return b ? "true" : "false"; };
  // Names have no character that JSON would escape.
  return absl::StrCat(
      "{\"target\": ",
      index ? absl::StrCat("\"", policy.name(), "\"") : std::string("null"),
      ", \"index\": ", index ? absl::StrCat(*index) : std::string("null"),
      ", \"own_quota\": ", boolean(own_quota),
      ", \"own_endpoint\": ", boolean(own_endpoint),
      ", \"policy\": ", JsonOf(policy), ", \"from\": ", JsonOf(from), "}");
}

}  // namespace forbear::tools
