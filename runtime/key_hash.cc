#include "runtime/key_hash.h"

#include <random>

namespace forbear {

KeyHash KeyHash::Random() {
  std::random_device device;
  const uint64_t high = device();
  return KeyHash(high << 32 | device());
}

}  // namespace forbear
