// RpcServers: gRPC servers on loopback whose every answer is random, which change their
// mood, and which are gone now and then.
//
// The good answer's payload is KnownBytes(id, size), as the call's mark says
// (tests/soak/rpc_door.h). The request's is KnownBytes(id + 1, n), n being in the
// message, too.
//
// Thread rule: thread-safe, but for the destructor.
#ifndef FORBEAR_TESTS_SOAK_RPC_SERVERS_H_
#define FORBEAR_TESTS_SOAK_RPC_SERVERS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/soak/dice.h"
#include "tests/soak/rpc_door.h"
#include "tests/soak/weather.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::soak {

class RpcServers {
 public:
  // `door` must outlive it. `bad_bytes`: one good answer in 200 is not.
  RpcServers(int count, uint64_t seed, RpcDoor* door, bool bad_bytes);

  // "127.0.0.1:1234", of any.
  std::string Any(Dice* dice) const;

  // Something changes: a mood, or a server is gone for a moment, which this waits for.
  void Stir(Weather* weather);

 private:
  struct One {
    explicit One(uint64_t seed) : dice(seed) {}
    std::mutex mutex;  // guards dice
    Dice dice;
    std::atomic<int> good_percent{70};            // of answers
    std::unique_ptr<testing::GrpcServer> server;  // the last: it ends first
  };
  testing::GrpcReply Answer(One* one, const testing::GrpcRequest& request);
  static testing::GrpcReply Bad(Dice* dice, const std::string& good);

  RpcDoor* const door_;
  const bool bad_bytes_;
  std::vector<std::unique_ptr<One>> all_;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_RPC_SERVERS_H_
