// `forbear config`: is a configuration file right, and what does it say of a call?
//
//   forbear config check forbear.textproto
//   forbear config show forbear.textproto --target api.example.com --path /v1/chat
//
// Thread rule: once, from main (getopt).
#ifndef FORBEAR_TOOLS_CONFIG_H_
#define FORBEAR_TOOLS_CONFIG_H_

#include <string>
#include <vector>

namespace forbear::tools {

// The arguments after "config". The program's exit code: 0 the file is right, 1 it has
// faults, 2 wrong usage, or it cannot be read.
int RunConfig(const std::vector<std::string>& args);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_CONFIG_H_
