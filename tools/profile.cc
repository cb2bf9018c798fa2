#include "tools/profile.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "signals/profile_set.h"
#include "signals/vendor_profile.h"
#include "tools/option_text.h"

namespace forbear::tools {
namespace {

constexpr char kUsage[] =
    "usage: forbear profile list\n"
    "       forbear profile show ID\n"
    "       forbear profile check FILE…\n"
    "\n"
    "Vendor profiles say what a server's answers mean: which refusal passes, "
    "which\n"
    "one no wait will cure, and where it says how long to wait.\n"
    "\n"
    "  list    those that are built in: id, date, hosts\n"
    "  show    one of them, as the JSON file that it is: a beginning for one "
    "of\n"
    "          your own, which replaces it if it keeps its id\n"
    "  check   whether files are profiles; all that is wrong, with its place\n"
    "\n"
    "exit code: 0 fine, 1 a file is no profile, 2 wrong usage\n";

int Wrong(absl::string_view what) {
  absl::FPrintF(stderr,
                "forbear profile: %s\n`forbear profile --help` says more.\n",
                what);
  return 2;
}

int List() {
  const auto profiles = ProfileSet::BuiltIn()->entries();
  size_t width = 0;
  for (const ProfileSet::Entry& entry : profiles) {
    width = std::max(width, entry.profile.id.size());
  }
  for (const ProfileSet::Entry& entry : profiles) {
    const VendorProfile& profile = entry.profile;
    absl::PrintF(
        "%-*s  %s  %s\n", static_cast<int>(width), profile.id, profile.date,
        profile.hosts.empty() ? "-" : absl::StrJoin(profile.hosts, " "));
  }
  return 0;
}

int Show(const std::string& id) {
  for (const ProfileSet::Entry& entry : ProfileSet::BuiltIn()->entries()) {
    if (entry.profile.id != id) continue;
    std::fputs(entry.text.c_str(), stdout);
    return 0;
  }
  return Wrong(absl::StrCat(
      "there is no profile '", id, "'; there are ",
      absl::StrJoin(ProfileSet::BuiltIn()->entries(), ", ",
                    [](std::string* out, const ProfileSet::Entry& entry) {
                      out->append(entry.profile.id);
                    })));
}

int Check(const std::vector<std::string>& paths) {
  bool all_fine = true;
  for (const std::string& path : paths) {
    std::string text;
    const std::string unreadable = ReadFileFor("FILE", path, &text);
    if (!unreadable.empty()) return Wrong(unreadable);
    const absl::StatusOr<VendorProfile> profile = ParseVendorProfile(text);
    if (!profile.ok()) {
      all_fine = false;
      // One line for each.
      absl::FPrintF(
          stderr, "%s: %s\n", path,
          absl::StrReplaceAll(profile.status().message(),
                              {{"; /", absl::StrCat("\n", path, ": /")}}));
      continue;
    }
    absl::PrintF("%s: profile '%s', %d rules, %d delays, %d limits%s\n", path,
                 profile->id, profile->rules.size(), profile->delays.size(),
                 profile->limits.size(),
                 ProfileSet::BuiltIn()->Find(profile->id) != nullptr
                     ? "; replaces the one that is built in"
                     : "");
  }
  return all_fine ? 0 : 1;
}

}  // namespace

int RunProfile(const std::vector<std::string>& args) {
  if (args.empty()) return Wrong("say list, show or check");
  for (const std::string& arg : args) {
    if (arg == "--help" || arg == "-h") {
      std::fputs(kUsage, stdout);
      return 0;
    }
  }
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  if (args[0] == "list") {
    return rest.empty()
               ? List()
               : Wrong(absl::StrCat("'", rest[0], "' is not understood"));
  }
  if (args[0] == "show") {
    return rest.size() == 1 ? Show(rest[0]) : Wrong("show takes one ID");
  }
  if (args[0] == "check") {
    return rest.empty() ? Wrong("check takes a FILE") : Check(rest);
  }
  return Wrong(absl::StrCat("'", args[0],
                            "' is not understood; say list, show or check"));
}

}  // namespace forbear::tools
