// Policy: how calls are treated, and Settings: all that can be written into a
// configuration file. runtime/client.h makes a Client of it, proto/ reads it.
//
//   Settings settings;                        // every default is valid
//   settings.retry.max_attempts = 4;
//   TargetPolicy chat{settings};              // inherits all of it, and …
//   chat.name = "chat";
//   chat.match.hosts = {"api.example.com"};
//   chat.match.paths = {"/v1/chat/*"};
//   chat.retry.attempt_timeout = absl::Seconds(90);
//   settings.targets.push_back(chat);
//   std::vector<std::string> faults;
//   ValidateSettings(settings, &faults);      // a sentence for each
//
// Which target a call belongs to, core/policy_table.h decides.
//
// Thread rule: values.
#ifndef FORBEAR_CORE_POLICY_H_
#define FORBEAR_CORE_POLICY_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/call_match.h"
#include "core/endpoint.h"
#include "core/quota.h"
#include "core/retry_policy.h"

namespace forbear {

struct Policy {
  // Stands in the records of its calls. Default "default". 1 … 64 bytes of
  // printable ASCII without blanks; a target's: letters, digits and ._- only.
  std::string name = "default";

  // False: drivers pass its calls through untouched. FORBEAR_OFF=1 says the same
  // of all calls, from outside. Default true.
  bool enabled = true;

  // The id of the profile by which answers to its calls are read; empty: the one
  // for the host that is called. Default empty. 0 … 64 of a-z, 0-9 and -.
  std::string profile;

  // The HTTP header in which a call gets a key of its own: made for it, the same on
  // each of its attempts, another one for the next call (draft-ietf-httpapi-
  // idempotency-key-header). Only for methods that are not idempotent, and never over
  // a value that the application gives. With it a call may be sent again whatever
  // happened: name one only for servers that promise to do such a request once.
  // Empty: none. Default empty. 0 … 64 bytes of an HTTP field's name.
  std::string idempotency_header;

  RetryOptions retry;
  QuotaOptions quota;
  EndpointOptions endpoint;
};

// The policy of the calls that `match` describes: all of it. What a target of a
// file does not set was copied from the top level.
struct TargetPolicy : Policy {
  TargetPolicy() = default;
  explicit TargetPolicy(Policy inherited) : Policy(std::move(inherited)) {}

  CallMatch match;

  // Its calls have a quota (endpoint) of their own for each key, with the options
  // above: "route group". False: they share the one of their host, which has the
  // top level's options, and the options above must be a copy of those. A target
  // of a file has its own if it has a section `quota` (`endpoint`), also an empty
  // one. Default false.
  bool own_quota = false;
  bool own_endpoint = false;

  // After these codes of a remote procedure it may be called again, whether or not
  // the server acted: listing a code says that repeating is harmless. What a
  // program says of a method itself goes before. Default none. Codes 1 … 16.
  std::vector<int> retryable_codes;

  // Whether an attempt of a remote procedure waits for its connection, rather than
  // fails while there is none. What a program says of a call itself goes before.
  // Default: as the transport does.
  std::optional<bool> wait_for_ready;
};

struct Settings : Policy {
  // Keys that are remembered, of each kind. Default 4096. 1 … 10,000,000.
  int max_targets = 4096;

  // The ids of the profiles that may be chosen by host; the others only by their
  // name. Empty: all. Default empty. 0 … 256.
  std::vector<std::string> profiles;

  // Files with profiles of the user's own, which go before those that are built
  // in, and replace the one with the same id. What they mean is not core's to know:
  // runtime/client.h reads them. Default none. 0 … 256 paths of 1 … 4096 bytes.
  std::vector<std::string> profile_files;
  static constexpr int kMaxProfiles = 256;

  // At most kMaxTargets. Of those that match a call the most specific one is its
  // policy; two of which neither is more specific are a fault.
  std::vector<TargetPolicy> targets;
  static constexpr int kMaxTargets = 1000;
};

// Appends a sentence for each fault, named by `prefix` and the field's path, like
// "targets[2].retry.backoff.multiplier"; nothing if valid.
void ValidatePolicy(const Policy& policy, absl::string_view prefix,
                    std::vector<std::string>* faults);
// Of what a target has inherited, faults are told once, at the top level.
void ValidateSettings(const Settings& settings,
                      std::vector<std::string>* faults);

}  // namespace forbear

#endif  // FORBEAR_CORE_POLICY_H_
