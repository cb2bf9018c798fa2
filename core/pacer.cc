#include "core/pacer.h"

#include <algorithm>
#include <cmath>

namespace forbear {
namespace {

// Our own wait when a refusal announces none: 0.25 s, doubled with each barren
// episode up to 4 s. One caller per key pays it, not every caller.
absl::Duration OwnWait(int barren) {
  return absl::Milliseconds(250) * (1 << std::min(barren - 1, 4));
}

// An announced wait ends on the server's clock, which is not ours, and its
// timer may be coarse: leave a little later, never earlier.
absl::Duration WithMargin(absl::Duration wait) {
  return wait + wait / 500 + absl::Milliseconds(3);
}

// How long to wait for the answer of a confirming caller before another goes.
constexpr absl::Duration kConfirmLease = absl::Seconds(1);

// In kTrack the pace starts a little below the learned rate and creeps upward,
// to find out when the limit has been raised.
constexpr double kBelow = 0.97;
constexpr double kCreepSeconds = 30.0;  // to double

constexpr double kSlowest = 1e-4;  // one send in about three hours

}  // namespace

MonotonicTime Pacer::NotBefore(MonotonicTime now) const {
  const MonotonicTime t = Later(now, gate_.until());
  return mode_ == Mode::kFree ? t : Later(t, next_);
}

MonotonicTime Pacer::Earliest(MonotonicTime now) const {
  MonotonicTime t = NotBefore(now);
  if (confirming_ && confirms_out_ > 0) {
    t = Later(t, last_confirm_ + kConfirmLease * confirms_out_);
  }
  return t;
}

Pacer::Permit Pacer::OnSend(MonotonicTime now) {
  Permit permit;
  permit.number = ++sent_;
  permit.sent = now;
  permit.next_before = next_;
  permit.rate_before = mode_ == Mode::kFree ? 0 : rate_;
  permit.idle_before = idle_;
  if (sent_ == 1) spell_start_ = first_send_ = now;
  if (confirming_) {
    ++confirms_out_;
    last_confirm_ = now;
  }
  if (mode_ != Mode::kFree) {
    const double interval = 1.0 / rate_;
    const absl::Duration late = now - Later(next_, gate_.until());
    // Who confirms waited for others; Learn() looks at that.
    if (!confirming_ &&
        late > absl::Seconds(interval) + absl::Milliseconds(5)) {
      idle_ += late;
    }
    next_ = now + absl::Seconds(interval);
    // The pace grows with the sends that use it, not with idle time.
    const double doubling =
        mode_ == Mode::kRamp ? absl::ToDoubleSeconds(kDoubling) : kCreepSeconds;
    rate_ *= std::exp2(std::min(1.0, interval / doubling));
    if (rate_ > kFree) {
      mode_ = Mode::kFree;
      rate_ = kFirstRate;
    }
  } else {
    paced_ = false;
  }
  return permit;
}

void Pacer::OnReturned(const Permit& permit) {
  // If others have left since, the slot stays used: to give it back now would
  // let two callers leave at once.
  if (permit.number == sent_) {
    next_ = permit.next_before;
    idle_ = permit.idle_before;
    // What did not leave taught nothing either. (A pace that this send made
    // free stays free: it was at its end.)
    if (mode_ != Mode::kFree && permit.rate_before > 0) {
      rate_ = permit.rate_before;
    }
  }
  OnNeutral(permit);
}

bool Pacer::OnRefused(const Permit& permit, std::optional<absl::Duration> wait,
                      MonotonicTime now) {
  const MonotonicTime before = gate_.until();
  if (permit.number <= episode_) {
    // Left before the gate was shut: the same episode.
    if (wait) gate_.Shut(now + WithMargin(*wait), now);
    refused_sent_ = Later(refused_sent_, permit.sent);
    return gate_.until() > before;
  }
  ++barren_;
  absl::Duration gate = OwnWait(barren_);
  // "Retry-After: 0" allows it, and does not ask for it: our own wait applies.
  if (wait && *wait > absl::ZeroDuration()) {
    // Waits that keep being too short are honoured, and lengthened.
    gate = std::max(WithMargin(*wait),
                    barren_ >= 3 ? gate / 2 : absl::ZeroDuration());
  }
  gate_.Shut(now + gate, now);
  episode_ = sent_;
  confirming_ = paces_;
  confirms_out_ = 0;
  lesson_due_ = paces_;
  refused_sent_ = Later(permit.sent, spell_start_);
  return gate_.until() > before;
}

bool Pacer::OnAdmitted(const Permit& permit, MonotonicTime now) {
  bool sooner = gate_.OnSuccess(permit.sent, now);
  if (permit.number > episode_) {
    barren_ = 0;
    if (confirming_) {
      confirming_ = false;
      confirms_out_ = 0;
      sooner = true;
      // Only now are the stragglers of the episode in, and counted.
      if (lesson_due_) Learn(permit.sent, now);
    }
  }
  ++admitted_;
  return sooner;
}

bool Pacer::OnFault(const Permit& permit) {
  ++admitted_;
  return OnNeutral(permit);
}

bool Pacer::OnNeutral(const Permit& permit) {
  if (!confirming_ || permit.number <= episode_ || confirms_out_ == 0) {
    return false;
  }
  --confirms_out_;
  return true;
}

void Pacer::Learn(MonotonicTime confirmed_sent, MonotonicTime now) {
  lesson_due_ = false;
  const auto n = static_cast<double>(admitted_);
  const double whole = absl::ToDoubleSeconds(refused_sent_ - spell_start_);
  const double active = absl::ToDoubleSeconds(refused_sent_ - first_send_);
  if (!paced_) {
    // The first spell, or one that began after a limit was forgotten. It began
    // with a full bucket: n = B + R·whole. All that is known of R is that n
    // calls in the time up to now were not too many.
    bucket_ = std::max(1.0, n);
    const double until_now =
        absl::ToDoubleSeconds(confirmed_sent - spell_start_);
    rate_ = std::max(kFirstRate, until_now > 0 ? n / until_now : 0.0);
    mode_ = Mode::kRamp;
  } else if (n < 1 || idle_ > (refused_sent_ - spell_start_) / 4) {
    rate_ = std::max(kSlowest, rate_ * 0.7);
  } else {
    double measured = n / whole;
    if (active > 0.2 && n > bucket_) {
      measured = std::max(measured, (n - bucket_) / active);
    }
    rate_ = std::max(kSlowest, kBelow * measured);
    mode_ = Mode::kTrack;
  }
  if (rate_ > kFree) {
    mode_ = Mode::kFree;
    rate_ = kFirstRate;
  }
  // Callers could not leave before now: that they did not is not idleness.
  next_ = Later(next_, Later(now, confirmed_sent + absl::Seconds(1.0 / rate_)));
  // A new spell: the bucket was empty when the refused send left.
  spell_start_ = refused_sent_;
  first_send_ = confirmed_sent;
  admitted_ = 0;
  // Nobody came when the gate had opened: the bucket may have been full since
  // long ago, and the silence says nothing about its rate.
  idle_ = std::max(absl::ZeroDuration(), confirmed_sent - gate_.until());
  paced_ = mode_ != Mode::kFree;
}

void Pacer::StartRamp() {
  if (paces_ && mode_ == Mode::kFree) {
    mode_ = Mode::kRamp;
    rate_ = kFirstRate;
  }
}

void Pacer::SetPacing(bool paces) {
  paces_ = paces;
  if (!paces_) Unlearn();
}

void Pacer::Clear() {
  gate_.Clear();
  barren_ = 0;
  Unlearn();
}

void Pacer::Unlearn() {
  confirming_ = false;
  confirms_out_ = 0;
  mode_ = Mode::kFree;
  rate_ = kFirstRate;
  next_ = MonotonicTime::InfinitePast();
  lesson_due_ = false;
  paced_ = false;
}

std::optional<double> Pacer::rate() const {
  if (mode_ == Mode::kFree) return std::nullopt;
  return rate_;
}

}  // namespace forbear
