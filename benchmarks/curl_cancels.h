// How long a cancel from another thread takes: until Perform has returned, or the
// engine has told the call's Done function.
//
//   std::vector<double> millis = MeasureCancels(CancelWay::kAttempt, 1000, url);
//
// A call that ends in another way than by the cancel, or was not where it should be, ends
// the program: it would be a measurement of something else.
//
// Traffic to the loopback only.
#ifndef FORBEAR_BENCHMARKS_CURL_CANCELS_H_
#define FORBEAR_BENCHMARKS_CURL_CANCELS_H_

#include <string>
#include <vector>

namespace forbear::bench {

enum class CancelWay {
  kThread,   // the control: a condition variable wakes a thread that sleeps
  kAttempt,  // Handle::Perform, while a server takes its time
  kBackoff,  // Handle::Perform, between two attempts
  kEngine,   // Engine, while a server takes its time
};

// In milliseconds, in ascending order. `url` must be answered with 500 for kBackoff, and
// not for some seconds otherwise.
std::vector<double> MeasureCancels(CancelWay way, int times,
                                   const std::string& url);

// A call that is let be. Ends the program if it is not answered with 200.
void AskOnce(const std::string& url);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_CURL_CANCELS_H_
