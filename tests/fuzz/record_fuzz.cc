// A record as a line of JSON: RecordFromJson.

#include <string>

#include "absl/status/statusor.h"
#include "core/call_record.h"
#include "proto/record_convert.h"
#include "tests/fuzz/fuzz_target.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  const absl::StatusOr<CallRecord> record = RecordFromJson(input);
  if (!record.ok()) {
    Require(!record.status().message().empty(), "a fault has words");
    return false;
  }
  const std::string json = RecordToJson(*record);
  const absl::StatusOr<CallRecord> again = RecordFromJson(json);
  Require(again.ok() && RecordToJson(*again) == json, "a record reads back");
  return record->total_attempts > 5;
}

}  // namespace forbear::fuzz
