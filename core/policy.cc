#include "core/policy.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/option_check.h"

namespace forbear {
namespace {

constexpr size_t kMaxName = 64;

bool IsTargetName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  absl::StrContains("._-", c);
         });
}

bool IsProfileId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxName &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return absl::ascii_islower(static_cast<unsigned char>(c)) ||
                  absl::ascii_isdigit(static_cast<unsigned char>(c)) ||
                  c == '-';
         });
}

// A token of RFC 9110 §5.6.2, and not one whose value decides what a request is, or
// who makes it.
bool IsFieldName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  for (const absl::string_view taken :
       {"authorization", "connection", "content-length", "content-type",
        "cookie", "expect", "host", "te", "transfer-encoding", "upgrade"}) {
    if (absl::EqualsIgnoreCase(name, taken)) return false;
  }
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::StrContains("!#$%&'*+-.^_`|~", c);
  });
}

void CheckProfileId(absl::string_view field, absl::string_view id,
                    std::vector<std::string>* faults) {
  if (IsProfileId(id)) return;
  faults->push_back(absl::StrCat(
      field, " is \"", absl::CEscape(id.substr(0, kMaxName)),
      "\"; it must be the id of a profile: 1 … ", kMaxName, " of a-z, 0-9, -"));
}

void ValidateProfiles(const Settings& settings,
                      std::vector<std::string>* faults) {
  constexpr size_t kMaxPath = 4096;
  CheckNumber("profiles' number", static_cast<double>(settings.profiles.size()),
              0, Settings::kMaxProfiles, faults);
  for (size_t i = 0; i < settings.profiles.size() && i < Settings::kMaxProfiles;
       ++i) {
    CheckProfileId(absl::StrCat("profiles[", i, "]"), settings.profiles[i],
                   faults);
  }
  CheckNumber("profile_files' number",
              static_cast<double>(settings.profile_files.size()), 0,
              Settings::kMaxProfiles, faults);
  for (size_t i = 0;
       i < settings.profile_files.size() && i < Settings::kMaxProfiles; ++i) {
    CheckNumber(absl::StrCat("profile_files[", i, "]'s length"),
                static_cast<double>(settings.profile_files[i].size()), 1,
                kMaxPath, faults);
  }
}

void ValidateOptions(const Policy& policy, absl::string_view prefix,
                     std::vector<std::string>* faults) {
  if (!policy.profile.empty()) {
    CheckProfileId(absl::StrCat(prefix, "profile"), policy.profile, faults);
  }
  if (!policy.idempotency_header.empty() &&
      !IsFieldName(policy.idempotency_header)) {
    faults->push_back(absl::StrCat(
        prefix, "idempotency_header is \"",
        absl::CEscape(policy.idempotency_header.substr(0, kMaxName)),
        "\"; it must be the name of an HTTP header: 1 … ", kMaxName,
        " letters, digits and !#$%&'*+-.^_`|~; and none that libcurl or "
        "Forbear "
        "writes itself"));
  }
  ValidateRetry(policy.retry, absl::StrCat(prefix, "retry"), faults);
  ValidateQuota(policy.quota, absl::StrCat(prefix, "quota"), faults);
  ValidateEndpoint(policy.endpoint, absl::StrCat(prefix, "endpoint"), faults);
}

void ValidateTargets(const std::vector<TargetPolicy>& targets,
                     const std::vector<std::string>& at_the_top,
                     std::vector<std::string>* faults) {
  CheckNumber("targets' number", static_cast<double>(targets.size()), 0,
              Settings::kMaxTargets, faults);
  if (targets.size() > Settings::kMaxTargets) return;
  absl::flat_hash_map<absl::string_view, size_t> names;
  std::vector<const CallMatch*> matches;
  bool sound = true;
  for (size_t i = 0; i < targets.size(); ++i) {
    const TargetPolicy& target = targets[i];
    const std::string path = absl::StrCat("targets[", i, "]");
    if (!IsTargetName(target.name)) {
      faults->push_back(absl::StrCat(
          path, ".name is \"", absl::CEscape(target.name.substr(0, kMaxName)),
          "\"; it must be 1 … ", kMaxName, " letters, digits and ._-"));
    }
    const auto [it, added] = names.emplace(target.name, i);
    if (!added && IsTargetName(target.name)) {
      faults->push_back(absl::StrCat(path, ".name is \"", target.name,
                                     "\"; so is the name of targets[",
                                     it->second, "]"));
    }
    const std::string prefix = path + ".";
    std::vector<std::string> own;
    ValidateOptions(target, prefix, &own);
    for (std::string& fault : own) {
      const bool inherited = std::any_of(
          at_the_top.begin(), at_the_top.end(),
          [&](const std::string& top) { return fault == prefix + top; });
      if (!inherited) faults->push_back(std::move(fault));
    }
    const size_t before = faults->size();
    ValidateCallMatch(target.match, prefix + "match", faults);
    sound = sound && faults->size() == before;
    matches.push_back(&target.match);
    for (size_t k = 0; k < target.retryable_codes.size(); ++k) {
      CheckNumber(absl::StrCat(prefix, "retryable_codes[", k, "]"),
                  target.retryable_codes[k], 1, 16, faults);
    }
  }
  if (sound) FindTies(matches, "targets", faults);
}

}  // namespace

void ValidatePolicy(const Policy& policy, absl::string_view prefix,
                    std::vector<std::string>* faults) {
  // Not echoed: whatever it is, it is not for printing.
  if (policy.name.empty() || policy.name.size() > kMaxName ||
      !std::all_of(policy.name.begin(), policy.name.end(), [](char c) {
        return absl::ascii_isgraph(static_cast<unsigned char>(c));
      })) {
    faults->push_back(absl::StrCat(prefix, "name has ", policy.name.size(),
                                   " bytes; it must be 1 … ", kMaxName,
                                   " of printable ASCII without blanks"));
  }
  ValidateOptions(policy, prefix, faults);
}

void ValidateSettings(const Settings& settings,
                      std::vector<std::string>* faults) {
  std::vector<std::string> own;
  ValidatePolicy(settings, "", &own);
  CheckNumber("max_targets", settings.max_targets, 1, 10000000, &own);
  ValidateProfiles(settings, &own);
  faults->insert(faults->end(), own.begin(), own.end());
  ValidateTargets(settings.targets, own, faults);
}

}  // namespace forbear
