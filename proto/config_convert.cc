#include "proto/config_convert.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "core/backoff.h"
#include "core/circuit_breaker.h"
#include "core/duration_text.h"
#include "core/endpoint.h"
#include "core/quota.h"
#include "core/retry_budget.h"
#include "core/retry_policy.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "proto/service_config_convert.h"

namespace forbear {
namespace {

namespace pb = google::protobuf;
using Faults = std::vector<std::string>;

// From the message: sets what it has. Faults are named by `prefix` and the path.
class FromMessage {
 public:
  FromMessage(std::string prefix, Faults* faults)
      : prefix_(std::move(prefix)), faults_(*faults) {}

  template <typename T, typename V>
  void Value(const char*, bool has, const V& value, T* to) {
    if (has) *to = static_cast<T>(value);
  }
  void Duration(const char* path, bool has, const std::string& text,
                absl::Duration* to) {
    if (!has) return;
    const std::optional<absl::Duration> d = ParseDurationText(text);
    if (d) {
      *to = *d;
    } else {
      faults_.push_back(absl::StrCat(prefix_, path, " is \"",
                                     absl::CEscape(text.substr(0, 64)), "\"; ",
                                     DurationGrammar()));
    }
  }
  template <typename T, typename V>
  void Enum(const char* path, bool has, V value, bool known, T* to) {
    if (!has) return;
    if (known) {
      *to = static_cast<T>(static_cast<int>(value));
    } else {
      faults_.push_back(absl::StrCat(prefix_, path, " is ",
                                     static_cast<int>(value),
                                     ", which this version does not know"));
    }
  }

 private:
  const std::string prefix_;
  Faults& faults_;
};

// The enums have the same numbers on both sides.
static_assert(static_cast<int>(WhenOpen::kWait) == v1::Retry::WAIT);
static_assert(static_cast<int>(WhenOpen::kFail) == v1::Retry::FAIL);
static_assert(static_cast<int>(Jitter::kFull) == v1::Backoff::FULL);
static_assert(static_cast<int>(Jitter::kPlusMinus) == v1::Backoff::PLUS_MINUS);
static_assert(static_cast<int>(Jitter::kNone) == v1::Backoff::NONE);

// Names of fields and types, which parentheses would spoil.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define FORBEAR_READ(kind, path, message, field, to) \
  read->kind(path #field, (message).has_##field(), (message).field(), to)
#define FORBEAR_READ_ENUM(path, message, field, type, to)             \
  read->Enum(path #field, (message).has_##field(), (message).field(), \
             v1::type##_IsValid((message).field()), to)
// NOLINTEND(bugprone-macro-parentheses)

void ReadRetry(const v1::Retry& m, FromMessage* read, RetryOptions* to) {
  FORBEAR_READ(Value, "retry.", m, enabled, &to->enabled);
  FORBEAR_READ(Value, "retry.", m, yield_to_outer, &to->yield_to_outer);
  FORBEAR_READ(Value, "retry.", m, max_attempts, &to->max_attempts);
  FORBEAR_READ(Duration, "retry.", m, max_elapsed, &to->max_elapsed);
  FORBEAR_READ(Duration, "retry.", m, attempt_timeout, &to->attempt_timeout);
  FORBEAR_READ(Duration, "retry.", m, call_timeout, &to->call_timeout);
  FORBEAR_READ(Duration, "retry.", m, max_believed_wait,
               &to->max_believed_wait);
  FORBEAR_READ_ENUM("retry.", m, when_open, Retry::WhenOpen, &to->when_open);
  const v1::Retry::Hedge& h = m.hedge();
  HedgeOptions* const hedge = &to->hedge;
  FORBEAR_READ(Value, "retry.hedge.", h, enabled, &hedge->enabled);
  FORBEAR_READ(Duration, "retry.hedge.", h, delay, &hedge->delay);
  FORBEAR_READ(Value, "retry.hedge.", h, max_hedges, &hedge->max_hedges);
  FORBEAR_READ(Value, "retry.hedge.", h, billable_consent,
               &hedge->billable_consent);
  FORBEAR_READ(Value, "retry.hedge.", h, repeat_consent,
               &hedge->repeat_consent);
  const v1::Backoff& b = m.backoff();
  FORBEAR_READ(Duration, "retry.backoff.", b, initial, &to->backoff.initial);
  FORBEAR_READ(Value, "retry.backoff.", b, multiplier, &to->backoff.multiplier);
  FORBEAR_READ(Duration, "retry.backoff.", b, max, &to->backoff.max);
  FORBEAR_READ_ENUM("retry.backoff.", b, jitter, Backoff::Jitter,
                    &to->backoff.jitter);
  FORBEAR_READ(Value, "retry.backoff.", b, lone_part, &to->backoff.lone_part);
}

void ReadEndpoint(const v1::Endpoint& m, FromMessage* read,
                  EndpointOptions* to) {
  FORBEAR_READ(Value, "endpoint.", m, max_waiters, &to->max_waiters);
  FORBEAR_READ(Value, "endpoint.", m, pacing, &to->pacing);
  FORBEAR_READ(Value, "endpoint.", m, peers, &to->peers);
  FORBEAR_READ(Value, "endpoint.", m, slow_start, &to->pacing_parts.slow_start);
  FORBEAR_READ(Value, "endpoint.", m, learn_limits, &to->pacing_parts.learn);
  const v1::Endpoint::Breaker& b = m.breaker();
  BreakerOptions* const breaker = &to->breaker;
  FORBEAR_READ(Value, "endpoint.breaker.", b, enabled, &breaker->enabled);
  FORBEAR_READ(Value, "endpoint.breaker.", b, failure_ratio,
               &breaker->failure_ratio);
  FORBEAR_READ(Value, "endpoint.breaker.", b, min_calls, &breaker->min_calls);
  FORBEAR_READ(Duration, "endpoint.breaker.", b, window, &breaker->window);
  FORBEAR_READ(Value, "endpoint.breaker.", b, first_failures,
               &breaker->first_failures);
  FORBEAR_READ(Duration, "endpoint.breaker.", b, min_open, &breaker->min_open);
  FORBEAR_READ(Duration, "endpoint.breaker.", b, max_open, &breaker->max_open);
  FORBEAR_READ(Value, "endpoint.breaker.", b, successes_to_close,
               &breaker->successes_to_close);
  FORBEAR_READ(Duration, "endpoint.breaker.", b, probe_lease,
               &breaker->probe_lease);
  const v1::Endpoint::HedgeBudget& h = m.hedge_budget();
  HedgeBudgetOptions* const hedges = &to->hedge_budget;
  FORBEAR_READ(Value, "endpoint.hedge_budget.", h, ratio, &hedges->ratio);
  FORBEAR_READ(Value, "endpoint.hedge_budget.", h, per_second,
               &hedges->per_second);
  FORBEAR_READ(Value, "endpoint.hedge_budget.", h, burst, &hedges->burst);
  const v1::Endpoint::Budget& t = m.budget();
  BudgetOptions* const budget = &to->budget;
  FORBEAR_READ(Value, "endpoint.budget.", t, enabled, &budget->enabled);
  FORBEAR_READ(Value, "endpoint.budget.", t, capacity, &budget->capacity);
  FORBEAR_READ(Value, "endpoint.budget.", t, transient_cost,
               &budget->transient_cost);
  FORBEAR_READ(Value, "endpoint.budget.", t, throttled_cost,
               &budget->throttled_cost);
}

void ReadQuota(const v1::Quota& m, FromMessage* read, QuotaOptions* to) {
  FORBEAR_READ(Value, "quota.", m, max_waiters, &to->max_waiters);
  FORBEAR_READ(Value, "quota.", m, limits_enabled, &to->limits_enabled);
  FORBEAR_READ(Value, "quota.", m, pacing, &to->pacing);
  FORBEAR_READ(Value, "quota.", m, peers, &to->peers);
  FORBEAR_READ(Value, "quota.", m, slow_start, &to->pacing_parts.slow_start);
  FORBEAR_READ(Value, "quota.", m, learn_limits, &to->pacing_parts.learn);
  FORBEAR_READ(Value, "quota.", m, told_limits, &to->pacing_parts.told);
}

// What Config and Target have in common.
template <typename Message>
void ReadPolicy(const Message& m, FromMessage* read, Policy* to) {
  FORBEAR_READ(Value, "", m, name, &to->name);
  FORBEAR_READ(Value, "", m, enabled, &to->enabled);
  FORBEAR_READ(Value, "", m, profile, &to->profile);
  FORBEAR_READ(Value, "", m, idempotency_header, &to->idempotency_header);
  ReadRetry(m.retry(), read, &to->retry);
  ReadQuota(m.quota(), read, &to->quota);
  ReadEndpoint(m.endpoint(), read, &to->endpoint);
}

std::vector<std::string> ListOf(const pb::RepeatedPtrField<std::string>& list) {
  return {list.begin(), list.end()};
}

void ReadTarget(const v1::Target& m, FromMessage* read, TargetPolicy* to) {
  // Everything is inherited, but not this.
  to->name.clear();
  ReadPolicy(m, read, to);
  to->own_quota = m.has_quota();
  to->own_endpoint = m.has_endpoint();
  to->match.hosts = ListOf(m.match().hosts());
  to->match.methods = ListOf(m.match().methods());
  to->match.paths = ListOf(m.match().paths());
  to->match.rpcs = ListOf(m.match().rpcs());
  for (const int code : m.retryable_codes()) {
    to->retryable_codes.push_back(code);
  }
  if (m.has_wait_for_ready()) to->wait_for_ready = m.wait_for_ready();
}

Settings SettingsOf(const v1::Config& m, Faults* faults) {
  Settings to;
  FromMessage from("", faults);
  FromMessage* const read = &from;
  ReadPolicy(m, read, &to);
  FORBEAR_READ(Value, "", m, max_targets, &to.max_targets);
  to.profiles = ListOf(m.profiles());
  to.profile_files = ListOf(m.profile_files());
  for (int i = 0; i < m.targets_size(); ++i) {
    TargetPolicy target(static_cast<const Policy&>(to));
    FromMessage from_target(absl::StrCat("targets[", i, "]."), faults);
    ReadTarget(m.targets(i), &from_target, &target);
    to.targets.push_back(std::move(target));
  }
  ValidateSettings(to, faults);
  return to;
}

#undef FORBEAR_READ
#undef FORBEAR_READ_ENUM

absl::Status StatusOf(const Faults& faults) {
  if (faults.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(faults.size(), faults.size() == 1 ? " fault: " : " faults: ",
                   absl::StrJoin(faults, "; ")));
}

// ---- Text format.

class Collector final : public pb::io::ErrorCollector {
 public:
  Collector(const std::string* text, Faults* faults)
      : text_(*text), faults_(*faults) {}
  void AddError(int line, int column, const std::string& message) override {
    // The parser says so when it has read on, maybe beyond the line.
    constexpr absl::string_view kEnum = "Unknown enumeration value of \"";
    if (absl::StartsWith(message, kEnum)) {
      const std::vector<absl::string_view> lines = absl::StrSplit(text_, '\n');
      absl::string_view value = absl::string_view(message).substr(kEnum.size());
      value = value.substr(0, value.find('"'));
      int i = std::min(line, static_cast<int>(lines.size()) - 1);
      while (i >= 0 &&
             !absl::StrContains(lines[static_cast<size_t>(i)], value)) {
        --i;
      }
      if (i >= 0) {
        line = i;
        column = static_cast<int>(lines[static_cast<size_t>(i)].find(value));
      }
    }
    if (error_line_ < 0) {
      error_line_ = line;
      error_column_ = std::max(column, 0);
    }
    Add(line, column, message);
  }
  // With AllowUnknownField, unknown fields are warnings. To us they are faults,
  // but the parser goes on and finds the next one.
  void AddWarning(int line, int column, const std::string& message) override {
    Add(line, column, message);
  }
  // Of the first error, counted from 0; -1: there was none.
  int error_line() const { return error_line_; }
  int error_column() const { return error_column_; }

 private:
  void Add(int line, int column, const std::string& message) {
    std::string fault =
        absl::StrCat("line ", line + 1, ", column ", column + 1, ": ", message);
    // A text that is parsed again says the same again.
    if (std::find(faults_.begin(), faults_.end(), fault) == faults_.end()) {
      faults_.push_back(std::move(fault));
    }
  }

  const std::string& text_;
  Faults& faults_;
  int error_line_ = -1;
  int error_column_ = 0;
};

// Overwrites with blanks, so that everything else keeps its line and column. False
// if there is nothing to overwrite.
bool Blank(size_t begin, size_t end, std::string* text) {
  bool blank = true;
  for (size_t i = begin; i < end; ++i) blank = blank && (*text)[i] == ' ';
  std::fill(text->begin() + static_cast<ptrdiff_t>(begin),
            text->begin() + static_cast<ptrdiff_t>(end), ' ');
  return !blank;
}

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}

// Takes out the field whose value has the byte `at`, with its name: "name: value",
// "name: \"value\"" or "name: [ … ]", on the line from `begin` to `end`. False if it
// is none of these.
bool BlankField(size_t begin, size_t end, size_t at, std::string* text) {
  const absl::string_view line =
      absl::string_view(*text).substr(begin, end - begin);
  at = std::min(at - begin, line.size());
  const size_t colon = line.substr(0, at).rfind(':');
  if (colon == absl::string_view::npos ||
      line.substr(colon, at - colon).find_first_of("{}<>;") !=
          absl::string_view::npos) {
    return false;
  }
  size_t first = colon;
  while (first > 0 && line[first - 1] == ' ') --first;
  while (first > 0 && IsNameByte(line[first - 1])) --first;
  size_t last = colon + 1;
  while (last < line.size() &&
         absl::ascii_isspace(static_cast<unsigned char>(line[last]))) {
    ++last;
  }
  if (first == colon || last >= line.size()) return false;
  const char open = line[last];
  if (open == '[' || open == '"' || open == '\'') {
    last = line.find(open == '[' ? ']' : open, last + 1);
    if (last == absl::string_view::npos) return false;
    ++last;
  } else {
    last = std::min(line.find_first_of(" \t,;{}<>[]#", last), line.size());
  }
  if (last <= at) return false;
  return Blank(begin + first, begin + last, text);
}

// Takes out what the parser stumbled over: a field, or a line, unless the rest may
// depend on its brackets.
bool TakeOut(int line, int column, std::string* text) {
  size_t begin = 0;
  for (int i = 0; i < line; ++i) {
    begin = text->find('\n', begin);
    if (begin == std::string::npos) return false;
    ++begin;
  }
  const size_t end = std::min(text->find('\n', begin), text->size());
  if (BlankField(begin, end, begin + static_cast<size_t>(column), text)) {
    return true;
  }
  if (absl::string_view(*text)
          .substr(begin, end - begin)
          .find_first_of("{}<>[]") != absl::string_view::npos) {
    return false;
  }
  return Blank(begin, end, text);
}

v1::Config ParseText(absl::string_view text, Faults* faults) {
  pb::TextFormat::Parser parser;
  parser.AllowUnknownField(true);
  std::string rest(text);
  v1::Config config;
  // The parser stops at its first error. Take that out and go on, to find the
  // others as well.
  constexpr int kMaxErrors = 100;
  for (int i = 0; i < kMaxErrors; ++i) {
    Collector collector(&rest, faults);
    parser.RecordErrorsTo(&collector);
    config.Clear();
    if (parser.ParseFromString(rest, &config)) return config;
    if (collector.error_line() < 0 ||
        !TakeOut(collector.error_line(), collector.error_column(), &rest)) {
      break;
    }
  }
  faults->push_back("what follows was not read");
  return config;
}

// ---- JSON.

std::string MessageOf(const pb::util::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

// What a value of a field must be, for people.
std::string KindOf(const pb::FieldDescriptor& field, bool element = false) {
  if (field.is_repeated() && !element) {
    return absl::StrCat("a list, [ … ], of which each is ",
                        KindOf(field, /*element=*/true));
  }
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return "a text in quotes";
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      return "an object, { … }";
    case pb::FieldDescriptor::CPPTYPE_ENUM: {
      std::vector<std::string> names;
      for (int i = 0; i < field.enum_type()->value_count(); ++i) {
        names.push_back(
            absl::StrCat("\"", field.enum_type()->value(i)->name(), "\""));
      }
      return absl::StrJoin(names, " or ");
    }
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    default:
      return "a whole number of 32 bits";
  }
}

std::string Shown(const pb::Value& value) {
  std::string written;
  (void)pb::util::MessageToJsonString(value, &written);
  return written.substr(0, 64);
}

// Field by field, each read by protobuf's own JSON reader, so that one fault does
// not hide the next.
void ReadJson(const pb::Struct& json, const std::string& prefix,
              pb::Message* to, Faults* faults) {
  const pb::Descriptor* const type = to->GetDescriptor();
  // A map has no order; faults should have one.
  std::vector<std::string> names;
  for (const auto& entry : json.fields()) names.push_back(entry.first);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const pb::Value& value = json.fields().at(name);
    const std::string path = prefix + name;
    const pb::FieldDescriptor* field = type->FindFieldByName(name);
    for (int i = 0; field == nullptr && i < type->field_count(); ++i) {
      if (type->field(i)->json_name() == name) field = type->field(i);
    }
    if (field == nullptr) {
      faults->push_back(absl::StrCat(path, ": there is no such field"));
      continue;
    }
    if (field->is_repeated() &&
        field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE &&
        value.kind_case() == pb::Value::kListValue) {
      const auto& list = value.list_value().values();
      for (int i = 0; i < list.size(); ++i) {
        const std::string element = absl::StrCat(path, "[", i, "]");
        // Added also if it is none, so that the others keep their numbers.
        pb::Message* const added = to->GetReflection()->AddMessage(to, field);
        if (list[i].kind_case() == pb::Value::kStructValue) {
          ReadJson(list[i].struct_value(), element + ".", added, faults);
        } else {
          faults->push_back(absl::StrCat(element, " is ", Shown(list[i]),
                                         "; it must be an object, { … }"));
        }
      }
      continue;
    }
    if (!field->is_repeated() &&
        field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE &&
        value.kind_case() == pb::Value::kStructValue) {
      ReadJson(value.struct_value(), path + ".",
               to->GetReflection()->MutableMessage(to, field), faults);
      continue;
    }
    pb::Struct one;
    (*one.mutable_fields())[name] = value;
    std::string text;
    (void)pb::util::MessageToJsonString(one, &text);
    const std::unique_ptr<pb::Message> read(to->New());
    const pb::util::Status status =
        pb::util::JsonStringToMessage(text, read.get());
    if (status.ok()) {
      to->MergeFrom(*read);
    } else {
      faults->push_back(absl::StrCat(path, " is ", Shown(value),
                                     "; it must be ", KindOf(*field)));
    }
  }
}

void ParseJson(absl::string_view text, ConfigReading* reading) {
  pb::Struct json;
  const pb::util::Status status =
      pb::util::JsonStringToMessage(std::string(text), &json);
  if (!status.ok()) {
    reading->faults.push_back(
        absl::StrCat("no JSON object: ", MessageOf(status)));
    return;
  }
  reading->is_service_config = IsServiceConfig(json);
  if (reading->is_service_config) {
    reading->proto =
        ServiceConfigToProto(json, &reading->faults, &reading->notes);
  } else {
    ReadJson(json, "", &reading->proto, &reading->faults);
  }
}

}  // namespace

absl::StatusOr<ConfigFormat> ConfigFormatOf(absl::string_view path) {
  if (absl::EndsWith(path, ".textproto") || absl::EndsWith(path, ".txtpb")) {
    return ConfigFormat::kTextproto;
  }
  if (absl::EndsWith(path, ".json")) return ConfigFormat::kJson;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": a configuration file ends in .textproto or .json"));
}

ConfigReading ReadConfig(absl::string_view text, ConfigFormat format) {
  ConfigReading reading;
  if (format == ConfigFormat::kJson) {
    ParseJson(text, &reading);
  } else {
    reading.proto = ParseText(text, &reading.faults);
  }
  // The places of a service config have other names: what is wrong there has been
  // said.
  if (reading.is_service_config && !reading.faults.empty()) return reading;
  reading.settings = SettingsOf(reading.proto, &reading.faults);
  return reading;
}

absl::StatusOr<Settings> ParseConfig(absl::string_view text,
                                     ConfigFormat format) {
  ConfigReading reading = ReadConfig(text, format);
  absl::Status status = StatusOf(reading.faults);
  if (!status.ok()) return status;
  return std::move(reading.settings);
}

absl::StatusOr<ConfigReading> ReadConfigFile(const std::string& path) {
  const absl::StatusOr<ConfigFormat> format = ConfigFormatOf(path);
  if (!format.ok()) return format.status();
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(&text[0], static_cast<std::streamsize>(text.size()));
  // At the end of the file, read() fails, and says eof.
  if (!file.eof() && !file) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than ", kMaxConfigBytes, " bytes"));
  }
  return ReadConfig(text, *format);
}

absl::StatusOr<Settings> LoadConfig(const std::string& path) {
  absl::StatusOr<ConfigReading> reading = ReadConfigFile(path);
  if (!reading.ok()) return reading.status();
  const absl::Status status = StatusOf(reading->faults);
  if (!status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat(path, ": ", status.message()));
  }
  return std::move(reading->settings);
}

absl::StatusOr<Settings> ConfigFromProto(const v1::Config& proto) {
  Faults faults;
  Settings settings = SettingsOf(proto, &faults);
  absl::Status status = StatusOf(faults);
  if (!status.ok()) return status;
  return settings;
}

namespace {

void WriteRetry(const RetryOptions& r, v1::Retry* retry) {
  retry->set_max_attempts(r.max_attempts);
  retry->set_max_elapsed(FormatDurationText(r.max_elapsed));
  retry->set_attempt_timeout(FormatDurationText(r.attempt_timeout));
  retry->set_enabled(r.enabled);
  retry->set_yield_to_outer(r.yield_to_outer);
  retry->set_call_timeout(FormatDurationText(r.call_timeout));
  retry->set_max_believed_wait(FormatDurationText(r.max_believed_wait));
  retry->set_when_open(static_cast<v1::Retry::WhenOpen>(r.when_open));
  v1::Retry::Hedge* const hedge = retry->mutable_hedge();
  hedge->set_enabled(r.hedge.enabled);
  hedge->set_delay(FormatDurationText(r.hedge.delay));
  hedge->set_max_hedges(r.hedge.max_hedges);
  hedge->set_billable_consent(r.hedge.billable_consent);
  hedge->set_repeat_consent(r.hedge.repeat_consent);
  v1::Backoff* const backoff = retry->mutable_backoff();
  backoff->set_initial(FormatDurationText(r.backoff.initial));
  backoff->set_multiplier(r.backoff.multiplier);
  backoff->set_max(FormatDurationText(r.backoff.max));
  backoff->set_jitter(static_cast<v1::Backoff::Jitter>(r.backoff.jitter));
  backoff->set_lone_part(r.backoff.lone_part);
}

void WriteQuota(const QuotaOptions& q, v1::Quota* quota) {
  quota->set_max_waiters(q.max_waiters);
  quota->set_limits_enabled(q.limits_enabled);
  quota->set_pacing(q.pacing);
  quota->set_peers(q.peers);
  quota->set_slow_start(q.pacing_parts.slow_start);
  quota->set_learn_limits(q.pacing_parts.learn);
  quota->set_told_limits(q.pacing_parts.told);
}

void WriteEndpoint(const EndpointOptions& e, v1::Endpoint* endpoint) {
  endpoint->set_max_waiters(e.max_waiters);
  endpoint->set_pacing(e.pacing);
  endpoint->set_peers(e.peers);
  endpoint->set_slow_start(e.pacing_parts.slow_start);
  endpoint->set_learn_limits(e.pacing_parts.learn);
  v1::Endpoint::Breaker* const breaker = endpoint->mutable_breaker();
  breaker->set_enabled(e.breaker.enabled);
  breaker->set_failure_ratio(e.breaker.failure_ratio);
  breaker->set_min_calls(e.breaker.min_calls);
  breaker->set_window(FormatDurationText(e.breaker.window));
  breaker->set_first_failures(e.breaker.first_failures);
  breaker->set_min_open(FormatDurationText(e.breaker.min_open));
  breaker->set_max_open(FormatDurationText(e.breaker.max_open));
  breaker->set_successes_to_close(e.breaker.successes_to_close);
  breaker->set_probe_lease(FormatDurationText(e.breaker.probe_lease));
  v1::Endpoint::HedgeBudget* const hedges = endpoint->mutable_hedge_budget();
  hedges->set_ratio(e.hedge_budget.ratio);
  hedges->set_per_second(e.hedge_budget.per_second);
  hedges->set_burst(e.hedge_budget.burst);
  v1::Endpoint::Budget* const budget = endpoint->mutable_budget();
  budget->set_enabled(e.budget.enabled);
  budget->set_capacity(e.budget.capacity);
  budget->set_transient_cost(e.budget.transient_cost);
  budget->set_throttled_cost(e.budget.throttled_cost);
}

void WriteList(const std::vector<std::string>& from,
               pb::RepeatedPtrField<std::string>* to) {
  for (const std::string& text : from) *to->Add() = text;
}

}  // namespace

v1::Config ConfigToProto(const Settings& settings) {
  v1::Config to;
  to.set_name(settings.name);
  to.set_enabled(settings.enabled);
  to.set_max_targets(settings.max_targets);
  to.set_profile(settings.profile);
  to.set_idempotency_header(settings.idempotency_header);
  WriteList(settings.profiles, to.mutable_profiles());
  WriteList(settings.profile_files, to.mutable_profile_files());
  WriteRetry(settings.retry, to.mutable_retry());
  WriteQuota(settings.quota, to.mutable_quota());
  WriteEndpoint(settings.endpoint, to.mutable_endpoint());
  for (const TargetPolicy& target : settings.targets) {
    *to.add_targets() = TargetToProto(target);
  }
  return to;
}

v1::Target TargetToProto(const TargetPolicy& target) {
  v1::Target to;
  to.set_name(target.name);
  WriteList(target.match.hosts, to.mutable_match()->mutable_hosts());
  WriteList(target.match.methods, to.mutable_match()->mutable_methods());
  WriteList(target.match.paths, to.mutable_match()->mutable_paths());
  WriteList(target.match.rpcs, to.mutable_match()->mutable_rpcs());
  to.set_enabled(target.enabled);
  to.set_profile(target.profile);
  to.set_idempotency_header(target.idempotency_header);
  WriteRetry(target.retry, to.mutable_retry());
  if (target.own_quota) WriteQuota(target.quota, to.mutable_quota());
  if (target.own_endpoint) {
    WriteEndpoint(target.endpoint, to.mutable_endpoint());
  }
  for (const int code : target.retryable_codes) {
    to.add_retryable_codes(static_cast<v1::Target::Code>(code));
  }
  if (target.wait_for_ready) to.set_wait_for_ready(*target.wait_for_ready);
  return to;
}

}  // namespace forbear
