// Whose a request is: the server that it goes to, who is limited together with it, which
// policy is for it, and by whose profile its answer is read. Of the request that a call
// begins with, and of those that redirects make of it. Private.
//
//   CallRequest request;
//   request.policy = client->TopPolicy();
//   FindPlace(client, target, settings, credential, names, &request, &profile);
//
// Thread rule: call from anywhere; `settings` may not change meanwhile.
#ifndef FORBEAR_CURL_WRAP_CALL_PLACE_H_
#define FORBEAR_CURL_WRAP_CALL_PLACE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/target.h"
#include "runtime/call.h"
#include "runtime/client.h"

namespace forbear::curl {

// CallOptions of these names.
struct PlaceNames {
  absl::string_view quota_id;
  absl::string_view profile;
};

// Fills in target, method and profile, and for HTTP the policy, of the same table as the
// one that is there, and the keys. `credential`: of HTTPHEADER; those of the URL and of
// other options are added to it.
void FindPlace(Client* client, const std::optional<Target>& target,
               const EasyOptions& settings, uint64_t credential,
               const PlaceNames& names, CallRequest* request,
               ProfileRef* profile);

// Where redirects lead the requests of one call.
class RedirectPlaces {
 public:
  struct Place {
    HandleRef handle;    // none: it is none of ours
    ProfileRef profile;  // … which may have one all the same
  };

  // Nobody knows where: what is said behind them counts as the first server's word.
  RedirectPlaces() = default;
  // All must outlive it, `names` what they refer to.
  RedirectPlaces(Client* client, const EasyOptions* settings,
                 const PlaceNames& names)
      : client_(client), settings_(settings), names_(names) {}

  // Of the URL of the request that is about to be sent. None of ours is another protocol,
  // or a target that is switched off. Absent: nobody knows.
  std::optional<Place> Find(absl::string_view url) const;

 private:
  Client* client_ = nullptr;
  const EasyOptions* settings_ = nullptr;
  PlaceNames names_;
};

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_CALL_PLACE_H_
