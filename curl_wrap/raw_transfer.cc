#include "curl_wrap/raw_transfer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "core/execution.h"
#include "core/stop_reason.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/head_facts.h"
#include "curl_wrap/sigpipe_block.h"
#include "curl_wrap/transfer_loop.h"
#include "runtime/classifier.h"
#include "runtime/clock.h"
#include "runtime/nesting.h"
#include "signals/http_classify.h"

namespace forbear::curl {
namespace {

// Of one head; libcurl's own bound is below that since 8.4, and there was none before.
constexpr size_t kMaxHead = size_t{512} << 10;

// Lines after which FAILONERROR stays as it is until the head's end: a head of many
// lines must not cost their square.
constexpr size_t kMaxArmedLines = 256;

bool IsIdempotentMethod(absl::string_view method) {
  for (const absl::string_view known :
       {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    if (method == known) return true;
  }
  return false;
}

bool IsMethodName(absl::string_view text) {
  return !text.empty() && text.size() <= 32 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_';
         });
}

// A request's head, as libcurl says that it was sent.
struct RequestHead {
  absl::string_view method;
  absl::string_view version;
  HeaderFields fields;
  bool whole;

  explicit RequestHead(absl::string_view text)
      : whole(absl::EndsWith(text, "\r\n\r\n")) {
    const size_t end = text.find("\r\n");
    const absl::string_view line = text.substr(0, end);
    method = line.substr(0, line.find(' '));
    version = line.substr(line.rfind(' ') + 1);
    while (!text.empty()) {
      const size_t size = std::min(text.find('\n'), text.size() - 1) + 1;
      AddField(text.substr(0, size), &fields);
      text.remove_prefix(size);
    }
  }

  absl::string_view Value(absl::string_view name) const {
    for (const HeaderField& field : fields) {
      if (absl::EqualsIgnoreCase(field.name, name)) return field.value;
    }
    return "";
  }
  bool MayHaveBody() const {
    if (!whole || !Value("Transfer-Encoding").empty()) return true;
    const absl::string_view length = Value("Content-Length");
    if (!length.empty()) return length != "0";
    // HTTP/2 needs neither.
    return !absl::StartsWith(version, "HTTP/1.") && method != "GET" &&
           method != "HEAD" && method != "DELETE" && method != "OPTIONS" &&
           method != "TRACE";
  }
};

RawTransfer* Self(void* self) { return static_cast<RawTransfer*>(self); }

}  // namespace

RawTransfer::Brake RawTransfer::BrakeOfLibcurl() {
  static const unsigned int version =
      curl_version_info(CURLVERSION_NOW)->version_num;
  return version < 0x080700 ? Brake::kPause : Brake::kFail;
}

RawTransfer::RawTransfer(CURL* easy, CURLM* multi, const RawOptions* options,
                         const HttpTransport::Readers& readers,
                         std::vector<std::string> key_headers, Brake brake)
    : easy_(easy),
      multi_(multi),
      options_(*options),
      first_readers_(readers),
      readers_(readers),
      key_headers_(std::move(key_headers)),
      brake_(brake) {}

RawTransfer::~RawTransfer() {
  if (!taken_over_) return;
  curl_easy_setopt(easy_, CURLOPT_VERBOSE, 0L);
  curl_easy_setopt(easy_, CURLOPT_DEBUGFUNCTION, nullptr);
  curl_easy_setopt(easy_, CURLOPT_DEBUGDATA, nullptr);
  if (multi_ == nullptr) curl_easy_setopt(easy_, CURLOPT_FRESH_CONNECT, 0L);
  SetFailOnError(false);
}

// --- The attempt. ---

void RawTransfer::Attempt(Call* call, int n, MonotonicTime deadline) {
  if (!Begin(call, n)) return;
  CURLcode code;
  {
    const SigpipeBlock no_sigpipe;
    code = Run(deadline);
  }
  End(code);
}

bool RawTransfer::Begin(Call* call, int n) {
  call_ = call;
  ++attempts_;
  number_ = n;
  requested_ = unanswered_ = has_body_ = awaits_consent_ = consented_ =
      uploaded_ = acted_ = tunnels_ = redirected_ = false;
  repeatable_ = true;
  head_ = HeadReader();
  head_text_.clear();
  head_lines_.clear();
  head_is_cut_ = false;
  status_ = 0;
  if (clock_ != nullptr) {
    clock_ = nullptr;
    place_ = RedirectPlaces::Place();
    readers_ = first_readers_;
  }
  head_time_ = absl::InfinitePast();
  decided_ = reported_ = stopped_ = delivered_ = false;
  at_head_ = AnswerMeaning();
  bytes_sent_ = bytes_received_ = 0;
  resends_ = 0;
  code_ = CURLE_OK;
  if (std::exchange(must_rewind_, false) && !options_.rewind_body()) {
    // What was refused before is gone, and nothing can be sent.
    code_ = CURLE_SEND_FAIL_REWIND;
    call->SetNotReplayable();
    ReportDone(NothingLeft(code_));
    return false;
  }
  return true;
}

CURLcode RawTransfer::Run(MonotonicTime deadline) {
  if (multi_ != nullptr) return RunOn(multi_, deadline);
  CURLM* const multi = curl_multi_init();
  if (multi == nullptr) return CURLE_OUT_OF_MEMORY;
  const CURLcode code = RunOn(multi, deadline);
  curl_multi_cleanup(multi);
  return code;
}

CURLcode RawTransfer::RunOn(CURLM* multi, MonotonicTime deadline) {
  // First of all: what is in somebody else's hands is not touched.
  if (curl_multi_add_handle(multi, easy_) != CURLM_OK) {
    refused_ = true;
    return CURLE_FAILED_INIT;
  }
  if (!taken_over_) {
    curl_easy_setopt(easy_, CURLOPT_DEBUGFUNCTION, &OnDebug);
    curl_easy_setopt(easy_, CURLOPT_DEBUGDATA, this);
    curl_easy_setopt(easy_, CURLOPT_VERBOSE, 1L);
    // A CURLSH, of which nobody can know, has connections for all multi handles.
    if (multi_ == nullptr) curl_easy_setopt(easy_, CURLOPT_FRESH_CONNECT, 1L);
    taken_over_ = true;
  }
  SetFailOnError(false);
  running_ = true;
  const auto look = [&](MonotonicTime* until) -> std::optional<CURLcode> {
    if (stopped_) return CURLE_OK;
    *until = deadline;
    if (deadline.is_infinite() || MonotonicNow() < deadline)
      return std::nullopt;
    return CURLE_OPERATION_TIMEDOUT;
  };
  bool over = false;
  const CURLcode code = RunTransfer(multi, easy_, look, &over);
  running_ = false;
  // One that was stopped has its answer's head: no name is being looked up.
  RemoveHandle(multi, easy_, EasyOptions(/*fresh=*/false),
               /*in_mid_air=*/!over && !stopped_);
  return code;
}

void RawTransfer::End(CURLcode code) {
  code_ = code;
  if (reported_) {
    if (stopped_) code_ = CURLE_HTTP_RETURNED_ERROR;
    return;
  }
  if (code == CURLE_HTTP_RETURNED_ERROR && !head_.complete()) {
    status_ = head_.status();
    head_time_ = WallNow();
  }
  if (!decided_ && EndsTransfer(head_.status()) && head_.status() >= 400 &&
      (code == CURLE_HTTP_RETURNED_ERROR ||
       ((armed_ || options_.fail_on_error) &&
        code != CURLE_OPERATION_TIMEDOUT && code != CURLE_WRITE_ERROR &&
        code != CURLE_ABORTED_BY_CALLBACK))) {
    // FAILONERROR, ours or the application's. libcurl has taken all of the head, and
    // shown all but the empty line. Over HTTP/2 some versions give another code.
    code_ = CURLE_HTTP_RETURNED_ERROR;
    status_ = head_.status();
    head_time_ = WallNow();
    Decide();
    if (reported_) return;
  }
  if (code_ == CURLE_OK && status_ == 0) {
    // HTTP/0.9; or a head that was shown in another way than is known here, and
    // might have asked for anything.
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    status_ = static_cast<int>(status);
    head_is_cut_ = true;
  }
  if (redirected_) {
    long redirects = 0;
    curl_easy_getinfo(easy_, CURLINFO_REDIRECT_COUNT, &redirects);
    if (redirects > redirects_) {
      // It was followed, and its body went to nobody. What has failed is the way to
      // the other server.
      Follow();
      delivered_ = false;
    }
  }
  AttemptFacts facts = Facts(status_);
  facts.code = code_;
  facts.sent = WasSent();
  facts.delivered = delivered_;
  if (code_ == CURLE_SEND_FAIL_REWIND && attempts_ > 1) {
    // A MIME part whose callbacks cannot seek: nothing left this machine.
    call_->SetNotReplayable();
    facts.code = CURLE_COULDNT_CONNECT;
  }
  Outcome outcome = Classify(facts);
  Complete(&outcome);
  outcome.transport_error = code_;
  if (MayChange(outcome)) {
    const bool committed = std::exchange(outcome.committed, false);
    const bool replays = CanReplay();
    if (!replays) call_->SetNotReplayable();
    const bool useful = replays && call_->PreviewHead(outcome) ==
                                       Execution::HeadDecision::kHold;
    outcome.committed =
        committed && !(useful && options_.reset_sink && options_.reset_sink());
    // The transfer is over: here it can still be said that it cannot be.
    if (useful && !outcome.committed && NeedsRewind() &&
        !options_.rewind_body()) {
      call_->SetNotReplayable();
    }
  }
  ReportDone(outcome);
}

CURLcode RawTransfer::Conclude(const CallRecord& record) const {
  return attempts_ == 0 ? CodeOfUnsent(record.stop_reason) : code_;
}

// --- What libcurl says. ---

int RawTransfer::OnDebug(CURL* easy, curl_infotype type, char* data,
                         size_t size, void* self) {
  RawTransfer* const t = Self(self);
  // libcurl's own little transfers (DNS over HTTPS) may bring it along.
  if (easy != t->easy_) return 0;
  const auto n = static_cast<int64_t>(size);
  switch (type) {
    case CURLINFO_HEADER_OUT:
      t->bytes_sent_ += n;
      t->OnRequestHead(absl::string_view(data, size));
      break;
    case CURLINFO_DATA_OUT:
      t->bytes_sent_ += n;
      t->uploaded_ = true;
      break;
    case CURLINFO_HEADER_IN:
      t->bytes_received_ += n;
      t->OnHeadLine(absl::string_view(data, size));
      break;
    case CURLINFO_DATA_IN:
      t->bytes_received_ += n;
      // Of a body that ends before it began, nothing is told, too.
      if (size > 0) t->OnBody();
      break;
    default:
      break;
  }
  return 0;
}

void RawTransfer::OnRequestHead(absl::string_view text) {
  const RequestHead head(text);
  tunnels_ = head.method == "CONNECT";
  if (tunnels_) return;
  requested_ = true;
  if (!absl::StartsWith(head.version, "HTTP/")) {
    // The rest of one that a full socket did not take at once.
    has_body_ = true;
    if (method_.empty()) repeatable_ = false;
    return;
  }
  if (std::exchange(unanswered_, true)) {
    ++resends_;
  } else if (redirected_) {
    Follow();
  }
  redirected_ = false;
  // What came before was the answer of a hop, which libcurl kept for itself.
  delivered_ = decided_ = false;
  status_ = 0;
  const bool named = IsMethodName(head.method);
  if (method_.empty()) method_ = named ? std::string(head.method) : "CUSTOM";
  const bool keyed =
      head.whole && std::any_of(key_headers_.begin(), key_headers_.end(),
                                [&head](const std::string& name) {
                                  return !head.Value(name).empty();
                                });
  repeatable_ = repeatable_ && (IsIdempotentMethod(head.method) || keyed);
  has_body_ = has_body_ || head.MayHaveBody();
  awaits_consent_ =
      absl::EqualsIgnoreCase(head.Value("Expect"), "100-continue");
  consented_ = false;
}

void RawTransfer::Follow() {
  const char* url = nullptr;
  curl_easy_getinfo(easy_, CURLINFO_EFFECTIVE_URL, &url);
  if (url == nullptr) return;
  std::optional<RedirectPlaces::Place> place = readers_.places.Find(url);
  if (!place) return;
  call_->OnRedirect(place->handle, /*must_go=*/true);  // it has gone
  call_->TakeAftermath().Deliver();
  place_ = *std::move(place);
  clock_ = place_.handle != nullptr ? &place_.handle->endpoint->clock
                                    : &nobodys_clock_;
  readers_.GoTo(place_, first_readers_);
}

ServerClock* RawTransfer::Clock() const {
  return clock_ != nullptr ? clock_ : call_->server_clock();
}

void RawTransfer::OnHeadLine(absl::string_view line) {
  const bool is_status_line = absl::StartsWithIgnoreCase(line, "HTTP/");
  if (is_status_line && head_.status() / 100 == 1 && !head_.complete()) {
    head_.Add("\r\n");  // of interim heads libcurl 7 does not show it
  }
  const bool was_complete = head_.complete();
  head_.Add(line);
  if (was_complete && head_.complete()) return;  // of trailers
  if (was_complete || head_lines_.empty()) {
    head_text_.clear();
    head_lines_.clear();
    head_is_cut_ = false;
  }
  if (head_text_.size() + line.size() > kMaxHead) {
    head_is_cut_ = true;
  } else {
    head_text_.append(line.data(), line.size());
    head_lines_.push_back(line.size());
  }
  if (head_.status() == 100) consented_ = true;
  if (!head_.complete()) {
    // A redirect's stays until somebody is asked behind it.
    if (!redirected_) status_ = 0;
    if (brake_ == Brake::kFail && !tunnels_) Arm();
    return;
  }
  if (head_.status() / 100 != 1 && !tunnels_ &&
      !IsTunnelHead(easy_, head_.status())) {
    OnAnswer();
  }
  head_time_ = WallNow();
  if (EndsTransfer(status_)) Decide();
}

void RawTransfer::OnAnswer() {
  unanswered_ = false;
  status_ = head_.status();
  acted_ = acted_ || MayHaveActed(status_);
  redirected_ = status_ / 100 == 3;
  if (redirected_) {
    curl_easy_getinfo(easy_, CURLINFO_REDIRECT_COUNT, &redirects_);
  }
}

void RawTransfer::OnBody() {
  if (!stopped_) delivered_ = true;
}

// --- What it means. ---

void RawTransfer::Decide() {
  AttemptFacts facts = Facts(status_);
  facts.code = code_;
  at_head_ = facts.answer;
  decided_ = true;
  const Outcome read = Classify(facts);
  Outcome outcome = read;
  AskClassifier(&outcome);
  Complete(&outcome);
  const bool failed = MayChange(outcome);
  const bool replays = CanReplay();
  if (failed && !replays) call_->SetNotReplayable();
  if (MayChange(read) || !failed) {
    // A refusal stops the others now; what the classifier alone has seen does so at
    // the end.
    Outcome told = read;
    Complete(&told);
    call_->OnAnswerHead(number_, told);
    if (status_ < 400) {
      const HeaderFields fields = Fields();
      const AnswerFacts answer =
          FactsOfHead(status_, fields, head_time_, Clock());
      if (const auto stand = ReadStand(answer, *readers_.profile)) {
        call_->OnLimitTold(number_, *stand);
      }
    }
    call_->TakeAftermath().Deliver();
  }
  // The end of the attempt, as far as the call is concerned: what comes now is
  // either the application's, or nobody's.
  if (failed || MayChange(read)) {
    ReportDone(outcome);
    stopped_ = armed_ || (!call_->finished() && !IsEmpty());
    must_rewind_ = !call_->finished() && NeedsRewind();
  }
  if (call_->finished() || !failed) {
    if (!options_.reset_sink) InsideAttempt::Settle(call_);
  }
  if (stopped_ && running_ && brake_ == Brake::kPause) {
    curl_easy_pause(easy_, CURLPAUSE_RECV);
  }
}

void RawTransfer::Arm() {
  if (head_lines_.size() > kMaxArmedLines) return;
  bool arm = false;
  if (head_.status() >= 400 && EndsTransfer(head_.status())) {
    head_time_ = WallNow();
    Outcome outcome = Classify(Facts(head_.status()));
    Complete(&outcome);
    arm = MayChange(outcome) && CanReplay() && !IsEmpty() &&
          call_->PreviewHead(outcome) == Execution::HeadDecision::kHold;
  }
  if (arm != armed_) SetFailOnError(arm);
}

void RawTransfer::SetFailOnError(bool on) {
  armed_ = on;
  if (brake_ != Brake::kFail) return;
  curl_easy_setopt(easy_, CURLOPT_FAILONERROR,
                   on || options_.fail_on_error ? 1L : 0L);
}

AttemptFacts RawTransfer::Facts(int status) const {
  AttemptFacts facts;
  facts.status = status;
  facts.sent = true;
  facts.acted = acted_ && !options_.idempotent.value_or(IsRepeatable());
  if (status < 400) return facts;
  if (decided_) {
    facts.answer = at_head_;
    return facts;
  }
  const HeaderFields fields = Fields();
  facts.answer =
      ClassifyAnswer(FactsOfHead(status, fields, head_time_, Clock()),
                     *readers_.profile, *readers_.generic);
  // Whoever cannot read all of it does not know for how long it is to stay away.
  if (head_is_cut_) facts.answer.retry_forbidden = true;
  return facts;
}

HeaderFields RawTransfer::Fields() const {
  HeaderFields fields;
  absl::string_view rest = head_text_;
  for (const size_t size : head_lines_) {
    AddField(rest.substr(0, size), &fields);
    rest.remove_prefix(size);
  }
  return fields;
}

void RawTransfer::AskClassifier(Outcome* outcome) const {
  if (!*readers_.classifier || status_ < 400) return;
  const HeaderFields fields = Fields();
  absl::InlinedVector<NameAndValue, 32> headers;
  for (const HeaderField& field : fields) {
    headers.emplace_back(field.name, field.value);
  }
  HttpAnswer answer;
  answer.status = status_;
  answer.headers = headers;
  Reclassify(*readers_.classifier, answer, outcome);
}

void RawTransfer::Complete(Outcome* outcome) const {
  if (!options_.idempotent && IsRepeatable()) outcome->repeatable = true;
  outcome->resends = resends_;
  outcome->bytes_sent = bytes_sent_;
  outcome->bytes_received = bytes_received_;
}

void RawTransfer::ReportDone(const Outcome& outcome) {
  reported_ = true;
  call_->OnAttemptDone(number_, outcome);
  call_->TakeAftermath().Deliver();
}

// --- What was sent. ---

bool RawTransfer::WasSent() const {
  long request = 0;
  curl_off_t uploaded = 0;
  curl_easy_getinfo(easy_, CURLINFO_REQUEST_SIZE, &request);
  curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &uploaded);
  return requested_ || request > 0 || uploaded > 0;
}

bool RawTransfer::IsRepeatable() const {
  if (requested_) return repeatable_;
  const char* method = nullptr;
  curl_easy_getinfo(easy_, CURLINFO_EFFECTIVE_METHOD, &method);
  return method != nullptr && IsIdempotentMethod(method);
}

bool RawTransfer::BodyBegun() const {
  curl_off_t uploaded = 0;
  curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &uploaded);
  if (uploaded_ || uploaded > 0) return true;
  if (!requested_) {
    // Since 8.7 libcurl reads of the body before it sends the head.
    if (brake_ == Brake::kPause || code_ == CURLE_COULDNT_RESOLVE_HOST ||
        code_ == CURLE_COULDNT_RESOLVE_PROXY ||
        code_ == CURLE_COULDNT_CONNECT) {
      return false;
    }
    const char* method = nullptr;
    curl_easy_getinfo(easy_, CURLINFO_EFFECTIVE_METHOD, &method);
    return method == nullptr || (absl::string_view(method) != "GET" &&
                                 absl::string_view(method) != "HEAD");
  }
  if (!has_body_) return false;
  const bool unasked = awaits_consent_ && !consented_ && head_.status() >= 400;
  return !unasked;
}

bool RawTransfer::NeedsRewind() const {
  return BodyBegun() && !options_.body_replays;
}

bool RawTransfer::CanReplay() const {
  return !NeedsRewind() || options_.rewind_body != nullptr;
}

bool RawTransfer::IsEmpty() const {
  // Over HTTP/2 only the stream is closed, and its end may be late.
  if (!absl::StartsWith(head_text_, "HTTP/1.")) return false;
  bool none = false;
  for (const HeaderField& field : Fields()) {
    if (absl::EqualsIgnoreCase(field.name, "Transfer-Encoding")) return false;
    if (absl::EqualsIgnoreCase(field.name, "Content-Length")) {
      none = field.value == "0";
    }
  }
  return none;
}

}  // namespace forbear::curl
