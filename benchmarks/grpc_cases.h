// What grpc_bench measures: unary calls of 64 bytes to one server, which sends them
// back, done n times in a loop.
//
//   const std::unique_ptr<GrpcCase> one = MakeGrpcCase("sync forbear", address);
//   one->Run(1000);
//
// A call that fails, that is answered by anything else or that needed two attempts
// ends the program: it would be a measurement of something else.
//
// Thread rule: a case belongs to one thread.
#ifndef FORBEAR_BENCHMARKS_GRPC_CASES_H_
#define FORBEAR_BENCHMARKS_GRPC_CASES_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::bench {

// What a call sends and gets, as a message's payload.
inline constexpr size_t kPayloadBytes = 64;

// Calls that the cases with many of them keep in flight.
inline constexpr int kInFlight = 32;

// What a message's `n` asks of the server.
enum class Ask {
  kEcho = 0,
  kLate,    // an echo, after some milliseconds
  kHang,    // no answer
  kRefuse,  // UNAVAILABLE
  kCount,   // how many there were that asked for kHang or kRefuse, in `n`
};

// How a server must answer, in a process of its own.
testing::GrpcReply BenchAnswer(const testing::GrpcRequest& request);

// A channel of one of the kinds below; null: there is no such kind.
std::shared_ptr<grpc::Channel> MakeBenchChannel(const std::string& address,
                                                absl::string_view kind);

class GrpcCase {
 public:
  virtual ~GrpcCase() = default;
  virtual void Run(int64_t n) = 0;
  // The same; appends how long each call took, in microseconds.
  virtual void RunTimed(int64_t n, std::vector<double>* micros) = 0;
};

// "sync CHANNEL": one after the other, by a stub's blocking call.
// "many CHANNEL": kInFlight at a time, by the callback API.
// CHANNEL is
//   bare       GRPC_ARG_ENABLE_RETRIES is 0
//   default    no channel argument
//   retries    gRPC's own retryPolicy, in a service config
//   null       as bare, with a factory of interceptors that makes none
//   empty      as bare, with an interceptor that does nothing
//   untouched  Forbear, but no policy that is for this method
//   forbear    Forbear, with a rule for the method; the record is kept
//   record     the same, and each call's record is read
//   waiting    Forbear, with a backoff of 20 s, and nothing else that could keep a
//              call
//
// Null: there is no such case. `late`: the server is to take some milliseconds, so
// that an answer is waited for however slow this program is.
std::unique_ptr<GrpcCase> MakeGrpcCase(absl::string_view name,
                                       const std::string& address,
                                       bool late = false);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_GRPC_CASES_H_
