// Dice: chance from a seed, and bytes that everybody knows.
//
//   Dice dice(seed);
//   if (dice.One(20)) …one in twenty…
//   absl::string_view body = KnownBytes(id, 1000);   // the same at both ends
//
// Thread rule: a Dice belongs to one thread; KnownBytes is a pure function.
#ifndef FORBEAR_TESTS_SOAK_DICE_H_
#define FORBEAR_TESTS_SOAK_DICE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/random.h"

namespace forbear::soak {

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}

  uint64_t Next() { return MixRandom(seed_, counter_++); }
  // 0 … n - 1. REQUIRES: n > 0.
  uint64_t Below(uint64_t n) { return Next() % n; }
  // Both included.
  int64_t Between(int64_t from, int64_t to) {
    return from + static_cast<int64_t>(Below(to - from + 1));
  }
  // True one time in n.
  bool One(uint64_t n) { return Below(n) == 0; }
  absl::Duration Millis(int64_t from, int64_t to) {
    return absl::Microseconds(Between(from * 1000, to * 1000));
  }

 private:
  const uint64_t seed_;
  uint64_t counter_ = 0;
};

inline constexpr size_t kMostBytes = 256 << 10;

// The first `n` of the bytes that belong to `id`. REQUIRES: n <= kMostBytes.
inline absl::string_view KnownBytes(uint64_t id, size_t n) {
  constexpr size_t kStarts = 65521;
  static const std::string* const table = [] {
    auto* const bytes = new std::string(kMostBytes + kStarts, '\0');
    for (size_t i = 0; i < bytes->size(); ++i) {
      (*bytes)[i] = static_cast<char>(MixRandom(7, i));
    }
    return bytes;
  }();
  return absl::string_view(*table).substr(id * 7919 % kStarts, n);
}

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_DICE_H_
