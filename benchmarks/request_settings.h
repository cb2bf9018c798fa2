// RequestSettings: how long a benchmark of requests takes, and what it leaves out: the
// two options that those of libcurl and gRPC have.
//
//   RequestSettings settings;
//   if (!settings.Parse("curl_bench", argc, argv)) return 2;
//
// Thread rule: a plain value.
#ifndef FORBEAR_BENCHMARKS_REQUEST_SETTINGS_H_
#define FORBEAR_BENCHMARKS_REQUEST_SETTINGS_H_

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace forbear::bench {

struct RequestSettings {
  bool quick = false;
  std::string filter;      // part of a name
  int64_t counted = 1000;  // requests under callgrind
  int rounds = 21;
  int64_t in_round = 500;  // requests of each case

  // False: an argument is none of ours, which was said on stderr.
  bool Parse(const char* program, int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      absl::string_view arg = argv[i];
      if (arg == "--quick") {
        quick = true;
        counted = 200;
        rounds = 7;
        in_round = 200;
      } else if (absl::ConsumePrefix(&arg, "--benchmark_filter=")) {
        filter = std::string(arg);
      } else {
        std::fprintf(stderr, "%s [--quick] [--benchmark_filter=WORD], not %s\n",
                     program, argv[i]);
        return false;
      }
    }
    return true;
  }
};

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_REQUEST_SETTINGS_H_
