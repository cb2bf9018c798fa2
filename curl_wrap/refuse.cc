#include "curl_wrap/refuse.h"

#include <deque>
#include <utility>

#include "curl_wrap/http_transport.h"

namespace forbear::curl {
namespace {

struct Refusal {
  Done done;
  StopReason reason;
};

// Those that came out of one refusal.
struct Row {
  std::deque<Refusal> later;
  size_t length = 1;
};

// That whose Done functions this thread is running.
thread_local Row* t_row = nullptr;

}  // namespace

void ReportRefusal(const Done& done, StopReason reason) {
  Response response;
  response.code = CodeOfUnsent(reason);
  response.stop_reason = response.record.stop_reason = reason;
  done(std::move(response));
}

bool Refuse(Done done, StopReason reason) {
  if (!done) return true;
  if (t_row != nullptr) {
    if (t_row->length == kMaxInARow) return false;
    ++t_row->length;
    t_row->later.push_back({std::move(done), reason});
    return true;
  }
  Row row;
  t_row = &row;
  ReportRefusal(done, reason);
  while (!row.later.empty()) {
    const Refusal next = std::move(row.later.front());
    row.later.pop_front();
    ReportRefusal(next.done, next.reason);
  }
  t_row = nullptr;
  return true;
}

}  // namespace forbear::curl
