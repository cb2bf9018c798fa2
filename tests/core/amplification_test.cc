// What a failing service sees: sends per call, in virtual time, with the budget
// alone to bound them (the breaker is off).
//
// The formula, from first principles. Let each send fail with probability p, on
// its own, and q = 1 - p. The bucket holds B tokens at first; a retry costs c.
//   - A call that succeeds at its first send puts in 1 token: N·q in all, of N
//     calls (what overflows a full bucket is lost; it is full only at the start).
//   - A retry takes c tokens. If it succeeds they come back; if it fails they do
//     not. (Of a call whose first retry failed and whose second one succeeded only
//     the last c come back: each failed retry costs c, each good one nothing.)
// So tokens leave by failed retries only. With R retries, of which p·R fail,
//     c · p · R = B + N·q - (what is left at the end, less than c).
// While there are more failures than that pays for, the bucket is always empty, and
//     R / N = (q + B/N) / (c·p).
// With few failures it is never empty, and every call gets what it wants: a second
// send after one failure, a third after two:
//     R / N = p + p²                       (max_attempts = 3)
// The smaller of the two is what happens. Sends per call are 1 + R/N, and answered
// is q·(1 + R/N): sends succeed with q, whichever they are.
//
// So the worst is not a service that is down, but one where the two meet: at
// p = 22 %, with 1.27 sends per call. AWS's rules (retry 2.1: 500; 14; the refund)
// make a retry that works free; one that does not costs 14 good first tries.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/time/time.h"
#include "core/outcome.h"
#include "core/random.h"
#include "core/retry_budget.h"
#include "core/stop_reason.h"
#include "gtest/gtest.h"
#include "tests/testing/simulation.h"

namespace forbear::testing {
namespace {

constexpr int kCalls = 60000;  // 1,000 a second for 60 s
constexpr absl::Duration kEvery = absl::Milliseconds(1);

struct Load {
  double sends = 0;     // per call
  double answered = 0;  // of all calls
};

Load Formula(double p) {
  const BudgetOptions budget;
  const double q = 1 - p;
  const double paid_for = (q + static_cast<double>(budget.capacity) / kCalls) /
                          (budget.transient_cost * p);
  const double wanted = p + p * p;
  const double retries = std::min(paid_for, wanted);
  return {1 + retries, q * (1 + retries)};
}

Load Measure(double p, uint64_t seed, double* worst_second) {
  SimOptions options;
  options.seed = seed;
  options.endpoint.breaker.enabled = false;
  Simulation sim(options);
  uint64_t n = 0;
  sim.SetServer([p, seed, n](const SimSend&) mutable {
    SimReply reply;
    reply.outcome = UnitRandom(seed, n++) < p
                        ? TransientOutcome(Processed::kYes)
                        : OkOutcome();
    return reply;
  });
  for (int i = 0; i < kCalls; ++i) {
    SimCallOptions call;
    call.start = kEvery * i;
    sim.AddCall(call);
  }
  sim.Run();
  EXPECT_EQ(sim.Faults(), "");
  // In any whole second but the first, which has the full bucket.
  for (int s = 1; s < 60; ++s) {
    const auto sends = static_cast<double>(
        sim.SendsBetween(absl::Seconds(s), absl::Seconds(s + 1)));
    *worst_second = std::max(*worst_second, sends / 1000);
  }
  const int64_t good = sim.Ended(StopReason::kSuccess);
  EXPECT_EQ(good + sim.Ended(StopReason::kAttemptsExhausted) +
                sim.Ended(StopReason::kBudgetExhausted),
            kCalls);
  return {static_cast<double>(sim.sends().size()) / kCalls,
          static_cast<double>(good) / kCalls};
}

TEST(AmplificationTest, AThousandCallsASecondForAMinute) {
  struct Row {
    double p;
    double at_most;  // sends per call
    int runs;        // as many as chance needs to be within 1 %
  };
  const char* const text = std::getenv("FORBEAR_SEED");
  const uint64_t first = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  std::printf(
      "   p   sends/call: measured formula limit   answered: measured "
      "formula   worst second\n");
  for (const Row& row :
       {Row{0.05, 1.06, 1}, Row{0.22, 1.28, 1}, Row{0.5, 1.08, 1},
        Row{0.85, 1.02, 4}, Row{1.0, 1.001, 1}}) {
    Load mean;
    double worst = 0;
    for (int i = 0; i < row.runs; ++i) {
      const Load load =
          Measure(row.p, first + static_cast<uint64_t>(i), &worst);
      EXPECT_LE(load.sends, row.at_most) << row.p << " run " << i;
      mean.sends += load.sends / row.runs;
      mean.answered += load.answered / row.runs;
    }
    const Load formula = Formula(row.p);
    std::printf("%4.0f%%  %20.4f %7.4f %5.3f %20.4f %7.4f %14.3f\n",
                row.p * 100, mean.sends, formula.sends, row.at_most,
                mean.answered, formula.answered, worst);
    EXPECT_NEAR(mean.sends, formula.sends, 0.01 * formula.sends) << row.p;
    EXPECT_NEAR(mean.answered, formula.answered, 0.01 * formula.answered)
        << row.p;
  }
}

// A budget that counts nothing: what the limits above are limits of.
TEST(AmplificationTest, WithoutTheBudget) {
  SimOptions options;
  options.endpoint.breaker.enabled = false;
  options.endpoint.budget.enabled = false;
  Simulation sim(options);
  SimReply reply;
  reply.outcome = TransientOutcome(Processed::kYes);
  sim.SetServer([reply](const SimSend&) { return reply; });
  for (int i = 0; i < 1000; ++i) {
    SimCallOptions call;
    call.start = kEvery * i;
    sim.AddCall(call);
  }
  sim.Run();
  EXPECT_EQ(sim.sends().size(), 3000u);
}

}  // namespace
}  // namespace forbear::testing
