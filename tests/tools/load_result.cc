#include "tests/tools/load_result.h"

#include <algorithm>
#include <set>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "proto/record_convert.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

using google::protobuf::Struct;

double Number(const Struct& object, const std::string& name) {
  const auto it = object.fields().find(name);
  if (it == object.fields().end() || !it->second.has_number_value()) {
    ADD_FAILURE() << "no number " << name << " in " << object.DebugString();
    return 0;
  }
  return it->second.number_value();
}

std::set<std::string> Names(const Struct& object) {
  std::set<std::string> names;
  for (const auto& field : object.fields()) names.insert(field.first);
  return names;
}

}  // namespace

LoadSummary ParseSummary(const std::string& text) {
  LoadSummary summary;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_EQ(text.empty() ? 0 : text.back(), '\n') << text;
  Struct object;
  const auto status =
      google::protobuf::util::JsonStringToMessage(text, &object);
  EXPECT_TRUE(status.ok()) << status.ToString() << ": " << text;
  if (!status.ok()) return summary;
  EXPECT_EQ(Names(object), (std::set<std::string>{
                               "requests", "succeeded", "failed", "attempts",
                               "wall_s", "latency_ms", "stop_reasons"}));
  summary.requests = static_cast<int64_t>(Number(object, "requests"));
  summary.succeeded = static_cast<int64_t>(Number(object, "succeeded"));
  summary.failed = static_cast<int64_t>(Number(object, "failed"));
  summary.attempts = static_cast<int64_t>(Number(object, "attempts"));
  summary.wall_s = Number(object, "wall_s");
  const Struct& latency = object.fields().at("latency_ms").struct_value();
  EXPECT_EQ(Names(latency),
            (std::set<std::string>{"p50", "p95", "p99", "max"}));
  summary.p50_ms = Number(latency, "p50");
  summary.p95_ms = Number(latency, "p95");
  summary.p99_ms = Number(latency, "p99");
  summary.max_ms = Number(latency, "max");
  const Struct& reasons = object.fields().at("stop_reasons").struct_value();
  int64_t ended = 0;
  for (const std::string& name : Names(reasons)) {
    summary.stop_reasons[name] = static_cast<int64_t>(Number(reasons, name));
    ended += summary.stop_reasons[name];
  }
  EXPECT_EQ(summary.succeeded + summary.failed, summary.requests) << text;
  EXPECT_EQ(ended, summary.requests) << text;
  EXPECT_LE(summary.p50_ms, summary.p95_ms);
  EXPECT_LE(summary.p95_ms, summary.p99_ms);
  EXPECT_LE(summary.p99_ms, summary.max_ms);
  EXPECT_LE(summary.max_ms, summary.wall_s * 1000 + 1);
  return summary;
}

std::vector<CallRecord> ReadRecords(const std::string& path) {
  std::vector<CallRecord> records;
  const std::string text = ReadFile(path);
  for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    absl::StatusOr<CallRecord> record = RecordFromJson(line);
    EXPECT_TRUE(record.ok()) << record.status() << ": " << line;
    if (record.ok()) records.push_back(*std::move(record));
  }
  return records;
}

std::vector<int> StatusesOf(const std::vector<CallRecord>& records) {
  std::vector<int> statuses;
  for (const CallRecord& record : records) {
    for (const AttemptRecord& attempt : record.attempts) {
      // 0 is no HTTP status, and gRPC's OK.
      const int status = attempt.outcome.status;
      const bool none = status == 0 && record.protocol == Protocol::kHttp;
      statuses.push_back(none ? kNoAnswer : status);
    }
  }
  return statuses;
}

std::string Disagreement(const std::vector<CallRecord>& records,
                         std::vector<int> server, bool in_order) {
  std::string wrong;
  int64_t attempts = 0;
  for (const CallRecord& record : records) attempts += record.total_attempts;
  if (attempts != static_cast<int64_t>(server.size())) {
    absl::StrAppend(&wrong, "the records count ", attempts, " attempts, the ",
                    "server ", server.size(), "\n");
  }
  std::vector<int> mine = StatusesOf(records);
  if (!in_order) {
    std::sort(mine.begin(), mine.end());
    std::sort(server.begin(), server.end());
  }
  if (mine != server) {
    absl::StrAppend(&wrong, "the records have the answers\n",
                    absl::StrJoin(mine, " "), "\nand the server gave\n",
                    absl::StrJoin(server, " "), "\n");
  }
  return wrong;
}

}  // namespace forbear::testing
