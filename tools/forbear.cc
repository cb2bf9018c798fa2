// forbear: the command-line program. One subcommand per chore; each has --help.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tools/config.h"
#include "tools/demo.h"
#include "tools/explain.h"
#include "tools/load.h"
#include "tools/profile.h"

namespace {

constexpr char kUsage[] =
    "usage: forbear COMMAND [OPTIONS]\n"
    "\n"
    "commands:\n"
    "  demo    two usual retry loops and Forbear against one rate-limited,\n"
    "          flaky service, over HTTP and gRPC, on this machine\n"
    "  load    calls a server that is already there, through Forbear, and "
    "counts\n"
    "  config  checks a configuration file; shows what it says of a call\n"
    "  explain what would be decided for one answer, and why\n"
    "  profile what vendors' answers mean: lists, shows and checks profiles\n"
    "\n"
    "`forbear COMMAND --help` says more.\n";

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.empty()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (args[0] == "demo") {
    return forbear::tools::RunDemo({args.begin() + 1, args.end()});
  }
  if (args[0] == "load") {
    return forbear::tools::RunLoad({args.begin() + 1, args.end()});
  }
  if (args[0] == "config") {
    return forbear::tools::RunConfig({args.begin() + 1, args.end()});
  }
  if (args[0] == "explain") {
    return forbear::tools::RunExplain({args.begin() + 1, args.end()});
  }
  if (args[0] == "profile") {
    return forbear::tools::RunProfile({args.begin() + 1, args.end()});
  }
  std::fprintf(stderr, "forbear: there is no command '%s'\n\n%s",
               args[0].c_str(), kUsage);
  return 2;
}
