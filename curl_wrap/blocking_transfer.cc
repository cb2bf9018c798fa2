#include "curl_wrap/blocking_transfer.h"

#include <optional>

#include "curl_wrap/sigpipe_block.h"
#include "curl_wrap/transfer_loop.h"
#include "runtime/clock.h"

namespace forbear::curl {

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
  const auto look = [&](MonotonicTime* until) -> std::optional<CURLcode> {
    if (parker_->cancelled()) return CURLE_ABORTED_BY_CALLBACK;
    *until = Earlier(deadline, transport_.hold_until());
    if (until->is_infinite()) return std::nullopt;
    const MonotonicTime now = MonotonicNow();
    if (now >= deadline) return CURLE_OPERATION_TIMEDOUT;
    if (now >= *until && !transport_.OnHoldOver()) return CURLE_WRITE_ERROR;
    return std::nullopt;
  };
  bool over = false;
  const CURLcode code = RunTransfer(multi_, easy_, look, &over);
  RemoveHandle(multi_, easy_, settings_, /*in_mid_air=*/!over);
  return code;
}

}  // namespace forbear::curl
