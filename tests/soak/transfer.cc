#include "tests/soak/transfer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/call_record.h"
#include "core/replay.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "tests/soak/weather.h"

namespace forbear::soak {
namespace {

// A machine that is busy with other things is no fault.
constexpr absl::Duration kSlack = absl::Seconds(15);

// As a Handle or a Request.
struct RawTo {
  CURL* easy;
  template <typename T>
  CURLcode SetOpt(CURLoption option, T value) {
    return curl_easy_setopt(easy, option, value);
  }
};

}  // namespace

ClientOptions RandomClient(Dice* dice) {
  ClientOptions options;
  options.retry = RandomRetry(dice, kLongest);
  RandomShared(dice, &options);
  options.max_targets = dice->One(3) ? 4 : 4096;
  if (dice->One(4)) options.idempotency_header = "Idempotency-Key";
  return options;
}

Transfer::Transfer(uint64_t id, Way way, std::shared_ptr<Client> client,
                   const Servers& servers, Ledger* ledger, bool resend,
                   Dice* dice)
    : id_(id),
      way_(way),
      client_(std::move(client)),
      servers_(servers),
      ledger_(ledger) {
  Choose(dice, resend);
  url_ = absl::StrCat(servers.Any(dice), "/t/", id_, "/", size_, "/",
                      body_size_, "/", flags_, "/0");
}

Transfer::~Transfer() {
  if (mime_ != nullptr) {
    if (handle) handle->SetOpt(CURLOPT_MIMEPOST, nullptr);
    curl_mime_free(mime_);
  }
  if (handle && lines_ != nullptr) {
    handle->SetOpt(CURLOPT_HTTPHEADER, nullptr);
  }
  curl_slist_free_all(lines_);
}

void Transfer::Choose(Dice* dice, bool resend) {
  size_ = RandomSize(dice, 20);
  const uint64_t kind = dice->Below(20);
  if (kind < 8) {
    method_ = "GET";
  } else if (kind < 9) {
    method_ = "HEAD";
  } else {
    method_ = kind < 17 ? "POST" : "PUT";
    body_size_ = RandomSize(dice, 40);
    const uint64_t body = dice->Below(8);
    // Forbear has no other way of a PUT than libcurl has.
    if (method_[1] == 'U' || body < 3) {
      body_ = Body::kFunction;
      sized_ = method_[1] == 'O' || !dice->One(3);
      seeks_ = !dice->One(3);
      read_step_ = dice->One(2) ? 1 + dice->Below(3000) : 0;
      if (dice->One(20)) aborts_at_ = dice->Below(body_size_ + 1);
    } else if (body == 3 && way_ != Way::kRequest) {
      body_ = Body::kMime;
    } else {
      body_ = Body::kBytes;
    }
  }
  ChooseOptions(dice);
  follows_ = !dice->One(4);
  fails_on_error_ = dice->One(20);
  if (dice->One(8)) timeout_ms_ = dice->Between(20, 400);
  plain_ = dice->One(60);
  options.enabled = !plain_;
  // Nothing else would end it.
  if (plain_ && timeout_ms_ == 0) timeout_ms_ = 300;

  bool redirected = follows_ && dice->One(8);
  if (method_[1] == 'O') {
    // libcurl by itself sends it again, and only Forbear does not.
    const bool strict = !plain_ && !dice->One(3);
    if (!strict) {
      own_key_ = dice->One(2);
      if (!own_key_) options.idempotent = true;
    } else if (way_ == Way::kRaw) {
      options.idempotent = false;
      redirected = false;
    } else if (dice->One(2)) {
      options.idempotent = false;
    }
    if (strict) flags_ += "s";
    if (strict && resend && dice->One(50)) options.idempotent = true;
  } else if (dice->One(30)) {
    options.idempotent = false;
  }
  if (redirected) flags_ += "r";
  if (dice->One(2)) flags_ += "z";
  if (body_ == Body::kMime) flags_ += "m";
  if (flags_.empty()) flags_ = "-";

  own_sink_ = way_ != Way::kRequest || dice->One(2);
  const uint64_t taste = dice->Below(75);
  if (own_sink_ && taste < 6) {
    taste_ = taste < 2   ? Taste::kRefuses
             : taste < 4 ? Taste::kPauses
                         : Taste::kCancels;
    taste_at_ = dice->Below(size_ + 1);
  }
}

void Transfer::ChooseOptions(Dice* dice) {
  const uint64_t deadline = dice->Below(12);
  if (deadline == 0) {
    options.deadline = dice->Millis(0, 5);
  } else if (deadline < 5) {
    options.deadline = dice->Millis(5, 200);
  } else if (deadline < 11) {
    options.deadline = dice->Millis(200, 3000);
  }
  if (!dice->One(4)) options.attempt_timeout = dice->Millis(5, 250);
  if (dice->One(3)) options.max_hold_time = dice->Millis(0, 50);
  if (dice->One(5)) options.max_held_bytes = 400;
  if (dice->One(4)) options.quota_id = absl::StrCat("q", dice->Below(6));
  if (dice->One(6)) options.retry = RandomRetry(dice, kLongest);
  if (dice->One(400)) {
    faulty_ = true;
    options.profile = "there-is-none";
  }
  if (way_ == Way::kRaw) {
    options.body_replays = body_ != Body::kFunction;
    if (dice->One(2)) {
      options.rewind_body = [this] {
        read_ = 0;
        return seeks_;
      };
    }
    if (dice->One(2)) {
      options.reset_sink = [this] {
        sink_.clear();
        paused_ = false;  // that answer's
        return true;
      };
    }
  }
}

template <typename To>
void Transfer::DressIn(To* to) {
  to->SetOpt(CURLOPT_URL, url_.c_str());
  const bool post = method_[1] == 'O';
  const auto size = static_cast<curl_off_t>(body_size_);
  if (method_[0] == 'H') to->SetOpt(CURLOPT_NOBODY, 1L);
  if (method_[1] == 'U') {
    to->SetOpt(CURLOPT_UPLOAD, 1L);
    if (sized_) to->SetOpt(CURLOPT_INFILESIZE_LARGE, size);
  }
  if (body_ == Body::kFunction) {
    if (post) {
      to->SetOpt(CURLOPT_POST, 1L);
      to->SetOpt(CURLOPT_POSTFIELDSIZE_LARGE, size);
    }
    to->SetOpt(CURLOPT_READFUNCTION, &OnRead);
    to->SetOpt(CURLOPT_READDATA, static_cast<void*>(this));
    if (seeks_) {
      to->SetOpt(CURLOPT_SEEKFUNCTION, &OnSeek);
      to->SetOpt(CURLOPT_SEEKDATA, static_cast<void*>(this));
    }
    // The one that plain libcurl waits for, up to a second.
    lines_ = curl_slist_append(lines_, "Expect:");
  } else if (body_ == Body::kBytes) {
    to->SetOpt(CURLOPT_POSTFIELDSIZE_LARGE, size);
    to->SetOpt(CURLOPT_COPYPOSTFIELDS, KnownBytes(id_ + 1, body_size_).data());
  }
  if (own_key_) {
    lines_ = curl_slist_append(lines_,
                               absl::StrCat("Idempotency-Key: ", id_).c_str());
  }
  if (lines_ != nullptr) to->SetOpt(CURLOPT_HTTPHEADER, lines_);
  if (follows_) to->SetOpt(CURLOPT_FOLLOWLOCATION, 1L);
  if (fails_on_error_) {
    to->SetOpt(CURLOPT_FAILONERROR, 1L);
    options.fail_on_error = true;
  }
  if (timeout_ms_ != 0) to->SetOpt(CURLOPT_TIMEOUT_MS, timeout_ms_);
  if (own_sink_) {
    to->SetOpt(CURLOPT_WRITEFUNCTION, &OnBody);
    to->SetOpt(CURLOPT_WRITEDATA, static_cast<void*>(this));
  }
  if (easy_ != nullptr && taste_ == Taste::kPauses) {
    to->SetOpt(CURLOPT_XFERINFOFUNCTION, &OnProgress);
    to->SetOpt(CURLOPT_XFERINFODATA, static_cast<void*>(this));
    to->SetOpt(CURLOPT_NOPROGRESS, 0L);
  }
  if (body_ == Body::kMime) {
    mime_ = curl_mime_init(easy_);
    curl_mimepart* const part = curl_mime_addpart(mime_);
    curl_mime_name(part, "file");
    const absl::string_view bytes = KnownBytes(id_ + 1, body_size_);
    curl_mime_data(part, bytes.data(), bytes.size());
    to->SetOpt(CURLOPT_MIMEPOST, mime_);
  }
}

void Transfer::Dress(curl::Request* request) { DressIn(request); }

void Transfer::Dress(curl::Handle* to) {
  easy_ = to->raw();
  DressIn(to);
}

void Transfer::Dress(CURL* easy) {
  easy_ = easy;
  RawTo to{easy};
  DressIn(&to);
}

size_t Transfer::OnBody(char* data, size_t size, size_t n, void* self) {
  auto* const t = static_cast<Transfer*>(self);
  if (t->taste_ != Taste::kTakesAll && !t->tasted_ &&
      t->sink_.size() + size * n > t->taste_at_) {
    t->tasted_ = true;
    if (t->taste_ == Taste::kRefuses) return 0;
    if (t->taste_ == Taste::kPauses) {
      t->paused_ = true;
      return CURL_WRITEFUNC_PAUSE;
    }
    if (t->cancel_self) t->cancel_self();
  }
  t->sink_.append(data, size * n);
  return size * n;
}

size_t Transfer::OnRead(char* to, size_t size, size_t n, void* self) {
  auto* const t = static_cast<Transfer*>(self);
  if (t->read_ >= t->aborts_at_) return CURL_READFUNC_ABORT;
  size_t most = std::min(size * n, t->body_size_ - t->read_);
  if (t->read_step_ != 0) most = std::min(most, t->read_step_);
  const absl::string_view bytes = KnownBytes(t->id_ + 1, t->body_size_);
  memcpy(to, bytes.data() + t->read_, most);
  t->read_ += most;
  return most;
}

int Transfer::OnSeek(void* self, curl_off_t offset, int origin) {
  auto* const t = static_cast<Transfer*>(self);
  if (origin != SEEK_SET) return CURL_SEEKFUNC_FAIL;
  t->read_ = static_cast<size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int Transfer::OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t,
                         curl_off_t) {
  auto* const t = static_cast<Transfer*>(self);
  // Only its own pause: with a plain handle, Forbear stops an answer by one.
  if (std::exchange(t->paused_, false)) {
    curl_easy_pause(t->easy_, CURLPAUSE_CONT);
  }
  return 0;
}

// --- What must be true. ---

void Transfer::Fault(absl::string_view what, const curl::CallResult& result) {
  static constexpr const char* kWays[] = {"request", "handle", "raw"};
  static constexpr const char* kTastes[] = {"", " refuses", " pauses",
                                            " cancels"};
  ledger_->Fault(
      absl::StrCat("transfer ", id_, " (", kWays[static_cast<int>(way_)], " ",
                   method_, " ", flags_, plain_ ? " plain" : "",
                   tasted_ ? kTastes[static_cast<int>(taste_)] : "",
                   "): ", what, "; code ", int{result.code}, ", status ",
                   result.http_status, "\n", FormatCallRecord(result.record),
                   "  at the servers:", servers_.HistoryOf(id_)));
}

void Transfer::CheckBody(const curl::CallResult& result,
                         const std::string& body) {
  absl::string_view wanted;
  if (result.http_status == 200) {
    wanted = KnownBytes(id_, size_);
  } else if (!absl::StrContains(flags_, 'z') || result.http_status < 400) {
    wanted = ErrorBody(id_, static_cast<int>(result.http_status));
  }
  if (method_[0] == 'H') wanted = "";
  if (body != wanted) {
    size_t same = 0;
    while (same < std::min(body.size(), wanted.size()) &&
           body[same] == wanted[same]) {
      ++same;
    }
    Fault(absl::StrCat("the answer has ", body.size(), " bytes, of ",
                       wanted.size(), "; the first ", same, " are right"),
          result);
  }
}

void Transfer::CheckReplay(const curl::CallResult& result) {
  if (result.record.call_id == 0) return;  // nothing was begun
  RetryOptions retry = options.retry.value_or(client_->options().retry);
  if (options.attempt_timeout) retry.attempt_timeout = *options.attempt_timeout;
  const absl::StatusOr<CallRecord> again = Replay(result.record, retry);
  if (absl::IsFailedPrecondition(again.status())) return;
  if (!again.ok()) {
    Fault(absl::StrCat("cannot be replayed: ", again.status().ToString()),
          result);
  } else if (*again != result.record) {
    Fault("a replay goes another way", result);
  }
}

void Transfer::Check(const curl::CallResult& result, const std::string* body) {
  const CallRecord& record = result.record;
  // What libcurl follows by itself is no attempt. What it sent again by itself is not
  // told of an attempt that was cancelled; what may be acted upon once is not.
  const bool counted =
      !plain_ && !absl::StrContains(flags_, 'r') &&
      (result.stop_reason != StopReason::kCancelled ||
       (flags_[0] == 's' && !options.idempotent.value_or(false) &&
        !record.idempotent));
  if (!ledger_->Reported(id_, result.stop_reason, record, counted)) {
    Fault("it came more often than it was sent", result);
  }
  if (result.stop_reason == StopReason::kNone ||
      result.stop_reason != record.stop_reason) {
    Fault("its stop reason is none, or not its record's", result);
  }
  if (record.total_attempts < 0 || record.total_attempts > 5000 ||
      static_cast<int>(record.attempts.size()) >
          std::min(record.total_attempts, CallRecord::kMaxAttempts)) {
    Fault(absl::StrCat("it had ", record.total_attempts, " attempts, and ",
                       record.attempts.size(), " are in the record"),
          result);
  }
  if (faulty_ && !plain_ && result.code != CURLE_BAD_FUNCTION_ARGUMENT &&
      result.stop_reason != StopReason::kCancelled &&
      result.stop_reason != StopReason::kQueueFull) {
    Fault("its options should have been refused", result);
  }
  if (result.code == CURLE_OK) {
    if (result.http_status == 0 || record.total_attempts == 0) {
      Fault("there is no answer, and no error", result);
    } else {
      CheckBody(result, body != nullptr && !own_sink_ ? *body : sink_);
    }
    if (tasted_ && taste_ == Taste::kRefuses) {
      Fault("the application refused it, and it is no error", result);
    }
  }
  if (options.deadline != absl::InfiniteDuration() && !plain_ &&
      absl::FromChrono(std::chrono::steady_clock::now() - begin_) >
          options.deadline + kSlack) {
    Fault(absl::StrCat("it ended long after its deadline of ",
                       absl::FormatDuration(options.deadline)),
          result);
  }
  if (result.retry_at && *result.retry_at < absl::ZeroDuration()) {
    Fault("retry_at is in the past", result);
  }
  CheckReplay(result);
}

}  // namespace forbear::soak
