// Chance for the core: a number that the caller brings along, never a source.
//
// Every random choice of a call is a function of its seed and a counter, so a
// record that carries the seed can be replayed.
//
//   double u = UnitRandom(seed, 3);   // [0, 1), the same today and tomorrow
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_CORE_RANDOM_H_
#define FORBEAR_CORE_RANDOM_H_

#include <cstdint>

namespace forbear {

// SplitMix64 (Steele, Lea, Flood 2014): the counter-th value of the stream
// that `seed` names.
constexpr uint64_t MixRandom(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Uniform in [0, 1), 53 bits.
constexpr double UnitRandom(uint64_t seed, uint64_t counter) {
  return static_cast<double>(MixRandom(seed, counter) >> 11) * 0x1.0p-53;
}

}  // namespace forbear

#endif  // FORBEAR_CORE_RANDOM_H_
