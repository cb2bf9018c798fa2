#include "signals/grpc_pushback.h"

#include <cstdint>
#include <limits>

namespace forbear {

GrpcPushback ParseGrpcPushback(absl::string_view value) {
  // Negative values and garbage mean the same, so only digits are read.
  if (value.empty() || (value.size() > 1 && value[0] == '0')) return {};
  int64_t ms = 0;
  for (const char c : value) {
    if (c < '0' || c > '9') return {};
    ms = ms * 10 + (c - '0');
    if (ms > std::numeric_limits<int32_t>::max()) return {};
  }
  return {absl::Milliseconds(ms)};
}

}  // namespace forbear
