// Transfer: one call in a TransferSet (curl_wrap/transfer_set.h): what it sends, the
// call, and, while an attempt is out, the easy handle. Private.
//
// Thread rule: Wake from any thread; all else is the set's thread's, once it was
// started.
#ifndef FORBEAR_CURL_WRAP_TRANSFER_H_
#define FORBEAR_CURL_WRAP_TRANSFER_H_

#include <curl/curl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "core/time.h"
#include "core/wait_queue.h"
#include "curl_wrap/call_options.h"
#include "curl_wrap/call_setup.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/http_transport.h"
#include "curl_wrap/inbox.h"
#include "curl_wrap/request.h"
#include "curl_wrap/response.h"
#include "runtime/call.h"
#include "runtime/client.h"
#include "runtime/due_heap.h"

namespace forbear::curl {

class TransferSet;

class Transfer final : public Waiter {
 public:
  Transfer(uint64_t id_of, std::shared_ptr<Inbox> inbox, Request request_of,
           CallOptions options_of, Done done_of, MonotonicTime now)
      : id(id_of),
        started(now),
        request(std::move(request_of)),
        options(std::make_unique<CallOptions>(std::move(options_of))),
        done(std::move(done_of)),
        inbox_(std::move(inbox)) {}
  Transfer(uint64_t id_of, std::shared_ptr<Inbox> inbox, Handle* handle_of,
           CallOptions options_of, Done done_of, MonotonicTime now)
      : Transfer(id_of, std::move(inbox), Request(), std::move(options_of),
                 std::move(done_of), now) {
    handle = handle_of;
  }

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

  // An easy handle with everything on it.
  struct Life {
    ~Life() {
      transport.reset();  // puts options back
      key.reset();
      if (owned && easy != nullptr) curl_easy_cleanup(easy);
    }

    CURL* easy = nullptr;
    bool owned = false;
    EasyOptions own{/*fresh=*/true};
    const EasyOptions* settings = nullptr;
    Request::Lists lists;
    std::optional<ExtraHeader> key;
    std::optional<HttpTransport> transport;  // none: it passes through
    // For who has no functions of his own.
    std::string head;
    std::string body;
    uint64_t max_body = 0;
    // For callbacks.
    TransferSet* set = nullptr;
    Transfer* transfer = nullptr;
  };

  // What is left of the setup when the call has begun.
  struct Terms {
    explicit Terms(CallSetup* setup)
        : profile(std::move(setup->profile)),
          limits(setup->limits),
          key_line(std::move(setup->key_line)) {}
    ProfileRef profile;
    HttpTransport::Limits limits;
    std::string key_line;
  };

  struct Host;

  const uint64_t id;  // in the order in which they were started
  const MonotonicTime started;
  Request request;
  Handle* handle = nullptr;              // instead of a request
  std::unique_ptr<CallOptions> options;  // until the call begins
  Done done;
  // Set while a wake is in the inbox.
  std::atomic<bool> woken{false};

  State state = State::kNew;
  bool kept = false;     // it waits, and its life is kept
  bool dropped = false;  // … and was let go
  Host* host = nullptr;
  DueHeap<Transfer>::Place due;
  // Of the attempt that is out, or when the call is to go on.
  MonotonicTime until;
  absl::Duration queued;
  std::unique_ptr<Life> life;
  std::optional<Terms> terms;
  std::optional<Call> call;
  // Instead of a call: what one that passes through is made of.
  std::unique_ptr<CallSetup> plain;
  // The result, if there is no call, or libcurl refused the request.
  std::unique_ptr<CallResult> result;

 private:
  const std::shared_ptr<Inbox> inbox_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_TRANSFER_H_
