// The three groups of scenarios, each without its ideal. See scenario.h.
//
// Thread rule: pure functions.
#ifndef FORBEAR_BENCHMARKS_ARENA_SCENARIO_GROUPS_H_
#define FORBEAR_BENCHMARKS_ARENA_SCENARIO_GROUPS_H_

#include <vector>

#include "benchmarks/arena/scenario.h"

namespace forbear::arena {

// No limit, no faults; answers take 20 ms; ten workers.
Scenario PlainScenario();

// As above, with a bucket of 10 and 20/s, and waits in whole seconds.
Scenario BucketScenario();

std::vector<Scenario> MainScenarios();

// Twelve buckets from one seed, each with five ways to announce its waits. None takes
// a clairvoyant more than 25 s.
std::vector<Scenario> BucketScenarios();

// One bucket, and everything that can be wrong with it.
std::vector<Scenario> VariantScenarios();

}  // namespace forbear::arena

#endif  // FORBEAR_BENCHMARKS_ARENA_SCENARIO_GROUPS_H_
