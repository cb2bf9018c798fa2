#include "signals/vendor_profile.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace forbear {
namespace {

// What stands in files, beside what it means.
template <typename T>
struct Word {
  absl::string_view text;
  T value;
};

constexpr Word<AnswerClass> kClasses[] = {
    {"rate_limited", AnswerClass::kRateLimited},
    {"concurrency_limited", AnswerClass::kConcurrencyLimited},
    {"ramp_limited", AnswerClass::kRampLimited},
    {"overloaded", AnswerClass::kOverloaded},
    {"not_ready", AnswerClass::kNotReady},
    {"quota_exhausted", AnswerClass::kQuotaExhausted},
    {"billing", AnswerClass::kBilling},
    {"transient", AnswerClass::kTransient},
    {"conflict", AnswerClass::kConflict},
    {"auth", AnswerClass::kAuth},
    {"permanent", AnswerClass::kPermanent},
};

constexpr Word<RetryAdvice> kAdvices[] = {
    {"never", RetryAdvice::kNever},
    {"backoff", RetryAdvice::kBackoff},
    {"hint_or_backoff", RetryAdvice::kHintOrBackoff},
    {"at_reset", RetryAdvice::kAtReset},
};

constexpr Word<Processed> kProcessed[] = {
    {"no", Processed::kNo},
    {"unknown", Processed::kUnknown},
    {"yes", Processed::kYes},
};

constexpr Word<LimitCounts> kCounts[] = {
    {"requests", LimitCounts::kRequests},
    {"tokens", LimitCounts::kTokens},
    {"input_tokens", LimitCounts::kInputTokens},
    {"output_tokens", LimitCounts::kOutputTokens},
    {"points", LimitCounts::kPoints},
    {"concurrency", LimitCounts::kConcurrency},
};

// What a delay is known by in records (core/outcome.h).
constexpr Word<DelaySource> kSources[] = {
    {"retry-after", DelaySource::kRetryAfter},
    {"retry-info", DelaySource::kRetryInfo},
    {"rate-limit", DelaySource::kRateLimit},
    {"body", DelaySource::kBody},
};

constexpr Word<int> kCodes[] = {
    {"CANCELLED", 1},           {"UNKNOWN", 2},
    {"INVALID_ARGUMENT", 3},    {"DEADLINE_EXCEEDED", 4},
    {"NOT_FOUND", 5},           {"ALREADY_EXISTS", 6},
    {"PERMISSION_DENIED", 7},   {"RESOURCE_EXHAUSTED", 8},
    {"FAILED_PRECONDITION", 9}, {"ABORTED", 10},
    {"OUT_OF_RANGE", 11},       {"UNIMPLEMENTED", 12},
    {"INTERNAL", 13},           {"UNAVAILABLE", 14},
    {"DATA_LOSS", 15},          {"UNAUTHENTICATED", 16},
};

template <typename T, size_t kSize>
absl::string_view NameOf(const Word<T> (&words)[kSize], T value) {
  for (const Word<T>& word : words) {
    if (word.value == value) return word.text;
  }
  return "?";
}

constexpr int64_t kMaxMilliseconds = int64_t{366} * 24 * 3600 * 1000;

// A text of a file, as an error message may show it: one line, not too long.
std::string Shown(absl::string_view text) {
  constexpr size_t kMax = 60;
  std::string shown(text.substr(0, kMax));
  std::replace_if(
      shown.begin(), shown.end(),
      [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); },
      ' ');
  if (text.size() <= kMax) return shown;
  // Not within a character.
  size_t size = kMax;
  while (size > 0 && (static_cast<uint8_t>(text[size]) & 0xC0) == 0x80) --size;
  shown.resize(size);
  return absl::StrCat(shown, "…");
}

// Reads values at places ("/rules/2"), and notes what is wrong with them.
class Reader {
 public:
  using Place = std::string;
  using Read = std::function<void(const JsonValue&, const Place&)>;
  struct Key {
    absl::string_view name;
    bool required;
    Read read;
  };

  std::vector<std::string> TakeFaults() {
    if (dropped_ > 0)
      faults_.push_back(absl::StrCat("and ", dropped_, " more"));
    return std::move(faults_);
  }
  size_t fault_count() const { return faults_.size() + dropped_; }

  void Fault(const Place& place, absl::string_view what) {
    constexpr size_t kMaxFaults = 50;
    if (faults_.size() == kMaxFaults) {
      ++dropped_;
    } else {
      faults_.push_back(absl::StrCat(place.empty() ? "/" : place, " ", what));
    }
  }

  void Object(const JsonValue& value, const Place& place,
              std::initializer_list<Key> keys) {
    if (value.type() != JsonValue::Type::kObject) {
      Fault(place,
            absl::StrCat("is ", Shown(value.raw()), "; it must be an object"));
      return;
    }
    std::vector<absl::string_view> seen;
    value.ForEachMember([&](const JsonValue& name, const JsonValue& member) {
      const Key* key = nullptr;
      for (const Key& k : keys) {
        if (name.Is(k.name)) key = &k;
      }
      const Place at = absl::StrCat(place, "/", Shown(name.Text()));
      if (key == nullptr) {
        Fault(at,
              absl::StrCat(
                  "is not known; there are ",
                  absl::StrJoin(keys, ", ", [](std::string* out, const Key& k) {
                    out->append(k.name.data(), k.name.size());
                  })));
      } else if (std::count(seen.begin(), seen.end(), key->name) > 0) {
        Fault(at, "stands there twice");
      } else {
        seen.push_back(key->name);
        key->read(member, at);
      }
      return true;
    });
    for (const Key& key : keys) {
      if (key.required && std::count(seen.begin(), seen.end(), key.name) == 0) {
        Fault(absl::StrCat(place, "/", key.name), "is missing");
      }
    }
  }

  void List(const JsonValue& value, const Place& place, size_t least,
            size_t most, const Read& read) {
    if (value.type() != JsonValue::Type::kList) {
      Fault(place,
            absl::StrCat("is ", Shown(value.raw()), "; it must be a list"));
      return;
    }
    size_t count = 0;
    value.ForEachElement([&](const JsonValue& element) {
      if (count < most) read(element, absl::StrCat(place, "/", count));
      ++count;
      return true;
    });
    if (count < least || count > most) {
      Fault(place, absl::StrCat("has ", count, " elements; there must be ",
                                least, " … ", most));
    }
  }

  // A text of 1 … kMaxTextBytes bytes without control characters.
  void Text(const JsonValue& value, const Place& place, std::string* out) {
    if (value.type() != JsonValue::Type::kString) {
      Fault(place,
            absl::StrCat("is ", Shown(value.raw()), "; it must be a text"));
      return;
    }
    *out = value.Text();
    if (out->empty() || out->size() > VendorProfile::kMaxTextBytes) {
      Fault(place, absl::StrCat("has ", out->size(), " bytes; it must be 1 … ",
                                VendorProfile::kMaxTextBytes));
    }
    if (std::any_of(out->begin(), out->end(), [](char c) {
          return absl::ascii_iscntrl(static_cast<unsigned char>(c));
        })) {
      Fault(place, "has control characters");
    }
  }

  void Texts(const JsonValue& value, const Place& place,
             std::vector<std::string>* out) {
    List(value, place, 1, VendorProfile::kMaxTexts,
         [&](const JsonValue& element, const Place& at) {
           Text(element, at, &out->emplace_back());
         });
  }

  // A header's name, in lower case.
  void Header(const JsonValue& value, const Place& place, std::string* out) {
    const size_t before = fault_count();
    Text(value, place, out);
    if (fault_count() > before) return;
    for (const char c : *out) {
      if (absl::ascii_islower(static_cast<unsigned char>(c)) ||
          absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-' ||
          c == '_') {
        continue;
      }
      Fault(place, absl::StrCat("is \"", Shown(*out),
                                "\"; a header's name has a-z, 0-9, - and _"));
      return;
    }
  }

  void Path(const JsonValue& value, const Place& place,
            std::optional<JsonPath>* out) {
    std::string text;
    const size_t before = fault_count();
    Text(value, place, &text);
    if (fault_count() > before) return;
    *out = JsonPath::Of(text);
    if (!*out) {
      Fault(place, absl::StrCat("is \"", Shown(text),
                                "\"; it must be a path like /error/code, "
                                "/errors/*/type or /list/[key=value]/x"));
    }
  }

  void Int(const JsonValue& value, const Place& place, int64_t low,
           int64_t high, int64_t* out) {
    const std::optional<double> number = value.Number();
    if (!number || *number < static_cast<double>(low) ||
        *number > static_cast<double>(high) ||
        *number != static_cast<double>(static_cast<int64_t>(*number))) {
      Fault(place,
            absl::StrCat("is ", Shown(value.raw()),
                         "; it must be a whole number, ", low, " … ", high));
      return;
    }
    *out = static_cast<int64_t>(*number);
  }

  void Milliseconds(const JsonValue& value, const Place& place, int64_t low,
                    absl::Duration* out) {
    int64_t ms = low;
    Int(value, place, low, kMaxMilliseconds, &ms);
    *out = absl::Milliseconds(ms);
  }

  template <typename T, size_t kSize>
  void OneOf(const Word<T> (&words)[kSize], const JsonValue& value,
             const Place& place, T* out) {
    for (const Word<T>& word : words) {
      if (value.Is(word.text)) {
        *out = word.value;
        return;
      }
    }
    Fault(place, absl::StrCat(
                     "is ", Shown(value.raw()), "; it must be one of ",
                     absl::StrJoin(
                         words, ", ", [](std::string* s, const Word<T>& word) {
                           s->append(word.text.data(), word.text.size());
                         })));
  }

  void Format(const JsonValue& value, const Place& place, DelayFormat* out) {
    const std::optional<DelayFormat> format =
        ParseDelayFormatName(value.Text());
    if (format) {
      *out = *format;
      return;
    }
    std::vector<absl::string_view> names;
    for (int i = 0; i <= static_cast<int>(DelayFormat::kGuess); ++i) {
      names.push_back(DelayFormatName(static_cast<DelayFormat>(i)));
    }
    Fault(place, absl::StrCat("is ", Shown(value.raw()), "; it must be one of ",
                              absl::StrJoin(names, ", ")));
  }

  void True(const JsonValue& value, const Place& place, bool* out) {
    if (!value.Bool().value_or(false)) {
      Fault(place, absl::StrCat("is ", Shown(value.raw()),
                                "; it must be true, or be left out"));
    }
    *out = true;
  }

 private:
  std::vector<std::string> faults_;
  size_t dropped_ = 0;
};

using Place = Reader::Place;

// Texts that are meant for people change with the next release. Who relies on
// one has to say that there was nothing better.
void CheckProse(const std::optional<JsonPath>& path, bool is_prose,
                const Place& place, Reader* reader) {
  if (!path) return;
  const absl::string_view name = path->last_name();
  const bool for_people =
      name == "message" || name == "msg" || name == "detail" || name == "title";
  if (for_people && !is_prose) {
    reader->Fault(place,
                  absl::StrCat("reads a text that is meant for people; if the "
                               "vendor offers nothing else, add \"prose\": "
                               "true"));
  }
}

void ReadId(const JsonValue& value, const Place& place, std::string* out,
            Reader* reader) {
  const size_t before = reader->fault_count();
  reader->Text(value, place, out);
  if (reader->fault_count() > before) return;
  const bool ok =
      out->size() <= 64 && std::all_of(out->begin(), out->end(), [](char c) {
        return absl::ascii_islower(static_cast<unsigned char>(c)) ||
               absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-';
      });
  if (!ok) {
    reader->Fault(place, absl::StrCat("is \"", Shown(*out),
                                      "\"; it must be 1 … 64 of a-z, 0-9, -"));
  }
}

void ReadDate(const JsonValue& value, const Place& place, std::string* out,
              Reader* reader) {
  const size_t before = reader->fault_count();
  reader->Text(value, place, out);
  if (reader->fault_count() > before) return;
  WallTimes epoch;
  if (out->size() != 10 ||
      !ParseDelay(DelayFormat::kRfc3339, *out + "T00:00:00Z", epoch)) {
    reader->Fault(place, absl::StrCat("is \"", Shown(*out),
                                      "\"; it must be a day, like 2026-11-22"));
  }
}

void ReadHost(const JsonValue& value, const Place& place, std::string* out,
              Reader* reader) {
  const size_t before = reader->fault_count();
  reader->Text(value, place, out);
  if (reader->fault_count() > before) return;
  const bool ok = std::count(out->begin(), out->end(), '*') <= 1 &&
                  *out != "*" &&
                  std::all_of(out->begin(), out->end(), [](char c) {
                    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
                           absl::ascii_isdigit(static_cast<unsigned char>(c)) ||
                           absl::StrContains("-.*[:]", c);
                  });
  if (!ok) {
    reader->Fault(place,
                  absl::StrCat("is \"", Shown(*out),
                               "\"; it must be a host in lower case, without "
                               "port, with one * at most"));
  }
}

void ReadSource(const JsonValue& value, const Place& place,
                VendorProfile::Source* out, Reader* reader) {
  reader->Object(value, place,
                 {{"tag", true,
                   [&](const JsonValue& v, const Place& at) {
                     constexpr Word<char> kTags[] = {
                         {"D", '0'}, {"D2", '0'}, {"S", '0'}, {"I", '0'}};
                     char ignored = 0;
                     reader->OneOf(kTags, v, at, &ignored);
                     out->tag = v.Text();
                   }},
                  {"what", true, [&](const JsonValue& v, const Place& at) {
                     reader->Text(v, at, &out->what);
                   }}});
}

void ReadCondition(const JsonValue& value, const Place& place,
                   AnswerCondition* out, Reader* reader) {
  using Test = AnswerCondition::Test;
  int places = 0;
  int tests = 0;
  bool prose = false;
  const auto texts = [&](Test test) {
    return [&, test](const JsonValue& v, const Place& at) {
      out->test = test;
      ++tests;
      reader->Texts(v, at, &out->texts);
    };
  };
  reader->Object(
      value, place,
      {{"header", false,
        [&](const JsonValue& v, const Place& at) {
          ++places;
          reader->Header(v, at, &out->header);
        }},
       {"path", false,
        [&](const JsonValue& v, const Place& at) {
          ++places;
          reader->Path(v, at, &out->path);
        }},
       {"in", false, texts(Test::kIn)},
       {"contains", false, texts(Test::kContains)},
       {"starts", false, texts(Test::kStarts)},
       {"present", false,
        [&](const JsonValue& v, const Place& at) {
          ++tests;
          if (!v.Bool()) {
            reader->Fault(at, absl::StrCat("is ", Shown(v.raw()),
                                           "; it must be true or false"));
          }
          out->test = v.Bool().value_or(true) ? Test::kPresent : Test::kAbsent;
        }},
       {"prose", false, [&](const JsonValue& v, const Place& at) {
          reader->True(v, at, &prose);
        }}});
  if (places != 1) {
    reader->Fault(place, "needs one of header and path");
  }
  if (tests != 1) {
    reader->Fault(place, "needs one of in, contains, starts and present");
  }
  CheckProse(out->path, prose, place, reader);
}

void CheckAdvice(const AnswerRule& rule, const Place& place, Reader* reader) {
  const auto wrong = [&](absl::string_view allowed) {
    reader->Fault(
        absl::StrCat(place, "/retry"),
        absl::StrCat("is \"", RetryAdviceName(rule.retry), "\"; for class \"",
                     AnswerClassName(rule.answer_class), "\" it must be ",
                     allowed));
  };
  switch (rule.answer_class) {
    case AnswerClass::kQuotaExhausted:
      if (rule.retry != RetryAdvice::kNever &&
          rule.retry != RetryAdvice::kAtReset) {
        wrong("never or at_reset");
      }
      break;
    case AnswerClass::kBilling:
    case AnswerClass::kAuth:
    case AnswerClass::kPermanent:
      if (rule.retry != RetryAdvice::kNever) wrong("never");
      break;
    default:
      if (rule.retry == RetryAdvice::kAtReset) {
        wrong("never, backoff or hint_or_backoff");
      }
  }
}

void ReadRule(const JsonValue& value, const Place& place, AnswerRule* out,
              Reader* reader) {
  const size_t before = reader->fault_count();
  const auto conditions = [&](std::vector<AnswerCondition>* list) {
    return [=](const JsonValue& v, const Place& at) {
      reader->List(v, at, 1, VendorProfile::kMaxTexts,
                   [&](const JsonValue& element, const Place& p) {
                     ReadCondition(element, p, &list->emplace_back(), reader);
                   });
    };
  };
  reader->Object(
      value, place,
      {{"id", true,
        [&](const JsonValue& v, const Place& at) {
          ReadId(v, at, &out->id, reader);
        }},
       {"status", false,
        [&](const JsonValue& v, const Place& at) {
          reader->List(v, at, 1, VendorProfile::kMaxTexts,
                       [&](const JsonValue& element, const Place& p) {
                         int64_t status = 0;
                         reader->Int(element, p, 200, 599, &status);
                         out->statuses.push_back(static_cast<int>(status));
                       });
        }},
       {"grpc", false,
        [&](const JsonValue& v, const Place& at) {
          reader->List(v, at, 1, VendorProfile::kMaxTexts,
                       [&](const JsonValue& element, const Place& p) {
                         reader->OneOf(kCodes, element, p,
                                       &out->codes.emplace_back(0));
                       });
        }},
       {"names", false,
        [&](const JsonValue& v, const Place& at) {
          reader->Texts(v, at, &out->names);
        }},
       {"all", false, conditions(&out->all)},
       {"any", false, conditions(&out->any)},
       {"class", true,
        [&](const JsonValue& v, const Place& at) {
          reader->OneOf(kClasses, v, at, &out->answer_class);
        }},
       {"retry", true,
        [&](const JsonValue& v, const Place& at) {
          reader->OneOf(kAdvices, v, at, &out->retry);
        }},
       {"processed", false,
        [&](const JsonValue& v, const Place& at) {
          reader->OneOf(kProcessed, v, at,
                        &out->processed.emplace(Processed::kUnknown));
        }},
       {"floor_ms", false, [&](const JsonValue& v, const Place& at) {
          reader->Milliseconds(v, at, 1, &out->floor.emplace());
        }}});
  if (reader->fault_count() > before) return;
  if (out->statuses.empty() && out->codes.empty() && out->names.empty() &&
      out->all.empty() && out->any.empty()) {
    reader->Fault(place, "asks nothing: add status, grpc, names, all or any");
  }
  if (out->floor && (out->retry == RetryAdvice::kNever ||
                     out->retry == RetryAdvice::kAtReset)) {
    reader->Fault(absl::StrCat(place, "/floor_ms"),
                  "goes with retry backoff or hint_or_backoff only");
  }
  CheckAdvice(*out, place, reader);
}

void ReadDelay(const JsonValue& value, const Place& place, DelayRule* out,
               Reader* reader) {
  const size_t before = reader->fault_count();
  int places = 0;
  bool prose = false;
  bool has_format = false;
  bool has_source = false;
  const auto header_list = [&](std::vector<std::string>* list) {
    return [=](const JsonValue& v, const Place& at) {
      reader->List(v, at, 1, VendorProfile::kMaxTexts,
                   [&](const JsonValue& element, const Place& p) {
                     reader->Header(element, p, &list->emplace_back());
                   });
    };
  };
  reader->Object(value, place,
                 {{"header", false,
                   [&](const JsonValue& v, const Place& at) {
                     ++places;
                     reader->Header(v, at, &out->headers.emplace_back());
                   }},
                  {"headers", false,
                   [&](const JsonValue& v, const Place& at) {
                     ++places;
                     header_list (&out->headers)(v, at);
                   }},
                  {"path", false,
                   [&](const JsonValue& v, const Place& at) {
                     ++places;
                     reader->Path(v, at, &out->path);
                   }},
                  {"ratelimit", false,
                   [&](const JsonValue& v, const Place& at) {
                     ++places;
                     reader->True(v, at, &out->ratelimit_fields);
                   }},
                  {"after", false,
                   [&](const JsonValue& v, const Place& at) {
                     reader->Text(v, at, &out->after);
                   }},
                  {"format", false,
                   [&](const JsonValue& v, const Place& at) {
                     has_format = true;
                     reader->Format(v, at, &out->format);
                   }},
                  {"if_zero", false, header_list(&out->if_zero)},
                  {"fallback", false,
                   [&](const JsonValue& v, const Place& at) {
                     reader->True(v, at, &out->fallback);
                   }},
                  {"precise", false,
                   [&](const JsonValue& v, const Place& at) {
                     reader->True(v, at, &out->precise);
                   }},
                  {"add_ms", false,
                   [&](const JsonValue& v, const Place& at) {
                     reader->Milliseconds(v, at, 1, &out->add);
                   }},
                  {"source", false,
                   [&](const JsonValue& v, const Place& at) {
                     has_source = true;
                     reader->OneOf(kSources, v, at, &out->source);
                   }},
                  {"prose", false, [&](const JsonValue& v, const Place& at) {
                     reader->True(v, at, &prose);
                   }}});
  if (reader->fault_count() > before) return;
  if (places != 1) {
    reader->Fault(place, "needs one of header, headers, path and ratelimit");
  }
  if (has_format == out->ratelimit_fields) {
    reader->Fault(place, out->ratelimit_fields
                             ? "has a format, which the RateLimit fields bring "
                               "along"
                             : "needs a format");
  }
  if (!out->if_zero.empty() && out->if_zero.size() != out->headers.size()) {
    reader->Fault(absl::StrCat(place, "/if_zero"),
                  absl::StrCat("has ", out->if_zero.size(), " elements for ",
                               out->headers.size(), " headers"));
  }
  if (!out->after.empty() && !out->path) {
    reader->Fault(absl::StrCat(place, "/after"), "goes with path only");
  }
  if (out->precise && out->fallback) {
    reader->Fault(absl::StrCat(place, "/precise"), "does not go with fallback");
  }
  CheckProse(out->path, prose, place, reader);
  if (!has_source) {
    out->source = out->path       ? (out->format == DelayFormat::kProtoDuration
                                         ? DelaySource::kRetryInfo
                                         : DelaySource::kBody)
                  : out->fallback ? DelaySource::kRateLimit
                                  : DelaySource::kRetryAfter;
  }
}

void ReadLimit(const JsonValue& value, const Place& place, LimitRule* out,
               Reader* reader) {
  const size_t before = reader->fault_count();
  const auto header = [&](std::string* name) {
    return [=](const JsonValue& v, const Place& at) {
      reader->Header(v, at, name);
    };
  };
  bool has_format = false;
  reader->Object(value, place,
                 {{"id", true,
                   [&](const JsonValue& v, const Place& at) {
                     ReadId(v, at, &out->id, reader);
                   }},
                  {"counts", true,
                   [&](const JsonValue& v, const Place& at) {
                     reader->OneOf(kCounts, v, at, &out->counts);
                   }},
                  {"window_ms", false,
                   [&](const JsonValue& v, const Place& at) {
                     reader->Milliseconds(v, at, 1, &out->window.emplace());
                   }},
                  {"limit", false, header(&out->limit)},
                  {"remaining", false, header(&out->remaining)},
                  {"used_of_limit", false, header(&out->used_of_limit)},
                  {"reset", false, header(&out->reset)},
                  {"format", false, [&](const JsonValue& v, const Place& at) {
                     has_format = true;
                     reader->Format(v, at, &out->format);
                   }}});
  if (reader->fault_count() > before) return;
  if (out->limit.empty() && out->remaining.empty() &&
      out->used_of_limit.empty()) {
    reader->Fault(place, "needs one of limit, remaining and used_of_limit");
  }
  if (has_format == out->reset.empty()) {
    reader->Fault(place, "needs both reset and format, or neither");
  }
}

void ReadErrorName(const JsonValue& value, const Place& place,
                   VendorProfile::ErrorName* out, Reader* reader) {
  reader->Object(
      value, place,
      {{"header", false,
        [&](const JsonValue& v, const Place& at) {
          reader->Header(v, at, &out->header);
        }},
       {"path", false,
        [&](const JsonValue& v, const Place& at) {
          reader->Path(v, at, &out->path);
        }},
       {"strip_after", false,
        [&](const JsonValue& v, const Place& at) {
          reader->Text(v, at, &out->strip_after);
        }},
       {"strip_before", false, [&](const JsonValue& v, const Place& at) {
          reader->Text(v, at, &out->strip_before);
        }}});
  if (out->header.empty() && !out->path) {
    reader->Fault(place, "needs a header or a path");
  }
}

void ReadProfile(const JsonValue& value, VendorProfile* out, Reader* reader) {
  const auto list = [&](size_t most, auto* into, auto read) {
    return [=](const JsonValue& v, const Place& at) {
      reader->List(v, at, 1, most, [&](const JsonValue& e, const Place& p) {
        read(e, p, &into->emplace_back(), reader);
      });
    };
  };
  const auto header = [&](std::string* name) {
    return [=](const JsonValue& v, const Place& at) {
      reader->Header(v, at, name);
    };
  };
  reader->Object(
      value, "",
      {{"id", true,
        [&](const JsonValue& v, const Place& at) {
          ReadId(v, at, &out->id, reader);
        }},
       {"date", true,
        [&](const JsonValue& v, const Place& at) {
          ReadDate(v, at, &out->date, reader);
        }},
       {"sources", true,
        list(VendorProfile::kMaxTexts, &out->sources, ReadSource)},
       {"hosts", false, list(VendorProfile::kMaxTexts, &out->hosts, ReadHost)},
       {"error_name", false,
        [&](const JsonValue& v, const Place& at) {
          ReadErrorName(v, at, &out->error_name.emplace(), reader);
        }},
       {"override_header", false, header(&out->override_header)},
       {"idempotency_header", false, header(&out->idempotency_header)},
       {"max_hint_ms", false,
        [&](const JsonValue& v, const Place& at) {
          reader->Milliseconds(v, at, 1000, &out->max_hint);
        }},
       {"delays", false,
        list(VendorProfile::kMaxDelays, &out->delays, ReadDelay)},
       {"rules", false, list(VendorProfile::kMaxRules, &out->rules, ReadRule)},
       {"limits", false,
        list(VendorProfile::kMaxLimits, &out->limits, ReadLimit)}});

  const auto check_ids = [&](const auto& rules, absl::string_view name) {
    for (size_t i = 0; i < rules.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (rules[i].id.empty() || rules[i].id != rules[j].id) continue;
        reader->Fault(absl::StrCat("/", name, "/", i, "/id"),
                      absl::StrCat("is \"", rules[i].id, "\", as that of /",
                                   name, "/", j));
        break;
      }
    }
  };
  check_ids(out->rules, "rules");
  check_ids(out->limits, "limits");
  for (size_t i = 0; i < out->rules.size(); ++i) {
    if (!out->rules[i].names.empty() && !out->error_name) {
      reader->Fault(absl::StrCat("/rules/", i, "/names"),
                    "needs error_name, which says where names stand");
    }
  }
}

bool AnyReadsBody(const std::vector<AnswerCondition>& conditions) {
  return std::any_of(
      conditions.begin(), conditions.end(),
      [](const AnswerCondition& c) { return c.path.has_value(); });
}

}  // namespace

bool AnswerRule::ReadsBody() const {
  return AnyReadsBody(all) || AnyReadsBody(any);
}

bool AnswerRule::MatchesStatus(int status) const {
  if (!statuses.empty()) {
    return std::count(statuses.begin(), statuses.end(), status) > 0;
  }
  return codes.empty() && status >= 400;
}

bool AnswerRule::MatchesCode(int code) const {
  if (!codes.empty()) return std::count(codes.begin(), codes.end(), code) > 0;
  return statuses.empty() && code != 0;
}

bool VendorProfile::ReadsBodyOf(int status) const {
  const bool name_in_body = error_name && error_name->path;
  return std::any_of(rules.begin(), rules.end(), [&](const AnswerRule& rule) {
    return rule.MatchesStatus(status) &&
           (rule.ReadsBody() || (name_in_body && !rule.names.empty()));
  });
}

absl::StatusOr<VendorProfile> ParseVendorProfile(absl::string_view json) {
  if (json.size() > VendorProfile::kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("it has ", json.size(), " bytes; the most is ",
                     VendorProfile::kMaxFileBytes));
  }
  const JsonText text(json);
  if (text.state() != JsonState::kWhole) {
    const size_t at =
        text.state() == JsonState::kCut ? json.size() : text.bad_at();
    const absl::string_view before = json.substr(0, at);
    const size_t line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    return absl::InvalidArgumentError(absl::StrCat(
        "it is no JSON (RFC 8259): line ", line, ", byte ", at - line_start + 1,
        text.state() == JsonState::kCut ? ": it ends too early" : ""));
  }
  VendorProfile profile;
  Reader reader;
  ReadProfile(*text.root(), &profile, &reader);
  const std::vector<std::string> faults = reader.TakeFaults();
  if (!faults.empty()) {
    return absl::InvalidArgumentError(absl::StrJoin(faults, "; "));
  }
  return profile;
}

size_t MatchHost(absl::string_view pattern, absl::string_view host) {
  const size_t star = pattern.find('*');
  if (star == absl::string_view::npos) {
    return pattern == host ? pattern.size() + 1 : 0;
  }
  const absl::string_view head = pattern.substr(0, star);
  const absl::string_view tail = pattern.substr(star + 1);
  if (host.size() <= head.size() + tail.size()) return 0;
  return absl::StartsWith(host, head) && absl::EndsWith(host, tail)
             ? pattern.size() - 1
             : 0;
}

absl::string_view AnswerClassName(AnswerClass answer_class) {
  return NameOf(kClasses, answer_class);
}

absl::string_view RetryAdviceName(RetryAdvice advice) {
  return NameOf(kAdvices, advice);
}

absl::string_view LimitCountsName(LimitCounts counts) {
  return NameOf(kCounts, counts);
}

std::optional<int> GrpcCodeOf(absl::string_view name) {
  for (const Word<int>& word : kCodes) {
    if (word.text == name) return word.value;
  }
  return std::nullopt;
}

}  // namespace forbear
