#include "tests/soak/rpc_session.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "interceptors/interceptor.h"
#include "interceptors/service_config.h"
#include "tests/soak/weather.h"

namespace forbear::soak {
namespace {

using ::forbear::rpc::MethodRule;
using ::forbear::rpc::Streams;
using ::forbear::rpc::TakeOver;
using ::forbear::testing::Echo;
using ::grpc::StatusCode;

// One method's part of a service config.
std::string MethodConfig(const std::string& method, bool hedges, Dice* dice) {
  std::string policy;
  if (hedges) {
    policy = absl::StrCat(
        R"("hedgingPolicy": {"maxAttempts": )", dice->Between(2, 5),
        R"(, "hedgingDelay": "0.0)", dice->Between(10, 20),
        R"(s", "nonFatalStatusCodes": ["UNAVAILABLE", "ABORTED"]})");
  } else {
    policy =
        absl::StrCat(R"("retryPolicy": {"maxAttempts": )", dice->Between(2, 5),
                     R"(, "initialBackoff": "0.002s", "maxBackoff": "0.02s",
           "backoffMultiplier": 2,
           "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"]})");
  }
  return absl::StrCat(R"({"name": [{"service": "forbear.testing.Echo",
                          "method": ")",
                      method.substr(method.rfind('/') + 1), "\"}], ", policy,
                      "}");
}

// In TRANSIENT_FAILURE it connects again, and does not say so until it has.
bool MayConnect(grpc_connectivity_state state) {
  return state == GRPC_CHANNEL_CONNECTING ||
         state == GRPC_CHANNEL_TRANSIENT_FAILURE;
}

}  // namespace

ClientOptions RandomRpcClient(Dice* dice) {
  ClientOptions options;
  options.retry = RandomRetry(dice, kLongestCall);
  if (dice->One(2)) options.retry.hedge = RandomHedge(dice);
  RandomShared(dice, &options);
  // Most of the time of a paced client's calls is spent in queues.
  if (dice->One(2)) options.endpoint.pacing = options.quota.pacing = false;
  options.max_targets = dice->One(3) ? 4 : 4096;
  return options;
}

HedgeOptions RandomHedge(Dice* dice) {
  HedgeOptions hedge;
  hedge.enabled = true;
  hedge.delay = dice->One(3) ? absl::ZeroDuration() : dice->Millis(0, 10);
  hedge.max_hedges = static_cast<int>(dice->Between(1, 4));
  return hedge;
}

RpcSession::RpcSession(std::shared_ptr<Client> client_of,
                       const std::string& address, Dice* dice)
    : client(std::move(client_of)) {
  ChooseRules(dice);
  if (dice->One(3)) options.quota_id = absl::StrCat("q", dice->Below(6));
  if (dice->One(3)) {
    options.take_over =
        dice->One(2) ? TakeOver::kGeneratedStubs : TakeOver::kGenericStubs;
  }
  if (dice->One(5)) {
    options.streams = dice->One(3) ? Streams::kOff : Streams::kObserve;
  }
  if (dice->One(3)) options.max_stream_buffer = dice->Between(0, 2000);
  grpc::ChannelArguments arguments;
  if (dice->One(2)) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  for (const char* backoff : {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                              GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                              GRPC_ARG_MAX_RECONNECT_BACKOFF_MS}) {
    arguments.SetInt(backoff, 100);
  }
  channel = rpc::CreateChannel(address, grpc::InsecureChannelCredentials(),
                               client, options, arguments);
  stub = Echo::NewStub(channel);
  generic = std::make_unique<grpc::GenericStub>(channel);
}

void RpcSession::ChooseRules(Dice* dice) {
  std::vector<std::string> configs;
  const auto choose = [&](const std::string& method, bool strict) {
    const bool unary = method == kSay || method == kOther;
    if (!strict && dice->One(5)) {
      configs.push_back(MethodConfig(method, unary && dice->One(2), dice));
      return;
    }
    MethodRule rule;
    rule.method = method;
    if (!strict)
      rule.retryable = {StatusCode::UNAVAILABLE, StatusCode::ABORTED};
    if (dice->One(strict ? 3 : 2)) rule.attempt_timeout = dice->Millis(5, 250);
    if (dice->One(3)) {
      rule.retry = RandomRetry(dice, kLongestCall);
      if (dice->One(2)) rule.retry->hedge = RandomHedge(dice);
    }
    options.methods.push_back(rule);
  };
  choose(kSay, /*strict=*/false);
  choose(kOther, /*strict=*/true);
  for (const char* stream : {"Pull", "Push", "Chat"}) {
    choose(absl::StrCat("/forbear.testing.Echo/", stream), dice->One(4));
  }
  std::vector<rpc::ServiceRule> rules;
  if (!configs.empty()) {
    options.service_config = absl::StrCat("{\"methodConfig\": [",
                                          absl::StrJoin(configs, ", "), "]}");
    rules = rpc::ReadServiceConfig(options.service_config)->rules;
  }
  table.emplace(options, rules);
}

bool RpcSession::MayEnd() const {
  return !MayConnect(channel->GetState(/*try_to_connect=*/false));
}

void RpcSession::WaitToEnd(std::chrono::system_clock::time_point until) const {
  grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/false);
  while (MayConnect(state) && channel->WaitForStateChange(state, until)) {
    state = channel->GetState(/*try_to_connect=*/false);
  }
}

bool RpcSession::IsStrict(const std::string& method) const {
  const rpc::MethodWords words = table->Find(method);
  return words.rule != nullptr && words.rule->retryable.empty();
}

RetryOptions RpcSession::RetryOf(const std::string& method,
                                 const rpc::CallOptions* own) const {
  const PolicyRef policy = client->TopPolicy();
  const rpc::MethodWords words = table->Find(method);
  const std::optional<RetryOptions> retry = rpc::RetryOf(
      own, words, rpc::RetryableCodes(own, words, *policy), *policy);
  return retry ? *retry : policy->retry;
}

}  // namespace forbear::soak
