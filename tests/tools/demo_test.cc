// forbear demo in small.
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tests/tools/program.h"

namespace forbear::testing {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using ::testing::HasSubstr;

TEST(DemoTest, Json) {
  const ProgramResult result =
      RunForbear({"demo", "--calls", "4", "--seed", "7", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  Struct object;
  ASSERT_TRUE(
      google::protobuf::util::JsonStringToMessage(result.out, &object).ok())
      << result.out;
  EXPECT_EQ(object.fields().size(), 2);
  EXPECT_EQ(object.fields().at("seed").number_value(), 7);

  std::set<std::string> clients;
  for (const Value& value : object.fields().at("rows").list_value().values()) {
    const auto& row = value.struct_value().fields();
    std::set<std::string> names;
    for (const auto& field : row) names.insert(field.first);
    ASSERT_EQ(names,
              (std::set<std::string>{"client", "protocol", "asked", "answered",
                                     "sends", "wasted", "wall_s"}));
    const std::string client =
        absl::StrCat(row.at("client").string_value(), "/",
                     row.at("protocol").string_value());
    EXPECT_TRUE(clients.insert(client).second) << client;
    const double answered = row.at("answered").number_value();
    EXPECT_EQ(row.at("asked").number_value(), 4) << client;
    EXPECT_LE(answered, 4) << client;
    EXPECT_GE(row.at("sends").number_value(), 4) << client;
    EXPECT_EQ(row.at("wasted").number_value(),
              row.at("sends").number_value() - answered)
        << client;
    EXPECT_GT(row.at("wall_s").number_value(), 0) << client;
    if (row.at("client").string_value() == "forbear") {
      EXPECT_EQ(answered, 4);
    }
  }
  EXPECT_EQ(clients, (std::set<std::string>{
                         "sleep-1/http", "exponential/http", "forbear/http",
                         "sleep-1/grpc", "exponential/grpc", "forbear/grpc"}));
}

TEST(DemoTest, Table) {
  ProgramOptions options;
  options.terminal = true;
  const ProgramResult result =
      RunForbear({"demo", "--calls", "4", "--seed", "7"}, options);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("4 POSTs"));
  EXPECT_THAT(result.out, HasSubstr("Seed 7."));
  EXPECT_THAT(result.out, HasSubstr("One call through Forbear"));
  EXPECT_THAT(result.err, HasSubstr("forbear/grpc"));
}

}  // namespace
}  // namespace forbear::testing
