// What transfers of an engine cost while they wait: memory, processor time, and how late
// they wake.
//
//   WaitingNumbers numbers = MeasureWaiting({50000, …}, "http://127.0.0.1:8080/bad");
//
// Each transfer is a POST of 256 bytes to a URL of its own, with six header lines. It is
// answered 500, waits, and is answered 500 again: two attempts and a wait. All of them
// wait at the same time before the first one wakes.
//
// Measures this process: make it in one of its own. Traffic to the loopback only.
#ifndef FORBEAR_BENCHMARKS_CURL_WAITING_H_
#define FORBEAR_BENCHMARKS_CURL_WAITING_H_

#include <string>

namespace forbear::bench {

struct WaitingNumbers {
  // Of resident memory when all wait, above what was there with the engine idle; in MB
  // of a million bytes.
  double megabytes = 0;
  // Per transfer, user's and system's, of its two attempts and its wait.
  double micros = 0;
  // From the time to which a transfer was to wait, to its second attempt; milliseconds.
  double late_median = 0;
  double late_p99 = 0;
  double late_max = 0;
};

// `url` must answer 500. `spread`: seconds over which the wake-ups are spread.
WaitingNumbers MeasureWaiting(int transfers, double spread,
                              const std::string& url);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_CURL_WAITING_H_
