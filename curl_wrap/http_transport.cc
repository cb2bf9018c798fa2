#include "curl_wrap/http_transport.h"

#include <sys/types.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/execution.h"
#include "core/redirect_chain.h"
#include "core/stop_reason.h"
#include "curl_wrap/byte_count.h"
#include "curl_wrap/head_facts.h"
#include "runtime/clock.h"
#include "runtime/nesting.h"
#include "signals/header_field.h"
#include "signals/header_signals.h"
#include "signals/http_classify.h"
#include "signals/rate_limit_headers.h"

namespace forbear::curl {
namespace {

// What libcurl promises not to exceed towards a write callback.
constexpr size_t kChunk = CURL_MAX_WRITE_SIZE;

// Seconds after which an idle connection is too old for a call that must go at
// most once. libcurl counts whole seconds: below 2 s.
constexpr long kMaxIdle = 1;

// What a classifier sees of a body.
constexpr size_t kMaxClassified = size_t{64} << 10;

// Of heads, that much is held in any case.
constexpr size_t kMaxHead = size_t{512} << 10;

// A longer head is not worth a quick look. (It would have to have less than 1000 lines,
// signals/header_signals.h.)
constexpr size_t kMaxQuickHead = size_t{2} << 10;

// Of each text that is held: more memory than this is not kept for the next answer.
constexpr size_t kMaxRoom = size_t{64} << 10;

// libcurl before 8.7 sends trailers once in the life of a handle. A second body goes
// without them, and one that is read by a callback is written to the wrong place: a few
// bytes in front of the buffer.
bool SendsTrailersOnce() {
  static const bool once =
      curl_version_info(CURLVERSION_NOW)->version_num < 0x080700;
  return once;
}

HttpTransport* Self(void* self) { return static_cast<HttpTransport*>(self); }

// One that libcurl may follow.
bool IsRedirect(int status) { return status >= 300 && status < 400; }

bool IsFailure(const Outcome& outcome) { return MayChange(outcome); }

absl::string_view NameOf(absl::string_view line) {
  if (line.empty()) return line;
  const void* const colon = std::memchr(line.data(), ':', line.size());
  if (colon == nullptr) return {};
  return line.substr(
      0, static_cast<size_t>(static_cast<const char*>(colon) - line.data()));
}

bool IsNameOfLimit(absl::string_view name, const VendorProfile& profile) {
  return std::any_of(profile.limits.begin(), profile.limits.end(),
                     [&](const LimitRule& rule) {
                       return absl::EqualsIgnoreCase(name, rule.remaining);
                     });
}

}  // namespace

void HttpTransport::Lines::Clear() {
  if (capacity_ > kMaxRoom) {
    *this = Lines();
  } else {
    size_ = 0;
    sizes_.clear();
  }
}

void HttpTransport::Lines::Grow(size_t by) {
  capacity_ = std::max(2 * capacity_, size_ + by + 1024);
  std::unique_ptr<char[]> more(new char[capacity_]);
  if (size_ > 0) std::memcpy(more.get(), bytes_.get(), size_);
  bytes_ = std::move(more);
}

void HttpTransport::Held::Clear() {
  head.Clear();
  trailers.Clear();
  if (body.capacity() > kMaxRoom) {
    body = std::string();
  } else {
    body.clear();
  }
  lines_given = bytes_of_lines_given = body_given = 0;
  trailers_given = bytes_of_trailers_given = 0;
}

HttpTransport::HttpTransport(CURL* easy, const EasyOptions* settings,
                             const Limits& limits, const Readers& readers,
                             Room* room)
    : easy_(easy),
      settings_(*settings),
      limits_(limits),
      first_readers_(readers),
      readers_(readers),
      takes_body_(settings->body() == EasyOptions::Body::kStream),
      buffers_(takes_body_ && limits.max_buffered_body > 0),
      room_(room != nullptr ? *room : own_room_),
      held_(room_.held) {
  if (takes_body_ && settings_.read_function == nullptr) {
    file_start_ = ftello(File());
  }
  // Who can seek needs no copy.
  if (CanSeek()) buffers_ = false;
  TakeOver();
}

HttpTransport::~HttpTransport() {
  if (!leaves_) Restore();
  held_.Clear();
}

void HttpTransport::TakeOver() {
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &WriteCallback);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &HeaderCallback);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  // These, only if they may be otherwise.
  const bool known = settings_.fresh();
  if (!known || settings_.include_head) {
    curl_easy_setopt(easy_, CURLOPT_HEADER, 0L);
  }
  if (!known || settings_.fail_on_error) {
    curl_easy_setopt(easy_, CURLOPT_FAILONERROR, 0L);
  }
  if (!known || !settings_.no_signal) {
    curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  }
  if (takes_body_) {
    curl_easy_setopt(easy_, CURLOPT_READFUNCTION, &ReadCallback);
    curl_easy_setopt(easy_, CURLOPT_READDATA, this);
    if (CanRewind()) {
      curl_easy_setopt(easy_, CURLOPT_SEEKFUNCTION, &SeekCallback);
      curl_easy_setopt(easy_, CURLOPT_SEEKDATA, this);
    }
  }
  curl_easy_setopt(easy_, CURLOPT_PREREQFUNCTION, &PrereqCallback);
  curl_easy_setopt(easy_, CURLOPT_PREREQDATA, this);
  if (limits_.at_most_once) {
    curl_easy_setopt(easy_, CURLOPT_MAXAGE_CONN,
                     std::min(settings_.max_age, kMaxIdle));
  }
}

void HttpTransport::Restore() {
  TakeUrlBack();
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, settings_.write_function);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, settings_.write_data);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, settings_.header_function);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, settings_.header_data);
  if (settings_.include_head) curl_easy_setopt(easy_, CURLOPT_HEADER, 1L);
  if (settings_.fail_on_error) curl_easy_setopt(easy_, CURLOPT_FAILONERROR, 1L);
  if (!settings_.no_signal) curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 0L);
  if (takes_body_) {
    curl_easy_setopt(easy_, CURLOPT_READFUNCTION, settings_.read_function);
    curl_easy_setopt(easy_, CURLOPT_READDATA, settings_.read_data);
    curl_easy_setopt(easy_, CURLOPT_SEEKFUNCTION, settings_.seek_function);
    curl_easy_setopt(easy_, CURLOPT_SEEKDATA, settings_.seek_data);
  }
  curl_easy_setopt(easy_, CURLOPT_PREREQFUNCTION, settings_.prereq_function);
  curl_easy_setopt(easy_, CURLOPT_PREREQDATA, settings_.prereq_data);
  if (limits_.at_most_once) {
    curl_easy_setopt(easy_, CURLOPT_MAXAGE_CONN, settings_.max_age);
  }
}

void HttpTransport::LendUrl() {
  // Of a handle of others, nobody knows whether it has a CURLU.
  if (parsed_url_ == nullptr || settings_.curlu != nullptr ||
      !settings_.fresh()) {
    return;
  }
  const CURLU* const url = parsed_url_->For(easy_);
  if (url == nullptr) return;
  lends_url_ = curl_easy_setopt(easy_, CURLOPT_CURLU,
                                const_cast<CURLU*>(url)) == CURLE_OK;
}

void HttpTransport::TakeUrlBack() {
  if (!lends_url_) return;
  lends_url_ = false;
  // One that a callback has set meanwhile stays.
  curl_easy_setopt(easy_, CURLOPT_CURLU, const_cast<CURLU*>(settings_.curlu));
}

bool HttpTransport::Begin(Call* call, int n) {
  call_ = call;
  number_ = n;
  if (++attempts_ > 1) Forget();
  // Or it would keep the text of a failure that the application never saw.
  SetError("");
  if (!Rewind()) {
    // Only if it could be rewound neither when the last attempt ended, nor now.
    code_ = CURLE_SEND_FAIL_REWIND;
    SetError("forbear: the request body cannot be read again");
    call->SetNotReplayable();
    ReportDone(NothingLeft(code_));
    return false;
  }
  if (settings_.error_buffer != nullptr) started_ = MonotonicNow();
  LendUrl();
  return true;
}

void HttpTransport::Forget() {
  mode_ = Mode::kHead;
  head_ = HeadReader();
  status_ = 0;
  head_time_ = absl::InfinitePast();
  at_head_ = AnswerMeaning();
  held_.Clear();
  hold_until_ = MonotonicTime::Infinite();
  discarded_ = 0;
  reported_ = stopped_ = application_failed_ = delivered_ = false;
  paused_in_head_ = giving_ = false;
  requested_ = answered_ = redirected_ = resend_refused_ = acted_ = false;
  connects_ = -1;
  resends_ = 0;
  if (clock_ != nullptr) {
    clock_ = nullptr;
    place_ = RedirectPlaces::Place();
    readers_ = first_readers_;
  }
  redirect_refused_ = false;
  code_ = CURLE_OK;
}

void HttpTransport::Hold() {
  hold_until_ = MonotonicNow() + limits_.max_hold;
  if (watch_ != nullptr) watch_(watch_with_);
}

bool HttpTransport::OnHoldOver() {
  if (MonotonicNow() < hold_until_) return true;
  if (mode_ == Mode::kDiscard) stopped_ = true;
  if (stopped_ || !DecideEarly()) return false;
  if (giving_) curl_easy_pause(easy_, CURLPAUSE_RECV);
  return true;
}

void HttpTransport::EndCancelled() {
  code_ = CURLE_ABORTED_BY_CALLBACK;
  SetError("forbear: cancelled");
  call_->OnCancel();
}

void HttpTransport::End(CURLcode code) {
  TakeUrlBack();
  code_ = code;
  if (resend_refused_) {
    code_ = CURLE_GOT_NOTHING;
    SetError("Empty reply from server");
  }
  if (redirect_refused_) {
    code_ = CURLE_COULDNT_CONNECT;
    SetError("forbear: the server of a redirect may not be asked now");
    Outcome outcome = RedirectRefused(status_);
    CountBytes(easy_, settings_, &outcome);
    CheckReplay(/*rewind=*/true);
    ReportDone(outcome);
    return;
  }
  if (redirected_ && WasFollowed()) Follow(/*gone=*/true);
  bool timed_out = code_ == CURLE_OPERATION_TIMEDOUT;
  if (application_failed_) code_ = CURLE_WRITE_ERROR;
  if (mode_ == Mode::kDiscard) {
    // However the discarded part ended. Conclude() makes 22 of it.
    code_ = CURLE_OK;
    timed_out = false;
  } else if (stopped_ && !application_failed_) {
    code_ = CURLE_PARTIAL_FILE;  // should anybody see it
    SetError("forbear: the answer was given up");
  }
  if (code_ == CURLE_RANGE_ERROR && FailsOnError()) {
    code_ = CURLE_OK;  // libcurl would not have come so far; Conclude() says 22
  }
  if (timed_out && settings_.error_buffer != nullptr &&
      settings_.error_buffer[0] == '\0') {
    // Not known to who has the buffer since a callback only.
    const std::string after =
        started_ == MonotonicTime::InfinitePast()
            ? ""
            : absl::StrCat(" after ",
                           absl::ToInt64Milliseconds(MonotonicNow() - started_),
                           " milliseconds");
    SetError(absl::StrCat("Operation timed out", after,
                          " (forbear: attempt timeout or deadline)"));
  }
  if (reported_) return;
  if (code_ == CURLE_OK && status_ < 400) {
    Outcome outcome = GoodAnswer(status_);
    CountBytes(easy_, settings_, &outcome);
    ReportDone(outcome);
    return;
  }
  // Not of what the application already has, nor if it ended it itself.
  const bool undecided = mode_ == Mode::kHead || mode_ == Mode::kHold;
  AttemptFacts facts = Facts(/*with_body=*/undecided);
  facts.code = code_;
  facts.timed_out = timed_out;
  facts.sent = status_ != 0 || WasSent();
  if (code_ == CURLE_PARTIAL_FILE && !answered_) {
    // An upload that is complete already, if libcurl has made no request of it. Over
    // HTTP/2 a connection that ends without an answer is 18, too.
    long request = 0;
    curl_easy_getinfo(easy_, CURLINFO_REQUEST_SIZE, &request);
    if (request == 0) facts.sent = false;
  }
  facts.delivered = delivered_;
  if (code_ == CURLE_SEND_FAIL_REWIND && attempts_ > 1) {
    // A MIME part whose callbacks cannot seek: nothing left this machine.
    call_->SetNotReplayable();
    facts.code = CURLE_COULDNT_CONNECT;
  }
  Outcome outcome = Classify(facts);
  outcome.transport_error = code_;
  CountBytes(easy_, settings_, &outcome);
  if (undecided && !application_failed_ &&
      outcome.kind != ErrorKind::kCancelled) {
    AskClassifier(&outcome);
  }
  if (IsFailure(outcome)) CheckReplay(/*rewind=*/true);
  ReportDone(outcome);
}

CURLcode CodeOfUnsent(StopReason reason) {
  switch (reason) {
    case StopReason::kCancelled:
      return CURLE_ABORTED_BY_CALLBACK;
    case StopReason::kDeadlineExceeded:
    case StopReason::kMaxElapsed:
      return CURLE_OPERATION_TIMEDOUT;
    default:
      return CURLE_COULDNT_CONNECT;
  }
}

CURLcode HttpTransport::Conclude(const CallRecord& record) {
  if (attempts_ == 0) {
    SetError(absl::StrCat("forbear: nothing was sent. ",
                          StopReasonSentence(record.stop_reason)));
    return CodeOfUnsent(record.stop_reason);
  }
  if (record.stop_reason == StopReason::kCancelled) {
    if (code_ == CURLE_OK) SetError("forbear: cancelled");
    return CURLE_ABORTED_BY_CALLBACK;
  }
  if (mode_ == Mode::kHead || mode_ == Mode::kHold || giving_) {
    if (!application_failed_) Stream();
    if (giving_ || application_failed_) {
      SetError("Failed writing received data to disk/application");
      return CURLE_WRITE_ERROR;
    }
  }
  if (code_ == CURLE_OK && mode_ == Mode::kDiscard) {
    SetError(absl::StrCat("The requested URL returned error: ", status_));
    return CURLE_HTTP_RETURNED_ERROR;
  }
  return code_;
}

// --- What libcurl says. ---

size_t HttpTransport::HeaderCallback(char* data, size_t size, size_t n,
                                     void* self) {
  HttpTransport* const t = Self(self);
  const absl::string_view line(data, size * n);
  // Most lines are neither the first nor the last one of a head.
  if (t->mode_ == Mode::kHead && t->head_.Passes(line) &&
      t->held_.head.bytes().size() < kMaxHead) {
    t->held_.head.Add(line);
    return line.size();
  }
  return t->OnHeader(line);
}

size_t HttpTransport::WriteCallback(char* data, size_t size, size_t n,
                                    void* self) {
  return Self(self)->OnBody(absl::string_view(data, size * n));
}

size_t HttpTransport::OnHeader(absl::string_view line) {
  switch (mode_) {
    case Mode::kDiscard:
      return line.size();
    case Mode::kHold:
      held_.trailers.Add(line);
      if (held_.size() > limits_.max_held_bytes && !DecideEarly()) return 0;
      return giving_ ? (paused_in_head_ = true, CURL_WRITEFUNC_PAUSE)
                     : line.size();
    case Mode::kStream: {
      Give give = Give::kDone;
      if (giving_) give = GiveHeld();
      if (give == Give::kDone && !paused_in_head_) {
        give = GiveLine(line, /*trailer=*/head_.complete());
      }
      if (give == Give::kPaused) return CURL_WRITEFUNC_PAUSE;
      paused_in_head_ = false;
      return give == Give::kDone ? line.size() : 0;
    }
    case Mode::kHead:
      break;
  }
  const bool was_complete = head_.complete();
  head_.Add(line);
  held_.head.Add(line);
  if (!head_.complete()) {
    // A redirect's stays until somebody is asked behind it.
    if (!redirected_) status_ = 0;
  } else if (!was_complete) {
    if (head_.status() / 100 != 1 && !IsOfTunnel()) OnAnswer();
    head_time_ = WallNow();
    if (EndsTransfer(status_) && !MayBeARound() && !Decide()) return 0;
  }
  // Heads without end are the application's problem, as with plain libcurl.
  if (mode_ == Mode::kHead &&
      held_.size() > std::max(limits_.max_held_bytes, kMaxHead)) {
    answered_ = true;
    if (!Stream()) return 0;
  }
  if (giving_) {
    paused_in_head_ = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  return line.size();
}

bool HttpTransport::IsOfTunnel() const {
  // Who has been answered waits for no other answer.
  if (requested_ && answered_) return true;
  if (connects_ >= 0) {
    // One that was made since the request. The status alone may be that of the answer
    // before, which libcurl keeps until there is another one.
    long connects = 0;
    curl_easy_getinfo(easy_, CURLINFO_NUM_CONNECTS, &connects);
    if (connects != connects_) return true;
  }
  return IsTunnelHead(easy_, head_.status());
}

void HttpTransport::OnAnswer() {
  answered_ = true;
  status_ = head_.status();
  acted_ = acted_ || MayHaveActed(status_);
  redirected_ = IsRedirect(status_);
  if (redirected_) {
    curl_easy_getinfo(easy_, CURLINFO_REDIRECT_COUNT, &redirects_);
  }
}

bool HttpTransport::MayBeARound() const {
  if (status_ >= 300 || !settings_.negotiates() ||
      settings_.body() == EasyOptions::Body::kNone) {
    return false;
  }
  curl_off_t uploaded = 0;
  curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &uploaded);
  return uploaded == 0;
}

size_t HttpTransport::OnBody(absl::string_view chunk) {
  answered_ = true;
  if (mode_ == Mode::kHead && !Decide()) return 0;
  if (mode_ == Mode::kHold &&
      held_.size() + chunk.size() > limits_.max_held_bytes && !DecideEarly()) {
    return 0;
  }
  switch (mode_) {
    case Mode::kHead:
      break;
    case Mode::kHold:
      held_.body.append(chunk.data(), chunk.size());
      return chunk.size();
    case Mode::kDiscard:
      discarded_ += chunk.size();
      if (discarded_ <= limits_.max_held_bytes) return chunk.size();
      stopped_ = true;
      return 0;
    case Mode::kStream: {
      Give give = Give::kDone;
      if (giving_) give = GiveHeld();
      if (give == Give::kDone) give = GiveBody(chunk);
      if (give == Give::kPaused) return CURL_WRITEFUNC_PAUSE;
      return give == Give::kDone ? chunk.size() : 0;
    }
  }
  return 0;
}

// --- What it means. ---

bool HttpTransport::DecideGood() {
  call_->OnAnswerHead(number_, GoodAnswer(status_));
  ReadGoodHead();
  call_->TakeAftermath().Deliver();
  return Stream();
}

bool HttpTransport::Decide() {
  if (status_ < 400) return DecideGood();
  const AttemptFacts facts = Facts(/*with_body=*/false);
  at_head_ = facts.answer;
  Outcome outcome = Classify(facts);
  CountBytes(easy_, settings_, &outcome);
  if (IsFailure(outcome)) CheckReplay(/*rewind=*/false);
  if (LooksAtBody()) {
    // A refusal stops the others now. What counts as an answer may yet turn
    // into a refusal: nobody is told before all of it was looked at.
    if (IsFailure(outcome)) {
      call_->OnAnswerHead(number_, outcome);
      call_->TakeAftermath().Deliver();
    }
    Hold();
    return HoldBack();
  }
  const Execution::HeadDecision decision =
      call_->OnAnswerHead(number_, outcome);
  call_->TakeAftermath().Deliver();
  if (IsFailure(outcome)) {
    Hold();
    if (decision == Execution::HeadDecision::kHold) return HoldBack();
    // The application's. It is told now, before anything is handed over, so
    // that the reason is the true one and not "committed".
    // If not, there will be another attempt after all.
    if (!ReportDone(outcome)) return HoldBack();
  }
  return Stream();
}

bool HttpTransport::HoldBack() {
  mode_ = Mode::kHold;
  return held_.size() <= limits_.max_held_bytes || DecideEarly();
}

bool HttpTransport::ReadDateOnly() {
  const absl::string_view head = held_.head.bytes();
  // All of it at once: that a value speaks of limits is rare.
  if (head.size() > kMaxQuickHead || MayTellOfLimit(head)) return false;
  std::optional<absl::Time> date;
  const char* at = head.data();
  for (const size_t size : held_.head.sizes()) {
    const absl::string_view line(at, size);
    at += size;
    if (IsStatusLine(line)) {
      date.reset();
    } else if (size > 4 && line[4] == ':' && (line[0] | ' ') == 'd') {
      AddDateOf(line, &date);
    } else if (!readers_.profile->limits.empty() &&
               IsNameOfLimit(NameOf(line), *readers_.profile)) {
      return false;
    }
  }
  if (date) Clock()->OnDate(*date, head_time_);
  return true;
}

void HttpTransport::AddDateOf(absl::string_view line,
                              std::optional<absl::Time>* date) {
  // A text of this length means the same at any time (signals/http_date.h).
  constexpr absl::string_view kBegin = "Date: ";
  constexpr absl::string_view kEnd = "\r\n";
  const bool may_be_known =
      line.size() == kBegin.size() + room_.date_text.size() + kEnd.size() &&
      !*date;
  const char* const text = line.data() + kBegin.size();
  if (may_be_known && absl::StartsWith(line, kBegin) &&
      std::memcmp(text, room_.date_text.data(), room_.date_text.size()) == 0) {
    *date = room_.date;
    return;
  }
  HeaderField field;
  if (!ReadField(line, &field)) return;
  AddDate(field, head_time_, date);
  if (may_be_known && *date && field.value.data() == text &&
      field.value.size() == room_.date_text.size()) {
    std::memcpy(room_.date_text.data(), text, room_.date_text.size());
    room_.date = **date;
  }
}

void HttpTransport::ReadGoodHead() {
  if (ReadDateOnly()) return;
  const HeaderFields fields = Fields();
  const AnswerFacts answer = HeadFacts(fields);
  if (const auto stand = ReadStand(answer, *readers_.profile)) {
    call_->OnLimitTold(number_, *stand);
  }
}

bool HttpTransport::DecideEarly() {
  if (!reported_) {
    Outcome outcome = Classify(Facts(/*with_body=*/true));
    CountBytes(easy_, settings_, &outcome);
    AskClassifier(&outcome);
    if (IsFailure(outcome)) CheckReplay(/*rewind=*/false);
    if (ReportDone(outcome)) return Stream();
  }
  stopped_ = true;
  return false;
}

bool HttpTransport::LooksAtBody() const {
  return status_ >= 400 &&
         (*readers_.classifier ||
          ReadsBodyOf(status_, *readers_.profile, *readers_.generic));
}

AttemptFacts HttpTransport::Facts(bool with_body) const {
  AttemptFacts facts;
  facts.status = status_;
  facts.sent = true;
  facts.acted = acted_ && limits_.at_most_once;
  if (status_ < 400) return facts;
  if (mode_ == Mode::kStream || mode_ == Mode::kDiscard) {
    facts.answer = at_head_;
    return facts;
  }
  const HeaderFields fields = Fields();
  AnswerFacts answer = HeadFacts(fields);
  answer.has_body = with_body;
  if (with_body) {
    answer.body = absl::string_view(held_.body).substr(0, kMaxClassified);
  }
  facts.answer = ClassifyAnswer(answer, *readers_.profile, *readers_.generic);
  return facts;
}

AnswerFacts HttpTransport::HeadFacts(const HeaderFields& fields) const {
  return FactsOfHead(status_, fields, head_time_, Clock());
}

HeaderFields HttpTransport::Fields() const {
  HeaderFields fields;
  absl::string_view rest = held_.head.bytes();
  for (const size_t size : held_.head.sizes()) {
    AddField(rest.substr(0, size), &fields);
    rest.remove_prefix(size);
  }
  return fields;
}

void HttpTransport::AskClassifier(Outcome* outcome) const {
  if (!*readers_.classifier || status_ < 400) return;
  absl::InlinedVector<NameAndValue, 32> headers;
  for (const HeaderField& field : Fields()) {
    headers.emplace_back(field.name, field.value);
  }
  HttpAnswer answer;
  answer.status = status_;
  answer.headers = headers;
  answer.body = absl::string_view(held_.body).substr(0, kMaxClassified);
  Reclassify(*readers_.classifier, answer, outcome);
}

bool HttpTransport::ReportDone(const Outcome& outcome) {
  reported_ = true;
  if (resends_ == 0) {
    call_->OnAttemptDone(number_, outcome);
  } else {
    Outcome more = outcome;
    more.resends = resends_;
    call_->OnAttemptDone(number_, more);
  }
  call_->TakeAftermath().Deliver();
  return call_->finished();
}

// --- What the application gets. ---

bool HttpTransport::FailsOnError() const {
  return settings_.fail_on_error && status_ >= 400 &&
         !(status_ == 416 && settings_.resumes);
}

bool HttpTransport::Stream() {
  mode_ = Mode::kStream;
  hold_until_ = MonotonicTime::Infinite();
  if (FailsOnError()) {
    held_.body.clear();
    held_.trailers.Clear();
  }
  if (GiveHeld() == Give::kFailed) return false;
  if (FailsOnError() && !giving_) {
    mode_ = Mode::kDiscard;
    Hold();
  }
  return true;
}

inline HttpTransport::Give HttpTransport::GiveTo(curl_write_callback function,
                                                 absl::string_view data,
                                                 void* to) {
  InsideAttempt::Settle(call_);
  const size_t taken =
      function != nullptr
          ? function(const_cast<char*>(data.data()), 1, data.size(), to)
          : fwrite(data.data(), 1, data.size(),
                   to != nullptr ? static_cast<FILE*>(to) : stdout);
  if (taken != data.size()) return NotTaken(taken);
  delivered_ = true;
  return Give::kDone;
}

HttpTransport::Give HttpTransport::NotTaken(size_t taken) {
  if (taken == CURL_WRITEFUNC_PAUSE) return Give::kPaused;
  delivered_ = application_failed_ = true;
  return Give::kFailed;
}

inline HttpTransport::Give HttpTransport::GiveLine(absl::string_view line,
                                                   bool trailer) {
  // As libcurl: CURLOPT_HEADER puts heads, not trailers, into the body as well;
  // without a header function, HEADERDATA alone makes the write function take
  // lines.
  if (settings_.include_head && !trailer) {
    const Give give =
        GiveTo(settings_.write_function, line, settings_.write_data);
    if (give != Give::kDone) return give;
  }
  if (settings_.header_function == nullptr &&
      settings_.header_data == nullptr) {
    return Give::kDone;
  }
  return GiveTo(settings_.header_function != nullptr ? settings_.header_function
                                                     : settings_.write_function,
                line, settings_.header_data);
}

HttpTransport::Give HttpTransport::GiveHeld() {
  giving_ = true;
  // Nobody else wants lines.
  const bool wanted = settings_.include_head ||
                      settings_.header_function != nullptr ||
                      settings_.header_data != nullptr;
  const auto give_lines = [this, wanted](const Lines& lines, bool trailers,
                                         size_t* given, size_t* bytes) {
    if (!wanted) {
      *given = lines.sizes().size();
      *bytes = lines.bytes().size();
    }
    const size_t count = lines.sizes().size();
    for (; *given < count; ++*given) {
      const size_t size = lines.sizes()[*given];
      const Give give =
          GiveLine({lines.bytes().data() + *bytes, size}, trailers);
      if (give != Give::kDone) return give;
      *bytes += size;
    }
    return Give::kDone;
  };
  Give give = give_lines(held_.head, /*trailers=*/false, &held_.lines_given,
                         &held_.bytes_of_lines_given);
  while (give == Give::kDone && held_.body_given < held_.body.size()) {
    const absl::string_view chunk =
        absl::string_view(held_.body).substr(held_.body_given, kChunk);
    give = GiveBody(chunk);
    if (give == Give::kDone) held_.body_given += chunk.size();
  }
  if (give == Give::kDone) {
    give = give_lines(held_.trailers, /*trailers=*/true, &held_.trailers_given,
                      &held_.bytes_of_trailers_given);
  }
  giving_ = give == Give::kPaused;
  return give;
}

HttpTransport::Give HttpTransport::GiveBody(absl::string_view chunk) {
  return GiveTo(settings_.write_function, chunk, settings_.write_data);
}

// --- What the application gives. ---

FILE* HttpTransport::File() const {
  return settings_.read_data != nullptr
             ? static_cast<FILE*>(settings_.read_data)
             : stdin;
}

bool HttpTransport::CanSeek() const {
  return settings_.seek_function != nullptr ||
         (settings_.read_function == nullptr && file_start_ >= 0);
}

bool HttpTransport::CanRewind() const { return buffers_ || CanSeek(); }

bool HttpTransport::Rewind() {
  if (!body_asked_) return true;
  if (!CanRewind() || SeekCallback(this, 0, SEEK_SET) != CURL_SEEKFUNC_OK) {
    return false;
  }
  body_asked_ = false;
  return true;
}

void HttpTransport::CheckReplay(bool rewind) {
  bool replayable = true;
  const bool sent_once = settings_.has_trailers && SendsTrailersOnce();
  if (takes_body_) {
    replayable =
        !body_asked_ || (!sent_once && (rewind ? Rewind() : CanRewind()));
  } else if (sent_once || settings_.body() == EasyOptions::Body::kUnknown) {
    curl_off_t uploaded = 0;
    curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    replayable = uploaded == 0;
  }
  if (!replayable) call_->SetNotReplayable();
}

size_t HttpTransport::ReadCallback(char* data, size_t size, size_t n,
                                   void* self) {
  HttpTransport* const t = Self(self);
  t->body_asked_ = true;
  return t->buffers_ ? t->ReadBuffered(data, size * n)
                     : t->Read(data, size * n);
}

size_t HttpTransport::Read(char* data, size_t size) const {
  if (settings_.read_function != nullptr) {
    return settings_.read_function(data, 1, size, settings_.read_data);
  }
  return fread(data, 1, size, File());
}

size_t HttpTransport::ReadBuffered(char* data, size_t size) {
  const size_t again = std::min(size, buffer_.size() - buffer_read_);
  if (again > 0) {
    std::memcpy(data, &buffer_[buffer_read_], again);
    buffer_read_ += again;
    return again;
  }
  if (body_ended_) return 0;
  const size_t taken = Read(data, size);
  if (taken > size) return taken;  // an abort, or a pause
  body_ended_ = taken == 0;
  if (buffer_.size() + taken > limits_.max_buffered_body) {
    // Too much: from here on it is sent once.
    buffers_ = false;
    buffer_ = std::string();
  } else {
    buffer_.append(data, taken);
    buffer_read_ = buffer_.size();
  }
  return taken;
}

int HttpTransport::SeekCallback(void* self, curl_off_t offset, int origin) {
  HttpTransport* const t = Self(self);
  if (t->settings_.seek_function != nullptr) {
    return t->settings_.seek_function(t->settings_.seek_data, offset, origin);
  }
  if (!t->CanSeek()) {
    // libcurl counts from the beginning.
    if (!t->buffers_ || origin != SEEK_SET || offset < 0 ||
        static_cast<uint64_t>(offset) > t->buffer_.size()) {
      return CURL_SEEKFUNC_CANTSEEK;
    }
    t->buffer_read_ = static_cast<size_t>(offset);
    return CURL_SEEKFUNC_OK;
  }
  if (origin == SEEK_SET) offset += t->file_start_;
  return fseeko(t->File(), offset, origin) == 0 ? CURL_SEEKFUNC_OK
                                                : CURL_SEEKFUNC_CANTSEEK;
}

int HttpTransport::PrereqCallback(void* self, char* remote, char* local,
                                  int remote_port, int local_port) {
  HttpTransport* const t = Self(self);
  t->TakeUrlBack();
  if (t->requested_ && !t->answered_) {
    if (t->limits_.at_most_once) {
      t->resend_refused_ = true;
      return CURL_PREREQFUNC_ABORT;
    }
    ++t->resends_;
  } else if (t->redirected_ && !t->Follow(/*gone=*/false)) {
    return CURL_PREREQFUNC_ABORT;
  }
  if (t->requested_) {
    curl_easy_getinfo(t->easy_, CURLINFO_NUM_CONNECTS, &t->connects_);
  }
  t->requested_ = true;
  t->answered_ = t->redirected_ = false;
  if (t->settings_.prereq_function == nullptr) return CURL_PREREQFUNC_OK;
  return t->settings_.prereq_function(t->settings_.prereq_data, remote, local,
                                      remote_port, local_port);
}

bool HttpTransport::WasFollowed() const {
  long redirects = 0;
  curl_easy_getinfo(easy_, CURLINFO_REDIRECT_COUNT, &redirects);
  return redirects > redirects_;
}

bool HttpTransport::Follow(bool gone) {
  const char* url = nullptr;
  curl_easy_getinfo(easy_, CURLINFO_EFFECTIVE_URL, &url);
  if (url == nullptr) return true;
  std::optional<RedirectPlaces::Place> place = readers_.places.Find(url);
  if (!place) return true;
  const bool must_go = gone || (acted_ && limits_.at_most_once) ||
                       (body_asked_ && takes_body_ && !CanRewind());
  redirect_refused_ = !call_->OnRedirect(place->handle, must_go);
  call_->TakeAftermath().Deliver();
  place_ = *std::move(place);
  clock_ = place_.handle != nullptr ? &place_.handle->endpoint->clock
                                    : &nobodys_clock_;
  readers_.GoTo(place_, first_readers_);
  return !redirect_refused_;
}

ServerClock* HttpTransport::Clock() const {
  return clock_ != nullptr ? clock_ : call_->server_clock();
}

bool HttpTransport::WasSent() const {
  // REQUEST_SIZE lacks what a full socket buffer delayed, PRETRANSFER_TIME is
  // set a moment before the first write: either is proof enough.
  long request = 0;
  curl_off_t uploaded = 0;
  curl_off_t pretransfer = 0;
  curl_easy_getinfo(easy_, CURLINFO_REQUEST_SIZE, &request);
  curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &uploaded);
  curl_easy_getinfo(easy_, CURLINFO_PRETRANSFER_TIME_T, &pretransfer);
  return request > 0 || uploaded > 0 || pretransfer > 0 || requested_;
}

void HttpTransport::SetError(absl::string_view text) {
  if (settings_.error_buffer == nullptr) return;
  const size_t size = std::min<size_t>(text.size(), CURL_ERROR_SIZE - 1);
  std::memcpy(settings_.error_buffer, text.data(), size);
  settings_.error_buffer[size] = '\0';
}

}  // namespace forbear::curl
