// Refuse: the report of a transfer that is not taken, by the thread that would have
// started it. Private.
//
//   if (!inbox->PostOrKeep(&item)) {
//     return Refuse(std::move(item.transfer->done), StopReason::kCancelled) ? id : 0;
//   }
//
// A Done function may start the next transfer, which is refused as well, and is reported
// when this report is over, not within it: a queue of any length goes through without
// filling the stack.
//
// Bounds: a Done function that starts the next one whatever it is told would go on for
// ever. So kMaxInARow are reported of what came out of one refusal, and no more.
//
// Thread rule: thread-safe.
#ifndef FORBEAR_CURL_WRAP_REFUSE_H_
#define FORBEAR_CURL_WRAP_REFUSE_H_

#include <cstddef>

#include "core/stop_reason.h"
#include "curl_wrap/response.h"

namespace forbear::curl {

constexpr size_t kMaxInARow = 100000;

// `done` may be empty. False: it is not reported, being one too many.
bool Refuse(Done done, StopReason reason);
// The report itself, at once: for a function that starts nothing.
void ReportRefusal(const Done& done, StopReason reason);

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_REFUSE_H_
