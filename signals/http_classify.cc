#include "signals/http_classify.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "signals/header_signals.h"
#include "signals/json_reader.h"
#include "signals/retry_after.h"

namespace forbear {
namespace {

// Lines of a head that are looked at. More are an attack or an accident.
constexpr size_t kMaxLines = 1000;

constexpr int kTooManyRequests = 429;

// "0", "0.0", "00".
bool IsZero(absl::string_view text) {
  return absl::StrContains(text, '0') &&
         text.find_first_not_of("0.") == absl::string_view::npos &&
         std::count(text.begin(), text.end(), '.') <= 1;
}

// 1*DIGIT, below 10^15.
std::optional<int64_t> Count(absl::string_view text) {
  constexpr size_t kMaxDigits = 15;
  int64_t count = 0;
  if (text.empty() || text.size() > kMaxDigits ||
      text.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(text, &count)) {
    return std::nullopt;
  }
  return count;
}

// An answer, as rules and delays ask about it.
class Answer {
 public:
  explicit Answer(const AnswerFacts& facts)
      : facts_(facts),
        headers_(facts.headers.subspan(0, kMaxLines)),
        json_(facts.has_body ? facts.body : ""),
        times_(WallTimesOf(headers_, facts.now, facts.server)) {}

  const WallTimes& times() const { return times_; }

  bool MatchesStatus(const AnswerRule& rule) const {
    return facts_.grpc_code ? rule.MatchesCode(*facts_.grpc_code)
                            : rule.MatchesStatus(facts_.status);
  }

  // Calls `visit` for each value of a header until it returns false.
  template <typename Visit>
  void ForEachValue(absl::string_view name, Visit visit) const {
    for (const HeaderField& field : headers_) {
      if (absl::EqualsIgnoreCase(field.name, name) &&
          !visit(TrimBlanks(field.value))) {
        return;
      }
    }
  }

  // The first value of a header.
  std::optional<absl::string_view> Value(absl::string_view name) const {
    std::optional<absl::string_view> found;
    if (name.empty()) return found;
    ForEachValue(name, [&](absl::string_view value) {
      found = value;
      return false;
    });
    return found;
  }

  bool Holds(const AnswerCondition& condition) const {
    using Test = AnswerCondition::Test;
    bool present = false;
    bool holds = false;
    const auto ask = [&](auto is, auto contains, auto starts) {
      present = true;
      for (const std::string& text : condition.texts) {
        holds |= condition.test == Test::kIn         ? is(text)
                 : condition.test == Test::kContains ? contains(text)
                                                     : starts(text);
      }
      return !holds;
    };
    if (condition.path) {
      if (!facts_.has_body) return false;
      json_.Find(*condition.path, [&](const JsonValue& value) {
        return ask(
            [&](absl::string_view text) {
              return value.type() == JsonValue::Type::kString
                         ? value.Is(text)
                         : value.raw() == text;
            },
            [&](absl::string_view text) { return value.Contains(text); },
            [&](absl::string_view text) { return value.StartsWith(text); });
      });
    } else {
      ForEachValue(condition.header, [&](absl::string_view value) {
        return ask([&](absl::string_view text) { return value == text; },
                   [&](absl::string_view text) {
                     return absl::StrContains(value, text);
                   },
                   [&](absl::string_view text) {
                     return absl::StartsWith(value, text);
                   });
      });
    }
    if (condition.test == Test::kPresent) return present;
    if (condition.test == Test::kAbsent) return !present;
    return holds;
  }

  // Whether the answer's error has one of these names.
  bool HasName(const VendorProfile::ErrorName& where,
               const std::vector<std::string>& names) const {
    bool found = false;
    const auto ask = [&](absl::string_view text) {
      if (!where.strip_after.empty()) {
        text = text.substr(0, text.find(where.strip_after));
      }
      if (!where.strip_before.empty()) {
        const size_t at = text.rfind(where.strip_before);
        if (at != absl::string_view::npos) {
          text.remove_prefix(at + where.strip_before.size());
        }
      }
      found |= std::find(names.begin(), names.end(), text) != names.end();
      return !found;
    };
    if (!where.header.empty()) ForEachValue(where.header, ask);
    if (!found && where.path && facts_.has_body) {
      json_.Find(*where.path, [&](const JsonValue& value) {
        char buffer[VendorProfile::kMaxTextBytes];
        return ask(value.Text(absl::MakeSpan(buffer)));
      });
    }
    return found;
  }

  bool Fits(const AnswerRule& rule, const VendorProfile& profile) const {
    const auto holds = [this](const AnswerCondition& c) { return Holds(c); };
    return MatchesStatus(rule) &&
           (rule.names.empty() ||
            (profile.error_name && HasName(*profile.error_name, rule.names))) &&
           std::all_of(rule.all.begin(), rule.all.end(), holds) &&
           (rule.any.empty() ||
            std::any_of(rule.any.begin(), rule.any.end(), holds));
  }

  const AnswerRule* FirstThatFits(const VendorProfile& profile) const {
    for (const AnswerRule& rule : profile.rules) {
      if (Fits(rule, profile)) return &rule;
    }
    return nullptr;
  }

  // The longest wait that stands at the places of a delay.
  std::optional<absl::Duration> Wait(const DelayRule& delay) const {
    std::optional<absl::Duration> wait;
    if (delay.ratelimit_fields) {
      wait = WaitForExhausted(ReadRateLimitHeaders(headers_, times_));
    } else if (delay.path) {
      if (facts_.has_body) wait = WaitInBody(delay);
    } else {
      for (size_t i = 0; i < delay.headers.size(); ++i) {
        if (!delay.if_zero.empty() &&
            !IsZero(Value(delay.if_zero[i]).value_or(""))) {
          continue;
        }
        ForEachValue(delay.headers[i], [&](absl::string_view value) {
          wait = LongestWait(wait, ParseDelay(delay.format, value, times_));
          return true;
        });
      }
    }
    if (wait) *wait += delay.add;
    return wait;
  }

 private:
  std::optional<absl::Duration> WaitInBody(const DelayRule& delay) const {
    std::optional<absl::Duration> wait;
    json_.Find(*delay.path, [&](const JsonValue& value) {
      if (delay.after.empty()) {
        char buffer[64];
        wait = LongestWait(
            wait, ParseDelay(delay.format, value.Text(absl::MakeSpan(buffer)),
                             times_));
        return true;
      }
      const std::string text = value.Text();
      const size_t at = text.find(delay.after);
      if (at == std::string::npos) return true;
      absl::string_view rest =
          absl::string_view(text).substr(at + delay.after.size());
      rest = rest.substr(0, rest.find_first_of(" \t\r\n"));
      // The sentence may go on, or end here.
      while (!rest.empty() && absl::StrContains(".,;:!)", rest.back())) {
        rest.remove_suffix(1);
      }
      wait = LongestWait(wait, ParseDelay(delay.format, rest, times_));
      return true;
    });
    return wait;
  }

  const AnswerFacts& facts_;
  const absl::Span<const HeaderField> headers_;
  const JsonText json_;
  const WallTimes times_;
};

// The wait that counts, and where it stands.
struct Told {
  std::optional<absl::Duration> wait;
  DelaySource source = DelaySource::kNone;

  void Keep(std::optional<absl::Duration> other, DelaySource its_source) {
    if (other && (!wait || *other > *wait)) *this = {other, its_source};
  }
};

Told Explicit(const Answer& answer, const VendorProfile& profile,
              const VendorProfile& generic) {
  Told precise;  // of those that others are rounded up from
  Told longest;
  const auto look = [&](const VendorProfile& p) {
    for (const DelayRule& delay : p.delays) {
      if (delay.fallback) continue;
      const std::optional<absl::Duration> wait = answer.Wait(delay);
      longest.Keep(wait, delay.source);
      if (delay.precise) precise.Keep(wait, delay.source);
    }
  };
  look(profile);
  if (&profile != &generic) look(generic);
  const bool rounded_up =
      precise.wait && *longest.wait - *precise.wait < absl::Seconds(1);
  return rounded_up ? precise : longest;
}

Told Fallback(const Answer& answer, const VendorProfile& profile) {
  Told told;
  for (const DelayRule& delay : profile.delays) {
    if (delay.fallback) told.Keep(answer.Wait(delay), delay.source);
  }
  return told;
}

Told WaitOf(const Answer& answer, const AnswerRule& rule,
            const VendorProfile& profile, const VendorProfile& generic) {
  Told told = Explicit(answer, profile, generic);
  if (!told.wait && (rule.retry == RetryAdvice::kHintOrBackoff ||
                     rule.retry == RetryAdvice::kAtReset)) {
    told = Fallback(answer, profile);
    if (!told.wait && &profile != &generic) told = Fallback(answer, generic);
  }
  if (!told.wait && rule.floor) told = {rule.floor, DelaySource::kRateLimit};
  return told;
}

void SetKind(AnswerClass answer_class, bool too_many, AnswerMeaning* meaning) {
  meaning->answer_class = answer_class;
  const auto set = [&](ErrorKind kind, Processed processed) {
    meaning->kind = kind;
    meaning->processed = processed;
  };
  switch (answer_class) {
    case AnswerClass::kRateLimited:
    case AnswerClass::kConcurrencyLimited:
    case AnswerClass::kRampLimited:
      return set(ErrorKind::kThrottled, Processed::kNo);
    case AnswerClass::kOverloaded:
    case AnswerClass::kNotReady:
      if (too_many) return set(ErrorKind::kThrottled, Processed::kNo);
      return set(ErrorKind::kTransient, answer_class == AnswerClass::kNotReady
                                            ? Processed::kNo
                                            : Processed::kUnknown);
    case AnswerClass::kQuotaExhausted:
    case AnswerClass::kBilling:
      return set(ErrorKind::kQuotaExhausted, Processed::kNo);
    case AnswerClass::kTransient:
    case AnswerClass::kConflict:
      return set(ErrorKind::kTransient, Processed::kUnknown);
    case AnswerClass::kAuth:
    case AnswerClass::kPermanent:
      return set(ErrorKind::kPermanent, Processed::kYes);
  }
}

bool IsFailure(const AnswerMeaning& meaning) {
  return meaning.kind == ErrorKind::kTransient ||
         meaning.kind == ErrorKind::kThrottled;
}

// What the server says itself about coming again.
void ApplyOverride(const Answer& answer, const VendorProfile& profile,
                   const VendorProfile& generic, AnswerMeaning* meaning) {
  const std::string& header = profile.override_header.empty()
                                  ? generic.override_header
                                  : profile.override_header;
  if (header.empty()) return;
  bool yes = false;
  bool no = false;
  answer.ForEachValue(header, [&](absl::string_view value) {
    yes |= absl::EqualsIgnoreCase(value, "true");
    no |= absl::EqualsIgnoreCase(value, "false");
    return true;
  });
  if (no) {
    meaning->retry_forbidden = true;
  } else if (yes) {
    meaning->retry_forbidden = false;
    meaning->retry_wanted = true;
  }
}

}  // namespace

AnswerMeaning ClassifyAnswer(const AnswerFacts& facts,
                             const VendorProfile& profile,
                             const VendorProfile& generic) {
  const Answer answer(facts);
  AnswerMeaning meaning;
  const AnswerRule* rule = answer.FirstThatFits(profile);
  if (rule != nullptr) {
    meaning.profile = profile.id;
  } else if (&profile != &generic) {
    rule = answer.FirstThatFits(generic);
    if (rule != nullptr) meaning.profile = generic.id;
  }
  if (rule != nullptr) {
    meaning.rule = rule->id;
    meaning.retry = rule->retry;
    SetKind(rule->answer_class, facts.status == kTooManyRequests, &meaning);
    if (rule->processed) meaning.processed = *rule->processed;
    meaning.retry_forbidden =
        IsFailure(meaning) && rule->retry == RetryAdvice::kNever;
    meaning.shed = meaning.kind == ErrorKind::kTransient &&
                   (rule->answer_class == AnswerClass::kOverloaded ||
                    rule->answer_class == AnswerClass::kNotReady);
  } else {
    const bool ok =
        facts.grpc_code ? *facts.grpc_code == 0 : facts.status < 400;
    if (!ok) SetKind(AnswerClass::kPermanent, false, &meaning);
  }
  if (meaning.kind == ErrorKind::kOk) return meaning;
  ApplyOverride(answer, profile, generic, &meaning);

  const bool at_reset = meaning.kind == ErrorKind::kQuotaExhausted &&
                        meaning.retry == RetryAdvice::kAtReset;
  const bool wanted =
      meaning.kind == ErrorKind::kPermanent && meaning.retry_wanted;
  if (!IsFailure(meaning) && !at_reset && !wanted) return meaning;
  static const AnswerRule* const kNone = new AnswerRule();
  const Told told =
      WaitOf(answer, rule != nullptr ? *rule : *kNone, profile, generic);
  if (!told.wait) return meaning;
  meaning.pushback = told.wait;
  meaning.pushback_source = told.source;
  if (meaning.kind == ErrorKind::kThrottled && *told.wait > profile.max_hint) {
    meaning.kind = ErrorKind::kQuotaExhausted;
    meaning.answer_class = AnswerClass::kQuotaExhausted;
    meaning.retry = RetryAdvice::kAtReset;
    meaning.retry_forbidden = false;
  }
  return meaning;
}

bool ReadsBodyOf(int status, const VendorProfile& profile,
                 const VendorProfile& generic) {
  return profile.ReadsBodyOf(status) || generic.ReadsBodyOf(status);
}

std::vector<AnnouncedLimit> ReadLimits(const AnswerFacts& facts,
                                       const VendorProfile& profile) {
  const Answer answer(facts);
  if (profile.limits.empty()) {
    return ReadRateLimitHeaders(facts.headers, answer.times());
  }
  std::vector<AnnouncedLimit> limits;
  for (const LimitRule& rule : profile.limits) {
    AnnouncedLimit limit;
    const auto count = [&](const std::string& header) {
      return Count(answer.Value(header).value_or(""));
    };
    limit.limit = count(rule.limit);
    limit.remaining = count(rule.remaining);
    if (!rule.used_of_limit.empty()) {
      const absl::string_view text =
          answer.Value(rule.used_of_limit).value_or("");
      const size_t slash = text.find('/');
      if (slash != absl::string_view::npos) {
        const std::optional<int64_t> used = Count(text.substr(0, slash));
        limit.limit = Count(text.substr(slash + 1));
        if (used && limit.limit) {
          limit.remaining = std::max<int64_t>(0, *limit.limit - *used);
        }
      }
    }
    if (!limit.limit && !limit.remaining) continue;
    if (!rule.reset.empty()) {
      limit.reset = ParseDelay(
          rule.format, answer.Value(rule.reset).value_or(""), answer.times());
    }
    limit.name = rule.id;
    limit.unit = std::string(LimitCountsName(rule.counts));
    limit.window = rule.window;
    limits.push_back(std::move(limit));
  }
  return limits;
}

std::optional<LimitStand> ReadStand(const AnswerFacts& facts,
                                    const VendorProfile& profile) {
  const auto tells = [&](const HeaderField& field) {
    return MayTellOfLimit(field.name) ||
           std::any_of(profile.limits.begin(), profile.limits.end(),
                       [&](const LimitRule& rule) {
                         return absl::EqualsIgnoreCase(field.name,
                                                       rule.remaining);
                       });
  };
  if (std::none_of(facts.headers.begin(), facts.headers.end(), tells)) {
    return std::nullopt;
  }
  return StandOfRequests(ReadLimits(facts, profile));
}

std::string DescribeRule(const AnswerMeaning& meaning) {
  if (meaning.rule.empty()) return "no rule";
  return absl::StrCat(meaning.profile, "/", meaning.rule, ": ",
                      AnswerClassName(meaning.answer_class), ", ",
                      RetryAdviceName(meaning.retry));
}

}  // namespace forbear
