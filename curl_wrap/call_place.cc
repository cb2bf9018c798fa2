#include "curl_wrap/call_place.h"

#include <memory>
#include <string>
#include <utility>

#include "core/call_match.h"
#include "core/call_record.h"
#include "core/policy_table.h"
#include "core/wait_queue.h"
#include "runtime/clock.h"

namespace forbear::curl {
namespace {

// The one of the same table that is for this call.
void FindPolicy(const Target& target, const std::string& method,
                PolicyRef* policy) {
  if (!policy->table->has_targets()) return;
  const HostAndPort split = SplitHostPort(target.host_port);
  CallRoute route;
  route.host = split.host;
  route.port = split.port;
  route.method = method;
  route.path = target.path;
  policy->policy = &policy->table->Find(route);
}

}  // namespace

void FindPlace(Client* client, const std::optional<Target>& target,
               const EasyOptions& settings, uint64_t credential,
               const PlaceNames& names, CallRequest* request,
               ProfileRef* profile) {
  const bool is_http = target && target->is_http();
  request->protocol = Protocol::kHttp;
  request->method = settings.Method();
  if (target) request->target = target->host_port;
  if (is_http) FindPolicy(*target, request->method, &request->policy);
  *profile =
      client->ProfileOf(names.profile, *request->policy, request->target);
  if (!is_http) return;
  for (const uint64_t other : {settings.credential(), target->credential}) {
    if (other != 0) {
      credential = AddCredential(
          credential, absl::string_view(reinterpret_cast<const char*>(&other),
                                        sizeof(other)));
    }
  }
  request->endpoint_key = target->host_port;
  request->quota_key = QuotaKey(target->host_port, names.quota_id, credential);
}

std::optional<RedirectPlaces::Place> RedirectPlaces::Find(
    absl::string_view url) const {
  if (client_ == nullptr) return std::nullopt;
  CallRequest request;
  request.policy = client_->TopPolicy();
  const std::optional<Target> target =
      TargetOf(url, /*default_protocol=*/"", /*port=*/0,
               /*with_path=*/request.policy.table->has_targets());
  Place place;
  if (!target || !target->is_http()) return place;
  FindPlace(client_, target, *settings_, CredentialOf(settings_->headers),
            names_, &request, &place.profile);
  if (!request.policy->enabled || place.profile.profile == nullptr) {
    return place;
  }
  WakeList wakes;  // for new options of its states
  place.handle =
      client_->HandleOf(request.Kind(), request.policy, MonotonicNow(), &wakes);
  for (const std::shared_ptr<Waiter>& waiter : wakes) waiter->Wake();
  return place;
}

}  // namespace forbear::curl
