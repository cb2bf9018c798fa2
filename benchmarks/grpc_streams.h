// What grpc_bench measures of streams: messages of 64 bytes from a server, read one after
// the other.
//
//   const std::unique_ptr<GrpcStreamCase> one = MakeGrpcStreamCase("empty", address);
//   one->Run(1000);                     // a stream of 1,000 messages
//
// A stream that fails, or has fewer messages, ends the program.
//
// Thread rule: a case belongs to one thread.
#ifndef FORBEAR_BENCHMARKS_GRPC_STREAMS_H_
#define FORBEAR_BENCHMARKS_GRPC_STREAMS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace forbear::bench {

// A server that sends as many messages as Pull's `n` says, on a free port. Null: it did
// not start.
std::shared_ptr<void> StartStreamServer(int* port);

class GrpcStreamCase {
 public:
  virtual ~GrpcStreamCase() = default;
  virtual void Run(int64_t n) = 0;
};

// "bare":    a channel without gRPC's retries.
// "empty":   the same, with an interceptor that hijacks the stream and passes each
//            message on from a stream of its own: what hijacking costs at least.
// "forbear": Forbear's channel, with a rule for the method.
// "untouched": Forbear's channel, with a rule for another method.
//
// Null: there is no such case. How many messages are read at a time is chance; the more
// of them are asked for, the less that matters.
std::unique_ptr<GrpcStreamCase> MakeGrpcStreamCase(absl::string_view name,
                                                   const std::string& address);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_GRPC_STREAMS_H_
