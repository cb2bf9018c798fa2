#include "tests/soak/rpc_stream.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "interceptors/interceptor.h"
#include "interceptors/rpc_options.h"
#include "tests/soak/stream_servers.h"

namespace forbear::soak {
namespace {

using ::forbear::rpc::Shape;
using ::forbear::rpc::StreamApi;
using ::forbear::rpc::Streams;

size_t MessageSize(Dice* dice) {
  if (dice->One(200)) return dice->Below(100000);
  if (dice->One(10)) return dice->Below(10000);
  return dice->Below(500);
}

}  // namespace

RpcStream::RpcStream(uint64_t id, std::shared_ptr<RpcSession> session,
                     Books books, Dice* dice)
    : RpcStream(id,
                Form{static_cast<StreamApi>(dice->Below(5)),
                     static_cast<Shape>(dice->Below(3))},
                std::move(session), std::move(books), dice) {}

RpcStream::RpcStream(uint64_t id, Form form,
                     std::shared_ptr<RpcSession> session, Books books,
                     Dice* dice)
    : CheckedRpc(id, rpc::MethodOf(form.shape), std::move(session),
                 std::move(books)),
      form_(form),
      app_(form.api, form.shape, session_->channel) {
  plain_ = session_->options.streams == Streams::kOff;
  ChooseOptions(dice);
  observed_ = !plain_ && session_->options.streams == Streams::kObserve;
  ChooseMessages(dice);
  const bool reactor = form_.api == StreamApi::kReactor ||
                       form_.api == StreamApi::kGenericReactor;
  // Whose stream nobody knows of does not say how it should have ended.
  if (books_.door != nullptr && !reactor && dice->One(8)) {
    app_.SetAbandon(static_cast<int>(dice->Below(2 * count_ + 2)));
  }
  ChooseLimits(count_, /*needs_limit=*/plain_ || observed_, &app_.context(),
               dice);
  app_.SetOptions(own());
  // Not within the scope of its options, which may be around its end.
  drops_context_ = (own() == nullptr || !reactor) && dice->One(2);
  app_.SetOnEnd([this](const grpc::Status& status) { End(status); });
  kind_ =
      absl::StrCat(rpc::NameOf(form_.shape), " by ", rpc::NameOf(form_.api));
}

void RpcStream::ChooseMessages(Dice* dice) {
  count_ = dice->Below(dice->One(8) ? 40 : 8);
  const size_t count = form_.shape == Shape::kPull ? 1 : count_;
  for (size_t i = 0; i < count; ++i) {
    payloads_.push_back(StreamMessage(id_, i, MessageSize(dice)));
  }
  if (!payloads_.empty()) {
    if (form_.shape != Shape::kPull && form_.api != StreamApi::kGenericQueue &&
        dice->One(4)) {
      app_.SetCorked();
    }
    if (form_.api != StreamApi::kGenericQueue && dice->One(4)) {
      app_.SetWriteLast();
    }
  }
  // A server that answers nothing would leave it waiting.
  if (form_.shape == Shape::kChat && books_.door != nullptr && dice->One(3)) {
    app_.SetPingPong();
  }
  std::vector<std::string> sent = payloads_;
  if (Plants("requests") && sent.size() > 1 && id_ % 10 == 9) {
    sent.erase(sent.begin());
  }
  app_.SetPayloads(std::move(sent));
}

void RpcStream::Cancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  cancelled_ = true;
  if (!context_gone_) app_.Cancel();
}

void RpcStream::End(const grpc::Status& status) {
  CheckEnd(status);
  if (Plants("report") && id_ % 1000 == 999) CheckEnd(status);
  if (!drops_context_) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  context_gone_ = true;
  app_.DestroyContext();
}

void RpcStream::CheckEnd(const grpc::Status& status) {
  Check(app_.abandoned() ? nullptr : &status, rpc::RecordOf(app_.context()));
  CheckReceived(status);
}

size_t RpcStream::MostReceived() const {
  return form_.shape == Shape::kPush ? 1 : count_;
}

std::string RpcStream::Expected(size_t i) const {
  switch (form_.shape) {
    case Shape::kPull:
      return absl::StrCat(payloads_[0], "#", i);
    case Shape::kPush:
      return absl::StrJoin(payloads_, "");
    case Shape::kChat:
      return payloads_[i];
  }
  return "";
}

void RpcStream::CheckReceived(const grpc::Status& status) {
  const std::vector<std::string>& received = app_.received();
  if (books_.door == nullptr) {
    // One that answers with nothing but an empty message.
    if (received.size() > 1 || (received.size() == 1 && !received[0].empty())) {
      Fault(absl::StrCat("it received ", received.size(),
                         " messages of a server that sends an empty one"));
    }
    return;
  }
  for (size_t i = 0; i < received.size(); ++i) {
    if (i < MostReceived() && received[i] == Expected(i)) continue;
    Fault(absl::StrCat("message ", i, " that was received, of ", MostReceived(),
                       ", is another one"));
    return;
  }
  if (app_.abandoned()) return;
  const auto stream = app_.Trailing("x-stream");
  const auto head = app_.Initial("x-stream");
  if (stream && head && *stream != *head) {
    Fault(absl::StrCat("its head is that of stream ", *head,
                       " and its status that of ", *stream));
  }
  // With a status of the server's that may have overtaken our own cancel, messages may
  // be missing: gRPC drops those that nobody has read by then.
  if (cancelled_ || !InTime()) return;
  if (status.ok() && received.size() != MostReceived()) {
    Fault(absl::StrCat("it ended well with ", received.size(), " messages, of ",
                       MostReceived()));
  }
  const auto answers = app_.Trailing("x-answers");
  if (answers && form_.shape != Shape::kPush &&
      *answers != absl::StrCat(received.size())) {
    Fault(absl::StrCat("it received ", received.size(), " messages, and ",
                       *answers, " were sent"));
  }
}

}  // namespace forbear::soak
