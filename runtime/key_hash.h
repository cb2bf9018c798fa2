// KeyHash: 64 bits of a short text, quickly: 40 bytes take 40 instructions, all of
// them inlined.
//
//   const KeyHash hash = KeyHash::Random();
//   const uint64_t h = hash("api.example.com:443");
//
// Each bit depends on all of the text. Which texts collide depends on the seed, and
// who does not know that cannot make such: multiplied are always two numbers with
// the seed in them. No cryptography; a hash is not to leave the process.
//
// Thread rule: a value; constant.
#ifndef FORBEAR_RUNTIME_KEY_HASH_H_
#define FORBEAR_RUNTIME_KEY_HASH_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"

namespace forbear {

class KeyHash {
 public:
  explicit constexpr KeyHash(uint64_t seed) : seed_(seed) {}
  // With a seed that nobody knows.
  static KeyHash Random();

  uint64_t operator()(absl::string_view key) const {
    const char* p = key.data();
    const size_t n = key.size();
    uint64_t h = seed_ + kOdd;
    uint64_t a = 0;
    uint64_t b = 0;
    if (n > 16) {
      // The last 16 bytes may overlap with those before them.
      const char* const last = p + n - 16;
      for (; p < last; p += 16) {
        h = Mix(Load<uint64_t>(p) ^ seed_, Load<uint64_t>(p + 8) ^ h);
      }
      a = Load<uint64_t>(last);
      b = Load<uint64_t>(last + 8);
    } else if (n >= 8) {
      a = Load<uint64_t>(p);
      b = Load<uint64_t>(p + n - 8);
    } else if (n >= 4) {
      a = Load<uint32_t>(p);
      b = Load<uint32_t>(p + n - 4);
    } else if (n > 0) {
      a = Load<uint8_t>(p);
      b = Load<uint8_t>(p + n / 2) << 8 | Load<uint8_t>(p + n - 1);
    }
    return Mix(Mix(a ^ seed_, b ^ h) ^ kOdd, h ^ n);
  }

 private:
  // The golden ratio's, as everybody takes it.
  static constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;

  static uint64_t Mix(uint64_t a, uint64_t b) {
    const absl::uint128 product = absl::uint128(a) * b;
    return absl::Uint128Low64(product) ^ absl::Uint128High64(product);
  }

  template <typename Number>
  static uint64_t Load(const char* p) {
    Number number;
    std::memcpy(&number, p, sizeof(number));
    return number;
  }

  uint64_t seed_;
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_KEY_HASH_H_
