// Every built-in profile against answers of its vendor (tests/signals/profiles): as
// documented, as seen, or as others have recorded them. And the other way round:
// each rule, delay and limit, each status, name, text, header and host is taken
// away, one at a time, and some answer must then be read in another way: nothing
// stands in a profile that decides nothing.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/outcome.h"
#include "gtest/gtest.h"
#include "signals/builtin_profiles.h"
#include "signals/header_field.h"
#include "signals/http_classify.h"
#include "signals/json_reader.h"
#include "signals/profile_set.h"
#include "signals/rate_limit_headers.h"
#include "signals/vendor_profile.h"

namespace forbear {
namespace {

constexpr char kFolder[] = "tests/signals/profiles";

struct Vector {
  std::string where;
  int status = 0;
  std::optional<int> grpc;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  // What is expected, as text: "kind" → "throttled".
  std::map<std::string, std::string> expected;
};

struct VectorFile {
  std::string profile;
  std::string host;
  std::vector<Vector> vectors;
};

// With each "%s" replaced, quotes and all if `value` is no string.
std::string Filled(absl::string_view text, absl::string_view value) {
  return absl::StrReplaceAll(text, {{"%s", value}});
}

std::string LimitText(absl::string_view name, std::optional<int64_t> limit,
                      std::optional<int64_t> remaining,
                      std::optional<int64_t> reset_ms,
                      std::optional<int64_t> window_ms) {
  const auto text = [](std::optional<int64_t> n) {
    return n ? absl::StrCat(*n) : std::string("-");
  };
  return absl::StrCat(name, " limit ", text(limit), " remaining ",
                      text(remaining), " reset ", text(reset_ms), " window ",
                      text(window_ms), "; ");
}

std::string ReadLimitsExpected(const JsonValue& list) {
  std::string text;
  list.ForEachElement([&](const JsonValue& element) {
    std::string name;
    std::map<std::string, std::optional<int64_t>> numbers;
    element.ForEachMember([&](const JsonValue& key, const JsonValue& value) {
      if (key.Is("name")) {
        name = value.Text();
      } else {
        numbers[key.Text()] = static_cast<int64_t>(*value.Number());
      }
      return true;
    });
    text += LimitText(name, numbers["limit"], numbers["remaining"],
                      numbers["reset_ms"], numbers["window_ms"]);
    return true;
  });
  return text;
}

// One object may stand for several answers: a list of statuses, a list of values.
void AddVectors(const JsonValue& object, const std::string& file,
                std::vector<Vector>* out) {
  std::string what;
  std::vector<int> statuses;
  std::vector<std::string> values = {""};
  Vector v;
  std::string body;
  object.ForEachMember([&](const JsonValue& key, const JsonValue& value) {
    if (key.Is("what")) {
      what = value.Text();
    } else if (key.Is("status")) {
      if (value.Number()) statuses = {static_cast<int>(*value.Number())};
      value.ForEachElement([&](const JsonValue& status) {
        statuses.push_back(static_cast<int>(*status.Number()));
        return true;
      });
    } else if (key.Is("grpc")) {
      v.grpc = GrpcCodeOf(value.Text());
      EXPECT_TRUE(v.grpc.has_value());
      statuses = {0};
    } else if (key.Is("values")) {
      values.clear();
      value.ForEachElement([&](const JsonValue& element) {
        values.push_back(element.Text());
        return true;
      });
    } else if (key.Is("headers")) {
      value.ForEachMember([&](const JsonValue& name, const JsonValue& text) {
        v.headers.emplace_back(name.Text(), text.Text());
        return true;
      });
    } else if (key.Is("body")) {
      body = value.type() == JsonValue::Type::kString
                 ? value.Text()
                 : std::string(value.raw());
    } else if (key.Is("limits")) {
      v.expected["limits"] = ReadLimitsExpected(value);
    } else {
      v.expected[key.Text()] = value.Text();
    }
    return true;
  });
  EXPECT_FALSE(statuses.empty()) << file << ": " << what;
  for (const int status : statuses) {
    for (const std::string& value : values) {
      Vector one = v;
      one.status = status;
      one.where = absl::StrCat(file, ": ", what, " (", status,
                               value.empty() ? "" : " ", value, ")");
      for (auto& [name, text] : one.headers) {
        name = Filled(name, value);
        text = Filled(text, value);
      }
      one.body = Filled(body, value);
      out->push_back(std::move(one));
    }
  }
}

std::vector<VectorFile> Load() {
  std::vector<VectorFile> files;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const std::string name = entry.path().filename().string();
    std::ifstream in(entry.path());
    std::stringstream text;
    text << in.rdbuf();
    const std::string bytes = text.str();
    const JsonText json(bytes);
    EXPECT_EQ(json.state(), JsonState::kWhole) << name << " " << json.bad_at();
    if (json.state() != JsonState::kWhole) continue;
    VectorFile file;
    json.root()->ForEachMember(
        [&](const JsonValue& key, const JsonValue& value) {
          if (key.Is("profile")) file.profile = value.Text();
          if (key.Is("host")) file.host = value.Text();
          if (key.Is("vectors")) {
            value.ForEachElement([&](const JsonValue& object) {
              AddVectors(object, name, &file.vectors);
              return true;
            });
          }
          return true;
        });
    EXPECT_EQ(absl::StrCat(file.profile, ".json"), name);
    files.push_back(std::move(file));
  }
  return files;
}

const std::vector<VectorFile>& Files() {
  static const auto* const files = new std::vector<VectorFile>(Load());
  return *files;
}

absl::Time Now() {
  absl::Time now;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, "2026-11-22T12:00:00Z", &now,
                              nullptr));
  return now;
}

std::string MillisecondsText(std::optional<absl::Duration> d) {
  return d ? absl::StrCat(absl::ToInt64Milliseconds(*d)) : "";
}

// What was read, by the keys that a vector may expect something of.
std::map<std::string, std::string> ReadAs(const Vector& v,
                                          const VendorProfile& profile,
                                          const VendorProfile& generic) {
  std::vector<HeaderField> fields;
  for (const auto& [name, value] : v.headers) fields.push_back({name, value});
  AnswerFacts facts;
  facts.status = v.status;
  facts.grpc_code = v.grpc;
  facts.headers = fields;
  facts.body = v.body;
  facts.has_body = true;
  facts.now = Now();
  const AnswerMeaning meaning = ClassifyAnswer(facts, profile, generic);
  std::map<std::string, std::string> read;
  read["kind"] = std::string(ErrorKindName(meaning.kind));
  read["class"] = std::string(AnswerClassName(meaning.answer_class));
  read["retry"] = std::string(RetryAdviceName(meaning.retry));
  read["processed"] = std::string(ProcessedName(meaning.processed));
  read["forbidden"] = meaning.retry_forbidden ? "true" : "false";
  read["wanted"] = meaning.retry_wanted ? "true" : "false";
  read["wait_ms"] = MillisecondsText(meaning.pushback);
  read["wait_source"] = std::string(DelaySourceName(meaning.pushback_source));
  for (const AnnouncedLimit& limit : ReadLimits(facts, profile)) {
    const auto ms = [](std::optional<absl::Duration> d) {
      return d ? std::optional<int64_t>(absl::ToInt64Milliseconds(*d))
               : std::nullopt;
    };
    read["limits"] += LimitText(limit.name, limit.limit, limit.remaining,
                                ms(limit.reset), ms(limit.window));
  }
  return read;
}

// Empty: it is read as expected. A vector that names no wait expects none, and one
// that says nothing of "forbidden" and "wanted" expects that it is neither.
std::string Difference(const Vector& v, const VendorProfile& profile,
                       const VendorProfile& generic) {
  std::map<std::string, std::string> expected = v.expected;
  expected.emplace("wait_ms", "");
  expected.emplace("wait_source", expected["wait_ms"].empty() ? "none" : "?");
  expected.emplace("forbidden", "false");
  expected.emplace("wanted", "false");
  std::map<std::string, std::string> read = ReadAs(v, profile, generic);
  std::string difference;
  for (const auto& [key, value] : expected) {
    if (read[key] != value) {
      absl::StrAppend(&difference, "\n  ", key, " is ", read[key],
                      ", expected: ", value);
    }
  }
  return difference.empty() ? "" : absl::StrCat(v.where, difference);
}

const VendorProfile& BuiltIn(absl::string_view id) {
  const VendorProfile* const profile = ProfileSet::BuiltIn()->Find(id);
  EXPECT_NE(profile, nullptr) << id;
  return profile != nullptr ? *profile : ProfileSet::BuiltIn()->generic();
}

TEST(ProfilesTest, EveryFileIsValid) {
  for (const BuiltinProfile& file : BuiltinProfiles()) {
    const absl::StatusOr<VendorProfile> profile = ParseVendorProfile(file.text);
    EXPECT_TRUE(profile.ok()) << file.name << ": " << profile.status();
    if (profile.ok()) {
      EXPECT_EQ(absl::StrCat(profile->id, ".json"), file.name);
    }
  }
  EXPECT_EQ(ProfileSet::BuiltIn()->entries().size(), BuiltinProfiles().size());
}

TEST(ProfilesTest, EveryFileHasVectors) {
  std::map<std::string, size_t> vectors;
  for (const VectorFile& file : Files()) {
    vectors[file.profile] = file.vectors.size();
  }
  for (const ProfileSet::Entry& entry : ProfileSet::BuiltIn()->entries()) {
    EXPECT_GT(vectors[entry.profile.id], 0u) << entry.profile.id;
  }
  EXPECT_EQ(vectors.size(), BuiltinProfiles().size());
}

TEST(ProfilesTest, EveryVectorIsReadAsExpected) {
  size_t count = 0;
  for (const VectorFile& file : Files()) {
    for (const Vector& v : file.vectors) {
      EXPECT_EQ(Difference(v, BuiltIn(file.profile),
                           ProfileSet::BuiltIn()->generic()),
                "");
      ++count;
    }
    if (!file.host.empty()) {
      EXPECT_EQ(ProfileSet::BuiltIn()->ForHost(file.host).id, file.profile);
    }
  }
  std::printf("%zu answers of %zu profiles\n", count, Files().size());
}

// --- Taking away. ---

struct Part {
  std::string name;
  std::function<void(VendorProfile*)> remove;
};

template <typename T>
void AddElements(const std::string& name, const std::vector<T>& list,
                 std::function<std::vector<T>*(VendorProfile*)> in,
                 std::vector<Part>* parts) {
  if (list.size() < 2) return;  // without it, the question would be another one
  for (size_t i = 0; i < list.size(); ++i) {
    parts->push_back({absl::StrCat(name, "/", i), [in, i](VendorProfile* p) {
                        in(p)->erase(in(p)->begin() +
                                     static_cast<ptrdiff_t>(i));
                      }});
  }
}

std::vector<Part> WholeParts(const VendorProfile& profile) {
  std::vector<Part> parts;
  for (size_t i = 0; i < profile.rules.size(); ++i) {
    parts.push_back({absl::StrCat("/rules/", i), [i](VendorProfile* p) {
                       p->rules.erase(p->rules.begin() +
                                      static_cast<ptrdiff_t>(i));
                     }});
  }
  for (size_t i = 0; i < profile.delays.size(); ++i) {
    parts.push_back({absl::StrCat("/delays/", i), [i](VendorProfile* p) {
                       p->delays.erase(p->delays.begin() +
                                       static_cast<ptrdiff_t>(i));
                     }});
  }
  for (size_t i = 0; i < profile.limits.size(); ++i) {
    parts.push_back({absl::StrCat("/limits/", i), [i](VendorProfile* p) {
                       p->limits.erase(p->limits.begin() +
                                       static_cast<ptrdiff_t>(i));
                     }});
  }
  return parts;
}

std::vector<Part> SmallParts(const VendorProfile& profile) {
  std::vector<Part> parts;
  for (size_t i = 0; i < profile.rules.size(); ++i) {
    const AnswerRule& rule = profile.rules[i];
    const std::string at = absl::StrCat("/rules/", i);
    AddElements<int>(
        at + "/status", rule.statuses,
        [i](VendorProfile* p) { return &p->rules[i].statuses; }, &parts);
    AddElements<std::string>(
        at + "/names", rule.names,
        [i](VendorProfile* p) { return &p->rules[i].names; }, &parts);
    AddElements<AnswerCondition>(
        at + "/any", rule.any,
        [i](VendorProfile* p) { return &p->rules[i].any; }, &parts);
    for (size_t j = 0; j < rule.any.size(); ++j) {
      AddElements<std::string>(
          absl::StrCat(at, "/any/", j), rule.any[j].texts,
          [i, j](VendorProfile* p) { return &p->rules[i].any[j].texts; },
          &parts);
    }
    for (size_t j = 0; j < rule.all.size(); ++j) {
      AddElements<std::string>(
          absl::StrCat(at, "/all/", j), rule.all[j].texts,
          [i, j](VendorProfile* p) { return &p->rules[i].all[j].texts; },
          &parts);
    }
    if (rule.floor) {
      parts.push_back({at + "/floor_ms",
                       [i](VendorProfile* p) { p->rules[i].floor.reset(); }});
    }
  }
  for (size_t i = 0; i < profile.delays.size(); ++i) {
    const DelayRule& delay = profile.delays[i];
    const std::string at = absl::StrCat("/delays/", i);
    if (!delay.if_zero.empty()) {
      parts.push_back({at + "/if_zero", [i](VendorProfile* p) {
                         p->delays[i].if_zero.clear();
                       }});
    }
    for (size_t j = 0; j < delay.headers.size() && delay.headers.size() > 1;
         ++j) {
      parts.push_back(
          {absl::StrCat(at, "/headers/", j), [i, j](VendorProfile* p) {
             DelayRule* const d = &p->delays[i];
             d->headers.erase(d->headers.begin() + static_cast<ptrdiff_t>(j));
             if (!d->if_zero.empty())
               d->if_zero.erase(d->if_zero.begin() + static_cast<ptrdiff_t>(j));
           }});
    }
    if (delay.precise) {
      parts.push_back({at + "/precise", [i](VendorProfile* p) {
                         p->delays[i].precise = false;
                       }});
    }
    if (delay.fallback) {
      parts.push_back({at + "/fallback", [i](VendorProfile* p) {
                         p->delays[i].fallback = false;
                       }});
    }
    if (delay.add > absl::ZeroDuration()) {
      parts.push_back({at + "/add_ms", [i](VendorProfile* p) {
                         p->delays[i].add = absl::ZeroDuration();
                       }});
    }
  }
  for (size_t i = 0; i < profile.limits.size(); ++i) {
    const std::string at = absl::StrCat("/limits/", i);
    for (std::string LimitRule::*field :
         {&LimitRule::limit, &LimitRule::remaining, &LimitRule::used_of_limit,
          &LimitRule::reset}) {
      if ((profile.limits[i].*field).empty()) continue;
      parts.push_back({at, [i, field](VendorProfile* p) {
                         (p->limits[i].*field).clear();
                       }});
    }
    if (profile.limits[i].window) {
      parts.push_back({at + "/window_ms",
                       [i](VendorProfile* p) { p->limits[i].window.reset(); }});
    }
  }
  if (!profile.override_header.empty()) {
    parts.push_back({"/override_header",
                     [](VendorProfile* p) { p->override_header.clear(); }});
  }
  if (profile.max_hint != absl::InfiniteDuration()) {
    parts.push_back({"/max_hint_ms", [](VendorProfile* p) {
                       p->max_hint = absl::InfiniteDuration();
                     }});
  }
  if (profile.error_name) {
    for (std::string VendorProfile::ErrorName::*field :
         {&VendorProfile::ErrorName::header,
          &VendorProfile::ErrorName::strip_after,
          &VendorProfile::ErrorName::strip_before}) {
      if (((*profile.error_name).*field).empty()) continue;
      parts.push_back({"/error_name", [field](VendorProfile* p) {
                         ((*p->error_name).*field).clear();
                       }});
    }
    parts.push_back({"/error_name/path",
                     [](VendorProfile* p) { p->error_name->path.reset(); }});
  }
  return parts;
}

// How many of the parts no vector misses.
size_t Unnoticed(const VectorFile& file, const std::vector<Part>& parts) {
  size_t unnoticed = 0;
  for (const Part& part : parts) {
    VendorProfile without = BuiltIn(file.profile);
    part.remove(&without);
    const bool is_generic = file.profile == "generic";
    bool noticed = false;
    for (const Vector& v : file.vectors) {
      noticed =
          noticed ||
          !Difference(v, without,
                      is_generic ? without : ProfileSet::BuiltIn()->generic())
               .empty();
    }
    if (!noticed) {
      ADD_FAILURE() << "no vector misses " << file.profile << part.name;
      ++unnoticed;
    }
  }
  return unnoticed;
}

TEST(ProfilesTest, EveryRuleDelayAndLimitDecidesSomething) {
  size_t parts = 0;
  size_t small_parts = 0;
  size_t unnoticed = 0;
  for (const VectorFile& file : Files()) {
    const VendorProfile& profile = BuiltIn(file.profile);
    const std::vector<Part> whole = WholeParts(profile);
    const std::vector<Part> small = SmallParts(profile);
    parts += whole.size();
    small_parts += small.size();
    unnoticed += Unnoticed(file, whole) + Unnoticed(file, small);
  }
  std::printf(
      "%zu rules, delays and limits, and %zu parts of them, were taken "
      "away; %zu were not missed\n",
      parts, small_parts, unnoticed);
  EXPECT_GT(parts, 90u);
}

// A reading by what the vendor's profile says is never one that comes back sooner
// than the answer itself asks.
TEST(ProfilesTest, NeverSoonerThanRetryAfter) {
  for (const VectorFile& file : Files()) {
    for (Vector v : file.vectors) {
      if (v.grpc || v.status < 400) continue;
      v.headers.emplace_back("Retry-After", "100000");
      const std::map<std::string, std::string> read =
          ReadAs(v, BuiltIn(file.profile), ProfileSet::BuiltIn()->generic());
      if (read.at("kind") == "permanent") continue;
      if (read.at("kind") == "quota-exhausted" && read.at("wait_ms").empty()) {
        continue;
      }
      int64_t ms = 0;
      ASSERT_TRUE(absl::SimpleAtoi(read.at("wait_ms"), &ms)) << v.where;
      EXPECT_GE(ms, 100000000) << v.where;
    }
  }
}

// The head alone never says that more is lost than the whole answer says, but for
// those statuses whose meaning is known without a body.
TEST(ProfilesTest, TheHeadComesFirst) {
  for (const VectorFile& file : Files()) {
    const VendorProfile& profile = BuiltIn(file.profile);
    const VendorProfile& generic = ProfileSet::BuiltIn()->generic();
    for (const Vector& v : file.vectors) {
      if (v.grpc || v.status < 400) continue;
      Vector head = v;
      head.body.clear();
      if (v.expected.count("class") == 0) continue;
      const bool differs =
          ReadAs(head, profile, generic)["class"] != v.expected.at("class");
      // Then the driver must know that it has to wait for the body.
      if (differs) {
        EXPECT_TRUE(ReadsBodyOf(v.status, profile, generic)) << v.where;
      }
    }
  }
}

}  // namespace
}  // namespace forbear
