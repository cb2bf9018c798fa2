#include "curl_wrap/transfer_loop.h"

#include <algorithm>

#include "absl/time/time.h"
#include "runtime/clock.h"

namespace forbear::curl {
namespace {

// curl_easy_perform's own step, which progress callbacks are used to.
constexpr int kStep = 1000;  // ms

// Rounded up; at most a step.
int Millis(absl::Duration wait) {
  return static_cast<int>(absl::ToInt64Milliseconds(
      std::clamp(absl::Ceil(wait, absl::Milliseconds(1)), absl::ZeroDuration(),
                 absl::Milliseconds(kStep))));
}

}  // namespace

CURLcode RunTransfer(
    CURLM* multi, CURL* easy,
    absl::FunctionRef<std::optional<CURLcode>(MonotonicTime* until)> look,
    bool* over) {
  for (;;) {
    int running = 0;
    curl_multi_perform(multi, &running);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE || message->easy_handle != easy) {
        continue;
      }
      *over = true;
      return message->data.result;
    }
    MonotonicTime until = MonotonicTime::Infinite();
    if (const std::optional<CURLcode> end = look(&until)) {
      *over = false;
      return *end;
    }
    const int wait =
        until.is_infinite() ? kStep : Millis(until - MonotonicNow());
    curl_multi_poll(multi, nullptr, 0, wait, nullptr);
  }
}

void RemoveHandle(CURLM* multi, CURL* easy, const EasyOptions& settings,
                  bool in_mid_air) {
  if (in_mid_air) curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  curl_multi_remove_handle(multi, easy);
  if (in_mid_air) {
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, settings.quick_exit ? 1L : 0L);
  }
}

}  // namespace forbear::curl
