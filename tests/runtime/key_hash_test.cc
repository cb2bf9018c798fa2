#include "runtime/key_hash.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/random.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

// Of memory of exactly its size, so that address sanitizer sees a byte too many.
uint64_t HashOf(const KeyHash& hash, absl::string_view text) {
  const std::vector<char> bytes(text.begin(), text.end());
  return hash({bytes.data(), bytes.size()});
}

TEST(KeyHashTest, DependsOnTextLengthAndSeed) {
  const KeyHash hash(1);
  EXPECT_EQ(HashOf(hash, "key"), HashOf(KeyHash(1), "key"));
  EXPECT_NE(HashOf(hash, "key"), HashOf(KeyHash(2), "key"));
  EXPECT_NE(HashOf(KeyHash::Random(), "key"), HashOf(KeyHash::Random(), "key"));
  std::set<uint64_t> zeros;
  for (size_t n = 0; n <= 200; ++n) {
    zeros.insert(HashOf(hash, std::string(n, '\0')));
  }
  EXPECT_EQ(zeros.size(), 201u);
  EXPECT_EQ(hash(absl::string_view()), hash(""));
}

// One bit more or less in the text, or in the seed, turns about half of the bits, each
// about as often as any other.
TEST(KeyHashTest, EachBitTurnsHalfOfAll) {
  for (size_t size = 1; size <= 100; ++size) {
    std::vector<int> turned(64);
    int runs = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      std::string text;
      for (size_t i = 0; i < size; ++i) {
        text += static_cast<char>(MixRandom(seed, i));
      }
      const KeyHash hash(MixRandom(seed, 1000));
      const uint64_t h = HashOf(hash, text);
      for (size_t bit = 0; bit < 8 * size; ++bit, ++runs) {
        text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
        uint64_t difference = h ^ HashOf(hash, text);
        ASSERT_NE(difference, 0u);
        for (int& t : turned) {
          t += static_cast<int>(difference & 1);
          difference >>= 1;
        }
        text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
      }
    }
    // Of 160 runs and more: five standard deviations.
    for (int t : turned) EXPECT_NEAR(2.0 * t / runs, 1, 0.4) << size;
  }
}

// What a table makes of it, by the lowest bits.
TEST(KeyHashTest, SpreadsHostNames) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const KeyHash hash(MixRandom(seed, 0));
    std::vector<int> slots(1024);
    for (int i = 0; i < 4096; ++i) {
      const uint64_t h =
          hash(absl::StrCat("api-", i, ".eu-west.example.com:443#0123456"));
      ++slots[h % slots.size()];
    }
    // Four on average, with a variance of four: chi squared over 1023 places.
    double sum = 0;
    for (int n : slots) sum += (n - 4.0) * (n - 4.0) / 4.0;
    EXPECT_NEAR(sum, 1023, 300);
  }
}

}  // namespace
}  // namespace forbear
