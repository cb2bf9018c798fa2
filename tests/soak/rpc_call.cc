#include "tests/soak/rpc_call.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "interceptors/call_options.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "tests/soak/weather.h"

namespace forbear::soak {
namespace {

using ::forbear::rpc::TakeOver;

constexpr const char* kNames[] = {"sync", "callback", "reactor", "queue",
                                  "generic"};

}  // namespace

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
    : CheckedRpc(id, dice->One(3) ? kOther : kSay, std::move(session),
                 std::move(books)),
      way_(way) {
  const TakeOver take_over = session_->options.take_over;
  if (take_over == TakeOver::kGenericStubs) way_ = Way::kGeneric;
  if (take_over == TakeOver::kGeneratedStubs && way == Way::kGeneric) {
    way_ = Way::kCallback;
  }
  kind_ = kNames[static_cast<int>(way_)];
  size_ = RandomSize(dice, 40);
  const size_t bytes = RandomSize(dice, 40);
  request_.set_n(static_cast<int>(bytes));
  request_.set_payload(std::string(KnownBytes(id_ + 1, bytes)));
  ChooseOptions(dice);
  ChooseLimits(size_, /*needs_limit=*/plain_, context_.get(), dice);
  // Not within the scope of its options, which may be around its end.
  drops_context_ = own() == nullptr && dice->One(2);
}

RpcCall::~RpcCall() = default;

void RpcCall::Start(grpc::CompletionQueue* queue, std::function<void()> ended) {
  ended_ = std::move(ended);
  std::optional<rpc::WithCallOptions> with;
  if (own() != nullptr) with.emplace(context_.get(), own());
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
          context, method_, grpc::StubOptions(), &request_bytes_,
          &response_bytes_, [self](grpc::Status status) {
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
  CheckEnd(status);
  if (Plants("report") && id_ % 1000 == 999) CheckEnd(status);
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

void RpcCall::CheckEnd(const grpc::Status& status) {
  Check(&status, rpc::RecordOf(*context_));
  if (status.ok() && books_.door != nullptr &&
      response_.payload() != KnownBytes(id_, size_)) {
    Fault(absl::StrCat("the answer has ", response_.payload().size(),
                       " bytes, of ", size_, ", or other ones"));
  }
}

}  // namespace forbear::soak
