#include "core/rate_limiter.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {
namespace {

constexpr int64_t kMost = 1000000000;
constexpr absl::Duration kLongest = absl::Hours(87660);
constexpr absl::Duration kDebt = absl::Hours(1);

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

int64_t Sum(int64_t a, int64_t b) {
  a = std::max<int64_t>(a, 0);
  b = std::max<int64_t>(b, 0);
  return a > kMax - b ? kMax : a + b;
}

// Rounded up; b > 0.
absl::int128 CeilDivide(absl::int128 a, absl::int128 b) {
  const absl::int128 q = a / b;  // toward zero
  return a > 0 && q * b != a ? q + 1 : q;
}

// value · to / from, rounded up: exact where 128 bits hold the product, else to
// a 2^32nd part of `from`. 0 ≤ value ≤ from < 2^90, 0 ≤ to < 2^90.
absl::int128 InProportion(absl::int128 value, absl::int128 from,
                          absl::int128 to) {
  absl::int128 divisor = from;
  for (absl::int128 rest = to; rest != 0;) {
    divisor = std::exchange(rest, divisor % rest);
  }
  from /= divisor;
  to /= divisor;
  if (value <= absl::Int128Max() / to) return CeilDivide(value * to, from);
  const absl::int128 part = CeilDivide(value << 32, from);
  return CeilDivide(part * to, absl::int128(1) << 32);
}

}  // namespace

bool operator==(const RateLimitOptions& a, const RateLimitOptions& b) {
  return a.name == b.name && a.unit == b.unit && a.amount == b.amount &&
         a.per == b.per && a.burst == b.burst;
}

void ValidateRateLimits(const std::vector<RateLimitOptions>& limits,
                        absl::string_view path,
                        std::vector<std::string>* faults) {
  if (limits.size() > RateLimiter::kMaxLimits) {
    faults->push_back(absl::StrCat(path, " has ", limits.size(),
                                   " entries; it may have at most ",
                                   RateLimiter::kMaxLimits));
  }
  for (size_t i = 0; i < limits.size(); ++i) {
    const RateLimitOptions& limit = limits[i];
    const std::string at = absl::StrCat(path, "[", i, "]");
    constexpr size_t kMaxName = 64;
    // Not echoed: whatever it is, it is not for printing.
    if (limit.name.empty() || limit.name.size() > kMaxName ||
        !std::all_of(limit.name.begin(), limit.name.end(), [](char c) {
          return absl::ascii_isgraph(static_cast<unsigned char>(c));
        })) {
      faults->push_back(absl::StrCat(at, ".name has ", limit.name.size(),
                                     " bytes; it must be 1 … ", kMaxName,
                                     " of printable ASCII without blanks"));
    } else {
      for (size_t j = 0; j < i; ++j) {
        if (limits[j].name != limit.name) continue;
        faults->push_back(absl::StrCat(at, ".name is ", limit.name, ", as ",
                                       path, "[", j,
                                       "].name; each needs one of its own"));
        break;
      }
    }
    if (LimitUnitName(limit.unit) == "?") {
      faults->push_back(absl::StrCat(at, ".unit is ",
                                     static_cast<int>(limit.unit),
                                     ", which this version does not know"));
    }
    CheckNumber(absl::StrCat(at, ".amount"), static_cast<double>(limit.amount),
                1, kMost, faults);
    CheckDuration(absl::StrCat(at, ".per"), limit.per, absl::Milliseconds(1),
                  kLongest, faults);
    CheckNumber(absl::StrCat(at, ".burst"), static_cast<double>(limit.burst), 0,
                kMost, faults);
  }
}

absl::string_view LimitUnitName(LimitUnit unit) {
  switch (unit) {
    case LimitUnit::kRequests:
      return "requests";
    case LimitUnit::kInputTokens:
      return "input-tokens";
    case LimitUnit::kOutputTokens:
      return "output-tokens";
    case LimitUnit::kTokens:
      return "tokens";
    case LimitUnit::kUnits:
      return "units";
  }
  return "?";
}

int64_t UnitsOf(LimitUnit unit, const Cost& cost) {
  switch (unit) {
    case LimitUnit::kRequests:
      return std::max<int64_t>(cost.requests, 0);
    case LimitUnit::kInputTokens:
      return std::max<int64_t>(cost.input_tokens, 0);
    case LimitUnit::kOutputTokens:
      return std::max<int64_t>(cost.output_tokens, 0);
    case LimitUnit::kTokens:
      return Sum(cost.input_tokens, cost.output_tokens);
    case LimitUnit::kUnits:
      return std::max<int64_t>(cost.units, 0);
  }
  return 0;
}

Cost operator+(const Cost& a, const Cost& b) {
  Cost sum;
  sum.requests = Sum(a.requests, b.requests);
  sum.input_tokens = Sum(a.input_tokens, b.input_tokens);
  sum.output_tokens = Sum(a.output_tokens, b.output_tokens);
  sum.units = Sum(a.units, b.units);
  return sum;
}

RateLimiter::RateLimiter(const std::vector<RateLimitOptions>& limits) {
  limits_.reserve(limits.size());
  for (const RateLimitOptions& options : limits) {
    limits_.push_back(Make(options));
  }
}

RateLimiter::Limit RateLimiter::Make(const RateLimitOptions& options) {
  Limit limit;
  limit.options = options;
  limit.burst = options.burst > 0 ? options.burst : options.amount;
  limit.per = absl::ToInt64Nanoseconds(options.per);
  limit.depth = absl::int128(limit.burst) * limit.per;
  limit.max_debt =
      absl::int128(std::max(limit.per, absl::ToInt64Nanoseconds(kDebt))) *
      options.amount;
  limit.full_at = absl::Int128Min();
  return limit;
}

MonotonicTime RateLimiter::Unscaled(const Limit& limit, absl::int128 time) {
  const absl::int128 nanos = CeilDivide(time, limit.options.amount);
  if (nanos >= kMax) return MonotonicTime::Infinite();
  return MonotonicTime::FromNanos(static_cast<int64_t>(nanos));
}

bool RateLimiter::Acquire(const Cost& cost, MonotonicTime now, Permit* permit) {
  for (const Limit& limit : limits_) {
    const int64_t units = UnitsOf(limit.options.unit, cost);
    if (units == 0) continue;
    if (Ahead(limit, Scaled(limit, now)) + absl::int128(units) * limit.per >
        limit.depth) {
      return false;
    }
  }
  ++takes_;
  for (Limit& limit : limits_) {
    const int64_t units = UnitsOf(limit.options.unit, cost);
    if (units == 0) continue;
    Take(&limit, takes_, absl::int128(units) * limit.per, Scaled(limit, now));
  }
  permit->number = takes_;
  permit->cost = cost;
  return true;
}

void RateLimiter::Take(Limit* limit, uint64_t number, absl::int128 by,
                       absl::int128 now) {
  const absl::int128 ahead = Ahead(*limit, now);
  // Only what is lower than all that came later matters.
  auto& mark = limit->mark;
  size_t& n = limit->marks;
  while (n > 0 && mark[n - 1].ahead >= ahead) --n;
  if (n == kMarks) {
    size_t closest = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (mark[i + 1].ahead - mark[i].ahead <
          mark[closest + 1].ahead - mark[closest].ahead) {
        closest = i;
      }
    }
    mark[closest].number = mark[closest + 1].number;
    std::copy(mark.begin() + static_cast<ptrdiff_t>(closest) + 2, mark.end(),
              mark.begin() + static_cast<ptrdiff_t>(closest) + 1);
    --n;
  }
  mark[n++] = {number, ahead};
  limit->full_at = now + ahead + by;
}

bool RateLimiter::GiveBack(Limit* limit, uint64_t number, absl::int128 by,
                           absl::int128 now) {
  auto& mark = limit->mark;
  size_t later = 0;
  while (later < limit->marks && mark[later].number <= number) ++later;
  if (later < limit->marks) by = std::min(by, mark[later].ahead);
  if (by == 0) return false;
  const bool sooner = limit->full_at > now;
  limit->full_at -= by;
  if (later == limit->marks) return sooner;
  for (size_t i = later; i < limit->marks; ++i) mark[i].ahead -= by;
  // Those before it that are not lower any more.
  size_t keep = later;
  while (keep > 0 && mark[keep - 1].ahead >= mark[later].ahead) --keep;
  std::copy(mark.begin() + static_cast<ptrdiff_t>(later),
            mark.begin() + static_cast<ptrdiff_t>(limit->marks),
            mark.begin() + static_cast<ptrdiff_t>(keep));
  limit->marks -= later - keep;
  return sooner;
}

MonotonicTime RateLimiter::Earliest(const Cost& cost, MonotonicTime now) const {
  Cost none;
  none.requests = 0;
  return EarliestBehind(none, cost, now);
}

MonotonicTime RateLimiter::EarliestBehind(const Cost& ahead, const Cost& cost,
                                          MonotonicTime now) const {
  MonotonicTime earliest = now;
  for (const Limit& limit : limits_) {
    const int64_t own = UnitsOf(limit.options.unit, cost);
    if (own > limit.burst) return MonotonicTime::Infinite();
    const int64_t units = Sum(UnitsOf(limit.options.unit, ahead), own);
    if (units == 0) continue;
    const absl::int128 scaled = Scaled(limit, now);
    const absl::int128 wait =
        Ahead(limit, scaled) + absl::int128(units) * limit.per - limit.depth;
    if (wait <= 0) continue;
    earliest = Later(earliest, Unscaled(limit, scaled + wait));
  }
  return earliest;
}

int RateLimiter::TooLarge(const Cost& cost) const {
  for (size_t i = 0; i < limits_.size(); ++i) {
    if (UnitsOf(limits_[i].options.unit, cost) > limits_[i].burst) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

bool RateLimiter::Settle(const Permit& permit, const Usage& usage,
                         MonotonicTime now) {
  Cost used = permit.cost;
  if (usage.input_tokens >= 0) used.input_tokens = usage.input_tokens;
  if (usage.output_tokens >= 0) used.output_tokens = usage.output_tokens;
  if (usage.units >= 0) used.units = usage.units;
  return SettleAs(permit, used, now);
}

bool RateLimiter::Return(const Permit& permit, MonotonicTime now) {
  Cost none;
  none.requests = 0;
  return SettleAs(permit, none, now);
}

bool RateLimiter::SettleAs(const Permit& permit, const Cost& used,
                           MonotonicTime now) {
  bool sooner = false;
  bool owes = false;
  for (Limit& limit : limits_) {
    // Of before it, or of nothing: 0.
    if (permit.number <= limit.born) continue;
    const int64_t before = UnitsOf(limit.options.unit, permit.cost);
    const int64_t after = UnitsOf(limit.options.unit, used);
    const absl::int128 scaled = Scaled(limit, now);
    if (after < before) {
      sooner |= GiveBack(&limit, permit.number,
                         absl::int128(before - after) * limit.per, scaled);
    } else if (after > before) {
      // Taken now, whether it is there or not.
      const absl::int128 room =
          limit.depth + limit.max_debt - Ahead(limit, scaled);
      const absl::int128 by =
          std::min(absl::int128(after - before) * limit.per, room);
      if (by <= 0) continue;
      if (!owes) ++takes_;
      owes = true;
      Take(&limit, takes_, by, scaled);
    }
  }
  return sooner;
}

void RateLimiter::Reconfigure(const std::vector<RateLimitOptions>& limits,
                              MonotonicTime now) {
  std::vector<Limit> next;
  next.reserve(limits.size());
  for (const RateLimitOptions& options : limits) {
    next.push_back(Make(options));
    Limit& limit = next.back();
    const auto old = std::find_if(
        limits_.begin(), limits_.end(), [&](const Limit& candidate) {
          return candidate.options.name == options.name &&
                 candidate.options.unit == options.unit;
        });
    if (old == limits_.end()) {
      limit.born = takes_;
    } else if (old->options == options) {
      limit = *old;
    } else {
      const absl::int128 ahead = Ahead(*old, Scaled(*old, now));
      const absl::int128 within = std::min(ahead, old->depth);
      const absl::int128 owed =
          CeilDivide(ahead - within, old->options.amount) * options.amount;
      limit.full_at = Scaled(limit, now) +
                      InProportion(within, old->depth, limit.depth) +
                      std::min(owed, limit.max_debt);
      limit.born = takes_;
    }
  }
  limits_ = std::move(next);
}

RateLimiter::Level RateLimiter::LevelOf(size_t i, MonotonicTime now) const {
  const Limit& limit = limits_[i];
  const absl::int128 scaled = Scaled(limit, now);
  const absl::int128 ahead = Ahead(limit, scaled);
  Level level;
  level.left = static_cast<int64_t>(limit.burst - CeilDivide(ahead, limit.per));
  level.full_at = Unscaled(limit, scaled + ahead);
  return level;
}

}  // namespace forbear
