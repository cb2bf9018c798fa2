// The forbear program, run as a user runs it.
//
//   const ProgramResult result = RunForbear({"load", "--help"});
//   EXPECT_EQ(result.exit_code, 0);
//   EXPECT_THAT(result.out, HasSubstr("--url"));
//
// Needs //tools:forbear in the test's data.
//
// Thread rule: call from anywhere.
#ifndef FORBEAR_TESTS_TOOLS_PROGRAM_H_
#define FORBEAR_TESTS_TOOLS_PROGRAM_H_

#include <string>
#include <vector>

namespace forbear::testing {

struct ProgramOptions {
  // "NAME=value"; variables FORBEAR_… of the test itself are not handed on.
  std::vector<std::string> environment;
  // stderr is a terminal. Its line ends become "\r\n", as terminals have them.
  bool terminal = false;
  // Where stdout goes instead of ProgramResult::out.
  std::string out_path;
};

struct ProgramResult {
  int exit_code = -1;  // -1: it was ended by a signal, or after a minute by us
  std::string out;
  std::string err;
};

ProgramResult RunForbear(const std::vector<std::string>& args,
                         const ProgramOptions& options = {});

// A path that no other test uses, in a directory that Bazel empties.
std::string TempPath(const std::string& name);
void WriteFile(const std::string& path, const std::string& text);
std::string ReadFile(const std::string& path);

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TOOLS_PROGRAM_H_
