#include "core/option_check.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

std::string Number(double value, double low, double high) {
  std::vector<std::string> faults;
  CheckNumber("a.b", value, low, high, &faults);
  return absl::StrJoin(faults, "|");
}

std::string Duration(absl::Duration value) {
  std::vector<std::string> faults;
  CheckDuration("a.b", value, absl::Milliseconds(1), absl::Seconds(2), &faults);
  return absl::StrJoin(faults, "|");
}

TEST(OptionCheckTest, BothEndsOfARangeAreInIt) {
  EXPECT_EQ(Number(1, 1, 3), "");
  EXPECT_EQ(Number(3, 1, 3), "");
  EXPECT_EQ(Duration(absl::Milliseconds(1)), "");
  EXPECT_EQ(Duration(absl::Seconds(2)), "");
}

TEST(OptionCheckTest, AFaultNamesTheFieldItsValueAndTheRange) {
  EXPECT_EQ(Number(3.5, 1, 3), "a.b is 3.5; it must be 1 … 3");
  EXPECT_EQ(Duration(absl::Seconds(3)), "a.b is 3s; it must be 1ms … 2s");
  EXPECT_EQ(Duration(absl::InfiniteDuration()),
            "a.b is inf; it must be 1ms … 2s");
}

// 1e+07 is what people ask back about.
TEST(OptionCheckTest, NumbersAreWrittenOut) {
  EXPECT_EQ(Number(0, 1, 10000000), "a.b is 0; it must be 1 … 10000000");
  EXPECT_EQ(PlainNumber(123456789), "123456789");
}

TEST(OptionCheckTest, WhatIsNoNumberIsNeverInARange) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Number(std::numeric_limits<double>::quiet_NaN(), -inf, inf),
            "a.b is nan; it must be -inf … inf");
  EXPECT_NE(Number(inf, 1, 3), "");
  EXPECT_NE(Number(-inf, 1, 3), "");
}

}  // namespace
}  // namespace forbear
