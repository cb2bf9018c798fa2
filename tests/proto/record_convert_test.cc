// Random records, there and back again.

#include "proto/record_convert.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/replay.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "core/verdict.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "proto/record.pb.h"
#include "tests/proto/fields.h"
#include "tests/testing/simulation.h"

namespace forbear::testing {
namespace {

namespace pb = google::protobuf;

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  uint64_t Bits() { return MixRandom(seed_, n_++); }
  bool Chance(double p) { return UnitRandom(seed_, n_++) < p; }
  int Below(int n) {
    return static_cast<int>(Bits() % static_cast<uint64_t>(n));
  }
  // Of any size.
  int64_t Number() {
    const auto n = static_cast<int64_t>(Bits() >> (Bits() % 64));
    return Chance(0.5) ? n : -n;
  }
  int Small() { return static_cast<int>(Number() % 1000000); }
  MonotonicTime Time() {
    if (Chance(0.05)) return MonotonicTime::Infinite();
    if (Chance(0.05)) return MonotonicTime::InfinitePast();
    return MonotonicTime::FromNanos(Number());
  }
  absl::Duration Duration() {
    if (Chance(0.05)) return absl::InfiniteDuration();
    if (Chance(0.05)) return -absl::InfiniteDuration();
    // Up to what a google.protobuf.Duration can say.
    return absl::Seconds(Number() % 315576000000) +
           absl::Nanoseconds(Number() % 1000000000);
  }
  template <typename Enum>
  Enum Of(int count) {
    return static_cast<Enum>(Below(count));
  }
  DelaySource Source() { return Of<DelaySource>(12); }
  std::string Text() {
    static const char* const kPieces[] = {"a",  "Z",      "0",  ":",   "/", ".",
                                          "\"", "\\",     "\n", "\t",  "<", "é",
                                          "日", "\u2028", "😀",  "\x7f"};
    std::string text;
    for (int i = Below(12); i > 0; --i) text += kPieces[Below(16)];
    return text;
  }

 private:
  const uint64_t seed_;
  uint64_t n_ = 0;
};

CallRecord RandomRecord(uint64_t seed) {
  Dice dice(seed);
  CallRecord r;
  r.call_id = dice.Bits();
  r.seed = dice.Bits();
  r.protocol = dice.Of<Protocol>(3);
  r.names = CallNames(dice.Text(), dice.Text(), dice.Text());
  if (dice.Chance(0.9)) {
    r.wall_start =
        absl::FromUnixSeconds(
            -62135596800 +
            static_cast<int64_t>(dice.Bits() % (62135596800 + 253402300800))) +
        absl::Nanoseconds(dice.Below(1000000000));
  }
  r.begin = dice.Time();
  r.end = dice.Time();
  if (dice.Chance(0.7)) r.deadline = dice.Time();
  r.idempotent = dice.Chance(0.5);
  r.yields_to_outer = dice.Chance(0.5);
  r.stop_reason = dice.Of<StopReason>(kStopReasonCount);
  if (dice.Chance(0.5)) r.retry_at = dice.Time();
  r.total_attempts = dice.Small();
  r.dropped_dispatches = dice.Small();
  r.max_in_flight = dice.Small();
  if (dice.Chance(0.5)) {
    r.cost = {dice.Number(), dice.Number(), dice.Number(), dice.Number()};
  }
  for (int i = dice.Below(CallRecord::kMaxAttempts + 1); i > 0; --i) {
    AttemptRecord a;
    a.number = dice.Small();
    a.start = dice.Time();
    if (dice.Chance(0.5)) a.head = dice.Time();
    a.end = dice.Time();
    a.waited = dice.Duration();
    a.wait_source = dice.Source();
    a.garbage_pushback = dice.Chance(0.5);
    a.replayable = dice.Chance(0.5);
    if (dice.Chance(0.5)) a.not_before = dice.Time();
    a.not_before_source = dice.Source();
    a.budget = dice.Of<BudgetAnswer>(3);
    a.budget_cost = dice.Small();
    a.lone = dice.Chance(0.5);
    a.hedge = dice.Chance(0.5);
    a.lost = dice.Chance(0.5);
    Outcome& o = a.outcome;
    o.kind = dice.Of<ErrorKind>(6);
    o.processed = dice.Of<Processed>(3);
    o.committed = dice.Chance(0.5);
    o.retry_forbidden = dice.Chance(0.5);
    o.retry_wanted = dice.Chance(0.5);
    o.timed_out = dice.Chance(0.5);
    o.shed = dice.Chance(0.5);
    o.repeatable = dice.Chance(0.5);
    if (dice.Chance(0.5)) o.pushback = dice.Duration();
    o.pushback_source = dice.Source();
    o.status = r.protocol == Protocol::kGrpc && dice.Chance(0.8)
                   ? dice.Below(17)
                   : dice.Small();
    if (dice.Chance(0.5)) o.transport_error = dice.Below(110);
    if (dice.Chance(0.5)) o.usage.input_tokens = dice.Number();
    if (dice.Chance(0.5)) o.usage.output_tokens = dice.Number();
    if (dice.Chance(0.5)) o.usage.units = dice.Number();
    o.resends = static_cast<uint8_t>(dice.Below(3));
    o.bytes_sent = dice.Number();
    o.bytes_received = dice.Number();
    r.attempts.push_back(a);
  }
  for (int i = dice.Below(CallRecord::kMaxDispatches + 1); i > 0; --i) {
    DispatchRecord d;
    d.at = dice.Time();
    d.verdict = dice.Of<Verdict>(3);
    d.until = dice.Chance(0.3) ? d.at : dice.Time();
    d.source = dice.Source();
    d.holder = dice.Of<Holder>(3);
    d.reason = dice.Of<StopReason>(kStopReasonCount);
    d.hedge = dice.Chance(0.5);
    r.dispatches.push_back(d);
  }
  const int most = dice.Chance(0.05) ? CallRecord::kMaxEvents : 8;
  for (int i = dice.Below(most + 1); i > 0; --i) {
    r.events.push_back(
        {dice.Of<EventRecord::What>(8), dice.Small(), dice.Time()});
  }
  return r;
}

uint64_t FirstSeed() {
  const char* const text = std::getenv("FORBEAR_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

TEST(RecordConvertTest, RoundTripLosesNothing) {
  std::set<std::string> seen;
  for (uint64_t seed = FirstSeed(); seed < FirstSeed() + 1000; ++seed) {
    SCOPED_TRACE(absl::StrCat("FORBEAR_SEED=", seed));
    const CallRecord record = RandomRecord(seed);
    const v1::CallRecord proto = RecordToProto(record);
    AddFieldsIn(proto, &seen);
    const absl::StatusOr<CallRecord> direct = RecordFromProto(proto);
    ASSERT_TRUE(direct.ok()) << direct.status();
    ASSERT_EQ(*direct, record) << proto.DebugString();

    v1::CallRecord binary;
    ASSERT_TRUE(binary.ParseFromString(proto.SerializeAsString()));
    ASSERT_EQ(binary.SerializeAsString(), proto.SerializeAsString());

    const std::string json = RecordToJson(record);
    ASSERT_EQ(json.find('\n'), std::string::npos);
    const absl::StatusOr<CallRecord> back = RecordFromJson(json);
    ASSERT_TRUE(back.ok()) << back.status() << "\n" << json;
    ASSERT_EQ(*back, record) << json;
    ASSERT_EQ(RecordToJson(*back), json);
  }
  // A field that nothing above has set is one that the converter or this test
  // has forgotten.
  for (const std::string& path : FieldsOf(*v1::CallRecord::descriptor())) {
    EXPECT_EQ(seen.count(path), 1u) << path << " is never set";
  }
}

// A new member of the structs does not compile here. It belongs into RandomRecord
// above (and into the proto, where the test before this one finds it).
[[maybe_unused]] void EveryMember(const CallRecord& record) {
  [[maybe_unused]] const auto& [call_id, seed, names, wall_start, begin, end,
                                deadline, cost, protocol, idempotent,
                                yields_to_outer, stop_reason, max_in_flight,
                                total_attempts, dropped_dispatches, retry_at,
                                attempts, dispatches, events] = record;
  [[maybe_unused]] const auto& [number, budget_cost, start, head, attempt_end,
                                outcome, waited, wait_source, hedge, lost,
                                garbage_pushback, replayable, budget, lone,
                                not_before_source, not_before] = attempts[0];
  [[maybe_unused]] const auto& [kind, processed, committed, retry_forbidden,
                                retry_wanted, shed, timed_out, repeatable,
                                pushback, pushback_source, resends, usage,
                                status, transport_error, bytes_sent,
                                bytes_received] = outcome;
  [[maybe_unused]] const auto& [at, until, verdict, source, holder, reason,
                                about_hedge] = dispatches[0];
  [[maybe_unused]] const auto& [what, of_attempt, event_at] = events[0];
}

TEST(RecordConvertTest, EmptyRecord) {
  const CallRecord empty;
  const std::string json = RecordToJson(empty);
  EXPECT_EQ(RecordFromJson(json).value(), empty);
  EXPECT_EQ(RecordFromJson("{}").value(), empty);
}

TEST(RecordConvertTest, OddTimesAreCut) {
  CallRecord record;
  record.attempts.resize(1);
  record.attempts[0].outcome.pushback = absl::Nanoseconds(1) / 4;
  record.attempts[0].waited = absl::Hours(24) * 365 * 20000;
  for (absl::Time wall :
       {absl::InfiniteFuture(), absl::FromUnixSeconds(-99999999999),
        absl::FromUnixSeconds(999999999999)}) {
    record.wall_start = wall;
    const CallRecord back = RecordFromJson(RecordToJson(record)).value();
    EXPECT_EQ(back.attempts[0].outcome.pushback, absl::Nanoseconds(1));
    EXPECT_EQ(back.attempts[0].waited, absl::InfiniteDuration());
    EXPECT_NE(back.wall_start, absl::InfinitePast());
  }
}

// Simulated calls: from the line alone, the same decisions again.
TEST(RecordConvertTest, ALineIsATest) {
  SimOptions options;
  Simulation sim(options);
  TokenBucket bucket;
  bucket.rate = 5;
  bucket.burst = 3;
  sim.SetServer(bucket);
  for (int i = 0; i < 50; ++i) {
    SimCallOptions call;
    call.start = absl::Milliseconds(10) * i;
    if (i % 3 == 0) call.deadline = absl::Seconds(3);
    sim.AddCall(call);
  }
  sim.Run();
  int retried = 0;
  for (const Simulation::Call& call : sim.calls()) {
    const CallRecord record =
        RecordFromJson(RecordToJson(call.record())).value();
    EXPECT_EQ(Replay(record, call.options().retry).value(), call.record());
    if (record.total_attempts > 1) ++retried;
  }
  EXPECT_GT(retried, 1);
}

// ---- What is refused.

std::string Refusal(const v1::CallRecord& proto) {
  const absl::StatusOr<CallRecord> record = RecordFromProto(proto);
  EXPECT_EQ(record.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(record.status().message());
}

TEST(RecordConvertTest, UnknownEnumValuesAreRefusedByName) {
  // Every enum field of every message, set to what no version knows.
  int fields = 0;
  for (const std::string& path : FieldsOf(*v1::CallRecord::descriptor())) {
    const pb::FieldDescriptor* const field =
        FieldAt(*v1::CallRecord::descriptor(), path);
    if (field->cpp_type() != pb::FieldDescriptor::CPPTYPE_ENUM) continue;
    ++fields;
    v1::CallRecord proto;
    pb::Message* at = &proto;
    std::string where = field->name();
    if (field->containing_type() == v1::Attempt::descriptor()) {
      at = proto.add_attempts();
      where = "attempts[0]." + where;
    } else if (field->containing_type() == v1::Dispatch::descriptor()) {
      at = proto.add_dispatches();
      where = "dispatches[0]." + where;
    } else if (field->containing_type() == v1::Event::descriptor()) {
      at = proto.add_events();
      where = "events[0]." + where;
    }
    at->GetReflection()->SetEnumValue(at, field, 99);
    EXPECT_EQ(Refusal(proto),
              absl::StrCat("not a call record: ", where,
                           " is 99, which this version does not know"));
  }
  EXPECT_GE(fields, 10);
  EXPECT_EQ(RecordFromJson(R"({"stop_reason": "BOREDOM"})").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(RecordConvertTest, AllFaultsAtOnce) {
  v1::CallRecord proto;
  proto.mutable_end()->set_nanos(2000000000);
  proto.mutable_wall_start()->set_nanos(-1);
  proto.set_protocol(v1::Protocol::HTTP);
  proto.mutable_deadline()->set_seconds(10000000000);
  proto.add_attempts()->set_grpc_code(14);
  proto.add_attempts()->mutable_server_delay()->set_seconds(400000000000);
  for (int i = 0; i <= CallRecord::kMaxDispatches; ++i) proto.add_dispatches();
  EXPECT_EQ(Refusal(proto),
            "not a call record: wall_start is no valid date; end is no valid "
            "duration; deadline is beyond what a clock can show; "
            "attempts[0].has a status of another protocol than the call's, "
            "http; attempts[1].server_delay is no valid duration; dispatches "
            "has 65 entries; a record keeps 64");
  proto.Clear();
  for (int i = 0; i <= CallRecord::kMaxAttempts; ++i) proto.add_attempts();
  EXPECT_EQ(Refusal(proto),
            "not a call record: attempts has 17 entries; a record keeps 16");
}

TEST(RecordConvertTest, WhatIsNoRecord) {
  for (const char* text :
       {"", "{", "[]", "null", "1", "{} {}", "{\"attempts\": 1}",
        "{\"unheard_of\": 1}", "{\"attempts\": [{\"headers\": []}]}",
        "{\"call_id\": -1}", "{\"end\": \"1m\"}", "{\"end\": 1}"}) {
    EXPECT_EQ(RecordFromJson(text).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(RecordConvertTest, DamagedLinesDoNoHarm) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Dice dice(seed);
    std::string json = RecordToJson(RandomRecord(seed % 10));
    for (int i = dice.Below(4); i >= 0; --i) {
      json[static_cast<size_t>(dice.Below(static_cast<int>(json.size())))] =
          static_cast<char>(dice.Below(256));
    }
    const absl::StatusOr<CallRecord> record = RecordFromJson(json);
    if (record.ok()) (void)RecordToJson(*record);
  }
}

// ---- Names.

template <typename Core>
void CheckNames(const pb::EnumDescriptor& type, int count,
                absl::string_view (*name)(Core)) {
  ASSERT_EQ(type.value_count(), count) << type.full_name();
  for (int i = 0; i < count; ++i) {
    const pb::EnumValueDescriptor* const value = type.FindValueByNumber(i);
    ASSERT_NE(value, nullptr) << type.full_name() << " " << i;
    EXPECT_EQ(absl::AsciiStrToLower(value->name()),
              absl::StrReplaceAll(name(static_cast<Core>(i)), {{"-", "_"}}))
        << type.full_name();
  }
}

TEST(RecordConvertTest, NumbersAndNamesAreTheCores) {
  CheckNames<Protocol>(*v1::Protocol::Kind_descriptor(), 3, ProtocolName);
  CheckNames<StopReason>(*v1::Stop::Reason_descriptor(), kStopReasonCount,
                         StopReasonName);
  CheckNames<ErrorKind>(*v1::Error::Kind_descriptor(), 6, ErrorKindName);
  CheckNames<Processed>(*v1::Processed::Answer_descriptor(), 3, ProcessedName);
  CheckNames<DelaySource>(*v1::Delay::Source_descriptor(), 12, DelaySourceName);
  CheckNames<EventRecord::What>(*v1::Event::What_descriptor(), 8, EventName);
  CheckNames<Verdict>(*v1::Verdict::Kind_descriptor(), 3, VerdictName);
  CheckNames<Holder>(*v1::Holder::Kind_descriptor(), 3, HolderName);
  CheckNames<BudgetAnswer>(*v1::Budget::Answer_descriptor(), 3,
                           BudgetAnswerName);
  // A value that the core has got and the record has not.
  EXPECT_EQ(ErrorKindName(static_cast<ErrorKind>(6)), "?");
  EXPECT_EQ(ProtocolName(static_cast<Protocol>(3)), "?");
  EXPECT_EQ(ProcessedName(static_cast<Processed>(3)), "?");
  EXPECT_EQ(DelaySourceName(static_cast<DelaySource>(12)), "?");
  EXPECT_EQ(EventName(static_cast<EventRecord::What>(8)), "?");
  EXPECT_EQ(VerdictName(static_cast<Verdict>(3)), "?");
  EXPECT_EQ(HolderName(static_cast<Holder>(3)), "?");
  EXPECT_EQ(BudgetAnswerName(static_cast<BudgetAnswer>(3)), "?");
}

TEST(RecordConvertTest, StatusesByProtocol) {
  CallRecord record;
  record.attempts.resize(1);
  Outcome& o = record.attempts[0].outcome;
  o.kind = ErrorKind::kTransient;
  o.status = 14;
  record.protocol = Protocol::kGrpc;
  EXPECT_EQ(RecordToProto(record).attempts(0).grpc_code_name(), "UNAVAILABLE");
  EXPECT_EQ(RecordToProto(record).attempts(0).grpc_code(), 14);
  o.status = 503;
  record.protocol = Protocol::kHttp;
  EXPECT_EQ(RecordToProto(record).attempts(0).http_status(), 503);
  o.status = 0;
  o.transport_error = 7;
  EXPECT_FALSE(RecordToProto(record).attempts(0).has_http_status());
  EXPECT_EQ(RecordToProto(record).attempts(0).curl_code(), 7);
  EXPECT_EQ(RecordToProto(record).attempts(0).curl_code_name(),
            "CURLE_COULDNT_CONNECT");
}

// ---- No secrets.

// What can hold a text is listed here. Whoever adds a field that can must look at
// who fills it, and at the next test.
TEST(RecordConvertTest, NoFieldForAHeaderAQueryOrABody) {
  const std::set<std::string> texts = {"target", "method", "policy",
                                       "attempts.grpc_code_name",
                                       "attempts.curl_code_name"};
  for (const std::string& path : FieldsOf(*v1::CallRecord::descriptor())) {
    const pb::FieldDescriptor* const field =
        FieldAt(*v1::CallRecord::descriptor(), path);
    ASSERT_NE(field, nullptr) << path;
    EXPECT_FALSE(field->is_map()) << path;
    EXPECT_NE(field->type(), pb::FieldDescriptor::TYPE_BYTES) << path;
    if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
      EXPECT_TRUE(
          field->message_type()->full_name() == "google.protobuf.Duration" ||
          field->message_type()->full_name() == "google.protobuf.Timestamp")
          << path;
    }
    if (field->type() == pb::FieldDescriptor::TYPE_STRING) {
      EXPECT_EQ(texts.count(path), 1u) << path << " can hold any text";
    }
  }
}

TEST(RecordConvertTest, AUrlIsNoTarget) {
  for (const char* secret :
       {"https://user:canary@host/", "user@canary", "host/path?key=canary",
        "host:80#canary", "https://us?er:canary@host/", "canary?"}) {
    EXPECT_EQ(NameForRecord(secret), "(hidden)") << secret;
  }
  for (const char* fine :
       {"", "127.0.0.1:8080", "[::1]:443", "dns:///api.example.com:443",
        "unix:/run/x.sock", "POST", "/pkg.Service/Method"}) {
    EXPECT_EQ(NameForRecord(fine), fine);
  }
}

TEST(RecordConvertTest, BytesThatAreNoText) {
  CallRecord record;
  record.names = CallNames(
      "caf\xe9:80", "\xff\xfe\xed\xa0\x80\xf5\xc0\x80G\xc3\xa9T\xe2\x82", "");
  const CallRecord back = RecordFromJson(RecordToJson(record)).value();
  EXPECT_EQ(back.names.target(), "caf?:80");
  EXPECT_EQ(back.names.method(), "????????G\xc3\xa9T??");
}

// ---- The guide.

// The call that docs/records.md explains.
CallRecord ExampleRecord() {
  SimOptions options;
  Simulation sim(options);
  sim.SetServer([](const SimSend& send) {
    SimReply reply;
    reply.head = absl::Milliseconds(12);
    reply.body = absl::Milliseconds(1);
    reply.outcome =
        send.attempt == 1 ? ThrottledOutcome(absl::Seconds(1)) : OkOutcome();
    reply.outcome.bytes_sent = 182;
    reply.outcome.bytes_received = send.attempt == 1 ? 0 : 5120;
    return reply;
  });
  SimCallOptions call;
  call.deadline = absl::Seconds(10);
  sim.AddCall(call);
  sim.Run();
  CallRecord record = sim.calls()[0].record();
  // What a driver says, and the simulation does not.
  record.protocol = Protocol::kHttp;
  record.names = CallNames("api.example.com:443", "POST", "default");
  record.wall_start = absl::FromUnixMillis(1767366245250);
  return record;
}

TEST(RecordConvertTest, TheExampleInTheGuideIsTrue) {
  std::ifstream file("docs/records.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string json = RecordToJson(ExampleRecord());
  EXPECT_TRUE(absl::StrContains(text.str(), json))
      << "docs/records.md lacks this line:\n"
      << json;
  for (const std::string& path : FieldsOf(*v1::CallRecord::descriptor())) {
    const std::string name = path.substr(path.find('.') + 1);
    EXPECT_TRUE(absl::StrContains(text.str(), absl::StrCat("`", name, "`")))
        << "docs/records.md does not mention " << name;
  }
}

}  // namespace
}  // namespace forbear::testing
