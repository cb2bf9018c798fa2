// Weather: what changes around the calls of a soak: servers become better and worse, and
// are away for a moment; settings are loaded anew. And what those settings, and the
// sizes of messages, are.
//
//   Weather weather(seed, plant, &stopping, &ledger);
//   weather.Run(&servers, client.get());     // a thread's whole work
//
// Thread rule: Run belongs to one thread; the rest are pure functions of their dice.
#ifndef FORBEAR_TESTS_SOAK_WEATHER_H_
#define FORBEAR_TESTS_SOAK_WEATHER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/policy.h"
#include "core/retry_policy.h"
#include "runtime/client.h"
#include "tests/soak/dice.h"
#include "tests/soak/ledger.h"
#include "tests/soak/stop_sign.h"

namespace forbear::soak {

// No call takes longer than `longest`.
RetryOptions RandomRetry(Dice* dice, absl::Duration longest);
// What may be different after a Reload: not what a replay needs.
void RandomShared(Dice* dice, Policy* policy);
// In bytes; one in `rare` is large.
size_t RandomSize(Dice* dice, uint64_t rare);

class Weather {
 public:
  // All must outlive it.
  Weather(uint64_t seed, std::string plant, const StopSign* stopping,
          Ledger* ledger)
      : dice_(seed),
        plant_(std::move(plant)),
        stopping_(*stopping),
        ledger_(ledger) {}

  // `servers` have Stir(&weather).
  template <typename AllServers>
  void Run(AllServers* servers, Client* client) {
    while (!stopping_) {
      servers->Stir(this);
      ChangeNowAndThen(client);
      stopping_.WaitFor(dice_.Millis(50, 800));
    }
  }

  // For servers: which of n is it about?
  size_t Which(size_t n) { return dice_.Below(n); }
  // It becomes better or worse, or is away for a moment.
  template <typename Server>
  void Change(Server* server, std::atomic<int>* good_percent) {
    if (!dice_.One(4)) {
      static constexpr int kMoods[] = {97, 90, 70, 40, 5};
      *good_percent = kMoods[dice_.Below(5)];
      return;
    }
    server->Stop();
    stopping_.WaitFor(dice_.Millis(5, 300));
    const absl::Status started = server->Start();
    if (!started.ok()) {
      ledger_->Fault(
          absl::StrCat("a server does not start again: ", started.ToString()));
    }
  }

 private:
  void ChangeNowAndThen(Client* client);

  Dice dice_;
  const std::string plant_;
  const StopSign& stopping_;
  Ledger* const ledger_;
};

}  // namespace forbear::soak

#endif  // FORBEAR_TESTS_SOAK_WEATHER_H_
