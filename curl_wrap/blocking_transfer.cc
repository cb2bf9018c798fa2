#include "curl_wrap/blocking_transfer.h"

#include <algorithm>

#include "absl/time/time.h"
#include "curl_wrap/sigpipe_block.h"
#include "runtime/clock.h"

namespace forbear::curl {
namespace {

// curl_easy_perform's own step, which progress callbacks are used to.
constexpr int kStep = 1000;  // ms

// Rounded up; at most a step.
int Millis(absl::Duration wait) {
  return static_cast<int>(absl::ToInt64Milliseconds(std::min(
      absl::Ceil(wait, absl::Milliseconds(1)), absl::Milliseconds(kStep))));
}

}  // namespace

void RemoveHandle(CURLM* multi, CURL* easy, const EasyOptions& settings,
                  bool in_mid_air) {
  if (in_mid_air) curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  curl_multi_remove_handle(multi, easy);
  if (in_mid_air) {
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, settings.quick_exit ? 1L : 0L);
  }
}

void BlockingTransfer::Attempt(Call* call, int n, MonotonicTime deadline) {
  if (!transport_.Begin(call, n)) return;
  CURLcode code;
  {
    const SigpipeBlock no_sigpipe;
    code = Run(deadline);
  }
  if (code == CURLE_ABORTED_BY_CALLBACK && parker_->cancelled()) {
    transport_.EndCancelled();
  } else {
    transport_.End(code);
  }
}

CURLcode BlockingTransfer::Run(MonotonicTime deadline) {
  if (curl_multi_add_handle(multi_, easy_) != CURLM_OK) {
    transport_.SetError(
        "forbear: the handle belongs to a multi handle of others");
    return CURLE_FAILED_INIT;
  }
  CURLcode code = CURLE_OK;
  bool done = false;
  while (!done) {
    int running = 0;
    curl_multi_perform(multi_, &running);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      code = message->data.result;
      done = true;
    }
    if (done) break;
    if (parker_->cancelled()) {
      code = CURLE_ABORTED_BY_CALLBACK;
      break;
    }
    int wait = kStep;
    const MonotonicTime until = Earlier(deadline, transport_.hold_until());
    if (!until.is_infinite()) {
      const MonotonicTime now = MonotonicNow();
      if (now >= deadline) {
        code = CURLE_OPERATION_TIMEDOUT;
        break;
      }
      if (now >= until) {
        if (!transport_.OnHoldOver()) {
          code = CURLE_WRITE_ERROR;
          break;
        }
        continue;
      }
      wait = Millis(until - now);
    }
    curl_multi_poll(multi_, nullptr, 0, wait, nullptr);
  }
  RemoveHandle(multi_, easy_, settings_, /*in_mid_air=*/!done);
  return code;
}

}  // namespace forbear::curl
