// What calls of a channel cost while they wait, in threads and memory: 2,000 plain
// calls that are in flight, beside as many of Forbear's in a backoff.
//
//   WaitingCalls plain = MeasureInFlight(2000, address);   // in a process of its own
//   WaitingCalls ours = MeasureInBackoff(2000, address);   // in another one
//
// The server must be BenchAnswer (benchmarks/grpc_cases.h).
//
// Thread rule: measures this process; once in each.
#ifndef FORBEAR_BENCHMARKS_GRPC_WAITING_H_
#define FORBEAR_BENCHMARKS_GRPC_WAITING_H_

#include <string>

namespace forbear::bench {

struct WaitingCalls {
  // Of this process, while all of them wait.
  int threads = 0;
  // Of resident memory, above what was there before the first of them; each.
  double bytes = 0;
};

// By a plain channel without gRPC's retries: sent, and not answered.
WaitingCalls MeasureInFlight(int calls, const std::string& address);

// Likewise, by Forbear's channel.
WaitingCalls MeasureOursInFlight(int calls, const std::string& address);

// By Forbear's channel: sent, refused, and to be sent again in a second.
WaitingCalls MeasureInBackoff(int calls, const std::string& address);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_GRPC_WAITING_H_
