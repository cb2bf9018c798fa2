#include "signals/rate_limit_headers.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "signals/retry_after.h"
#include "signals/structured_field.h"

namespace forbear {
namespace {

constexpr size_t kMaxLines = 16;
constexpr size_t kMaxName = 64;
constexpr size_t kMaxPartitionKey = 256;

using Type = StructuredItem::Type;
using Lines = std::vector<absl::string_view>;

// ---- RateLimit and RateLimit-Policy

// A parameter that must be a number of at least `least` if it is there.
// Returns whether it is absent or right.
bool ReadNumber(const StructuredItem* item, int64_t least,
                std::optional<int64_t>* number) {
  if (item == nullptr) return true;
  if (!item->is(Type::kInteger) || item->number < least) return false;
  *number = item->number;
  return true;
}

bool ReadSeconds(const StructuredItem* item, int64_t least,
                 std::optional<absl::Duration>* seconds) {
  std::optional<int64_t> number;
  if (!ReadNumber(item, least, &number)) return false;
  if (number) *seconds = absl::Seconds(*number);
  return true;
}

// A parameter that must be a short text of that type if it is there.
bool ReadText(const StructuredItem* item, Type type, size_t longest,
              std::string* text) {
  if (item == nullptr) return true;
  if (!item->is(type)) return false;
  *text = item->Decoded();
  return text->size() <= longest;
}

bool ReadName(const StructuredMember& member, std::string* name) {
  // Drafts 08 and 09 have tokens.
  if (member.is_inner_list) return false;
  return ReadText(&member.value,
                  member.value.is(Type::kToken) ? Type::kToken : Type::kString,
                  kMaxName, name);
}

// Drafts 08 to 11.
bool ReadServiceLimit(const StructuredMember& member, AnnouncedLimit* limit) {
  return ReadName(member, &limit->name) && member.Find("r") != nullptr &&
         ReadNumber(member.Find("r"), 0, &limit->remaining) &&
         ReadSeconds(member.Find("t"), 0, &limit->reset) &&
         ReadText(member.Find("pk"), Type::kBytes, kMaxPartitionKey,
                  &limit->partition_key);
}

// Draft 07.
bool ReadKeywords(const StructuredList& keywords, AnnouncedLimit* limit) {
  for (const StructuredMember& member : keywords) {
    const StructuredItem* const item =
        member.is_inner_list ? nullptr : &member.value;
    if (member.key == "limit") {
      if (item == nullptr || !ReadNumber(item, 0, &limit->limit)) return false;
    } else if (member.key == "remaining") {
      if (item == nullptr || !ReadNumber(item, 0, &limit->remaining)) {
        return false;
      }
    } else if (member.key == "reset") {
      if (item == nullptr || !ReadSeconds(item, 0, &limit->reset)) return false;
    }
  }
  return limit->limit || limit->remaining || limit->reset;
}

// Nothing if the field is malformed.
std::vector<AnnouncedLimit> ReadRateLimit(const Lines& lines) {
  std::vector<AnnouncedLimit> limits;
  if (const auto list = ParseStructuredList(lines)) {
    for (const StructuredMember& member : *list) {
      AnnouncedLimit limit;
      if (!ReadServiceLimit(member, &limit)) return {};
      if (limits.size() < kMaxAnnouncedLimits)
        limits.push_back(std::move(limit));
    }
  } else if (const auto keywords = ParseStructuredDictionary(lines)) {
    AnnouncedLimit limit;
    if (ReadKeywords(*keywords, &limit)) limits.push_back(std::move(limit));
  }
  return limits;
}

// Nothing if the field is malformed. A policy of draft 07 has no name, but a limit.
std::vector<AnnouncedLimit> ReadPolicies(const Lines& lines) {
  std::vector<AnnouncedLimit> policies;
  const auto list = ParseStructuredList(lines);
  if (!list) return {};
  for (const StructuredMember& member : *list) {
    AnnouncedLimit policy;
    if (!member.is_inner_list && member.value.is(Type::kInteger)) {
      if (!ReadNumber(&member.value, 0, &policy.limit)) return {};
    } else if (!ReadName(member, &policy.name) || member.Find("q") == nullptr ||
               !ReadNumber(member.Find("q"), 0, &policy.limit)) {
      return {};
    }
    if (!ReadSeconds(member.Find("w"), 1, &policy.window) ||
        !ReadText(member.Find("qu"), Type::kString, kMaxName, &policy.unit) ||
        !ReadText(member.Find("pk"), Type::kBytes, kMaxPartitionKey,
                  &policy.partition_key)) {
      return {};
    }
    if (policies.size() < kMaxAnnouncedLimits) {
      policies.push_back(std::move(policy));
    }
  }
  return policies;
}

// Whether `policy` says more about `limit`: the same name, and no other partition;
// or none, and the same limit.
bool Describes(const AnnouncedLimit& policy, const AnnouncedLimit& limit) {
  if (policy.name.empty()) {
    return limit.name.empty() && policy.limit == limit.limit;
  }
  return policy.name == limit.name &&
         (policy.partition_key.empty() || limit.partition_key.empty() ||
          policy.partition_key == limit.partition_key);
}

// ---- the three fields, with X- and without, of each bucket

constexpr absl::string_view kFamilies[] = {"ratelimit-", "x-ratelimit-",
                                           "x-rate-limit-"};
enum class Part : uint8_t { kLimit, kRemaining, kReset };
constexpr std::pair<absl::string_view, Part> kParts[] = {
    {"limit", Part::kLimit},
    {"remaining", Part::kRemaining},
    {"reset", Part::kReset},
};
// Buckets that are called after their window.
constexpr std::pair<absl::string_view, absl::Duration> kWindows[] = {
    {"second", absl::Seconds(1)},
    {"minute", absl::Minutes(1)},
    {"hour", absl::Hours(1)},
    {"day", absl::Hours(24)},
};

// What the name of a field means.
struct FieldName {
  size_t family;
  Part part;
  absl::string_view bucket;
};

// `name` is in lower case.
std::optional<FieldName> ParseName(absl::string_view name) {
  for (size_t family = 0; family < std::size(kFamilies); ++family) {
    absl::string_view rest = name;
    if (!absl::ConsumePrefix(&rest, kFamilies[family])) continue;
    for (const auto& [text, part] : kParts) {
      absl::string_view bucket = rest;
      if (!absl::ConsumePrefix(&bucket, text)) continue;
      if (bucket.empty()) return FieldName{family, part, bucket};
      if (absl::ConsumePrefix(&bucket, "-") && !bucket.empty()) {
        return FieldName{family, part, bucket};
      }
    }
  }
  return std::nullopt;
}

// A number of at least zero, rounded down: "17", "17.5", and in the way of drafts
// 00 to 06 "100, 100;w=60", which brings a window.
bool ReadCount(absl::string_view value, std::optional<int64_t>* count,
               std::optional<absl::Duration>* window) {
  const auto list = ParseStructuredList({TrimBlanks(value)});
  if (!list || list->empty() || list->front().is_inner_list) return false;
  const StructuredItem& first = list->front().value;
  if (first.number < 0) return false;
  if (first.is(Type::kInteger)) {
    *count = first.number;
  } else if (first.is(Type::kDecimal)) {
    *count = first.number / 1000;
  } else {
    return false;
  }
  for (const StructuredMember& member : *list) {
    if (member.is_inner_list || member.value.type != first.type ||
        member.value.number != first.number) {
      continue;
    }
    if (ReadSeconds(member.Find("w"), 1, window) && *window) break;
  }
  return true;
}

std::optional<int64_t> Smaller(std::optional<int64_t> a,
                               std::optional<int64_t> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

// What is known of one bucket, under one family of names.
struct Bucket {
  size_t family = 0;
  AnnouncedLimit limit;  // its name is the bucket's
};

class Buckets {
 public:
  Buckets(const WallTimes& times, DelayFormat reset_format)
      : times_(times), reset_format_(reset_format) {}

  void Add(const HeaderField& field) {
    if (field.name.size() > kMaxName) return;
    const std::string lower = absl::AsciiStrToLower(field.name);
    std::optional<FieldName> name = ParseName(lower);
    if (!name) return;
    DelayFormat format = reset_format_;
    if (name->part == Part::kReset && name->bucket == "after") {
      // Seconds from now on, by their name, beside a date.
      format = DelayFormat::kDecimalSeconds;
      name->bucket = {};
    }
    AnnouncedLimit said;
    if (name->part == Part::kReset) {
      said.reset = ParseDelay(format, field.value, times_);
      if (!said.reset) return;
    } else if (!ReadCount(
                   field.value,
                   name->part == Part::kLimit ? &said.limit : &said.remaining,
                   &said.window)) {
      return;
    }
    AnnouncedLimit* const limit = Find(name->family, name->bucket);
    if (limit == nullptr) return;
    limit->limit = Smaller(limit->limit, said.limit);
    limit->remaining = Smaller(limit->remaining, said.remaining);
    limit->reset = LongestWait(limit->reset, said.reset);
    if (!limit->window) limit->window = said.window;
  }

  std::vector<Bucket>& all() { return all_; }

 private:
  // Made when it is not there; nullptr: there are too many.
  AnnouncedLimit* Find(size_t family, absl::string_view bucket) {
    for (Bucket& b : all_) {
      if (b.family == family && b.limit.name == bucket) return &b.limit;
    }
    if (all_.size() == kMaxAnnouncedLimits) return nullptr;
    Bucket added;
    added.family = family;
    added.limit.name = std::string(bucket);
    for (const auto& [name, window] : kWindows) {
      if (bucket == name) added.limit.window = window;
    }
    all_.push_back(std::move(added));
    return &all_.back().limit;
  }

  const WallTimes& times_;
  const DelayFormat reset_format_;
  std::vector<Bucket> all_;
};

// ---- all together

bool IsFromCache(absl::Span<const HeaderField> fields) {
  return std::any_of(fields.begin(), fields.end(), [](const HeaderField& f) {
    return absl::EqualsIgnoreCase(f.name, "age") &&
           ParseDelay(DelayFormat::kSeconds, f.value, {})
                   .value_or(absl::ZeroDuration()) > absl::ZeroDuration();
  });
}

// The values of a field's lines; none if there are too many.
Lines LinesOf(absl::Span<const HeaderField> fields, absl::string_view name) {
  Lines lines;
  for (const HeaderField& field : fields) {
    if (!absl::EqualsIgnoreCase(field.name, name)) continue;
    if (lines.size() == kMaxLines) return {};
    lines.push_back(TrimBlanks(field.value));
  }
  return lines;
}

}  // namespace

std::vector<AnnouncedLimit> ReadRateLimitHeaders(
    absl::Span<const HeaderField> fields, const WallTimes& times,
    DelayFormat reset_format) {
  if (IsFromCache(fields)) return {};
  std::vector<AnnouncedLimit> limits =
      ReadRateLimit(LinesOf(fields, "ratelimit"));
  Buckets buckets(times, reset_format);
  for (const HeaderField& field : fields) buckets.Add(field);
  for (Bucket& bucket : buckets.all()) {
    limits.push_back(std::move(bucket.limit));
  }
  for (AnnouncedLimit& policy :
       ReadPolicies(LinesOf(fields, "ratelimit-policy"))) {
    bool described = false;
    for (AnnouncedLimit& limit : limits) {
      if (!Describes(policy, limit)) continue;
      described = true;
      limit.limit = Smaller(limit.limit, policy.limit);
      if (!limit.window) limit.window = policy.window;
      if (limit.unit.empty()) limit.unit = policy.unit;
      if (limit.partition_key.empty()) {
        limit.partition_key = policy.partition_key;
      }
    }
    if (!described) limits.push_back(std::move(policy));
  }
  if (limits.size() > kMaxAnnouncedLimits) limits.resize(kMaxAnnouncedLimits);
  return limits;
}

std::optional<absl::Duration> WaitForExhausted(
    absl::Span<const AnnouncedLimit> limits) {
  std::optional<absl::Duration> wait;
  for (const AnnouncedLimit& limit : limits) {
    if (limit.exhausted()) wait = LongestWait(wait, limit.reset);
  }
  return wait;
}

bool MayTellOfLimit(absl::string_view name) {
  constexpr absl::string_view kWord = "ratelimit";
  // Horspool: what stands where the word would end tells how far off its end is at
  // least.
  for (size_t end = kWord.size(); end <= name.size();) {
    switch (absl::ascii_tolower(static_cast<unsigned char>(name[end - 1]))) {
      case 't':
        if (absl::EqualsIgnoreCase(
                name.substr(end - kWord.size(), kWord.size()), kWord)) {
          return true;
        }
        end += 6;
        break;
      case 'i':
        end += 1;
        break;
      case 'm':
        end += 2;
        break;
      case 'l':
        end += 4;
        break;
      case 'e':
        end += 5;
        break;
      case 'a':
        end += 7;
        break;
      case 'r':
        end += 8;
        break;
      default:
        end += kWord.size();
        break;
    }
  }
  return false;
}

std::optional<LimitStand> StandOfRequests(
    absl::Span<const AnnouncedLimit> limits) {
  std::optional<LimitStand> least;
  for (const AnnouncedLimit& limit : limits) {
    const bool of_requests = limit.unit.empty()
                                 ? !absl::StrContains(limit.name, "token")
                                 : limit.unit == "requests";
    if (!of_requests || !limit.limit || !limit.remaining || !limit.reset) {
      continue;
    }
    if (least && least->remaining <= *limit.remaining) continue;
    least.emplace();
    least->limit = *limit.limit;
    least->remaining = *limit.remaining;
    least->reset = *limit.reset;
  }
  return least;
}

}  // namespace forbear
