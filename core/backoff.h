// Backoff: how long to wait before a retry when the server did not say.
//
// The n-th retry's ceiling is initial · multiplier^(n-1), at most `max`; the
// jitter says which part of it is waited:
//   kFull       U(0, ceiling): least work for the server and near-least time
//               (AWS retry 2.1; Brooker, "Exponential Backoff And Jitter").
//   kPlusMinus  ceiling · U(0.8, 1.2): gRPC A6 as of 2024.
//   kNone       the ceiling itself. For tests, and for a lone caller.
//
// A lone failure (the server's last answer before it was good) is not the beginning of
// an outage, most likely, and nobody is helped by waiting: then a small part of the
// first ceiling is enough.
//
//   BackoffOptions o;                       // 50 ms, ×2, ≤ 20 s, full jitter
//   absl::Duration d = BackoffDelay(o, /*retry=*/3, /*random=*/0.5);  // 100 ms
//
// Thread rule: values and pure functions; call from anywhere.
#ifndef FORBEAR_CORE_BACKOFF_H_
#define FORBEAR_CORE_BACKOFF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {

enum class Jitter : uint8_t { kFull, kPlusMinus, kNone };

struct BackoffOptions {
  // Ceiling of the first retry. Default 50 ms (AWS retry 2.1). 0 … 1 h.
  absl::Duration initial = absl::Milliseconds(50);
  // Growth per retry. Default 2. 1 … 100.
  double multiplier = 2.0;
  // No ceiling is higher. Default 20 s (AWS retry 2.1). initial … 24 h.
  absl::Duration max = absl::Seconds(20);
  Jitter jitter = Jitter::kFull;
  // Which part of the first retry's ceiling holds after a lone failure. Default 0.1
  // (our own: 5 ms). 0 … 1; 1: it makes no difference.
  double lone_part = 0.1;
};

// Appends a sentence for each fault, named `path`.field; nothing if valid.
void ValidateBackoff(const BackoffOptions& options, absl::string_view path,
                     std::vector<std::string>* faults);

// The delay before the `retry`-th retry (1, 2, …; less counts as 1).
// `random` is in [0, 1). `lone`: after a lone failure. Never negative; finite for
// every retry number.
// REQUIRES: options passed ValidateBackoff.
absl::Duration BackoffDelay(const BackoffOptions& options, int64_t retry,
                            double random, bool lone = false);

}  // namespace forbear

#endif  // FORBEAR_CORE_BACKOFF_H_
