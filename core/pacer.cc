#include "core/pacer.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace forbear {
namespace {

// Our own wait where none was announced, after so many refusals without a success:
// 0.25 s, 0.5 s, 1 s, 1 s … One caller per key pays it, not every caller: a second's
// pause finds the end of an outage within a second, for a send a second. What lasts
// is asked less often.
absl::Duration OwnWait(int barren) {
  if (barren > 16) return absl::Seconds(4);
  if (barren > 8) return absl::Seconds(2);
  return absl::Milliseconds(250) * (1 << std::min(barren - 1, 2));
}

// An announced wait ends on the server's clock, which is not ours, and its timer may
// be coarse: leave a little later, never earlier.
absl::Duration WithMargin(absl::Duration wait) {
  return wait + wait / 500 + absl::Milliseconds(3);
}

// How long to wait for the answer of a confirming caller before another goes.
constexpr absl::Duration kConfirmLease = absl::Seconds(1);

// So many refusals of confirming callers in a row are an outage, not a limit.
constexpr int kOutage = 3;
// What was taken for an outage may be a limit that is far below: twice in a row only
// if it worked for so many times as long in between.
constexpr double kWorked = 10.0;

// After a refusal that taught nothing: few at first, but more than one.
constexpr double kWindowAgain = 2, kGrowthAgain = 0.34;
// After an outage, whoever comes back may be weak, and everybody waits for it.
constexpr double kWindowHealed = 1, kGrowthHealed = 0.18;
// While it searches for the first time.
constexpr double kGrowthSearch = 0.3;

// Who comes more rarely than once in so many waits (of a second at least) has emptied
// no bucket: a rate that is measured then is the callers'.
constexpr double kRare = 4.0;

// A wait of so many seconds lets a bucket fill up.
constexpr double kFills = 0.5;
// A bucket that tells a shorter one gives at most one token in it; twice that, because
// the server may be no bucket.
constexpr double kPerWait = 2.0;

// A key that admitted so few, and then refused, may just have had a moment: once.
constexpr int64_t kBrief = 5;

// The plateau, in seconds: so many times what the last lesson took, or the wait that a
// refusal costs.
constexpr double kLessons = 4, kWaits = 5, kShortestPlateau = 1,
                 kLongestPlateau = 12;
// But who knows little finds out soon: where the rate is in doubt by a third, what an
// episode costs (a wait, of a second at least, for each that was refused) is soon
// gained. Others may share the limit, and end.
constexpr double kDoubted = 0.3;

double PlateauOf(const LearnedLimit& limit, double wait, int64_t refused) {
  const double costs =
      std::max(1.0, wait) * static_cast<double>(std::max<int64_t>(1, refused));
  const double longest =
      std::clamp(kDoubted * costs * limit.rate() / limit.doubt(),
                 kShortestPlateau, kLongestPlateau);
  return std::clamp(std::max(kLessons * limit.measured_over(), kWaits * wait),
                    kShortestPlateau, longest);
}

}  // namespace

bool Pacer::IsWindowed() const {
  return parts_.slow_start && !told_.known() &&
         (pace_.mode() == Pace::Mode::kFree ||
          (pace_.mode() == Pace::Mode::kSearch && !limit_.known()));
}

MonotonicTime Pacer::NotBefore(MonotonicTime now) const {
  const MonotonicTime t =
      Later(now, gate_.until() + (confirming_ ? aside_ : absl::ZeroDuration()));
  if (told_.known()) return told_.Earliest(t, sent_);
  return Later(t, pace_.spaced() ? pace_.next() : spread_.next());
}

MonotonicTime Pacer::Earliest(MonotonicTime now, MonotonicTime since,
                              int64_t out) const {
  const MonotonicTime t = NotBefore(now);
  if (confirming_) {
    return confirms_out_ == 0
               ? t
               : Later(t, last_confirm_ + kConfirmLease * confirms_out_);
  }
  if (!IsWindowed() || since >= opened_ ||
      static_cast<double>(out) < window_.size()) {
    return t;
  }
  const MonotonicTime base = Later(Later(since, gate_.until()), window_since_);
  return Later(t, base + window_.Hold(out));
}

Pacer::Permit Pacer::OnSend(MonotonicTime now) {
  Permit permit;
  permit.number = sent_ + 1;
  permit.sent = now;
  if (pace_.mode() != Pace::Mode::kFree || told_.known() ||
      !spread_.is_over()) {
    before_ = {permit.number, spread_, pace_, spell_, told_};
  }
  ++sent_;
  if (confirming_) {
    ++confirms_out_;
    last_confirm_ = now;
  }
  if (lesson_due_) {
    if (!first_confirm_.has_value()) first_confirm_ = now;
  } else {
    spell_.OnSend(now);
  }
  if (told_.known()) {
    told_.OnSend(now, permit.number);
  } else if (!lesson_due_) {
    // Sent in this spell: admitted, or on their way.
    const auto sent = static_cast<double>(sent_ - 1 - episode_);
    spread_.OnSend(now);
    pace_.OnSend(now, gate_.until(), sent, limit_, &spell_);
    // No limit was found.
    if (pace_.spaced() && pace_.RateAt(now, limit_) > kFree) Forget();
  }
  return permit;
}

void Pacer::OnReturned(const Permit& permit) {
  // If others have left since, the turn stays used: to give it back now would let
  // two callers leave at once.
  if (permit.number == before_.number) {
    spread_ = before_.spread;
    pace_ = before_.pace;
    told_ = before_.told;
    const int64_t admitted = spell_.admitted;
    spell_ = before_.spell;
    spell_.admitted = admitted;
  }
  before_.number = 0;
  OnNeutral(permit);
}

absl::Duration Pacer::GateFor(std::optional<absl::Duration> wait) const {
  const absl::Duration own = OwnWait(barren_);
  // "Retry-After: 0" allows it, and does not ask for it: our own wait applies.
  if (!wait.has_value() || *wait <= absl::ZeroDuration()) return own;
  // Waits that keep being too short are honoured, and lengthened.
  return std::max(WithMargin(*wait),
                  barren_ >= kOutage ? own / 2 : absl::ZeroDuration());
}

bool Pacer::OnRefused(const Permit& permit, std::optional<absl::Duration> wait,
                      MonotonicTime now) {
  const MonotonicTime before = gate_.until();
  if (permit.number <= episode_) {
    // Left before the gate was shut: the same episode.
    if (wait) gate_.Shut(now + WithMargin(*wait), now);
    last_refused_ = Later(last_refused_, permit.sent);
    ++refused_;
    return gate_.until() > before;
  }
  ++barren_;
  const absl::Duration gate = GateFor(wait);
  is_told_ = wait.has_value() && *wait > absl::ZeroDuration();
  if (paces_) BeginEpisode(permit, gate, now);
  gate_.Shut(now + gate, now);
  episode_ = sent_;
  before_.number = 0;
  return gate_.until() > before;
}

void Pacer::BeginEpisode(const Permit& permit, absl::Duration gate,
                         MonotonicTime now) {
  most_barren_ = std::max(most_barren_, barren_);
  announced_ = absl::ToDoubleSeconds(gate);
  if (!lesson_due_) {
    refused_ = 0;
    first_refused_ = permit.sent;
    refused_level_ = limit_.known() ? pace_.LevelAt(permit.sent, limit_) : 0;
    refused_pace_ = pace_.spaced() ? pace_.RateAt(permit.sent, limit_)
                                   : std::numeric_limits<double>::infinity();
  }
  if (told_.known() && !told_.OnRefused(sent_, now)) {
    limit_.Adopt(told_.rate(), told_.limit());
    if (limit_.known()) pace_.Track(now, kShortestPlateau, 0, now);
  }
  ++refused_;
  last_refused_ = permit.sent;
  lesson_due_ = true;
  confirming_ = true;
  confirms_out_ = 0;
  aside_ =
      peers_ == 1 ? absl::ZeroDuration() : place_ * Spread::Over(peers_, gate);
  first_confirm_.reset();
  pace_.OnGate();
  spread_.End();
  window_ = SendWindow(1, kGrowthSearch);
  opened_ = MonotonicTime::Infinite();
}

bool Pacer::OnAdmitted(const Permit& permit, const Others& others,
                       MonotonicTime now) {
  const bool held = IsWindowed() || told_.known();
  bool sooner = gate_.OnSuccess(permit.sent, now);
  if (permit.number > episode_) {
    barren_ = 0;
    if (confirming_) {
      confirming_ = false;
      confirms_out_ = 0;
      sooner = true;
    }
    // Only now are the stragglers of the episode in, and counted.
    if (lesson_due_) Settle(others, now);
  }
  ++spell_.admitted;
  if (!paces_) return sooner;
  told_.OnAdmitted(permit.number);
  // What left before it began to heal says nothing about what it can take now.
  if (permit.sent < window_since_) return true;
  window_.OnSuccess(others.out);
  if (opened_.is_infinite() && !lesson_due_ &&
      pace_.mode() == Pace::Mode::kFree && ++successes_ >= known_at_) {
    opened_ = now;
  }
  return sooner || held || told_.known();
}

void Pacer::OnTold(const Permit& permit, const LimitStand& stand,
                   MonotonicTime now) {
  if (!paces_ || !parts_.told) return;
  told_.OnTold(stand, permit.number, permit.sent, sent_, now);
}

bool Pacer::OnFault(const Permit& permit) {
  ++spell_.admitted;
  return OnNeutral(permit);
}

bool Pacer::OnNeutral(const Permit& permit) {
  if (!confirming_) return IsWindowed();
  if (permit.number <= episode_ || confirms_out_ == 0) return false;
  --confirms_out_;
  return true;
}

Pacer::Episode Pacer::Judge() {
  if (!parts_.learn) return Episode::kBlip;
  const double worked_for = SecondsBetween(*spell_.start, first_refused_);
  const double barren_for = SecondsBetween(first_refused_, last_refused_);
  const bool free = pace_.mode() == Pace::Mode::kFree;
  const bool was_outage = std::exchange(was_outage_, false);
  if (most_barren_ >= kOutage && (limit_.known() || !free) &&
      !(was_outage && worked_for < kWorked * barren_for)) {
    was_outage_ = true;
    return Episode::kOutage;
  }
  const auto n = static_cast<double>(spell_.admitted);
  const double length = SecondsBetween(*spell_.start, last_refused_);
  if (n < 1 || kRare * n * std::max(announced_, 1.0) < length) {
    return Episode::kBlip;
  }
  if (limit_.known()) return Episode::kLesson;
  if (free && n <= kBrief && !std::exchange(was_brief_, true)) {
    return Episode::kBlip;
  }
  // Nobody came for so long that the bucket may have been full at the end of it.
  const bool was_away = spell_.away > absl::Seconds(1 + 5 * announced_);
  return free || was_away ? Episode::kFirst : Episode::kLesson;
}

void Pacer::AfterBlip(const Others& others, MonotonicTime now) {
  limit_.Break();
  if (limit_.known()) {
    if (spell_.admitted < 1) limit_.Doubt();
  } else if (most_barren_ >= kOutage) {
    Restart(kWindowHealed, kGrowthHealed, first_confirm_.value_or(now));
  } else {
    Restart(kWindowAgain, kGrowthAgain, first_confirm_.value_or(now));
    spread_.Begin(others.waiting, absl::Seconds(announced_), now);
  }
}

void Pacer::AfterFirst() {
  const auto n = static_cast<double>(spell_.admitted);
  const MonotonicTime begin = Earlier(*spell_.first, last_refused_);
  const double length = std::max(SecondsBetween(begin, last_refused_), 1e-3);
  limit_.OnFirst(n, length);
  // As much as it admitted, in the time that it asks for; but not faster than it
  // admitted that.
  const double wait =
      std::max(SecondsBetween(last_refused_, gate_.until()), 0.01);
  Pace::Growth growth;
  growth.sends = std::max(growth.sends, 2 * n);
  growth.seconds = std::max(growth.seconds, wait / 4);
  // Half of it at once, for the bucket has filled up meanwhile; but no more than came
  // in such a time. (A wait to the next token does not fill a bucket.)
  const bool fills = wait >= kFills;
  const int64_t volley =
      fills ? static_cast<int64_t>(n / 2 * std::min(1.0, wait / length)) : 0;
  double pace = n / std::max(wait, std::min(length, 1.0));
  // A wait that is told so precisely is that for the next token.
  if (is_told_ && !fills) pace = std::min(pace, kPerWait / wait);
  pace_.Search(pace, growth, volley);
}

void Pacer::AfterLesson() {
  LearnedLimit::Lesson lesson;
  lesson.spell = spell_;
  lesson.end = last_refused_;
  lesson.pace = refused_pace_;
  lesson.level = refused_level_;
  lesson.tracked = pace_.mode() == Pace::Mode::kTrack;
  limit_.Learn(lesson);
}

void Pacer::Settle(const Others& others, MonotonicTime now) {
  lesson_due_ = false;
  const MonotonicTime first = first_confirm_.value_or(now);
  spell_.OnSend(first);  // if nothing was
  // A hang that ended as a refusal may have left before the spell.
  last_refused_ = Later(last_refused_, *spell_.start);
  const Episode episode = Judge();
  switch (episode) {
    case Episode::kOutage:
      limit_.Break();
      if (!limit_.known()) {
        pace_.AllowVolley(static_cast<int64_t>(limit_.first_admitted() / 2));
      }
      break;
    case Episode::kBlip:
      AfterBlip(others, now);
      break;
    case Episode::kFirst:
      AfterFirst();
      break;
    case Episode::kLesson:
      AfterLesson();
      break;
  }
  const bool outage = episode == Episode::kOutage;
  most_barren_ = 0;
  if (limit_.known()) {
    pace_.Track(gate_.until(), PlateauOf(limit_, announced_, refused_),
                outage ? limit_.burst() : 0, outage ? first : last_refused_);
  }
  // A new spell. The bucket was empty when the last refused one left, or it has
  // filled up in an outage, or nothing is known of it.
  Spell next;
  next.first = first;
  next.away = std::max(absl::ZeroDuration(), first - gate_.until());
  next.start =
      outage || pace_.mode() == Pace::Mode::kFree ? first : last_refused_;
  spell_ = next;
  pace_.Resume(first, now, limit_);
}

void Pacer::Restart(double window, double growth, MonotonicTime now) {
  pace_.Free();
  window_ = SendWindow(window, growth);
  window_since_ = now;
  successes_ = 0;
  known_at_ = kKnownAgain;
  opened_ = MonotonicTime::Infinite();
}

void Pacer::StartSlowly(const Others& others, MonotonicTime now) {
  if (!paces_ || pace_.mode() != Pace::Mode::kFree) return;
  Restart(kWindowHealed, kGrowthHealed, now);
  spread_.Begin(others.waiting, absl::InfiniteDuration(),
                MonotonicTime::InfinitePast());
}

void Pacer::SetPacing(bool paces, const PacingParts& parts) {
  paces_ = paces;
  parts_ = parts;
  if (!paces_ || (!parts_.learn && pace_.mode() != Pace::Mode::kFree)) Forget();
  if (!parts_.told) told_.Forget();
}

void Pacer::SetPeers(int peers, double place) {
  peers_ = std::max(1, peers);
  place_ = place;
  told_.SetMostShare(1.0 / peers_);
  if (sent_ == 0) window_ = FirstWindow();
}

void Pacer::Clear() {
  gate_.Clear();
  barren_ = 0;
  Forget();
}

void Pacer::Forget() {
  confirming_ = false;
  confirms_out_ = 0;
  lesson_due_ = false;
  most_barren_ = 0;
  was_outage_ = was_brief_ = false;
  spread_.End();
  pace_ = Pace();
  limit_ = LearnedLimit();
  spell_ = Spell();
  told_.Forget();
  window_ = FirstWindow();
  // It was known, or an operator says so.
  opened_ = MonotonicTime::InfinitePast();
  before_.number = 0;
}

std::optional<double> Pacer::RateAt(MonotonicTime now) const {
  if (!pace_.spaced()) return std::nullopt;
  return pace_.RateAt(now, limit_);
}

}  // namespace forbear
