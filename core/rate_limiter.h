// RateLimiter: our own limits on what leaves, before a server has to refuse:
// requests, tokens or units per time, several at once, all or nothing.
//
//   RateLimiter limiter({{"rpm", LimitUnit::kRequests, 60, absl::Minutes(1)},
//                        {"tpm", LimitUnit::kTokens, 90000, absl::Minutes(1)}});
//   Cost cost;
//   cost.input_tokens = 1200;                  // an estimate
//   RateLimiter::Permit permit;
//   if (limiter.Acquire(cost, now, &permit)) {
//     …send; the answer says 900…
//     Usage usage;
//     usage.input_tokens = 900;
//     limiter.Settle(permit, usage, now);      // 300 come back
//   } else {
//     …not before limiter.Earliest(cost, now)…
//   }
//
// A limit "`amount` per `per`, at most `burst` at once" is a bucket of `burst`
// that refills evenly. It is kept as one number, the time at which the bucket
// would be full again if nobody came (GCRA, the generic cell rate algorithm):
// a cost of c moves it by c · per / amount, and is admitted while it lies no
// further ahead than burst · per / amount.
//
// Invariants:
//  1. In any stretch of time t, no more than burst + amount · t / per leaves:
//     of what was really used, wherever it was told before it was needed.
//  2. A refusal changes nothing, and nothing is taken from any limit unless
//     all of them admit.
//  3. Earliest() is exact: a nanosecond sooner Acquire refuses, and then it
//     admits, if nobody else comes in between.
//  4. A cost that the burst can never hold is never admitted, and TooLarge()
//     names the limit. A cost of 0 needs nothing of a limit: it only looks.
//
// Settling. What was estimated too high comes back as if it had never been
// taken, and not more: what would have overflowed the bucket since then is
// lost, or callers could leave sooner than with the right estimate. (Up to
// kMarks moments of low water are kept for that; of more, the closest two are
// merged, and less comes back.) What was estimated too low is owed from the
// moment it is known. Debt is bounded: it is paid off in an hour, or in one
// `per` if that is longer; whatever a server claims beyond that is dropped.
//
// Exact: time is counted in nanoseconds divided by `amount`, in 128 bits. There
// is no rounding but in Earliest(), which rounds up. Nothing overflows: 10-year
// periods, costs of 2^63, clocks far from zero. A clock that stands still
// refills nothing; one that goes back is the caller's to prevent (Quota).
//
// Bounds: kMaxLimits limits; constant space and time each, no allocation after
// construction.
//
// Sources: GCRA as in brandur/redis-cell and throttled/throttled, whose
// `limit` is our burst; estimates and settling as in the OpenAI cookbook's
// request processor and LiteLLM.
//
// Thread rule: not thread-safe; Quota owns one.
#ifndef FORBEAR_CORE_RATE_LIMITER_H_
#define FORBEAR_CORE_RATE_LIMITER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/cost.h"
#include "core/time.h"

namespace forbear {

// What a limit counts.
enum class LimitUnit : uint8_t {
  kRequests,      // attempts that leave
  kInputTokens,   // Cost::input_tokens
  kOutputTokens,  // Cost::output_tokens
  kTokens,        // both
  kUnits,         // Cost::units
};

struct RateLimitOptions {
  // What people call it: "rpm", "tokens per day". 1 … 64 bytes of printable
  // ASCII without blanks, different from the others' of the list.
  std::string name;
  LimitUnit unit = LimitUnit::kRequests;
  // So many units … 1 … 1,000,000,000. No default.
  int64_t amount = 0;
  // … in so much time. Default 1 min. 1 ms … 87,660 h (10 years).
  absl::Duration per = absl::Minutes(1);
  // … and at most so many at once. 0: as `amount`. 0 … 1,000,000,000. Default 0.
  // A server that counts by the clock's minute, or over the last minute, admits
  // `amount` in it and no more: there, amount + burst should be its number.
  int64_t burst = 0;
};

// Values compare by every field.
bool operator==(const RateLimitOptions& a, const RateLimitOptions& b);
inline bool operator!=(const RateLimitOptions& a, const RateLimitOptions& b) {
  return !(a == b);
}

// `path` is of the list: faults are of "path[2].amount".
void ValidateRateLimits(const std::vector<RateLimitOptions>& limits,
                        absl::string_view path,
                        std::vector<std::string>* faults);

class RateLimiter {
 public:
  static constexpr size_t kMaxLimits = 8;
  static constexpr size_t kMarks = 8;

  // What was taken. From Acquire to at most one of Settle and Return.
  struct Permit {
    uint64_t number = 0;  // 0: nothing
    Cost cost;
  };

  // REQUIRES: limits passed ValidateRateLimits. Every bucket starts full.
  explicit RateLimiter(const std::vector<RateLimitOptions>& limits);

  bool empty() const { return limits_.empty(); }
  size_t size() const { return limits_.size(); }
  const RateLimitOptions& options(size_t i) const { return limits_[i].options; }

  // Takes `cost` of every limit, or nothing of any.
  bool Acquire(const Cost& cost, MonotonicTime now, Permit* permit);

  // When Acquire(cost) will admit, if nobody comes before and nothing is given
  // back; `now` if it would now; Infinite() if never.
  MonotonicTime Earliest(const Cost& cost, MonotonicTime now) const;

  // The same behind others that will take `ahead` in all, each of it when it
  // may. (`ahead` may be larger than a burst; `cost` may not.)
  MonotonicTime EarliestBehind(const Cost& ahead, const Cost& cost,
                               MonotonicTime now) const;

  // The number of a limit whose burst can never hold `cost`; -1: none.
  int TooLarge(const Cost& cost) const;

  // The answer tells what the attempt took. True if callers may leave earlier
  // than Earliest() said before; that they must leave later is not told.
  bool Settle(const Permit& permit, const Usage& usage, MonotonicTime now);

  // It was never sent: all of it comes back. True as above.
  bool Return(const Permit& permit, MonotonicTime now);

  // New limits. One that has its name and unit already keeps how full it is, in
  // proportion (rounded down). What is out of it is settled only if none of its
  // numbers changed. A new one starts full.
  void Reconfigure(const std::vector<RateLimitOptions>& limits,
                   MonotonicTime now);

  // For people.
  struct Level {
    int64_t left = 0;       // whole units that may leave now; below 0: owed
    MonotonicTime full_at;  // when it is full again if nobody comes
  };
  Level LevelOf(size_t i, MonotonicTime now) const;

 private:
  // Moments of low water: how far ahead of its time the bucket was before take
  // `number`. Numbers and values ascend; from each to the one before, nothing
  // was lower.
  struct Mark {
    uint64_t number = 0;
    absl::int128 ahead = 0;
  };
  // All times and values are in nanoseconds / amount.
  struct Limit {
    RateLimitOptions options;
    int64_t burst = 0;
    int64_t per = 0;         // in nanoseconds: what one unit moves the time by
    absl::int128 depth = 0;  // burst · per
    absl::int128 max_debt = 0;  // beyond depth
    absl::int128 full_at = 0;
    uint64_t born = 0;  // takes up to this number are not of this limit
    size_t marks = 0;
    std::array<Mark, kMarks> mark;
  };

  static Limit Make(const RateLimitOptions& options);
  static absl::int128 Scaled(const Limit& limit, MonotonicTime now) {
    return absl::int128(now.nanos()) * limit.options.amount;
  }
  static MonotonicTime Unscaled(const Limit& limit, absl::int128 time);
  static absl::int128 Ahead(const Limit& limit, absl::int128 now) {
    return limit.full_at > now ? limit.full_at - now : absl::int128(0);
  }
  static void Take(Limit* limit, uint64_t number, absl::int128 by,
                   absl::int128 now);
  // True if somebody may leave sooner.
  static bool GiveBack(Limit* limit, uint64_t number, absl::int128 by,
                       absl::int128 now);
  bool SettleAs(const Permit& permit, const Cost& used, MonotonicTime now);

  std::vector<Limit> limits_;
  uint64_t takes_ = 0;  // so far
};

// "requests", "input-tokens", "output-tokens", "tokens", "units".
absl::string_view LimitUnitName(LimitUnit unit);

// What a limit of this unit counts of it. Never below zero; saturates.
int64_t UnitsOf(LimitUnit unit, const Cost& cost);

// Field by field; saturates.
Cost operator+(const Cost& a, const Cost& b);

}  // namespace forbear

#endif  // FORBEAR_CORE_RATE_LIMITER_H_
