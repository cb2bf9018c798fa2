// ProfileSet: the vendor profiles that a program knows, and which one is for whom.
//
//   std::shared_ptr<const ProfileSet> profiles = ProfileSet::BuiltIn();
//   const VendorProfile& profile = profiles->ForHost("api.openai.com");
//
//   // With files of one's own, which come first; the same id replaces.
//   absl::StatusOr<std::shared_ptr<const ProfileSet>> own =
//       ProfileSet::Create({{"shop.json", text}});
//   if (!own.ok()) …every fault of every file…
//
// For a host the most exact of the patterns that fit decides (MatchHost); of
// equally exact ones the file of one's own, then the first id. Nobody's host has
// the profile "generic".
//
// The built-in ones are signals/profiles/*.json, compiled in.
//
// Thread rule: immutable; call from anywhere.
#ifndef FORBEAR_SIGNALS_PROFILE_SET_H_
#define FORBEAR_SIGNALS_PROFILE_SET_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "signals/vendor_profile.h"

namespace forbear {

struct ProfileText {
  std::string name;  // of the file, for messages
  std::string text;
};

class ProfileSet {
 public:
  // Files of one's own.
  static constexpr size_t kMaxOwn = 256;

  struct Entry {
    VendorProfile profile;
    std::string text;  // the file
    bool built_in = false;
    // ForHost may choose it.
    bool by_host = true;
  };

  // Parsed when it is first asked for. Never null, never destroyed.
  static std::shared_ptr<const ProfileSet> BuiltIn();

  // INVALID_ARGUMENT with all faults of all files. `only`: the ids that ForHost
  // may choose; empty: all.
  static absl::StatusOr<std::shared_ptr<const ProfileSet>> Create(
      absl::Span<const ProfileText> own,
      absl::Span<const std::string> only = {});

  ProfileSet(const ProfileSet&) = delete;
  ProfileSet& operator=(const ProfileSet&) = delete;

  // The profile "generic".
  const VendorProfile& generic() const { return *generic_; }
  // Null: there is none.
  const VendorProfile* Find(absl::string_view id) const;
  // `host`: with or without a port, in any case.
  const VendorProfile& ForHost(absl::string_view host) const;

  // By id.
  absl::Span<const Entry> entries() const { return entries_; }

 private:
  ProfileSet() = default;
  // Replaces the one with its id, or adds it.
  void Put(Entry entry);
  void Finish();

  // Whether ForHost prefers `a` to one that fits as exactly.
  static bool IsBefore(const Entry& a, const Entry* b) {
    return b == nullptr || (b->built_in && !a.built_in);
  }

  std::vector<Entry> entries_;
  // Of the entries that ForHost may choose: whole hosts, and patterns with a "*".
  absl::flat_hash_map<absl::string_view, const Entry*> by_name_;
  std::vector<std::pair<absl::string_view, const Entry*>> by_pattern_;
  VendorProfile none_;
  const VendorProfile* generic_ = &none_;
};

}  // namespace forbear

#endif  // FORBEAR_SIGNALS_PROFILE_SET_H_
