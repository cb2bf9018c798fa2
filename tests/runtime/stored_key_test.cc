#include "runtime/stored_key.h"

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace forbear {
namespace {

// In memory of exactly its size, so that address sanitizer sees a byte too many.
class Exact {
 public:
  explicit Exact(absl::string_view text) : bytes_(text.begin(), text.end()) {}
  absl::string_view view() const { return {bytes_.data(), bytes_.size()}; }

 private:
  const std::vector<char> bytes_;
};

std::string TextOf(size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += static_cast<char>(i * 7 + size);
  return text;
}

constexpr size_t kMax = 130;

TEST(StoredKeyTest, IsWhatWasSetAndNothingElse) {
  for (size_t size = 0; size <= kMax; ++size) {
    std::string text = TextOf(size);
    StoredKey key;
    EXPECT_EQ(key.Is(Exact(text).view()), size == 0);
    key.Set(Exact(text).view());
    EXPECT_TRUE(key.Is(Exact(text).view())) << size;
    for (size_t i = 0; i < size; ++i) {
      for (int bit : {1, 128}) {
        text[i] = static_cast<char>(text[i] ^ bit);
        EXPECT_FALSE(key.Is(Exact(text).view())) << i << " of " << size;
        text[i] = static_cast<char>(text[i] ^ bit);
      }
    }
    for (size_t other = 0; other <= kMax; ++other) {
      std::string longer_or_shorter = text;
      longer_or_shorter.resize(other, '\0');
      EXPECT_EQ(key.Is(Exact(longer_or_shorter).view()), other == size);
    }
  }
}

TEST(StoredKeyTest, BecomesAnotherOne) {
  StoredKey key;
  for (size_t from = 0; from <= kMax; ++from) {
    for (size_t to = 0; to <= kMax; ++to) {
      key.Set(TextOf(from));
      key.Set(TextOf(to));
      ASSERT_TRUE(key.Is(TextOf(to)));
      ASSERT_EQ(key.Is(TextOf(from)), from == to);
    }
    key.Clear();
    ASSERT_TRUE(key.Is(""));
    ASSERT_EQ(key.Is(TextOf(from)), from == 0);
  }
}

}  // namespace
}  // namespace forbear
