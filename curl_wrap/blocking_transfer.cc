#include "curl_wrap/blocking_transfer.h"

#include <cstdint>

#include "curl_wrap/sigpipe_block.h"
#include "runtime/clock.h"

namespace forbear::curl {
namespace {

// From `now` until `until`, which is later, rounded up. At most a second:
// curl_easy_perform's own step, which progress callbacks are used to.
int PollMillis(MonotonicTime now, MonotonicTime until) {
  constexpr int64_t kNanosPerMilli = 1000000;
  constexpr int64_t kMost = 1000;
  // No clock is below zero by as much.
  if (until.is_infinite() ||
      until.nanos() - now.nanos() >= kMost * kNanosPerMilli) {
    return kMost;
  }
  return static_cast<int>((until.nanos() - now.nanos() + kNanosPerMilli - 1) /
                          kNanosPerMilli);
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
    const MonotonicTime now = MonotonicNow();
    if (now >= deadline) {
      code = CURLE_OPERATION_TIMEDOUT;
      break;
    }
    if (now >= transport_.hold_until()) {
      if (!transport_.OnHoldOver()) {
        code = CURLE_WRITE_ERROR;
        break;
      }
      continue;
    }
    curl_multi_poll(multi_, nullptr, 0,
                    PollMillis(now, Earlier(deadline, transport_.hold_until())),
                    nullptr);
  }
  RemoveHandle(multi_, easy_, settings_, /*in_mid_air=*/!done);
  return code;
}

}  // namespace forbear::curl
