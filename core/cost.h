// Cost: what a call takes from the limits of its key, as far as is known before
// it is sent, and Usage: what it really took, as far as the answer says.
//
//   Cost cost;                       // one request
//   cost.input_tokens = 1200;        // an estimate
//   cost.output_tokens = 500;
//   …the answer says more…
//   Usage usage;
//   usage.output_tokens = 82;        // input tokens: not said, the estimate stands
//
// Numbers below zero count as zero in a Cost, and as "not known" in a Usage:
// what a server says is data.
//
// Thread rule: values.
#ifndef FORBEAR_CORE_COST_H_
#define FORBEAR_CORE_COST_H_

#include <cstdint>

namespace forbear {

struct Cost {
  int64_t requests = 1;
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  // Of the application's own choice: credits, rows, points of a query.
  int64_t units = 0;

  friend bool operator==(const Cost& a, const Cost& b) {
    return a.requests == b.requests && a.input_tokens == b.input_tokens &&
           a.output_tokens == b.output_tokens && a.units == b.units;
  }
  friend bool operator!=(const Cost& a, const Cost& b) { return !(a == b); }
};

struct Usage {
  static constexpr int64_t kUnknown = -1;
  int64_t input_tokens = kUnknown;
  int64_t output_tokens = kUnknown;
  int64_t units = kUnknown;

  friend bool operator==(const Usage& a, const Usage& b) {
    return a.input_tokens == b.input_tokens &&
           a.output_tokens == b.output_tokens && a.units == b.units;
  }
  friend bool operator!=(const Usage& a, const Usage& b) { return !(a == b); }
};

}  // namespace forbear

#endif  // FORBEAR_CORE_COST_H_
