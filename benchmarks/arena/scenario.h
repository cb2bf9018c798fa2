// What is played in the arena: a server's behaviour, and the crowd that calls it.
//
//   for (const Scenario& scenario : AllScenarios()) …
//   const Scenario* s2 = FindScenario("S2");
//   puts(ScenariosJson().c_str());        // what lanes.py reads
//
// Thread rule: values; the functions may be called from any thread.
#ifndef FORBEAR_BENCHMARKS_ARENA_SCENARIO_H_
#define FORBEAR_BENCHMARKS_ARENA_SCENARIO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "benchmarks/arena/clairvoyant.h"
#include "tests/testing/provider.h"

namespace forbear::arena {

struct Scenario {
  std::string name;   // unique: "S2", "bucket-03-int", "wait-zero"
  std::string group;  // "main", "buckets", "variants"
  std::string title;  // in a few words; buckets: the bucket; how it announces

  // The server; its time begins with the first request.
  testing::Provider::Options provider;

  // Who calls it, all together; they may be spread over several processes.
  Crowd crowd;
  int processes = 1;

  // Over gRPC as well.
  bool grpc = false;

  // variants: would a client that does as it is told be served, and nothing be
  // refused twice? "yes", "no", "not told".
  std::string obeyable;

  // What the clairvoyant needs.
  Ideal ideal;
};

// In the order in which they are played. Made once.
const std::vector<Scenario>& AllScenarios();

// Null: there is none.
const Scenario* FindScenario(absl::string_view name);

// The number-th of the random buckets of this seed, announcing its waits in that way;
// without its ideal, and of no group's.
Scenario RandomBucket(uint64_t seed, int number,
                      absl::string_view announcement);
// The ways: "none", "int", "date", "ms", "xrl".
const std::vector<std::string>& Announcements();

// What the clairvoyant needs.
Ideal IdealOf(const Scenario& scenario);

// Whether the workers could do more than the limit lets through, by a fifth.
bool Binds(const Scenario& scenario);

// A list of objects: name, group, title, workers, calls, processes,
// attempt_timeout_s (or null), grpc, obeyable, answer_s, rate (per second, or null),
// outage_s ([from, until], or null), ideal_s, ideal_wasted.
std::string ScenariosJson();

}  // namespace forbear::arena

#endif  // FORBEAR_BENCHMARKS_ARENA_SCENARIO_H_
