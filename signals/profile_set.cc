#include "signals/profile_set.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "signals/builtin_profiles.h"

namespace forbear {
namespace {

// "api.example.com:443" without its port; "[::1]:80" likewise.
absl::string_view WithoutPort(absl::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == absl::string_view::npos) return host;
  const absl::string_view port = host.substr(colon + 1);
  if (port.find_first_not_of("0123456789") != absl::string_view::npos) {
    return host;
  }
  const absl::string_view name = host.substr(0, colon);
  // Of several colons without brackets none is before a port.
  return absl::StrContains(name, ':') && !absl::EndsWith(name, "]") ? host
                                                                    : name;
}

}  // namespace

std::shared_ptr<const ProfileSet> ProfileSet::BuiltIn() {
  // Leaked on purpose: calls may outlive static destructors.
  static const auto* const set = [] {
    std::shared_ptr<ProfileSet> made(new ProfileSet());
    for (const BuiltinProfile& file : BuiltinProfiles()) {
      // Tests hold each of them to this.
      absl::StatusOr<VendorProfile> profile = ParseVendorProfile(file.text);
      if (!profile.ok()) continue;
      Entry entry;
      entry.profile = *std::move(profile);
      entry.text = std::string(file.text);
      entry.built_in = true;
      made->Put(std::move(entry));
    }
    made->Finish();
    return new std::shared_ptr<const ProfileSet>(std::move(made));
  }();
  return *set;
}

absl::StatusOr<std::shared_ptr<const ProfileSet>> ProfileSet::Create(
    absl::Span<const ProfileText> own, absl::Span<const std::string> only) {
  if (own.empty() && only.empty()) return BuiltIn();
  std::vector<std::string> faults;
  if (own.size() > kMaxOwn) {
    faults.push_back(absl::StrCat("there are ", own.size(),
                                  " files; the most is ", kMaxOwn));
    own = own.subspan(0, kMaxOwn);
  }
  std::shared_ptr<ProfileSet> made(new ProfileSet());
  made->entries_.reserve(BuiltIn()->entries_.size() + own.size());
  made->entries_ = BuiltIn()->entries_;
  std::vector<std::pair<std::string, absl::string_view>> ids;
  for (const ProfileText& file : own) {
    absl::StatusOr<VendorProfile> profile = ParseVendorProfile(file.text);
    if (!profile.ok()) {
      faults.push_back(
          absl::StrCat(file.name, ": ", profile.status().message()));
      continue;
    }
    for (const auto& [id, name] : ids) {
      if (id == profile->id) {
        faults.push_back(
            absl::StrCat(file.name, ": /id is \"", id, "\", as in ", name));
      }
    }
    ids.emplace_back(profile->id, file.name);
    Entry entry;
    entry.profile = *std::move(profile);
    entry.text = file.text;
    made->Put(std::move(entry));
  }
  if (!only.empty()) {
    for (Entry& entry : made->entries_) entry.by_host = false;
    for (const std::string& id : only) {
      const auto entry =
          std::find_if(made->entries_.begin(), made->entries_.end(),
                       [&](const Entry& e) { return e.profile.id == id; });
      if (entry != made->entries_.end()) {
        entry->by_host = true;
      } else {
        faults.push_back(
            absl::StrCat("there is no profile \"", id, "\"; there are ",
                         absl::StrJoin(made->entries_, ", ",
                                       [](std::string* out, const Entry& e) {
                                         out->append(e.profile.id);
                                       })));
      }
    }
  }
  if (!faults.empty()) {
    return absl::InvalidArgumentError(absl::StrJoin(faults, "; "));
  }
  made->Finish();
  return std::shared_ptr<const ProfileSet>(std::move(made));
}

void ProfileSet::Put(Entry entry) {
  for (Entry& e : entries_) {
    if (e.profile.id == entry.profile.id) {
      e = std::move(entry);
      return;
    }
  }
  entries_.push_back(std::move(entry));
}

void ProfileSet::Finish() {
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) {
              return a.profile.id < b.profile.id;
            });
  none_.id = "generic";
  const VendorProfile* const found = Find("generic");
  generic_ = found != nullptr ? found : &none_;
  for (const Entry& entry : entries_) {
    if (!entry.by_host) continue;
    for (const std::string& pattern : entry.profile.hosts) {
      if (absl::StrContains(pattern, '*')) {
        by_pattern_.emplace_back(pattern, &entry);
      } else {
        const Entry*& named = by_name_[pattern];
        if (IsBefore(entry, named)) named = &entry;
      }
    }
  }
}

const VendorProfile* ProfileSet::Find(absl::string_view id) const {
  for (const Entry& entry : entries_) {
    if (entry.profile.id == id) return &entry.profile;
  }
  return nullptr;
}

const VendorProfile& ProfileSet::ForHost(absl::string_view host) const {
  absl::string_view name = WithoutPort(host);
  std::string lower;
  if (std::any_of(name.begin(), name.end(),
                  [](unsigned char c) { return absl::ascii_isupper(c); })) {
    name = lower = absl::AsciiStrToLower(name);
  }
  // No pattern is as exact as a name.
  const auto named = by_name_.find(name);
  if (named != by_name_.end()) return named->second->profile;
  const Entry* best = nullptr;
  size_t best_match = 0;
  for (const auto& [pattern, entry] : by_pattern_) {
    const size_t match = MatchHost(pattern, name);
    if (match == 0 || match < best_match) continue;
    if (match == best_match && !IsBefore(*entry, best)) continue;
    best = entry;
    best_match = match;
  }
  return best != nullptr ? best->profile : *generic_;
}

}  // namespace forbear
