// RpcServers: gRPC servers on loopback whose every answer is random, which change their
// mood, and which are gone now and then.
//
// A call says in its metadata what a good answer to it is, so that both ends can check:
//
//   x-soak: ID/SIZE/FLAGS
//     ID     of the call, as in the ledger
//     SIZE   the good answer's payload is KnownBytes(ID, SIZE)
//     FLAGS  s: it may be acted upon once   -: nothing
//
// The request's payload is KnownBytes(ID + 1, n), n being in the message, too.
//
// Thread rule: thread-safe, but for the destructor.
#ifndef FORBEAR_TESTS_SOAK_RPC_SERVERS_H_
#define FORBEAR_TESTS_SOAK_RPC_SERVERS_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/soak/dice.h"
#include "tests/soak/ledger.h"
#include "tests/soak/weather.h"
#include "tests/testing/grpc_reply.h"
#include "tests/testing/grpc_server.h"

namespace forbear::soak {

class RpcServers {
 public:
  // `ledger` must outlive it. `bad_bytes`: one good answer in 200 is not.
  RpcServers(int count, uint64_t seed, Ledger* ledger, bool bad_bytes);

  // "127.0.0.1:1234", of any.
  std::string Any(Dice* dice) const;

  // Something changes: a mood, or a server is gone for a moment, which this waits for.
  void Stir(Weather* weather);

  // What came of this call, if it was lately, and what it was answered.
  std::string HistoryOf(uint64_t id) const;

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
  void Note(uint64_t id, std::string text);

  Ledger* const ledger_;
  const bool bad_bytes_;
  static constexpr size_t kNoted = 5000;
  mutable std::mutex mutex_;  // guards last_
  std::deque<std::pair<uint64_t, std::string>> last_;
  std::vector<std::unique_ptr<One>> all_;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_RPC_SERVERS_H_
