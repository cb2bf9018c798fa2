#include "curl_wrap/handle.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "core/call_match.h"
#include "core/policy.h"
#include "core/policy_table.h"
#include "core/time.h"
#include "curl_wrap/byte_count.h"
#include "curl_wrap/classify.h"
#include "curl_wrap/http_transport.h"
#include "curl_wrap/idempotency_key.h"
#include "curl_wrap/target.h"
#include "runtime/blocking_driver.h"
#include "runtime/call.h"
#include "runtime/clock.h"
#include "signals/http_classify.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "Forbear needs libcurl 7.87 or later (CURLOPT_QUICK_EXIT)"
#endif

namespace forbear::curl {
namespace {

void InitLibcurl() {
  // Never undone: it may be the application's as well.
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)once;
}

}  // namespace

struct Handle::Impl {
  class KeyLine;

  Impl(CURL* handle, bool owns_handle, std::shared_ptr<Client> the_client)
      : easy(handle),
        owns(owns_handle),
        multi(curl_multi_init()),
        client(std::move(the_client)),
        settings(owns_handle) {}

  ~Impl() {
    // First the handle: it may hold on to a connection of the multi.
    if (owns && easy != nullptr) curl_easy_cleanup(easy);
    if (multi != nullptr) curl_multi_cleanup(multi);
  }

  bool ok() const { return easy != nullptr && multi != nullptr; }

  std::optional<Target> FindTarget(bool with_path) const {
    if (settings.curlu != nullptr) {
      return TargetOf(settings.curlu, settings.port, with_path);
    }
    const char* url = settings.url.c_str();
    // Of a borrowed handle it may have been set by others; this one, libcurl
    // tells.
    if (!owns && *url == '\0') {
      curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
    }
    return TargetOf(url, settings.default_protocol, settings.port, with_path);
  }

  // The one of the same table that is for this call.
  void FindPolicy(const Target& target, PolicyRef* policy) const {
    if (!policy->table->has_targets()) return;
    const HostAndPort split = SplitHostPort(target.host_port);
    const std::string method = settings.Method();
    CallRoute route;
    route.host = split.host;
    route.port = split.port;
    route.method = method;
    route.path = target.path;
    policy->policy = &policy->table->Find(route);
  }

  void PerformPlain(const CallOptions& options,
                    const std::optional<Target>& target,
                    const PolicyRef& policy, CallResult* result);
  // By its method, or the header by which the server knows a repetition.
  bool IsIdempotent(const CallOptions& options, const Policy& policy,
                    const ProfileRef& ref) const {
    const VendorProfile& generic = ref.set->generic();
    const VendorProfile& profile = ref.profile ? *ref.profile : generic;
    const std::string& key = profile.idempotency_header.empty()
                                 ? generic.idempotency_header
                                 : profile.idempotency_header;
    return options.idempotent.value_or(
        settings.MethodIsIdempotent() ||
        (!key.empty() && settings.HasHeader(key)) ||
        (!policy.idempotency_header.empty() &&
         settings.HasHeader(policy.idempotency_header)));
  }
  // Whether the call is to get a key of ours.
  bool WantsKey(const Policy& policy) const {
    return !policy.idempotency_header.empty() &&
           !settings.MethodIsIdempotent() && settings.KnowsHeaders() &&
           !settings.MentionsHeader(policy.idempotency_header);
  }
  void PerformCall(const CallOptions& options, const Target& target,
                   const PolicyRef& policy, CallResult* result);
  void Conclude(CallResult* result) const;

  CURL* const easy;
  const bool owns;
  // Keeps connections from attempt to attempt, and from call to call.
  CURLM* const multi;
  const std::shared_ptr<Client> client;
  EasyOptions settings;
  bool performing = false;
  bool plain = false;  // … with the handle's own callbacks
  bool keyed = false;  // … with a line of ours in its HTTPHEADER

  std::mutex mutex;
  std::shared_ptr<Parker> parker;  // of the call that runs. Guarded by mutex
};

// A line in front of the application's own, as long as this lives.
class Handle::Impl::KeyLine {
 public:
  KeyLine(Impl* impl, absl::string_view header)
      : impl_(impl), text_(NewIdempotencyLine(header)) {
    if (text_.empty()) return;
    line_.data = &text_[0];
    // libcurl only reads it.
    line_.next = const_cast<curl_slist*>(impl->settings.headers);
    impl->keyed =
        curl_easy_setopt(impl->easy, CURLOPT_HTTPHEADER, &line_) == CURLE_OK;
  }
  ~KeyLine() {
    if (!impl_->keyed) return;
    impl_->keyed = false;
    curl_easy_setopt(impl_->easy, CURLOPT_HTTPHEADER, impl_->settings.headers);
  }
  KeyLine(const KeyLine&) = delete;
  KeyLine& operator=(const KeyLine&) = delete;

  bool is_set() const { return impl_->keyed; }

 private:
  Impl* const impl_;
  std::string text_;
  curl_slist line_ = {};
};

// --- Options. ---

CURLcode Handle::Set(CURLoption option, const OptionValue& value) {
  if (!impl_->ok()) return CURLE_FAILED_INIT;
  if (impl_->performing && !impl_->plain &&
      (EasyOptions::IsReplaced(option) ||
       (impl_->keyed && option == CURLOPT_HTTPHEADER))) {
    impl_->settings.Note(option, value);  // put in place after the call
    return CURLE_OK;
  }
  const CURLcode code = Forward(impl_->easy, option, value);
  if (code == CURLE_OK) impl_->settings.Note(option, value);
  return code;
}

void Handle::Reset() {
  if (!impl_->ok() || impl_->performing) return;
  curl_easy_reset(impl_->easy);
  impl_->settings = EasyOptions(/*fresh=*/true);
}

CURL* Handle::raw() const { return impl_->easy; }

// --- Calls. ---

CallResult Handle::Perform(const CallOptions& options) {
  CallResult result;
  if (!impl_->ok() || impl_->performing) {
    result.code = impl_->ok() ? CURLE_RECURSIVE_API_CALL : CURLE_FAILED_INIT;
    result.stop_reason = result.record.stop_reason =
        StopReason::kPermanentError;
    return result;
  }
  impl_->performing = true;
  PolicyRef policy = impl_->client->TopPolicy();
  const std::optional<Target> target =
      impl_->FindTarget(/*with_path=*/policy.table->has_targets());
  if (target && target->is_http()) impl_->FindPolicy(*target, &policy);
  if (impl_->client->enabled() && policy->enabled && options.enabled &&
      target && target->is_http() && !impl_->settings.ConnectOnly()) {
    impl_->PerformCall(options, *target, policy, &result);
  } else {
    impl_->PerformPlain(options, target, policy, &result);
  }
  impl_->performing = false;
  return result;
}

void Handle::Cancel() {
  // Under the lock: the call may end, and its handle with it, right after.
  std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->parker == nullptr) return;
  impl_->parker->Cancel();
  curl_multi_wakeup(impl_->multi);
}

void Handle::Impl::PerformCall(const CallOptions& options, const Target& target,
                               const PolicyRef& policy, CallResult* result) {
  CallRequest request;
  request.policy = policy;
  request.retry = options.retry;
  if (options.attempt_timeout) {
    if (!request.retry) request.retry = policy->retry;
    request.retry->attempt_timeout = *options.attempt_timeout;
  }
  std::vector<std::string> faults;
  if (request.retry) ValidateRetry(*request.retry, "retry", &faults);
  const ProfileRef profile =
      client->ProfileOf(options.profile, *policy, target.host_port);
  if (!faults.empty() || profile.profile == nullptr ||
      options.max_hold_time < absl::ZeroDuration()) {
    result->code = CURLE_BAD_FUNCTION_ARGUMENT;
    result->stop_reason = result->record.stop_reason =
        StopReason::kPermanentError;
    return;
  }

  uint64_t credential = CredentialOf(settings.headers);
  for (const uint64_t other : {settings.credential(), target.credential}) {
    if (other != 0) {
      credential = AddCredential(
          credential, absl::string_view(reinterpret_cast<const char*>(&other),
                                        sizeof(other)));
    }
  }
  request.endpoint_key = target.host_port;
  request.quota_key = QuotaKey(target.host_port, options.quota_id, credential);
  request.target = target.host_port;
  request.method = settings.Method();
  request.protocol = Protocol::kHttp;
  request.deadline = MonotonicNow() + options.deadline;
  if (options.deadline == absl::InfiniteDuration()) {
    request.deadline = MonotonicTime::Infinite();
  }
  request.idempotent = IsIdempotent(options, *policy, profile);
  std::optional<KeyLine> key;
  if (WantsKey(*policy)) {
    key.emplace(this, policy->idempotency_header);
    if (key->is_set()) {
      request.idempotent = options.idempotent.value_or(true);
    }
  }
  request.nested = settings.HasRetryMarker();
  request.cost = options.cost;

  const auto own_parker = std::make_shared<Parker>();
  {
    std::lock_guard<std::mutex> lock(mutex);
    parker = own_parker;
  }
  {
    Call call(client.get(), request, own_parker);
    HttpTransport::Limits limits;
    limits.max_held_bytes = options.max_held_bytes;
    limits.max_hold = options.max_hold_time;
    limits.at_most_once = !request.idempotent;
    HttpTransport::Readers readers;
    readers.profile = profile.profile;
    readers.generic = &profile.set->generic();
    readers.classifier = &client->options().classify_http;
    HttpTransport transport(easy, multi, &settings, own_parker.get(), limits,
                            readers);
    RunBlocking(&call, own_parker.get(), &transport);
    result->code = transport.Conclude(call.record());
    result->record = call.record();
  }
  {
    std::lock_guard<std::mutex> lock(mutex);
    parker = nullptr;
  }
  Conclude(result);
}

void Handle::Impl::PerformPlain(const CallOptions& options,
                                const std::optional<Target>& target,
                                const PolicyRef& policy, CallResult* result) {
  CallRecord& record = result->record;
  record.call_id = client->NextCallId();
  record.protocol = Protocol::kHttp;
  record.names = CallNames(target ? target->host_port : "", settings.Method(),
                           policy->name);
  const ProfileRef profile = client->ProfileOf(options.profile, *policy,
                                               target ? target->host_port : "");
  record.idempotent = IsIdempotent(options, *policy, profile);
  record.wall_start = WallNow();
  record.begin = MonotonicNow();

  plain = true;
  result->code = curl_easy_perform(easy);
  plain = false;

  record.end = MonotonicNow();
  record.total_attempts = 1;
  long status = 0;
  long request_size = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_size);
  AttemptFacts facts;
  facts.code = result->code;
  facts.sent = request_size > 0;
  facts.status = target && target->is_http() ? static_cast<int>(status) : 0;
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
  attempt.start = record.begin;
  attempt.end = record.end;
  attempt.outcome = Classify(facts);
  CountBytes(easy, settings, &attempt.outcome);
  record.attempts.push_back(attempt);
  switch (attempt.outcome.kind) {
    case ErrorKind::kOk:
      record.stop_reason = StopReason::kSuccess;
      break;
    case ErrorKind::kPermanent:
      record.stop_reason = StopReason::kPermanentError;
      break;
    case ErrorKind::kCancelled:
      record.stop_reason = StopReason::kCancelled;
      break;
    case ErrorKind::kQuotaExhausted:
      record.stop_reason = StopReason::kQuotaExhausted;
      break;
    case ErrorKind::kTransient:
    case ErrorKind::kThrottled:
      record.stop_reason = StopReason::kAttemptsExhausted;  // of one
      break;
  }
  Conclude(result);
}

void Handle::Impl::Conclude(CallResult* result) const {
  const CallRecord& record = result->record;
  if (record.total_attempts > 0) {
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &result->http_status);
  }
  result->stop_reason = record.stop_reason;
  if (record.retry_at) {
    result->retry_at =
        std::max(absl::ZeroDuration(), *record.retry_at - MonotonicNow());
  }
}

// --- Life. ---

Handle Handle::Create(std::shared_ptr<Client> client) {
  InitLibcurl();
  return Handle(std::make_unique<Impl>(curl_easy_init(), /*owns_handle=*/true,
                                       std::move(client)));
}

Handle Handle::Borrow(CURL* easy, std::shared_ptr<Client> client) {
  InitLibcurl();
  return Handle(
      std::make_unique<Impl>(easy, /*owns_handle=*/false, std::move(client)));
}

Handle::Handle(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Handle::Handle(Handle&& other) noexcept = default;
Handle& Handle::operator=(Handle&& other) noexcept = default;
Handle::~Handle() = default;

}  // namespace forbear::curl
