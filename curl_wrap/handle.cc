#include "curl_wrap/handle.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "curl_wrap/blocking_transfer.h"
#include "curl_wrap/call_setup.h"
#include "curl_wrap/http_transport.h"
#include "runtime/blocking_driver.h"
#include "runtime/call.h"
#include "runtime/clock.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "Forbear needs libcurl 7.87 or later (CURLOPT_QUICK_EXIT)"
#endif

namespace forbear::curl {

struct Handle::Impl {
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

  // What callbacks have set of the options that are replaced, now that they are not.
  void SetDeferred();

  void PerformCall(CallSetup* setup, CallResult* result);

  CURL* const easy;
  const bool owns;
  // Keeps connections from attempt to attempt, and from call to call.
  CURLM* const multi;
  const std::shared_ptr<Client> client;
  EasyOptions settings;
  CallMemory memory;
  HttpTransport::Room room;
  // Who finds it out need not be who runs the call (HandleAccess::Begin).
  std::atomic<bool> performing{false};
  bool plain = false;  // … with the handle's own callbacks
  bool keyed = false;  // … with a line of ours in its HTTPHEADER
  std::vector<std::pair<CURLoption, OptionValue>> deferred;

  // Who waits; the same for each call, unless somebody may still wake it for the last
  // one.
  std::shared_ptr<Waiter> waiter;
  Parker* parker = nullptr;  // it
  // Who takes a call back does so with the lock, and while one runs.
  enum class Run : uint8_t { kNone, kRuns, kTakenBack };
  std::atomic<Run> run{Run::kNone};
  std::mutex mutex;
};

// --- Options. ---

CURLcode Handle::Set(CURLoption option, const OptionValue& value) {
  if (!impl_->ok()) return CURLE_FAILED_INIT;
  if (impl_->performing && !impl_->plain &&
      (EasyOptions::IsReplaced(option) ||
       (impl_->keyed && option == CURLOPT_HTTPHEADER))) {
    // What this attempt's transport does not replace, it does not put back either.
    if (!HasTypeOf(option, value)) return CURLE_BAD_FUNCTION_ARGUMENT;
    impl_->settings.Note(option, value);
    impl_->deferred.emplace_back(option, value);
    return CURLE_OK;
  }
  const CURLcode code = Forward(impl_->easy, option, value);
  if (code == CURLE_OK) impl_->settings.Note(option, value);
  return code;
}

void Handle::Impl::SetDeferred() {
  for (const auto& [option, value] : deferred) Forward(easy, option, value);
  deferred.clear();
}

void Handle::Reset() {
  if (!impl_->ok() || impl_->performing) return;
  curl_easy_reset(impl_->easy);
  impl_->settings = EasyOptions(/*fresh=*/true);
  impl_->memory = CallMemory();
}

CURL* Handle::raw() const { return impl_->easy; }

// --- Calls. ---

CallResult Handle::Perform(const CallOptions& options) {
  CallResult result;
  if (!impl_->ok() || impl_->performing) {
    FillFault(impl_->ok() ? CURLE_RECURSIVE_API_CALL : CURLE_FAILED_INIT,
              &result);
    return result;
  }
  impl_->performing.store(true, std::memory_order_relaxed);
  const bool is_bounded = options.deadline != absl::InfiniteDuration();
  CallSetup setup(impl_->client.get(), impl_->settings, impl_->easy, options,
                  is_bounded ? MonotonicNow() : MonotonicTime(),
                  &impl_->memory);
  if (setup.passes_through) {
    result.record.wall_start = WallNow();
    result.record.begin = MonotonicNow();
    impl_->plain = true;
    result.code = curl_easy_perform(impl_->easy);
    impl_->plain = false;
    setup.RecordPlain(impl_->client.get(), impl_->settings, impl_->easy,
                      result.code, &result.record);
    FillResult(impl_->easy, &result);
  } else if (setup.fault != CURLE_OK) {
    FillFault(setup.fault, &result);
  } else {
    impl_->PerformCall(&setup, &result);
    FillResult(impl_->easy, &result);
  }
  impl_->performing.store(false, std::memory_order_release);
  return result;
}

void Handle::Cancel() {
  // Under the lock: the call may end, and its handle with it, right after.
  std::lock_guard<std::mutex> lock(impl_->mutex);
  Impl::Run runs = Impl::Run::kRuns;
  if (!impl_->run.compare_exchange_strong(runs, Impl::Run::kTakenBack)) return;
  impl_->parker->Cancel();
  curl_multi_wakeup(impl_->multi);
}

void Handle::Impl::PerformCall(CallSetup* setup, CallResult* result) {
  if (waiter.use_count() == 1) {
    // Pairs with how the others let go of it.
#ifdef _GLIBCXX_TSAN
    // Thread sanitizer knows no fences. This changes the count, there and back.
    std::shared_ptr<Waiter>(waiter).reset();
#else
    std::atomic_thread_fence(std::memory_order_acquire);
#endif
    parker->Reset();
  } else {
    const auto made = std::make_shared<Parker>();
    parker = made.get();
    waiter = made;
  }
  run.store(Run::kRuns);
  {
    keyed = !setup->key_line.empty();
    std::optional<ExtraHeader> key;
    if (keyed) key.emplace(easy, &settings, std::move(setup->key_line));
    Call call(client.get(), setup->handle, setup->request, &waiter);
    BlockingTransfer transfer(easy, multi, &settings, parker, setup->limits,
                              setup->readers, &room, memory.parsed_url());
    RunBlocking(&call, parker, &transfer);
    call.TakeRecord(&result->record);
    result->code = transfer.Conclude(result->record);
    keyed = false;
  }
  SetDeferred();
  if (run.exchange(Run::kNone) == Run::kTakenBack) {
    // Whoever did so may still be at it.
    const std::lock_guard<std::mutex> lock(mutex);
  }
}

// --- For loops. ---

CURLcode HandleAccess::Begin(Handle* handle) {
  Handle::Impl& impl = *handle->impl_;
  if (!impl.ok()) return CURLE_FAILED_INIT;
  return impl.performing.exchange(true) ? CURLE_RECURSIVE_API_CALL : CURLE_OK;
}

void HandleAccess::SetRun(Handle* handle, bool plain, bool keyed) {
  handle->impl_->plain = plain;
  handle->impl_->keyed = keyed;
}

void HandleAccess::End(Handle* handle) {
  SetRun(handle, /*plain=*/false, /*keyed=*/false);
  handle->impl_->SetDeferred();
  handle->impl_->performing = false;
}

CURL* HandleAccess::Easy(const Handle& handle) { return handle.impl_->easy; }

const EasyOptions& HandleAccess::Settings(const Handle& handle) {
  return handle.impl_->settings;
}

CallMemory* HandleAccess::Memory(const Handle& handle, const Client* client) {
  Handle::Impl& impl = *handle.impl_;
  return impl.client.get() == client ? &impl.memory : nullptr;
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

Handle Handle::Duplicate() const {
  CURL* copy = nullptr;
  if (impl_->ok() && !impl_->performing) {
    copy = curl_easy_duphandle(impl_->easy);
  }
  Handle handle(
      std::make_unique<Impl>(copy, /*owns_handle=*/true, impl_->client));
  handle.impl_->settings = impl_->settings;
  return handle;
}

Handle::Handle(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Handle::Handle(Handle&& other) noexcept = default;
Handle& Handle::operator=(Handle&& other) noexcept = default;
Handle::~Handle() = default;

}  // namespace forbear::curl
