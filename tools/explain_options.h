// What `forbear explain` was asked to do.
//
//   ExplainOptions options;
//   if (std::optional<int> code = ParseExplainOptions(args, &options)) return *code;
//
// Thread rule: a value; ParseExplainOptions once, from main (getopt).
#ifndef FORBEAR_TOOLS_EXPLAIN_OPTIONS_H_
#define FORBEAR_TOOLS_EXPLAIN_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace forbear::tools {

struct ExplainOptions {
  using Field = std::pair<std::string, std::string>;

  // What came back. Of an HTTP call a status, a CURLcode or both; or a gRPC code.
  std::optional<int> http_status;
  std::vector<Field> headers;
  std::string body;
  std::optional<int> curl_code;
  std::optional<int64_t> bytes_sent;
  std::optional<int> grpc_status;
  std::vector<Field> trailers;

  // What was sent.
  std::string method;  // HTTP: empty is GET; gRPC: "/pkg.Service/Method"
  std::string host;    // chooses the target and the profile
  std::string path;
  bool idempotent = false;

  // Where the call stands.
  int attempt = 1;
  absl::Duration elapsed;
  absl::Duration deadline = absl::InfiniteDuration();
  // This machine's wall clock when the answer came. Absent: the real one.
  std::optional<int64_t> now;

  std::string config_path;
  std::string profile;
  bool json = false;
};

// Nothing: go on. Otherwise the exit code: 0 after --help, 2 after a message on
// stderr that says what is wrong.
std::optional<int> ParseExplainOptions(const std::vector<std::string>& args,
                                       ExplainOptions* options);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_EXPLAIN_OPTIONS_H_
