// What came to a provider's door, as the file that analysis.py reads: a line of JSON for
// the run, and one for each arrival in the order of time.
//
//   {"scenario":"S2","began_ns":…,"sends":412,"late_ms":{"p50":…,"p99":…,"max":…}}
//   {"i":0,"t":0.000012,"s":200,"f":"none","due":0.020012,"at":0.020093}
//   {"i":1,"t":0.000310,"s":-1,"f":"hang","due":null,"at":null,"gone":true}
//
// i: its number in its protocol. t: when it arrived. s: the HTTP status or gRPC code, -1
// without one. f: the fault. due, at: when the answer was to leave, and when it left. gone:
// the client left before that. Times are seconds since the server's beginning; began_ns is
// that on CLOCK_MONOTONIC. late_ms: how late a thread woke that slept, meanwhile.
//
// Thread rule: Heartbeat is made, asked and destroyed by one thread; the functions may be
// called from any.
#ifndef FORBEAR_BENCHMARKS_ARENA_DOOR_H_
#define FORBEAR_BENCHMARKS_ARENA_DOOR_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/testing/arrival_log.h"
#include "tests/testing/provider.h"

namespace forbear::arena {

// Of values: the smallest that this part of them does not exceed; 0 of none.
struct Lateness {
  absl::Duration p50, p99, max;
};
Lateness LatenessOf(std::vector<absl::Duration> values);

// A thread that sleeps and looks how late it wakes, as long as this object lives.
class Heartbeat {
 public:
  Heartbeat();
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // So far.
  Lateness lateness() const;

 private:
  void Run();

  mutable std::mutex mutex_;  // Guards the three below.
  std::condition_variable wake_;
  bool ended_ = false;
  std::vector<absl::Duration> late_;

  std::thread thread_;
};

// What arrived over both protocols, in the order of time; times count from the
// server's beginning. Empty, if it has not begun.
std::vector<testing::Arrival> ArrivalsOf(const testing::Provider& provider);

struct DoorRun {
  std::string scenario;
  int64_t began_ns = 0;
  int64_t sends = 0;  // all of them, also those that are no longer kept
  Lateness late;
};

std::string DoorText(const DoorRun& run,
                     const std::vector<testing::Arrival>& arrivals);

}  // namespace forbear::arena

#endif  // FORBEAR_BENCHMARKS_ARENA_DOOR_H_
