#include "proto/record_convert.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/json_util.h"
#include "proto/status_name.h"

namespace forbear {
namespace {

using DurationProto = google::protobuf::Duration;
using TimestampProto = google::protobuf::Timestamp;

constexpr int64_t kNanos = 1000000000;
// What a google.protobuf.Duration may hold; here: infinite.
constexpr int64_t kInfiniteSeconds = 315576000000;
// Of a google.protobuf.Timestamp: 0001-01-01 and the end of 9999-12-31.
constexpr int64_t kFirstSecond = -62135596800;
constexpr int64_t kLastSecond = 253402300799;

void SetInfinite(bool past, DurationProto* to) {
  to->set_seconds(past ? -kInfiniteSeconds : kInfiniteSeconds);
}

// Exact, whatever the two are: the difference of two 64-bit numbers of
// nanoseconds is no more than 600 years.
void SetTime(MonotonicTime time, MonotonicTime zero, DurationProto* to) {
  if (time.is_infinite() || time == MonotonicTime::InfinitePast()) {
    SetInfinite(!time.is_infinite(), to);
    return;
  }
  int64_t seconds = time.nanos() / kNanos - zero.nanos() / kNanos;
  int64_t nanos = time.nanos() % kNanos - zero.nanos() % kNanos;
  seconds += nanos / kNanos;
  nanos %= kNanos;
  if (seconds > 0 && nanos < 0) {
    --seconds;
    nanos += kNanos;
  } else if (seconds < 0 && nanos > 0) {
    ++seconds;
    nanos -= kNanos;
  }
  to->set_seconds(seconds);
  to->set_nanos(static_cast<int32_t>(nanos));
}

void SetDuration(absl::Duration d, DurationProto* to) {
  if (d >= absl::Seconds(kInfiniteSeconds) ||
      d <= -absl::Seconds(kInfiniteSeconds)) {
    SetInfinite(d < absl::ZeroDuration(), to);
    return;
  }
  absl::Duration rest = absl::Ceil(d, absl::Nanoseconds(1));
  to->set_seconds(absl::IDivDuration(rest, absl::Seconds(1), &rest));
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
}

void SetWall(absl::Time time, TimestampProto* to) {
  const int64_t seconds = absl::ToUnixSeconds(time);  // saturates, rounds down
  if (seconds < kFirstSecond) {
    to->set_seconds(kFirstSecond);
    return;
  }
  if (seconds > kLastSecond) {
    to->set_seconds(kLastSecond);
    to->set_nanos(static_cast<int32_t>(kNanos - 1));
    return;
  }
  to->set_seconds(seconds);
  to->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

// How many bytes of valid UTF-8 `text` begins with, as one character; 0: none.
size_t CharacterLength(absl::string_view text) {
  const auto at = [text](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = at(0);
  if (first < 0x80) return 1;
  size_t length = 0;
  unsigned low = 0x80;
  unsigned high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  if (at(1) < low || at(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (at(i) < 0x80 || at(i) > 0xBF) return 0;
  }
  return length;
}

std::string Utf8(std::string text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = CharacterLength(absl::string_view(text).substr(i));
    if (length == 0) text[i] = '?';
    i += length == 0 ? 1 : length;
  }
  return text;
}

// The numbers of the enums are the same on both sides; a test compares all
// their names.
template <typename To, typename From>
To Same(From from) {
  return static_cast<To>(static_cast<int>(from));
}

void AttemptToProto(const AttemptRecord& from, const CallRecord& call,
                    v1::Attempt* to) {
  const Outcome& o = from.outcome;
  to->set_number(from.number);
  SetTime(from.start, call.begin, to->mutable_start());
  SetDuration(from.waited, to->mutable_waited());
  if (from.wait_source != DelaySource::kNone) {
    to->set_wait_source(Same<v1::Delay::Source>(from.wait_source));
  }
  to->set_kind(Same<v1::Error::Kind>(o.kind));
  switch (call.protocol) {
    case Protocol::kHttp:
      if (o.status != 0) to->set_http_status(o.status);
      break;
    case Protocol::kGrpc:
      if (o.status != 0 || o.kind == ErrorKind::kOk) {
        to->set_grpc_code(o.status);
        const absl::string_view name = GrpcCodeName(o.status);
        if (!name.empty()) to->set_grpc_code_name(std::string(name));
      }
      break;
    case Protocol::kNone:
      if (o.status != 0) to->set_status(o.status);
      break;
  }
  if (o.transport_error != 0) {
    to->set_curl_code(o.transport_error);
    const absl::string_view name = CurlCodeName(o.transport_error);
    if (!name.empty()) to->set_curl_code_name(std::string(name));
  }
  if (from.head) SetTime(*from.head, call.begin, to->mutable_head());
  SetTime(from.end, call.begin, to->mutable_end());
  to->set_processed(Same<v1::Processed::Answer>(o.processed));
  if (o.pushback) SetDuration(*o.pushback, to->mutable_server_delay());
  if (o.pushback_source != DelaySource::kNone) {
    to->set_server_delay_source(Same<v1::Delay::Source>(o.pushback_source));
  }
  if (from.garbage_pushback) to->set_garbage_delay(true);
  if (o.committed) to->set_committed(true);
  if (o.retry_forbidden) to->set_retry_forbidden(true);
  if (o.retry_wanted) to->set_retry_wanted(true);
  if (o.timed_out) to->set_timed_out(true);
  if (o.shed) to->set_shed(true);
  if (o.repeatable) to->set_repeatable(true);
  if (!from.replayable) to->set_not_replayable(true);
  if (o.resends != 0) to->set_resends(o.resends);
  if (o.bytes_sent != 0) to->set_bytes_sent(o.bytes_sent);
  if (o.bytes_received != 0) to->set_bytes_received(o.bytes_received);
  if (from.not_before) {
    SetTime(*from.not_before, call.begin, to->mutable_not_before());
  }
  if (from.not_before_source != DelaySource::kNone) {
    to->set_not_before_source(Same<v1::Delay::Source>(from.not_before_source));
  }
  if (from.budget != BudgetAnswer::kNotAsked) {
    to->set_budget(Same<v1::Budget::Answer>(from.budget));
  }
  if (from.budget_cost != 0) to->set_budget_cost(from.budget_cost);
  if (from.lone) to->set_lone(true);
  if (from.hedge) to->set_hedge(true);
  if (from.lost) to->set_lost(true);
  if (o.usage.known()) {
    v1::Usage* const usage = to->mutable_usage();
    const auto set = [usage](int64_t value, void (v1::Usage::*field)(int64_t)) {
      if (value != Usage::kUnknown) (usage->*field)(value);
    };
    set(o.usage.input_tokens, &v1::Usage::set_input_tokens);
    set(o.usage.output_tokens, &v1::Usage::set_output_tokens);
    set(o.usage.units, &v1::Usage::set_units);
  }
}

void DispatchToProto(const DispatchRecord& from, const CallRecord& call,
                     v1::Dispatch* to) {
  SetTime(from.at, call.begin, to->mutable_at());
  to->set_verdict(Same<v1::Verdict::Kind>(from.verdict));
  // What goes without saying: "now" for a go, "when woken" for a wait.
  const MonotonicTime usual =
      from.verdict == Verdict::kGo ? from.at : MonotonicTime::Infinite();
  if (from.until != usual) {
    SetTime(from.until, call.begin, to->mutable_until());
  }
  if (from.source != DelaySource::kNone) {
    to->set_source(Same<v1::Delay::Source>(from.source));
  }
  if (from.holder != Holder::kNowhere) {
    to->set_holder(Same<v1::Holder::Kind>(from.holder));
  }
  if (from.reason != StopReason::kNone) {
    to->set_reason(Same<v1::Stop::Reason>(from.reason));
  }
  if (from.hedge) to->set_hedge(true);
}

void EventToProto(const EventRecord& from, const CallRecord& call,
                  v1::Event* to) {
  to->set_what(Same<v1::Event::What>(from.what));
  if (from.attempt != 0) to->set_attempt(from.attempt);
  SetTime(from.at, call.begin, to->mutable_at());
}

// Reads one message and collects what is wrong with it.
class Reader {
 public:
  explicit Reader(std::vector<std::string>* faults) : faults_(*faults) {}

  void SetPath(std::string path) { path_ = std::move(path); }

  template <typename... Parts>
  void Fault(absl::string_view field, const Parts&... parts) {
    faults_.push_back(absl::StrCat(path_, field, " ", parts...));
  }

  template <typename Core, typename Proto>
  Core Enum(absl::string_view field, Proto value, bool known) {
    if (!known) {
      Fault(field, "is ", static_cast<int>(value),
            ", which this version does not know");
      return Core{};
    }
    return static_cast<Core>(static_cast<int>(value));
  }

  bool IsValid(absl::string_view field, const DurationProto& d) {
    const int64_t s = d.seconds();
    const int32_t n = d.nanos();
    if (s >= -kInfiniteSeconds && s <= kInfiniteSeconds && n > -kNanos &&
        n < kNanos && !(s > 0 && n < 0) && !(s < 0 && n > 0)) {
      return true;
    }
    Fault(field, "is no valid duration");
    return false;
  }

  MonotonicTime Time(absl::string_view field, const DurationProto& d,
                     MonotonicTime zero) {
    if (!IsValid(field, d)) return zero;
    if (d.seconds() == kInfiniteSeconds) return MonotonicTime::Infinite();
    if (d.seconds() == -kInfiniteSeconds) return MonotonicTime::InfinitePast();
    // Neither can overflow; what they make together may.
    const int64_t seconds = d.seconds() + zero.nanos() / kNanos;
    const int64_t nanos = d.nanos() + zero.nanos() % kNanos;
    // Toward one sign, so that a sum near the limit does not overflow on its way.
    int64_t whole = seconds + nanos / kNanos;
    int64_t part = nanos % kNanos;
    if (whole > 0 && part < 0) {
      --whole;
      part += kNanos;
    } else if (whole < 0 && part > 0) {
      ++whole;
      part -= kNanos;
    }
    int64_t sum;
    if (__builtin_mul_overflow(whole, kNanos, &sum) ||
        __builtin_add_overflow(sum, part, &sum)) {
      Fault(field, "is beyond what a clock can show");
      return zero;
    }
    return MonotonicTime::FromNanos(sum);
  }

  absl::Duration Duration(absl::string_view field, const DurationProto& d) {
    if (!IsValid(field, d)) return absl::ZeroDuration();
    if (d.seconds() == kInfiniteSeconds) return absl::InfiniteDuration();
    if (d.seconds() == -kInfiniteSeconds) return -absl::InfiniteDuration();
    return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
  }

  absl::Time Wall(absl::string_view field, const TimestampProto& t) {
    if (t.seconds() < kFirstSecond || t.seconds() > kLastSecond ||
        t.nanos() < 0 || t.nanos() >= kNanos) {
      Fault(field, "is no valid date");
      return absl::InfinitePast();
    }
    return absl::FromUnixSeconds(t.seconds()) + absl::Nanoseconds(t.nanos());
  }

 private:
  std::vector<std::string>& faults_;
  std::string path_;
};

// The field's name, its value, and whether the value is known.
#define FORBEAR_ENUM(message, field, type) \
#field, (message).field(), v1::type##_IsValid((message).field())

DelaySource ToSource(Reader* reader, absl::string_view field,
                     v1::Delay::Source source) {
  return reader->Enum<DelaySource>(field, source,
                                   v1::Delay::Source_IsValid(source));
}

AttemptRecord AttemptFromProto(const v1::Attempt& from, const CallRecord& call,
                               Reader* reader) {
  AttemptRecord to;
  Outcome& o = to.outcome;
  to.number = from.number();
  to.start = reader->Time("start", from.start(), call.begin);
  to.waited = reader->Duration("waited", from.waited());
  to.wait_source = ToSource(reader, "wait_source", from.wait_source());
  o.kind = reader->Enum<ErrorKind>(FORBEAR_ENUM(from, kind, Error::Kind));
  if ((from.has_http_status() && call.protocol != Protocol::kHttp) ||
      (from.has_grpc_code() && call.protocol != Protocol::kGrpc) ||
      (from.has_status() && call.protocol != Protocol::kNone)) {
    reader->Fault("has a status", "of another protocol than the call's, ",
                  ProtocolName(call.protocol));
  }
  o.status = call.protocol == Protocol::kHttp   ? from.http_status()
             : call.protocol == Protocol::kGrpc ? from.grpc_code()
                                                : from.status();
  o.transport_error = from.curl_code();
  if (from.has_head()) {
    to.head = reader->Time("head", from.head(), call.begin);
  }
  to.end = reader->Time("end", from.end(), call.begin);
  if (from.has_processed()) {
    o.processed = reader->Enum<Processed>(
        FORBEAR_ENUM(from, processed, Processed::Answer));
  }
  if (from.has_server_delay()) {
    o.pushback = reader->Duration("server_delay", from.server_delay());
  }
  o.pushback_source =
      ToSource(reader, "server_delay_source", from.server_delay_source());
  to.garbage_pushback = from.garbage_delay();
  o.committed = from.committed();
  o.retry_forbidden = from.retry_forbidden();
  o.retry_wanted = from.retry_wanted();
  o.timed_out = from.timed_out();
  o.shed = from.shed();
  o.repeatable = from.repeatable();
  to.replayable = !from.not_replayable();
  o.resends = static_cast<uint8_t>(std::clamp(from.resends(), 0, 255));
  o.bytes_sent = from.bytes_sent();
  o.bytes_received = from.bytes_received();
  if (from.has_not_before()) {
    to.not_before = reader->Time("not_before", from.not_before(), call.begin);
  }
  to.not_before_source =
      ToSource(reader, "not_before_source", from.not_before_source());
  to.budget =
      reader->Enum<BudgetAnswer>(FORBEAR_ENUM(from, budget, Budget::Answer));
  to.budget_cost = from.budget_cost();
  to.lone = from.lone();
  to.hedge = from.hedge();
  to.lost = from.lost();
  const v1::Usage& usage = from.usage();
  if (usage.has_input_tokens()) o.usage.input_tokens = usage.input_tokens();
  if (usage.has_output_tokens()) o.usage.output_tokens = usage.output_tokens();
  if (usage.has_units()) o.usage.units = usage.units();
  return to;
}

DispatchRecord DispatchFromProto(const v1::Dispatch& from,
                                 const CallRecord& call, Reader* reader) {
  DispatchRecord to;
  to.at = reader->Time("at", from.at(), call.begin);
  to.verdict =
      reader->Enum<Verdict>(FORBEAR_ENUM(from, verdict, Verdict::Kind));
  to.until = from.has_until() ? reader->Time("until", from.until(), call.begin)
             : to.verdict == Verdict::kGo ? to.at
                                          : MonotonicTime::Infinite();
  to.source = ToSource(reader, "source", from.source());
  to.holder = reader->Enum<Holder>(FORBEAR_ENUM(from, holder, Holder::Kind));
  to.reason =
      reader->Enum<StopReason>(FORBEAR_ENUM(from, reason, Stop::Reason));
  to.hedge = from.hedge();
  return to;
}

EventRecord EventFromProto(const v1::Event& from, const CallRecord& call,
                           Reader* reader) {
  EventRecord to;
  to.what =
      reader->Enum<EventRecord::What>(FORBEAR_ENUM(from, what, Event::What));
  to.attempt = from.attempt();
  to.at = reader->Time("at", from.at(), call.begin);
  return to;
}

}  // namespace

v1::CallRecord RecordToProto(const CallRecord& record) {
  v1::CallRecord to;
  if (record.wall_start != absl::InfinitePast()) {
    SetWall(record.wall_start, to.mutable_wall_start());
  }
  to.set_call_id(record.call_id);
  to.set_target(Utf8(record.names.target()));
  to.set_method(Utf8(record.names.method()));
  to.set_protocol(Same<v1::Protocol::Kind>(record.protocol));
  if (!record.names.policy().empty()) {
    to.set_policy(Utf8(record.names.policy()));
  }
  to.set_stop_reason(Same<v1::Stop::Reason>(record.stop_reason));
  if (record.retry_at) {
    SetTime(*record.retry_at, record.begin, to.mutable_retry_at());
  }
  SetTime(record.end, record.begin, to.mutable_end());
  to.set_total_attempts(record.total_attempts);
  to.set_wasted_sends(record.wasted_sends());
  for (const AttemptRecord& a : record.attempts) {
    AttemptToProto(a, record, to.add_attempts());
  }
  SetTime(record.begin, MonotonicTime(), to.mutable_begin());
  if (!record.deadline.is_infinite()) {
    SetTime(record.deadline, record.begin, to.mutable_deadline());
  }
  if (record.idempotent) to.set_idempotent(true);
  if (record.yields_to_outer) to.set_yields_to_outer(true);
  to.set_seed(record.seed);
  for (const DispatchRecord& d : record.dispatches) {
    DispatchToProto(d, record, to.add_dispatches());
  }
  if (record.dropped_dispatches != 0) {
    to.set_dropped_dispatches(record.dropped_dispatches);
  }
  if (record.cost != Cost()) {
    v1::Cost* const cost = to.mutable_cost();
    cost->set_requests(record.cost.requests);
    cost->set_input_tokens(record.cost.input_tokens);
    cost->set_output_tokens(record.cost.output_tokens);
    cost->set_units(record.cost.units);
  }
  if (record.max_in_flight != 1) to.set_max_in_flight(record.max_in_flight);
  for (const EventRecord& e : record.events) {
    EventToProto(e, record, to.add_events());
  }
  return to;
}

absl::StatusOr<CallRecord> RecordFromProto(const v1::CallRecord& proto) {
  std::vector<std::string> faults;
  Reader reader(&faults);
  CallRecord to;
  if (proto.has_wall_start()) {
    to.wall_start = reader.Wall("wall_start", proto.wall_start());
  }
  to.call_id = proto.call_id();
  to.names =
      CallNames::AsWritten(proto.target(), proto.method(), proto.policy());
  to.protocol =
      reader.Enum<Protocol>(FORBEAR_ENUM(proto, protocol, Protocol::Kind));
  to.stop_reason =
      reader.Enum<StopReason>(FORBEAR_ENUM(proto, stop_reason, Stop::Reason));
  to.begin = reader.Time("begin", proto.begin(), MonotonicTime());
  if (proto.has_retry_at()) {
    to.retry_at = reader.Time("retry_at", proto.retry_at(), to.begin);
  }
  to.end = reader.Time("end", proto.end(), to.begin);
  to.total_attempts = proto.total_attempts();
  if (proto.has_deadline()) {
    to.deadline = reader.Time("deadline", proto.deadline(), to.begin);
  }
  to.idempotent = proto.idempotent();
  to.yields_to_outer = proto.yields_to_outer();
  to.seed = proto.seed();
  to.dropped_dispatches = proto.dropped_dispatches();
  if (proto.has_cost()) {
    to.cost.requests = proto.cost().requests();
    to.cost.input_tokens = proto.cost().input_tokens();
    to.cost.output_tokens = proto.cost().output_tokens();
    to.cost.units = proto.cost().units();
  }
  if (proto.has_max_in_flight()) to.max_in_flight = proto.max_in_flight();

  if (proto.attempts_size() > CallRecord::kMaxAttempts) {
    reader.Fault("attempts", "has ", proto.attempts_size(),
                 " entries; a record keeps ", CallRecord::kMaxAttempts);
  } else {
    for (int i = 0; i < proto.attempts_size(); ++i) {
      reader.SetPath(absl::StrCat("attempts[", i, "]."));
      to.attempts.push_back(AttemptFromProto(proto.attempts(i), to, &reader));
    }
  }
  reader.SetPath("");
  if (proto.dispatches_size() > CallRecord::kMaxDispatches) {
    reader.Fault("dispatches", "has ", proto.dispatches_size(),
                 " entries; a record keeps ", CallRecord::kMaxDispatches);
  } else {
    for (int i = 0; i < proto.dispatches_size(); ++i) {
      reader.SetPath(absl::StrCat("dispatches[", i, "]."));
      to.dispatches.push_back(
          DispatchFromProto(proto.dispatches(i), to, &reader));
    }
  }
  reader.SetPath("");
  if (proto.events_size() > CallRecord::kMaxEvents) {
    reader.Fault("events", "has ", proto.events_size(),
                 " entries; a record keeps ", CallRecord::kMaxEvents);
  } else {
    for (int i = 0; i < proto.events_size(); ++i) {
      reader.SetPath(absl::StrCat("events[", i, "]."));
      to.events.push_back(EventFromProto(proto.events(i), to, &reader));
    }
  }
  if (!faults.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a call record: ", absl::StrJoin(faults, "; ")));
  }
  return to;
}

#undef FORBEAR_ENUM

std::string RecordToJson(const CallRecord& record) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  // Cannot fail: RecordToProto makes only valid values.
  (void)google::protobuf::util::MessageToJsonString(RecordToProto(record),
                                                    &json, options);
  return json;
}

absl::StatusOr<CallRecord> RecordFromJson(absl::string_view json) {
  v1::CallRecord proto;
  const auto status =
      google::protobuf::util::JsonStringToMessage(std::string(json), &proto);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not a call record: ",
        absl::string_view(status.message().data(), status.message().size())));
  }
  return RecordFromProto(proto);
}

}  // namespace forbear
