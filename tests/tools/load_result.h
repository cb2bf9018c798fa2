// What `forbear load` says, read back, and held against what a server counted.
//
// Thread rule: values and pure functions.
#ifndef FORBEAR_TESTS_TOOLS_LOAD_RESULT_H_
#define FORBEAR_TESTS_TOOLS_LOAD_RESULT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/call_record.h"

namespace forbear::testing {

struct LoadSummary {
  int64_t requests = 0;
  int64_t succeeded = 0;
  int64_t failed = 0;
  int64_t attempts = 0;
  double wall_s = 0;
  double p50_ms = 0;
  double p95_ms = 0;
  double p99_ms = 0;
  double max_ms = 0;
  std::map<std::string, int64_t> stop_reasons;
};

// Fails the test unless `text` is one line with one JSON object that has exactly
// the fields of the manual, and they fit together.
LoadSummary ParseSummary(const std::string& text);

// The records of a file. Fails the test at a line that is none.
std::vector<CallRecord> ReadRecords(const std::string& path);

// No answer: as Arrival::kNoStatus.
constexpr int kNoAnswer = -1;

// What each attempt of the records ended with, in their order.
std::vector<int> StatusesOf(const std::vector<CallRecord>& records);

// How records and server disagree on sends and their answers; empty: they agree.
// `in_order`: also on which came when, which one worker alone can say.
std::string Disagreement(const std::vector<CallRecord>& records,
                         std::vector<int> server, bool in_order);

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TOOLS_LOAD_RESULT_H_
