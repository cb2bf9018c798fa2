#include "core/outcome.h"

#include <tuple>

namespace forbear {

bool operator==(const Outcome& a, const Outcome& b) {
  const auto all = [](const Outcome& o) {
    return std::tie(o.kind, o.processed, o.committed, o.retry_forbidden,
                    o.timed_out, o.repeatable, o.pushback, o.pushback_source,
                    o.status, o.transport_error, o.bytes_sent,
                    o.bytes_received);
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
  }
  return "?";
}

}  // namespace forbear
