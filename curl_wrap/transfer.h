// Transfer: one call in a TransferSet (curl_wrap/transfer_set.h): what it sends, the
// call, and, while an attempt is out, the easy handle. Private.
//
// Thread rule: Wake from any thread; all else is the set's thread's, once it was
// started.
#ifndef FORBEAR_CURL_WRAP_TRANSFER_H_
#define FORBEAR_CURL_WRAP_TRANSFER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/time/time.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/call_place.h"
#include "curl_wrap/call_setup.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/inbox.h"
#include "curl_wrap/life_pool.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/call.h"
#include "runtime/client.h"
#include "runtime/due_heap.h"

namespace forbear::curl {

class TransferSet;

class Transfer final : public Waiter {
 public:
  // Of a request, or of a handle.
  Transfer(uint64_t id_of, std::shared_ptr<Inbox> inbox, Request request_of,
           Handle* handle_of, CallOptions options_of, Done done_of,
           MonotonicTime now, bool shows_easy_of = true)
      : id(id_of),
        started(now),
        request(std::move(request_of)),
        handle(handle_of),
        done(std::move(done_of)),
        shows_easy(shows_easy_of),
        inbox_(std::move(inbox)),
        stage_(std::in_place_type<CallOptions>, std::move(options_of)) {}

  void Wake() override {
    if (!woken.exchange(true)) {
      inbox_->Post({Inbox::What::kWake, id, nullptr});
    }
  }

  enum class State : uint8_t {
    kNew,       // it has no call yet, and waits for a place
    kWaiting,   // the call waits
    kReady,     // the call may go on, and waits for a place
    kInFlight,  // an attempt is out
    kOver,
  };

  using Life = curl::Life;

  // What a call is when it has begun.
  struct Begun {
    // `memory`: what setup->handle is of; null: there is none. `keeps`: it may be gone
    // before the call is.
    Begun(Client* client, CallSetup* setup, const CallMemory* memory,
          bool keeps, const CallOptions& options,
          std::shared_ptr<Waiter> waiter)
        : self(std::move(waiter)),
          held(keeps && setup->handle != nullptr ? memory->handle
                                                 : HandleRef()),
          profile(TakeProfile(setup, memory)),
          at_most_once(setup->limits.at_most_once),
          max_held_bytes(AtMost32Bits(options.max_held_bytes)),
          max_buffered_body(AtMost32Bits(options.max_buffered_body)),
          max_hold(MonotonicTime() + options.max_hold_time),
          call(MakeCall(client, *setup, &self)) {
      if (!setup->key_line.empty()) {
        key_line =
            std::make_unique<const std::string>(std::move(setup->key_line));
      }
      if (!options.quota_id.empty() || !options.profile.empty()) {
        names = std::make_unique<const Names>(
            Names{options.quota_id, options.profile});
      }
    }
    static ProfileRef TakeProfile(CallSetup* setup, const CallMemory* memory) {
      if (setup->handle == nullptr) return std::move(setup->profile);
      return memory->profile;
    }
    static Call MakeCall(Client* client, const CallSetup& setup,
                         const std::shared_ptr<Waiter>* waiter) {
      if (setup.handle == nullptr) return Call(client, setup.request, waiter);
      return Call(client, setup.handle, setup.request, waiter);
    }

    const std::shared_ptr<Waiter> self;
    const HandleRef held;
    const ProfileRef profile;
    std::unique_ptr<const std::string> key_line;  // null: it has none
    // Of the options, for redirects.
    struct Names {
      std::string quota_id;
      std::string profile;
    };
    std::unique_ptr<const Names> names;  // null: both are empty
    PlaceNames place_names() const {
      if (names == nullptr) return {};
      return {names->quota_id, names->profile};
    }
    // Small, for thousands wait.
    static uint32_t AtMost32Bits(size_t n) {
      return static_cast<uint32_t>(
          std::min(n, size_t{std::numeric_limits<uint32_t>::max()}));
    }
    const bool at_most_once;
    const uint32_t max_held_bytes;
    const uint32_t max_buffered_body;
    const MonotonicTime max_hold;  // since the time 0
    Call call;
  };
  // What is there instead, if it passes through or did not come to be.
  struct Odd {
    std::unique_ptr<CallSetup> setup;  // null: libcurl refused the request
    CallResult result;
  };

  // Until it has begun.
  const CallOptions& options() const { return std::get<CallOptions>(stage_); }
  bool has_begun() const { return std::holds_alternative<Begun>(stage_); }
  Begun& begun() { return std::get<Begun>(stage_); }
  Call& call() { return begun().call; }
  // REQUIRES: a request has its life, with the memory of `setup`.
  void BeginCall(Client* client, CallSetup* setup,
                 std::shared_ptr<Waiter> self) {
    const CallOptions last = std::move(std::get<CallOptions>(stage_));
    const bool is_request = handle == nullptr;
    const CallMemory* const memory =
        is_request ? &life->memory : HandleAccess::Memory(*handle, client);
    stage_.emplace<Begun>(client, setup, memory, /*keeps=*/is_request, last,
                          std::move(self));
  }
  // The call keeps its waiter, this: that must come to an end.
  void EndCall() { stage_.emplace<std::monostate>(); }

  struct Host;

  const uint64_t id;  // in the order in which they were started
  const MonotonicTime started;
  Request request;
  Handle* const handle;  // null: it is of `request`
  Done done;
  const bool shows_easy;  // Done gets the easy handle
  // Set while a wake is in the inbox.
  std::atomic<bool> woken{false};

  State state = State::kNew;
  bool kept = false;     // it waits, and its life is kept
  bool dropped = false;  // … and was let go
  Host* host = nullptr;
  DueHeap<Transfer>::Place due;
  // Of the attempt that is out, or when the call is to go on.
  MonotonicTime until;
  MonotonicTime begun_at;
  std::unique_ptr<Life> life;
  bool lives() const { return life != nullptr && life->easy != nullptr; }
  std::unique_ptr<Odd> odd;

 private:
  const std::shared_ptr<Inbox> inbox_;
  // In one place, for they are large, and thousands wait.
  std::variant<std::monostate, CallOptions, Begun> stage_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_TRANSFER_H_
