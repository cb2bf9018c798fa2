#include "signals/details_json.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear {
namespace {

void AppendText(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') out->push_back('\\');
    out->push_back(absl::ascii_isprint(static_cast<unsigned char>(c)) ? c
                                                                      : '?');
  }
  out->push_back('"');
}

// Adds a member unless its text is empty.
void AppendMember(absl::string_view name, absl::string_view text,
                  std::string* out) {
  if (text.empty()) return;
  if (out->back() != '{') out->push_back(',');
  AppendText(name, out);
  out->push_back(':');
  AppendText(text, out);
}

void BeginDetail(absl::string_view type, std::string* out) {
  if (out->back() != '[') out->push_back(',');
  out->push_back('{');
  AppendMember("@type", absl::StrCat("type.googleapis.com/google.rpc.", type),
               out);
}

// The JSON form of google.protobuf.Duration, but without its bounds.
std::string DurationText(absl::Duration d) {
  constexpr int64_t kForEver = int64_t{1} << 50;
  absl::Duration rest;
  const int64_t seconds = d == absl::InfiniteDuration()
                              ? kForEver
                              : absl::IDivDuration(d, absl::Seconds(1), &rest);
  const int64_t nanos = absl::ToInt64Nanoseconds(rest);
  if (nanos == 0) return absl::StrCat(seconds, "s");
  return absl::StrFormat("%d.%09ds", seconds, nanos);
}

}  // namespace

std::string DetailsAsJson(const ErrorDetails& details) {
  std::string out =
      absl::StrCat("{\"error\":{\"code\":", details.code, ",\"message\":");
  AppendText(details.message, &out);
  out += ",\"details\":[";
  if (details.retry_delay) {
    BeginDetail("RetryInfo", &out);
    AppendMember("retryDelay", DurationText(*details.retry_delay), &out);
    out += "}";
  }
  if (!details.violations.empty()) {
    BeginDetail("QuotaFailure", &out);
    out += ",\"violations\":[";
    for (const QuotaViolation& violation : details.violations) {
      if (out.back() != '[') out.push_back(',');
      out.push_back('{');
      AppendMember("subject", violation.subject, &out);
      AppendMember("description", violation.description, &out);
      AppendMember("apiService", violation.api_service, &out);
      AppendMember("quotaMetric", violation.quota_metric, &out);
      AppendMember("quotaId", violation.quota_id, &out);
      out.push_back('}');
    }
    out += "]}";
  }
  for (const ErrorInfo& info : details.infos) {
    BeginDetail("ErrorInfo", &out);
    AppendMember("reason", info.reason, &out);
    AppendMember("domain", info.domain, &out);
    out += ",\"metadata\":{";
    for (const auto& [key, value] : info.metadata) {
      AppendMember(key, value, &out);
    }
    out += "}}";
  }
  return out + "]}}";
}

}  // namespace forbear
