#include "tests/soak/rpc_call.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/replay.h"
#include "core/retry_policy.h"
#include "core/stop_reason.h"
#include "interceptors/interceptor.h"
#include "tests/soak/weather.h"

namespace forbear::soak {
namespace {

using ::forbear::rpc::TakeOver;
using ::forbear::testing::Echo;
using ::grpc::StatusCode;

// A machine that is busy with other things is no fault.
constexpr absl::Duration kSlack = absl::Seconds(15);

}  // namespace

ClientOptions RandomRpcClient(Dice* dice) {
  ClientOptions options;
  options.retry = RandomRetry(dice, kLongestCall);
  RandomShared(dice, &options);
  options.max_targets = dice->One(3) ? 4 : 4096;
  return options;
}

RpcSession::RpcSession(std::shared_ptr<Client> client_of,
                       const std::string& address, Dice* dice)
    : client(std::move(client_of)) {
  options.methods = {{kSay, {StatusCode::UNAVAILABLE, StatusCode::ABORTED}},
                     {kOther, {}}};
  if (dice->One(2)) options.methods[0].attempt_timeout = dice->Millis(5, 250);
  if (dice->One(3)) options.methods[1].attempt_timeout = dice->Millis(5, 250);
  if (dice->One(3)) options.quota_id = absl::StrCat("q", dice->Below(6));
  if (dice->One(3)) {
    options.take_over =
        dice->One(2) ? TakeOver::kGeneratedStubs : TakeOver::kGenericStubs;
  }
  grpc::ChannelArguments arguments;
  if (dice->One(2)) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  for (const char* backoff : {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                              GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                              GRPC_ARG_MAX_RECONNECT_BACKOFF_MS}) {
    arguments.SetInt(backoff, 100);
  }
  channel = rpc::CreateChannel(address, grpc::InsecureChannelCredentials(),
                               client, options, arguments);
  stub = Echo::NewStub(channel);
  generic = std::make_unique<grpc::GenericStub>(channel);
}

class RpcCall::Reactor final : public grpc::ClientUnaryReactor {
 public:
  explicit Reactor(std::shared_ptr<RpcCall> call) : call_(std::move(call)) {}
  void OnDone(const grpc::Status& status) override {
    // The call holds this reactor.
    const std::shared_ptr<RpcCall> call = std::move(call_);
    call->End(status);
  }

 private:
  std::shared_ptr<RpcCall> call_;
};

RpcCall::RpcCall(uint64_t id, Way way, std::shared_ptr<RpcSession> session,
                 Books books, Dice* dice)
    : id_(id), way_(way), session_(std::move(session)), books_(books) {
  const TakeOver take_over = session_->options.take_over;
  if (take_over == TakeOver::kGenericStubs) way_ = Way::kGeneric;
  if (take_over == TakeOver::kGeneratedStubs && way == Way::kGeneric) {
    way_ = Way::kCallback;
  }
  Choose(dice);
}

RpcCall::~RpcCall() = default;

void RpcCall::Choose(Dice* dice) {
  size_ = RandomSize(dice, 40);
  const size_t bytes = RandomSize(dice, 40);
  request_.set_n(static_cast<int>(bytes));
  request_.set_payload(std::string(KnownBytes(id_ + 1, bytes)));
  strict_ = dice->One(3);
  ChooseOptions(dice);
  context_->AddMetadata(
      "x-soak", absl::StrCat(id_, "/", size_, "/", strict_ ? "s" : "-"));
  const uint64_t limit = dice->Below(12);
  if (limit == 0) {
    deadline_ = dice->Millis(0, 5);
  } else if (limit < 5) {
    deadline_ = dice->Millis(5, 200);
  } else if (limit < 9 || plain_) {  // nothing else would end it
    deadline_ = dice->Millis(200, 3000);
  }
  if (deadline_ != absl::InfiniteDuration()) {
    context_->set_deadline(std::chrono::system_clock::now() +
                           absl::ToChronoNanoseconds(deadline_));
  }
  if (dice->One(6)) context_->set_wait_for_ready(true);
  if (dice->One(6)) context_->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  // Not within the scope of its options, which may be around its end.
  drops_context_ = !has_own_ && dice->One(2);
}

void RpcCall::ChooseOptions(Dice* dice) {
  plain_ = dice->One(60);
  own_.enabled = !plain_;
  has_own_ = plain_;
  if (dice->One(6)) {
    has_own_ = true;
    if (dice->One(2)) own_.retry = RandomRetry(dice, kLongestCall);
    if (dice->One(2)) own_.attempt_timeout = dice->Millis(5, 250);
    if (dice->One(2)) own_.quota_id = absl::StrCat("q", dice->Below(6));
  }
  if (!plain_ && dice->One(400)) {
    has_own_ = faulty_ = true;
    own_.attempt_timeout = -absl::Seconds(1);
  }
  if (strict_ && books_.plant_strict && dice->One(50)) {
    has_own_ = true;
    own_.retryable = {StatusCode::UNAVAILABLE};
  }
}

void RpcCall::Start(grpc::CompletionQueue* queue, std::function<void()> ended) {
  ended_ = std::move(ended);
  std::optional<rpc::WithCallOptions> with;
  if (has_own_) with.emplace(context_.get(), &own_);
  auto* const stub = session_->stub.get();
  grpc::ClientContext* const context = context_.get();
  const std::shared_ptr<RpcCall> self = shared_from_this();
  const auto end = [self](const grpc::Status& status) { self->End(status); };
  switch (way_) {
    case Way::kSync: {
      const grpc::Status status =
          strict_ ? stub->Other(context, request_, &response_)
                  : stub->Say(context, request_, &response_);
      End(status);
      break;
    }
    case Way::kCallback:
      if (strict_) {
        stub->async()->Other(context, &request_, &response_, end);
      } else {
        stub->async()->Say(context, &request_, &response_, end);
      }
      break;
    case Way::kReactor:
      reactor_ = std::make_unique<Reactor>(self);
      if (strict_) {
        stub->async()->Other(context, &request_, &response_, reactor_.get());
      } else {
        stub->async()->Say(context, &request_, &response_, reactor_.get());
      }
      reactor_->StartCall();
      break;
    case Way::kQueue:
      reader_ = strict_ ? stub->AsyncOther(context, request_, queue)
                        : stub->AsyncSay(context, request_, queue);
      reader_->Finish(&response_, &status_, new std::shared_ptr<RpcCall>(self));
      break;
    case Way::kGeneric: {
      grpc::Slice slice(request_.SerializeAsString());
      request_bytes_ = grpc::ByteBuffer(&slice, 1);
      session_->generic->UnaryCall(
          context, strict_ ? kOther : kSay, grpc::StubOptions(),
          &request_bytes_, &response_bytes_, [self](grpc::Status status) {
            grpc::Slice bytes;
            if (self->response_bytes_.Valid() &&
                self->response_bytes_.DumpToSingleSlice(&bytes).ok()) {
              self->response_.ParseFromArray(bytes.begin(),
                                             static_cast<int>(bytes.size()));
            }
            self->End(status);
          });
      break;
    }
  }
}

void RpcCall::Finished(void* tag) {
  const std::unique_ptr<std::shared_ptr<RpcCall>> call(
      static_cast<std::shared_ptr<RpcCall>*>(tag));
  (*call)->End((*call)->status_);
}

void RpcCall::Cancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

void RpcCall::End(const grpc::Status& status) {
  Check(status);
  if (books_.plant_report && id_ % 1000 == 999) Check(status);
  // A reader's and a reactor's context must outlive what calls this.
  if (drops_context_ && way_ != Way::kReactor && way_ != Way::kQueue) {
    std::unique_ptr<grpc::ClientContext> gone;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      gone.swap(context_);
    }
  }
  if (ended_) ended_();
}

void RpcCall::Fault(absl::string_view what, const CallRecord& record) {
  static constexpr const char* kNames[] = {"sync", "callback", "reactor",
                                           "queue", "generic"};
  books_.ledger->Fault(absl::StrCat(
      "call ", id_, " (", kNames[static_cast<int>(way_)],
      strict_ ? " strict" : "", plain_ ? " plain" : "",
      session_->options.take_over == TakeOver::kNever ? "" : " taken",
      "): ", what, "\n", FormatCallRecord(record), "  at the servers:",
      books_.servers == nullptr ? "" : books_.servers->HistoryOf(id_)));
}

void RpcCall::Check(const grpc::Status& status) {
  const std::optional<CallRecord> found = rpc::RecordOf(*context_);
  const CallRecord none;
  const CallRecord& record = found ? *found : none;
  attempts_ = std::max(record.total_attempts, 0);
  const bool seen = !plain_ && !faulty_;
  if (!books_.ledger->Reported(
          id_, seen ? record.stop_reason : StopReason::kPermanentError, record,
          /*counted=*/seen)) {
    Fault("it came more often than it was sent", record);
  }
  if (found.has_value() != seen) {
    Fault(seen ? "it has no record" : "it has a record", record);
    return;
  }
  if (faulty_ && status.error_code() != StatusCode::INVALID_ARGUMENT) {
    Fault("its options should have been refused", record);
  }
  if (status.ok() && books_.servers != nullptr &&
      response_.payload() != KnownBytes(id_, size_)) {
    Fault(absl::StrCat("the answer has ", response_.payload().size(),
                       " bytes, of ", size_, ", or other ones"),
          record);
  }
  const absl::Duration limit = std::min(deadline_, kLongestCall);
  if (absl::FromChrono(std::chrono::steady_clock::now() - begin_) >
      limit + kSlack) {
    Fault(absl::StrCat("it ended long after its limit of ",
                       absl::FormatDuration(limit)),
          record);
  }
  if (seen) CheckRecord(status, record);
}

void RpcCall::CheckRecord(const grpc::Status& status,
                          const CallRecord& record) {
  if (record.stop_reason == StopReason::kNone) {
    Fault("it has ended, and its record has not", record);
  }
  if (record.total_attempts > 5000 ||
      static_cast<int>(record.attempts.size()) >
          std::min(record.total_attempts, CallRecord::kMaxAttempts)) {
    Fault(absl::StrCat("it had ", record.total_attempts, " attempts, and ",
                       record.attempts.size(), " are in the record"),
          record);
  }
  if (status.ok() != (record.stop_reason == StopReason::kSuccess)) {
    Fault(absl::StrCat("the application got ", int{status.error_code()}, ": ",
                       status.error_message()),
          record);
  }
  if (record.stop_reason == StopReason::kCancelled &&
      status.error_code() != StatusCode::CANCELLED) {
    Fault(absl::StrCat("it was cancelled, and ended with ",
                       int{status.error_code()}),
          record);
  }
  CheckReplay(record);
}

void RpcCall::CheckReplay(const CallRecord& record) {
  if (record.call_id == 0) return;  // nothing was begun
  RetryOptions retry = session_->client->options().retry;
  const auto& timeout =
      session_->options.methods[strict_ ? 1 : 0].attempt_timeout;
  if (timeout) retry.attempt_timeout = *timeout;
  if (own_.retry) retry = *own_.retry;
  if (own_.attempt_timeout) retry.attempt_timeout = *own_.attempt_timeout;
  const absl::StatusOr<CallRecord> again = Replay(record, retry);
  if (absl::IsFailedPrecondition(again.status())) return;
  if (!again.ok()) {
    Fault(absl::StrCat("cannot be replayed: ", again.status().ToString()),
          record);
  } else if (*again != record) {
    Fault("a replay goes another way", record);
  }
}

}  // namespace forbear::soak
