// What a client would do that knows everything about a server beforehand: the best
// that is possible, and so what the others are measured by.
//
//   absl::StatusOr<Clairvoyant> client = Clairvoyant::Create(options);
//   const absl::Duration at = client->Earliest(now);   // go then, and not before
//   const ProviderModel::Decision answer = client->Send(at);
//
// It sends when its send is admitted, in the order of those who ask. Two things it
// cannot or will not avoid: faults that are drawn for each arrival; and the refusals
// of `refuse_first`, whose wait it obeys for all from the moment it is told.
//
// All times count from the server's beginning, and do not run backwards.
//
// Thread rule: Clairvoyant needs outside synchronisation; PlayIdeal is a pure function.
#ifndef FORBEAR_BENCHMARKS_ARENA_CLAIRVOYANT_H_
#define FORBEAR_BENCHMARKS_ARENA_CLAIRVOYANT_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/testing/provider_model.h"

namespace forbear::arena {

class Clairvoyant {
 public:
  // Errors are those of ProviderModel::Create.
  static absl::StatusOr<Clairvoyant> Create(
      const testing::ProviderModel::Options& options);

  // When who asks now may send, if nobody else sends before.
  absl::Duration Earliest(absl::Duration now) const;

  // It is sent at this time: what becomes of it.
  testing::ProviderModel::Decision Send(absl::Duration at);

 private:
  explicit Clairvoyant(testing::ProviderModel model)
      : model_(std::move(model)) {}

  testing::ProviderModel model_;  // as the server's own

  // Nothing goes in [told_, over_).
  absl::Duration told_ = absl::InfiniteDuration();
  absl::Duration over_;
};

// `workers` make `calls` calls in all; each begins its next one when its last one has
// been answered, and sends again at once what met a fault.
struct Crowd {
  int workers = 1;
  int calls = 1;
  // When a send that gets no answer is given up. REQUIRES: finite, if there are
  // such faults.
  absl::Duration attempt_timeout = absl::InfiniteDuration();
};

struct Ideal {
  absl::Duration wall;  // from the beginning to the last answer
  int64_t wasted = 0;   // sends that brought none
};

// The crowd, played in virtual time. An error of the options: zeros.
Ideal PlayIdeal(const testing::ProviderModel::Options& options,
                const Crowd& crowd);

}  // namespace forbear::arena

#endif  // FORBEAR_BENCHMARKS_ARENA_CLAIRVOYANT_H_
