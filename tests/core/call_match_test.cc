// CallMatch on its edges; what it decides is in policy_table_test.
#include "core/call_match.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

std::string Faults(const CallMatch& match) {
  std::vector<std::string> faults;
  ValidateCallMatch(match, "m", &faults);
  return absl::StrJoin(faults, "|");
}

TEST(CallMatchTest, TheLongestPattern) {
  CallMatch match;
  match.paths = {"/" + std::string(255, 'p')};
  EXPECT_EQ(Faults(match), "");
  match.paths = {"/" + std::string(256, 'p')};
  EXPECT_EQ(Faults(match),
            "m.paths[0] has 257 bytes; it must have at most 256");
}

TEST(CallMatchTest, RpcsStandAlone) {
  CallMatch match;
  match.rpcs = {"/p.S/M"};
  EXPECT_EQ(Faults(match), "");
  for (const bool path : {false, true}) {
    CallMatch both = match;
    (path ? both.paths : both.methods) = {path ? "/x" : "GET"};
    EXPECT_EQ(Faults(both).find("m has rpcs and also methods or paths"), 0u)
        << path;
  }
}

TEST(CallMatchTest, WhatIsNoRpc) {
  for (const char* rpc : {"/p.S/", "/p.*/M", "/*/M", "//M", "/p.S/M/N",
                          "/p.S/M*", "p.S/M", "/p.S", "**", "/p.S/M "}) {
    CallMatch match;
    match.rpcs = {rpc};
    EXPECT_EQ(Faults(match).find("m.rpcs[0] is "), 0u) << rpc;
  }
  for (const char* rpc : {"*", "/p.S/*", "/p.S/M", "/S/M"}) {
    CallMatch match;
    match.rpcs = {rpc};
    EXPECT_EQ(Faults(match), "") << rpc;
  }
}

}  // namespace
}  // namespace forbear
