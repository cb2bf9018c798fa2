// A scenario of the arena in virtual time: the server's model, the crowd's calls on
// the real shared states (tests/testing/simulation.h), no socket and no clock. What
// takes the arena half a minute takes milliseconds here, and a seed is the whole run.
//
//   const arena::Scenario* s2 = arena::FindScenario("S2");
//   const Played played = Play(*s2, /*ideal=*/s2->ideal.wall, Weather{0.4});
//   played.wasted;     // sends that brought no answer
//   played.x_ideal;    // the time that it took, by a clairvoyant's
//
// What the server announces is written as it would be in a header, and read by
// signals/; the rest of the wire is left out, and so is what a machine costs.
//
// Thread rule: a pure function.
#ifndef FORBEAR_BENCHMARKS_SIMULATOR_PLAY_H_
#define FORBEAR_BENCHMARKS_SIMULATOR_PLAY_H_

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/time/time.h"
#include "benchmarks/arena/scenario.h"

namespace forbear::simulator {

struct Weather {
  // Each answer takes between (1 - jitter) and (1 + jitter) of what it should.
  double jitter = 0;
  // A send arrives up to this late: later ones may overtake it.
  absl::Duration transit = absl::ZeroDuration();
  uint64_t seed = 1;
  // gRPC tells waits in milliseconds where HTTP tells them in seconds.
  bool grpc = false;
  // Whether processes know how many they are (QuotaOptions::peers).
  bool peers = false;
  // How long a call may wait (RetryOptions::max_elapsed).
  absl::Duration patience = absl::Seconds(60);
  // Gets a line for each arrival: when, what became of it, and what the quota's and
  // the endpoint's pacer know then. Null: nobody.
  std::FILE* trace = nullptr;
};

struct Played {
  int64_t asked = 0;
  int64_t answered = 0;
  int64_t sends = 0;
  int64_t wasted = 0;  // sends minus answered calls
  double x_ideal = 0;
  int64_t waves_after_first = 0;  // as benchmarks/arena/analysis.py counts them
  int64_t outage_sends = 0;       // in the first outage
  int64_t fullest_after_outage = 0;  // sends in 100 ms
  double p95 = 0;                    // seconds, of the answered calls
  // The longest that a call was held before its first send, in seconds.
  double held = 0;
  // In the second after a wait that all of a process's callers shared, when a rate had
  // been learned: the fullest 100 ms by what the rate explains (1.5 times as much, and
  // at least 2 sends). Above 1 they came as a wave.
  double crowding = 0;
  // What the simulation found broken (Simulation::Faults); empty: nothing.
  std::string faults;
};

Played Play(const arena::Scenario& scenario, absl::Duration ideal,
            const Weather& weather);

}  // namespace forbear::simulator

#endif  // FORBEAR_BENCHMARKS_SIMULATOR_PLAY_H_
