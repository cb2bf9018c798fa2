// forbear demo: what usual retry loops and Forbear make of the same rate-limited,
// flaky service. The service is embedded (tests/testing/provider.h), and counts
// at its own door.
//
// Thread rule: call once, from main.
#ifndef FORBEAR_TOOLS_DEMO_H_
#define FORBEAR_TOOLS_DEMO_H_

#include <string>
#include <vector>

namespace forbear::tools {

// The program's exit code: 0 when every lane ran (answered or not), 1 when the
// service could not be started, 2 for wrong usage.
int RunDemo(const std::vector<std::string>& args);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_DEMO_H_
