// What came out of many runs of one scenario, and the weather in which they are played.
//
//   Sample sample;
//   for (uint64_t seed = 1; seed <= 50; ++seed)
//     sample.Add(Play(*s2, s2->ideal.wall, Rough(seed)));
//   Part(sample.wasted, 0.5);    // the median
//
// Thread rule: values and pure functions.
#ifndef FORBEAR_BENCHMARKS_SIMULATOR_SAMPLE_H_
#define FORBEAR_BENCHMARKS_SIMULATOR_SAMPLE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "benchmarks/simulator/play.h"

namespace forbear::simulator {

// Answers overtake each other, and sends do.
inline Weather Rough(uint64_t seed) {
  Weather weather;
  weather.jitter = 0.4;
  weather.transit = absl::Milliseconds(4);
  weather.seed = seed;
  return weather;
}

// The value that this part of them does not exceed; 0 of none.
inline double Part(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  const size_t at =
      std::min(values.size() - 1,
               static_cast<size_t>(part * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<long>(at),
                   values.end());
  return values[at];
}

// What came out of many runs.
struct Sample {
  std::vector<double> wasted;
  std::vector<double> x_ideal;
  std::vector<double> per_call;
  std::vector<double> waves;
  std::vector<double> outage_sends;
  std::vector<double> fullest;
  std::vector<double> p95;
  std::vector<double> crowding;
  int64_t asked = 0;
  int64_t answered = 0;

  void Add(const Played& played) {
    wasted.push_back(static_cast<double>(played.wasted));
    x_ideal.push_back(played.x_ideal);
    per_call.push_back(static_cast<double>(played.sends) /
                       static_cast<double>(std::max<int64_t>(1, played.asked)));
    waves.push_back(static_cast<double>(played.waves_after_first));
    outage_sends.push_back(static_cast<double>(played.outage_sends));
    fullest.push_back(static_cast<double>(played.fullest_after_outage));
    p95.push_back(played.p95);
    crowding.push_back(played.crowding);
    asked += played.asked;
    answered += played.answered;
  }
};

}  // namespace forbear::simulator

#endif  // FORBEAR_BENCHMARKS_SIMULATOR_SAMPLE_H_
