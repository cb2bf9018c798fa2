#include "curl_wrap/multi.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/stop_reason.h"
#include "core/time.h"
#include "curl_wrap/call_setup.h"
#include "curl_wrap/inbox.h"
#include "curl_wrap/refuse.h"
#include "curl_wrap/sigpipe_block.h"
#include "curl_wrap/transfer.h"
#include "curl_wrap/transfer_set.h"
#include "runtime/clock.h"

namespace forbear::curl {

struct Multi::Impl {
  Impl(CURLM* multi_of, std::shared_ptr<Client> client,
       const EngineOptions& options, std::function<void()> wake)
      : multi(multi_of),
        inbox(std::make_shared<Inbox>(
            wake ? std::move(wake)
                 : [multi_of] { curl_multi_wakeup(multi_of); })),
        set(multi_of, std::move(client), TransferSet::LimitsOf(options), {}) {}

  // Its number, or 0.
  uint64_t Start(uint64_t id, Request request, Handle* handle,
                 CallOptions options, const Done& done) {
    Inbox::Item item{
        Inbox::What::kStart, id,
        std::make_shared<Transfer>(id, inbox, std::move(request), handle,
                                   std::move(options), done, MonotonicNow())};
    if (inbox->PostOrKeep(&item)) return id;
    // The Multi is at its end, and this was called by a Done function.
    if (handle != nullptr) HandleAccess::End(handle);
    return Refuse(std::move(item.transfer->done), StopReason::kCancelled) ? id
                                                                          : 0;
  }

  void Take() {
    inbox->TakeAll(&items);
    for (Inbox::Item& item : items) set.Post(std::move(item));
    items.clear();
  }

  // Everything but libcurl's own work.
  void Work() {
    Take();
    inbox->StayAwake();
    set.Run(MonotonicNow());
  }

  // How many were of calls.
  int ReadMessages() {
    int taken = 0;
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      // A copy: the message is gone with its handle's removal.
      const CURLMsg copy = *message;
      if (copy.msg == CURLMSG_DONE &&
          set.OnMessage(copy.easy_handle, copy.data.result)) {
        ++taken;
        continue;
      }
      messages.push_back(copy);
    }
    return taken;
  }

  template <typename Act>
  CURLMcode Around(const Act& act, int* running) {
    const SigpipeBlock no_sigpipe;
    // What is posted meanwhile needs no bell: it is taken here, or TimeoutMs tells of it.
    inbox->StayAwake();
    Work();
    int out = static_cast<int>(set.counts().in_flight);
    int alive = 0;
    const CURLMcode code = act(&alive);
    out -= ReadMessages();
    const int own = std::max(0, alive - out);  // the application's
    // What has ended is reported, and may be followed by others, which begin.
    Work();
    Take();
    inbox->FallAsleep();
    const TransferSet::Counts counts = set.counts();
    const size_t calls = counts.queued + counts.waiting + counts.in_flight;
    if (running != nullptr) {
      *running = own + static_cast<int>(calls);
      // A Done function may have added a transfer of the application's own, too.
      if (*running == 0 && TimeoutMs() == 0) *running = 1;
    }
    return code;
  }

  long TimeoutMs() {
    if (!inbox->empty()) return 0;
    long timeout = -1;
    curl_multi_timeout(multi, &timeout);
    const MonotonicTime next = set.next();
    if (next.is_infinite()) return timeout;
    const absl::Duration left =
        std::max(next - MonotonicNow(), absl::ZeroDuration());
    const int64_t ms = absl::ToInt64Milliseconds(
        absl::Ceil(std::min(left, absl::Hours(1)), absl::Milliseconds(1)));
    return timeout < 0 ? static_cast<long>(ms)
                       : std::min(timeout, static_cast<long>(ms));
  }

  CURLM* const multi;
  const std::shared_ptr<Inbox> inbox;
  TransferSet set;
  HeaderPool headers;
  std::vector<Inbox::Item> items;  // as they are taken
  uint64_t next_id = 1;
  std::deque<CURLMsg> messages;
  CURLMsg given = {};
};

absl::StatusOr<std::unique_ptr<Multi>> Multi::Create(
    CURLM* multi, std::shared_ptr<Client> client, const EngineOptions& options,
    std::function<void()> wake) {
  const absl::Status valid = ValidateEngineOptions(options);
  if (!valid.ok()) return valid;
  return std::unique_ptr<Multi>(new Multi(std::make_unique<Impl>(
      multi, std::move(client), options, std::move(wake))));
}

Multi::Multi(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Multi::~Multi() {
  const SigpipeBlock no_sigpipe;
  impl_->inbox->CloseForGood();
  impl_->Take();
  impl_->set.CancelAll();
  impl_->set.Run(MonotonicNow());
}

uint64_t Multi::Add(Handle* handle, CallOptions options, const Done& done) {
  const uint64_t id = impl_->next_id++;
  const CURLcode busy = HandleAccess::Begin(handle);
  if (busy != CURLE_OK) {
    Response response;
    FillFault(busy, &response);
    if (done) done(std::move(response));
    return id;
  }
  return impl_->Start(id, Request(), handle, std::move(options), done);
}

uint64_t Multi::Add(Request request, CallOptions options, const Done& done) {
  const uint64_t id = impl_->next_id++;
  request.Pack(&impl_->headers);
  return impl_->Start(id, std::move(request), nullptr, std::move(options),
                      done);
}

void Multi::Cancel(uint64_t id) {
  impl_->inbox->Post({Inbox::What::kCancel, id, nullptr});
}

CURLMcode Multi::Perform(int* running) {
  return impl_->Around(
      [this](int* own) { return curl_multi_perform(impl_->multi, own); },
      running);
}

CURLMcode Multi::SocketAction(curl_socket_t socket, int mask, int* running) {
  return impl_->Around(
      [&](int* own) {
        return curl_multi_socket_action(impl_->multi, socket, mask, own);
      },
      running);
}

long Multi::TimeoutMs() { return impl_->TimeoutMs(); }

CURLMcode Multi::Poll(curl_waitfd* extra, unsigned int count, int timeout_ms,
                      int* ready) {
  const long most = TimeoutMs();
  if (most >= 0) {
    timeout_ms = static_cast<int>(std::min<long>(timeout_ms, most));
  }
  return curl_multi_poll(impl_->multi, extra, count, timeout_ms, ready);
}

CURLMsg* Multi::InfoRead(int* left) {
  if (impl_->messages.empty()) {
    if (left != nullptr) *left = 0;
    return nullptr;
  }
  impl_->given = impl_->messages.front();
  impl_->messages.pop_front();
  if (left != nullptr) *left = static_cast<int>(impl_->messages.size());
  return &impl_->given;
}

}  // namespace forbear::curl
