// forbear load: the library as a client of a server that is already there.
//
// Thread rule: call once, from main.
#ifndef FORBEAR_TOOLS_LOAD_H_
#define FORBEAR_TOOLS_LOAD_H_

#include <string>
#include <vector>

namespace forbear::tools {

// The program's exit code: 0 all calls succeeded, 1 not all, 2 wrong usage.
int RunLoad(const std::vector<std::string>& args);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_LOAD_H_
