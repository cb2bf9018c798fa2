#ifndef FORBEAR_TESTS_TESTING_PROVIDER_MODEL_H_
#define FORBEAR_TESTS_TESTING_PROVIDER_MODEL_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/testing/limit_model.h"

namespace forbear::testing {

// A rate-limited, flaky service as a pure state machine: given who asks and
// when, it decides what becomes of the request. It has no clock and no
// protocol; Provider plays it over HTTP and gRPC, and simulations may play it
// in virtual time.
//
//   ProviderModel::Options options;
//   options.rate = 20;            // requests per second
//   options.burst = 5;
//   absl::StatusOr<ProviderModel> model = ProviderModel::Create(options);
//   const ProviderModel::Decision decision =
//       model->Decide(now, {"call-17", /*idempotent=*/true});
//
// What happens to a request, in this order:
//
// 1. The first `refuse_first` are refused, whoever asks.
// 2. During an outage it meets the outage.
// 3. The limit (limit_model.h) admits or refuses it. A refusal knows when there
//    will be room.
// 4. Of the admitted requests some meet a fault: an error before any work, the
//    loss of the answer after the work, or no answer and no work. Which ones is
//    fixed by the seed and the number of requests admitted before, so that
//    every client that plays against the same seed meets the same ones. A call
//    that has had `max_faults_per_call` faults is spared the next: a client
//    that tries three times at proper times gets every answer.
// 5. The rest is served. Work that was done before for the same call is not
//    done again if the call is idempotent, else it is, and that is counted.
//
// Thread rule: needs outside synchronisation.
class ProviderModel {
 public:
  struct Outage {
    enum class Kind {
      kError,       // HTTP 503, UNAVAILABLE.
      kReset,       // The connection is reset; gRPC: UNAVAILABLE.
      kHang,        // No answer.
      kClosedPort,  // Nobody listens. Who still arrives is reset.
      kRefuse,      // As if the limit were exhausted.
    };

    // [from, until), in the model's time.
    absl::Duration from;
    absl::Duration until;
    Kind kind = Kind::kError;

    // kError, kRefuse: the wait that the answer asks for; 0 asks for none,
    // infinity for the true one, until the outage is over.
    absl::Duration retry_after;
  };

  // What its base says is the limit: by default a bucket of 5 tokens, 10/s.
  struct Options : LimitModel::Options {
    // How many requests are refused before anything else is looked at, and the
    // wait that they are told.
    int refuse_first = 0;
    absl::Duration refuse_first_wait = absl::Seconds(1);

    // Where the faults are.
    uint64_t seed = 1;

    // Of the admitted requests: the fractions that meet an error, lose their
    // answer after the work, get no answer. Each in [0, 1], and so their sum.
    double error_fraction = 0.05;
    double lost_answer_fraction = 0;
    double hang_fraction = 0;

    // Of the first `lost_answers_within` admitted requests, exactly so many lose
    // their answer too.
    int lost_answers = 0;
    int lost_answers_within = 100;

    int max_faults_per_call = 2;

    // From a request's arrival to its answer, for all that are admitted; and for
    // refusals and the answers of an outage.
    absl::Duration latency;
    absl::Duration refusal_latency;

    std::vector<Outage> outages;
  };

  struct Request {
    // Equal for all attempts of one call. Empty: unknown, and the request
    // counts as a call of its own.
    std::string call_id;

    // The call bears an idempotency key.
    bool idempotent = false;
  };

  enum class Verdict {
    kServe,
    kRefuse,
    kError,
    kLoseAnswer,
    kHang,
    kOutageError,
    kOutageReset,
    kOutageHang,
    kOutageRefuse,
  };

  struct Decision {
    Verdict verdict = Verdict::kServe;

    // kRefuse: until there is room again. kOutageError, kOutageRefuse: what the
    // outage asks for.
    absl::Duration wait;

    absl::Duration latency;

    // What the limit says of itself; all zero in an outage.
    LimitModel::Answer limit;
  };

  struct Stats {
    int64_t sends = 0;  // The sum of the next five, and those an outage met.
    int64_t answered = 0;
    int64_t refused = 0;
    int64_t errors = 0;
    int64_t lost_answers = 0;
    int64_t hangs = 0;

    // Idempotent work that was asked for again, and not done again.
    int64_t replays = 0;

    // Work done again for a call that bore no idempotency key.
    int64_t duplicates_executed = 0;
  };

  // kInvalidArgument names the option that is out of range.
  static absl::StatusOr<ProviderModel> Create(const Options& options);

  // `now` is the time since the model's beginning; time that runs backwards
  // stands still.
  Decision Decide(absl::Duration now, const Request& request);

  // For a client that knows everything: the first time from `now` on at which a
  // request meets neither refusal nor outage, if nobody asks before; faults are
  // left out. Infinity while requests of `refuse_first` are still to come.
  absl::Duration Earliest(absl::Duration now) const;

  const Stats& stats() const { return stats_; }
  const Options& options() const { return options_; }

 private:
  struct Call {
    int faults = 0;
    bool executed = false;
  };

  explicit ProviderModel(const Options& options);

  const Outage* OutageAt(absl::Duration now) const;
  Verdict FaultOf(int64_t admitted_index) const;
  Call* FindCall(const std::string& id);
  void Execute(Call* call, bool idempotent);

  Options options_;

  absl::flat_hash_set<int64_t> lost_answers_;
  Stats stats_;

  LimitModel limit_;
  int64_t admitted_ = 0;

  // The newest calls, and their ids in the order of their first request.
  absl::flat_hash_map<std::string, Call> calls_;
  std::deque<std::string> call_ids_;
};

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_PROVIDER_MODEL_H_
