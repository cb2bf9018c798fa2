#include "core/outcome.h"

#include <tuple>

namespace forbear {

bool operator==(const Outcome& a, const Outcome& b) {
  // Bindings rather than names: a new member does not compile until it is here.
  const auto all = [](const Outcome& outcome) {
    const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = outcome;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  };
  return all(a) == all(b);
}

absl::string_view ErrorKindName(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kOk:
      return "ok";
    case ErrorKind::kTransient:
      return "transient";
    case ErrorKind::kThrottled:
      return "throttled";
    case ErrorKind::kPermanent:
      return "permanent";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kQuotaExhausted:
      return "quota-exhausted";
  }
  return "?";
}

absl::string_view ProcessedName(Processed processed) {
  switch (processed) {
    case Processed::kNo:
      return "no";
    case Processed::kUnknown:
      return "unknown";
    case Processed::kYes:
      return "yes";
  }
  return "?";
}

absl::string_view DelaySourceName(DelaySource source) {
  switch (source) {
    case DelaySource::kNone:
      return "none";
    case DelaySource::kBackoff:
      return "backoff";
    case DelaySource::kRetryAfter:
      return "retry-after";
    case DelaySource::kPushback:
      return "pushback";
    case DelaySource::kGate:
      return "gate";
    case DelaySource::kBreaker:
      return "breaker";
    case DelaySource::kQueue:
      return "queue";
    case DelaySource::kLimiter:
      return "limiter";
    case DelaySource::kRetryInfo:
      return "retry-info";
    case DelaySource::kRateLimit:
      return "rate-limit";
    case DelaySource::kBody:
      return "body";
    case DelaySource::kHedge:
      return "hedge";
  }
  return "?";
}

}  // namespace forbear
