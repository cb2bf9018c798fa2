#include "runtime/nesting.h"

#include <thread>

#include "gtest/gtest.h"

namespace forbear {
namespace {

TEST(NestingTest, LevelsAreCountedAndSettledOneByOne) {
  const int outer = 0;
  const int inner = 0;
  EXPECT_FALSE(InsideAttempt::Any());
  {
    const InsideAttempt a(&outer);
    EXPECT_TRUE(InsideAttempt::Any());
    {
      const InsideAttempt b(&inner);
      InsideAttempt::Settle(&outer);  // is not the one that is running
      InsideAttempt::Settle(&inner);
      // The one around it may still be repeated.
      EXPECT_TRUE(InsideAttempt::Any());
    }
    EXPECT_TRUE(InsideAttempt::Any());
    InsideAttempt::Settle(&inner);
    EXPECT_TRUE(InsideAttempt::Any());
    InsideAttempt::Settle(&outer);
    EXPECT_FALSE(InsideAttempt::Any());
    {
      const InsideAttempt b(&inner);
      EXPECT_TRUE(InsideAttempt::Any());
    }
    EXPECT_FALSE(InsideAttempt::Any());
  }
  EXPECT_FALSE(InsideAttempt::Any());
  InsideAttempt::Settle(&outer);  // nobody is there: nothing
}

TEST(NestingTest, OtherThreadsAreOutside) {
  const int call = 0;
  const InsideAttempt inside(&call);
  bool other = true;
  std::thread([&] { other = InsideAttempt::Any(); }).join();
  EXPECT_FALSE(other);
  EXPECT_TRUE(InsideAttempt::Any());
}

}  // namespace
}  // namespace forbear
