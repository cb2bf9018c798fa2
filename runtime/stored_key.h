// StoredKey: a text that is compared often and changed seldom. Up to 56 bytes are in
// itself; 16 to 48 are compared in a dozen loads, with no call and no branch.
//
//   StoredKey key;
//   key.Set("api.example.com:443");
//   if (key.Is(asked)) …
//
// Its size is a multiple of 4 bytes, and so is its alignment: the text begins 4 bytes
// behind its beginning.
//
// Thread rule: not thread-safe.
#ifndef FORBEAR_RUNTIME_STORED_KEY_H_
#define FORBEAR_RUNTIME_STORED_KEY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/base/attributes.h"
#include "absl/base/optimization.h"
#include "absl/strings/string_view.h"

namespace forbear {

class StoredKey {
 public:
  StoredKey() = default;
  ~StoredKey() { Clear(); }
  StoredKey(const StoredKey&) = delete;
  StoredKey& operator=(const StoredKey&) = delete;

  bool Is(absl::string_view key) const {
    const size_t n = key.size();
    if (ABSL_PREDICT_FALSE(size_ != n || n < 16 || n > 48)) {
      return IsUncommon(key);
    }
    // The first 16, the next 16 and the last 16 are all.
    const char* const a = bytes_;
    const char* const b = key.data();
    const size_t next = std::min<size_t>(n - 16, 16);
    return (Difference(a, b) | Difference(a + next, b + next) |
            Difference(a + n - 16, b + n - 16)) == 0;
  }

  void Set(absl::string_view key) {
    Clear();
    if (key.size() <= sizeof(bytes_)) {
      size_ = static_cast<uint32_t>(key.copy(bytes_, key.size()));
    } else {
      auto* const text = new std::string(key);
      std::memcpy(bytes_, &text, sizeof(void*));
      size_ = kLong;
    }
  }

  // Is the empty text; keeps no memory.
  void Clear() {
    if (size_ == kLong) delete Long();
    size_ = 0;
  }

 private:
  static constexpr uint32_t kLong = ~uint32_t{0};

  // Of 16 bytes; 0: none.
  static uint64_t Difference(const char* a, const char* b) {
    uint64_t x[2];
    uint64_t y[2];
    std::memcpy(x, a, sizeof(x));
    std::memcpy(y, b, sizeof(y));
    return (x[0] ^ y[0]) | (x[1] ^ y[1]);
  }

  ABSL_ATTRIBUTE_NOINLINE bool IsUncommon(absl::string_view key) const {
    return key == (size_ == kLong ? *Long() : absl::string_view(bytes_, size_));
  }

  const std::string* Long() const {
    const std::string* text;
    std::memcpy(&text, bytes_, sizeof(void*));
    return text;
  }

  uint32_t size_ = 0;
  char bytes_[56] = {};  // or, for kLong, a pointer that may be at an odd place
};

}  // namespace forbear

#endif  // FORBEAR_RUNTIME_STORED_KEY_H_
