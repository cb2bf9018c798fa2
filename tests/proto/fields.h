// The fields of a message type by reflection, so that no test can forget one.
//
//   std::vector<std::string> all = FieldsOf(*v1::Config::descriptor());
//   // "name", …, "retry.max_attempts", "retry.backoff.initial", …
//
// Thread rule: pure functions.
#ifndef FORBEAR_TESTS_PROTO_FIELDS_H_
#define FORBEAR_TESTS_PROTO_FIELDS_H_

#include <set>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace forbear::testing {

// The paths of all fields that are no messages, or messages of google.protobuf,
// in the order of declaration, but for the fields at the paths `without` and what is
// in them. Types must not contain themselves.
std::vector<std::string> FieldsOf(const google::protobuf::Descriptor& type,
                                  const std::set<std::string>& without = {});

// The field at a path of FieldsOf; null: there is none.
const google::protobuf::FieldDescriptor* FieldAt(
    const google::protobuf::Descriptor& type, const std::string& path);

// Adds the paths of those that are set in `message`.
void AddFieldsIn(const google::protobuf::Message& message,
                 std::set<std::string>* paths);

// The value at a path, as text format writes it; "" if it is not set. Only the last
// field on the path may be repeated.
std::string ValueAt(const google::protobuf::Message& message,
                    const std::string& path);

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_PROTO_FIELDS_H_
