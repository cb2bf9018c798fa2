// Policy: how calls are treated, and Settings: all that can be written into a
// configuration file. runtime/client.h makes a Client of it, proto/ reads it.
//
//   Settings settings;                        // every default is valid
//   settings.retry.max_attempts = 4;
//   std::vector<std::string> faults;
//   ValidateSettings(settings, &faults);      // a sentence for each
//
// Thread rule: values.
#ifndef FORBEAR_CORE_POLICY_H_
#define FORBEAR_CORE_POLICY_H_

#include <string>
#include <vector>

#include "core/endpoint.h"
#include "core/quota.h"
#include "core/retry_policy.h"

namespace forbear {

struct Policy {
  // Stands in the records of its calls, and nothing else depends on it. Default
  // "default". 1 … 64 bytes of printable ASCII without blanks.
  std::string name = "default";
  RetryOptions retry;
  QuotaOptions quota;
  EndpointOptions endpoint;
};

struct Settings : Policy {
  // Keys that are remembered, of each kind. Default 4096. 1 … 10,000,000.
  int max_targets = 4096;

  // False: drivers pass every call through. FORBEAR_OFF=1 says the same from
  // outside.
  bool enabled = true;
};

// Appends a sentence for each fault, named by the field's path, like
// "retry.backoff.multiplier"; nothing if valid.
void ValidatePolicy(const Policy& policy, std::vector<std::string>* faults);
void ValidateSettings(const Settings& settings,
                      std::vector<std::string>* faults);

}  // namespace forbear

#endif  // FORBEAR_CORE_POLICY_H_
