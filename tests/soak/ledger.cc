#include "tests/soak/ledger.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>

#include "absl/strings/str_cat.h"

namespace forbear::soak {

Ledger::Ledger(uint64_t most_calls)
    : most_(most_calls), cells_(new Cell[most_calls + 1]) {}

uint8_t Ledger::Add(std::atomic<uint8_t>* to, int n) {
  uint8_t before = *to;
  while (!to->compare_exchange_weak(
      before, static_cast<uint8_t>(std::min<int>(before + n, kMany)))) {
  }
  return before;
}

uint64_t Ledger::Begin() {
  uint64_t id = next_;
  do {
    if (id > most_) return 0;
  } while (!next_.compare_exchange_weak(id, id + 1));
  return id;
}

bool Ledger::Reported(uint64_t id, StopReason reason, const CallRecord& record,
                      bool counted) {
  Cell& cell = cells_[id];
  if (Add(&cell.reports, 1) != 0) {
    Fault(absl::StrCat("call ", id, " was reported more than once"));
  }
  ++reported_;
  ++reasons_[static_cast<size_t>(reason)];
  const int attempts = std::max(record.total_attempts, 0);
  int sends = attempts;
  for (const AttemptRecord& a : record.attempts) sends += a.outcome.resends;
  sends_ += sends;
  Add(&cell.attempts, std::min<int>(sends, kMany));
  // Of those that are not kept it is not known how often they were sent again.
  cell.counted = counted && attempts <= CallRecord::kMaxAttempts ? 1 : 0;
  return cell.counted == 0 || cell.arrivals <= cell.attempts;
}

bool Ledger::Arrived(uint64_t id, bool strict, bool acted) {
  ++arrivals_;
  if (id == 0 || id >= next_) {
    Fault(absl::StrCat("a request came of call ", id,
                       ", which was never started"));
    return true;
  }
  Cell& cell = cells_[id];
  Add(&cell.arrivals, 1);
  if (!strict) return true;
  if (acted) return Add(&cell.acted, 1) == 0;
  return cell.acted == 0;
}

void Ledger::Fault(const std::string& text) {
  ++faults_;
  std::lock_guard<std::mutex> lock(mutex_);
  if (first_faults_.size() == kFaultsKept) return;
  first_faults_.push_back(text);
  fprintf(stderr, "FAULT: %s\n", text.c_str());
}

void Ledger::Close() {
  for (uint64_t id = 1; id < next_; ++id) {
    const Cell& cell = cells_[id];
    if (cell.reports == 0) {
      Fault(absl::StrCat("call ", id, " was never reported"));
    }
    if (cell.counted != 0 && cell.attempts != kMany &&
        cell.arrivals > cell.attempts) {
      Fault(absl::StrCat("call ", id, " came ", int{cell.arrivals},
                         " times, and its record has ", int{cell.attempts},
                         " sends"));
    }
  }
}

std::vector<std::string> Ledger::first_faults() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return first_faults_;
}

std::string Ledger::Reasons() const {
  std::string text;
  for (int i = 0; i < kStopReasonCount; ++i) {
    if (reasons_[i] == 0) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ",
                    StopReasonName(static_cast<StopReason>(i)), " ",
                    reasons_[i].load());
  }
  return text;
}

}  // namespace forbear::soak
