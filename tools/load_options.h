// What `forbear load` was asked to do.
//
//   LoadOptions options;
//   if (std::optional<int> code = ParseLoadOptions(args, &options)) return *code;
//
// Thread rule: a value; ParseLoadOptions once, from main (getopt).
#ifndef FORBEAR_TOOLS_LOAD_OPTIONS_H_
#define FORBEAR_TOOLS_LOAD_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace forbear::tools {

struct LoadOptions {
  struct Header {
    std::string name;   // gRPC: in lower case
    std::string value;  // gRPC, -bin: bytes
  };

  // HTTP, if it is not empty; else gRPC.
  std::string url;
  std::string method;  // empty: POST with a body, GET without

  std::string grpc_target;
  std::string rpc;  // "/pkg.Service/Method"

  std::vector<Header> headers;
  std::optional<std::string> body;
  bool idempotent = false;
  int requests = 0;
  int workers = 1;
  std::string config_path;
  absl::Duration deadline = absl::InfiniteDuration();
  absl::Duration attempt_timeout = absl::InfiniteDuration();
  std::string records_path;
  bool json = false;
};

// Nothing: go on. Otherwise the exit code: 0 after --help, 2 after a message on
// stderr that says what is wrong.
std::optional<int> ParseLoadOptions(const std::vector<std::string>& args,
                                    LoadOptions* options);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_LOAD_OPTIONS_H_
