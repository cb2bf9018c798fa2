#include "core/call_record.h"

#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace forbear {

CallRecord& CallRecord::operator=(CallRecord&&) noexcept = default;

// Bindings rather than names: a new member does not compile until it is here.

bool operator==(const AttemptRecord& a, const AttemptRecord& b) {
  const auto all = [](const AttemptRecord& r) {
    const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = r;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  };
  return all(a) == all(b);
}

bool operator==(const DispatchRecord& a, const DispatchRecord& b) {
  const auto all = [](const DispatchRecord& r) {
    const auto& [a, b, c, d, e, f, g] = r;
    return std::tie(a, b, c, d, e, f, g);
  };
  return all(a) == all(b);
}

bool operator==(const EventRecord& a, const EventRecord& b) {
  const auto all = [](const EventRecord& r) {
    const auto& [a, b, c] = r;
    return std::tie(a, b, c);
  };
  return all(a) == all(b);
}

bool operator==(const CallRecord& a, const CallRecord& b) {
  const auto all = [](const CallRecord& r) {
    const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, s, t] = r;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, s, t);
  };
  return all(a) == all(b);
}

absl::string_view ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kNone:
      return "none";
    case Protocol::kHttp:
      return "http";
    case Protocol::kGrpc:
      return "grpc";
  }
  return "?";
}

absl::string_view BudgetAnswerName(BudgetAnswer answer) {
  switch (answer) {
    case BudgetAnswer::kNotAsked:
      return "not-asked";
    case BudgetAnswer::kPaid:
      return "paid";
    case BudgetAnswer::kRefused:
      return "refused";
  }
  return "?";
}

absl::string_view EventName(EventRecord::What what) {
  switch (what) {
    case EventRecord::What::kSent:
      return "sent";
    case EventRecord::What::kHeadGood:
      return "head-good";
    case EventRecord::What::kHeadFailed:
      return "head-failed";
    case EventRecord::What::kHeadTold:
      return "head-told";
    case EventRecord::What::kEnd:
      return "end";
    case EventRecord::What::kAsk:
      return "ask";
    case EventRecord::What::kTimeUp:
      return "time-up";
    case EventRecord::What::kCancel:
      return "cancel";
  }
  return "?";
}

std::string FormatShort(absl::Duration d) {
  if (d == absl::InfiniteDuration() || d == -absl::InfiniteDuration()) {
    return absl::FormatDuration(d);
  }
  const absl::Duration size = absl::AbsDuration(d);
  absl::Duration unit = absl::Nanoseconds(1);
  if (size >= absl::Seconds(10)) {
    unit = absl::Milliseconds(100);
  } else if (size >= absl::Seconds(1)) {
    unit = absl::Milliseconds(10);
  } else if (size >= absl::Milliseconds(1)) {
    unit = absl::Microseconds(100);
  } else if (size >= absl::Microseconds(1)) {
    unit = absl::Microseconds(1);
  }
  return absl::FormatDuration(absl::Trunc(d, unit));
}

std::string FormatStatus(Protocol protocol, const Outcome& outcome) {
  if (outcome.transport_error != 0) {
    return absl::StrCat("curl error ", outcome.transport_error);
  }
  switch (protocol) {
    case Protocol::kHttp:
      return outcome.status == 0 ? "no answer"
                                 : absl::StrCat("HTTP ", outcome.status);
    case Protocol::kGrpc:
      return absl::StrCat("gRPC ", outcome.status);
    case Protocol::kNone:
      break;
  }
  return outcome.status == 0 ? "-" : absl::StrCat(outcome.status);
}

std::string FormatCallRecord(const CallRecord& record) {
  std::string text = absl::StrFormat(
      "%s %s: %s after %d attempt%s, %s", record.names.method(),
      record.names.target(), StopReasonName(record.stop_reason),
      record.total_attempts, record.total_attempts == 1 ? "" : "s",
      FormatShort(record.end - record.begin));
  if (record.retry_at) {
    absl::StrAppend(&text, ", retry_at +",
                    FormatShort(*record.retry_at - record.end));
  }
  text += "\n";
  const int dropped =
      record.total_attempts - static_cast<int>(record.attempts.size());
  if (dropped > 0) {
    absl::StrAppend(&text, "  (", dropped, " earlier attempts not kept)\n");
  }
  for (const AttemptRecord& a : record.attempts) {
    absl::StrAppendFormat(
        &text, "  %2d  at +%-8s after waiting %-8s (%s)  %s %s in %s", a.number,
        FormatShort(a.start - record.begin), FormatShort(a.waited),
        DelaySourceName(a.wait_source),
        FormatStatus(record.protocol, a.outcome), ErrorKindName(a.outcome.kind),
        FormatShort(a.end - a.start));
    if (a.outcome.pushback) {
      absl::StrAppend(&text, ", server asked for ",
                      FormatShort(*a.outcome.pushback));
    } else if (a.garbage_pushback) {
      absl::StrAppend(&text, ", server asked for an unbelievable wait");
    }
    if (a.outcome.resends > 0) {
      absl::StrAppend(&text, ", sent ", int{a.outcome.resends},
                      " more by the transport itself");
    }
    if (a.hedge) text += ", a hedge";
    if (a.lost) text += ", another one was first";
    text += "\n";
  }
  return text;
}

}  // namespace forbear
