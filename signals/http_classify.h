// ClassifyAnswer: what an answer means, read by a vendor's profile. The one table
// of statuses is profile "generic" (signals/profiles/generic.json); nothing else
// decides what a status means.
//
//   AnswerFacts facts;
//   facts.status = 429;
//   facts.headers = fields;                  // as they came
//   facts.now = wall clock;
//   AnswerMeaning at_head = ClassifyAnswer(facts, profile, generic);
//   facts.body = first_bytes;                // as far as they are there
//   facts.has_body = true;
//   AnswerMeaning meaning = ClassifyAnswer(facts, profile, generic);
//   // kQuotaExhausted, by the rule meaning.profile, meaning.rule
//
// Rules: the profile's in their order, then the generic ones; the first that fits
// speaks. None does: below 400 ok, else permanent. At the head what asks about the
// body does not fit.
//
//   class                                   kind          processed
//   rate_, concurrency_, ramp_limited       throttled     no
//   overloaded                              transient     unknown
//   not_ready                               transient     no
//   … of these two, with 429                throttled     no
//   quota_exhausted, billing                out of quota  no
//   transient, conflict                     transient     unknown
//   auth, permanent                         permanent     yes
//
// The wait, of what is throttled or transient, or of which a retry is asked for:
// 1. The longest of what the profile and the generic one call a delay; but where a
//    profile says that a delay is the precise one (retry-after-ms: 2100), it counts
//    before one that is less than a second longer (Retry-After: 3).
// 2. If there is none, and the rule takes hints: the longest of the profile's
//    fallback delays, or else of the generic ones (a limit's reset).
// 3. If there is none, the rule's floor.
// 4. A throttled answer that has to wait longer than the profile's max_hint is out
//    of quota.
// Out of quota, the same is the time to the reset, if the rule says "at_reset";
// else no wait counts, whatever the answer says, for it is not the quota's: Gemini
// sends one of 26 s when the day's is used up.
//
// The override header ("x-should-retry"): "false" forbids a retry; "true" asks for
// one of a permanent error, too. Neither changes that a quota is used up.
//
// Whether a request may be repeated is not asked here; core/retry_policy.h does.
//
// Thread rule: pure functions; call from anywhere.
#ifndef FORBEAR_SIGNALS_HTTP_CLASSIFY_H_
#define FORBEAR_SIGNALS_HTTP_CLASSIFY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "core/outcome.h"
#include "signals/header_field.h"
#include "signals/rate_limit_headers.h"
#include "signals/vendor_profile.h"

namespace forbear {

struct AnswerFacts {
  // The HTTP status; for gRPC the code instead.
  int status = 0;
  std::optional<int> grpc_code;
  // The head's fields, or a gRPC call's trailers.
  absl::Span<const HeaderField> headers;
  // What is there of the body; of gRPC, details as JSON. May be cut off.
  absl::string_view body;
  // False: only the head is known yet.
  bool has_body = false;
  // This machine's wall clock when the head arrived.
  absl::Time now = absl::UnixEpoch();
  // What the server's clock showed then at least, if other answers have told
  // (runtime/server_clock.h).
  std::optional<absl::Time> server;
};

struct AnswerMeaning {
  ErrorKind kind = ErrorKind::kOk;
  Processed processed = Processed::kYes;
  bool retry_forbidden = false;
  bool retry_wanted = false;
  std::optional<absl::Duration> pushback;
  DelaySource pushback_source = DelaySource::kNone;
  // Overloaded, or not ready: whoever asks for less may be served (Outcome::shed).
  bool shed = false;

  // For people, and for tables. Empty: no rule fits.
  absl::string_view profile;
  absl::string_view rule;
  AnswerClass answer_class = AnswerClass::kPermanent;
  RetryAdvice retry = RetryAdvice::kNever;
};

// `generic` may be `profile`. What is returned points into them.
AnswerMeaning ClassifyAnswer(const AnswerFacts& facts,
                             const VendorProfile& profile,
                             const VendorProfile& generic);

// Whether the body of an answer with that status may change its meaning.
bool ReadsBodyOf(int status, const VendorProfile& profile,
                 const VendorProfile& generic);

// The limits that an answer tells of, by the profile's names for them; without
// any in the profile, by those that everybody uses (rate_limit_headers.h).
std::vector<AnnouncedLimit> ReadLimits(const AnswerFacts& facts,
                                       const VendorProfile& profile);

// Of these the limit of requests, for the pace (core/told_limit.h).
std::optional<LimitStand> ReadStand(const AnswerFacts& facts,
                                    const VendorProfile& profile);

// "openai/out-of-credit: quota_exhausted, never", or "no rule". For logs.
std::string DescribeRule(const AnswerMeaning& meaning);

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_HTTP_CLASSIFY_H_
