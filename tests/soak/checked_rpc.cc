#include "tests/soak/checked_rpc.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/outcome.h"
#include "core/replay.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "tests/soak/weather.h"

namespace forbear::soak {
namespace {

using ::forbear::rpc::TakeOver;
using ::grpc::StatusCode;

// A machine that is busy with other things is no fault.
constexpr absl::Duration kSlack = absl::Seconds(15);

}  // namespace

void CheckedRpc::ChooseOptions(Dice* dice) {
  plain_ = plain_ || dice->One(60);
  own_.enabled = !plain_;
  has_own_ = plain_;
  if (dice->One(6)) {
    has_own_ = true;
    if (dice->One(2)) {
      own_.retry = RandomRetry(dice, kLongestCall);
      if (dice->One(2)) own_.retry->hedge = RandomHedge(dice);
    }
    if (dice->One(2)) own_.attempt_timeout = dice->Millis(5, 250);
    if (dice->One(2)) own_.quota_id = absl::StrCat("q", dice->Below(6));
  }
  if (!plain_ && dice->One(400)) {
    has_own_ = faulty_ = true;
    own_.attempt_timeout = -absl::Seconds(1);
  }
  if (!strict_) return;
  if (Plants(IsUnary() ? "strict" : "again")) {
    has_own_ = true;
    own_.retryable = {StatusCode::UNAVAILABLE};
    own_.retry = RandomRetry(dice, kLongestCall);
    own_.retry->max_attempts = 5;
  } else if (IsUnary() && Plants("hedges")) {
    has_own_ = true;
    own_.retry = RandomRetry(dice, kLongestCall);
    own_.retry->max_attempts = 2;
    own_.retry->hedge = RandomHedge(dice);
    own_.retry->hedge.repeat_consent = true;
  }
}

void CheckedRpc::ChooseLimits(size_t size, bool needs_limit,
                              grpc::ClientContext* context, Dice* dice) {
  context->AddMetadata(RpcMark::kName, RpcMark{id_, size, strict_}.ToString());
  const uint64_t limit = dice->Below(12);
  if (limit == 0) {
    deadline_ = dice->Millis(0, 5);
  } else if (limit < 5) {
    deadline_ = dice->Millis(5, 200);
  } else if (limit < 9 || needs_limit) {
    deadline_ = dice->Millis(200, 3000);
  }
  if (deadline_ != absl::InfiniteDuration()) {
    context->set_deadline(std::chrono::system_clock::now() +
                          absl::ToChronoNanoseconds(deadline_));
  }
  if (dice->One(6)) context->set_wait_for_ready(true);
  if (dice->One(6)) context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
}

bool CheckedRpc::InTime() const {
  return absl::FromChrono(std::chrono::steady_clock::now() - begin_) +
             absl::Milliseconds(5) <
         std::min(deadline_, kLongestCall);
}

void CheckedRpc::Fault(absl::string_view what) const {
  books_.ledger->Fault(absl::StrCat(
      "call ", id_, " (", kind_, strict_ ? " strict" : "",
      plain_ ? " plain" : "", observed_ ? " observed" : "",
      session_->options.take_over == TakeOver::kNever ? "" : " taken",
      "): ", what, "\n", FormatCallRecord(record_), "  at the servers:",
      books_.door == nullptr ? "" : books_.door->HistoryOf(id_)));
}

void CheckedRpc::Count(bool abandoned) const {
  Played& played = *books_.played;
  if (!IsUnary()) {
    ++played.streams;
    if (abandoned) ++played.abandoned;
    if (attempts_ > 1) ++played.sent_again;
  }
  for (const AttemptRecord& attempt : record_.attempts) {
    if (!attempt.hedge) continue;
    ++played.hedges;
    if (!attempt.lost && attempt.outcome.kind == ErrorKind::kOk) {
      ++played.hedges_won;
    }
  }
}

void CheckedRpc::Check(const grpc::Status* status,
                       const std::optional<CallRecord>& found) {
  if (found) record_ = *found;
  attempts_ = std::max(record_.total_attempts, 0);
  if (found && observed_ && attempts_ == 0) plain_ = true;
  Count(/*abandoned=*/status == nullptr);
  const bool seen = !plain_ && !faulty_;
  CallRecord told = record_;
  if (Plants("sends") && id_ % 100 == 99) --told.total_attempts;
  if (!books_.ledger->Reported(
          id_, seen ? told.stop_reason : StopReason::kPermanentError, told,
          /*counted=*/seen && status != nullptr)) {
    Fault("it came more often than it was sent");
  }
  if (found.has_value() != (seen || (plain_ && observed_))) {
    Fault(seen ? "it has no record" : "it has a record");
    return;
  }
  const absl::Duration limit = std::min(deadline_, kLongestCall);
  if (absl::FromChrono(std::chrono::steady_clock::now() - begin_) >
      limit + kSlack) {
    Fault(absl::StrCat("it ended long after its limit of ",
                       absl::FormatDuration(limit)));
  }
  if (status == nullptr) return;
  if (faulty_ && status->error_code() != StatusCode::INVALID_ARGUMENT) {
    Fault("its options should have been refused");
  }
  if (seen) CheckRecord(*status);
}

void CheckedRpc::CheckRecord(const grpc::Status& status) {
  if (record_.stop_reason == StopReason::kNone) {
    Fault("it has ended, and its record has not");
  }
  if (record_.total_attempts > (observed_ ? 1 : 5000) ||
      static_cast<int>(record_.attempts.size()) >
          std::min(record_.total_attempts, CallRecord::kMaxAttempts)) {
    Fault(absl::StrCat("it had ", record_.total_attempts, " attempts, and ",
                       record_.attempts.size(), " are in the record"));
  }
  if (status.ok() != (record_.stop_reason == StopReason::kSuccess)) {
    Fault(absl::StrCat("the application got ", int{status.error_code()}, ": ",
                       status.error_message()));
  }
  if (record_.stop_reason == StopReason::kCancelled &&
      status.error_code() != StatusCode::CANCELLED) {
    Fault(absl::StrCat("it was cancelled, and ended with ",
                       int{status.error_code()}));
  }
  CheckReplay();
}

void CheckedRpc::CheckReplay() {
  if (record_.call_id == 0) return;  // nothing was begun
  RetryOptions retry = session_->RetryOf(method_, own());
  if (observed_) retry.enabled = retry.hedge.enabled = false;
  const absl::StatusOr<CallRecord> again = Replay(record_, retry);
  if (absl::IsFailedPrecondition(again.status())) return;
  if (!again.ok()) {
    Fault(absl::StrCat("cannot be replayed: ", again.status().ToString()));
  } else if (*again != record_) {
    Fault("a replay goes another way");
  }
}

}  // namespace forbear::soak
