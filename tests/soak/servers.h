// Servers: HttpServers on loopback whose every answer is random, which change their
// mood, and which are gone now and then.
//
// A request's path says what a good answer to it is, so that both ends can check:
//
//   /t/ID/SIZE/BODY/FLAGS/HOP
//     ID     of the transfer, as in the ledger
//     SIZE   the good answer is 200 with KnownBytes(ID, SIZE)
//     BODY   a POST or PUT has KnownBytes(ID + 1, BODY)
//     FLAGS  s: it may be acted upon once, unless it has an Idempotency-Key
//            r: may be redirected   z: errors have no body   m: the body is MIME
//            -: nothing
//     HOP    redirects so far
//
// Thread rule: thread-safe, but for the destructor.
#ifndef FORBEAR_TESTS_SOAK_SERVERS_H_
#define FORBEAR_TESTS_SOAK_SERVERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/soak/dice.h"
#include "tests/soak/ledger.h"
#include "tests/soak/weather.h"
#include "tests/testing/http_server.h"
#include "tests/testing/reply.h"

namespace forbear::soak {

// The body of an answer of 300 or more, if errors have one.
absl::string_view ErrorBody(uint64_t id, int status);

class Servers {
 public:
  // `ledger` must outlive it. `bad_bytes`: one good body in 200 is not.
  Servers(int count, uint64_t seed, Ledger* ledger, bool bad_bytes);

  // "http://127.0.0.1:1234", of any.
  std::string Any(Dice* dice) const;

  // Something changes: a mood, or a server is gone for a moment, which this waits for.
  void Stir(Weather* weather);

  // What came of this transfer, if it was lately, and what it was answered.
  std::string HistoryOf(uint64_t id) const;

 private:
  struct One {
    One(uint64_t seed, std::unique_ptr<testing::HttpServer> s)
        : dice(seed), server(std::move(s)) {}
    Dice dice;                          // the server's thread's
    std::atomic<int> good_percent{70};  // of answers
    std::unique_ptr<testing::HttpServer>
        server;  // the last: its thread ends first
  };
  testing::Reply Answer(One* one, const testing::HttpRequest& request);
  testing::Reply Bad(Dice* dice, uint64_t id, size_t size,
                     absl::string_view flags, bool* acted);
  void Note(uint64_t id, std::string text);

  Ledger* const ledger_;
  const bool bad_bytes_;
  static constexpr size_t kNoted = 5000;
  mutable std::mutex mutex_;
  std::deque<std::pair<uint64_t, std::string>> last_;
  std::vector<std::unique_ptr<One>> all_;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_SERVERS_H_
