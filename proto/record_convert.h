// Call records as protobuf and JSON: core/call_record.h to and from
// proto/record.proto.
//
//   out << RecordToJson(result.record) << "\n";         // one object, one line
//   absl::StatusOr<CallRecord> record = RecordFromJson(line);
//   if (record.ok()) …*record is what was written: core/replay.h takes it…
//
// Nothing is lost: RecordFromJson(RecordToJson(r)) equals r, if r is one that
// this library makes: no time below the nanosecond, a wall time in the years
// 1 … 9999 or none, names in UTF-8. Else durations are rounded up to a
// nanosecond (or become infinite beyond 10,000 years), dates are cut to that
// range, and bytes that are no UTF-8 become '?'.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_PROTO_RECORD_CONVERT_H_
#define FORBEAR_PROTO_RECORD_CONVERT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/call_record.h"
#include "proto/record.pb.h"

namespace forbear {

v1::CallRecord RecordToProto(const CallRecord& record);

// INVALID_ARGUMENT with every fault and its path: a value of an enum that this
// version does not know, a time out of range, more attempts than a record keeps.
absl::StatusOr<CallRecord> RecordFromProto(const v1::CallRecord& proto);

// Without a line break.
std::string RecordToJson(const CallRecord& record);

// INVALID_ARGUMENT also for what is not such an object, and for fields that this
// version does not know: a record is read whole or not at all.
absl::StatusOr<CallRecord> RecordFromJson(absl::string_view json);

}  // namespace forbear

#endif  // FORBEAR_PROTO_RECORD_CONVERT_H_
