#include "proto/service_config_convert.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "core/call_match.h"
#include "core/duration_text.h"
#include "core/option_check.h"
#include "google/protobuf/util/json_util.h"

namespace forbear {
namespace {

namespace pb = google::protobuf;
using Texts = std::vector<std::string>;

std::string Shown(const pb::Value& value) {
  std::string text;
  (void)pb::util::MessageToJsonString(value, &text);
  return text.substr(0, 64);
}

// The members of one JSON object. What nobody has taken is noted at the end.
class Members {
 public:
  // `path` is empty, or ends in a dot. `others`: members that are gRPC's own.
  Members(const pb::Struct& json, std::string path, Texts* faults, Texts* notes,
          std::set<std::string> others = {})
      : json_(json),
        path_(std::move(path)),
        faults_(*faults),
        notes_(*notes),
        others_(std::move(others)) {}
  ~Members() {
    std::map<std::string, bool> left;  // a map has an order
    for (const auto& entry : json_.fields()) {
      if (taken_.count(entry.first) == 0) left[entry.first] = true;
    }
    for (const auto& [name, unused] : left) {
      notes_.push_back(absl::StrCat(
          path_, name,
          others_.count(name) > 0
              ? ": gRPC's own, and not for Forbear"
              : ": no member of a service config, ignored as gRPC does"));
    }
  }
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  std::string PathOf(const std::string& name) const { return path_ + name; }
  void Fault(const std::string& name, const std::string& what) {
    faults_.push_back(absl::StrCat(path_, name, what));
  }

  // Null: it is not there, or null.
  const pb::Value* Take(const std::string& name, bool required = false) {
    taken_.insert(name);
    const auto it = json_.fields().find(name);
    if (it != json_.fields().end() &&
        it->second.kind_case() != pb::Value::kNullValue) {
      return &it->second;
    }
    if (required) Fault(name, " is missing; it must be given");
    return nullptr;
  }

  // Absent: not there, or a fault, which has been told.
  std::optional<double> Number(const std::string& name, double low, double high,
                               bool required, bool whole = false,
                               bool above_low = false) {
    const pb::Value* const value = Take(name, required);
    if (value == nullptr) return std::nullopt;
    double number = value->number_value();
    const bool is_number = value->kind_case() == pb::Value::kNumberValue ||
                           (value->kind_case() == pb::Value::kStringValue &&
                            absl::SimpleAtod(value->string_value(), &number));
    const bool fits = is_number && number <= high &&
                      (above_low ? number > low : number >= low) &&
                      (!whole || number == std::floor(number));
    if (fits) return number;
    Fault(name, absl::StrCat(" is ", Shown(*value), "; it must be a ",
                             whole ? "whole " : "", "number, ",
                             above_low ? "above " : "", PlainNumber(low), " … ",
                             PlainNumber(high)));
    return std::nullopt;
  }

  // "1.5s", as protobuf's JSON has it. `from_zero`: "0s" is one, too.
  std::optional<absl::Duration> Duration(const std::string& name,
                                         absl::Duration high, bool required,
                                         bool from_zero = false) {
    const pb::Value* const value = Take(name, required);
    if (value == nullptr) return std::nullopt;
    absl::string_view text = value->string_value();
    const bool seconds = absl::ConsumeSuffix(&text, "s");
    const size_t point = std::min(text.find('.'), text.size());
    const absl::string_view fraction =
        text.substr(std::min(point + 1, text.size()));
    const auto is_digits = [](absl::string_view digits) {
      return !digits.empty() &&
             std::all_of(digits.begin(), digits.end(), [](char c) {
               return absl::ascii_isdigit(static_cast<unsigned char>(c));
             });
    };
    std::optional<absl::Duration> d;
    if (seconds && is_digits(text.substr(0, point)) &&
        (point == text.size() ||
         (is_digits(fraction) && fraction.size() <= 9))) {
      d = ParseDurationText(absl::StrCat(text, "s"));
    }
    if (d && (from_zero || *d > absl::ZeroDuration()) && *d <= high) return d;
    Fault(name, absl::StrCat(" is ", Shown(*value),
                             "; it must be a number of seconds",
                             from_zero ? "" : " above 0", ", like \"1.5s\", … ",
                             FormatDurationText(high)));
    return std::nullopt;
  }

  const pb::Struct* Object(const std::string& name) {
    const pb::Value* const value = Take(name);
    if (value == nullptr) return nullptr;
    if (value->kind_case() == pb::Value::kStructValue) {
      return &value->struct_value();
    }
    Fault(name,
          absl::StrCat(" is ", Shown(*value), "; it must be an object, { … }"));
    return nullptr;
  }

  const pb::ListValue* List(const std::string& name, bool required = false) {
    const pb::Value* const value = Take(name, required);
    if (value == nullptr) return nullptr;
    if (value->kind_case() == pb::Value::kListValue) {
      return &value->list_value();
    }
    Fault(name,
          absl::StrCat(" is ", Shown(*value), "; it must be a list, [ … ]"));
    return nullptr;
  }

  // Absent: not there, or a fault. Empty counts as not there, as in protobuf.
  std::string Text(const std::string& name) {
    const pb::Value* const value = Take(name);
    if (value == nullptr) return "";
    if (value->kind_case() == pb::Value::kStringValue) {
      return value->string_value();
    }
    Fault(name,
          absl::StrCat(" is ", Shown(*value), "; it must be a text in quotes"));
    return "";
  }

 private:
  const pb::Struct& json_;
  const std::string path_;
  Texts& faults_;
  Texts& notes_;
  const std::set<std::string> others_;
  std::set<std::string> taken_;
};

// gRPC counts in milliseconds, and so does Forbear's least.
std::string TimeoutText(absl::Duration d) {
  return FormatDurationText(std::max(d, absl::Milliseconds(1)));
}

class Reader {
 public:
  Reader(v1::Config* to, Texts* faults, Texts* notes)
      : to_(*to), faults_(*faults), notes_(*notes) {}

  void Read(const pb::Struct& json) {
    Members members(
        json, "", &faults_, &notes_,
        {"loadBalancingPolicy", "loadBalancingConfig", "healthCheckConfig"});
    if (const pb::ListValue* list = members.List("methodConfig")) {
      for (int i = 0; i < list->values_size(); ++i) {
        const std::string path = absl::StrCat("methodConfig[", i, "]");
        const pb::Value& value = list->values(i);
        if (value.kind_case() == pb::Value::kStructValue) {
          ReadMethod(value.struct_value(), path + ".", i);
        } else {
          faults_.push_back(absl::StrCat(path, " is ", Shown(value),
                                         "; it must be an object, { … }"));
        }
      }
    }
    if (const pb::Struct* object = members.Object("retryThrottling")) {
      ReadThrottling(*object);
    }
  }

 private:
  void ReadMethod(const pb::Struct& json, const std::string& path, int index) {
    Members members(json, path, &faults_, &notes_,
                    {"maxRequestMessageBytes", "maxResponseMessageBytes"});
    v1::Target target;
    const Texts rpcs = ReadNames(&members);
    v1::Retry retry;
    const auto timeout = members.Duration(
        "timeout", kLongest, /*required=*/false, /*from_zero=*/true);
    // gRPC takes zero for none.
    if (timeout && *timeout > absl::ZeroDuration()) {
      retry.set_call_timeout(TimeoutText(*timeout));
    }
    if (const pb::Value* value = members.Take("waitForReady")) {
      if (value->kind_case() == pb::Value::kBoolValue) {
        target.set_wait_for_ready(value->bool_value());
      } else {
        members.Fault(
            "waitForReady",
            absl::StrCat(" is ", Shown(*value), "; it must be true or false"));
      }
    }
    const pb::Struct* const retry_policy = members.Object("retryPolicy");
    if (retry_policy != nullptr) {
      ReadRetry(*retry_policy, path + "retryPolicy.", &retry, &target);
    }
    if (const pb::Struct* object = members.Object("hedgingPolicy")) {
      if (retry_policy != nullptr) {
        members.Fault("hedgingPolicy",
                      ": there is a retryPolicy, too; it must be one of them");
      }
      ReadHedging(*object, path + "hedgingPolicy.", &retry, &target);
    }
    if (retry.ByteSizeLong() > 0) *target.mutable_retry() = retry;
    // As many targets as have place for the names.
    constexpr size_t kMost = CallMatch::kMaxPatterns;
    for (size_t begin = 0; begin < rpcs.size(); begin += kMost) {
      v1::Target* const added = to_.add_targets();
      *added = target;
      added->set_name(absl::StrCat("method-config-", index));
      if (begin > 0) {
        added->set_name(absl::StrCat(added->name(), "-", begin / kMost + 1));
      }
      for (size_t i = begin; i < std::min(begin + kMost, rpcs.size()); ++i) {
        added->mutable_match()->add_rpcs(rpcs[i]);
      }
    }
  }

  Texts ReadNames(Members* members) {
    Texts rpcs;
    const pb::ListValue* const list = members->List("name");
    if (list == nullptr || list->values_size() == 0) {
      notes_.push_back(absl::StrCat(
          members->PathOf("name"),
          " names no method: what stands beside it is not used, as in gRPC"));
      return rpcs;
    }
    for (int i = 0; i < list->values_size(); ++i) {
      const std::string name = absl::StrCat("name[", i, "]");
      const pb::Value& value = list->values(i);
      if (value.kind_case() != pb::Value::kStructValue) {
        members->Fault(name, absl::StrCat(" is ", Shown(value),
                                          "; it must be an object, { … }"));
        continue;
      }
      Members entry(value.struct_value(), members->PathOf(name + "."), &faults_,
                    &notes_);
      const std::string service = entry.Text("service");
      const std::string method = entry.Text("method");
      if (service.empty() && !method.empty()) {
        members->Fault(name,
                       " has a method and no service; it must have both, "
                       "or a service, or neither");
        continue;
      }
      const std::string rpc =
          service.empty()
              ? "*"
              : absl::StrCat("/", service, "/", method.empty() ? "*" : method);
      CallMatch match;
      match.rpcs = {rpc};
      Texts faults;
      ValidateCallMatch(match, "", &faults);
      if (!faults.empty() || method == "*") {
        members->Fault(name, absl::StrCat(" is ", Shown(value),
                                          ", which is no name of a method"));
        continue;
      }
      const auto [it, added] = seen_.emplace(rpc, members->PathOf(name));
      if (!added) {
        members->Fault(name, absl::StrCat(" is ", rpc, "; so is ", it->second));
        continue;
      }
      rpcs.push_back(rpc);
    }
    return rpcs;
  }

  void ReadRetry(const pb::Struct& json, const std::string& path,
                 v1::Retry* retry, v1::Target* target) {
    Members members(json, path, &faults_, &notes_);
    if (const auto n = members.Number("maxAttempts", 2, 100, /*required=*/true,
                                      /*whole=*/true)) {
      retry->set_max_attempts(static_cast<int>(*n));
    }
    v1::Backoff* const backoff = retry->mutable_backoff();
    const auto initial =
        members.Duration("initialBackoff", absl::Hours(1), /*required=*/true);
    const auto max =
        members.Duration("maxBackoff", absl::Hours(24), /*required=*/true);
    if (initial && max) {
      // A6: the smaller of the two is waited. gRPC 1.51 begins with the initial one.
      backoff->set_initial(FormatDurationText(std::min(*initial, *max)));
      backoff->set_max(FormatDurationText(*max));
    }
    if (const auto multiplier = members.Number("backoffMultiplier", 1, 100,
                                               /*required=*/true)) {
      backoff->set_multiplier(*multiplier);
    }
    backoff->set_jitter(v1::Backoff::PLUS_MINUS);
    backoff->set_lone_part(1);  // A6 knows no such thing
    const auto attempt = members.Duration("perAttemptRecvTimeout", kLongest,
                                          /*required=*/false);
    if (attempt) retry->set_attempt_timeout(TimeoutText(*attempt));
    // gRPC can do without codes only if there is another cause for a retry.
    const pb::ListValue* const codes =
        members.List("retryableStatusCodes", /*required=*/!attempt);
    if (codes == nullptr) return;
    if (codes->values_size() == 0 && !attempt) {
      members.Fault("retryableStatusCodes",
                    " is []; it must list a code at least");
    }
    ReadCodes(*codes, "retryableStatusCodes", &members, target);
  }

  void ReadHedging(const pb::Struct& json, const std::string& path,
                   v1::Retry* retry, v1::Target* target) {
    Members members(json, path, &faults_, &notes_);
    v1::Retry::Hedge* const hedge = retry->mutable_hedge();
    hedge->set_enabled(true);
    // Whoever writes it down for a method says that the method may be repeated.
    hedge->set_repeat_consent(true);
    if (const auto n = members.Number("maxAttempts", 2, 1000000,
                                      /*required=*/true, /*whole=*/true)) {
      const int attempts = static_cast<int>(std::min(*n, 5.0));
      retry->set_max_attempts(attempts);
      hedge->set_max_hedges(attempts - 1);
    }
    const auto delay = members.Duration("hedgingDelay", absl::Hours(1),
                                        /*required=*/false, /*from_zero=*/true);
    // gRPC's default: all at once.
    hedge->set_delay(FormatDurationText(delay.value_or(absl::ZeroDuration())));
    if (const pb::ListValue* codes = members.List("nonFatalStatusCodes")) {
      ReadCodes(*codes, "nonFatalStatusCodes", &members, target);
    }
  }

  void ReadCodes(const pb::ListValue& codes, const std::string& name,
                 Members* members, v1::Target* target) {
    for (int i = 0; i < codes.values_size(); ++i) {
      const std::optional<int> code = CodeOf(codes.values(i));
      if (code) {
        target->add_retryable_codes(static_cast<v1::Target::Code>(*code));
        continue;
      }
      members->Fault(absl::StrCat(name, "[", i, "]"),
                     absl::StrCat(" is ", Shown(codes.values(i)),
                                  "; it must be a status code but OK, like "
                                  "\"UNAVAILABLE\""));
    }
  }

  static std::optional<int> CodeOf(const pb::Value& value) {
    v1::Target::Code code = v1::Target::OK;
    if (value.kind_case() == pb::Value::kStringValue) {
      if (!v1::Target::Code_Parse(absl::AsciiStrToUpper(value.string_value()),
                                  &code)) {
        return std::nullopt;
      }
    } else if (value.kind_case() == pb::Value::kNumberValue &&
               value.number_value() >= 1 && value.number_value() <= 16 &&
               value.number_value() == std::floor(value.number_value())) {
      code =
          static_cast<v1::Target::Code>(static_cast<int>(value.number_value()));
    }
    if (code == v1::Target::OK) return std::nullopt;
    return static_cast<int>(code);
  }

  void ReadThrottling(const pb::Struct& json) {
    Members members(json, "retryThrottling.", &faults_, &notes_);
    members.Number("maxTokens", 0, 1000, /*required=*/true, /*whole=*/false,
                   /*above_low=*/true);
    members.Number("tokenRatio", 0, 1000, /*required=*/true, /*whole=*/false,
                   /*above_low=*/true);
    notes_.push_back(
        "retryThrottling: not used; Forbear's own retry budget applies");
  }

  // Of a duration that Forbear bounds no further: protobuf's longest.
  static constexpr absl::Duration kLongest = absl::Seconds(315'576'000'000);

  v1::Config& to_;
  Texts& faults_;
  Texts& notes_;
  std::map<std::string, std::string> seen_;  // rpc pattern: where it stands
};

}  // namespace

bool IsServiceConfig(const pb::Struct& json) {
  for (const char* name :
       {"methodConfig", "retryThrottling", "loadBalancingPolicy",
        "loadBalancingConfig", "healthCheckConfig"}) {
    if (json.fields().count(name) > 0) return true;
  }
  return false;
}

v1::Config ServiceConfigToProto(const pb::Struct& json, Texts* faults,
                                Texts* notes) {
  v1::Config config;
  Reader(&config, faults, notes).Read(json);
  return config;
}

ServiceConfigReading ReadServiceConfig(absl::string_view text) {
  ServiceConfigReading reading;
  pb::Struct json;
  const pb::util::Status status =
      pb::util::JsonStringToMessage(std::string(text), &json);
  if (!status.ok()) {
    reading.faults.push_back(absl::StrCat(
        "no JSON object: ",
        absl::string_view(status.message().data(), status.message().size())));
    return reading;
  }
  reading.proto = ServiceConfigToProto(json, &reading.faults, &reading.notes);
  auto& fields = *json.mutable_fields();
  fields.erase("retryThrottling");
  const auto methods = fields.find("methodConfig");
  if (methods != fields.end() &&
      methods->second.kind_case() == pb::Value::kListValue) {
    for (pb::Value& method :
         *methods->second.mutable_list_value()->mutable_values()) {
      if (method.kind_case() != pb::Value::kStructValue) continue;
      auto& members = *method.mutable_struct_value()->mutable_fields();
      members.erase("retryPolicy");
      members.erase("hedgingPolicy");
    }
  }
  (void)pb::util::MessageToJsonString(json, &reading.rest);
  return reading;
}

}  // namespace forbear
