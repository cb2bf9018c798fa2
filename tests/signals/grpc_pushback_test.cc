#include "signals/grpc_pushback.h"

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

// gRPC A6: "an ASCII signed 32-bit integer without needless zeros"; negative or
// unparseable: do not retry. What grpc 1.51.1 does otherwise is in the last
// column of the deviations below.
TEST(GrpcPushbackTest, A6) {
  struct Row {
    const char* value;
    int64_t ms;  // -1: no retry
  };
  for (const Row& r :
       {Row{"0", 0}, Row{"1", 1}, Row{"500", 500}, Row{"2000", 2000},
        Row{"2147483647", 2147483647}, Row{"2147483648", -1}, Row{"-1", -1},
        Row{"-0", -1}, Row{"", -1}, Row{"abc", -1}, Row{"1.5", -1},
        Row{"10ms", -1}, Row{"99999999999999999999", -1}, Row{"1e3", -1},
        Row{"0x10", -1}, Row{" ", -1}, Row{"１", -1}}) {
    const GrpcPushback p = ParseGrpcPushback(r.value);
    if (r.ms < 0) {
      EXPECT_FALSE(p.wait.has_value()) << r.value;
    } else {
      ASSERT_TRUE(p.wait.has_value()) << r.value;
      EXPECT_EQ(*p.wait, absl::Milliseconds(r.ms)) << r.value;
    }
  }
}

// Accepted by grpc 1.51.1 (measured: retried), refused by A6's text; of two
// readings the one with fewer sends.
TEST(GrpcPushbackTest, DeviationsFromGrpc) {
  for (const char* value : {"01", "+5", " 5", "5 ", "00", "2147483648"}) {
    EXPECT_FALSE(ParseGrpcPushback(value).wait.has_value()) << value;
  }
}

TEST(GrpcPushbackTest, EveryNumberAndNothingElse) {
  for (uint64_t i = 0; i < 200000; ++i) {
    const auto n =
        static_cast<int64_t>(MixRandom(5, i) >> (32 + i % 31));  // all lengths
    const std::optional<absl::Duration> wait =
        ParseGrpcPushback(absl::StrCat(n)).wait;
    ASSERT_EQ(wait.has_value(), n <= 2147483647) << n;
    if (wait) {
      ASSERT_EQ(*wait, absl::Milliseconds(n));
    }
    // One character changed: a number of its own, or nothing.
    std::string text = absl::StrCat(n);
    const auto at = static_cast<size_t>(MixRandom(6, i) % text.size());
    text[at] = static_cast<char>(MixRandom(7, i) % 256);
    const bool digits =
        text.find_first_not_of("0123456789") == std::string::npos;
    const bool zeros = text.size() > 1 && text[0] == '0';
    const bool fits =
        digits && text.size() <= 10 && std::stoll("0" + text) <= 2147483647;
    ASSERT_EQ(ParseGrpcPushback(text).wait.has_value(),
              digits && !zeros && fits)
        << text;
  }
}

}  // namespace
}  // namespace forbear
