// Answers, by every built-in profile: ClassifyAnswer, ReadLimits. An input is a digit
// or two that choose the profile and the status, the lines of a head, an empty line,
// a body.

#include <cstddef>
#include <vector>

#include "absl/time/time.h"
#include "core/outcome.h"
#include "signals/header_field.h"
#include "signals/http_classify.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/head_lines.h"

namespace forbear::fuzz {

bool Fuzz(absl::string_view input) {
  static constexpr int kStatuses[] = {200, 400, 402, 403, 409,
                                      429, 500, 503, 529, 0};
  const auto profiles = ProfileSet::BuiltIn()->entries();
  const VendorProfile& generic = ProfileSet::BuiltIn()->generic();
  AnswerFacts facts;
  facts.status = kStatuses[TakeChoice(&input, 10)];
  if (facts.status == 0) facts.grpc_code = 8;
  const VendorProfile& profile =
      profiles[TakeChoice(&input, static_cast<unsigned>(profiles.size()))]
          .profile;
  const size_t blank = input.find("\n\n");
  std::vector<HeaderField> fields = HeadLines(input.substr(0, blank));
  if (fields.size() > 50) fields.resize(50);
  facts.headers = fields;
  facts.now = absl::FromUnixSeconds(1763800000);
  const AnswerMeaning at_head = ClassifyAnswer(facts, profile, generic);
  facts.has_body = true;
  if (blank != absl::string_view::npos) facts.body = input.substr(blank + 2);
  const AnswerMeaning meaning = ClassifyAnswer(facts, profile, generic);
  for (const AnswerMeaning* m : {&at_head, &meaning}) {
    Require(m->pushback.value_or(absl::ZeroDuration()) >= absl::ZeroDuration(),
            "a wait is not negative");
    Require(
        m->pushback.has_value() == (m->pushback_source != DelaySource::kNone),
        "a wait has a source");
    Require(!m->retry_forbidden || !m->retry_wanted, "yes or no");
    Require(m->kind != ErrorKind::kCancelled, "nobody cancelled");
  }
  if (facts.status != 0 && meaning.rule != at_head.rule) {
    Require(ReadsBodyOf(facts.status, profile, generic),
            "who reads a body says so");
  }
  ReadLimits(facts, profile);
  Require(!DescribeRule(meaning).empty(), "it can be described");
  return facts.status == 503 && meaning.pushback == absl::Seconds(7);
}

}  // namespace forbear::fuzz
