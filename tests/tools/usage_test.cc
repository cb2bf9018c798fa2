// What is said to wrong usage: exit code 2, and a message that names the option,
// its value and what would be right. Nothing on stdout.
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(UsageTest, Program) {
  ProgramResult result = RunForbear({});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("usage: forbear COMMAND"));

  result = RunForbear({"nonsense"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("no command 'nonsense'"));
  EXPECT_THAT(result.err, HasSubstr("demo"));

  for (const std::string help : {"--help", "-h", "help"}) {
    result = RunForbear({help});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_THAT(result.out, HasSubstr("load"));
  }
}

TEST(UsageTest, Help) {
  for (const std::string command : {"load", "demo", "config", "explain"}) {
    for (const std::string help : {"--help", "-h"}) {
      const ProgramResult result = RunForbear({command, help});
      EXPECT_EQ(result.exit_code, 0) << command;
      EXPECT_EQ(result.err, "");
      EXPECT_THAT(result.out, StartsWith("usage: forbear " + command));
    }
  }
}

struct Wrong {
  std::vector<std::string> args;
  std::vector<std::string> said;
};

void Check(const std::vector<std::string>& args,
           const std::vector<std::string>& said) {
  const ProgramResult result = RunForbear(args);
  const std::string shown = absl::StrJoin(args, " ");
  EXPECT_EQ(result.exit_code, 2) << shown;
  EXPECT_EQ(result.out, "") << shown;
  for (const std::string& part : said) {
    EXPECT_THAT(result.err, HasSubstr(part)) << shown;
  }
}

TEST(UsageTest, Demo) {
  const std::vector<Wrong> cases = {
      {{"--seed"}, {"--seed", "a number"}},
      {{"--seed", "x"}, {"--seed is 'x'", "a number"}},
      {{"--seed", "-1"}, {"--seed is '-1'"}},
      {{"--calls", "0"}, {"--calls is '0'", "1 to 100000"}},
      {{"--calls", "many"}, {"--calls is 'many'"}},
      {{"--nope"}, {"'--nope' is not understood", "usage: forbear demo"}},
  };
  for (Wrong wrong : cases) {
    wrong.args.insert(wrong.args.begin(), "demo");
    Check(wrong.args, wrong.said);
  }
}

TEST(UsageTest, LoadAlone) {
  const std::vector<Wrong> cases = {
      {{}, {"--url", "--grpc"}},
      {{"--url", "http://127.0.0.1:1/"}, {"--requests must be given"}},
      {{"--requests", "1"}, {"no server", "--url", "--grpc"}},
      {{"--url", "http://127.0.0.1:1/", "--grpc", "127.0.0.1:1", "--rpc",
        "/a/b", "--requests", "1"},
       {"--url and --grpc", "one of them"}},
      {{"--url", "ftp://x/", "--requests", "1"},
       {"--url is 'ftp://x/'", "http://"}},
      {{"--url", "http://", "--requests", "1"},
       {"--url is 'http://'", "libcurl cannot use"}},
      {{"--url", "http://a:b:c/", "--requests", "1"},
       {"--url is 'http://a:b:c/'", "libcurl cannot use"}},
      {{"--grpc", "127.0.0.1:1", "--requests", "1"},
       {"--rpc is ''", "/pkg.Service/Method"}},
      {{"--rpc", "/a/b", "--url", "http://127.0.0.1:1/", "--requests", "1"},
       {"--rpc goes with --grpc", "leave it out"}},
  };
  for (Wrong wrong : cases) {
    wrong.args.insert(wrong.args.begin(), "load");
    Check(wrong.args, wrong.said);
  }
}

TEST(UsageTest, LoadOptions) {
  const std::string folder = TempPath("folder-that-is-not");
  const std::string xml = TempPath("config.xml");
  WriteFile(xml, "");
  const std::vector<Wrong> cases = {
      {{"--requests", "0"}, {"--requests is '0'", "1 to 10000000"}},
      {{"--requests", "-3"}, {"--requests is '-3'"}},
      {{"--requests", "10000001"}, {"--requests is '10000001'"}},
      {{"--requests", "ten"}, {"--requests is 'ten'"}},
      {{"--workers", "0"}, {"--workers is '0'", "1 to 10000"}},
      {{"--workers", "10001"}, {"--workers is '10001'"}},
      {{"--workers", "2.5"}, {"--workers is '2.5'"}},
      {{"--deadline", "soon"}, {"--deadline is 'soon'", "250ms, 2s or 1m30s"}},
      {{"--deadline", "5"}, {"--deadline is '5'", "250ms, 2s or 1m30s"}},
      {{"--deadline", "-1s"}, {"--deadline is '-1s'", "250ms"}},
      {{"--deadline", "0"}, {"--deadline is 0", "at least"}},
      {{"--attempt-timeout", "1"}, {"--attempt-timeout is '1'", "250ms"}},
      {{"--attempt-timeout", "10us"},
       {"--attempt-timeout is 10us", "at least 1ms"}},
      {{"--method", ""}, {"--method is ''", "GET"}},
      {{"--method", "GET / HTTP/1.1\r\nX: y"},
       {"--method is 'GET / HTTP/1.1\\r\\nX: y'", "GET or POST"}},
      {{"--header", "nothing"}, {"--header 'nothing'", "colon"}},
      {{"--header", ": v"}, {"--header ': v'", "name"}},
      {{"--header", "a b: v"}, {"--header 'a b: v'", "name"}},
      {{"--header", "a: v\r\nb: w"}, {"--header 'a: v\\r\\nb: w'", "one line"}},
      {{"--body-file", folder}, {"--body-file " + folder, "No such file"}},
      {{"--body-file", ::testing::TempDir()},
       {"--body-file " + ::testing::TempDir(), "Is a directory"}},
      {{"--records", folder + "/r"}, {"--records " + folder, "No such file"}},
      {{"--records", ::testing::TempDir()}, {"--records", "Is a directory"}},
      {{"--config", folder + ".json"},
       {"--config " + folder, "cannot be read"}},
      {{"--config", xml}, {"--config " + xml, ".textproto", ".json"}},
      {{"--nope"}, {"--nope", "--help"}},
      {{"--url"}, {"--url", "argument", "--help"}},
      {{"-x"}, {"'x'", "--help"}},
      {{"extra"}, {"'extra'", "--help"}},
  };
  for (Wrong wrong : cases) {
    const std::vector<std::string> good = {
        "load", "--url", "http://127.0.0.1:1/", "--requests", "1"};
    wrong.args.insert(wrong.args.begin(), good.begin(), good.end());
    Check(wrong.args, wrong.said);
  }
}

// What gRPC would end the program for, and what it sets itself.
TEST(UsageTest, LoadGrpc) {
  const std::vector<Wrong> cases = {
      {{"--rpc", "Service/Method"}, {"--rpc is 'Service/Method'", "/pkg."}},
      {{"--rpc", "/Service"}, {"--rpc is '/Service'", "/pkg."}},
      {{"--rpc", "/a/b/c"}, {"--rpc is '/a/b/c'"}},
      {{"--rpc", "/a/"}, {"--rpc is '/a/'"}},
      {{"--rpc", "/a /b"}, {"--rpc is '/a /b'"}},
      {{"--method", "POST"}, {"--method goes with --url", "leave it out"}},
      {{"--header", "a b: v"}, {"--header 'a b: v'", "name"}},
      {{"--header", ":path: /x"}, {"--header ':path: /x'", "name"}},
      {{"--header", "a+b: v"}, {"--header 'a+b: v'", "name", "gRPC"}},
      {{"--header", "h\xc3\xa4: v"}, {"--header", "name"}},
      {{"--header", "GRPC-Timeout: 1S"}, {"gRPC's own"}},
      {{"--header", "Content-Type: text/plain"}, {"leave it out"}},
      {{"--header", "k: \xc3\xa4"}, {"--header 'k: \\303\\244'", "ASCII"}},
      {{"--header", "k-bin: ***"}, {"--header 'k-bin: ***'", "base64"}},
  };
  for (Wrong wrong : cases) {
    const std::vector<std::string> good = {
        "load", "--grpc", "127.0.0.1:1", "--rpc", "/a/b", "--requests", "1"};
    wrong.args.insert(wrong.args.begin(), good.begin(), good.end());
    Check(wrong.args, wrong.said);
  }
}

TEST(UsageTest, AFaultyConfigurationIsToldWhole) {
  const std::string text = TempPath("faulty.textproto");
  WriteFile(text,
            "retry { max_attempts: 0 max_elapsed: \"soon\" }\n"
            "quota { max_waiters: -1 }\n");
  const std::string json = TempPath("faulty.json");
  WriteFile(json, R"({"retry": {"max_attempts": 0, "max_elapsed": "soon"},
                      "quota": {"max_waiters": -1}, "speed": 3})");
  for (const std::string& path : {text, json}) {
    Check({"load", "--url", "http://127.0.0.1:1/", "--requests", "1",
           "--config", path},
          {"--config " + path, "retry.max_attempts", "retry.max_elapsed",
           "soon", "quota.max_waiters"});
  }
  Check({"load", "--url", "http://127.0.0.1:1/", "--requests", "1", "--config",
         json},
        {"speed"});
}

}  // namespace
}  // namespace forbear::testing
