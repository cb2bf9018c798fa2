// `forbear profile`: the vendor profiles that are built in, and those of a file.
#ifndef FORBEAR_TOOLS_PROFILE_H_
#define FORBEAR_TOOLS_PROFILE_H_

#include <string>
#include <vector>

namespace forbear::tools {

// Runs it with what follows `profile` and returns the process's exit code.
int RunProfile(const std::vector<std::string>& args);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_PROFILE_H_
