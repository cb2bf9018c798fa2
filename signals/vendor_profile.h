// VendorProfile: what one vendor's answers mean, as data. What a status means
// depends on who sends it: 429 may be "in two seconds" or "next month", 403 a
// rate limit, 402 a declined card; and "x-ratelimit-reset: 60" may be seconds, a
// date or a suggestion. No code here knows a vendor; profiles do, and they are
// files (signals/profiles, docs/profiles.md).
//
//   absl::StatusOr<VendorProfile> profile = ParseVendorProfile(R"({
//     "id": "shop", "date": "2026-11-25",
//     "sources": [{"tag": "D", "what": "docs.shop.example/limits"}],
//     "hosts": ["api.shop.example", "*.shop.example"],
//     "delays": [{"header": "x-shop-wait", "format": "ms"}],
//     "rules": [{"id": "out-of-credit", "status": [429],
//                "any": [{"path": "/error/code", "in": ["no_credit"]}],
//                "class": "quota_exhausted", "retry": "never"}]
//   })");
//   if (!profile.ok()) …profile.status() lists every fault with its path…
//
// Strict: unknown keys, wrong types, values out of range, and what contradicts
// itself are refused, all of them at once. Every list and text has a bound.
//
// signals/http_classify.h is what reads an answer by a profile.
//
// Thread rule: values and a pure function; call from anywhere.
#ifndef FORBEAR_SIGNALS_VENDOR_PROFILE_H_
#define FORBEAR_SIGNALS_VENDOR_PROFILE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "signals/delay_text.h"
#include "signals/json_reader.h"

namespace forbear {

// What an answer is. The core knows fewer kinds; http_classify.h has the table.
enum class AnswerClass : uint8_t {
  kRateLimited,         // too many in too short a time
  kConcurrencyLimited,  // too many at once
  kRampLimited,         // within the limits, but growing too fast
  kOverloaded,          // the server has too much to do, whoever asks
  kNotReady,            // it will be: a model that loads, TLS early data
  kQuotaExhausted,      // a day's or a month's allowance is used up
  kBilling,             // no credit, no payment
  kTransient,           // may go away by itself
  kConflict,            // somebody else holds what it needs
  kAuth,                // who asks may not
  kPermanent,           // anything else that sending again does not change
};

enum class RetryAdvice : uint8_t {
  kNever,
  // After our own backoff, or the time that the server has named. Counters of a
  // limit (fallback delays) say nothing about this answer.
  kBackoff,
  // Counters, too.
  kHintOrBackoff,
  // Out of quota, and the delays tell when it comes back.
  kAtReset,
};

// A question about an answer. All texts are compared byte by byte; numbers and
// booleans as they stand in the body.
struct AnswerCondition {
  // Where: a header by its name in lower case, or else a path in the body.
  std::string header;
  std::optional<JsonPath> path;
  enum class Test : uint8_t {
    kIn,        // one of the texts
    kContains,  // one of the texts is in it
    kStarts,    // it starts with one of the texts
    kPresent,   // it is there
    kAbsent,    // it is not
  } test = Test::kPresent;
  std::vector<std::string> texts;
};

// Rules are asked in their order; the first that fits speaks.
struct AnswerRule {
  std::string id;
  // HTTP statuses; gRPC codes. Both empty: any answer with a status of 400 or
  // more, any code but OK. One of them empty, the other not: only HTTP, or only
  // gRPC.
  std::vector<int> statuses;
  std::vector<int> codes;
  // Names of errors (VendorProfile::error_name); empty: any.
  std::vector<std::string> names;
  // All of these, and one of those if there are any.
  std::vector<AnswerCondition> all;
  std::vector<AnswerCondition> any;

  AnswerClass answer_class = AnswerClass::kPermanent;
  RetryAdvice retry = RetryAdvice::kNever;
  // Absent: as the class says.
  std::optional<Processed> processed;
  // How long to stay away if the answer names no time: the vendor's documents do.
  std::optional<absl::Duration> floor;

  // Whether it asks about the body.
  bool ReadsBody() const;
  bool MatchesStatus(int status) const;
  bool MatchesCode(int code) const;
};

// Where a wait stands. The longest counts (http_classify.h).
struct DelayRule {
  // One of: headers by their names in lower case; a path in the body, and there
  // the whole value or what follows the text `after`; the RateLimit fields (IETF).
  std::vector<std::string> headers;
  std::optional<JsonPath> path;
  std::string after;
  bool ratelimit_fields = false;

  DelayFormat format = DelayFormat::kHttpRetryAfter;
  // For each of `headers` the one that must be zero for it to count, or empty.
  std::vector<std::string> if_zero;
  // It tells how full a limit is, not how long to stay away: counts only if the
  // answer names no time otherwise.
  bool fallback = false;
  // The vendor says the same wait in whole seconds elsewhere, rounded up: those do
  // not count if they are less than a second longer.
  bool precise = false;
  // What is added to it.
  absl::Duration add;
  DelaySource source = DelaySource::kRetryAfter;
};

enum class LimitCounts : uint8_t {
  kRequests,
  kTokens,
  kInputTokens,
  kOutputTokens,
  kPoints,
  kConcurrency,
};

// Where a limit stands that answers, also good ones, tell of.
struct LimitRule {
  std::string id;
  LimitCounts counts = LimitCounts::kRequests;
  // Absent: the answer does not say.
  std::optional<absl::Duration> window;
  // Headers, lower case; empty: not told. `used_of_limit` is one of the form
  // "32/40".
  std::string limit;
  std::string remaining;
  std::string used_of_limit;
  std::string reset;
  DelayFormat format = DelayFormat::kSeconds;
};

struct VendorProfile {
  // Bounds of a file and of its parts.
  static constexpr size_t kMaxFileBytes = size_t{64} << 10;
  static constexpr size_t kMaxTextBytes = 256;
  static constexpr size_t kMaxRules = 64;
  static constexpr size_t kMaxDelays = 16;
  static constexpr size_t kMaxLimits = 32;
  static constexpr size_t kMaxTexts = 32;  // of any other list

  // 1 … 64 of a-z, 0-9 and "-".
  std::string id;
  // "2026-11-22": when somebody last looked.
  std::string date;
  struct Source {
    // How sure: D documentation, D2 documentation as told by others, S source
    // code, I seen by somebody, at least once.
    std::string tag;
    std::string what;
  };
  std::vector<Source> sources;

  // Exact, or with one "*" that stands for one or more characters:
  // "api.example.com", "*.example.com". Lower case, no port.
  std::vector<std::string> hosts;

  // Where the name of an error stands.
  struct ErrorName {
    std::string header;
    std::optional<JsonPath> path;
    std::string strip_after;   // this and what follows it is no part of it
    std::string strip_before;  // … and what is before it, itself included
  };
  std::optional<ErrorName> error_name;

  // The header by which the server says itself whether to come again: "true" or
  // "false". Lower case; may be empty.
  std::string override_header;

  // The header by which it recognises a repeated request. May be empty.
  std::string idempotency_header;

  // A limited answer with a longer wait than this is out of quota. Infinite: none
  // is.
  absl::Duration max_hint = absl::InfiniteDuration();

  std::vector<DelayRule> delays;
  std::vector<AnswerRule> rules;
  std::vector<LimitRule> limits;

  // Whether a rule for this HTTP status asks about the body.
  bool ReadsBodyOf(int status) const;
};

// INVALID_ARGUMENT with all faults, each with its place in the file:
// "/rules/2/class is "broken"; it must be one of …".
absl::StatusOr<VendorProfile> ParseVendorProfile(absl::string_view json);

// Whether `host` (lower case, no port) fits `pattern`; how many characters of the
// pattern are not "*", plus one if it has none; 0: it does not fit.
size_t MatchHost(absl::string_view pattern, absl::string_view host);

// "rate_limited", …; "never", …; "requests", …: as profile files write them.
absl::string_view AnswerClassName(AnswerClass answer_class);
absl::string_view RetryAdviceName(RetryAdvice advice);
absl::string_view LimitCountsName(LimitCounts counts);

// The number of a gRPC code by its name, "RESOURCE_EXHAUSTED"; nothing if there is
// none such, or it is OK.
std::optional<int> GrpcCodeOf(absl::string_view name);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_VENDOR_PROFILE_H_
