#include "core/retry_budget.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

BudgetOptions Capacity(int capacity) {
  BudgetOptions o;
  o.capacity = capacity;
  return o;
}

// AWS retry 2.1, as its implementations test it (smithy-rs
// rust-runtime/aws-smithy-runtime/src/client/retries, botocore
// tests/unit/retries/test_standard_retry_v2_1.py).
TEST(RetryBudgetTest, AwsSequences) {
  {  // eventual success: 500, 486, 472, and the last cost comes back
    RetryBudget b(Capacity(500));
    EXPECT_TRUE(b.Withdraw(14));
    EXPECT_EQ(b.level(), 486);
    EXPECT_TRUE(b.Withdraw(14));
    EXPECT_EQ(b.level(), 472);
    b.Deposit(14);
    EXPECT_EQ(b.level(), 486);
  }
  {  // quota reached after one retry
    RetryBudget b(Capacity(14));
    EXPECT_TRUE(b.Withdraw(14));
    EXPECT_FALSE(b.Withdraw(14));
    EXPECT_EQ(b.level(), 0);
  }
  {  // a remainder smaller than the cost is not spent (aws-c-io does; we do not)
    RetryBudget b(Capacity(20));
    EXPECT_TRUE(b.Withdraw(14));
    EXPECT_FALSE(b.Withdraw(14));
    EXPECT_EQ(b.level(), 6);
    EXPECT_TRUE(b.Withdraw(5));
    EXPECT_EQ(b.level(), 1);
  }
  {  // throttling: 495, then full again
    RetryBudget b(Capacity(500));
    EXPECT_TRUE(b.Withdraw(5));
    EXPECT_EQ(b.level(), 495);
    b.Deposit(5);
    EXPECT_EQ(b.level(), 500);
  }
}

TEST(RetryBudgetTest, AnOutageGetsThirtyFiveRetries) {
  RetryBudget b(BudgetOptions{});
  int retries = 0;
  while (b.Withdraw(14)) ++retries;
  EXPECT_EQ(retries, 35);
  // … and then one for fourteen clean successes.
  for (int i = 0; i < 4; ++i) b.Deposit(1);
  EXPECT_EQ(b.level(), 14);
  EXPECT_TRUE(b.Withdraw(14));
  for (int i = 0; i < 13; ++i) b.Deposit(1);
  EXPECT_FALSE(b.Withdraw(14));
  b.Deposit(1);
  EXPECT_TRUE(b.Withdraw(14));
}

TEST(RetryBudgetTest, OffGrantsEverythingAndKeepsNothing) {
  BudgetOptions o = Capacity(1);
  o.transient_cost = 1;
  o.throttled_cost = 1;
  o.enabled = false;
  RetryBudget b(o);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(b.Withdraw(14));
  EXPECT_EQ(b.level(), 1);
}

TEST(RetryBudgetTest, ExactAndBoundedAgainstATwin) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    uint64_t n = 0;
    const int capacity =
        1 + static_cast<int>(UnitRandom(seed, n++) * (seed % 2 ? 50 : 1000000));
    RetryBudget b(Capacity(capacity));
    int64_t twin = capacity;
    for (int i = 0; i < 500; ++i) {
      const int amount =
          static_cast<int>(UnitRandom(seed, n++) * capacity * 1.2);
      if (UnitRandom(seed, n++) < 0.5) {
        const bool enough = twin >= amount;
        ASSERT_EQ(b.Withdraw(amount), enough);
        if (enough) twin -= amount;
      } else {
        b.Deposit(amount);
        twin = std::min<int64_t>(capacity, twin + amount);
      }
      ASSERT_EQ(b.level(), twin);
    }
    b.Deposit(2147483647);
    ASSERT_EQ(b.level(), capacity);
  }
}

TEST(RetryBudgetTest, OptionsOutOfRangeAreRefusedWithTheirPath) {
  const auto faults = [](const BudgetOptions& o) {
    std::vector<std::string> all;
    ValidateBudget(o, "b", &all);
    return absl::StrJoin(all, "|");
  };
  EXPECT_EQ(faults({}), "");
  for (int v : {0, -1, 1000001}) {
    BudgetOptions o;
    o.capacity = v;
    EXPECT_NE(faults(o).find("b.capacity is "), std::string::npos) << v;
  }
  for (int v : {-1, 501}) {
    BudgetOptions o;
    o.transient_cost = v;
    EXPECT_EQ(faults(o).find("b.transient_cost is "), 0u) << v;
    BudgetOptions t;
    t.throttled_cost = v;
    EXPECT_EQ(faults(t).find("b.throttled_cost is "), 0u) << v;
  }
}

}  // namespace
}  // namespace forbear
