// Ledger: the books of a soak: which calls were started, how often each was
// reported, how often it came to a server, and every fault that was found.
//
//   const uint64_t id = ledger.Begin();           // 0: there are no numbers left
//   …a server:  ledger.Arrived(id, strict, acted);
//   …its end:   ledger.Reported(id, reason, record, true);
//   ledger.Close();                               // all are over: adds up
//
// Memory: five bytes a call, taken at the beginning, so that what a process grows
// by is not the ledger's.
//
// Thread rule: thread-safe; Close when all others are done.
#ifndef FORBEAR_TESTS_SOAK_LEDGER_H_
#define FORBEAR_TESTS_SOAK_LEDGER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/call_record.h"
#include "core/stop_reason.h"

namespace forbear::soak {

class Ledger {
 public:
  explicit Ledger(uint64_t most_calls);

  uint64_t Begin();

  // `counted`: what came of it to servers may be held against what its record says
  // was sent. False: more has come already (Close looks at what comes later).
  bool Reported(uint64_t id, StopReason reason, const CallRecord& record,
                bool counted);

  // A whole request of this call is at a server. `strict`: it may be acted upon
  // once. `acted`: the server's answer does not say that it was not. False: it was
  // acted upon already.
  bool Arrived(uint64_t id, bool strict, bool acted);

  void Fault(const std::string& text);

  // Each was reported once, and sent no more than it says.
  void Close();

  uint64_t started() const { return next_ - 1; }
  uint64_t reported() const { return reported_; }
  uint64_t sends() const { return sends_; }
  uint64_t arrivals() const { return arrivals_; }
  uint64_t faults() const { return faults_; }
  std::vector<std::string> first_faults() const;
  // "success 1200, cancelled 31, …", since the beginning.
  std::string Reasons() const;

 private:
  struct Cell {
    std::atomic<uint8_t> reports{0};
    std::atomic<uint8_t> attempts{0};
    std::atomic<uint8_t> arrivals{0};
    std::atomic<uint8_t> acted{0};
    std::atomic<uint8_t> counted{0};
  };
  static constexpr uint8_t kMany = 255;
  static constexpr size_t kFaultsKept = 30;
  // Up to kMany, which stands for itself and more. The value before.
  static uint8_t Add(std::atomic<uint8_t>* to, int n);

  const uint64_t most_;
  const std::unique_ptr<Cell[]> cells_;
  std::atomic<uint64_t> next_{1};
  std::atomic<uint64_t> reported_{0};
  std::atomic<uint64_t> sends_{0};
  std::atomic<uint64_t> arrivals_{0};
  std::atomic<uint64_t> faults_{0};
  std::atomic<uint64_t> reasons_[kStopReasonCount] = {};
  mutable std::mutex mutex_;
  std::vector<std::string> first_faults_;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_LEDGER_H_
