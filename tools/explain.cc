#include "tools/explain.h"

#include <curl/curl.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/call_match.h"
#include "core/call_record.h"
#include "core/circuit_breaker.h"
#include "core/outcome.h"
#include "core/policy.h"
#include "core/preview.h"
#include "core/stop_reason.h"
#include "core/verdict.h"
#include "curl_wrap/classify.h"
#include "interceptors/classify.h"
#include "proto/config_convert.h"
#include "runtime/client.h"
#include "runtime/clock.h"
#include "signals/header_field.h"
#include "signals/http_classify.h"
#include "signals/profile_set.h"
#include "tools/explain_options.h"

namespace forbear::tools {
namespace {

struct Explanation {
  Outcome outcome;
  Preview preview;
  absl::Time now;
  std::vector<std::string> notes;
};

absl::string_view BreakerCounts(CircuitBreaker::Result result) {
  switch (result) {
    case CircuitBreaker::Result::kSuccess:
      return "success";
    case CircuitBreaker::Result::kFailure:
      return "failure";
    case CircuitBreaker::Result::kThrottled:
      return "throttled";
    case CircuitBreaker::Result::kNeutral:
      break;
  }
  return "nothing";
}

// Upward: nothing here may look sooner than it is.
std::string Milliseconds(absl::Duration d) {
  return absl::StrFormat(
      "%d", absl::ToInt64Milliseconds(absl::Ceil(d, absl::Milliseconds(1))));
}

std::string Quoted(absl::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&escaped, "\\", std::string(1, c));
    } else if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      absl::StrAppendFormat(&escaped, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      escaped += c;
    }
  }
  return absl::StrCat("\"", escaped, "\"");
}

// When the next send would have been allowed, as a date.
std::string RetryAt(const Explanation& e) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", e.now + *e.preview.retry_at,
                          absl::UTCTimeZone());
}

void PrintJson(const Explanation& e) {
  const Preview& p = e.preview;
  absl::PrintF(
      "{\"kind\": \"%s\", \"processed\": \"%s\", \"retry\": %s, "
      "\"stop_reason\": \"%s\", \"wait_ms\": {\"min\": %s, \"max\": %s}, "
      "\"wait_source\": \"%s\", \"gate_ms\": %s, \"breaker_counts\": \"%s\", "
      "\"budget_cost\": %d, \"retry_at\": %s, \"notes\": [%s]}\n",
      ErrorKindName(e.outcome.kind), ProcessedName(e.outcome.processed),
      p.retry ? "true" : "false", StopReasonName(p.reason),
      Milliseconds(p.wait_min), Milliseconds(p.wait_max),
      DelaySourceName(p.wait_source), Milliseconds(p.gate),
      BreakerCounts(p.breaker), p.budget_cost,
      p.retry_at ? Quoted(RetryAt(e)) : "null",
      absl::StrJoin(e.notes, ", ",
                    [](std::string* out, const std::string& note) {
                      out->append(Quoted(note));
                    }));
}

void PrintText(const Explanation& e) {
  const Preview& p = e.preview;
  absl::PrintF("kind            %s\n", ErrorKindName(e.outcome.kind));
  absl::PrintF("processed       %s\n", ProcessedName(e.outcome.processed));
  if (p.retry) {
    absl::PrintF("retry           yes, after %s", FormatShort(p.wait_min));
    if (p.wait_max > p.wait_min) {
      absl::PrintF(" ... %s", FormatShort(p.wait_max));
    }
    absl::PrintF(" (%s)\n", DelaySourceName(p.wait_source));
  } else {
    absl::PrintF("retry           no: %s\n", StopReasonName(p.reason));
  }
  if (p.gate > absl::ZeroDuration()) {
    absl::PrintF("gate            shut for %s, for all callers of the %s\n",
                 FormatShort(p.gate),
                 p.gated == Holder::kQuota ? "key" : "server");
  }
  absl::PrintF("breaker counts  %s\n", BreakerCounts(p.breaker));
  if (p.retry) absl::PrintF("budget cost     %d\n", p.budget_cost);
  if (p.retry_at) absl::PrintF("retry at        %s\n", RetryAt(e));
  for (const std::string& note : e.notes) {
    absl::PrintF("- %s\n", note);
  }
}

bool IsIdempotentMethod(absl::string_view method) {
  for (const char* safe :
       {"", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    if (method == safe) return true;
  }
  return false;
}

void NotePushback(const ExplainOptions& options, const Preview& preview,
                  const Outcome& outcome, std::vector<std::string>* notes) {
  if (preview.garbage) {
    notes->push_back(
        "The server asked for a wait that is too long to be believed "
        "(retry.max_believed_wait); our own applies.");
  } else if (outcome.pushback) {
    notes->push_back(
        absl::StrCat("The server asked for ", FormatShort(*outcome.pushback),
                     " (", DelaySourceName(outcome.pushback_source), ")."));
  } else if (!options.headers.empty() || !options.trailers.empty()) {
    if (outcome.kind == ErrorKind::kThrottled ||
        outcome.kind == ErrorKind::kTransient) {
      notes->push_back(
          "Nothing in the answer was understood as a wait; our own applies.");
    }
  }
}

Outcome ExplainHttp(const ExplainOptions& options, Client* client,
                    const PolicyRef& policy, absl::Time now,
                    std::vector<std::string>* notes) {
  const ProfileRef profile =
      client->ProfileOf(options.profile, *policy, options.host);
  std::vector<HeaderField> fields;
  for (const auto& [name, value] : options.headers) {
    fields.push_back({name, value});
  }
  curl::AttemptFacts facts;
  facts.code = static_cast<CURLcode>(options.curl_code.value_or(CURLE_OK));
  facts.status = options.http_status.value_or(0);
  facts.sent = options.bytes_sent.value_or(facts.status) > 0;
  if (facts.status != 0) {
    AnswerFacts answer;
    answer.status = facts.status;
    answer.headers = fields;
    answer.body = options.body;
    answer.has_body = true;
    answer.now = now;
    facts.answer =
        ClassifyAnswer(answer, *profile.profile, profile.set->generic());
    notes->push_back(absl::StrCat("Profile ", profile.profile->id, "; ",
                                  DescribeRule(facts.answer), "."));
  }
  if (facts.code != CURLE_OK) {
    notes->push_back(
        absl::StrCat("CURLcode ", static_cast<int>(facts.code), " is \"",
                     curl_easy_strerror(facts.code), "\"; ",
                     facts.sent ? "bytes of the request may have left"
                                : "no byte of the request has left",
                     "."));
  }
  return curl::Classify(facts);
}

Outcome ExplainRpc(const ExplainOptions& options, Client* client,
                   const PolicyRef& policy, std::vector<std::string>* notes) {
  const ProfileRef profile =
      client->ProfileOf(options.profile, *policy, options.host);
  rpc::RpcResult result;
  result.profile = profile.profile;
  result.generic = &profile.set->generic();
  result.code = static_cast<grpc::StatusCode>(*options.grpc_status);
  for (const auto& [name, value] : options.trailers) {
    if (name == "grpc-retry-pushback-ms") result.pushback = value;
    if (name == "grpc-status-details-bin") result.details = value;
    if (name == "grpc-message") result.message = value;
  }
  rpc::CodeSet retryable;
  if (options.idempotent) {
    retryable.Add(result.code);
    notes->push_back("The method lists the code (--idempotent).");
  }
  return rpc::Classify(result, retryable);
}

}  // namespace

int RunExplain(const std::vector<std::string>& args) {
  ExplainOptions options;
  if (const std::optional<int> code = ParseExplainOptions(args, &options)) {
    return *code;
  }
  const auto wrong = [](absl::string_view what) {
    absl::FPrintF(stderr, "forbear explain: %s\n", what);
    return 2;
  };
  Settings settings;
  if (!options.config_path.empty()) {
    absl::StatusOr<Settings> loaded = LoadConfig(options.config_path);
    if (!loaded.ok()) return wrong(loaded.status().message());
    settings = *std::move(loaded);
  }
  absl::StatusOr<std::shared_ptr<Client>> client =
      Client::Create(ClientOptions(std::move(settings)));
  if (!client.ok()) return wrong(client.status().message());
  if (!options.profile.empty() &&
      (*client)->profiles()->Find(options.profile) == nullptr) {
    return wrong(absl::StrCat("--profile is '", absl::CEscape(options.profile),
                              "', which is not known; `forbear profile list` "
                              "shows those that are"));
  }

  const bool http = !options.grpc_status.has_value();
  CallRoute route;
  const std::string host = absl::AsciiStrToLower(options.host);
  route.host = host;
  if (http) {
    route.method = options.method.empty() ? "GET" : options.method;
    route.path = options.path;
  } else {
    route.rpc = options.method;
  }
  const PolicyRef policy = (*client)->PolicyOf(route);

  Explanation e;
  e.now = options.now ? absl::FromUnixSeconds(*options.now) : WallNow();
  PreviewFacts facts;
  facts.attempt = options.attempt;
  facts.elapsed = options.elapsed;
  facts.deadline = options.deadline;
  if (http) {
    facts.idempotent = options.idempotent || IsIdempotentMethod(options.method);
    e.outcome = ExplainHttp(options, client->get(), policy, e.now, &e.notes);
  } else {
    e.outcome = ExplainRpc(options, client->get(), policy, &e.notes);
  }
  e.preview = PreviewOf(*policy, facts, e.outcome);

  NotePushback(options, e.preview, e.outcome, &e.notes);
  if (!e.preview.retry) {
    e.notes.emplace_back(StopReasonSentence(e.preview.reason));
    const absl::string_view remedy = StopReasonRemedy(e.preview.reason);
    if (!remedy.empty()) e.notes.emplace_back(remedy);
  }
  if (options.json) {
    PrintJson(e);
  } else {
    PrintText(e);
  }
  return 0;
}

}  // namespace forbear::tools
