// `forbear config`, as a user runs it.
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "proto/config_convert.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kFile[] = R"(name: "prod"
retry { max_attempts: 5 backoff { initial: "100ms" } }
endpoint { max_waiters: 9 }
targets {
  name: "chat"
  match { hosts: "api.example.com" methods: "POST" paths: "/v1/chat/*" }
  retry { attempt_timeout: "90s" backoff { jitter: NONE } }
  quota {}
}
targets {
  name: "catalog"
  match { rpcs: "/shop.Catalog/*" }
  retryable_codes: [UNAVAILABLE, ABORTED]
}
)";

constexpr char kServiceConfig[] = R"({
  "methodConfig": [{"name": [{"service": "shop.Catalog"}], "timeout": "2s"}],
  "loadBalancingConfig": []})";

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    WriteFile(good_, kFile);
    WriteFile(service_, kServiceConfig);
    WriteFile(bad_, "name: \"a b\"\nretry { max_attempts: 0 }\nspeed: 1\n");
  }

  ProgramResult Run(const std::vector<std::string>& args) {
    std::vector<std::string> all = {"config"};
    all.insert(all.end(), args.begin(), args.end());
    return RunForbear(all);
  }
  std::string Show(const std::vector<std::string>& args) {
    std::vector<std::string> all = {"show", good_};
    all.insert(all.end(), args.begin(), args.end());
    const ProgramResult result = Run(all);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }

  const std::string good_ = TempPath("good.textproto");
  const std::string service_ = TempPath("service.json");
  const std::string bad_ = TempPath("bad.textproto");
};

TEST_F(ConfigTest, CheckOfAFileThatIsRight) {
  ProgramResult result = Run({"check", good_});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out,
            good_ + ": a forbear.v1.Config without a fault, 2 targets\n");
  EXPECT_EQ(result.err, "");
  result = Run({"check", service_});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out,
            service_ +
                ": a gRPC service config without a fault, 1 target\n"
                "  note: loadBalancingConfig: gRPC's own, and not for "
                "Forbear\n");
}

TEST_F(ConfigTest, CheckTellsAllFaults) {
  const ProgramResult result = Run({"check", bad_});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out,
            bad_ +
                ": 3 faults:\n"
                "  line 3, column 6: Message type \"forbear.v1.Config\" has no "
                "field named \"speed\".\n"
                "  name has 3 bytes; it must be 1 … 64 of printable ASCII "
                "without blanks\n"
                "  retry.max_attempts is 0; it must be 1 … 100\n");
  EXPECT_EQ(result.err, "");
  // show says it too, where no program looks for a policy.
  const ProgramResult show = Run({"show", bad_, "--target", "h"});
  EXPECT_EQ(show.exit_code, 1);
  EXPECT_EQ(show.out, "");
  EXPECT_EQ(show.err, result.out);
}

TEST_F(ConfigTest, CheckAsJson) {
  for (const std::string& file : {good_, service_, bad_}) {
    const ProgramResult result = Run({"check", file, "--json"});
    google::protobuf::Struct json;
    ASSERT_TRUE(
        google::protobuf::util::JsonStringToMessage(result.out, &json).ok())
        << result.out;
    const auto& fields = json.fields();
    EXPECT_EQ(fields.at("file").string_value(), file);
    EXPECT_EQ(fields.at("faults").list_value().values_size(),
              file == bad_ ? 3 : 0);
    EXPECT_EQ(fields.at("notes").list_value().values_size(),
              file == service_ ? 1 : 0);
    EXPECT_EQ(fields.at("targets").number_value(),
              file == good_ ? 2 : (file == service_ ? 1 : 0));
    EXPECT_EQ(result.exit_code, file == bad_ ? 1 : 0);
  }
}

TEST_F(ConfigTest, ShowOfATarget) {
  const std::string text = Show({"--target", "API.example.com:443", "--method",
                                 "POST", "--path", "/v1/chat/x"});
  EXPECT_THAT(text, StartsWith("# targets[0], \"chat\"\n"
                               "name: \"chat\"  # target\n"
                               "match {\n"
                               "  hosts: \"api.example.com\"  # target\n"));
  EXPECT_THAT(text, HasSubstr("\n  max_attempts: 5  # file\n"));
  EXPECT_THAT(text, HasSubstr("\n  max_elapsed: \"1m\"\n"));
  EXPECT_THAT(text, HasSubstr("\n  attempt_timeout: \"1m30s\"  # target\n"));
  EXPECT_THAT(text, HasSubstr("\n    initial: \"100ms\"  # file\n"));
  EXPECT_THAT(text, HasSubstr("\n    max: \"20s\"\n"));
  EXPECT_THAT(text, HasSubstr("\n    jitter: NONE  # target\n"));
  EXPECT_THAT(text, HasSubstr("\nquota {  # its own\n"));
  EXPECT_THAT(text, HasSubstr("\nendpoint {  # shared with its host\n"));
  EXPECT_THAT(text, HasSubstr("\n  max_waiters: 9  # file\n"));
  // It is a textproto, and complete: as a target of its own it says the same.
  v1::Config config;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      text, config.add_targets()));
  const TargetPolicy again = ConfigFromProto(config).value().targets[0];
  EXPECT_EQ(TargetToProto(again).DebugString(),
            config.targets(0).DebugString());
  EXPECT_EQ(again.retry.attempt_timeout, absl::Seconds(90));
  EXPECT_EQ(again.retry.max_attempts, 5);
}

TEST_F(ConfigTest, ShowFindsTheTargetAsADriverDoes) {
  const std::string chat = "# targets[0], \"chat\"\n";
  const std::string catalog = "# targets[1], \"catalog\"\n";
  const std::string top = "# The top level: no target matches.\nname: \"prod\"";
  const std::string url = "https://u:p@api.example.com/v1/chat/x?key=1#f";
  EXPECT_THAT(Show({"--target", url, "--method", "POST"}), StartsWith(chat));
  EXPECT_THAT(Show({"--target", url}), StartsWith(top));
  EXPECT_THAT(Show({"--target", url, "--method", "POST", "--path", "/v2"}),
              StartsWith(top));
  EXPECT_THAT(Show({"--target", "example.com"}), StartsWith(top));
  for (const char* target : {"any", "any:50051", "dns:///any:50051"}) {
    EXPECT_THAT(Show({"--target", target, "--rpc", "/shop.Catalog/Get"}),
                StartsWith(catalog));
    EXPECT_THAT(Show({"--target", target, "--rpc", "/shop.Cart/Get"}),
                StartsWith(top));
  }
  EXPECT_THAT(Show({"--target", "any", "--rpc", "/shop.Catalog/Get"}),
              HasSubstr("\nretryable_codes: UNAVAILABLE  # target\n"
                        "retryable_codes: ABORTED  # target\n"));
  EXPECT_THAT(Show({"--target", "example.com"}), Not(HasSubstr("match {")));
}

TEST_F(ConfigTest, ShowAsJson) {
  const ProgramResult result = Run(
      {"show", good_, "--json", "--target", "h", "--rpc", "/shop.Catalog/Get"});
  ASSERT_EQ(result.exit_code, 0);
  google::protobuf::Struct json;
  ASSERT_TRUE(
      google::protobuf::util::JsonStringToMessage(result.out, &json).ok())
      << result.out;
  const auto& fields = json.fields();
  EXPECT_EQ(fields.at("target").string_value(), "catalog");
  EXPECT_EQ(fields.at("index").number_value(), 1);
  EXPECT_FALSE(fields.at("own_quota").bool_value());
  const auto& policy = fields.at("policy").struct_value().fields();
  const auto& retry = policy.at("retry").struct_value().fields();
  EXPECT_EQ(retry.at("max_attempts").number_value(), 5);
  const auto& from = fields.at("from").struct_value().fields();
  EXPECT_EQ(from.at("retry.max_attempts").string_value(), "file");
  EXPECT_EQ(from.at("retryable_codes").string_value(), "target");
  EXPECT_EQ(from.count("retry.max_elapsed"), 0u);
  // Without a target.
  const ProgramResult top = Run({"show", good_, "--json", "--target", "h"});
  EXPECT_THAT(top.out, StartsWith("{\"target\": null, \"index\": null, "));
  EXPECT_THAT(top.out, HasSubstr("\"name\":\"file\""));
}

TEST_F(ConfigTest, ShowOfAServiceConfig) {
  const ProgramResult result =
      Run({"show", service_, "--target", "h", "--rpc", "/shop.Catalog/Get"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, StartsWith("# targets[0], \"method-config-0\"\n"));
  EXPECT_THAT(result.out, HasSubstr("\n  call_timeout: \"2s\"  # target\n"));
}

TEST_F(ConfigTest, Help) {
  for (const std::string help : {"--help", "-h"}) {
    const ProgramResult result = Run({help});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_THAT(result.out, StartsWith("usage: forbear config check FILE"));
    EXPECT_THAT(result.out, HasSubstr("exit code"));
  }
}

TEST_F(ConfigTest, WrongUsage) {
  const std::string none = TempPath("none.json");
  const std::string yaml = TempPath("a.yaml");
  WriteFile(yaml, "");
  struct Case {
    std::vector<std::string> args;
    std::string said;
  };
  const std::vector<Case> cases = {
      {{}, "say what to do"},
      {{"lint", good_}, "'lint' is neither check nor show"},
      {{"check"}, "no file is named"},
      {{"check", good_, bad_}, "is one file too many"},
      {{"check", none}, none + ": cannot be read"},
      {{"check", yaml}, "ends in .textproto or .json"},
      {{"check", good_, "--target", "h"}, "go with show"},
      {{"show", good_}, "--target must be given"},
      {{"show", good_, "--target", "ftp://x/"}, "no http or https URL"},
      {{"show", good_, "--target", "h", "--path", "v1"}, "begin with /"},
      {{"show", good_, "--target", "h", "--method", "a b"}, "GET or POST"},
      {{"show", good_, "--target", "h", "--rpc", "x"}, "/pkg.Service/Method"},
      {{"show", good_, "--target", "h", "--rpc", "/a/b", "--path", "/"},
       "without --method and --path"},
      {{"show", good_, "--nope"}, "--nope"},
  };
  for (const Case& c : cases) {
    const ProgramResult result = Run(c.args);
    EXPECT_EQ(result.exit_code, 2) << absl::StrJoin(c.args, " ");
    EXPECT_EQ(result.out, "") << absl::StrJoin(c.args, " ");
    EXPECT_THAT(result.err, HasSubstr(c.said)) << absl::StrJoin(c.args, " ");
  }
}

}  // namespace
}  // namespace forbear::testing
