#include "interceptors/interceptor.h"

#include <array>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "core/call_match.h"
#include "interceptors/call_options.h"
#include "interceptors/private_access.h"
#include "interceptors/service_config.h"
#include "interceptors/unary_call.h"

namespace forbear::rpc {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using Hook = grpc::experimental::InterceptionHookPoints;

// From a context to its call. A context offers no place for anything of ours
// that could be found from outside; but its interceptors die with it, so an
// entry is there as long as its context, and there are never more of them than
// contexts with a call.
class CallsByContext {
 public:
  void Add(const grpc::ClientContext* context,
           const std::shared_ptr<UnaryCall>& call) {
    Shard& shard = ShardOf(context);
    const std::lock_guard<std::mutex> lock(shard.mutex);
    shard.calls.insert_or_assign(context, call);
  }

  // Nothing if the context has another call by now: two factories on one
  // channel.
  void Remove(const grpc::ClientContext* context, const UnaryCall* call) {
    Shard& shard = ShardOf(context);
    const std::lock_guard<std::mutex> lock(shard.mutex);
    const auto it = shard.calls.find(context);
    if (it != shard.calls.end() && it->second.get() == call) {
      shard.calls.erase(it);
    }
  }

  std::shared_ptr<UnaryCall> Find(const grpc::ClientContext* context) {
    Shard& shard = ShardOf(context);
    const std::lock_guard<std::mutex> lock(shard.mutex);
    const auto it = shard.calls.find(context);
    return it == shard.calls.end() ? nullptr : it->second;
  }

 private:
  struct Shard {
    std::mutex mutex;
    absl::flat_hash_map<const grpc::ClientContext*, std::shared_ptr<UnaryCall>>
        calls;
  };

  Shard& ShardOf(const grpc::ClientContext* context) {
    return shards_[absl::HashOf(context) % shards_.size()];
  }

  std::array<Shard, 16> shards_;
};

CallsByContext& Calls() {
  // Leaked on purpose: contexts may outlive static destructors.
  static auto* const calls = new CallsByContext;
  return *calls;
}

// What gRPC owns. It dies with the application's context.
class UnaryInterceptor final : public Interceptor {
 public:
  UnaryInterceptor(std::shared_ptr<const ChannelPolicy> policy, PolicyRef found,
                   const CallOptions* own, ClientRpcInfo* info)
      : context_(info->client_context()),
        call_(std::make_shared<UnaryCall>(std::move(policy), std::move(found),
                                          own, info)) {
    Calls().Add(context_, call_);
  }

  ~UnaryInterceptor() override {
    Calls().Remove(context_, call_.get());
    call_->Detach();
  }

  void Intercept(InterceptorBatchMethods* batch) override {
    // The last Proceed may destroy this object.
    const std::shared_ptr<UnaryCall> call = call_;
    call->Intercept(batch);
  }

 private:
  const grpc::ClientContext* const context_;
  const std::shared_ptr<UnaryCall> call_;
};

// Ends every call with one status.
class Refuser final : public Interceptor {
 public:
  explicit Refuser(const grpc::Status& status) : status_(status) {}

  void Intercept(InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_CANCEL)) return;
    if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_MESSAGE)) {
      batch->FailHijackedRecvMessage();
    }
    if (batch->QueryInterceptionHookPoint(Hook::PRE_RECV_STATUS)) {
      *batch->GetRecvStatus() = status_;
    }
    if (batch->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
      batch->Hijack();
    } else {
      batch->Proceed();
    }
  }

 private:
  const grpc::Status status_;
};

// The values of GRPC_ARG_SERVICE_CONFIG, of which gRPC takes the first.
std::vector<char**> ServiceConfigsIn(const grpc::ChannelArguments& arguments) {
  std::vector<char**> values;
  const grpc_channel_args all = arguments.c_channel_args();
  if (all.args == nullptr) return values;
  for (size_t i = 0; i < all.num_args; ++i) {
    grpc_arg& arg = all.args[i];
    if (arg.type == GRPC_ARG_STRING &&
        absl::string_view(arg.key) == GRPC_ARG_SERVICE_CONFIG) {
      values.push_back(&arg.value.string);
    }
  }
  return values;
}

grpc::Status Refusal(const absl::Status& fault) {
  return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                      std::string(fault.message()));
}

class Factory final : public ClientInterceptorFactoryInterface {
 public:
  Factory(std::shared_ptr<Client> client, RpcOptions options)
      : client_(std::move(client)) {
    const absl::Status valid = ValidateRpcOptions(options);
    if (!valid.ok()) {
      fault_ = Refusal(valid);
      return;
    }
    // Valid, as has been seen.
    std::vector<ServiceRule> service_rules;
    if (!options.service_config.empty()) {
      service_rules = ReadServiceConfig(options.service_config)->rules;
    }
    MethodTable methods(options, service_rules);
    if (options.quota_id.empty()) options.quota_id = options.target;
    const HostAndPort server = SplitHostPort(ServerOf(options.target));
    std::string host = absl::AsciiStrToLower(server.host);
    policy_ = std::make_shared<const ChannelPolicy>(ChannelPolicy{
        client_, std::move(options.quota_id), std::move(options.target),
        std::move(host), server.port, std::move(methods), options.take_over});
  }

  Interceptor* CreateClientInterceptor(ClientRpcInfo* info) override {
    if (!client_->enabled() || info->type() != ClientRpcInfo::Type::UNARY ||
        UnaryCall::IsAttempt(info->client_context())) {
      return nullptr;
    }
    if (policy_ == nullptr) return new Refuser(fault_);
    const CallOptions* const own = WithCallOptions::Of(info->client_context());
    if (own != nullptr) {
      if (!own->enabled) return nullptr;
      const absl::Status valid = ValidateCallOptions(*own);
      if (!valid.ok()) return new Refuser(Refusal(valid));
    }
    CallRoute route;
    route.host = policy_->host;
    route.port = policy_->port;
    route.rpc = info->method();
    PolicyRef found = client_->PolicyOf(route);
    if (!found->enabled) return nullptr;
    if (found->wait_for_ready) {
      SetDefaultWaitForReady(*found->wait_for_ready, info->client_context());
    }
    return new UnaryInterceptor(policy_, std::move(found), own, info);
  }

 private:
  const std::shared_ptr<Client> client_;
  grpc::Status fault_;
  std::shared_ptr<const ChannelPolicy> policy_;  // null: fault_ says why
};

}  // namespace

std::unique_ptr<ClientInterceptorFactoryInterface> MakeInterceptorFactory(
    std::shared_ptr<Client> client, RpcOptions options) {
  return std::make_unique<Factory>(std::move(client), std::move(options));
}

std::shared_ptr<grpc::Channel> CreateChannel(
    const std::string& target,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    std::shared_ptr<Client> client, RpcOptions options,
    const grpc::ChannelArguments& arguments) {
  grpc::ChannelArguments ours = arguments;
  ours.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  if (options.target.empty()) options.target = target;
  const std::vector<char**> given = ServiceConfigsIn(ours);
  if (options.service_config.empty() && !given.empty()) {
    options.service_config = *given[0];
  }
  std::string rest = options.service_config;  // lives until the channel is made
  if (!rest.empty()) {
    // What is faulty ends every unary call, and for others is gRPC's to judge.
    const absl::StatusOr<ServiceConfig> config = ReadServiceConfig(rest);
    if (config.ok()) rest = config->rest;
    // Arguments cannot be taken out of a ChannelArguments, nor be set again.
    for (char** value : given) *value = &rest[0];
    if (given.empty()) ours.SetServiceConfigJSON(rest);
  }
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> factories;
  factories.push_back(
      MakeInterceptorFactory(std::move(client), std::move(options)));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      target, credentials, ours, std::move(factories));
}

std::optional<CallRecord> RecordOf(const grpc::ClientContext& context) {
  const std::shared_ptr<UnaryCall> call = Calls().Find(&context);
  if (call == nullptr) return std::nullopt;
  return call->record();
}

}  // namespace forbear::rpc
