#include "curl_wrap/multi.h"

#include <algorithm>
#include <deque>
#include <memory>
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

  // False: it is the application's. A copy: it is gone with its handle's removal.
  bool TakeMessage(CURLMsg message) {
    return message.msg == CURLMSG_DONE &&
           set.OnMessage(message.easy_handle, message.data.result);
  }

  // How many were of calls.
  int ReadMessages() {
    int taken = 0;
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (TakeMessage(*message)) {
        ++taken;
      } else {
        messages.push_back(*message);
      }
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
    // Whose a message is, is not known before it was taken out. Where there can be none
    // of a call, libcurl keeps the application's.
    if (out > 0 || !messages.empty()) out -= ReadMessages();
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

  // As libcurl does with a handle that was removed.
  template <typename Is>
  void Forget(const Is& is) {
    messages.erase(std::remove_if(messages.begin(), messages.end(),
                                  [&](const CURLMsg& message) {
                                    return is(message.easy_handle);
                                  }),
                   messages.end());
  }

  // Of handles that were removed without RemoveHandle, if libcurl tells.
  void ForgetRemoved() {
#if LIBCURL_VERSION_NUM >= 0x080400
    if (messages.empty()) return;
    const std::unique_ptr<CURL*, void (*)(void*)> all(
        curl_multi_get_handles(multi), &curl_free);
    if (all == nullptr) return;
    CURL** const begin = all.get();
    CURL** end = begin;
    while (*end != nullptr) ++end;
    std::sort(begin, end);
    Forget([&](CURL* easy) { return !std::binary_search(begin, end, easy); });
#endif
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
  Impl& impl = *impl_;
  int unknown = 0;
  if (left == nullptr) left = &unknown;
  impl.ForgetRemoved();
  if (!impl.messages.empty()) {
    impl.given = impl.messages.front();
    impl.messages.pop_front();
    *left = static_cast<int>(impl.messages.size());
    return &impl.given;
  }
  if (impl.set.counts().in_flight == 0) {
    return curl_multi_info_read(impl.multi, left);
  }
  // There may be some of calls, if the application ran libcurl by itself.
  const SigpipeBlock no_sigpipe;
  for (;;) {
    CURLMsg* const message = curl_multi_info_read(impl.multi, left);
    if (message == nullptr || !impl.TakeMessage(*message)) return message;
  }
}

CURLMcode Multi::RemoveHandle(CURL* easy) {
  const CURLMcode code = curl_multi_remove_handle(impl_->multi, easy);
  if (code == CURLM_OK) {
    impl_->Forget([easy](const CURL* of) { return of == easy; });
  }
  return code;
}

}  // namespace forbear::curl
