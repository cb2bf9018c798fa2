// Rounds: several ways to do one thing take turns, so that each of them meets the
// machine in the same moods. What they need is compared within a round.
//
//   auto spreads = Rounds(loops.size(), 21, [&](size_t i) {
//     …do loops[i] some hundred times…
//     return std::vector<double>{micros, p99};
//   });
//   // spreads[0]: of micros. spreads[0][0].median: what the first way needs;
//   // spreads[0][1].median: the second one, as a ratio to the first of its round
//
// Put the first one in twice: what the second differs from 1.00 by is noise.
//
// Thread rule: pure functions, as far as `measure` is one.
#ifndef FORBEAR_BENCHMARKS_ROUNDS_H_
#define FORBEAR_BENCHMARKS_ROUNDS_H_

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"

namespace forbear::bench {

struct Spread {
  double median = 0;
  double min = 0;
  double max = 0;

  // "0.981 … 1.034".
  std::string Range() const { return absl::StrFormat("%.3f … %.3f", min, max); }
};

// REQUIRES: there are some.
inline Spread SpreadOf(std::vector<double> numbers) {
  std::sort(numbers.begin(), numbers.end());
  return {numbers[numbers.size() / 2], numbers.front(), numbers.back()};
}

// By number of what `measure` returns, and by way. Each way has each place in the row.
// Of the first one the numbers themselves, of the others their ratios to that.
// REQUIRES: `measure` always returns as many.
inline std::vector<std::vector<Spread>> Rounds(
    size_t ways, int rounds,
    const std::function<std::vector<double>(size_t)>& measure) {
  std::vector<std::vector<std::vector<double>>> all;  // number, way, round
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::vector<double>> measured(ways);
    for (size_t i = 0; i < ways; ++i) {
      const size_t way = (i + static_cast<size_t>(round)) % ways;
      measured[way] = measure(way);
    }
    all.resize(measured[0].size(), std::vector<std::vector<double>>(ways));
    for (size_t n = 0; n < all.size(); ++n) {
      for (size_t i = 0; i < ways; ++i) {
        all[n][i].push_back(i == 0 ? measured[0][n]
                                   : measured[i][n] / measured[0][n]);
      }
    }
  }
  std::vector<std::vector<Spread>> spreads(all.size());
  for (size_t n = 0; n < all.size(); ++n) {
    for (std::vector<double>& numbers : all[n]) {
      spreads[n].push_back(SpreadOf(std::move(numbers)));
    }
  }
  return spreads;
}

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_ROUNDS_H_
