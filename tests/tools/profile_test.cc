// `forbear profile`, run as a user runs it.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "signals/builtin_profiles.h"
#include "signals/vendor_profile.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

ProgramResult Run(std::vector<std::string> args) {
  args.insert(args.begin(), "profile");
  return RunForbear(args);
}

TEST(ProfileTest, Help) {
  for (const std::string help : {"--help", "-h"}) {
    const ProgramResult result = Run({help});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_THAT(result.out, StartsWith("usage: forbear profile list\n"));
  }
  EXPECT_EQ(Run({"check", "--help"}).exit_code, 0);
}

TEST(ProfileTest, List) {
  const ProgramResult result = Run({"list"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  size_t lines = 0;
  for (const char c : result.out) lines += c == '\n' ? 1 : 0;
  EXPECT_EQ(lines, BuiltinProfiles().size());
  EXPECT_THAT(result.out,
              HasSubstr("github        2026-11-22  api.github.com\n"));
  EXPECT_THAT(result.out, HasSubstr("generic       2026-11-22  -\n"));
}

// What is shown is a file, and says the same.
TEST(ProfileTest, Show) {
  for (const BuiltinProfile& file : BuiltinProfiles()) {
    const std::string id(file.name.substr(0, file.name.size() - 5));
    const ProgramResult result = Run({"show", id});
    EXPECT_EQ(result.exit_code, 0) << id;
    EXPECT_EQ(result.out, file.text) << id;
    EXPECT_EQ(result.err, "") << id;
  }
  const std::string path = TempPath("shown.json");
  WriteFile(path, Run({"show", "openai"}).out);
  const ProgramResult result = Run({"check", path});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out,
            absl::StrCat(path,
                         ": profile 'openai', 3 rules, 2 delays, 0 limits; "
                         "replaces the one that is built in\n"));
}

TEST(ProfileTest, Check) {
  const std::string good = TempPath("good.json");
  WriteFile(good, R"({"id":"shop","date":"2026-11-25",
      "sources":[{"tag":"D","what":"x"}]})");
  const std::string bad = TempPath("bad.json");
  WriteFile(bad, R"({"id":"A","date":"2026-11-25","colour":"red",
      "sources":[{"tag":"D","what":"x"}]})");
  const std::string none = TempPath("none.json");
  WriteFile(none, "nil");

  ProgramResult result = Run({"check", good});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(
      result.out,
      absl::StrCat(good, ": profile 'shop', 0 rules, 0 delays, 0 limits\n"));
  EXPECT_EQ(result.err, "");

  // A line for each fault; the other files are looked at as well.
  result = Run({"check", bad, good, none});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("profile 'shop'"));
  EXPECT_THAT(result.err,
              HasSubstr(absl::StrCat(bad, ": /id is \"A\"; it must")));
  EXPECT_THAT(result.err,
              HasSubstr(absl::StrCat("\n", bad, ": /colour is not known")));
  EXPECT_THAT(result.err, HasSubstr(absl::StrCat(
                              none, ": it is no JSON (RFC 8259): line 1")));
}

TEST(ProfileTest, WrongUsage) {
  const struct {
    std::vector<std::string> args;
    std::string said;
  } kRows[] = {
      {{}, "say list, show or check"},
      {{"nonsense"}, "'nonsense' is not understood"},
      {{"list", "x"}, "'x' is not understood"},
      {{"show"}, "show takes one ID"},
      {{"show", "a", "b"}, "show takes one ID"},
      {{"show", "nobody"},
       "there is no profile 'nobody'; there are anthropic, "},
      {{"check"}, "check takes a FILE"},
      {{"check", "/nowhere/x.json"}, "/nowhere/x.json cannot be read"},
  };
  for (const auto& row : kRows) {
    const ProgramResult result = Run(row.args);
    EXPECT_EQ(result.exit_code, 2) << row.said;
    EXPECT_EQ(result.out, "") << row.said;
    EXPECT_THAT(result.err, HasSubstr(row.said));
    EXPECT_THAT(result.err, HasSubstr("`forbear profile --help` says more."));
  }
}

}  // namespace
}  // namespace forbear::testing
