// StreamServers: gRPC servers on loopback that play each stream in a random way, change
// their mood, and are gone now and then. What they hear must be what was sent.
//
// A stream's mark (tests/soak/rpc_door.h) says how many messages it is of: those of a
// good answer (Pull), or of the request (Push, Chat). Message i of call ID is
// StreamMessage(ID, i, n), of any n.
//
// Thread rule: thread-safe, but for the destructor.
#ifndef FORBEAR_TESTS_SOAK_STREAM_SERVERS_H_
#define FORBEAR_TESTS_SOAK_STREAM_SERVERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/interceptors/stream_server.h"
#include "tests/soak/dice.h"
#include "tests/soak/rpc_door.h"
#include "tests/soak/stop_sign.h"
#include "tests/soak/weather.h"

namespace forbear::soak {

std::string StreamMessage(uint64_t id, size_t i, size_t n);

class StreamServers {
 public:
  // `door` must outlive it. `stutters`: one in 50 says a message twice.
  StreamServers(int count, uint64_t seed, RpcDoor* door, bool stutters);

  // "127.0.0.1:1234", of any.
  std::string Any(Dice* dice) const;

  // As RpcServers::Stir.
  void Stir(Weather* weather);

 private:
  struct One {
    explicit One(uint64_t seed) : dice(seed) {}
    std::mutex mutex;  // guards dice
    Dice dice;
    std::atomic<int> good_percent{70};
    std::unique_ptr<rpc::StreamServer> server;  // the last: it ends first
  };

  rpc::StreamPlay Play(One* one, const rpc::SeenStream& seen);
  static rpc::StreamPlay Bad(Dice* dice, size_t messages);
  void CheckHeard(const rpc::SeenStream& seen);

  RpcDoor* const door_;
  const bool stutters_;
  StopSign never_;  // what a slow server waits for
  std::vector<std::unique_ptr<One>> all_;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_STREAM_SERVERS_H_
