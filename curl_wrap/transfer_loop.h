// The loop of who waits for one transfer, on a multi handle of its own: not
// curl_easy_perform, so that it can be ended in the middle.
//
//   curl_multi_add_handle(multi, easy);
//   bool over = false;
//   CURLcode code = RunTransfer(multi, easy, [&](MonotonicTime* until) {
//     *until = deadline;
//     return MonotonicNow() < deadline ? std::nullopt
//                                      : std::optional(CURLE_OPERATION_TIMEDOUT);
//   }, &over);
//   RemoveHandle(multi, easy, settings, /*in_mid_air=*/!over);
//
// Thread rule: as the multi handle.
#ifndef FORBEAR_CURL_WRAP_TRANSFER_LOOP_H_
#define FORBEAR_CURL_WRAP_TRANSFER_LOOP_H_

#include <curl/curl.h>

#include <optional>

#include "absl/functional/function_ref.h"
#include "core/time.h"
#include "curl_wrap/easy_options.h"

namespace forbear::curl {

// Runs the transfer until it is over, which says `*over`, or `look` ends it with a code.
// That is asked after each step, and sets the time at which it must be asked again if
// nothing happens before; infinite: at none.
CURLcode RunTransfer(
    CURLM* multi, CURL* easy,
    absl::FunctionRef<std::optional<CURLcode>(MonotonicTime* until)> look,
    bool* over);

// Takes a handle out of a multi handle. With `in_mid_air`, because nobody wants the
// rest; else libcurl would wait for a name server's thread.
void RemoveHandle(CURLM* multi, CURL* easy, const EasyOptions& settings,
                  bool in_mid_air);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_TRANSFER_LOOP_H_
