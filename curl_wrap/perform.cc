#include "curl_wrap/perform.h"

#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/call_names.h"
#include "core/policy.h"
#include "curl_wrap/call_setup.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/raw_transfer.h"
#include "runtime/blocking_driver.h"
#include "runtime/call.h"
#include "runtime/clock.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"

namespace forbear::curl {
namespace {

// A call that runs on this thread, and those around it.
class Running {
 public:
  explicit Running(CURL* easy) : easy_(easy), outer_(innermost_) {
    innermost_ = this;
  }
  ~Running() { innermost_ = outer_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  static bool Has(CURL* easy) {
    const Running* r = innermost_;
    while (r != nullptr && r->easy_ != easy) r = r->outer_;
    return r != nullptr;
  }

 private:
  static inline thread_local Running* innermost_ = nullptr;

  CURL* const easy_;
  Running* const outer_;
};

// This thread's multi handle, which keeps the connections from call to call; in
// another call's callback, one that lasts for the call.
class ThreadMulti {
 public:
  ThreadMulti() : multi_(Idle().Take()) {
    if (multi_ != nullptr) return;
    multi_ = curl_multi_init();
    // Of all handles that this thread uses together. By default it would be four.
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, 32L);
  }
  ~ThreadMulti() { Idle().Give(multi_); }
  ThreadMulti(const ThreadMulti&) = delete;
  ThreadMulti& operator=(const ThreadMulti&) = delete;

  CURLM* get() const { return multi_; }

 private:
  class Kept {
   public:
    Kept() = default;
    ~Kept() { curl_multi_cleanup(Take()); }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    CURLM* Take() {
      CURLM* const multi = std::exchange(multi_, nullptr);
      // Of a parent before fork(): its connections are the parent's. To close them
      // would say goodbye in its name.
      return owner_ == getpid() ? multi : nullptr;
    }
    void Give(CURLM* multi) {
      // What a call in a callback of this one's has left: this one is older, and
      // has more connections.
      curl_multi_cleanup(Take());
      multi_ = multi;
      owner_ = getpid();
    }

   private:
    CURLM* multi_ = nullptr;
    pid_t owner_ = 0;
  };

  static Kept& Idle() {
    static thread_local Kept kept;
    return kept;
  }

  CURLM* multi_;
};

std::vector<std::string> KeyHeaders(const CallSetup& setup) {
  std::vector<std::string> names;
  for (const std::string* name : {&setup.readers.profile->idempotency_header,
                                  &setup.readers.generic->idempotency_header,
                                  &setup.request.policy->idempotency_header}) {
    if (!name->empty()) names.push_back(*name);
  }
  return names;
}

void PerformCall(CURL* easy, CURLM* multi, const RawOptions& options,
                 const CallSetup& setup, Client* client, CallResult* result) {
  const auto parker = std::make_shared<Parker>();
  Call call(client, setup.request, parker);
  RawTransfer transfer(easy, multi, &options, setup.readers, KeyHeaders(setup),
                       RawTransfer::BrakeOfLibcurl());
  RunBlocking(&call, parker.get(), &transfer);
  result->code = transfer.Conclude(call.record());
  result->record = call.record();
  if (!transfer.method().empty()) {
    result->record.names = CallNames(setup.request.target, transfer.method(),
                                     setup.request.policy->name);
  }
  if (!client->logs()) return;
  const std::string call_name = absl::StrCat("call ", result->record.call_id);
  if (transfer.refused()) {
    client->options().log(absl::StrCat(
        call_name, ": the handle belongs to a multi handle of others"));
  }
}

}  // namespace

CallResult Perform(CURL* easy, const RawOptions& options,
                   std::shared_ptr<Client> client) {
  CallResult result;
  if (easy == nullptr || Running::Has(easy)) {
    FillFault(easy == nullptr ? CURLE_BAD_FUNCTION_ARGUMENT
                              : CURLE_RECURSIVE_API_CALL,
              &result);
    return result;
  }
  const Running running(easy);
  const EasyOptions unknown(/*fresh=*/false);
  const CallSetup setup(client.get(), unknown, easy, options, MonotonicNow());
  if (setup.passes_through) {
    result.record.wall_start = WallNow();
    result.record.begin = MonotonicNow();
    result.code = curl_easy_perform(easy);
    setup.RecordPlain(client.get(), unknown, easy, result.code, &result.record);
  } else if (setup.fault != CURLE_OK) {
    FillFault(setup.fault, &result);
    return result;
  } else if (options.idempotent.has_value() && !*options.idempotent) {
    PerformCall(easy, /*multi=*/nullptr, options, setup, client.get(), &result);
  } else {
    const ThreadMulti multi;
    if (multi.get() == nullptr) {
      FillFault(CURLE_FAILED_INIT, &result);
      return result;
    }
    PerformCall(easy, multi.get(), options, setup, client.get(), &result);
  }
  FillResult(easy, &result);
  return result;
}

}  // namespace forbear::curl
