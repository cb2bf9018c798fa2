#include "core/policy.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

std::string Faults(const Settings& settings) {
  std::vector<std::string> faults;
  ValidateSettings(settings, &faults);
  return absl::StrJoin(faults, "|");
}

TEST(PolicyTest, DefaultsAreValid) { EXPECT_EQ(Faults({}), ""); }

TEST(PolicyTest, Names) {
  Settings s;
  for (const std::string& name :
       {std::string("a"), std::string(64, 'n'), std::string("payments/eu-1")}) {
    s.name = name;
    EXPECT_EQ(Faults(s), "") << name;
  }
  // No byte of a name that is not for printing is printed.
  s.name = "two words";
  EXPECT_EQ(Faults(s),
            "name has 9 bytes; it must be 1 … 64 of printable ASCII without "
            "blanks");
  for (const std::string& name :
       {std::string(), std::string(65, 'n'), std::string("\t"),
        std::string("\x7f"), std::string("\xc3\xa4"), std::string(1, '\0')}) {
    s.name = name;
    EXPECT_EQ(Faults(s).find("name has "), 0u) << name.size();
  }
}

TEST(PolicyTest, HeadersOfIdempotencyKeys) {
  Settings s;
  for (const std::string& name :
       {std::string(), std::string("k"), std::string(64, 'k'),
        std::string("Idempotency-Key"), std::string("x~!#$%&'*+-.^_`|")}) {
    s.idempotency_header = name;
    EXPECT_EQ(Faults(s), "") << name;
  }
  for (const std::string& name :
       {std::string(65, 'k'), std::string("a b"), std::string("a:"),
        std::string("a\r\nb"), std::string("\xc3\xa4"), std::string("Cookie"),
        std::string("AUTHORIZATION"), std::string("host"),
        std::string("Content-Length"), std::string("transfer-encoding")}) {
    s.idempotency_header = name;
    EXPECT_EQ(Faults(s).find("idempotency_header is \""), 0u) << name;
    EXPECT_NE(Faults(s).find("it must be the name of an HTTP header"),
              std::string::npos);
  }
}

// Each part is looked at, and all faults are told at once.
TEST(PolicyTest, EveryPartIsChecked) {
  Settings s;
  s.name = "";
  s.retry.max_attempts = 0;
  s.retry.backoff.multiplier = 0;
  s.quota.max_waiters = 0;
  s.endpoint.max_waiters = 0;
  s.endpoint.breaker.min_calls = 0;
  s.endpoint.budget.capacity = 0;
  s.max_targets = 0;
  const std::string faults = Faults(s);
  for (const char* field :
       {"name has ", "retry.max_attempts is 0", "retry.backoff.multiplier is 0",
        "quota.max_waiters is 0", "endpoint.max_waiters is 0",
        "endpoint.breaker.min_calls is 0", "endpoint.budget.capacity is 0",
        "max_targets is 0; it must be 1 … 10000000"}) {
    EXPECT_NE(faults.find(field), std::string::npos)
        << field << " | " << faults;
  }
}

TEST(PolicyTest, TargetsUpToTheirBounds) {
  Settings s;
  for (int i = 0; i < Settings::kMaxTargets; ++i) {
    TargetPolicy target;
    target.name = absl::StrCat("t", i);
    target.match.hosts = {absl::StrCat("h", i, ".example.com")};
    s.targets.push_back(target);
  }
  EXPECT_EQ(Faults(s), "");
  s.targets[0].match.hosts = {"h1.example.com"};
  EXPECT_NE(Faults(s).find("ties with"), std::string::npos);
  s.targets[0].match.hosts = {"h0.example.com"};
  s.targets[0].name = std::string(64, 'n');
  EXPECT_EQ(Faults(s), "");
  s.targets[0].name = std::string(65, 'n');
  EXPECT_NE(Faults(s).find("targets[0].name is "), std::string::npos);
  s.targets.push_back(s.targets[1]);
  EXPECT_EQ(Faults(s), "targets' number is 1001; it must be 0 … 1000");
}

}  // namespace
}  // namespace forbear
