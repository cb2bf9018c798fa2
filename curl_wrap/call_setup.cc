#include "curl_wrap/call_setup.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/policy_table.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "core/wait_queue.h"
#include "curl_wrap/byte_count.h"
#include "curl_wrap/call_place.h"
#include "curl_wrap/classify.h"
#include "curl_wrap/idempotency_key.h"
#include "curl_wrap/target.h"
#include "runtime/clock.h"
#include "signals/http_classify.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"

namespace forbear::curl {
namespace {

std::optional<Target> FindTarget(const EasyOptions& settings, CURL* easy,
                                 bool with_path) {
  if (settings.curlu != nullptr) {
    return TargetOf(settings.curlu, settings.port, with_path);
  }
  const char* url = settings.url.c_str();
  // Of a borrowed handle it may have been set by others; this one, libcurl
  // tells.
  if (!settings.fresh() && *url == '\0' && easy != nullptr) {
    curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
  }
  return TargetOf(url, settings.default_protocol, settings.port, with_path);
}

// libcurl takes the URL of a CURLU that came after a transfer for its own, but not after
// one for which it has not parsed it.
void TakeObject(const EasyOptions& settings, CURL* easy,
                const CallMemory& memory) {
  if (settings.curlu != nullptr && memory.url &&
      memory.url->For(easy) != nullptr) {
    curl_easy_setopt(easy, CURLOPT_URL, nullptr);
  }
}

// Whether a line of HTTPHEADER may be a credential or a retry marker, by its first two
// characters.
bool MayMatter(const char* line) {
  constexpr char kToLower = 0x20;
  const int second = line[0] == '\0' ? 0 : line[1] | kToLower;
  switch (line[0] | kToLower) {
    case 'a':
      return second == 'u' || second == 'p' || second == 'm';
    case 'g':
      return second == 'r';
    case 'o':
      return second == 'c';
    case 'x':
      return line[1] == '-';
    default:
      return false;
  }
}

// By its method, or the header by which the server knows a repetition.
bool IsIdempotent(const EasyOptions& settings, bool repeatable,
                  const Policy& policy, const ProfileRef& ref) {
  if (repeatable) return true;
  const VendorProfile& generic = ref.set->generic();
  const VendorProfile& profile = ref.profile ? *ref.profile : generic;
  const std::string& key = profile.idempotency_header.empty()
                               ? generic.idempotency_header
                               : profile.idempotency_header;
  return (!key.empty() && settings.HasHeader(key)) ||
         (!policy.idempotency_header.empty() &&
          settings.HasHeader(policy.idempotency_header));
}

// Whether the call is to get a key of ours.
bool WantsKey(const EasyOptions& settings, const Policy& policy) {
  return !policy.idempotency_header.empty() && !settings.MethodIsIdempotent() &&
         settings.KnowsHeaders() &&
         !settings.MentionsHeader(policy.idempotency_header);
}

}  // namespace

CallSetup::CallSetup(Client* client, const EasyOptions& settings, CURL* easy,
                     const CallOptions& options, MonotonicTime now,
                     CallMemory* memory)
    : passes_through(!client->enabled() || !options.enabled) {
  const uint64_t credential = ReadLines(settings.headers);
  request.protocol = Protocol::kHttp;
  if (memory != nullptr) TakeObject(settings, easy, *memory);
  if (memory != nullptr && !passes_through &&
      Recall(*client, settings, options, credential, *memory)) {
    if (!memory->url) memory->url.emplace(settings.url);
    Fill(client, settings, options, *handle->policy, memory->profile, now);
    return;
  }
  LookUp(client, settings, easy, options, credential);
  Fill(client, settings, options, *request.policy, profile, now);
  if (memory != nullptr && !passes_through && fault == CURLE_OK) {
    Remember(client, settings, options, credential, memory);
  }
}

uint64_t CallSetup::ReadLines(const curl_slist* line) {
  uint64_t credential = 0;
  for (; line != nullptr; line = line->next) {
    if (line->data == nullptr || !MayMatter(line->data)) continue;
    credential = AddCredentialLine(credential, line->data);
    request.nested |= EasyOptions::IsRetryMarkerLine(line->data);
  }
  return credential;
}

void CallSetup::LookUp(Client* client, const EasyOptions& settings, CURL* easy,
                       const CallOptions& options, uint64_t credential) {
  request.policy = client->TopPolicy();
  const std::optional<Target> target =
      FindTarget(settings, easy,
                 /*with_path=*/request.policy.table->has_targets());
  is_http_ = target && target->is_http();
  repeatable_ = settings.MethodIsIdempotent();
  FindPlace(client, target, settings, credential,
            {options.quota_id, options.profile}, &request, &profile);
}

bool CallSetup::Recall(const Client& client, const EasyOptions& settings,
                       const CallOptions& options, uint64_t credential,
                       const CallMemory& memory) {
  if (memory.handle == nullptr || memory.revision != settings.revision() ||
      memory.credential != credential || memory.quota_id != options.quota_id ||
      memory.profile_id != options.profile ||
      !client.IsCurrent(*memory.handle)) {
    return false;
  }
  handle = memory.handle.get();
  is_http_ = true;
  repeatable_ = memory.repeatable;
  return true;
}

void CallSetup::Remember(Client* client, const EasyOptions& settings,
                         const CallOptions& options, uint64_t credential,
                         CallMemory* memory) {
  WakeList wakes;  // for new options of its states
  memory->handle =
      client->HandleOf(request.Kind(), request.policy, MonotonicNow(), &wakes);
  handle = memory->handle.get();
  memory->profile = profile;
  memory->credential = credential;
  memory->repeatable = repeatable_;
  memory->quota_id = options.quota_id;
  memory->profile_id = options.profile;
  memory->url.reset();
  // Others may change these without our seeing it.
  const bool is_known = settings.curlu == nullptr && !settings.url.empty();
  memory->revision = is_known ? settings.revision() : CallMemory::kNone;
  for (const std::shared_ptr<Waiter>& waiter : wakes) waiter->Wake();
}

void CallSetup::Fill(Client* client, const EasyOptions& settings,
                     const CallOptions& options, const Policy& policy,
                     const ProfileRef& profile_of, MonotonicTime now) {
  request.idempotent = options.idempotent ? *options.idempotent
                                          : IsIdempotent(settings, repeatable_,
                                                         policy, profile_of);
  passes_through |= !policy.enabled || !is_http_ || settings.ConnectOnly();
  if (passes_through) return;

  if (options.retry || options.attempt_timeout) {
    request.retry = options.retry ? *options.retry : policy.retry;
    if (options.attempt_timeout) {
      request.retry->attempt_timeout = *options.attempt_timeout;
    }
    std::vector<std::string> faults;
    ValidateRetry(*request.retry, "retry", &faults);
    if (!faults.empty()) fault = CURLE_BAD_FUNCTION_ARGUMENT;
  }
  if (profile_of.profile == nullptr ||
      options.max_hold_time < absl::ZeroDuration()) {
    fault = CURLE_BAD_FUNCTION_ARGUMENT;
  }
  if (fault != CURLE_OK) return;

  request.deadline = options.deadline == absl::InfiniteDuration()
                         ? MonotonicTime::Infinite()
                         : now + options.deadline;
  request.cost = options.cost;
  if (WantsKey(settings, policy)) {
    key_line = NewIdempotencyLine(policy.idempotency_header);
    if (!key_line.empty()) {
      request.idempotent = options.idempotent.value_or(true);
    }
  }

  limits.max_held_bytes = options.max_held_bytes;
  limits.max_buffered_body = options.max_buffered_body;
  limits.max_hold = options.max_hold_time;
  limits.at_most_once = !request.idempotent;
  readers.profile = profile_of.profile;
  readers.generic = &profile_of.set->generic();
  readers.classifier = &client->options().classify_http;
  readers.places =
      RedirectPlaces(client, &settings, {options.quota_id, options.profile});
}

void CallSetup::RecordPlain(Client* client, const EasyOptions& settings,
                            CURL* easy, CURLcode code,
                            CallRecord* record) const {
  record->call_id = client->NextCallId();
  record->protocol = Protocol::kHttp;
  record->names =
      CallNames(request.target, request.method, request.policy->name);
  record->idempotent = request.idempotent;
  record->end = MonotonicNow();
  record->total_attempts = 1;
  long status = 0;
  long request_size = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_size);
  AttemptFacts facts;
  facts.code = code;
  facts.sent = request_size > 0;
  facts.status = is_http_ ? static_cast<int>(status) : 0;
  if (facts.status != 0) {
    // Nobody has seen its head or its body.
    AnswerFacts answer;
    answer.status = facts.status;
    const VendorProfile& generic = profile.set->generic();
    facts.answer = ClassifyAnswer(
        answer, profile.profile ? *profile.profile : generic, generic);
  }
  AttemptRecord attempt;
  attempt.number = 1;
  attempt.start = record->begin;
  attempt.end = record->end;
  attempt.outcome = Classify(facts);
  CountBytes(easy, settings, &attempt.outcome);
  record->attempts.push_back(attempt);
  switch (attempt.outcome.kind) {
    case ErrorKind::kOk:
      record->stop_reason = StopReason::kSuccess;
      break;
    case ErrorKind::kPermanent:
      record->stop_reason = StopReason::kPermanentError;
      break;
    case ErrorKind::kCancelled:
      record->stop_reason = StopReason::kCancelled;
      break;
    case ErrorKind::kQuotaExhausted:
      record->stop_reason = StopReason::kQuotaExhausted;
      break;
    case ErrorKind::kTransient:
    case ErrorKind::kThrottled:
      record->stop_reason = StopReason::kAttemptsExhausted;  // of one
      break;
  }
}

void FillFault(CURLcode fault, CallResult* result) {
  result->code = fault;
  result->stop_reason = result->record.stop_reason =
      StopReason::kPermanentError;
}

void FillResult(CURL* easy, CallResult* result) {
  const CallRecord& record = result->record;
  if (record.stop_reason == StopReason::kSuccess &&
      record.attempts.back().outcome.status != 0) {
    result->http_status = record.attempts.back().outcome.status;
  } else if (record.total_attempts > 0 && easy != nullptr) {
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &result->http_status);
  }
  result->stop_reason = record.stop_reason;
  if (record.retry_at) {
    result->retry_at =
        std::max(absl::ZeroDuration(), *record.retry_at - MonotonicNow());
  }
}

ExtraHeader::ExtraHeader(CURL* easy, const EasyOptions* settings,
                         std::string text)
    : easy_(easy), settings_(*settings), text_(std::move(text)) {
  if (text_.empty()) return;
  line_.data = &text_[0];
  // libcurl only reads it.
  line_.next = const_cast<curl_slist*>(settings->headers);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, &line_);
}

ExtraHeader::~ExtraHeader() {
  if (text_.empty()) return;
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, settings_.headers);
}

}  // namespace forbear::curl
