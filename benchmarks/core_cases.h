// What core_bench measures: one operation each, done n times in a loop.
//
// A call is made, begun, its only attempt started and reported as a success, its
// end taken, what it left behind delivered, and destroyed. No transport, so all of it is
// ours: nothing is limited, the breaker is closed and the budget full.
//
//   const std::unique_ptr<CoreCase> one = MakeCase("call by key", client, 0);
//   one->Run(1000);
//
// A case whose calls take another way ends the program: it would be a
// measurement of something else.
//
// Thread rule: a case belongs to one thread; several may share a client.
#ifndef FORBEAR_BENCHMARKS_CORE_CASES_H_
#define FORBEAR_BENCHMARKS_CORE_CASES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/client.h"

namespace forbear::bench {

class CoreCase {
 public:
  virtual ~CoreCase() = default;
  virtual void Run(int64_t n) = 0;
};

// "no call": the loop and nothing in it. What a number may contain that is not
//            the operation.
// "call by handle": a runtime::Call of a kind that is kept in hand, real clock.
// "call by key": of a kind that is looked up, by a name of 40 bytes.
// "call by texts": of a kind without a name, by all of its texts, here 123 bytes: what
//            the drivers do.
// "call and record": as by handle, and its record is read.
// "decisions": what the shared states say to such a call; no record, no actions, no
//            lock, no clock.
// "decisions within": the same decided within the states, rather than past them.
// "execution": "decisions" with the machine and its actions.
// "registry lookup": one key of 1024, 40 bytes long.
const std::vector<std::string>& CaseNames();

// `target`: calls of different numbers share no state but the client.
std::unique_ptr<CoreCase> MakeCase(const std::string& name,
                                   const std::shared_ptr<Client>& client,
                                   int target);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_CORE_CASES_H_
